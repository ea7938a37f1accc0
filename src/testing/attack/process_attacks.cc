// SPDX-License-Identifier: Apache-2.0
//
// What any process of the same user may do to another, whether they speak vfio-user or not. All of
// them want the victim's process id and the mark to look for.
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "testing/attack/attacks.h"
#include "testing/attack/search.h"

namespace airlock::testing::attack {

namespace {

constexpr std::uint64_t kProcessPiece = std::uint64_t{1} << 20U;
constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kMarkedMax = 128;  // bytes of a page that ptrace looks at
constexpr int kFdsMax = 256;               // that are tried

std::string failed(int error) {
  return fmt::format("errno={}", error);
}

pid_t process(const std::string& word) {
  return static_cast<pid_t>(number(word));
}

struct Range {
  std::uint64_t first = 0;
  std::uint64_t end = 0;
};

// What another process has written, or may have: its writable mappings. None: it is not shown.
std::vector<Range> writable_memory(const std::string& pid) {
  std::vector<Range> ranges;
  std::ifstream maps("/proc/" + pid + "/maps");
  std::string addresses;
  std::string mode;
  std::string rest;
  while (maps >> addresses >> mode && std::getline(maps, rest)) {
    const std::size_t dash = addresses.find('-');
    if (mode.starts_with("rw")) {
      ranges.push_back({.first = number("0x" + addresses.substr(0, dash)),
                        .end = number("0x" + addresses.substr(dash + 1))});
    }
  }
  return ranges;
}

// Calls read(address, target), which returns bytes or -1, all over a process.
template <class Read>
std::string search_process(const std::string& pid, const std::string& mark, Read read) {
  std::vector<Range> ranges = writable_memory(pid);
  // Where nobody says what there is, it can be guessed: this asks whether that would be any use.
  if (ranges.empty()) ranges.push_back({.first = kPage, .end = 2 * kPage});
  int last = 0;
  std::vector<std::byte> copy(kProcessPiece);
  for (const Range& range : ranges) {
    for (std::uint64_t at = range.first; at < range.end; at += kProcessPiece) {
      const auto target = std::span(copy).first(std::min(kProcessPiece, range.end - at));
      const ssize_t count = read(at, target);
      if (count < 0) last = errno;
      if (count <= 0) continue;
      const std::string found = find_marked(target.first(static_cast<std::size_t>(count)), mark);
      if (!found.empty()) return "got=" + found;
    }
  }
  return failed(last);
}

std::string proc_mem(Hostile& /*self*/, Words words) {
  const auto memory = own_fd(open(("/proc/" + words[0] + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
  if (!memory) return failed(errno);
  return search_process(
      words[0], words[1], [&](std::uint64_t address, std::span<std::byte> target) {
        return pread(memory->get(), target.data(), target.size(), static_cast<off_t>(address));
      });
}

std::string vm_readv(Hostile& /*self*/, Words words) {
  const pid_t pid = process(words[0]);
  return search_process(
      words[0], words[1], [&](std::uint64_t address, std::span<std::byte> target) {
        const iovec local = {.iov_base = target.data(), .iov_len = target.size()};
        const iovec remote = {.iov_base = std::bit_cast<void*>(address), .iov_len = target.size()};
        return process_vm_readv(pid, &local, 1, &remote, 1, 0);
      });
}

// Stops it, and reads a word at the start of every page, where the mark begins.
std::string by_ptrace(Hostile& /*self*/, Words words) {
  const pid_t pid = process(words[0]);
  if (ptrace(PTRACE_ATTACH, pid, nullptr, nullptr) != 0) return failed(errno);
  waitpid(pid, nullptr, __WALL);
  const auto peek = [pid](std::uint64_t address, std::span<std::byte> target) {
    std::ranges::fill(target, std::byte{0});
    for (std::uint64_t at = 0; at < target.size(); at += kPage) {
      for (std::uint64_t word = 0; word < kMarkedMax; word += sizeof(long)) {
        const long value =
            ptrace(PTRACE_PEEKDATA, pid, std::bit_cast<void*>(address + at + word), nullptr);
        std::memcpy(target.data() + at + word, &value, sizeof value);
        if (value == 0 || value == -1) break;
      }
    }
    return static_cast<ssize_t>(target.size());
  };
  const std::string result = search_process(words[0], words[1], peek);
  ptrace(PTRACE_DETACH, pid, nullptr, nullptr);
  return result;
}

// Looks for memory behind the descriptors that `take` gets hold of.
template <class Take>
std::string search_fds(const std::string& mark, Take take) {
  int last = 0;
  int taken = 0;
  for (int number = 0; number < kFdsMax; number++) {
    const auto fd = take(number);
    if (!fd) {
      last = errno;
      continue;
    }
    taken++;
    if (file_size(*fd) < kPage) continue;
    const auto found = search_file(*fd, mark);
    if (found && !found->empty()) return fmt::format("taken={} got={}", taken, *found);
  }
  return fmt::format("taken={} errno={}", taken, last);
}

std::string pidfd_getfd(Hostile& /*self*/, Words words) {
  const auto victim = own_fd(static_cast<int>(syscall(SYS_pidfd_open, process(words[0]), 0)));
  if (!victim) return failed(errno);
  return search_fds(words[1], [&](int number) {
    return own_fd(static_cast<int>(syscall(SYS_pidfd_getfd, victim->get(), number, 0)));
  });
}

std::string proc_fd(Hostile& /*self*/, Words words) {
  return search_fds(words[1], [&](int number) {
    const std::string name = fmt::format("/proc/{}/fd/{}", words[0], number);
    return own_fd(open(name.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  });
}

constexpr std::array<Attack, 5> kProcessAttacks = {{
    {.name = "proc-mem", .words = "PID MARK", .count = 2, .run = proc_mem},
    {.name = "proc-fd", .words = "PID MARK", .count = 2, .run = proc_fd},
    {.name = "ptrace", .words = "PID MARK", .count = 2, .run = by_ptrace},
    {.name = "vm-readv", .words = "PID MARK", .count = 2, .run = vm_readv},
    {.name = "pidfd-getfd", .words = "PID MARK", .count = 2, .run = pidfd_getfd},
}};

}  // namespace

std::span<const Attack> process_attacks() {
  return kProcessAttacks;
}

}  // namespace airlock::testing::attack
