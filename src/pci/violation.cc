// SPDX-License-Identifier: Apache-2.0
#include "pci/violation.h"

#include <utility>

#include <fmt/core.h>

namespace airlock::pci {

namespace {

using window::AddressMode;
using window::Reach;
using window::Window;

// Where the device may go, in the driver's own terms. The upper end is the first byte outside.
std::string region_range(const ViolationContext& context) {
  const Window& window = context.window;
  const std::uint64_t size = window.region().size();
  if (!context.negotiation.shows_region()) return "no region";
  if (context.negotiated.mode == AddressMode::kOffset) {
    return fmt::format("region: offsets 0x1 to {:#x}", size);
  }
  if (window.region_bus_base() == Window::kUnplaced) {
    return fmt::format("region: {:#x} bytes, nowhere on the bus", size);
  }
  const std::uint64_t base = std::to_underlying(window.region_bus_base());
  return fmt::format("region: {:#x} to {:#x}", base, base + size);
}

std::string reachable(const ViolationContext& context) {
  if (context.negotiated.reach != Reach::kRegionAndGuest) return region_range(context);
  return fmt::format("{}; guest memory shared: {:#x} bytes", region_range(context),
                     context.window.guest_memory().mapped_bytes());
}

std::string cause_in_region(std::uint64_t address, const ViolationContext& context) {
  if (context.negotiated.mode == AddressMode::kOffset) {
    if (address == 0) return "offset 0 stands for an address that was never set";
    return "the driver accepted VIRTIO_F_DMB and gave an address that is no offset in the region";
  }
  if (context.window.region_bus_base() == Window::kUnplaced) {
    return "the region's BAR has no address, or memory decoding is off";
  }
  if (context.negotiation.region_bit() == spec::VIRTIO_F_ANY_LAYOUT) {
    return "a driver without SWIOTLB support acknowledged bit 27 as the legacy ANY_LAYOUT, or the "
           "region's BAR moved";
  }
  return "the driver accepted VIRTIO_F_SWIOTLB and used guest memory all the same, or the region's "
         "BAR moved";
}

std::string likely_cause(const Error& error, const ViolationContext& context) {
  if (error.code == Errc::kNotAuthentic) return "nothing of it was used";
  switch (context.negotiated.reach) {
    case Reach::kNothing:
      if (context.negotiation.options().policy == DmaPolicy::kRequire) {
        return "the driver went on without FEATURES_OK: it has no SWIOTLB or DMB support, which "
               "--dma=require asks for";
      }
      return "the driver went on without FEATURES_OK";
    case Reach::kRegion:
      if (error.code != Errc::kAddressOutside) return "the driver broke a rule of virtio";
      return cause_in_region(error.address, context);
    case Reach::kRegionAndGuest:
      if (error.code != Errc::kAddressOutside) return "the driver broke a rule of virtio";
      return "the driver does without the region, and the VMM shared no memory there: it has to "
             "share the VM's memory (memory-backend-memfd,share=on)";
  }
  return {};
}

const char* refusal_text(Refusal why) {
  switch (why) {
    case Refusal::kNotOffered:
      return "it accepted what was not offered";
    case Refusal::kNoVersion1:
      return "it did not accept VIRTIO_F_VERSION_1: a legacy driver";
    case Refusal::kNoRegion:
      return "it declined the region: it has no SWIOTLB or DMB support, which --dma=require asks "
             "for";
    case Refusal::kNoAccessPlatform:
      return "it accepted VIRTIO_F_DMB without VIRTIO_F_ACCESS_PLATFORM";
    case Refusal::kByModel:
      return "its choice of features contradicts itself";
    case Refusal::kNoEncryption:
      return "it does not encrypt its queues, which --encrypt asks for";
  }
  return "?";
}

}  // namespace

std::string describe_violation(const Error& error, std::string_view what,
                               const ViolationContext& context) {
  return fmt::format("{}{}{} ({}): {}; the driver must reset the device", what,
                     what.empty() ? "" : ": ", describe(error), reachable(context),
                     likely_cause(error, context));
}

std::string describe_refusal(const Error& error, std::uint64_t accepted, std::uint64_t offered,
                             const Negotiation& negotiation) {
  const std::string region = negotiation.shows_region()
                                 ? fmt::format("the region is bit {}", negotiation.region_bit())
                                 : "no region";
  return fmt::format("FEATURES_OK withheld from a driver that accepted {:#x} of {:#x} ({}): {}",
                     accepted, offered, region, refusal_text(static_cast<Refusal>(error.detail)));
}

}  // namespace airlock::pci
