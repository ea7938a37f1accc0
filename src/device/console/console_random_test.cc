// SPDX-License-Identifier: Apache-2.0
//
// Goal: whatever a driver puts into the queues of a console or of a source of random numbers, each
// queue goes on or is broken for good, and a new one works. Method: chains by dice, most of them
// well formed, with hosts that come, talk and go meanwhile.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <random>

#include "device/console/console_device.h"
#include "device/rng/rng_device.h"
#include "testing/driven_queue.h"
#include "testing/scripted_port.h"

namespace airlock::device {
namespace {

using testing::DrivenQueue;
using testing::PortScript;
using testing::ScriptedPort;

constexpr unsigned kSeeds = 20;
constexpr unsigned kRounds = 300;
constexpr std::uint64_t kMultiport = spec::feature(spec::VIRTIO_CONSOLE_F_MULTIPORT);

class Dice {
 public:
  explicit Dice(unsigned seed) : engine_(seed) {}
  /// From 0 on, below `sides`.
  std::uint32_t roll(std::uint32_t sides) { return static_cast<std::uint32_t>(engine_() % sides); }
  bool rarely() { return roll(40) == 0; }

 private:
  std::mt19937 engine_;
};

/// How attacks ended: a test in which all end in one way has not looked at much.
struct Tally {
  unsigned broken = 0;
  unsigned served = 0;
};

/// A queue that is made anew whenever it broke.
class Attacked {
 public:
  Attacked(DeviceType& type, std::uint16_t index, std::uint64_t features, Tally& tally)
      : type_(&type), index_(index), features_(features), tally_(&tally) {
    renew();
  }

  void attack(Dice& dice) {
    if (used_ > 2000) renew();  // the region's memory is used up, some time
    offer(dice);
    for (int polls = 0; polls < 8; ++polls) {
      const auto progress = queue_->task().poll();
      if (progress && *progress) {
        ++tally_->served;
        continue;
      }
      if (!progress) {
        ++tally_->broken;
        queue_->task().drain(true);
        EXPECT_EQ(queue_->task().in_flight(), 0U);
        EXPECT_EQ(queue_->task().poll().error().code, Errc::kQueueBroken);
        renew();
      }
      break;
    }
    if (!dice.rarely()) return;
    queue_->task().drain(false);
    EXPECT_EQ(queue_->task().in_flight(), 0U);
    EXPECT_TRUE(queue_->task().rebind());
  }
  void end() { queue_->task().drain(true); }

 private:
  void renew() {
    queue_.reset();
    region_ = std::make_unique<testing::TestRegion>(
        testing::TestRegion::Options{.size = std::uint64_t{4} << 20});
    queue_ = std::make_unique<DrivenQueue>(*type_, *region_, index_, features_);
    used_ = 0;
  }
  void offer(Dice& dice) {
    ++used_;
    auto chain = queue_->chain();
    const bool right_way = !dice.rarely();
    const bool writable = (index_ % 2 == 0) == right_way;
    for (std::uint32_t pieces = dice.roll(3) + 1; pieces > 0; --pieces) {
      const std::uint32_t bytes = dice.roll(dice.rarely() ? 900 : 40) + 1;
      if (dice.rarely()) {
        chain.raw(dice.roll(8) == 0 ? ~std::uint64_t{0} : dice.roll(8U << 20), dice.roll(1U << 21),
                  writable);
      } else if (writable) {
        chain.writable(bytes);
      } else {
        chain.readable(message(dice, bytes));
      }
    }
    static_cast<void>(chain.submit());
    if (dice.rarely()) {
      queue_->ring().put_descriptor(dice.roll(64),
                                    {.address = dice.roll(1U << 22),
                                     .length = dice.roll(1U << 16),
                                     .flags = static_cast<std::uint16_t>(dice.roll(9)),
                                     .next = static_cast<std::uint16_t>(dice.roll(70))});
    }
    if (dice.roll(200) == 0) {
      queue_->ring().set_avail_index(static_cast<std::uint16_t>(dice.roll(0x10000)));
    }
  }
  // Often a control message that makes sense; for a data queue it is as good as any.
  static std::vector<std::byte> message(Dice& dice, std::uint32_t bytes) {
    std::vector<std::byte> text(bytes);
    for (std::byte& byte : text)
      byte = static_cast<std::byte>(dice.roll(256));
    if (bytes >= 8 && !dice.rarely()) {
      const std::array<std::uint32_t, 8> head{dice.roll(3), 0, 0, 0, dice.roll(8), 0,
                                              dice.roll(2), 0};
      for (std::size_t i = 0; i < head.size(); ++i)
        text[i] = static_cast<std::byte>(head[i]);
    }
    return text;
  }

  DeviceType* type_;
  std::uint16_t index_;
  std::uint64_t features_;
  Tally* tally_;
  unsigned used_ = 0;
  std::unique_ptr<testing::TestRegion> region_;
  std::unique_ptr<DrivenQueue> queue_;
};

TEST(HostileDriver, GetsNothingOutOfAConsole) {
  Tally tally;
  for (unsigned seed = 0; seed < kSeeds; ++seed) {
    Dice dice(seed);
    std::array<PortScript, 2> hosts;
    std::vector<ConsoleDevice::Port> ports;
    for (PortScript& host : hosts)
      ports.push_back({.name = "p", .backend = std::make_unique<ScriptedPort>(host)});
    const auto device =
        MUST(ConsoleDevice::create({.ports = std::move(ports), .ring_features = 0}));
    std::vector<Attacked> queues;
    for (std::uint16_t index = 0; index < device->queue_count(); ++index)
      queues.emplace_back(*device, index, kMultiport, tally);
    for (unsigned round = 0; round < kRounds; ++round) {
      PortScript& host = hosts[dice.roll(2)];
      switch (dice.roll(12)) {
        case 0:
          host.connect();
          break;
        case 1:
          host.disconnect();
          break;
        case 2:
          host.say(std::string(dice.roll(3000), 'h'));
          break;
        case 3:
          host.make_room(dice.roll(2000));
          break;
        case 4:
          device->write_config(dice.roll(12), std::as_bytes(std::span("x", 1)));
          break;
        default:
          queues[dice.roll(static_cast<std::uint32_t>(queues.size()))].attack(dice);
      }
      if (dice.roll(100) == 0) {
        for (Attacked& queue : queues)
          queue.end();
        device->stopped();
        queues.clear();
        for (std::uint16_t index = 0; index < device->queue_count(); ++index)
          queues.emplace_back(*device, index, kMultiport, tally);
      }
    }
  }
  EXPECT_GT(tally.broken, 50U);
  EXPECT_GT(tally.served, 1000U);
}

TEST(HostileDriver, GetsNothingOutOfRandomNumbersButThose) {
  Tally tally;
  for (unsigned seed = 0; seed < kSeeds; ++seed) {
    Dice dice(seed);
    const auto device = MUST(RngDevice::create({.ring_features = 0}));
    Attacked queue(*device, 0, 0, tally);
    for (unsigned round = 0; round < kRounds; ++round)
      queue.attack(dice);
  }
  EXPECT_GT(tally.broken, 50U);
  EXPECT_GT(tally.served, 1000U);
}

}  // namespace
}  // namespace airlock::device
