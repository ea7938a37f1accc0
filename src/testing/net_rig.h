// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "device/net/net_device.h"
#include "spec/virtio.h"
#include "testing/chain_builder.h"
#include "testing/fake_driver.h"
#include "testing/fake_network.h"
#include "testing/net_header.h"
#include "testing/test_region.h"

namespace airlock::testing {

/// A network card in this process, between a driver that writes its rings by hand and a network in
/// the hands of a test. One thread: queues run when they are polled, the control thread's work is
/// done at once, or, with `hold_posts`, when run_posts() is called.
class NetRig {
 public:
  static constexpr std::uint16_t kSlots = 32;
  static constexpr device::MacAddress kMac = {0x52, 0x54, 0, 1, 2, 3};

  explicit NetRig(device::NetShape shape = {}) : shape_(shape) {
    shape_.queue_size = kSlots;
    shape_.mac = kMac;
    device_ = MUST(device::NetDevice::create({.backend = std::make_unique<FakeNetBackend>(network_),
                                              .shape = shape_,
                                              .ring_features = 0}));
    device_->attach({.post =
                         [this](std::function<void()> work) {
                           posts_.push_back(std::move(work));
                           if (!hold_posts) run_posts();
                         },
                     .config_changed = [this] { ++config_changes; }});
  }
  NetRig(const NetRig&) = delete;
  NetRig& operator=(const NetRig&) = delete;

  /// Makes every queue that a driver with these features has.
  void start(std::uint64_t features) {
    const bool mq = (features & spec::feature(spec::VIRTIO_NET_F_MQ)) != 0;
    const std::uint16_t pairs = mq ? shape_.pairs : std::uint16_t{1};
    const bool control = (features & spec::feature(spec::VIRTIO_NET_F_CTRL_VQ)) != 0;
    control_ = 2 * pairs;
    for (std::uint16_t queue = 0; queue < 2 * pairs + (control ? 1 : 0); ++queue) {
      tasks_[queue] = MUST(try_make(queue, features));
    }
  }
  void start() { start(device_->features()); }
  void start_without(unsigned bit) { start(device_->features() & ~spec::feature(bit)); }

  Result<std::unique_ptr<device::QueueTask>> try_make(std::uint16_t queue, std::uint64_t features) {
    rings_.erase(queue);
    const ring::QueueAreas areas =
        rings_.try_emplace(queue, region_, kSlots, queue).first->second.config().areas;
    device::QueueContext context;
    context.negotiated.features = features;
    context.negotiated.reach = window::Reach::kRegion;
    context.setup = {.index = queue,
                     .size = kSlots,
                     .descriptor_area = areas.descriptors,
                     .driver_area = areas.driver,
                     .device_area = areas.device};
    context.window = &region_.window();
    context.interrupt = [this, queue] { ++interrupts[queue]; };
    return device_->make_queue(context);
  }
  /// As a reset does.
  void stop() {
    for (const auto& [queue, task] : tasks_)
      task->drain(true);
    tasks_.clear();
    device_->stopped();
  }
  void run_posts() {
    while (!posts_.empty()) {
      const std::function<void()> work = std::move(posts_.front());
      posts_.pop_front();
      work();
    }
  }

  [[nodiscard]] device::NetDevice& device() { return *device_; }
  [[nodiscard]] FakeNetwork& network() { return *network_; }
  [[nodiscard]] FakeNetwork::Channel& channel(std::size_t index = 0) {
    return *network_->channels[index];
  }
  [[nodiscard]] device::QueueTask& task(std::uint16_t queue) { return *tasks_.at(queue); }
  [[nodiscard]] FakeDriver& ring(std::uint16_t queue) { return rings_.at(queue); }
  [[nodiscard]] std::uint16_t control_queue() const { return static_cast<std::uint16_t>(control_); }
  /// What the driver reads.
  [[nodiscard]] spec::VirtioNetConfig config() {
    spec::VirtioNetConfig config{};
    std::ranges::copy(device_->config(), std::as_writable_bytes(std::span(&config, 1)).begin());
    return config;
  }

  /// Polls until nothing is left to do. Errors: the task's.
  Result<void> run(std::uint16_t queue) {
    for (;;) {
      const bool progress = TRY(task(queue).poll());
      if (!progress) return {};
    }
  }

  /// A receive buffer, whole.
  BuiltChain give_buffer(std::uint32_t bytes, std::uint16_t queue = 0) {
    return ChainBuilder(ring(queue)).writable(bytes).submit();
  }
  /// A frame for the network, its header in a buffer of its own.
  BuiltChain send(std::span<const std::byte> frame, const spec::VirtioNetHdr& header = {},
                  std::uint16_t queue = 1) {
    return ChainBuilder(ring(queue)).readable_struct(header).readable(frame).submit();
  }
  BuiltChain command(std::uint8_t command_class, std::uint8_t command,
                     std::span<const std::byte> data) {
    ChainBuilder builder(ring(control_queue()));
    builder.readable_struct(
        spec::VirtioNetCtrlHdr{.command_class = command_class, .command = command});
    if (!data.empty()) builder.readable(data);
    return builder.writable(1).submit();
  }
  /// The ack of a command, once it is used; nullopt: it is not.
  std::optional<std::uint8_t> ack_of(std::uint8_t command_class, std::uint8_t which,
                                     std::span<const std::byte> data) {
    const BuiltChain chain = command(command_class, which, data);
    MUST(run(control_queue()));
    const auto used = ring(control_queue()).take_used();
    if (!used || used->id != chain.head() || used->length != 1) return std::nullopt;
    return std::to_integer<std::uint8_t>(chain.written()[0]);
  }
  template <class T>
  std::optional<std::uint8_t> ack_of(std::uint8_t command_class, std::uint8_t which,
                                     const T& value) {
    return ack_of(command_class, which, std::as_bytes(std::span(&value, 1)));
  }

  bool hold_posts = false;
  unsigned config_changes = 0;
  std::map<std::uint16_t, unsigned> interrupts;

 private:
  TestRegion region_{{.size = std::uint64_t{8} << 20}};
  device::NetShape shape_;
  std::shared_ptr<FakeNetwork> network_ = std::make_shared<FakeNetwork>();
  std::deque<std::function<void()>> posts_;
  std::unique_ptr<device::NetDevice> device_;
  std::map<std::uint16_t, FakeDriver> rings_;
  std::map<std::uint16_t, std::unique_ptr<device::QueueTask>> tasks_;
  int control_ = 0;
};

/// A frame to this address, of this length, with bytes that tell one place from another.
inline std::vector<std::byte> frame_to(const device::MacAddress& target, std::size_t bytes,
                                       unsigned seed = 1) {
  std::vector<std::byte> frame(bytes);
  for (std::size_t i = 0; i < bytes; ++i) {
    frame[i] = static_cast<std::byte>((i * 13 + i / 251 + seed) & 0x7f);
  }
  for (std::size_t i = 0; i < target.size(); ++i) {
    frame[i] = static_cast<std::byte>(target[i]);
  }
  return frame;
}

}  // namespace airlock::testing
