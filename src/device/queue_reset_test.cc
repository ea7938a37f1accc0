// SPDX-License-Identifier: Apache-2.0
//
// Goal: a driver that resets one queue, a device, or both, waits as long as I/O is in flight and no
// longer, and what was taken before is never returned to the new ring. VIRTIO 1.3, 2.6.1. Method:
// registers as a driver accesses them, real workers, scripted queues, a control thread that the
// test pumps.
#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <mutex>

#include "device/running_model.h"
#include "pci/virtio_pci_device.h"
#include "shm/sealed_memfd.h"
#include "spec/pci.h"
#include "spec/virtio.h"
#include "spec/virtio_pci.h"
#include "testing/scripted_task.h"

namespace airlock::device {
namespace {

using testing::finish_one;
using testing::Script;
using testing::ScriptedTask;
using testing::wait_until;
using Cfg = spec::VirtioPciCommonCfg;

constexpr std::uint8_t kBegun = spec::VIRTIO_CONFIG_S_ACKNOWLEDGE | spec::VIRTIO_CONFIG_S_DRIVER;
constexpr std::uint64_t kFeatures =
    spec::feature(spec::VIRTIO_F_VERSION_1) | spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM) |
    spec::feature(spec::VIRTIO_F_DMB) | spec::feature(spec::VIRTIO_F_RING_RESET);

/// A device with two queues, each the script's.
class ScriptedType final : public DeviceType {
 public:
  std::array<Script, 2> scripts;
  [[nodiscard]] std::uint16_t virtio_id() const override { return spec::VIRTIO_ID_BLOCK; }
  [[nodiscard]] std::uint32_t pci_class() const override { return spec::PCI_CLASS_STORAGE_SCSI; }
  [[nodiscard]] std::uint64_t features() const override { return 0; }
  [[nodiscard]] std::uint16_t queue_count() const override { return 2; }
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t /*queue*/) const override { return 8; }
  [[nodiscard]] std::span<const std::byte> config() const override { return {}; }
  Result<std::unique_ptr<QueueTask>> make_queue(const QueueContext& context) override {
    return std::make_unique<ScriptedTask>(scripts[context.setup.index]);
  }
};

class DeviceQueueResetTest : public ::testing::Test {
 protected:
  DeviceQueueResetTest() { model_.attach(*pci_); }

  template <class T>
  void put(std::uint64_t offset, std::type_identity_t<T> value) {
    MUST(pci_->write(pci::kRegistersBar, offset, std::as_bytes(std::span(&value, 1))));
  }
  template <class T>
  T get(std::uint64_t offset) {
    T value{};
    MUST(pci_->read(pci::kRegistersBar, offset, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }
  void set_status(std::uint8_t status) { put<std::uint8_t>(offsetof(Cfg, device_status), status); }
  void start() {
    set_status(spec::VIRTIO_CONFIG_S_ACKNOWLEDGE);
    set_status(kBegun);
    for (std::uint32_t word = 0; word < 2; ++word) {
      put<std::uint32_t>(offsetof(Cfg, driver_feature_select), word);
      put<std::uint32_t>(offsetof(Cfg, driver_feature),
                         static_cast<std::uint32_t>(kFeatures >> (32 * word)));
    }
    set_status(kBegun | spec::VIRTIO_CONFIG_S_FEATURES_OK);
    ASSERT_TRUE(enable(0));
    ASSERT_TRUE(enable(1));
    set_status(kBegun | spec::VIRTIO_CONFIG_S_FEATURES_OK | spec::VIRTIO_CONFIG_S_DRIVER_OK);
    ASSERT_TRUE(pci_->running());
  }
  bool enable(std::uint16_t queue) {
    put<std::uint16_t>(offsetof(Cfg, queue_select), queue);
    const std::uint32_t at = 0x1000 + 0x1000U * queue;
    put<std::uint32_t>(offsetof(Cfg, queue_desc), at);
    put<std::uint32_t>(offsetof(Cfg, queue_driver), at + 0x400);
    put<std::uint32_t>(offsetof(Cfg, queue_device), at + 0x800);
    put<std::uint16_t>(offsetof(Cfg, queue_enable), 1);
    return get<std::uint16_t>(offsetof(Cfg, queue_enable)) == 1;
  }
  void reset_queue(std::uint16_t queue) {
    put<std::uint16_t>(offsetof(Cfg, queue_select), queue);
    put<std::uint16_t>(offsetof(Cfg, queue_reset), 1);
  }
  bool resetting(std::uint16_t queue) {
    put<std::uint16_t>(offsetof(Cfg, queue_select), queue);
    return get<std::uint16_t>(offsetof(Cfg, queue_reset)) == 1;
  }
  /// The driver makes a chain available; returns when the device has taken it.
  void offer(std::uint16_t queue) {
    const int target = ++script(queue).offered;
    put<std::uint16_t>(pci::kNotifyOffset + std::uint64_t{pci::kNotifyMultiplier} * queue, queue);
    wait_until([&] { return script(queue).taken.load() == target; });
  }
  template <class Predicate>
  void pump_until(Predicate predicate) {
    wait_until([&] {
      run_posted();
      return predicate();
    });
  }
  void run_posted() {
    std::deque<std::function<void()>> now;
    {
      const std::lock_guard lock(mutex_);
      now.swap(posted_);
    }
    for (const auto& function : now)
      function();
  }
  Script& script(std::uint16_t queue) { return type_.scripts.at(queue); }

  std::mutex mutex_;
  std::deque<std::function<void()>> posted_;
  shm::SealedMemfd memfd_ = MUST(shm::SealedMemfd::create({.size = 65536}));
  shm::Mapping mapping_ = MUST(memfd_.map());
  window::Window window_{mapping_.bytes()};
  ScriptedType type_;
  RunningModel model_{type_, window_,
                      QueueSet::Options{.post =
                                            [this](std::function<void()> function) {
                                              const std::lock_guard lock(mutex_);
                                              posted_.push_back(std::move(function));
                                            },
                                        .on_broken = {}}};
  std::unique_ptr<pci::VirtioPciDevice> pci_ = MUST(pci::VirtioPciDevice::create(
      {.negotiation = {.offer = pci::AddressOffer::kOffset}, .name = "test"}, model_, window_));
};

// VIRTIO 1.3, 2.6.1.1.1: nothing of the old ring's is executed, returned or notified any more.
TEST_F(DeviceQueueResetTest, WaitsForWhatIsInFlightAndReturnsNoneOfIt) {
  start();
  offer(0);
  offer(1);
  reset_queue(0);
  run_posted();
  EXPECT_TRUE(resetting(0));
  wait_until([&] { return script(0).discarding.load(); });
  finish_one(script(1));
  wait_until([&] { return script(1).returned.load() == 1; });
  EXPECT_TRUE(resetting(0));
  finish_one(script(0));
  pump_until([&] { return !resetting(0); });
  EXPECT_EQ(get<std::uint16_t>(offsetof(Cfg, queue_enable)), 0);
  EXPECT_EQ(script(0).discarded, 1);
  EXPECT_EQ(script(0).returned, 0);
  ASSERT_TRUE(enable(0));
  offer(0);
  finish_one(script(0));
  wait_until([&] { return script(0).returned.load() == 1; });
}

TEST_F(DeviceQueueResetTest, AResetOfTheDeviceFollowsIt) {
  start();
  offer(0);
  reset_queue(0);
  set_status(0);
  run_posted();
  EXPECT_NE(get<std::uint8_t>(offsetof(Cfg, device_status)), 0);
  wait_until([&] { return script(0).discarding.load(); });
  finish_one(script(0));
  pump_until([&] { return get<std::uint8_t>(offsetof(Cfg, device_status)) == 0; });
  EXPECT_FALSE(resetting(0));
  EXPECT_TRUE(model_.queues().empty());
  start();
  offer(0);
  finish_one(script(0));
  wait_until([&] { return script(0).returned.load() == 1; });
}

// As Endpoint has it, when a client takes memory back: the new queue is at rest until that is done.
TEST_F(DeviceQueueResetTest, AQueueEnabledDuringAPauseRestsUntilItIsOver) {
  start();
  reset_queue(0);
  pump_until([&] { return !resetting(0); });
  const int calls = script(0).calls;
  offer(1);
  bool paused = false;
  model_.queues().pause([&] { paused = true; });
  ASSERT_TRUE(enable(0));
  ++script(0).offered;
  put<std::uint16_t>(pci::kNotifyOffset, 0);
  finish_one(script(1));
  pump_until([&] { return paused; });
  EXPECT_EQ(script(0).calls, calls);
  model_.queues().resume();
  wait_until([&] { return script(0).taken.load() == 1; });
  finish_one(script(0));
}

TEST_F(DeviceQueueResetTest, AQueueResetDuringAPauseFollowsIt) {
  start();
  offer(0);
  bool paused = false;
  model_.queues().pause([&] {
    paused = true;
    EXPECT_TRUE(resetting(1));
    model_.queues().resume();
  });
  reset_queue(1);
  finish_one(script(0));
  pump_until([&] { return !resetting(1); });
  EXPECT_TRUE(paused);
  EXPECT_EQ(script(0).returned, 1);
  offer(0);
  finish_one(script(0));
}

// As Endpoint has it, when its client goes.
TEST_F(DeviceQueueResetTest, ClientThatGoesMeanwhileLeavesNothingBehind) {
  start();
  offer(0);
  reset_queue(0);
  wait_until([&] { return script(0).discarding.load(); });
  finish_one(script(0));
  model_.queues().stop_and_wait(true);
  EXPECT_FALSE(resetting(0));
  pci_.reset();
  run_posted();
  EXPECT_EQ(script(0).returned, 0);
  EXPECT_TRUE(model_.queues().empty());
}

}  // namespace
}  // namespace airlock::device
