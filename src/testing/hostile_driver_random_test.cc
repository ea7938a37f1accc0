// SPDX-License-Identifier: Apache-2.0
//
// Goal: combinations that nobody thought of. Method: a fixed seed picks what a driver does next,
// and with which numbers, mostly ones that mean something; after some steps the device is still
// there, and at the end a reset revives it.
#include <random>

#include "spec/pci.h"
#include "spec/virtio.h"
#include "testing/hostile_driver_case.h"

namespace airlock::testing {
namespace {

using vfio_user::Bytes;
using vfio_user::bytes_of;

constexpr std::uint32_t kSteps = 2000 / kRoundsDivisor;
constexpr std::uint32_t kStepsBetweenLooks = 100;
constexpr std::uint16_t kSize = HostileDriver::kQueueSize;

/// A driver that rolls dice.
class RandomDriver {
 public:
  RandomDriver(HostileDriver& driver, std::uint32_t seed) : d_(driver), dice_(seed) {}

  void step() {
    using Step = void (RandomDriver::*)();
    static constexpr Step kAll[] = {
        &RandomDriver::honest_request, &RandomDriver::honest_request,  &RandomDriver::descriptor,
        &RandomDriver::descriptor,     &RandomDriver::descriptor,      &RandomDriver::header,
        &RandomDriver::offer,          &RandomDriver::offer,           &RandomDriver::jump,
        &RandomDriver::table,          &RandomDriver::notification,    &RandomDriver::common,
        &RandomDriver::common,         &RandomDriver::queue_registers, &RandomDriver::status,
        &RandomDriver::config_space,   &RandomDriver::any_access,      &RandomDriver::any_message,
        &RandomDriver::interrupts,     &RandomDriver::memory,          &RandomDriver::ring_memory,
        &RandomDriver::gate,           &RandomDriver::device_reset,    &RandomDriver::bring_up};
    (this->*kAll[below(std::size(kAll))])();
  }

  /// Whether the device answers still; if the connection has ended, a new one does.
  void look() {
    d_.target().gate().open();
    static_cast<void>(d_.status());
    if (!d_.last_reply()) d_.reconnect();
    if (below(2) == 0) d_.start();
  }

 private:
  std::uint32_t below(std::uint64_t limit) {
    return static_cast<std::uint32_t>(
        std::uniform_int_distribution<std::uint64_t>(0, limit - 1)(dice_));
  }
  std::uint16_t queue() { return static_cast<std::uint16_t>(below(d_.queues())); }

  /// A number at the edge of something.
  std::uint64_t number() {
    constexpr std::array<std::uint64_t, 14> kEdges{
        0,      1,         2,      4,           16,          512,
        0x7fff, 0xffff,    0x8000, 0x7fff'ffff, 0xffff'ffff, 0x7fff'ffff'ffff'ffff,
        ~0ULL,  1ULL << 55};
    const std::uint64_t edge = kEdges[below(kEdges.size())];
    switch (below(4)) {
      case 0:
        return edge + 1;
      case 1:
        return edge - 1;
      case 2:
        return dice_();
      default:
        return edge;
    }
  }
  std::uint64_t place() {
    if (below(4) == 0) return number();
    if (below(8) == 0) return HostileDriver::kBarAddress + HostileDriver::kMemoryBytes - below(600);
    return d_.address(HostileDriver::kData + below(HostileDriver::kDataBytes));
  }
  std::uint16_t flags() { return static_cast<std::uint16_t>(below(16) == 0 ? number() : below(4)); }
  std::uint16_t index() {
    return static_cast<std::uint16_t>(below(8) == 0 ? number() : below(kSize));
  }
  std::uint32_t length() {
    return static_cast<std::uint32_t>(below(3) == 0 ? number()
                                                    : std::uint64_t{512} * (1 + below(8)));
  }
  /// Not the sectors that belong to the canary, whatever wraps.
  std::uint64_t sector() { return below(3) == 0 ? number() | 1ULL << 40 : below(512); }
  unsigned width() { return std::array{1U, 2U, 4U, 8U}[below(4)]; }

  void honest_request() {
    if (!is_disk()) return d_.submit(d_.chain());
    d_.submit_request(queue(), spec::VIRTIO_BLK_T_IN, below(512), 512 * (1 + below(4)));
  }
  [[nodiscard]] bool is_disk() const { return d_.target().options().attacked == Attacked::kBlk; }
  void descriptor() {
    d_.put(queue(), below(kSize),
           {.address = place(), .length = length(), .flags = flags(), .next = index()});
  }
  void header() {
    if (!is_disk()) {
      d_.memory().store_relaxed<Le32>(HostileDriver::kHeader + 4U * below(11),
                                      Le32(static_cast<std::uint32_t>(number())));
      return;
    }
    constexpr std::array kTypes{0U, 1U, 4U, 8U, 10U, 11U, 13U, 14U, 0xffff'ffffU};
    static_cast<void>(d_.header(kTypes[below(kTypes.size())], sector()));
    static_cast<void>(d_.status_byte());
  }
  void offer() { d_.offer(queue(), index()); }
  void jump() {
    d_.jump(queue(), static_cast<std::uint16_t>(below(4) == 0 ? number() : below(kSize + 1)));
  }
  void table() {
    std::vector<airlock_descriptor> chain{is_disk() ? d_.header(below(2), sector()) : d_.single()};
    while (chain.size() < 1 + below(20))
      chain.push_back({.address = place(), .length = length(), .flags = flags(), .next = index()});
    chain.push_back(d_.status_byte());
    airlock_descriptor named = d_.table(chain);
    if (below(4) == 0) named.length = length();
    d_.submit(queue(), {named});
  }
  void notification() {
    d_.write(pci::kRegistersBar, pci::kNotifyOffset + below(64), number(), width());
  }
  void common() { d_.common(below(0x48), number(), width()); }
  void queue_registers() {
    const std::uint16_t which = queue();
    auto registers = d_.queue_registers(which);
    if (below(2) == 0) registers.size = static_cast<std::uint16_t>(number());
    if (below(2) == 0) registers.descriptors = place();
    if (below(2) == 0) registers.driver = place();
    if (below(2) == 0) registers.device = place();
    d_.describe_queue(which, registers);
    d_.enable_queue(which);
  }
  void status() { d_.set_status(static_cast<std::uint8_t>(number())); }
  void config_space() { d_.write(pci::kConfigRegion, below(256), number(), width()); }
  void any_access() {
    const std::uint32_t region = below(10);
    if (below(2) == 0) {
      static_cast<void>(d_.read(region, below(0x4000), 1 + below(64)));
    } else {
      d_.write(region, below(2) == 0 ? number() : below(0x4000), number(), width());
    }
  }
  // Payloads of some size, mostly the right one; never a header that lies about it: the connection
  // would be gone at once, and all is about what a connection can do.
  void any_message() {
    constexpr std::array<std::size_t, 6> kSizes{0, 4, 16, 20, 24, 32};
    Bytes payload(kSizes[below(kSizes.size())]);
    for (std::byte& byte : payload)
      byte = static_cast<std::byte>(below(3) == 0 ? dice_() : below(33));
    d_.exchange(static_cast<std::uint16_t>(below(20)), payload,
                vfio_user::some_eventfds(below(4) == 0 ? below(12) : 0));
  }
  void interrupts() {
    d_.exchange(spec::VFIO_USER_DEVICE_SET_IRQS,
                bytes_of(spec::VfioUserIrqSet{.argsz = 20,
                                              .flags = below(2) == 0 ? 0x24U : 0x21U,
                                              .index = spec::VFIO_PCI_MSIX_IRQ_INDEX,
                                              .start = below(4),
                                              .count = below(4)}),
                vfio_user::some_eventfds(below(3)));
  }
  void memory() {
    std::vector<std::byte> noise(64);
    for (std::byte& byte : noise)
      byte = static_cast<std::byte>(dice_());
    d_.memory().copy_in(HostileDriver::kData + below(HostileDriver::kDataBytes - noise.size()),
                        noise);
  }
  void ring_memory() {
    const std::uint64_t all = HostileDriver::kRingBytes * d_.queues();
    d_.memory().store_relaxed<Le16>(HostileDriver::kRings + std::uint64_t{below(all / 2)} * 2,
                                    Le16(static_cast<std::uint16_t>(number())));
  }
  // Messages that wait for the device to be done wait for the gate: not for long.
  void gate() {
    d_.target().gate().shut();
    honest_request();
    d_.set_status(static_cast<std::uint8_t>(below(2) * 0xf));
    d_.target().gate().open();
  }
  void device_reset() { d_.exchange(spec::VFIO_USER_DEVICE_RESET, {}); }
  void bring_up() { d_.start(); }

  HostileDriver& d_;
  std::mt19937_64 dice_;
};

class Random : public HostileDriverTest {
 protected:
  void roll(std::uint32_t seed, const AttackTarget::Options& options, const HostileManner& manner) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    attach(options, manner);
    driver().put_canary();
    RandomDriver random(driver(), seed);
    for (std::uint32_t step = 1; step <= kSteps; ++step) {
      random.step();
      if (step % kStepsBetweenLooks == 0) random.look();
    }
    driver().target().gate().open();
    revive();
    const auto stats = driver().target().stats();
    EXPECT_GT(stats.violations, 0U) << "the dice broke nothing";
    EXPECT_GT(stats.queues.interrupts, 0U) << "the dice did nothing";
    EXPECT_LE(take_log().size(), kSteps / 10) << "a line or so for each kind of event";
  }
};

constexpr std::uint64_t kRingFeatures =
    spec::feature(spec::VIRTIO_F_INDIRECT_DESC) | spec::feature(spec::VIRTIO_F_EVENT_IDX) |
    spec::feature(spec::VIRTIO_F_IN_ORDER) | spec::feature(spec::VIRTIO_F_RING_RESET);

TEST_F(Random, PlainSplitRings) {
  for (std::uint32_t seed = 1; seed <= 4; ++seed)
    roll(seed, {}, {});
}

TEST_F(Random, EveryFeatureOfRings) {
  for (std::uint32_t seed = 11; seed <= 14; ++seed)
    roll(seed, {.ring_features = kRingFeatures}, {.accept = kRingFeatures});
}

TEST_F(Random, Offsets) {
  for (std::uint32_t seed = 21; seed <= 23; ++seed)
    roll(seed, {.offer = pci::AddressOffer::kOffset}, {});
}

TEST_F(Random, EveryType) {
  for (const Attacked attacked :
       {Attacked::kNetTransmit, Attacked::kNetReceive, Attacked::kVsockTransmit,
        Attacked::kConsoleTransmit, Attacked::kConsoleControlTransmit, Attacked::kRng}) {
    for (std::uint32_t seed = 41; seed <= 42; ++seed) {
      roll(seed, {.attacked = attacked}, {});
      roll(seed + 2,
           {.offer = pci::AddressOffer::kOffset,
            .ring_features = kRingFeatures,
            .attacked = attacked},
           {.accept = kRingFeatures});
    }
  }
}

TEST_F(Random, GuestMemory) {
  for (std::uint32_t seed = 31; seed <= 33; ++seed)
    roll(seed, {.policy = pci::DmaPolicy::kPrefer}, {.in_guest_memory = true});
}

}  // namespace
}  // namespace airlock::testing
