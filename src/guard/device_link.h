// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "guard/channel.h"
#include "guard/decision.h"
#include "guard/poller.h"

namespace airlock::guard {

/// What the device answered to one request.
struct Answer {
  std::uint32_t error = 0;  // errno; then there is no payload
  std::vector<std::byte> payload;
  Fd fd;
};

/// The connection to one process of the device, which is hostile. Every answer is matched with the
/// request that it answers; one that fits none ends the connection. One thread.
///
/// Errors of every call: as Channel's. After one, drop it.
class DeviceLink {
 public:
  /// Takes the answer; its error means that the device lied, and ends the connection.
  using OnAnswer = std::move_only_function<Result<void>(Answer)>;
  /// A message that the device sent on its own, and that is no answer.
  using OnCommand = std::move_only_function<Result<void>(vfio_user::Message)>;

  /// More unanswered requests than this are no load but a device that is stuck.
  static constexpr std::size_t kMaxUnanswered = 4096;

  DeviceLink(Fd socket, OnCommand on_command);

  /// Sends a request and returns at once; `on_answer` is called from receive(), with an answer that
  /// has the shape that the command's has. `room`: of VERSION and DEVICE_GET_REGION_INFO, how many
  /// bytes it may have; of REGION_READ, how many are asked for.
  Result<void> request(std::uint16_t command, std::span<const std::byte> payload,
                       std::uint32_t room, OnAnswer on_answer, Fd fd = {});
  /// The same, where the answer says nothing of interest.
  Result<void> tell(std::uint16_t command, std::span<const std::byte> payload, Fd fd = {});
  /// Answers a command of the device's.
  Result<void> answer(vfio_user::Outgoing message) { return channel_.send(std::move(message)); }

  /// Takes what has arrived, a bounded part of it: a device that floods does not keep the VM
  /// waiting.
  Result<void> receive();
  Result<void> flush() { return channel_.flush(); }

  [[nodiscard]] int fd() const { return channel_.fd(); }
  [[nodiscard]] bool unsent() const { return channel_.unsent(); }
  /// Since when the oldest request waits for its answer.
  [[nodiscard]] std::optional<TimePoint> waiting_since() const;

 private:
  struct Request {
    airlock_guard_asked asked;
    OnAnswer on_answer;
    TimePoint sent;
  };

  Result<void> take(vfio_user::Message message);

  Channel channel_;
  OnCommand on_command_;
  std::uint64_t next_ = 0;                     // number of the next request; its id is the low half
  std::map<std::uint64_t, Request> requests_;  // unanswered, the oldest first
};

}  // namespace airlock::guard
