// SPDX-License-Identifier: Apache-2.0
#include "cli/mac_address.h"

#include <gtest/gtest.h>

namespace airlock::cli {
namespace {

TEST(MacAddress, IsParsed) {
  EXPECT_EQ(parse_mac("52:54:00:12:34:ff"), (device::MacAddress{0x52, 0x54, 0, 0x12, 0x34, 0xff}));
  EXPECT_EQ(parse_mac("52:54:00:AB:CD:EF"), (device::MacAddress{0x52, 0x54, 0, 0xab, 0xcd, 0xef}));
}

TEST(MacAddress, OtherTextIsNone) {
  for (const char* text :
       {"", "52:54:00:12:34", "52:54:00:12:34:5", "52:54:00:12:34:56:78", "52-54-00-12-34-56",
        "52:54:00:12:34:5g", "52:54:00:12:34:-1", "5:254:00:12:34:56", "52:54:00:12:34:56 "}) {
    EXPECT_FALSE(parse_mac(text)) << text;
  }
}

TEST(MacAddress, ACardIsNoGroup) {
  EXPECT_FALSE(parse_mac("01:00:5e:00:00:01"));
  EXPECT_FALSE(parse_mac("ff:ff:ff:ff:ff:ff"));
  EXPECT_FALSE(parse_mac("00:00:00:00:00:00"));
}

TEST(MacAddress, IsMadeOfAText) {
  const device::MacAddress mac = mac_for("/run/net.sock");
  EXPECT_EQ(mac, mac_for("/run/net.sock"));
  EXPECT_NE(mac, mac_for("/run/net2.sock"));
  EXPECT_EQ(parse_mac(format_mac(mac)), mac);
  EXPECT_EQ(mac[0] & 3, 2);  // one card's, and no vendor's
}

}  // namespace
}  // namespace airlock::cli
