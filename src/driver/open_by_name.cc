// SPDX-License-Identifier: Apache-2.0
#include "driver/open_by_name.h"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string_view>

#include <fmt/core.h>

#include "driver/sysfs_obstacle.h"
#include "driver/vfio_user_transport.h"

namespace airlock::driver {

namespace {

constexpr std::string_view kVfioUser = "vfio-user";
constexpr std::string_view kPci = "pci:";

SysfsTransport::Options place_of(const std::string& name) {
  SysfsTransport::Options where;
  where.address = name.substr(kPci.size());
  return where;
}

// vfio-user[+huge-pages][+doorbells]:PATH
std::optional<VfioUserTransport::Options> socket_of(std::string_view name) {
  const std::size_t colon = name.find(':');
  if (!name.starts_with(kVfioUser) || colon == std::string_view::npos) return std::nullopt;
  VfioUserTransport::Options where;
  where.path = name.substr(colon + 1);
  std::string_view trusted = name.substr(kVfioUser.size(), colon - kVfioUser.size());
  while (!trusted.empty()) {
    const std::size_t end = std::min(trusted.find('+', 1), trusted.size());
    const std::string_view word = trusted.substr(0, end);
    if (word == "+huge-pages") {
      where.trust.pages = shm::PageKind::kHuge;
    } else if (word == "+doorbells") {
      where.trust.doorbells = true;
    } else {
      return std::nullopt;
    }
    trusted.remove_prefix(end);
  }
  return where;
}

// What `error` says of the device `name`, by the way that leads there.
OpenError explain(std::string what, const std::string& name, const Error& error) {
  const bool here = error.code == Errc::kSystem || error.code == Errc::kUnsupported;
  const bool named = !name.starts_with(kPci) || SysfsTransport::is_address(place_of(name).address);
  if (!name.starts_with(kPci) || (named && !here)) {
    return {.what = std::move(what), .why = describe(error), .advice = advice_on(error)};
  }
  Obstacle obstacle = explain_obstacle(place_of(name), error);
  return {.misnamed = !named,
          .what = std::move(what),
          .why = std::move(obstacle.why),
          .advice = std::move(obstacle.remedy)};
}

}  // namespace

std::string advice_on(const Error& error) {
  if (error.code == Errc::kSystem) {
    switch (static_cast<int>(error.detail)) {
      case ENOENT:
      case ECONNREFUSED:
        return "start the device first: airlock serve blk --socket PATH --backend ...";
      case EACCES:
      case EPERM:
        return "run it as a user who may open the device";
      default:
        break;
    }
  }
  if (error.code == Errc::kHugePages) {
    return "serve it without --huge-pages, or trust it: --device vfio-user+huge-pages:PATH";
  }
  if (error.code == Errc::kPeerClosed) {
    return "the device takes one client at a time: see whether another one has it";
  }
  return "see the device's log";
}

Opened<OpenedDevice> open_by_name(const std::string& name) {
  OpenedDevice found;
  if (const auto socket = socket_of(name)) {
    auto connected = VfioUserTransport::connect(*socket);
    if (!connected) {
      return std::unexpected(explain(fmt::format("connect to {}", name), name, connected.error()));
    }
    found.server_pid = (*connected)->server_pid();
    found.transport = std::move(*connected);
  } else if (name.starts_with(kPci)) {
    auto opened = SysfsTransport::open(place_of(name));
    if (!opened) {
      return std::unexpected(explain(fmt::format("open {}", name), name, opened.error()));
    }
    found.transport = std::move(*opened);
  } else {
    return std::unexpected(OpenError{.misnamed = true,
                                     .what = fmt::format("--device {}", name),
                                     .why = "it is neither vfio-user:PATH nor pci:ADDRESS",
                                     .advice = "try --device vfio-user:/run/disk.sock"});
  }
  return found;
}

Opened<OpenedDisk> open_disk_by_name(const std::string& name, const Blk::Options& options) {
  auto found = open_by_name(name);
  if (!found) return std::unexpected(found.error());
  OpenedDisk disk;
  disk.server_pid = found->server_pid;
  auto blk = Blk::open(std::move(found->transport), options);
  if (!blk) {
    return std::unexpected(explain(fmt::format("use {} as a disk", name), name, blk.error()));
  }
  disk.blk = std::move(*blk);
  return disk;
}

}  // namespace airlock::driver
