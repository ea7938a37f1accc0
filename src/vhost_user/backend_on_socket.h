// SPDX-License-Identifier: Apache-2.0
//
// For tests: a scripted backend on a socket, and what hands out connections to it, for whoever runs
// the event loop of the other side.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <asio/io_context.hpp>

#include "vhost_user/connector.h"
#include "vhost_user/scripted_backend.h"
#include "wire/socket.h"

namespace airlock::vhost_user {

inline std::array<Fd, 2> socket_pair(int type) {
  std::array<int, 2> ends{-1, -1};
  CHECK(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()) == 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

/// A scripted backend at the end of a socket.
class BackendOnSocket {
 public:
  explicit BackendOnSocket(Fd socket) : socket_(std::move(socket)) {}
  ScriptedBackend script;
  std::map<std::uint32_t, Fd> fds;  // the last one that came with each request

  /// Answers what is there.
  void pump() {
    while (socket_) {
      std::array<std::byte, 4096> bytes{};
      auto received = vfio_user::receive_bytes(socket_.get(), bytes);
      if (!received || received->bytes == 0) return;
      buffer_.insert(buffer_.end(), bytes.begin(),
                     bytes.begin() + static_cast<std::ptrdiff_t>(received->bytes));
      for (Fd& fd : received->fds)
        came_.push_back(std::move(fd));
      answer_whole_messages();
    }
  }
  void send(std::span<const std::byte> bytes, std::span<const Fd> with = {}) const {
    std::vector<int> numbers;
    for (const Fd& fd : with)
      numbers.push_back(fd.get());
    // Who has sent it away hears nothing any more.
    static_cast<void>(vfio_user::send_some(socket_.get(), bytes, numbers));
  }
  void die() { socket_.reset(); }

 private:
  void answer_whole_messages() {
    while (buffer_.size() >= kHeaderSize) {
      const auto header = vfio_user::require_struct<spec::VhostUserHeader>(buffer_);
      const std::size_t whole = kHeaderSize + header.size;
      if (buffer_.size() < whole) return;
      const auto end = buffer_.begin() + static_cast<std::ptrdiff_t>(whole);
      const auto answer =
          script.answer({.bytes = std::vector<std::byte>(buffer_.begin(), end), .fds = {}});
      take_fds(header);
      buffer_.erase(buffer_.begin(), end);
      if (!answer) continue;
      auto bytes = vfio_user::bytes_of(answer->header);
      bytes.insert(bytes.end(), answer->payload.begin(), answer->payload.end());
      send(bytes, answer->fds);
    }
  }
  // In the order of the messages that they came with.
  void take_fds(const spec::VhostUserHeader& header) {
    std::size_t count = 0;
    switch (header.request) {
      case spec::VHOST_USER_SET_MEM_TABLE:
        count = vfio_user::require_struct<spec::VhostUserMemory>(script.payloads[header.request])
                    .region_count;
        break;
      case spec::VHOST_USER_SET_VRING_KICK:
      case spec::VHOST_USER_SET_VRING_CALL:
      case spec::VHOST_USER_SET_BACKEND_REQ_FD:
      case spec::VHOST_USER_SET_INFLIGHT_FD:
      case spec::VHOST_USER_SET_DEVICE_STATE_FD:
        count = 1;
        break;
      default:
        break;
    }
    for (; count > 0 && !came_.empty(); --count) {
      fds[header.request] = std::move(came_.front());
      came_.erase(came_.begin());
    }
  }
  Fd socket_;
  std::vector<std::byte> buffer_;
  std::vector<Fd> came_;
};

/// Plays the process that connects, and runs the event loop and the backend in turn.
class BackendHost {
 public:
  BackendHost() {
    auto ends = socket_pair(SOCK_SEQPACKET);
    way_ = std::move(ends[0]);
    other_ = std::move(ends[1]);
  }
  /// For the one to be tested. Once.
  [[nodiscard]] Connector connector() { return Connector(std::move(other_)); }

  /// The process that connects dies.
  void end_connector() { way_.reset(); }

  asio::io_context context{1};
  std::unique_ptr<BackendOnSocket> backend;       // of the last connection
  std::function<void(BackendOnSocket&)> prepare;  // each, before it hears anything
  bool silent = false;                            // it answers nothing
  unsigned refusals = 0;                          // connections to refuse first
  unsigned asked = 0;                             // for a connection

  /// Runs everybody until `done`; false if that takes too long.
  template <class F>
  bool run_until(const F& done) {
    using namespace std::chrono_literals;
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!done()) {
      play_connector();
      if (backend && !silent) backend->pump();
      context.restart();
      context.run_one_for(1ms);
      if (std::chrono::steady_clock::now() > deadline) return false;
    }
    return true;
  }

 private:
  void play_connector() {
    std::array<std::byte, 1> byte{};
    const auto request = vfio_user::receive_bytes(way_.get(), byte);
    if (!request || request->bytes == 0) return;
    ++asked;
    if (refusals > 0) {
      --refusals;
      const std::uint32_t refused = ECONNREFUSED;
      CHECK(vfio_user::send_some(way_.get(), vfio_user::bytes_of(refused), {}).has_value());
      return;
    }
    auto socket = socket_pair(SOCK_STREAM);
    auto channel = socket_pair(SOCK_STREAM);
    const std::uint32_t good = 0;
    const std::array numbers{socket[0].get(), channel[0].get(), channel[1].get()};
    CHECK(vfio_user::send_some(way_.get(), vfio_user::bytes_of(good), numbers).has_value());
    backend = std::make_unique<BackendOnSocket>(std::move(socket[1]));
    if (prepare) prepare(*backend);
  }

  Fd way_;
  Fd other_;
};

}  // namespace airlock::vhost_user
