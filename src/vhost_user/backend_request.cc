// SPDX-License-Identifier: Apache-2.0
#include "vhost_user/backend_request.h"

#include <cstddef>
#include <cstdint>

namespace airlock::vhost_user {

Result<std::optional<vfio_user::Outgoing>> answer_backend_request(
    const Message& message, const std::function<void()>& config_changed) {
  using vfio_user::malformed;
  const spec::VhostUserHeader& header = message.header;
  if ((header.flags & spec::VHOST_USER_F_REPLY) != 0) {
    return malformed(offsetof(spec::VhostUserHeader, flags));
  }
  const bool known = header.request == spec::VHOST_USER_BACKEND_CONFIG_CHANGE_MSG;
  if (known) {
    if (!message.payload.empty()) return malformed(offsetof(spec::VhostUserHeader, size));
    config_changed();
  }
  if ((header.flags & spec::VHOST_USER_F_NEED_REPLY) == 0) return std::nullopt;
  const spec::VhostUserHeader answer{.request = header.request,
                                     .flags = spec::VHOST_USER_VERSION | spec::VHOST_USER_F_REPLY,
                                     .size = sizeof(std::uint64_t)};
  vfio_user::Outgoing outgoing{.bytes = vfio_user::bytes_of(answer), .fds = {}};
  vfio_user::append_struct(outgoing.bytes, std::uint64_t{known ? 0U : 1U});
  return outgoing;
}

}  // namespace airlock::vhost_user
