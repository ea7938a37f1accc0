// SPDX-License-Identifier: Apache-2.0
#include "compare/two_stage/translating_port.h"

#include "core/range.h"

namespace airlock::compare {

std::unexpected<Error> TranslatingPort::refuse(const TranslationFault& fault) {
  if (faults_.size() < kFaultsMost) faults_.push_back(fault);
  return fail({.code = Errc::kAddressOutside, .detail = fault.stage, .address = fault.address});
}

// A translation that does not allow what is wanted is looked up anew: only what allows something
// is kept, and an entry that grew needs no invalidation.
Result<std::uint64_t> TranslatingPort::translate(std::uint64_t address, PageUse wanted) {
  const std::uint64_t in_page = address % kPageBytes;
  TranslationFault fault{.address = address, .stage = 1, .write = wanted == PageUse::kWrite};
  if (address % sizeof(std::uint64_t) != 0) return refuse(fault);
  const auto known = known_.find(address / kPageBytes);
  if (known != known_.end() && (known->second.use & wanted) == wanted) {
    return known->second.page + in_page;
  }
  ++walks_;
  const PageEntry first = guest_.find(address);
  if ((first.use & wanted) != wanted) return refuse(fault);
  const PageEntry second = hypervisor_.find(first.page);
  fault.stage = 2;
  if ((second.use & wanted) != wanted ||
      !airlock_range_within(second.page, kPageBytes, memory_.size())) {
    return refuse(fault);
  }
  known_[address / kPageBytes] = {.page = second.page, .use = first.use & second.use};
  return second.page + in_page;
}

Result<std::uint64_t> TranslatingPort::read(std::uint64_t address) {
  return memory_.load_relaxed<std::uint64_t>(TRY(translate(address, PageUse::kRead)));
}

Result<void> TranslatingPort::write(std::uint64_t address, std::uint64_t value) {
  memory_.store_relaxed<std::uint64_t>(TRY(translate(address, PageUse::kWrite)), value);
  return {};
}

}  // namespace airlock::compare
