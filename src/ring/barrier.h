// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace airlock::ring {

/// A full barrier between a store and a later load of another word: what keeps a wakeup from being
/// lost. Everything else is ordered by release and acquire, which is why ThreadSanitizer, blind to
/// fences, misses nothing by it. VIRTIO 1.3, 2.7.7.1, 2.7.13.4.1; HD-22.
inline void full_barrier() {
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#endif
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
}

}  // namespace airlock::ring
