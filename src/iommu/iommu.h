// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/result.h"
#include "iommu/mapping_table.h"
#include "spec/virtio_iommu.h"
#include "window/address.h"

namespace airlock::iommu {

/// Who makes it true: told of every change of what an endpoint can get at, before the driver is
/// told that it is done. On an error nothing was changed.
class Enforcer {
 public:
  Enforcer() = default;
  virtual ~Enforcer() = default;
  Enforcer(const Enforcer&) = delete;
  Enforcer& operator=(const Enforcer&) = delete;

  /// Whatever it could get at before, mappings alone are what the endpoint gets at from now on.
  virtual Result<void> confine(std::uint32_t endpoint) = 0;
  virtual Result<void> let_at(std::uint32_t endpoint, const Mapping& mapping) = 0;
  /// When it returns, no access of the endpoint's by this mapping is under way, or can be again.
  virtual Result<void> take_back(std::uint32_t endpoint, const Mapping& mapping) = 0;
};

/// An access that was refused: a virtio_iommu_fault before it is written. VIRTIO 1.3, 5.13.6.9.
struct Fault {
  std::uint8_t reason = spec::VIRTIO_IOMMU_FAULT_R_UNKNOWN;
  window::Access access = window::Access::kRead;
  std::uint32_t endpoint = 0;
  std::uint64_t address = 0;  // the first that can't be got at

  friend bool operator==(const Fault&, const Fault&) = default;
};

/// Domains, the endpoints attached to them, and what is mapped: a virtio-iommu without its queues.
/// For a part that its guest trusts. Every value comes from a driver: each is checked here, and
/// nowhere else; what a method returns is the status of its request (VIRTIO_IOMMU_S_*). A request
/// that is refused changed nothing, unless the enforcer failed (DEVERR): an ATTACH may have
/// detached by then, an UNMAP removed some of its mappings.
///
/// Endpoints share domains, or have some of their own; domains are there while somebody is attached
/// to them. Offers INPUT_RANGE, DOMAIN_RANGE, MAP_UNMAP, PROBE and BYPASS_CONFIG. One thread.
/// SYS-6; VIRTIO 1.3, 5.13.
class Iommu {
 public:
  struct Endpoint {
    std::uint32_t id = 0;
    std::vector<AddressRange> reserved;  // that can't be mapped; none overlaps another
  };
  struct Options {
    std::uint64_t granule = 4096;  // bytes, a power of two
    AddressRange input{};          // what can be mapped
    AddressRange physical{};       // where the guest's memory is
    std::uint32_t first_domain = 0;
    std::uint32_t last_domain = 0xffff;
    std::size_t mappings_most = std::size_t{1} << 16;  // of all domains
    bool bypass = false;                               // at first: 5.13.4.2
    std::vector<Endpoint> endpoints;
  };
  struct Attach {
    std::uint32_t domain = 0;
    std::uint32_t endpoint = 0;
    std::uint32_t flags = 0;
  };
  struct Map {
    std::uint32_t domain = 0;
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    std::uint64_t physical = 0;
    std::uint32_t flags = 0;
  };

  /// `enforcer` outlives it. CHECK: the options make sense.
  Iommu(Options options, Enforcer& enforcer);

  [[nodiscard]] static std::uint64_t features();
  [[nodiscard]] spec::VirtioIommuConfig config() const;
  /// The driver writes field `bypass`. Errors: kMalformed (neither 0 nor 1: 5.13.4.1), the
  /// enforcer's; then it is as it was.
  Result<void> write_bypass(std::uint8_t value);

  // 5.13.6.3 to 5.13.6.6.
  [[nodiscard]] std::uint8_t attach(const Attach& request);
  [[nodiscard]] std::uint8_t detach(std::uint32_t domain, std::uint32_t endpoint);
  [[nodiscard]] std::uint8_t map(const Map& request);
  [[nodiscard]] std::uint8_t unmap(std::uint32_t domain, std::uint64_t first, std::uint64_t last);
  /// What can't be mapped for an endpoint; null: there is no such endpoint.
  [[nodiscard]] const std::vector<AddressRange>* reserved(std::uint32_t endpoint) const;

  /// Whether all memory is the endpoint's to get at, by its own addresses. 5.13.6.
  [[nodiscard]] bool bypasses(std::uint32_t endpoint) const;
  /// Which physical addresses an access of an endpoint goes to, in order, over the edges of
  /// mappings. All of it is allowed, or nothing. 5.13.6.5.2.
  [[nodiscard]] std::expected<std::vector<AddressRange>, Fault> translate(
      std::uint32_t endpoint, const AddressRange& range, window::Access access) const;
  [[nodiscard]] std::size_t mappings() const { return mappings_; }

 private:
  struct Domain {
    bool bypass = false;
    std::set<std::uint32_t> endpoints;
    MappingTable mappings;
  };
  struct State {
    std::vector<AddressRange> reserved;
    std::optional<std::uint32_t> domain;
  };

  [[nodiscard]] Domain* find_domain(std::uint32_t domain);
  [[nodiscard]] std::uint8_t check_attach(const Attach& request) const;
  [[nodiscard]] std::uint8_t check_map(const Map& request, const Domain& domain) const;
  [[nodiscard]] bool touches_reserved(const Domain& domain, const AddressRange& range) const;
  Result<void> leave(std::uint32_t endpoint);
  Result<void> enter(std::uint32_t endpoint, const Domain& domain);

  Options options_;
  Enforcer& enforcer_;
  bool bypass_;
  std::size_t mappings_ = 0;
  std::map<std::uint32_t, State> endpoints_;
  std::map<std::uint32_t, Domain> domains_;
};

}  // namespace airlock::iommu
