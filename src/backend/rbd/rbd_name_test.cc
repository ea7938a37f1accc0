// SPDX-License-Identifier: Apache-2.0
// What people write after rbd:, and what they are told without a cluster.
#include "backend/rbd/rbd_name.h"

#include <gtest/gtest.h>

#include "backend/open.h"

namespace airlock::backend {
namespace {

TEST(RbdName, HasAPoolAnImageAndMore) {
  EXPECT_EQ(parse_rbd_name("rbd/disk"), (RbdName{.pool = "rbd", .image = "disk"}));
  EXPECT_EQ(
      parse_rbd_name("p/i@s,conf=/etc/c.conf,id=vm"),
      (RbdName{.pool = "p", .image = "i", .snapshot = "s", .conf = "/etc/c.conf", .id = "vm"}));
  EXPECT_EQ(parse_rbd_name("p/i@s,id=vm")->settings(),
            (std::vector<std::string>{"pool=p", "image=i", "snapshot=s", "id=vm"}));
}

TEST(RbdName, RefusesWhatIsNone) {
  for (const std::string_view text :
       {"", "disk", "/disk", "rbd/", "rbd/disk@", "rbd/a/b", "rbd/disk,conf=", "rbd/disk,user=x"}) {
    EXPECT_FALSE(parse_rbd_name(text)) << text;
  }
}

TEST(RbdName, AClusterThatIsNotThereIsOneLine) {
  const auto opened = open_backend("rbd:rbd/disk,conf=/nowhere/ceph.conf", {});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().what, "open rbd:rbd/disk,conf=/nowhere/ceph.conf");
  EXPECT_EQ(opened.error().text().find('\n'), std::string::npos);
}

}  // namespace
}  // namespace airlock::backend
