// SPDX-License-Identifier: Apache-2.0
//
// Goal: our driver and our device, with encrypted buffers between them, are a disk; whoever sees
// the region learns nothing of what is on it, and whoever changes it is found out. Method: both in
// one thread, so that the region can be looked at and changed between any two steps.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <tuple>

#include "backend/memory_backend.h"
#include "device/blk/blk_device.h"
#include "driver/blk.h"
#include "testing/polled_device.h"
#include "testing/region_scan.h"

namespace airlock::testing {
namespace {

using crypt::Algorithm;
using Bytes = std::vector<std::byte>;
using Registers = spec::VirtioPciEncryptionCfg;

constexpr std::uint64_t kDiskBytes = std::uint64_t{4} << 20;
constexpr std::string_view kCanary = "a canary that is in the clear nowhere but at both ends";
constexpr std::uint32_t kAll =
    algorithm_bit(Algorithm::kAes256Gcm) | algorithm_bit(Algorithm::kChaCha20Poly1305);
constexpr std::uint32_t kNullToo = kAll | algorithm_bit(Algorithm::kNull);

Bytes canary() {
  const auto bytes = std::as_bytes(std::span(kCanary.data(), kCanary.size()));
  return {bytes.begin(), bytes.end()};
}

/// The canary, again and again.
Bytes canaries(std::size_t length) {
  Bytes bytes(length);
  for (std::size_t i = 0; i < length; ++i)
    bytes[i] = static_cast<std::byte>(kCanary[i % kCanary.size()]);
  return bytes;
}

struct Disk {
  struct Options {
    Algorithm algorithm = Algorithm::kAes256Gcm;
    window::AddressMode mode = window::AddressMode::kBus;
    std::uint64_t ring_features = driver::kRingFeaturesByDefault;
    std::uint32_t offered = kAll;  // 0: there is no encryption
    std::uint32_t queue_size = 64;
  };

  explicit Disk(const Options& options) : device(make_type(), shown(options)) {
    wanted.queue_size = options.queue_size;
    wanted.queues = 2;
    wanted.device.encryption = options.algorithm;
    wanted.device.ring_features = options.ring_features;
    wanted.device.scrub = pool::Scrub::kOnMap;  // what was in the region stays to be found
    wanted.timeout = std::chrono::milliseconds(50);
  }
  static std::unique_ptr<device::DeviceType> make_type() {
    return MUST(device::BlkDevice::create({.backend = *backend::open_memory(kDiskBytes, false),
                                           .shape = {.queues = 2, .queue_size = 64},
                                           .id = "sealed"}));
  }
  static pci::VirtioPciDevice::Options shown(const Options& options) {
    pci::VirtioPciDevice::Options shown;
    shown.negotiation.offer = options.mode == window::AddressMode::kBus
                                  ? pci::AddressOffer::kBus
                                  : pci::AddressOffer::kOffset;
    shown.negotiation.encryption = options.offered;
    return shown;
  }

  Result<void> open() {
    blk = TRY(driver::Blk::open(device.transport(), wanted));
    return {};
  }
  /// One request, by pumping: nobody waits.
  Result<void> run(const driver::BlkRequest& request, std::size_t queue = 0) {
    const std::uint64_t id = TRY(blk->queue(queue).submit(request));
    for (;;) {
      blk->queue(queue).kick();
      device.pump();
      const auto completion = blk->queue(queue).poll();
      if (!completion && blk->device().broken()) continue;
      if (!completion && !device.broken.empty()) {
        TRY(blk->device().check());
        return fail(Errc::kWrongState);  // it ought to have said so
      }
      if (!completion || completion->id != id) continue;  // of one that was given up
      if (completion->error) return fail(*completion->error);
      return {};
    }
  }
  Result<void> write(std::uint64_t offset, const Bytes& bytes) {
    return run({.op = driver::BlkOp::kWrite, .offset = offset, .source = bytes});
  }
  Result<Bytes> read(std::uint64_t offset, std::size_t length) {
    Bytes bytes(length, std::byte{0xee});
    TRY(run({.op = driver::BlkOp::kRead, .offset = offset, .target = bytes}));
    return bytes;
  }
  /// Places in all of the region where the canary stands.
  [[nodiscard]] std::size_t canaries_in_region() const {
    return count_in(device.region(), canary());
  }

  PolledDevice device;
  driver::Blk::Options wanted;
  std::unique_ptr<driver::Blk> blk;
};

using Parameters = std::tuple<bool, window::AddressMode, Algorithm>;

class EncryptedDisk : public ::testing::TestWithParam<Parameters> {
 protected:
  static Disk::Options options() {
    const auto& [packed, mode, algorithm] = GetParam();
    Disk::Options options{.algorithm = algorithm, .mode = mode};
    if (!packed) options.ring_features &= ~spec::feature(spec::VIRTIO_F_RING_PACKED);
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(
    Kinds, EncryptedDisk,
    ::testing::Combine(::testing::Bool(),
                       ::testing::Values(window::AddressMode::kBus, window::AddressMode::kOffset),
                       ::testing::Values(Algorithm::kAes256Gcm, Algorithm::kChaCha20Poly1305)),
    [](const auto& kind) {
      return std::string(std::get<0>(kind.param) ? "Packed" : "Split") +
             (std::get<1>(kind.param) == window::AddressMode::kBus ? "Bus" : "Offset") +
             (std::get<2>(kind.param) == Algorithm::kAes256Gcm ? "Gcm" : "ChaCha");
    });

// ENC-6.
TEST_P(EncryptedDisk, KeepsWhatIsWritten) {
  Disk disk(options());
  ASSERT_TRUE(disk.open());
  for (const std::size_t length : {std::size_t{512}, std::size_t{4096}, std::size_t{20'480},
                                   std::size_t{1} << 20, (std::size_t{2} << 20) + 512}) {
    const Bytes bytes = canaries(length);
    ASSERT_TRUE(disk.write(8192, bytes)) << length;
    EXPECT_EQ(MUST(disk.read(8192, length)), bytes) << length;
  }
  ASSERT_TRUE(disk.run({.op = driver::BlkOp::kFlush}));
  Bytes id(spec::VIRTIO_BLK_ID_BYTES);
  ASSERT_TRUE(disk.run({.op = driver::BlkOp::kGetId, .target = id}));
  EXPECT_EQ(std::to_integer<char>(id[0]), 's');
  ASSERT_TRUE(disk.run({.op = driver::BlkOp::kWriteZeroes, .offset = 8192, .length = 4096}));
  EXPECT_EQ(MUST(disk.read(8192, 4096)), Bytes(4096));
  EXPECT_TRUE(disk.device.broken.empty());
}

// ENC-11, after a workload of every kind; EncryptedDiskTwin finds it.
TEST_P(EncryptedDisk, LeavesNoPlaintextInTheRegion) {
  Disk disk(options());
  ASSERT_TRUE(disk.open());
  for (std::uint64_t i = 0; i < 40; ++i) {
    ASSERT_TRUE(disk.write(i * 65'536, canaries(65'536)));
    EXPECT_EQ(disk.canaries_in_region(), 0U);
    ASSERT_EQ(MUST(disk.read(i * 65'536, 65'536)), canaries(65'536));
  }
  EXPECT_EQ(disk.canaries_in_region(), 0U);
}

// ENC-8: many in flight, over both queues, each with its own key.
TEST_P(EncryptedDisk, KeepsManyRequestsApart) {
  Disk disk(options());
  ASSERT_TRUE(disk.open());
  std::vector<Bytes> targets(32, Bytes(4096));
  for (std::uint64_t i = 0; i < targets.size(); ++i)
    ASSERT_TRUE(disk.write(i * 4096, Bytes(4096, static_cast<std::byte>(i))));
  for (std::uint64_t i = 0; i < targets.size(); ++i) {
    ASSERT_TRUE(disk.blk->queue(i % 2).submit(
        {.op = driver::BlkOp::kRead, .offset = i * 4096, .target = targets[i]}));
  }
  std::size_t done = 0;
  while (done < targets.size()) {
    for (const std::size_t queue : {std::size_t{0}, std::size_t{1}}) {
      disk.blk->queue(queue).kick();
      disk.device.pump();
      while (const auto completion = disk.blk->queue(queue).poll()) {
        ASSERT_FALSE(completion->error);
        ++done;
      }
    }
  }
  for (std::uint64_t i = 0; i < targets.size(); ++i)
    EXPECT_EQ(targets[i], Bytes(4096, static_cast<std::byte>(i)));
}

// ENC-9: an answer that was changed breaks the queue, and nothing of it is handed out.
TEST_P(EncryptedDisk, RefusesAnAnswerThatWasChanged) {
  Disk disk(options());
  ASSERT_TRUE(disk.open());
  ASSERT_TRUE(disk.write(0, canaries(4096)));
  Bytes target(4096, std::byte{0xee});
  ASSERT_TRUE(disk.blk->queue(0).submit({.op = driver::BlkOp::kRead, .target = target}));
  disk.blk->queue(0).kick();
  const Bytes before = copy_of(disk.device.region());
  disk.device.pump();
  Bytes after = copy_of(disk.device.region());
  const std::size_t at = first_changed_run(before, after);
  ASSERT_LT(at, after.size());
  after[at] ^= std::byte{1};
  disk.device.region().copy_in(at, std::span(after).subspan(at, 1));
  const auto completion = disk.blk->queue(0).poll();
  ASSERT_TRUE(completion && completion->error);
  EXPECT_EQ(completion->error->code, Errc::kNotAuthentic);
  EXPECT_EQ(target, Bytes(4096));
  EXPECT_EQ(disk.blk->device().broken()->code, Errc::kNotAuthentic);
  // A reset, with fresh keys, and all is well.
  ASSERT_TRUE(disk.blk->reset());
  EXPECT_EQ(MUST(disk.read(0, 4096)), canaries(4096));
}

// SYS-9, ENC-4, ENC-5: fresh keys and salts with every reset, of the device or of a queue.
TEST_P(EncryptedDisk, StartsAnewAfterResets) {
  Disk disk(options());
  std::vector<std::uint64_t> words;  // of keys, as they are written
  disk.device.lies.on_write = [&](const driver::Register& to, std::uint64_t value) {
    const bool first = to.bar == pci::kRegistersBar &&
                       to.offset == pci::kEncryptionOffset + offsetof(Registers, key);
    if (first) words.push_back(value);
    return false;
  };
  ASSERT_TRUE(disk.open());
  ASSERT_TRUE(disk.write(0, canaries(4096)));
  ASSERT_TRUE(disk.blk->reset());
  EXPECT_EQ(MUST(disk.read(0, 4096)), canaries(4096));
  ASSERT_TRUE(disk.blk->reset_queue(0));
  EXPECT_EQ(MUST(disk.read(0, 4096)), canaries(4096));
  ASSERT_TRUE(disk.run({.op = driver::BlkOp::kFlush}, 1));
  ASSERT_EQ(words.size(), 5U);
  std::ranges::sort(words);
  EXPECT_EQ(std::ranges::adjacent_find(words), words.end());
}

// The twin of what is above: the same search, in the same place.
TEST(EncryptedDiskTwin, FindsPlaintextWithoutEncryption) {
  for (const Disk::Options& options :
       {Disk::Options{.algorithm = Algorithm::kNone, .offered = 0},
        Disk::Options{.algorithm = Algorithm::kNull, .offered = kNullToo}}) {
    Disk disk(options);
    ASSERT_TRUE(disk.open());
    ASSERT_TRUE(disk.write(0, canaries(65'536)));
    EXPECT_EQ(MUST(disk.read(0, 65'536)), canaries(65'536));
    EXPECT_GT(disk.canaries_in_region(), 1000U);
  }
}

// ENC-5, ENC-9: a device that got another key refuses the first request, and says why.
TEST(EncryptedDiskKeys, ThatDifferBreakTheQueue) {
  Disk disk({});
  bool change = true;
  disk.device.lies.on_write = [&](const driver::Register& to, std::uint64_t value) {
    const bool last = to.bar == pci::kRegistersBar &&
                      to.offset == pci::kEncryptionOffset + offsetof(Registers, key) + 28;
    if (!last || !change) return false;
    const Le32 wrong(static_cast<std::uint32_t>(value ^ 1));
    MUST(disk.device.pci().write(to.bar, to.offset, std::as_bytes(std::span(&wrong, 1))));
    return true;
  };
  ASSERT_TRUE(disk.open());
  const auto written = disk.write(0, canaries(4096));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Errc::kNeedsReset);
  ASSERT_EQ(disk.device.broken.size(), 1U);
  EXPECT_EQ(disk.device.broken[0], (Error{.code = Errc::kNotAuthentic, .queue = 0}));
  EXPECT_NE(describe(disk.device.broken[0]).find("different keys"), std::string::npos);
  change = false;
  disk.device.broken.clear();
  ASSERT_TRUE(disk.blk->reset());
  EXPECT_EQ(MUST(disk.read(0, 4096)), Bytes(4096));  // nothing of it was written
}

// ENC-1: no less than what was asked for, on either side.
TEST(EncryptedDiskOffer, IsTakenOrNothing) {
  Disk plain_device({.offered = 0});
  EXPECT_EQ(plain_device.open().error(),
            (Error{.code = Errc::kNoEncryption, .detail = spec::VIRTIO_F_QUEUE_ENCRYPTION}));
  Disk plain_driver({.algorithm = Algorithm::kNone});
  EXPECT_EQ(plain_driver.open().error().code, Errc::kFeaturesRefused);
  Disk other({.algorithm = Algorithm::kNull});  // which is not on offer
  EXPECT_EQ(other.open().error().code, Errc::kNoEncryption);
}

// A device's registers are its word: what they don't keep is a lie.
TEST(EncryptedDiskOffer, IsNotBelievedBeforeItIsKept) {
  for (const auto& [field, lie] :
       {std::pair(offsetof(Registers, algorithm), 1U), std::pair(offsetof(Registers, state), 0U),
        std::pair(offsetof(Registers, state), 3U)}) {
    Disk disk({});
    disk.device.lies.on_read = [at = field, told = lie](const driver::Register& from,
                                                        std::uint64_t& value) {
      if (from.bar == pci::kRegistersBar && from.offset == pci::kEncryptionOffset + at) {
        value = told;
      }
    };
    const auto opened = disk.open();
    ASSERT_FALSE(opened);
    EXPECT_EQ(
        opened.error(),
        (Error{.code = Errc::kMalformed, .queue = 0, .detail = static_cast<std::uint32_t>(field)}));
  }
}

// ENC-12.
TEST(EncryptedDiskBuffers, AreNotInTheRegion) {
  Disk disk({});
  ASSERT_TRUE(disk.open());
  EXPECT_EQ(disk.blk->allocate(4096).error().code, Errc::kUnsupported);
  auto buffer = MUST(disk.blk->device().pool().allocate(4096));
  EXPECT_EQ(disk.blk->queue(0)
                .submit({.op = driver::BlkOp::kWrite, .source = buffer.span()})
                .error()
                .code,
            Errc::kUnsupported);
}

// A ring too small for a request and its tags; one that is just enough.
TEST(EncryptedDiskBuffers, NeedRoomForTags) {
  Disk small({.ring_features = 0, .queue_size = 4});
  ASSERT_TRUE(small.open());
  ASSERT_TRUE(small.write(0, canaries(65'536)));
  EXPECT_EQ(MUST(small.read(0, 65'536)), canaries(65'536));
}

}  // namespace
}  // namespace airlock::testing
