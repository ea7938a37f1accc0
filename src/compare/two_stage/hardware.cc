// SPDX-License-Identifier: Apache-2.0
#include "compare/two_stage/hardware.h"

#include <utility>

namespace airlock::compare {

Result<std::uint64_t> access_through(TranslatingPort& port, const DeviceAccess& wanted) {
  if (!wanted.write) return port.read(wanted.address);
  TRY(port.write(wanted.address, wanted.value));
  return wanted.value;
}

Hardware::Hardware(TranslatingPort port)
    : port_(std::move(port)), thread_([this](const std::stop_token& stop) { run(stop); }) {}

// Invalidations come first: who waits for one may have unmapped what an access is about.
void Hardware::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  for (;;) {
    const bool more = changed_.wait(
        lock, stop, [this] { return !invalidations_.empty() || (wanted_ && !done_); });
    if (!more) return;
    while (!invalidations_.empty()) {
      port_.invalidate(invalidations_.front());
      invalidations_.pop_front();
      ++completed_;
    }
    if (wanted_ && !done_) done_ = access_through(port_, *wanted_);
    changed_.notify_all();
  }
}

void Hardware::invalidate(std::uint64_t address) {
  std::unique_lock lock(mutex_);
  invalidations_.push_back(address);
  const std::uint64_t mine = ++posted_;
  changed_.notify_all();
  changed_.wait(lock, [&] { return completed_ >= mine; });
}

Result<std::uint64_t> Hardware::access(const DeviceAccess& wanted) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !wanted_; });
  wanted_ = wanted;
  changed_.notify_all();
  Result<std::uint64_t> result = fail(Errc::kWrongState);
  changed_.wait(lock, [&] {
    if (done_) result = *done_;
    return done_.has_value();
  });
  wanted_.reset();
  done_.reset();
  changed_.notify_all();
  return result;
}

std::vector<TranslationFault> Hardware::faults() {
  const std::scoped_lock lock(mutex_);
  return port_.faults();
}

}  // namespace airlock::compare
