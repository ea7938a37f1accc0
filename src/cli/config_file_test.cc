// SPDX-License-Identifier: Apache-2.0
// What people write into a configuration, and what they are told: file, line and key.
#include "cli/config_file.h"

#include <gtest/gtest.h>

namespace airlock::cli {
namespace {

constexpr const char* kTwo = R"(
[[device]]
type = "blk"
socket = "/run/a.sock"
backend = "memory:8M"
queues = 4
readonly = true

[[device]]
type = "blk"
socket = "/run/b.sock"
backend = "memory:8M"
huge-pages = false
on-error = "stop"
)";

std::string refusal(const std::string& text) {
  const auto config = parse_config(text, "airlock.toml");
  return config ? "" : config.error().line();
}

/// A device with one line more, its sixth.
std::string with(const std::string& line) {
  return refusal("\n[[device]]\ntype = \"blk\"\nsocket = \"s\"\nbackend = \"memory:8M\"\n" + line +
                 "\n");
}

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST(ConfigFile, HasTheOptionsOfTheCommandLine) {
  const auto config = parse_config(kTwo, "airlock.toml");
  ASSERT_TRUE(config) << config.error().line();
  EXPECT_TRUE(config->sandbox);
  ASSERT_EQ(config->devices.size(), 2U);
  const DeviceConfig& first = config->devices[0];
  EXPECT_EQ(first.type, "blk");
  EXPECT_EQ(first.name, "/run/a.sock");
  EXPECT_EQ(first.line, 2U);
  EXPECT_EQ(first.words, (std::vector<std::string>{"--backend=memory:8M", "--queues=4",
                                                   "--readonly", "--socket=/run/a.sock"}));
  EXPECT_EQ(
      config->devices[1].words,
      (std::vector<std::string>{"--backend=memory:8M", "--on-error=stop", "--socket=/run/b.sock"}));
}

TEST(ConfigFile, ADeviceIsTheSameInAnotherOrder) {
  const auto one = parse_config(
      "[[device]]\ntype=\"blk\"\nsocket=\"s\"\nqueues=1\nbackend=\"memory:8M\"\n", "f");
  const auto other = parse_config(
      "# moved\n[[device]]\nbackend=\"memory:8M\"\nqueues=1\nsocket=\"s\"\ntype=\"blk\"\n", "f");
  const auto changed = parse_config(
      "[[device]]\ntype=\"blk\"\nsocket=\"s\"\nqueues=2\nbackend=\"memory:8M\"\n", "f");
  ASSERT_TRUE(one && other && changed);
  EXPECT_TRUE(one->devices[0].same_as(other->devices[0]));
  EXPECT_FALSE(one->devices[0].same_as(changed->devices[0]));
}

TEST(ConfigFile, KnowsWhoSharesARegion) {
  const auto region_of = [](const std::string& value) {
    const auto config = parse_config(
        "[[device]]\ntype=\"blk\"\nsocket=\"s\"\nbackend=\"memory:8M\"\nregion=" + value + "\n",
        "f");
    return config ? config->devices[0].shared_region() : config.error().line();
  };
  EXPECT_EQ(region_of("\"8M\""), "");
  EXPECT_EQ(region_of("\"shared:fast\""), "fast");
  EXPECT_EQ(region_of("\"shared:fast,8M\""), "fast");
  EXPECT_SAYS(region_of("\"shared:\""), "neither a size (such as 64M) nor shared:NAME[,SIZE]");
  EXPECT_SAYS(region_of("\"shared:,8M\""), "neither a size");
  EXPECT_SAYS(region_of("\"shared:fast,much\""), "neither a size");
  EXPECT_SAYS(region_of("\"shard:fast\""), "f:5: ");
}

TEST(ConfigFile, TheSandboxIsOneForAll) {
  const auto off = parse_config(std::string("sandbox = \"off\"\n") + kTwo, "f");
  ASSERT_TRUE(off);
  EXPECT_FALSE(off->sandbox);
  EXPECT_SAYS(refusal(std::string("sandbox = 1\n") + kTwo), "airlock.toml:1: sandbox: ");
  EXPECT_SAYS(with("sandbox = \"off\""), "airlock.toml:6: sandbox: it is one for all");
}

TEST(ConfigFile, SaysWhereItIsWrong) {
  EXPECT_SAYS(with("queus = 4"), "airlock.toml:6: queus: blk has no such option");
  EXPECT_SAYS(with("help = true"), "airlock.toml:6: help: blk has no such option");
  EXPECT_SAYS(with("queues = 400"), "airlock.toml:6: --queues: ");
  EXPECT_SAYS(with("region = \"lots\""), "airlock.toml:6: --region: 'lots' is neither a size");
  EXPECT_SAYS(with("queues = [1, 2]"), "airlock.toml:6: queues: it is a text or a number");
  EXPECT_SAYS(with("readonly = \"yes\""), "airlock.toml:6: readonly: it is true or false");
  EXPECT_SAYS(with("queues = "), "airlock.toml:6: ");
  EXPECT_SAYS(with("[other]"), "airlock.toml:6: other: there is no such thing here");
  EXPECT_SAYS(with("[[device]]\ntype = \"blk\"\nbackend = \"memory:8M\""),
              "airlock.toml:6: socket: it is missing");
  EXPECT_SAYS(with("[[device]]\nsocket = \"t\""), "airlock.toml:6: type: it is missing");
  EXPECT_SAYS(with("[[device]]\ntype = \"floppy\""), "airlock.toml:7: type: there is no 'floppy'");
  EXPECT_SAYS(with("[[device]]\ntype = \"blk\"\nsocket = \"t\""),
              "airlock.toml:6: --backend is required");
  EXPECT_SAYS(with("[[device]]\ntype = \"blk\"\nsocket = \"s\"\nbackend = \"memory:8M\""),
              "airlock.toml:8: socket: the device of line 2 has it");
  EXPECT_SAYS(refusal(""), "airlock.toml:1: it has no [[device]]");
  EXPECT_SAYS(refusal("device = 1"), "airlock.toml:1: device: there is no such thing here");
}

}  // namespace
}  // namespace airlock::cli
