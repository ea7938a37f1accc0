// SPDX-License-Identifier: Apache-2.0
#include "backend/net/tap_frame.h"

#include <sys/uio.h>

#include <array>
#include <cerrno>

#include "backend/net/gather.h"
#include "backend/net/net_checksum.h"
#include "base/check.h"

namespace airlock::backend {

Result<std::optional<std::size_t>> read_tap_frame(int fd, spec::VirtioNetHdr& header,
                                                  std::span<std::byte> frame,
                                                  NetCounters& counters) {
  CHECK(frame.size() >= kNetFrameMax);
  const std::array<iovec, 2> parts{{{.iov_base = &header, .iov_len = sizeof header},
                                    {.iov_base = frame.data(), .iov_len = kNetFrameMax}}};
  for (int i = 0; i < kMalformedInARow; ++i) {
    const ssize_t got = ::readv(fd, parts.data(), parts.size());
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return std::nullopt;
      return fail(system_error());
    }
    const auto bytes = static_cast<std::size_t>(got);
    const std::size_t length = bytes < sizeof header ? 0 : bytes - sizeof header;
    if (is_frame_length(length) && header_fits(header, length)) {
      header.num_buffers.set(0);
      return length;
    }
    counters.count_malformed();
  }
  return std::nullopt;
}

}  // namespace airlock::backend
