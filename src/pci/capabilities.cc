// SPDX-License-Identifier: Apache-2.0
#include "pci/capabilities.h"

#include <algorithm>
#include <bitset>

#include "core/range.h"
#include "spec/queue_encryption.h"
#include "spec/virtio_pci.h"

namespace airlock::pci {

namespace {

constexpr std::uint64_t kWord = 4;

/// A struct of configuration space, read once.
template <class T>
Result<T> read_struct(ConfigReader& config, std::uint16_t offset) {
  T value{};
  TRY(config.read_config(offset, std::as_writable_bytes(std::span(&value, 1))));
  return value;
}

struct Link {
  std::uint8_t id;
  std::uint8_t next;
};

/// A vendor capability whose BAR range was checked.
struct Checked {
  std::uint8_t type = 0;
  std::uint8_t id = 0;
  BarRange place;
};

class Walk {
 public:
  Walk(ConfigReader& config, const BarSizes& bars) : config_(config), bars_(bars) {}

  Result<void> visit(std::uint8_t position, std::uint8_t id) {
    if (id == spec::PCI_CAP_ID_MSIX && !found_.msix) return visit_msix(position);
    if (id == spec::PCI_CAP_ID_VNDR) return visit_vendor(position);
    return {};
  }
  [[nodiscard]] VirtioPciCapabilities take() { return std::move(found_); }

 private:
  Result<void> visit_vendor(std::uint8_t position);
  Result<void> visit_msix(std::uint8_t position);
  Result<void> take_notify(std::uint8_t position, const spec::VirtioPciCap& cap,
                           const BarRange& place);
  Result<void> take_shared_memory(std::uint8_t position, const spec::VirtioPciCap& cap);
  void take_plain(const spec::VirtioPciCap& cap, const BarRange& place);
  [[nodiscard]] bool inside_bar(const BarRange& place) const;
  Result<void> pass_over() {
    ++found_.unusable;
    return {};
  }

  ConfigReader& config_;
  const BarSizes& bars_;
  VirtioPciCapabilities found_;
};

// HD-15: no sum that the device chose the parts of.
bool Walk::inside_bar(const BarRange& place) const {
  return place.bar < bars_.size() && place.length != 0 &&
         airlock_range_within(place.offset, place.length, bars_[place.bar]);
}

bool fits(std::uint8_t position, std::uint8_t cap_len, std::size_t needed) {
  return cap_len >= needed && airlock_range_within(position, cap_len, spec::PCI_CFG_SPACE_SIZE);
}

BarRange place_of(const spec::VirtioPciCap& cap) {
  return {.bar = cap.bar, .offset = cap.offset.get(), .length = cap.length.get()};
}

Result<void> Walk::visit_vendor(std::uint8_t position) {
  if (!airlock_range_within(position, sizeof(spec::VirtioPciCap), spec::PCI_CFG_SPACE_SIZE)) {
    return pass_over();
  }
  const auto cap = TRY(read_struct<spec::VirtioPciCap>(config_, position));
  if (!fits(position, cap.cap_len, sizeof cap)) return pass_over();
  switch (cap.cfg_type) {
    case spec::VIRTIO_PCI_CAP_PCI_CFG:
      // Its place is the driver's to write, so there is none to check.
      if (!fits(position, cap.cap_len, sizeof(spec::VirtioPciCfgCap))) return pass_over();
      if (!found_.pci_cfg) found_.pci_cfg = position;
      return {};
    case spec::VIRTIO_PCI_CAP_SHARED_MEMORY_CFG:
      return take_shared_memory(position, cap);
    case spec::VIRTIO_PCI_CAP_NOTIFY_CFG:
    case spec::VIRTIO_PCI_CAP_COMMON_CFG:
    case spec::VIRTIO_PCI_CAP_ISR_CFG:
    case spec::VIRTIO_PCI_CAP_DEVICE_CFG:
    case spec::VIRTIO_PCI_CAP_SWIOTLB:
    case spec::VIRTIO_PCI_CAP_ENCRYPTION_CFG:
      break;
    default:
      return {};  // reserved, or a vendor's own: not for this driver (BASE-1)
  }
  const BarRange place = place_of(cap);
  if (!inside_bar(place)) return pass_over();
  if (cap.cfg_type == spec::VIRTIO_PCI_CAP_NOTIFY_CFG) return take_notify(position, cap, place);
  take_plain(cap, place);
  return {};
}

void Walk::take_plain(const spec::VirtioPciCap& cap, const BarRange& place) {
  std::optional<BarRange>* slot = nullptr;
  bool usable = true;
  switch (cap.cfg_type) {
    case spec::VIRTIO_PCI_CAP_COMMON_CFG:
      slot = &found_.common;
      usable = place.length >= spec::VIRTIO_PCI_COMMON_CFG_MIN &&
               airlock_is_aligned(place.offset, kWord);
      break;
    case spec::VIRTIO_PCI_CAP_ISR_CFG:
      slot = &found_.isr;
      break;
    case spec::VIRTIO_PCI_CAP_DEVICE_CFG:
      slot = &found_.device;
      usable = airlock_is_aligned(place.offset, kWord);
      break;
    case spec::VIRTIO_PCI_CAP_ENCRYPTION_CFG:
      slot = &found_.encryption;
      usable = place.length >= sizeof(spec::VirtioPciEncryptionCfg) &&
               airlock_is_aligned(place.offset, kWord);
      break;
    default:  // VIRTIO_PCI_CAP_SWIOTLB; DEF-4: whole pages, or nobody can map it alone
      slot = &found_.swiotlb;
      usable = airlock_is_aligned(place.offset, kRegionAlignment) &&
               airlock_is_aligned(place.length, kRegionAlignment);
      break;
  }
  if (!usable) {
    ++found_.unusable;
  } else if (!*slot) {
    *slot = place;
  }
}

// VIRTIO 1.3, 4.1.4.4.1: an even power of two or 0, the offset a multiple of 2.
Result<void> Walk::take_notify(std::uint8_t position, const spec::VirtioPciCap& cap,
                               const BarRange& place) {
  if (!fits(position, cap.cap_len, sizeof(spec::VirtioPciNotifyCap))) return pass_over();
  const auto at = static_cast<std::uint16_t>(
      position + offsetof(spec::VirtioPciNotifyCap, notify_off_multiplier));
  const Le32 field = TRY(read_struct<Le32>(config_, at));
  const std::uint32_t multiplier = field.get();
  const bool sound = multiplier == 0 || (multiplier >= 2 && airlock_is_power_of_two(multiplier));
  if (!sound || place.length < 2 || !airlock_is_aligned(place.offset, 2)) return pass_over();
  if (!found_.notify) {
    found_.notify = place;
    found_.notify_off_multiplier = multiplier;
  }
  return {};
}

Result<void> Walk::take_shared_memory(std::uint8_t position, const spec::VirtioPciCap& cap) {
  if (!fits(position, cap.cap_len, sizeof(spec::VirtioPciCap64))) return pass_over();
  const auto offset_hi = TRY(read_struct<Le32>(
      config_, static_cast<std::uint16_t>(position + offsetof(spec::VirtioPciCap64, offset_hi))));
  const auto length_hi = TRY(read_struct<Le32>(
      config_, static_cast<std::uint16_t>(position + offsetof(spec::VirtioPciCap64, length_hi))));
  BarRange place = place_of(cap);
  place.offset |= std::uint64_t{offset_hi.get()} << 32;
  place.length |= std::uint64_t{length_hi.get()} << 32;
  if (!inside_bar(place)) return pass_over();
  const bool known = std::ranges::any_of(
      found_.shared_memory, [&](const SharedMemoryRegion& one) { return one.id == cap.id; });
  if (!known) found_.shared_memory.push_back({.id = cap.id, .place = place});
  return {};
}

Result<void> Walk::visit_msix(std::uint8_t position) {
  if (!airlock_range_within(position, sizeof(spec::PciMsixCap), spec::PCI_CFG_SPACE_SIZE))
    return pass_over();
  const auto cap = TRY(read_struct<spec::PciMsixCap>(config_, position));
  const auto vectors =
      static_cast<std::uint16_t>((cap.message_control.get() & spec::PCI_MSIX_FLAGS_QSIZE) + 1);
  const BarRange table{.bar = static_cast<std::uint8_t>(cap.table.get() & spec::PCI_MSIX_BIR_MASK),
                       .offset = cap.table.get() & ~spec::PCI_MSIX_BIR_MASK,
                       .length = vectors * sizeof(spec::PciMsixEntry)};
  if (!inside_bar(table)) return pass_over();
  found_.msix = MsixLocation{.capability = position, .vectors = vectors, .table = table};
  return {};
}

}  // namespace

std::optional<BarRange> VirtioPciCapabilities::find_region(std::uint8_t shm_id) const {
  for (const SharedMemoryRegion& one : shared_memory) {
    if (one.id != shm_id) continue;
    const bool paged = airlock_is_aligned(one.place.offset, kRegionAlignment) &&
                       airlock_is_aligned(one.place.length, kRegionAlignment);
    return paged ? std::optional(one.place) : std::nullopt;
  }
  return std::nullopt;
}

Result<VirtioPciCapabilities> find_capabilities(ConfigReader& config, const BarSizes& bars) {
  Walk walk(config, bars);
  const auto status = TRY(read_struct<Le16>(config, spec::PCI_STATUS));
  if ((status.get() & spec::PCI_STATUS_CAP_LIST) == 0) return walk.take();

  std::bitset<spec::PCI_CFG_SPACE_SIZE / kWord> seen;
  auto next = TRY(read_struct<std::uint8_t>(config, spec::PCI_CAPABILITY_LIST));
  // At most 48 places remain after the header, and each is visited once.
  for (unsigned step = 0; step < kCapabilitySteps; ++step) {
    const auto position = static_cast<std::uint8_t>(next & ~3U);  // PCI 3.0, 6.7: mask them
    if (position < spec::PCI_STD_HEADER_SIZEOF) break;
    if (seen.test(position / kWord)) return fail({.code = Errc::kMalformed, .detail = position});
    seen.set(position / kWord);
    const auto link = TRY(read_struct<Link>(config, position));
    if (link.id == 0xff) break;  // a device that is gone reads as ones
    TRY(walk.visit(position, link.id));
    next = link.next;
  }
  return walk.take();
}

}  // namespace airlock::pci
