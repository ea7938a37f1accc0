// SPDX-License-Identifier: Apache-2.0
//
// The policy `snoop`: exactly what descriptors invite, in their direction, while they are in
// flight.
#include "guard/snooper.h"

#include "core/descriptor.h"
#include "guard/guard_fixture.h"
#include "shm/mapping.h"
#include "spec/virtio.h"
#include "spec/virtio_ring.h"

namespace airlock::guard {
namespace {

using Common = spec::VirtioPciCommonCfg;

class SnooperTest : public GuardFixture {
 protected:
  static constexpr std::uint64_t kRam = 65536;
  static constexpr std::uint64_t kDescriptors = 0x1000;
  static constexpr std::uint64_t kAvailable = 0x2000;
  static constexpr std::uint64_t kUsed = 0x3000;
  static constexpr std::uint64_t kBuffer = 0x8000;
  static constexpr std::uint16_t kSize = 8;

  // A guest with one queue in memory that it shares by a file, or not.
  void boot(std::uint64_t features = 0, bool with_file = true) {
    start("snoop");
    Fd file = memory_file(kRam);
    mapping = MUST(shm::Mapping::map(file, {.length = kRam}));
    ram = mapping.bytes();
    std::vector<Fd> fds;
    if (with_file) fds.push_back(std::move(file));
    EXPECT_EQ(ask(spec::VFIO_USER_DMA_MAP, dma_map(0, kRam), fds).header.error, 0U);
    set_up_device(features);
  }
  void set_up_device(std::uint64_t features) {
    write_common(offsetof(Common, device_status), std::uint8_t{3});
    for (const std::uint32_t word : {0U, 1U}) {
      write_common(offsetof(Common, driver_feature_select), Le32(word));
      write_common(offsetof(Common, driver_feature),
                   Le32(static_cast<std::uint32_t>(features >> (32U * word))));
    }
    write_common(offsetof(Common, device_status), std::uint8_t{11});
    set_up_queue(kSize);
    write_common(offsetof(Common, device_status), std::uint8_t{15});
    settle();
  }
  // Always in the same place.
  void set_up_queue(std::uint16_t size) {
    write_common(offsetof(Common, queue_select), Le16(0));
    write_common(offsetof(Common, queue_size), Le16(size));
    write_common(offsetof(Common, queue_desc), Le32(kDescriptors));
    write_common(offsetof(Common, queue_driver), Le32(kAvailable));
    write_common(offsetof(Common, queue_device), Le32(kUsed));
    write_common(offsetof(Common, queue_enable), Le16(1));
    settle();
  }
  void clear_rings() {
    ram.fill_zero(kDescriptors, kBuffer - kDescriptors);
    available = 0;
  }

  void describe_buffer(std::uint16_t index, std::uint64_t address, std::uint32_t length,
                       std::uint16_t flags, std::uint16_t next = 0) {
    ram.put(
        kDescriptors + sizeof(spec::VirtqDesc) * index,
        spec::VirtqDesc{
            .addr = Le64(address), .len = Le32(length), .flags = Le16(flags), .next = Le16(next)});
  }
  void make_available(std::uint16_t head) {
    ram.put(kAvailable + 4 + 2 * (available % kSize), Le16(head));
    ram.put(kAvailable + 2, Le16(++available));
  }

  // Whether the device gets at it: then the VM is asked.
  bool reads(std::uint64_t address, std::uint64_t count) {
    device_asks(spec::VFIO_USER_DMA_READ, address, count);
    return passed();
  }
  bool writes(std::uint64_t address, const Bytes& data) {
    device_asks(spec::VFIO_USER_DMA_WRITE, address, data.size(), data);
    return passed();
  }
  bool passed() {
    const bool any = vm->readable(0);
    if (!any) return false;
    const Message asked = vm->expect();
    Bytes answer;
    if (asked.header.command == spec::VFIO_USER_DMA_READ) {
      answer = asked.payload;
      answer.resize(answer.size() +
                    vfio_user::require_struct<std::uint64_t>(asked.payload, sizeof(std::uint64_t)));
    }
    EXPECT_TRUE(vm->send(vfio_user::make_message(asked.header.message_id, asked.header.command,
                                                 answer, spec::VFIO_USER_F_TYPE_REPLY)));
    settle();
    return true;
  }

  bool uses(std::uint32_t head, std::uint16_t index) {
    Bytes element = vfio_user::bytes_of(Le32(head));
    vfio_user::append_struct(element, Le32(0));
    return writes(kUsed + 4 + 8 * ((index - 1U) % kSize), element) &&
           writes(kUsed + 2, vfio_user::bytes_of(Le16(index)));
  }

  shm::Mapping mapping;
  shm::SharedBytes ram;
  std::uint16_t available = 0;
};

TEST_F(SnooperTest, WhatDescriptorsInviteAndNoByteMore) {
  boot();
  describe_buffer(0, kBuffer, 16, AIRLOCK_DESC_NEXT, 1);
  describe_buffer(1, kBuffer + 0x1000, 32, AIRLOCK_DESC_WRITE);
  EXPECT_FALSE(reads(kBuffer, 16));  // nobody made it available yet
  make_available(0);
  EXPECT_TRUE(reads(kBuffer, 16));
  EXPECT_TRUE(writes(kBuffer + 0x1000, Bytes(32)));
  EXPECT_FALSE(reads(kBuffer, 17));
  EXPECT_FALSE(reads(kBuffer - 1, 2));
  EXPECT_FALSE(writes(kBuffer, Bytes(16)));   // the other direction
  EXPECT_FALSE(reads(kBuffer + 0x1000, 32));  // likewise
  EXPECT_FALSE(reads(0, kRam));
}

TEST_F(SnooperTest, TheRingItself) {
  boot();
  EXPECT_TRUE(reads(kDescriptors, 16 * kSize));
  EXPECT_TRUE(reads(kUsed, 4 + 8 * kSize));
  EXPECT_TRUE(reads(kAvailable, 4 + 2 * kSize));
  EXPECT_FALSE(writes(kDescriptors, Bytes(16)));
  EXPECT_FALSE(writes(kAvailable, Bytes(2)));
  EXPECT_TRUE(writes(kUsed, Bytes(2)));
  EXPECT_FALSE(reads(kDescriptors, 16 * kSize + 1));
}

TEST_F(SnooperTest, WhatIsUsedIsInvitedNoMore) {
  boot();
  describe_buffer(3, kBuffer, 64, AIRLOCK_DESC_WRITE);
  make_available(3);
  EXPECT_TRUE(writes(kBuffer, Bytes(64)));
  EXPECT_TRUE(uses(3, 1));
  EXPECT_FALSE(writes(kBuffer, Bytes(64)));
  // And again, once it is made available again.
  make_available(3);
  EXPECT_TRUE(writes(kBuffer, Bytes(64)));
}

// Who rewrites an element that is published could have the driver free a buffer that is invited.
TEST_F(SnooperTest, AUsedElementIsWrittenWhileItIsDueAndNotAgain) {
  boot();
  describe_buffer(0, kBuffer, 16, 0);
  describe_buffer(1, kBuffer, 16, 0);
  make_available(0);
  EXPECT_TRUE(reads(kBuffer, 16));
  EXPECT_FALSE(writes(kUsed + 4 + 8, Bytes(8)));  // the second is not due: one chain is in flight
  EXPECT_TRUE(uses(0, 1));
  EXPECT_FALSE(writes(kUsed + 4, Bytes(8)));  // the first is published
  make_available(1);
  EXPECT_TRUE(reads(kBuffer, 16));
  EXPECT_TRUE(uses(1, 2));
}

// The guest changes a descriptor that it has given out: what counts is what was read first.
TEST_F(SnooperTest, ADescriptorIsReadOnce) {
  boot();
  describe_buffer(0, kBuffer, 16, 0);
  make_available(0);
  EXPECT_TRUE(reads(kBuffer, 16));
  describe_buffer(0, kBuffer, 4096, 0);
  EXPECT_FALSE(reads(kBuffer, 4096));
}

TEST_F(SnooperTest, ABrokenRingInvitesNothing) {
  boot();
  describe_buffer(0, kBuffer, 16, AIRLOCK_DESC_NEXT, kSize);  // outside the table
  describe_buffer(1, kBuffer, 16, 0);
  make_available(0);
  make_available(1);
  EXPECT_FALSE(reads(kBuffer, 16));
  EXPECT_FALSE(reads(kDescriptors, 16));
}

TEST_F(SnooperTest, AUsedIndexThatRunsAwayClosesTheQueue) {
  boot();
  describe_buffer(0, kBuffer, 16, 0);
  make_available(0);
  EXPECT_TRUE(reads(kBuffer, 16));
  EXPECT_TRUE(writes(kUsed + 2, vfio_user::bytes_of(Le16(9))));
  EXPECT_FALSE(reads(kBuffer, 16));
}

TEST_F(SnooperTest, WhatIsNotFollowedInvitesNothing) {
  boot(spec::feature(spec::VIRTIO_F_RING_PACKED));
  describe_buffer(0, kBuffer, 16, 0);
  make_available(0);
  EXPECT_FALSE(reads(kBuffer, 16));
}

TEST_F(SnooperTest, MemoryWithoutAFileInvitesNoBuffer) {
  boot(0, false);
  describe_buffer(0, kBuffer, 16, 0);
  make_available(0);
  EXPECT_FALSE(reads(kBuffer, 16));
}

TEST_F(SnooperTest, AfterAResetThereIsNothing) {
  boot();
  describe_buffer(0, kBuffer, 16, 0);
  make_available(0);
  EXPECT_TRUE(reads(kBuffer, 16));
  write_common(offsetof(Common, device_status), std::uint8_t{0});
  EXPECT_FALSE(reads(kBuffer, 16));
  EXPECT_FALSE(reads(kDescriptors, 16));
}

// SYS-7. The device asks for nothing between the reset and the queue's next life, so that nobody
// looked meanwhile; the driver uses the same memory.
TEST_F(SnooperTest, AQueueInTheSamePlaceIsAnotherOne) {
  boot();
  describe_buffer(0, kBuffer, 16, 0);
  make_available(0);
  EXPECT_TRUE(reads(kBuffer, 16));
  write_common(offsetof(Common, device_status), std::uint8_t{0});
  clear_rings();
  set_up_device(0);
  // As many as before the reset: their index says nothing new.
  describe_buffer(1, kBuffer + 0x1000, 16, 0);
  make_available(1);
  EXPECT_FALSE(reads(kBuffer, 16));
  EXPECT_TRUE(reads(kBuffer + 0x1000, 16));
}

// SYS-7: the same for a queue that is reset by itself, and for one that comes back smaller.
TEST_F(SnooperTest, AQueueThatWasResetInvitesNothingOfItsOtherLife) {
  boot(spec::feature(spec::VIRTIO_F_RING_RESET));
  for (const std::uint16_t size : {kSize, std::uint16_t{4}}) {
    describe_buffer(0, kBuffer, 16, 0);
    make_available(0);
    EXPECT_TRUE(reads(kBuffer, 16));
    write_common(offsetof(Common, queue_reset), Le16(1));
    clear_rings();
    set_up_queue(size);
    EXPECT_FALSE(reads(kBuffer, 16));
  }
  EXPECT_TRUE(reads(kDescriptors, 16 * 4));
  EXPECT_FALSE(reads(kDescriptors, (16 * 4) + 1));
}

// SYS-7: the table, and the buffers that it names; each of its entries is read once, too.
TEST_F(SnooperTest, AnIndirectTableInvitesWhatItNames) {
  constexpr std::uint64_t kTable = 0x4000;
  const auto put_entry = [&](std::uint64_t entry, std::uint64_t address, std::uint16_t flags) {
    ram.put(kTable + (sizeof(spec::VirtqDesc) * entry),
            spec::VirtqDesc{
                .addr = Le64(address), .len = Le32(16), .flags = Le16(flags), .next = Le16(1)});
  };
  boot(spec::feature(spec::VIRTIO_F_INDIRECT_DESC));
  put_entry(0, kBuffer, AIRLOCK_DESC_NEXT);
  put_entry(1, kBuffer + 0x1000, AIRLOCK_DESC_WRITE);
  describe_buffer(2, kTable, 32, AIRLOCK_DESC_INDIRECT);
  make_available(2);
  EXPECT_TRUE(reads(kTable, 32));
  EXPECT_FALSE(reads(kTable, 33));
  EXPECT_FALSE(writes(kTable, Bytes(16)));
  put_entry(1, kBuffer + 0x2000, AIRLOCK_DESC_WRITE);
  EXPECT_TRUE(reads(kBuffer, 16));
  EXPECT_TRUE(writes(kBuffer + 0x1000, Bytes(16)));
  EXPECT_FALSE(writes(kBuffer + 0x2000, Bytes(16)));
  EXPECT_TRUE(uses(2, 1));
  EXPECT_FALSE(reads(kTable, 32));
  EXPECT_FALSE(reads(kBuffer, 16));
}

TEST_F(SnooperTest, ATableThatWasNotNegotiatedBreaksTheQueue) {
  boot();
  describe_buffer(2, 0x4000, 32, AIRLOCK_DESC_INDIRECT);
  make_available(2);
  EXPECT_FALSE(reads(0x4000, 32));
  EXPECT_FALSE(reads(kDescriptors, 16));
}

// SYS-7, VIRTIO 1.3, 2.7.8: behind the used ring the device writes which entry it wants to hear of.
TEST_F(SnooperTest, AnEventIndexIsTheDevicesToWrite) {
  boot(spec::feature(spec::VIRTIO_F_EVENT_IDX));
  const std::uint64_t avail_event = kUsed + 4 + (8 * kSize);
  EXPECT_TRUE(writes(avail_event, Bytes(2)));
  EXPECT_TRUE(reads(kAvailable + 4 + (2 * kSize), 2));  // used_event
  EXPECT_FALSE(writes(kAvailable + 4 + (2 * kSize), Bytes(2)));
  EXPECT_FALSE(writes(avail_event + 2, Bytes(1)));
}

}  // namespace
}  // namespace airlock::guard
