// SPDX-License-Identifier: Apache-2.0
#include "compare/models/relay.h"

#include <array>
#include <utility>

#include "compare/models/direct_access.h"

namespace airlock::compare {

namespace {

constexpr std::size_t kStartFds = 3;  // of the trusted part's answer: memory, notify, interrupt

class RelayAccess final : public DirectAccess {
 public:
  RelayAccess(PrivateMemory own, const Fd& relay) : DirectAccess(std::move(own)), relay_(relay) {}

  Result<void> start(DeviceLink& device, const QueueStart& queue,
                     const QueueBells& bells) override {
    const RelayRequest request{.queue = queue, .private_bytes = private_memory().size()};
    const std::array fds{private_memory().fd().get(), bells.notify, bells.interrupt};
    const auto started = TRY(ask<RelayReply>(relay_, request, fds));
    if (started.fds.size() != kStartFds) return fail(Errc::kMalformed);
    const DeviceLink::Loan loan{
        .shape = {.size = started.message.shared_bytes, .address = kSharedBase},
        .memory = &started.fds[0]};
    return device.start(std::span(&loan, 1), started.message.queue,
                        {.notify = started.fds[1].get(), .interrupt = started.fds[2].get()});
  }

  // The pool is the trusted part's: what it holds is told with trusted_counts().
  [[nodiscard]] AccessCounts counts() const override {
    return {.maps = maps(), .high_water_bytes = high_water_bytes_};
  }
  [[nodiscard]] Result<TrustedCounts> trusted_counts() override {
    const RelayRequest request{.kind = RelayRequest::Kind::kCounts};
    const RelayReply reply = TRY(ask<RelayReply>(relay_, request))
    .message;
    high_water_bytes_ = reply.high_water_bytes;
    return reply.counts;
  }

 private:
  const Fd& relay_;
  std::uint64_t high_water_bytes_ = 0;
};

}  // namespace

Result<std::unique_ptr<Access>> connect_relay(const GuestSide& guest) {
  return std::make_unique<RelayAccess>(TRY(PrivateMemory::create(guest.private_bytes)),
                                       *guest.trusted);
}

}  // namespace airlock::compare
