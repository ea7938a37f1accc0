// SPDX-License-Identifier: Apache-2.0
//
// For tests of the model `snoop`: a driver that writes its ring by hand, the trusted part as it
// runs in the rig, and a device that looks at all of the memory that it was given.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/event_fd.h"
#include "compare/models/relay.h"
#include "compare/models/snoop.h"
#include "ring/split_areas.h"
#include "ring/split_device_queue.h"
#include "spec/virtio.h"

namespace airlock::compare {

/// A queue in guest memory, as a driver writes it who may write anything.
class SnoopTest : public testing::Test {
 protected:
  using Bytes = std::vector<std::byte>;
  static constexpr std::uint64_t kBytes = std::uint64_t{2} << 20;
  static constexpr std::uint64_t kFirst = 0x80400;  // buffers, with private bytes on all sides
  static constexpr std::uint64_t kSecond = 0x90800;
  static constexpr std::uint16_t kSize = 8;
  static constexpr std::uint64_t kKey = 7;

  void SetUp() override { own_.fill(Canary(kKey)); }

  [[nodiscard]] shm::SharedBytes part(window::RegionOffset at, const ring::AreaShape& shape) const {
    return MUST(own_.bytes().slice(std::to_underlying(at), shape.bytes));
  }
  [[nodiscard]] QueueStart queue(std::uint64_t ring_features = 0) const {
    const window::Publisher publisher{.mode = window::AddressMode::kBus, .region = kPrivateBase};
    return {.features = spec::feature(spec::VIRTIO_F_VERSION_1) | ring_features,
            .size = kSize,
            .areas = {.descriptors = publisher.publish(areas_.descriptors),
                      .driver = publisher.publish(areas_.driver),
                      .device = publisher.publish(areas_.device)}};
  }
  void describe_buffer(std::uint32_t index, std::uint64_t offset, std::uint32_t length,
                       std::uint16_t flags, std::uint16_t next = 0) const {
    descriptors_.put(index, {.address = std::to_underlying(kPrivateBase) + offset,
                             .length = length,
                             .flags = flags,
                             .next = next});
  }
  void make_available(std::uint16_t head) {
    avail_.put(available_ % kSize, head);
    avail_.publish_index(ring::RingIndex(++available_));
  }
  [[nodiscard]] Bytes guest_bytes(std::uint64_t offset, std::uint64_t length) const {
    const auto bytes = own_.span().subspan(offset, length);
    return {bytes.begin(), bytes.end()};
  }

  PrivateMemory own_ = MUST(PrivateMemory::create(kBytes));
  ring::Layout layout_ { MUST(ring::QueueSize::from(kSize)) };
  ring::AreaOffsets areas_ = layout_.block_at(window::RegionOffset{0});
  ring::DescriptorWriter descriptors_{part(areas_.descriptors, layout_.descriptors())};
  ring::AvailWriter avail_{part(areas_.driver, layout_.driver())};
  ring::UsedReader used_{part(areas_.device, layout_.device())};
  std::uint16_t available_ = 0;
};

/// The trusted part as it is served, and a device at its other end.
class SnoopServedTest : public SnoopTest {
 protected:
  void SetUp() override {
    SnoopTest::SetUp();
    serve(serve_snoop);
    start(queue());
  }
  void serve(Result<void> (*trusted)(const Fd&, const Controls&)) {
    SocketPair sockets = MUST(socket_pair());
    guest_ = std::move(sockets.first);
    trusted_ = std::jthread([this, trusted, socket = std::move(sockets.second)] {
      ended_ = trusted(socket, {}).error();
    });
  }
  /// Resets the queue, whose driver then begins anew.
  void reset() {
    MUST(ask<RelayReply>(guest_, RelayRequest{.kind = RelayRequest::Kind::kReset}));
    own_.bytes().fill_zero(0, layout_.block_bytes());
    available_ = 0;
  }
  void start(const QueueStart& queue) {
    const std::array fds{own_.fd().get(), notify_.fd(), interrupt_.fd()};
    auto started = MUST(ask<RelayReply>(
        guest_, RelayRequest{.queues = 1, .queue = {queue}, .private_bytes = kBytes}, fds));
    ASSERT_EQ(started.fds.size(), 3U);
    start_ = started.message.queue[0];
    used_index_ = 0;
    device_.reset();
    auto memory =
        MUST(shm::SealedMemfd::adopt(std::move(started.fds[0]), started.message.shared_bytes));
    mapping_ = MUST(memory.map());
    doorbell_ = MUST(EventFd::adopt(std::move(started.fds[1])));
    completion_ = MUST(EventFd::adopt(std::move(started.fds[2])));
    window_ = std::make_unique<window::Window>(mapping_.bytes());
    window_->configure(window::AddressMode::kBus, window::Reach::kRegion);
    window_->set_region_bus_base(kSharedBase);
    const ring::QueueSize size = MUST(ring::QueueSize::from(start_.size));
    device_.emplace(
        MUST(ring::SplitDeviceQueue::create({.size = size, .areas = start_.areas}, *window_)));
  }
  void TearDown() override { end(); }
  Errc end() {
    guest_.reset();
    if (trusted_.joinable()) trusted_.join();
    return ended_.code;
  }

  void await(const EventFd& bell, const std::function<bool()>& there) {
    while (!there()) {
      const Fd fd = MUST(own_fd(::dup(bell.fd())));
      ASSERT_TRUE(wait_readable(fd, kAnswerWithin));
      static_cast<void>(bell.drain());
    }
  }
  /// The device's next chain.
  ring::Chain take() {
    notify_.signal();
    ring::Chain chain;
    await(doorbell_, [&] {
      return MUST(device_->pop(chain))
      .has_value();
    });
    return chain;
  }
  /// The device returns it, and the driver has it.
  ring::UsedElement finish(ring::Head head, std::uint32_t written) {
    MUST(device_->push_used(head, written));
    device_->publish();
    return await_used();
  }
  ring::UsedElement await_used() {
    const std::uint16_t slot = used_index_++ % kSize;
    completion_.signal();
    await(interrupt_, [&] { return used_.acquire_index() == ring::RingIndex(used_index_); });
    return used_.snapshot(slot);
  }
  /// A used element of the shadow ring, whatever the device was given; and how the trusted part
  /// ended over it.
  Errc lie(const ring::UsedElement& element) {
    const auto area = MUST(
        window_->translate(start_.areas.device, layout_.device().bytes, window::Access::kWrite));
    const ring::UsedWriter writer(area);
    writer.put(0, element);
    writer.publish_index(ring::RingIndex(1));
    completion_.signal();
    trusted_.join();
    return ended_.code;
  }
  /// What of the device's memory stands where the shadow ring's descriptor `index` points, and on.
  [[nodiscard]] std::uint64_t shadow_offset(std::uint32_t index) const {
    const auto table = MUST(window_->translate(start_.areas.descriptors,
                                               layout_.descriptors().bytes, window::Access::kRead));
    return ring::DescriptorReader(table).snapshot(index).address - std::to_underlying(kSharedBase);
  }
  [[nodiscard]] Bytes shadow_bytes(std::uint64_t offset, std::uint64_t length) const {
    Bytes bytes(length);
    mapping_.bytes().copy_out(offset, bytes);
    return bytes;
  }
  /// Words of the guest's that are anywhere in the device's memory.
  [[nodiscard]] std::vector<std::uint64_t> words_in_sight() const {
    std::vector<std::uint64_t> found;
    const Canary canary(kKey);
    for (std::uint64_t at = 0; at < mapping_.bytes().size(); at += Canary::kWordBytes) {
      const auto word = mapping_.bytes().load_relaxed<std::uint64_t>(at);
      if (word == 0) continue;
      const auto index = canary.index_of(word, kBytes / Canary::kWordBytes);
      if (index) found.push_back(*index * Canary::kWordBytes);
    }
    return found;
  }

  Fd guest_;
  std::jthread trusted_;
  Error ended_{};
  EventFd notify_ = MUST(EventFd::create_shared());
  EventFd interrupt_ = MUST(EventFd::create_shared());
  QueueStart start_;
  shm::Mapping mapping_;
  EventFd doorbell_;
  EventFd completion_;
  std::unique_ptr<window::Window> window_;
  std::optional<ring::SplitDeviceQueue> device_;
  std::uint16_t used_index_ = 0;
};

/// The part that reads the guest's ring, alone, in the test's thread.
class SnoopFrontTest : public SnoopTest {
 protected:
  void SetUp() override {
    SnoopTest::SetUp();
    window_.configure(window::AddressMode::kBus, window::Reach::kRegion);
    window_.set_region_bus_base(kPrivateBase);
  }
  Result<std::unique_ptr<RelayFront>> make(const QueueStart& start) {
    return make_snoop_front(start, own_, window_);
  }

  window::Window window_{own_.bytes()};
};

}  // namespace airlock::compare
