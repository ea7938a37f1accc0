// SPDX-License-Identifier: Apache-2.0
#include "testing/hostile_server.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <random>
#include <utility>

#include "ring/features.h"

namespace airlock::testing {

namespace {

// A driver that has only one request to make gets its answer all the same.
constexpr std::uint32_t kPumpsForASecondRequest = 125;
// Long enough for a guest's other processor to act in between.
constexpr std::size_t kFlipsAtOnce = 4096;

// Of each round of work without end, so that a small machine has time for the guest.
constexpr auto kLeaveToOthers = std::chrono::microseconds(100);

constexpr std::string_view kSilence = "Silence";
constexpr std::string_view kNoInterrupts = "NoInterrupts";
constexpr std::string_view kInterruptsForEver = "InterruptsForEver";
constexpr std::string_view kRingFlipsForEver = "RingFlipsForEver";
constexpr std::string_view kRegionFlipsForEver = "RegionFlipsForEver";
constexpr std::string_view kLasting[] = {kSilence, kNoInterrupts, kInterruptsForEver,
                                         kRingFlipsForEver, kRegionFlipsForEver};

FakeDiskDevice::Options device_options(const HostileServer::Options& options) {
  return {.region_bytes = options.region_bytes, .negotiation = {.offer = options.address}};
}

void flip_something(const shm::SharedBytes& memory, std::minstd_rand& random) {
  const std::uint64_t at = random() % memory.size();
  const auto bits = static_cast<std::uint8_t>(random());
  memory.store_relaxed<std::uint8_t>(
      at, static_cast<std::uint8_t>(memory.load_relaxed<std::uint8_t>(at) ^ bits));
}

}  // namespace

std::vector<HostileServer::Lie> HostileServer::lies() {
  std::vector<Lie> all;
  const auto add = [&all](Kind kind, const auto& lies) {
    for (const auto& lie : lies)
      all.push_back({.kind = kind, .name = lie.name});
  };
  add(Kind::kOpening, opening_lies());
  add(Kind::kRunning, ring_lies());
  add(Kind::kRunning, running_lies());
  add(Kind::kReset, reset_lies());
  for (const std::string_view name : kLasting)
    all.push_back({.kind = Kind::kLasting, .name = name});
  return all;
}

HostileServer::HostileServer(const Options& options) : device_(device_options(options)) {
  FakeDisk& disk = device_.disk;
  disk.held = true;
  disk.bytes.resize(options.disk_bytes);
  disk.config.capacity.set(options.disk_bytes / spec::VIRTIO_BLK_SECTOR_BYTES);
  disk.config.blk_size.set(spec::VIRTIO_BLK_SECTOR_BYTES);
  disk.own_features = spec::feature(spec::VIRTIO_BLK_F_FLUSH) |
                      spec::feature(spec::VIRTIO_BLK_F_BLK_SIZE) |
                      spec::feature(spec::VIRTIO_BLK_F_TOPOLOGY) | options.ring_features;
  hostile_.serve_from_the_ring();
}

bool HostileServer::tell(Kind kind, std::string_view name) {
  be_honest();
  const auto known = lies();
  const auto same = [&](const Lie& lie) { return lie.kind == kind && lie.name == name; };
  if (std::ranges::none_of(known, same)) return false;
  switch (kind) {
    case Kind::kOpening:
      find_lie(opening_lies(), name).tell(hostile_);
      told_ = true;
      break;
    case Kind::kReset:
      find_lie(reset_lies(), name).tell(hostile_);
      told_ = true;
      break;
    case Kind::kRunning:
      armed_ = [this, name] {
        const auto ring_lie = std::ranges::find(ring_lies(), name, &RingLie::name);
        if (ring_lie != ring_lies().end()) return ring_lie->tell(hostile_.ring());
        find_lie(running_lies(), name).tell(hostile_);
      };
      break;
    case Kind::kLasting:
      armed_ = [this, name] { start_lasting(name); };
      break;
  }
  return true;
}

void HostileServer::be_honest() {
  at_work_ = {};
  armed_ = {};
  lies_ = {};
  told_ = silent_ = false;
  interrupts_ = true;
}

void HostileServer::pump() {
  if (!device_.disk.running()) return;
  if (starts_ != device_.disk.starts()) hostile_.forget_ring();
  starts_ = device_.disk.starts();
  HostileRing& ring = hostile_.ring();
  const std::size_t open = ring.open().size();
  if (silent_ || open == 0) return;
  if (armed_ && open == 1 && ++waited_ < kPumpsForASecondRequest) return;
  waited_ = 0;
  if (armed_ && open > 1) {
    std::exchange(armed_, {})();
    told_ = true;
    return hostile_.interrupt();
  }
  ring.answer(open);
  if (interrupts_) device_.device().interrupt_queue(0);
}

void HostileServer::start_lasting(std::string_view name) {
  if (name == kSilence) silent_ = true;
  if (name == kNoInterrupts) interrupts_ = false;
  if (name == kInterruptsForEver) keep_at([this] { hostile_.interrupt(); });
  if (name == kRingFlipsForEver) flip(hostile_.ring().areas());
  if (name == kRegionFlipsForEver) flip({device_.window.region()});
}

void HostileServer::flip(std::vector<shm::SharedBytes> memory) {
  keep_at([memory = std::move(memory), random = std::minstd_rand()]() mutable {
    for (std::size_t i = 0; i < kFlipsAtOnce; i++)
      flip_something(memory[i % memory.size()], random);
  });
}

void HostileServer::keep_at(std::function<void()> work) {
  at_work_ = std::jthread([work = std::move(work)](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      work();
      // tidy: allow sleep because it waits for nothing: it sets the pace
      std::this_thread::sleep_for(kLeaveToOthers);
    }
  });
}

}  // namespace airlock::testing
