// SPDX-License-Identifier: Apache-2.0
//
// Goal: all queues of a card run at once, each on its thread, while its driver changes filters,
// offloads and the number of pairs, and brings it to rest and to a reset: nothing is lost between
// threads, nobody waits for ever. Method: a network that always has something and is often busy;
// this thread is the driver of every ring, and the control thread.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <mutex>

#include "device/net/net_device.h"
#include "device/queue_set.h"
#include "spec/virtio.h"
#include "testing/chain_builder.h"
#include "testing/net_rig.h"

namespace airlock::device {
namespace {

using testing::BuiltChain;
using testing::ChainBuilder;
using testing::FakeDriver;
using testing::frame_to;
using testing::NetRig;

constexpr std::uint16_t kPairs = 2;
constexpr std::uint16_t kControl = 2 * kPairs;
constexpr std::uint16_t kSlots = 32;
constexpr std::uint64_t kEnough = 300;  // frames of each queue, commands

/// Has a frame two times of three, and takes one four times of five.
class NoisyChannel final : public backend::NetChannel {
 public:
  NoisyChannel() { always_.signal(); }

  Result<std::optional<std::size_t>> receive(spec::VirtioNetHdr& header,
                                             std::span<std::byte> frame) override {
    if (++asked_ % 3 == 0) return std::optional<std::size_t>();
    const auto next = frame_to(NetRig::kMac, 60 + asked_ % 1400);
    std::ranges::copy(next, frame.begin());
    header = {};
    return std::optional(next.size());
  }
  [[nodiscard]] int receive_fd() const override { return always_.fd(); }
  backend::NetSendResult send(const spec::VirtioNetHdr& /*header*/,
                              std::span<const shm::SharedBytes> pieces) override {
    static_cast<void>(room_.drain());
    if (++offered_ % 5 != 0) return backend::NetSendResult::kSent;
    CHECK(!pieces.empty());
    room_.signal();
    return backend::NetSendResult::kBusy;
  }
  [[nodiscard]] int send_fd() const override { return room_.fd(); }

 private:
  EventFd always_ = MUST(EventFd::create());
  EventFd room_ = MUST(EventFd::create());
  std::uint64_t asked_ = 0;
  std::uint64_t offered_ = 0;
};

class NoisyBackend final : public backend::NetBackend {
 public:
  [[nodiscard]] std::string describe() const override { return "noise"; }
  [[nodiscard]] std::uint64_t offloads() const override { return kNetGuestOffloads; }
  [[nodiscard]] std::uint16_t mtu() const override { return 0; }
  [[nodiscard]] std::uint16_t channels_max() const override { return kPairs; }
  Result<std::unique_ptr<backend::NetChannel>> open_channel() override {
    return std::make_unique<NoisyChannel>();
  }
  Result<void> set_guest_offloads(std::uint64_t /*mask*/) override { return {}; }
  [[nodiscard]] bool link_up() const override { return true; }
  void on_link_change(std::function<void()> /*changed*/) override {}
  [[nodiscard]] backend::NetBackendCounts counts() const override { return {}; }
};

/// What the threads have for this one to do.
class Posts {
 public:
  void add(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    posts_.push_back(std::move(work));
  }
  void run() {
    for (;;) {
      std::function<void()> work;
      {
        const std::lock_guard lock(mutex_);
        if (posts_.empty()) return;
        work = std::move(posts_.front());
        posts_.pop_front();
      }
      work();
    }
  }

 private:
  std::mutex mutex_;  // guards posts_
  std::deque<std::function<void()>> posts_;
};

class NetThreadsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    device_->attach({.post = [this](std::function<void()> work) { posts_.add(std::move(work)); },
                     .config_changed = [] {}});
    start();
  }
  void TearDown() override { stop(); }

  void start() {
    for (std::uint16_t queue = 0; queue <= kControl; ++queue) {
      rings_.erase(queue);
      FakeDriver& ring = rings_.try_emplace(queue, region_, kSlots, queue).first->second;
      QueueContext context;
      context.negotiated.features = device_->features();
      context.negotiated.reach = window::Reach::kRegion;
      context.setup = {.index = queue,
                       .size = kSlots,
                       .descriptor_area = ring.config().areas.descriptors,
                       .driver_area = ring.config().areas.driver,
                       .device_area = ring.config().areas.device};
      context.window = &region_.window();
      fill(queue, ring);
      MUST(queues_.add(queue, MUST(device_->make_queue(context))));
    }
  }
  void stop() {
    bool stopped = false;
    queues_.stop(true, [&] { stopped = true; });
    while (!stopped)
      posts_.run();
    device_->stopped();
  }

  /// What the driver has for this queue, over and over.
  void fill(std::uint16_t queue, FakeDriver& ring) {
    if (queue == kControl) {
      const std::array<std::uint8_t, 2> both = {kPairs, 0};
      const std::array<std::uint8_t, 2> one = {1, 0};
      const std::array<std::uint8_t, 1> on = {1};
      const std::array<std::uint8_t, 8> offloads = {2};
      command(ring, spec::VIRTIO_NET_CTRL_MQ, both);
      command(ring, spec::VIRTIO_NET_CTRL_GUEST_OFFLOADS, offloads);
      command(ring, spec::VIRTIO_NET_CTRL_RX, on);
      command(ring, spec::VIRTIO_NET_CTRL_MQ, one);
      return;
    }
    for (int i = 0; i < 8; ++i) {
      if (queue % 2 == 0) {
        ChainBuilder(ring).writable(700).submit();
      } else {
        ChainBuilder(ring)
            .readable_struct(spec::VirtioNetHdr{})
            .readable(frame_to(NetRig::kMac, 100))
            .submit();
      }
    }
  }
  static void command(FakeDriver& ring, std::uint8_t command_class,
                      std::span<const std::uint8_t> data) {
    ChainBuilder(ring)
        .readable_struct(spec::VirtioNetCtrlHdr{.command_class = command_class, .command = 0})
        .readable(std::as_bytes(data))
        .writable(1)
        .submit();
  }

  /// Gives back to the device what it used.
  void turn() {
    posts_.run();
    for (auto& [queue, ring] : rings_) {
      while (const auto used = ring.take_used()) {
        ring.make_available(static_cast<std::uint16_t>(used->id));
        queues_.notify(queue);
      }
    }
  }
  void turn_until_all_have(std::uint64_t more) {
    std::array<std::uint64_t, kControl + 1> goals{};
    for (std::uint16_t queue = 0; queue <= kControl; ++queue)
      goals[queue] = done(queue) + more;
    const auto all_there = [&] {
      for (std::uint16_t queue = 0; queue <= kControl; ++queue) {
        if (done(queue) < goals[queue]) return false;
      }
      return true;
    };
    while (!all_there())
      turn();
  }
  [[nodiscard]] std::uint64_t done(std::uint16_t queue) const {
    const NetCounts counts = device_->counts(queue);
    return counts.received + counts.sent + counts.commands;
  }

  testing::TestRegion region_{{.size = std::uint64_t{4} << 20}};
  std::unique_ptr<NetDevice> device_ = MUST(NetDevice::create(
      {.backend = std::make_unique<NoisyBackend>(),
       .shape = {.pairs = kPairs, .queue_size = kSlots, .mac = NetRig::kMac, .mtu = 1500},
       .ring_features = 0}));
  Posts posts_;
  std::map<std::uint16_t, FakeDriver> rings_;
  QueueSet queues_{{.post = [this](std::function<void()> work) { posts_.add(std::move(work)); },
                    .on_broken = [](const Error& error) { ADD_FAILURE() << describe(error); }}};
};

TEST_F(NetThreadsTest, AllQueuesGoOnAtOnce) {
  turn_until_all_have(kEnough);
  EXPECT_EQ(device_->counts().refused, 0U);
}

// ATK-10: to rest with frames and commands under way, and on.
TEST_F(NetThreadsTest, GoesToRestAndOn) {
  for (int round = 0; round < 10; ++round) {
    turn_until_all_have(kEnough / 20);
    bool resting = false;
    queues_.pause([&] { resting = true; });
    while (!resting)
      posts_.run();
    queues_.resume();
  }
  turn_until_all_have(kEnough / 20);
}

// ATK-10: resets with frames and commands under way.
TEST_F(NetThreadsTest, IsResetAndStartsAnew) {
  for (int round = 0; round < 10; ++round) {
    turn_until_all_have(kEnough / 20);
    stop();
    start();
  }
  turn_until_all_have(kEnough / 20);
}

}  // namespace
}  // namespace airlock::device
