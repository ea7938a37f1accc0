// SPDX-License-Identifier: Apache-2.0
//
// Goal: a backend may be silent, lie, die and come back at any time, and all that happens is that
// another connection is tried for. Method: the test plays the connecting process and the backend,
// on sockets, in the thread that runs the event loop.
#include "vhost_user/backend_keeper.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>

#include "vhost_user/backend_on_socket.h"

namespace airlock::vhost_user {
namespace {

using namespace std::chrono_literals;

class BackendKeeperTest : public testing::Test {
 protected:
  BackendKeeperTest() {
    set_log_level(LogLevel::kError);
    keeper_ = std::make_unique<BackendKeeper>(
        host_.context, host_.connector(),
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

  template <class F>
  bool run_until(const F& done) {
    return host_.run_until(done);
  }
  // The first connection, which the keeper only gets when it is asked for one of its own.
  bool first() {
    keeper_->begin();
    return run_until([this] { return connected_ > 0; });
  }

  BackendHost host_;
  std::chrono::milliseconds timeout_{300};
  bool refuse_ = false;
  unsigned connected_ = 0;
  unsigned lost_ = 0;
  unsigned changed_ = 0;
  std::unique_ptr<BackendKeeper> keeper_;  // last: it calls what is above
};

TEST_F(BackendKeeperTest, FindsEachBackendThatComesBack) {
  ASSERT_TRUE(first());
  for (unsigned death = 1; death <= 20; ++death) {
    host_.backend->die();
    ASSERT_TRUE(run_until([&] { return lost_ == death; }));
    EXPECT_EQ(keeper_->front_end(), nullptr);
    ASSERT_TRUE(run_until([&] { return connected_ == death + 1; }));
    EXPECT_NE(keeper_->front_end(), nullptr);
  }
  EXPECT_EQ(keeper_->stats().connections, 21U);
  EXPECT_EQ(keeper_->stats().losses, 20U);
}

TEST_F(BackendKeeperTest, TriesAgainAsLongAsItTakes) {
  host_.refusals = 10;
  ASSERT_TRUE(first());
  EXPECT_EQ(host_.asked, 11U);
  EXPECT_EQ(lost_, 0U);
}

// Nobody can connect any more: that is said, once, and not tried for ever.
TEST_F(BackendKeeperTest, SaysThatTheProcessThatConnectsIsGone) {
  ASSERT_TRUE(first());
  ::testing::internal::CaptureStderr();
  host_.end_connector();
  host_.backend->die();
  ASSERT_TRUE(run_until([this] { return lost_ == 1; }));
  // What would be tried again is tried again meanwhile, many times over.
  const auto later = std::chrono::steady_clock::now() + 50ms;
  ASSERT_TRUE(run_until([&] { return std::chrono::steady_clock::now() > later; }));
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(said.find("the process that connects is gone"),
            said.rfind("the process that connects"));
  EXPECT_NE(said.find("the process that connects is gone"), std::string::npos);
}

TEST_F(BackendKeeperTest, SendsASilentBackendAway) {
  host_.silent = true;
  keeper_->begin();
  ASSERT_TRUE(run_until([this] { return host_.asked == 2; }));
  EXPECT_EQ(connected_, 0U);
  host_.silent = false;
  ASSERT_TRUE(run_until([this] { return connected_ == 1; }));
}

TEST_F(BackendKeeperTest, SendsABackendAwayThatFallsSilentLater) {
  ASSERT_TRUE(first());
  host_.silent = true;
  keeper_->front_end()->set_features(0);
  keeper_->flush();
  ASSERT_TRUE(run_until([this] { return lost_ == 1; }));
}

TEST_F(BackendKeeperTest, SendsABackendAwayThatTalksNonsense) {
  ASSERT_TRUE(first());
  host_.backend->send(std::array<std::byte, 12>{});
  ASSERT_TRUE(run_until([this] { return lost_ == 1; }));
  ASSERT_TRUE(run_until([this] { return connected_ == 2; }));
}

TEST_F(BackendKeeperTest, SendsABackendAwayThatLiesInItsGreeting) {
  host_.prepare = [](BackendOnSocket& backend) {
    backend.script.on_answer = [](Message& answer) { answer.header.request = 77; };
  };
  keeper_->begin();
  ASSERT_TRUE(run_until([this] { return host_.asked == 3; }));
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
  ASSERT_TRUE(host_.backend->fds[spec::VHOST_USER_SET_BACKEND_REQ_FD]);
  host_.backend->script.config[0] = std::byte{5};
  const spec::VhostUserHeader changed{.request = spec::VHOST_USER_BACKEND_CONFIG_CHANGE_MSG,
                                      .flags = spec::VHOST_USER_VERSION,
                                      .size = 0};
  for (int times = 0; times < 100; ++times) {  // as often as it likes
    CHECK(vfio_user::send_some(host_.backend->fds[spec::VHOST_USER_SET_BACKEND_REQ_FD].get(),
                               vfio_user::bytes_of(changed), {})
              .has_value());
  }
  ASSERT_TRUE(run_until(
      [this] { return changed_ > 0 && keeper_->front_end()->facts().config[0] == std::byte{5}; }));
}

TEST_F(BackendKeeperTest, SettlesWhenAllIsAnswered) {
  ASSERT_TRUE(first());
  EXPECT_TRUE(keeper_->settle(1ms));  // nothing is due
  host_.silent = true;
  keeper_->front_end()->set_features(0);
  keeper_->flush();
  EXPECT_FALSE(keeper_->settle(1ms));
  ASSERT_TRUE(run_until([this] { return lost_ == 1; }));
}

}  // namespace
}  // namespace airlock::vhost_user
