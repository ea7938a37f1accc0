// SPDX-License-Identifier: Apache-2.0
//
// The system calls of each role, as data.
#pragma once

#include <cstdint>
#include <span>

#include "sandbox/profile.h"

namespace airlock::sandbox {

/// A system call that is allowed: always, or where (argument & mask) == value.
struct AllowedCall {
  const char* name = nullptr;  // where the machine has no such call, the line says nothing
  int argument = -1;           // -1: whatever the arguments
  std::uint64_t mask = ~std::uint64_t{0};
  std::uint64_t value = 0;
};

/// What every role may do.
[[nodiscard]] std::span<const AllowedCall> common_calls();
/// What a device may do beyond that; empty for a guard.
[[nodiscard]] std::span<const AllowedCall> role_calls(Role role);

/// What no honest code of ours ever does, with or without a sandbox: the process ends (SIGSYS).
[[nodiscard]] std::span<const char* const> deadly_calls();

}  // namespace airlock::sandbox
