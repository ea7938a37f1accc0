// SPDX-License-Identifier: Apache-2.0
#include "guard/profile_reader.h"

#include <algorithm>
#include <memory>
#include <utility>

#include <fmt/core.h>

#include "guard/config_space.h"
#include "guard/decision.h"
#include "guard/limits.h"
#include "guard/version.h"
#include "wire/region_info.h"

namespace airlock::guard {

namespace {

using vfio_user::bytes_of;
using vfio_user::malformed;
using vfio_user::require_struct;

// Room for what a device may say of one region: some 250 areas. Bytes.
constexpr std::uint32_t kRegionInfoMax = 4096;

// Kept by the callbacks of the requests that are under way.
class Reader : public std::enable_shared_from_this<Reader> {
 public:
  Reader(const airlock_guard_rules& rules, DeviceLink& link, Audit& audit,
         std::move_only_function<Result<void>(DeviceProfile)> done)
      : rules_(rules), link_(link), audit_(audit), done_(std::move(done)) {}

  Result<void> ask_version();

 private:
  Result<void> ask(std::uint16_t command, std::span<const std::byte> payload, std::uint32_t room,
                   std::move_only_function<Result<void>(Answer)> on_answer);
  Result<void> on_version(const Answer& answer);
  Result<void> on_info(const Answer& answer);
  Result<void> on_region(std::uint32_t index, Answer answer);
  Result<void> take_file(ProfileRegion& region, std::uint32_t index, Fd fd);
  Result<void> on_irq(std::uint32_t index, const Answer& answer);
  Result<void> ask_config();
  Result<void> on_config(const Answer& answer);

  airlock_guard_rules rules_;
  DeviceLink& link_;
  Audit& audit_;
  std::move_only_function<Result<void>(DeviceProfile)> done_;
  DeviceProfile profile_;
  std::uint32_t unanswered_ = 0;  // of the regions and interrupts
};

// An error of the device's is no lie, but there is no device without an answer.
Result<void> Reader::ask(std::uint16_t command, std::span<const std::byte> payload,
                         std::uint32_t room,
                         std::move_only_function<Result<void>(Answer)> on_answer) {
  return link_.request(command, payload, room,
                       [self = shared_from_this(),
                        on_answer = std::move(on_answer)](Answer answer) mutable -> Result<void> {
                         if (answer.error != 0) {
                           return fail(system_error(static_cast<int>(answer.error)));
                         }
                         return on_answer(std::move(answer));
                       });
}

Result<void> Reader::ask_version() {
  return ask(spec::VFIO_USER_VERSION, version_payload(), kMaxAccess,
             [this](const Answer& answer) { return on_version(answer); });
}

// What the device is able to take is not asked for: the guard sends one fd at a time, and no access
// that is larger than config space.
Result<void> Reader::on_version(const Answer& answer) {
  const auto version = require_struct<spec::VfioUserVersion>(answer.payload);
  if (version.major != 0) return malformed(offsetof(spec::VfioUserVersion, major));
  const spec::VfioUserDeviceInfo info{
      .argsz = sizeof info, .flags = 0, .num_regions = 0, .num_irqs = 0};
  return ask(spec::VFIO_USER_DEVICE_GET_INFO, bytes_of(info), 0,
             [this](const Answer& reply) { return on_info(reply); });
}

Result<void> Reader::on_info(const Answer& answer) {
  const auto info = require_struct<spec::VfioUserDeviceInfo>(answer.payload);
  if ((info.flags & spec::VFIO_DEVICE_FLAGS_PCI) == 0 ||
      info.num_regions <= spec::VFIO_PCI_CONFIG_REGION_INDEX) {
    return malformed(offsetof(spec::VfioUserDeviceInfo, flags));
  }
  profile_.flags = info.flags & (spec::VFIO_DEVICE_FLAGS_RESET | spec::VFIO_DEVICE_FLAGS_PCI);
  const auto regions = std::min(info.num_regions, spec::VFIO_PCI_NUM_REGIONS);
  // ERR and REQ are never the device's to signal: the one stops the VM, the other unplugs.
  const auto irqs = std::min(info.num_irqs, spec::VFIO_PCI_ERR_IRQ_INDEX);
  unanswered_ = regions + irqs;
  for (std::uint32_t i = 0; i < regions; ++i) {
    const spec::VfioUserRegionInfo request{
        .argsz = kRegionInfoMax, .flags = 0, .index = i, .cap_offset = 0, .size = 0, .offset = 0};
    TRY(ask(spec::VFIO_USER_DEVICE_GET_REGION_INFO, bytes_of(request), kRegionInfoMax,
            [this, i](Answer reply) { return on_region(i, std::move(reply)); }));
  }
  for (std::uint32_t i = 0; i < irqs; ++i) {
    const spec::VfioUserIrqInfo request{
        .argsz = sizeof request, .flags = 0, .index = i, .count = 0};
    TRY(ask(spec::VFIO_USER_DEVICE_GET_IRQ_INFO, bytes_of(request), 0,
            [this, i](const Answer& reply) { return on_irq(i, reply); }));
  }
  return {};
}

Result<void> Reader::on_region(std::uint32_t index, Answer answer) {
  auto parsed = TRY(vfio_user::parse_region_info(answer.payload, index, true));
  const auto& info = parsed.info;
  if (airlock_guard_region(&rules_, index, info.flags, info.size, info.offset) !=
      AIRLOCK_GUARD_PASS) {
    return malformed(offsetof(spec::VfioUserRegionInfo, size));
  }
  ProfileRegion& region = profile_.regions.at(index);
  region.flags =
      info.flags & (spec::VFIO_REGION_INFO_FLAG_READ | spec::VFIO_REGION_INFO_FLAG_WRITE);
  region.size = info.size;
  if (!parsed.areas.empty()) {
    region.areas = std::move(parsed.areas);
    TRY(take_file(region, index, std::move(answer.fd)));
  }
  return --unanswered_ == 0 ? ask_config() : Result<void>();
}

// A file that the VM must not map is left out, and the region reached by messages.
Result<void> Reader::take_file(ProfileRegion& region, std::uint32_t index, Fd fd) {
  const airlock_guard_file file = file_facts(fd);
  auto reason = airlock_guard_region_file(&file, region.size);
  for (const auto& area : region.areas) {
    if (airlock_guard_area(&rules_, region.size, area.offset, area.size)) continue;
    reason = AIRLOCK_GUARD_BAD_RANGE;
  }
  if (reason == AIRLOCK_GUARD_PASS) {
    region.file = TRY(FileId::of(fd));
    region.fd = std::move(fd);
    return {};
  }
  region.areas.clear();
  audit_.record({.message = "DEVICE_GET_REGION_INFO",
                 .decision = Decision::kWithheld,
                 .reason = fmt::format("region {}: {}", index, words(reason))});
  return {};
}

Result<void> Reader::on_irq(std::uint32_t index, const Answer& answer) {
  const auto info = require_struct<spec::VfioUserIrqInfo>(answer.payload);
  if (info.index != index) return malformed(offsetof(spec::VfioUserIrqInfo, index));
  profile_.irqs.at(index) = {.flags = info.flags, .count = std::min(info.count, kMaxVectors)};
  return --unanswered_ == 0 ? ask_config() : Result<void>();
}

Result<void> Reader::ask_config() {
  const std::uint64_t size = profile_.regions.at(spec::VFIO_PCI_CONFIG_REGION_INDEX).size;
  const spec::VfioUserRegionAccess access{.offset = 0,
                                          .region = spec::VFIO_PCI_CONFIG_REGION_INDEX,
                                          .count = static_cast<std::uint32_t>(size)};
  return ask(spec::VFIO_USER_REGION_READ, bytes_of(access), access.count,
             [this](const Answer& answer) { return on_config(answer); });
}

Result<void> Reader::on_config(const Answer& answer) {
  const auto config = std::span(answer.payload).subspan(sizeof(spec::VfioUserRegionAccess));
  TRY(check_config_space(config));
  profile_.config.assign(config.begin(), config.end());
  return done_(std::move(profile_));
}

}  // namespace

Result<void> read_profile(const airlock_guard_rules& rules, DeviceLink& link, Audit& audit,
                          std::move_only_function<Result<void>(DeviceProfile)> done) {
  return std::make_shared<Reader>(rules, link, audit, std::move(done))->ask_version();
}

}  // namespace airlock::guard
