// SPDX-License-Identifier: Apache-2.0
#include "cli/blk_verifier.h"

#include <array>
#include <bit>

#include "cli/progress.h"
#include "core/range.h"

namespace airlock::cli {

namespace {

constexpr std::uint64_t kBytesInFlightMax = std::uint64_t{64} << 20U;
constexpr std::uint64_t kInPlaceMax = std::uint64_t{256} << 10U;

}  // namespace

/// Sizes from a block to the largest, each power of two as likely, not all of them round.
std::uint64_t BlkVerifier::random_length() {
  const std::uint64_t largest = std::min(options_.block_max, blk_.info().capacity_bytes);
  const auto steps = static_cast<std::uint64_t>(std::bit_width(largest / block_));
  const std::uint64_t size = block_ << random(std::max<std::uint64_t>(steps, 1));
  const std::uint64_t blocks = size / block_;
  return std::min(largest / block_ * block_,
                  (random(4) == 0 ? 1 + random(blocks) : blocks) * block_);
}

bool BlkVerifier::choose(Job& job) {
  const std::uint64_t blocks = blk_.info().capacity_bytes / block_;
  for (int tries = 0; tries < 16; ++tries) {
    job.length = random_length();
    job.offset = random(blocks - job.length / block_ + 1) * block_;
    const bool free = std::ranges::none_of(jobs_, [&](const Job& other) {
      return other.live &&
             airlock_ranges_overlap(job.offset, job.length, other.offset, other.length);
    });
    if (free && airlock_range_within(in_flight_bytes_, job.length, kBytesInFlightMax)) return true;
  }
  return false;
}

Result<bool> BlkVerifier::start(std::size_t index, bool write) {
  Job& job = jobs_[index];
  if (!choose(job)) return false;
  job.writes = write;
  job.buffer = {};
  // Half of what is small enough goes without a copy, as far as the pool has room.
  if (job.length <= kInPlaceMax && random(2) == 0) {
    if (auto buffer = blk_.allocate(job.length)) {
      job.buffer = std::move(*buffer);
      ++counts_.in_place;
    }
  }
  if (!job.buffer) job.bytes.resize(job.length);
  driver::BlkRequest request{.op = write ? driver::BlkOp::kWrite : driver::BlkOp::kRead,
                             .offset = job.offset,
                             .cookie = index};
  if (write) {
    ++version_;
    for (std::uint64_t at = 0; at < job.length; at += kSectorBytes) {
      const std::uint64_t sector = (job.offset + at) / kSectorBytes;
      versions_[sector] = version_;
      fill_sector(job.data().subspan(at).first<kSectorBytes>(), options_.seed, sector, version_);
    }
    request.source = job.data();
  } else {
    request.target = job.data();
  }
  if (auto submitted = queue_.submit(request); !submitted) return fail(submitted.error());
  job.live = true;
  ++live_;
  in_flight_bytes_ += job.length;
  return true;
}

Result<void> BlkVerifier::finish_one() {
  auto completion = queue_.poll();
  while (!completion) {
    if (auto waited = queue_.wait(std::chrono::seconds(60)); !waited) return waited;
    completion = queue_.poll();
  }
  Job& job = jobs_[completion->cookie];
  job.live = false;
  --live_;
  in_flight_bytes_ -= job.length;
  if (completion->error) return fail(*completion->error);
  if (job.writes) {
    ++counts_.writes;
    counts_.bytes_written += job.length;
    return {};
  }
  ++counts_.reads;
  return check(job.offset, job.data());
}

Result<void> BlkVerifier::drain() {
  while (live_ > 0) {
    if (auto done = finish_one(); !done) return done;
  }
  return {};
}

Result<void> BlkVerifier::check(std::uint64_t offset, std::span<const std::byte> data) {
  std::array<std::byte, kSectorBytes> expected{};
  for (std::uint64_t at = 0; at < data.size(); at += kSectorBytes) {
    const std::uint64_t sector = (offset + at) / kSectorBytes;
    fill_sector(expected, options_.seed, sector, versions_[sector]);
    if (!std::ranges::equal(expected, data.subspan(at, kSectorBytes))) {
      mismatch_ = offset + at;
      return fail({.code = Errc::kIoError, .address = offset + at});
    }
  }
  counts_.bytes_checked += data.size();
  return {};
}

/// Every sector at the end, in order; both checksums.
Result<void> BlkVerifier::check_all() {
  std::vector<std::byte> data;
  std::array<std::byte, kSectorBytes> expected{};
  const std::uint64_t capacity = versions_.size() * kSectorBytes;
  for (std::uint64_t at = 0; at < capacity; at += data.size()) {
    data.resize(std::min<std::uint64_t>(std::uint64_t{1} << 20U, capacity - at));
    if (auto done = blk_.read(at, data); !done) return done;
    found_.add(data);
    for (std::uint64_t in = 0; in < data.size(); in += kSectorBytes) {
      const std::uint64_t sector = (at + in) / kSectorBytes;
      fill_sector(expected, options_.seed, sector, versions_[sector]);
      expected_.add(expected);
    }
    if (auto same = check(at, data); !same) return same;
  }
  return {};
}

/// Unwritten sectors count as zeros, so that is what they have to be.
Result<void> BlkVerifier::zero_all() {
  const std::uint64_t capacity = blk_.info().capacity_bytes;
  if (blk_.info().write_zeroes_bytes_max > 0) return blk_.write_zeroes(0, capacity, true);
  const std::vector<std::byte> zeros(std::uint64_t{1} << 20U);
  for (std::uint64_t at = 0; at < capacity; at += zeros.size()) {
    const auto part = std::min<std::uint64_t>(zeros.size(), capacity - at);
    if (auto done = blk_.write(at, std::span(zeros).first(part)); !done) return done;
  }
  return {};
}

Result<void> BlkVerifier::run() {
  if (auto done = zero_all(); !done) return done;
  Progress progress("verify", options_.total);
  std::size_t depth = 1;
  jobs_.resize(options_.depth_max);
  std::uint64_t phase_end = 0;
  while (counts_.bytes_written < options_.total) {
    if (counts_.bytes_written >= phase_end) {
      // Each phase has its own depth, 1 to the largest and again.
      if (auto done = drain(); !done) return done;
      depth = phase_end == 0 || depth * 2 > options_.depth_max ? 1 : depth * 2;
      phase_end = counts_.bytes_written + options_.total / 32 + 1;
    }
    while (live_ < depth) {
      const auto job = std::ranges::find(jobs_, false, &Job::live);
      const auto started = start(static_cast<std::size_t>(job - jobs_.begin()), random(4) != 0);
      if (!started) return fail(started.error());
      if (!*started) break;
    }
    queue_.kick();
    if (auto done = finish_one(); !done) return done;
    progress.update(std::min(counts_.bytes_written, options_.total));
  }
  if (auto done = drain(); !done) return done;
  if (blk_.info().has_flush) {
    if (auto done = blk_.flush(); !done) return done;
  }
  return check_all();
}

}  // namespace airlock::cli
