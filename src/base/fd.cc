// SPDX-License-Identifier: Apache-2.0
#include "base/fd.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace airlock {

Result<Fd> own_fd(int returned) {
  if (returned < 0) return fail(system_error());
  return Fd(returned);
}

Result<Fd> Fd::duplicate() const {
  return own_fd(fcntl(fd_, F_DUPFD_CLOEXEC, 0));
}

bool is_anonymous_inode(const Fd& fd) {
  struct stat status = {};
  // Their mode has no file type, which is what tells them.
  return fstat(fd.get(), &status) == 0 && (status.st_mode & S_IFMT) == 0;
}

void Fd::reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

}  // namespace airlock
