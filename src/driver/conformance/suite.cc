// SPDX-License-Identifier: Apache-2.0
#include "driver/conformance/suite.h"

#include <optional>
#include <string>

#include <fmt/core.h>

#include "driver/conformance/checks.h"
#include "driver/wait.h"
#include "spec/virtio.h"

namespace airlock::driver::conformance {

namespace {

/// Why a check can't look at this device; nothing if it can.
std::optional<Finding> suite_obstacle(CheckContext& ctx, Needs needs) {
  if (needs >= Needs::kRegisters && !ctx.capabilities().is_complete()) {
    return skipped("no usable common configuration, notification and ISR structures");
  }
  if (needs >= Needs::kDisk && ctx.device_type() != spec::VIRTIO_ID_BLOCK) {
    return skipped("the device is no disk");
  }
  if (needs >= Needs::kRegion) {
    if (ctx.region_kind() == RegionKind::kNone) {
      return skipped("the device offers no region, and this driver has no other memory for it");
    }
    if (const auto opened = ctx.open_region(); !opened) {
      return failed("the region: " + describe(opened.error()));
    }
  }
  return std::nullopt;
}

class SuiteRun {
 public:
  SuiteRun(const Connector& connect, const CheckContext::Options& options)
      : connect_(connect), options_(options) {}

  /// Connects, where there is no connection: what the checks look at, until disconnect(). Errors:
  /// those of the connector and of CheckContext.
  Result<CheckContext*> connect() {
    if (context_) return &*context_;
    transport_ = TRY(connect_());
    return &context_.emplace(TRY(CheckContext::create(*transport_, options_)));
  }

  /// The same, for as long as a device may take to notice that its client left.
  Result<CheckContext*> reconnect() {
    const Deadline deadline = Deadline::after(options_.timeout);
    for (unsigned round = 0;; ++round) {
      auto connected = connect();
      if (connected || deadline.passed()) return connected;
      pause_between_polls(round);
    }
  }

  Finding run(const Check& check) {
    if (!broken_by_.empty()) return skipped("the device is gone since " + broken_by_);
    const auto connected = reconnect();
    if (!connected) {
      broken_by_ = last_;
      return skipped(
          fmt::format("the device is gone since {}: {}", last_, describe(connected.error())));
    }
    last_ = check.id;
    Finding finding = look(check, **connected);
    if (const auto left = leave_reset(**connected); !left) {
      disconnect();
      if (finding.verdict == Verdict::kPass) {
        finding = failed("the device does not reset afterwards: " + describe(left.error()));
      }
    }
    return finding;
  }

 private:
  static Finding look(const Check& check, CheckContext& ctx) {
    ctx.accept_also(0);
    ctx.use_queue(0);
    ctx.use_other_queue(std::nullopt);
    if (check.needs >= Needs::kRegisters && ctx.capabilities().is_complete()) {
      if (const auto done = ctx.reset(); !done) {
        return failed("the device does not reset: " + describe(done.error()));
      }
    }
    if (auto why = suite_obstacle(ctx, check.needs)) return *why;
    if (check.needs >= Needs::kRegion) {
      if (const auto done = ctx.reset(); !done) {
        return failed("the device does not reset: " + describe(done.error()));
      }
    }
    auto finding = check.run(ctx);
    if (!finding) return failed(describe(finding.error()));
    return std::move(*finding);
  }

  static Result<void> leave_reset(CheckContext& ctx) {
    if (!ctx.capabilities().is_complete()) return {};
    return ctx.reset();
  }

  // A connection that a device broke, or a device that hangs: the next check gets a new one.
  void disconnect() {
    options_.foreign_requests += transport_->foreign_requests().value_or(0);
    context_.reset();
    transport_.reset();
  }

  const Connector& connect_;
  CheckContext::Options options_;
  std::unique_ptr<PciTransport> transport_;
  std::optional<CheckContext> context_;  // of transport_
  std::string last_;
  std::string broken_by_;
};

}  // namespace

std::vector<const Check*> all_checks() {
  std::vector<const Check*> all;
  for (const auto& table :
       {pci_checks(),         pci_window_checks(),   region_checks(),       common_checks(),
        vector_checks(),      feature_checks(),      status_checks(),       address_checks(),
        chain_checks(),       used_checks(),         event_checks(),        indirect_checks(),
        queue_reset_checks(), blk_config_checks(),   blk_checks(),          blk_write_checks(),
        console_checks(),     rng_checks(),          net_config_checks(),   net_checks(),
        vsock_checks(),       vsock_packet_checks(), vsock_credit_checks(), confinement_checks()}) {
    for (const Check& check : table)
      all.push_back(&check);
  }
  return all;
}

std::vector<const Check*> select_checks(std::span<const Check* const> checks, std::string_view id) {
  std::vector<const Check*> selected;
  for (const Check* check : checks) {
    const std::string_view requirement = check->id.substr(0, check->id.find('/'));
    if (check->id == id || requirement == id) selected.push_back(check);
  }
  return selected;
}

Result<void> run_checks(const Connector& connect, std::span<const Check* const> checks,
                        const CheckContext::Options& options, const Report& report) {
  SuiteRun run(connect, options);
  TRY(run.connect());
  for (const Check* check : checks)
    report(*check, run.run(*check));
  return {};
}

}  // namespace airlock::driver::conformance
