// SPDX-License-Identifier: Apache-2.0
//
// Goal: what a driver makes available is a kick for the backend, whatever each of the two writes,
// and a driver is never spared a notification that nobody looks for. Method: a raw driver on one
// side of the ring, the flags as a backend writes them on the other.
#include "device/gateway/kick_relay.h"

#include <gtest/gtest.h>

#include "testing/address_modes.h"
#include "testing/fake_driver.h"

namespace airlock::device {
namespace {

class KickRelayTest : public ::testing::TestWithParam<window::AddressMode> {
 protected:
  KickRelayTest() { make(); }
  void make() { relay_ = MUST(KickRelay::create(driver_.config(), region_.window(), kick_)); }
  [[nodiscard]] bool poll() { return MUST(relay_->poll()); }
  [[nodiscard]] bool spared() const { return driver_.used_flags() == spec::VIRTQ_USED_F_NO_NOTIFY; }
  void backend_writes(std::uint16_t flags) {
    const auto device = MUST(region_.window().translate(driver_.config().areas.device,
                                                        ring::Layout(driver_.size()).device().bytes,
                                                        window::Access::kWrite));
    ring::UsedWriter(device).set_flags(flags);
  }

  testing::TestRegion region_{{.mode = GetParam()}};
  testing::FakeDriver driver_{region_, 8};
  EventFd kick_ = MUST(EventFd::create_shared());
  std::unique_ptr<KickRelay> relay_;
};

INSTANTIATE_TEST_SUITE_P(Modes, KickRelayTest, testing::address_modes(), testing::mode_name);

TEST_P(KickRelayTest, KicksForWhatIsNew) {
  EXPECT_TRUE(poll());  // what was there before it looked
  EXPECT_TRUE(kick_.drain());
  EXPECT_FALSE(poll());
  EXPECT_FALSE(kick_.drain());
  driver_.make_available(0);
  driver_.make_available(1);
  EXPECT_TRUE(poll());
  EXPECT_TRUE(kick_.drain());
  EXPECT_FALSE(poll());
  EXPECT_FALSE(kick_.drain());
}

// Whether the ring is sound is for the backend to say.
TEST_P(KickRelayTest, BelievesNoIndex) {
  for (const unsigned lie : {0xffffU, 1U, 0x8000U, 0U}) {
    driver_.set_avail_index(static_cast<std::uint16_t>(lie));
    EXPECT_TRUE(poll());
  }
  EXPECT_FALSE(poll());
}

// VIRTIO 1.3, 2.7.10: while somebody looks, and no longer.
TEST_P(KickRelayTest, SparesTheDriverNotificationsWhileItLooks) {
  EXPECT_FALSE(spared());
  relay_->want_notifications(false);
  EXPECT_TRUE(spared());
  relay_->want_notifications(true);
  EXPECT_FALSE(spared());
  relay_->want_notifications(false);
  relay_->drain(true);
  EXPECT_FALSE(spared());
}

TEST_P(KickRelayTest, LeavesABackendWhatItAskedFor) {
  backend_writes(spec::VIRTQ_USED_F_NO_NOTIFY);
  relay_->want_notifications(false);
  relay_->want_notifications(true);
  EXPECT_TRUE(spared());
  backend_writes(0);
  EXPECT_FALSE(spared());
  relay_->want_notifications(false);
  EXPECT_TRUE(spared());
}

// Its wish overwrites ours: notifications come, and the next look spares them again.
TEST_P(KickRelayTest, ComesToNoHarmByABackendThatAsksMeanwhile) {
  relay_->want_notifications(false);
  backend_writes(0);
  driver_.make_available(0);
  EXPECT_TRUE(poll());
  relay_->want_notifications(true);
  EXPECT_FALSE(spared());
  relay_->want_notifications(false);
  EXPECT_TRUE(spared());
}

TEST_P(KickRelayTest, ForgetsWhatADeadBackendAskedFor) {
  backend_writes(spec::VIRTQ_USED_F_NO_NOTIFY);
  make();
  EXPECT_FALSE(spared());
}

TEST_P(KickRelayTest, RefusesAreasThatAreNotThere) {
  driver_.config().areas.device = window::DriverAddress{~std::uint64_t{63}};
  EXPECT_FALSE(KickRelay::create(driver_.config(), region_.window(), kick_));
}

}  // namespace
}  // namespace airlock::device
