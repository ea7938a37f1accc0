// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "crypt/queue_cipher.h"
#include "ring/device_queue.h"
#include "ring/driver_queue.h"
#include "testing/region_scan.h"
#include "testing/test_region.h"

namespace airlock::testing {

/// An encrypted queue: a driver's ring and cipher, used by hand, and a device's queue. One thread.
class SealedPair {
 public:
  using Bytes = std::vector<std::byte>;
  static constexpr std::uint16_t kQueue = 2;
  static constexpr std::uint32_t kSlots = 64;

  struct Options {
    crypt::Algorithm algorithm = crypt::Algorithm::kAes256Gcm;
    ring::Features features{};
    window::AddressMode mode = window::AddressMode::kBus;
  };
  /// A request in the region, sealed: it need not be what the ring gets.
  struct Sealed {
    crypt::SealedChain chain;
    ring::Buffer readable;  // whole; length 0: there is none
    ring::Buffer writable;
  };

  explicit SealedPair(const Options& options)
      : region_({.size = std::uint64_t{1} << 20, .mode = options.mode}),
        cipher_(MUST(
            crypt::QueueCipher::create(*secret(options.algorithm), kQueue, crypt::Side::kDriver))),
        driver_(make_driver(options.features)),
        config_({.queue = kQueue,
                 .size = driver_.size(),
                 .areas = driver_.published_areas(),
                 .features = options.features,
                 .secret = secret(options.algorithm)}),
        device_(MUST(ring::DeviceQueue::create(config_, region_.window()))) {}

  [[nodiscard]] static std::shared_ptr<crypt::QueueSecret> secret(crypt::Algorithm algorithm,
                                                                  unsigned key = 1) {
    auto made = std::make_shared<crypt::QueueSecret>();
    made->algorithm = algorithm;
    made->key.fill(static_cast<std::byte>(key));
    made->salt.fill(std::byte{7});
    return made;
  }

  [[nodiscard]] TestRegion& region() { return region_; }
  [[nodiscard]] ring::DeviceQueue& device() { return device_; }
  [[nodiscard]] ring::DriverQueue& driver() { return driver_; }
  [[nodiscard]] crypt::QueueCipher& cipher() { return cipher_; }
  [[nodiscard]] const ring::QueueConfig& config() const { return config_; }

  /// Seals `plain` as the next chain, with room for `answer` bytes (nothing for none at all).
  Sealed seal(const Bytes& plain, std::optional<std::uint32_t> answer) {
    const auto length = static_cast<std::uint32_t>(plain.size());
    const std::uint32_t readable = plain.empty() ? 0 : length + kTag;
    const std::uint32_t writable = answer ? *answer + kTag : 0;
    Sealed sealed {
      .chain = MUST(cipher_.next_chain(readable, writable))
      , .readable = room(readable), .writable = room(writable)
    };
    if (plain.empty()) return sealed;
    const std::uint64_t at = std::to_underlying(sealed.readable.offset);
    cipher_.begin_seal(sealed.chain, length);
    cipher_.seal(plain, region_.bytes(), at);
    region_.bytes().copy_in(at + length, cipher_.finish_seal());
    return sealed;
  }
  /// Makes it available, in buffers of `cut` bytes at most.
  void submit(const Sealed& sealed, std::uint32_t cut = 0xffff'ffff) {
    MUST(driver_.submit(pieces(sealed.readable, cut), pieces(sealed.writable, cut),
                        sealed.chain.counter));
    (void)driver_.publish();
  }
  Sealed send(const Bytes& plain, std::optional<std::uint32_t> answer,
              std::uint32_t cut = 0xffff'ffff) {
    const Sealed sealed = seal(plain, answer);
    submit(sealed, cut);
    return sealed;
  }

  /// Opens what the device answered, of which it says that it has `written` bytes.
  Result<Bytes> open(const Sealed& sealed, std::uint32_t written) {
    CHECK(written >= kTag);
    Bytes plain(written - kTag);
    const std::uint64_t at = std::to_underlying(sealed.writable.offset);
    cipher_.begin_open(sealed.chain, written - kTag);
    cipher_.open(region_.bytes(), at, plain);
    crypt::Tag tag{};
    region_.bytes().copy_out(at + plain.size(), tag);
    TRY(cipher_.finish_open(tag));
    return plain;
  }

  /// Flips one bit of the region.
  void flip(window::RegionOffset offset, std::uint64_t at) {
    const std::uint64_t place = std::to_underlying(offset) + at;
    region_.bytes().store_relaxed<std::uint8_t>(
        place, region_.bytes().load_relaxed<std::uint8_t>(place) ^ 1U);
  }
  /// Places in the region where `pattern` stands.
  [[nodiscard]] std::size_t count(const Bytes& pattern) const {
    return count_in(region_.bytes(), pattern);
  }

 private:
  static constexpr std::uint32_t kTag = crypt::kTagBytes;

  ring::DriverQueue make_driver(const ring::Features& features) {
    const auto size = MUST(ring::QueueSize::from(kSlots, features.format));
    const ring::Layout layout(size, features.format);
    const auto block = region_.allocate(layout.block_bytes(), 4096);
    return MUST(ring::DriverQueue::create({.queue = kQueue,
                                           .size = size,
                                           .areas = layout.block_at(block),
                                           .publisher = region_.publisher(),
                                           .features = features},
                                          region_.bytes()));
  }
  ring::Buffer room(std::uint32_t bytes) {
    if (bytes == 0) return {};
    return {.offset = region_.allocate(bytes), .length = bytes};
  }
  static std::vector<ring::Buffer> pieces(const ring::Buffer& whole, std::uint32_t cut) {
    std::vector<ring::Buffer> found;
    std::uint64_t at = std::to_underlying(whole.offset);
    for (std::uint32_t left = whole.length; left > 0;) {
      const std::uint32_t length = std::min(left, cut);
      found.push_back({.offset = window::RegionOffset{at}, .length = length});
      at += length;
      left -= length;
    }
    return found;
  }

  TestRegion region_;
  crypt::QueueCipher cipher_;
  ring::DriverQueue driver_;
  ring::QueueConfig config_;
  ring::DeviceQueue device_;
};

}  // namespace airlock::testing
