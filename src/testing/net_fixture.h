// SPDX-License-Identifier: Apache-2.0
//
// For tests: a network card in this process, its driver, and the lies told between them.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "driver/net.h"
#include "testing/fake_net.h"
#include "testing/fake_transport.h"

namespace airlock::testing {

/// A frame of `length` bytes that no other has.
inline std::vector<std::byte> net_frame(std::size_t length, unsigned seed = 1) {
  std::vector<std::byte> bytes(length);
  for (std::size_t i = 0; i < length; i++)
    bytes[i] = std::byte((i * 7 + i / 256 + seed * 31) & 0xff);
  return bytes;
}

class NetFixture : public ::testing::Test {
 protected:
  using Bytes = std::vector<std::byte>;

  void open() { net_ = MUST(try_open()); }
  Result<std::unique_ptr<driver::Net>> try_open() {
    options_.device.timeout = std::chrono::milliseconds(50);
    options_.timeout = std::chrono::milliseconds(50);
    return driver::Net::open(
        std::make_unique<FakeTransport>(device_.device(), device_.memfd, lies_,
                                        FakeTransport::Options{.interrupts = interrupts_}),
        options_);
  }
  FakeNet& card() { return device_.net; }
  driver::Net& net() { return *net_; }
  driver::NetReceiver& receiver() { return net_->receiver(0); }
  driver::NetSender& sender() { return net_->sender(0); }
  void without(unsigned feature) { card().own_features &= ~spec::feature(feature); }

  /// The next frame; empty: there is none.
  Bytes take() {
    const auto received = receiver().poll();
    if (!received || !*received) return {};
    return {(*received)->frame.begin(), (*received)->frame.end()};
  }
  /// Frames go both ways.
  void expect_works() {
    card().sent.clear();
    EXPECT_TRUE(net().send(net_frame(100, 5)));
    EXPECT_EQ(card().sent, (std::vector<Bytes>{net_frame(100, 5)}));
    EXPECT_TRUE(card().deliver(net_frame(200, 6)));
    EXPECT_EQ(take(), net_frame(200, 6));
  }

  FakeNetDevice device_{{.region_bytes = std::uint64_t{1} << 20}};
  Lies lies_;
  driver::Net::Options options_{.receive_bytes = std::uint64_t{64} << 10};
  bool interrupts_ = true;
  std::unique_ptr<driver::Net> net_;
};

}  // namespace airlock::testing
