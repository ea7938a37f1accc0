// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include <fmt/core.h>

#include "guard/limits.h"
#include "wire/message.h"

namespace airlock::guard {

/// What the guard says in VERSION, to either side: 0.0, which is all that QEMU takes, and what fits
/// in one message. What the other says there is not read.
[[nodiscard]] inline std::vector<std::byte> version_payload() {
  auto payload = vfio_user::bytes_of(spec::VfioUserVersion{.major = 0, .minor = 0});
  const std::string json = fmt::format(
      R"({{"capabilities":{{"max_msg_fds":{},"max_data_xfer_size":{}}}}})", kMaxVmFds, kMaxAccess);
  const auto text = std::as_bytes(std::span(json.c_str(), json.size() + 1));
  payload.insert(payload.end(), text.begin(), text.end());
  return payload;
}

}  // namespace airlock::guard
