// SPDX-License-Identifier: Apache-2.0
#include "device/net/net_metrics.h"

namespace airlock::device {

NetCounts& NetCounts::operator+=(const NetCounts& other) {
  received += other.received;
  received_bytes += other.received_bytes;
  filtered += other.filtered;
  unfit += other.unfit;
  sent += other.sent;
  sent_bytes += other.sent_bytes;
  refused += other.refused;
  unsent += other.unsent;
  waits += other.waits;
  commands += other.commands;
  return *this;
}

NetCounts NetQueueMetrics::snapshot() const {
  return {.received = received.get(),
          .received_bytes = received_bytes.get(),
          .filtered = filtered.get(),
          .unfit = unfit.get(),
          .sent = sent.get(),
          .sent_bytes = sent_bytes.get(),
          .refused = refused.get(),
          .unsent = unsent.get(),
          .waits = waits.get(),
          .commands = commands.get()};
}

}  // namespace airlock::device
