// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "shm/shared_bytes.h"

namespace airlock::shm {

/// Memory of this process alone, for code that is written for shared memory: what a message becomes
/// once it is opened, and before it is sealed. A view, valid as long as what it shows.
class PrivateBytes : public SharedBytes {
 public:
  explicit PrivateBytes(std::span<std::byte> own) : SharedBytes(own.data(), own.size()) {}
};

}  // namespace airlock::shm
