// SPDX-License-Identifier: Apache-2.0
#include "compare/workload.h"

#include <sys/random.h>

#include <algorithm>

#include "base/check.h"

namespace airlock::compare {

namespace {

constexpr std::chrono::milliseconds kRequestWithin{30'000};

Result<std::uint64_t> random_key() {
  std::uint64_t key = 0;
  if (::getrandom(&key, sizeof key, 0) != sizeof key) return fail(system_error());
  return key;
}

// xorshift: what is asked for next need not be secret, and should cost nothing.
std::uint64_t next_random(std::uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

}  // namespace

std::span<const BufferPlan> plans_of(Traffic traffic) {
  return traffic == Traffic::kBlk ? kDiskPlans : kFramePlans;
}

const BufferPlan* plan_of(Traffic traffic, std::uint64_t request_bytes) {
  const auto plans = plans_of(traffic);
  const auto found = std::ranges::find(plans, request_bytes, &BufferPlan::request_bytes);
  return found == plans.end() ? nullptr : &*found;
}

RunResult& RunResult::operator+=(const RunResult& other) {
  requests += other.requests;
  ns += other.ns;
  guest_cpu_ns += other.guest_cpu_ns;
  trusted_cpu_ns += other.trusted_cpu_ns;
  device_cpu_ns += other.device_cpu_ns;
  copied_bytes += other.copied_bytes;
  stand_in_bytes += other.stand_in_bytes;
  device_copied_bytes += other.device_copied_bytes;
  messages += other.messages;
  wakes += other.wakes;
  mapped_ns += other.mapped_ns;
  high_water_bytes = std::max(high_water_bytes, other.high_water_bytes);
  latency.merge(other.latency);
  return *this;
}

Result<void> Workload::refill() {
  key_ = TRY(random_key());
  random_ = key_ | 1;
  access_.private_memory().fill(Canary(key_));
  return {};
}

Result<std::span<std::byte>> Workload::buffer_at(std::uint64_t offset, std::uint64_t bytes) {
  const auto known = buffers_.find(offset);
  if (known != buffers_.end()) return known->second;
  const std::span<std::byte> buffer = TRY(access_.allocate_buffer(offset, bytes));
  Canary(key_).fill(buffer, offset);
  buffers_.emplace(offset, buffer);
  return buffer;
}

Result<Workload::Snapshot> Workload::snapshot() {
  Snapshot now;
  now.trusted = TRY(access_.trusted_counts());
  now.access = access_.counts();
  now.device = TRY(device_.usage());
  now.driver = driver_.counts();
  now.cpu_ns = TRY(own_cpu_ns());
  return now;
}

Result<RunResult> Workload::run(const Cell& cell, std::chrono::milliseconds time) {
  const BufferPlan* const plan = plan_of(traffic_, cell.request_bytes);
  if (plan == nullptr || cell.depth == 0 || cell.depth > kDeepest) return fail(Errc::kUnsupported);
  if (key_ == 0) TRY(refill());
  if (!cell.write) TRY(prime(*plan));
  const Snapshot before = TRY(snapshot());
  RunResult result;
  const auto begin = RigDriver::Clock::now();
  TRY(keep_busy(cell, time, result));
  result.ns =
      static_cast<std::uint64_t>(std::chrono::nanoseconds(RigDriver::Clock::now() - begin).count());
  const Snapshot after = TRY(snapshot());
  result.guest_cpu_ns = after.cpu_ns - before.cpu_ns;
  result.trusted_cpu_ns = after.trusted.cpu_ns - before.trusted.cpu_ns;
  result.device_cpu_ns = after.device.cpu_ns - before.device.cpu_ns;
  result.copied_bytes = after.access.copied_bytes - before.access.copied_bytes +
                        after.trusted.copied_bytes - before.trusted.copied_bytes +
                        after.driver.sealed_bytes - before.driver.sealed_bytes;
  result.stand_in_bytes = after.trusted.stand_in_bytes - before.trusted.stand_in_bytes;
  result.device_copied_bytes = after.device.copied_bytes - before.device.copied_bytes;
  result.messages = after.access.messages - before.access.messages;
  result.wakes = after.driver.notifications - before.driver.notifications + after.trusted.wakes -
                 before.trusted.wakes;
  result.mapped_ns = after.driver.mapped_ns - before.driver.mapped_ns;
  result.high_water_bytes = after.access.high_water_bytes;
  return result;
}

Result<void> Workload::start(const Cell& cell, std::uint64_t slot,
                             RigDriver::Clock::time_point now) {
  const Declared& plan = plan_of(traffic_, cell.request_bytes)->buffers;
  const std::span<std::byte> buffer = TRY(buffer_at(plan.first + slot * plan.stride, plan.length));
  since_.at(slot) = now;
  return driver_.submit({.write = cell.write,
                         .block = next_random(random_),
                         .buffer = buffer.first(cell.request_bytes),
                         .cookie = slot});
}

Result<void> Workload::keep_busy(const Cell& cell, std::chrono::milliseconds time,
                                 RunResult& result) {
  auto now = RigDriver::Clock::now();
  const auto end = now + time;
  for (std::uint64_t slot = 0; slot < cell.depth; ++slot)
    TRY(start(cell, slot, now));
  driver_.kick();
  while (driver_.in_flight() > 0) {
    TRY(driver_.wait(kRequestWithin));
    now = RigDriver::Clock::now();
    while (const auto done = TRY(driver_.poll())) {
      if (done->error) return fail(*done->error);
      result.latency.add(now - since_.at(done->cookie));
      ++result.requests;
      if (now < end) TRY(start(cell, done->cookie, now));
    }
    driver_.kick();
  }
  return {};
}

// The only one in flight: the device's answer.
Result<std::optional<Error>> Workload::do_one(const RigDriver::Request& request) {
  TRY(driver_.submit(request));
  driver_.kick();
  TRY(driver_.wait(kRequestWithin));
  const auto done = TRY(driver_.poll());
  if (!done) return fail(Errc::kWrongState);
  return done->error;
}

Result<void> Workload::do_all(const RigDriver::Request& request) {
  const auto error = TRY(do_one(request));
  if (error) return fail(*error);
  return {};
}

Result<std::span<std::byte>> Workload::lone_buffer(const BufferPlan& plan) {
  const auto buffer = TRY(buffer_at(plan.lone.first, plan.lone.length));
  return buffer.first(plan.request_bytes);
}

// What a wire has to give is what was sent last; and of what was sent before, a card may have
// fetched one frame already, of whatever size. A disk's request more does no harm.
Result<void> Workload::prime(const BufferPlan& plan) {
  const std::span<std::byte> buffer = TRY(lone_buffer(plan));
  TRY(do_all({.write = true, .buffer = buffer}));
  static_cast<void>(TRY(do_one({.write = false, .buffer = buffer})));
  return {};
}

Result<void> Workload::verify() {
  for (const BufferPlan& plan : plans_of(traffic_)) {
    const std::span<std::byte> buffer = TRY(lone_buffer(plan));
    const std::vector<std::byte> written(buffer.begin(), buffer.end());
    TRY(prime(plan));
    std::ranges::fill(buffer, std::byte{0});
    TRY(do_all({.write = false, .buffer = buffer}));
    if (!std::ranges::equal(buffer, written)) return fail(Errc::kIoError);
  }
  return {};
}

Look Workload::look_for(std::span<const Declared> declared) const {
  CHECK(declared.size() <= Look::kDeclaredMost);
  Look look{.key = key_, .private_bytes = access_.private_memory().size()};
  std::ranges::copy(declared, look.declared.begin());
  return look;
}

Result<Exposure> Workload::expose(std::uint64_t request_bytes, bool write) {
  const BufferPlan* const plan = plan_of(traffic_, request_bytes);
  if (plan == nullptr) return fail(Errc::kUnsupported);
  if (!write) TRY(prime(*plan));
  const std::span<std::byte> buffer = TRY(lone_buffer(*plan));
  TRY(refill());
  Canary(key_).fill(TRY(buffer_at(plan->lone.first, plan->lone.length)), plan->lone.first);
  const Look look = look_for(std::span(&plan->lone, 1));
  Exposure exposure{.request_bytes = request_bytes};
  TRY(device_.hold());
  TRY(driver_.submit({.write = write, .refused = true, .buffer = buffer}));
  driver_.kick();
  exposure.during = TRY(device_.look(look, true));
  TRY(device_.release());
  TRY(driver_.wait(kRequestWithin));
  if (!TRY(driver_.poll())) return fail(Errc::kWrongState);
  exposure.after = TRY(device_.look(look, false));
  return exposure;
}

Result<Seen> Workload::scan() {
  std::vector<Declared> declared;
  for (const BufferPlan& plan : plans_of(traffic_))
    declared.insert(declared.end(), {plan.buffers, plan.lone});
  return device_.look(look_for(declared), false);
}

}  // namespace airlock::compare
