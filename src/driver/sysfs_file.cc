// SPDX-License-Identifier: Apache-2.0
#include "driver/sysfs_file.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"

namespace airlock::driver {

Result<std::string> read_sysfs(const std::string& path) {
  const Fd fd = TRY(own_fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)));
  std::string text(4096, '\0');
  const ssize_t got = ::read(fd.get(), text.data(), text.size());
  if (got < 0) return fail(system_error());
  text.resize(static_cast<std::size_t>(got));
  return text;
}

Result<void> write_sysfs(const std::string& path, const std::string& text) {
  const Fd fd = TRY(own_fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC)));
  if (::write(fd.get(), text.data(), text.size()) < 0) return fail(system_error());
  return {};
}

std::string lockdown_of(const std::string& path) {
  const auto text = read_sysfs(path);
  if (!text) return {};
  const std::size_t open = text->find('[');
  const std::size_t close = text->find(']', open);
  if (open == std::string::npos || close == std::string::npos) return {};
  const std::string level = text->substr(open + 1, close - open - 1);
  return level == "none" ? std::string() : level;
}

}  // namespace airlock::driver
