// SPDX-License-Identifier: Apache-2.0
//
// Goal: no packet of a guest does more to a socket device than end its own connection, or break its
// own queue: attack classes 3, 5, 12, 13 and 14 once more, in the socket's own words. Method: a
// table of packets, through rings and a real host's sockets. VIRTIO 1.3, 5.10.6.
#include <sys/socket.h>

#include <array>

#include "device/vsock/vsock_connections.h"
#include "spec/virtio.h"
#include "testing/hostile_driver_case.h"
#include "testing/hostile_driver_vsock.h"

namespace airlock::testing {
namespace {

using device::VsockPorts;
using spec::VIRTIO_VSOCK_OP_CREDIT_REQUEST;
using spec::VIRTIO_VSOCK_OP_CREDIT_UPDATE;
using spec::VIRTIO_VSOCK_OP_REQUEST;
using spec::VIRTIO_VSOCK_OP_RESPONSE;
using spec::VIRTIO_VSOCK_OP_RST;
using spec::VIRTIO_VSOCK_OP_RW;
using spec::VIRTIO_VSOCK_OP_SHUTDOWN;

constexpr std::uint64_t kHeader = HostileDriver::kHeader;
constexpr std::uint64_t kData = HostileDriver::kData;
constexpr std::uint32_t kHeaderBytes = sizeof(spec::VirtioVsockHdr);
constexpr std::uint32_t kMost = 0xffff'ffff;
constexpr std::uint16_t kSeqpacket = spec::VIRTIO_VSOCK_TYPE_SEQPACKET;
constexpr VsockPorts kPorts{.guest = 1000, .host = kVsockHostPort};
/// Nobody listens at the host's.
constexpr VsockPorts kNobody{.guest = 1000, .host = 81};

constexpr AttackTarget::Options kTransmit{.attacked = Attacked::kVsockTransmit};
constexpr AttackTarget::Options kReceive{.attacked = Attacked::kVsockReceive};
constexpr HostileManner kWithSeqpacket{.accept = spec::feature(spec::VIRTIO_VSOCK_F_SEQPACKET)};

// --- 3: packets shorter than they say ---

/// A header that says so many bytes follow, in a buffer of others.
void says_length(HostileDriver& d, std::uint32_t said, std::uint32_t bytes) {
  spec::VirtioVsockHdr header = header_of({.op = VIRTIO_VSOCK_OP_RST});
  header.len = Le32(said);
  d.memory().put(kHeader, header);
  std::vector<airlock_descriptor> chain{d.readable(kHeader, kHeaderBytes)};
  if (bytes > 0) chain.push_back(d.readable(kData, bytes));
  d.submit(chain);
}

const HostileCase kLengths[] = {
    {"Honest", End::kOk, [](HostileDriver& d) { says_length(d, 100, 100); }, kTransmit},
    {"MoreThanItSays", End::kOk, [](HostileDriver& d) { says_length(d, 100, 1000); }, kTransmit},
    {"OneByteLessThanItSays", End::kBroken, [](HostileDriver& d) { says_length(d, 101, 100); },
     kTransmit},
    {"NothingOfWhatItSays", End::kBroken, [](HostileDriver& d) { says_length(d, 1, 0); },
     kTransmit},
    {"SaysTheLargest", End::kBroken, [](HostileDriver& d) { says_length(d, kMost, 100); },
     kTransmit},
    {"SaysWhatWrapsWithTheHeader", End::kBroken,
     [](HostileDriver& d) { says_length(d, kMost - kHeaderBytes + 1, 100); }, kTransmit},
    {"HeaderCutShort", End::kBroken,
     [](HostileDriver& d) { d.submit({d.readable(kHeader, kHeaderBytes - 1)}); }, kTransmit},
    {"NothingToRead", End::kBroken, [](HostileDriver& d) { d.submit({d.writable(kData, 100)}); },
     kTransmit},
    {"RoomForLessThanAHeader", End::kBroken,
     [](HostileDriver& d) { d.submit({d.writable(kData, kHeaderBytes - 1)}); }, kReceive},
    {"RoomForAHeader", End::kOk,
     [](HostileDriver& d) { d.submit({d.writable(kData, kHeaderBytes)}); }, kReceive},
    {"NothingToWrite", End::kBroken, [](HostileDriver& d) { d.submit({d.readable(kData, 512)}); },
     kReceive},
};
AIRLOCK_HOSTILE_CLASS(VsockLength, kLengths);

// --- 14: packets that nobody agreed upon ---

/// Says it, and leaves it to be returned.
void says(HostileDriver& d, const VsockSay& say) {
  post_packet(d, say);
}

const HostileCase kNonsense[] = {
    {"OfAnotherGuest", End::kDropped,
     [](HostileDriver& d) { says(d, {.ports = kNobody, .source_cid = VsockSay::kCid + 1}); },
     kTransmit},
    {"OfTheHost", End::kDropped,
     [](HostileDriver& d) {
       says(d, {.ports = kNobody, .source_cid = spec::VIRTIO_VSOCK_CID_HOST});
     },
     kTransmit},
    {"OfAGuestWithHighBits", End::kDropped,
     [](HostileDriver& d) {
       says(d, {.ports = kNobody, .source_cid = std::uint64_t{1} << 32 | VsockSay::kCid});
     },
     kTransmit},
    {"ToItself", End::kDropped,
     [](HostileDriver& d) { says(d, {.ports = kNobody, .target_cid = VsockSay::kCid}); },
     kTransmit},
    {"ToAnybody", End::kDropped,
     [](HostileDriver& d) {
       says(d, {.ports = kNobody, .target_cid = spec::VIRTIO_VSOCK_CID_ANY});
     },
     kTransmit},
    {"ToAHostWithHighBits", End::kDropped,
     [](HostileDriver& d) {
       says(d,
            {.ports = kNobody, .target_cid = std::uint64_t{1} << 63 | spec::VIRTIO_VSOCK_CID_HOST});
     },
     kTransmit},
    {"OfNoType", End::kDropped, [](HostileDriver& d) { says(d, {.ports = kNobody, .type = 0}); },
     kTransmit},
    {"OfAnUnknownType", End::kDropped,
     [](HostileDriver& d) { says(d, {.ports = kNobody, .type = 0xffff}); }, kTransmit},
    {"SeqpacketWithoutItsFeature", End::kDropped,
     [](HostileDriver& d) {
       says(d, {.op = VIRTIO_VSOCK_OP_REQUEST, .ports = kPorts, .type = kSeqpacket});
     },
     kTransmit},
    {"OfNoOperation", End::kDropped, [](HostileDriver& d) { says(d, {.op = 0, .ports = kNobody}); },
     kTransmit},
    {"OfAnUnknownOperation", End::kDropped,
     [](HostileDriver& d) { says(d, {.op = 0xffff, .ports = kNobody}); }, kTransmit},
    {"DataOfNoConnection", End::kDropped,
     [](HostileDriver& d) { says(d, {.ports = kNobody, .text = "lost"}); }, kTransmit},
    {"ResponseToNothing", End::kDropped,
     [](HostileDriver& d) { says(d, {.op = VIRTIO_VSOCK_OP_RESPONSE, .ports = kNobody}); },
     kTransmit},
    {"ShutdownOfNothing", End::kDropped,
     [](HostileDriver& d) { says(d, {.op = VIRTIO_VSOCK_OP_SHUTDOWN, .ports = kNobody}); },
     kTransmit},
    {"ResetOfNothing", End::kOk,  // never a reset for a reset
     [](HostileDriver& d) { says(d, {.op = VIRTIO_VSOCK_OP_RST, .ports = kNobody}); }, kTransmit},
};
AIRLOCK_HOSTILE_CLASS(VsockNonsense, kNonsense);

// --- 13: credit and states of a connection ---

/// A connection; what the guest says then ends it by a reset.
void is_reset_after(HostileDriver& d, const VsockSay& say) {
  const Fd end = connect_vsock(d, say.ports, say.type);
  EXPECT_TRUE(end);
  EXPECT_TRUE(say_packet(d, say));
  EXPECT_TRUE(hear_packet(d, VIRTIO_VSOCK_OP_RST, say.ports));
  char byte = 0;
  EXPECT_TRUE(eventually([&] { return recv(end.get(), &byte, 1, 0) == 0; }))
      << "the host was not told";
}

/// Sends more than a socket of the host and all credit there is hold together, to a host that reads
/// nothing.
void overdraws(HostileDriver& d, std::uint16_t type, std::uint32_t flags) {
  constexpr unsigned kPackets = 64;
  const Fd end = connect_vsock(d, kPorts, type);
  EXPECT_TRUE(end);
  const std::string text(0x8000, 'x');
  for (unsigned i = 0; i < kPackets; ++i)
    EXPECT_TRUE(say_packet(d, {.ports = kPorts, .text = text, .flags = flags, .type = type}));
  EXPECT_TRUE(hear_packet(d, VIRTIO_VSOCK_OP_RST, kPorts));
}

const HostileCase kStates[] = {
    {"SecondRequest", End::kGoesOn,
     [](HostileDriver& d) { is_reset_after(d, {.op = VIRTIO_VSOCK_OP_REQUEST, .ports = kPorts}); },
     kTransmit},
    {"ResponseToItsOwnRequest", End::kGoesOn,
     [](HostileDriver& d) { is_reset_after(d, {.op = VIRTIO_VSOCK_OP_RESPONSE, .ports = kPorts}); },
     kTransmit},
    {"NoOperationOfAConnection", End::kGoesOn,
     [](HostileDriver& d) { is_reset_after(d, {.op = 8, .ports = kPorts}); }, kTransmit},
    {"ShutdownWithAllFlags", End::kGoesOn,
     [](HostileDriver& d) {
       is_reset_after(d, {.op = VIRTIO_VSOCK_OP_SHUTDOWN, .ports = kPorts, .flags = kMost});
     },
     kTransmit},
    {"MoreThanItsCredit", End::kGoesOn,
     [](HostileDriver& d) { overdraws(d, spec::VIRTIO_VSOCK_TYPE_STREAM, 0); }, kTransmit},
    {"MessageWithoutAnEnd", End::kGoesOn, [](HostileDriver& d) { overdraws(d, kSeqpacket, 0); },
     kTransmit, kWithSeqpacket},
    {"MessageEndsWithNothingInIt", End::kGoesOn,
     [](HostileDriver& d) {
       const Fd end = connect_vsock(d, kPorts, kSeqpacket);
       EXPECT_TRUE(end);
       for (const std::uint32_t flags : {1U, 3U, kMost})
         EXPECT_TRUE(say_packet(d, {.ports = kPorts, .flags = flags, .type = kSeqpacket}));
       EXPECT_TRUE(
           say_packet(d, {.ports = kPorts, .text = "whole", .flags = 1, .type = kSeqpacket}));
       std::array<char, 16> text{};
       EXPECT_TRUE(eventually([&] { return recv(end.get(), text.data(), text.size(), 0) == 5; }));
     },
     kTransmit, kWithSeqpacket},
    {"AnotherTypeThanTheConnections", End::kGoesOn,
     [](HostileDriver& d) {
       const Fd end = connect_vsock(d, kPorts);
       const std::uint64_t before = d.target().subject().refusals();
       EXPECT_TRUE(say_packet(d, {.ports = kPorts, .text = "x", .type = kSeqpacket}));
       EXPECT_EQ(d.target().subject().refusals(), before + 1);
       EXPECT_TRUE(say_packet(d, {.op = VIRTIO_VSOCK_OP_RST, .ports = kPorts}));
     },
     kTransmit, kWithSeqpacket},
    {"TookMoreThanThereWas", End::kGoesOn,  // then it has no room, whatever it says
     [](HostileDriver& d) {
       const Fd end = connect_vsock(d, kPorts);
       for (const std::uint32_t taken : {1U, 0x8000'0000U, kMost})
         EXPECT_TRUE(say_packet(
             d, {.op = VIRTIO_VSOCK_OP_CREDIT_UPDATE, .ports = kPorts, .fwd_cnt = taken}));
       EXPECT_EQ(send(end.get(), "secret", 6, MSG_NOSIGNAL), 6);
       EXPECT_TRUE(say_packet(
           d, {.op = VIRTIO_VSOCK_OP_CREDIT_REQUEST, .ports = kPorts, .fwd_cnt = kMost}));
     },
     kTransmit},
    {"RoomShrinksToNothing", End::kGoesOn,
     [](HostileDriver& d) {
       const Fd end = connect_vsock(d, kPorts);
       EXPECT_TRUE(
           say_packet(d, {.op = VIRTIO_VSOCK_OP_CREDIT_UPDATE, .ports = kPorts, .buf_alloc = 0}));
       EXPECT_EQ(send(end.get(), "secret", 6, MSG_NOSIGNAL), 6);
       EXPECT_TRUE(
           say_packet(d, {.op = VIRTIO_VSOCK_OP_CREDIT_UPDATE, .ports = kPorts, .buf_alloc = 3}));
       std::string text;
       EXPECT_TRUE(hear_packet(d, VIRTIO_VSOCK_OP_RW, kPorts, &text));
       EXPECT_EQ(text, "sec") << "more than there was room for";
       EXPECT_TRUE(say_packet(d, {.op = VIRTIO_VSOCK_OP_RST, .ports = kPorts}));
     },
     kTransmit},
    {"LargestPorts", End::kGoesOn,
     [](HostileDriver& d) {
       const Fd end = connect_vsock(d, {.guest = kMost, .host = kVsockHostPort});
       EXPECT_TRUE(end);
     },
     kTransmit},
};
AIRLOCK_HOSTILE_CLASS(VsockStates, kStates);

// --- 12: packets without end ---

const HostileCase kStorms[] = {
    {"OfResets", End::kGoesOn,
     [](HostileDriver& d) {
       const Fd end = connect_vsock(d, kPorts);
       for (unsigned round = 0; round < 2000 / kRoundsDivisor; ++round)
         EXPECT_TRUE(say_packet(d, {.op = VIRTIO_VSOCK_OP_RST, .ports = kPorts}));
     },
     kTransmit},
    {"OfRequestsThatNobodyHears", End::kGoesOn,  // as many as answers are kept
     [](HostileDriver& d) {
       std::uint32_t port = 0;
       for (; port < device::VsockConnections::kResetsMost; ++port)
         EXPECT_TRUE(say_packet(d, {.ports = {.guest = port, .host = 1}}));
       says(d, {.ports = {.guest = port, .host = 1}});
       EXPECT_TRUE(AttackTarget::comes_to_rest());
       // One answer more may be in the receive queue's hand, which waits for a buffer with it.
       const std::uint64_t refused = d.target().subject().refusals();
       EXPECT_GE(refused, device::VsockConnections::kResetsMost);
       EXPECT_LE(refused, device::VsockConnections::kResetsMost + 1);
       // It goes on once the guest has heard half of them.
       EXPECT_TRUE(hear_packet(d, VIRTIO_VSOCK_OP_RST, {.guest = port / 2, .host = 1}));
       EXPECT_TRUE(d.wait_used(d.queue()));
     },
     kTransmit},
    {"OfConnectionsThatComeAndGo", End::kGoesOn,
     [](HostileDriver& d) {
       for (unsigned round = 0; round < 200 / kRoundsDivisor; ++round) {
         EXPECT_TRUE(connect_vsock(d, kPorts));
         EXPECT_TRUE(say_packet(d, {.op = VIRTIO_VSOCK_OP_RST, .ports = kPorts}));
       }
     },
     kTransmit},
};
AIRLOCK_HOSTILE_CLASS(VsockStorm, kStorms);

}  // namespace
}  // namespace airlock::testing
