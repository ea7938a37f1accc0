// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compare/model.h"

namespace airlock::compare {

/// Linux's restricted DMA pool, as a device tree names it: all streaming DMA is copied through, and
/// all coherent memory allocated from, one range tied to the device. SYS-1.
extern const Model kPool;

}  // namespace airlock::compare
