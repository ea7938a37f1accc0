// SPDX-License-Identifier: Apache-2.0
#include "attach/clients.h"

#include <sys/socket.h>

#include <charconv>
#include <filesystem>
#include <string>

namespace airlock::attach {

namespace {

// One that was accepted has the name of the socket that it came to; one that we connected has none.
bool is_client(int fd) {
  sockaddr name{};  // the family is enough: the length is that of the whole name
  socklen_t length = sizeof name;
  if (getsockname(fd, &name, &length) != 0 || name.sa_family != AF_UNIX) return false;
  int listens = 0;
  socklen_t size = sizeof listens;
  return length > sizeof(sa_family_t) &&
         getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens == 0;
}

}  // namespace

std::size_t hang_up_on_clients() {
  std::size_t count = 0;
  std::error_code end;
  for (auto at = std::filesystem::directory_iterator("/proc/self/fd", end);
       !end && at != std::filesystem::directory_iterator(); at.increment(end)) {
    const std::string name = at->path().filename().string();
    int fd = -1;
    std::from_chars(name.data(), name.data() + name.size(), fd);
    if (is_client(fd) && shutdown(fd, SHUT_RD) == 0) count++;
  }
  return count;
}

}  // namespace airlock::attach
