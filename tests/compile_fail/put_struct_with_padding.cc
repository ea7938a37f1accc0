// SPDX-License-Identifier: Apache-2.0
//
// What is written whole into shared memory has no holes, through which private bytes would leak.
#include "shm/shared_bytes.h"

struct Whole {
  std::uint32_t length;
  std::uint32_t flags;
};
struct Holed {
  std::uint8_t kind;
  std::uint32_t length;
};

void put_whole(const airlock::shm::SharedBytes& bytes, const Whole& value) {
  bytes.put(0, value);
}
#ifdef AIRLOCK_WRONG
void put_holed(const airlock::shm::SharedBytes& bytes, const Holed& value) {
  bytes.put(0, value);
}
#endif
