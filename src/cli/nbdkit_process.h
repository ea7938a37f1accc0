// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "attach/report.h"
#include "base/fd.h"
#include "cli/outcome.h"

namespace airlock::cli {

/// One nbdkit with our plugin, serving on a socket that listens already. It ends with us, however
/// we end.
class NbdkitProcess {
 public:
  struct Options {
    std::string program;  // nbdkit's path
    std::string plugin;
    std::vector<std::string> settings;  // key=value, for the plugin
    bool read_only = false;
    int listener = -1;
  };

  /// Starts it, with all signals unblocked. One thread may exist. Errors: kSystem.
  static Result<NbdkitProcess> start(const Options& options);
  NbdkitProcess(NbdkitProcess&& other) noexcept;
  NbdkitProcess& operator=(NbdkitProcess&&) = delete;
  NbdkitProcess(const NbdkitProcess&) = delete;
  NbdkitProcess& operator=(const NbdkitProcess&) = delete;
  /// Kills it, if it has not ended.
  ~NbdkitProcess();

  /// Readable when there is a report, or the end.
  [[nodiscard]] int report_fd() const { return reports_.get(); }
  /// Reads what there is, waiting for it: the reports so far that are whole; empty at the end.
  std::vector<attach::Report> read_reports();
  [[nodiscard]] bool ended() const { return ended_; }

  /// Asks it to end: requests under way do first, and no others begin.
  void ask_to_end() const;
  /// Waits for the end: the exit status, or 128 and the signal's number.
  int wait();

 private:
  NbdkitProcess(pid_t pid, Fd reports) : pid_(pid), reports_(std::move(reports)) {}

  pid_t pid_;  // 0: waited for
  Fd reports_;
  std::string unread_;  // the beginning of a line
  bool ended_ = false;
};

}  // namespace airlock::cli
