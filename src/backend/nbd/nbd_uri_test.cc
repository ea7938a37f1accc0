// SPDX-License-Identifier: Apache-2.0
// What people write after nbd:, as the NBD project's URI specification has it.
#include "backend/nbd/nbd_uri.h"

#include <gtest/gtest.h>

namespace airlock::backend {
namespace {

NbdAddress parsed(std::string_view uri) {
  const auto address = parse_nbd_uri(uri);
  EXPECT_TRUE(address) << uri << ": " << (address ? "" : address.error());
  return address.value_or(NbdAddress{});
}

TEST(NbdUri, HasAHostAPortAndAnExport) {
  EXPECT_EQ(parsed("nbd://store.example/disk"),
            (NbdAddress{.host = "store.example", .port = "10809", .export_name = "disk"}));
  EXPECT_EQ(parsed("nbd://10.0.0.1:99"), (NbdAddress{.host = "10.0.0.1", .port = "99"}));
  EXPECT_EQ(parsed("nbd://[fe80::1]:99//a/b"),
            (NbdAddress{.host = "fe80::1", .port = "99", .export_name = "/a/b"}));
}

TEST(NbdUri, HasASocketsPath) {
  EXPECT_EQ(parsed("nbd+unix:///?socket=/run/a%20b.sock"),
            (NbdAddress{.socket_path = "/run/a b.sock"}));
  EXPECT_EQ(parsed("nbd+unix:///x%2fy?socket=s"),
            (NbdAddress{.socket_path = "s", .export_name = "x/y"}));
}

TEST(NbdUri, SaysWhoWeAreToTls) {
  EXPECT_EQ(
      parsed("nbds://alice@h/?tls-psk-file=/etc/keys"),
      (NbdAddress{
          .host = "h", .port = "10809", .tls = true, .user = "alice", .psk_file = "/etc/keys"}));
  EXPECT_EQ(parsed("nbds+unix:///?socket=s&tls-certificates=/etc/pki"),
            (NbdAddress{.socket_path = "s", .tls = true, .certificates = "/etc/pki"}));
}

TEST(NbdUri, RefusesWhatIsNone) {
  for (const std::string_view uri : {
           "",
           "nbd",
           "nbd:host",
           "http://host/",
           "nbd+vsock://2/",
           "nbd:///disk",
           "nbd://host:0/",
           "nbd://host:65536/",
           "nbd://host:x/",
           "nbd://[::1/",
           "nbd://[::1]9/",
           "nbd://host/a%2",
           "nbd://host/a%00b",
           "nbd://host/#part",
           "nbd://host/?socket=/run/s",
           "nbd://host/?tls-psk-file=/k",
           "nbds://host/?tls-psk-file=",
           "nbds://host/?tls-psk-file=/k&tls-certificates=/c",
           "nbds://host/?verify=no",
           "nbd+unix:///disk",
           "nbd+unix://host/?socket=s",
       }) {
    EXPECT_FALSE(parse_nbd_uri(uri)) << uri;
  }
}

}  // namespace
}  // namespace airlock::backend
