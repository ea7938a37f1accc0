// SPDX-License-Identifier: Apache-2.0
//
// Goal: as encrypted_disk_test.cc, of a network card: frames both ways, mergeable or not, commands.
#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>
#include <tuple>

#include "device/net/net_device.h"
#include "driver/net.h"
#include "testing/fake_network.h"
#include "testing/polled_device.h"
#include "testing/region_scan.h"

namespace airlock::testing {
namespace {

using crypt::Algorithm;
using Bytes = std::vector<std::byte>;

constexpr std::string_view kFrameCanary = "a canary on its way through a network card";
constexpr std::uint32_t kOfferedToCards = algorithm_bit(Algorithm::kAes256Gcm) |
                                          algorithm_bit(Algorithm::kChaCha20Poly1305) |
                                          algorithm_bit(Algorithm::kNull);

/// A broadcast frame, full of canaries.
Bytes canary_frame(std::size_t length) {
  Bytes frame(length);
  for (std::size_t i = 0; i < length; ++i)
    frame[i] = static_cast<std::byte>(kFrameCanary[i % kFrameCanary.size()]);
  std::fill_n(frame.begin(), 6, std::byte{0xff});
  return frame;
}

struct Card {
  struct Options {
    Algorithm algorithm = Algorithm::kAes256Gcm;
    bool mergeable = true;
    std::uint64_t ring_features = driver::kRingFeaturesByDefault;
    std::uint32_t offered = kOfferedToCards;
  };

  explicit Card(const Options& options) : device(make_type(), shown(options)) {
    wanted.device.encryption = options.algorithm;
    wanted.device.ring_features = options.ring_features;
    wanted.device.scrub = pool::Scrub::kOnMap;
    // A notification is what a waiting driver's device runs by.
    device.lies.on_write = [this](const driver::Register& to, std::uint64_t /*value*/) {
      const bool notifies = to.bar == pci::kRegistersBar && to.offset >= pci::kNotifyOffset &&
                            to.offset < pci::kRegistersSize;
      if (notifies) device.pump();
      return false;
    };
    if (options.mergeable) return;
    device.lies.on_read = [](const driver::Register& from, std::uint64_t& value) {
      constexpr std::uint64_t kOffered = offsetof(spec::VirtioPciCommonCfg, device_feature);
      if (from.bar == pci::kRegistersBar && from.offset == kOffered) {
        value &= ~spec::feature(spec::VIRTIO_NET_F_MRG_RXBUF);
      }
    };
  }
  std::unique_ptr<device::DeviceType> make_type() {
    return MUST(device::NetDevice::create(
        {.backend = std::make_unique<FakeNetBackend>(network),
         .shape = {.pairs = 1, .queue_size = 64, .mac = {0x52, 0x54, 0, 1, 2, 3}}}));
  }
  static pci::VirtioPciDevice::Options shown(const Options& options) {
    pci::VirtioPciDevice::Options shown;
    shown.negotiation.encryption = options.offered;
    return shown;
  }
  Result<void> open() {
    net = TRY(driver::Net::open(device.transport(), wanted));
    return {};
  }
  /// Sends a frame, and returns what the network got.
  Result<Bytes> send(const Bytes& frame) {
    TRY(net->send(frame));
    device.pump();
    if (network->channels[0]->sent.empty()) return fail(Errc::kTimeout);
    return std::exchange(network->channels[0]->sent, {}).back().bytes;
  }
  Result<Bytes> receive(const Bytes& frame) {
    network->arrive(0, {.header = {}, .bytes = frame});
    device.pump();
    const auto received = TRY(net->receiver(0).poll());
    if (!received) return fail(Errc::kTimeout);
    return Bytes(received->frame.begin(), received->frame.end());
  }
  [[nodiscard]] std::size_t canaries_in_region() const {
    return count_in(device.region(),
                    std::as_bytes(std::span(kFrameCanary.data(), kFrameCanary.size())));
  }

  std::shared_ptr<FakeNetwork> network = std::make_shared<FakeNetwork>();
  PolledDevice device;
  driver::Net::Options wanted;
  std::unique_ptr<driver::Net> net;
};

using Parameters = std::tuple<bool, bool, Algorithm>;

class EncryptedCard : public ::testing::TestWithParam<Parameters> {
 protected:
  static Card::Options options() {
    const auto& [packed, mergeable, algorithm] = GetParam();
    Card::Options options{.algorithm = algorithm, .mergeable = mergeable};
    if (!packed) options.ring_features &= ~spec::feature(spec::VIRTIO_F_RING_PACKED);
    return options;
  }
  Card card_{options()};
};

INSTANTIATE_TEST_SUITE_P(Kinds, EncryptedCard,
                         ::testing::Combine(::testing::Bool(), ::testing::Bool(),
                                            ::testing::Values(Algorithm::kAes256Gcm,
                                                              Algorithm::kChaCha20Poly1305)),
                         [](const auto& kind) {
                           return std::string(std::get<0>(kind.param) ? "Packed" : "Split") +
                                  (std::get<1>(kind.param) ? "Mergeable" : "Whole") +
                                  (std::get<2>(kind.param) == Algorithm::kAes256Gcm ? "Gcm"
                                                                                    : "ChaCha");
                         });

// ENC-6, ENC-8: more frames than there are buffers, of every length that there is.
TEST_P(EncryptedCard, CarriesFramesBothWays) {
  ASSERT_TRUE(card_.open());
  for (std::size_t i = 0; i < 300; ++i) {
    const Bytes frame = canary_frame(60 + i * 1454 / 299);
    ASSERT_EQ(MUST(card_.send(frame)), frame) << i;
    ASSERT_EQ(MUST(card_.receive(frame)), frame) << i;
  }
  EXPECT_TRUE(card_.device.broken.empty());
}

// ENC-11; the twin below finds it.
TEST_P(EncryptedCard, LeavesNoPlaintextInTheRegion) {
  ASSERT_TRUE(card_.open());
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(card_.send(canary_frame(1514)));
    ASSERT_TRUE(card_.receive(canary_frame(1514)));
  }
  EXPECT_EQ(card_.canaries_in_region(), 0U);
}

TEST_P(EncryptedCard, ObeysCommands) {
  ASSERT_TRUE(card_.open());
  EXPECT_TRUE(card_.net->set_promiscuous(true));
  EXPECT_TRUE(card_.net->set_mac({0x52, 0x54, 0, 9, 9, 9}));
  EXPECT_EQ(MUST(card_.receive(canary_frame(100))), canary_frame(100));
}

// ENC-9: a frame that was changed on its way breaks the queue, and is not handed out.
TEST_P(EncryptedCard, RefusesAReceivedFrameThatWasChanged) {
  ASSERT_TRUE(card_.open());
  const Bytes before = copy_of(card_.device.region());
  card_.network->arrive(0, {.header = {}, .bytes = canary_frame(1000)});
  card_.device.pump();
  Bytes after = copy_of(card_.device.region());
  const std::size_t at = first_changed_run(before, after);
  ASSERT_LT(at, after.size());
  after[at] ^= std::byte{1};
  card_.device.region().copy_in(at, std::span(after).subspan(at, 1));
  const auto received = card_.net->receiver(0).poll();
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code, Errc::kNotAuthentic);
  EXPECT_EQ(card_.net->device().broken()->code, Errc::kNotAuthentic);
  ASSERT_TRUE(card_.net->reset());
  EXPECT_EQ(MUST(card_.receive(canary_frame(100))), canary_frame(100));
}

// A device that got another key: what it receives does not open, whoever sealed it.
TEST_P(EncryptedCard, RefusesFramesUnderAnotherKey) {
  const auto pumping = card_.device.lies.on_write;
  card_.device.lies.on_write = [this, pumping](const driver::Register& to, std::uint64_t value) {
    const bool last =
        to.bar == pci::kRegistersBar &&
        to.offset == pci::kEncryptionOffset + offsetof(spec::VirtioPciEncryptionCfg, key) + 28;
    if (!last) return pumping(to, value);
    const Le32 wrong(static_cast<std::uint32_t>(value ^ 1));
    MUST(card_.device.pci().write(to.bar, to.offset, std::as_bytes(std::span(&wrong, 1))));
    return true;
  };
  ASSERT_TRUE(card_.open());
  EXPECT_EQ(card_.receive(canary_frame(100)).error().code, Errc::kNotAuthentic);
  EXPECT_TRUE(card_.device.broken.empty());
}

TEST(EncryptedCardTwin, FindsPlaintextWithoutEncryption) {
  for (const Card::Options& options : {Card::Options{.algorithm = Algorithm::kNone, .offered = 0},
                                       Card::Options{.algorithm = Algorithm::kNull}}) {
    Card card(options);
    ASSERT_TRUE(card.open());
    ASSERT_TRUE(card.send(canary_frame(1514)));
    ASSERT_TRUE(card.receive(canary_frame(1514)));
    EXPECT_GT(card.canaries_in_region(), 50U);
  }
}

// ENC-12.
TEST(EncryptedCardBuffers, AreNotInTheRegion) {
  Card card({});
  ASSERT_TRUE(card.open());
  EXPECT_EQ(card.net->allocate(2048).error().code, Errc::kUnsupported);
  auto buffer = MUST(card.net->device().pool().allocate(2048));
  EXPECT_EQ(card.net->sender(0).submit({.bytes = buffer.span().first(100)}).error().code,
            Errc::kUnsupported);
  EXPECT_TRUE(card.send(canary_frame(100)));
}

}  // namespace
}  // namespace airlock::testing
