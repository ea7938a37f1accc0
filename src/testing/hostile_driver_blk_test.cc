// SPDX-License-Identifier: Apache-2.0
//
// Goal: what only a disk's requests can get wrong about their chains ends as definitely as what all
// devices have in common: attack classes 1 to 6. Method: a table of lies about headers, data and
// the status byte, and a gate that keeps requests in flight.
#include "spec/virtio.h"
#include "testing/hostile_driver_case.h"

namespace airlock::testing {
namespace {

constexpr std::uint16_t kSize = HostileDriver::kQueueSize;
constexpr std::uint64_t kBase = HostileDriver::kBarAddress;
constexpr std::uint64_t kEnd = kBase + HostileDriver::kMemoryBytes;
constexpr std::uint64_t kData = HostileDriver::kData;
constexpr std::uint32_t kSector = 512;
constexpr std::uint32_t kIn = spec::VIRTIO_BLK_T_IN;
constexpr std::uint32_t kOut = spec::VIRTIO_BLK_T_OUT;
constexpr std::uint16_t kWrite = AIRLOCK_DESC_WRITE;

std::vector<airlock_descriptor> write_chain(const HostileDriver& d) {
  return {d.header(kOut), d.readable(kData, kSector), d.status_byte()};
}

/// A write whose data is said to be anywhere.
void write_from(HostileDriver& d, std::uint64_t address, std::uint32_t length) {
  auto chain = write_chain(d);
  chain[1].address = address;
  chain[1].length = length;
  d.submit(chain);
}

void wait_until_broken(HostileDriver& d) {
  EXPECT_TRUE(eventually([&] { return (d.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0; }));
}

const HostileCase kDiskChain[] = {
    {"SameHeadTwiceInOneGo", End::kBroken,
     [](HostileDriver& d) {
       d.target().gate().shut();
       d.put_chain(0, d.chain());
       d.avail(0).put(0, 0);
       d.avail(0).put(1, 0);
       d.jump(0, 2);
       wait_until_broken(d);
       d.target().gate().open();
     }},
    {"IdTwiceInOneGo",
     End::kBroken,
     [](HostileDriver& d) {
       d.target().gate().shut();
       HostilePackedRing& ring = d.packed_ring(0);
       for (int i = 0; i < 2; ++i)
         ring.submit_as({d.status_byte()}, 3,
                        static_cast<std::uint16_t>(kWrite | ring.available_flags()));
       d.notify(0);
       wait_until_broken(d);
       d.target().gate().open();
     },
     {.ring_features = spec::feature(spec::VIRTIO_F_RING_PACKED)},
     {.accept = spec::feature(spec::VIRTIO_F_RING_PACKED)}},
    {"JumpsWhileARequestIsInFlight", End::kBroken,
     [](HostileDriver& d) {
       d.target().gate().shut();
       d.submit_request(0, kIn, 0, kSector);
       EXPECT_TRUE(eventually([&] { return d.target().gate().in_flight() == 1; }));
       d.jump(0, kSize + 1);
       wait_until_broken(d);
       d.target().gate().open();
     }},
    {"JumpsByTheWholeQueueWithOneHead", End::kBroken,  // the head is in flight already
     [](HostileDriver& d) {
       d.target().gate().shut();
       d.put_chain(0, d.chain());
       d.jump(0, kSize);
       wait_until_broken(d);
       d.target().gate().open();
     }},
    {"LongestThereIsInPiecesThatAreNoSectors", End::kIoError,
     [](HostileDriver& d) {
       std::vector<airlock_descriptor> chain{d.header(kOut)};
       while (chain.size() < kSize - 1U)
         chain.push_back(d.readable(kData, 1));
       chain.push_back(d.status_byte());
       d.submit(chain);
     }},
    {"OnlyTheStatus", End::kIoError, [](HostileDriver& d) { d.submit({d.status_byte()}); }},
    {"SpansTheEndReading", End::kBroken,
     [](HostileDriver& d) { write_from(d, kEnd - 511, kSector); }},
    {"LengthZeroReading", End::kBroken, [](HostileDriver& d) { write_from(d, kBase + kData, 0); }},
    {"LengthNegativeReading", End::kBroken,
     [](HostileDriver& d) { write_from(d, kBase + kData, 0x8000'0000); }},
    {"HeaderAtTheLastBytes", End::kGoesOn,
     [](HostileDriver& d) {
       auto chain = d.chain();
       chain[0].address = kEnd - 16;  // the guard's bytes: some type that nobody knows
       d.submit(chain);
       EXPECT_TRUE(d.wait_used(0));
       EXPECT_EQ(d.status_written(), spec::VIRTIO_BLK_S_UNSUPP);
     }},
    {"HeaderSpansTheEnd", End::kBroken,
     [](HostileDriver& d) {
       auto chain = d.chain();
       chain[0].address = kEnd - 15;
       d.submit(chain);
     }},
    {"ReadableAfterWritable", End::kBroken,
     [](HostileDriver& d) {
       d.submit({d.header(kIn), d.status_byte(), d.readable(kData, kSector)});
     }},
    {"HeaderIsWritable", End::kIoError,  // there is no header then
     [](HostileDriver& d) {
       auto chain = d.chain();
       chain[0].flags = kWrite;
       d.submit(chain);
     }},
    {"StatusIsReadable", End::kBroken,  // nowhere to answer
     [](HostileDriver& d) {
       auto chain = write_chain(d);
       chain[2].flags = 0;
       d.submit(chain);
     }},
    {"OnlyReadable", End::kBroken, [](HostileDriver& d) { d.submit({d.header(kOut)}); }},
    {"ReadWithReadableData", End::kOk,  // a read of nothing
     [](HostileDriver& d) {
       auto chain = d.chain();
       chain[1].flags = 0;
       d.submit(chain);
     }},
    {"WriteWithWritableData", End::kOk,  // a write of nothing; the data's room is zeroed
     [](HostileDriver& d) {
       auto chain = write_chain(d);
       chain[1].flags = kWrite;
       // The last byte of the writable part is the status.
       d.submit(chain);
     }},
    {"DataAndStatusAreTheSameByte", End::kOk,  // the status is written last
     [](HostileDriver& d) {
       auto chain = d.chain();
       chain[1] = d.writable(HostileDriver::kStatus - kSector + 1, kSector);
       d.submit(chain);
     }},
    {"StatusOverTheHeader", End::kGoesOn,
     [](HostileDriver& d) {
       auto chain = d.chain();
       chain[2] = d.writable(HostileDriver::kHeader, 1);
       d.submit(chain);
       EXPECT_TRUE(d.wait_used(0));
     }},
};
AIRLOCK_HOSTILE_CLASS(DiskChain, kDiskChain);

}  // namespace
}  // namespace airlock::testing
