// SPDX-License-Identifier: Apache-2.0
//
// What a backend may ask of us, which is to look at its configuration again.
#pragma once

#include <functional>
#include <optional>

#include "vhost_user/message.h"
#include "wire/message.h"

namespace airlock::vhost_user {

/// Acts on a request that came on a backend's own channel, and makes the answer, if it wants one:
/// 0, or 1 for what there is nothing of here (host notifiers, shared objects, mappings, IOTLBs).
/// Fds that came are closed. Errors: kMalformed: a reply, or a payload that is not the request's.
Result<std::optional<vfio_user::Outgoing>> answer_backend_request(
    const Message& message, const std::function<void()>& config_changed);

}  // namespace airlock::vhost_user
