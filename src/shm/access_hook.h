// SPDX-License-Identifier: Apache-2.0
//
// How a test gets control just before each access of shared memory, so that a word which is read
// twice is found and not hoped for. Only where AIRLOCK_ACCESS_HOOK is defined (builds with tests or
// fuzz targets, cmake/airlock.cmake); elsewhere nothing of it is compiled into an access.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/check.h"

namespace airlock::shm {

#ifdef AIRLOCK_ACCESS_HOOK
inline constexpr bool kAccessHook = true;
#else
inline constexpr bool kAccessHook = false;
#endif

/// One access of SharedBytes that is about to happen: a scalar, or one whole copy.
struct Access {
  enum class Kind : std::uint8_t { kLoad, kStore };
  Kind kind = Kind::kLoad;
  const std::byte* address = nullptr;  // in the mapping that it goes through; to compare only
  std::uint64_t length = 0;            // bytes, not zero
};

/// Is told of each access of the thread that installed it. It may access shared memory itself: that
/// is not reported.
class AccessObserver {
 public:
  virtual void before_access(const Access& access) = 0;

 protected:
  AccessObserver() = default;
  AccessObserver(const AccessObserver&) = default;
  AccessObserver& operator=(const AccessObserver&) = default;
  ~AccessObserver() = default;
};

namespace internal {
inline constinit thread_local AccessObserver* access_observer = nullptr;
}

/// Installs an observer for the calling thread until the end of the scope, in place of the one
/// before; null: none. In a build without the hook it would see nothing, and a test prove nothing:
/// our bug (CHECK).
class ScopedAccessHook {
 public:
  explicit ScopedAccessHook(AccessObserver* observer)
      : before_(std::exchange(internal::access_observer, observer)) {
    CHECK(kAccessHook);
  }
  ~ScopedAccessHook() { internal::access_observer = before_; }
  ScopedAccessHook(const ScopedAccessHook&) = delete;
  ScopedAccessHook& operator=(const ScopedAccessHook&) = delete;

 private:
  AccessObserver* before_;
};

/// For SharedBytes alone: each access calls it first, after its own checks.
inline void note_access([[maybe_unused]] const Access& access) {
#ifdef AIRLOCK_ACCESS_HOOK
  AccessObserver* const observer = internal::access_observer;
  if (observer == nullptr) return;
  const ScopedAccessHook none(nullptr);
  observer->before_access(access);
#endif
}

}  // namespace airlock::shm
