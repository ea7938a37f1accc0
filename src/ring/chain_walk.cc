// SPDX-License-Identifier: Apache-2.0
#include "ring/chain_walk.h"

#include <bit>
#include <span>

#include "base/le.h"
#include "ring/descriptor_bits.h"
#include "ring/verdict.h"

namespace airlock::ring {

namespace {

// The number that explains a refused descriptor.
std::uint32_t detail_of(airlock_verdict verdict, const airlock_descriptor& descriptor) {
  if (verdict == AIRLOCK_BAD_FLAGS) return descriptor.flags;
  if (verdict == AIRLOCK_BAD_INDEX) return descriptor.next;
  return descriptor.length;
}

}  // namespace

void ChainWalk::begin(std::uint32_t head, Chain& target) {
  airlock_chain_begin(&state_, rules_, head);
  target.spans_.clear();
  target.readable_count_ = 0;
  target.readable_bytes_ = 0;
  target.writable_bytes_ = 0;
}

Result<void> ChainWalk::take(const airlock_descriptor& descriptor, Chain& target) {
  const bool was_in_table = state_.in_table;
  const airlock_verdict verdict = airlock_chain_step(&state_, &descriptor);
  if (verdict != AIRLOCK_OK) {
    return fail({.code = to_errc(verdict),
                 .detail = detail_of(verdict, descriptor),
                 .address = descriptor.address});
  }
  if (state_.in_table && !was_in_table) return open_table();
  auto span = window_->translate(window::DriverAddress{descriptor.address}, descriptor.length,
                                 state_.writing ? window::Access::kWrite : window::Access::kRead);
  if (!span) return fail(span.error());
  target.spans_.push_back(*span);
  // Readable ones come first, as the step has just made sure.
  if (!state_.writing) target.readable_count_ = target.spans_.size();
  target.readable_bytes_ = state_.readable_bytes;
  target.writable_bytes_ = state_.writable_bytes;
  return {};
}

// One copy of the whole table, which then is ours. It may lie at any address.
Result<void> ChainWalk::open_table() {
  const std::uint64_t bytes = std::uint64_t{state_.table_entries} * AIRLOCK_DESC_BYTES;
  auto span =
      window_->translate(window::DriverAddress{state_.table_address}, bytes, window::Access::kRead);
  if (!span) return fail(span.error());
  table_.resize(std::size_t{state_.table_entries} * 2);
  span->copy_out(0, std::as_writable_bytes(std::span(table_)));
  return {};
}

airlock_descriptor ChainWalk::table_entry() const {
  const auto word = [this](std::size_t at) { return std::bit_cast<Le64>(table_[at]).get(); };
  const std::size_t first = std::size_t{state_.index} * 2;
  return decode_descriptor(word(first), word(first + 1), format_);
}

}  // namespace airlock::ring
