// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "shm/private_bytes.h"
#include "shm/shared_bytes.h"

namespace airlock::window {

/// Memory that the device may touch: the only proof of it. Made by Window alone, from an address
/// that lies where the device is allowed to go. A view; valid until the window's memory goes away.
/// Or the device's own memory, which no address leads to.
class SharedSpan : public shm::SharedBytes {
 public:
  SharedSpan() = default;
  explicit SharedSpan(const shm::PrivateBytes& own) : shm::SharedBytes(own) {}

 private:
  friend class Window;
  explicit SharedSpan(const shm::SharedBytes& checked) : shm::SharedBytes(checked) {}
};

}  // namespace airlock::window
