// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gnutls/gnutls.h>

#include <cstddef>
#include <span>

#include "backend/nbd/nbd_connector.h"

namespace airlock::backend {

/// Owns a session of GnuTLS.
struct TlsSession {
  TlsSession() = default;
  ~TlsSession() {
    if (tls != nullptr) gnutls_deinit(tls);
  }
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  gnutls_session_t tls = nullptr;
};

/// Starts a process that passes on what comes, between what is returned and `session`, which has
/// shaken hands over `socket`. What is returned begins with `hello`, the greeting of the server,
/// whose answer, four bytes, is dropped: the server has had both. The process has one thread.
[[nodiscard]] Connected start_relay(const TlsSession& session, const Fd& socket,
                                    std::span<const std::byte> hello);

}  // namespace airlock::backend
