// SPDX-License-Identifier: Apache-2.0
#include "cli/listen_fds.h"

#include <charconv>
#include <cstdlib>

#include <fmt/core.h>

namespace airlock::cli {

namespace {

constexpr int kFirstFd = 3;
/// More than anybody passes on; so many that a wrong number is not believed.
constexpr int kFdsMost = 64;

std::optional<std::string> take(const char* name) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): before there are threads
  const char* const value = std::getenv(name);
  if (value == nullptr) return std::nullopt;
  std::string copy = value;
  // NOLINTNEXTLINE(concurrency-mt-unsafe)
  unsetenv(name);
  return copy;
}

std::optional<int> number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

}  // namespace

ListenVariables take_listen_variables() {
  return {.pid = take("LISTEN_PID"), .fds = take("LISTEN_FDS"), .names = take("LISTEN_FDNAMES")};
}

std::expected<std::vector<NamedFd>, std::string> parse_listen_fds(const ListenVariables& variables,
                                                                  int own_pid) {
  std::vector<NamedFd> found;
  if (!variables.pid || !variables.fds) return found;
  const auto pid = number(*variables.pid);
  if (!pid) return std::unexpected(fmt::format("LISTEN_PID={} is no number", *variables.pid));
  if (*pid != own_pid) return found;
  const auto count = number(*variables.fds);
  if (!count || *count > kFdsMost) {
    return std::unexpected(
        fmt::format("LISTEN_FDS={} is no number up to {}", *variables.fds, kFdsMost));
  }
  for (int i = 0; i < *count; ++i)
    found.push_back({.fd = kFirstFd + i, .name = {}});
  if (!variables.names || found.empty()) return found;
  std::string_view rest = *variables.names;
  for (std::size_t i = 0;; ++i) {
    const std::size_t end = rest.find(':');
    if (i < found.size()) found[i].name = rest.substr(0, end);
    const bool last = end == std::string_view::npos;
    if (last && i + 1 == found.size()) return found;
    if (last || i + 1 >= found.size()) break;
    rest.remove_prefix(end + 1);
  }
  return std::unexpected(fmt::format("LISTEN_FDNAMES={} does not name {} descriptors",
                                     *variables.names, found.size()));
}

}  // namespace airlock::cli
