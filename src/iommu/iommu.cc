// SPDX-License-Identifier: Apache-2.0
#include "iommu/iommu.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"
#include "core/range.h"
#include "spec/virtio.h"

namespace airlock::iommu {

namespace {

constexpr std::uint32_t kMapFlags = spec::VIRTIO_IOMMU_MAP_F_READ | spec::VIRTIO_IOMMU_MAP_F_WRITE;

bool allows(const Mapping& mapping, window::Access access) {
  return access == window::Access::kWrite ? mapping.writable : mapping.readable;
}

}  // namespace

Iommu::Iommu(Options options, Enforcer& enforcer)
    : options_(std::move(options)), enforcer_(enforcer), bypass_(options_.bypass) {
  CHECK(airlock_is_power_of_two(options_.granule));
  CHECK(options_.input.first <= options_.input.last);
  CHECK(options_.physical.first <= options_.physical.last);
  CHECK(options_.first_domain <= options_.last_domain);
  for (Endpoint& endpoint : options_.endpoints) {
    const bool added =
        endpoints_.emplace(endpoint.id, State{.reserved = endpoint.reserved, .domain = {}}).second;
    CHECK(added);
  }
}

std::uint64_t Iommu::features() {
  return spec::feature(spec::VIRTIO_IOMMU_F_INPUT_RANGE) |
         spec::feature(spec::VIRTIO_IOMMU_F_DOMAIN_RANGE) |
         spec::feature(spec::VIRTIO_IOMMU_F_MAP_UNMAP) | spec::feature(spec::VIRTIO_IOMMU_F_PROBE) |
         spec::feature(spec::VIRTIO_IOMMU_F_BYPASS_CONFIG);
}

spec::VirtioIommuConfig Iommu::config() const {
  std::size_t reserved_most = 0;
  for (const auto& [id, state] : endpoints_)
    reserved_most = std::max(reserved_most, state.reserved.size());
  spec::VirtioIommuConfig config;
  config.page_size_mask = Le64(options_.granule);
  config.input_range = {.start = Le64(options_.input.first), .end = Le64(options_.input.last)};
  config.domain_range = {.start = Le32(options_.first_domain), .end = Le32(options_.last_domain)};
  config.probe_size =
      Le32(static_cast<std::uint32_t>(reserved_most * sizeof(spec::VirtioIommuProbeResvMem)));
  config.bypass = bypass_ ? 1 : 0;
  return config;
}

Result<void> Iommu::write_bypass(std::uint8_t value) {
  if (value > 1) return fail({.code = Errc::kMalformed, .detail = value});
  if (bypass_ && value == 0) {
    for (const auto& [id, state] : endpoints_) {
      if (!state.domain) TRY(enforcer_.confine(id));
    }
  }
  bypass_ = value == 1;
  return {};
}

Iommu::Domain* Iommu::find_domain(std::uint32_t domain) {
  const auto found = domains_.find(domain);
  return found == domains_.end() ? nullptr : &found->second;
}

// VIRTIO 1.3, 5.13.6.3.2.
std::uint8_t Iommu::check_attach(const Attach& request) const {
  if ((request.flags & ~spec::VIRTIO_IOMMU_ATTACH_F_BYPASS) != 0) return spec::VIRTIO_IOMMU_S_INVAL;
  const auto endpoint = endpoints_.find(request.endpoint);
  if (endpoint == endpoints_.end()) return spec::VIRTIO_IOMMU_S_NOENT;
  if (request.domain < options_.first_domain || request.domain > options_.last_domain) {
    return spec::VIRTIO_IOMMU_S_RANGE;
  }
  const auto found = domains_.find(request.domain);
  if (found == domains_.end()) return spec::VIRTIO_IOMMU_S_OK;
  const Domain& domain = found->second;
  if (domain.bypass != (request.flags != 0)) return spec::VIRTIO_IOMMU_S_INVAL;
  const bool clash = std::ranges::any_of(
      endpoint->second.reserved,
      [&](const AddressRange& reserved) { return domain.mappings.overlaps(reserved); });
  return clash ? spec::VIRTIO_IOMMU_S_UNSUPP : spec::VIRTIO_IOMMU_S_OK;
}

std::uint8_t Iommu::attach(const Attach& request) {
  if (const std::uint8_t status = check_attach(request); status != spec::VIRTIO_IOMMU_S_OK) {
    return status;
  }
  State& state = endpoints_.at(request.endpoint);
  if (state.domain == request.domain) return spec::VIRTIO_IOMMU_S_OK;
  if (!leave(request.endpoint)) return spec::VIRTIO_IOMMU_S_DEVERR;
  const auto [at, made] = domains_.try_emplace(request.domain);
  Domain& domain = at->second;
  if (made) domain.bypass = request.flags != 0;
  if (!enter(request.endpoint, domain)) {
    if (made) domains_.erase(at);
    return spec::VIRTIO_IOMMU_S_DEVERR;
  }
  domain.endpoints.insert(request.endpoint);
  state.domain = request.domain;
  return spec::VIRTIO_IOMMU_S_OK;
}

Result<void> Iommu::enter(std::uint32_t endpoint, const Domain& domain) {
  if (domain.bypass) return {};
  TRY(enforcer_.confine(endpoint));
  const std::vector<Mapping> mappings = domain.mappings.inside(options_.input);
  for (auto mapping = mappings.begin(); mapping != mappings.end(); ++mapping) {
    const auto let = enforcer_.let_at(endpoint, *mapping);
    if (let) continue;
    for (auto back = mappings.begin(); back != mapping; ++back)
      TRY(enforcer_.take_back(endpoint, *back));
    return fail(let.error());
  }
  return {};
}

// A domain that nobody is attached to is no more. 5.13.6.4.
Result<void> Iommu::leave(std::uint32_t endpoint) {
  State& state = endpoints_.at(endpoint);
  if (!state.domain) return {};
  const auto at = domains_.find(*state.domain);
  Domain& domain = at->second;
  for (const Mapping& mapping : domain.mappings.inside(options_.input))
    TRY(enforcer_.take_back(endpoint, mapping));
  domain.endpoints.erase(endpoint);
  if (domain.endpoints.empty()) {
    mappings_ -= domain.mappings.count();
    domains_.erase(at);
  }
  state.domain.reset();
  return {};
}

// VIRTIO 1.3, 5.13.6.4.2.
std::uint8_t Iommu::detach(std::uint32_t domain, std::uint32_t endpoint) {
  const auto found = endpoints_.find(endpoint);
  if (found == endpoints_.end()) return spec::VIRTIO_IOMMU_S_NOENT;
  if (found->second.domain != domain) return spec::VIRTIO_IOMMU_S_INVAL;
  return leave(endpoint) ? spec::VIRTIO_IOMMU_S_OK : spec::VIRTIO_IOMMU_S_DEVERR;
}

bool Iommu::touches_reserved(const Domain& domain, const AddressRange& range) const {
  return std::ranges::any_of(domain.endpoints, [&](std::uint32_t endpoint) {
    return std::ranges::any_of(endpoints_.at(endpoint).reserved, [&](const AddressRange& reserved) {
      return reserved.overlaps(range);
    });
  });
}

// VIRTIO 1.3, 5.13.6.5.2.
std::uint8_t Iommu::check_map(const Map& request, const Domain& domain) const {
  if (domain.bypass || (request.flags & ~kMapFlags) != 0 || request.first > request.last) {
    return spec::VIRTIO_IOMMU_S_INVAL;
  }
  const AddressRange range{.first = request.first, .last = request.last};
  const std::uint64_t length_less_one = range.last - range.first;
  // The last address plus one is a multiple of the granule, and may be 2^64.
  if (!airlock_is_aligned(range.first, options_.granule) ||
      !airlock_is_aligned(range.last + 1, options_.granule) ||
      !airlock_is_aligned(request.physical, options_.granule) || !options_.input.contains(range)) {
    return spec::VIRTIO_IOMMU_S_RANGE;
  }
  if (!options_.physical.contains(request.physical) ||
      length_less_one > options_.physical.last - request.physical) {
    return spec::VIRTIO_IOMMU_S_FAULT;
  }
  if (domain.mappings.overlaps(range) || touches_reserved(domain, range)) {
    return spec::VIRTIO_IOMMU_S_INVAL;
  }
  return mappings_ < options_.mappings_most ? spec::VIRTIO_IOMMU_S_OK : spec::VIRTIO_IOMMU_S_NOMEM;
}

std::uint8_t Iommu::map(const Map& request) {
  Domain* const domain = find_domain(request.domain);
  if (domain == nullptr) return spec::VIRTIO_IOMMU_S_NOENT;
  if (const std::uint8_t status = check_map(request, *domain); status != spec::VIRTIO_IOMMU_S_OK) {
    return status;
  }
  const Mapping mapping{.range = {.first = request.first, .last = request.last},
                        .physical = request.physical,
                        .readable = (request.flags & spec::VIRTIO_IOMMU_MAP_F_READ) != 0,
                        .writable = (request.flags & spec::VIRTIO_IOMMU_MAP_F_WRITE) != 0};
  // In the table first: what can't be taken back from one is not forgotten for another's sake.
  domain->mappings.add(mapping);
  ++mappings_;
  for (auto at = domain->endpoints.begin(); at != domain->endpoints.end(); ++at) {
    if (enforcer_.let_at(*at, mapping)) continue;
    const bool back = std::all_of(domain->endpoints.begin(), at, [&](std::uint32_t endpoint) {
      return enforcer_.take_back(endpoint, mapping).has_value();
    });
    if (back) {
      domain->mappings.remove(mapping.range.first);
      --mappings_;
    }
    return spec::VIRTIO_IOMMU_S_DEVERR;
  }
  return spec::VIRTIO_IOMMU_S_OK;
}

// VIRTIO 1.3, 5.13.6.6.2.
std::uint8_t Iommu::unmap(std::uint32_t domain_id, std::uint64_t first, std::uint64_t last) {
  Domain* const domain = find_domain(domain_id);
  if (domain == nullptr) return spec::VIRTIO_IOMMU_S_NOENT;
  if (domain->bypass || first > last) return spec::VIRTIO_IOMMU_S_INVAL;
  const AddressRange range{.first = first, .last = last};
  if (domain->mappings.splits(range)) return spec::VIRTIO_IOMMU_S_RANGE;
  for (const Mapping& mapping : domain->mappings.inside(range)) {
    for (const std::uint32_t endpoint : domain->endpoints) {
      if (!enforcer_.take_back(endpoint, mapping)) return spec::VIRTIO_IOMMU_S_DEVERR;
    }
    domain->mappings.remove(mapping.range.first);
    --mappings_;
  }
  return spec::VIRTIO_IOMMU_S_OK;
}

const std::vector<AddressRange>* Iommu::reserved(std::uint32_t endpoint) const {
  const auto found = endpoints_.find(endpoint);
  return found == endpoints_.end() ? nullptr : &found->second.reserved;
}

bool Iommu::bypasses(std::uint32_t endpoint) const {
  const auto found = endpoints_.find(endpoint);
  if (found == endpoints_.end()) return false;
  const auto& domain = found->second.domain;
  return domain ? domains_.at(*domain).bypass : bypass_;
}

std::expected<std::vector<AddressRange>, Fault> Iommu::translate(std::uint32_t endpoint,
                                                                 const AddressRange& range,
                                                                 window::Access access) const {
  if (bypasses(endpoint)) return std::vector<AddressRange>{range};
  Fault fault{.reason = spec::VIRTIO_IOMMU_FAULT_R_DOMAIN,
              .access = access,
              .endpoint = endpoint,
              .address = range.first};
  const auto found = endpoints_.find(endpoint);
  if (found == endpoints_.end()) return std::unexpected(fault);
  const std::optional<std::uint32_t>& domain = found->second.domain;
  if (!domain) return std::unexpected(fault);
  const MappingTable& mappings = domains_.at(*domain).mappings;
  fault.reason = spec::VIRTIO_IOMMU_FAULT_R_MAPPING;
  std::vector<AddressRange> physical;
  for (;;) {
    const Mapping* const mapping = mappings.find(fault.address);
    if (mapping == nullptr || !allows(*mapping, access)) return std::unexpected(fault);
    const std::uint64_t last = std::min(range.last, mapping->range.last);
    const std::uint64_t base = mapping->physical - mapping->range.first;
    physical.push_back({.first = base + fault.address, .last = base + last});
    if (last == range.last) return physical;
    fault.address = last + 1;
  }
}

}  // namespace airlock::iommu
