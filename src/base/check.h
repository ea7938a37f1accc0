// SPDX-License-Identifier: Apache-2.0
//
// CHECK is for our own bugs only: an assertion on what a peer controls is itself a bug.
#pragma once

namespace airlock::internal {
[[noreturn]] void check_failed(const char* expression, const char* file, int line);
}

#define CHECK(condition)                             \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::airlock::internal::check_failed(#condition, __FILE__, __LINE__))
