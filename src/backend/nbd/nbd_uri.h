// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace airlock::backend {

/// Where an NBD server is, and which of its exports is meant.
struct NbdAddress {
  // NOLINTBEGIN(readability-redundant-member-init): GCC wants them, to be left out where not used
  std::string socket_path = {};  // a UNIX socket; empty: TCP
  std::string host = {};         // a name or an address, without brackets
  std::string port = {};         // decimal
  std::string export_name = {};  // empty: the server's default
  bool tls = false;
  std::string user = {};          // of TLS with keys; empty: who runs this process
  std::string psk_file = {};      // TLS with pre-shared keys: USER:KEY lines
  std::string certificates = {};  // TLS with X.509: a folder; empty: GnuTLS's own authorities
  // NOLINTEND(readability-redundant-member-init)

  friend bool operator==(const NbdAddress&, const NbdAddress&) = default;
};

/// Reads an NBD URI: nbd://HOST[:PORT]/EXPORT, nbds:// (TLS), nbd+unix:///EXPORT?socket=PATH,
/// nbds+unix://; parameters tls-psk-file=FILE and tls-certificates=FOLDER. What is %XX in it is
/// decoded. Errors: why it is none, for a person.
[[nodiscard]] std::expected<NbdAddress, std::string> parse_nbd_uri(std::string_view uri);

}  // namespace airlock::backend
