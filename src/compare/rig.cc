// SPDX-License-Identifier: Apache-2.0
#include "compare/rig.h"

#include <array>
#include <utility>

#include "compare/device_process.h"

namespace airlock::compare {

Result<std::unique_ptr<Rig>> Rig::start(const Model& model, const Controls& controls,
                                        Traffic traffic) {
  std::unique_ptr<Rig> rig(new Rig(model));
  SocketPair orders = TRY(socket_pair());
  SocketPair device = TRY(socket_pair());
  SocketPair trusted = TRY(socket_pair());
  const int device_end = device.second.get();
  rig->device_ = TRY(Child::start("device", std::span(&device_end, 1), [&] {
    return run_device(std::move(device.second), model, controls, traffic);
  }));
  if (model.serve != nullptr) {
    const int trusted_end = trusted.second.get();
    rig->trusted_ =
        TRY(Child::start("trusted part", std::span(&trusted_end, 1), [&]() -> Result<void> {
          TRY(close_to_others());
          return model.serve(trusted.second, controls);
        }));
  }
  const std::array kept{orders.second.get(), device.first.get(), trusted.first.get()};
  rig->guest_ = TRY(Child::start("guest", kept, [&] {
    return run_guest({.commander = std::move(orders.second),
                      .device = std::move(device.first),
                      .trusted = std::move(trusted.first)},
                     model, controls, traffic);
  }));
  rig->commander_ = std::move(orders.first);
  // The other ends are the children's alone: who is left hears of it when one of them goes.
  orders.second.reset();
  device = {};
  trusted = {};
  TRY(rig->ask_guest({.kind = GuestRequest::Kind::kOpen}));
  return rig;
}

// On the heap: a reply has a histogram in it.
Result<std::unique_ptr<GuestReply>> Rig::ask_guest(const GuestRequest& request) {
  TRY(send(commander_, request));
  auto reply = std::make_unique<GuestReply>();
  TRY(receive_packet(commander_, std::as_writable_bytes(std::span(reply.get(), 1)),
                     kAnswerWithin + std::chrono::milliseconds(request.time_ms)));
  if (reply->answer.failed) return fail(reply->answer.error);
  return reply;
}

Result<void> Rig::verify() {
  TRY(ask_guest({.kind = GuestRequest::Kind::kVerify}));
  return {};
}

Result<RunResult> Rig::run(const Cell& cell, std::chrono::milliseconds time) {
  const GuestRequest request{.kind = GuestRequest::Kind::kRun,
                             .cell = cell,
                             .time_ms = static_cast<std::uint64_t>(time.count())};
  return TRY(ask_guest(request))
  ->run;
}

Result<Exposure> Rig::expose(std::uint64_t request_bytes, bool write) {
  const GuestRequest request{.kind = GuestRequest::Kind::kExpose,
                             .cell = {.request_bytes = request_bytes, .write = write}};
  return TRY(ask_guest(request))
  ->exposure;
}

Result<Seen> Rig::scan() {
  return TRY(ask_guest({.kind = GuestRequest::Kind::kScan}))
  ->seen;
}

Result<std::uint32_t> Rig::reach() {
  return TRY(ask_guest({.kind = GuestRequest::Kind::kReach}))
  ->reached;
}

}  // namespace airlock::compare
