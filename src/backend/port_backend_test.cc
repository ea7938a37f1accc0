// SPDX-License-Identifier: Apache-2.0
// The host's ends of ports, with a test at the other end: real sockets, terminals and files.
#include "backend/port_backend.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "backend/open_port.h"
#include "base/fd.h"
#include "testing/temp_dir.h"

namespace airlock::backend {
namespace {

using testing::TempDir;

constexpr PortInterest kOpen{.guest = true, .input = true, .output = true};
constexpr PortInterest kFull{.guest = true, .input = false, .output = false};
constexpr PortInterest kClosed{};

Fd connect_to(const std::string& path) {
  Fd client = MUST(own_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  CHECK(::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return client;
}

void say(const Fd& fd, std::string_view text) {
  CHECK(::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

std::string hear(const Fd& fd) {
  std::array<char, 4096> text{};
  const ssize_t count = ::read(fd.get(), text.data(), text.size());
  return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(count, 0))};
}

std::string read_text(PortBackend& port) {
  std::array<std::byte, 4096> bytes{};
  const std::size_t count = port.read(bytes);
  return {reinterpret_cast<const char*>(bytes.data()), count};
}

std::size_t write_text(PortBackend& port, std::string_view text) {
  return port.write(std::as_bytes(std::span(text)));
}

/// One round, as the host's thread has them: waits until something is ready. False: nothing is.
bool round(PortBackend& port, const PortInterest& interest, int timeout_ms = 20'000) {
  std::vector<pollfd> watches;
  port.add_watches(interest, watches);
  const int ready = ::poll(watches.data(), watches.size(), timeout_ms);
  port.attend(interest);
  return ready > 0;
}

bool at_rest(PortBackend& port, const PortInterest& interest) {
  return !round(port, interest, 0);
}

std::unique_ptr<PortBackend> opened(const std::string& spec) {
  auto port = open_port(spec);
  CHECK(port.has_value());
  return std::move(*port);
}

TEST(OpenPort, RefusesWhatIsNoBackend) {
  for (const char* spec : {"", "stdio:x", "pty:", "file:", "socket:", "tcp:1", "socket"}) {
    const auto port = open_port(spec);
    ASSERT_FALSE(port) << spec;
    EXPECT_EQ(port.error().why, "there is no such backend") << spec;
  }
}

TEST(OpenPort, SaysWhyItCantBeHad) {
  EXPECT_NE(open_port("file:/no/such/folder/f").error().text().find("No such file"),
            std::string::npos);
  EXPECT_FALSE(open_port("socket:/no/such/folder/s"));
  EXPECT_FALSE(open_port("pty:/no/such/folder/p"));
}

TEST(FilePort, Appends) {
  const TempDir folder;
  const std::string path = folder.file("log");
  std::ofstream(path) << "before\n";
  const auto port = opened("file:" + path);
  EXPECT_TRUE(port->connected());
  EXPECT_TRUE(round(*port, kOpen));
  EXPECT_EQ(write_text(*port, "after\n"), 6U);
  EXPECT_EQ(read_text(*port), "");
  std::ifstream file(path);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "before\nafter\n");
  EXPECT_TRUE(at_rest(*port, kFull));
}

TEST(FilePort, WhatADiskHasNoRoomForIsLost) {
  const auto port = opened("file:/dev/full");
  EXPECT_EQ(write_text(*port, "text"), 4U);
  EXPECT_EQ(write_text(*port, "text"), 4U);
}

class SocketPortTest : public ::testing::Test {
 protected:
  TempDir folder_;
  std::string path_ = folder_.file("port.sock");
  std::unique_ptr<PortBackend> port_ = opened("socket:" + path_);
};

TEST_F(SocketPortTest, ServesOneClientAtATime) {
  EXPECT_EQ(port_->file().path, path_);
  EXPECT_FALSE(port_->connected());
  Fd first = connect_to(path_);
  Fd second = connect_to(path_);
  say(second, "second");
  ASSERT_TRUE(round(*port_, kOpen));
  EXPECT_TRUE(port_->connected());
  EXPECT_EQ(port_->connections(), 1U);
  EXPECT_EQ(read_text(*port_), "");
  say(first, "first");
  ASSERT_TRUE(round(*port_, kOpen));
  EXPECT_EQ(read_text(*port_), "first");
  EXPECT_EQ(write_text(*port_, "hello"), 5U);
  EXPECT_EQ(hear(first), "hello");
  first.reset();
  ASSERT_TRUE(round(*port_, kOpen));
  EXPECT_EQ(read_text(*port_), "");
  EXPECT_FALSE(port_->connected());
  ASSERT_TRUE(round(*port_, kOpen));
  EXPECT_EQ(port_->connections(), 2U);
  EXPECT_EQ(read_text(*port_), "second");
}

TEST_F(SocketPortTest, HearsOneWhoHasGoneToTheEnd_WithoutTurningRound) {
  Fd client = connect_to(path_);
  say(client, "last words");
  client.reset();
  ASSERT_TRUE(round(*port_, kOpen));
  EXPECT_TRUE(round(*port_, kFull));  // he hung up
  // There is no room for what he said: nothing wakes us.
  EXPECT_TRUE(at_rest(*port_, kFull));
  EXPECT_TRUE(port_->connected());
  EXPECT_EQ(write_text(*port_, "too late"), 8U);
  ASSERT_TRUE(round(*port_, kOpen));
  EXPECT_EQ(read_text(*port_), "last words");
  EXPECT_EQ(read_text(*port_), "");
  EXPECT_FALSE(port_->connected());
}

TEST_F(SocketPortTest, OneWhoHasGoneDoesNotWaitForAGuestThatDoesNotListen) {
  Fd client = connect_to(path_);
  say(client, "nobody hears");
  ASSERT_TRUE(round(*port_, kClosed));
  EXPECT_TRUE(port_->connected());
  client.reset();
  ASSERT_TRUE(round(*port_, kClosed));
  EXPECT_FALSE(port_->connected());
  EXPECT_TRUE(at_rest(*port_, kClosed));
}

TEST_F(SocketPortTest, OneWhoTakesNothingIsWaitedForWithoutTurningRound) {
  const Fd client = connect_to(path_);
  ASSERT_TRUE(round(*port_, kOpen));
  const std::string much(1 << 20, 'x');
  while (write_text(*port_, much) > 0) {
  }
  EXPECT_TRUE(port_->connected());
  EXPECT_TRUE(at_rest(*port_, kOpen));
}

class PtyPortTest : public ::testing::Test {
 protected:
  Fd open_other() {
    return MUST(own_fd(::open(link_.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)));
  }
  TempDir folder_;
  std::string link_ = folder_.file("console");
  std::unique_ptr<PortBackend> port_ = opened("pty:" + link_);
};

TEST_F(PtyPortTest, SomebodyIsThereWhileTheOtherSideIsOpen) {
  EXPECT_EQ(port_->file().path, link_);
  EXPECT_TRUE(at_rest(*port_, kOpen));
  EXPECT_FALSE(port_->connected());
  EXPECT_EQ(write_text(*port_, "nobody hears"), 12U);
  Fd other = open_other();
  ASSERT_TRUE(round(*port_, kOpen));
  EXPECT_TRUE(port_->connected());
  EXPECT_EQ(hear(other), "");
  EXPECT_EQ(write_text(*port_, "login: \n"), 8U);
  EXPECT_EQ(hear(other), "login: \n");  // raw: no carriage returns
  say(other, "root\n\x03");
  ASSERT_TRUE(round(*port_, kOpen));
  EXPECT_EQ(read_text(*port_), "root\n\x03");
  other.reset();
  ASSERT_TRUE(round(*port_, kOpen));
  EXPECT_FALSE(port_->connected());
  EXPECT_TRUE(at_rest(*port_, kOpen));
  other = open_other();
  ASSERT_TRUE(round(*port_, kOpen));
  EXPECT_EQ(port_->connections(), 2U);
}

TEST_F(PtyPortTest, HearsOneWhoHasGoneToTheEnd) {
  say(open_other(), "echo this >/dev/pts/N\n");
  ASSERT_TRUE(round(*port_, kOpen));
  EXPECT_TRUE(port_->connected());
  EXPECT_TRUE(at_rest(*port_, kFull));
  EXPECT_EQ(read_text(*port_), "echo this >/dev/pts/N\n");
  ASSERT_TRUE(round(*port_, kOpen));
  EXPECT_FALSE(port_->connected());
}

TEST_F(PtyPortTest, KnowsTheSizeOfWhoeverIsThere) {
  const Fd other = open_other();
  const winsize size{.ws_row = 43, .ws_col = 132, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(::ioctl(other.get(), TIOCSWINSZ, &size), 0);
  ASSERT_TRUE(round(*port_, kOpen));
  EXPECT_EQ(port_->window_size(), (WindowSize{.cols = 132, .rows = 43}));
}

TEST_F(PtyPortTest, ReplacesALinkAndNothingElse) {
  const auto second = open_port("pty:" + link_);
  EXPECT_TRUE(second);
  const std::string file = folder_.file("file");
  std::ofstream(file) << "precious";
  EXPECT_FALSE(open_port("pty:" + file));
  EXPECT_TRUE(std::filesystem::is_regular_file(file));
}

}  // namespace
}  // namespace airlock::backend
