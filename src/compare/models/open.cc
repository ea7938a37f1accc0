// SPDX-License-Identifier: Apache-2.0
#include "compare/models/open.h"

#include "compare/models/direct_access.h"

namespace airlock::compare {

namespace {

class OpenAccess final : public DirectAccess {
 public:
  using DirectAccess::DirectAccess;

  Result<void> start(DeviceLink& device, std::span<const QueueLink> queues) override {
    const DeviceLink::Loan loan{.shape = {.size = private_memory().size(), .address = kPrivateBase},
                                .memory = &private_memory().fd()};
    return device.start(std::span(&loan, 1), queues);
  }
  [[nodiscard]] AccessCounts counts() const override { return {.maps = maps()}; }
};

Result<std::unique_ptr<Access>> connect_open(const GuestSide& guest) {
  return std::make_unique<OpenAccess>(TRY(PrivateMemory::create(guest.private_bytes)));
}

}  // namespace

const Model kOpen{
    .name = "open",
    .what = "the device maps all of the guest (what virtio is without any of this)",
    .trust = "nothing: the device is trusted with everything",
    .connect = connect_open,
    .view = guest_memory_view,
};

}  // namespace airlock::compare
