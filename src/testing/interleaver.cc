// SPDX-License-Identifier: Apache-2.0
#include "testing/interleaver.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <optional>

#include "core/range.h"

namespace airlock::testing {

namespace {

// Where in `memory` an access is, if it is an access of it.
std::optional<std::uint64_t> offset_in(const shm::SharedBytes& memory, const shm::Access& access) {
  const auto base = std::bit_cast<std::uintptr_t>(memory.in_place().data());
  const auto address = std::bit_cast<std::uintptr_t>(access.address);
  if (!airlock_range_inside(address, access.length, base, memory.size())) return std::nullopt;
  return address - base;
}

}  // namespace

void DoubleFetchDetector::allow_polling(std::uint64_t offset, std::uint64_t length) {
  CHECK(airlock_range_within(offset, length, memory_.size()));
  std::fill_n(polled_.begin() + static_cast<std::ptrdiff_t>(offset), length, true);
}

std::vector<DoubleFetchDetector::DoubleFetch> DoubleFetchDetector::watch(
    const std::function<void()>& operation) {
  std::ranges::fill(seen_by_, 0U);
  found_.clear();
  loads_ = 0;
  const shm::ScopedAccessHook hook(this);
  operation();
  return found_;
}

void DoubleFetchDetector::before_access(const shm::Access& access) {
  const auto offset = offset_in(memory_, access);
  if (!offset || access.kind != shm::Access::Kind::kLoad) return;
  loads_++;
  for (std::uint64_t i = *offset; i < *offset + access.length; i++) {
    if (polled_[i]) continue;
    const std::uint32_t first = seen_by_[i];
    if (first == 0) {
      seen_by_[i] = loads_;
      continue;
    }
    const bool goes_on = !found_.empty() && found_.back().second == loads_ &&
                         found_.back().first == first &&
                         found_.back().offset + found_.back().length == i;
    if (goes_on) {
      found_.back().length++;
    } else {
      found_.push_back({.offset = i, .length = 1, .first = first, .second = loads_});
    }
  }
}

std::string describe(const std::vector<DoubleFetchDetector::DoubleFetch>& found) {
  std::string text;
  for (const auto& [offset, length, first, second] : found) {
    text += fmt::format("{} bytes at {:#x} by loads {} and {}; ", length, offset, first, second);
  }
  return text;
}

void Strike::during(const std::function<void()>& operation) {
  const shm::ScopedAccessHook hook(this);
  operation();
}

void Strike::before_access(const shm::Access& access) {
  if (!offset_in(memory_, access)) return;
  accesses_++;
  if (accesses_ == number_) act_();
}

}  // namespace airlock::testing
