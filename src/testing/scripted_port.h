// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <mutex>
#include <optional>
#include <string>

#include "backend/port_backend.h"
#include "base/event_fd.h"

namespace airlock::testing {

/// What a test and a ScriptedPort share: the test plays whoever is at the port's host end. Any
/// thread.
class PortScript {
 public:
  void connect() {
    const std::scoped_lock held(lock_);
    connected_ = true;
    ++connections_;
    changed_.signal();
  }
  void disconnect() {
    const std::scoped_lock held(lock_);
    connected_ = false;
    changed_.signal();
  }
  void say(const std::string& text) {
    const std::scoped_lock held(lock_);
    said_ += text;
    changed_.signal();
  }
  /// How many bytes more are taken.
  void make_room(std::size_t bytes) {
    const std::scoped_lock held(lock_);
    room_ = bytes;
    changed_.signal();
  }
  void resize(const backend::WindowSize& size) {
    const std::scoped_lock held(lock_);
    size_ = size;
    changed_.signal();
  }
  [[nodiscard]] std::string heard() const {
    const std::scoped_lock held(lock_);
    return heard_;
  }
  /// Bytes that were said and not fetched.
  [[nodiscard]] std::size_t unheard() const {
    const std::scoped_lock held(lock_);
    return said_.size();
  }

 private:
  friend class ScriptedPort;
  mutable std::mutex lock_;
  bool connected_ = false;
  std::uint64_t connections_ = 0;
  std::string said_;
  std::string heard_;
  std::size_t room_ = std::size_t{1} << 30;
  std::optional<backend::WindowSize> size_;
  EventFd changed_ = MUST(EventFd::create());
  EventFd ready_ = MUST(EventFd::create());  // always
};

/// A port's host end as a test has it. The script outlives it.
class ScriptedPort final : public backend::PortBackend {
 public:
  explicit ScriptedPort(PortScript& script) : script_(script) { script_.ready_.signal(); }

  [[nodiscard]] std::string describe() const override { return "script"; }
  void add_watches(const backend::PortInterest& interest,
                   std::vector<pollfd>& target) const override {
    const std::scoped_lock held(script_.lock_);
    const bool ready =
        (interest.output && script_.room_ > 0) || (interest.input && !script_.said_.empty());
    const EventFd& event = ready ? script_.ready_ : script_.changed_;
    target.push_back({.fd = event.fd(), .events = POLLIN, .revents = 0});
  }
  void attend(const backend::PortInterest& /*interest*/) override {
    static_cast<void>(script_.changed_.drain());
  }
  [[nodiscard]] bool connected() const override {
    const std::scoped_lock held(script_.lock_);
    return script_.connected_;
  }
  [[nodiscard]] std::uint64_t connections() const override {
    const std::scoped_lock held(script_.lock_);
    return script_.connections_;
  }
  std::size_t read(std::span<std::byte> target) override {
    const std::scoped_lock held(script_.lock_);
    const std::size_t count = std::min(target.size(), script_.said_.size());
    std::ranges::copy(std::as_bytes(std::span(script_.said_)).first(count), target.begin());
    script_.said_.erase(0, count);
    return count;
  }
  std::size_t write(std::span<const std::byte> source) override {
    const std::scoped_lock held(script_.lock_);
    const std::size_t count = std::min(source.size(), script_.room_);
    script_.room_ -= count;
    for (const std::byte byte : source.first(count))
      script_.heard_ += static_cast<char>(byte);
    return count;
  }
  [[nodiscard]] std::optional<backend::WindowSize> window_size() const override {
    const std::scoped_lock held(script_.lock_);
    return script_.size_;
  }

 private:
  PortScript& script_;
};

}  // namespace airlock::testing
