// SPDX-License-Identifier: Apache-2.0
//
// Goal: what a program on a socket of this family relies on. The cases are those of the kernel's
// own test of AF_VSOCK, as far as they are about the transport, between our driver and our device.
// Method: `airlock serve vsock`, the driver in this process as the guest, UNIX sockets as the host.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <future>
#include <numeric>
#include <string>

#include "driver/vfio_user_transport.h"
#include "driver/vsock.h"
#include "testing/device_process.h"
#include "wire/socket.h"

namespace airlock::cli {
namespace {

using driver::SocketId;
using driver::SocketType;
using driver::Vsock;
using std::string;

constexpr int kPatience = 60'000;  // ms, that a host waits for what has to come

/// A socket of the host, which waits.
class HostSocket {
 public:
  explicit HostSocket(int type) : fd_(MUST(own_fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0)))) {}
  explicit HostSocket(Fd fd) : fd_(std::move(fd)) {}

  void bind(const string& path) const {
    const sockaddr_un address = MUST(vfio_user::unix_address(path));
    CHECK(::bind(fd_.get(), vfio_user::as_sockaddr(address), sizeof address) == 0);
  }
  void listen(const string& path) const {
    bind(path);
    CHECK(::listen(fd_.get(), 128) == 0);
  }
  void connect(const string& path) const {
    const sockaddr_un address = MUST(vfio_user::unix_address(path));
    CHECK(::connect(fd_.get(), vfio_user::as_sockaddr(address), sizeof address) == 0);
  }
  [[nodiscard]] HostSocket accept() const {
    CHECK(wait(POLLIN));
    return HostSocket(MUST(own_fd(::accept(fd_.get(), nullptr, nullptr))));
  }
  [[nodiscard]] bool wait(short events) const {
    pollfd event{.fd = fd_.get(), .events = events, .revents = 0};
    return ::poll(&event, 1, kPatience) == 1;
  }
  void write(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t count = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      ASSERT_GT(count, 0) << errno;
      text.remove_prefix(static_cast<std::size_t>(count));
    }
  }
  /// What comes next; empty at the end.
  [[nodiscard]] string read(std::size_t most = 1U << 20U) const {
    string text(most, '\0');
    const ssize_t count = wait(POLLIN) ? ::recv(fd_.get(), text.data(), text.size(), 0) : -1;
    EXPECT_GE(count, 0) << errno;
    text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return text;
  }
  /// Exactly so much, or less at the end.
  [[nodiscard]] string read_all(std::size_t bytes) const {
    string text;
    while (text.size() < bytes) {
      const string some = read(bytes - text.size());
      if (some.empty()) break;
      text += some;
    }
    return text;
  }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  Fd fd_;
};

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

string numbers(std::size_t bytes, unsigned seed = 0) {
  string text;
  for (unsigned i = seed; text.size() < bytes; ++i)
    text += std::to_string(i);
  text.resize(bytes);
  return text;
}

class VsockCases : public ::testing::Test {
 protected:
  VsockCases() {
    directory_ = ::testing::TempDir() + "vsock-cases-XXXXXX";
    CHECK(mkdtemp(directory_.data()) != nullptr);
    path_ = directory_ + "/host";
    const char* const airlock = std::getenv("AIRLOCK");
    CHECK(airlock != nullptr);
    process_ = std::make_unique<testing::DeviceProcess>(
        std::vector<string>{airlock, "serve", "vsock", "--region", "16M", "--uds", path_},
        testing::DeviceProcess::Passed{});
    vsock_ = MUST(Vsock::open(
        MUST(driver::VfioUserTransport::adopt(
            MUST(vfio_user::Client::adopt(process_->take_socket(),
                                          {.timeout = std::chrono::milliseconds(kPatience)})),
            {})),
        {}));
  }
  ~VsockCases() override {
    vsock_.reset();
    process_.reset();
    std::filesystem::remove_all(directory_);
  }

  [[nodiscard]] string path(std::uint32_t port) const { return path_ + "_" + std::to_string(port); }
  /// Our driver's end and the host's, by a connection from the guest.
  struct Pair {
    SocketId guest;
    HostSocket host;
  };
  Pair connect(std::uint32_t port, SocketType type = SocketType::kStream) {
    const int kind = type == SocketType::kStream ? SOCK_STREAM : SOCK_SEQPACKET;
    const HostSocket listener(kind);
    listener.listen(path(port));
    const SocketId guest = MUST(vsock_->connect(port, type));
    return {guest, listener.accept()};
  }
  /// The same by one from the host.
  Pair connect_from_host(std::uint32_t port, SocketType type = SocketType::kStream) {
    MUST(vsock_->listen(port, type));
    HostSocket host = ask(port, type);
    const SocketId guest = MUST(vsock_->accept(port, type));
    EXPECT_TRUE(host.read(64).starts_with("OK "));
    return {guest, std::move(host)};
  }
  [[nodiscard]] HostSocket ask(std::uint32_t port, SocketType type = SocketType::kStream) const {
    const bool stream = type == SocketType::kStream;
    HostSocket host(stream ? SOCK_STREAM : SOCK_SEQPACKET);
    host.connect(stream ? path_ : path_ + "_seqpacket");
    host.write("CONNECT " + std::to_string(port) + "\n");
    return host;
  }
  Result<string> receive(SocketId socket, std::size_t most = 1U << 20U, bool peek = false) {
    string text(most, '\0');
    const auto got = vsock_->receive(socket, std::as_writable_bytes(std::span(text)), peek);
    if (!got) return fail(got.error());
    text.resize(got->bytes);
    return text;
  }
  string receive_all(SocketId socket, std::size_t bytes) {
    string text;
    while (text.size() < bytes) {
      const auto some = receive(socket, bytes - text.size());
      if (!some || some->empty()) break;
      text += *some;
    }
    return text;
  }
  Result<void> send(SocketId socket, std::string_view text) {
    return vsock_->send(socket, bytes_of(text));
  }

  string directory_;
  string path_;
  std::unique_ptr<testing::DeviceProcess> process_;
  std::unique_ptr<Vsock> vsock_;
};

TEST_F(VsockCases, ConnectionReset) {
  const auto refused = vsock_->connect(9999, SocketType::kStream);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Errc::kPeerClosed);
  EXPECT_EQ(vsock_->socket_count(), 0U);
}

TEST_F(VsockCases, BindOnly) {
  const HostSocket bound(SOCK_STREAM);
  bound.bind(path(1234));
  EXPECT_EQ(vsock_->connect(1234, SocketType::kStream).error().code, Errc::kPeerClosed);
}

TEST_F(VsockCases, ConnectsOnceSomebodyListens) {
  EXPECT_FALSE(vsock_->connect(1234, SocketType::kStream).has_value());
  const Pair pair = connect(1234);
  ASSERT_TRUE(send(pair.guest, "A"));
  EXPECT_EQ(pair.host.read(1), "A");
}

TEST_F(VsockCases, ASocketOfOneTypeDoesNotAnswerTheOther) {
  const HostSocket listener(SOCK_STREAM);
  listener.listen(path(1234));
  EXPECT_EQ(vsock_->connect(1234, SocketType::kSeqpacket).error().code, Errc::kPeerClosed);
}

TEST_F(VsockCases, ClientClose) {
  const Pair pair = connect(1234);
  ASSERT_TRUE(send(pair.guest, "last words"));
  ASSERT_TRUE(vsock_->close(pair.guest));
  EXPECT_EQ(pair.host.read_all(100), "last words");
  EXPECT_EQ(send(pair.guest, "x").error().code, Errc::kBadHandle);
}

// More than the host's socket has room for is on its way when the driver goes.
TEST_F(VsockCases, WhatWasSentArrivesBeforeTheDriverGoes) {
  const Pair pair = connect(1234);
  const string text = numbers(1U << 20U);
  auto read = std::async(std::launch::async, [&] { return pair.host.read_all(text.size() + 1); });
  ASSERT_TRUE(send(pair.guest, text));
  ASSERT_TRUE(vsock_->close(pair.guest));
  ASSERT_TRUE(vsock_->wait_closed());
  vsock_.reset();
  EXPECT_TRUE(read.get() == text);
}

TEST_F(VsockCases, ServerClose) {
  Pair pair = connect(1234);
  pair.host.write("last words");
  pair.host = HostSocket(SOCK_STREAM);
  EXPECT_EQ(receive_all(pair.guest, 10), "last words");
  EXPECT_EQ(receive(pair.guest).value(), "");
  EXPECT_EQ(send(pair.guest, "x").error().code, Errc::kPeerClosed);
}

TEST_F(VsockCases, MultipleConnections) {
  constexpr unsigned kCount = 10;
  std::vector<Pair> pairs;
  for (unsigned i = 0; i < kCount; ++i)
    pairs.push_back(i % 2 == 0 ? connect(1000 + i) : connect_from_host(1000 + i));
  for (unsigned i = 0; i < kCount; ++i) {
    ASSERT_TRUE(send(pairs[i].guest, std::to_string(i)));
    pairs[kCount - 1 - i].host.write(std::to_string(i));
  }
  for (unsigned i = 0; i < kCount; ++i) {
    EXPECT_EQ(pairs[i].host.read(1), std::to_string(i));
    EXPECT_EQ(receive(pairs[i].guest).value(), std::to_string(kCount - 1 - i));
  }
}

TEST_F(VsockCases, PeekAtAStream) {
  const Pair pair = connect_from_host(1234);
  pair.host.write("peeked at");
  EXPECT_EQ(receive(pair.guest, 6, true).value(), "peeked");
  EXPECT_EQ(receive(pair.guest, 9, true).value(), "peeked at");
  EXPECT_EQ(receive(pair.guest, 9).value(), "peeked at");
}

TEST_F(VsockCases, PeekAtAMessage) {
  const Pair pair = connect_from_host(1234, SocketType::kSeqpacket);
  pair.host.write("one");
  pair.host.write("two");
  EXPECT_EQ(receive(pair.guest, 2, true).value(), "on");
  EXPECT_EQ(receive(pair.guest, 100).value(), "one");
  EXPECT_EQ(receive(pair.guest, 100).value(), "two");
}

TEST_F(VsockCases, MessageBounds) {
  const Pair pair = connect(1234, SocketType::kSeqpacket);
  // All lengths, up to those that take many packets; the peer reads meanwhile.
  constexpr unsigned kMessages = 200;
  const auto length = [](unsigned i) { return 1 + (i * 7919U) % 60000U; };
  auto host = std::async(std::launch::async, [&] {
    for (unsigned i = 0; i < kMessages; ++i) {
      if (pair.host.read() != numbers(length(i), i)) return false;
      pair.host.write(numbers(length(i), i + 1));
    }
    return true;
  });
  for (unsigned i = 0; i < kMessages; ++i) {
    ASSERT_TRUE(send(pair.guest, numbers(length(i), i)));
    EXPECT_EQ(receive(pair.guest).value(), numbers(length(i), i + 1)) << i;
  }
  EXPECT_TRUE(host.get());
}

TEST_F(VsockCases, ATruncatedMessageSaysHowLongItWas) {
  const Pair pair = connect(1234, SocketType::kSeqpacket);
  pair.host.write(numbers(5000));
  pair.host.write("next");
  string target(100, '\0');
  const auto got =
      MUST(vsock_->receive(pair.guest, std::as_writable_bytes(std::span(target)), false));
  EXPECT_EQ(got.bytes, 100U);
  EXPECT_EQ(got.message_bytes, 5000U);
  EXPECT_EQ(target, numbers(5000).substr(0, 100));
  EXPECT_EQ(receive(pair.guest).value(), "next");
}

TEST_F(VsockCases, AMessageThatThePeerCanNotTakeIsRefused) {
  const Pair pair = connect(1234, SocketType::kSeqpacket);
  EXPECT_EQ(send(pair.guest, string(1U << 20U, 'x')).error().code, Errc::kTooLarge);
  ASSERT_TRUE(send(pair.guest, "small"));
  EXPECT_EQ(pair.host.read(), "small");
}

// A call that takes nothing loses nothing of a stream, and of messages no more than one.
TEST_F(VsockCases, ABufferForNothing) {
  const Pair stream = connect(1234);
  stream.host.write("stream");
  EXPECT_EQ(receive(stream.guest, 0).value(), "");
  EXPECT_EQ(receive_all(stream.guest, 6), "stream");
  const Pair messages = connect(1235, SocketType::kSeqpacket);
  messages.host.write("one");
  messages.host.write("two");
  EXPECT_EQ(receive(messages.guest, 0).value(), "");
  EXPECT_EQ(receive(messages.guest).value(), "two");
}

TEST_F(VsockCases, DoubleBind) {
  ASSERT_TRUE(vsock_->listen(1234, SocketType::kStream));
  EXPECT_EQ(vsock_->listen(1234, SocketType::kStream).error().code, Errc::kAlreadyInFlight);
  ASSERT_TRUE(vsock_->listen(1235, SocketType::kStream));
  const HostSocket one = ask(1234);
  const HostSocket two = ask(1235);
  EXPECT_TRUE(vsock_->accept(1235, SocketType::kStream).has_value());
  EXPECT_TRUE(vsock_->accept(1234, SocketType::kStream).has_value());
}

// Bytes that arrive behind a rest that was not read yet belong to it.
TEST_F(VsockCases, MergesWhatArrivesBehindARest) {
  const Pair pair = connect(1234);
  pair.host.write("HELLO");
  EXPECT_EQ(receive_all(pair.guest, 2), "HE");
  pair.host.write("WORLD");
  EXPECT_EQ(receive_all(pair.guest, 8), "LLOWORLD");
}

// More than either side has room for, while the other does not read: whoever waits is told of room.
TEST_F(VsockCases, CreditUpdates) {
  const Pair pair = connect(1234);
  const string text = numbers(4U << 20U);
  auto read = std::async(std::launch::async, [&] { return pair.host.read_all(text.size()); });
  ASSERT_TRUE(send(pair.guest, text));
  EXPECT_TRUE(read.get() == text);
  auto written = std::async(std::launch::async, [&] { pair.host.write(text); });
  EXPECT_TRUE(receive_all(pair.guest, text.size()) == text);
  written.get();
}

TEST_F(VsockCases, BothWaysAtOnce) {
  const Pair pair = connect_from_host(1234);
  const string text = numbers(2U << 20U);
  auto echoed = std::async(std::launch::async, [&] {
    for (std::size_t left = text.size(); left > 0;) {
      const string some = pair.host.read(std::min<std::size_t>(left, 65536));
      pair.host.write(some);
      left -= some.size();
    }
  });
  for (std::size_t at = 0; at < text.size(); at += 16384) {
    ASSERT_TRUE(send(pair.guest, std::string_view(text).substr(at, 16384)));
    ASSERT_EQ(receive_all(pair.guest, 16384), text.substr(at, 16384));
  }
  echoed.get();
}

TEST_F(VsockCases, ShutdownOfSending) {
  const Pair pair = connect(1234);
  ASSERT_TRUE(send(pair.guest, "last"));
  ASSERT_TRUE(vsock_->shutdown(pair.guest, spec::VIRTIO_VSOCK_SHUTDOWN_SEND));
  EXPECT_EQ(send(pair.guest, "more").error().code, Errc::kWrongState);
  EXPECT_EQ(pair.host.read_all(100), "last");
  pair.host.write("answer");
  EXPECT_EQ(receive_all(pair.guest, 6), "answer");
}

TEST_F(VsockCases, ShutdownOfReceiving) {
  const Pair pair = connect(1234);
  ASSERT_TRUE(vsock_->shutdown(pair.guest, spec::VIRTIO_VSOCK_SHUTDOWN_RCV));
  EXPECT_TRUE(pair.host.wait(POLLRDHUP | POLLOUT));
  ASSERT_TRUE(send(pair.guest, "still"));
  EXPECT_EQ(pair.host.read(), "still");
  EXPECT_EQ(::send(pair.host.fd(), "x", 1, MSG_NOSIGNAL), -1);
  EXPECT_EQ(errno, EPIPE);
}

TEST_F(VsockCases, ShutdownByTheHost) {
  const Pair pair = connect(1234);
  pair.host.write("last");
  ::shutdown(pair.host.fd(), SHUT_WR);
  EXPECT_EQ(receive_all(pair.guest, 100), "last");
  ASSERT_TRUE(send(pair.guest, "answer"));
  EXPECT_EQ(pair.host.read_all(6), "answer");
}

// Whoever left before they were accepted leaves nothing behind.
TEST_F(VsockCases, ClosedBeforeItWasAccepted) {
  ASSERT_TRUE(vsock_->listen(1234, SocketType::kStream));
  for (unsigned i = 0; i < 20; ++i) {
    {
      const HostSocket gone = ask(1234);
    }
    const HostSocket host = ask(1234);
    host.write("here");
    // The one that is gone may have come so far, or not.
    for (bool found = false; !found;) {
      const SocketId guest = MUST(vsock_->accept(1234, SocketType::kStream));
      const auto said = receive(guest);
      found = said && *said == "here";
      MUST(vsock_->reset(guest));
    }
  }
  EXPECT_EQ(vsock_->socket_count(), 0U);
}

// ATK-12: connections come and go; nothing of them stays.
TEST_F(VsockCases, AStormOfConnections) {
  const HostSocket listener(SOCK_STREAM);
  listener.listen(path(1234));
  for (unsigned i = 0; i < 500; ++i) {
    const SocketId guest = MUST(vsock_->connect(1234, SocketType::kStream));
    const HostSocket host = listener.accept();
    if (i % 3 == 0) MUST(send(guest, "hello"));
    if (i % 2 == 0) {
      ASSERT_TRUE(vsock_->close(guest));
    } else {
      ASSERT_TRUE(vsock_->reset(guest));
    }
    EXPECT_EQ(host.read_all(100), i % 3 == 0 ? "hello" : "");
  }
  // Those that were closed wait for an answer, which comes with whatever is next.
  const Pair last = connect(1235);
  EXPECT_LE(vsock_->socket_count(), 2U);
}

}  // namespace
}  // namespace airlock::cli
