// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/event_fd.h"
#include "device/vsock/vsock_connector.h"

namespace airlock::testing {

/// A connector without a process: each port that listens leads to a socket whose other end the test
/// takes.
class FakeConnector final : public device::VsockConnector {
 public:
  bool held = false;  // answers come when answer_all() is called
  std::map<std::uint32_t, bool> listening;
  Fd shared;            // what all connections lead to, where it is there: nothing is accepted
  int send_buffer = 0;  // SO_SNDBUF of the device's end, where it is not 0

  Result<void> ask(std::uint64_t id, std::uint32_t port, device::VsockType type) override {
    if (full) return fail(system_error(EAGAIN));
    asked.push_back({id, {port, type}});
    if (!held) answer_all();
    return {};
  }
  void answer_all() {
    for (const auto& [id, what] : asked) {
      Answer answer{.id = id, .socket = Fd(), .error = ECONNREFUSED};
      if (listening.contains(what.first) && shared) {
        answer.socket = MUST(shared.duplicate());
        answer.error = 0;
      } else if (listening.contains(what.first)) {
        std::array<int, 2> ends{-1, -1};
        const int type =
            what.second == device::VsockType::kSeqpacket ? SOCK_SEQPACKET : SOCK_STREAM;
        CHECK(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
        answer.socket = Fd(ends[0]);
        answer.error = 0;
        if (send_buffer > 0) {
          setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
        }
        accepted.emplace_back(ends[1]);
      }
      answers.push_back(std::move(answer));
    }
    asked.clear();
    event_.signal();
  }
  [[nodiscard]] int answer_fd() const override { return event_.fd(); }
  Result<std::optional<Answer>> take() override {
    static_cast<void>(event_.drain());
    if (answers.empty()) return std::nullopt;
    Answer answer = std::move(answers.front());
    answers.pop_front();
    return std::optional<Answer>(std::move(answer));
  }

  bool full = false;
  std::vector<std::pair<std::uint64_t, std::pair<std::uint32_t, device::VsockType>>> asked;
  std::deque<Answer> answers;
  std::deque<Fd> accepted;  // the host's ends, oldest first

 private:
  EventFd event_ = MUST(EventFd::create());
};

}  // namespace airlock::testing
