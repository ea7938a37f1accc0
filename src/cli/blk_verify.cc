// SPDX-License-Identifier: Apache-2.0
//
// `airlock blk verify`: random writes and reads against a private model of what each sector holds.
// The model is four bytes a sector: the number of the write that was last there, from which its
// content follows. Requests in flight never overlap, as their order would not be known.
#include <algorithm>
#include <bit>
#include <random>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/size.h"
#include "cli/blk_commands.h"
#include "cli/disk.h"
#include "cli/pattern.h"
#include "cli/progress.h"
#include "core/range.h"

namespace airlock::cli {

namespace {

constexpr std::uint64_t kBytesInFlightMax = std::uint64_t{64} << 20U;
constexpr std::uint64_t kCapacityMax = std::uint64_t{256} << 30U;
constexpr std::uint64_t kInPlaceMax = std::uint64_t{256} << 10U;

struct Counts {
  std::uint64_t writes = 0;
  std::uint64_t reads = 0;
  std::uint64_t in_place = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t bytes_checked = 0;
};

class Verifier {
 public:
  Verifier(driver::Blk& blk, const BlkVerifyOptions& options)
      : blk_(blk),
        queue_(blk.queue(0)),
        options_(options),
        state_(options.seed),
        block_(std::max<std::uint64_t>(blk.info().block_bytes, kSectorBytes)),
        versions_(blk.info().capacity_bytes / kSectorBytes, 0) {}

  /// Errors: the driver's; kIoError at the address of a sector that holds something else.
  Result<void> run();

  [[nodiscard]] const Counts& counts() const { return counts_; }
  [[nodiscard]] std::uint64_t expected_sum() const { return expected_.value(); }
  [[nodiscard]] std::uint64_t disk_sum() const { return found_.value(); }

 private:
  struct Job {
    bool live = false;
    bool writes = false;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    std::vector<std::byte> bytes;
    pool::InPlaceBuffer buffer;
    [[nodiscard]] std::span<std::byte> data() {
      return (buffer ? buffer.span() : std::span(bytes)).first(length);
    }
  };

  std::uint64_t random(std::uint64_t below) { return mix(state_) % below; }
  std::uint64_t random_length();
  Result<void> zero_all();
  bool choose(Job& job);
  Result<bool> start(std::size_t index, bool write);
  Result<void> finish_one();
  Result<void> drain();
  Result<void> check(std::uint64_t offset, std::span<const std::byte> data);
  Result<void> check_all();

  driver::Blk& blk_;
  driver::BlkQueue& queue_;
  const BlkVerifyOptions& options_;
  std::uint64_t state_;
  std::uint64_t block_;
  std::vector<std::uint32_t> versions_;
  std::vector<Job> jobs_;
  std::size_t live_ = 0;
  std::uint64_t in_flight_bytes_ = 0;
  std::uint32_t version_ = 0;
  Counts counts_;
  Checksum expected_;
  Checksum found_;
};

/// Sizes from a block to the largest, each power of two as likely, not all of them round.
std::uint64_t Verifier::random_length() {
  const std::uint64_t largest = std::min(options_.block_max, blk_.info().capacity_bytes);
  const auto steps = static_cast<std::uint64_t>(std::bit_width(largest / block_));
  const std::uint64_t size = block_ << random(std::max<std::uint64_t>(steps, 1));
  const std::uint64_t blocks = size / block_;
  return std::min(largest / block_ * block_,
                  (random(4) == 0 ? 1 + random(blocks) : blocks) * block_);
}

bool Verifier::choose(Job& job) {
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

Result<bool> Verifier::start(std::size_t index, bool write) {
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

Result<void> Verifier::finish_one() {
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

Result<void> Verifier::drain() {
  while (live_ > 0) {
    if (auto done = finish_one(); !done) return done;
  }
  return {};
}

Result<void> Verifier::check(std::uint64_t offset, std::span<const std::byte> data) {
  std::array<std::byte, kSectorBytes> expected{};
  for (std::uint64_t at = 0; at < data.size(); at += kSectorBytes) {
    const std::uint64_t sector = (offset + at) / kSectorBytes;
    fill_sector(expected, options_.seed, sector, versions_[sector]);
    if (!std::ranges::equal(expected, data.subspan(at, kSectorBytes))) {
      return fail({.code = Errc::kIoError, .address = offset + at});
    }
  }
  counts_.bytes_checked += data.size();
  return {};
}

/// Every sector at the end, in order; both checksums.
Result<void> Verifier::check_all() {
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
Result<void> Verifier::zero_all() {
  const std::uint64_t capacity = blk_.info().capacity_bytes;
  if (blk_.info().write_zeroes_bytes_max > 0) return blk_.write_zeroes(0, capacity, true);
  const std::vector<std::byte> zeros(std::uint64_t{1} << 20U);
  for (std::uint64_t at = 0; at < capacity; at += zeros.size()) {
    const auto part = std::min<std::uint64_t>(zeros.size(), capacity - at);
    if (auto done = blk_.write(at, std::span(zeros).first(part)); !done) return done;
  }
  return {};
}

Result<void> Verifier::run() {
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

}  // namespace

Outcome blk_verify(BlkVerifyOptions options) {
  while (options.seed == 0)
    options.seed = std::random_device{}();
  auto disk = open_disk(options.device, {.device = {.ring_features = options.ring_features}});
  if (!disk) return std::unexpected(disk.error());
  const driver::BlkInfo& info = disk->blk->info();
  if (info.read_only) return failed("verify", "the disk is read-only", "it overwrites the disk");
  if (options.depth_max == 0 || options.block_max < info.block_bytes) {
    return usage("verify", "no depth or no block fits these limits",
                 "see airlock blk verify --help");
  }
  if (info.capacity_bytes > kCapacityMax) {
    return failed("verify",
                  fmt::format("the disk says it has {}", format_size(info.capacity_bytes)),
                  fmt::format("use one of {} at most: each sector costs four bytes of memory",
                              format_size(kCapacityMax)));
  }
  Verifier verifier(*disk->blk, options);
  const auto done = verifier.run();
  if (!done) {
    const Error& error = done.error();
    return failed(
        "verify",
        error.code == Errc::kIoError && error.address != 0
            ? fmt::format("sector {} is not what was written", error.address / kSectorBytes)
            : describe(error),
        fmt::format("repeat with --seed {}", options.seed));
  }
  const Counts& counts = verifier.counts();
  const driver::BlkStats stats = disk->blk->stats();
  const nlohmann::ordered_json json = {
      {"seed", options.seed},
      {"writes", counts.writes},
      {"reads", counts.reads},
      {"in_place", counts.in_place},
      {"bytes_written", counts.bytes_written},
      {"bytes_checked", counts.bytes_checked},
      {"pool_full", stats.pool_full},
      {"ring_full", stats.ring_full},
      {"checksum_expected", fmt::format("{:016x}", verifier.expected_sum())},
      {"checksum_disk", fmt::format("{:016x}", verifier.disk_sum())},
  };
  if (verifier.expected_sum() != verifier.disk_sum()) {
    return failed("verify", "the checksums differ",
                  fmt::format("repeat with --seed {}", options.seed));
  }
  if (options.json) {
    fmt::print("{}\n", json.dump(2));
  } else {
    fmt::print(
        "verified {} in {} writes, {} reads ({} without a copy); checked {}; checksum {:016x}\n",
        format_size(counts.bytes_written / (1U << 20U) * (1U << 20U)), counts.writes, counts.reads,
        counts.in_place, format_size(counts.bytes_checked / (1U << 20U) * (1U << 20U)),
        verifier.disk_sum());
  }
  return {};
}

}  // namespace airlock::cli
