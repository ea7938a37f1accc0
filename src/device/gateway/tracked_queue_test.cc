// SPDX-License-Identifier: Apache-2.0
//
// Goal: whatever backends do, and whenever they die, each chain is returned to the driver once, and
// none that the driver does not wait for. Method: a raw driver on one side; on the other the areas
// as a backend sees them, honest or not.
#include "device/gateway/tracked_queue.h"

#include <gtest/gtest.h>

#include "ring/layout.h"
#include "testing/address_modes.h"
#include "testing/chain_builder.h"

namespace airlock::device {
namespace {

constexpr std::uint32_t kSlots = 8;

class TrackedQueueTest : public ::testing::Test {
 protected:
  TrackedQueueTest() { queue_.restart(next_areas()); }

  // Of a new backend.
  shm::SharedBytes next_areas() {
    const auto size = driver_.size();
    const auto offset = std::to_underlying(region_.allocate(TrackedQueue::area_bytes(size)));
    areas_ = MUST(region_.bytes().slice(offset, TrackedQueue::area_bytes(size)));
    used_ = 0;
    return areas_;
  }
  // The heads that a backend finds.
  std::vector<std::uint16_t> available() const {
    const ring::AvailReader avail(
        MUST(areas_.slice(0, ring::Layout(driver_.size()).driver().bytes)));
    std::vector<std::uint16_t> heads;
    for (ring::RingIndex at; at != avail.acquire_index(); ++at)
      heads.push_back(avail.head(at.slot(driver_.size())));
    return heads;
  }
  // What a backend returns.
  void use(std::uint32_t id, std::uint32_t length = 0) {
    writer().put(static_cast<std::uint16_t>(used_ % kSlots), {.id = id, .length = length});
    set_used(static_cast<std::uint16_t>(used_ + 1));
  }
  void set_used(std::uint16_t index) {
    used_ = index;
    writer().publish_index(ring::RingIndex(index));
  }
  ring::UsedWriter writer() const {
    return ring::UsedWriter(MUST(areas_.slice(TrackedQueue::device_area_offset(driver_.size()),
                                              ring::Layout(driver_.size()).device().bytes)));
  }
  // Makes a chain of one writable buffer available; its head.
  std::uint16_t submit(std::uint32_t length = 16) {
    const std::uint16_t head = driver_.take_descriptors(1);
    driver_.put_descriptor(head, {.address = driver_.address(buffer_),
                                  .length = length,
                                  .flags = spec::VIRTQ_DESC_F_WRITE,
                                  .next = 0});
    driver_.make_available(head);
    return head;
  }
  Errc backward_error() {
    const auto returned = queue_.backward();
    return returned ? Errc::kSystem : returned.error().code;
  }
  std::vector<std::uint32_t> returned() {
    std::vector<std::uint32_t> ids;
    while (const auto element = driver_.take_used())
      ids.push_back(element->id);
    return ids;
  }

  testing::TestRegion region_{{.mode = window::AddressMode::kBus}};
  testing::FakeDriver driver_{region_, kSlots, 0};
  window::RegionOffset buffer_ = region_.allocate(4096);
  shm::SharedBytes areas_;
  std::uint16_t used_ = 0;
  TrackedQueue queue_ = MUST(TrackedQueue::create(driver_.config(), region_.window()));
};

using Heads = std::vector<std::uint16_t>;
using Ids = std::vector<std::uint32_t>;

TEST_F(TrackedQueueTest, PassesChainsOnAndBack) {
  EXPECT_FALSE(MUST(queue_.forward()));
  const Heads heads{submit(), submit()};
  EXPECT_TRUE(MUST(queue_.forward()));
  EXPECT_EQ(available(), heads);
  EXPECT_EQ(queue_.in_flight(), 2U);
  EXPECT_FALSE(MUST(queue_.backward()).any);
  use(heads[1], 9);
  const auto done = MUST(queue_.backward());
  EXPECT_TRUE(done.any && done.interrupt);
  EXPECT_EQ(driver_.used_element(0), (ring::UsedElement{.id = heads[1], .length = 9}));
  EXPECT_EQ(queue_.in_flight(), 1U);
}

TEST_F(TrackedQueueTest, GivesTheNextBackendWhatIsInFlightInOrder) {
  const Heads heads{submit(), submit(), submit(), submit()};
  EXPECT_TRUE(MUST(queue_.forward()));
  use(heads[2]);
  use(heads[0]);
  EXPECT_TRUE(MUST(queue_.backward()).any);
  queue_.detach();
  const std::uint16_t later = submit();  // while nobody is there
  EXPECT_TRUE(MUST(queue_.forward()));
  queue_.restart(next_areas());
  EXPECT_EQ(available(), (Heads{heads[1], heads[3], later}));
  use(later);
  use(heads[1]);
  use(heads[3]);
  EXPECT_TRUE(MUST(queue_.backward()).any);
  EXPECT_EQ(returned(), (Ids{heads[2], heads[0], later, heads[1], heads[3]}));
  EXPECT_EQ(queue_.in_flight(), 0U);
}

TEST_F(TrackedQueueTest, HearsNothingOfABackendThatWasSentAway) {
  const std::uint16_t head = submit();
  EXPECT_TRUE(MUST(queue_.forward()));
  const ring::UsedWriter late = writer();
  queue_.restart(next_areas());
  late.put(0, {.id = head, .length = 0});
  late.publish_index(ring::RingIndex(1));
  EXPECT_FALSE(MUST(queue_.backward()).any);
  EXPECT_EQ(queue_.in_flight(), 1U);
}

TEST_F(TrackedQueueTest, BelievesNoMoreBytesThanThereWasRoom) {
  const std::uint16_t head = submit(16);
  EXPECT_TRUE(MUST(queue_.forward()));
  use(head, 0xffffffff);
  EXPECT_TRUE(MUST(queue_.backward()).any);
  EXPECT_EQ(driver_.used_element(0), (ring::UsedElement{.id = head, .length = 16}));
}

// --- a backend that lies: its twin above is honest ---

TEST_F(TrackedQueueTest, RefusesWhatIsNotInFlight) {
  const std::uint16_t head = submit();
  submit();
  EXPECT_TRUE(MUST(queue_.forward()));
  use(head);
  use(head);  // twice
  EXPECT_EQ(backward_error(), Errc::kNotOutstanding);
  EXPECT_EQ(returned(), (Ids{head}));  // what came before counts
  queue_.restart(next_areas());
  use((head + 2U) % kSlots);
  EXPECT_EQ(backward_error(), Errc::kNotOutstanding);
  EXPECT_EQ(queue_.in_flight(), 1U);
}

TEST_F(TrackedQueueTest, RefusesIdsThatNoDescriptorHas) {
  for (const std::uint32_t id : {kSlots, 0xffffU, 0x10000U, 0xffffffffU}) {
    submit();
    EXPECT_TRUE(MUST(queue_.forward()));
    use(id);
    EXPECT_EQ(backward_error(), Errc::kBadIndex) << id;
    queue_.restart(next_areas());
  }
}

TEST_F(TrackedQueueTest, RefusesAnIndexThatRanAhead) {
  submit();
  EXPECT_TRUE(MUST(queue_.forward()));
  for (const std::uint16_t index : {std::uint16_t{2}, std::uint16_t{0xffff}}) {
    set_used(index);
    EXPECT_EQ(backward_error(), Errc::kBadIndexJump) << index;
  }
  EXPECT_TRUE(returned().empty());
}

// --- a driver that lies breaks its own queue ---

TEST_F(TrackedQueueTest, StopsAtADriverThatBreaksARule) {
  const std::uint16_t head = submit();
  EXPECT_TRUE(MUST(queue_.forward()));
  driver_.make_available(head);  // again, while in flight
  const auto forwarded = queue_.forward();
  ASSERT_FALSE(forwarded);
  EXPECT_EQ(forwarded.error().code, Errc::kAlreadyInFlight);
  EXPECT_EQ(available(), (Heads{head}));
  // The backend did nothing wrong: nothing is held against it.
  use(head);
  EXPECT_TRUE(queue_.backward());
}

}  // namespace
}  // namespace airlock::device
