// SPDX-License-Identifier: Apache-2.0
//
// A configuration space that the fuzzer wrote, and BARs of a few sizes. The walk ends, and whatever
// it returns is what its header promises: a lie may hide a capability, never widen one.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "core/range.h"
#include "pci/capabilities.h"
#include "spec/virtio_pci.h"

namespace airlock::pci {
namespace {

class FuzzedSpace final : public ConfigReader {
 public:
  explicit FuzzedSpace(FuzzedDataProvider& input) : input_(input) {
    const auto bytes = input.ConsumeBytes<std::uint8_t>(spec::PCI_CFG_SPACE_SIZE);
    std::ranges::transform(bytes, space_.begin(),
                           [](std::uint8_t byte) { return std::byte{byte}; });
    if (!input.ConsumeBool()) space_[spec::PCI_STATUS] |= std::byte{spec::PCI_STATUS_CAP_LIST};
    moody_ = input.ConsumeIntegralInRange<int>(0, 15) == 0;
  }
  // Some devices answer differently every time they are asked.
  Result<void> read_config(std::uint16_t offset, std::span<std::byte> target) override {
    CHECK(airlock_range_within(offset, target.size(), space_.size()));
    ++reads_;
    std::ranges::copy(std::span(space_).subspan(offset, target.size()), target.begin());
    if (moody_ && input_.remaining_bytes() > 0) {
      target[0] ^= std::byte{input_.ConsumeIntegral<std::uint8_t>()};
    }
    return {};
  }
  [[nodiscard]] unsigned reads() const { return reads_; }

 private:
  FuzzedDataProvider& input_;
  std::array<std::byte, spec::PCI_CFG_SPACE_SIZE> space_{};
  bool moody_ = false;
  unsigned reads_ = 0;
};

void check_place(const BarRange& place, const BarSizes& bars) {
  CHECK(place.bar < bars.size());
  CHECK(place.length != 0);
  CHECK(place.offset < bars[place.bar]);
  CHECK(place.length <= bars[place.bar] - place.offset);
}

void check_found(const VirtioPciCapabilities& found, const BarSizes& bars) {
  for (const auto& place : {found.common, found.notify, found.isr, found.device, found.swiotlb}) {
    if (place) check_place(*place, bars);
  }
  if (found.common) CHECK(found.common->length >= spec::VIRTIO_PCI_COMMON_CFG_MIN);
  const std::uint32_t multiplier = found.notify_off_multiplier;
  CHECK(multiplier == 0 || (multiplier != 1 && airlock_is_power_of_two(multiplier)));
  if (found.swiotlb) {
    CHECK(found.swiotlb->offset % 4096 == 0 && found.swiotlb->length % 4096 == 0);
  }
  for (const SharedMemoryRegion& one : found.shared_memory) {
    check_place(one.place, bars);
    if (const auto region = found.find_region(one.id)) {
      CHECK(region->offset % 4096 == 0 && region->length % 4096 == 0);
    }
  }
  if (found.msix) {
    check_place(found.msix->table, bars);
    CHECK(found.msix->vectors >= 1 && found.msix->vectors <= spec::PCI_MSIX_VECTORS_MAX);
  }
}

void fuzz(FuzzedDataProvider& input) {
  FuzzedSpace space(input);
  BarSizes bars{};
  for (std::uint64_t& bar : bars) {
    const auto shift = input.ConsumeIntegralInRange<unsigned>(0, 64);
    bar = shift == 64 ? 0 : std::uint64_t{1} << shift;
  }
  const auto found = find_capabilities(space, bars);
  // Status, head, and at most five reads a step.
  CHECK(space.reads() <= 2 + 5 * kCapabilitySteps);
  if (found) check_found(*found, bars);
}

}  // namespace
}  // namespace airlock::pci

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  airlock::pci::fuzz(input);
  return 0;
}
