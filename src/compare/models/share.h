// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compare/model.h"

namespace airlock::compare {

/// What the owner of the guest's memory is asked. Ranges are bytes of the private memory; what is
/// shared, and taken back, are the pages around them.
struct ShareRequest {
  enum class Kind : std::uint32_t {
    kStart,    // makes the private memory
    kShare,    // the device may see the range from now on
    kUnshare,  // and no more
    kSync,     // of a shared range: the device is to see what was written since
    kCounts,
  };
  Kind kind = Kind::kStart;
  bool written = false;      // kUnshare: the device may have written the range
  std::uint64_t offset = 0;  // kStart: unused
  std::uint64_t length = 0;  // kStart: of the private memory
};
struct ShareReply {
  Answer answer{};  // kBadHandle: a page that is not shared; kOutOfRange
  TrustedCounts counts;
  std::uint64_t pages_shared = 0;  // now
  std::uint64_t pages_most = 0;    // at most
};

/// Share and unshare: no bounce. The owner of the guest's memory (pKVM's place) lets the device at
/// the pages of each buffer when it is mapped, and takes them back when it is unmapped, before
/// anybody reuses them. SYS-4.
extern const Model kShare;
/// The same; buffers that are not whole pages are copied into pages of their own first.
extern const Model kShareBounce;

/// The owner's process. Errors: the guest's.
Result<void> serve_share(const Fd& guest, const Controls& controls);

}  // namespace airlock::compare
