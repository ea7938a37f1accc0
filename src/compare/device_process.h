// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compare/model.h"
#include "compare/traffic.h"

namespace airlock::compare {

/// The untrusted process: our disk, or our network card (make_rig_device()), with the production's
/// queues, parsers and workers, in the sandbox that `airlock serve` has. Serves `guest` until that
/// hangs up. The model says what its window is made of; nothing else differs. Errors: kSystem, the
/// guest's.
Result<void> run_device(Fd guest, const Model& model, const Controls& controls, Traffic traffic);

}  // namespace airlock::compare
