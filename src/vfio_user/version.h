// SPDX-License-Identifier: Apache-2.0
//
// The payload of VERSION: two numbers, and a JSON text of capabilities.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "spec/vfio_user.h"

namespace airlock::vfio_user {

// QEMU accepts no minor above 0, and nothing newer is of use to a device without DMA.
inline constexpr std::uint16_t kVersionMajor = 0;
inline constexpr std::uint16_t kVersionMinor = 0;

/// More than this in one VERSION is no capabilities but an attempt. Bytes.
inline constexpr std::size_t kMaxVersionPayload = 4096;
/// QEMU receives the reply in the buffer of its request: more breaks the connection. Bytes, with
/// the header.
inline constexpr std::size_t kMaxVersionReply = 214;

/// What one side is able to take. The defaults hold where it does not say.
struct Capabilities {
  std::uint64_t max_msg_fds = spec::VFIO_USER_DEFAULT_MAX_MSG_FDS;
  std::uint64_t max_data_xfer_size = spec::VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE;  // bytes
};

struct Proposal {
  std::uint16_t major = kVersionMajor;
  std::uint16_t minor = kVersionMinor;
  Capabilities capabilities;
};

/// Reads a VERSION payload from a peer. Unknown keys are skipped; a known one of another type than
/// an unsigned number is an error. Errors: kMalformed, kTooLarge.
Result<Proposal> parse_version(std::span<const std::byte> payload);

/// The payload that says `proposal`. Appended to `bytes`.
void append_version(std::vector<std::byte>& bytes, const Proposal& proposal);

}  // namespace airlock::vfio_user
