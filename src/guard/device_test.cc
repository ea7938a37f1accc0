// SPDX-License-Identifier: Apache-2.0
//
// A device process that hangs, lies, dies or comes again: what the VM sees of it.
#include "guard/device.h"

#include "guard/guard_fixture.h"
#include "shm/sealed_memfd.h"
#include "spec/virtio.h"

namespace airlock::guard {
namespace {

using vfio_user::operator+;
using namespace std::chrono_literals;
using Common = spec::VirtioPciCommonCfg;

constexpr std::uint32_t kPlain = RecordingHandler::kPlain;
constexpr std::uint8_t kDriverOk =
    spec::VIRTIO_CONFIG_S_ACKNOWLEDGE | spec::VIRTIO_CONFIG_S_DRIVER |
    spec::VIRTIO_CONFIG_S_FEATURES_OK | spec::VIRTIO_CONFIG_S_DRIVER_OK;

class DeviceTest : public GuardFixture {
 protected:
  void SetUp() override { options.answer_within = 5ms; }

  // As a driver sets the device up, with one queue.
  void drive() {
    write(spec::VFIO_PCI_CONFIG_REGION_INDEX, spec::PCI_COMMAND, Le16(6));
    write_common(offsetof(Common, device_status), std::uint8_t{1});
    write_common(offsetof(Common, device_status), std::uint8_t{3});
    write_common(offsetof(Common, driver_feature_select), Le32(1));
    write_common(offsetof(Common, driver_feature), Le32(5));
    write_common(offsetof(Common, device_status), std::uint8_t{11});
    write_common(offsetof(Common, config_msix_vector), Le16(0));
    write_common(offsetof(Common, queue_select), Le16(0));
    write_common(offsetof(Common, queue_size), Le16(64));
    write_common(offsetof(Common, queue_msix_vector), Le16(1));
    write_common(offsetof(Common, queue_desc), Le32(0x1000));
    write_common(offsetof(Common, queue_desc) + 4, Le32(0x7));
    write_common(offsetof(Common, queue_enable), Le16(1));
    write_common(offsetof(Common, device_status), kDriverOk);
    write(kPlain, FakeDevice::kNotify, Le16(0));
    settle();
  }

  std::uint8_t status() {
    return std::to_integer<std::uint8_t>(
        data_of(read_late(kPlain, offsetof(Common, device_status), 1)).at(0));
  }

  // A read that the device may not answer.
  Message read_late(std::uint32_t region, std::uint64_t offset, std::uint32_t count) {
    EXPECT_TRUE(vm->send(
        vfio_user::make_message(++id, spec::VFIO_USER_REGION_READ,
                                vfio_user::bytes_of(spec::VfioUserRegionAccess{
                                    .offset = offset, .region = region, .count = count}))));
    settle();
    while (!vm->readable(0))
      pass_deadline();
    return vm->expect();
  }

  void kill_device() {
    source.device.reset();
    settle();
  }
  // As kill_device(), and until another is there, or none will be.
  void replace_device() {
    source.device->peer.close();
    const int before = source.asked;
    settle();
    while (source.asked == before && session->next_deadline())
      pass_deadline();
    settle();
  }
};

TEST_F(DeviceTest, AHangingDeviceIsAnsweredForInTime) {
  start();
  write(kPlain, 0x100, Le32(7));
  static_cast<void>(read(kPlain, 0x100, 4));
  source.device->silent = true;
  EXPECT_EQ(data_of(read_late(kPlain, 0x100, 4)), vfio_user::bytes_of(Le32(7)));
  write(kPlain, 0x100, Le32(8));  // answered at once
  EXPECT_EQ(audit.count("REGION_READ", Decision::kAnswered), 1U);
  // What was asked meanwhile is done when it goes on, in order.
  source.device->silent = false;
  settle();
  EXPECT_EQ(data_of(read(kPlain, 0x100, 4)), vfio_user::bytes_of(Le32(8)));
}

TEST_F(DeviceTest, ALateDeviceGetsOneNotificationOfMany) {
  start();
  drive();
  source.device->silent = true;
  static_cast<void>(read_late(kPlain, 0x100, 4));
  source.device->handler.calls.clear();
  for (int i = 0; i < 5000; ++i)
    write(kPlain, FakeDevice::kNotify, Le16(0));
  source.device->silent = false;
  settle();
  EXPECT_EQ(std::ranges::count(source.device->handler.calls, "write 0 0x1000 2"), 1);
}

TEST_F(DeviceTest, AHangingDevicesResetIsAnsweredInTime) {
  start();
  source.device->silent = true;
  EXPECT_TRUE(vm->send(vfio_user::make_message(++id, spec::VFIO_USER_DEVICE_RESET)));
  settle();
  EXPECT_FALSE(vm->readable(0));
  pass_deadline();
  EXPECT_EQ(vm->expect().header.error, 0U);
}

TEST_F(DeviceTest, ADeadDeviceNeedsResetAndSaysSo) {
  start();
  const EventFd config = interrupt(0);
  drive();
  kill_device();
  EXPECT_TRUE(config.drain());
  EXPECT_EQ(status(), kDriverOk | spec::VIRTIO_CONFIG_S_NEEDS_RESET);
  // It can be reset, and never be set up again.
  write_common(offsetof(Common, device_status), std::uint8_t{0});
  EXPECT_EQ(status(), 0);
  write_common(offsetof(Common, device_status), std::uint8_t{11});
  EXPECT_EQ(status(), 3);
  EXPECT_FALSE(ended);
}

TEST_F(DeviceTest, LiesEndTheDeviceAndNotTheVm) {
  using vfio_user::make_message;
  constexpr std::uint32_t kReply = spec::VFIO_USER_F_TYPE_REPLY;
  const Bytes access = vfio_user::bytes_of(
      spec::VfioUserRegionAccess{.offset = 0x100, .region = kPlain, .count = 4});
  Bytes elsewhere = access;
  elsewhere.at(0) = std::byte{1};
  const std::vector<std::pair<std::string, std::function<Bytes(std::uint16_t)>>> lies{
      {"another id",
       [&](std::uint16_t number) {
         return make_message(static_cast<std::uint16_t>(number + 1), spec::VFIO_USER_REGION_READ,
                             access + Bytes(4), kReply);
       }},
      {"another command",
       [&](std::uint16_t number) {
         return make_message(number, spec::VFIO_USER_DEVICE_RESET, {}, kReply);
       }},
      {"too short",
       [&](std::uint16_t number) {
         return make_message(number, spec::VFIO_USER_REGION_READ, access, kReply);
       }},
      {"too long",
       [&](std::uint16_t number) {
         return make_message(number, spec::VFIO_USER_REGION_READ, access + Bytes(5), kReply);
       }},
      {"from elsewhere",
       [&](std::uint16_t number) {
         return make_message(number, spec::VFIO_USER_REGION_READ, elsewhere + Bytes(4), kReply);
       }},
      {"no type",
       [&](std::uint16_t number) {
         return make_message(number, spec::VFIO_USER_REGION_READ, access + Bytes(4), 2);
       }},
      {"an error without a number",
       [&](std::uint16_t number) {
         return make_message(number, spec::VFIO_USER_REGION_READ, {},
                             kReply | spec::VFIO_USER_F_ERROR, 0);
       }},
      {"a size that no message has", [](std::uint16_t) { return Bytes(16, std::byte{0xff}); }},
      {"a reply to nothing",
       [&](std::uint16_t number) {
         const Bytes good =
             make_message(number, spec::VFIO_USER_REGION_READ, access + Bytes(4), kReply);
         return good + good;
       }},
  };
  for (const auto& [name, lie] : lies) {
    SCOPED_TRACE(name);
    start();
    drive();
    source.device->silent = true;
    EXPECT_TRUE(vm->send(make_message(++id, spec::VFIO_USER_REGION_READ, access)));
    settle();
    const auto number = source.device->peer.expect().header.message_id;
    EXPECT_TRUE(source.device->peer.send(lie(number)));
    settle();
    while (!vm->readable(0))
      pass_deadline();
    EXPECT_EQ(vm->expect().header.error, 0U);  // the VM gets its answer all the same
    EXPECT_EQ(status(), kDriverOk | spec::VIRTIO_CONFIG_S_NEEDS_RESET);
    session.reset();
  }
}

TEST_F(DeviceTest, FdsWhereThereAreNoneEndTheDevice) {
  start();
  source.device->silent = true;
  const Bytes access = vfio_user::bytes_of(
      spec::VfioUserRegionAccess{.offset = 0x100, .region = kPlain, .count = 4});
  EXPECT_TRUE(vm->send(vfio_user::make_message(++id, spec::VFIO_USER_REGION_READ, access)));
  settle();
  const auto number = source.device->peer.expect().header.message_id;
  const auto open_before = vfio_user::open_fds();
  EXPECT_TRUE(source.device->peer.send(
      vfio_user::make_message(number, spec::VFIO_USER_REGION_READ, access + Bytes(4),
                              spec::VFIO_USER_F_TYPE_REPLY),
      one(memory_file(4096))));
  settle();
  EXPECT_LE(vfio_user::open_fds(), open_before);
  EXPECT_EQ(audit.count("device", Decision::kFailed), 2U);  // it failed, and is given up
}

TEST_F(DeviceTest, AFloodOfCommandsDoesNotKeepTheVmWaiting) {
  start();
  Bytes flood;
  for (int i = 0; i < 20000; ++i) {
    const Bytes one_of_them = vfio_user::make_message(1, 200);
    flood.insert(flood.end(), one_of_them.begin(), one_of_them.end());
  }
  // As much as fits the socket, and no reading of the answers.
  source.device->silent = true;
  std::size_t sent = 0;
  for (int round = 0; round < 100; ++round) {
    const ssize_t now = send(source.device->peer.fd(), flood.data() + sent, flood.size() - sent,
                             MSG_DONTWAIT | MSG_NOSIGNAL);
    if (now > 0) sent += static_cast<std::size_t>(now) / 16 * 16;
    MUST(poller->wait(Clock::now()));
    session->tick(Clock::now());
    if (now <= 0 && round > 50) break;
  }
  write(kPlain, 0x100, Le32(7));
  static_cast<void>(read_late(kPlain, 0x100, 4));
  EXPECT_FALSE(ended);
}

TEST_F(DeviceTest, AnUnsealedRegionIsNotTheVmsToMap) {
  // A device of raw bytes: everything honest but the file of its region.
  source.prepare = [](FakeDevice& device) {
    device.handler.other_memfd = memory_file(RecordingHandler::kSize);
  };
  start();
  const Message reply = ask_region(RecordingHandler::kMapped, 4096);
  const auto info = vfio_user::require_struct<spec::VfioUserRegionInfo>(reply.payload);
  EXPECT_EQ(info.flags & spec::VFIO_REGION_INFO_FLAG_MMAP, 0U);
  EXPECT_EQ(info.size, RecordingHandler::kSize);
  EXPECT_TRUE(reply.fds.empty());
  EXPECT_EQ(audit.count("DEVICE_GET_REGION_INFO", Decision::kWithheld), 1U);
}

// The VM's memory as a region: before the device is in use the VM is turned away, later it is not.
TEST_F(DeviceTest, ADeviceThatHasTheVmsMemoryIsGivenUp) {
  start();
  EXPECT_TRUE(vm->send(
      vfio_user::make_message(++id, spec::VFIO_USER_DMA_MAP, dma_map(0, RecordingHandler::kSize)),
      one(MUST(source.device->handler.memfd().duplicate()))));
  settle();
  EXPECT_TRUE(std::exchange(ended, false));

  start();
  drive();
  EXPECT_EQ(ask(spec::VFIO_USER_DMA_MAP, dma_map(0, RecordingHandler::kSize),
                one(MUST(source.device->handler.memfd().duplicate())))
                .header.error,
            static_cast<std::uint32_t>(EPERM));
  EXPECT_EQ(status(), kDriverOk | spec::VIRTIO_CONFIG_S_NEEDS_RESET);
  EXPECT_FALSE(ended);
}

// -- A device that can be started again.

class RestartTest : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    source.can_restart = true;
    // The same memory again, as a device of ours does.
    source.prepare = [this](FakeDevice& device) {
      if (device.region) device.handler.other_memfd = MUST(device.region.duplicate());
      if (tamper && device.region) tamper(device);
    };
  }
  std::function<void(FakeDevice&)> tamper;
};

TEST_F(RestartTest, ANewProcessIsBroughtToWhereTheOldOneWas) {
  start();
  const EventFd config = interrupt(0);
  const EventFd queue = interrupt(1);
  drive();
  write(kPlain, 0x200, Le32(5));  // no register of virtio's: nobody's to repeat
  replace_device();
  EXPECT_EQ(source.asked, 2);
  const auto& memory = source.device->handler.memory[kPlain];
  EXPECT_EQ(std::to_integer<int>(memory.at(offsetof(Common, device_status))), kDriverOk);
  EXPECT_EQ(std::to_integer<int>(memory.at(offsetof(Common, driver_feature))), 5);
  EXPECT_EQ(std::to_integer<int>(memory.at(offsetof(Common, queue_size))), 64);
  EXPECT_EQ(std::to_integer<int>(memory.at(offsetof(Common, queue_msix_vector))), 1);
  EXPECT_EQ(std::to_integer<int>(memory.at(offsetof(Common, queue_desc) + 1)), 0x10);
  EXPECT_EQ(std::to_integer<int>(memory.at(offsetof(Common, queue_desc) + 4)), 7);
  EXPECT_EQ(std::to_integer<int>(memory.at(offsetof(Common, queue_enable))), 1);
  EXPECT_EQ(
      std::to_integer<int>(source.device->handler.memory[spec::VFIO_PCI_CONFIG_REGION_INDEX].at(4)),
      6);
  EXPECT_EQ(source.device->handler.eventfds.size(), 2U);
  // It is notified, for what the last one did not get to; the VM is, for what that did not say.
  EXPECT_EQ(source.device->handler.calls.back(), "write 0 0x1000 2");
  EXPECT_TRUE(queue.drain());
  EXPECT_TRUE(config.drain());
  EXPECT_EQ(status(), kDriverOk);
  EXPECT_FALSE(ended);
}

TEST_F(RestartTest, WhatTheDriverDoesMeanwhileIsNotLost) {
  start();
  drive();
  source.device->peer.close();
  settle();
  write_common(offsetof(Common, queue_select), Le16(1));
  write_common(offsetof(Common, queue_enable), Le16(1));
  replace_device();
  EXPECT_EQ(std::to_integer<int>(
                source.device->handler.memory[kPlain].at(offsetof(Common, queue_select))),
            1);
}

// It has said what it is, and has been told all; then the driver goes on before it has done that.
TEST_F(RestartTest, WhatTheDriverDoesWhileItIsBroughtBackIsNotLost) {
  constexpr int kQuestions = 15;  // VERSION, the device, 9 regions, 3 interrupts, config space
  start();
  drive();
  tamper = [](FakeDevice& device) { device.patience = kQuestions; };
  replace_device();
  EXPECT_EQ(source.device->patience, 0);
  write_common(offsetof(Common, queue_select), Le16(5));
  write_common(offsetof(Common, device_status), std::uint8_t{kDriverOk | 0x80});
  source.device->patience = -1;
  settle();
  const auto& memory = source.device->handler.memory[kPlain];
  EXPECT_EQ(std::to_integer<int>(memory.at(offsetof(Common, queue_select))), 5);
  EXPECT_EQ(std::to_integer<int>(memory.at(offsetof(Common, device_status))), kDriverOk | 0x80);
  EXPECT_EQ(audit.count("device", Decision::kFailed), 1U);
}

TEST_F(RestartTest, ADeviceThatWasResetIsNotSetUpAgain) {
  start();
  drive();
  write_common(offsetof(Common, device_status), std::uint8_t{0});
  settle();
  replace_device();
  EXPECT_EQ(std::to_integer<int>(
                source.device->handler.memory[kPlain].at(offsetof(Common, device_status))),
            0);
}

// docs/RESTART.md: to a process that goes on with its queues a reset that it does not hear of never
// was; and one that the last process answered is done.
TEST_F(RestartTest, AResetThatNobodyAnsweredIsSaidAgain) {
  const auto status_writes = [this] {
    return std::ranges::count(source.device->handler.calls, "write 0 0x14 1");
  };
  constexpr int kSetUp = 3;
  start();
  drive();
  source.device->silent = true;
  write_common(offsetof(Common, device_status), std::uint8_t{0});
  drive();
  replace_device();
  EXPECT_EQ(status_writes(), kSetUp + 1);
  EXPECT_EQ(status(), kDriverOk);
  replace_device();
  EXPECT_EQ(status_writes(), kSetUp);

  write_common(offsetof(Common, device_status), std::uint8_t{0});
  drive();
  replace_device();
  EXPECT_EQ(status_writes(), kSetUp);
}

TEST_F(RestartTest, AnotherDeviceInItsPlaceIsNotTaken) {
  const std::vector<std::pair<std::string, std::function<void(FakeDevice&)>>> changes{
      {"another region",
       [](FakeDevice& device) {
         const auto other = MUST(shm::SealedMemfd::create({.size = RecordingHandler::kSize}));
         device.handler.other_memfd = MUST(other.fd().duplicate());
       }},
      {"another config space",
       [](FakeDevice& device) {
         FakeDevice::put(device.handler.memory[spec::VFIO_PCI_CONFIG_REGION_INDEX],
                         spec::PCI_DEVICE_ID, Le16(0x1041));
       }},
  };
  options.restarts = {.burst = 3, .first_delay = 1ms, .longest_delay = 2ms};
  for (const auto& [name, change] : changes) {
    SCOPED_TRACE(name);
    start();
    drive();
    tamper = change;
    source.device->peer.close();
    settle();
    while (session->next_deadline())
      pass_deadline();
    EXPECT_EQ(status(), kDriverOk | spec::VIRTIO_CONFIG_S_NEEDS_RESET);
    tamper = nullptr;
    session.reset();
  }
}

TEST_F(RestartTest, ADeviceThatFailsAgainAndAgainIsGivenUp) {
  options.restarts = {.burst = 3, .first_delay = 1ms, .longest_delay = 2ms};
  start();
  drive();
  const int first = source.asked;
  for (int i = 0; i < 10 && source.device; ++i) {
    source.device->peer.close();
    settle();
    while (session->next_deadline())
      pass_deadline();
  }
  EXPECT_EQ(source.asked - first, 3);
  EXPECT_EQ(status(), kDriverOk | spec::VIRTIO_CONFIG_S_NEEDS_RESET);
}

TEST_F(RestartTest, ADeviceThatAnswersNothingAnyMoreIsStartedAgain) {
  options.hang_limit = 20ms;
  start();
  drive();
  source.device->silent = true;
  write(kPlain, 0x100, Le32(7));
  const int before = source.asked;
  while (source.asked == before)
    pass_deadline();
  settle();
  EXPECT_EQ(status(), kDriverOk);
}

}  // namespace
}  // namespace airlock::guard
