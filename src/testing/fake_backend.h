// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "backend/block_backend.h"
#include "base/check.h"
#include "base/event_fd.h"

namespace airlock::testing {

/// A disk in the hands of a test: what fails, what waits, what was asked for. Shared by all
/// channels of a FakeBackend; one thread.
struct FakeStorage {
  static constexpr std::uint64_t kBytes = 32768;  // 64 sectors

  backend::Geometry geometry{
      .capacity_bytes = kBytes, .can_discard = true, .can_write_zeroes = true};
  std::vector<std::byte> bytes = std::vector<std::byte>(kBytes);

  /// With `hold`, requests finish only when finish() lets them; otherwise with the next reap().
  bool hold = false;
  /// Requests that a channel takes at once, if that is less than its depth.
  std::uint32_t room = ~std::uint32_t{0};
  /// Requests finish newest first.
  bool reversed = false;
  /// The errno of requests, in the order they finish; 0, and nothing here, is success.
  std::deque<int> errors;
  /// The error of the next submit().
  std::deque<Error> submit_errors;

  /// All that were submitted. Segments are gone once a request finished.
  std::vector<backend::BlockRequest> seen;
  /// All that expect() was called with: their op, offset and length.
  std::vector<backend::BlockRequest> expected;
  std::uint32_t channels_open = 0;
  std::uint32_t cancels = 0;  // calls of cancel()

  /// Lets `count` more requests finish.
  void finish(std::uint32_t count) {
    allowed += count;
    event.signal();
  }

  std::uint32_t allowed = 0;
  EventFd event = MUST(EventFd::create());
};

class FakeChannel : public backend::BlockChannel {
 public:
  FakeChannel(std::shared_ptr<FakeStorage> disk, std::uint32_t depth)
      : disk_(std::move(disk)), depth_(depth) {
    ++disk_->channels_open;
  }
  ~FakeChannel() override { --disk_->channels_open; }

  Result<void> submit(const backend::BlockRequest& request) override {
    if (!disk_->submit_errors.empty()) {
      const Error error = disk_->submit_errors.front();
      disk_->submit_errors.pop_front();
      return fail(error);
    }
    if (pending_.size() >= std::min(depth_, disk_->room)) return fail(Errc::kQueueFull);
    disk_->seen.push_back(request);
    pending_.push_back(request);
    return {};
  }

  void expect(backend::BlockOp op, std::uint64_t offset, std::uint64_t length) override {
    disk_->expected.push_back({.op = op, .offset = offset, .length = length});
  }

  std::size_t reap(std::span<backend::BlockCompletion> target) override {
    static_cast<void>(disk_->event.drain());
    std::size_t count = 0;
    while (count < target.size() && !pending_.empty() && (!disk_->hold || disk_->allowed > 0)) {
      if (disk_->hold) --disk_->allowed;
      const auto which = disk_->reversed ? pending_.end() - 1 : pending_.begin();
      target[count++] = perform(*which);
      pending_.erase(which);
    }
    return count;
  }

  void cancel() override { ++disk_->cancels; }
  [[nodiscard]] int completion_fd() const override { return disk_->event.fd(); }

 private:
  backend::BlockCompletion perform(const backend::BlockRequest& request) {
    backend::BlockCompletion completion{.token = request.token};
    if (!disk_->errors.empty()) {
      completion.error = disk_->errors.front();
      disk_->errors.pop_front();
    }
    if (completion.error != 0 || request.op == backend::BlockOp::kFlush) return completion;
    CHECK(request.offset <= disk_->bytes.size());
    CHECK(request.length <= disk_->bytes.size() - request.offset);
    std::span<std::byte> range = std::span(disk_->bytes).subspan(request.offset, request.length);
    completion.bytes = request.length;
    if (request.segments.empty()) {
      std::ranges::fill(range, std::byte{0});
      return completion;
    }
    for (const shm::SharedBytes& segment : request.segments) {
      const std::span<std::byte> part = range.first(segment.size());
      if (request.op == backend::BlockOp::kRead) {
        segment.copy_in(0, part);
      } else {
        segment.copy_out(0, part);
      }
      range = range.subspan(segment.size());
    }
    CHECK(range.empty());
    return completion;
  }

  std::shared_ptr<FakeStorage> disk_;
  std::uint32_t depth_;
  std::deque<backend::BlockRequest> pending_;
};

/// A backend over a FakeStorage.
class FakeBackend : public backend::BlockBackend {
 public:
  explicit FakeBackend(std::shared_ptr<FakeStorage> disk) : disk_(std::move(disk)) {}

  [[nodiscard]] const backend::Geometry& geometry() const override { return disk_->geometry; }
  [[nodiscard]] std::string describe() const override { return "fake disk"; }
  Result<std::unique_ptr<backend::BlockChannel>> open_channel(const shm::SharedBytes& /*region*/,
                                                              std::uint32_t depth) override {
    return std::make_unique<FakeChannel>(disk_, depth);
  }

 private:
  std::shared_ptr<FakeStorage> disk_;
};

}  // namespace airlock::testing
