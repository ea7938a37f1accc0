// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include "backend/net_backend.h"
#include "backend/open.h"

namespace airlock::backend {

struct OpenNetOptions {
  std::uint16_t channels = 1;  // that will be opened at most, of backends that can have several
};

/// Opens the network that `spec` names, before a sandbox, with one thread yet:
///   passt[,OPTION]...                 starts passt(1); each OPTION is one of its own, without "--"
///   passt:PATH                        the socket of one that runs
///   tap:NAME                          an interface of this host
///   socket:unix:PATH[,listen=on]      QEMU's stream netdev; where it connects, we listen
///   socket:tcp:ADDRESS:PORT[,listen=on]
///   socket:dgram:PATH,local=PATH      QEMU's dgram netdev
///   socket:udp:ADDRESS:PORT,local=ADDRESS:PORT
///   socket:fd:NUMBER                  a connected stream that somebody left open for us
///   loop                              what is sent comes back: for tests
/// Where we connect, a peer that is lost is connected to again. Errors: what, why, and what to do.
[[nodiscard]] Opened<std::unique_ptr<NetBackend>> open_net_backend(std::string_view spec,
                                                                   const OpenNetOptions& options);

}  // namespace airlock::backend
