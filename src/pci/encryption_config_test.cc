// SPDX-License-Identifier: Apache-2.0
//
// Goal: keys go in and never come out; what may be chosen, and when, is as docs/ENCRYPTION.md says.
// Method: a driver's accesses to the registers in every state of a device. ENC-1 to ENC-5.
#include "pci/encryption_config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <initializer_list>

#include "crypt/algorithm.h"
#include "pci/test_device.h"

namespace airlock::pci {
namespace {

using Registers = spec::VirtioPciEncryptionCfg;
using crypt::Algorithm;

constexpr std::uint64_t kPlain =
    spec::feature(spec::VIRTIO_F_VERSION_1) | spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM) |
    spec::feature(spec::VIRTIO_F_SWIOTLB) | spec::feature(spec::VIRTIO_F_RING_RESET);
constexpr std::uint64_t kAccepted = kPlain | spec::feature(spec::VIRTIO_F_QUEUE_ENCRYPTION);
constexpr std::uint32_t kOffered =
    algorithm_bit(Algorithm::kAes256Gcm) | algorithm_bit(Algorithm::kNull);
constexpr std::uint32_t kKeyed = spec::VIRTIO_ENCRYPTION_S_KEYED;
constexpr std::uint32_t kLocked = spec::VIRTIO_ENCRYPTION_S_LOCKED;

VirtioPciDevice::Options encrypting() {
  VirtioPciDevice::Options options;
  options.negotiation.encryption = kOffered;
  return options;
}

class EncryptionConfigTest : public ::testing::Test {
 protected:
  EncryptionConfigTest() { device_.place_region(TestDevice::kBusBase); }

  template <class T>
  T get(std::size_t offset) {
    return device_.read<T>(kRegistersBar, kEncryptionOffset + offset);
  }
  template <class T>
  void put(std::size_t offset, std::type_identity_t<T> value) {
    device_.write<T>(kRegistersBar, kEncryptionOffset + offset, value);
  }
  void select(std::uint16_t queue) { put<std::uint16_t>(offsetof(Registers, queue_select), queue); }
  void choose(Algorithm algorithm) {
    put<std::uint16_t>(offsetof(Registers, algorithm), std::to_underlying(algorithm));
  }
  std::uint16_t chosen() { return get<std::uint16_t>(offsetof(Registers, algorithm)); }
  std::uint32_t state() { return get<std::uint32_t>(offsetof(Registers, state)); }
  void put_key(std::uint32_t word, std::size_t words = 8) {
    for (std::size_t i = 0; i < words; ++i)
      put<std::uint32_t>(offsetof(Registers, key) + 4 * i, word);
  }
  using Salt = std::array<std::uint8_t, 16>;
  Salt salt(std::uint16_t queue) {
    select(queue);
    return get<Salt>(offsetof(Registers, salt));
  }
  /// ENC-2: of no queue's key there is a byte to be read, by an access of any width.
  void expect_no_key() {
    for (const std::uint16_t queue : std::initializer_list<std::uint16_t>{0, 1, 2, 0xffff}) {
      select(queue);
      const auto whole = get<std::array<std::uint8_t, 64>>(0);
      const auto key = std::span(whole).subspan(offsetof(Registers, key), 32);
      EXPECT_TRUE(std::ranges::all_of(key, [](std::uint8_t byte) { return byte == 0; })) << queue;
      EXPECT_EQ(get<std::uint32_t>(offsetof(Registers, key)), 0U);
      EXPECT_EQ(get<std::uint8_t>(offsetof(Registers, key) + 31), 0U);
    }
  }
  void negotiate() { ASSERT_TRUE(device_.negotiate(kAccepted)); }
  void set_up(std::uint16_t queue, std::uint32_t key) {
    select(queue);
    choose(Algorithm::kAes256Gcm);
    put_key(key);
    EXPECT_TRUE(device_.enable_queue(device_.good_queue(queue)));
  }
  static std::byte byte_of(std::uint32_t word) { return static_cast<std::byte>(word & 0xff); }

  TestDevice device_{encrypting()};
};

// ENC-1.
TEST_F(EncryptionConfigTest, IsFoundByItsCapability) {
  EXPECT_NE(device_.offered() & spec::feature(spec::VIRTIO_F_QUEUE_ENCRYPTION), 0U);
  const auto found = MUST(find_capabilities(device_, device_.bar_sizes()));
  EXPECT_EQ(found.encryption,
            (BarRange{.bar = kRegistersBar, .offset = kEncryptionOffset, .length = 64}));
  EXPECT_EQ(get<std::uint32_t>(offsetof(Registers, algorithms)), kOffered);
}

TEST(Encryption, IsNotThereUnlessItIsAskedFor) {
  TestDevice device;
  EXPECT_EQ(device.offered() & spec::feature(spec::VIRTIO_F_QUEUE_ENCRYPTION), 0U);
  EXPECT_EQ(MUST(find_capabilities(device, device.bar_sizes())).encryption, std::nullopt);
  EXPECT_EQ(device.device->region_info(kRegistersBar).size, kRegistersSize);
  EXPECT_TRUE(device.negotiate(kPlain));
}

// ENC-1: a driver that declines is not served.
TEST_F(EncryptionConfigTest, IsNotToBeDeclined) {
  EXPECT_FALSE(device_.negotiate(kPlain));
  EXPECT_EQ(device_.device->refusals(), 1U);
}

TEST(Encryption, HasABitThatCanBeMoved) {
  VirtioPciDevice::Options options = encrypting();
  options.negotiation.encryption_bit = 45;
  TestDevice device(options);
  EXPECT_EQ(device.offered() & kAccepted & ~kPlain, 0U);
  EXPECT_TRUE(device.negotiate(kPlain | spec::feature(45)));
  for (const unsigned taken : {spec::VIRTIO_F_SWIOTLB, spec::VIRTIO_F_RING_PACKED, 3U, 64U}) {
    options.negotiation.encryption_bit = taken;
    const auto made = Negotiation::create(options.negotiation);
    ASSERT_FALSE(made) << taken;
    EXPECT_EQ(made.error(), (Error{.code = Errc::kUnsupported, .detail = taken}));
  }
}

// ENC-3: features are agreed upon first.
TEST_F(EncryptionConfigTest, TakesNothingBeforeFeaturesOk) {
  choose(Algorithm::kAes256Gcm);
  put_key(0x11111111);
  EXPECT_EQ(chosen(), spec::VIRTIO_ENCRYPTION_NONE);
  EXPECT_EQ(state(), kLocked);
  expect_no_key();
  negotiate();
  EXPECT_EQ(chosen(), spec::VIRTIO_ENCRYPTION_NONE);
  EXPECT_EQ(state(), 0U);
}

// SYS-9, ENC-2, ENC-4: the queue gets it whole, the salt with it; nobody else.
TEST_F(EncryptionConfigTest, HandsAKeyToItsQueueAndToNobodyElse) {
  negotiate();
  expect_no_key();
  set_up(0, 0x22222222);
  const Salt first = salt(0);
  expect_no_key();
  select(0);
  EXPECT_EQ(state(), kKeyed);
  set_up(1, 0x33333333);
  const Salt second = salt(1);
  EXPECT_NE(first, second);
  device_.driver_ok();
  ASSERT_EQ(device_.model.queues.size(), 2U);
  for (const auto& [queue, key, salt] :
       {std::tuple(0U, 0x22222222U, first), std::tuple(1U, 0x33333333U, second)}) {
    const crypt::SharedSecret& secret = device_.model.queues[queue].secret;
    ASSERT_TRUE(secret);
    EXPECT_EQ(secret->algorithm, Algorithm::kAes256Gcm);
    EXPECT_TRUE(std::ranges::all_of(secret->key, [&](std::byte b) { return b == byte_of(key); }));
    EXPECT_TRUE(std::ranges::equal(secret->salt, std::as_bytes(std::span(salt))));
  }
  expect_no_key();
}

// SYS-9, ENC-3: from DRIVER_OK on what is written changes nothing, and keys still read as zero.
TEST_F(EncryptionConfigTest, LocksAtDriverOk) {
  negotiate();
  set_up(0, 0x22222222);
  device_.driver_ok();
  select(0);
  EXPECT_EQ(state(), kKeyed | kLocked);
  const Salt before = salt(0);
  choose(Algorithm::kNull);
  put_key(0x44444444);
  EXPECT_EQ(chosen(), std::to_underlying(Algorithm::kAes256Gcm));
  EXPECT_EQ(salt(0), before);
  expect_no_key();
  EXPECT_EQ(device_.model.queues[0].secret->key[5], std::byte{0x22});
  EXPECT_EQ(device_.device->violations(), 0U);
}

// ENC-4, ENC-5.
TEST_F(EncryptionConfigTest, ForgetsAllAtAReset) {
  negotiate();
  set_up(0, 0x22222222);
  device_.driver_ok();
  const Salt before = salt(0);
  device_.set_status(0);
  EXPECT_EQ(state(), kLocked);
  EXPECT_EQ(chosen(), spec::VIRTIO_ENCRYPTION_NONE);
  EXPECT_NE(salt(0), before);
  expect_no_key();
  negotiate();
  EXPECT_TRUE(device_.enable_queue(device_.good_queue(0)));
  device_.driver_ok();
  EXPECT_TRUE(device_.model.starts.size() == 1);  // not again: there is no key
  EXPECT_NE(device_.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

// ENC-3 to ENC-5: a queue that is reset by itself is set up by itself.
TEST_F(EncryptionConfigTest, OpensForAQueueThatWasReset) {
  negotiate();
  set_up(0, 0x22222222);
  set_up(1, 0x33333333);
  device_.driver_ok();
  const Salt before = salt(1);
  const Salt other = salt(0);
  device_.reset_queue(1);
  select(1);
  EXPECT_EQ(state(), 0U);
  EXPECT_EQ(chosen(), spec::VIRTIO_ENCRYPTION_NONE);
  EXPECT_NE(salt(1), before);
  EXPECT_EQ(salt(0), other);
  select(0);
  EXPECT_EQ(state(), kKeyed | kLocked);
  select(spec::VIRTIO_ENCRYPTION_ALL_QUEUES);  // of all, those that may be written now
  choose(Algorithm::kAes256Gcm);
  put_key(0x55555555);
  EXPECT_TRUE(device_.enable_queue(device_.good_queue(1)));
  EXPECT_EQ(device_.model.queues.back().index, 1U);
  EXPECT_EQ(device_.model.queues.back().secret->key[31], std::byte{0x55});
  select(1);
  EXPECT_EQ(state(), kKeyed | kLocked);
  expect_no_key();
}

// ENC-4: nothing runs without.
TEST_F(EncryptionConfigTest, RunsNoQueueWithoutAWholeKey) {
  for (const std::size_t words : {std::size_t{0}, std::size_t{7}}) {
    device_.set_status(0);
    negotiate();
    select(0);
    choose(Algorithm::kAes256Gcm);
    put_key(1, words);
    EXPECT_EQ(state(), 0U);
    EXPECT_TRUE(device_.enable_queue(device_.good_queue(0)));
    device_.driver_ok();
    EXPECT_TRUE(device_.model.starts.empty());
    EXPECT_NE(device_.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET, 0);
  }
}

// Half a key of one algorithm is none of another.
TEST_F(EncryptionConfigTest, ForgetsTheKeyWithTheAlgorithm) {
  negotiate();
  select(0);
  choose(Algorithm::kAes256Gcm);
  put_key(1);
  EXPECT_EQ(state(), kKeyed);
  choose(Algorithm::kAes256Gcm);
  EXPECT_EQ(state(), 0U);
}

// ENC-6: on offer, and chosen: then it is a queue like any other.
TEST_F(EncryptionConfigTest, RunsAQueueWithTheNullAlgorithmInTheClear) {
  negotiate();
  select(spec::VIRTIO_ENCRYPTION_ALL_QUEUES);
  choose(Algorithm::kNull);
  EXPECT_TRUE(device_.enable_queue(device_.good_queue(0)));
  device_.driver_ok();
  ASSERT_EQ(device_.model.queues.size(), 1U);
  EXPECT_EQ(device_.model.queues[0].secret, nullptr);
}

TEST_F(EncryptionConfigTest, KeepsNoAlgorithmThatIsNotOnOffer) {
  negotiate();
  select(0);
  for (const std::uint16_t wrong : std::initializer_list<std::uint16_t>{3, 4, 32, 0x0102, 0xffff}) {
    put<std::uint16_t>(offsetof(Registers, algorithm), wrong);
    EXPECT_EQ(chosen(), spec::VIRTIO_ENCRYPTION_NONE) << wrong;
  }
  choose(Algorithm::kAes256Gcm);
  EXPECT_EQ(chosen(), 2U);
}

// One key for the whole device, by any widths; queues that there are not are nobody.
TEST_F(EncryptionConfigTest, TakesAccessesOfAnyWidthAndQueue) {
  negotiate();
  select(spec::VIRTIO_ENCRYPTION_ALL_QUEUES);
  choose(Algorithm::kAes256Gcm);
  std::array<std::uint8_t, 48> bytes{};
  bytes.fill(0x66);
  // All of the key, and the salt, which is not the driver's to write.
  const Salt before = salt(0);
  select(spec::VIRTIO_ENCRYPTION_ALL_QUEUES);
  put<std::array<std::uint8_t, 48>>(offsetof(Registers, key), bytes);
  EXPECT_EQ(state(), 0U);  // of all, there is none
  EXPECT_EQ(salt(0), before);
  for (const std::uint16_t queue : std::initializer_list<std::uint16_t>{0, 1}) {
    select(queue);
    EXPECT_EQ(state(), kKeyed);
  }
  select(77);
  choose(Algorithm::kNull);
  put<std::array<std::uint8_t, 48>>(offsetof(Registers, key), bytes);
  EXPECT_EQ(state(), 0U);
  EXPECT_EQ(chosen(), 0U);
  expect_no_key();
}

}  // namespace
}  // namespace airlock::pci
