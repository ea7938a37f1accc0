// SPDX-License-Identifier: Apache-2.0
#include "compare/two_stage/hypervisor.h"

namespace airlock::compare {

Result<void> serve_hypervisor(const Fd& guest, TranslatingPort emulated, Hardware& hardware) {
  for (;;) {
    const auto received = TRY(receive<HypervisorRequest>(guest, kForEver));
    const DeviceAccess& access = received.message.access;
    HypervisorReply reply;
    if (received.message.kind == HypervisorRequest::Kind::kFlush) {
      emulated.invalidate(access.address);
      hardware.invalidate(access.address);
    } else if (const auto value = access_through(emulated, access)) {
      reply.value = *value;
    } else {
      reply.answer = {.failed = true, .error = value.error()};
    }
    TRY(send(guest, reply));
  }
}

}  // namespace airlock::compare
