// SPDX-License-Identifier: Apache-2.0
#include "testing/hostile_device_ring.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "testing/fake_device.h"

namespace airlock::testing {

namespace {

class SplitHostileRing final : public HostileRing {
 public:
  explicit SplitHostileRing(const Place& place)
      : HostileRing(place), raw_(place.region, place.size, place.areas) {}

  void rewrite_answers(std::uint32_t id, std::uint32_t length) override {
    for (std::uint32_t i = 0; i < slots(); i++)
      raw_.put_used(static_cast<std::uint16_t>(i), {.id = id, .length = length});
  }
  void move_used(std::int32_t by) override {
    raw_.set_used_index(static_cast<std::uint16_t>(raw_.used_index() + by));
  }
  void rewrite_table(const std::function<void(airlock_descriptor&)>& change) override {
    (void)open();  // what is written over is known first
    for (std::uint32_t i = 0; i < slots(); i++) {
      airlock_descriptor descriptor = raw_.descriptor(i);
      change(descriptor);
      raw_.scribble_descriptor(i, descriptor);
    }
  }
  std::uint32_t rewrite_indirect(const std::function<void(airlock_descriptor&)>& change) override {
    std::uint32_t rewritten = 0;
    for (const Request& request : open()) {
      const airlock_descriptor head = raw_.descriptor(request.id);
      if ((head.flags & AIRLOCK_DESC_INDIRECT) == 0) continue;
      const shm::SharedBytes table = memory(head.address, head.length);
      const ring::DescriptorReader reader(table);
      for (std::uint32_t i = 0; i < head.length / AIRLOCK_DESC_BYTES; i++) {
        airlock_descriptor descriptor = reader.snapshot(i);
        change(descriptor);
        ring::DescriptorWriter(table).put(i, descriptor);
        rewritten++;
      }
    }
    return rewritten;
  }
  void visit(const Request& request,
             const std::function<void(const airlock_descriptor&)>& see) override {
    walk(request.id, see);
  }

 protected:
  void look(std::deque<Request>& open) override {
    for (; seen_ != raw_.avail_index(); seen_++) {
      Request request{.id = raw_.available(seen_)};
      request.slots = walk(request.id, [&](const airlock_descriptor& descriptor) {
        if ((descriptor.flags & AIRLOCK_DESC_WRITE) == 0) return;
        request.writable_bytes += descriptor.length;
      });
      open.push_back(request);
    }
  }
  void put_answer(std::uint32_t id, std::uint32_t length, std::uint32_t /*slots*/) override {
    raw_.use(id, length);
  }
  // The index is in memory already: only our own count goes on.
  void skip_answer(std::uint32_t /*slots*/) override { move_used(1); }

 private:
  // Returns how many descriptors of the table the chain takes.
  std::uint32_t walk(std::uint32_t head,
                     const std::function<void(const airlock_descriptor&)>& see) {
    std::uint32_t count = 0;
    for (std::uint32_t index = head; count < slots(); count++) {
      const airlock_descriptor descriptor = raw_.descriptor(index);
      if ((descriptor.flags & AIRLOCK_DESC_INDIRECT) != 0) {
        const ring::DescriptorReader table(memory(descriptor.address, descriptor.length));
        for (std::uint32_t i = 0; i < descriptor.length / AIRLOCK_DESC_BYTES; i++)
          see(table.snapshot(i));
      } else {
        see(descriptor);
      }
      if ((descriptor.flags & AIRLOCK_DESC_NEXT) == 0) return count + 1;
      index = descriptor.next;
    }
    return count;
  }

  FakeDevice raw_;
  std::uint16_t seen_ = 0;  // of the available ring
};

// The highest id that no open request has.
std::uint32_t id_not_open(HostileRing& ring) {
  std::uint32_t id = ring.slots() - 1;
  while (ring.is_open(id))
    id--;
  return id;
}

// Once it has answered, so that it understands its own requests, and before the driver looks.
void rewrite_answered(HostileRing& ring, const std::function<void(airlock_descriptor&)>& change) {
  ring.answer(ring.open().size());
  ring.rewrite_table(change);
}

void xor_flags(HostileRing& ring, std::uint16_t flags) {
  rewrite_answered(ring, [=](airlock_descriptor& descriptor) { descriptor.flags ^= flags; });
}

void use_with(HostileRing& ring, std::uint32_t length) {
  ring.use(ring.open().front().id, length);
}

constexpr std::uint64_t kNowhere = ~std::uint64_t{0} - 15;

constexpr RingLie kRingLies[] = {
    {"IdIsTheQueueSize", [](HostileRing& ring) { ring.use(ring.slots(), 0); }},
    {"IdIsFfff", [](HostileRing& ring) { ring.use(0xffff, 0); }},
    {"IdIsRepeated",
     [](HostileRing& ring) {
       const std::uint32_t id = ring.open().front().id;
       ring.answer(1);
       ring.use(id, 0);
     }},
    {"IdIsNotPublished", [](HostileRing& ring) { ring.use(id_not_open(ring), 0); }},
    {"LengthIsFfffffff", [](HostileRing& ring) { use_with(ring, 0xffff'ffff); }},
    {"LengthIsZero", [](HostileRing& ring) { use_with(ring, 0); }},
    {"LengthIsOneTooMuch",
     [](HostileRing& ring) { use_with(ring, ring.open().front().writable_bytes + 1); }},
    {"AnswerIsRewritten",
     [](HostileRing& ring) {
       ring.answer(1);
       ring.rewrite_answers(0xffff'ffff, 0xffff'ffff);
     }},
    {"UsedWithoutAnAnswer",
     [](HostileRing& ring) {
       ring.move_used(1);
       ring.forget_oldest();
     }},
    {"AllUsedWithoutAnAnswer",
     [](HostileRing& ring) { ring.move_used(static_cast<std::int32_t>(ring.open().size())); }},
    {"UsedBeyondTheQueueSize",
     [](HostileRing& ring) { ring.move_used(static_cast<std::int32_t>(ring.slots()) + 1); }},
    {"UsedGoesBack", [](HostileRing& ring) { ring.move_used(-1); }},
    {"TableFlipsNext", [](HostileRing& ring) { xor_flags(ring, AIRLOCK_DESC_NEXT); }},
    {"TableFlipsWrite", [](HostileRing& ring) { xor_flags(ring, AIRLOCK_DESC_WRITE); }},
    {"TableFlipsIndirect", [](HostileRing& ring) { xor_flags(ring, AIRLOCK_DESC_INDIRECT); }},
    {"TableLeadsElsewhere",
     [](HostileRing& ring) {
       rewrite_answered(ring, [](airlock_descriptor& descriptor) {
         descriptor.address = kNowhere;
         descriptor.length = 0xffff'ffff;
       });
     }},
    {"IndirectTableLeadsElsewhere",
     [](HostileRing& ring) {
       const std::uint32_t hit = ring.rewrite_indirect([](airlock_descriptor& descriptor) {
         descriptor = {.address = kNowhere, .length = 0xffff'ffff, .flags = 0xffff, .next = 0xffff};
       });
       CHECK(hit > 0);
     }},
    {"AnswersInReverse",
     [](HostileRing& ring) {
       const std::deque<HostileRing::Request> all = ring.open();
       for (auto request = all.rbegin(); request != all.rend(); ++request)
         ring.use(request->id, request->writable_bytes);
     }},
};

}  // namespace

std::unique_ptr<HostileRing> HostileRing::create(const Place& place) {
  CHECK(place.features.format == ring::Format::kSplit);
  return std::make_unique<SplitHostileRing>(place);
}

const std::deque<HostileRing::Request>& HostileRing::open() {
  look(open_);
  return open_;
}

bool HostileRing::is_open(std::uint32_t id) {
  return std::ranges::find(open(), id, &Request::id) != open_.end();
}

void HostileRing::answer(std::size_t count) {
  CHECK(count <= open().size());
  if (!honest_) {
    for (; count > 0; count--)
      use(open_.front().id, open_.front().writable_bytes);
    return;
  }
  honest_(count);
  for (; count > 0; count--) {
    skip_answer(open_.front().slots);
    open_.pop_front();
  }
}

void HostileRing::forget_oldest() {
  CHECK(!open().empty());
  open_.pop_front();
}

void HostileRing::use(std::uint32_t id, std::uint32_t length) {
  const auto request = std::ranges::find(open(), id, &Request::id);
  const bool known = request != open_.end();
  put_answer(id, length, known ? request->slots : 1);
  if (known) open_.erase(request);
}

shm::SharedBytes HostileRing::memory(std::uint64_t address, std::uint64_t length) const {
  const auto start = std::to_underlying(place_.publisher.publish(window::RegionOffset{0}));
  return MUST(place_.region.slice(address - start, length));
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
