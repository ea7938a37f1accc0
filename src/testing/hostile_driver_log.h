// SPDX-License-Identifier: Apache-2.0
//
// For tests: what this process logs, kept instead of printed.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"

namespace airlock::testing {

/// From its making to its end, stderr goes to memory. Reports of sanitizers still go to the stderr
/// there was, and so does everything that was kept if the process aborts. One at a time.
class LogCapture {
 public:
  LogCapture();
  ~LogCapture();
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

  /// The lines since the last call.
  std::vector<std::string> take();

 private:
  Fd memory_;
  Fd stderr_;
};

}  // namespace airlock::testing
