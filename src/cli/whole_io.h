// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/fd.h"

namespace airlock::cli {

/// The file at `path`, as open(2) has `flags`, close-on-exec; `-` is standard input, or output for
/// flags that write. A file that is made may be read by everybody. Errors: kSystem.
[[nodiscard]] Result<Fd> open_path(const std::string& path, int flags);

/// Fills `target` from the file, or up to its end; the bytes read. Errors: kSystem.
[[nodiscard]] Result<std::uint64_t> read_full(const Fd& fd, std::span<std::byte> target);

/// Writes all of it. Errors: kSystem.
[[nodiscard]] Result<void> write_full(const Fd& fd, std::span<const std::byte> source);

}  // namespace airlock::cli
