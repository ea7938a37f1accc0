// SPDX-License-Identifier: Apache-2.0
//
// For tests: a disk in this process, its driver, and the lies told between them.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "driver/blk.h"
#include "testing/fake_disk.h"
#include "testing/fake_transport.h"

namespace airlock::testing {

inline std::vector<std::byte> pattern(std::size_t size, unsigned seed = 1) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; i++)
    bytes[i] = std::byte((i * 7 + i / 256 + seed) & 0xff);
  return bytes;
}

class BlkFixture : public ::testing::Test {
 protected:
  BlkFixture() { disk().own_features = spec::feature(spec::VIRTIO_BLK_F_FLUSH); }

  void open() {
    options_.device.timeout = std::chrono::milliseconds(50);
    blk_ = MUST(try_open());
  }
  Result<std::unique_ptr<driver::Blk>> try_open() {
    return driver::Blk::open(
        std::make_unique<FakeTransport>(device_.device(), device_.memfd, lies_,
                                        FakeTransport::Options{.interrupts = interrupts_}),
        options_);
  }
  FakeDisk& disk() { return device_.disk; }
  driver::Blk& blk() { return *blk_; }
  driver::BlkQueue& queue() { return blk_->queue(0); }
  /// All completions that are there now.
  std::vector<driver::BlkCompletion> drain() {
    std::vector<driver::BlkCompletion> all;
    while (auto completion = queue().poll())
      all.push_back(*completion);
    return all;
  }
  std::uint64_t slots_used() { return blk_->device().pool().stats().used; }

  FakeDiskDevice device_{{.region_bytes = std::uint64_t{1} << 20}};
  Lies lies_;
  driver::Blk::Options options_;
  bool interrupts_ = true;
  std::unique_ptr<driver::Blk> blk_;
};

}  // namespace airlock::testing
