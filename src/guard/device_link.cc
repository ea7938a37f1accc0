// SPDX-License-Identifier: Apache-2.0
#include "guard/device_link.h"

#include <algorithm>
#include <array>
#include <utility>

#include "guard/limits.h"

namespace airlock::guard {

namespace {

// Messages taken before others get their turn.
constexpr int kTurn = 64;

// What an answer repeats of an access to a register.
using Echo = std::array<std::uint64_t, 2>;

}  // namespace

DeviceLink::DeviceLink(Fd socket, OnCommand on_command)
    : channel_(std::move(socket), {.max_message_size = kMaxMessage, .max_fds = 1}),
      on_command_(std::move(on_command)) {}

Result<void> DeviceLink::request(std::uint16_t command, std::span<const std::byte> payload,
                                 std::uint32_t room, OnAnswer on_answer, Fd fd) {
  if (requests_.size() >= kMaxUnanswered) {
    return fail({.code = Errc::kTooLarge, .address = requests_.size()});
  }
  const std::uint64_t number = next_++;
  Request request{.asked = {}, .on_answer = std::move(on_answer), .sent = Clock::now()};
  request.asked.id = static_cast<std::uint16_t>(number);
  request.asked.command = command;
  request.asked.room = room;
  if (command == spec::VFIO_USER_REGION_READ || command == spec::VFIO_USER_REGION_WRITE) {
    std::ranges::copy(vfio_user::require_struct<Echo>(payload), request.asked.echo);
  }
  const std::uint16_t id = request.asked.id;
  requests_.emplace(number, std::move(request));
  return channel_.send(guard::command(id, command, payload, std::move(fd)));
}

Result<void> DeviceLink::tell(std::uint16_t command, std::span<const std::byte> payload, Fd fd) {
  return request(command, payload, 0, [](const Answer&) { return Result<void>(); }, std::move(fd));
}

Result<void> DeviceLink::receive() {
  for (int i = 0; i < kTurn; ++i) {
    auto message = TRY(channel_.receive());
    if (!message) return {};
    TRY(take(std::move(*message)));
  }
  return {};
}

std::optional<TimePoint> DeviceLink::waiting_since() const {
  if (requests_.empty()) return std::nullopt;
  return requests_.begin()->second.sent;
}

Result<void> DeviceLink::take(vfio_user::Message message) {
  const spec::VfioUserHeader& header = message.header;
  const std::uint32_t type = header.flags & spec::VFIO_USER_F_TYPE_MASK;
  if (type == spec::VFIO_USER_F_TYPE_COMMAND) return on_command_(std::move(message));
  if (type != spec::VFIO_USER_F_TYPE_REPLY) {
    return vfio_user::malformed(offsetof(spec::VfioUserHeader, flags));
  }
  // Fewer requests than ids are unanswered, so an id names one.
  const auto found = std::ranges::find_if(requests_, [&](const auto& entry) {
    return static_cast<std::uint16_t>(entry.first) == header.message_id;
  });
  if (found == requests_.end()) {
    return vfio_user::malformed(offsetof(spec::VfioUserHeader, message_id));
  }
  Request request = std::move(found->second);
  requests_.erase(found);
  const Echo echo = vfio_user::read_struct<Echo>(message.payload).value_or(Echo{});
  const airlock_guard_header judged = core_header(header);
  if (airlock_guard_reply(&request.asked, &judged, core_fds(message), echo.data()) !=
      AIRLOCK_GUARD_PASS) {
    return vfio_user::malformed(vfio_user::kHeaderSize);
  }
  Answer answer{.error = 0, .payload = std::move(message.payload), .fd = {}};
  if (!message.fds.empty()) answer.fd = std::move(message.fds.front());
  if ((header.flags & spec::VFIO_USER_F_ERROR) != 0) answer.error = header.error;
  return request.on_answer(std::move(answer));
}

}  // namespace airlock::guard
