// SPDX-License-Identifier: Apache-2.0
//
// The core's decisions in the guard's own types. What may pass is decided there (core/guard.h);
// here is only what it has to be told.
#pragma once

#include <string>

#include "base/fd.h"
#include "core/guard.h"
#include "core/guard_memory.h"
#include "core/guard_message.h"
#include "spec/vfio_user.h"
#include "wire/message.h"

namespace airlock::guard {

[[nodiscard]] inline airlock_guard_header core_header(const spec::VfioUserHeader& header) {
  return {.id = header.message_id,
          .command = header.command,
          .size = header.message_size,
          .flags = header.flags,
          .error = header.error};
}

/// How many descriptors came with a message; more than any may have, if some were lost.
[[nodiscard]] inline std::uint32_t core_fds(const vfio_user::Message& message) {
  return message.fds_lost ? ~0U : static_cast<std::uint32_t>(message.fds.size());
}

/// What the kernel says of a file that somebody sent; whose it is, is the caller's to add. An empty
/// fd is no file. What can't be found out counts against it.
[[nodiscard]] airlock_guard_file file_facts(const Fd& fd);

/// Why, in words.
[[nodiscard]] inline std::string words(airlock_guard_reason reason) {
  return airlock_guard_explain(reason).words;
}

/// A command by its name in the protocol, or by its number.
[[nodiscard]] std::string command_name(std::uint16_t command);

}  // namespace airlock::guard
