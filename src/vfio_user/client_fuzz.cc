// SPDX-License-Identifier: Apache-2.0
//
// A hostile server's bytes and fds against the client. The replies are written before the client
// asks, mostly with the numbers that it will use, and the stream ends behind them, so no call
// waits.
#include <fuzzer/FuzzedDataProvider.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <set>

#include "base/check.h"
#include "core/range.h"
#include "spec/vfio_user_io_fds.h"
#include "vfio_user/client.h"
#include "wire/raw_peer.h"

namespace airlock::vfio_user {
namespace {

constexpr std::uint64_t kPage = 4096;

class Script {
 public:
  explicit Script(FuzzedDataProvider& input) : input_(input) {}

  // The reply to the next message of the client's.
  Bytes next(std::uint16_t command, Bytes payload) {
    ++id_;
    const auto more = input_.ConsumeBytes<std::uint8_t>(rarely() ? 40 : 0);
    for (const std::uint8_t byte : more)
      payload.push_back(std::byte{byte});
    if (rarely() && !payload.empty()) payload.pop_back();
    for (int i = rarely() ? 3 : 0; i > 0 && !payload.empty(); --i) {
      payload[input_.ConsumeIntegralInRange<std::size_t>(0, payload.size() - 1)] =
          std::byte{input_.ConsumeIntegral<std::uint8_t>()};
    }
    const std::uint32_t flags = rarely() ? input_.ConsumeIntegral<std::uint32_t>() : 1;
    Bytes message = make_message(rarely() ? input_.ConsumeIntegral<std::uint16_t>() : id_,
                                 rarely() ? input_.ConsumeIntegral<std::uint16_t>() : command,
                                 payload, flags, number());
    if (!rarely()) return message;
    return make_message(number() & 0xffU, spec::VFIO_USER_DMA_READ, Bytes(16)) + message;
  }

  bool rarely() { return input_.ConsumeIntegralInRange(0, 15) == 15; }
  std::uint32_t number() {
    return input_.ConsumeBool() ? input_.ConsumeIntegral<std::uint32_t>()
                                : input_.ConsumeIntegralInRange<std::uint32_t>(0, 64);
  }

  Bytes region_info(std::uint32_t index) {
    const bool caps = input_.ConsumeBool();
    Bytes bytes = bytes_of(spec::VfioUserRegionInfo{.argsz = rarely() ? number()
                                                             : caps   ? 64U
                                                                      : 32U,
                                                    .flags = caps ? 0xfU : 7U,
                                                    .index = index,
                                                    .cap_offset = rarely() ? number()
                                                                  : caps   ? 32U
                                                                           : 0U,
                                                    .size = size(),
                                                    .offset = size()});
    if (!caps) return bytes;
    bytes = std::move(bytes) +
            bytes_of(spec::VfioRegionInfoCapSparseMmap{
                {1, 1, rarely() ? number() : 0}, rarely() ? number() : 1, 0}) +
            bytes_of(spec::VfioRegionSparseMmapArea{size(), size()});
    return bytes;
  }

  Bytes doorbells(std::uint32_t index) {
    using Info = spec::VfioUserRegionIoFds;
    using Entry = spec::VfioUserSubRegionIoeventfd;
    const auto count = input_.ConsumeIntegralInRange<std::uint32_t>(0, 3);
    const auto argsz = static_cast<std::uint32_t>(sizeof(Info) + count * sizeof(Entry));
    Bytes bytes = bytes_of(Info{.argsz = rarely() ? number() : argsz,
                                .flags = rarely() ? number() : 0,
                                .index = index,
                                .count = rarely() ? number() : count});
    for (std::uint32_t i = 0; i < count; ++i) {
      append_struct(bytes, Entry{.offset = rarely() ? size() : std::uint64_t{4} * i,
                                 .size = rarely() ? number() : 2,
                                 .fd_index = rarely() ? number() : 0,
                                 .type = rarely() ? number() : 0,
                                 .flags = rarely() ? number() : 0,
                                 .padding = number(),
                                 .datamatch = size()});
    }
    return bytes;
  }

 private:
  std::uint64_t size() {
    return rarely() ? input_.ConsumeIntegral<std::uint64_t>()
                    : kPage * input_.ConsumeIntegralInRange<std::uint64_t>(0, 4);
  }

  FuzzedDataProvider& input_;
  std::uint16_t id_ = 0;
};

std::vector<Fd> some_fds(FuzzedDataProvider& input) {
  const int kind = input.ConsumeIntegralInRange(0, 7);
  return some_eventfds(kind < 5 ? 0 : kind < 7 ? 1 : input.ConsumeIntegralInRange(2U, 18U));
}

void check_region(const Client::Region& region) {
  CHECK(region.areas.empty() == !region.fd);
  for (const MappableArea& area : region.areas) {
    CHECK(area.size != 0 && airlock_range_within(area.offset, area.size, region.size));
    CHECK(airlock_is_aligned(area.offset, kPage) && airlock_is_aligned(area.size, kPage));
    CHECK(airlock_range_within(region.file_offset, area.offset, INT64_MAX - area.size));
  }
}

void check_doorbells(const Client::Doorbells& doorbells) {
  CHECK(doorbells.eventfds.empty() == doorbells.fds.empty());
  std::set<std::uint64_t> bytes;
  for (const IoEventFd& one : doorbells.eventfds) {
    CHECK(one.fd_index < doorbells.fds.size() && is_anonymous_inode(doorbells.fds[one.fd_index]));
    CHECK(one.size != 0 && airlock_range_within(one.offset, one.size, kPage));
    CHECK(airlock_is_aligned(one.offset, one.size));
    for (std::uint64_t byte = one.offset; byte < one.offset + one.size; ++byte)
      CHECK(bytes.insert(byte).second);
  }
}

void run(FuzzedDataProvider& input) {
  auto [server, socket] = RawPeer::pair();
  Script script(input);
  Bytes version = bytes_of(spec::VfioUserVersion{0, 0});
  if (input.ConsumeBool()) {
    const std::string json = input.ConsumeRandomLengthString(200);
    version = std::move(version) +
              Bytes(std::as_bytes(std::span(json)).begin(), std::as_bytes(std::span(json)).end());
    version.push_back(std::byte{0});
  }
  std::array<std::uint32_t, 12> calls{};
  CHECK(server.send(script.next(spec::VFIO_USER_VERSION, version), some_fds(input)));
  for (auto& call : calls) {
    call = input.ConsumeIntegralInRange<std::uint32_t>(0, 5);
    Bytes reply;
    switch (call) {
      case 0:
        reply = script.next(spec::VFIO_USER_DEVICE_GET_INFO, Bytes(16));
        break;
      case 1:
        reply = script.next(spec::VFIO_USER_DEVICE_GET_REGION_INFO, script.region_info(2));
        if (input.ConsumeBool()) {
          reply = std::move(reply) +
                  script.next(spec::VFIO_USER_DEVICE_GET_REGION_INFO, script.region_info(2));
        }
        break;
      case 2:
        reply = script.next(spec::VFIO_USER_DEVICE_GET_IRQ_INFO,
                            bytes_of(spec::VfioUserIrqInfo{16, 1, 2, script.number()}));
        break;
      case 3:
        reply = script.next(spec::VFIO_USER_REGION_READ, Bytes(24));
        break;
      case 4:
        reply = script.next(spec::VFIO_USER_DEVICE_GET_REGION_IO_FDS, script.doorbells(2));
        break;
      default:
        reply = script.next(spec::VFIO_USER_DMA_UNMAP, Bytes(24));
        break;
    }
    CHECK(server.send(reply, some_fds(input)));
  }
  server.shutdown_writing();
  auto client = Client::adopt(std::move(socket), {});
  if (!client) return;
  for (const std::uint32_t call : calls) {
    std::array<std::byte, 8> target{};
    if (call == 0) (void)client->device_info();
    if (call == 1) {
      const auto region = client->region(2);
      if (region) check_region(*region);
    }
    if (call == 2) (void)client->irq_info(2);
    if (call == 3) (void)client->read(0, 0, target);
    if (call == 4) {
      const auto doorbells = client->doorbells(2, kPage);
      if (doorbells) check_doorbells(*doorbells);
    }
    if (call == 5) (void)client->dma_unmap_all();
  }
}

}  // namespace
}  // namespace airlock::vfio_user

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  const auto before = airlock::vfio_user::open_fds();
  airlock::vfio_user::run(input);
  CHECK(airlock::vfio_user::open_fds() == before);
  return 0;
}
