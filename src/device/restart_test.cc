// SPDX-License-Identifier: Apache-2.0
//
// Goal: a device that takes another's place has its region and its queues' records, and what is
// reset is forgotten; a device that begins has neither. docs/RESTART.md. Method: endpoints one
// after the other over one state and one region, the handler's functions called as the server calls
// them, and queues that only keep their record.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <deque>
#include <future>
#include <mutex>

#include "device/endpoint.h"
#include "spec/pci.h"
#include "spec/virtio.h"
#include "spec/virtio_pci.h"
#include "testing/scripted_task.h"
#include "testing/state_page.h"

namespace airlock::device {
namespace {

using testing::Script;
using testing::ScriptedTask;
using testing::StatePage;
using Cfg = spec::VirtioPciCommonCfg;

constexpr std::uint64_t kRegionBytes = 65536;
constexpr std::uint64_t kFeatures =
    spec::feature(spec::VIRTIO_F_VERSION_1) | spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM) |
    spec::feature(spec::VIRTIO_F_DMB) | spec::feature(spec::VIRTIO_F_RING_RESET);
constexpr std::uint8_t kBegun = spec::VIRTIO_CONFIG_S_ACKNOWLEDGE | spec::VIRTIO_CONFIG_S_DRIVER;
constexpr std::uint8_t kAgreed = kBegun | spec::VIRTIO_CONFIG_S_FEATURES_OK;

/// Two queues that do nothing but begin, or go on.
class KeepingType final : public DeviceType {
 public:
  std::array<Script, 2> scripts;
  int went_on = 0;  // queues that found their record live
  [[nodiscard]] std::uint16_t virtio_id() const override { return spec::VIRTIO_ID_BLOCK; }
  [[nodiscard]] std::uint32_t pci_class() const override { return spec::PCI_CLASS_STORAGE_SCSI; }
  [[nodiscard]] std::uint64_t features() const override { return 0; }
  [[nodiscard]] std::uint16_t queue_count() const override { return 2; }
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t /*queue*/) const override { return 8; }
  [[nodiscard]] std::span<const std::byte> config() const override { return {}; }
  Result<std::unique_ptr<QueueTask>> make_queue(const QueueContext& context) override {
    if (context.record.live()) ++went_on;
    const auto size = TRY(ring::QueueSize::from(context.setup.size));
    if (context.record) context.record.begin(ring::Format::kSplit, size);
    return std::make_unique<ScriptedTask>(scripts.at(context.setup.index));
  }
};

class RestartTest : public ::testing::Test {
 protected:
  /// A process, which has the region of the one before or is the first.
  void begin(Fd region = {}) {
    endpoint_.reset();
    states_.reset();
    states_ = MUST(QueueStates::adopt(MUST(page_.memfd().fd().duplicate())));
    shm::SealedMemfd adopted;
    if (region) adopted = MUST(shm::SealedMemfd::adopt(std::move(region), kRegionBytes));
    endpoint_ = MUST(
        Endpoint::create({.pci = {.negotiation = {.offer = pci::AddressOffer::kOffset,
                                                  .transport_features = pci::kTransportFeatures},
                                  .name = "test"},
                          .region_bytes = kRegionBytes,
                          .post =
                              [this](std::function<void()> function) {
                                const std::scoped_lock held(mutex_);
                                posted_.push_back(std::move(function));
                              },
                          .states = states_.get(),
                          .region = std::move(adopted)},
                         type_));
    endpoint_->connected();
  }
  /// The region as a guard keeps it.
  Fd region() { return Fd(dup(endpoint_->region(pci::kRegionBar).mapping->fd)); }
  template <class T>
  void put(std::uint64_t offset, std::type_identity_t<T> value) {
    MUST(endpoint_->write(pci::kRegistersBar, offset, std::as_bytes(std::span(&value, 1))));
  }
  void set_status(std::uint8_t status) { put<std::uint8_t>(offsetof(Cfg, device_status), status); }
  void set_up() {
    set_status(spec::VIRTIO_CONFIG_S_ACKNOWLEDGE);
    set_status(kBegun);
    for (std::uint32_t word = 0; word < 2; ++word) {
      put<std::uint32_t>(offsetof(Cfg, driver_feature_select), word);
      put<std::uint32_t>(offsetof(Cfg, driver_feature),
                         static_cast<std::uint32_t>(kFeatures >> (32 * word)));
    }
    set_status(kAgreed);
    enable(0);
    enable(1);
  }
  void enable(std::uint16_t queue) {
    put<std::uint16_t>(offsetof(Cfg, queue_select), queue);
    const std::uint32_t at = 0x1000 + 0x1000U * queue;
    put<std::uint16_t>(offsetof(Cfg, queue_msix_vector), static_cast<std::uint16_t>(queue + 1));
    put<std::uint32_t>(offsetof(Cfg, queue_desc), at);
    put<std::uint32_t>(offsetof(Cfg, queue_driver), at + 0x400);
    put<std::uint32_t>(offsetof(Cfg, queue_device), at + 0x800);
    put<std::uint16_t>(offsetof(Cfg, queue_enable), 1);
  }
  void driver_ok() { set_status(kAgreed | spec::VIRTIO_CONFIG_S_DRIVER_OK); }
  void reset_queue(std::uint16_t queue) {
    put<std::uint16_t>(offsetof(Cfg, queue_select), queue);
    put<std::uint16_t>(offsetof(Cfg, queue_reset), 1);
    pump_until([this] { return get<std::uint16_t>(offsetof(Cfg, queue_reset)) == 0; });
  }
  /// Runs what was posted to the control thread until `predicate` holds.
  template <class Predicate>
  void pump_until(Predicate predicate) {
    testing::wait_until([&] {
      std::deque<std::function<void()>> now;
      {
        const std::scoped_lock held(mutex_);
        now.swap(posted_);
      }
      for (const auto& function : now)
        function();
      return predicate();
    });
  }
  template <class T>
  T get(std::uint64_t offset) {
    T value{};
    MUST(endpoint_->read(pci::kRegistersBar, offset, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }
  void reset_device() {
    set_status(0);
    pump_until([this] { return get<std::uint8_t>(offsetof(Cfg, device_status)) == 0; });
  }
  /// A first process with both queues running, and its region.
  Fd run_first() {
    begin();
    set_up();
    driver_ok();
    EXPECT_TRUE(page_.record(0).live() && page_.record(1).live());
    return region();
  }

  std::mutex mutex_;
  std::deque<std::function<void()>> posted_;  // guarded by mutex_
  StatePage page_;
  KeepingType type_;
  std::unique_ptr<QueueStates> states_;
  std::unique_ptr<Endpoint> endpoint_;
};

TEST_F(RestartTest, TheNextProcessGoesOnInTheSameRegion) {
  Fd kept = run_first();
  const shm::Mapping mine = MUST(shm::Mapping::map(kept, {.length = kRegionBytes}));
  mine.bytes().store_relaxed<Le32>(0x5000, Le32(0xfeed));
  EXPECT_EQ(type_.went_on, 0);
  begin(std::move(kept));
  std::array<std::byte, 2> seen{};
  ASSERT_TRUE(endpoint_->read(pci::kRegionBar, 0x5000, seen));
  EXPECT_EQ(seen, (std::array{std::byte{0xed}, std::byte{0xfe}}));
  set_up();
  EXPECT_EQ(endpoint_->stats().queues.interrupts, 0U);
  driver_ok();
  EXPECT_EQ(type_.went_on, 2);
  // One each: the driver may wait for what was returned without.
  EXPECT_EQ(endpoint_->stats().queues.interrupts, 2U);
}

TEST_F(RestartTest, TheFirstProcessInterruptsNobody) {
  static_cast<void>(run_first());
  EXPECT_EQ(endpoint_->stats().queues.interrupts, 0U);
}

// Without the region of before nothing of before is there.
TEST_F(RestartTest, ANewRegionHasNoLiveQueue) {
  static_cast<void>(run_first());
  begin();
  EXPECT_FALSE(page_.record(0).live() || page_.record(1).live());
  set_up();
  driver_ok();
  EXPECT_EQ(type_.went_on, 0);
}

// A guard may let go of a device that it is about to kill: that is no wish of the guest's.
TEST_F(RestartTest, AClientsEndTouchesNeitherRegionNorRecords) {
  Fd kept = run_first();
  const shm::Mapping mine = MUST(shm::Mapping::map(kept, {.length = kRegionBytes}));
  mine.bytes().store_relaxed<Le32>(0x5000, Le32(0xfeed));
  endpoint_->disconnected();
  EXPECT_EQ(mine.bytes().load_relaxed<Le32>(0x5000).get(), 0xfeedU);
  EXPECT_TRUE(page_.record(0).live() && page_.record(1).live());

  endpoint_->connected();  // somebody else
  EXPECT_FALSE(page_.record(0).live());
  std::array<std::byte, 1> seen{std::byte{1}};
  ASSERT_TRUE(endpoint_->read(pci::kRegionBar, 0x5000, seen));
  EXPECT_EQ(seen[0], std::byte{0});
}

TEST_F(RestartTest, AResetForgetsAllQueues) {
  static_cast<void>(run_first());
  reset_device();
  EXPECT_FALSE(page_.record(0).live() || page_.record(1).live());
}

TEST_F(RestartTest, AResetMessageForgetsAllQueues) {
  static_cast<void>(run_first());
  Result<void> answer = fail(Errc::kTimeout);
  endpoint_->reset(vfio_user::Reply([&](const Result<void>& result) { answer = result; }));
  pump_until([&] { return answer.has_value(); });
  EXPECT_FALSE(page_.record(0).live() || page_.record(1).live());
}

// The old process may not have seen the guest's reset: it is said again to one that runs nothing.
TEST_F(RestartTest, AResetSaidAgainForgetsWhatTheOldProcessLeft) {
  Fd kept = run_first();
  begin(std::move(kept));
  EXPECT_TRUE(page_.record(0).live());
  reset_device();
  EXPECT_FALSE(page_.record(0).live() || page_.record(1).live());
  set_up();
  driver_ok();
  EXPECT_EQ(type_.went_on, 0);
}

// VIRTIO 1.3, 2.6.1: the reset of one queue.
TEST_F(RestartTest, AQueuesResetForgetsThatQueue) {
  Fd kept = run_first();
  reset_queue(1);
  EXPECT_TRUE(page_.record(0).live());
  EXPECT_FALSE(page_.record(1).live());
}

TEST_F(RestartTest, AQueuesResetSaidAgainLeavesItToBeEnabledAnew) {
  Fd kept = run_first();
  begin(std::move(kept));
  set_up();
  reset_queue(1);
  EXPECT_TRUE(page_.record(0).live());
  EXPECT_FALSE(page_.record(1).live());
  driver_ok();
  EXPECT_EQ(type_.went_on, 1);
  enable(1);
  EXPECT_TRUE(page_.record(1).live());
  EXPECT_EQ(type_.went_on, 1) << "it is a new queue";
}

// --- the state itself -------------------------------------------------------------------------

TEST(QueueStates, HaveARecordForEachQueueUpToTheLast) {
  const StatePage page;
  const auto states = MUST(QueueStates::adopt(MUST(page.memfd().fd().duplicate())));
  const ring::QueueSize size = MUST(ring::QueueSize::from(8));
  const std::uint16_t last = spec::QUEUE_STATE_QUEUES - 1;
  states->record(last).begin(ring::Format::kSplit, size);
  EXPECT_TRUE(page.record(last).live());
  EXPECT_FALSE(page.record(static_cast<std::uint16_t>(last - 1)).live());
  states->forget_all();
  EXPECT_FALSE(page.record(last).live());
  EXPECT_DEATH(static_cast<void>(states->record(spec::QUEUE_STATE_QUEUES)), "bug:");
}

TEST(QueueStates, RefuseMemoryThatIsNotSealedOrOfAnotherSize) {
  Fd open = MUST(own_fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING)));
  ASSERT_EQ(ftruncate(open.get(), spec::QUEUE_STATE_BYTES), 0);
  EXPECT_EQ(QueueStates::adopt(std::move(open)).error().code, Errc::kUnsealed);
  const auto large = MUST(shm::SealedMemfd::create({.size = 2 * spec::QUEUE_STATE_BYTES}));
  EXPECT_EQ(QueueStates::adopt(MUST(large.fd().duplicate())).error().code, Errc::kWrongSize);
}

TEST(QueueStates, RefuseWhatAnotherVersionWrote) {
  const StatePage page;
  const auto adopt = [&] { return QueueStates::adopt(MUST(page.memfd().fd().duplicate())); };
  EXPECT_TRUE(adopt());
  EXPECT_TRUE(adopt()) << "the same version";
  page.bytes().store_relaxed<Le32>(0, Le32(spec::QUEUE_STATE_VERSION + 1));
  EXPECT_EQ(adopt().error(),
            (Error{.code = Errc::kUnsupported, .detail = spec::QUEUE_STATE_VERSION + 1}));
}

// Whoever passed it on shares its description with us, and is not waited for; who has it is.
TEST(QueueStates, WaitForTheProcessThatHasThem) {
  const StatePage page;
  const auto adopt = [&] { return QueueStates::adopt(MUST(page.memfd().fd().duplicate())); };
  auto before = MUST(adopt());
  // What the kernel keeps open of a process that is gone.
  Fd kept(dup(before->presence()));
  auto next = std::async(std::launch::async, [&] { return MUST(adopt()); });
  before.reset();
  EXPECT_EQ(next.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  kept.reset();
  EXPECT_NE(next.get(), nullptr);
}

}  // namespace
}  // namespace airlock::device
