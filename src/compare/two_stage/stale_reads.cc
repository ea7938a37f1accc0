// SPDX-License-Identifier: Apache-2.0
#include "compare/two_stage/stale_reads.h"

namespace airlock::compare {

namespace {

using StaleClock = std::chrono::steady_clock;

constexpr std::uint64_t kDevicePage = 0x10'0000'0000;  // as the devices have it
constexpr std::uint64_t kGuestPage = 0x3000;
constexpr std::uint64_t kMachinePage = 0x7000;
constexpr std::uint64_t kGiven = 0x676976656e;
constexpr std::uint64_t kPrivate = 0x70726976617465;

/// Whether a device read what is private now.
Result<bool> is_stale(const Result<std::uint64_t>& read) {
  if (!read && read.error().code == Errc::kAddressOutside) return false;
  if (read && *read == kPrivate) return true;
  return fail(read ? Error{.code = Errc::kWrongState} : read.error());
}

Result<void> give(TwoStageMachine& machine) {
  TRY(machine.store(kGuestPage, kGiven));
  TRY(machine.map(kDevicePage, {.page = kGuestPage, .use = PageUse::kBoth}));
  const DeviceAccess read{.address = kDevicePage};
  if (TRY(machine.hardware(read)) != kGiven) return fail(Errc::kWrongState);
  // This one may know the page from the time before: then it does not look.
  if (TRY(machine.emulated(read)) != kGiven) return fail(Errc::kWrongState);
  return {};
}

}  // namespace

Result<StaleReads> measure_stale_reads(const TwoStageMachine::Options& options,
                                       std::chrono::milliseconds time) {
  const auto machine = TRY(TwoStageMachine::create(options));
  TRY(machine->place(kGuestPage, {.page = kMachinePage, .use = PageUse::kBoth}));
  StaleReads sum;
  const auto end = StaleClock::now() + time;
  do {
    TRY(give(*machine));
    const auto begin = StaleClock::now();
    TRY(machine->unmap(kDevicePage));
    sum.unmap_ns +=
        static_cast<std::uint64_t>(std::chrono::nanoseconds(StaleClock::now() - begin).count());
    ++sum.unmaps;
    TRY(machine->store(kGuestPage, kPrivate));
    const DeviceAccess read{.address = kDevicePage};
    sum.hardware += TRY(is_stale(machine->hardware(read)))
    ? 1U : 0U;
    sum.emulated += TRY(is_stale(machine->emulated(read)))
    ? 1U : 0U;
  } while (StaleClock::now() < end);
  sum.traps = machine->traps();
  return sum;
}

}  // namespace airlock::compare
