// SPDX-License-Identifier: Apache-2.0
#include "guard/vm_session.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include <fmt/core.h>

#include "guard/limits.h"
#include "guard/version.h"

namespace airlock::guard {

namespace {

using vfio_user::bytes_of;
using vfio_user::require_struct;

// Guest memory in so many parts, more than any VM has slots for.
constexpr std::size_t kMaxMaps = 65536;
// DMA of the device's that the VM has not answered yet.
constexpr std::size_t kMaxDma = 64;
// Commands that wait for their turn, before no more are read.
constexpr std::size_t kMaxPending = 256;

bool is_answer(const spec::VfioUserHeader& header) {
  return (header.flags & spec::VFIO_USER_F_TYPE_MASK) == spec::VFIO_USER_F_TYPE_REPLY;
}

}  // namespace

VmSession::VmSession(const Device::Options& options, Poller& poller, DeviceSource& source,
                     Audit& audit, Fd socket, std::function<void()> ended)
    : rules_(options.rules),
      poller_(poller),
      audit_(audit),
      ended_(std::move(ended)),
      channel_(std::move(socket), {.max_message_size = kMaxMessage, .max_fds = kMaxVmFds}),
      device_(options, poller, source, audit,
              {.ready = [this] { proceed({}); },
               .unusable =
                   [this](const std::string& why) {
                     log(LogLevel::kError, "the device is of no use: {}", why);
                     end();
                   },
               .command =
                   [this](vfio_user::Message message) {
                     return on_device_command(std::move(message));
                   }}) {}

Result<void> VmSession::start() {
  watch_ = TRY(poller_.watch(channel_.fd(), 0, [this] { on_vm(); }));
  device_.start();
  return {};
}

void VmSession::on_vm() {
  note(channel_.flush());
  run();
}

// Acts on commands in their order, one at a time. Answers are taken at once: the device may need
// one before it answers what the VM waits for.
void VmSession::run() {
  if (std::exchange(running_, true)) return;
  while (!ended_said_) {
    if (!busy_ && !pending_.empty()) {
      vfio_user::Message message = std::move(pending_.front());
      pending_.pop_front();
      note(handle(std::move(message)));
      continue;
    }
    if (pending_.size() >= kMaxPending) break;
    auto received = channel_.receive();
    if (!received) {
      note(std::unexpected(received.error()));
      continue;
    }
    std::optional<vfio_user::Message> message = std::move(*received);
    if (!message) break;
    if (is_answer(message->header)) {
      note(on_dma_answer(*message));
    } else {
      pending_.push_back(std::move(*message));
    }
  }
  running_ = false;
  note({});
}

void VmSession::note(const Result<void>& done) {
  if (ended_said_) return;
  if (!done) {
    if (done.error().code != Errc::kPeerClosed) {
      log(LogLevel::kError, "the VM's connection is given up: {}", describe(done.error()));
    }
    return end();
  }
  watch_.wait_for((pending_.size() >= kMaxPending ? 0U : EPOLLIN) |
                  (channel_.unsent() ? EPOLLOUT : 0U));
}

// The command that the VM waited for is answered: the next one's turn.
void VmSession::proceed(const Result<void>& answered) {
  busy_ = false;
  note(answered);
  run();
}

void VmSession::end() {
  if (std::exchange(ended_said_, true)) return;
  watch_ = {};
  ended_();
}

Result<void> VmSession::answer(const Header& request, Payload payload, Fd fd) {
  if ((request.flags & spec::VFIO_USER_F_NO_REPLY) != 0) return {};
  return channel_.send(reply(request, payload, std::move(fd)));
}

Result<void> VmSession::refuse(const Header& request, airlock_guard_reason reason) {
  seen(request, Decision::kRefused, reason);
  if ((request.flags & spec::VFIO_USER_F_NO_REPLY) != 0) return {};
  return channel_.send(error_reply(request, airlock_guard_explain(reason).error));
}

void VmSession::seen(const Header& request, Decision decision, airlock_guard_reason reason) {
  const std::string command = command_name(request.command);
  audit_.record({.message = command.c_str(), .decision = decision, .reason = words(reason)});
}

Result<void> VmSession::handle(vfio_user::Message message) {
  const Header& header = message.header;
  const airlock_guard_header judged = core_header(header);
  const auto reason = airlock_guard_command(&rules_, false, &judged, core_fds(message));
  const auto action = airlock_guard_explain(reason).action;
  const bool in_order = (header.command == spec::VFIO_USER_VERSION) != negotiated_;
  if (action == AIRLOCK_GUARD_LOST || !in_order) return fail(Errc::kMalformed);
  if (action == AIRLOCK_GUARD_REFUSE) return refuse(header, reason);
  return dispatch(message);
}

Result<void> VmSession::dispatch(vfio_user::Message& message) {
  const Header& header = message.header;
  switch (header.command) {
    case spec::VFIO_USER_VERSION:
      return on_version(header, message.payload);
    case spec::VFIO_USER_DMA_MAP:
      return on_dma_map(message);
    case spec::VFIO_USER_DMA_UNMAP:
      return on_dma_unmap(header, message.payload);
    case spec::VFIO_USER_DEVICE_GET_INFO:
      return on_device_info(header);
    case spec::VFIO_USER_DEVICE_GET_REGION_INFO:
      return on_region_info(header, message.payload);
    case spec::VFIO_USER_DEVICE_GET_IRQ_INFO:
      return on_irq_info(header, message.payload);
    case spec::VFIO_USER_DEVICE_SET_IRQS:
      return on_set_irqs(message);
    case spec::VFIO_USER_REGION_READ:
      return on_region_read(header, message.payload);
    case spec::VFIO_USER_REGION_WRITE:
      return on_region_write(header, message.payload);
    case spec::VFIO_USER_DEVICE_RESET:
      return on_reset(header);
    default:
      return refuse(header, AIRLOCK_GUARD_UNKNOWN_COMMAND);
  }
}

// -- What the device is, as it said once.

Result<void> VmSession::on_version(const Header& header, Payload payload) {
  const auto version = require_struct<spec::VfioUserVersion>(payload);
  if (version.major != 0) return fail(Errc::kUnsupported);
  negotiated_ = true;
  return answer(header, version_payload());
}

Result<void> VmSession::on_device_info(const Header& header) {
  const spec::VfioUserDeviceInfo info{.argsz = sizeof info,
                                      .flags = device_.profile()->flags,
                                      .num_regions = spec::VFIO_PCI_NUM_REGIONS,
                                      .num_irqs = spec::VFIO_PCI_NUM_IRQS};
  return answer(header, bytes_of(info));
}

Result<void> VmSession::on_region_info(const Header& header, Payload payload) {
  const auto request = require_struct<spec::VfioUserRegionInfo>(payload);
  if (request.index >= spec::VFIO_PCI_NUM_REGIONS) {
    return refuse(header, AIRLOCK_GUARD_BAD_REGION);
  }
  const ProfileRegion& region = device_.profile()->regions.at(request.index);
  const RegionReply reply = region_reply(region, request.index, request.argsz);
  Fd copy;
  if (reply.with_fd) copy = TRY(region.fd.duplicate());
  return answer(header, reply.payload, std::move(copy));
}

Result<void> VmSession::on_irq_info(const Header& header, Payload payload) {
  const auto request = require_struct<spec::VfioUserIrqInfo>(payload);
  if (request.index >= spec::VFIO_PCI_NUM_IRQS) return refuse(header, AIRLOCK_GUARD_BAD_IRQ);
  const ProfileIrq& irq = device_.profile()->irqs.at(request.index);
  const spec::VfioUserIrqInfo info{
      .argsz = sizeof info, .flags = irq.flags, .index = request.index, .count = irq.count};
  return answer(header, bytes_of(info));
}

// -- Guest memory.

airlock_guard_memory VmSession::memory() {
  const auto queues = snooper_.queues();
  return {.maps = maps_.data(),
          .queues = queues.data(),
          .map_count = static_cast<std::uint32_t>(maps_.size()),
          .queue_count = static_cast<std::uint32_t>(queues.size())};
}

Result<void> VmSession::on_dma_map(vfio_user::Message& message) {
  const auto wire = require_struct<spec::VfioUserDmaMap>(message.payload);
  const airlock_guard_map map{.address = wire.address, .size = wire.size, .flags = wire.flags};
  // Whatever is decided: an fd that is not passed on is closed with the message.
  Fd fd;
  if (!message.fds.empty()) fd = std::move(message.fds.front());
  const airlock_guard_file file = file_facts(fd);
  if (fd && device_.is_region_file(TRY(FileId::of(fd)))) {
    // The device has given the VM's own memory out as its region, so it has had it before. A VM
    // that begins had better not; one that runs keeps everything else.
    const std::string why = fmt::format("{:#x}+{:#x}, the device has this file for its region",
                                        wire.address, wire.size);
    audit_.record({.message = "DMA_MAP", .decision = Decision::kFailed, .reason = why});
    if (!device_.in_use()) {
      log(LogLevel::kError, "the device has a file of the VM's memory");
      return fail(Errc::kWrongState);
    }
    device_.condemn("it has a file of the VM's memory");
    return refuse(message.header, AIRLOCK_GUARD_FILE_OF_VM);
  }
  airlock_guard_share share{};
  const auto known = memory();
  const auto reason = airlock_guard_dma_map(&rules_, &known, &map, wire.offset, &file, &share);
  if (reason != AIRLOCK_GUARD_PASS) return refuse(message.header, reason);
  if (maps_.size() >= kMaxMaps) return refuse(message.header, AIRLOCK_GUARD_TABLE_FULL);
  maps_.push_back(map);
  if (rules_.policy == AIRLOCK_GUARD_SNOOP && fd) {
    snooper_.map({.address = window::BusAddress(wire.address),
                  .size = wire.size,
                  .file_offset = wire.offset,
                  .protection = shm::Protection::kRead},
                 fd);
  }
  const char* const what_of_fd = !fd             ? "no file"
                                 : share.with_fd ? "its file passed on"
                                                 : "its file closed";
  audit_.record({.message = "DMA_MAP",
                 .decision = share.tell ? Decision::kForwarded : Decision::kAnswered,
                 .reason = fmt::format("{:#x}+{:#x}, {}", wire.address, wire.size, what_of_fd)});
  if (share.tell) {
    device_.map({.address = share.address,
                 .size = share.size,
                 .file_offset = wire.offset,
                 .readable = (wire.flags & spec::VFIO_USER_F_DMA_REGION_READ) != 0,
                 .writable = (wire.flags & spec::VFIO_USER_F_DMA_REGION_WRITE) != 0},
                share.with_fd ? std::move(fd) : Fd());
  }
  return answer(message.header);
}

Result<void> VmSession::on_dma_unmap(const Header& header, Payload payload) {
  const auto wire = require_struct<spec::VfioUserDmaUnmap>(payload);
  if (wire.flags == spec::VFIO_USER_F_DMA_UNMAP_ALL && wire.address == 0 && wire.size == 0) {
    maps_.clear();
    snooper_.unmap(0, ~std::uint64_t{0});
    seen(header, Decision::kAnswered, AIRLOCK_GUARD_OWN_ANSWER);
    device_.unmap(0, ~std::uint64_t{0});
    return answer(header, payload);
  }
  const auto known = memory();
  const auto reason = wire.flags != 0 ? AIRLOCK_GUARD_BAD_FLAGS
                                      : airlock_guard_dma_unmap(&known, wire.address, wire.size);
  if (reason != AIRLOCK_GUARD_PASS) return refuse(header, reason);
  std::erase_if(maps_, [&](const airlock_guard_map& map) {
    return airlock_range_inside(map.address, map.size, wire.address, wire.size);
  });
  snooper_.unmap(wire.address, wire.size);
  const auto share = airlock_guard_clip(&rules_, wire.address, wire.size);
  seen(header, share.tell ? Decision::kForwarded : Decision::kAnswered, reason);
  if (share.tell) device_.unmap(share.address, share.size);
  return answer(header, payload);
}

Result<void> VmSession::on_device_command(vfio_user::Message message) {
  const Header& header = message.header;
  const airlock_guard_header judged = core_header(header);
  auto reason = airlock_guard_command(&rules_, true, &judged, core_fds(message));
  if (airlock_guard_explain(reason).action == AIRLOCK_GUARD_LOST) return fail(Errc::kMalformed);
  if (reason != AIRLOCK_GUARD_PASS) {
    refuse_device(header, reason);
    return {};
  }
  // The same two numbers are in front of both, address and count.
  const auto access = require_struct<std::array<std::uint64_t, 2>>(message.payload);
  const auto [address, count] = access;
  const bool write = header.command == spec::VFIO_USER_DMA_WRITE;
  if (rules_.policy == AIRLOCK_GUARD_SNOOP && device_.virtio() != nullptr) {
    snooper_.follow(*device_.virtio());
  }
  const auto known = memory();
  reason = airlock_guard_dma(&rules_, &known, write, address, count,
                             message.payload.size() - sizeof access);
  if (reason == AIRLOCK_GUARD_PASS && write && !snooper_.keeps_used_elements(address, count)) {
    reason = AIRLOCK_GUARD_NOT_INVITED;
  }
  if (reason == AIRLOCK_GUARD_PASS && dma_.size() >= kMaxDma) reason = AIRLOCK_GUARD_TABLE_FULL;
  if (reason != AIRLOCK_GUARD_PASS) {
    refuse_device(header, reason);
    return {};
  }
  if (write) snooper_.wrote(address, std::span(message.payload).subspan(sizeof access));
  audit_.record({.message = write ? "DMA_WRITE" : "DMA_READ",
                 .decision = Decision::kForwarded,
                 .reason = fmt::format("{:#x}+{:#x}", address, count)});
  while (dma_.contains(next_dma_))
    ++next_dma_;
  const std::uint16_t id = next_dma_++;
  DmaRequest& request = dma_[id];
  request.header = header;
  request.asked.id = id;
  request.asked.command = header.command;
  request.asked.room = static_cast<std::uint32_t>(count);
  note(channel_.send(command(id, header.command, message.payload)));
  return {};
}

void VmSession::refuse_device(const Header& request, airlock_guard_reason reason) {
  seen(request, Decision::kRefused, reason);
  if ((request.flags & spec::VFIO_USER_F_NO_REPLY) != 0) return;
  device_.answer_command(error_reply(request, airlock_guard_explain(reason).error));
}

Result<void> VmSession::on_dma_answer(const vfio_user::Message& message) {
  const auto found = dma_.find(message.header.message_id);
  if (found == dma_.end()) return fail(Errc::kMalformed);
  const DmaRequest request = found->second;
  dma_.erase(found);
  const airlock_guard_header judged = core_header(message.header);
  const std::array<std::uint64_t, 2> none{};
  if (airlock_guard_reply(&request.asked, &judged, core_fds(message), none.data()) !=
      AIRLOCK_GUARD_PASS) {
    return fail(Errc::kMalformed);
  }
  if ((message.header.flags & spec::VFIO_USER_F_ERROR) != 0) {
    device_.answer_command(error_reply(request.header, message.header.error));
  } else {
    device_.answer_command(reply(request.header, message.payload));
  }
  return {};
}

// -- Registers and interrupts.

// Where an access goes, if it goes anywhere.
airlock_guard_reason VmSession::judge(const spec::VfioUserRegionAccess& access) const {
  if (access.region >= spec::VFIO_PCI_NUM_REGIONS) return AIRLOCK_GUARD_BAD_REGION;
  const std::uint64_t size = device_.profile()->regions.at(access.region).size;
  const bool good = access.count != 0 && access.count <= kMaxAccess &&
                    airlock_range_within(access.offset, access.count, size);
  return good ? AIRLOCK_GUARD_PASS : AIRLOCK_GUARD_BAD_RANGE;
}

Result<void> VmSession::on_region_read(const Header& header, Payload payload) {
  const auto access = require_struct<spec::VfioUserRegionAccess>(payload);
  if (const auto reason = judge(access); reason != AIRLOCK_GUARD_PASS) {
    return refuse(header, reason);
  }
  busy_ = true;
  device_.read(access.region, access.offset, access.count,
               [this, header, access](std::span<const std::byte> bytes) {
                 std::vector<std::byte> answered = bytes_of(access);
                 answered.insert(answered.end(), bytes.begin(), bytes.end());
                 proceed(answer(header, answered));
               });
  return {};
}

Result<void> VmSession::on_region_write(const Header& header, Payload payload) {
  const auto access = require_struct<spec::VfioUserRegionAccess>(payload);
  const Payload bytes = payload.subspan(sizeof access);
  auto reason = judge(access);
  if (reason == AIRLOCK_GUARD_PASS && bytes.size() != access.count) reason = AIRLOCK_GUARD_BAD_SIZE;
  if (reason != AIRLOCK_GUARD_PASS) return refuse(header, reason);
  device_.write({.region = access.region,
                 .offset = access.offset,
                 .bytes = std::vector(bytes.begin(), bytes.end())});
  return answer(header, bytes_of(access));
}

Result<void> VmSession::on_set_irqs(vfio_user::Message& message) {
  const auto wire = require_struct<spec::VfioUserIrqSet>(message.payload);
  const Payload data = Payload(message.payload).subspan(sizeof wire);
  const airlock_guard_irq_set request{.argsz = wire.argsz,
                                      .flags = wire.flags,
                                      .index = wire.index,
                                      .start = wire.start,
                                      .count = wire.count};
  std::array<std::uint32_t, spec::VFIO_PCI_NUM_IRQS> counts{};
  for (std::size_t i = 0; i < counts.size(); ++i)
    counts.at(i) = device_.profile()->irqs.at(i).count;
  const auto reason = airlock_guard_set_irqs(
      &request, data.size(), static_cast<std::uint32_t>(message.fds.size()), counts.data());
  const auto action = airlock_guard_explain(reason).action;
  if (action == AIRLOCK_GUARD_REFUSE) return refuse(message.header, reason);
  if (action == AIRLOCK_GUARD_FORWARD) TRY(device_.set_irqs(wire, data, std::move(message.fds)));
  return answer(message.header);
}

Result<void> VmSession::on_reset(const Header& header) {
  if ((device_.profile()->flags & spec::VFIO_DEVICE_FLAGS_RESET) == 0) {
    return refuse(header, AIRLOCK_GUARD_OPTIONAL_COMMAND);
  }
  busy_ = true;
  device_.reset([this, header] { proceed(answer(header)); });
  return {};
}

}  // namespace airlock::guard
