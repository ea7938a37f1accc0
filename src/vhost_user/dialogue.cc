// SPDX-License-Identifier: Apache-2.0
#include "vhost_user/dialogue.h"

#include <utility>

#include "base/check.h"

namespace airlock::vhost_user {

namespace {

std::unexpected<Error> bad_field(std::size_t offset) {
  return fail({.code = Errc::kMalformed, .detail = static_cast<std::uint32_t>(offset)});
}

}  // namespace

void Dialogue::tell(Request request) {
  if (!reply_ack_) return send(std::move(request), 0);
  const std::uint32_t number = request.request;
  send(std::move(request), spec::VHOST_USER_F_NEED_REPLY);
  expected_.push_back({.request = number,
                       .bytes = sizeof(std::uint64_t),
                       .fds = 0,
                       .on_answer = [number](Message& answer) -> Result<void> {
                         if (vfio_user::require_struct<std::uint64_t>(answer.payload) == 0)
                           return {};
                         return fail({.code = Errc::kUnsupported, .detail = number});
                       }});
}

void Dialogue::ask(Request request, std::size_t answer_bytes, std::size_t answer_fds,
                   OnAnswer on_answer) {
  CHECK(answer_bytes <= kPayloadMax && answer_fds <= 1);
  expected_.push_back({.request = request.request,
                       .bytes = answer_bytes,
                       .fds = answer_fds,
                       .on_answer = std::move(on_answer)});
  send(std::move(request), 0);
}

void Dialogue::send(Request request, std::uint32_t flags) {
  const spec::VhostUserHeader header{.request = request.request,
                                     .flags = spec::VHOST_USER_VERSION | flags,
                                     .size = static_cast<std::uint32_t>(request.payload.size())};
  vfio_user::Outgoing message{.bytes = vfio_user::bytes_of(header), .fds = std::move(request.fds)};
  message.bytes.insert(message.bytes.end(), request.payload.begin(), request.payload.end());
  outgoing_.push_back(std::move(message));
}

std::optional<vfio_user::Outgoing> Dialogue::take_outgoing() {
  if (outgoing_.empty()) return std::nullopt;
  vfio_user::Outgoing message = std::move(outgoing_.front());
  outgoing_.pop_front();
  return message;
}

std::uint32_t Dialogue::awaited() const {
  return expected_.empty() ? 0 : expected_.front().request;
}

Result<void> Dialogue::receive(Message message) {
  if (expected_.empty() || message.header.request != expected_.front().request) {
    return bad_field(offsetof(spec::VhostUserHeader, request));
  }
  if ((message.header.flags & spec::VHOST_USER_F_REPLY) == 0) {
    return bad_field(offsetof(spec::VhostUserHeader, flags));
  }
  const Expected expected = std::move(expected_.front());
  expected_.pop_front();
  if (message.payload.size() != expected.bytes) {
    return bad_field(offsetof(spec::VhostUserHeader, size));
  }
  if (message.fds.size() != expected.fds) return bad_field(kHeaderSize + message.payload.size());
  return expected.on_answer(message);
}

}  // namespace airlock::vhost_user
