// SPDX-License-Identifier: Apache-2.0
#include "compare/device_process.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <utility>

#include "compare/gated_task.h"
#include "compare/reach.h"
#include "compare/rig_device.h"
#include "device/queue_worker.h"
#include "sandbox/sandbox.h"
#include "spec/virtio.h"
#include "spec/virtio_ring.h"

#if defined(__SANITIZE_THREAD__)
// A buffer is used by one queue and then by another, in an order that the driver keeps: in another
// process, where ThreadSanitizer does not see it. It asks for what to be silent about.
extern "C" [[gnu::used]] const char*
// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming): its name
__tsan_default_suppressions() {
  return "race:src/shm/shared_bytes.cc\n";
}
#endif

namespace airlock::compare {

namespace {

constexpr std::uint64_t kOffered =
    spec::feature(spec::VIRTIO_F_VERSION_1) | spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM);
// Of each queue, before the memory among the descriptors of a start.
constexpr std::size_t kBellFds = 2;

/// A queue that is served, and who wakes whom.
struct ServedQueue {
  QueueStart start;
  EventFd notify;
  EventFd interrupt;
  std::unique_ptr<device::QueueWorker> worker;  // last: it uses the others
};

class DeviceProcess {
 public:
  DeviceProcess(Fd guest, const Model& model, Sight sight, RigDevice device, std::uint64_t offered)
      : guest_(std::move(guest)),
        model_(model),
        sight_(std::move(sight)),
        device_(std::move(device)),
        offered_(offered) {}

  Result<void> run();

 private:
  Result<void> answer(const DeviceRequest& request, std::vector<Fd> fds, DeviceReply& reply);
  Result<void> start(const DeviceRequest& request, std::vector<Fd> fds);
  Result<void> serve(std::uint16_t index, ServedQueue& queue);
  Result<void> await_request() const;
  [[nodiscard]] std::span<const ServedQueue> served() const {
    return std::span(queues_).first(count_);
  }
  [[nodiscard]] Result<std::uint16_t> available() const;
  Result<Seen> look(const DeviceRequest& request);

  Fd guest_;
  const Model& model_;
  Sight sight_;
  RigDevice device_;
  std::uint64_t offered_;
  std::vector<Grant> grants_;
  std::unique_ptr<DeviceView> view_;
  std::atomic<bool> shut_{false};
  std::uint16_t available_when_shut_ = 0;
  std::array<ServedQueue, kQueuesMost> queues_;  // last: their workers use all of the others
  std::size_t count_ = 0;                        // of them: the first ones
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
      if (served().empty()) return fail(Errc::kWrongState);
      shut_ = false;
      for (const ServedQueue& queue : served())
        queue.worker->notify();
      return {};
    case Kind::kLook:
      reply.seen = TRY(look(request));
      return {};
    case Kind::kUsage:
      reply.usage = {.cpu_ns = TRY(own_cpu_ns()), .copied_bytes = device_.copied_bytes() };
      return {};
    case Kind::kReach:
      reply.reached = try_to_reach(request.pid);
      return {};
  }
  return fail({.code = Errc::kUnsupported, .detail = std::to_underlying(request.kind)});
}

Result<void> DeviceProcess::start(const DeviceRequest& request, std::vector<Fd> fds) {
  const std::size_t bells = kBellFds * std::min<std::size_t>(request.queues, kQueuesMost);
  if (view_ || request.queues == 0 || request.queues > kQueuesMost ||
      request.grants >= DeviceRequest::kGrantsMost || fds.size() < bells ||
      fds.size() - bells < request.grants) {
    return fail(Errc::kMalformed);
  }
  for (std::size_t i = bells; i < fds.size(); ++i) {
    const std::size_t grant = i - bells;
    const GrantShape shape = grant < request.grants ? request.grant.at(grant) : GrantShape();
    grants_.push_back({.shape = shape, .memory = std::move(fds[i])});
  }
  view_ = TRY(model_.view(std::span(grants_).first(request.grants)));
  for (std::size_t i = 0; i < request.queues; ++i) {
    ServedQueue& queue = queues_.at(i);
    queue.start = request.queue.at(i);
    queue.notify = TRY(EventFd::adopt(std::move(fds[kBellFds * i])));
    queue.interrupt = TRY(EventFd::adopt(std::move(fds[kBellFds * i + 1])));
    TRY(serve(static_cast<std::uint16_t>(i), queue));
    ++count_;
  }
  return {};
}

Result<void> DeviceProcess::serve(std::uint16_t index, ServedQueue& queue) {
  device::QueueContext context;
  context.negotiated.features = queue.start.features & offered_;
  context.negotiated.reach = view_->window().reach();
  context.setup = {.index = index,
                   .size = queue.start.size,
                   .descriptor_area = queue.start.areas.descriptors,
                   .driver_area = queue.start.areas.driver,
                   .device_area = queue.start.areas.device,
                   .secret = queue.start.keys.secret()};
  context.window = &view_->window();
  context.interrupt = [&queue] { queue.interrupt.signal(); };
  auto task = std::make_unique<GatedTask>(TRY(device_.type->make_queue(context)), shut_);
  device::QueueWorker::Options options;
  options.queue = index;
  options.doorbell = &queue.notify;
  queue.worker = TRY(device::QueueWorker::start(std::move(task), std::move(options)));
  return {};
}

// How many requests the driver has made available in all queues, modulo 2^16.
Result<std::uint16_t> DeviceProcess::available() const {
  if (served().empty()) return fail(Errc::kWrongState);
  std::uint16_t sum = 0;
  for (const ServedQueue& queue : served()) {
    const window::SharedSpan header = TRY(view_->window().translate(
        queue.start.areas.driver, sizeof(spec::VirtqAvailHeader), window::Access::kRead));
    sum = static_cast<std::uint16_t>(sum + header.snapshot<spec::VirtqAvailHeader>(0).idx.get());
  }
  return sum;
}

// Of queues whose gate is shut. Nobody else runs here meanwhile but the workers, asleep soon.
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

Result<void> run_device(Fd guest, const Model& model, const Controls& controls, Traffic traffic) {
  RigDevice device = TRY(make_rig_device(traffic));
  Sight sight = TRY(Sight::open());
  const auto report = sandbox::enter(sandbox::kDeviceProfile);
  // Whatever else this machine lacks, the device is not to read other processes' memory.
  if (!report.has(sandbox::Measure::kNotDumpable)) return fail(Errc::kUnsupported);
  std::uint64_t offered = kOffered;
  if (controls.without_platform) offered &= ~spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM);
  return DeviceProcess(std::move(guest), model, std::move(sight), std::move(device), offered).run();
}

}  // namespace airlock::compare
