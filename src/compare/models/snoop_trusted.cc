// SPDX-License-Identifier: Apache-2.0
//
// The trusted part of snoop. The guard's Snooper reads each descriptor once, and keeps what the
// chains in flight invite: that, and not the ring, says what is moved, and where to. It is told of
// each used element as it is of a device's, so that what was returned is invited no more.
#include <atomic>
#include <map>
#include <utility>

#include "compare/models/snoop.h"
#include "core/event.h"
#include "guard/snooper.h"
#include "ring/features.h"
#include "ring/layout.h"
#include "ring/split_areas.h"
#include "spec/virtio.h"

namespace airlock::compare {

namespace {

constexpr std::uint64_t kFollowed =
    spec::feature(spec::VIRTIO_F_VERSION_1) | spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM) |
    spec::feature(spec::VIRTIO_F_RING_RESET) | spec::feature(spec::VIRTIO_F_INDIRECT_DESC) |
    spec::feature(spec::VIRTIO_F_EVENT_IDX);
constexpr std::uint16_t kOnlyQueue = 0;

class SnoopFront final : public RelayFront {
 public:
  struct Areas {
    window::SharedSpan driver;
    window::SharedSpan device;
  };
  SnoopFront(const QueueStart& queue, const PrivateMemory& own, const window::Window& window,
             const Areas& areas)
      : window_(window),
        available_(areas.driver),
        used_(areas.device),
        size_(queue.size),
        features_(queue.features),
        event_idx_(ring::Features::from(queue.features).event_idx) {
    const auto number = [](window::DriverAddress address) { return std::to_underlying(address); };
    queues_[kOnlyQueue] = {.size = queue.size,
                           .descriptors = number(queue.areas.descriptors),
                           .driver = number(queue.areas.driver),
                           .device = number(queue.areas.device)};
    snooper_.map({.address = kPrivateBase, .size = own.size()}, own.fd());
  }

  Result<bool> pop(RelayedChain& target) override;
  Result<void> push_used(std::uint16_t head, std::uint32_t written) override;
  void publish() override;
  [[nodiscard]] bool guest_wants_interrupt() override;
  void suppress_notifications(bool suppressed) override;

 private:
  Result<airlock_snoop> followed();
  void tell(std::uint64_t offset, std::span<const std::byte> bytes);

  const window::Window& window_;
  guard::Snooper snooper_;
  std::map<std::uint16_t, guard::VirtioRecord::QueueAreas> queues_;
  ring::AvailReader available_;
  ring::UsedWriter used_;
  std::uint16_t size_;
  std::uint64_t features_;
  bool event_idx_;
  std::uint32_t taken_ = 0;  // of what is invited, by pop(): the first ones
  std::uint16_t next_available_ = 0;
  std::uint16_t next_used_ = 0;
  std::uint16_t signalled_used_ = 0;
};

// A queue that the snooper closed invites nothing, ever again.
Result<airlock_snoop> SnoopFront::followed() {
  snooper_.follow(queues_, features_);
  const airlock_snoop state = snooper_.queues().front();
  if (state.rules.queue_size == 0) return fail({.code = Errc::kQueueBroken, .queue = kOnlyQueue});
  return state;
}

Result<bool> SnoopFront::pop(RelayedChain& target) {
  const airlock_snoop state = TRY(followed());
  const std::span<const airlock_snoop_live> live(state.live, state.count);
  if (taken_ >= live.size()) return false;
  target.head = live[taken_].head;
  target.readable.clear();
  target.writable.clear();
  for (; taken_ < live.size() && live[taken_].head == target.head; ++taken_) {
    const airlock_snoop_live& one = live[taken_];
    if (one.table) continue;  // the shadow ring has none: what it names stands there
    const auto access = one.writable ? window::Access::kWrite : window::Access::kRead;
    (one.writable ? target.writable : target.readable)
        .push_back(TRY(window_.translate(window::DriverAddress{one.address}, one.length, access)));
  }
  ++next_available_;
  return true;
}

// What the device did is known to be about a chain in flight, and no more than it had room for.
Result<void> SnoopFront::push_used(std::uint16_t head, std::uint32_t written) {
  const std::uint16_t slot = next_used_++ % size_;
  used_.put(slot, {.id = head, .length = written});
  const spec::VirtqUsedElem element{.id = Le32(head), .len = Le32(written)};
  tell(sizeof(spec::VirtqUsedHeader) + sizeof element * slot,
       std::as_bytes(std::span(&element, 1)));
  return {};
}

void SnoopFront::publish() {
  const Le16 index(next_used_);
  const std::uint32_t before = snooper_.queues().front().count;
  tell(offsetof(spec::VirtqUsedHeader, idx), std::as_bytes(std::span(&index, 1)));
  taken_ -= before - snooper_.queues().front().count;
  used_.publish_index(ring::RingIndex(next_used_));
}

// As a write of the device is told to the guard's.
void SnoopFront::tell(std::uint64_t offset, std::span<const std::byte> bytes) {
  snooper_.wrote(queues_.at(kOnlyQueue).device + offset, bytes);
}

bool SnoopFront::guest_wants_interrupt() {
  const std::uint16_t before = std::exchange(signalled_used_, next_used_);
  // Pairs with the driver's, between its wish and its look at the index.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (event_idx_) {
    return airlock_need_event(available_.used_event().value(), next_used_, before);
  }
  return (available_.flags() & spec::VIRTQ_AVAIL_F_NO_INTERRUPT) == 0;
}

void SnoopFront::suppress_notifications(bool suppressed) {
  if (event_idx_) {
    // Behind what was taken: the driver gets there only when its index has gone round.
    const ring::RingIndex next(next_available_);
    used_.set_avail_event(suppressed ? next.previous() : next);
  } else {
    used_.set_flags(suppressed ? spec::VIRTQ_USED_F_NO_NOTIFY : std::uint16_t{0});
  }
  // Pairs with the driver's, between its index and its look at the wish.
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

}  // namespace

Result<std::unique_ptr<RelayFront>> make_snoop_front(const QueueStart& queue,
                                                     const PrivateMemory& own,
                                                     const window::Window& window) {
  if ((queue.features & ~kFollowed) != 0) return fail(Errc::kUnsupported);
  const ring::Layout layout(TRY(ring::QueueSize::from(queue.size)));
  const auto area = [&](window::DriverAddress at, const ring::AreaShape& shape,
                        window::Access access) -> Result<window::SharedSpan> {
    const std::uint64_t address = std::to_underlying(at);
    if (address % shape.alignment != 0) {
      return fail({.code = Errc::kNotAligned,
                   .detail = static_cast<std::uint32_t>(shape.alignment),
                   .address = address});
    }
    return window.translate(at, shape.bytes, access);
  };
  TRY(area(queue.areas.descriptors, layout.descriptors(), window::Access::kRead));
  const SnoopFront::Areas areas {
    .driver = TRY(area(queue.areas.driver, layout.driver(), window::Access::kRead))
    , .device = TRY(area(queue.areas.device, layout.device(), window::Access::kWrite))
  };
  return std::make_unique<SnoopFront>(queue, own, window, areas);
}

Result<void> serve_snoop(const Fd& guest, const Controls& /*controls*/) {
  return serve_relay(guest, make_snoop_front);
}

}  // namespace airlock::compare
