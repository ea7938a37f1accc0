// SPDX-License-Identifier: Apache-2.0
#include "pci/negotiation.h"

#include <utility>

namespace airlock::pci {

namespace {

constexpr std::uint64_t kFeatureBits = 64;

constexpr std::uint64_t bits(unsigned first, unsigned last) {
  std::uint64_t mask = 0;
  for (unsigned bit = first; bit <= last; ++bit) {
    mask |= spec::feature(bit);
  }
  return mask;
}

// What a device type may offer by itself: its own bits, and the rings' formats. Bit 27 is in no
// such set, whatever a back end reports: there it means ANY_LAYOUT (DEF-2).
constexpr std::uint64_t kModelFeatures =
    bits(0, 23) | bits(50, 63) | spec::feature(spec::VIRTIO_F_INDIRECT_DESC) |
    spec::feature(spec::VIRTIO_F_EVENT_IDX) | spec::feature(spec::VIRTIO_F_RING_PACKED) |
    spec::feature(spec::VIRTIO_F_IN_ORDER);

// Where the region's bit may be: not among the types' bits, nor where VIRTIO 1.3 has a meaning.
constexpr std::uint64_t kFreeBits = bits(24, 27) | bits(30, 31) | bits(42, 49);

bool is_free(unsigned bit) {
  return bit < kFeatureBits && (kFreeBits & spec::feature(bit)) != 0;
}

std::unexpected<Error> refuse(Refusal why) {
  return fail({.code = Errc::kFeaturesRefused, .detail = std::to_underlying(why)});
}

}  // namespace

Result<Negotiation> Negotiation::create(const NegotiationOptions& options) {
  const Negotiation made(options);
  if (!is_free(made.region_bit())) {
    return fail({.code = Errc::kUnsupported, .detail = made.region_bit()});
  }
  if (made.encrypts() &&
      (!is_free(options.encryption_bit) || options.encryption_bit == made.region_bit())) {
    return fail({.code = Errc::kUnsupported, .detail = options.encryption_bit});
  }
  return made;
}

unsigned Negotiation::region_bit() const {
  return options_.offer == AddressOffer::kBus ? options_.swiotlb_bit : options_.dmb_bit;
}

std::uint64_t Negotiation::offered(std::uint64_t model_features) const {
  // ACCESS_PLATFORM whatever the policy: this device reaches the region, or what a VMM shared, and
  // never simply "physical memory" (BASE-4). For VIRTIO_F_DMB it is also a MUST (DMB-D2).
  const std::uint64_t always =
      spec::feature(spec::VIRTIO_F_VERSION_1) | spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM);
  const std::uint64_t region = shows_region() ? spec::feature(region_bit()) : 0;
  const std::uint64_t transport = options_.transport_features & kTransportFeatures;
  const std::uint64_t encryption = encrypts() ? spec::feature(options_.encryption_bit) : 0;
  return (model_features & kModelFeatures) | transport | always | region | encryption;
}

Result<Negotiated> Negotiation::judge(std::uint64_t accepted, std::uint64_t offered) const {
  // First, since nothing else means what it says without it: bit 27 is ANY_LAYOUT there (DEF-2).
  if ((accepted & spec::feature(spec::VIRTIO_F_VERSION_1)) == 0)
    return refuse(Refusal::kNoVersion1);
  if ((accepted & ~offered) != 0) return refuse(Refusal::kNotOffered);
  if (encrypts() && (accepted & spec::feature(options_.encryption_bit)) == 0) {
    return refuse(Refusal::kNoEncryption);
  }

  const bool region = shows_region() && (accepted & spec::feature(region_bit())) != 0;
  if (!region) {
    if (options_.policy == DmaPolicy::kRequire) return refuse(Refusal::kNoRegion);
    // Outside the region there are only bus addresses, whatever was on offer.
    return Negotiated{.features = accepted,
                      .mode = window::AddressMode::kBus,
                      .reach = window::Reach::kRegionAndGuest};
  }
  if (options_.offer == AddressOffer::kBus) {
    // Without ACCESS_PLATFORM too: addresses in the region count as on the device, so that bit says
    // nothing about them (GEN-N1), and a guest driver may do without it.
    return Negotiated{
        .features = accepted, .mode = window::AddressMode::kBus, .reach = window::Reach::kRegion};
  }
  if ((accepted & spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM)) == 0) {
    return refuse(Refusal::kNoAccessPlatform);
  }
  return Negotiated{
      .features = accepted, .mode = window::AddressMode::kOffset, .reach = window::Reach::kRegion};
}

}  // namespace airlock::pci
