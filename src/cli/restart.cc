// SPDX-License-Identifier: Apache-2.0
#include "cli/restart.h"

#include <fcntl.h>
#include <unistd.h>

#include <string_view>
#include <utility>

#include "base/log.h"
#include "base/size.h"
#include "cli/listen_fds.h"

namespace airlock::cli {

namespace {

constexpr std::string_view kStateName = "airlock-state";
constexpr std::string_view kRegionName = "airlock-region";
constexpr std::string_view kAdvice =
    "whoever starts this process passes it on, see docs/RESTART.md";

struct Passed {
  Fd state;
  Fd region;
};

std::unexpected<Failure> refuse(std::string_view what, std::string why) {
  return failed(std::string(what), std::move(why), std::string(kAdvice));
}

std::expected<Passed, Failure> take_passed() {
  const ListenVariables variables = take_listen_variables();
  const auto found = parse_listen_fds(variables, getpid());
  if (!found) return refuse("files passed on", found.error());
  if (found->empty() && variables.names.value_or("").find(kStateName) != std::string::npos) {
    log(LogLevel::kWarning, "{} was passed on to process {}, not to this one: going on without",
        kStateName, variables.pid.value_or("?"));
  }
  Passed passed;
  for (const NamedFd& named : *found) {
    const bool is_state = named.name == kStateName;
    if (!is_state && named.name != kRegionName) continue;  // somebody else's, as a socket of --fd
    Fd& place = is_state ? passed.state : passed.region;
    if (place) return refuse(named.name, "it was passed on twice");
    if (fcntl(named.fd, F_SETFD, FD_CLOEXEC) != 0) {
      return refuse(named.name,
                    fmt::format("descriptor {}: {}", named.fd, describe(system_error())));
    }
    place = Fd(named.fd);
  }
  if (passed.region && !passed.state) {
    return refuse(kRegionName, fmt::format("there is no {} with it", kStateName));
  }
  return passed;
}

}  // namespace

std::expected<Restart, Failure> take_restart(std::uint64_t region_bytes, shm::PageKind pages) {
  auto passed = take_passed();
  if (!passed) return std::unexpected(passed.error());
  Restart restart;
  if (!passed->state) return restart;
  auto states = device::QueueStates::adopt(std::move(passed->state));
  if (!states) return refuse(kStateName, describe(states.error()));
  restart.states = std::move(*states);
  if (!passed->region) return restart;
  auto region = shm::SealedMemfd::adopt(std::move(passed->region), region_bytes, pages);
  if (!region && region.error().code == Errc::kWrongSize) {
    return failed(std::string(kRegionName),
                  fmt::format("it has {}, and --region says {}",
                              format_size(region.error().address), format_size(region_bytes)),
                  "give the options that the process before had");
  }
  if (!region) return refuse(kRegionName, describe(region.error()));
  restart.region = std::move(*region);
  return restart;
}

}  // namespace airlock::cli
