// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "crypt/aead.h"
#include "crypt/algorithm.h"

namespace airlock::crypt {

inline constexpr std::size_t kSaltBytes = 16;

using Salt = std::array<std::byte, kSaltBytes>;

/// What driver and device agreed upon for one queue: what a QueueCipher is made of. Wiped when it
/// goes away.
struct QueueSecret {
  Algorithm algorithm = Algorithm::kNone;
  Key key{};    // the driver's
  Salt salt{};  // the device's

  QueueSecret() = default;
  ~QueueSecret();
  QueueSecret(const QueueSecret&) = delete;
  QueueSecret& operator=(const QueueSecret&) = delete;
};
using SharedSecret = std::shared_ptr<const QueueSecret>;

/// Overwrites what nobody is to find later, however little the compiler thinks of it.
void wipe(std::span<std::byte> bytes);

/// Fills `target` from the kernel's generator, and waits until that is seeded.
void fill_random(std::span<std::byte> target);

/// The key under which a queue's messages are sealed: HKDF-Expand (RFC 5869) of the driver's key
/// with SHA-256, over a label, the algorithm, the queue's number and the device's salt. ENC-5.
[[nodiscard]] Key session_key(const QueueSecret& secret, std::uint16_t queue);

}  // namespace airlock::crypt
