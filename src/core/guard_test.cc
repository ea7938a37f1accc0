// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// Goal: each decision says yes to what a VM or an honest device does, and no to the nearest thing
// that it may not. Method: pairs at the limits, a message or a file at a time.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <utility>

#include "core/guard_memory.h"
#include "core/guard_message.h"

namespace airlock {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kPage = 4096;
constexpr bool kOfVm = false;
constexpr bool kOfDevice = true;
constexpr bool kRead = false;
constexpr bool kWrite = true;

// VFIO_USER 1.2.
enum Command : std::uint16_t {
  VFIO_USER_VERSION = 1,
  VFIO_USER_DMA_MAP = 2,
  VFIO_USER_DMA_UNMAP = 3,
  VFIO_USER_DEVICE_GET_INFO = 4,
  VFIO_USER_DEVICE_GET_REGION_INFO = 5,
  VFIO_USER_DEVICE_GET_IRQ_INFO = 7,
  VFIO_USER_DEVICE_SET_IRQS = 8,
  VFIO_USER_REGION_READ = 9,
  VFIO_USER_REGION_WRITE = 10,
  VFIO_USER_DMA_READ = 11,
  VFIO_USER_DMA_WRITE = 12,
  VFIO_USER_DEVICE_RESET = 13,
};

// VFIO_USER 1.1, 1.10: so that a caller may copy the bytes of a message.
static_assert(sizeof(airlock_guard_header) == 16 && offsetof(airlock_guard_header, command) == 2);
static_assert(offsetof(airlock_guard_header, size) == 4 &&
              offsetof(airlock_guard_header, flags) == 8 &&
              offsetof(airlock_guard_header, error) == 12);
static_assert(sizeof(airlock_guard_irq_set) == 20 && offsetof(airlock_guard_irq_set, count) == 16);

airlock_guard_rules rules_of(airlock_guard_policy policy) {
  return {.policy = policy,
          .window_first = 0x10000,
          .window_bytes = 0x4000,
          .data_max = 1048576,
          .fds_max = 16,
          .region_max = std::uint64_t{1} << 32,
          .page_bytes = kPage};
}

// A message of `bytes` behind its header.
airlock_guard_header message(std::uint16_t command, std::uint32_t bytes, std::uint32_t flags = 0,
                             std::uint32_t error = 0) {
  return {.id = 7, .command = command, .size = bytes + 16, .flags = flags, .error = error};
}

class GuardCommand : public testing::TestWithParam<airlock_guard_policy> {
 protected:
  [[nodiscard]] airlock_guard_reason judge(bool of_device, std::uint16_t command,
                                           std::uint32_t bytes, std::uint32_t fds = 0,
                                           std::uint32_t flags = 0) const {
    const auto header = message(command, bytes, flags);
    return airlock_guard_command(&rules_, of_device, &header, fds);
  }
  [[nodiscard]] bool bounce() const { return GetParam() == AIRLOCK_GUARD_BOUNCE; }

  airlock_guard_rules rules_ = rules_of(GetParam());
};

INSTANTIATE_TEST_SUITE_P(Policies, GuardCommand,
                         testing::Values(AIRLOCK_GUARD_BOUNCE, AIRLOCK_GUARD_WINDOW,
                                         AIRLOCK_GUARD_SNOOP, AIRLOCK_GUARD_OPEN));

// VFIO_USER 1.3, 1.6, 1.7, 1.9: a device that answers these itself could answer too late.
TEST_P(GuardCommand, AnswersWhatDescribesTheDevice) {
  EXPECT_EQ(judge(kOfVm, VFIO_USER_VERSION, 4), AIRLOCK_GUARD_OWN_ANSWER);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_VERSION, 3), AIRLOCK_GUARD_BAD_SIZE);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DEVICE_GET_INFO, 16), AIRLOCK_GUARD_OWN_ANSWER);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DEVICE_GET_INFO, 15), AIRLOCK_GUARD_BAD_SIZE);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DEVICE_GET_REGION_INFO, 32), AIRLOCK_GUARD_OWN_ANSWER);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DEVICE_GET_REGION_INFO, 64), AIRLOCK_GUARD_OWN_ANSWER);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DEVICE_GET_REGION_INFO, 31), AIRLOCK_GUARD_BAD_SIZE);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DEVICE_GET_IRQ_INFO, 16), AIRLOCK_GUARD_OWN_ANSWER);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DEVICE_GET_IRQ_INFO, 16, 1), AIRLOCK_GUARD_BAD_FDS);
}

// VFIO_USER 1.4, 1.5: under bounce the device never learns that there is guest memory.
TEST_P(GuardCommand, KeepsDmaMapToItselfUnlessThePolicyGivesMemory) {
  const auto expected = bounce() ? AIRLOCK_GUARD_OWN_ANSWER : AIRLOCK_GUARD_PASS;
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DMA_MAP, 32), expected);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DMA_MAP, 32, 1), expected);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DMA_MAP, 32, 2), AIRLOCK_GUARD_BAD_FDS);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DMA_MAP, 33), AIRLOCK_GUARD_BAD_SIZE);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DMA_UNMAP, 24), expected);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DMA_UNMAP, 24, 1), AIRLOCK_GUARD_BAD_FDS);
}

// VFIO_USER 1.10, 1.11, 1.14.
TEST_P(GuardCommand, ForwardsRegistersInterruptsAndReset) {
  EXPECT_EQ(judge(kOfVm, VFIO_USER_REGION_READ, 16), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_REGION_READ, 17), AIRLOCK_GUARD_BAD_SIZE);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_REGION_WRITE, 17), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_REGION_WRITE, 16), AIRLOCK_GUARD_BAD_SIZE);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_REGION_WRITE, 16 + 1048576), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_REGION_WRITE, 17 + 1048576), AIRLOCK_GUARD_BAD_HEADER);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_REGION_WRITE, 17, 1), AIRLOCK_GUARD_BAD_FDS);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DEVICE_SET_IRQS, 20, 16), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DEVICE_SET_IRQS, 20, 17), AIRLOCK_GUARD_BAD_FDS);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DEVICE_SET_IRQS, 19), AIRLOCK_GUARD_BAD_SIZE);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DEVICE_RESET, 0), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DEVICE_RESET, 1), AIRLOCK_GUARD_BAD_SIZE);
}

// VFIO_USER 1.2: whatever its flags.
TEST_P(GuardCommand, RefusesWhatItDoesNotName) {
  for (std::uint32_t command = 0; command <= 0xffff; ++command) {
    if (command >= 1 && command <= 13 && command != 6) continue;
    const auto number = static_cast<std::uint16_t>(command);
    const bool optional = command == 6 || (command >= 14 && command <= 18);
    for (const std::uint32_t flags : {0U, 0x10U, 0x20U, 0xfffffff0U}) {
      EXPECT_EQ(judge(kOfVm, number, 16, 0, flags),
                optional ? AIRLOCK_GUARD_OPTIONAL_COMMAND : AIRLOCK_GUARD_UNKNOWN_COMMAND);
      EXPECT_EQ(judge(kOfDevice, number, 16, 0, flags),
                optional ? AIRLOCK_GUARD_WRONG_SIDE : AIRLOCK_GUARD_UNKNOWN_COMMAND);
    }
  }
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DMA_READ, 16), AIRLOCK_GUARD_WRONG_SIDE);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DMA_WRITE, 17), AIRLOCK_GUARD_WRONG_SIDE);
}

// VFIO_USER 1.1.
TEST_P(GuardCommand, LosesAStreamThatSpeaksAnotherProtocol) {
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DEVICE_RESET, 0, 0, 0x10), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(kOfVm, VFIO_USER_DEVICE_RESET, 0, 0, 0x20), AIRLOCK_GUARD_BAD_FLAGS);
  for (const bool side : {kOfVm, kOfDevice}) {
    EXPECT_EQ(judge(side, VFIO_USER_DEVICE_RESET, 0, 0, 1), AIRLOCK_GUARD_BAD_HEADER);
    EXPECT_EQ(judge(side, VFIO_USER_DEVICE_RESET, 0, 0, 0x1f), AIRLOCK_GUARD_BAD_HEADER);
    for (const std::uint32_t bytes : {0xffffffffU, 0xfffffff0U}) {  // sizes 15 and 0
      EXPECT_EQ(judge(side, VFIO_USER_DEVICE_RESET, bytes), AIRLOCK_GUARD_BAD_HEADER);
    }
  }
}

// VFIO_USER 1.13; T1.
TEST_P(GuardCommand, LetsADeviceAskForMemoryOnlyIfThePolicyGivesAny) {
  const auto expected = bounce() ? AIRLOCK_GUARD_NO_MEMORY : AIRLOCK_GUARD_PASS;
  EXPECT_EQ(judge(kOfDevice, VFIO_USER_DMA_READ, 16), expected);
  EXPECT_EQ(judge(kOfDevice, VFIO_USER_DMA_WRITE, 17), expected);
  if (!bounce()) {
    EXPECT_EQ(judge(kOfDevice, VFIO_USER_DMA_READ, 17), AIRLOCK_GUARD_BAD_SIZE);
    EXPECT_EQ(judge(kOfDevice, VFIO_USER_DMA_WRITE, 16), AIRLOCK_GUARD_BAD_SIZE);
    EXPECT_EQ(judge(kOfDevice, VFIO_USER_DMA_READ, 16, 1), AIRLOCK_GUARD_BAD_FDS);
  }
  for (std::uint16_t command = 1; command <= 13; ++command) {
    if (command == VFIO_USER_DMA_READ || command == VFIO_USER_DMA_WRITE) continue;
    EXPECT_EQ(judge(kOfDevice, command, 16), AIRLOCK_GUARD_WRONG_SIDE);
  }
}

TEST(GuardReason, SaysWhatToDo) {
  std::set<std::string> words;
  for (int i = 0; i < AIRLOCK_GUARD_REASON_COUNT; ++i) {
    const auto meaning = airlock_guard_explain(static_cast<airlock_guard_reason>(i));
    EXPECT_TRUE(words.insert(meaning.words).second) << meaning.words;
    EXPECT_EQ(meaning.error != 0,
              meaning.action == AIRLOCK_GUARD_REFUSE || meaning.action == AIRLOCK_GUARD_LOST);
  }
  EXPECT_EQ(airlock_guard_explain(AIRLOCK_GUARD_NO_MEMORY).error, EPERM);
  EXPECT_EQ(airlock_guard_explain(AIRLOCK_GUARD_UNKNOWN_COMMAND).error, ENOSYS);
  EXPECT_EQ(airlock_guard_explain(AIRLOCK_GUARD_OPTIONAL_COMMAND).error, ENOTTY);
  EXPECT_EQ(airlock_guard_explain(AIRLOCK_GUARD_MAPPED_TWICE).error, EEXIST);
  EXPECT_EQ(airlock_guard_explain(AIRLOCK_GUARD_TABLE_FULL).error, ENOMEM);
  EXPECT_EQ(airlock_guard_explain(AIRLOCK_GUARD_NO_SNOOP).error, EOPNOTSUPP);
  EXPECT_EQ(airlock_guard_explain(AIRLOCK_GUARD_REASON_COUNT).action, AIRLOCK_GUARD_LOST);
}

class GuardReply : public testing::Test {
 protected:
  [[nodiscard]] airlock_guard_reason judge(std::uint16_t command, std::uint32_t bytes,
                                           std::uint32_t fds = 0, std::uint32_t flags = 1,
                                           std::uint32_t error = 0) const {
    const airlock_guard_asked asked{.id = 7, .command = command, .room = 48, .echo = {5, 6}};
    const auto header = message(command, bytes, flags, error);
    return airlock_guard_reply(&asked, &header, fds, echo_);
  }

  std::uint64_t echo_[2] = {5, 6};
};

TEST_F(GuardReply, HasTheSizeOfTheAnswer) {
  struct Answer {
    std::uint16_t command;
    std::uint32_t least, most;  // bytes behind the header, if 48 are asked for
  };
  for (const Answer& answer :
       {Answer{VFIO_USER_VERSION, 4, 48}, Answer{VFIO_USER_DMA_MAP, 0, 0},
        Answer{VFIO_USER_DMA_UNMAP, 24, 24}, Answer{VFIO_USER_DEVICE_GET_INFO, 16, 16},
        Answer{VFIO_USER_DEVICE_GET_REGION_INFO, 32, 48},
        Answer{VFIO_USER_DEVICE_GET_IRQ_INFO, 16, 16}, Answer{VFIO_USER_DEVICE_SET_IRQS, 0, 0},
        Answer{VFIO_USER_REGION_READ, 16 + 48, 16 + 48}, Answer{VFIO_USER_REGION_WRITE, 16, 16},
        Answer{VFIO_USER_DMA_READ, 16 + 48, 16 + 48}, Answer{VFIO_USER_DMA_WRITE, 0, 16},
        Answer{VFIO_USER_DEVICE_RESET, 0, 0}}) {
    EXPECT_EQ(judge(answer.command, answer.least), AIRLOCK_GUARD_PASS) << answer.command;
    EXPECT_EQ(judge(answer.command, answer.most), AIRLOCK_GUARD_PASS) << answer.command;
    EXPECT_EQ(judge(answer.command, answer.least - 1), AIRLOCK_GUARD_BAD_REPLY) << answer.command;
    EXPECT_EQ(judge(answer.command, answer.most + 1), AIRLOCK_GUARD_BAD_REPLY) << answer.command;
  }
}

// VFIO_USER 1.7: a region's file, and no other file ever.
TEST_F(GuardReply, CarriesAnFdOnlyWithARegion) {
  EXPECT_EQ(judge(VFIO_USER_DEVICE_GET_REGION_INFO, 32, 1), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(VFIO_USER_DEVICE_GET_REGION_INFO, 32, 2), AIRLOCK_GUARD_BAD_FDS);
  EXPECT_EQ(judge(VFIO_USER_DEVICE_GET_REGION_INFO, 0, 1, 0x21, EIO), AIRLOCK_GUARD_BAD_FDS);
  EXPECT_EQ(judge(VFIO_USER_VERSION, 4, 1), AIRLOCK_GUARD_BAD_FDS);
  EXPECT_EQ(judge(VFIO_USER_REGION_READ, 64, 1), AIRLOCK_GUARD_BAD_FDS);
}

// VFIO_USER 1.1: an error reply is a header with an errno.
TEST_F(GuardReply, MayBeAnError) {
  EXPECT_EQ(judge(VFIO_USER_REGION_READ, 0, 0, 0x21, EIO), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(VFIO_USER_REGION_READ, 0, 0, 0x21, 4095), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(VFIO_USER_REGION_READ, 0, 0, 0x21, 0), AIRLOCK_GUARD_BAD_REPLY);
  EXPECT_EQ(judge(VFIO_USER_REGION_READ, 0, 0, 0x21, 4096), AIRLOCK_GUARD_BAD_REPLY);
  EXPECT_EQ(judge(VFIO_USER_REGION_READ, 64, 0, 0x21, EIO), AIRLOCK_GUARD_BAD_REPLY);
  EXPECT_EQ(judge(VFIO_USER_REGION_READ, 64, 0, 0x31), AIRLOCK_GUARD_BAD_REPLY);
  EXPECT_EQ(judge(VFIO_USER_REGION_READ, 64, 0, 0), AIRLOCK_GUARD_BAD_REPLY);
}

// VFIO_USER 1.11.
TEST_F(GuardReply, SpeaksOfWhatWasAsked) {
  const airlock_guard_asked asked{.id = 8, .command = VFIO_USER_REGION_READ, .room = 4, .echo = {}};
  auto header = message(VFIO_USER_REGION_READ, 20, 1);
  const std::uint64_t zeros[2] = {0, 0};
  EXPECT_EQ(airlock_guard_reply(&asked, &header, 0, zeros), AIRLOCK_GUARD_BAD_REPLY);
  header.id = 8;
  EXPECT_EQ(airlock_guard_reply(&asked, &header, 0, zeros), AIRLOCK_GUARD_PASS);
  header.command = VFIO_USER_REGION_WRITE;
  EXPECT_EQ(airlock_guard_reply(&asked, &header, 0, zeros), AIRLOCK_GUARD_BAD_REPLY);
  for (const std::size_t half : {0U, 1U}) {
    echo_[half] ^= 1;
    EXPECT_EQ(judge(VFIO_USER_REGION_READ, 64), AIRLOCK_GUARD_BAD_REPLY);
    EXPECT_EQ(judge(VFIO_USER_REGION_WRITE, 16), AIRLOCK_GUARD_BAD_REPLY);
    EXPECT_EQ(judge(VFIO_USER_DEVICE_RESET, 0), AIRLOCK_GUARD_PASS);
    echo_[half] ^= 1;
  }
}

class GuardIrqs : public testing::Test {
 protected:
  [[nodiscard]] static airlock_guard_reason judge(std::uint32_t index, std::uint32_t start,
                                                  std::uint32_t count, std::uint32_t fds = 0,
                                                  std::uint32_t flags = 0x24,
                                                  std::uint64_t bytes = 0) {
    const airlock_guard_irq_set set{
        .argsz = 20, .flags = flags, .index = index, .start = start, .count = count};
    const std::uint32_t counts[] = {0, 0, 4, 1, 1};
    return airlock_guard_set_irqs(&set, bytes, fds, counts);
  }
};

// VFIO_USER 1.10.
TEST_F(GuardIrqs, AreTheVectorsOfTheDevice) {
  EXPECT_EQ(judge(2, 0, 4, 4), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(2, 3, 1, 1), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(2, 3, 2, 2), AIRLOCK_GUARD_BAD_IRQ);
  EXPECT_EQ(judge(2, 0xffffffff, 2, 2), AIRLOCK_GUARD_BAD_IRQ);
  EXPECT_EQ(judge(1, 0, 1, 1), AIRLOCK_GUARD_BAD_IRQ);
  EXPECT_EQ(judge(5, 0, 0), AIRLOCK_GUARD_BAD_IRQ);
  EXPECT_EQ(judge(0, 0, 0, 0, 0x21), AIRLOCK_GUARD_PASS);  // QEMU turns INTx off wherever it is
}

// VFIO_USER 1.6, 1.10; T1: a device that fires ERR stops the VM.
TEST_F(GuardIrqs, OfErrorsAndRequestsStayWithTheGuard) {
  EXPECT_EQ(judge(2, 0, 1, 1), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(3, 0, 1, 1), AIRLOCK_GUARD_IRQ_KEPT);
  EXPECT_EQ(judge(4, 0, 1, 1), AIRLOCK_GUARD_IRQ_KEPT);
  EXPECT_EQ(judge(3, 0, 1, 0), AIRLOCK_GUARD_IRQ_KEPT);
  EXPECT_EQ(judge(4, 0, 2, 2), AIRLOCK_GUARD_BAD_IRQ);
}

TEST_F(GuardIrqs, HaveOneKindOfDataAndOneAction) {
  for (std::uint32_t flags = 0; flags < 0x80; ++flags) {
    const std::uint32_t data = flags & 7;
    const std::uint32_t action = flags & 0x38;
    const bool right = flags < 0x40 && (data == 1 || data == 2 || data == 4) &&
                       (action == 0x20 || (data != 4 && (action == 8 || action == 0x10)));
    EXPECT_EQ(judge(2, 0, 1, 0, flags, data == 2 ? 1 : 0),
              right ? AIRLOCK_GUARD_PASS : AIRLOCK_GUARD_BAD_FLAGS)
        << flags;
  }
}

TEST_F(GuardIrqs, HaveAsMuchDataAndAsManyEventfdsAsVectors) {
  EXPECT_EQ(judge(2, 0, 3, 0, 0x22, 3), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(2, 0, 3, 0, 0x22, 2), AIRLOCK_GUARD_BAD_SIZE);
  EXPECT_EQ(judge(2, 0, 3, 0, 0x21, 1), AIRLOCK_GUARD_BAD_SIZE);
  EXPECT_EQ(judge(2, 0, 3, 3), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(2, 0, 3, 0), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(2, 0, 3, 2), AIRLOCK_GUARD_BAD_FDS);
  EXPECT_EQ(judge(2, 0, 3, 4), AIRLOCK_GUARD_BAD_FDS);
  EXPECT_EQ(judge(2, 0, 3, 3, 0x21), AIRLOCK_GUARD_BAD_FDS);
}

class GuardRegion : public testing::Test {
 protected:
  [[nodiscard]] airlock_guard_reason judge(std::uint32_t index, std::uint32_t flags,
                                           std::uint64_t size, std::uint64_t offset = 0) const {
    return airlock_guard_region(&rules_, index, flags, size, offset);
  }

  airlock_guard_rules rules_ = rules_of(AIRLOCK_GUARD_BOUNCE);
};

// VFIO_USER 1.7: QEMU ends at a BAR that is no power of two.
TEST_F(GuardRegion, IsAsLargeAsItCanBe) {
  EXPECT_EQ(judge(0, 3, kPage), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(0, 3, 256), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(0, 0, 0), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(0, 3, kPage + 1), AIRLOCK_GUARD_BAD_REGION);
  EXPECT_EQ(judge(5, 3, std::uint64_t{1} << 32), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(5, 3, std::uint64_t{1} << 33), AIRLOCK_GUARD_BAD_REGION);
  EXPECT_EQ(judge(6, 1, 2 * kPage), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(6, 1, 3 * kPage), AIRLOCK_GUARD_BAD_REGION);
  EXPECT_EQ(judge(7, 3, 256), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(7, 3, 4096), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(7, 3, 512), AIRLOCK_GUARD_BAD_REGION);
  EXPECT_EQ(judge(7, 3, 0), AIRLOCK_GUARD_BAD_REGION);
  EXPECT_EQ(judge(8, 0, 0), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(8, 3, kPage), AIRLOCK_GUARD_BAD_REGION);
  EXPECT_EQ(judge(9, 3, kPage), AIRLOCK_GUARD_BAD_REGION);
  EXPECT_EQ(judge(0, 0x13, kPage), AIRLOCK_GUARD_BAD_FLAGS);
}

TEST_F(GuardRegion, CanBeMappedIfItIsABarFromTheStartOfItsFile) {
  EXPECT_EQ(judge(2, 0xf, kPage), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(2, 0xf, kPage, kPage), AIRLOCK_GUARD_BAD_REGION);
  EXPECT_EQ(judge(2, 3, kPage, kPage), AIRLOCK_GUARD_PASS);  // the offset means nothing then
  EXPECT_EQ(judge(2, 7, 2048), AIRLOCK_GUARD_BAD_REGION);
  EXPECT_EQ(judge(2, 7, 0), AIRLOCK_GUARD_BAD_REGION);
  EXPECT_EQ(judge(6, 7, kPage), AIRLOCK_GUARD_BAD_REGION);
  EXPECT_EQ(judge(7, 7, 4096), AIRLOCK_GUARD_BAD_REGION);
}

TEST_F(GuardRegion, HasAreasInsideItInWholePages) {
  EXPECT_TRUE(airlock_guard_area(&rules_, 4 * kPage, kPage, 3 * kPage));
  EXPECT_FALSE(airlock_guard_area(&rules_, 4 * kPage, kPage, 4 * kPage));
  EXPECT_FALSE(airlock_guard_area(&rules_, 4 * kPage, kPage, 0));
  EXPECT_FALSE(airlock_guard_area(&rules_, 4 * kPage, 512, kPage));
  EXPECT_FALSE(airlock_guard_area(&rules_, 4 * kPage, 0, 512));
  EXPECT_FALSE(airlock_guard_area(&rules_, 4 * kPage, kMax - kPage + 1, 2 * kPage));
}

constexpr airlock_guard_file kSealed{
    .present = true, .memfd = true, .huge = false, .of_vm = false, .seals = 7, .bytes = kPage};

// VFIO_USER 1.7; T1: a file that shrinks kills who has mapped it.
TEST_F(GuardRegion, HasAFileOfItsOwnThatNobodyCanChange) {
  EXPECT_EQ(airlock_guard_region_file(&kSealed, kPage), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(airlock_guard_region_file(&kSealed, 2 * kPage), AIRLOCK_GUARD_FILE_SIZE);
  auto file = kSealed;
  file.present = false;
  EXPECT_EQ(airlock_guard_region_file(&file, kPage), AIRLOCK_GUARD_BAD_FDS);
  file = kSealed;
  file.memfd = false;
  EXPECT_EQ(airlock_guard_region_file(&file, kPage), AIRLOCK_GUARD_NOT_SEALED);
  file = kSealed;
  file.huge = true;
  EXPECT_EQ(airlock_guard_region_file(&file, kPage), AIRLOCK_GUARD_HUGE_PAGES);
  file = kSealed;
  file.of_vm = true;
  EXPECT_EQ(airlock_guard_region_file(&file, kPage), AIRLOCK_GUARD_FILE_OF_VM);
  for (std::uint32_t seals = 0; seals < 64; ++seals) {
    file = kSealed;
    file.seals = seals;
    EXPECT_EQ(airlock_guard_region_file(&file, kPage),
              (seals & 7) == 7 ? AIRLOCK_GUARD_PASS : AIRLOCK_GUARD_NOT_SEALED);
  }
}

class GuardDmaMap : public testing::Test {
 protected:
  // DMA_MAP of the file's first `size` bytes, to be read and written.
  airlock_guard_reason map(airlock_guard_policy policy, std::uint64_t address, std::uint64_t size,
                           std::uint64_t offset = 0, std::uint32_t flags = 3) {
    const auto rules = rules_of(policy);
    const airlock_guard_map request{.address = address, .size = size, .flags = flags};
    return airlock_guard_dma_map(&rules, &memory_, &request, offset, &file_, &share_);
  }

  const airlock_guard_map mapped_{.address = 0x1000000, .size = 0x2000, .flags = 3};
  airlock_guard_memory memory_{
      .maps = &mapped_, .queues = nullptr, .map_count = 1, .queue_count = 0};
  airlock_guard_file file_ = kSealed;
  airlock_guard_share share_{};
};

// VFIO_USER 1.4.
TEST_F(GuardDmaMap, IsARangeThatCanBe) {
  EXPECT_EQ(map(AIRLOCK_GUARD_OPEN, 0x2000, kPage), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(map(AIRLOCK_GUARD_OPEN, 0x2000, 0), AIRLOCK_GUARD_BAD_RANGE);
  EXPECT_EQ(map(AIRLOCK_GUARD_OPEN, kMax - kPage + 1, kPage), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(map(AIRLOCK_GUARD_OPEN, kMax - kPage + 2, kPage), AIRLOCK_GUARD_BAD_RANGE);
  EXPECT_EQ(map(AIRLOCK_GUARD_OPEN, 0x2000, kPage, kMax), AIRLOCK_GUARD_BAD_RANGE);
  EXPECT_EQ(map(AIRLOCK_GUARD_OPEN, 0x2000, kPage, 0, 4), AIRLOCK_GUARD_BAD_FLAGS);
  EXPECT_EQ(map(AIRLOCK_GUARD_OPEN, 0x1002000, kPage), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(map(AIRLOCK_GUARD_OPEN, 0x1001000, 2 * kPage), AIRLOCK_GUARD_MAPPED_TWICE);
}

// T1.
TEST_F(GuardDmaMap, TellsTheDeviceWhatThePolicyGives) {
  EXPECT_EQ(map(AIRLOCK_GUARD_BOUNCE, 0x10000, kPage), AIRLOCK_GUARD_PASS);
  EXPECT_FALSE(share_.tell || share_.with_fd);
  EXPECT_EQ(map(AIRLOCK_GUARD_SNOOP, 0x20000, kPage), AIRLOCK_GUARD_PASS);
  EXPECT_TRUE(share_.tell && !share_.with_fd);
  EXPECT_EQ(map(AIRLOCK_GUARD_OPEN, 0x20000, kPage), AIRLOCK_GUARD_PASS);
  EXPECT_TRUE(share_.tell && share_.with_fd);
  file_.present = false;
  EXPECT_EQ(map(AIRLOCK_GUARD_OPEN, 0x20000, kPage), AIRLOCK_GUARD_PASS);
  EXPECT_TRUE(share_.tell && !share_.with_fd);
}

// T1: the window is 0x10000 to 0x13fff.
TEST_F(GuardDmaMap, TellsThePartInTheWindow) {
  const auto told = [&](std::uint64_t address, std::uint64_t size) {
    EXPECT_EQ(map(AIRLOCK_GUARD_WINDOW, address, size), AIRLOCK_GUARD_PASS);
    return share_.tell ? std::pair{share_.address, share_.size} : std::pair{kMax, std::uint64_t{0}};
  };
  const auto nothing = std::pair{kMax, std::uint64_t{0}};
  using Range = std::pair<std::uint64_t, std::uint64_t>;
  EXPECT_EQ(told(0xf000, 0x1000), nothing);
  EXPECT_EQ(told(0xf000, 0x1001), Range(0x10000, 1));
  EXPECT_EQ(told(0, 0x1000000), Range(0x10000, 0x4000));
  EXPECT_EQ(told(0x11000, 0x1000), Range(0x11000, 0x1000));
  EXPECT_EQ(told(0x13fff, 0x1000), Range(0x13fff, 1));
  EXPECT_EQ(told(0x14000, 0x1000), nothing);
  EXPECT_FALSE(share_.with_fd);
}

// T1: a file in a window is nothing but the window's, and stays as it is.
TEST_F(GuardDmaMap, GivesAFileOnlyIfAllOfItIsInTheWindow) {
  const auto given = [&](std::uint64_t address, std::uint64_t size, std::uint64_t offset = 0,
                         std::uint32_t flags = 3) {
    EXPECT_EQ(map(AIRLOCK_GUARD_WINDOW, address, size, offset, flags), AIRLOCK_GUARD_PASS);
    return share_.with_fd;
  };
  EXPECT_TRUE(given(0x10000, kPage));
  EXPECT_TRUE(given(0x13000, kPage));
  EXPECT_FALSE(given(0x13001, kPage));
  EXPECT_FALSE(given(0x10000, kPage - 1));
  EXPECT_FALSE(given(0x10000, kPage, kPage));
  EXPECT_FALSE(given(0x10000, kPage, 0, 1));
  EXPECT_FALSE(given(0x20000, kPage));
  file_.bytes = 2 * kPage;
  EXPECT_FALSE(given(0x10000, kPage));
  file_ = kSealed;
  file_.seals = 3;
  EXPECT_FALSE(given(0x10000, kPage));
  file_ = kSealed;
  file_.huge = true;
  EXPECT_FALSE(given(0x10000, kPage));
}

// VFIO_USER 1.5.
TEST_F(GuardDmaMap, IsTakenBackWhole) {
  EXPECT_EQ(airlock_guard_dma_unmap(&memory_, 0x1000000, 0x2000), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(airlock_guard_dma_unmap(&memory_, 0xfff000, 0x4000), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(airlock_guard_dma_unmap(&memory_, 0x1002000, 0x1000), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(airlock_guard_dma_unmap(&memory_, 0x1000000, 0x1000), AIRLOCK_GUARD_BAD_RANGE);
  EXPECT_EQ(airlock_guard_dma_unmap(&memory_, 0x1001000, 0x2000), AIRLOCK_GUARD_BAD_RANGE);
  EXPECT_EQ(airlock_guard_dma_unmap(&memory_, 0, 0), AIRLOCK_GUARD_BAD_RANGE);
  EXPECT_EQ(airlock_guard_dma_unmap(&memory_, kMax, 2), AIRLOCK_GUARD_BAD_RANGE);
}

class GuardDma : public testing::Test {
 protected:
  [[nodiscard]] airlock_guard_reason judge(airlock_guard_policy policy, bool write,
                                           std::uint64_t address, std::uint64_t count) const {
    const auto rules = rules_of(policy);
    return airlock_guard_dma(&rules, &memory_, write, address, count, write ? count : 0);
  }

  const airlock_guard_map maps_[2] = {{.address = 0x8000, .size = 0x9000, .flags = 3},
                                      {.address = 0x11000, .size = 0x1000, .flags = 1}};
  airlock_snoop_live live_[4] = {};
  airlock_snoop queue_{.descriptors = 0x8000,
                       .driver_area = 0x8100,
                       .device_area = 0x8200,
                       .rules = {.queue_size = 4, .packed = false, .indirect = false},
                       .live = live_,
                       .capacity = 4,
                       .count = 0,
                       .chains = 0};
  const airlock_guard_memory memory_{
      .maps = maps_, .queues = &queue_, .map_count = 2, .queue_count = 1};
};

// VFIO_USER 1.13; T1.
TEST_F(GuardDma, NeverPassesUnderBounce) {
  EXPECT_EQ(judge(AIRLOCK_GUARD_OPEN, kRead, 0x8000, 16), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(AIRLOCK_GUARD_BOUNCE, kRead, 0x8000, 16), AIRLOCK_GUARD_NO_MEMORY);
  EXPECT_EQ(judge(AIRLOCK_GUARD_BOUNCE, kWrite, 0x8000, 16), AIRLOCK_GUARD_NO_MEMORY);
}

TEST_F(GuardDma, TouchesOneMappedRangeInItsDirection) {
  EXPECT_EQ(judge(AIRLOCK_GUARD_OPEN, kWrite, 0x10fff, 1), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(AIRLOCK_GUARD_OPEN, kRead, 0x10fff, 2), AIRLOCK_GUARD_NOT_MAPPED);
  EXPECT_EQ(judge(AIRLOCK_GUARD_OPEN, kRead, 0x11000, 0x1000), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(AIRLOCK_GUARD_OPEN, kWrite, 0x11000, 1), AIRLOCK_GUARD_NOT_MAPPED);
  EXPECT_EQ(judge(AIRLOCK_GUARD_OPEN, kRead, 0x7fff, 1), AIRLOCK_GUARD_NOT_MAPPED);
  EXPECT_EQ(judge(AIRLOCK_GUARD_OPEN, kRead, kMax, 2), AIRLOCK_GUARD_NOT_MAPPED);
  EXPECT_EQ(judge(AIRLOCK_GUARD_OPEN, kRead, 0x8000, 0), AIRLOCK_GUARD_BAD_RANGE);
  EXPECT_EQ(judge(AIRLOCK_GUARD_OPEN, kRead, 0x8000, 1048577), AIRLOCK_GUARD_BAD_RANGE);
}

TEST_F(GuardDma, BringsTheDataThatItSpeaksOf) {
  const auto rules = rules_of(AIRLOCK_GUARD_OPEN);
  const auto with = [&](bool write, std::uint64_t bytes) {
    return airlock_guard_dma(&rules, &memory_, write, 0x8000, 16, bytes);
  };
  EXPECT_EQ(with(kWrite, 16), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(with(kWrite, 15), AIRLOCK_GUARD_BAD_SIZE);
  EXPECT_EQ(with(kRead, 0), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(with(kRead, 16), AIRLOCK_GUARD_BAD_SIZE);
}

TEST_F(GuardDma, StaysInTheWindow) {
  EXPECT_EQ(judge(AIRLOCK_GUARD_WINDOW, kWrite, 0x10000, 0x1000), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(AIRLOCK_GUARD_WINDOW, kWrite, 0xffff, 1), AIRLOCK_GUARD_OUTSIDE_WINDOW);
  EXPECT_EQ(judge(AIRLOCK_GUARD_WINDOW, kWrite, 0xffff, 2), AIRLOCK_GUARD_OUTSIDE_WINDOW);
  EXPECT_EQ(judge(AIRLOCK_GUARD_WINDOW, kRead, 0x13fff, 2), AIRLOCK_GUARD_OUTSIDE_WINDOW);
  EXPECT_EQ(judge(AIRLOCK_GUARD_WINDOW, kRead, 0x12000, 1), AIRLOCK_GUARD_NOT_MAPPED);
}

TEST_F(GuardDma, IsInvitedByARingOrByADescriptor) {
  EXPECT_EQ(judge(AIRLOCK_GUARD_SNOOP, kRead, 0x8000, 64), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(AIRLOCK_GUARD_SNOOP, kRead, 0x8000, 65), AIRLOCK_GUARD_NOT_INVITED);
  EXPECT_EQ(judge(AIRLOCK_GUARD_SNOOP, kWrite, 0x8000, 1), AIRLOCK_GUARD_NOT_INVITED);
  EXPECT_EQ(judge(AIRLOCK_GUARD_SNOOP, kRead, 0x9000, 1), AIRLOCK_GUARD_NOT_INVITED);
  live_[0] = {.address = 0x9000, .length = 16, .head = 0, .writable = false, .table = false};
  queue_.count = 1;
  EXPECT_EQ(judge(AIRLOCK_GUARD_SNOOP, kRead, 0x9000, 16), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(judge(AIRLOCK_GUARD_SNOOP, kRead, 0x9000, 17), AIRLOCK_GUARD_NOT_INVITED);
  EXPECT_EQ(judge(AIRLOCK_GUARD_SNOOP, kWrite, 0x9000, 16), AIRLOCK_GUARD_NOT_INVITED);
  live_[0].address = 0x20000;  // invited, and not mapped
  EXPECT_EQ(judge(AIRLOCK_GUARD_SNOOP, kRead, 0x20000, 16), AIRLOCK_GUARD_NOT_MAPPED);
}

}  // namespace
}  // namespace airlock
