// SPDX-License-Identifier: Apache-2.0
#include "compare/device_process.h"

#include <sched.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <utility>

#include "backend/memory_backend.h"
#include "compare/gated_task.h"
#include "compare/reach.h"
#include "device/blk/blk_device.h"
#include "device/queue_worker.h"
#include "sandbox/sandbox.h"
#include "spec/virtio.h"
#include "spec/virtio_ring.h"

namespace airlock::compare {

namespace {

constexpr std::uint64_t kOffered =
    spec::feature(spec::VIRTIO_F_VERSION_1) | spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM);
// Before the memory among the descriptors of a start.
constexpr std::size_t kBellFds = 2;

class DeviceProcess {
 public:
  DeviceProcess(Fd guest, const Model& model, Sight sight, std::unique_ptr<device::BlkDevice> disk,
                std::uint64_t offered)
      : guest_(std::move(guest)),
        model_(model),
        sight_(std::move(sight)),
        disk_(std::move(disk)),
        offered_(offered) {}

  Result<void> run();

 private:
  Result<void> answer(const DeviceRequest& request, std::vector<Fd> fds, DeviceReply& reply);
  Result<void> start(const DeviceRequest& request, std::vector<Fd> fds);
  Result<void> await_request() const;
  [[nodiscard]] Result<std::uint16_t> available() const;
  Result<Seen> look(const DeviceRequest& request);

  Fd guest_;
  const Model& model_;
  Sight sight_;
  std::unique_ptr<device::BlkDevice> disk_;
  std::uint64_t offered_;
  std::vector<Grant> grants_;
  std::unique_ptr<DeviceView> view_;
  QueueStart queue_;
  EventFd notify_;
  EventFd interrupt_;
  std::atomic<bool> shut_{false};
  std::uint16_t available_when_shut_ = 0;
  std::unique_ptr<device::QueueWorker> worker_;  // last: it uses all of the others
};

Result<void> DeviceProcess::run() {
  for (;;) {
    auto received = receive<DeviceRequest>(guest_, kForEver);
    if (!received) {
      if (received.error().code == Errc::kPeerClosed) return {};
      return fail(received.error());
    }
    DeviceReply reply;
    reply.answer = Answer::of(answer(received->message, std::move(received->fds), reply));
    TRY(send(guest_, reply));
  }
}

Result<void> DeviceProcess::answer(const DeviceRequest& request, std::vector<Fd> fds,
                                   DeviceReply& reply) {
  using Kind = DeviceRequest::Kind;
  switch (request.kind) {
    case Kind::kOffer:
      reply.features = offered_;
      return {};
    case Kind::kStart:
      return start(request, std::move(fds));
    case Kind::kHold:
      available_when_shut_ = TRY(available());
      shut_ = true;
      return {};
    case Kind::kRelease:
      if (!worker_) return fail(Errc::kWrongState);
      shut_ = false;
      worker_->notify();
      return {};
    case Kind::kLook:
      reply.seen = TRY(look(request));
      return {};
    case Kind::kUsage:
      reply.usage = {.cpu_ns = TRY(own_cpu_ns()), .copied_bytes = disk_->copied_bytes() };
      return {};
    case Kind::kReach:
      reply.reached = try_to_reach(request.pid);
      return {};
  }
  return fail({.code = Errc::kUnsupported, .detail = std::to_underlying(request.kind)});
}

Result<void> DeviceProcess::start(const DeviceRequest& request, std::vector<Fd> fds) {
  if (worker_ || request.grants >= DeviceRequest::kGrantsMost || fds.size() < kBellFds ||
      fds.size() - kBellFds < request.grants) {
    return fail(Errc::kMalformed);
  }
  notify_ = TRY(EventFd::adopt(std::move(fds[0])));
  interrupt_ = TRY(EventFd::adopt(std::move(fds[1])));
  for (std::size_t i = kBellFds; i < fds.size(); ++i) {
    const std::size_t grant = i - kBellFds;
    const GrantShape shape = grant < request.grants ? request.grant.at(grant) : GrantShape();
    grants_.push_back({.shape = shape, .memory = std::move(fds[i])});
  }
  view_ = TRY(model_.view(std::span(grants_).first(request.grants)));
  queue_ = request.queue;
  device::QueueContext context;
  context.negotiated.features = queue_.features & offered_;
  context.negotiated.reach = view_->window().reach();
  context.setup = {.index = 0,
                   .size = queue_.size,
                   .descriptor_area = queue_.areas.descriptors,
                   .driver_area = queue_.areas.driver,
                   .device_area = queue_.areas.device,
                   .secret = queue_.keys.secret()};
  context.window = &view_->window();
  context.interrupt = [this] { interrupt_.signal(); };
  auto task = std::make_unique<GatedTask>(TRY(disk_->make_queue(context)), shut_);
  device::QueueWorker::Options options;
  options.doorbell = &notify_;
  worker_ = TRY(device::QueueWorker::start(std::move(task), std::move(options)));
  return {};
}

// How many requests the driver has made available, modulo 2^16.
Result<std::uint16_t> DeviceProcess::available() const {
  if (!view_) return fail(Errc::kWrongState);
  const window::SharedSpan header = TRY(view_->window().translate(
      queue_.areas.driver, sizeof(spec::VirtqAvailHeader), window::Access::kRead));
  return header.snapshot<spec::VirtqAvailHeader>(0).idx.get();
}

// Of a queue whose gate is shut. Nobody else runs here meanwhile but the worker, asleep soon.
Result<void> DeviceProcess::await_request() const {
  const auto end = std::chrono::steady_clock::now() + kAnswerWithin / 2;
  while (TRY(available()) == available_when_shut_) {
    if (std::chrono::steady_clock::now() >= end) return fail(Errc::kTimeout);
    ::sched_yield();
  }
  return {};
}

Result<Seen> DeviceProcess::look(const DeviceRequest& request) {
  if (request.after_request) TRY(await_request());
  std::vector<Fd> files;
  files.reserve(grants_.size());
  for (const Grant& grant : grants_)
    files.push_back(TRY(grant.memory.duplicate()));
  return sight_.look(request.look, files);
}

}  // namespace

Result<void> run_device(Fd guest, const Model& model, const Controls& controls) {
  auto backend = backend::open_memory(kDiskBytes, false);
  if (!backend) return fail(system_error(ENOMEM));
  device::BlkDevice::Options options;
  options.backend = std::move(*backend);
  options.ring_features = 0;
  auto disk = TRY(device::BlkDevice::create(std::move(options)));
  Sight sight = TRY(Sight::open());
  const auto report = sandbox::enter(sandbox::kDeviceProfile);
  // Whatever else this machine lacks, the device is not to read other processes' memory.
  if (!report.has(sandbox::Measure::kNotDumpable)) return fail(Errc::kUnsupported);
  std::uint64_t offered = kOffered;
  if (controls.without_platform) offered &= ~spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM);
  return DeviceProcess(std::move(guest), model, std::move(sight), std::move(disk), offered).run();
}

}  // namespace airlock::compare
