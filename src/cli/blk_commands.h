// SPDX-License-Identifier: Apache-2.0
//
// `airlock blk ...`: a disk through our own driver.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "cli/outcome.h"
#include "crypt/algorithm.h"
#include "driver/virtio_device.h"

namespace airlock::cli {

struct BlkInfoOptions {
  std::string device;
  std::uint64_t ring_features = driver::kRingFeaturesByDefault;  // that the driver may accept
  crypt::Algorithm encryption = crypt::Algorithm::kNone;         // of its queues' buffers
  bool json = false;
};

/// Copies between the disk and a file ("-": stdin or stdout).
struct BlkCopyOptions {
  std::string device;
  std::uint64_t ring_features = driver::kRingFeaturesByDefault;  // that the driver may accept
  crypt::Algorithm encryption = crypt::Algorithm::kNone;         // of its queues' buffers
  std::string file;
  std::uint64_t offset = 0;             // on the disk
  std::optional<std::uint64_t> length;  // default: to the end
  bool json = false;
};

struct BlkVerifyOptions {
  std::string device;
  std::uint64_t ring_features = driver::kRingFeaturesByDefault;  // that the driver may accept
  crypt::Algorithm encryption = crypt::Algorithm::kNone;         // of its queues' buffers
  std::uint64_t total = std::uint64_t{1} << 30U;                 // bytes to write
  std::uint64_t seed = 0;                                        // 0: chosen, and printed
  std::uint32_t depth_max = 128;
  std::uint64_t block_max = std::uint64_t{4} << 20U;
  bool json = false;
};

/// In fio's words.
struct BlkBenchOptions {
  std::string device;
  std::uint64_t ring_features = driver::kRingFeaturesByDefault;  // that the driver may accept
  crypt::Algorithm encryption = crypt::Algorithm::kNone;         // of its queues' buffers
  std::string rw = "randread";  // read write rw randread randwrite randrw
  std::uint64_t bs = 4096;
  std::uint32_t iodepth = 1;
  std::uint16_t numjobs = 1;
  std::uint32_t queue_size = 256;    // entries of a queue, at most
  std::uint32_t rwmixread = 50;      // per cent
  std::chrono::microseconds ramp{};  // before it, and not measured
  std::chrono::microseconds runtime{5'000'000};
  std::uint64_t size = 0;  // of the disk's start that is used; 0: all
  bool in_place = false;
  std::chrono::microseconds poll_max{50};  // of a wait, before it sleeps
  unsigned poll_cpu_percent = 100;         // of a core, for looks in vain
  bool json = false;
};

Outcome blk_info(const BlkInfoOptions& options);
Outcome blk_read(const BlkCopyOptions& options);
Outcome blk_write(const BlkCopyOptions& options);
/// Overwrites the disk with random data at random places, checking what it reads on the way and all
/// of it at the end.
Outcome blk_verify(BlkVerifyOptions options);
Outcome blk_bench(const BlkBenchOptions& options);

}  // namespace airlock::cli
