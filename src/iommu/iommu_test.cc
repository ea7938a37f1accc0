// SPDX-License-Identifier: Apache-2.0
//
// Goal: an endpoint gets at what is mapped in its domain, as it is mapped, and whoever enforces
// that is told before the driver is; every request that is wrong is refused with the
// specification's status, and changes nothing. Method: requests as values, and an enforcer that
// keeps a record.
#include "iommu/iommu.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "spec/virtio.h"

namespace airlock::iommu {
namespace {

constexpr AddressRange from_to(std::uint64_t first, std::uint64_t last) {
  return {.first = first, .last = last};
}

using window::Access;

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint32_t kRead = spec::VIRTIO_IOMMU_MAP_F_READ;
constexpr std::uint32_t kWrite = spec::VIRTIO_IOMMU_MAP_F_WRITE;
constexpr std::uint32_t kDisk = 8;
constexpr std::uint32_t kCard = 9;
constexpr AddressRange kReservedOfCard = from_to(0x20000, 0x2ffff);

class Record final : public Enforcer {
 public:
  Result<void> confine(std::uint32_t endpoint) override {
    if (fails) return fail(Errc::kSystem);
    confined.push_back(endpoint);
    return {};
  }
  Result<void> let_at(std::uint32_t endpoint, const Mapping& mapping) override {
    if (fails || endpoint == fails_for) return fail(Errc::kSystem);
    grants.emplace_back(endpoint, mapping);
    return {};
  }
  Result<void> take_back(std::uint32_t endpoint, const Mapping& mapping) override {
    if (fails) return fail(Errc::kSystem);
    EXPECT_EQ(std::erase(grants, std::pair(endpoint, mapping)), 1U);
    return {};
  }

  std::vector<std::pair<std::uint32_t, Mapping>> grants;
  std::vector<std::uint32_t> confined;
  bool fails = false;
  std::uint32_t fails_for = 0;
};

class IommuTest : public testing::Test {
 protected:
  static Iommu::Options options() {
    return {
        .granule = 4096,
        .input = {.first = 0x10000, .last = 0x10'ffff},
        .physical = {.first = 0x4000'0000, .last = 0x40ff'ffff},
        .first_domain = 1,
        .last_domain = 7,
        .mappings_most = 4,
        .endpoints = {{.id = kDisk, .reserved = {}}, {.id = kCard, .reserved = {kReservedOfCard}}}};
  }
  void attach(std::uint32_t endpoint, std::uint32_t domain = 1) {
    ASSERT_EQ(iommu_.attach({.domain = domain, .endpoint = endpoint}), spec::VIRTIO_IOMMU_S_OK);
  }
  /// A page, mapped to a page, unless the test says otherwise.
  static Iommu::Map page(std::uint64_t first = 0x10000, std::uint32_t flags = kRead | kWrite) {
    return {.domain = 1,
            .first = first,
            .last = first + 0xfff,
            .physical = 0x4000'0000 + first,
            .flags = flags};
  }
  [[nodiscard]] std::uint8_t reason(std::uint64_t address, std::uint64_t length,
                                    Access access = Access::kRead, std::uint32_t endpoint = kDisk) {
    const auto piece =
        iommu_.translate(endpoint, {.first = address, .last = address + length - 1}, access);
    if (piece) return kAllowed;
    EXPECT_EQ(piece.error().endpoint, endpoint);
    EXPECT_EQ(piece.error().access, access);
    fault_at_ = piece.error().address;
    return piece.error().reason;
  }
  static constexpr std::uint8_t kAllowed = 0xff;

  Record record_;
  Iommu iommu_{options(), record_};
  std::uint64_t fault_at_ = 0;
};

// VIRTIO 1.3, 5.13.3, 5.13.4, 5.13.4.2.
TEST_F(IommuTest, SaysWhatItCan) {
  const spec::VirtioIommuConfig config = iommu_.config();
  EXPECT_EQ(config.page_size_mask.get(), 4096U);
  EXPECT_EQ(config.input_range.start.get(), 0x10000U);
  EXPECT_EQ(config.input_range.end.get(), 0x10'ffffU);
  EXPECT_EQ(config.domain_range.start.get(), 1U);
  EXPECT_EQ(config.domain_range.end.get(), 7U);
  EXPECT_EQ(config.probe_size.get(), sizeof(spec::VirtioIommuProbeResvMem));
  EXPECT_EQ(config.bypass, 0);
  // 5.13.3.2: not both bypasses.
  EXPECT_EQ(Iommu::features() & spec::feature(spec::VIRTIO_IOMMU_F_BYPASS), 0U);
  EXPECT_NE(Iommu::features() & spec::feature(spec::VIRTIO_IOMMU_F_MAP_UNMAP), 0U);
}

// SYS-6: before a map, after an unmap, and in between. VIRTIO 1.3, 5.13.6.5, 5.13.6.6.
TEST_F(IommuTest, AnEndpointGetsAtWhatIsMappedAsLongAsItIs) {
  attach(kDisk);
  EXPECT_EQ(reason(0x10000, 1), spec::VIRTIO_IOMMU_FAULT_R_MAPPING);
  ASSERT_EQ(iommu_.map(page()), spec::VIRTIO_IOMMU_S_OK);
  const auto piece = iommu_.translate(kDisk, {.first = 0x10010, .last = 0x1001f}, Access::kWrite);
  ASSERT_TRUE(piece);
  EXPECT_EQ(*piece, (std::vector<AddressRange>{from_to(0x4001'0010, 0x4001'001f)}));
  ASSERT_EQ(record_.grants.size(), 1U);
  EXPECT_EQ(record_.grants[0].second.physical, 0x4001'0000U);
  ASSERT_EQ(iommu_.unmap(1, 0x10000, 0x10fff), spec::VIRTIO_IOMMU_S_OK);
  EXPECT_EQ(reason(0x10000, 1), spec::VIRTIO_IOMMU_FAULT_R_MAPPING);
  EXPECT_TRUE(record_.grants.empty());
}

// SYS-6: across an edge of a mapping, where there is another, and where there is none.
TEST_F(IommuTest, AnAccessGoesOverAnEdgeOnlyIntoAnotherMapping) {
  attach(kDisk);
  ASSERT_EQ(iommu_.map(page(0x10000)), spec::VIRTIO_IOMMU_S_OK);
  EXPECT_EQ(reason(0x10fff, 2), spec::VIRTIO_IOMMU_FAULT_R_MAPPING);
  EXPECT_EQ(fault_at_, 0x11000U);
  Iommu::Map next = page(0x11000);
  next.physical = 0x4050'0000;
  ASSERT_EQ(iommu_.map(next), spec::VIRTIO_IOMMU_S_OK);
  const auto pieces = iommu_.translate(kDisk, {.first = 0x10fff, .last = 0x11000}, Access::kRead);
  ASSERT_TRUE(pieces);
  EXPECT_EQ(*pieces, (std::vector<AddressRange>{from_to(0x4001'0fff, 0x4001'0fff),
                                                from_to(0x4050'0000, 0x4050'0000)}));
  EXPECT_EQ(reason(0xffff, 2), spec::VIRTIO_IOMMU_FAULT_R_MAPPING);
  EXPECT_EQ(fault_at_, 0xffffU);
}

// SYS-6: wrong permission. VIRTIO 1.3, 5.13.6.5.2.
TEST_F(IommuTest, AMappingAllowsWhatItSays) {
  attach(kDisk);
  ASSERT_EQ(iommu_.map(page(0x10000, kRead)), spec::VIRTIO_IOMMU_S_OK);
  ASSERT_EQ(iommu_.map(page(0x11000, kWrite)), spec::VIRTIO_IOMMU_S_OK);
  ASSERT_EQ(iommu_.map(page(0x12000, 0)), spec::VIRTIO_IOMMU_S_OK);
  EXPECT_EQ(reason(0x10000, 1, Access::kRead), kAllowed);
  EXPECT_EQ(reason(0x10000, 1, Access::kWrite), spec::VIRTIO_IOMMU_FAULT_R_MAPPING);
  EXPECT_EQ(reason(0x11000, 1, Access::kWrite), kAllowed);
  EXPECT_EQ(reason(0x11000, 1, Access::kRead), spec::VIRTIO_IOMMU_FAULT_R_MAPPING);
  EXPECT_EQ(reason(0x12000, 1, Access::kRead), spec::VIRTIO_IOMMU_FAULT_R_MAPPING);
  EXPECT_EQ(reason(0x10fff, 2, Access::kWrite), spec::VIRTIO_IOMMU_FAULT_R_MAPPING);
}

// VIRTIO 1.3, 5.13.6.5.2: each refusal, with its status, and a twin that is accepted.
TEST_F(IommuTest, MapsNothingThatIsWrong) {
  EXPECT_EQ(iommu_.map(page()), spec::VIRTIO_IOMMU_S_NOENT);
  attach(kDisk);
  const auto status = [&](auto change) {
    Iommu::Map request = page();
    change(request);
    return iommu_.map(request);
  };
  EXPECT_EQ(status([](auto& r) { r.first += 1; }), spec::VIRTIO_IOMMU_S_RANGE);
  EXPECT_EQ(status([](auto& r) { r.last -= 1; }), spec::VIRTIO_IOMMU_S_RANGE);
  EXPECT_EQ(status([](auto& r) { r.physical += 1; }), spec::VIRTIO_IOMMU_S_RANGE);
  EXPECT_EQ(status([](auto& r) { r.last = r.first - 1; }), spec::VIRTIO_IOMMU_S_INVAL);
  EXPECT_EQ(status([](auto& r) { r.last = 0x10'ffff + 0x1000; }), spec::VIRTIO_IOMMU_S_RANGE);
  EXPECT_EQ(status([](auto& r) { r.last = kMax; }), spec::VIRTIO_IOMMU_S_RANGE);
  EXPECT_EQ(status([](auto& r) { r.first -= 0x1000; }), spec::VIRTIO_IOMMU_S_RANGE);
  EXPECT_EQ(status([](auto& r) { r.flags |= spec::VIRTIO_IOMMU_MAP_F_MMIO; }),
            spec::VIRTIO_IOMMU_S_INVAL);
  EXPECT_EQ(status([](auto& r) { r.flags |= 0x8000'0000; }), spec::VIRTIO_IOMMU_S_INVAL);
  EXPECT_EQ(status([](auto& r) { r.physical = 0x3fff'f000; }), spec::VIRTIO_IOMMU_S_FAULT);
  EXPECT_EQ(status([](auto& r) { r.physical = 0x4100'0000; }), spec::VIRTIO_IOMMU_S_FAULT);
  EXPECT_EQ(status([](auto& r) {
              r.physical = 0x40ff'f000;
              r.last += 0x1000;
            }),
            spec::VIRTIO_IOMMU_S_FAULT);
  EXPECT_EQ(iommu_.mappings(), 0U);
  EXPECT_TRUE(record_.grants.empty());
  EXPECT_EQ(iommu_.map(page()), spec::VIRTIO_IOMMU_S_OK);
  EXPECT_EQ(iommu_.map(page()), spec::VIRTIO_IOMMU_S_INVAL);
  EXPECT_EQ(status([](auto& r) { r.last += 0x1000; }), spec::VIRTIO_IOMMU_S_INVAL);
}

// ATK-12: a driver gets no more memory of the part that it trusts than that was made for.
TEST_F(IommuTest, MapsSoManyAndNoMore) {
  attach(kDisk);
  for (std::uint64_t i = 0; i < 4; ++i)
    ASSERT_EQ(iommu_.map(page(0x10000 + 0x1000 * i)), spec::VIRTIO_IOMMU_S_OK);
  EXPECT_EQ(iommu_.map(page(0x14000)), spec::VIRTIO_IOMMU_S_NOMEM);
  ASSERT_EQ(iommu_.unmap(1, 0x12000, 0x12fff), spec::VIRTIO_IOMMU_S_OK);
  EXPECT_EQ(iommu_.map(page(0x14000)), spec::VIRTIO_IOMMU_S_OK);
}

// VIRTIO 1.3, 5.13.6.6.2.
TEST_F(IommuTest, UnmapsWholeMappingsOnly) {
  EXPECT_EQ(iommu_.unmap(1, 0, kMax), spec::VIRTIO_IOMMU_S_NOENT);
  attach(kDisk);
  Iommu::Map two_pages = page();
  two_pages.last += 0x1000;
  ASSERT_EQ(iommu_.map(two_pages), spec::VIRTIO_IOMMU_S_OK);
  ASSERT_EQ(iommu_.map(page(0x13000)), spec::VIRTIO_IOMMU_S_OK);
  EXPECT_EQ(iommu_.unmap(1, 0x10000, 0x10fff), spec::VIRTIO_IOMMU_S_RANGE);
  EXPECT_EQ(iommu_.unmap(1, 0x11000, 0x13fff), spec::VIRTIO_IOMMU_S_RANGE);
  EXPECT_EQ(iommu_.unmap(1, 0x10fff, 0x10000), spec::VIRTIO_IOMMU_S_INVAL);
  EXPECT_EQ(iommu_.mappings(), 2U);
  EXPECT_EQ(record_.grants.size(), 2U);
  EXPECT_EQ(iommu_.unmap(1, 0, kMax), spec::VIRTIO_IOMMU_S_OK);
  EXPECT_EQ(iommu_.mappings(), 0U);
  EXPECT_EQ(iommu_.unmap(1, 0, kMax), spec::VIRTIO_IOMMU_S_OK);
}

// VIRTIO 1.3, 5.13.6.3.2.
TEST_F(IommuTest, AttachesWhatThereIs) {
  EXPECT_EQ(iommu_.attach({.domain = 1, .endpoint = 7}), spec::VIRTIO_IOMMU_S_NOENT);
  EXPECT_EQ(iommu_.attach({.domain = 0, .endpoint = kDisk}), spec::VIRTIO_IOMMU_S_RANGE);
  EXPECT_EQ(iommu_.attach({.domain = 8, .endpoint = kDisk}), spec::VIRTIO_IOMMU_S_RANGE);
  EXPECT_EQ(iommu_.attach({.domain = 1, .endpoint = kDisk, .flags = 2}),
            spec::VIRTIO_IOMMU_S_INVAL);
  EXPECT_EQ(reason(0x10000, 1), spec::VIRTIO_IOMMU_FAULT_R_DOMAIN);
  attach(kDisk);
  attach(kDisk);
  EXPECT_EQ(record_.confined, std::vector<std::uint32_t>{kDisk});
  EXPECT_EQ(
      iommu_.attach({.domain = 1, .endpoint = kCard, .flags = spec::VIRTIO_IOMMU_ATTACH_F_BYPASS}),
      spec::VIRTIO_IOMMU_S_INVAL);
}

// VIRTIO 1.3, 5.13.6.3: who shares a domain shares its mappings; others are apart.
TEST_F(IommuTest, DomainsAreSharedOrApart) {
  attach(kDisk);
  ASSERT_EQ(iommu_.map(page()), spec::VIRTIO_IOMMU_S_OK);
  attach(kCard, 2);
  EXPECT_EQ(reason(0x10000, 1, Access::kRead, kCard), spec::VIRTIO_IOMMU_FAULT_R_MAPPING);
  attach(kCard, 1);
  EXPECT_EQ(reason(0x10000, 1, Access::kRead, kCard), kAllowed);
  EXPECT_EQ(record_.grants.size(), 2U);
  // 5.13.6.3.2: as if it had been detached first. Domain 2 had nobody else: it is gone.
  EXPECT_EQ(iommu_.unmap(2, 0, kMax), spec::VIRTIO_IOMMU_S_NOENT);
}

// VIRTIO 1.3, 5.13.6.4.2.
TEST_F(IommuTest, ADetachedEndpointGetsAtNothing) {
  attach(kDisk);
  ASSERT_EQ(iommu_.map(page()), spec::VIRTIO_IOMMU_S_OK);
  EXPECT_EQ(iommu_.detach(1, 7), spec::VIRTIO_IOMMU_S_NOENT);
  EXPECT_EQ(iommu_.detach(2, kDisk), spec::VIRTIO_IOMMU_S_INVAL);
  EXPECT_EQ(iommu_.detach(1, kCard), spec::VIRTIO_IOMMU_S_INVAL);
  EXPECT_EQ(reason(0x10000, 1), kAllowed);
  EXPECT_EQ(iommu_.detach(1, kDisk), spec::VIRTIO_IOMMU_S_OK);
  EXPECT_EQ(reason(0x10000, 1), spec::VIRTIO_IOMMU_FAULT_R_DOMAIN);
  EXPECT_TRUE(record_.grants.empty());
  EXPECT_EQ(iommu_.mappings(), 0U);
  // A domain of the same number is a new one.
  attach(kDisk);
  EXPECT_EQ(reason(0x10000, 1), spec::VIRTIO_IOMMU_FAULT_R_MAPPING);
}

// VIRTIO 1.3, 5.13.6.8.1.2, 5.13.6.3.2.
TEST_F(IommuTest, ReservedAddressesAreNotMapped) {
  attach(kDisk);
  ASSERT_EQ(iommu_.map(page(kReservedOfCard.first)), spec::VIRTIO_IOMMU_S_OK);
  EXPECT_EQ(iommu_.attach({.domain = 1, .endpoint = kCard}), spec::VIRTIO_IOMMU_S_UNSUPP);
  ASSERT_EQ(iommu_.unmap(1, 0, kMax), spec::VIRTIO_IOMMU_S_OK);
  attach(kCard);
  EXPECT_EQ(iommu_.map(page(kReservedOfCard.first)), spec::VIRTIO_IOMMU_S_INVAL);
  EXPECT_EQ(iommu_.map(page(kReservedOfCard.last + 1)), spec::VIRTIO_IOMMU_S_OK);
}

// SYS-6: who is attached to nothing. VIRTIO 1.3, 5.13.4.1, 5.13.6, 5.13.6.2.
TEST_F(IommuTest, BypassIsForWhoIsNotAttached) {
  EXPECT_FALSE(iommu_.bypasses(kDisk));
  EXPECT_EQ(reason(0, 1), spec::VIRTIO_IOMMU_FAULT_R_DOMAIN);
  EXPECT_FALSE(iommu_.write_bypass(2));
  EXPECT_EQ(iommu_.config().bypass, 0);
  ASSERT_TRUE(iommu_.write_bypass(1));
  EXPECT_EQ(iommu_.config().bypass, 1);
  const auto all = iommu_.translate(kDisk, {.first = 0, .last = kMax}, Access::kWrite);
  ASSERT_TRUE(all);
  EXPECT_EQ(*all, (std::vector<AddressRange>{from_to(0, kMax)}));
  // No endpoint of ours.
  EXPECT_FALSE(iommu_.bypasses(7));
  attach(kDisk);
  EXPECT_EQ(reason(0, 1), spec::VIRTIO_IOMMU_FAULT_R_MAPPING);
  EXPECT_TRUE(iommu_.bypasses(kCard));
  ASSERT_TRUE(iommu_.write_bypass(0));
  EXPECT_FALSE(iommu_.bypasses(kCard));
  EXPECT_EQ(record_.confined, (std::vector<std::uint32_t>{kDisk, kCard}));
}

// VIRTIO 1.3, 5.13.6.3.2, 5.13.6.5.2, 5.13.6.6.2: nothing is mapped there.
TEST_F(IommuTest, ABypassDomainHasNoMappings) {
  constexpr std::uint32_t kBypass = spec::VIRTIO_IOMMU_ATTACH_F_BYPASS;
  ASSERT_EQ(iommu_.attach({.domain = 3, .endpoint = kDisk, .flags = kBypass}),
            spec::VIRTIO_IOMMU_S_OK);
  EXPECT_TRUE(iommu_.bypasses(kDisk));
  Iommu::Map request = page();
  request.domain = 3;
  EXPECT_EQ(iommu_.map(request), spec::VIRTIO_IOMMU_S_INVAL);
  EXPECT_EQ(iommu_.unmap(3, 0, kMax), spec::VIRTIO_IOMMU_S_INVAL);
  EXPECT_EQ(iommu_.attach({.domain = 3, .endpoint = kCard}), spec::VIRTIO_IOMMU_S_INVAL);
  EXPECT_EQ(iommu_.detach(3, kDisk), spec::VIRTIO_IOMMU_S_OK);
  EXPECT_FALSE(iommu_.bypasses(kDisk));
}

// SYS-6: what could not be enforced was not done, and is not said to be.
TEST_F(IommuTest, WhatIsNotEnforcedIsNotGranted) {
  record_.fails = true;
  EXPECT_EQ(iommu_.attach({.domain = 1, .endpoint = kDisk}), spec::VIRTIO_IOMMU_S_DEVERR);
  EXPECT_EQ(reason(0, 1), spec::VIRTIO_IOMMU_FAULT_R_DOMAIN);
  record_.fails = false;
  attach(kDisk);
  attach(kCard);
  record_.fails_for = kCard;
  EXPECT_EQ(iommu_.map(page()), spec::VIRTIO_IOMMU_S_DEVERR);
  EXPECT_TRUE(record_.grants.empty());
  EXPECT_EQ(iommu_.mappings(), 0U);
  record_.fails_for = 0;
  ASSERT_EQ(iommu_.map(page()), spec::VIRTIO_IOMMU_S_OK);
  // Nor is anything said to be gone that is not.
  record_.fails = true;
  EXPECT_EQ(iommu_.unmap(1, 0, kMax), spec::VIRTIO_IOMMU_S_DEVERR);
  EXPECT_EQ(iommu_.detach(1, kDisk), spec::VIRTIO_IOMMU_S_DEVERR);
  EXPECT_EQ(reason(0x10000, 1), kAllowed);
  EXPECT_EQ(iommu_.mappings(), 1U);
}

}  // namespace
}  // namespace airlock::iommu
