// SPDX-License-Identifier: Apache-2.0
#include "cli/listening.h"

#include <cerrno>

namespace airlock::cli {

std::unexpected<Failure> cannot_listen(const std::string& where, const Error& error) {
  const std::string what = fmt::format("listen on {}", where);
  const auto number = error.code == Errc::kSystem ? static_cast<int>(error.detail) : 0;
  switch (number) {
    case ENAMETOOLONG:
      return failed(what, "a socket's path has at most 107 bytes", "choose a shorter path");
    case EADDRINUSE:
      return failed(what, "another server is listening there", "stop it or choose another path");
    case ENOTSOCK:
      return failed(what, "something that is no socket is there",
                    "remove it or choose another path");
    default:
      return failed(what, describe(error), "check the directory and its permissions");
  }
}

}  // namespace airlock::cli
