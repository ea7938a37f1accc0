// SPDX-License-Identifier: Apache-2.0
//
// The driver's view of one virtio device on PCI, whatever its type: found, negotiated, confined to
// its region. VIRTIO 1.3, 3.1.1; REQUIREMENTS 1.1, 1.2, 1.6, 1.9.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/event_fd.h"
#include "crypt/algorithm.h"
#include "driver/common_registers.h"
#include "driver/queue.h"
#include "driver/shared_pool.h"
#include "driver/transport.h"
#include "pool/pool.h"
#include "spec/queue_encryption.h"
#include "spec/virtio.h"

namespace airlock::driver {

/// By what the region was found.
enum class RegionSource : std::uint8_t {
  kSwiotlb,     // VIRTIO_F_SWIOTLB accepted, capability 10, bus addresses
  kDmb,         // VIRTIO_F_DMB accepted, shared memory, offsets
  kCapability,  // capability 10 alone: a hint, which this driver takes as an order (PCI-DR1)
};

/// What was agreed with the device.
struct Negotiation {
  std::uint64_t offered = 0;  // the snapshot that everything was decided by (HD-16)
  std::uint64_t accepted = 0;
  RegionSource source = RegionSource::kSwiotlb;
  pci::BarRange region;
  std::uint64_t bus_address = 0;
  std::uint16_t queue_count = 0;

  friend bool operator==(const Negotiation&, const Negotiation&) = default;
};

/// What this driver can do with its queues; of these, each that a caller allows is accepted if
/// offered.
inline constexpr std::uint64_t kRingFeatures = ring::Features::kMask |
                                               spec::feature(spec::VIRTIO_F_NOTIFICATION_DATA) |
                                               spec::feature(spec::VIRTIO_F_RING_RESET);
/// Those that it asks for unless told otherwise: not IN_ORDER, under which one slow request holds
/// back the completions of all that were submitted after it; not NOTIFICATION_DATA, which a
/// doorbell does not carry (PciTransport::prepare_notifications).
inline constexpr std::uint64_t kRingFeaturesByDefault =
    kRingFeatures &
    ~(spec::feature(spec::VIRTIO_F_IN_ORDER) | spec::feature(spec::VIRTIO_F_NOTIFICATION_DATA));

/// What a caller wants of a queue.
struct QueueShape {
  std::uint32_t size_max = 256;     // slots at most; of a split ring a power of two
  std::uint16_t table_entries = 0;  // of a slot's indirect table, where those were agreed upon
};

/// A device that passed every check, and its pool. This driver uses the region or nothing: a device
/// without one is refused, never given memory of ours (DEF-3, GEN-DR2, PCI-DR2).
///
/// The first lie sets FAILED and is kept in broken(); after it only quiesce() and revive() help.
/// Any thread may call check(), fail_device() and broken(); everything else is for one at a time,
/// and the queues and the pool have rules of their own.
class VirtioDevice {
 public:
  struct Options {
    std::uint16_t device_type = 0;  // VIRTIO_ID_*
    /// Features of the type that the caller can work with; each is accepted if offered.
    std::uint64_t features = 0;
    std::uint64_t ring_features = kRingFeaturesByDefault;  // of kRingFeatures
    /// Each request that fits one has an indirect table; else those while the ring is not half full
    /// do without (IndirectTables::spare). With a table it takes one slot always.
    bool always_tables = false;
    window::AddressMode prefer = window::AddressMode::kBus;  // where a device offers both
    unsigned swiotlb_bit = spec::VIRTIO_F_SWIOTLB;           // provisional numbers (DEF-2)
    unsigned dmb_bit = spec::VIRTIO_F_DMB;
    /// Queues are encrypted by this, or the device is not used (ENC-1); kNone: they are not.
    crypt::Algorithm encryption = crypt::Algorithm::kNone;
    unsigned encryption_bit = spec::VIRTIO_F_QUEUE_ENCRYPTION;  // provisional as well
    std::chrono::milliseconds timeout{3000};  // for each thing that the device must do
    /// At most: a small region has fewer, so that a large request still finds room in one. A disk
    /// has one for each of its queues.
    std::uint32_t pool_areas = 1;
    /// Of a larger region the rest goes unused: the pool's records (3 % of it) are our memory, and
    /// the region's size is the device's word. Whole pages.
    std::uint64_t max_region_bytes = std::uint64_t{1} << 30;
    pool::Scrub scrub = pool::Scrub::kOnUnmap;
    /// The region is one that other devices show as well, and the device uses share `share` of it;
    /// then pool_areas and scrub mean nothing. Null: it has its own.
    // NOLINTNEXTLINE(readability-redundant-member-init): for GCC, where it is left out
    std::shared_ptr<SharedPool> shared{};
    std::uint32_t share = 0;
  };

  /// Resets the device and negotiates with it; queues come next, then start().
  /// Errors: kNotVirtio (transitional ids too), kUnsupported (no VERSION_1), kNoEncryption,
  /// kNoRegion, kFeaturesRefused, kTimeout, kMalformed (a lie; detail: a register's or field's
  /// offset), those of the transport, find_capabilities(), Pool and SharedPool::join().
  static Result<std::unique_ptr<VirtioDevice>> open(std::unique_ptr<PciTransport> transport,
                                                    const Options& options);
  /// Resets the device, unless it was given up before it ran. Queues must be gone.
  ~VirtioDevice();
  VirtioDevice(const VirtioDevice&) = delete;
  VirtioDevice& operator=(const VirtioDevice&) = delete;

  [[nodiscard]] const Negotiation& negotiation() const { return negotiation_; }
  [[nodiscard]] bool has(unsigned feature_bit) const {
    return (negotiation_.accepted & spec::feature(feature_bit)) != 0;
  }
  /// Whether queues are encrypted: then nothing that is to stay secret belongs into the region.
  [[nodiscard]] bool encrypts() const {
    return options_.encryption != crypt::Algorithm::kNone &&
           options_.encryption != crypt::Algorithm::kNull;
  }
  [[nodiscard]] pool::Pool& pool() { return *pool_; }
  [[nodiscard]] PciTransport& transport() { return *transport_; }
  [[nodiscard]] std::uint16_t queue_count() const { return negotiation_.queue_count; }
  /// Vectors in use: 0, or one for the configuration and one for each queue that was asked for.
  [[nodiscard]] std::uint16_t vectors() const { return vectors_; }

  /// Reads the device configuration once, as fields of these widths one after the other (4 for each
  /// half of a 64-bit one), under the generation counter: a snapshot, or kTimeout when the device
  /// keeps changing it (HD-12). What the device does not have is zero; returns the bytes it has.
  /// VIRTIO 1.3, 4.1.3.1, 4.1.4.3.1.
  Result<std::size_t> read_device_config(std::span<std::byte> target,
                                         std::span<const std::uint8_t> widths);

  /// Writes one field of the device configuration. Errors: kOutOfRange (the device has none there),
  /// those of the transport. VIRTIO 1.3, 4.1.3.1.
  Result<void> write_device_config(std::uint32_t offset, Width width, std::uint64_t value);

  /// Switches interrupts on, where there are vectors for the configuration and `queues` queues;
  /// without, the device is polled. Errors: those of the transport.
  Result<void> enable_interrupts(std::uint16_t queues);

  /// Makes queue `index`, in memory of the pool: before start(), or after reset_queue().
  /// Errors: kBadIndex, kBadQueueSize (HD-14), kOutOfRange (notify address outside its BAR),
  /// kMalformed (a register does not keep what was written), kPoolFull. In a device that runs the
  /// queue is in use from now on: it is not to go away before the device, or the queue, was reset.
  Result<std::unique_ptr<Queue>> create_queue(std::uint16_t index, const QueueShape& shape);

  /// Resets queue `index` alone, and waits for it (HD-19): after this no buffer of its is the
  /// device's any more, and it may be made again. Its Queue goes before that. Other queues may be
  /// in use meanwhile. Errors: kUnsupported (VIRTIO_F_RING_RESET was not agreed upon), kBadIndex,
  /// kTimeout, kMalformed (the queue is still enabled), those of the transport; all but the first
  /// two break the device. VIRTIO 1.3, 2.6.1.1.2, 4.1.4.3.2.
  Result<void> reset_queue(std::uint16_t index);

  /// Sets DRIVER_OK: the device goes. Errors: kNeedsReset, those of the transport.
  Result<void> start();

  /// Whether the device still works: reads the status. Errors: kNeedsReset, kPeerClosed (gone),
  /// kWrongState (it lost DRIVER_OK by itself), those of the transport, the first error of a broken
  /// device. Each breaks it.
  Result<void> check();

  /// Sets FAILED, best effort, and remembers why, the first time. Returns the error for handing on.
  std::unexpected<Error> fail_device(const Error& error);
  /// Why the device is not to be used, if it isn't.
  [[nodiscard]] std::optional<Error> broken() const;
  /// Readable as long as broken() says something: whichever thread found it out, all that sleep
  /// over queues of their own are to hear of it. Nobody drains it.
  [[nodiscard]] int broken_fd() const { return broken_event_.fd(); }

  /// Resets the device (waiting for it, HD-19) and leaves it so. After this no buffer is the
  /// device's any more. Errors: kTimeout, those of the transport.
  Result<void> quiesce();
  /// Revives a device after quiesce(): negotiates again. The region, and what is offered, must be
  /// what they were (HD-16, HD-25). Queues are made anew then (DMB-DR6).
  /// Errors: as open(); kMalformed if the device changed.
  Result<void> revive();

 private:
  VirtioDevice(std::unique_ptr<PciTransport> transport, const Options& options,
               pci::VirtioPciCapabilities capabilities, const CommonRegisters& common,
               const pci::BarRange& notify, EventFd broken_event)
      : transport_(std::move(transport)),
        options_(options),
        capabilities_(std::move(capabilities)),
        common_(common),
        notify_(notify),
        broken_event_(std::move(broken_event)) {}

  Result<Negotiation> negotiate();
  Result<void> reset_status();
  Result<void> add_status(std::uint8_t bits);
  void set_broken(const std::optional<Error>& error);
  [[nodiscard]] std::uint8_t written_status() const;
  [[nodiscard]] Result<RegionSource> choose_source(std::uint64_t offered) const;
  [[nodiscard]] Result<void> check_encryption(std::uint64_t offered) const;
  Result<std::unique_ptr<crypt::QueueCipher>> encrypt_queue(std::uint16_t index);
  [[nodiscard]] std::uint64_t choose_features(std::uint64_t offered, RegionSource source) const;
  Result<pci::BarRange> locate_region(RegionSource source);
  Result<void> map_region();
  Result<std::unique_ptr<Queue>> set_up_queue(std::uint16_t index, const QueueShape& shape);
  Result<void> enable_queue(std::uint16_t index);
  Result<std::uint16_t> agree_on_vector(std::uint16_t index);
  Result<void> await_queue_reset(std::uint16_t index);
  Result<ring::QueueSize> agree_on_size(std::uint16_t index, std::uint32_t max_size);
  Result<Register> notify_register(std::uint16_t index);
  [[nodiscard]] window::Publisher publisher() const;
  Result<bool> try_read_config(const pci::BarRange& place, std::span<std::byte> target,
                               std::span<const std::uint8_t> widths);

  std::unique_ptr<PciTransport> transport_;
  Options options_;
  pci::VirtioPciCapabilities capabilities_;
  CommonRegisters common_;
  pci::BarRange notify_;
  std::uint16_t vectors_ = 0;
  bool started_ = false;  // ever
  Negotiation negotiation_;
  MappedRegion region_;  // without a mapping where it is shared
  std::unique_ptr<pool::Pool> own_pool_;
  pool::Pool* pool_ = nullptr;  // own_pool_, or a share's
  // Enabled, but not agreed upon in the end: the device may use their memory until it is reset.
  std::vector<std::unique_ptr<Queue>> lost_;

  EventFd broken_event_;
  std::atomic<bool> is_broken_{false};  // whether broken_ is set, for the hot path
  mutable std::mutex state_lock_;       // for what follows
  std::uint8_t status_ = 0;             // what we wrote last
  std::optional<Error> broken_;
};

}  // namespace airlock::driver
