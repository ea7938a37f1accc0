// SPDX-License-Identifier: Apache-2.0
#include "device/blk/blk_metrics.h"

namespace airlock::device {

BlkCounts& BlkCounts::operator+=(const BlkCounts& other) {
  reads += other.reads;
  writes += other.writes;
  flushes += other.flushes;
  discards += other.discards;
  write_zeroes += other.write_zeroes;
  get_ids += other.get_ids;
  read_bytes += other.read_bytes;
  written_bytes += other.written_bytes;
  refused += other.refused;
  io_errors += other.io_errors;
  held += other.held;
  waits += other.waits;
  return *this;
}

BlkCounts BlkQueueMetrics::snapshot() const {
  return {.reads = reads.get(),
          .writes = writes.get(),
          .flushes = flushes.get(),
          .discards = discards.get(),
          .write_zeroes = write_zeroes.get(),
          .get_ids = get_ids.get(),
          .read_bytes = read_bytes.get(),
          .written_bytes = written_bytes.get(),
          .refused = refused.get(),
          .io_errors = io_errors.get(),
          .held = held.get(),
          .waits = waits.get()};
}

}  // namespace airlock::device
