// SPDX-License-Identifier: Apache-2.0
#include "backend/null_backend.h"

#include <fmt/core.h>

#include "backend/immediate_channel.h"
#include "base/check.h"
#include "base/size.h"

namespace airlock::backend {

namespace {

class NullChannel : public ImmediateChannel {
 public:
  using ImmediateChannel::ImmediateChannel;

 protected:
  void perform(const BlockRequest& /*request*/) override {}
};

class NullBackend : public BlockBackend {
 public:
  NullBackend(std::uint64_t capacity, bool read_only)
      : geometry_{.capacity_bytes = capacity,
                  .read_only = read_only,
                  .can_discard = !read_only,
                  .can_write_zeroes = !read_only} {}

  [[nodiscard]] const Geometry& geometry() const override { return geometry_; }
  [[nodiscard]] bool outlives_process() const override { return false; }
  [[nodiscard]] std::string describe() const override {
    return fmt::format("null, {}: nothing is kept", format_size(geometry_.capacity_bytes));
  }
  Result<std::unique_ptr<BlockChannel>> open_channel(const shm::SharedBytes& /*region*/,
                                                     std::uint32_t depth) override {
    CHECK(depth > 0);
    return std::make_unique<NullChannel>(geometry_.read_only, depth);
  }

 private:
  Geometry geometry_;
};

}  // namespace

std::unique_ptr<BlockBackend> make_null(std::uint64_t capacity, bool read_only) {
  CHECK(capacity > 0 && capacity % kSectorBytes == 0);
  return std::make_unique<NullBackend>(capacity, read_only);
}

}  // namespace airlock::backend
