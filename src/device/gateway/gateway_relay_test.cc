// SPDX-License-Identifier: Apache-2.0
//
// Goal: a backend hears of what a driver makes available though the driver notifies nobody, from
// the moment that the backend knows its ring until it gives that back, and again with the next one.
// Method: a scripted backend on sockets, a raw driver, the thread between them.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "base/log.h"
#include "device/gateway/gateway_model.h"
#include "ring/layout.h"
#include "testing/address_modes.h"
#include "testing/fake_driver.h"
#include "vhost_user/backend_on_socket.h"

namespace airlock::device {
namespace {

using spec::feature;

class NoTransport final : public pci::VirtioTransport {
 public:
  void interrupt_queue(std::uint16_t /*queue*/) override {}
  void interrupt_config() override {}
  Result<Fd> queue_eventfd(std::uint16_t /*queue*/) override { return Fd(); }
  void report_violation(const Error& error) override { ADD_FAILURE() << describe(error); }
};

class GatewayRelayTest : public ::testing::TestWithParam<window::AddressMode> {
 protected:
  GatewayRelayTest() {
    set_log_level(LogLevel::kError);
    region_.window().configure(GetParam(), window::Reach::kRegion);
  }
  ~GatewayRelayTest() override { set_log_level(LogLevel::kInfo); }

  // A network card's first queue at work. `poll`: how long somebody looks.
  void start(std::chrono::microseconds poll, std::uint64_t chosen = 0, unsigned cpu_percent = 100) {
    host_.prepare = [](vhost_user::BackendOnSocket& backend) {
      backend.script.queues = 8;
      backend.script.base = 0;
      backend.script.features |= feature(spec::VIRTIO_F_EVENT_IDX);
    };
    gateway_.emplace(host_.context, host_.connector(),
                     Gateway::Options{.shape = {.kind = *find_device_kind("net"), .queue_size = 8},
                                      .poll = {.longest = poll, .cpu_percent = cpu_percent}});
    gateway_->begin();
    ASSERT_TRUE(host_.run_until([this] { return gateway_->connected(); }));
    model_ = gateway_->make_model({.window = region_.window(), .region = region_.memfd()});
    model_->attach(transport_);
    negotiated_ = {.features = feature(spec::VIRTIO_F_VERSION_1) | chosen,
                   .mode = GetParam(),
                   .reach = window::Reach::kRegion};
    ASSERT_TRUE(model_->start(negotiated_, std::array{setup()}));
    take_kick();
  }
  [[nodiscard]] pci::QueueSetup setup() const {
    const ring::QueueAreas& areas = driver_.config().areas;
    return {.index = 0,
            .size = 8,
            .descriptor_area = areas.descriptors,
            .driver_area = areas.driver,
            .device_area = areas.device};
  }
  // Waits until the backend knows its ring, and keeps what kicks it.
  void take_kick() {
    auto& script = host_.backend->script;
    ASSERT_TRUE(host_.run_until([&] {
      return std::ranges::count(script.requests, spec::VHOST_USER_SET_VRING_ENABLE) > 0;
    }));
    kick_ = MUST(EventFd::adopt(std::move(host_.backend->fds[spec::VHOST_USER_SET_VRING_KICK])));
    ASSERT_TRUE(kicked());
  }
  bool kicked() {
    return host_.run_until([this] { return kick_.drain(); });
  }
  // The thread has seen all there was, has stopped looking, and so has the driver notify.
  bool sleeps() {
    return host_.run_until([this] { return driver_.used_flags() == 0; });
  }
  bool spared() {
    return host_.run_until([this] { return driver_.used_flags() == spec::VIRTQ_USED_F_NO_NOTIFY; });
  }
  bool stop() {
    bool stopped = false;
    model_->stop([&stopped] { stopped = true; });
    return host_.run_until([&stopped] { return stopped; });
  }

  static constexpr std::chrono::microseconds kLong = std::chrono::hours(1);

  vhost_user::BackendHost host_;
  testing::TestRegion region_{{.mode = GetParam()}};
  testing::FakeDriver driver_{region_, 8};
  NoTransport transport_;
  std::optional<Gateway> gateway_;
  std::unique_ptr<ClientModel> model_;
  pci::Negotiated negotiated_;
  EventFd kick_;  // the backend's
};

INSTANTIATE_TEST_SUITE_P(Modes, GatewayRelayTest, testing::address_modes(), testing::mode_name);

// VIRTIO 1.3, 2.7.10.
TEST_P(GatewayRelayTest, KicksForADriverThatNotifiesNobody) {
  start(kLong);
  ASSERT_TRUE(spared());
  for (std::uint16_t head = 0; head < 3; ++head) {
    static_cast<void>(kick_.drain());
    driver_.make_available(head);
    EXPECT_TRUE(kicked());
  }
  EXPECT_EQ(model_->notifications(), 0U);
  ASSERT_TRUE(stop());
  EXPECT_EQ(driver_.used_flags(), 0U);
}

TEST_P(GatewayRelayTest, IsWokenByANotificationOnceItSleeps) {
  start(std::chrono::microseconds(1));
  ASSERT_TRUE(sleeps());
  const auto before = model_->counts().wake_ups;
  driver_.make_available(0);
  model_->notify(0);
  EXPECT_TRUE(kicked());
  EXPECT_TRUE(host_.run_until([&] { return model_->counts().wake_ups > before; }));
  ASSERT_TRUE(sleeps());
  driver_.make_available(1);
  MUST(model_->doorbell(0))
  ->signal();  // or by its own eventfd
  EXPECT_TRUE(kicked());
  ASSERT_TRUE(stop());
}

TEST_P(GatewayRelayTest, GoesOnWithTheNextBackend) {
  start(kLong);
  ASSERT_TRUE(spared());
  host_.backend->die();
  ASSERT_TRUE(host_.run_until([this] { return !gateway_->connected(); }));
  EXPECT_EQ(driver_.used_flags(), 0U);  // nobody looks
  ASSERT_TRUE(host_.run_until([this] { return gateway_->connected(); }));
  take_kick();
  ASSERT_TRUE(spared());
  static_cast<void>(kick_.drain());
  driver_.make_available(0);
  EXPECT_TRUE(kicked());
  model_.reset();
  EXPECT_EQ(driver_.used_flags(), 0U);
}

// With events the backend says when it wants to hear of chains, and nobody else may; and who is not
// to poll does not: the client's doorbell is what the backend waits for then.
TEST_P(GatewayRelayTest, LeavesEventsToTheBackend) {
  start(kLong, feature(spec::VIRTIO_F_EVENT_IDX));
  MUST(model_->doorbell(0))
  ->signal();
  EXPECT_TRUE(kick_.drain());
  EXPECT_EQ(driver_.used_flags(), 0U);
}

TEST_P(GatewayRelayTest, DoesNotPollWhereItMayNot) {
  start(std::chrono::microseconds(0));
  MUST(model_->doorbell(0))
  ->signal();
  EXPECT_TRUE(kick_.drain());
  EXPECT_EQ(driver_.used_flags(), 0U);
}

TEST_P(GatewayRelayTest, DoesNotPollWithoutAShareOfAProcessor) {
  start(kLong, 0, 0);
  MUST(model_->doorbell(0))
  ->signal();
  EXPECT_TRUE(kick_.drain());
}

}  // namespace
}  // namespace airlock::device
