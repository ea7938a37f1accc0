// SPDX-License-Identifier: Apache-2.0
#include "compare/models/vmm_copy.h"

#include <array>
#include <utility>

#include "compare/models/direct_access.h"
#include "compare/trusted_lines.h"

namespace airlock::compare {

namespace {

constexpr std::size_t kStartFds = 3;  // of the VMM's answer: memory, notify, interrupt

class VmmCopyAccess final : public DirectAccess {
 public:
  VmmCopyAccess(PrivateMemory own, const Fd& vmm) : DirectAccess(std::move(own)), vmm_(vmm) {}

  // The guest's queue is the VMM's to serve, and the device gets one that the VMM drives.
  Result<void> start(DeviceLink& device, const QueueStart& queue,
                     const QueueBells& bells) override {
    const VmmRequest request{.queue = queue, .private_bytes = private_memory().size()};
    const std::array fds{private_memory().fd().get(), bells.notify, bells.interrupt};
    const auto started = TRY(ask<VmmReply>(vmm_, request, fds));
    if (started.fds.size() != kStartFds) return fail(Errc::kMalformed);
    const DeviceLink::Loan loan{
        .shape = {.size = started.message.shared_bytes, .address = kSharedBase},
        .memory = &started.fds[0]};
    return device.start(std::span(&loan, 1), started.message.queue,
                        {.notify = started.fds[1].get(), .interrupt = started.fds[2].get()});
  }

  // The pool is the VMM's: what it holds is told with trusted_counts().
  [[nodiscard]] AccessCounts counts() const override {
    return {.maps = maps(), .high_water_bytes = high_water_bytes_};
  }
  [[nodiscard]] Result<TrustedCounts> trusted_counts() override {
    const VmmReply reply = TRY(ask<VmmReply>(vmm_, VmmRequest{.kind = VmmRequest::Kind::kCounts}))
    .message;
    high_water_bytes_ = reply.high_water_bytes;
    return reply.counts;
  }

 private:
  const Fd& vmm_;
  std::uint64_t high_water_bytes_ = 0;
};

Result<std::unique_ptr<Access>> connect_vmm_copy(const GuestSide& guest) {
  return std::make_unique<VmmCopyAccess>(TRY(PrivateMemory::create(guest.private_bytes)),
                                         *guest.trusted);
}

}  // namespace

const Model kVmmCopy{
    .name = "vmm-copy",
    .what = "a trusted VMM copies each request between guest and device (Firecracker's way)",
    .trust = "the VMM, which has all of the guest and walks its rings; the device has its buffer",
    .trusted_lines = kVmmCopyLines,
    .connect = connect_vmm_copy,
    .view = region_view,
    .serve = serve_vmm_copy,
};

}  // namespace airlock::compare
