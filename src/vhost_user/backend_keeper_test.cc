// SPDX-License-Identifier: Apache-2.0
//
// Goal: a backend may be silent, lie, die and come back at any time, and all that happens is that
// another connection is tried for. Method: the test plays the connecting process and the backend,
// on sockets, in the thread that runs the event loop.
#include "vhost_user/backend_keeper.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <memory>

#include "vhost_user/scripted_backend.h"
#include "wire/socket.h"

namespace airlock::vhost_user {
namespace {

using namespace std::chrono_literals;

std::array<Fd, 2> socket_pair(int type) {
  std::array<int, 2> ends{-1, -1};
  CHECK(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()) == 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

/// A scripted backend at the end of a socket.
class BackendOnSocket {
 public:
  explicit BackendOnSocket(Fd socket) : socket_(std::move(socket)) {}
  ScriptedBackend script;
  Fd channel;  // for requests of its own, once it was sent one

  /// Answers what is there.
  void pump() {
    while (socket_) {
      std::array<std::byte, 4096> bytes{};
      auto received = vfio_user::receive_bytes(socket_.get(), bytes);
      if (!received || received->bytes == 0) return;
      buffer_.insert(buffer_.end(), bytes.begin(),
                     bytes.begin() + static_cast<std::ptrdiff_t>(received->bytes));
      // The one fd of a greeting is that of the channel.
      for (Fd& fd : received->fds)
        channel = std::move(fd);
      answer_whole_messages();
    }
  }
  void send(std::span<const std::byte> bytes) const {
    CHECK(vfio_user::send_some(socket_.get(), bytes, {}).has_value());
  }
  void die() { socket_.reset(); }

 private:
  void answer_whole_messages() {
    while (buffer_.size() >= kHeaderSize) {
      const auto header = vfio_user::require_struct<spec::VhostUserHeader>(buffer_);
      const std::size_t whole = kHeaderSize + header.size;
      if (buffer_.size() < whole) return;
      const auto end = buffer_.begin() + static_cast<std::ptrdiff_t>(whole);
      auto answer =
          script.answer({.bytes = std::vector<std::byte>(buffer_.begin(), end), .fds = {}});
      buffer_.erase(buffer_.begin(), end);
      if (!answer) continue;
      auto bytes = vfio_user::bytes_of(answer->header);
      bytes.insert(bytes.end(), answer->payload.begin(), answer->payload.end());
      send(bytes);
    }
  }
  Fd socket_;
  std::vector<std::byte> buffer_;
};

class BackendKeeperTest : public testing::Test {
 protected:
  BackendKeeperTest() {
    set_log_level(LogLevel::kError);
    auto ends = socket_pair(SOCK_SEQPACKET);
    connector_ = std::move(ends[0]);
    keeper_ = std::make_unique<BackendKeeper>(
        context_, Connector(std::move(ends[1])),
        BackendKeeper::Options{.config_bytes = 60,
                               .answer_timeout = timeout_,
                               .retry_first = 1ms,
                               .retry_longest = 4ms},
        BackendKeeper::Events{.connected = [this](const Facts&) -> Result<void> {
                                ++connected_;
                                if (refuse_) return fail(Errc::kUnsupported);
                                return {};
                              },
                              .lost = [this] { ++lost_; },
                              .config_changed = [this] { ++changed_; }});
  }
  ~BackendKeeperTest() override { set_log_level(LogLevel::kInfo); }

  // Answers a request for a connection, if there is one.
  void play_connector() {
    std::array<std::byte, 1> byte{};
    const auto asked = vfio_user::receive_bytes(connector_.get(), byte);
    if (!asked || asked->bytes == 0) return;
    ++asked_;
    if (refusals_ > 0) {
      --refusals_;
      const std::uint32_t refused = ECONNREFUSED;
      CHECK(vfio_user::send_some(connector_.get(), vfio_user::bytes_of(refused), {}).has_value());
      return;
    }
    auto socket = socket_pair(SOCK_STREAM);
    auto channel = socket_pair(SOCK_STREAM);
    const std::uint32_t good = 0;
    const std::array fds{socket[0].get(), channel[0].get(), channel[1].get()};
    CHECK(vfio_user::send_some(connector_.get(), vfio_user::bytes_of(good), fds).has_value());
    backend_ = std::make_unique<BackendOnSocket>(std::move(socket[1]));
    if (prepare_) prepare_(*backend_);
  }
  // Runs everybody until `done`; false if that takes too long.
  template <class F>
  bool run_until(const F& done) {
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!done()) {
      play_connector();
      if (backend_ && !silent_) backend_->pump();
      context_.restart();
      context_.run_one_for(1ms);
      if (std::chrono::steady_clock::now() > deadline) return false;
    }
    return true;
  }
  // The first connection, which the keeper only gets when it is asked for one of its own.
  bool first() {
    keeper_->begin();
    return run_until([this] { return connected_ > 0; });
  }

  asio::io_context context_{1};
  std::chrono::milliseconds timeout_{300};
  Fd connector_;
  std::unique_ptr<BackendOnSocket> backend_;
  std::function<void(BackendOnSocket&)> prepare_;
  bool silent_ = false;
  bool refuse_ = false;
  unsigned refusals_ = 0;
  unsigned asked_ = 0;
  unsigned connected_ = 0;
  unsigned lost_ = 0;
  unsigned changed_ = 0;
  std::unique_ptr<BackendKeeper> keeper_;  // last: it calls what is above
};

TEST_F(BackendKeeperTest, FindsEachBackendThatComesBack) {
  ASSERT_TRUE(first());
  for (unsigned death = 1; death <= 20; ++death) {
    backend_->die();
    ASSERT_TRUE(run_until([&] { return lost_ == death; }));
    EXPECT_EQ(keeper_->front_end(), nullptr);
    ASSERT_TRUE(run_until([&] { return connected_ == death + 1; }));
    EXPECT_NE(keeper_->front_end(), nullptr);
  }
  EXPECT_EQ(keeper_->stats().connections, 21U);
  EXPECT_EQ(keeper_->stats().losses, 20U);
}

TEST_F(BackendKeeperTest, TriesAgainAsLongAsItTakes) {
  refusals_ = 10;
  ASSERT_TRUE(first());
  EXPECT_EQ(asked_, 11U);
  EXPECT_EQ(lost_, 0U);
}

TEST_F(BackendKeeperTest, SendsASilentBackendAway) {
  silent_ = true;
  keeper_->begin();
  ASSERT_TRUE(run_until([this] { return asked_ == 2; }));
  EXPECT_EQ(connected_, 0U);
  silent_ = false;
  ASSERT_TRUE(run_until([this] { return connected_ == 1; }));
}

TEST_F(BackendKeeperTest, SendsABackendAwayThatFallsSilentLater) {
  ASSERT_TRUE(first());
  silent_ = true;
  keeper_->front_end()->set_features(0);
  keeper_->flush();
  ASSERT_TRUE(run_until([this] { return lost_ == 1; }));
}

TEST_F(BackendKeeperTest, SendsABackendAwayThatTalksNonsense) {
  ASSERT_TRUE(first());
  backend_->send(std::array<std::byte, 12>{});
  ASSERT_TRUE(run_until([this] { return lost_ == 1; }));
  ASSERT_TRUE(run_until([this] { return connected_ == 2; }));
}

TEST_F(BackendKeeperTest, SendsABackendAwayThatLiesInItsGreeting) {
  prepare_ = [](BackendOnSocket& backend) {
    backend.script.on_answer = [](Message& answer) { answer.header.request = 77; };
  };
  keeper_->begin();
  ASSERT_TRUE(run_until([this] { return asked_ == 3; }));
  EXPECT_EQ(connected_, 0U);
}

TEST_F(BackendKeeperTest, DoesNotSayThatItLostWhatWasNotTaken) {
  refuse_ = true;
  keeper_->begin();
  ASSERT_TRUE(run_until([this] { return connected_ == 3; }));
  EXPECT_EQ(lost_, 0U);
  EXPECT_EQ(keeper_->stats().connections, 0U);
}

TEST_F(BackendKeeperTest, ReadsAChangedConfigurationAnew) {
  ASSERT_TRUE(first());
  ASSERT_TRUE(backend_->channel);
  backend_->script.config[0] = std::byte{5};
  const spec::VhostUserHeader changed{.request = spec::VHOST_USER_BACKEND_CONFIG_CHANGE_MSG,
                                      .flags = spec::VHOST_USER_VERSION,
                                      .size = 0};
  for (int times = 0; times < 100; ++times) {  // as often as it likes
    CHECK(vfio_user::send_some(backend_->channel.get(), vfio_user::bytes_of(changed), {})
              .has_value());
  }
  ASSERT_TRUE(run_until(
      [this] { return changed_ > 0 && keeper_->front_end()->facts().config[0] == std::byte{5}; }));
}

TEST_F(BackendKeeperTest, SettlesWhenAllIsAnswered) {
  ASSERT_TRUE(first());
  EXPECT_TRUE(keeper_->settle(1ms));  // nothing is due
  silent_ = true;
  keeper_->front_end()->set_features(0);
  keeper_->flush();
  EXPECT_FALSE(keeper_->settle(1ms));
  ASSERT_TRUE(run_until([this] { return lost_ == 1; }));
}

}  // namespace
}  // namespace airlock::vhost_user
