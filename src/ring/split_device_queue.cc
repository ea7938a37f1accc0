// SPDX-License-Identifier: Apache-2.0
#include "ring/split_device_queue.h"

#include <bit>

#include "core/range.h"
#include "core/used.h"
#include "ring/barrier.h"
#include "ring/chain_walk.h"
#include "ring/verdict.h"

namespace airlock::ring {

namespace {

struct Area {
  window::DriverAddress address{};
  std::uint64_t bytes = 0;
  std::uint64_t alignment = 1;
  window::Access access = window::Access::kRead;
};

// The memory of one area. Its address must be aligned, and so must be where that leads: memory that
// a VMM shared may start anywhere.
Result<shm::SharedBytes> open_area(const Area& area, std::uint16_t queue,
                                   const window::Window& window) {
  const std::uint64_t address = std::to_underlying(area.address);
  const Error misaligned = {.code = Errc::kNotAligned,
                            .queue = queue,
                            .detail = static_cast<std::uint32_t>(area.alignment),
                            .address = address};
  if (!airlock_is_aligned(address, area.alignment)) return fail(misaligned);
  auto span = window.translate(area.address, area.bytes, area.access);
  if (!span) {
    Error error = span.error();
    error.queue = queue;
    return fail(error);
  }
  const auto memory = std::bit_cast<std::uintptr_t>(span->in_place().data());
  if (!airlock_is_aligned(memory, area.alignment)) return fail(misaligned);
  return *span;
}

}  // namespace

Result<SplitDeviceQueue::Views> SplitDeviceQueue::open_views(const QueueConfig& config,
                                                             const window::Window& window) {
  const SplitLayout layout(config.size);
  const shm::SharedBytes descriptors =
      TRY(open_area({.address = config.areas.descriptors,
                     .bytes = layout.descriptors_bytes(),
                     .alignment = SplitLayout::kDescriptorsAlignment},
                    config.queue, window));
  const shm::SharedBytes driver = TRY(open_area({.address = config.areas.driver,
                                                 .bytes = layout.driver_bytes(),
                                                 .alignment = SplitLayout::kDriverAlignment},
                                                config.queue, window));
  const shm::SharedBytes device = TRY(open_area({.address = config.areas.device,
                                                 .bytes = layout.device_bytes(),
                                                 .alignment = SplitLayout::kDeviceAlignment,
                                                 .access = window::Access::kWrite},
                                                config.queue, window));
  return Views{.descriptors = DescriptorReader(descriptors),
               .avail = AvailReader(driver),
               .used = UsedWriter(device)};
}

Result<SplitDeviceQueue> SplitDeviceQueue::create(const QueueConfig& config,
                                                  const window::Window& window) {
  return SplitDeviceQueue(config, window, TRY(open_views(config, window)));
}

SplitDeviceQueue::SplitDeviceQueue(const QueueConfig& config, const window::Window& window,
                                   const Views& views)
    : queue_(config.queue),
      size_(config.size),
      areas_(config.areas),
      window_(&window),
      views_(views),
      records_(config.size.value()) {}

Result<void> SplitDeviceQueue::rebind() {
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = queue_});
  if (in_flight_ != 0) return fail({.code = Errc::kWrongState, .queue = queue_});
  views_ = TRY(open_views({.queue = queue_, .size = size_, .areas = areas_}, *window_));
  return {};
}

Result<std::optional<Head>> SplitDeviceQueue::pop(Chain& target) {
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = queue_});
  if (next_avail_ == seen_avail_) {
    // Pairs with the driver's release of avail.idx: what it wrote before is visible.
    const RingIndex now = views_.avail.acquire_index();
    if (now == seen_avail_) return std::optional<Head>();
    const airlock_verdict verdict =
        airlock_check_index_advance(seen_avail_.value(), now.value(), size_.value());
    if (verdict != AIRLOCK_OK) {
      return break_with({.code = to_errc(verdict), .detail = now.value()});
    }
    seen_avail_ = now;
  }
  const auto head = next_head();
  if (!head) return break_with(head.error());
  if (const auto walked = walk(*head, target); !walked) return break_with(walked.error());
  records_[*head] = {.writable_bytes = target.writable_bytes(), .in_flight = true};
  ++in_flight_;
  ++next_avail_;
  return std::optional(Head{*head});
}

Result<void> SplitDeviceQueue::push_used(Head head, std::uint32_t written_bytes) {
  const std::uint16_t id = std::to_underlying(head);
  CHECK(id < size_.value());
  Record& record = records_[id];
  CHECK(record.in_flight);
  CHECK(written_bytes <= record.writable_bytes);
  record = {};
  --in_flight_;
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = queue_});
  views_.used.put(next_used_.slot(size_), {.id = id, .length = written_bytes});
  ++next_used_;
  return {};
}

void SplitDeviceQueue::publish() {
  if (broken_ || next_used_ == published_used_) return;
  views_.used.publish_index(next_used_);
  published_used_ = next_used_;
}

bool SplitDeviceQueue::driver_wants_interrupt() {
  if (broken_ || published_used_ == signalled_used_) return false;
  signalled_used_ = published_used_;
  // Between our store of used.idx and our load of avail.flags. Pairs with the barrier in
  // DriverQueue::want_interrupts(), between its store of avail.flags and its load of used.idx.
  full_barrier();
  return (views_.avail.flags() & spec::VIRTQ_AVAIL_F_NO_INTERRUPT) == 0;
}

void SplitDeviceQueue::suppress_notifications(bool suppressed) {
  if (broken_) return;
  views_.used.set_flags(suppressed ? spec::VIRTQ_USED_F_NO_NOTIFY : std::uint16_t{0});
  // Between our store of used.flags and the load of avail.idx in the pop() that must follow. Pairs
  // with the barrier in DriverQueue::publish(), between its store of avail.idx and its load of
  // used.flags.
  if (!suppressed) full_barrier();
}

std::unexpected<Error> SplitDeviceQueue::break_with(Error error) {
  error.queue = queue_;
  broken_ = error;
  return fail(error);
}

Result<std::uint16_t> SplitDeviceQueue::next_head() const {
  const std::uint16_t head = views_.avail.head(next_avail_.slot(size_));
  const airlock_verdict verdict = airlock_check_index(head, size_.value());
  if (verdict != AIRLOCK_OK) return fail({.code = to_errc(verdict), .detail = head});
  if (records_[head].in_flight) return fail({.code = Errc::kAlreadyInFlight, .detail = head});
  return head;
}

// Ends after at most size_ descriptors: the step refuses one more than the table has.
Result<void> SplitDeviceQueue::walk(std::uint16_t head, Chain& target) const {
  ChainWalk walk(Head{head}, size_, *window_, target);
  std::uint16_t index = head;
  for (;;) {
    const airlock_descriptor descriptor = views_.descriptors.snapshot(index);
    if (auto taken = walk.take(descriptor); !taken) return taken;
    if ((descriptor.flags & spec::VIRTQ_DESC_F_NEXT) == 0) return {};
    index = descriptor.next;
  }
}

}  // namespace airlock::ring
