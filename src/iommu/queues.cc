// SPDX-License-Identifier: Apache-2.0
#include "iommu/queues.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>

namespace airlock::iommu {

namespace {

constexpr std::uint32_t kTailBytes = sizeof(spec::VirtioIommuReqTail);

/// A private copy of a request of this type; nothing where the driver sent more or less. Of which
/// type it is was decided by then: the copy's own head is not looked at.
template <class T>
std::optional<T> request_of(const ring::Chain& chain) {
  if (chain.readable_bytes() != sizeof(T)) return std::nullopt;
  const auto copy = chain.read<T>(0);
  return copy ? std::optional(*copy) : std::nullopt;
}

std::uint8_t answer_attach(Iommu& iommu, const ring::Chain& chain) {
  const auto request = request_of<spec::VirtioIommuReqAttach>(chain);
  if (!request || request->reserved.get() != 0) return spec::VIRTIO_IOMMU_S_INVAL;
  return iommu.attach({.domain = request->domain.get(),
                       .endpoint = request->endpoint.get(),
                       .flags = request->flags.get()});
}

std::uint8_t answer_detach(Iommu& iommu, const ring::Chain& chain) {
  const auto request = request_of<spec::VirtioIommuReqDetach>(chain);
  if (!request) return spec::VIRTIO_IOMMU_S_INVAL;
  return iommu.detach(request->domain.get(), request->endpoint.get());
}

std::uint8_t answer_map(Iommu& iommu, const ring::Chain& chain) {
  const auto request = request_of<spec::VirtioIommuReqMap>(chain);
  if (!request) return spec::VIRTIO_IOMMU_S_INVAL;
  return iommu.map({.domain = request->domain.get(),
                    .first = request->virt_start.get(),
                    .last = request->virt_end.get(),
                    .physical = request->phys_start.get(),
                    .flags = request->flags.get()});
}

std::uint8_t answer_unmap(Iommu& iommu, const ring::Chain& chain) {
  const auto request = request_of<spec::VirtioIommuReqUnmap>(chain);
  if (!request || request->reserved.get() != 0) return spec::VIRTIO_IOMMU_S_INVAL;
  return iommu.unmap(request->domain.get(), request->virt_start.get(), request->virt_end.get());
}

/// The properties of an endpoint, if there is room for all that there could be.
/// VIRTIO 1.3, 5.13.6.7.2, 5.13.6.8.1.2.
std::uint8_t answer_probe(const Iommu& iommu, const ring::Chain& chain,
                          std::span<std::byte> properties) {
  const auto request = request_of<spec::VirtioIommuReqProbe>(chain);
  if (!request || properties.size() < iommu.config().probe_size.get()) {
    return spec::VIRTIO_IOMMU_S_INVAL;
  }
  const std::vector<AddressRange>* const reserved = iommu.reserved(request->endpoint.get());
  if (reserved == nullptr) return spec::VIRTIO_IOMMU_S_NOENT;
  for (const AddressRange& range : *reserved) {
    spec::VirtioIommuProbeResvMem property;
    property.head.type = Le16(spec::VIRTIO_IOMMU_PROBE_T_RESV_MEM);
    property.head.length = Le16(sizeof property - sizeof property.head);
    property.subtype = spec::VIRTIO_IOMMU_RESV_MEM_T_RESERVED;
    property.start = Le64(range.first);
    property.end = Le64(range.last);
    std::memcpy(properties.data(), &property, sizeof property);
    properties = properties.subspan(sizeof property);
  }
  return spec::VIRTIO_IOMMU_S_OK;
}

std::optional<std::uint8_t> answer_other(Iommu& iommu, std::uint8_t type,
                                         const ring::Chain& chain) {
  switch (type) {
    case spec::VIRTIO_IOMMU_T_ATTACH:
      return answer_attach(iommu, chain);
    case spec::VIRTIO_IOMMU_T_DETACH:
      return answer_detach(iommu, chain);
    case spec::VIRTIO_IOMMU_T_MAP:
      return answer_map(iommu, chain);
    case spec::VIRTIO_IOMMU_T_UNMAP:
      return answer_unmap(iommu, chain);
    default:
      return std::nullopt;
  }
}

spec::VirtioIommuFault written_form(const Fault& fault) {
  spec::VirtioIommuFault written;
  written.reason = fault.reason;
  written.flags = Le32(spec::VIRTIO_IOMMU_FAULT_F_ADDRESS |
                       (fault.access == window::Access::kWrite ? spec::VIRTIO_IOMMU_FAULT_F_WRITE
                                                               : spec::VIRTIO_IOMMU_FAULT_F_READ));
  written.endpoint = Le32(fault.endpoint);
  written.address = Le64(fault.address);
  return written;
}

}  // namespace

std::uint32_t answer_request(Iommu& iommu, const ring::Chain& chain) {
  if (chain.writable_bytes() < kTailBytes) return 0;
  const auto head = chain.read<spec::VirtioIommuReqHead>(0);
  if (!head) return 0;
  const bool probe = head->type == spec::VIRTIO_IOMMU_T_PROBE;
  // What a driver leaves room for beyond what there can be is not ours to fill.
  std::vector<std::byte> properties(
      probe ? std::min(chain.writable_bytes() - kTailBytes, iommu.config().probe_size.get()) : 0);
  std::optional<std::uint8_t> status;
  if (probe) {
    status = answer_probe(iommu, chain, properties);
  } else {
    status = answer_other(iommu, head->type, chain);
  }
  if (!status) return 0;
  spec::VirtioIommuReqTail tail;
  tail.status = *status;
  const auto at = static_cast<std::uint32_t>(properties.size());
  const bool written = chain.write(0, properties).has_value() &&
                       chain.write(at, std::as_bytes(std::span(&tail, 1))).has_value();
  return written ? at + kTailBytes : 0;
}

Result<bool> RequestQueue::serve() {
  bool any = false;
  while (const auto head = TRY(queue_.pop(chain_))) {
    TRY(queue_.push_used(*head, answer_request(iommu_, chain_)));
    any = true;
  }
  if (!any) return false;
  queue_.publish();
  return queue_.driver_wants_interrupt();
}

// A buffer that is too small for a report is given back without one. 5.13.6.9.2.
Result<bool> EventQueue::report(const Fault& fault) {
  const auto head = TRY(queue_.pop(chain_));
  if (!head) {
    ++dropped_;
    return false;
  }
  const spec::VirtioIommuFault written = written_form(fault);
  const bool fits = chain_.write(0, std::as_bytes(std::span(&written, 1))).has_value();
  if (!fits) ++dropped_;
  TRY(queue_.push_used(*head, fits ? std::uint32_t{sizeof written} : 0));
  queue_.publish();
  return queue_.driver_wants_interrupt();
}

}  // namespace airlock::iommu
