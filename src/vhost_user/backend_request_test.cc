// SPDX-License-Identifier: Apache-2.0
//
// Goal: a backend may say that its configuration changed, and nothing else.
#include "vhost_user/backend_request.h"

#include <gtest/gtest.h>

namespace airlock::vhost_user {
namespace {

class BackendRequestTest : public testing::Test {
 protected:
  auto ask(std::uint32_t request, std::uint32_t flags, std::size_t bytes = 0) {
    const Message message{.header = {.request = request,
                                     .flags = spec::VHOST_USER_VERSION | flags,
                                     .size = static_cast<std::uint32_t>(bytes)},
                          .payload = std::vector<std::byte>(bytes),
                          .fds = {}};
    return answer_backend_request(message, [this] { ++changes_; });
  }
  static std::uint64_t verdict(const vfio_user::Outgoing& answer) {
    return vfio_user::require_struct<std::uint64_t>(answer.bytes, kHeaderSize);
  }
  unsigned changes_ = 0;
};

TEST_F(BackendRequestTest, HearsOfAChangedConfiguration) {
  const auto silent = ask(spec::VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, 0);
  ASSERT_TRUE(silent);
  EXPECT_FALSE(*silent);
  const auto answered =
      ask(spec::VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, spec::VHOST_USER_F_NEED_REPLY);
  ASSERT_TRUE(answered && *answered);
  EXPECT_EQ(verdict(**answered), 0U);
  EXPECT_EQ(changes_, 2U);
}

TEST_F(BackendRequestTest, RefusesAllElse) {
  // IOTLB, host notifier, vring call and err, shared objects, mappings, and what nobody knows.
  for (const std::uint32_t request : {0U, 1U, 3U, 4U, 5U, 6U, 7U, 8U, 9U, 10U, 77U}) {
    const auto answered = ask(request, spec::VHOST_USER_F_NEED_REPLY, 40);
    ASSERT_TRUE(answered && *answered);
    EXPECT_EQ(verdict(**answered), 1U);
  }
  EXPECT_EQ(changes_, 0U);
}

TEST_F(BackendRequestTest, PartsWithOneThatSendsNonsense) {
  EXPECT_FALSE(ask(spec::VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, spec::VHOST_USER_F_REPLY));
  EXPECT_FALSE(ask(spec::VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, 0, 8));
  EXPECT_EQ(changes_, 0U);
}

}  // namespace
}  // namespace airlock::vhost_user
