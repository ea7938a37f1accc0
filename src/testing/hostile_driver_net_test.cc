// SPDX-License-Identifier: Apache-2.0
//
// Goal: no header, frame or command of a network card's driver does more than get its frame
// dropped, its command refused or its queue broken: attack classes 3, 5, 12, 13 and 14 once more,
// in the card's own words. Method: a table of lies to each of its queues. VIRTIO 1.3, 5.1.6.
#include "backend/net/loop_backend.h"
#include "spec/virtio.h"
#include "spec/virtio_net.h"
#include "testing/hostile_driver_case.h"

namespace airlock::testing {
namespace {

constexpr std::uint64_t kHeader = HostileDriver::kHeader;
constexpr std::uint64_t kData = HostileDriver::kData;
constexpr std::uint32_t kHeaderBytes = sizeof(spec::VirtioNetHdr);
constexpr std::uint32_t kFrame = 100;
constexpr std::uint64_t kOffloads =
    spec::feature(spec::VIRTIO_NET_F_CSUM) | spec::feature(spec::VIRTIO_NET_F_HOST_TSO4);

constexpr AttackTarget::Options kTransmit{.attacked = Attacked::kNetTransmit};
constexpr AttackTarget::Options kReceive{.attacked = Attacked::kNetReceive};
constexpr AttackTarget::Options kControl{.attacked = Attacked::kNetControl};
constexpr HostileManner kWithOffloads{.accept = kOffloads};

// --- 3: frames that are too short or too long ---

/// A frame of so many bytes, from buffers that overlap where it is long.
void sends_bytes(HostileDriver& d, std::uint32_t bytes) {
  constexpr std::uint32_t kPiece = 0x8000;
  std::vector<airlock_descriptor> chain{d.chain()[0]};
  for (; bytes > kPiece; bytes -= kPiece)
    chain.push_back(d.readable(kData, kPiece));
  if (bytes > 0) chain.push_back(d.readable(kData, bytes));
  d.submit(chain);
}

const HostileCase kFrames[] = {
    {"Honest", End::kOk, [](HostileDriver& d) { sends_bytes(d, kFrame); }, kTransmit},
    {"NoFrameAtAll", End::kDropped, [](HostileDriver& d) { sends_bytes(d, 0); }, kTransmit},
    {"OneByteLessThanAFrameHas", End::kDropped,
     [](HostileDriver& d) { sends_bytes(d, backend::kNetFrameMin - 1); }, kTransmit},
    {"ShortestThereIs", End::kOk, [](HostileDriver& d) { sends_bytes(d, backend::kNetFrameMin); },
     kTransmit},
    {"LongestThereIs", End::kOk, [](HostileDriver& d) { sends_bytes(d, backend::kNetFrameMax); },
     kTransmit},
    {"OneByteTooLong", End::kDropped,
     [](HostileDriver& d) { sends_bytes(d, backend::kNetFrameMax + 1); }, kTransmit},
    {"MuchTooLong", End::kDropped, [](HostileDriver& d) { sends_bytes(d, 0x6'0000); }, kTransmit},
    {"HeaderCutShort", End::kBroken,
     [](HostileDriver& d) { d.submit({d.readable(kHeader, kHeaderBytes - 1)}); }, kTransmit},
    {"HeaderInTwelvePieces", End::kOk,
     [](HostileDriver& d) {
       static_cast<void>(d.chain());
       std::vector<airlock_descriptor> chain;
       for (std::uint64_t i = 0; i < kHeaderBytes; ++i)
         chain.push_back(d.readable(kHeader + i, 1));
       chain.push_back(d.readable(kData, kFrame));
       d.submit(chain);
     },
     kTransmit},
    {"NothingToRead", End::kBroken, [](HostileDriver& d) { d.submit({d.writable(kData, kFrame)}); },
     kTransmit},
    {"SomethingToWriteAsWell", End::kOk,  // nobody does
     [](HostileDriver& d) {
       d.submit({d.chain()[0], d.readable(kData, kFrame), d.writable(kData, kFrame)});
     },
     kTransmit},
};
AIRLOCK_HOSTILE_CLASS(NetFrame, kFrames);

// --- 13: headers whose numbers lead out of the frame ---

void sends(HostileDriver& d, const spec::VirtioNetHdr& header) {
  d.memory().put(kHeader, header);
  d.submit({d.readable(kHeader, kHeaderBytes), d.readable(kData, kFrame)});
}

spec::VirtioNetHdr checksum(std::uint32_t start, std::uint32_t offset) {
  spec::VirtioNetHdr header{};
  header.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.csum_start.set(static_cast<std::uint16_t>(start));
  header.csum_offset.set(static_cast<std::uint16_t>(offset));
  return header;
}

spec::VirtioNetHdr segments(std::uint8_t gso_type, std::uint16_t gso_size) {
  spec::VirtioNetHdr header = checksum(34, 16);
  header.gso_type = gso_type;
  header.gso_size = Le16(gso_size);
  header.hdr_len = Le16(54);
  return header;
}

const HostileCase kHeaders[] = {
    {"ChecksumOfTheLastBytes", End::kOk,
     [](HostileDriver& d) { sends(d, checksum(kFrame - 2, 0)); }, kTransmit, kWithOffloads},
    {"ChecksumHalfOutside", End::kDropped,
     [](HostileDriver& d) { sends(d, checksum(kFrame - 2, 1)); }, kTransmit, kWithOffloads},
    {"ChecksumStartsAtTheEnd", End::kDropped,
     [](HostileDriver& d) { sends(d, checksum(kFrame, 0)); }, kTransmit, kWithOffloads},
    {"ChecksumStartIsTheLargest", End::kDropped,
     [](HostileDriver& d) { sends(d, checksum(0xffff, 0)); }, kTransmit, kWithOffloads},
    {"ChecksumOffsetIsTheLargest", End::kDropped,
     [](HostileDriver& d) { sends(d, checksum(0, 0xffff)); }, kTransmit, kWithOffloads},
    {"ChecksumSumWraps", End::kDropped, [](HostileDriver& d) { sends(d, checksum(0xffff, 0x21)); },
     kTransmit, kWithOffloads},
    {"SegmentsHonest", End::kOk,
     [](HostileDriver& d) { sends(d, segments(spec::VIRTIO_NET_HDR_GSO_TCPV4, 20)); }, kTransmit,
     kWithOffloads},
    {"SegmentsOfNothing", End::kDropped,
     [](HostileDriver& d) { sends(d, segments(spec::VIRTIO_NET_HDR_GSO_TCPV4, 0)); }, kTransmit,
     kWithOffloads},
    {"SegmentsWithoutAChecksum", End::kDropped,
     [](HostileDriver& d) {
       spec::VirtioNetHdr header = segments(spec::VIRTIO_NET_HDR_GSO_TCPV4, 20);
       header.flags = 0;
       sends(d, header);
     },
     kTransmit, kWithOffloads},
    {"SegmentsOfNoKind", End::kDropped, [](HostileDriver& d) { sends(d, segments(0x7f, 20)); },
     kTransmit, kWithOffloads},
    {"SegmentsOfEcnAlone", End::kDropped,
     [](HostileDriver& d) { sends(d, segments(spec::VIRTIO_NET_HDR_GSO_ECN, 20)); }, kTransmit,
     kWithOffloads},
    {"HeaderLengthIsTheLargest", End::kOk,  // a hint
     [](HostileDriver& d) {
       spec::VirtioNetHdr header{};
       header.hdr_len.set(0xffff);
       sends(d, header);
     },
     kTransmit, kWithOffloads},
    {"BuffersOfASentFrame", End::kOk,  // means nothing that way
     [](HostileDriver& d) {
       spec::VirtioNetHdr header{};
       header.num_buffers.set(0xffff);
       sends(d, header);
     },
     kTransmit, kWithOffloads},
    {"UnknownFlags", End::kOk,  // VIRTIO 1.3, 5.1.6.2.2: to be ignored
     [](HostileDriver& d) {
       spec::VirtioNetHdr header{};
       header.flags = 0xfe;
       sends(d, header);
     },
     kTransmit, kWithOffloads},
};
AIRLOCK_HOSTILE_CLASS(NetHeaderLies, kHeaders);

// --- 14: offloads that were not agreed upon ---

const HostileCase kNotAgreed[] = {
    {"Checksum", End::kDropped, [](HostileDriver& d) { sends(d, checksum(34, 16)); }, kTransmit},
    {"Segments", End::kDropped,
     [](HostileDriver& d) { sends(d, segments(spec::VIRTIO_NET_HDR_GSO_TCPV4, 20)); }, kTransmit},
    {"SegmentsOfTheOtherProtocol", End::kDropped,
     [](HostileDriver& d) { sends(d, segments(spec::VIRTIO_NET_HDR_GSO_TCPV6, 20)); }, kTransmit,
     kWithOffloads},
    {"SegmentsOfUdp", End::kDropped,
     [](HostileDriver& d) { sends(d, segments(spec::VIRTIO_NET_HDR_GSO_UDP_L4, 20)); }, kTransmit,
     kWithOffloads},
    {"SegmentsWithEcn", End::kDropped,
     [](HostileDriver& d) {
       sends(d, segments(spec::VIRTIO_NET_HDR_GSO_TCPV4 | spec::VIRTIO_NET_HDR_GSO_ECN, 20));
     },
     kTransmit, kWithOffloads},
    {"SegmentsWithoutTheirChecksumFeature", End::kRevives,  // VIRTIO 1.3, 5.1.3.1
     [](HostileDriver& d) {
       EXPECT_FALSE(d.negotiate(d.features() | spec::feature(spec::VIRTIO_NET_F_HOST_TSO4)));
     },
     kTransmit},
};
AIRLOCK_HOSTILE_CLASS(NetNotAgreedUpon, kNotAgreed);

// --- 3: receive buffers that hold too little ---

/// Chains of one buffer each.
void gives_buffers(HostileDriver& d, const std::vector<std::uint32_t>& sizes) {
  for (std::uint16_t i = 0; i < sizes.size(); ++i) {
    d.put(d.queue(), i, d.writable(kData + i * 0x1000U, sizes[i]));
    d.make_available(d.queue(), i);
  }
  d.notify(d.queue());
}

const HostileCase kBuffers[] = {
    {"OneByteLessThanAHeader", End::kBroken,
     [](HostileDriver& d) { gives_buffers(d, {kHeaderBytes - 1}); }, kReceive},
    {"SecondOneIsTooShort", End::kBroken,
     [](HostileDriver& d) { gives_buffers(d, {kHeaderBytes, 1}); }, kReceive},
    {"NothingToWrite", End::kBroken, [](HostileDriver& d) { d.submit({d.readable(kData, 2048)}); },
     kReceive},
    {"ManyThatAreSmall", End::kGoesOn,  // a header, and a frame in four pieces
     [](HostileDriver& d) {
       gives_buffers(d, {kHeaderBytes, 20, 20, 20});
       std::uint32_t bytes = 0;
       for (int i = 0; i < 4; ++i)
         bytes += d.wait_used(d.queue()).value_or(ring::UsedElement()).length;
       EXPECT_EQ(bytes, kHeaderBytes + 60U);
       EXPECT_EQ(d.memory().load_relaxed<Le16>(kData + 10).get(), 4U);
     },
     kReceive},
    {"TooSmallAndNotToBeMerged",
     End::kGoesOn,  // the frame is lost, the buffer waits for one that fits
     [](HostileDriver& d) {
       gives_buffers(d, {kHeaderBytes + 59, 2048});
       static_cast<void>(d.target().subject().nudge(d));
       EXPECT_TRUE(d.wait_used(d.target().subject().nudging_queue()));
       EXPECT_TRUE(AttackTarget::comes_to_rest());
       EXPECT_EQ(d.used_index(d.queue()), 0U);
       d.start();
     },
     kReceive,
     {.decline = spec::feature(spec::VIRTIO_NET_F_MRG_RXBUF)}},
};
AIRLOCK_HOSTILE_CLASS(NetReceiveBuffers, kBuffers);

// --- 13: commands whose numbers lie ---

/// A command with these bytes behind its header, more of them zeros, and room for the ack.
void commands(HostileDriver& d, std::uint8_t command_class, std::uint8_t command,
              const std::vector<std::uint8_t>& data, std::uint32_t zeros = 0) {
  d.memory().put(kHeader, command_class);
  d.memory().put(kHeader + 1, command);
  const auto bytes = static_cast<std::uint32_t>(data.size());
  d.memory().fill_zero(kData, bytes + zeros);
  d.memory().copy_in(kData, std::as_bytes(std::span(data)));
  std::vector<airlock_descriptor> chain{d.readable(kHeader, 2)};
  if (bytes + zeros > 0) chain.push_back(d.readable(kData, bytes + zeros));
  chain.push_back(d.status_byte());
  d.submit(chain);
}

void filters(HostileDriver& d, const std::vector<std::uint8_t>& tables, std::uint32_t zeros = 0) {
  commands(d, spec::VIRTIO_NET_CTRL_MAC, spec::VIRTIO_NET_CTRL_MAC_TABLE_SET, tables, zeros);
}

void pairs(HostileDriver& d, std::uint8_t low, std::uint8_t high) {
  commands(d, spec::VIRTIO_NET_CTRL_MQ, spec::VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, {low, high});
}

const HostileCase kCommands[] = {
    {"NoSuchClass", End::kDropped, [](HostileDriver& d) { commands(d, 0xff, 0, {0}); }, kControl},
    {"NoSuchCommand", End::kDropped,
     [](HostileDriver& d) { commands(d, spec::VIRTIO_NET_CTRL_RX, 6, {0}); }, kControl},
    {"NotAgreedUpon", End::kDropped,
     [](HostileDriver& d) {
       commands(d, spec::VIRTIO_NET_CTRL_GUEST_OFFLOADS, spec::VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
                {}, 8);
     },
     kControl},
    {"OnlyHalfAHeader", End::kDropped,
     [](HostileDriver& d) { d.submit({d.readable(kHeader, 1), d.status_byte()}); }, kControl},
    {"NoHeader", End::kDropped, [](HostileDriver& d) { d.submit({d.status_byte()}); }, kControl},
    {"NoRoomForTheAck", End::kBroken, [](HostileDriver& d) { d.submit({d.readable(kHeader, 3)}); },
     kControl},
    {"SwitchWithoutItsByte", End::kDropped,
     [](HostileDriver& d) { commands(d, spec::VIRTIO_NET_CTRL_RX, 0, {}); }, kControl},
    {"SwitchIsTwo", End::kDropped,
     [](HostileDriver& d) { commands(d, spec::VIRTIO_NET_CTRL_RX, 0, {2}); }, kControl},
    {"AddressCutShort", End::kDropped,
     [](HostileDriver& d) {
       commands(d, spec::VIRTIO_NET_CTRL_MAC, spec::VIRTIO_NET_CTRL_MAC_ADDR_SET, {2, 0, 0, 0, 0});
     },
     kControl},
    {"TablesHonest", End::kOk, [](HostileDriver& d) { filters(d, {}, 8); }, kControl},
    {"TableLongerThanItsBytes", End::kDropped, [](HostileDriver& d) { filters(d, {2}, 13); },
     kControl},
    {"TableOfMostAddresses", End::kDropped,
     [](HostileDriver& d) { filters(d, {0xff, 0xff, 0xff, 0xff}, 64); }, kControl},
    {"TableWhoseBytesWrap", End::kDropped,  // 0x2aaaaaab addresses: 2 bytes, in 32 bits
     [](HostileDriver& d) { filters(d, {0xab, 0xaa, 0xaa, 0x2a}, 64); }, kControl},
    {"SecondTableIsMissing", End::kDropped, [](HostileDriver& d) { filters(d, {}, 4); }, kControl},
    {"TableThatIsTooLongToKeep", End::kOk,  // and then filters nothing
     [](HostileDriver& d) { filters(d, {0xe8, 3}, 2 + 6000 + 4); }, kControl},
    {"VlanOutside", End::kDropped,
     [](HostileDriver& d) {
       commands(d, spec::VIRTIO_NET_CTRL_VLAN, spec::VIRTIO_NET_CTRL_VLAN_ADD, {0, 0x10});
     },
     kControl},
    {"NoPairs", End::kDropped, [](HostileDriver& d) { pairs(d, 0, 0); }, kControl},
    {"OnePairTooMany", End::kDropped, [](HostileDriver& d) { pairs(d, 3, 0); }, kControl},
    {"MostPairs", End::kDropped, [](HostileDriver& d) { pairs(d, 0xff, 0xff); }, kControl},
    {"AllPairs", End::kOk, [](HostileDriver& d) { pairs(d, 2, 0); }, kControl},
    {"MuchMoreThanACommandHas", End::kOk,  // what is behind it says nothing
     [](HostileDriver& d) { commands(d, spec::VIRTIO_NET_CTRL_RX, 0, {0}, 0x8000); }, kControl},
};
AIRLOCK_HOSTILE_CLASS(NetCommandLies, kCommands);

// --- 12: commands without end ---

const HostileCase kManyCommands[] = {
    {"PairsAgainAndAgain", End::kGoesOn,
     [](HostileDriver& d) {
       for (unsigned round = 0; round < 500 / kRoundsDivisor; ++round) {
         pairs(d, static_cast<std::uint8_t>(1 + round % 2), 0);
         EXPECT_TRUE(d.wait_used(d.queue()));
       }
     },
     kControl},
    {"FramesThatNobodyTakes", End::kGoesOn,  // as many as the plug holds, and one in flight
     [](HostileDriver& d) {
       AttackSubject& card = d.target().subject();
       for (std::size_t round = 0; round < backend::kLoopFrames; ++round) {
         static_cast<void>(card.nudge(d));
         EXPECT_TRUE(d.wait_used(card.nudging_queue()));
       }
       for (int more = 0; more < 2; ++more)
         static_cast<void>(card.nudge(d));
       EXPECT_TRUE(AttackTarget::comes_to_rest());
       d.start();
     },
     kReceive},
};
AIRLOCK_HOSTILE_CLASS(NetExhaustion, kManyCommands);

}  // namespace
}  // namespace airlock::testing
