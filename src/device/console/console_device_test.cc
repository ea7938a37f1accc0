// SPDX-License-Identifier: Apache-2.0
// A console and a port between a driver that writes its rings by hand and a scripted host.
// VIRTIO 1.3, 5.3.
#include "device/console/console_device.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>

#include "device/console/console_queue.h"
#include "spec/pci.h"
#include "spec/virtio.h"
#include "testing/driven_queue.h"
#include "testing/readable.h"
#include "testing/scripted_port.h"

namespace airlock::device {
namespace {

using testing::BuiltChain;
using testing::DrivenQueue;
using testing::PortScript;
using testing::ScriptedPort;
using testing::wait_until_readable;

constexpr std::uint64_t kMultiport = spec::feature(spec::VIRTIO_CONSOLE_F_MULTIPORT);
constexpr std::uint16_t kControlIn = spec::VIRTIO_CONSOLE_CONTROL_RECEIVEQ;
constexpr std::uint16_t kControlOut = spec::VIRTIO_CONSOLE_CONTROL_TRANSMITQ;
constexpr std::uint16_t kPort1In = 4;
constexpr std::uint16_t kPort1Out = 5;

std::string text_of(const std::vector<std::byte>& bytes, std::size_t count) {
  return {reinterpret_cast<const char*>(bytes.data()), std::min(count, bytes.size())};
}

class ConsoleDeviceTest : public ::testing::Test {
 protected:
  ConsoleDeviceTest() {
    std::vector<ConsoleDevice::Port> ports;
    ports.push_back({.name = "tty", .backend = std::make_unique<ScriptedPort>(tty_)});
    ports.push_back({.name = "agent", .backend = std::make_unique<ScriptedPort>(agent_)});
    device_ = MUST(ConsoleDevice::create({.ports = std::move(ports), .ring_features = 0}));
    device_->attach({.post = [this](std::function<void()> f) { post(std::move(f)); },
                     .config_changed = [this] { ++config_changes_; }});
  }

  DrivenQueue queue(std::uint16_t index, std::uint64_t features = kMultiport) {
    return {*device_, region_, index, features};
  }
  /// The next chain that comes back, however long the host takes.
  static std::optional<ring::UsedElement> await_used(DrivenQueue& queue) {
    for (;;) {
      if (const auto used = queue.next_used()) return used;
      if (!wait_until_readable(queue.task().completion_fd())) return std::nullopt;
    }
  }
  void tell(DrivenQueue& control, std::uint32_t id, std::uint16_t event, std::uint16_t value) {
    static_cast<void>(control.chain()
                          .readable_struct(spec::VirtioConsoleControl{
                              .id = Le32(id), .event = Le16(event), .value = Le16(value)})
                          .submit());
    ASSERT_TRUE(control.next_used());
  }
  /// Opens both ports, as a driver does.
  void open_ports(DrivenQueue& in, DrivenQueue& out) {
    tell(out, 0, spec::VIRTIO_CONSOLE_DEVICE_READY, 1);
    take_messages(in, 2);
    for (const std::uint32_t id : {0U, 1U}) {
      tell(out, id, spec::VIRTIO_CONSOLE_PORT_READY, 1);
      tell(out, id, spec::VIRTIO_CONSOLE_PORT_OPEN, 1);
    }
    take_messages(in, 3);
  }
  std::vector<spec::VirtioConsoleControl> take_messages(DrivenQueue& in, int count) {
    std::vector<spec::VirtioConsoleControl> messages;
    for (int i = 0; i < count; ++i) {
      const BuiltChain chain = in.chain().writable(128).submit();
      EXPECT_TRUE(await_used(in));
      std::memcpy(&messages.emplace_back(), chain.written().data(),
                  sizeof(spec::VirtioConsoleControl));
    }
    return messages;
  }
  [[nodiscard]] spec::VirtioConsoleConfig config() const {
    spec::VirtioConsoleConfig config;
    std::memcpy(&config, device_->config().data(), sizeof config);
    return config;
  }
  bool eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 20'000 && !condition(); ++i)
      ::poll(nullptr, 0, 1);
    return condition();
  }

  void post(std::function<void()> f) {
    const std::scoped_lock held(lock_);
    posted_.push_back(std::move(f));
    posted_event_.signal();
  }
  void run_posted() {
    ASSERT_TRUE(wait_until_readable(posted_event_.fd()));
    static_cast<void>(posted_event_.drain());
    std::deque<std::function<void()>> now;
    {
      const std::scoped_lock held(lock_);
      now.swap(posted_);
    }
    for (const auto& f : now)
      f();
  }

  testing::TestRegion region_{{.size = std::uint64_t{8} << 20}};
  PortScript tty_;
  PortScript agent_;
  std::mutex lock_;
  std::deque<std::function<void()>> posted_;
  EventFd posted_event_ = MUST(EventFd::create());
  int config_changes_ = 0;
  std::unique_ptr<ConsoleDevice> device_;
};

// VIRTIO 1.3, 5.3.2, 5.3.3, 5.3.4.
TEST_F(ConsoleDeviceTest, SaysWhatItIs) {
  EXPECT_EQ(device_->virtio_id(), spec::VIRTIO_ID_CONSOLE);
  EXPECT_EQ(device_->pci_class(), spec::PCI_CLASS_COMMUNICATION_OTHER);
  EXPECT_EQ(device_->features(), 7U);
  EXPECT_EQ(device_->queue_count(), 6);  // 5.3.2
  EXPECT_EQ(device_->queue_size_max(5), 64);
  EXPECT_EQ(device_->queue_size_max(6), 0);
  spec::VirtioConsoleConfig config;
  ASSERT_EQ(device_->config().size(), sizeof config);
  std::memcpy(&config, device_->config().data(), sizeof config);
  EXPECT_EQ(config.max_nr_ports.get(), 2U);
}

TEST(ConsoleDevice, RefusesWhatItCantBe) {
  EXPECT_EQ(ConsoleDevice::create({}).error().code, Errc::kOutOfRange);
  PortScript script;
  std::vector<ConsoleDevice::Port> ports;
  for (std::size_t i = 0; i <= ConsoleDevice::kPortsMost; ++i)
    ports.push_back({.name = "", .backend = std::make_unique<ScriptedPort>(script)});
  EXPECT_EQ(ConsoleDevice::create({.ports = std::move(ports)}).error().code, Errc::kOutOfRange);
  ports.clear();
  ports.push_back({.name = "", .backend = std::make_unique<ScriptedPort>(script)});
  EXPECT_EQ(ConsoleDevice::create({.ports = std::move(ports), .queue_size = 3}).error().code,
            Errc::kBadQueueSize);
}

// 5.3.2: a driver that knows of no ports has a console, and two queues.
TEST_F(ConsoleDeviceTest, IsAPlainConsoleWithoutMultiport) {
  tty_.connect();
  auto out = queue(1, 0);
  auto in = queue(0, 0);
  ASSERT_TRUE(eventually([&] { return device_->ports()[0]->connected(); }));
  static_cast<void>(out.chain().readable("login: ").submit());
  ASSERT_TRUE(out.next_used());
  EXPECT_TRUE(eventually([&] { return tty_.heard() == "login: "; }));
  tty_.say("root\n");
  const BuiltChain chain = in.chain().writable(64).submit();
  const auto used = await_used(in);
  ASSERT_TRUE(used);
  EXPECT_EQ(used->length, 5U);
  EXPECT_EQ(text_of(chain.written(), 5), "root\n");
}

TEST_F(ConsoleDeviceTest, HasNoOtherQueuesWithoutMultiport) {
  DrivenQueue first = queue(0, 0);
  for (std::uint16_t index = 2; index < 6; ++index) {
    first.ring().config().queue = index;
    EXPECT_EQ(first.start().error().code, Errc::kBadIndex) << index;
  }
}

// 5.3.6.2: the whole conversation, and bytes both ways.
TEST_F(ConsoleDeviceTest, OpensAPort) {
  auto control_in = queue(kControlIn);
  auto control_out = queue(kControlOut);
  auto in = queue(kPort1In);
  auto out = queue(kPort1Out);
  open_ports(control_in, control_out);
  agent_.connect();
  const auto told = take_messages(control_in, 1);
  EXPECT_EQ(told[0].event.get(), spec::VIRTIO_CONSOLE_PORT_OPEN);
  EXPECT_EQ(told[0].id.get(), 1U);
  agent_.say("ping");
  const BuiltChain chain = in.chain().writable(3).submit();
  ASSERT_TRUE(await_used(in));
  EXPECT_EQ(text_of(chain.written(), 3), "pin");
  static_cast<void>(out.chain().readable("po").readable("ng").submit());
  ASSERT_TRUE(await_used(out));
  EXPECT_TRUE(eventually([&] { return agent_.heard() == "pong"; }));
  EXPECT_EQ(device_->ports()[1]->counts(),
            (ConsolePortCounts{.to_guest = 3, .from_guest = 4, .connections = 1}));
}

TEST_F(ConsoleDeviceTest, FetchesNothingForAPortThatIsClosed) {
  auto control_in = queue(kControlIn);
  auto control_out = queue(kControlOut);
  auto in = queue(kPort1In);
  agent_.connect();
  agent_.say("early");
  static_cast<void>(in.chain().writable(64).submit());
  EXPECT_FALSE(in.next_used());
  EXPECT_EQ(agent_.unheard(), 5U);
  open_ports(control_in, control_out);
  EXPECT_EQ(await_used(in)->length, 5U);
}

// A slow reader: the port takes what there is room for, and the rest waits in the guest.
TEST_F(ConsoleDeviceTest, AChainWaitsForASlowReader) {
  auto out = queue(kPort1Out);
  agent_.make_room(0);
  agent_.connect();
  ASSERT_TRUE(eventually([&] { return device_->ports()[1]->connected(); }));
  const std::string half(40'000, 'x');
  static_cast<void>(out.chain().readable(half).submit());
  static_cast<void>(out.chain().readable(half).submit());
  static_cast<void>(out.chain().readable(half).submit());
  EXPECT_TRUE(out.next_used());
  EXPECT_FALSE(out.next_used());
  EXPECT_EQ(out.task().in_flight(), 1U);
  agent_.make_room(200'000);
  EXPECT_TRUE(await_used(out));
  EXPECT_TRUE(await_used(out));
  EXPECT_TRUE(eventually([&] { return agent_.heard().size() == 120'000; }));
  EXPECT_EQ(device_->ports()[1]->counts().dropped, 0U);
}

// Brought to rest meanwhile, the queue keeps the rest without the ring.
TEST_F(ConsoleDeviceTest, AQueueThatWaitsForASlowReaderComesToRest) {
  auto out = queue(kPort1Out);
  agent_.make_room(0);
  agent_.connect();
  ASSERT_TRUE(eventually([&] { return device_->ports()[1]->connected(); }));
  const std::string text(100'000, 'y');
  static_cast<void>(out.chain().readable(text).submit());
  EXPECT_FALSE(out.next_used());
  out.task().drain(false);
  EXPECT_EQ(out.task().in_flight(), 0U);
  EXPECT_TRUE(out.ring().take_used());
  MUST(out.task().rebind());
  agent_.make_room(200'000);
  static_cast<void>(out.chain().readable("z").submit());
  EXPECT_TRUE(await_used(out));
  EXPECT_TRUE(eventually([&] { return agent_.heard() == text + "z"; }));
}

TEST_F(ConsoleDeviceTest, AResetForgetsAChainThatWaits) {
  auto out = queue(kPort1Out);
  agent_.make_room(0);
  agent_.connect();
  ASSERT_TRUE(eventually([&] { return device_->ports()[1]->connected(); }));
  static_cast<void>(out.chain().readable(std::string(100'000, 'y')).submit());
  EXPECT_FALSE(out.next_used());
  out.task().drain(true);
  EXPECT_EQ(out.task().in_flight(), 0U);
  EXPECT_FALSE(out.ring().take_used());
}

// Linux writes to its console with a spinlock held: it never waits for a reader.
TEST_F(ConsoleDeviceTest, TheConsoleDropsWhatItsReaderIsTooSlowFor) {
  auto out = queue(1);
  tty_.make_room(0);
  tty_.connect();
  ASSERT_TRUE(eventually([&] { return device_->ports()[0]->connected(); }));
  static_cast<void>(out.chain().readable(std::string(100'000, 'x')).submit());
  EXPECT_TRUE(out.next_used());
  EXPECT_EQ(device_->ports()[0]->counts().dropped, 100'000 - ConsolePort::kOutputBytes);
}

TEST_F(ConsoleDeviceTest, WhatIsWrittenToNobodyIsDropped) {
  auto out = queue(kPort1Out);
  static_cast<void>(out.chain().readable(std::string(100'000, 'x')).submit());
  EXPECT_TRUE(out.next_used());
  EXPECT_EQ(device_->ports()[1]->counts().dropped, 100'000U);
}

TEST_F(ConsoleDeviceTest, WhatWasOnItsWayToOneIsNotForTheNext) {
  auto out = queue(kPort1Out);
  agent_.make_room(0);
  agent_.connect();
  ASSERT_TRUE(eventually([&] { return device_->ports()[1]->connected(); }));
  static_cast<void>(out.chain().readable("secret").submit());
  EXPECT_TRUE(out.next_used());
  agent_.disconnect();
  ASSERT_TRUE(eventually([&] { return !device_->ports()[1]->connected(); }));
  agent_.connect();
  agent_.make_room(100);
  ASSERT_TRUE(eventually([&] { return device_->ports()[1]->connected(); }));
  static_cast<void>(out.chain().readable("hello").submit());
  EXPECT_TRUE(out.next_used());
  EXPECT_TRUE(eventually([&] { return agent_.heard() == "hello"; }));
}

// The driver has gone: the next one's ports are closed, and nothing typed for this one is there.
TEST_F(ConsoleDeviceTest, ANewDriverFindsNothingOfTheOldOnes) {
  agent_.connect();
  {
    auto control_in = queue(kControlIn);
    auto control_out = queue(kControlOut);
    ASSERT_TRUE(eventually([&] { return device_->ports()[1]->connected(); }));
    tell(control_out, 0, spec::VIRTIO_CONSOLE_DEVICE_READY, 1);
    take_messages(control_in, 2);
    tell(control_out, 1, spec::VIRTIO_CONSOLE_PORT_READY, 1);
    tell(control_out, 1, spec::VIRTIO_CONSOLE_PORT_OPEN, 1);
    agent_.say("password");
    ASSERT_TRUE(eventually([&] { return agent_.unheard() == 0; }));
  }
  device_->stopped();
  EXPECT_FALSE(device_->ports()[1]->has_input());
  agent_.say("more");
  auto in = queue(kPort1In);
  static_cast<void>(in.chain().writable(64).submit());
  EXPECT_FALSE(in.next_used());
  auto control_in = queue(kControlIn);
  static_cast<void>(control_in.chain().writable(128).submit());
  EXPECT_FALSE(control_in.next_used());
}

// VIRTIO 1.3, 5.3.4.1: the device MUST allow a write to emerg_wr, even on an unconfigured device.
TEST_F(ConsoleDeviceTest, WritesInAnEmergency) {
  tty_.connect();
  for (const char c : {'o', 'o', 'p', 's'}) {
    const Le32 word(0xabcdef00 | static_cast<unsigned char>(c));
    device_->write_config(8, std::as_bytes(std::span(&word, 1)));
    if (c == 'o') {
      ASSERT_TRUE(eventually([&] { return device_->ports()[0]->connected(); }));
    }
  }
  device_->write_config(8, std::as_bytes(std::span("!", 1)));
  EXPECT_TRUE(eventually([&] { return tty_.heard().ends_with("ops!"); }));
  const spec::VirtioConsoleConfig before = config();
  device_->write_config(0, std::as_bytes(std::span("zzzz", 4)));
  EXPECT_EQ(std::memcmp(&before, device_->config().data(), sizeof before), 0);
}

// VIRTIO 1.3, 5.3.6: the configuration has the new size, and the driver is told.
TEST_F(ConsoleDeviceTest, TellsANewSize) {
  auto control_in = queue(kControlIn);
  auto control_out = queue(kControlOut);
  open_ports(control_in, control_out);
  tty_.resize({.cols = 132, .rows = 43});
  const BuiltChain chain = control_in.chain().writable(128).submit();
  ASSERT_EQ(await_used(control_in)->length, 12U);
  spec::VirtioConsoleResize size;
  std::memcpy(&size, chain.written().data() + 8, sizeof size);
  EXPECT_EQ(size.cols.get(), 132);
  EXPECT_EQ(size.rows.get(), 43);
  run_posted();
  EXPECT_EQ(config_changes_, 1);
  EXPECT_EQ(config().cols.get(), 132);
  EXPECT_EQ(config().rows.get(), 43);
}

// --- what no driver may do ---

// VIRTIO 1.3, 5.3.6.1: no device-readable buffer in a receive queue, no device-writable one in a
// transmit queue.
TEST_F(ConsoleDeviceTest, ABufferOfTheWrongKindBreaksItsQueue) {
  tty_.connect();
  tty_.say("x");
  auto control_out = queue(kControlOut);
  auto control_in = queue(kControlIn);
  tell(control_out, 0, spec::VIRTIO_CONSOLE_DEVICE_READY, 1);
  for (const std::uint16_t index : std::initializer_list<std::uint16_t>{1, 2, 3, 5}) {
    auto one = queue(index);
    if (index % 2 == 0) {
      static_cast<void>(one.chain().readable("x").writable(64).submit());
    } else {
      static_cast<void>(one.chain().readable("12345678").writable(1).submit());
    }
    EXPECT_EQ(one.settle().error(), (Error{.code = Errc::kBadOrder, .queue = index})) << index;
  }
}

TEST_F(ConsoleDeviceTest, AReceiveBufferThatCanBeReadBreaksItsQueue) {
  auto in = queue(0, 0);
  tty_.connect();
  tty_.say("x");
  ASSERT_TRUE(wait_until_readable(in.task().completion_fd()));
  static_cast<void>(in.chain().readable("x").writable(64).submit());
  EXPECT_EQ(in.settle().error(), (Error{.code = Errc::kBadOrder, .queue = 0}));
}

TEST_F(ConsoleDeviceTest, AControlBufferWithoutRoomForAMessageBreaksItsQueue) {
  auto control_out = queue(kControlOut);
  tell(control_out, 0, spec::VIRTIO_CONSOLE_DEVICE_READY, 1);
  auto control_in = queue(kControlIn);
  static_cast<void>(control_in.chain().writable(11).submit());
  EXPECT_EQ(control_in.settle().error(), (Error{.code = Errc::kTooSmall, .queue = kControlIn}));
}

TEST_F(ConsoleDeviceTest, AControlMessageThatIsShortSaysNothing_AndALongOneWhatItBeginsWith) {
  auto control_out = queue(kControlOut);
  auto control_in = queue(kControlIn);
  static_cast<void>(control_out.chain().readable("1234567").submit());
  EXPECT_EQ(control_out.next_used()->length, 0U);
  static_cast<void>(control_in.chain().writable(128).submit());
  EXPECT_FALSE(control_in.next_used());
  const spec::VirtioConsoleControl ready{.id = {}, .event = Le16(0), .value = Le16(1)};
  static_cast<void>(
      control_out.chain().readable_struct(ready).readable(std::string(9000, 'x')).submit());
  EXPECT_EQ(control_out.next_used()->length, 0U);
  EXPECT_EQ(control_in.next_used()->length, 8U);
}

TEST_F(ConsoleDeviceTest, ATransmitChainThatIsTooLongBreaksItsQueue) {
  auto out = queue(1);
  auto fits = out.chain();
  fits.raw(4096, kConsoleChainBytesMost, false).submit();
  EXPECT_TRUE(out.next_used());
  out.chain().raw(4096, kConsoleChainBytesMost + 1, false).submit();
  EXPECT_EQ(out.settle().error().code, Errc::kChainTooBig);
}

TEST(ConsoleRegion, HoldsThePortsBuffers) {
  EXPECT_LE(console_region_bytes_min(1, 64), std::uint64_t{2} << 20);
  EXPECT_GT(console_region_bytes_min(16, 64), std::uint64_t{17} * 64 * 4096);
}

}  // namespace
}  // namespace airlock::device
