// SPDX-License-Identifier: Apache-2.0
//
// A disk that lies, for a VM: serves vfio-user on one socket and is told there what to do on
// another. Not installed; tests/vm_hostile_test.py uses it.
#include <getopt.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <functional>
#include <string>

#include <asio/io_context.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/read_until.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>

#include "base/log.h"
#include "testing/hostile_endpoint.h"
#include "testing/hostile_server.h"
#include "vfio_user/server.h"

namespace airlock::testing {
namespace {

using namespace std::chrono_literals;
using asio::local::stream_protocol;
using Kind = HostileServer::Kind;

constexpr auto kPumpEvery = 4ms;

struct Settings {
  std::string socket;
  std::string control;
  std::string ask;
  std::string lie;
  bool list = false;
  bool packed = false;
  bool plain = false;
  bool offsets = false;
};

std::string_view name_of(Kind kind) {
  switch (kind) {
    case Kind::kOpening:
      return "opening";
    case Kind::kRunning:
      return "running";
    case Kind::kReset:
      return "reset";
    case Kind::kLasting:
      return "lasting";
  }
  return {};
}

// One line: "KIND NAME" tells that lie, "honest" ends it, "told" asks whether it was told.
bool obey(HostileServer& server, const std::string& line) {
  if (line == "told") return server.told();
  if (line == "honest") {
    server.be_honest();
    return true;
  }
  for (const HostileServer::Lie& lie : HostileServer::lies()) {
    if (line == fmt::format("{} {}", name_of(lie.kind), lie.name)) {
      return server.tell(lie.kind, lie.name);
    }
  }
  return false;
}

// Whoever asks is our own test, and gets "yes" or "no" before anybody else is heard.
class Control {
 public:
  Control(asio::io_context& context, const std::string& path, HostileServer& server)
      : acceptor_(context, stream_protocol::endpoint(path)), server_(server) {
    next();
  }

 private:
  void next() {
    acceptor_.async_accept([this](const asio::error_code& error, stream_protocol::socket peer) {
      if (error) return;
      std::string line;
      line.resize(asio::read_until(peer, asio::dynamic_buffer(line), '\n') - 1);
      asio::write(peer, asio::buffer(std::string(obey(server_, line) ? "yes\n" : "no\n")));
      next();
    });
  }

  stream_protocol::acceptor acceptor_;
  HostileServer& server_;
};

int ask(const Settings& settings) {
  asio::io_context context;
  stream_protocol::socket socket(context);
  socket.connect(stream_protocol::endpoint(settings.control));
  asio::write(socket, asio::buffer(settings.ask + "\n"));
  std::string answer;
  asio::read_until(socket, asio::dynamic_buffer(answer), '\n');
  return answer == "yes\n" ? 0 : 1;
}

std::uint64_t ring_features(const Settings& settings) {
  constexpr std::uint64_t kPacked = spec::feature(spec::VIRTIO_F_RING_PACKED);
  const std::uint64_t others = settings.plain ? 0 : ring::Features::kMask & ~kPacked;
  return others | (settings.packed ? kPacked : 0);
}

int serve(const Settings& settings) {
  HostileServer server(
      {.ring_features = ring_features(settings),
       .address = settings.offsets ? pci::AddressOffer::kOffset : pci::AddressOffer::kBus});
  if (!settings.lie.empty() && !obey(server, settings.lie)) {
    fmt::print(stderr, "no lie is called '{}': see --list\n", settings.lie);
    return 2;
  }
  asio::io_context context(1);
  asio::signal_set signals(context, SIGTERM, SIGINT);
  signals.async_wait([&](const asio::error_code& /*error*/, int /*signal*/) { context.stop(); });
  HostileEndpoint endpoint(server.device(), server.lies_of_registers());
  auto listening = vfio_user::Server::listen(context, endpoint, {.path = settings.socket});
  if (!listening) {
    fmt::print(stderr, "can't listen on {}: {}\n", settings.socket, describe(listening.error()));
    return 1;
  }
  std::optional<Control> control;
  if (!settings.control.empty()) control.emplace(context, settings.control, server);
  asio::steady_timer timer(context);
  std::function<void()> pump = [&] {
    server.pump();
    timer.expires_after(kPumpEvery);
    timer.async_wait([&](const asio::error_code& error) {
      if (!error) pump();
    });
  };
  pump();
  log(LogLevel::kInfo, "serving lies on {}", settings.socket);
  context.run();
  listening->close();
  return 0;
}

constexpr const char* kUsage = R"(A virtio disk that lies to its driver, behind vfio-user.
  --socket PATH      serve here
  --control PATH     take orders here, or send one there with --ask
  --ask ORDER        'KIND NAME', honest, or told: whether it was told; the status is the answer
  --lie 'KIND NAME'  tell this one from the start
  --list             list the lies, with their kinds
  --packed           offer packed rings
  --plain            offer no indirect tables, no event indices and no order
  --offsets          addresses are offsets in the region
)";

// False: there is something that it does not know.
bool parse(int argc, char** argv, Settings& settings) {
  // NOLINTBEGIN(modernize-use-designated-initializers): as everybody writes them
  const option options[] = {{"socket", required_argument, nullptr, 's'},
                            {"control", required_argument, nullptr, 'c'},
                            {"ask", required_argument, nullptr, 'a'},
                            {"lie", required_argument, nullptr, 'l'},
                            {"list", no_argument, nullptr, 'L'},
                            {"packed", no_argument, nullptr, 'p'},
                            {"plain", no_argument, nullptr, 'n'},
                            {"offsets", no_argument, nullptr, 'o'},
                            {}};
  // NOLINTEND(modernize-use-designated-initializers)
  // NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread yet
  for (int found = 0; (found = getopt_long(argc, argv, "", options, nullptr)) != -1;) {
    if (found == 's') settings.socket = optarg;
    if (found == 'c') settings.control = optarg;
    if (found == 'a') settings.ask = optarg;
    if (found == 'l') settings.lie = optarg;
    if (found == 'L') settings.list = true;
    if (found == 'p') settings.packed = true;
    if (found == 'n') settings.plain = true;
    if (found == 'o') settings.offsets = true;
    if (found == '?') return false;
  }
  return optind == argc && (settings.list || !settings.socket.empty() || !settings.ask.empty());
}

int run(int argc, char** argv) {
  Settings settings;
  if (!parse(argc, argv, settings)) {
    fmt::print(stderr, "{}", kUsage);
    return 2;
  }
  if (settings.list) {
    for (const HostileServer::Lie& lie : HostileServer::lies())
      fmt::print("{} {}\n", name_of(lie.kind), lie.name);
    return 0;
  }
  return settings.ask.empty() ? serve(settings) : ask(settings);
}

}  // namespace
}  // namespace airlock::testing

int main(int argc, char** argv) {
  return airlock::testing::run(argc, argv);
}
