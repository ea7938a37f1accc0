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
  void boot(std::uint32_t features = 0, bool with_file = true) {
    start("snoop");
    Fd file = memory_file(kRam);
    mapping = MUST(shm::Mapping::map(file, {.length = kRam}));
    ram = mapping.bytes();
    std::vector<Fd> fds;
    if (with_file) fds.push_back(std::move(file));
    EXPECT_EQ(ask(spec::VFIO_USER_DMA_MAP, dma_map(0, kRam), fds).header.error, 0U);
    write_common(offsetof(Common, device_status), std::uint8_t{3});
    write_common(offsetof(Common, driver_feature_select), Le32(1));
    write_common(offsetof(Common, driver_feature), Le32(features));
    write_common(offsetof(Common, device_status), std::uint8_t{11});
    write_common(offsetof(Common, queue_select), Le16(0));
    write_common(offsetof(Common, queue_size), Le16(kSize));
    write_common(offsetof(Common, queue_desc), Le32(kDescriptors));
    write_common(offsetof(Common, queue_driver), Le32(kAvailable));
    write_common(offsetof(Common, queue_device), Le32(kUsed));
    write_common(offsetof(Common, queue_enable), Le16(1));
    write_common(offsetof(Common, device_status), std::uint8_t{15});
    settle();
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
  constexpr std::uint32_t kPacked = 1U << 2U;  // bit 34
  boot(kPacked);
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

}  // namespace
}  // namespace airlock::guard
