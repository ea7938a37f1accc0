// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace airlock {

/// Tells the processor that this thread looks at the same memory over and over.
inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace airlock
