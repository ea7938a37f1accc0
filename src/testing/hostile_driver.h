// SPDX-License-Identifier: Apache-2.0
//
// A driver that does what it likes to a device, without a VM: vfio-user messages over a UNIX
// socket, registers in any order and width, rings written by hand in the region that it mapped.
// Nothing is checked on its way; what comes back is told as it is.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/event_fd.h"
#include "core/descriptor.h"
#include "ring/layout.h"
#include "ring/split_areas.h"
#include "shm/sealed_memfd.h"
#include "spec/virtio_blk.h"
#include "spec/virtio_pci.h"
#include "testing/hostile_driver_packed.h"
#include "testing/hostile_driver_target.h"
#include "wire/raw_peer.h"

namespace airlock::testing {

/// How a driver presents itself. The features of an honest one are added.
struct HostileManner {
  std::uint64_t accept = 0;      // more features, as a mask
  std::uint64_t decline = 0;     // features that an honest one accepts
  bool in_guest_memory = false;  // declines the region: rings and buffers in memory that it shares
};

/// One thread, but for the memory: any thread may write that. A wait in vain, or a device that does
/// not do what an honest driver may ask, is a test failure; the next calls then do what they can.
class HostileDriver {
 public:
  static constexpr std::uint16_t kQueueSize = AttackTarget::kQueueSize;
  static constexpr std::uint64_t kMemoryBytes = AttackTarget::kRegionBytes;
  static constexpr std::uint64_t kBarAddress = 0x8'0000'0000;
  static constexpr std::uint64_t kGuestAddress = 0x1'0000'0000;
  static constexpr std::uint16_t kConfigVector = 0;
  static constexpr std::uint8_t kNoStatus = 0xee;  // what no device writes

  // Offsets in its memory. No honest chain names anything in the guards, which are at both ends.
  static constexpr std::uint64_t kGuardBytes = 4096;
  static constexpr std::uint64_t kRings = 0x1000;
  static constexpr std::uint64_t kRingBytes = 0x1000;
  static constexpr std::uint64_t kHeader = 0x10000;
  static constexpr std::uint64_t kStatus = 0x11000;
  static constexpr std::uint64_t kTable = 0x12000;
  static constexpr std::uint64_t kData = 0x20000;
  static constexpr std::uint64_t kDataBytes = 0x10000;
  static constexpr std::uint64_t kProbe = 0x30000;  // of AttackSubject::works() and begin()
  static constexpr std::uint64_t kReceive = 0x40000;
  static constexpr std::uint32_t kReceiveBytes = 0x11000;

  /// Sectors that only the honest requests of canary() and works() touch.
  static constexpr std::uint64_t kCanarySector = 1024;
  static constexpr std::uint64_t kProbeSector = 1040;
  static constexpr std::uint32_t kProbeBytes = 1024;

  /// Registers of the common configuration, by offset.
  struct Common {
    using Cfg = spec::VirtioPciCommonCfg;
    static constexpr std::uint32_t kDeviceFeatureSelect = offsetof(Cfg, device_feature_select);
    static constexpr std::uint32_t kDeviceFeature = offsetof(Cfg, device_feature);
    static constexpr std::uint32_t kDriverFeatureSelect = offsetof(Cfg, driver_feature_select);
    static constexpr std::uint32_t kDriverFeature = offsetof(Cfg, driver_feature);
    static constexpr std::uint32_t kConfigVector = offsetof(Cfg, config_msix_vector);
    static constexpr std::uint32_t kStatus = offsetof(Cfg, device_status);
    static constexpr std::uint32_t kQueueSelect = offsetof(Cfg, queue_select);
    static constexpr std::uint32_t kQueueSize = offsetof(Cfg, queue_size);
    static constexpr std::uint32_t kQueueVector = offsetof(Cfg, queue_msix_vector);
    static constexpr std::uint32_t kQueueEnable = offsetof(Cfg, queue_enable);
    static constexpr std::uint32_t kQueueDesc = offsetof(Cfg, queue_desc);
    static constexpr std::uint32_t kQueueDriver = offsetof(Cfg, queue_driver);
    static constexpr std::uint32_t kQueueDevice = offsetof(Cfg, queue_device);
    static constexpr std::uint32_t kQueueReset = offsetof(Cfg, queue_reset);
  };

  /// As a driver writes them to the registers.
  struct QueueRegisters {
    std::uint16_t size = kQueueSize;
    std::uint16_t vector = 0;
    std::uint64_t descriptors = 0;
    std::uint64_t driver = 0;
    std::uint64_t device = 0;
  };

  /// Connects: agrees on the version, maps the region, places the BARs, gives each vector an
  /// eventfd. `target` outlives it.
  HostileDriver(AttackTarget& target, const HostileManner& manner);

  [[nodiscard]] AttackTarget& target() { return target_; }
  /// Queues of the device; the one that is attacked; its vectors, of which the first is for changes
  /// of the configuration.
  [[nodiscard]] std::uint16_t queues() const { return static_cast<std::uint16_t>(rings_.size()); }
  [[nodiscard]] std::uint16_t queue() const { return target_.subject().queue(); }
  [[nodiscard]] std::uint16_t vectors() const { return static_cast<std::uint16_t>(queues() + 1); }
  /// Whether packed rings were agreed upon. What the rings below say of heads, entries and avail is
  /// of split rings.
  [[nodiscard]] bool packed() const;
  /// A new connection in place of the old one, set up as the first.
  void reconnect();
  /// Gives the device again what it has from this driver: eventfds, the BARs' places, memory.
  void renew();

  // --- messages ---

  [[nodiscard]] vfio_user::RawPeer& peer() { return peer_; }
  /// A message, and its reply, kept as last_reply(). Nothing if the connection ends instead.
  const std::optional<vfio_user::Message>& exchange(std::uint16_t command,
                                                    const vfio_user::Bytes& payload,
                                                    const std::vector<Fd>& fds = {},
                                                    std::uint32_t flags = 0);
  /// Any bytes at all, and the next message that comes.
  const std::optional<vfio_user::Message>& exchange_bytes(const vfio_user::Bytes& bytes,
                                                          const std::vector<Fd>& fds = {});
  [[nodiscard]] const std::optional<vfio_user::Message>& last_reply() const { return reply_; }
  /// No reply is asked for, none comes.
  void post(std::uint16_t command, const vfio_user::Bytes& payload);

  // --- registers; the regions are the BARs, and pci::kConfigRegion ---

  void write(unsigned region, std::uint64_t offset, std::uint64_t value, unsigned width);
  /// Up to 8 bytes of what was read; all bits set if it is refused.
  [[nodiscard]] std::uint64_t read(unsigned region, std::uint64_t offset, unsigned width);
  void write_bytes(unsigned region, std::uint64_t offset, std::span<const std::byte> bytes);
  void common(std::uint32_t offset, std::uint64_t value, unsigned width) {
    write(pci::kRegistersBar, offset, value, width);
  }
  [[nodiscard]] std::uint64_t common(std::uint32_t offset, unsigned width) {
    return read(pci::kRegistersBar, offset, width);
  }
  void set_status(std::uint8_t status) { common(Common::kStatus, status, 1); }
  [[nodiscard]] std::uint8_t status() {
    return static_cast<std::uint8_t>(common(Common::kStatus, 1));
  }
  void notify(std::uint16_t queue);
  /// Writes all registers of a queue but queue_enable.
  void describe_queue(std::uint16_t queue, const QueueRegisters& registers);
  void enable_queue(std::uint16_t queue);

  // --- the honest way ---

  [[nodiscard]] std::uint64_t offered();
  [[nodiscard]] std::uint64_t features();  // that it accepts
  [[nodiscard]] QueueRegisters queue_registers(std::uint16_t queue) const;
  /// Writes 0 to the status and waits until it reads 0.
  void reset();
  /// From reset to FEATURES_OK; whether that stuck. `beyond`: feature bits 64 to 95.
  bool negotiate(std::uint64_t features, std::uint32_t beyond = 0);
  /// From reset to queues that run.
  void start();
  /// As AttackSubject has them.
  [[nodiscard]] bool works() { return target_.subject().works(*this); }
  void put_canary() { target_.subject().put_canary(*this); }
  [[nodiscard]] bool has_canary() { return target_.subject().has_canary(*this); }
  [[nodiscard]] std::vector<airlock_descriptor> chain() const {
    return target_.subject().chain(*this);
  }
  [[nodiscard]] airlock_descriptor single() const { return target_.subject().single(*this); }
  [[nodiscard]] bool guards_untouched() const;
  /// Whether the vector's eventfd was signalled since the last call.
  [[nodiscard]] bool take_interrupt(std::uint16_t vector) { return events_[vector].drain(); }
  /// An eventfd of the driver's own for `vector`, in place of the one that the device has.
  void install(std::uint16_t vector, int eventfd);

  // --- rings, by hand ---

  [[nodiscard]] shm::SharedBytes memory() const { return memory_.bytes(); }
  /// How the driver writes the address of a place in its memory.
  [[nodiscard]] std::uint64_t address(std::uint64_t offset) const;
  [[nodiscard]] airlock_descriptor readable(std::uint64_t offset, std::uint32_t length) const;
  [[nodiscard]] airlock_descriptor writable(std::uint64_t offset, std::uint32_t length) const;
  /// Puts a request's header into memory; the descriptor of it.
  [[nodiscard]] airlock_descriptor header(std::uint32_t type, std::uint64_t sector = 0) const;
  /// The status byte's descriptor; it is set to what no device writes.
  [[nodiscard]] airlock_descriptor status_byte() const;
  [[nodiscard]] std::uint8_t status_written() const;
  /// Puts descriptors into an indirect table, linked; the descriptor of it.
  [[nodiscard]] airlock_descriptor table(const std::vector<airlock_descriptor>& chain) const;

  void put(std::uint16_t queue, std::uint32_t index, const airlock_descriptor& descriptor) const;
  /// Puts the chain into the table from entry 0 on, linked; it is not available yet.
  void put_chain(std::uint16_t queue, const std::vector<airlock_descriptor>& chain) const;
  /// Makes `head` available, and tells nobody.
  void make_available(std::uint16_t queue, std::uint16_t head);
  /// Makes `head` available and notifies.
  void offer(std::uint16_t queue, std::uint16_t head);
  /// avail.idx as told, and a notification.
  void jump(std::uint16_t queue, std::uint16_t steps);
  /// Makes a chain available and notifies, whatever the rings are. Split: from entry 0 on.
  void submit(std::uint16_t queue, const std::vector<airlock_descriptor>& chain);
  /// The same on the queue that is attacked.
  void submit(const std::vector<airlock_descriptor>& chain) { submit(queue(), chain); }
  /// A whole request of a disk: header, data and status.
  void submit_request(std::uint16_t queue, std::uint32_t type, std::uint64_t sector,
                      std::uint32_t bytes);
  /// The next used element; nothing after a wait in vain. The device is nudged where it needs that.
  std::optional<ring::UsedElement> wait_used(std::uint16_t queue);
  /// Gives the device a buffer at kReceive; what it put there, nothing after a wait in vain.
  std::optional<std::vector<std::byte>> receive(std::uint16_t queue);
  [[nodiscard]] std::uint16_t used_index(std::uint16_t queue) const {
    return rings_[queue].used.acquire_index().value();
  }
  [[nodiscard]] const ring::AvailWriter& avail(std::uint16_t queue) const {
    return rings_[queue].avail;
  }
  [[nodiscard]] HostilePackedRing& packed_ring(std::uint16_t queue) { return rings_[queue].packed; }

 private:
  struct Ring {
    ring::DescriptorWriter descriptors{shm::SharedBytes()};
    ring::AvailWriter avail{shm::SharedBytes()};
    ring::UsedReader used{shm::SharedBytes()};
    std::uint16_t next_avail = 0;
    std::uint16_t next_used = 0;
    HostilePackedRing packed;
  };
  std::optional<ring::UsedElement> await_used(std::uint16_t queue);

  void greet();
  void connect_interrupts();
  void share_memory();
  void place_bars();
  [[nodiscard]] shm::SealedMemfd region_memfd();
  void lay_out_rings();
  std::optional<ring::UsedElement> take_used(std::uint16_t queue);
  [[nodiscard]] ring::Layout layout() const;

  AttackTarget& target_;
  HostileManner manner_;
  vfio_user::RawPeer peer_;
  std::uint16_t next_id_ = 1;
  std::optional<vfio_user::Message> reply_;
  std::vector<EventFd> events_;
  shm::SealedMemfd guest_;
  shm::Mapping memory_;
  std::vector<Ring> rings_;
  std::uint64_t accepted_ = 0;  // by the last negotiate()
};

}  // namespace airlock::testing
