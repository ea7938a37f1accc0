// SPDX-License-Identifier: Apache-2.0
//
// Goal: nothing that a driver writes into a packed ring gets a device of any type out of it, and
// what is not available is not taken: attack classes 1, 2, 5 and 6. Method: a table of lies about
// flags, ids and the wrap counter, told to each kind of queue.
#include "spec/virtio.h"
#include "testing/hostile_driver_case.h"

namespace airlock::testing {
namespace {

constexpr std::uint16_t kSlots = HostilePackedRing::kSlots;
constexpr std::uint64_t kData = HostileDriver::kData;
constexpr std::uint16_t kNext = AIRLOCK_DESC_NEXT;

HostilePackedRing& ring(HostileDriver& d) {
  return d.packed_ring(d.queue());
}

/// An honest chain in one part, but for the flags that say whether it is available.
void offer_with(HostileDriver& d, std::uint16_t lap) {
  const airlock_descriptor one = d.single();
  ring(d).submit_as({one}, 0, static_cast<std::uint16_t>(one.flags | lap));
  d.notify(d.queue());
}

/// Nobody takes what is not available, however often the device looks.
void is_not_taken(HostileDriver& d) {
  static_cast<void>(d.target().subject().nudge(d));
  EXPECT_TRUE(AttackTarget::comes_to_rest());
  EXPECT_FALSE(ring(d).take_used());
  EXPECT_EQ(d.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

/// Memory of the driver's event suppression structure.
std::uint64_t driver_event(HostileDriver& d) {
  return d.queue_registers(d.queue()).driver - d.address(0);
}

const HostileCase kPackedCases[] = {
    {"Honest", End::kOk, [](HostileDriver& d) { d.submit(d.chain()); }},
    {"HonestForSomeLaps", End::kGoesOn,
     [](HostileDriver& d) {
       for (unsigned i = 0; i < 4U * kSlots; ++i) {
         d.submit(i % 3 == 0 ? std::vector{d.single()} : d.chain());
         EXPECT_TRUE(d.wait_used(d.queue()));
       }
     }},
    {"IdIsTheLargestNumber", End::kOk,  // an id is the driver's own
     [](HostileDriver& d) {
       const auto chain = d.chain();
       ring(d).submit_as(
           chain, 0xffff,
           static_cast<std::uint16_t>(chain[0].flags | kNext | ring(d).available_flags()));
       d.notify(d.queue());
     }},
    {"LongestThereIs", End::kOk,
     [](HostileDriver& d) {
       auto chain = d.chain();
       const airlock_descriptor data = chain[1];
       while (chain.size() < kSlots)
         chain.insert(chain.begin() + 1, data);
       d.submit(chain);
     }},
    {"ChainThatNeverEnds", End::kBroken,
     [](HostileDriver& d) {
       std::vector<airlock_descriptor> chain(kSlots, d.chain()[1]);
       for (airlock_descriptor& one : chain)
         one.flags |= kNext;
       d.submit(chain);
     }},
    {"ChainGoesOnWhereNothingIs", End::kBroken,  // empty slots: buffers of no bytes
     [](HostileDriver& d) {
       auto chain = d.chain();
       chain.back().flags |= kNext;
       d.submit(chain);
     }},
    {"OfTheNextLap", End::kRevives,
     [](HostileDriver& d) {
       offer_with(d, ring(d).next_lap_flags());
       is_not_taken(d);
     }},
    {"AvailableAndUsed", End::kRevives,
     [](HostileDriver& d) {
       offer_with(d, AIRLOCK_DESC_AVAIL | AIRLOCK_DESC_USED);
       EXPECT_TRUE(AttackTarget::comes_to_rest());
       EXPECT_EQ(d.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET, 0);
     }},
    {"NeitherAvailableNorUsed", End::kRevives,
     [](HostileDriver& d) {
       offer_with(d, 0);
       is_not_taken(d);
     }},
    {"ReadableAfterWritable", End::kBroken,
     [](HostileDriver& d) { d.submit({d.writable(kData, 512), d.readable(kData, 512)}); }},
    {"UnknownFlags", End::kBroken,
     [](HostileDriver& d) {
       auto chain = d.chain();
       chain[0].flags |= 0x8;
       d.submit(chain);
     }},
    {"AllFlagsOfTheData", End::kBroken,
     [](HostileDriver& d) {
       auto chain = d.chain();
       chain[1].flags = 0xffff;
       d.submit(chain);
     }},
    {"IndirectWasNotAccepted", End::kBroken,
     [](HostileDriver& d) { d.submit({d.table(d.chain())}); }},
    {"EventsAreNonsense", End::kGoesOn,
     [](HostileDriver& d) {
       for (const std::uint32_t event :
            {0xffff'ffffU, 0x3'7fffU, 0x2'ffffU, 0x2'0000U, 0x1'0000U}) {
         d.memory().store_relaxed<Le32>(driver_event(d), Le32(event));
         EXPECT_TRUE(d.works());
       }
     }},
};
AIRLOCK_HOSTILE_CLASS(PackedRing, with_ring_features(for_every_queue(kPackedCases),
                                                     spec::feature(spec::VIRTIO_F_RING_PACKED)));

// --- 4: indirect tables of packed rings ---

void packed_table_of(HostileDriver& d, std::uint32_t bytes) {
  airlock_descriptor named = d.table(d.chain());
  named.length = bytes;
  d.submit({named});
}

const HostileCase kPackedTableCases[] = {
    {"Honest", End::kOk, [](HostileDriver& d) { d.submit({d.table(d.chain())}); }},
    {"LengthZero", End::kBroken, [](HostileDriver& d) { packed_table_of(d, 0); }},
    {"LengthNotAMultipleOf16", End::kBroken, [](HostileDriver& d) { packed_table_of(d, 47); }},
    {"LengthOfMoreThanTheQueue", End::kBroken,
     [](HostileDriver& d) { packed_table_of(d, (kSlots + 1) * 16); }},
    {"LengthHuge", End::kBroken, [](HostileDriver& d) { packed_table_of(d, 0xffff'fff0); }},
    {"WithNext", End::kBroken,  // VIRTIO 1.3, 2.8.19
     [](HostileDriver& d) { d.submit({d.table(d.chain()), d.writable(kData, 1)}); }},
    {"ReadableAfterWritable", End::kBroken,
     [](HostileDriver& d) { d.submit({d.table({d.writable(kData, 16), d.readable(kData, 16)})}); }},
    {"NestedIsAFlagThatMeansNothingThere", End::kOk,  // VIRTIO 1.3, 2.8.7: of WRITE alone
     [](HostileDriver& d) {
       auto chain = d.chain();
       chain[1].flags |= AIRLOCK_DESC_INDIRECT;
       d.submit({d.table(chain)});
     }},
    {"TableOutside", End::kBroken,
     [](HostileDriver& d) {
       airlock_descriptor table = d.table(d.chain());
       table.address = d.address(HostileDriver::kMemoryBytes) - 16;
       d.submit({table});
     }},
    {"EntryOutside", End::kBroken,
     [](HostileDriver& d) {
       auto chain = d.chain();
       chain[1].address = d.address(HostileDriver::kMemoryBytes);
       d.submit({d.table(chain)});
     }},
};
AIRLOCK_HOSTILE_CLASS(PackedTable,
                      with_ring_features(for_every_queue(kPackedTableCases),
                                         spec::feature(spec::VIRTIO_F_RING_PACKED) |
                                             spec::feature(spec::VIRTIO_F_INDIRECT_DESC)));

}  // namespace
}  // namespace airlock::testing
