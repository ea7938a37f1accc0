// SPDX-License-Identifier: Apache-2.0
#include "testing/hostile_driver_log.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <csignal>
#include <cstdint>
#include <sstream>

#include "base/check.h"

// In sanitizers' runtimes only: to which fd they report. It is a number in a pointer's clothes.
// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming): theirs
extern "C" [[gnu::weak]] void __sanitizer_set_report_fd(void* fd);

namespace airlock::testing {

namespace {

std::atomic<int> g_kept{-1};
std::atomic<int> g_shown{-1};

// Only what a signal handler may call.
void show_what_was_kept(int /*signal*/) {
  std::array<char, 4096> buffer{};
  off_t at = 0;
  ssize_t count = 0;
  while ((count = pread(g_kept.load(), buffer.data(), buffer.size(), at)) > 0) {
    at += count;
    if (write(g_shown.load(), buffer.data(), static_cast<std::size_t>(count)) < 0) break;
  }
}

void report_to(int fd) {
  if (__sanitizer_set_report_fd == nullptr) return;
  __sanitizer_set_report_fd(std::bit_cast<void*>(static_cast<std::intptr_t>(fd)));
}

}  // namespace

LogCapture::LogCapture()
    : memory_(MUST(own_fd(memfd_create("log", MFD_CLOEXEC)))),
      stderr_(MUST(own_fd(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)))) {
  // Appending: whoever takes the lines also empties the file.
  CHECK(fcntl(memory_.get(), F_SETFL, O_APPEND) == 0);
  CHECK(dup2(memory_.get(), STDERR_FILENO) == STDERR_FILENO);
  g_kept = memory_.get();
  g_shown = stderr_.get();
  CHECK(std::signal(SIGABRT, show_what_was_kept) != SIG_ERR);
  report_to(stderr_.get());
}

LogCapture::~LogCapture() {
  static_cast<void>(std::signal(SIGABRT, SIG_DFL));
  CHECK(dup2(stderr_.get(), STDERR_FILENO) == STDERR_FILENO);
  report_to(STDERR_FILENO);
}

std::vector<std::string> LogCapture::take() {
  struct stat status = {};
  CHECK(fstat(memory_.get(), &status) == 0);
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  CHECK(pread(memory_.get(), text.data(), text.size(), 0) == status.st_size);
  CHECK(ftruncate(memory_.get(), 0) == 0);
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);)
    lines.push_back(line);
  return lines;
}

}  // namespace airlock::testing
