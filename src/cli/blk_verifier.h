// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "cli/blk_commands.h"
#include "cli/pattern.h"
#include "driver/blk.h"

namespace airlock::cli {

struct VerifyCounts {
  std::uint64_t writes = 0;
  std::uint64_t reads = 0;
  std::uint64_t in_place = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t bytes_checked = 0;
};

/// Random writes and reads against a private model of what each sector holds: four bytes a sector,
/// the number of the write that was last there, from which its content follows. Requests in flight
/// never overlap, as their order would not be known. One thread; `blk` outlives it.
class BlkVerifier {
 public:
  BlkVerifier(driver::Blk& blk, const BlkVerifyOptions& options)
      : blk_(blk),
        queue_(blk.queue(0)),
        options_(options),
        state_(options.seed),
        block_(std::max<std::uint64_t>(blk.info().block_bytes, kSectorBytes)),
        versions_(blk.info().capacity_bytes / kSectorBytes, 0) {}

  /// Overwrites the disk. Errors: the driver's; kIoError with mismatch() set.
  Result<void> run();

  /// Where the disk holds something else than was written, in bytes, if that ended the run.
  [[nodiscard]] std::optional<std::uint64_t> mismatch() const { return mismatch_; }
  [[nodiscard]] const VerifyCounts& counts() const { return counts_; }
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
  VerifyCounts counts_;
  std::optional<std::uint64_t> mismatch_;
  Checksum expected_;
  Checksum found_;
};

}  // namespace airlock::cli
