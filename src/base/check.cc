// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"

#include <cstdlib>

#include "base/log.h"

namespace airlock::internal {

void check_failed(const char* expression, const char* file, int line) {
  log(LogLevel::kError, "{}:{}: bug: {} does not hold", file, line, expression);
  std::abort();
}

}  // namespace airlock::internal
