// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <expected>
#include <string>

struct nbd_handle;

namespace airlock::backend {

/// What a server says of an export, once connected.
struct NbdExport {
  std::uint64_t bytes = 0;
  bool read_only = false;
  bool can_flush = false;
  bool can_fua = false;
  bool can_trim = false;
  bool can_zero = false;
  bool many_connections = false;  // a flush on one covers what was written by all
  // Bytes, powers of two; what the protocol takes for granted where the server says nothing.
  std::uint32_t block_least = 1;
  std::uint32_t block_preferred = 4096;
  std::uint32_t payload_most = std::uint32_t{32} << 20;  // of one read or write

  /// Reads it from a handle that is ready. Errors: what is wrong with it, for a person.
  static std::expected<NbdExport, std::string> read(nbd_handle* handle);

  /// Whether this one can stand in for `old`, of which a driver has been told; if not, why.
  [[nodiscard]] std::expected<void, std::string> replaces(const NbdExport& old) const;
};

}  // namespace airlock::backend
