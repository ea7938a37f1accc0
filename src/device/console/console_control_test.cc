// SPDX-License-Identifier: Apache-2.0
// What driver and device tell each other of ports. VIRTIO 1.3, 5.3.6.2.
#include "device/console/console_control.h"

#include <gtest/gtest.h>

#include <cstring>

namespace airlock::device {
namespace {

using spec::VirtioConsoleControl;

/// What the device says next, in words: "0 add", "1 name agent".
std::string next(ConsoleControl& control, std::size_t room = ConsoleControl::kMessageBytesMost) {
  std::vector<std::byte> bytes(room);
  bytes.resize(control.next(bytes));
  if (bytes.empty()) return "";
  VirtioConsoleControl message;
  std::memcpy(&message, bytes.data(), sizeof message);
  const std::string id = std::to_string(message.id.get());
  const std::string value = std::to_string(message.value.get());
  const std::string rest(reinterpret_cast<const char*>(bytes.data()) + sizeof message,
                         bytes.size() - sizeof message);
  switch (message.event.get()) {
    case spec::VIRTIO_CONSOLE_DEVICE_ADD:
      return id + " add";
    case spec::VIRTIO_CONSOLE_CONSOLE_PORT:
      return id + " console " + value;
    case spec::VIRTIO_CONSOLE_PORT_NAME:
      return id + " name " + rest;
    case spec::VIRTIO_CONSOLE_PORT_OPEN:
      return id + " open " + value;
    case spec::VIRTIO_CONSOLE_RESIZE: {
      spec::VirtioConsoleResize size;
      EXPECT_EQ(rest.size(), sizeof size);
      std::memcpy(&size, rest.data(), std::min(rest.size(), sizeof size));
      return id + " size " + std::to_string(size.cols.get()) + "x" +
             std::to_string(size.rows.get());
    }
    default:
      return id + " ?";
  }
}

/// All that there is to say.
std::vector<std::string> all(ConsoleControl& control) {
  std::vector<std::string> said;
  while (control.has_message())
    said.push_back(next(control));
  EXPECT_EQ(next(control), "");
  return said;
}

using Said = std::vector<std::string>;

class ConsoleControlTest : public ::testing::Test {
 protected:
  std::optional<ConsoleControl::Opened> tell(std::uint32_t id, std::uint16_t event,
                                             std::uint16_t value) {
    return control_.take({.id = Le32(id), .event = Le16(event), .value = Le16(value)});
  }
  void make_ready() {
    static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_DEVICE_READY, 1));
    static_cast<void>(all(control_));
    static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_PORT_READY, 1));
    static_cast<void>(tell(1, spec::VIRTIO_CONSOLE_PORT_READY, 1));
    static_cast<void>(all(control_));
  }

  ConsoleControl control_{{{.name = "tty", .is_console = true}, {.name = "agent"}}};
};

TEST_F(ConsoleControlTest, SaysNothingUntilItIsAsked) {
  control_.host_is(0, true, true);
  control_.resize({.cols = 80, .rows = 25});
  EXPECT_EQ(all(control_), Said());
}

// VIRTIO 1.3, 5.3.6.2: the driver's way through it.
TEST_F(ConsoleControlTest, IntroducesItsPorts) {
  control_.host_is(0, true, true);
  control_.resize({.cols = 80, .rows = 25});
  static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_DEVICE_READY, 1));
  EXPECT_EQ(all(control_), (Said{"0 add", "1 add"}));
  static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_PORT_READY, 1));
  EXPECT_EQ(all(control_), (Said{"0 console 1", "0 name tty", "0 size 80x25", "0 open 1"}));
  static_cast<void>(tell(1, spec::VIRTIO_CONSOLE_PORT_READY, 1));
  EXPECT_EQ(all(control_), (Said{"1 name agent"}));
  EXPECT_EQ(tell(0, spec::VIRTIO_CONSOLE_PORT_OPEN, 1)->open, true);
  EXPECT_EQ(tell(1, spec::VIRTIO_CONSOLE_PORT_OPEN, 0)->port, 1U);
  EXPECT_EQ(control_.ignored(), 0U);
}

// VIRTIO 1.3, 5.3.6.2.1: the device MUST NOT specify a port which exists in a DEVICE_ADD message.
TEST_F(ConsoleControlTest, AddsAPortOnce) {
  static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_DEVICE_READY, 1));
  static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_DEVICE_READY, 1));
  EXPECT_EQ(all(control_), (Said{"0 add", "1 add"}));
  static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_DEVICE_READY, 1));
  EXPECT_EQ(all(control_), Said());
}

TEST_F(ConsoleControlTest, ADriverThatIsNotReadyHearsNothing) {
  static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_DEVICE_READY, 0));
  EXPECT_EQ(all(control_), Said());
  EXPECT_EQ(control_.ignored(), 1U);
}

struct Nonsense {
  std::uint32_t id;
  std::uint16_t event;
  std::uint16_t value;
};

TEST_F(ConsoleControlTest, IgnoresWhatMakesNoSense) {
  make_ready();
  const Nonsense messages[] = {
      {2, spec::VIRTIO_CONSOLE_PORT_OPEN, 1},
      {0xffff'ffff, spec::VIRTIO_CONSOLE_PORT_READY, 1},
      {0, spec::VIRTIO_CONSOLE_PORT_OPEN, 2},
      {0, spec::VIRTIO_CONSOLE_DEVICE_ADD, 1},
      {0, spec::VIRTIO_CONSOLE_DEVICE_REMOVE, 1},
      {0, spec::VIRTIO_CONSOLE_CONSOLE_PORT, 1},
      {0, spec::VIRTIO_CONSOLE_RESIZE, 0},
      {0, spec::VIRTIO_CONSOLE_PORT_NAME, 1},
      {0, 8, 1},
      {0, 0xffff, 1},
      {0, spec::VIRTIO_CONSOLE_DEVICE_READY, 0xffff},
  };
  for (const Nonsense& message : messages) {
    EXPECT_FALSE(tell(message.id, message.event, message.value));
    EXPECT_EQ(all(control_), Said());
  }
  EXPECT_EQ(control_.ignored(), std::size(messages));
}

TEST_F(ConsoleControlTest, APortThatWasNotAddedIsNotReady_AndOneThatIsNotReadyIsNotOpened) {
  static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_PORT_READY, 1));
  EXPECT_EQ(all(control_), Said());
  static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_DEVICE_READY, 1));
  // It is on its way, and the driver can't know of it.
  static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_PORT_READY, 1));
  EXPECT_EQ(all(control_), (Said{"0 add", "1 add"}));
  EXPECT_FALSE(tell(0, spec::VIRTIO_CONSOLE_PORT_OPEN, 1));
  static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_PORT_READY, 1));
  static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_PORT_READY, 0));
  EXPECT_FALSE(tell(0, spec::VIRTIO_CONSOLE_PORT_OPEN, 1));
  EXPECT_EQ(all(control_), Said());
  EXPECT_EQ(control_.ignored(), 4U);
}

TEST_F(ConsoleControlTest, TellsWhoComesAndGoes) {
  make_ready();
  control_.host_is(1, true, true);
  EXPECT_EQ(all(control_), (Said{"1 open 1"}));
  control_.host_is(1, true, false);
  EXPECT_EQ(all(control_), Said());
  control_.host_is(1, false, false);
  EXPECT_EQ(all(control_), (Said{"1 open 0"}));
}

TEST_F(ConsoleControlTest, SomebodyElseIsAlwaysTold_AndAVisitThatNobodySawIsNot) {
  make_ready();
  control_.host_is(1, true, true);
  control_.host_is(1, false, false);
  EXPECT_EQ(all(control_), Said());
  control_.host_is(1, true, true);
  EXPECT_EQ(all(control_), (Said{"1 open 1"}));
  for (int i = 0; i < 1000; ++i) {
    control_.host_is(1, false, false);
    control_.host_is(1, true, true);
  }
  EXPECT_EQ(all(control_), (Said{"1 open 0", "1 open 1"}));
  control_.host_is(1, true, true);
  control_.host_is(1, false, false);
  EXPECT_EQ(all(control_), (Said{"1 open 0"}));
}

// A driver that asks for ever and takes no messages: there are never more of them.
TEST_F(ConsoleControlTest, RemembersNoMoreForOneWhoNeverListens) {
  make_ready();
  control_.host_is(0, true, true);
  control_.resize({.cols = 1, .rows = 1});
  for (std::uint16_t i = 0; i < 10'000; ++i) {
    static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_PORT_READY, 1));
    static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_DEVICE_READY, 1));
    control_.resize({.cols = i, .rows = 25});
  }
  EXPECT_EQ(all(control_), (Said{"0 console 1", "0 name tty", "0 size 9999x25", "0 open 1"}));
}

TEST_F(ConsoleControlTest, TellsANewSizeOnce_AndOfTheConsoleOnly) {
  make_ready();
  control_.resize({.cols = 132, .rows = 43});
  EXPECT_EQ(all(control_), (Said{"0 size 132x43"}));
  control_.resize({.cols = 132, .rows = 43});
  EXPECT_EQ(all(control_), Said());
}

TEST_F(ConsoleControlTest, CutsANameWhereTheBufferEnds) {
  static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_DEVICE_READY, 1));
  static_cast<void>(all(control_));
  static_cast<void>(tell(1, spec::VIRTIO_CONSOLE_PORT_READY, 1));
  EXPECT_EQ(next(control_, ConsoleControl::kLeastBytes), "1 name agen");
}

TEST_F(ConsoleControlTest, CutsANameThatIsTooLong) {
  ConsoleControl control({{.name = std::string(100, 'x')}});
  static_cast<void>(control.take({.id = Le32(0), .event = Le16(0), .value = Le16(1)}));
  EXPECT_EQ(next(control), "0 add");
  static_cast<void>(control.take({.id = Le32(0), .event = Le16(3), .value = Le16(1)}));
  EXPECT_EQ(next(control), "0 name " + std::string(64, 'x'));
}

TEST_F(ConsoleControlTest, ANewDriverIsToldEverything) {
  make_ready();
  control_.host_is(1, true, true);
  static_cast<void>(all(control_));
  control_.reset();
  EXPECT_EQ(all(control_), Said());
  EXPECT_FALSE(tell(1, spec::VIRTIO_CONSOLE_PORT_OPEN, 1));
  static_cast<void>(tell(0, spec::VIRTIO_CONSOLE_DEVICE_READY, 1));
  EXPECT_EQ(all(control_), (Said{"0 add", "1 add"}));
  static_cast<void>(tell(1, spec::VIRTIO_CONSOLE_PORT_READY, 1));
  EXPECT_EQ(all(control_), (Said{"1 name agent", "1 open 1"}));
}

}  // namespace
}  // namespace airlock::device
