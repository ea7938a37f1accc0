// SPDX-License-Identifier: Apache-2.0
//
// Goal: requests come off the ring as they are laid out, and are answered where their driver looks;
// what is no request is given back, and breaks nothing. Method: a raw driver writes the bytes.
#include "iommu/queues.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <optional>

#include "testing/chain_builder.h"

namespace airlock::iommu {
namespace {

constexpr AddressRange from_to(std::uint64_t first, std::uint64_t last) {
  return {.first = first, .last = last};
}

using testing::BuiltChain;
using testing::ChainBuilder;

constexpr std::uint32_t kEndpoint = 0x108;
constexpr std::uint32_t kProbeBytes = 2 * sizeof(spec::VirtioIommuProbeResvMem);
constexpr std::uint8_t kUntouched = 0;
constexpr std::uint32_t kNeverUsed = 0xffff'ffff;

class NoEnforcer final : public Enforcer {
 public:
  Result<void> confine(std::uint32_t /*endpoint*/) override { return {}; }
  Result<void> let_at(std::uint32_t /*endpoint*/, const Mapping& /*mapping*/) override {
    return {};
  }
  Result<void> take_back(std::uint32_t /*endpoint*/, const Mapping& /*mapping*/) override {
    return {};
  }
};

template <class T>
T typed(std::uint8_t type) {
  T request;
  request.head.type = type;
  return request;
}

spec::VirtioIommuReqAttach attach_request() {
  auto request = typed<spec::VirtioIommuReqAttach>(spec::VIRTIO_IOMMU_T_ATTACH);
  request.domain = Le32(1);
  request.endpoint = Le32(kEndpoint);
  return request;
}
spec::VirtioIommuReqMap map_request() {
  auto request = typed<spec::VirtioIommuReqMap>(spec::VIRTIO_IOMMU_T_MAP);
  request.domain = Le32(1);
  request.virt_start = spec::Le64Halves(0x5'0000'1000);
  request.virt_end = spec::Le64Halves(0x5'0000'1fff);
  request.phys_start = spec::Le64Halves(0x3'0000'2000);
  request.flags = Le32(spec::VIRTIO_IOMMU_MAP_F_READ);
  return request;
}
spec::VirtioIommuReqUnmap unmap_request() {
  auto request = typed<spec::VirtioIommuReqUnmap>(spec::VIRTIO_IOMMU_T_UNMAP);
  request.domain = Le32(1);
  request.virt_start = spec::Le64Halves(0x5'0000'1000);
  request.virt_end = spec::Le64Halves(0x5'0000'1fff);
  return request;
}
spec::VirtioIommuReqDetach detach_request() {
  auto request = typed<spec::VirtioIommuReqDetach>(spec::VIRTIO_IOMMU_T_DETACH);
  request.domain = Le32(1);
  request.endpoint = Le32(kEndpoint);
  return request;
}
spec::VirtioIommuReqProbe probe_request() {
  auto request = typed<spec::VirtioIommuReqProbe>(spec::VIRTIO_IOMMU_T_PROBE);
  request.endpoint = Le32(kEndpoint);
  return request;
}

class IommuQueuesTest : public ::testing::Test {
 protected:
  /// What was written of an answer, up to the length that the ring says.
  std::vector<std::byte> ask(ChainBuilder& builder) {
    const BuiltChain chain = builder.submit();
    EXPECT_TRUE(requests_.serve());
    const auto used = driver_.take_used();
    if (!used) {
      ADD_FAILURE() << "not given back";
      return {};
    }
    EXPECT_EQ(used->id, chain.head());
    std::vector<std::byte> written = chain.written();
    for (std::size_t at = used->length; at < written.size(); ++at)
      EXPECT_EQ(written[at], std::byte{kUntouched});
    written.resize(used->length);
    return written;
  }
  /// The status of a request with room for its tail and no more; nothing if there was none.
  template <class T>
  std::optional<std::uint8_t> status(const T& request) {
    ChainBuilder builder(driver_);
    const auto answer = ask(builder.readable_struct(request).writable(4));
    if (answer.size() != sizeof(spec::VirtioIommuReqTail)) {
      EXPECT_TRUE(answer.empty());
      return std::nullopt;
    }
    return std::to_integer<std::uint8_t>(answer[0]);
  }

  static std::uint32_t used_length(testing::FakeDriver& driver) {
    const auto used = driver.take_used();
    return used ? used->length : kNeverUsed;
  }

  NoEnforcer enforcer_;
  Iommu iommu_{{.granule = 4096,
                .input = {.first = 0x1000, .last = 0xf'ffff'ffff},
                .physical = {.first = 0, .last = 0xf'ffff'ffff},
                .endpoints = {{.id = kEndpoint,
                               .reserved = {from_to(0x8000, 0x8fff), from_to(0x10000, 0x1ffff)}}}},
               enforcer_};
  testing::TestRegion region_;
  testing::FakeDriver driver_{region_, 16};
  RequestQueue requests_ {
    iommu_, MUST(ring::DeviceQueue::create(driver_.config(), region_.window()))
  };
};

// VIRTIO 1.3, 5.13.6.2 to 5.13.6.6: every field is where the specification has it.
TEST_F(IommuQueuesTest, DoesWhatIsAsked) {
  EXPECT_EQ(status(attach_request()), spec::VIRTIO_IOMMU_S_OK);
  EXPECT_EQ(status(map_request()), spec::VIRTIO_IOMMU_S_OK);
  const auto at = iommu_.translate(kEndpoint, {.first = 0x5'0000'1008, .last = 0x5'0000'100f},
                                   window::Access::kRead);
  ASSERT_TRUE(at);
  EXPECT_EQ(*at, (std::vector<AddressRange>{from_to(0x3'0000'2008, 0x3'0000'200f)}));
  EXPECT_EQ(status(unmap_request()), spec::VIRTIO_IOMMU_S_OK);
  EXPECT_EQ(iommu_.mappings(), 0U);
  EXPECT_EQ(status(detach_request()), spec::VIRTIO_IOMMU_S_OK);
  EXPECT_EQ(status(map_request()), spec::VIRTIO_IOMMU_S_NOENT);
}

// VIRTIO 1.3, 5.13.6.2: the head's reserved bytes are ignored, the tail's are zero.
TEST_F(IommuQueuesTest, IgnoresWhatIsReservedInAHead) {
  auto request = attach_request();
  request.head.reserved[1] = 0xff;
  ChainBuilder builder(driver_);
  const auto answer = ask(builder.readable_struct(request).writable(4));
  EXPECT_EQ(answer, std::vector<std::byte>(4));
}

// VIRTIO 1.3, 5.13.6.3.2, 5.13.6.4.2, 5.13.6.6.2: rejected, ignored, rejected.
TEST_F(IommuQueuesTest, JudgesWhatIsReservedInABody) {
  auto attach = attach_request();
  attach.reserved = Le32(1);
  EXPECT_EQ(status(attach), spec::VIRTIO_IOMMU_S_INVAL);
  EXPECT_EQ(status(attach_request()), spec::VIRTIO_IOMMU_S_OK);
  EXPECT_EQ(status(map_request()), spec::VIRTIO_IOMMU_S_OK);
  auto unmap = unmap_request();
  unmap.reserved = Le32(1);
  EXPECT_EQ(status(unmap), spec::VIRTIO_IOMMU_S_INVAL);
  EXPECT_EQ(iommu_.mappings(), 1U);
  auto detach = detach_request();
  detach.reserved[7] = 1;
  EXPECT_EQ(status(detach), spec::VIRTIO_IOMMU_S_OK);
}

// VIRTIO 1.3, 5.13.6.2: given back with nothing written.
TEST_F(IommuQueuesTest, WritesNothingToWhatIsNoRequest) {
  for (const std::uint8_t type : {std::uint8_t{0}, std::uint8_t{6}, std::uint8_t{255}}) {
    auto request = attach_request();
    request.head.type = type;
    EXPECT_EQ(status(request), std::nullopt);
  }
  ChainBuilder no_room(driver_);
  EXPECT_TRUE(ask(no_room.readable_struct(attach_request()).writable(3)).empty());
  ChainBuilder no_answer(driver_);
  EXPECT_TRUE(ask(no_answer.readable_struct(attach_request())).empty());
  ChainBuilder no_head(driver_);
  EXPECT_TRUE(ask(no_head.readable("abc").writable(4)).empty());
  ChainBuilder no_question(driver_);
  EXPECT_TRUE(ask(no_question.writable(4)).empty());
  EXPECT_EQ(status(attach_request()), spec::VIRTIO_IOMMU_S_OK);
}

TEST_F(IommuQueuesTest, RefusesRequestsOfAnotherLength) {
  ASSERT_EQ(status(attach_request()), spec::VIRTIO_IOMMU_S_OK);
  const auto map = map_request();
  const auto bytes = std::as_bytes(std::span(&map, 1));
  for (const std::size_t length : {std::size_t{4}, bytes.size() - 1}) {
    ChainBuilder builder(driver_);
    const auto answer = ask(builder.readable(bytes.first(length)).writable(4));
    ASSERT_EQ(answer.size(), 4U);
    EXPECT_EQ(std::to_integer<std::uint8_t>(answer[0]), spec::VIRTIO_IOMMU_S_INVAL);
  }
  ChainBuilder longer(driver_);
  const auto answer = ask(longer.readable(bytes).readable("x").writable(4));
  ASSERT_EQ(answer.size(), 4U);
  EXPECT_EQ(std::to_integer<std::uint8_t>(answer[0]), spec::VIRTIO_IOMMU_S_INVAL);
  // How it is cut does not matter (VIRTIO 1.3, 2.7.4).
  ChainBuilder cut(driver_);
  const auto done =
      ask(cut.readable(bytes.first(7)).readable(bytes.subspan(7)).writable(1).writable(3));
  EXPECT_EQ(done, std::vector<std::byte>(4));
  EXPECT_EQ(iommu_.mappings(), 1U);
}

// VIRTIO 1.3, 5.13.6.7, 5.13.6.7.2, 5.13.6.8.1.
TEST_F(IommuQueuesTest, SaysWhatIsReserved) {
  ASSERT_EQ(iommu_.config().probe_size.get(), kProbeBytes);
  ChainBuilder builder(driver_);
  const auto answer = ask(builder.readable_struct(probe_request()).writable(kProbeBytes + 4));
  ASSERT_EQ(answer.size(), kProbeBytes + 4);
  std::array<spec::VirtioIommuProbeResvMem, 2> properties;
  std::memcpy(properties.data(), answer.data(), kProbeBytes);
  for (const auto& property : properties) {
    EXPECT_EQ(property.head.type.get(), spec::VIRTIO_IOMMU_PROBE_T_RESV_MEM);
    EXPECT_EQ(property.head.length.get(), 20);
    EXPECT_EQ(property.subtype, spec::VIRTIO_IOMMU_RESV_MEM_T_RESERVED);
  }
  EXPECT_EQ(properties[1].start.get(), 0x10000U);
  EXPECT_EQ(properties[1].end.get(), 0x1ffffU);
  EXPECT_EQ(std::to_integer<std::uint8_t>(answer[kProbeBytes]), spec::VIRTIO_IOMMU_S_OK);
}

// VIRTIO 1.3, 5.13.6.7.2: with too little room, and of nobody: no property, but a status at the
// end.
TEST_F(IommuQueuesTest, RefusesAProbeWithoutRoomOrEndpoint) {
  const auto ask_probe = [&](const spec::VirtioIommuReqProbe& request, std::uint32_t room) {
    ChainBuilder builder(driver_);
    auto answer = ask(builder.readable_struct(request).writable(room));
    EXPECT_GE(answer.size(), 4U);
    const auto status = std::to_integer<std::uint8_t>(answer.at(answer.size() - 4));
    answer.at(answer.size() - 4) = {};
    EXPECT_EQ(answer, std::vector<std::byte>(answer.size()));
    return status;
  };
  EXPECT_EQ(ask_probe(probe_request(), 4), spec::VIRTIO_IOMMU_S_INVAL);
  EXPECT_EQ(ask_probe(probe_request(), kProbeBytes + 3), spec::VIRTIO_IOMMU_S_INVAL);
  auto of_nobody = probe_request();
  of_nobody.endpoint = Le32(kEndpoint + 1);
  EXPECT_EQ(ask_probe(of_nobody, kProbeBytes + 4), spec::VIRTIO_IOMMU_S_NOENT);
}

// VIRTIO 1.3, 5.13.2, 5.13.6.9, 5.13.6.9.2.
TEST_F(IommuQueuesTest, ReportsFaultsWhereThereIsABuffer) {
  testing::FakeDriver driver(region_, 4);
  EventQueue events(MUST(ring::DeviceQueue::create(driver.config(), region_.window())));
  const Fault fault{.reason = spec::VIRTIO_IOMMU_FAULT_R_MAPPING,
                    .access = window::Access::kWrite,
                    .endpoint = kEndpoint,
                    .address = 0x5'0000'1000};
  EXPECT_FALSE(MUST(events.report(fault)));
  EXPECT_EQ(events.dropped(), 1U);
  const BuiltChain chain = ChainBuilder(driver).writable(sizeof(spec::VirtioIommuFault)).submit();
  EXPECT_TRUE(MUST(events.report(fault)));
  EXPECT_EQ(used_length(driver), sizeof(spec::VirtioIommuFault));
  spec::VirtioIommuFault written;
  std::memcpy(&written, chain.written().data(), sizeof written);
  EXPECT_EQ(written.reason, spec::VIRTIO_IOMMU_FAULT_R_MAPPING);
  EXPECT_EQ(written.flags.get(),
            spec::VIRTIO_IOMMU_FAULT_F_WRITE | spec::VIRTIO_IOMMU_FAULT_F_ADDRESS);
  EXPECT_EQ(written.endpoint.get(), kEndpoint);
  EXPECT_EQ(written.address.get(), 0x5'0000'1000U);
  EXPECT_EQ(written.reserved1.get(), 0U);
  // Too small a buffer is given back, and nothing is spread over two.
  ChainBuilder(driver).writable(sizeof(spec::VirtioIommuFault) - 1).submit();
  MUST(events.report(fault));
  EXPECT_EQ(used_length(driver), 0U);
  EXPECT_EQ(events.dropped(), 2U);
}

TEST_F(IommuQueuesTest, ABrokenRingIsAnError) {
  driver_.set_avail_index(100);
  EXPECT_EQ(requests_.serve().error().code, Errc::kBadIndexJump);
}

}  // namespace
}  // namespace airlock::iommu
