// SPDX-License-Identifier: Apache-2.0
#include "backend/file_port.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "backend/port_io.h"
#include "base/log.h"

namespace airlock::backend {

Result<std::unique_ptr<FilePort>> FilePort::open(const std::string& path) {
  constexpr int kFlags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  Fd file = TRY(own_fd(::open(path.c_str(), kFlags, S_IRUSR | S_IWUSR)));
  return std::unique_ptr<FilePort>(new FilePort(path, std::move(file)));
}

void FilePort::add_watches(const PortInterest& interest, std::vector<pollfd>& target) const {
  if (interest.output) target.push_back({.fd = file_.get(), .events = POLLOUT, .revents = 0});
}

std::size_t FilePort::write(std::span<const std::byte> source) {
  const PortTransfer done = write_now(file_.get(), source);
  if (!done.ended) {
    failed_ &= done.bytes == 0;
    return done.bytes;
  }
  if (!failed_) {
    log(LogLevel::kError, "{}: {}: what the guest writes to it is lost", describe(),
        airlock::describe(system_error()));
  }
  failed_ = true;
  return source.size();
}

}  // namespace airlock::backend
