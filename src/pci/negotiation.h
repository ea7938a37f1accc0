// SPDX-License-Identifier: Apache-2.0
//
// Who may touch what: the device's offer, and its answer to what the driver accepted. The table of
// REQUIREMENTS 1.6 is in these two functions.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "pci/virtio_model.h"
#include "spec/queue_encryption.h"
#include "spec/virtio.h"

namespace airlock::pci {

/// What a device does with a driver that declines the region.
enum class DmaPolicy : std::uint8_t {
  kRequire,  // withholds FEATURES_OK: the region or nothing (GEN-DV1, DMB-D9)
  kPrefer,   // serves it over the guest memory that the VMM shared
  kOpen,     // never offers the region: an ordinary virtio device
};

/// Which draft a device speaks.
enum class AddressOffer : std::uint8_t {
  kBus,     // VIRTIO_F_SWIOTLB: capability 10, bus addresses
  kOffset,  // VIRTIO_F_DMB: a shared memory capability and dmb_shm_id, offsets
};

/// What the transport itself can do about queues, and offers unless told otherwise: whatever the
/// device type is. VIRTIO 1.3, 2.6.1, 2.9, 6.
inline constexpr std::uint64_t kTransportFeatures =
    spec::feature(spec::VIRTIO_F_NOTIFICATION_DATA) | spec::feature(spec::VIRTIO_F_RING_RESET);

struct NegotiationOptions {
  DmaPolicy policy = DmaPolicy::kRequire;
  AddressOffer offer = AddressOffer::kBus;
  /// Of kTransportFeatures, those on offer, as a mask; others are ignored.
  std::uint64_t transport_features = kTransportFeatures;
  /// The numbers of the drafts' features: provisional, so they can be moved (DEF-2).
  unsigned swiotlb_bit = spec::VIRTIO_F_SWIOTLB;
  unsigned dmb_bit = spec::VIRTIO_F_DMB;
  unsigned encryption_bit = spec::VIRTIO_F_QUEUE_ENCRYPTION;
  /// Queue buffer encryption by one of these (crypt::algorithm_bit()), or no service; 0: it is not
  /// on offer. ENC-1.
  std::uint32_t encryption = 0;
};

/// Why FEATURES_OK was withheld; Error::detail of kFeaturesRefused.
enum class Refusal : std::uint8_t {
  kNotOffered,        // accepted what was not offered
  kNoVersion1,        // a legacy driver
  kNoRegion,          // the policy is kRequire, and it declined
  kNoAccessPlatform,  // VIRTIO_F_DMB without ACCESS_PLATFORM (DMB-D2)
  kByModel,           // the device type can't do this choice
  kNoEncryption,      // it declined queue buffer encryption (ENC-1)
};

/// The rules of one device. Immutable; any thread.
class Negotiation {
 public:
  /// Errors: kUnsupported with a bit number that is not free for the region, or for encryption
  /// (detail: the number).
  static Result<Negotiation> create(const NegotiationOptions& options);

  /// What the device offers, with the features of a device type. BASE-3, GEN-DV2.
  [[nodiscard]] std::uint64_t offered(std::uint64_t model_features) const;
  /// What a driver that accepted `accepted` of `offered` gets.
  /// Errors: kFeaturesRefused (detail: a Refusal).
  [[nodiscard]] Result<Negotiated> judge(std::uint64_t accepted, std::uint64_t offered) const;

  [[nodiscard]] const NegotiationOptions& options() const { return options_; }
  [[nodiscard]] unsigned region_bit() const;
  /// Whether the device shows the region at all: its BAR, its capability and its bit go together.
  [[nodiscard]] bool shows_region() const { return options_.policy != DmaPolicy::kOpen; }
  /// Whether queues are encrypted: the capability, the registers and the bit go together. ENC-1.
  [[nodiscard]] bool encrypts() const { return options_.encryption != 0; }

 private:
  explicit Negotiation(const NegotiationOptions& options) : options_(options) {}
  NegotiationOptions options_;
};

}  // namespace airlock::pci
