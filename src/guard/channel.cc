// SPDX-License-Identifier: Apache-2.0
#include "guard/channel.h"

#include <utility>

namespace airlock::guard {

using vfio_user::Progress;

Result<std::optional<vfio_user::Message>> Channel::receive() {
  while (TRY(vfio_user::receive_some(socket_.get(), reader_)) == Progress::kDone) {
    if (reader_.complete()) return reader_.take();
  }
  return std::nullopt;
}

Result<void> Channel::send(vfio_user::Outgoing message) {
  TRY(queue_.push(std::move(message)));
  return flush();
}

Result<void> Channel::flush() {
  TRY(queue_.flush(socket_.get()));
  return {};
}

namespace {

vfio_user::Outgoing outgoing(const spec::VfioUserHeader& header, std::span<const std::byte> payload,
                             Fd fd) {
  vfio_user::Outgoing message{.bytes = vfio_user::bytes_of(header), .fds = {}};
  if (fd) message.fds.push_back(std::move(fd));
  message.bytes.insert(message.bytes.end(), payload.begin(), payload.end());
  return message;
}

std::uint32_t size_with(std::span<const std::byte> payload) {
  return static_cast<std::uint32_t>(vfio_user::kHeaderSize + payload.size());
}

}  // namespace

vfio_user::Outgoing command(std::uint16_t id, std::uint16_t command,
                            std::span<const std::byte> payload, Fd fd) {
  return outgoing({.message_id = id,
                   .command = command,
                   .message_size = size_with(payload),
                   .flags = spec::VFIO_USER_F_TYPE_COMMAND,
                   .error = 0},
                  payload, std::move(fd));
}

vfio_user::Outgoing reply(const spec::VfioUserHeader& request, std::span<const std::byte> payload,
                          Fd fd) {
  return outgoing({.message_id = request.message_id,
                   .command = request.command,
                   .message_size = size_with(payload),
                   .flags = spec::VFIO_USER_F_TYPE_REPLY,
                   .error = 0},
                  payload, std::move(fd));
}

vfio_user::Outgoing error_reply(const spec::VfioUserHeader& request, std::uint32_t error) {
  return outgoing({.message_id = request.message_id,
                   .command = request.command,
                   .message_size = size_with({}),
                   .flags = spec::VFIO_USER_F_TYPE_REPLY | spec::VFIO_USER_F_ERROR,
                   .error = error},
                  {}, {});
}

}  // namespace airlock::guard
