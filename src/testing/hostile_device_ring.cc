// SPDX-License-Identifier: Apache-2.0
#include "testing/hostile_device_ring.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <ranges>
#include <utility>

#include "core/range.h"
#include "ring/descriptor_bits.h"
#include "ring/packed_areas.h"
#include "ring/split_areas.h"

namespace airlock::testing {

namespace {

airlock_descriptor read_descriptor(const shm::SharedBytes& table, std::uint32_t index,
                                   ring::Format format) {
  const std::uint64_t at = std::uint64_t{index} * AIRLOCK_DESC_BYTES;
  return ring::decode_descriptor(table.load_relaxed<Le64>(at).get(),
                                 table.load_relaxed<Le64>(at + 8).get(), format);
}

void write_descriptor(const shm::SharedBytes& table, std::uint32_t index,
                      const airlock_descriptor& descriptor, ring::Format format) {
  const std::uint64_t at = std::uint64_t{index} * AIRLOCK_DESC_BYTES;
  table.store_relaxed<Le64>(at, Le64(descriptor.address));
  table.store_relaxed<Le64>(at + 8, Le64(ring::encode_descriptor_rest(descriptor, format)));
}

// Returns how many there are.
std::uint32_t rewrite_all(const shm::SharedBytes& table, ring::Format format,
                          const std::function<void(airlock_descriptor&)>& change) {
  const auto count = static_cast<std::uint32_t>(table.size() / AIRLOCK_DESC_BYTES);
  for (std::uint32_t i = 0; i < count; i++) {
    airlock_descriptor descriptor = read_descriptor(table, i, format);
    change(descriptor);
    write_descriptor(table, i, descriptor, format);
  }
  return count;
}

class SplitHostileRing final : public HostileRing {
 public:
  explicit SplitHostileRing(const Place& place)
      : HostileRing(place),
        avail_(area(place.areas.driver, ring::Layout(place.size).driver())),
        used_(area(place.areas.device, ring::Layout(place.size).device())) {}

  void rewrite_answers(std::uint32_t id, std::uint32_t length) override {
    for (std::uint32_t slot = 0; slot < slots(); slot++)
      used_.put(static_cast<std::uint16_t>(slot), {.id = id, .length = length});
  }

 protected:
  std::optional<Request> look() override {
    if (seen_ == avail_.acquire_index()) return std::nullopt;
    // In range whatever a lie has put there meanwhile.
    const auto head =
        static_cast<std::uint16_t>(avail_.head(seen_.slot(place().size)) & place().size.mask());
    ++seen_;
    Request request = read_request(head);
    request.id = head;
    return request;
  }
  std::uint32_t next_slot(const airlock_descriptor& descriptor,
                          std::uint32_t /*slot*/) const override {
    return descriptor.next & place().size.mask();
  }
  void put_answer(std::uint32_t id, std::uint32_t length, std::uint32_t /*slots*/) override {
    used_.put(next_used_.slot(place().size), {.id = id, .length = length});
    used_.publish_index(++next_used_);
  }
  void skip_answer(std::uint32_t /*slots*/) override { ++next_used_; }
  void show_used(std::int32_t by) override {
    used_.publish_index(ring::RingIndex(static_cast<std::uint16_t>(next_used_.value() + by)));
  }

 private:
  ring::AvailReader avail_;
  ring::UsedWriter used_;
  ring::RingIndex seen_;  // of the available ring
  ring::RingIndex next_used_;
};

class PackedHostileRing final : public HostileRing {
 public:
  explicit PackedHostileRing(const Place& place) : HostileRing(place), ring_(descriptors()) {}

  void rewrite_answers(std::uint32_t id, std::uint32_t length) override {
    for (std::uint32_t slot = 0; slot < slots(); slot++)
      ring_.put_used(static_cast<std::uint16_t>(slot), answer(id, length));
  }

 protected:
  std::optional<Request> look() override {
    const std::uint16_t flags = ring_.acquire_flags(seen_.slot());
    if (!airlock_packed_is_available(flags, seen_.wrap())) return std::nullopt;
    Request request = read_request(seen_.slot());
    seen_.advance(request.slots, place().size);
    return request;
  }
  std::uint32_t next_slot(const airlock_descriptor& /*descriptor*/,
                          std::uint32_t slot) const override {
    return (slot + 1) % slots();
  }
  void put_answer(std::uint32_t id, std::uint32_t length, std::uint32_t slots) override {
    ring_.put_used(used_.slot(), answer(id, length));
    ring_.publish_used(used_.slot(), used_.wrap(), length > 0);
    used_.advance(slots, place().size);
  }
  void skip_answer(std::uint32_t slots) override { used_.advance(slots, place().size); }
  // The flags alone: the rest of a used descriptor is then what the driver wrote there.
  void show_used(std::int32_t by) override {
    ring::PackedPosition position = used_;
    if (by < 0) return ring_.mark_used(position.slot(), !position.wrap(), false);  // a lap ago
    const std::deque<Request>& all = open();
    std::uint32_t lap = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(by) && lap < slots(); i++) {
      ring_.mark_used(position.slot(), position.wrap(), false);
      const std::uint32_t slots_of_it = i < all.size() ? all[i].slots : 1;
      position.advance(slots_of_it, place().size);
      lap += slots_of_it;
    }
  }

 private:
  static ring::PackedUsed answer(std::uint32_t id, std::uint32_t length) {
    return {.id = static_cast<std::uint16_t>(id), .length = length};
  }

  ring::PackedDeviceRing ring_;
  ring::PackedPosition seen_;
  ring::PackedPosition used_;  // where the next answer goes
};

// The highest id that no open request has.
std::uint32_t id_not_open(HostileRing& ring) {
  std::uint32_t id = ring.slots() - 1;
  while (ring.is_open(id))
    id--;
  return id;
}

void xor_flags(HostileRing& ring, std::uint16_t flags) {
  ring.answer_and_rewrite_table([=](airlock_descriptor& descriptor) { descriptor.flags ^= flags; });
}

void use_with(HostileRing& ring, std::uint32_t length) {
  ring.use(ring.open().front().id, length);
}

constexpr std::uint64_t kNowhere = ~std::uint64_t{0} - 15;

constexpr RingLie kRingLies[] = {
    {.name = "IdIsTheQueueSize", .tell = [](HostileRing& ring) { ring.use(ring.slots(), 0); }},
    {.name = "IdIsFfff", .tell = [](HostileRing& ring) { ring.use(0xffff, 0); }},
    {.name = "IdIsRepeated",
     .tell =
         [](HostileRing& ring) {
           const std::uint32_t id = ring.open().front().id;
           ring.answer(1);
           ring.use(id, 0);
         }},
    {.name = "IdIsNotPublished", .tell = [](HostileRing& ring) { ring.use(id_not_open(ring), 0); }},
    {.name = "LengthIsFfffffff", .tell = [](HostileRing& ring) { use_with(ring, 0xffff'ffff); }},
    {.name = "LengthIsZero", .tell = [](HostileRing& ring) { use_with(ring, 0); }},
    {.name = "LengthIsOneTooMuch",
     .tell = [](HostileRing& ring) { use_with(ring, ring.open().front().writable_bytes + 1); }},
    {.name = "AnswerIsRewritten",
     .tell =
         [](HostileRing& ring) {
           ring.answer(1);
           ring.rewrite_answers(0xffff'ffff, 0xffff'ffff);
         }},
    {.name = "UsedWithoutAnAnswer", .tell = [](HostileRing& ring) { ring.move_used(1); }},
    {.name = "AllUsedWithoutAnAnswer",
     .tell =
         [](HostileRing& ring) { ring.move_used(static_cast<std::int32_t>(ring.open().size())); }},
    {.name = "UsedBeyondTheQueueSize",
     .tell =
         [](HostileRing& ring) { ring.move_used(static_cast<std::int32_t>(ring.slots()) + 1); }},
    {.name = "UsedGoesBack", .tell = [](HostileRing& ring) { ring.move_used(-1); }},
    {.name = "TableFlipsNext",
     .tell = [](HostileRing& ring) { xor_flags(ring, AIRLOCK_DESC_NEXT); }},
    {.name = "TableFlipsWrite",
     .tell = [](HostileRing& ring) { xor_flags(ring, AIRLOCK_DESC_WRITE); }},
    {.name = "TableFlipsIndirect",
     .tell = [](HostileRing& ring) { xor_flags(ring, AIRLOCK_DESC_INDIRECT); }},
    {.name = "TableLeadsElsewhere",
     .tell =
         [](HostileRing& ring) {
           ring.answer_and_rewrite_table([](airlock_descriptor& descriptor) {
             descriptor.address = kNowhere;
             descriptor.length = 0xffff'ffff;
           });
         }},
    {.name = "TableLoops",
     .tell =
         [](HostileRing& ring) {
           ring.answer_and_rewrite_table([](airlock_descriptor& descriptor) {
             descriptor.flags |= AIRLOCK_DESC_NEXT;
             descriptor.next = 0;
           });
         }},
    {.name = "DriverAreaIsRewritten",
     .tell =
         [](HostileRing& ring) {
           ring.answer(ring.open().size());
           ring.rewrite_driver_area();
         }},
    {.name = "EventsAreGarbage", .tell = [](HostileRing& ring) { ring.rewrite_device_events(); }},
    {.name = "IndirectTableLeadsElsewhere",
     .tell =
         [](HostileRing& ring) {
           const std::uint32_t hit =
               ring.answer_and_rewrite_tables([](airlock_descriptor& descriptor) {
                 descriptor = {
                     .address = kNowhere, .length = 0xffff'ffff, .flags = 0xffff, .next = 0xffff};
               });
           CHECK(hit > 0);
         }},
    {.name = "AnswersInReverse",
     .tell =
         [](HostileRing& ring) {
           const std::deque<HostileRing::Request> all = ring.open();
           for (const HostileRing::Request& request : std::views::reverse(all))
             ring.use(request.id, request.writable_bytes);
         }},
};

}  // namespace

std::unique_ptr<HostileRing> HostileRing::create(const Place& place) {
  if (place.features.format == ring::Format::kPacked) {
    return std::make_unique<PackedHostileRing>(place);
  }
  return std::make_unique<SplitHostileRing>(place);
}

const std::deque<HostileRing::Request>& HostileRing::open() {
  // No more than a ring holds, however often a lie changes its index.
  while (open_.size() < slots()) {
    auto request = look();
    if (!request) break;
    open_.push_back(std::move(*request));
  }
  return open_;
}

bool HostileRing::is_open(std::uint32_t id) {
  return std::ranges::find(open(), id, &Request::id) != open_.end();
}

void HostileRing::answer(std::size_t count) {
  CHECK(count <= open().size());
  if (!honest_) {
    for (; count > 0; count--) {
      const Request& request = open_.front();
      use(request.id, server_ ? server_(request) : request.writable_bytes);
    }
    return;
  }
  honest_(count);
  for (; count > 0; count--) {
    skip_answer(open_.front().slots);
    open_.pop_front();
  }
}

void HostileRing::use(std::uint32_t id, std::uint32_t length) {
  const auto request = std::ranges::find(open(), id, &Request::id);
  const bool known = request != open_.end();
  put_answer(id, length, known ? request->slots : 1);
  if (known) open_.erase(request);
}

void HostileRing::move_used(std::int32_t by) {
  (void)open();  // what may be written over is known first
  show_used(by);
  for (; by > 0 && !open().empty(); by--) {
    skip_answer(open_.front().slots);
    open_.pop_front();
  }
}

void HostileRing::rewrite_table(const std::function<void(airlock_descriptor&)>& change) {
  (void)open();  // as above
  rewrite_all(descriptors(), place_.features.format, change);
}

// Whoever answers with a queue of his own reads the table, so he is served first; a driver that
// runs meanwhile must meet the lie when it takes the answer.
void HostileRing::answer_and_rewrite_table(const std::function<void(airlock_descriptor&)>& change) {
  if (server_) rewrite_table(change);
  answer(open().size());
  if (!server_) rewrite_table(change);
}

std::uint32_t HostileRing::answer_and_rewrite_tables(
    const std::function<void(airlock_descriptor&)>& change) {
  const std::deque<Request> all = open();
  if (!server_) answer(all.size());
  std::uint32_t rewritten = 0;
  for (const Request& request : all)
    rewritten += rewrite_all(request.table, place_.features.format, change);
  if (server_) answer(all.size());
  return rewritten;
}

void HostileRing::rewrite_driver_area() {
  constexpr std::uint16_t kGarbledEntry = 0xa5a5;
  const ring::Format format = place_.features.format;
  const shm::SharedBytes all =
      area(place_.areas.driver, ring::Layout(place_.size, format).driver());
  for (std::uint64_t at = 0; at < all.size(); at += sizeof kGarbledEntry) {
    const bool is_index =
        format == ring::Format::kSplit && at == offsetof(spec::VirtqAvailHeader, idx);
    if (!is_index) all.store_relaxed<Le16>(at, Le16(kGarbledEntry));
  }
}

// Of a split ring the first word and the last; of a packed one these are all.
void HostileRing::rewrite_device_events() const {
  const shm::SharedBytes all = areas().back();
  all.store_relaxed<Le16>(0, Le16(0xbeef));
  all.store_relaxed<Le16>(all.size() - sizeof(Le16), Le16(0xdead));
}

std::vector<shm::SharedBytes> HostileRing::areas() const {
  const ring::Layout layout(place_.size, place_.features.format);
  return {descriptors(), area(place_.areas.driver, layout.driver()),
          area(place_.areas.device, layout.device())};
}

shm::SharedBytes HostileRing::area(window::RegionOffset offset,
                                   const ring::AreaShape& shape) const {
  return MUST(place_.region.slice(std::to_underlying(offset), shape.bytes));
}

shm::SharedBytes HostileRing::descriptors() const {
  return area(place_.areas.descriptors,
              ring::Layout(place_.size, place_.features.format).descriptors());
}

HostileRing::Request HostileRing::read_request(std::uint32_t slot) const {
  const ring::Format format = place_.features.format;
  const std::uint64_t start = std::to_underlying(place_.publisher.publish(window::RegionOffset{0}));
  Request request;
  for (bool more = true; more && request.slots < slots(); request.slots++) {
    const airlock_descriptor descriptor = read_descriptor(descriptors(), slot, format);
    more = (descriptor.flags & AIRLOCK_DESC_NEXT) != 0;
    request.id = descriptor.next;
    slot = next_slot(descriptor, slot);
    if ((descriptor.flags & AIRLOCK_DESC_INDIRECT) == 0) {
      request.buffers.push_back(descriptor);
      continue;
    }
    // The driver's are good; but a lie may have changed this one since.
    const auto table = place_.region.slice(descriptor.address - start, descriptor.length);
    if (!table || !airlock_is_aligned(descriptor.address - start, AIRLOCK_DESC_BYTES)) continue;
    request.table = *table;
    for (std::uint32_t i = 0; i < descriptor.length / AIRLOCK_DESC_BYTES; i++)
      request.buffers.push_back(read_descriptor(request.table, i, format));
  }
  for (const airlock_descriptor& buffer : request.buffers) {
    if ((buffer.flags & AIRLOCK_DESC_WRITE) != 0) request.writable_bytes += buffer.length;
  }
  return request;
}

std::span<const RingLie> ring_lies() {
  return kRingLies;
}

const RingLie& ring_lie(std::string_view name) {
  const auto* const found = std::ranges::find(kRingLies, name, &RingLie::name);
  CHECK(found != std::end(kRingLies));
  return *found;
}

}  // namespace airlock::testing
