// SPDX-License-Identifier: Apache-2.0
#include "compare/device_view.h"

#include "shm/sealed_memfd.h"

namespace airlock::compare {

namespace {

class RegionView final : public DeviceView {
 public:
  RegionView(shm::Mapping mapping, window::BusAddress address)
      : mapping_(std::move(mapping)), window_(mapping_.bytes()) {
    window_.configure(window::AddressMode::kBus, window::Reach::kRegion);
    window_.set_region_bus_base(address);
  }
  [[nodiscard]] const window::Window& window() const override { return window_; }

 private:
  shm::Mapping mapping_;
  window::Window window_;
};

class GuestMemoryView final : public DeviceView {
 public:
  GuestMemoryView() {
    window_.configure(window::AddressMode::kBus, window::Reach::kRegionAndGuest);
  }
  Result<void> add(const Grant& grant) {
    return window_.guest_memory().map({.address = grant.shape.address, .size = grant.shape.size},
                                      grant.memory);
  }
  [[nodiscard]] const window::Window& window() const override { return window_; }

 private:
  window::Window window_{shm::SharedBytes()};
};

}  // namespace

Result<std::unique_ptr<DeviceView>> region_view(std::span<const Grant> grants) {
  if (grants.size() != 1) return fail(Errc::kMalformed);
  const Grant& grant = grants.front();
  const auto memory = TRY(shm::SealedMemfd::adopt(TRY(grant.memory.duplicate()), grant.shape.size));
  return std::make_unique<RegionView>(TRY(memory.map()), grant.shape.address);
}

Result<std::unique_ptr<DeviceView>> guest_memory_view(std::span<const Grant> grants) {
  auto view = std::make_unique<GuestMemoryView>();
  for (const Grant& grant : grants)
    TRY(view->add(grant));
  return view;
}

}  // namespace airlock::compare
