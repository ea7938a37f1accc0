// SPDX-License-Identifier: Apache-2.0
//
// The conformance suite: every check there is, and how they are run over one device.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "driver/conformance/check_context.h"

namespace airlock::driver::conformance {

/// All checks, in the order that they run. Their ids are unique.
std::vector<const Check*> all_checks();

/// Those of `checks` that `id` names: one by its whole id, or all of a requirement (DEF-5).
std::vector<const Check*> select_checks(std::span<const Check* const> checks, std::string_view id);

/// A fresh way to the device: called once, and again when a device broke the one before.
using Connector = std::function<Result<std::unique_ptr<PciTransport>>()>;
using Report = std::function<void(const Check& check, const Finding& finding)>;

/// Runs `checks` one by one; each starts with the device reset. A check that fails, and a device
/// that dies on the way, is reported, and the rest goes on as long as there is a device to be
/// reached; what can't run then is skipped. Errors: there was no device to begin with.
Result<void> run_checks(const Connector& connect, std::span<const Check* const> checks,
                        const CheckContext::Options& options, const Report& report);

}  // namespace airlock::driver::conformance
