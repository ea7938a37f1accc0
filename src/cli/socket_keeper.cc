// SPDX-License-Identifier: Apache-2.0
#include "cli/socket_keeper.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/helper_process.h"

namespace airlock::cli {

namespace {

/// The first message. The second is one byte: now.
struct Which {
  dev_t device;
  ino_t inode;
};

/// In the process.
void keep_until_told(const std::string& path) {
  Which which{};
  char now = 0;
  if (read(helper_way(), &which, sizeof which) == sizeof which &&
      read(helper_way(), &now, sizeof now) == sizeof now) {
    vfio_user::SocketFile{.path = path, .device = which.device, .inode = which.inode}.remove();
  }
}

}  // namespace

Result<SocketKeeper> SocketKeeper::start(const std::string& path) {
  auto ways = TRY(start_helper({.name = "socket-keeper"}, [&] { keep_until_told(path); }));
  return SocketKeeper(std::move(ways.front()));
}

Result<void> SocketKeeper::keep(const vfio_user::SocketFile& file) const {
  const Which which{.device = file.device, .inode = file.inode};
  if (write(way_.get(), &which, sizeof which) < 0) return fail(system_error());
  return {};
}

void SocketKeeper::remove() {
  if (!way_) return;
  char now = 0;
  if (write(way_.get(), &now, sizeof now) == sizeof now) {
    // It says nothing: its end is the answer.
    while (read(way_.get(), &now, sizeof now) < 0 && errno == EINTR) {
    }
  }
  way_.reset();
}

}  // namespace airlock::cli
