// SPDX-License-Identifier: Apache-2.0
// Random numbers from a device that answers as it likes. VIRTIO 1.3, 5.4.
#include "driver/rng.h"

#include <gtest/gtest.h>

#include <vector>

#include "testing/fake_model.h"
#include "testing/fake_transport.h"

namespace airlock::driver {
namespace {

using namespace std::chrono_literals;

class RngTest : public ::testing::Test {
 protected:
  RngTest() {
    model().type = spec::VIRTIO_ID_RNG;
    model().on_chain = [this](std::uint16_t, const ring::Chain& chain) { return answer(chain); };
  }

  // Counts up, so that each byte shows where it came from.
  std::optional<std::uint32_t> answer(const ring::Chain& chain) {
    asked_.push_back(chain.writable_bytes());
    if (silent_) return std::nullopt;
    const std::uint32_t count = std::min(most_, chain.writable_bytes());
    std::vector<std::byte> bytes(chain.writable_bytes());
    for (std::byte& byte : std::span(bytes).first(count))
      byte = static_cast<std::byte>(next_++);
    MUST(chain.write(0, bytes));
    return count;
  }
  void open(std::uint64_t ring_features = kRingFeaturesByDefault) {
    Rng::Options options{.timeout = 100ms};
    options.device.timeout = 100ms;
    options.device.ring_features = ring_features;
    rng_ = MUST(Rng::open(std::make_unique<testing::FakeTransport>(
                              device_.device(), device_.memfd, lies_,
                              testing::FakeTransport::Options{.interrupts = interrupts_}),
                          options));
  }
  testing::FakeModel& model() { return device_.model; }
  static std::vector<std::byte> counted(std::size_t count) {
    std::vector<std::byte> bytes(count);
    for (std::size_t i = 0; i < count; ++i)
      bytes[i] = static_cast<std::byte>(i);
    return bytes;
  }

  testing::FakeModelDevice device_;
  testing::Lies lies_;
  bool interrupts_ = true;
  bool silent_ = false;
  std::uint32_t most_ = 0xffff'ffff;
  unsigned next_ = 0;
  std::vector<std::uint32_t> asked_;
  std::unique_ptr<Rng> rng_;
};

TEST_F(RngTest, ReadsAsMuchAsIsAskedFor) {
  open();
  std::vector<std::byte> target(10'000);
  ASSERT_TRUE(rng_->read(target));
  EXPECT_EQ(target, counted(10'000));
  EXPECT_EQ(asked_, (std::vector<std::uint32_t>{4096, 4096, 1808}));
  EXPECT_TRUE(rng_->read({}));
}

TEST_F(RngTest, ReadsWithoutInterrupts) {
  interrupts_ = false;
  open();
  std::vector<std::byte> target(100);
  ASSERT_TRUE(rng_->read(target));
  EXPECT_EQ(target, counted(100));
}

TEST_F(RngTest, ReadsFromPackedRings) {
  model().own_features = spec::feature(spec::VIRTIO_F_RING_PACKED);
  open();
  std::vector<std::byte> target(5000);
  ASSERT_TRUE(rng_->read(target));
  EXPECT_EQ(target, counted(5000));
}

// VIRTIO 1.3, 5.4.6.1: the length says how many there are; the rest of the buffer is no answer.
TEST_F(RngTest, TakesOnlyWhatAnAnswerHas) {
  most_ = 7;
  open();
  std::vector<std::byte> target(20);
  ASSERT_TRUE(rng_->read(target));
  EXPECT_EQ(target, counted(20));
  EXPECT_EQ(asked_, (std::vector<std::uint32_t>{20, 13, 6}));
}

// 5.4.6.2: one or more bytes. A device that always answers with none would keep us for ever.
TEST_F(RngTest, AnAnswerOfNothingBreaksIt) {
  most_ = 0;
  open();
  std::vector<std::byte> target(20, std::byte{0x55});
  EXPECT_EQ(rng_->read(target).error().code, Errc::kMalformed);
  EXPECT_EQ(target, std::vector<std::byte>(20, std::byte{0x55}));
  most_ = 20;
  EXPECT_EQ(rng_->read(target).error().code, Errc::kMalformed);
}

// HD-3: more than was asked for.
TEST_F(RngTest, AnAnswerThatIsLongerThanTheQuestionBreaksIt) {
  silent_ = true;
  open(0);
  model().on_chain = [this](std::uint16_t, const ring::Chain&) {
    device_.model.raw(0).use(0, 21);
    return std::optional<std::uint32_t>();
  };
  std::vector<std::byte> target(20, std::byte{0x55});
  EXPECT_EQ(rng_->read(target).error().code, Errc::kBadLength);
  EXPECT_EQ(target, std::vector<std::byte>(20, std::byte{0x55}));
}

// HD-19.
TEST_F(RngTest, ADeviceThatNeverAnswersIsGivenUp) {
  silent_ = true;
  open();
  std::vector<std::byte> target(20);
  EXPECT_EQ(rng_->read(target).error().code, Errc::kTimeout);
  EXPECT_EQ(rng_->read(target).error().code, Errc::kTimeout);
  EXPECT_NE(device_.device().status() & spec::VIRTIO_CONFIG_S_FAILED, 0);
}

TEST_F(RngTest, RefusesADeviceOfAnotherType) {
  model().type = spec::VIRTIO_ID_BLOCK;
  const auto refused =
      Rng::open(std::make_unique<testing::FakeTransport>(device_.device(), device_.memfd, lies_,
                                                         testing::FakeTransport::Options{}),
                {});
  EXPECT_EQ(refused.error().code, Errc::kNotVirtio);
}

}  // namespace
}  // namespace airlock::driver
