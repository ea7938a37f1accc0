// SPDX-License-Identifier: Apache-2.0
//
// What an IOMMU is in hardware, for one endpoint: its device has a file of all addresses that can
// be mapped, all holes. A page of the guest's is mapped by moving its content there, and unmapped
// by moving back what the device changed of it and punching the hole anew, which takes it out of
// every mapping of the file, whoever holds on to one: a translation that a device remembers is
// stale then. What is moved stands in for the change of a page table, and is counted apart.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "compare/private_memory.h"
#include "iommu/iommu.h"

namespace airlock::compare {

/// One endpoint's addresses. Offsets are from the first that can be mapped, in bytes; lengths whole
/// pages. One thread.
class EndpointMemory {
 public:
  /// Errors: those of SealedMemfd.
  static Result<std::unique_ptr<EndpointMemory>> create(std::uint64_t bytes);

  [[nodiscard]] const shm::SealedMemfd& file() const { return file_; }

  /// Shows the device `memory` at `offset`.
  void show(std::uint64_t offset, std::span<const std::byte> memory);
  /// Takes out what is shown there. True if the device had changed it. With `memory` its changes go
  /// there, and nothing else does: what the guest wrote beside them meanwhile stays. Errors:
  /// kSystem.
  Result<bool> hide(std::uint64_t offset, std::uint64_t length, std::span<std::byte> memory);

  /// A part of the file that is there, from `offset` on: what is shown, or what a device made by
  /// looking or writing where nothing is. Empty at the end. Errors: kSystem.
  struct Present {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  [[nodiscard]] Result<Present> present(std::uint64_t offset) const;
  /// Whether all of it is zero.
  [[nodiscard]] bool blank(const Present& part) const;
  /// Errors: kSystem.
  Result<void> punch(const Present& part) const;

 private:
  shm::SealedMemfd file_;
  shm::Mapping mapping_;
  shm::SealedMemfd shown_file_;  // as the device found it: nobody else's
  shm::Mapping shown_;
};

/// What of the guest's memory each endpoint has.
class ViommuEnforcer final : public iommu::Enforcer {
 public:
  /// `own` outlives it. With `keep_shared` it takes nothing back: a control.
  ViommuEnforcer(const PrivateMemory& own, bool keep_shared) : own_(own), keep_(keep_shared) {}

  /// Errors: those of EndpointMemory.
  Result<void> add(std::uint32_t endpoint);
  /// Null: there is no such endpoint.
  [[nodiscard]] const EndpointMemory* find(std::uint32_t endpoint) const;
  /// A device was given all of the guest's memory: that can't be undone.
  void gave_everything(std::uint32_t endpoint) { has_everything_.insert(endpoint); }

  Result<void> confine(std::uint32_t endpoint) override;
  Result<void> let_at(std::uint32_t endpoint, const iommu::Mapping& mapping) override;
  Result<void> take_back(std::uint32_t endpoint, const iommu::Mapping& mapping) override;

  /// Accesses since the last time that no mapping in `iommu` allowed: one for each stretch of pages
  /// that was read or written, and one for each mapping that was written though it may be read
  /// only. Hardware would have said so at once. Errors: kSystem.
  Result<std::vector<iommu::Fault>> take_faults(const iommu::Iommu& iommu);

  [[nodiscard]] std::uint64_t moved_bytes() const { return moved_bytes_; }
  [[nodiscard]] std::uint64_t pages_most() const { return pages_most_; }

 private:
  Result<void> find_strays(const iommu::Iommu& iommu, std::uint32_t endpoint);

  const PrivateMemory& own_;
  bool keep_;
  std::map<std::uint32_t, std::unique_ptr<EndpointMemory>> endpoints_;
  std::set<std::uint32_t> has_everything_;
  std::vector<iommu::Fault> faults_;
  std::uint64_t moved_bytes_ = 0;
  std::uint64_t pages_ = 0;
  std::uint64_t pages_most_ = 0;
};

}  // namespace airlock::compare
