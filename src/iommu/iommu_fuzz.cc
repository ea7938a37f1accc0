// SPDX-License-Identifier: Apache-2.0
//
// Goal: whatever requests a driver sends, what is enforced is what the tables say, and both are
// what a naive model says that never looks at more than one address. Method: the input says which
// requests, mostly of a small world in which they meet, and how they are cut.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/check.h"
#include "iommu/queues.h"
#include "testing/chain_builder.h"

namespace airlock::iommu {
namespace {

constexpr AddressRange from_to(std::uint64_t first, std::uint64_t last) {
  return {.first = first, .last = last};
}

constexpr std::uint64_t kGranule = 16;
constexpr std::uint64_t kPages = 16;
constexpr std::uint32_t kEndpoints = 3;
constexpr std::uint64_t kPhysical = 0x1000;

/// What each endpoint gets at, page by page: the physical page, and what for.
class Pages final : public Enforcer {
 public:
  Result<void> confine(std::uint32_t /*endpoint*/) override { return {}; }
  Result<void> let_at(std::uint32_t endpoint, const Mapping& mapping) override {
    for (std::uint64_t at = mapping.range.first; at < mapping.range.last; at += kGranule) {
      Mapping page = mapping;
      page.physical += at - mapping.range.first;
      const bool is_new = pages_.emplace(std::pair(endpoint, at), page).second;
      CHECK(is_new);
    }
    return {};
  }
  Result<void> take_back(std::uint32_t endpoint, const Mapping& mapping) override {
    for (std::uint64_t at = mapping.range.first; at < mapping.range.last; at += kGranule) {
      const bool was_there = pages_.erase(std::pair(endpoint, at)) == 1;
      CHECK(was_there);
    }
    return {};
  }
  [[nodiscard]] const Mapping* find(std::uint32_t endpoint, std::uint64_t address) const {
    const auto found = pages_.find(std::pair(endpoint, address / kGranule * kGranule));
    return found == pages_.end() ? nullptr : &found->second;
  }

 private:
  std::map<std::pair<std::uint32_t, std::uint64_t>, Mapping> pages_;
};

class Session {
 public:
  Session(FuzzedDataProvider& data, testing::TestRegion& region)
      : data_(data),
        iommu_({.granule = kGranule,
                .input = {.first = 0, .last = kPages * kGranule - 1},
                .physical = {.first = kPhysical, .last = kPhysical + kPages * kGranule - 1},
                .last_domain = 3,
                .mappings_most = 8,
                .endpoints = {{.id = 0, .reserved = {}},
                              {.id = 1, .reserved = {from_to(0x40, 0x4f)}},
                              {.id = 2, .reserved = {}}}},
               pages_),
        region_(region),
        driver_(region_, 8),
        requests_(iommu_, MUST(ring::DeviceQueue::create(driver_.config(), region_.window()))) {}

  void run() {
    const std::uint64_t mark = region_.mark();
    while (data_.remaining_bytes() > 0) {
      region_.free_to(mark);
      if (data_.ConsumeIntegralInRange(0, 15) == 0) {
        static_cast<void>(iommu_.write_bypass(data_.ConsumeIntegral<std::uint8_t>() & 3));
      }
      send();
      CHECK(requests_.serve());
      CHECK(driver_.take_used());
      look();
    }
  }

 private:
  std::uint32_t small() { return data_.ConsumeIntegralInRange<std::uint32_t>(0, 4); }
  std::uint64_t address() {
    if (data_.ConsumeIntegralInRange(0, 31) == 0) return data_.ConsumeIntegral<std::uint64_t>();
    return data_.ConsumeIntegralInRange<std::uint64_t>(0, kPages) * kGranule;
  }
  std::uint32_t flags() {
    if (data_.ConsumeIntegralInRange(0, 31) == 0) return data_.ConsumeIntegral<std::uint32_t>();
    return data_.ConsumeIntegralInRange<std::uint32_t>(0, 3);
  }

  std::vector<std::byte> request() {
    const auto bytes = [](const auto& value) {
      const auto span = std::as_bytes(std::span(&value, 1));
      return std::vector<std::byte>(span.begin(), span.end());
    };
    const spec::VirtioIommuReqHead head{.type = data_.ConsumeIntegralInRange<std::uint8_t>(0, 6)};
    switch (head.type) {
      case spec::VIRTIO_IOMMU_T_ATTACH:
        return bytes(spec::VirtioIommuReqAttach{.head = head,
                                                .domain = Le32(small()),
                                                .endpoint = Le32(small()),
                                                .flags = Le32(flags() >> 1),
                                                .reserved = Le32(0)});
      case spec::VIRTIO_IOMMU_T_DETACH:
        return bytes(spec::VirtioIommuReqDetach{
            .head = head, .domain = Le32(small()), .endpoint = Le32(small())});
      case spec::VIRTIO_IOMMU_T_MAP:
        return bytes(spec::VirtioIommuReqMap{.head = head,
                                             .domain = Le32(small()),
                                             .virt_start = spec::Le64Halves(address()),
                                             .virt_end = spec::Le64Halves(address() - 1),
                                             .phys_start = spec::Le64Halves(kPhysical + address()),
                                             .flags = Le32(flags())});
      case spec::VIRTIO_IOMMU_T_UNMAP:
        return bytes(spec::VirtioIommuReqUnmap{.head = head,
                                               .domain = Le32(small()),
                                               .virt_start = spec::Le64Halves(address()),
                                               .virt_end = spec::Le64Halves(address() - 1),
                                               .reserved = Le32(0)});
      case spec::VIRTIO_IOMMU_T_PROBE:
        return bytes(spec::VirtioIommuReqProbe{.head = head, .endpoint = Le32(small())});
      default:
        return data_.ConsumeBytes<std::byte>(data_.ConsumeIntegralInRange<std::size_t>(1, 80));
    }
  }

  void send() {
    std::vector<std::byte> bytes = request();
    if (bytes.empty()) bytes.resize(1);
    if (data_.ConsumeIntegralInRange(0, 31) == 0) bytes.resize(bytes.size() / 2 + 1);
    const auto cut = data_.ConsumeIntegralInRange<std::size_t>(0, bytes.size() - 1);
    testing::ChainBuilder builder(driver_);
    if (cut > 0) builder.readable(std::span(bytes).first(cut));
    builder.readable(std::span(bytes).subspan(cut));
    const auto room = data_.ConsumeIntegralInRange<std::uint32_t>(0, 40);
    if (room > 0) builder.writable(room);
    builder.submit();
  }

  /// One access, of one byte or more: tables, enforcement and the naive model agree.
  void look() {
    const auto endpoint = data_.ConsumeIntegralInRange<std::uint32_t>(0, kEndpoints);
    const AddressRange range{
        .first = data_.ConsumeIntegralInRange<std::uint64_t>(0, kPages * kGranule),
        .last = kPages * kGranule + kGranule};
    const auto access = data_.ConsumeBool() ? window::Access::kWrite : window::Access::kRead;
    const auto length = data_.ConsumeIntegralInRange<std::uint64_t>(0, kGranule * 3);
    const AddressRange asked{.first = range.first,
                             .last = std::min(range.last, range.first + length)};
    const auto got = iommu_.translate(endpoint, asked, access);
    if (iommu_.bypasses(endpoint)) {
      CHECK(got && got->size() == 1 && got->front() == asked);
      return;
    }
    std::vector<std::uint64_t> flat;
    for (std::uint64_t at = asked.first; at <= asked.last; ++at) {
      const Mapping* const page = pages_.find(endpoint, at);
      const bool allowed =
          page != nullptr && (access == window::Access::kWrite ? page->writable : page->readable);
      if (!allowed) {
        CHECK(!got && got.error().address == at);
        return;
      }
      flat.push_back(page->physical + at % kGranule);
    }
    CHECK(got.has_value());
    std::size_t next = 0;
    for (const AddressRange& piece : *got) {
      for (std::uint64_t at = piece.first; at <= piece.last; ++at)
        CHECK(flat.at(next++) == at);
    }
    CHECK(next == flat.size());
  }

  FuzzedDataProvider& data_;
  Pages pages_;
  Iommu iommu_;
  testing::TestRegion& region_;
  testing::FakeDriver driver_;
  RequestQueue requests_;
};

}  // namespace
}  // namespace airlock::iommu

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static airlock::testing::TestRegion region;
  const std::uint64_t mark = region.mark();
  FuzzedDataProvider data(bytes, size);
  airlock::iommu::Session(data, region).run();
  region.free_to(mark);
  return 0;
}
