// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "device/poll_budget.h"
#include "pci/negotiation.h"
#include "ring/features.h"

namespace airlock::cli {

/// What every kind of device is served with.
struct ServeOptions {
  std::string socket;                               // path to listen on; empty with socket_fd
  int socket_fd = -1;                               // an inherited, listening socket
  std::uint64_t region = std::uint64_t{64} << 20U;  // bytes
  std::string shared_region;                        // its name, if other devices have it as well
  bool huge_pages = false;                          // for the region
  pci::DmaPolicy dma = pci::DmaPolicy::kRequire;
  pci::AddressOffer address = pci::AddressOffer::kBus;
  std::uint64_t ring_features = ring::Features::kMask | pci::kTransportFeatures;  // on offer
  std::uint32_t encryption = 0;  // algorithms on offer (crypt::algorithm_bit()); 0: none asked for
  std::chrono::microseconds poll_max{20};
  std::chrono::microseconds nap_max{500};
  unsigned poll_cpu_percent = 100;  // of a core, that a queue polls away in vain
  std::string stats;                // file for the counters, written at the end and on SIGUSR1
  bool sandbox = true;

  [[nodiscard]] device::PollBudget::Limits poll() const {
    return {.longest = poll_max, .naps_longest = nap_max, .cpu_percent = poll_cpu_percent};
  }
};

/// NAME of a `--region` that is shared:NAME[,SIZE]; empty if it is none, or NAME is.
[[nodiscard]] std::string_view shared_region_name(std::string_view region);

}  // namespace airlock::cli
