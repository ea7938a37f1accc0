// SPDX-License-Identifier: Apache-2.0
//
// Goal: what needs a socket: fds with the bytes, one client at a time, clients that vanish, come
// back, never read. Method: a server on its own thread, raw clients on the test's.
#include "vfio_user/server.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdlib>
#include <future>
#include <memory>
#include <thread>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>

#include "base/log.h"
#include "vfio_user/client.h"
#include "vfio_user/recording_handler.h"
#include "wire/raw_peer.h"

namespace airlock::vfio_user {
namespace {

using Calls = std::vector<std::string>;
using namespace std::chrono_literals;

// A directory that is gone afterwards.
class TempDir {
 public:
  TempDir() { CHECK(mkdtemp(path_.data()) != nullptr); }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_ = (std::filesystem::temp_directory_path() / "vfio_user_XXXXXX").string();
};

class ServerTest : public testing::Test {
 protected:
  void SetUp() override { set_log_level(LogLevel::kError); }
  void TearDown() override { stop(); }

  // Runs `function` on the server's thread, between its messages.
  template <class F>
  auto on_server(F function) {
    std::packaged_task<std::invoke_result_t<F>()> task(std::move(function));
    auto future = task.get_future();
    asio::post(context_, std::move(task));
    return future.get();
  }

  void serve() { serve({.path = path_}); }

  void serve(Server::Options options) {
    server_ =
        std::make_unique<Server>(MUST(Server::listen(context_, handler_, std::move(options))));
    thread_ = std::jthread([this] { context_.run(); });
  }

  void stop() {
    if (!thread_.joinable()) return;
    on_server([&] { server_.reset(); });
    guard_.reset();
    thread_.join();
  }

  // Waits until the server's thread finds `condition` true.
  template <class F>
  bool eventually(F condition) {
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    while (!on_server(condition)) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }

  Calls calls() {
    return on_server([&] { return handler_.take_calls(); });
  }

  // A client that has agreed on the version.
  RawPeer connect() { return greet(RawPeer::connect(path_)); }

  static RawPeer greet(RawPeer peer) {
    EXPECT_TRUE(peer.send(make_message(1, spec::VFIO_USER_VERSION, Bytes(4))));
    const auto reply = peer.receive();
    EXPECT_TRUE(reply && reply->header.flags == spec::VFIO_USER_F_TYPE_REPLY);
    return peer;
  }

  static Bytes read_message(std::uint16_t id, std::uint32_t count) {
    return make_message(
        id, spec::VFIO_USER_REGION_READ,
        bytes_of(spec::VfioUserRegionAccess{.offset = 0, .region = 0, .count = count}));
  }

  static Bytes irqs_message(std::uint16_t id, std::uint32_t count) {
    return make_message(id, spec::VFIO_USER_DEVICE_SET_IRQS,
                        bytes_of(spec::VfioUserIrqSet{
                            .argsz = 20, .flags = 0x24, .index = 2, .start = 0, .count = count}));
  }

  static bool works(RawPeer& peer) {
    if (!peer.send(read_message(77, 4))) return false;
    const auto reply = peer.receive();
    return reply && reply->header.message_id == 77 && reply->payload.size() == 20;
  }

  // The errno of the next reply, 0 for success, -1 for none.
  static int next_error(RawPeer& peer) {
    const auto reply = peer.receive();
    return reply ? static_cast<int>(reply->header.error) : -1;
  }

  TempDir dir_;
  std::string path_ = dir_.file("socket");
  RecordingHandler handler_;
  asio::io_context context_;
  asio::executor_work_guard<asio::io_context::executor_type> guard_{context_.get_executor()};
  std::unique_ptr<Server> server_;
  std::jthread thread_;
};

TEST_F(ServerTest, ServesOurOwnClientFromEndToEnd) {
  serve();
  Client client = MUST(Client::connect(path_, {}));
  EXPECT_EQ(client.version().max_msg_fds, 8U);
  EXPECT_EQ(client.version().max_data_xfer_size, 1U << 20U);
  EXPECT_EQ(MUST(client.device_info()).num_regions, 9U);
  EXPECT_EQ(MUST(client.irq_info(2)).count, RecordingHandler::kVectors);

  const Client::Region mapped = MUST(client.region(RecordingHandler::kMapped));
  ASSERT_EQ(mapped.areas.size(), 1U);
  EXPECT_EQ(mapped.areas[0].offset, RecordingHandler::kPage);
  EXPECT_TRUE(shm::SealedMemfd::adopt(MUST(mapped.fd.duplicate()), mapped.size).has_value());
  EXPECT_FALSE(MUST(client.region(RecordingHandler::kPlain)).fd);
  EXPECT_EQ(MUST(client.region(RecordingHandler::kAbsent)).size, 0U);
  EXPECT_EQ(client.region(9).error(), system_error(EINVAL));

  const Bytes source = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  Bytes target(4);
  EXPECT_TRUE(client.write(0, 16, source, Client::Posted::kYes).has_value());
  EXPECT_TRUE(client.read(0, 16, target).has_value());
  EXPECT_EQ(source, target);
  EXPECT_TRUE(client.write(0, 20, source).has_value());
  EXPECT_EQ(client.read(0, 9000, target).error(), system_error(EINVAL));

  const auto fds = some_eventfds(20);  // more than go in one message
  std::vector<int> raw;
  raw.reserve(fds.size());
  for (const Fd& fd : fds)
    raw.push_back(fd.get());
  EXPECT_TRUE(client.set_irq_eventfds(2, 0, raw).has_value());
  EXPECT_EQ(on_server([&] { return handler_.eventfds.size(); }), 20U);
  EXPECT_TRUE(client.trigger_irq(2, 0, 2).has_value());
  EXPECT_TRUE(client.deassign_irqs(2, 0, 1).has_value());
  EXPECT_TRUE(client.disable_irqs(2).has_value());
  EXPECT_TRUE(client.dma_map({.address = 0x1000, .size = 0x1000, .readable = true}, -1));
  EXPECT_TRUE(client.dma_map({.address = 0x4000, .size = 0x1000}, raw[0]).has_value());
  EXPECT_TRUE(client.dma_unmap(0x1000, 0x1000).has_value());
  EXPECT_TRUE(client.dma_unmap_all().has_value());
  EXPECT_TRUE(client.reset().has_value());
  EXPECT_EQ(calls(),
            (Calls{"connected", "write 0 0x10 4", "read 0 0x10 4", "write 0 0x14 4",
                   "eventfds 2 0 8", "eventfds 2 8 8", "eventfds 2 16 4", "trigger 2 0 2",
                   "deassign 2 0 1", "disable 2", "map 0x1000 0x1000 r-", "map 0x4000 0x1000 -- fd",
                   "unmap 0x1000 0x1000", "unmap 0x0 0x0 all", "reset"}));
}

// VFIO_USER 1: fds are collected from every piece of a message.
TEST_F(ServerTest, TakesAMessageByteByByteWithItsFdsOnAnyOfThem) {
  serve();
  RawPeer peer = connect();
  const Bytes message = irqs_message(5, 2);
  for (std::size_t i = 0; i < message.size(); ++i) {
    const bool with_fd = i == 0 || i == 20;
    ASSERT_TRUE(peer.send({message[i]}, with_fd ? some_eventfds(1) : std::vector<Fd>()));
  }
  EXPECT_EQ(next_error(peer), 0);
  EXPECT_EQ(on_server([&] { return handler_.eventfds.size(); }), 2U);
}

TEST_F(ServerTest, CountsFdsToTheMessageTheyCameWith) {
  serve();
  RawPeer peer = connect();
  const Bytes plain = read_message(4, 4);
  ASSERT_TRUE(peer.send(plain + plain));
  ASSERT_TRUE(peer.send(irqs_message(5, 1) + plain, some_eventfds(1)));
  for (const int id : {4, 4, 5, 4}) {
    const auto reply = peer.expect();
    EXPECT_EQ(reply.header.message_id, id);
    EXPECT_EQ(reply.header.error, 0U);
  }
}

TEST_F(ServerTest, AnswersManyMessagesInOrder) {
  serve();
  RawPeer peer = connect();
  Bytes all;
  for (std::uint16_t id = 0; id < 200; ++id)
    all = std::move(all) + read_message(id, 8);
  ASSERT_TRUE(peer.send(all));
  for (std::uint16_t id = 0; id < 200; ++id) {
    const auto reply = peer.expect();
    ASSERT_EQ(reply.header.message_id, id);
  }
}

TEST_F(ServerTest, KeepsNoFdOfAMessageWithTooMany) {
  serve();
  RawPeer peer = connect();
  const auto before = open_fds();
  for (const std::uint32_t count : {9U, 16U, 17U, 18U, 253U}) {
    ASSERT_TRUE(peer.send(irqs_message(5, count), some_eventfds(count)));
    EXPECT_EQ(next_error(peer), EINVAL) << count;
  }
  ASSERT_TRUE(peer.send(make_message(6, spec::VFIO_USER_DEVICE_RESET), some_eventfds(1)));
  EXPECT_EQ(next_error(peer), EINVAL);
  EXPECT_EQ(open_fds(), before);
  EXPECT_TRUE(works(peer));
}

TEST_F(ServerTest, DisconnectsOnASizeThatNoMessageHas) {
  serve();
  for (const std::uint32_t size : {15U, (1U << 20U) + 33U}) {
    RawPeer peer = connect();
    ASSERT_TRUE(peer.send(bytes_of(spec::VfioUserHeader{1, 9, size, 0, 0})));
    EXPECT_TRUE(peer.closed_by_peer());
    EXPECT_EQ(calls(), (Calls{"connected", "disconnected"}));
  }
  RawPeer next = connect();
  EXPECT_TRUE(works(next));
}

TEST_F(ServerTest, SurvivesClientsThatVanishAnywhereInAMessage) {
  serve();
  const auto before = open_fds();
  const Bytes message = irqs_message(5, 1);
  for (std::size_t length = 0; length < message.size(); ++length) {
    RawPeer peer = connect();
    const Bytes part(message.begin(), message.begin() + static_cast<std::ptrdiff_t>(length));
    ASSERT_TRUE(part.empty() || peer.send(part, some_eventfds(1)));
    peer.close();
    ASSERT_TRUE(eventually([&] { return !handler_.is_connected; }));
    EXPECT_EQ(calls(), (Calls{"connected", "disconnected"}));
  }
  EXPECT_EQ(open_fds(), before);
}

TEST_F(ServerTest, RefusesASecondClientAtOnceAndKeepsTheFirst) {
  serve();
  RawPeer first = connect();
  for (int i = 0; i < 3; ++i) {
    const RawPeer second = RawPeer::connect(path_);
    EXPECT_TRUE(second.closed_by_peer());
    EXPECT_TRUE(works(first));
  }
  EXPECT_EQ(Client::connect(path_, {}).error().code, Errc::kPeerClosed);
  first.close();
  RawPeer next = connect();
  EXPECT_TRUE(works(next));
}

// The end of the one stream and the next client may reach the server in either order.
TEST_F(ServerTest, TakesTheNextClientHoweverSoonItComes) {
  serve();
  for (int i = 0; i < 200; ++i) {
    RawPeer peer = connect();
    ASSERT_TRUE(works(peer));
  }
}

// What a client sent without waiting for replies counts, even if it has left since.
TEST_F(ServerTest, ActsOnWhatAClientPostedBeforeItLeft) {
  serve();
  const auto access =
      bytes_of(spec::VfioUserRegionAccess{.offset = 0, .region = 0, .count = 1}) + Bytes(1);
  for (int i = 0; i < 50; ++i) {
    RawPeer peer = connect();
    ASSERT_TRUE(peer.send(
        make_message(2, spec::VFIO_USER_REGION_WRITE, access, spec::VFIO_USER_F_NO_REPLY)));
    peer.close();
    RawPeer next = connect();
    next.close();
    ASSERT_TRUE(eventually([&] { return !handler_.is_connected; }));
    EXPECT_EQ(calls(),
              (Calls{"connected", "write 0 0x0 1", "disconnected", "connected", "disconnected"}));
  }
}

TEST_F(ServerTest, ReadsNothingFurtherWhileAReplyIsDue) {
  serve();
  RawPeer peer = connect();
  on_server([&] { handler_.hold = true; });
  ASSERT_TRUE(peer.send(make_message(7, spec::VFIO_USER_DEVICE_RESET) + read_message(8, 4)));
  ASSERT_TRUE(eventually([&] { return handler_.held.size() == 1; }));
  EXPECT_EQ(calls(), (Calls{"connected", "reset"}));
  EXPECT_FALSE(peer.readable(0));
  on_server([&] { handler_.held[0]({}); });
  EXPECT_EQ(peer.expect().header.message_id, 7);
  EXPECT_EQ(peer.expect().header.message_id, 8);
}

TEST_F(ServerTest, TakesNoNewClientBeforeTheReplyToTheLastOneIsGiven) {
  serve();
  RawPeer first = connect();
  on_server([&] { handler_.hold = true; });
  ASSERT_TRUE(first.send(make_message(7, spec::VFIO_USER_DEVICE_RESET)));
  ASSERT_TRUE(eventually([&] { return handler_.held.size() == 1; }));
  first.close();
  RawPeer second = RawPeer::connect(path_);
  ASSERT_TRUE(second.send(make_message(1, spec::VFIO_USER_VERSION, Bytes(4))));
  ASSERT_TRUE(eventually([&] { return !handler_.is_connected; }));
  EXPECT_EQ(calls(), (Calls{"connected", "reset", "disconnected"}));
  EXPECT_FALSE(second.readable(0));
  // And a third is refused, as ever.
  EXPECT_TRUE(RawPeer::connect(path_).closed_by_peer());
  on_server([&] { handler_.held.clear(); });
  EXPECT_EQ(next_error(second), 0);
  EXPECT_TRUE(works(second));
}

TEST_F(ServerTest, DropsAClientThatNeverReads) {
  serve();
  RawPeer peer = connect();
  const Bytes message = read_message(3, RecordingHandler::kSize);
  int sent = 0;
  while (sent < 100000 && peer.send(message))
    ++sent;
  EXPECT_LT(sent, 100000);
  EXPECT_TRUE(eventually([&] { return !handler_.is_connected; }));
}

TEST_F(ServerTest, ServesAClientThatReadsSlowly) {
  serve();
  RawPeer peer = connect();
  Bytes all;  // some 4 MiB of replies: more than the socket holds, less than the limit
  for (std::uint16_t id = 0; id < 500; ++id) {
    all = std::move(all) + read_message(id, RecordingHandler::kSize);
  }
  ASSERT_TRUE(peer.send(all));
  for (std::uint16_t id = 0; id < 500; ++id) {
    const auto reply = peer.expect();
    ASSERT_EQ(reply.header.message_id, id);
    ASSERT_EQ(reply.payload.size(), 16 + RecordingHandler::kSize);
  }
}

TEST_F(ServerTest, ClosesWithItsClient) {
  serve();
  RawPeer peer = connect();
  EXPECT_TRUE(on_server([&] { return server_->connected(); }));
  on_server([&] { server_->close(); });
  EXPECT_TRUE(peer.closed_by_peer());
  EXPECT_EQ(calls(), (Calls{"connected", "disconnected"}));
  EXPECT_FALSE(std::filesystem::exists(path_));
  on_server([&] { server_->close(); });
}

TEST_F(ServerTest, MayBeDestroyedWithAReplyDue) {
  serve();
  RawPeer peer = connect();
  on_server([&] { handler_.hold = true; });
  ASSERT_TRUE(peer.send(make_message(7, spec::VFIO_USER_DEVICE_RESET)));
  ASSERT_TRUE(eventually([&] { return handler_.held.size() == 1; }));
  on_server([&] { server_.reset(); });
  on_server([&] { handler_.held.clear(); });
  EXPECT_TRUE(peer.closed_by_peer());
  EXPECT_EQ(calls(), (Calls{"connected", "reset", "disconnected"}));
}

TEST_F(ServerTest, AcceptsAgainOnceFdsAreThereAgain) {
  serve();
  Fd socket = MUST(own_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  rlimit normal = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &normal), 0);
  const rlimit none = {.rlim_cur = 3, .rlim_max = normal.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const sockaddr_un address = MUST(unix_address(path_));
  const int connected =
      ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  on_server([] {});  // the server has tried, or is about to
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &normal), 0);
  ASSERT_EQ(connected, 0);
  RawPeer peer = greet(RawPeer(std::move(socket)));
  EXPECT_TRUE(works(peer));
}

// --- The socket file --------------------------------------------------------------------------

TEST_F(ServerTest, ReplacesASocketFileThatNobodyListensOn) {
  const sockaddr_un address = MUST(unix_address(path_));
  {
    const Fd stale = MUST(own_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    ASSERT_EQ(bind(stale.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  ASSERT_TRUE(std::filesystem::exists(path_));
  serve();
  RawPeer peer = connect();
  EXPECT_TRUE(works(peer));
}

TEST_F(ServerTest, LeavesALiveServersSocketAlone) {
  serve();
  asio::io_context other_context;
  RecordingHandler other;
  const auto second = Server::listen(other_context, other, {.path = path_});
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error(), system_error(EADDRINUSE));
  RawPeer peer = connect();
  EXPECT_TRUE(works(peer));
}

TEST_F(ServerTest, LeavesOtherFilesAlone) {
  {
    const Fd file = MUST(own_fd(creat(path_.c_str(), 0600)));
  }
  EXPECT_EQ(Server::listen(context_, handler_, {.path = path_}).error(), system_error(ENOTSOCK));
  EXPECT_TRUE(std::filesystem::is_regular_file(path_));
}

TEST_F(ServerTest, RemovesOnlyItsOwnFile) {
  serve();
  std::filesystem::rename(path_, dir_.file("moved"));
  {
    const Fd file = MUST(own_fd(creat(path_.c_str(), 0600)));
  }
  stop();
  EXPECT_TRUE(std::filesystem::is_regular_file(path_));
}

TEST_F(ServerTest, RefusesPathsThatDoNotFit) {
  const std::string fits = dir_.file(std::string(107 - dir_.file("").size(), 'x'));
  EXPECT_EQ(Server::listen(context_, handler_, {.path = fits + "x"}).error(),
            system_error(ENAMETOOLONG));
  EXPECT_EQ(Client::connect(fits + "x", {}).error(), system_error(ENAMETOOLONG));
  EXPECT_TRUE(Server::listen(context_, handler_, {.path = fits}).has_value());
}

TEST_F(ServerTest, RefusesOptionsOutOfRange) {
  const auto error = [&](Server::Options options) {
    const auto server = Server::listen(context_, handler_, std::move(options));
    EXPECT_FALSE(server.has_value());
    return server ? Errc::kSystem : server.error().code;
  };
  EXPECT_EQ(error({}), Errc::kWrongState);
  auto [peer, socket] = RawPeer::pair();
  EXPECT_EQ(error({.path = path_, .socket = std::move(socket)}), Errc::kWrongState);
  EXPECT_EQ(error({.path = path_, .max_data_xfer_size = 0}), Errc::kOutOfRange);
  EXPECT_EQ(error({.path = path_, .max_data_xfer_size = (64U << 20U) + 1}), Errc::kOutOfRange);
  EXPECT_EQ(error({.path = path_, .max_msg_fds = 0}), Errc::kOutOfRange);
  EXPECT_EQ(error({.path = path_, .max_msg_fds = 17}), Errc::kOutOfRange);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(ServerTest, ServesAnInheritedListeningSocketAndKeepsItsFile) {
  const sockaddr_un address = MUST(unix_address(path_));
  Fd socket = MUST(own_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  ASSERT_EQ(bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(socket.get(), 1), 0);
  serve({.socket = std::move(socket)});
  for (int i = 0; i < 2; ++i) {
    RawPeer peer = connect();
    EXPECT_TRUE(works(peer));
  }
  stop();
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(ServerTest, ServesAnInheritedConnectedSocket) {
  auto [raw, socket] = RawPeer::pair();
  serve({.socket = std::move(socket)});
  RawPeer peer = greet(std::move(raw));
  EXPECT_TRUE(works(peer));
  peer.close();
  EXPECT_TRUE(eventually([&] { return !server_->connected(); }));
}

TEST_F(ServerTest, RefusesAnInheritedFdThatIsNoSocket) {
  EXPECT_EQ(Server::listen(context_, handler_, {.socket = std::move(some_eventfds(1)[0])}).error(),
            system_error(ENOTSOCK));
}

}  // namespace
}  // namespace airlock::vfio_user
