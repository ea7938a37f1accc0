// SPDX-License-Identifier: Apache-2.0
#include "backend/open_port.h"

#include <string>
#include <utility>

#include <fmt/core.h>

#include "backend/file_port.h"
#include "backend/pty_port.h"
#include "backend/socket_port.h"
#include "backend/stdio_port.h"

namespace airlock::backend {

namespace {

std::unexpected<OpenError> no_port(std::string_view spec, std::string why, std::string advice) {
  return std::unexpected(OpenError{.what = fmt::format("console port {}", spec),
                                   .why = std::move(why),
                                   .advice = std::move(advice)});
}

template <class Port>
Opened<std::unique_ptr<PortBackend>> opened(std::string_view spec, Result<Port> port,
                                            std::string advice) {
  if (!port) return no_port(spec, describe(port.error()), std::move(advice));
  return std::move(*port);
}

}  // namespace

Opened<std::unique_ptr<PortBackend>> open_port(std::string_view spec) {
  const std::size_t colon = spec.find(':');
  const std::string_view kind = spec.substr(0, colon);
  const bool has_path = colon != std::string_view::npos;
  const std::string path(has_path ? spec.substr(colon + 1) : std::string_view());
  if (kind == "stdio" && !has_path) {
    return opened(spec, StdioPort::open(), "give it an input and an output, or use pty");
  }
  if (kind == "pty" && (!has_path || !path.empty())) {
    return opened(spec, PtyPort::create(path),
                  "choose another place for the link, or leave it out");
  }
  if (kind == "file" && !path.empty()) {
    return opened(spec, FilePort::open(path), "give the server's user the right to write it");
  }
  if (kind == "socket" && !path.empty()) {
    return opened(spec, SocketPort::listen(path), "choose another path, or end the server there");
  }
  return no_port(spec, "there is no such backend",
                 "use stdio, pty, pty:LINK, file:PATH or socket:PATH");
}

}  // namespace airlock::backend
