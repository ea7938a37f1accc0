// SPDX-License-Identifier: Apache-2.0
//
// The algorithms of queue buffer encryption, by the numbers and the names that they have.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "spec/queue_encryption.h"

namespace airlock::crypt {

/// ENC-6.
enum class Algorithm : std::uint16_t {
  kNone = spec::VIRTIO_ENCRYPTION_NONE,
  kNull = spec::VIRTIO_ENCRYPTION_NULL,
  kAes256Gcm = spec::VIRTIO_ENCRYPTION_AES_256_GCM,
  kChaCha20Poly1305 = spec::VIRTIO_ENCRYPTION_CHACHA20_POLY1305,
};

/// In the register's mask: bit n is algorithm n. kNone has no bit.
[[nodiscard]] constexpr std::uint32_t algorithm_bit(Algorithm algorithm) {
  return algorithm == Algorithm::kNone ? 0 : std::uint32_t{1} << static_cast<unsigned>(algorithm);
}

/// "null", "aes-256-gcm" or "chacha20-poly1305"; nothing if it is none of them.
[[nodiscard]] std::optional<Algorithm> parse_algorithm(std::string_view name);
/// The names, with commas between them; a mask of algorithm_bit(). Nothing if one is no algorithm's
/// name, or if there is none at all.
[[nodiscard]] std::optional<std::uint32_t> parse_algorithms(std::string_view names);
/// "?" for what is none.
[[nodiscard]] std::string_view name_of(Algorithm algorithm);
/// All names, for people: "aes-256-gcm, chacha20-poly1305, null".
[[nodiscard]] std::string algorithm_names();

}  // namespace airlock::crypt
