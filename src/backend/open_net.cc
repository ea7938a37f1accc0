// SPDX-License-Identifier: Apache-2.0
#include "backend/open_net.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "backend/net/connector.h"
#include "backend/net/dgram_backend.h"
#include "backend/net/loop_backend.h"
#include "backend/net/socket_maker.h"
#include "backend/net/stream_backend.h"
#include "backend/net/tap_backend.h"

namespace airlock::backend {

namespace {

using Backend = std::unique_ptr<NetBackend>;

// What passt tells a guest of its own accord.
constexpr std::uint16_t kPasstMtu = 65520;

constexpr std::string_view kNetAdvice =
    "use passt, tap:NAME, socket:unix:PATH, socket:tcp:ADDRESS:PORT or loop";

std::unexpected<OpenError> refuse_net(std::string_view spec, std::string why,
                                      std::string_view advice = kNetAdvice) {
  return std::unexpected(OpenError{.what = "--backend " + std::string(spec),
                                   .why = std::move(why),
                                   .advice = std::string(advice)});
}

std::unexpected<OpenError> net_failed(std::string_view spec, const Error& error,
                                      std::string_view advice) {
  return std::unexpected(OpenError{.what = "open " + std::string(spec),
                                   .why = airlock::describe(error),
                                   .advice = std::string(advice)});
}

Opened<Backend> finish(std::string_view spec, Result<Backend> made) {
  if (!made) return net_failed(spec, made.error(), "look at the limits of this process");
  return std::move(*made);
}

/// What `text` begins with, if that is `prefix`, is taken off.
bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::optional<SocketAddress> parse_address(std::string_view text, bool is_path) {
  return is_path ? SocketAddress::from_path(text) : SocketAddress::from_ip(text);
}

std::unexpected<OpenError> bad_address(std::string_view spec, bool is_path) {
  return refuse_net(spec, is_path ? "the path is missing, or too long" : "the address is not one",
                    is_path ? "write socket:unix:PATH; a path has 107 characters at most"
                            : "write ADDRESS:PORT, as 192.0.2.1:1234 or [2001:db8::1]:1234; names "
                              "are not looked up");
}

/// A stream whose next socket comes from `make`; the first at once.
Opened<Backend> open_connected(std::string_view spec, const SocketMaker& make, std::uint16_t mtu,
                               std::string_view advice) {
  auto connector = Connector::start(make);
  if (!connector) return net_failed(spec, connector.error(), "look at the limits of processes");
  auto socket = connector->make();
  if (!socket) return net_failed(spec, socket.error(), advice);
  return finish(
      spec, make_stream({.link = {.name = std::string(spec),
                                  .socket = std::move(*socket),
                                  .connector = std::make_unique<Connector>(std::move(*connector))},
                         .mtu = mtu}));
}

Opened<Backend> open_stream(std::string_view spec, std::string_view text, bool is_path,
                            std::uint16_t mtu) {
  constexpr std::string_view kListen = ",listen=on";
  const bool listens = text.ends_with(kListen);
  if (listens) text.remove_suffix(kListen.size());
  const auto address = parse_address(text, is_path);
  if (!address) return bad_address(spec, is_path);
  if (!listens) {
    return open_connected(spec, stream_to(*address), mtu,
                          "start the program that listens there first");
  }
  auto listener = listen_at(*address);
  if (!listener) {
    return net_failed(spec, listener.error(), "give a place where nobody listens yet");
  }
  SocketLink::Options link{.name = std::string(spec), .listener = std::move(*listener)};
  return finish(spec, make_stream({.link = std::move(link), .mtu = mtu}));
}

Opened<Backend> open_dgram(std::string_view spec, std::string_view text, bool is_path) {
  constexpr std::string_view kLocal = ",local=";
  const std::size_t at = text.find(kLocal);
  if (at == std::string_view::npos) {
    return refuse_net(spec, "it does not say where answers come to",
                      is_path ? "write socket:dgram:PATH,local=PATH"
                              : "write socket:udp:ADDRESS:PORT,local=ADDRESS:PORT");
  }
  const auto remote = parse_address(text.substr(0, at), is_path);
  const auto local = parse_address(text.substr(at + kLocal.size()), is_path);
  if (!remote || !local) return bad_address(spec, is_path);
  if (remote->family() != local->family()) {
    return refuse_net(spec, "one address is of IPv4 and the other of IPv6", "give two of a kind");
  }
  auto connector = Connector::start(datagrams_between(*local, *remote));
  if (!connector) return net_failed(spec, connector.error(), "look at the limits of processes");
  // The peer may come later: two such sockets wait for each other's files.
  auto socket = connector->make();
  const bool absent = !socket && (socket.error() == system_error(ENOENT) ||
                                  socket.error() == system_error(ECONNREFUSED));
  if (!socket && !absent) {
    return net_failed(spec, socket.error(), "look at the address that is ours (local=)");
  }
  return finish(spec, make_dgram({.name = std::string(spec),
                                  .socket = absent ? Fd() : std::move(*socket),
                                  .connector = std::make_unique<Connector>(std::move(*connector)),
                                  .file_peer = is_path}));
}

Opened<Backend> open_passed(std::string_view spec, std::string_view text) {
  int number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool good = error == std::errc() && end == text.data() + text.size() && number > 2;
  if (!good) return refuse_net(spec, "the descriptor is not one", "write socket:fd:NUMBER");
  int type = 0;
  socklen_t size = sizeof type;
  if (getsockopt(number, SOL_SOCKET, SO_TYPE, &type, &size) != 0) {
    return net_failed(spec, system_error(), "leave a connected stream socket open there");
  }
  if (type != SOCK_STREAM) {
    return refuse_net(spec, "it is no stream", "leave a connected stream socket open there");
  }
  Fd socket(number);
  if (fcntl(number, F_SETFL, O_NONBLOCK) != 0 || fcntl(number, F_SETFD, FD_CLOEXEC) != 0) {
    return net_failed(spec, system_error(), "leave a connected stream socket open there");
  }
  return finish(spec, make_stream({.link = {.name = std::string(spec), .socket = std::move(socket)},
                                   .mtu = 0}));
}

Opened<Backend> open_socket(std::string_view spec, std::string_view text) {
  if (take_prefix(text, "unix:")) return open_stream(spec, text, true, 0);
  if (take_prefix(text, "tcp:")) return open_stream(spec, text, false, 0);
  if (take_prefix(text, "dgram:")) return open_dgram(spec, text, true);
  if (take_prefix(text, "udp:")) return open_dgram(spec, text, false);
  if (take_prefix(text, "fd:")) return open_passed(spec, text);
  return refuse_net(spec, "there is no socket of this kind",
                    "use socket:unix:, socket:tcp:, socket:dgram:, socket:udp: or socket:fd:");
}

/// `text`: options, each after a comma.
Opened<Backend> start_passt(std::string_view spec, std::string_view text) {
  std::vector<std::string> arguments{"--foreground", "--quiet", "--fd", std::to_string(kProgramFd)};
  while (take_prefix(text, ",")) {
    const std::string_view option = text.substr(0, text.find(','));
    if (option.empty()) return refuse_net(spec, "an option is empty", "write passt,OPTION");
    arguments.push_back("--" + std::string(option));
    text.remove_prefix(option.size());
  }
  if (!text.empty()) return refuse_net(spec, "there is no backend of this kind");
  return open_connected(spec, stream_to_program("passt", std::move(arguments)), kPasstMtu,
                        "install passt, or start it yourself and give passt:PATH of its socket");
}

}  // namespace

Opened<Backend> open_net_backend(std::string_view spec, const OpenNetOptions& options) {
  std::string_view text = spec;
  if (spec == "loop") return make_loop();
  if (take_prefix(text, "socket:")) return open_socket(spec, text);
  if (take_prefix(text, "tap:")) {
    return open_tap({.name = std::string(text), .channels = options.channels});
  }
  if (take_prefix(text, "passt:")) return open_stream(spec, text, true, kPasstMtu);
  if (take_prefix(text, "passt")) return start_passt(spec, text);
  return refuse_net(spec, "there is no backend of this kind");
}

}  // namespace airlock::backend
