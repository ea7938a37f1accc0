// SPDX-License-Identifier: Apache-2.0
#include "compare/rig_device.h"

#include <cerrno>
#include <utility>

#include "backend/memory_backend.h"
#include "compare/repeating_wire.h"
#include "device/blk/blk_device.h"
#include "device/net/net_device.h"

namespace airlock::compare {

namespace {

Result<RigDevice> make_disk() {
  auto backend = backend::open_memory(kDiskBytes, false);
  if (!backend) return fail(system_error(ENOMEM));
  device::BlkDevice::Options options;
  options.backend = std::move(*backend);
  options.ring_features = 0;
  auto disk = TRY(device::BlkDevice::create(std::move(options)));
  auto copied_bytes = [disk = disk.get()] { return disk->copied_bytes(); };
  return RigDevice{.type = std::move(disk), .copied_bytes = std::move(copied_bytes)};
}

Result<RigDevice> make_card() {
  device::NetDevice::Options options;
  options.backend = make_repeating_wire();
  options.ring_features = 0;
  auto card = TRY(device::NetDevice::create(std::move(options)));
  auto copied_bytes = [card = card.get()] {
    const device::NetCounts counts = card->counts();
    return counts.received_bytes + counts.sent_bytes;
  };
  return RigDevice{.type = std::move(card), .copied_bytes = std::move(copied_bytes)};
}

}  // namespace

Result<RigDevice> make_rig_device(Traffic traffic) {
  return traffic == Traffic::kBlk ? make_disk() : make_card();
}

}  // namespace airlock::compare
