// SPDX-License-Identifier: Apache-2.0
#include "cli/whole_io.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace airlock::cli {

Result<Fd> open_path(const std::string& path, int flags) {
  if (path == "-") {
    const int standard = (flags & O_WRONLY) != 0 ? STDOUT_FILENO : STDIN_FILENO;
    return own_fd(fcntl(standard, F_DUPFD_CLOEXEC, 0));
  }
  return own_fd(open(path.c_str(), flags | O_CLOEXEC, 0644));
}

Result<std::uint64_t> read_full(const Fd& fd, std::span<std::byte> target) {
  std::uint64_t done = 0;
  while (done < target.size()) {
    const ssize_t got = read(fd.get(), target.data() + done, target.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error());
    if (got == 0) break;
    done += static_cast<std::uint64_t>(got);
  }
  return done;
}

Result<void> write_full(const Fd& fd, std::span<const std::byte> source) {
  while (!source.empty()) {
    const ssize_t put = write(fd.get(), source.data(), source.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail(system_error());
    source = source.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

}  // namespace airlock::cli
