// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "guard/config_space.h"

namespace airlock::guard {

/// What was last read of each region, for when the device does not answer; and the bytes of config
/// space that the guard answers itself, since the VMM builds on them. Of a large region only the
/// beginning is kept.
class RegisterCache {
 public:
  /// Bytes kept of one region.
  static constexpr std::uint64_t kKept = 65536;

  /// `config` is the device's config space, checked; it is what region `index` reads as.
  void set_config(std::uint32_t index, std::span<const std::byte> config);

  /// The device said that `bytes` stand at `offset`.
  void learn(std::uint32_t region, std::uint64_t offset, std::span<const std::byte> bytes);
  /// What stood there last; zeros where nobody has looked.
  void recall(std::uint32_t region, std::uint64_t offset, std::span<std::byte> bytes) const;
  /// Puts the constant parts of config space over what the device said of it.
  void correct(std::uint32_t region, std::uint64_t offset, std::span<std::byte> bytes) const;

 private:
  std::map<std::uint32_t, std::vector<std::byte>> regions_;
  std::uint32_t config_index_ = 0;
  std::vector<std::byte> config_;
  std::vector<ByteRange> constant_;
};

}  // namespace airlock::guard
