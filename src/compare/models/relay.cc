// SPDX-License-Identifier: Apache-2.0
#include "compare/models/relay.h"

#include <utility>
#include <vector>

#include "base/check.h"
#include "compare/models/direct_access.h"

namespace airlock::compare {

namespace {

class RelayAccess final : public DirectAccess {
 public:
  RelayAccess(PrivateMemory own, const Fd& relay) : DirectAccess(std::move(own)), relay_(relay) {}

  Result<void> start(DeviceLink& device, std::span<const QueueLink> queues) override {
    CHECK(queues.size() <= kQueuesMost);
    RelayRequest request{.private_bytes = private_memory().size()};
    std::vector<int> fds{private_memory().fd().get()};
    for (const QueueLink& queue : queues) {
      request.queue.at(request.queues++) = queue.start;
      fds.insert(fds.end(), {queue.bells.notify, queue.bells.interrupt});
    }
    const auto started = TRY(ask<RelayReply>(relay_, request, fds));
    if (started.fds.size() != fds.size()) return fail(Errc::kMalformed);
    const DeviceLink::Loan loan{
        .shape = {.size = started.message.shared_bytes, .address = kSharedBase},
        .memory = &started.fds[0]};
    std::vector<QueueLink> links;
    links.reserve(queues.size());
    for (std::size_t i = 0; i < queues.size(); ++i) {
      links.push_back({.start = started.message.queue.at(i),
                       .bells = {.notify = started.fds[2 * i + 1].get(),
                                 .interrupt = started.fds[2 * i + 2].get()}});
    }
    return device.start(std::span(&loan, 1), links);
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
