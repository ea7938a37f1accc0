// SPDX-License-Identifier: Apache-2.0
//
// For tests and fuzzing: devices on the other side of a guard, which answer on the test's own
// thread.
#pragma once

#include <fcntl.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/event_fd.h"
#include "guard/device_source.h"
#include "spec/pci.h"
#include "spec/virtio_pci.h"
#include "vfio_user/recording_handler.h"
#include "vfio_user/session.h"
#include "wire/raw_peer.h"

namespace airlock::guard {

using vfio_user::Bytes;
using vfio_user::Message;
using vfio_user::RawPeer;
using vfio_user::RecordingHandler;

/// A virtio device of plain memory, which answers as it is told, or not at all.
class FakeDevice {
 public:
  static constexpr std::uint64_t kCommon = 0;     // in region 0, as its capabilities say
  static constexpr std::uint64_t kNotify = 4096;  // likewise
  static constexpr std::uint8_t kCommonCap = 64;
  static constexpr std::uint8_t kNotifyCap = 80;

  /// `kept`: the memory that the guard gave it to go on with, if any.
  FakeDevice(Fd socket, Fd kept)
      : peer(std::move(socket)), region(std::move(kept)), session_(handler, {}, [] {}) {
    auto& config = handler.memory[spec::VFIO_PCI_CONFIG_REGION_INDEX];
    put(config, spec::PCI_VENDOR_ID, Le16(spec::VIRTIO_PCI_VENDOR_ID));
    put(config, spec::PCI_DEVICE_ID, Le16(spec::VIRTIO_PCI_DEVICE_ID_BASE + 2));
    put(config, spec::PCI_STATUS, Le16(spec::PCI_STATUS_CAP_LIST));
    put(config, spec::PCI_CAPABILITY_LIST, kCommonCap);
    spec::VirtioPciNotifyCap cap{};
    cap.cap = {.cap_vndr = spec::PCI_CAP_ID_VNDR,
               .cap_next = kNotifyCap,
               .cap_len = sizeof cap.cap,
               .cfg_type = spec::VIRTIO_PCI_CAP_COMMON_CFG,
               .bar = RecordingHandler::kPlain,
               .id = 0,
               .padding = {},
               .offset = Le32(kCommon),
               .length = Le32(sizeof(spec::VirtioPciCommonCfg))};
    put(config, kCommonCap, cap.cap);
    cap.cap.cap_next = 0;
    cap.cap.cap_len = sizeof cap;
    cap.cap.cfg_type = spec::VIRTIO_PCI_CAP_NOTIFY_CFG;
    cap.cap.offset = Le32(kNotify);
    cap.notify_off_multiplier = Le32(4);
    put(config, kNotifyCap, cap);
  }

  template <class T>
  static void put(std::vector<std::byte>& memory, std::size_t offset, const T& value) {
    std::ranges::copy(vfio_user::bytes_of(value),
                      memory.begin() + static_cast<std::ptrdiff_t>(offset));
  }

  /// Answers what has arrived, unless it is silent. Whether there was anything.
  bool serve() {
    bool any = false;
    while (!silent && patience != 0 && peer.fd() >= 0 && peer.readable(0)) {
      auto message = peer.receive();
      if (!message) {
        session_.close();
        peer.close();
        return true;
      }
      if ((message->header.flags & spec::VFIO_USER_F_TYPE_MASK) == spec::VFIO_USER_F_TYPE_REPLY) {
        answers.push_back(std::move(*message));  // to what a test had the device ask
        continue;
      }
      any = true;
      if (patience > 0) --patience;
      session_.handle(std::move(*message));
      while (auto reply = session_.take_reply()) {
        // The guard may have had enough of this device.
        if (!peer.send(reply->bytes, reply->fds)) {
          peer.close();
          return true;
        }
      }
    }
    return any;
  }

  RawPeer peer;
  RecordingHandler handler;
  Fd region;
  bool silent = false;
  int patience = -1;  // how many messages it still answers; below 0: all
  std::vector<Message> answers;

 private:
  vfio_user::Session session_;
};

/// Gives out devices that the test then has in its hands.
class FakeSource final : public DeviceSource {
 public:
  FakeSource() : ready_(MUST(EventFd::create())) {}

  [[nodiscard]] bool restarts() const override { return can_restart; }
  Result<void> ask(int region) override {
    ++asked;
    if (refuse) return fail(system_error(ECONNREFUSED));
    auto [peer, end] = RawPeer::pair();
    Fd kept;
    if (region >= 0) kept = MUST(own_fd(fcntl(region, F_DUPFD_CLOEXEC, 0)));
    device =
        std::make_unique<FakeDevice>(Fd(fcntl(peer.fd(), F_DUPFD_CLOEXEC, 0)), std::move(kept));
    if (prepare) prepare(*device);
    socket_ = std::move(end);
    ready_.signal();
    return {};
  }
  Result<void> end() override {
    ++ended;
    return {};
  }
  [[nodiscard]] int fd() const override { return ready_.fd(); }
  Result<std::optional<Fd>> take() override {
    if (!ready_.drain()) return std::nullopt;
    return std::move(socket_);
  }

  bool can_restart = false;
  bool refuse = false;
  int asked = 0;
  int ended = 0;
  std::unique_ptr<FakeDevice> device;  // the last one
  std::function<void(FakeDevice&)> prepare;

 private:
  EventFd ready_;
  Fd socket_;
};

}  // namespace airlock::guard
