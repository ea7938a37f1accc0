// SPDX-License-Identifier: Apache-2.0
//
// The trusted part of viommu: the guest's memory is its, and the IOMMU in front of that. The
// guest's requests come by a virtqueue in that memory; a message says that there are some, as a
// trapped write to a notify register would, and is answered when they are.
#include <array>
#include <memory>
#include <optional>
#include <utility>

#include "compare/models/viommu.h"
#include "compare/models/viommu_enforcer.h"
#include "iommu/queues.h"

namespace airlock::compare {

namespace {

constexpr std::uint64_t kGuestPagesMost = std::uint64_t{1} << 20;

class ViommuHost {
 public:
  explicit ViommuHost(bool keep_shared) : enforcer_(own_, keep_shared) {}

  /// What it answers; a descriptor that goes with it, or -1.
  struct Given {
    int fd = -1;
  };
  Result<Given> answer(const ViommuRequest& request, ViommuReply& reply);

 private:
  Result<Given> start(std::uint64_t bytes);
  Result<void> start_queues(const ViommuRequest& request);
  Result<Given> let_at(std::uint32_t endpoint, ViommuReply& reply);
  Result<void> report_faults();
  void count(ViommuReply& reply) const;

  PrivateMemory own_;
  ViommuEnforcer enforcer_;
  std::unique_ptr<iommu::Iommu> iommu_;
  std::unique_ptr<window::Window> window_;  // onto the guest's memory
  std::optional<iommu::RequestQueue> requests_;
  std::optional<iommu::EventQueue> events_;
};

Result<ViommuHost::Given> ViommuHost::start(std::uint64_t bytes) {
  if (iommu_ || bytes / kPageBytes > kGuestPagesMost) return fail(Errc::kOutOfRange);
  own_ = TRY(PrivateMemory::create(bytes));
  window_ = std::make_unique<window::Window>(own_.bytes());
  window_->configure(window::AddressMode::kBus, window::Reach::kRegion);
  window_->set_region_bus_base(kPrivateBase);
  constexpr std::uint64_t kIoFirst = std::to_underlying(kIoBase);
  constexpr std::uint64_t kPhysicalFirst = std::to_underlying(kPrivateBase);
  iommu::Iommu::Options options{
      .granule = kPageBytes,
      .input = {.first = kIoFirst, .last = kIoFirst + kIoBytes - 1},
      .physical = {.first = kPhysicalFirst, .last = kPhysicalFirst + bytes - 1},
      .endpoints = {{.id = kDiskEndpoint, .reserved = {}}, {.id = kOtherEndpoint, .reserved = {}}}};
  for (const iommu::Iommu::Endpoint& endpoint : options.endpoints)
    TRY(enforcer_.add(endpoint.id));
  iommu_ = std::make_unique<iommu::Iommu>(std::move(options), enforcer_);
  return Given{.fd = own_.fd().get()};
}

Result<void> ViommuHost::start_queues(const ViommuRequest& request) {
  const ring::QueueSize size = TRY(ring::QueueSize::from(request.queue_size));
  auto requests = TRY(ring::DeviceQueue::create(
      {.queue = spec::VIRTIO_IOMMU_QUEUE_REQUEST, .size = size, .areas = request.requests},
      *window_));
  auto events = TRY(ring::DeviceQueue::create(
      {.queue = spec::VIRTIO_IOMMU_QUEUE_EVENT, .size = size, .areas = request.events}, *window_));
  requests_.emplace(*iommu_, std::move(requests));
  events_.emplace(std::move(events));
  return {};
}

// Whoever bypasses has all memory. No IOMMU but this one is known here: of others' endpoints it
// says nothing.
Result<ViommuHost::Given> ViommuHost::let_at(std::uint32_t endpoint, ViommuReply& reply) {
  const EndpointMemory* const memory = enforcer_.find(endpoint);
  if (memory == nullptr) return fail({.code = Errc::kBadHandle, .detail = endpoint});
  if (iommu_->bypasses(endpoint)) {
    enforcer_.gave_everything(endpoint);
    reply.grant = {.size = own_.size(), .address = kPrivateBase};
    return Given{.fd = own_.fd().get()};
  }
  reply.grant = {.size = memory->file().size(), .address = kIoBase};
  return Given{.fd = memory->file().fd().get()};
}

Result<void> ViommuHost::report_faults() {
  const std::vector<iommu::Fault> faults = TRY(enforcer_.take_faults(*iommu_));
  if (!events_) return {};
  // Nobody waits for an interrupt: the driver looks at its queue when it asks for counts.
  for (const iommu::Fault& fault : faults)
    TRY(events_->report(fault));
  return {};
}

void ViommuHost::count(ViommuReply& reply) const {
  reply.counts.stand_in_bytes = enforcer_.moved_bytes();
  reply.pages_most = enforcer_.pages_most();
}

Result<ViommuHost::Given> ViommuHost::answer(const ViommuRequest& request, ViommuReply& reply) {
  using Kind = ViommuRequest::Kind;
  if (request.kind == Kind::kStart) return start(request.bytes);
  if (!iommu_) return fail(Errc::kWrongState);
  switch (request.kind) {
    case Kind::kQueues:
      TRY(start_queues(request));
      return Given{};
    case Kind::kConfig:
      reply.features = iommu::Iommu::features();
      reply.config = iommu_->config();
      return Given{};
    case Kind::kWriteBypass:
      TRY(iommu_->write_bypass(request.bypass));
      return Given{};
    case Kind::kNotify:
      if (!requests_) return fail(Errc::kWrongState);
      TRY(requests_->serve());
      return Given{};
    case Kind::kLetAt:
      return let_at(request.endpoint, reply);
    case Kind::kCounts:
      TRY(report_faults());
      count(reply);
      reply.counts.cpu_ns = TRY(own_cpu_ns());
      return Given{};
    case Kind::kStart:
      break;
  }
  return fail({.code = Errc::kUnsupported, .detail = std::to_underlying(request.kind)});
}

}  // namespace

Result<void> serve_viommu(const Fd& guest, const Controls& controls) {
  ViommuHost host(controls.keep_shared);
  for (;;) {
    const auto received = TRY(receive<ViommuRequest>(guest, kForEver));
    ViommuReply reply;
    const auto given = host.answer(received.message, reply);
    if (!given) {
      reply.answer = {.failed = true, .error = given.error()};
      TRY(send(guest, reply));
      continue;
    }
    const std::array fds{given->fd};
    TRY(send(guest, reply, std::span(fds).first(given->fd < 0 ? 0 : 1)));
  }
}

}  // namespace airlock::compare
