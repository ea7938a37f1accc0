// SPDX-License-Identifier: Apache-2.0
//
// What passes between a VM and an honest or greedy device, by policy.
#include "guard/vm_session.h"

#include <sys/stat.h>

#include "guard/guard_fixture.h"
#include "guard/limits.h"

namespace airlock::guard {
namespace {

class VmSessionTest : public GuardFixture {
 protected:
  // How often the device heard of something that begins like this.
  std::size_t heard(const std::string& beginning) const {
    return static_cast<std::size_t>(std::ranges::count_if(
        source.device->handler.calls,
        [&](const std::string& call) { return call.starts_with(beginning); }));
  }
};

TEST_F(VmSessionTest, RegistersPass) {
  start();
  write(RecordingHandler::kPlain, 0x100, Le32(0x12345678));
  EXPECT_EQ(data_of(read(RecordingHandler::kPlain, 0x100, 4)),
            vfio_user::bytes_of(Le32(0x12345678)));
  EXPECT_EQ(heard("write 0 0x100 4"), 1U);
}

// VFIO_USER 0.1, 0.2: whatever memory the VM offers, the device gets neither the file nor a word.
TEST_F(VmSessionTest, BounceForwardsNoMemory) {
  start();
  const auto open_before = vfio_user::open_fds();
  EXPECT_EQ(ask(spec::VFIO_USER_DMA_MAP, dma_map(0, 65536), one(memory_file(65536))).header.error,
            0U);
  EXPECT_EQ(heard("map"), 0U);
  EXPECT_EQ(vfio_user::open_fds(), open_before);  // closed at once
  EXPECT_EQ(audit.count("DMA_MAP", Decision::kAnswered), 1U);
}

// The twin: the policy is what stands in the way.
TEST_F(VmSessionTest, OpenForwardsMemoryWithItsFile) {
  start("open");
  EXPECT_EQ(ask(spec::VFIO_USER_DMA_MAP, dma_map(0, 65536), one(memory_file(65536))).header.error,
            0U);
  settle();
  EXPECT_EQ(heard("map 0x0 0x10000 rw fd"), 1U);
}

TEST_F(VmSessionTest, AWindowIsForwardedWithoutAFileThatHoldsMore) {
  start("window=0x8000+0x4000");
  ask(spec::VFIO_USER_DMA_MAP, dma_map(0, 65536), one(memory_file(65536)));
  settle();
  EXPECT_EQ(heard("map 0x8000 0x4000 rw"), 1U);
  EXPECT_EQ(heard("map 0x8000 0x4000 rw fd"), 0U);
}

TEST_F(VmSessionTest, MemoryIsUnmappedAtTheDeviceToo) {
  start("open");
  ask(spec::VFIO_USER_DMA_MAP, dma_map(0x1000, 0x1000));
  const spec::VfioUserDmaUnmap request{
      .argsz = sizeof request, .flags = 0, .address = 0x1000, .size = 0x1000};
  EXPECT_EQ(ask(spec::VFIO_USER_DMA_UNMAP, vfio_user::bytes_of(request)).payload.size(),
            sizeof request);
  settle();
  EXPECT_EQ(heard("unmap 0x1000 0x1000"), 1U);
}

// VFIO_USER 0.1: messages are the way around closed files.
TEST_F(VmSessionTest, BounceRefusesDmaByMessage) {
  start();
  ask(spec::VFIO_USER_DMA_MAP, dma_map(0, 65536));
  device_asks(spec::VFIO_USER_DMA_READ, 0, 64);
  device_asks(spec::VFIO_USER_DMA_WRITE, 0, 4, Bytes(4));
  ASSERT_EQ(source.device->answers.size(), 2U);
  for (const Message& answer : source.device->answers) {
    EXPECT_EQ(answer.header.error, static_cast<std::uint32_t>(EPERM));
    EXPECT_TRUE(answer.payload.empty());
  }
  EXPECT_FALSE(vm->readable(0));  // the VM has not heard of it
  EXPECT_EQ(audit.count("DMA_READ", Decision::kRefused), 1U);
  EXPECT_EQ(audit.count("DMA_WRITE", Decision::kRefused), 1U);
}

TEST_F(VmSessionTest, AWindowIsReadThroughTheVm) {
  start("window=0x8000+0x4000");
  ask(spec::VFIO_USER_DMA_MAP, dma_map(0, 65536));
  device_asks(spec::VFIO_USER_DMA_READ, 0x8000, 4);
  const Message asked = vm->expect();
  EXPECT_EQ(asked.header.command, spec::VFIO_USER_DMA_READ);
  Bytes answer = asked.payload;
  vfio_user::append_struct(answer, Le32(0xfeedface));
  ASSERT_TRUE(vm->send(vfio_user::make_message(asked.header.message_id, asked.header.command,
                                               answer, spec::VFIO_USER_F_TYPE_REPLY)));
  settle();
  ASSERT_EQ(source.device->answers.size(), 1U);
  EXPECT_EQ(source.device->answers.front().header.message_id, 77);
  EXPECT_EQ(source.device->answers.front().payload, answer);
}

TEST_F(VmSessionTest, OutsideTheWindowThereIsNothing) {
  start("window=0x8000+0x4000");
  ask(spec::VFIO_USER_DMA_MAP, dma_map(0, 65536));
  device_asks(spec::VFIO_USER_DMA_READ, 0x7fff, 4);
  device_asks(spec::VFIO_USER_DMA_READ, 0xbffd, 4);
  device_asks(spec::VFIO_USER_DMA_READ, ~std::uint64_t{0}, 4);
  EXPECT_EQ(audit.count("DMA_READ", Decision::kRefused), 3U);
  EXPECT_FALSE(vm->readable(0));
}

TEST_F(VmSessionTest, WhatIsNotMappedIsNotReadEvenIfAllIsOpen) {
  start("open");
  ask(spec::VFIO_USER_DMA_MAP, dma_map(0, 4096));
  device_asks(spec::VFIO_USER_DMA_READ, 4096, 4);
  EXPECT_EQ(audit.count("DMA_READ", Decision::kRefused), 1U);
}

TEST_F(VmSessionTest, ASealedRegionIsTheVmsToMap) {
  start();
  const Message reply = ask_region(RecordingHandler::kMapped, 4096);
  ASSERT_EQ(reply.fds.size(), 1U);
  EXPECT_EQ(MUST(FileId::of(reply.fds.front())), MUST(FileId::of(source.device->handler.memfd())));
  constexpr std::uint32_t kSmall = sizeof(spec::VfioUserRegionInfo);
  const Message first = ask_region(RecordingHandler::kMapped, kSmall);
  EXPECT_TRUE(first.fds.empty());
  EXPECT_EQ(first.payload.size(), kSmall);
}

// VFIO_USER 0.12: who signals ERR stops the VM.
TEST_F(VmSessionTest, InterruptsThatHarmTheVmAreNotThere) {
  start();
  for (const std::uint32_t index : {spec::VFIO_PCI_ERR_IRQ_INDEX, spec::VFIO_PCI_REQ_IRQ_INDEX}) {
    const spec::VfioUserIrqInfo request{
        .argsz = sizeof request, .flags = 0, .index = index, .count = 0};
    const auto info = vfio_user::require_struct<spec::VfioUserIrqInfo>(
        ask(spec::VFIO_USER_DEVICE_GET_IRQ_INFO, vfio_user::bytes_of(request)).payload);
    EXPECT_EQ(info.count, 0U);
    EXPECT_NE(set_irqs(index, 0, 1, vfio_user::some_eventfds(1)).header.error, 0U);
  }
  EXPECT_EQ(heard("eventfds"), 0U);
}

TEST_F(VmSessionTest, InterruptsPassAndTheVmsEventfdStaysHere) {
  start();
  const EventFd seen = interrupt(3);
  auto& theirs = source.device->handler.eventfds;
  ASSERT_EQ(theirs.size(), 1U);
  EXPECT_EQ(theirs.front().first, 3U);
  EventFd device_end = MUST(EventFd::adopt(MUST(theirs.front().second.duplicate())));
  device_end.signal();
  settle();
  EXPECT_TRUE(seen.drain());
  // What is in the VM's eventfd is out of the device's reach.
  device_end.signal();
  settle();
  EXPECT_FALSE(device_end.drain());
  EXPECT_TRUE(seen.drain());
}

TEST_F(VmSessionTest, AnInterruptThatTheVmTookBackGoesNowhere) {
  start();
  const EventFd seen = interrupt(3);
  EventFd device_end =
      MUST(EventFd::adopt(MUST(source.device->handler.eventfds.front().second.duplicate())));
  EXPECT_EQ(set_irqs(kMsix, 3, 1, {}).header.error, 0U);
  EXPECT_EQ(heard("deassign 2 3 1"), 1U);
  device_end.signal();
  settle();
  EXPECT_FALSE(seen.drain());
}

TEST_F(VmSessionTest, AStormIsThinnedOutAndNoInterruptIsLost) {
  options.interrupts = {.burst = 10, .per_second = 1};
  start();
  const EventFd seen = interrupt(0);
  EventFd device_end =
      MUST(EventFd::adopt(MUST(source.device->handler.eventfds.front().second.duplicate())));
  unsigned passed = 0;
  for (int i = 0; i < 1000; ++i) {
    device_end.signal();
    settle();
    passed += seen.drain() ? 1U : 0U;
  }
  EXPECT_GE(passed, 10U);
  EXPECT_LT(passed, 1000U);
  EXPECT_GE(audit.count("interrupt", Decision::kWithheld), 1U);
}

// The capability lists are what VMMs walk without a second look.
TEST_F(VmSessionTest, ConfigSpaceIsWhatItWasAtFirst) {
  start();
  auto& config = source.device->handler.memory[spec::VFIO_PCI_CONFIG_REGION_INDEX];
  FakeDevice::put(config, FakeDevice::kNotifyCap + 1, FakeDevice::kCommonCap);  // a loop
  FakeDevice::put(config, spec::PCI_COMMAND, Le16(7));
  const Bytes seen = data_of(read(spec::VFIO_PCI_CONFIG_REGION_INDEX, 0, 256));
  EXPECT_EQ(seen.at(FakeDevice::kNotifyCap + 1), std::byte{0});
  EXPECT_EQ(seen.at(spec::PCI_COMMAND), std::byte{7});  // this is the driver's to change
}

TEST_F(VmSessionTest, ADeviceWhoseCapabilitiesLoopIsNotShown) {
  source.prepare = [](FakeDevice& device) {
    FakeDevice::put(device.handler.memory[spec::VFIO_PCI_CONFIG_REGION_INDEX],
                    FakeDevice::kNotifyCap + 1, FakeDevice::kCommonCap);
  };
  connect();
  EXPECT_TRUE(ended);
  EXPECT_TRUE(vm->closed_by_peer());
}

TEST_F(VmSessionTest, CommandsOutOfOrderAndUnknownOnes) {
  connect();
  EXPECT_TRUE(vm->send(vfio_user::make_message(1, spec::VFIO_USER_DEVICE_GET_INFO, Bytes(16))));
  settle();
  EXPECT_TRUE(ended);  // not before VERSION

  ended = false;
  start();
  EXPECT_EQ(ask(99).header.error, static_cast<std::uint32_t>(ENOSYS));
  EXPECT_EQ(ask(spec::VFIO_USER_DEVICE_FEATURE, Bytes(8)).header.error,
            static_cast<std::uint32_t>(ENOTTY));
  EXPECT_EQ(ask(spec::VFIO_USER_DMA_READ, Bytes(16)).header.error,
            static_cast<std::uint32_t>(EPERM));
  EXPECT_FALSE(ended);
}

TEST_F(VmSessionTest, AccessesOutsideARegionAreRefused) {
  start();
  EXPECT_EQ(read(RecordingHandler::kPlain, RecordingHandler::kSize, 1).header.error,
            static_cast<std::uint32_t>(EINVAL));
  EXPECT_EQ(read(RecordingHandler::kPlain, RecordingHandler::kSize - 1, 2).header.error,
            static_cast<std::uint32_t>(EINVAL));
  EXPECT_EQ(read(99, 0, 1).header.error, static_cast<std::uint32_t>(EINVAL));
  EXPECT_EQ(read(RecordingHandler::kPlain, 0, kMaxAccess + 1).header.error,
            static_cast<std::uint32_t>(EINVAL));
  EXPECT_EQ(heard("read 0"), 0U);
}

TEST_F(VmSessionTest, NothingStaysOpen) {
  const auto open_before = vfio_user::open_fds();
  for (int i = 0; i < 5; ++i) {
    start("open");
    ask(spec::VFIO_USER_DMA_MAP, dma_map(0, 65536), one(memory_file(65536)));
    static_cast<void>(interrupt(1));
    vm->close();
    settle();
    EXPECT_TRUE(std::exchange(ended, false));
    source.device.reset();
  }
  vm.reset();
  EXPECT_EQ(vfio_user::open_fds(), open_before);
}

}  // namespace
}  // namespace airlock::guard
