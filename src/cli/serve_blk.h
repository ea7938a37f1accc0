// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "cli/outcome.h"
#include "pci/virtio_pci_device.h"
#include "ring/features.h"

namespace airlock::cli {

// What a queue may have: a request takes three entries, and a split ring has a power of two of
// them.
inline constexpr std::uint16_t kQueueSizeMin = 4;
inline constexpr std::uint16_t kQueueSizeMax = 32768;

struct ServeBlkOptions {
  std::string socket;        // path to listen on; empty where socket_fd is given
  int socket_fd = -1;        // an inherited, listening socket
  std::string backend;       // see backend::open_backend()
  std::uint64_t region = 0;  // bytes
  bool huge_pages = false;   // for the region
  pci::DmaPolicy dma = pci::DmaPolicy::kRequire;
  pci::AddressOffer address = pci::AddressOffer::kBus;
  bool read_only = false;
  std::uint64_t ring_features = ring::Features::kMask | pci::kTransportFeatures;  // on offer
  std::uint16_t queues = 1;
  std::uint16_t queue_size = 256;
  std::chrono::microseconds poll_max{100};
  unsigned poll_cpu_percent = 100;  // of a core, that a queue polls away in vain
  std::string serial = "airlock";
  std::string stats;  // file for the counters, written at the end and on SIGUSR1
  bool sandbox = true;
};

/// `airlock serve blk`: serves one disk on one socket until SIGTERM or SIGINT.
Outcome serve_blk(const ServeBlkOptions& options);

}  // namespace airlock::cli
