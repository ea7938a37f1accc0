// SPDX-License-Identifier: Apache-2.0
//
// Goal: the commands that reach the device, each with its rejecting twins. Method: as in
// session_test.cc.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include <fmt/core.h>

#include "vfio_user/session_fixture.h"
#include "wire/socket.h"

namespace airlock::vfio_user {
namespace {

// --- DMA_MAP, DMA_UNMAP. VFIO_USER 1.4, 1.5 ---------------------------------------------------

TEST_F(SessionTest, HandsDmaMapsToTheHandler) {
  EXPECT_EQ(dma_map(0x1000, 0x2000, 1).error(), 0U);
  const Answer answer = dma_map(0x8000, 0x1000, 3, some_eventfds(1));
  EXPECT_EQ(answer.error(), 0U);
  EXPECT_TRUE(answer.payload.empty());
  EXPECT_EQ(dma_map(UINT64_MAX - 0xfff, 0x1000).error(), 0U);  // up to the very last byte
  EXPECT_EQ(calls(), (Calls{"map 0x1000 0x2000 r-", "map 0x8000 0x1000 rw fd",
                            "map 0xfffffffffffff000 0x1000 rw"}));
}

TEST_F(SessionTest, RefusesDmaMapsThatAreNoneAndClosesTheirFds) {
  const auto before = open_fds();
  EXPECT_EQ(dma_map(0x1000, 0, 3, some_eventfds(1)).error(), EINVAL);
  EXPECT_EQ(dma_map(UINT64_MAX - 0xfff, 0x1001, 3, some_eventfds(1)).error(), EINVAL);
  EXPECT_EQ(dma_map(0x1000, 0x1000, 4, some_eventfds(1)).error(), EINVAL);
  EXPECT_EQ(dma_map(0x1000, 0x1000, 3, some_eventfds(1), 31).error(), EINVAL);
  EXPECT_EQ(send(spec::VFIO_USER_DMA_MAP, Bytes(31), some_eventfds(1)).error(), EINVAL);
  EXPECT_EQ(dma_map(0x1000, 0x1000, 3, some_eventfds(2)).error(), EINVAL);
  EXPECT_TRUE(calls().empty());
  EXPECT_EQ(open_fds(), before);
}

// VFIO_USER 1.5: Cloud Hypervisor waits for exactly 16 + 24 bytes.
TEST_F(SessionTest, EchoesDmaUnmaps) {
  const Answer one = dma_unmap(0, 0x1000, 0x2000);
  EXPECT_EQ(one.error(), 0U);
  ASSERT_EQ(one.payload.size(), 24U);
  EXPECT_EQ(one.as<spec::VfioUserDmaUnmap>().address, 0x1000U);
  EXPECT_EQ(one.as<spec::VfioUserDmaUnmap>().size, 0x2000U);
  const Answer all = dma_unmap(spec::VFIO_USER_F_DMA_UNMAP_ALL, 0, 0);
  ASSERT_EQ(all.payload.size(), 24U);
  EXPECT_EQ(all.as<spec::VfioUserDmaUnmap>().flags, 2U);
  EXPECT_EQ(calls(), (Calls{"unmap 0x1000 0x2000", "unmap 0x0 0x0 all"}));
}

TEST_F(SessionTest, RefusesDmaUnmapsThatAreNone) {
  EXPECT_EQ(dma_unmap(1, 0x1000, 0x2000).error(), EINVAL);  // dirty bitmap
  EXPECT_EQ(dma_unmap(3, 0, 0).error(), EINVAL);
  EXPECT_EQ(dma_unmap(0, 0x1000, 0).error(), EINVAL);
  EXPECT_EQ(dma_unmap(0, UINT64_MAX, 2).error(), EINVAL);
  EXPECT_EQ(dma_unmap(2, 0x1000, 0).error(), EINVAL);
  EXPECT_EQ(dma_unmap(2, 0, 0x1000).error(), EINVAL);
  EXPECT_EQ(send(spec::VFIO_USER_DMA_UNMAP, Bytes(23)).error(), EINVAL);
  EXPECT_TRUE(calls().empty());
}

// --- Information. VFIO_USER 1.6, 1.7, 1.9 -----------------------------------------------------

TEST_F(SessionTest, DescribesAPciDeviceThatCanBeReset) {
  const Answer answer = send(
      spec::VFIO_USER_DEVICE_GET_INFO,
      bytes_of(spec::VfioUserDeviceInfo{.argsz = 16, .flags = 0, .num_regions = 0, .num_irqs = 0}));
  const auto info = answer.as<spec::VfioUserDeviceInfo>();
  EXPECT_EQ(answer.payload.size(), 16U);
  EXPECT_EQ(info.flags, 3U);
  EXPECT_EQ(info.num_regions, 9U);
  EXPECT_EQ(info.num_irqs, 5U);
  EXPECT_EQ(send(spec::VFIO_USER_DEVICE_GET_INFO, bytes_of(spec::VfioUserDeviceInfo{15, 0, 0, 0}))
                .error(),
            EINVAL);
  EXPECT_EQ(send(spec::VFIO_USER_DEVICE_GET_INFO, Bytes(15)).error(), EINVAL);
}

TEST_F(SessionTest, TellsOfAMappableRegionFirstWhatToAskWith) {
  const Answer answer = region_info(RecordingHandler::kMapped, 32);
  ASSERT_EQ(answer.payload.size(), 32U);
  const auto info = answer.as<spec::VfioUserRegionInfo>();
  EXPECT_EQ(info.argsz, 64U);
  EXPECT_EQ(info.flags, 7U);  // READ | WRITE | MMAP, no CAPS
  EXPECT_EQ(info.cap_offset, 0U);
  EXPECT_TRUE(answer.fds.empty());
  EXPECT_TRUE(region_info(RecordingHandler::kMapped, 63).fds.empty());
}

TEST_F(SessionTest, GivesOneAreaAndOneFdToWhoHasRoom) {
  Answer answer = region_info(RecordingHandler::kMapped, 4064);
  ASSERT_EQ(answer.payload.size(), 64U);
  const auto info = answer.as<spec::VfioUserRegionInfo>();
  EXPECT_EQ(info.argsz, 64U);
  EXPECT_EQ(info.flags, 0xfU);
  EXPECT_EQ(info.cap_offset, 32U);
  EXPECT_EQ(info.size, RecordingHandler::kSize);
  const auto sparse = answer.as<spec::VfioRegionInfoCapSparseMmap>(32);
  EXPECT_EQ(sparse.header.id, 1);
  EXPECT_EQ(sparse.header.version, 1);
  EXPECT_EQ(sparse.header.next, 0U);
  EXPECT_EQ(sparse.nr_areas, 1U);
  EXPECT_EQ(answer.as<spec::VfioRegionSparseMmapArea>(48).offset, 4096U);
  EXPECT_EQ(answer.as<spec::VfioRegionSparseMmapArea>(48).size, 4096U);
  struct stat ours = {};
  struct stat theirs = {};
  ASSERT_EQ(fstat(handler_.memfd().get(), &ours), 0);
  ASSERT_EQ(answer.fds.size(), 1U);
  ASSERT_EQ(fstat(answer.fds.front().get(), &theirs), 0);
  EXPECT_EQ(ours.st_ino, theirs.st_ino);
}

// SPDK asks with 4064 bytes of payload, not only with such an argsz.
TEST_F(SessionTest, TakesARegionInfoRequestThatIsLonger) {
  Bytes payload = bytes_of(spec::VfioUserRegionInfo{.argsz = 4064,
                                                    .flags = 0,
                                                    .index = RecordingHandler::kMapped,
                                                    .cap_offset = 0,
                                                    .size = 0,
                                                    .offset = 0});
  payload.resize(4064);
  EXPECT_EQ(send(spec::VFIO_USER_DEVICE_GET_REGION_INFO, payload).fds.size(), 1U);
}

class SessionWithoutFdsTest : public SessionTest {
 protected:
  void SetUp() override {}
};

TEST_F(SessionWithoutFdsTest, GivesNoMappingToAClientThatTakesNoFds) {
  EXPECT_EQ(send_version(0, 0, R"({"capabilities":{"max_msg_fds":0}})").error(), 0U);
  const Answer answer = region_info(RecordingHandler::kMapped, 64);
  EXPECT_EQ(answer.as<spec::VfioUserRegionInfo>().flags, 3U);
  EXPECT_TRUE(answer.fds.empty());
}

// --- Doorbells: VFIO_USER 1.8 -----------------------------------------------------------------

using IoFds = spec::VfioUserRegionIoFds;
using IoFd = spec::VfioUserSubRegionIoeventfd;
constexpr std::uint32_t kAllDoorbells = sizeof(IoFds) + kMaxMessageFds * sizeof(IoFd);

class SessionDoorbellTest : public SessionTest {
 protected:
  void SetUp() override {}
  void greet(std::uint32_t fds) {
    const std::string json = fmt::format(R"({{"capabilities":{{"max_msg_fds":{}}}}})", fds);
    EXPECT_EQ(send_version(0, 0, json).error(), 0U);
  }
};

TEST_F(SessionDoorbellTest, GivesAsManyDoorbellsAsFdsFitAMessage) {
  greet(100);
  const Answer answer = doorbells({kAllDoorbells, 0, RecordingHandler::kPlain, 0});
  ASSERT_EQ(answer.error(), 0U);
  const auto info = answer.as<IoFds>();
  EXPECT_EQ(info.argsz, kAllDoorbells);
  EXPECT_EQ(info.flags, 0U);
  EXPECT_EQ(info.index, RecordingHandler::kPlain);
  ASSERT_EQ(info.count, kMaxMessageFds);
  ASSERT_EQ(answer.payload.size(), kAllDoorbells);
  ASSERT_EQ(answer.fds.size(), kMaxMessageFds);
  for (std::uint32_t i = 0; i < info.count; ++i) {
    const auto entry = answer.as<IoFd>(sizeof(IoFds) + i * sizeof(IoFd));
    EXPECT_EQ(entry.offset, RecordingHandler::kDoorbellsAt + 4 * i);
    EXPECT_EQ(entry.size, 2U);
    EXPECT_EQ(entry.fd_index, i);
    EXPECT_EQ(entry.type, spec::VFIO_USER_IO_FD_TYPE_IOEVENTFD);
    EXPECT_EQ(entry.flags, 0U);
  }
  EXPECT_FALSE(handler_.bell.drain());
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(answer.fds[3].get(), &one, sizeof one), 8);
  EXPECT_TRUE(handler_.bell.drain());
}

TEST_F(SessionDoorbellTest, GivesNoMoreFdsThanTheClientTakes) {
  greet(1);
  const Answer answer = doorbells({kAllDoorbells, 0, RecordingHandler::kPlain, 0});
  EXPECT_EQ(answer.as<IoFds>().count, 1U);
  EXPECT_EQ(answer.payload.size(), sizeof(IoFds) + sizeof(IoFd));
  EXPECT_EQ(answer.fds.size(), 1U);
}

TEST_F(SessionDoorbellTest, GivesNoneToAClientThatTakesNoFds) {
  greet(0);
  const Answer answer = doorbells({kAllDoorbells, 0, RecordingHandler::kPlain, 0});
  EXPECT_EQ(answer.as<IoFds>().count, 0U);
  EXPECT_EQ(answer.payload.size(), sizeof(IoFds));
  EXPECT_TRUE(answer.fds.empty());
}

TEST_F(SessionDoorbellTest, TellsWhatToAskWithWhoHasNoRoom) {
  greet(8);
  const Answer answer = doorbells({sizeof(IoFds) + 8 * sizeof(IoFd) - 1, 0, 0, 0});
  EXPECT_EQ(answer.as<IoFds>().argsz, sizeof(IoFds) + 8 * sizeof(IoFd));
  EXPECT_EQ(answer.payload.size(), sizeof(IoFds));
  EXPECT_TRUE(answer.fds.empty());
  EXPECT_EQ(doorbells({sizeof(IoFds) + 8 * sizeof(IoFd), 0, 0, 0}).fds.size(), 8U);
}

TEST_F(SessionDoorbellTest, RegionsWithoutDoorbellsHaveNone) {
  greet(8);
  for (std::uint32_t index = 1; index < spec::VFIO_PCI_NUM_REGIONS; ++index) {
    const Answer answer = doorbells({kAllDoorbells, 0, index, 0});
    ASSERT_EQ(answer.error(), 0U);
    EXPECT_EQ(answer.as<IoFds>().argsz, sizeof(IoFds));
    EXPECT_EQ(answer.as<IoFds>().count, 0U);
    EXPECT_TRUE(answer.fds.empty());
  }
}

TEST_F(SessionDoorbellTest, RefusesQuestionsThatAreNone) {
  greet(8);
  EXPECT_EQ(doorbells({sizeof(IoFds) - 1, 0, 0, 0}).error(), EINVAL);
  EXPECT_EQ(doorbells({kAllDoorbells, 1, 0, 0}).error(), EINVAL);
  EXPECT_EQ(doorbells({kAllDoorbells, 0, spec::VFIO_PCI_NUM_REGIONS, 0}).error(), EINVAL);
  EXPECT_EQ(doorbells({kAllDoorbells, 0, UINT32_MAX, 0}).error(), EINVAL);
  EXPECT_EQ(doorbells({kAllDoorbells, 0, 0, 1}).error(), EINVAL);
  EXPECT_EQ(send(spec::VFIO_USER_DEVICE_GET_REGION_IO_FDS, Bytes(15)).error(), EINVAL);
  EXPECT_EQ(
      send(spec::VFIO_USER_DEVICE_GET_REGION_IO_FDS, bytes_of(IoFds{16, 0, 0, 0}), some_eventfds(1))
          .error(),
      EINVAL);
}

TEST_F(SessionTest, DescribesRegionsThatAreNotMapped) {
  EXPECT_EQ(region_info(RecordingHandler::kReadOnly, 32).as<spec::VfioUserRegionInfo>().flags, 1U);
  const Answer absent = region_info(RecordingHandler::kAbsent, 32);
  EXPECT_EQ(absent.error(), 0U);
  const auto info = absent.as<spec::VfioUserRegionInfo>();
  EXPECT_EQ(info.size, 0U);
  EXPECT_EQ(info.flags, 0U);
  EXPECT_EQ(info.argsz, 32U);
}

TEST_F(SessionTest, RefusesRegionInfoForNoRegion) {
  EXPECT_EQ(region_info(9, 32).error(), EINVAL);
  EXPECT_EQ(region_info(UINT32_MAX, 32).error(), EINVAL);
  EXPECT_EQ(region_info(0, 31).error(), EINVAL);
  EXPECT_EQ(send(spec::VFIO_USER_DEVICE_GET_REGION_INFO, Bytes(31)).error(), EINVAL);
}

// VFIO_USER 1.9: a count of 0 and no error for what is not there; no NORESIZE.
TEST_F(SessionTest, CountsInterrupts) {
  for (std::uint32_t index = 0; index < 5; ++index) {
    const Answer answer =
        send(spec::VFIO_USER_DEVICE_GET_IRQ_INFO,
             bytes_of(spec::VfioUserIrqInfo{.argsz = 16, .flags = 0, .index = index, .count = 0}));
    ASSERT_EQ(answer.payload.size(), 16U);
    const auto info = answer.as<spec::VfioUserIrqInfo>();
    EXPECT_EQ(info.count, index == kMsix ? RecordingHandler::kVectors : 0);
    EXPECT_EQ(info.flags, spec::VFIO_IRQ_INFO_EVENTFD);
    EXPECT_EQ(info.index, index);
  }
  EXPECT_EQ(send(spec::VFIO_USER_DEVICE_GET_IRQ_INFO, bytes_of(spec::VfioUserIrqInfo{16, 0, 5, 0}))
                .error(),
            EINVAL);
  EXPECT_EQ(send(spec::VFIO_USER_DEVICE_GET_IRQ_INFO, bytes_of(spec::VfioUserIrqInfo{15, 0, 0, 0}))
                .error(),
            EINVAL);
}

// --- SET_IRQS. VFIO_USER 1.10 -----------------------------------------------------------------

TEST_F(SessionTest, InstallsReplacesAndForgetsEventfds) {
  const auto before = open_fds();
  EXPECT_EQ(set_irqs(kEventfdTrigger, kMsix, 3, 2, some_eventfds(2)), 0U);
  EXPECT_EQ(open_fds(), before + 2);
  EXPECT_EQ(set_irqs(kEventfdTrigger, kMsix, 4, 1, some_eventfds(1)), 0U);
  EXPECT_EQ(open_fds(), before + 2);
  EXPECT_EQ(set_irqs(kEventfdTrigger, kMsix, 3, 1), 0U);
  EXPECT_EQ(open_fds(), before + 1);
  EXPECT_EQ(set_irqs(kNoneTrigger, kMsix, 0, 0), 0U);
  EXPECT_EQ(open_fds(), before);
  EXPECT_EQ(calls(), (Calls{"eventfds 2 3 2", "eventfds 2 4 1", "deassign 2 3 1", "disable 2"}));
}

// QEMU "enables without a vector" so, and turns INTx off whether there is any or not.
TEST_F(SessionTest, TakesWhatQemuSendsAtStart) {
  EXPECT_EQ(set_irqs(kEventfdTrigger, kMsix, 0, 1), 0U);
  EXPECT_EQ(set_irqs(kNoneTrigger, spec::VFIO_PCI_INTX_IRQ_INDEX, 0, 0), 0U);
  EXPECT_EQ(calls(), Calls{"deassign 2 0 1"});
}

TEST_F(SessionTest, FiresOnDemand) {
  EXPECT_EQ(set_irqs(kNoneTrigger, kMsix, 1, 3), 0U);
  EXPECT_EQ(set_irqs(kBoolTrigger, kMsix, 4, 3, {}, {std::byte{1}, std::byte{0}, std::byte{0xff}}),
            0U);
  EXPECT_EQ(calls(), (Calls{"trigger 2 1 3", "trigger 2 4 1", "trigger 2 6 1"}));
}

TEST_F(SessionTest, RefusesEveryOtherCombinationOfFlags) {
  for (std::uint32_t flags = 0; flags < 0x80; ++flags) {
    if (flags == kEventfdTrigger || flags == kNoneTrigger) continue;
    const bool one_each = (flags & 0x40) == 0 && airlock_is_power_of_two(flags & 7) &&
                          airlock_is_power_of_two(flags & 0x38);
    const bool is_bool = (flags & 7) == 2 && one_each;
    if (flags == kBoolTrigger) continue;
    // Masking is well-formed, but no interrupt is announced as maskable.
    const std::uint32_t expected = one_each ? ENOTTY : EINVAL;
    EXPECT_EQ(set_irqs(flags, kMsix, 0, 1, {}, is_bool ? Bytes(1) : Bytes()), expected) << flags;
  }
  EXPECT_EQ(set_irqs(0x80000000U | kNoneTrigger, kMsix, 0, 1), EINVAL);
  EXPECT_TRUE(calls().empty());
}

TEST_F(SessionTest, RefusesInterruptsThatAreNotThere) {
  constexpr std::uint32_t kVectors = RecordingHandler::kVectors;
  EXPECT_EQ(set_irqs(kNoneTrigger, kMsix, kVectors - 1, 1), 0U);
  EXPECT_EQ(set_irqs(kNoneTrigger, kMsix, kVectors, 1), EINVAL);
  EXPECT_EQ(set_irqs(kNoneTrigger, kMsix, 0, kVectors + 1), EINVAL);
  EXPECT_EQ(set_irqs(kNoneTrigger, kMsix, UINT32_MAX, 2), EINVAL);  // the sum wraps
  EXPECT_EQ(set_irqs(kNoneTrigger, kMsix, 2, UINT32_MAX), EINVAL);
  EXPECT_EQ(set_irqs(kEventfdTrigger, kMsix, UINT32_MAX, UINT32_MAX), EINVAL);
  EXPECT_EQ(set_irqs(kNoneTrigger, 5, 0, 0), EINVAL);
  EXPECT_EQ(set_irqs(kNoneTrigger, spec::VFIO_PCI_INTX_IRQ_INDEX, 0, 1), EINVAL);
  EXPECT_EQ(calls(), Calls{"trigger 2 19 1"});
}

TEST_F(SessionTest, RefusesCountsDataAndFdsThatDoNotFitTogether) {
  const auto before = open_fds();
  EXPECT_EQ(set_irqs(kEventfdTrigger, kMsix, 0, 2, some_eventfds(1)), EINVAL);
  EXPECT_EQ(set_irqs(kEventfdTrigger, kMsix, 0, 1, some_eventfds(2)), EINVAL);
  EXPECT_EQ(set_irqs(kEventfdTrigger, kMsix, 0, 0, some_eventfds(1)), EINVAL);
  EXPECT_EQ(set_irqs(kEventfdTrigger, kMsix, 0, 0), EINVAL);
  EXPECT_EQ(set_irqs(kEventfdTrigger, kMsix, 0, 1, {}, Bytes(4)), EINVAL);
  EXPECT_EQ(set_irqs(kNoneTrigger, kMsix, 1, 0), EINVAL);
  EXPECT_EQ(set_irqs(kNoneTrigger, kMsix, 0, 1, some_eventfds(1)), EINVAL);
  EXPECT_EQ(set_irqs(kNoneTrigger, kMsix, 0, 1, {}, Bytes(1)), EINVAL);
  EXPECT_EQ(set_irqs(kBoolTrigger, kMsix, 0, 2, {}, Bytes(1)), EINVAL);
  EXPECT_EQ(set_irqs(kBoolTrigger, kMsix, 0, 1, {}, Bytes(2)), EINVAL);
  EXPECT_EQ(set_irqs(kBoolTrigger, kMsix, 0, 0), EINVAL);
  EXPECT_EQ(send(spec::VFIO_USER_DEVICE_SET_IRQS, Bytes(19)).error(), EINVAL);
  EXPECT_TRUE(calls().empty());
  EXPECT_EQ(open_fds(), before);
}

// Firing writes to the fd: that must not raise SIGPIPE or fill a file.
TEST_F(SessionTest, RefusesEventfdsThatArePipesOrFiles) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  std::vector<Fd> pipe_end;
  pipe_end.emplace_back(ends[1]);
  const Fd other(ends[0]);
  EXPECT_EQ(set_irqs(kEventfdTrigger, kMsix, 0, 1, std::move(pipe_end)), EINVAL);
  std::vector<Fd> file;
  file.push_back(MUST(handler_.memfd().duplicate()));
  EXPECT_EQ(set_irqs(kEventfdTrigger, kMsix, 0, 1, std::move(file)), EINVAL);
  EXPECT_TRUE(calls().empty());
}

// --- Region accesses. VFIO_USER 1.11 ----------------------------------------------------------

TEST_F(SessionTest, ReadsAndWrites) {
  const Answer written = write(0, 8, 4);
  EXPECT_EQ(written.error(), 0U);
  ASSERT_EQ(written.payload.size(), 16U);
  EXPECT_EQ(written.as<spec::VfioUserRegionAccess>().offset, 8U);
  EXPECT_EQ(written.as<spec::VfioUserRegionAccess>().count, 4U);
  const Answer answer = read(0, 6, 8);
  ASSERT_EQ(answer.payload.size(), 24U);
  EXPECT_EQ(answer.as<spec::VfioUserRegionAccess>().count, 8U);
  EXPECT_EQ(answer.as<std::uint64_t>(16), 0x00005a5a5a5a0000U);
}

TEST_F(SessionTest, AnswersAccessesOfNothing) {
  EXPECT_EQ(read(0, 0, 0).payload.size(), 16U);
  EXPECT_EQ(read(0, RecordingHandler::kSize, 0).payload.size(), 16U);
  EXPECT_EQ(write(0, 0, 0).payload.size(), 16U);
  EXPECT_EQ(read(0, RecordingHandler::kSize + 1, 0).error(), EINVAL);
  EXPECT_TRUE(calls().empty());
}

TEST_F(SessionTest, RefusesAccessesOutsideARegion) {
  constexpr std::uint64_t kSize = RecordingHandler::kSize;
  EXPECT_EQ(read(0, kSize - 4, 4).error(), 0U);
  EXPECT_EQ(read(0, kSize - 3, 4).error(), EINVAL);
  EXPECT_EQ(read(0, UINT64_MAX, 4).error(), EINVAL);
  EXPECT_EQ(read(0, UINT64_MAX - 3, 4).error(), EINVAL);
  EXPECT_EQ(write(0, kSize - 3, 4).error(), EINVAL);
  EXPECT_EQ(read(RecordingHandler::kAbsent, 0, 4).error(), EINVAL);
  EXPECT_EQ(read(RecordingHandler::kAbsent, 0, 0).error(), EINVAL);
  EXPECT_EQ(read(9, 0, 4).error(), EINVAL);
  EXPECT_EQ(read(UINT32_MAX, 0, 4).error(), EINVAL);
  EXPECT_EQ(read(RecordingHandler::kWriteOnly, 0, 4).error(), EINVAL);
  EXPECT_EQ(write(RecordingHandler::kReadOnly, 0, 4).error(), EINVAL);
  EXPECT_EQ(calls(), Calls{"read 0 0x1ffc 4"});
}

TEST_F(SessionTest, RefusesAccessesWhoseSizeIsALie) {
  EXPECT_EQ(read(0, 0, 65537).error(), EINVAL);
  EXPECT_EQ(read(0, 0, UINT32_MAX).error(), EINVAL);
  const auto write_raw = [&](std::uint32_t count, std::size_t data) {
    return send(spec::VFIO_USER_REGION_WRITE, write_payload(0, 0, count, data)).error();
  };
  EXPECT_EQ(write_raw(4, 3), EINVAL);
  EXPECT_EQ(write_raw(4, 5), EINVAL);
  EXPECT_EQ(write_raw(UINT32_MAX, 4), EINVAL);
  EXPECT_EQ(send(spec::VFIO_USER_REGION_READ, Bytes(15)).error(), EINVAL);
  EXPECT_EQ(send(spec::VFIO_USER_REGION_READ, Bytes(17)).error(), EINVAL);
  EXPECT_EQ(send(spec::VFIO_USER_REGION_WRITE, Bytes(15)).error(), EINVAL);
  EXPECT_TRUE(calls().empty());
}

TEST_F(SessionTest, TellsTheHandlersErrorAsAnErrno) {
  const std::pair<Error, std::uint32_t> cases[] = {
      {system_error(EEXIST), EEXIST},
      {system_error(0), EIO},
      {{.code = Errc::kSystem, .detail = 5000}, EIO},
      {{.code = Errc::kUnsupported}, EOPNOTSUPP},
      {{.code = Errc::kReadOnly}, EROFS},
      {{.code = Errc::kTimeout}, ETIMEDOUT},
      {{.code = Errc::kOutOfRange}, EINVAL},
  };
  for (const auto& [error, expected] : cases) {
    handler_.failure = error;
    EXPECT_EQ(read(0, 0, 4).error(), expected);
    EXPECT_EQ(dma_map(0, 4096).error(), expected);
  }
  handler_.failure.reset();
  EXPECT_EQ(read(0, 0, 4).error(), 0U);
}

}  // namespace
}  // namespace airlock::vfio_user
