// SPDX-License-Identifier: Apache-2.0
#include "compare/guest_process.h"

#include <unistd.h>

#include <utility>

#include "compare/child.h"
#include "compare/rig_disk.h"
#include "compare/rig_net.h"

namespace airlock::compare {

namespace {

class GuestProcess {
 public:
  GuestProcess(GuestSockets sockets, const Model& model, const Controls& controls, Traffic traffic)
      : sockets_(std::move(sockets)),
        device_(std::move(sockets_.device)),
        model_(model),
        controls_(controls),
        traffic_(traffic) {}

  Result<void> answer(const GuestRequest& request, GuestReply& reply) {
    using Kind = GuestRequest::Kind;
    if (request.kind == Kind::kOpen) return open();
    if (!workload_) return fail(Errc::kWrongState);
    switch (request.kind) {
      case Kind::kVerify:
        return workload_->verify();
      case Kind::kRun:
        reply.run = TRY(workload_->run(request.cell, std::chrono::milliseconds(request.time_ms)));
        return {};
      case Kind::kExpose:
        reply.exposure = TRY(workload_->expose(request.cell.request_bytes, request.cell.write));
        return {};
      case Kind::kScan:
        reply.seen = TRY(workload_->scan());
        return {};
      case Kind::kReach:
        reply.reached = TRY(device_.reach(::getpid()));
        return {};
      case Kind::kOpen:
        break;
    }
    return fail({.code = Errc::kUnsupported, .detail = std::to_underlying(request.kind)});
  }

 private:
  Result<void> open() {
    if (access_) return fail(Errc::kWrongState);
    access_ = TRY(model_.connect({.private_bytes = kPrivateBytes, .trusted = &sockets_.trusted}));
    if (controls_.leak_private) device_.leak(access_->private_memory().fd());
    driver_ = TRY(open_driver());
    workload_ = std::make_unique<Workload>(*access_, *driver_, device_, traffic_);
    return workload_->refill();
  }
  Result<std::unique_ptr<RigDriver>> open_driver() {
    if (traffic_ == Traffic::kNet) return TRY(RigNet::open(*access_, device_));
    return TRY(RigDisk::open(*access_, device_, model_.encryption));
  }

  GuestSockets sockets_;
  DeviceLink device_;
  const Model& model_;
  const Controls& controls_;
  Traffic traffic_;
  std::unique_ptr<Access> access_;
  std::unique_ptr<RigDriver> driver_;
  std::unique_ptr<Workload> workload_;
};

}  // namespace

Result<void> run_guest(GuestSockets sockets, const Model& model, const Controls& controls,
                       Traffic traffic) {
  TRY(close_to_others());
  const Fd commander = std::move(sockets.commander);
  GuestProcess guest(std::move(sockets), model, controls, traffic);
  for (;;) {
    const auto received = TRY(receive<GuestRequest>(commander, kForEver));
    auto reply = std::make_unique<GuestReply>();
    reply->answer = Answer::of(guest.answer(received.message, *reply));
    TRY(send(commander, *reply));
  }
}

}  // namespace airlock::compare
