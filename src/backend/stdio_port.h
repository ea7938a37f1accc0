// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <termios.h>

#include <memory>
#include <optional>
#include <vector>

#include "backend/port_backend.h"
#include "base/fd.h"

namespace airlock::backend {

/// Standard input and output. A terminal is in raw mode meanwhile, so that Ctrl-C is the guest's;
/// then Ctrl-A x ends the process, Ctrl-A Ctrl-A is one Ctrl-A, and the size of the terminal is
/// watched (SIGWINCH, which has to be blocked in all threads). One at a time in a process.
class StdioPort final : public PortBackend {
 public:
  /// Blocks SIGWINCH in this thread, and those that it starts, if there is a terminal.
  /// Errors: kSystem.
  static Result<std::unique_ptr<StdioPort>> open();
  /// The terminal is as it was before.
  ~StdioPort() override;

  [[nodiscard]] std::string describe() const override { return "stdio"; }
  void add_watches(const PortInterest& interest, std::vector<pollfd>& target) const override;
  void attend(const PortInterest& interest) override;
  [[nodiscard]] bool connected() const override { return true; }
  std::size_t read(std::span<std::byte> target) override;
  std::size_t write(std::span<const std::byte> source) override;
  [[nodiscard]] std::optional<WindowSize> window_size() const override { return size_; }

 private:
  StdioPort() = default;
  Result<void> set_up();
  Result<void> set_up_terminal();
  void listen();
  std::size_t without_escapes(std::span<std::byte> bytes);

  std::optional<termios> before_;    // of the terminal, if standard input is one
  std::optional<bool> input_flag_;   // O_NONBLOCK before
  std::optional<bool> output_flag_;  // the same
  std::optional<WindowSize> size_;
  Fd size_changes_;  // a signalfd
  bool input_ended_ = false;
  bool output_ended_ = false;
  std::vector<std::byte> ahead_;  // typed, and not read yet
  bool escaped_ = false;          // the last byte was Ctrl-A
};

}  // namespace airlock::backend
