// SPDX-License-Identifier: Apache-2.0
//
// Only what the machine reads in one access is loaded; anything longer is copied, as it can change
// in the middle.
#include "shm/shared_bytes.h"

struct Twelve {
  std::uint32_t words[3];
};

std::uint32_t one(const airlock::shm::SharedBytes& bytes) {
  return bytes.load_acquire<std::uint32_t>(0);
}
#ifdef AIRLOCK_WRONG
Twelve three(const airlock::shm::SharedBytes& bytes) {
  return bytes.load_acquire<Twelve>(0);
}
#endif
