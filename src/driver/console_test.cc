// SPDX-License-Identifier: Apache-2.0
// A console's driver, and a device that answers as it likes. VIRTIO 1.3, 5.3.
#include "driver/console.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <map>

#include "testing/fake_model.h"
#include "testing/fake_transport.h"

namespace airlock::driver {
namespace {

using namespace std::chrono_literals;
using spec::VirtioConsoleControl;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

class ConsoleTest : public ::testing::Test {
 protected:
  ConsoleTest() {
    FakeModel& model = device_.model;
    model.type = spec::VIRTIO_ID_CONSOLE;
    model.own_features = spec::feature(spec::VIRTIO_CONSOLE_F_MULTIPORT) |
                         spec::feature(spec::VIRTIO_CONSOLE_F_SIZE) |
                         spec::feature(spec::VIRTIO_CONSOLE_F_EMERG_WRITE);
    model.queue_sizes.assign(6, 64);
    set_config({.cols = Le16(80), .rows = Le16(25), .max_nr_ports = Le32(2), .emerg_wr = {}});
    model.on_chain = [this](std::uint16_t queue, const ring::Chain& chain) {
      return answer(queue, chain);
    };
  }

  using FakeModel = testing::FakeModel;

  void set_config(const spec::VirtioConsoleConfig& config) {
    const auto bytes = std::as_bytes(std::span(&config, 1));
    device_.model.config.assign(bytes.begin(), bytes.end());
  }
  // What was sent is kept; a buffer to be filled waits until there is something to say.
  std::optional<std::uint32_t> answer(std::uint16_t queue, const ring::Chain& chain) {
    if (queue % 2 != 0) {
      std::string& text = sent_[queue];
      const std::size_t before = text.size();
      text.resize(before + chain.readable_bytes());
      MUST(chain.read(0, std::as_writable_bytes(std::span(text).subspan(before))));
      if (queue == spec::VIRTIO_CONSOLE_CONTROL_TRANSMITQ) hear(text.substr(before));
      return std::uint32_t{0};
    }
    auto& to_say = to_say_[queue];
    if (to_say.empty()) return std::nullopt;
    const std::string text = std::move(to_say.front());
    to_say.pop_front();
    MUST(chain.write(0, bytes_of(text)));
    return static_cast<std::uint32_t>(text.size());
  }
  void hear(const std::string& message) {
    VirtioConsoleControl head;
    ASSERT_EQ(message.size(), sizeof head);
    std::memcpy(&head, message.data(), sizeof head);
    heard_.push_back(head);
    if (head.event.get() == spec::VIRTIO_CONSOLE_DEVICE_READY) {
      tell(0, spec::VIRTIO_CONSOLE_DEVICE_ADD, 0);
      tell(1, spec::VIRTIO_CONSOLE_DEVICE_ADD, 0);
    }
  }
  void say(std::uint16_t queue, std::string text) { to_say_[queue].push_back(std::move(text)); }
  void tell(std::uint32_t port, std::uint16_t event, std::uint16_t value, std::string rest = {}) {
    const VirtioConsoleControl head{.id = Le32(port), .event = Le16(event), .value = Le16(value)};
    say(spec::VIRTIO_CONSOLE_CONTROL_RECEIVEQ,
        std::string(reinterpret_cast<const char*>(&head), sizeof head) + std::move(rest));
  }
  Result<std::unique_ptr<Console>> try_open(bool multiport = true) {
    Console::Options options{.multiport = multiport, .timeout = 100ms};
    options.device.timeout = 100ms;
    return Console::open(std::make_unique<testing::FakeTransport>(
                             device_.device(), device_.memfd, lies_,
                             testing::FakeTransport::Options{.interrupts = true}),
                         options);
  }
  void open(bool multiport = true) {
    console_ = MUST(try_open(multiport));
    device_.model.serve();
    MUST(console_->update());
  }
  std::string read(std::uint32_t port, std::size_t most = 100) {
    std::string text(most, '\0');
    text.resize(MUST(console_->read(port, std::as_writable_bytes(std::span(text)), 100ms)));
    return text;
  }

  testing::FakeModelDevice device_;
  testing::Lies lies_;
  std::map<std::uint16_t, std::string> sent_;
  std::map<std::uint16_t, std::deque<std::string>> to_say_;
  std::vector<VirtioConsoleControl> heard_;
  std::unique_ptr<Console> console_;
};

// VIRTIO 1.3, 5.3.5, 5.3.6.2.2: DEVICE_READY first, PORT_READY for each port.
TEST_F(ConsoleTest, MeetsItsPorts) {
  open();
  ASSERT_EQ(heard_.size(), 3U);
  EXPECT_EQ(heard_[0].event.get(), spec::VIRTIO_CONSOLE_DEVICE_READY);
  EXPECT_EQ(heard_[1].event.get(), spec::VIRTIO_CONSOLE_PORT_READY);
  EXPECT_EQ(heard_[2].id.get(), 1U);
  EXPECT_TRUE(console_->ports()[1].is_there);
  tell(1, spec::VIRTIO_CONSOLE_PORT_NAME, 1, "agent");
  tell(1, spec::VIRTIO_CONSOLE_PORT_OPEN, 1);
  device_.model.serve();
  EXPECT_TRUE(MUST(console_->update()));
  EXPECT_EQ(console_->ports()[1].name, "agent");
  EXPECT_TRUE(console_->ports()[1].host_open);
  EXPECT_FALSE(MUST(console_->update()));
}

// 5.3.6.2.2: the driver MUST answer CONSOLE_PORT with PORT_OPEN, of value 1.
TEST_F(ConsoleTest, OpensTheConsole) {
  open();
  tell(0, spec::VIRTIO_CONSOLE_CONSOLE_PORT, 1);
  device_.model.serve();
  MUST(console_->update());
  EXPECT_TRUE(console_->ports()[0].is_console);
  EXPECT_EQ(heard_.back().event.get(), spec::VIRTIO_CONSOLE_PORT_OPEN);
  EXPECT_EQ(heard_.back().value.get(), 1);
}

TEST_F(ConsoleTest, ReadsAndWritesPorts) {
  open();
  ASSERT_TRUE(console_->open_port(1));
  const std::string text(10'000, 'x');
  ASSERT_TRUE(console_->write(1, bytes_of(text)));
  ASSERT_TRUE(console_->flush(1));
  EXPECT_EQ(sent_[5], text);
  say(4, "pong");
  say(4, "!");
  device_.model.serve();
  EXPECT_EQ(read(1, 3), "pon");
  EXPECT_EQ(read(1), "g");
  EXPECT_EQ(read(1), "!");
}

TEST_F(ConsoleTest, IsAPlainConsoleWithoutPorts) {
  open(false);
  EXPECT_FALSE(console_->has_ports());
  EXPECT_TRUE(heard_.empty());
  EXPECT_EQ(console_->size()->cols.get(), 80);
  ASSERT_TRUE(console_->write(0, bytes_of("hello")));
  EXPECT_EQ(sent_[1], "hello");
  say(0, "login");
  device_.model.serve();
  EXPECT_EQ(read(0), "login");
}

TEST_F(ConsoleTest, WritesInAnEmergency) {
  std::vector<std::byte> written;
  device_.model.on_config_write = [&](std::uint32_t offset, std::span<const std::byte> source) {
    EXPECT_EQ(offset, 8U);
    written.assign(source.begin(), source.end());
  };
  open();
  ASSERT_TRUE(console_->write_in_emergency('!'));
  EXPECT_EQ(written, (std::vector<std::byte>{std::byte{'!'}, {}, {}, {}}));
  device_.model.own_features = 0;
}

TEST_F(ConsoleTest, ThereIsNoSuchPort) {
  open();
  std::array<std::byte, 4> bytes{};
  EXPECT_EQ(console_->read(2, bytes, 1ms).error().code, Errc::kBadIndex);
  EXPECT_EQ(console_->write(7, bytes).error().code, Errc::kBadIndex);
  EXPECT_EQ(console_->open_port(0xffff'ffff).error().code, Errc::kBadIndex);
  EXPECT_EQ(console_->wait_for_port(9, 1ms).error().code, Errc::kBadIndex);
}

TEST_F(ConsoleTest, NothingComes) {
  open();
  std::array<std::byte, 4> bytes{};
  EXPECT_EQ(console_->read(1, bytes, 1ms).error().code, Errc::kTimeout);
  EXPECT_FALSE(console_->device().broken());
}

// --- lies ---

TEST_F(ConsoleTest, PassesOverMessagesThatItHasNoUseFor) {
  open();
  tell(2, spec::VIRTIO_CONSOLE_DEVICE_ADD, 0);
  tell(0xffff'ffff, spec::VIRTIO_CONSOLE_PORT_OPEN, 1);
  tell(0, 99, 1);
  tell(0, spec::VIRTIO_CONSOLE_RESIZE, 0, "abc");
  device_.model.serve();
  EXPECT_TRUE(MUST(console_->update()));
  EXPECT_FALSE(console_->size());
  EXPECT_EQ(console_->ports().size(), 2U);
}

TEST_F(ConsoleTest, AMessageThatIsNoneBreaksIt) {
  open();
  say(spec::VIRTIO_CONSOLE_CONTROL_RECEIVEQ, "short");
  device_.model.serve();
  EXPECT_EQ(console_->update().error().code, Errc::kMalformed);
  EXPECT_EQ(console_->update().error().code, Errc::kMalformed);
}

TEST_F(ConsoleTest, ANameIsBounded) {
  open();
  tell(1, spec::VIRTIO_CONSOLE_PORT_NAME, 1, std::string(4000, 'n'));
  device_.model.serve();
  MUST(console_->update());
  EXPECT_EQ(console_->ports()[1].name.size(), 256U);
  tell(1, spec::VIRTIO_CONSOLE_PORT_NAME, 1, std::string("a\0b", 3));
  device_.model.serve();
  MUST(console_->update());
  EXPECT_EQ(console_->ports()[1].name, "a");
}

// HD-12, HD-14: as many ports as there are queues for.
TEST_F(ConsoleTest, MorePortsThanQueuesAreNotBelieved) {
  set_config({.cols = {}, .rows = {}, .max_nr_ports = Le32(0xffff'ffff), .emerg_wr = {}});
  open();
  EXPECT_EQ(console_->ports().size(), 2U);
}

TEST_F(ConsoleTest, NoPortAtAllIsNoConsole) {
  set_config({.cols = {}, .rows = {}, .max_nr_ports = {}, .emerg_wr = {}});
  EXPECT_EQ(try_open().error().code, Errc::kMalformed);
}

TEST_F(ConsoleTest, BuffersOfNothingEndWithTheTime) {
  open();
  device_.model.on_chain = [](std::uint16_t queue, const ring::Chain&) {
    return queue == 4 ? std::optional<std::uint32_t>(0) : std::nullopt;
  };
  device_.model.serve();
  std::array<std::byte, 4> bytes{};
  EXPECT_EQ(console_->read(1, bytes, 20ms).error().code, Errc::kTimeout);
}

// HD-3.
TEST_F(ConsoleTest, MoreThanABufferHoldsBreaksIt) {
  device_.model.own_features = spec::feature(spec::VIRTIO_CONSOLE_F_MULTIPORT);
  open();
  device_.model.raw(4).use(0, 4097);
  std::array<std::byte, 4> bytes{};
  EXPECT_EQ(console_->read(1, bytes, 20ms).error().code, Errc::kBadLength);
}

// HD-19.
TEST_F(ConsoleTest, ADeviceThatTakesNothingIsGivenUp) {
  open();
  device_.model.on_chain = nullptr;
  const std::string text(17 * 4096, 'x');
  EXPECT_EQ(console_->write(1, bytes_of(text)).error().code, Errc::kTimeout);
  EXPECT_EQ(console_->device().broken()->code, Errc::kTimeout);
}

// What was written and not taken is waited for, and no longer than anything else.
TEST_F(ConsoleTest, WhatIsNotTakenIsNotFlushed) {
  open();
  device_.model.on_chain = nullptr;
  ASSERT_TRUE(console_->write(1, bytes_of("ping")));
  EXPECT_EQ(console_->flush(1).error().code, Errc::kTimeout);
  EXPECT_EQ(console_->flush(7).error().code, Errc::kBadIndex);
}

}  // namespace
}  // namespace airlock::driver
