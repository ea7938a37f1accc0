// SPDX-License-Identifier: Apache-2.0
#include "compare/two_stage/machine.h"

#include <utility>

#include "base/log.h"
#include "core/range.h"

namespace airlock::compare {

namespace {

constexpr std::uint64_t kTableBytes = std::uint64_t{256} << 10;

Result<shm::Mapping> machine_memory(const char* name, std::uint64_t bytes) {
  return TRY(shm::SealedMemfd::create({.name = name, .size = bytes}))
  .map();
}

}  // namespace

Result<std::unique_ptr<TwoStageMachine>> TwoStageMachine::create(const Options& options) {
  Memories memories {
    .guest_table = TRY(machine_memory("airlock-stage-1", kTableBytes))
    , .hypervisor_table = TRY(machine_memory("airlock-stage-2", kTableBytes))
    , .memory = TRY(machine_memory("airlock-machine", kMemoryBytes))
  };
  const PageTable guest = TRY(PageTable::create(memories.guest_table.bytes()));
  const PageTable hypervisor = TRY(PageTable::create(memories.hypervisor_table.bytes()));
  SocketPair sockets = TRY(socket_pair());
  return std::unique_ptr<TwoStageMachine>(
      new TwoStageMachine(options, std::move(memories), guest, hypervisor, std::move(sockets)));
}

TwoStageMachine::TwoStageMachine(const Options& options, Memories memories,
                                 const PageTable& guest_table, const PageTable& hypervisor_table,
                                 SocketPair sockets)
    : options_(options),
      memories_(std::move(memories)),
      guest_table_(guest_table),
      hypervisor_table_(hypervisor_table),
      hypervisor_(std::move(sockets.first)) {
  const TranslatingPort port(guest_table_, hypervisor_table_, memories_.memory.bytes());
  hardware_ = std::make_unique<Hardware>(port);
  hypervisor_thread_ = std::jthread([this, port, socket = std::move(sockets.second)] {
    const auto ended = serve_hypervisor(socket, port, *hardware_);
    if (ended.error().code != Errc::kPeerClosed) {
      log(LogLevel::kError, "hypervisor: {}", describe(ended.error()));
    }
  });
}

TwoStageMachine::~TwoStageMachine() {
  hypervisor_.reset();
}

// What is in the queue is done before the page is anything else again.
Result<void> TwoStageMachine::unmap(std::uint64_t address) {
  TRY(guest_table_.unmap(address));
  if (!options_.hv_sees_flush) {
    hardware_->invalidate(address);
    return {};
  }
  ++traps_;
  const HypervisorRequest flush{.kind = HypervisorRequest::Kind::kFlush,
                                .access = {.address = address}};
  TRY(ask<HypervisorReply>(hypervisor_, flush));
  return {};
}

Result<std::uint64_t> TwoStageMachine::emulated(const DeviceAccess& access) {
  const HypervisorRequest request{.kind = HypervisorRequest::Kind::kAccess, .access = access};
  return TRY(ask<HypervisorReply>(hypervisor_, request))
  .message.value;
}

Result<std::uint64_t> TwoStageMachine::place_of(std::uint64_t guest_address) const {
  const PageEntry entry = hypervisor_table_.find(guest_address);
  if (entry.use == PageUse::kNone || guest_address % sizeof(std::uint64_t) != 0 ||
      !airlock_range_within(entry.page, kPageBytes, kMemoryBytes)) {
    return fail({.code = Errc::kAddressOutside, .address = guest_address});
  }
  return entry.page + guest_address % kPageBytes;
}

Result<std::uint64_t> TwoStageMachine::load(std::uint64_t guest_address) const {
  return memories_.memory.bytes().load_relaxed<std::uint64_t>(TRY(place_of(guest_address)));
}

Result<void> TwoStageMachine::store(std::uint64_t guest_address, std::uint64_t value) {
  memories_.memory.bytes().store_relaxed<std::uint64_t>(TRY(place_of(guest_address)), value);
  return {};
}

}  // namespace airlock::compare
