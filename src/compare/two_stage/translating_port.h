// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "compare/two_stage/page_table.h"

namespace airlock::compare {

/// A transaction that was not let through.
struct TranslationFault {
  std::uint64_t address = 0;  // as the device said it (IOVA)
  unsigned stage = 1;         // which table refused it
  bool write = false;

  friend bool operator==(const TranslationFault&, const TranslationFault&) = default;
};

/// One device's way to memory: stage 1, which the guest owns, says where an address of the device's
/// is in the guest's memory; stage 2, which the hypervisor owns, where that is in the machine's.
/// What both allow is allowed.
///
/// What was found is kept (a TLB) until somebody says that it is no longer so: a table that changes
/// says nothing. One thread; the tables may change meanwhile.
class TranslatingPort {
 public:
  TranslatingPort(const PageTable& guest, const PageTable& hypervisor,
                  const shm::SharedBytes& memory)
      : guest_(guest), hypervisor_(hypervisor), memory_(memory) {}

  /// A word of the memory, at a multiple of its size. Errors: kAddressOutside, which is recorded as
  /// a fault.
  Result<std::uint64_t> read(std::uint64_t address);
  Result<void> write(std::uint64_t address, std::uint64_t value);
  /// Forgets what it knows of the page around `address`.
  void invalidate(std::uint64_t address) { known_.erase(address / kPageBytes); }

  [[nodiscard]] const std::vector<TranslationFault>& faults() const { return faults_; }
  /// Translations that were not known, so that tables were walked.
  [[nodiscard]] std::uint64_t walks() const { return walks_; }

 private:
  static constexpr std::size_t kFaultsMost = 64;  // later ones are not recorded

  [[nodiscard]] Result<std::uint64_t> translate(std::uint64_t address, PageUse wanted);
  std::unexpected<Error> refuse(const TranslationFault& fault);

  const PageTable& guest_;
  const PageTable& hypervisor_;
  shm::SharedBytes memory_;
  std::unordered_map<std::uint64_t, PageEntry> known_;  // by number of the device's page
  std::vector<TranslationFault> faults_;
  std::uint64_t walks_ = 0;
};

}  // namespace airlock::compare
