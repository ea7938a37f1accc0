// SPDX-License-Identifier: Apache-2.0
//
// A device server that attacks its client: serves a disk over vfio-user on one socket, honestly,
// and is told on another which attack to try. Not installed; tests/attack/ uses it.
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <sstream>
#include <string>

#include <fmt/core.h>

#include "base/log.h"
#include "sandbox/sandbox.h"
#include "testing/attack/attacks.h"
#include "testing/attack/search.h"
#include "wire/listener.h"

namespace airlock::testing::attack {

namespace {

struct Settings {
  std::string socket;
  std::string control;
  Hostile::Options device;
  bool list = false;
};

Fd accept_blocking(const vfio_user::Listener& listener) {
  Fd client = MUST(listener.accept());
  if (client) fcntl(client.get(), F_SETFL, 0);
  return client;
}

// Orders, one a line, from our own test, each answered by a line.
class Control {
 public:
  explicit Control(const std::string& path) : listener_(MUST(vfio_user::Listener::create(path))) {}

  [[nodiscard]] int fd() const { return test_ ? test_.get() : listener_.fd(); }

  // The next order, if there is one already.
  std::optional<std::string> take() {
    if (!test_) {
      test_ = accept_blocking(listener_);
      return std::nullopt;
    }
    std::array<char, 1024> part{};
    const ssize_t count = read(test_.get(), part.data(), part.size());
    if (count <= 0) {
      test_.reset();
      return std::nullopt;
    }
    text_.append(part.data(), static_cast<std::size_t>(count));
    const std::size_t end = text_.find('\n');
    if (end == std::string::npos) return std::nullopt;
    std::string line = text_.substr(0, end);
    text_.erase(0, end + 1);
    return line;
  }

  void answer(const std::string& line) const {
    const std::string text = line + "\n";
    [[maybe_unused]] const ssize_t sent =
        ::send(test_.get(), text.data(), text.size(), MSG_NOSIGNAL);
  }

 private:
  vfio_user::Listener listener_;
  Fd test_;
  std::string text_;
};

std::string state_of(const Hostile& self) {
  return fmt::format("pid={} connected={} lied={} offers={}", getpid(), self.peer ? 1 : 0,
                     self.peer && self.peer->lied() ? 1 : 0, self.endpoint.offers().size());
}

// What an honest server does before it hears the first word of a client. From here on it can open
// nothing, and connect to nobody.
std::string lock_in() {
  const sandbox::Report report = sandbox::enter(sandbox::kDeviceProfile);
  log(LogLevel::kInfo, "sandbox: {}", report.text());
  return "locked=1";
}

std::string obey(Hostile& self, const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;)
    words.push_back(word);
  if (words.empty()) return "unknown=1";
  if (words[0] == "state") return state_of(self);
  if (words[0] == "lock-in") return lock_in();
  for (const Attack& attack : all_attacks()) {
    if (words[0] == attack.name && words.size() == attack.count + 1)
      return attack.run(self, std::span(words).subspan(1));
  }
  return "unknown=1";
}

void meet(Hostile& self, Fd client) {
  if (!client) return;
  self.peer = std::make_unique<HostilePeer>(self.endpoint, std::move(client));
  if (self.lie) self.peer->lie_once(self.lie_condition, std::exchange(self.lie, nullptr));
}

int serve(const Settings& settings) {
  Hostile self(settings.device);
  const auto listener = MUST(vfio_user::Listener::create(settings.socket));
  Control control(settings.control);
  log(LogLevel::kInfo, "serving attacks on {}", settings.socket);
  while (true) {
    const int client = self.peer ? self.peer->fd() : listener.fd();
    std::array<pollfd, 2> events = {{
        {.fd = control.fd(), .events = POLLIN, .revents = 0},
        {.fd = self.deaf ? -1 : client, .events = POLLIN, .revents = 0},
    }};
    if (poll(events.data(), events.size(), -1) < 0) return 1;
    if (events[1].revents != 0) {
      if (!self.peer) {
        meet(self, accept_blocking(listener));
      } else if (!self.peer->serve()) {
        self.peer.reset();
      }
    }
    if (events[0].revents != 0) {
      if (const auto order = control.take()) control.answer(obey(self, *order));
    }
  }
}

constexpr const char* kUsage = R"(A disk that attacks its client, behind vfio-user.
  --socket PATH     serve here
  --control PATH    take orders here, a line each: an attack and its words, 'state',
                    or 'lock-in': into the sandbox of `airlock serve`
  --region BYTES    of that size (default: 1048576)
  --posted          the region can't be mapped, so that a VMM posts its writes
  --list            list the attacks
)";

// False: there is something that it does not know.
bool parse(int argc, char** argv, Settings& settings) {
  // NOLINTBEGIN(modernize-use-designated-initializers): as everybody writes them
  const option options[] = {
      {"socket", required_argument, nullptr, 's'}, {"control", required_argument, nullptr, 'c'},
      {"region", required_argument, nullptr, 'r'}, {"posted", no_argument, nullptr, 'p'},
      {"list", no_argument, nullptr, 'L'},         {}};
  // NOLINTEND(modernize-use-designated-initializers)
  // NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread yet
  for (int found = 0; (found = getopt_long(argc, argv, "", options, nullptr)) != -1;) {
    if (found == 's') settings.socket = optarg;
    if (found == 'c') settings.control = optarg;
    if (found == 'r') settings.device.region_bytes = number(optarg);
    if (found == 'p') settings.device.mapped = false;
    if (found == 'L') settings.list = true;
    if (found == '?') return false;
  }
  return optind == argc &&
         (settings.list || (!settings.socket.empty() && !settings.control.empty()));
}

int run(int argc, char** argv) {
  Settings settings;
  if (!parse(argc, argv, settings)) {
    fmt::print(stderr, "{}", kUsage);
    return 2;
  }
  if (!settings.list) return serve(settings);
  for (const Attack& attack : all_attacks())
    fmt::print("{} {}\n", attack.name, attack.words);
  return 0;
}

}  // namespace

std::vector<Attack> all_attacks() {
  std::vector<Attack> all;
  for (const auto channel : {memory_attacks(), reply_attacks(), region_attacks(),
                             interrupt_attacks(), flood_attacks(), process_attacks()})
    all.insert(all.end(), channel.begin(), channel.end());
  return all;
}

}  // namespace airlock::testing::attack

int main(int argc, char** argv) {
  return airlock::testing::attack::run(argc, argv);
}
