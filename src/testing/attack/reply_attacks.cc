// SPDX-License-Identifier: Apache-2.0
//
// Answers that are none: too long, too short, in pieces, twice, unasked, too late, to what wants no
// answer, with descriptors that nobody expects. Each order arms one lie; the next request of its
// kind gets it.
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <string>
#include <utility>

#include <fmt/core.h>

#include "pci/virtio_pci_device.h"
#include "spec/vfio_user.h"
#include "testing/attack/attacks.h"
#include "testing/attack/search.h"

namespace airlock::testing::attack {

namespace {

using vfio_user::Bytes;
using vfio_user::Message;
using vfio_user::Outgoing;
using vfio_user::RawPeer;
using Header = spec::VfioUserHeader;

constexpr std::size_t kExtra = 4096;

void set_header(Outgoing& message, const Header& header) {
  std::memcpy(message.bytes.data(), &header, sizeof header);
}

Header header_of(const Outgoing& message) {
  return vfio_user::require_struct<Header>(message.bytes);
}

// Being late is what is tried here, so there is nothing to wait for.
void let_pass(std::uint64_t milliseconds) {
  ::poll(nullptr, 0, static_cast<int>(milliseconds));
}

std::string arm(Hostile& self, HostilePeer::Condition condition, HostilePeer::Lie lie) {
  if (self.peer) {
    self.peer->lie_once(std::move(condition), std::move(lie));
  } else {
    self.lie_condition = std::move(condition);
    self.lie = std::move(lie);
  }
  return "armed=1";
}

// A register of the disk's configuration, which nobody reads but those who are to be lied to.
bool reads_register(const Message& request) {
  if (request.header.command != spec::VFIO_USER_REGION_READ) return false;
  const auto access = vfio_user::read_struct<spec::VfioUserRegionAccess>(request.payload);
  return access && access->region == pci::kRegistersBar &&
         access->offset >= pci::kDeviceConfigOffset && access->offset < pci::kNotifyOffset;
}

bool posts_register(const Message& request) {
  return request.header.command == spec::VFIO_USER_REGION_WRITE &&
         (request.header.flags & spec::VFIO_USER_F_NO_REPLY) != 0;
}

bool asks_for_region(const Message& request) {
  if (request.header.command != spec::VFIO_USER_DEVICE_GET_REGION_INFO) return false;
  const auto info = vfio_user::read_struct<spec::VfioUserRegionInfo>(request.payload);
  return info && info->index == pci::kRegionBar && info->argsz > sizeof *info;
}

bool says_version(const Message& request) {
  return request.header.command == spec::VFIO_USER_VERSION;
}

// The reply with `change` made to its bytes.
template <class Change>
std::string arm_changed(Hostile& self, HostilePeer::Condition condition, Change change) {
  return arm(self, std::move(condition),
             [change](RawPeer& wire, const Header& /*request*/, const Outgoing& honest) {
               Outgoing reply{.bytes = honest.bytes, .fds = {}};
               change(reply);
               wire.send(reply.bytes);
             });
}

template <class Change>
std::string arm_header(Hostile& self, Change change) {
  return arm_changed(self, reads_register, [change](Outgoing& reply) {
    Header header = header_of(reply);
    change(header);
    set_header(reply, header);
  });
}

void lengthen(Outgoing& reply) {
  reply.bytes.insert(reply.bytes.end(), kExtra, std::byte{'A'});
  Header header = header_of(reply);
  header.message_size += kExtra;
  set_header(reply, header);
}

std::string oversized(Hostile& self, Words /*words*/) {
  return arm_changed(self, reads_register, lengthen);
}

std::string oversized_version(Hostile& self, Words /*words*/) {
  return arm_changed(self, says_version, lengthen);
}

// Says that gigabytes follow, and sends no more than it has to.
std::string endless(Hostile& self, Words /*words*/) {
  return arm_header(self, [](Header& header) { header.message_size = 0xffff'fff0; });
}

std::string without_data(Hostile& self, Words /*words*/) {
  return arm_changed(self, reads_register, [](Outgoing& reply) {
    reply.bytes.resize(sizeof(Header));
    Header header = header_of(reply);
    header.message_size = sizeof header;
    set_header(reply, header);
  });
}

// Says in the payload that more was read than was asked for.
std::string wrong_count(Hostile& self, Words /*words*/) {
  return arm_changed(self, reads_register, [](Outgoing& reply) {
    auto access =
        vfio_user::require_struct<spec::VfioUserRegionAccess>(reply.bytes, sizeof(Header));
    access.count = 0x10000;
    std::memcpy(reply.bytes.data() + sizeof(Header), &access, sizeof access);
  });
}

std::string wrong_id(Hostile& self, Words /*words*/) {
  return arm_header(self, [](Header& header) { header.message_id ^= 0x5555; });
}

std::string wrong_command(Hostile& self, Words /*words*/) {
  return arm_header(self, [](Header& header) { header.command = spec::VFIO_USER_DMA_MAP; });
}

std::string too_small(Hostile& self, Words /*words*/) {
  return arm_header(self, [](Header& header) { header.message_size = 3; });
}

// In two writes: any client has to take that.
std::string in_pieces(Hostile& self, Words /*words*/) {
  return arm(self, reads_register,
             [](RawPeer& wire, const Header& /*request*/, const Outgoing& reply) {
               const auto middle = reply.bytes.begin() + sizeof(Header) + 5;
               wire.send(Bytes(reply.bytes.begin(), middle));
               wire.send(Bytes(middle, reply.bytes.end()));
             });
}

// The first part only.
std::string half(Hostile& self, Words /*words*/) {
  return arm_changed(self, reads_register,
                     [](Outgoing& reply) { reply.bytes.resize(sizeof(Header) + 5); });
}

// Hangs up instead.
std::string hang_up(Hostile& self, Words /*words*/) {
  return arm(self, reads_register,
             [](RawPeer& wire, const Header& /*request*/, const Outgoing& /*reply*/) {
               shutdown(wire.fd(), SHUT_RDWR);
             });
}

std::string twice(Hostile& self, Words /*words*/) {
  return arm(self, reads_register,
             [](RawPeer& wire, const Header& /*request*/, const Outgoing& reply) {
               wire.send(reply.bytes);
               wire.send(reply.bytes);
             });
}

// A reply to nothing, in front of the one that is due.
std::string unasked(Hostile& self, Words /*words*/) {
  return arm(self, reads_register, [](RawPeer& wire, const Header& request, const Outgoing& reply) {
    wire.send(vfio_user::make_message(static_cast<std::uint16_t>(request.message_id + 100),
                                      spec::VFIO_USER_REGION_READ, Bytes(20),
                                      spec::VFIO_USER_F_TYPE_REPLY));
    wire.send(reply.bytes);
  });
}

// MILLISECONDS: that late.
std::string late(Hostile& self, Words words) {
  return arm(
      self, reads_register,
      [after = number(words[0])](RawPeer& wire, const Header& /*request*/, const Outgoing& reply) {
        let_pass(after);
        wire.send(reply.bytes);
      });
}

// Answers a write that wants no answer.
std::string to_posted(Hostile& self, Words /*words*/) {
  return arm(self, posts_register,
             [](RawPeer& wire, const Header& request, const Outgoing& /*none*/) {
               wire.send(vfio_user::make_message(request.message_id, request.command, Bytes(16),
                                                 spec::VFIO_USER_F_TYPE_REPLY));
             });
}

std::string unwanted_fd(Hostile& self, Words /*words*/) {
  return arm(self, reads_register,
             [](RawPeer& wire, const Header& /*request*/, const Outgoing& reply) {
               wire.send(reply.bytes, vfio_user::some_eventfds(1));
             });
}

std::string two_fds(Hostile& self, Words /*words*/) {
  return arm(self, asks_for_region,
             [](RawPeer& wire, const Header& /*request*/, const Outgoing& reply) {
               std::vector<Fd> fds = vfio_user::some_eventfds(1);
               fds.push_back(MUST(reply.fds.front().duplicate()));
               wire.send(reply.bytes, fds);
             });
}

constexpr std::array<Attack, 17> kReplyAttacks = {{
    {.name = "reply-oversized", .words = "", .count = 0, .run = oversized},
    {.name = "version-oversized", .words = "", .count = 0, .run = oversized_version},
    {.name = "reply-endless", .words = "", .count = 0, .run = endless},
    {.name = "reply-without-data", .words = "", .count = 0, .run = without_data},
    {.name = "reply-wrong-count", .words = "", .count = 0, .run = wrong_count},
    {.name = "reply-wrong-id", .words = "", .count = 0, .run = wrong_id},
    {.name = "reply-wrong-command", .words = "", .count = 0, .run = wrong_command},
    {.name = "reply-too-small", .words = "", .count = 0, .run = too_small},
    {.name = "reply-in-pieces", .words = "", .count = 0, .run = in_pieces},
    {.name = "reply-half", .words = "", .count = 0, .run = half},
    {.name = "reply-hang-up", .words = "", .count = 0, .run = hang_up},
    {.name = "reply-twice", .words = "", .count = 0, .run = twice},
    {.name = "reply-unasked", .words = "", .count = 0, .run = unasked},
    {.name = "reply-late", .words = "MILLISECONDS", .count = 1, .run = late},
    {.name = "reply-to-posted", .words = "", .count = 0, .run = to_posted},
    {.name = "fd-unwanted", .words = "", .count = 0, .run = unwanted_fd},
    {.name = "fds-two", .words = "", .count = 0, .run = two_fds},
}};

}  // namespace

std::span<const Attack> reply_attacks() {
  return kReplyAttacks;
}

}  // namespace airlock::testing::attack
