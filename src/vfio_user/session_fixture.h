// SPDX-License-Identifier: Apache-2.0
//
// For tests: a Session over a RecordingHandler, with one function a command.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spec/vfio_user_io_fds.h"
#include "vfio_user/recording_handler.h"
#include "vfio_user/session.h"
#include "vfio_user/version.h"
#include "wire/raw_peer.h"

namespace airlock::vfio_user {

using Calls = std::vector<std::string>;
struct Answer {
  spec::VfioUserHeader header;
  Bytes payload;
  std::vector<Fd> fds;

  // 0: success.
  [[nodiscard]] std::uint32_t error() const {
    if ((header.flags & spec::VFIO_USER_F_ERROR) == 0) return 0;
    EXPECT_EQ(header.message_size, 16U);
    EXPECT_NE(header.error, 0U);
    return header.error;
  }
  template <class T>
  [[nodiscard]] T as(std::size_t offset = 0) const {
    return require_struct<T>(payload, offset);
  }
};

class SessionTest : public testing::Test {
 protected:
  SessionTest() { set_log_level(LogLevel::kError); }

  void SetUp() override { EXPECT_EQ(send_version(0, 0, R"({"capabilities":{}})").error(), 0U); }

  Answer send_version(std::uint16_t major, std::uint16_t minor, std::string_view json) {
    Bytes payload = bytes_of(spec::VfioUserVersion{.major = major, .minor = minor});
    const auto text = std::as_bytes(std::span(json));
    payload.insert(payload.end(), text.begin(), text.end());
    if (!json.empty()) payload.push_back(std::byte{0});
    return send(spec::VFIO_USER_VERSION, payload);
  }

  // Sends a message that must be answered at once, and returns the answer.
  Answer send(std::uint16_t command, const Bytes& payload, std::vector<Fd> fds = {}) {
    post(command, payload, 0, std::move(fds));
    return take();
  }

  void post(std::uint16_t command, const Bytes& payload, std::uint32_t flags = 0,
            std::vector<Fd> fds = {}) {
    Bytes bytes = bytes_of(
        spec::VfioUserHeader{.message_id = ++id_,
                             .command = command,
                             .message_size = static_cast<std::uint32_t>(16 + payload.size()),
                             .flags = flags,
                             .error = 0});
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    EXPECT_TRUE(feed(bytes, std::move(fds)).has_value());
  }

  // As from a socket, in pieces of any size; the fds come with the first.
  Result<void> feed(std::span<const std::byte> bytes, std::vector<Fd> fds,
                    std::size_t piece = SIZE_MAX) {
    while (!bytes.empty()) {
      const auto target = reader_.target();
      const std::size_t count = std::min({target.size(), bytes.size(), piece});
      std::ranges::copy(bytes.first(count), target.begin());
      bytes = bytes.subspan(count);
      TRY(reader_.advance(count, std::exchange(fds, {}), false));
      if (reader_.complete()) session_.handle(reader_.take());
    }
    return {};
  }

  Answer take() {
    auto reply = session_.take_reply();
    CHECK(reply.has_value());
    Outgoing sent = std::move(reply).value_or(Outgoing{});
    Answer answer{.header = require_struct<spec::VfioUserHeader>(sent.bytes),
                  .payload = {sent.bytes.begin() + 16, sent.bytes.end()},
                  .fds = std::move(sent.fds)};
    EXPECT_EQ(answer.header.message_size, sent.bytes.size());
    EXPECT_EQ(answer.header.flags & 0xfU, spec::VFIO_USER_F_TYPE_REPLY);
    EXPECT_EQ(answer.header.message_id, id_);
    return answer;
  }

  Answer read(std::uint32_t region, std::uint64_t offset, std::uint32_t count) {
    return send(
        spec::VFIO_USER_REGION_READ,
        bytes_of(spec::VfioUserRegionAccess{.offset = offset, .region = region, .count = count}));
  }

  static Bytes write_payload(std::uint32_t region, std::uint64_t offset, std::uint32_t count,
                             std::size_t data) {
    Bytes payload =
        bytes_of(spec::VfioUserRegionAccess{.offset = offset, .region = region, .count = count});
    payload.insert(payload.end(), data, std::byte{0x5a});
    return payload;
  }

  Answer write(std::uint32_t region, std::uint64_t offset, std::uint32_t count) {
    return send(spec::VFIO_USER_REGION_WRITE, write_payload(region, offset, count, count));
  }

  Answer region_info(std::uint32_t index, std::uint32_t argsz) {
    return send(
        spec::VFIO_USER_DEVICE_GET_REGION_INFO,
        bytes_of(spec::VfioUserRegionInfo{
            .argsz = argsz, .flags = 0, .index = index, .cap_offset = 0, .size = 0, .offset = 0}));
  }

  Answer doorbells(const spec::VfioUserRegionIoFds& ask) {
    return send(spec::VFIO_USER_DEVICE_GET_REGION_IO_FDS, bytes_of(ask));
  }

  Answer dma_map(std::uint64_t address, std::uint64_t size, std::uint32_t flags = 3,
                 std::vector<Fd> fds = {}, std::uint32_t argsz = 32) {
    return send(spec::VFIO_USER_DMA_MAP,
                bytes_of(spec::VfioUserDmaMap{
                    .argsz = argsz, .flags = flags, .offset = 0, .address = address, .size = size}),
                std::move(fds));
  }

  Answer dma_unmap(std::uint32_t flags, std::uint64_t address, std::uint64_t size) {
    return send(spec::VFIO_USER_DMA_UNMAP,
                bytes_of(spec::VfioUserDmaUnmap{
                    .argsz = 24, .flags = flags, .address = address, .size = size}));
  }

  std::uint32_t set_irqs(std::uint32_t flags, std::uint32_t index, std::uint32_t start,
                         std::uint32_t count, std::vector<Fd> fds = {}, const Bytes& data = {}) {
    Bytes payload =
        bytes_of(spec::VfioUserIrqSet{.argsz = static_cast<std::uint32_t>(20 + data.size()),
                                      .flags = flags,
                                      .index = index,
                                      .start = start,
                                      .count = count});
    payload.insert(payload.end(), data.begin(), data.end());
    const Answer answer = send(spec::VFIO_USER_DEVICE_SET_IRQS, payload, std::move(fds));
    EXPECT_TRUE(answer.payload.empty());
    return answer.error();
  }

  // The handler's calls since the last time, without `connected`.
  Calls calls() {
    Calls calls = handler_.take_calls();
    std::erase(calls, "connected");
    return calls;
  }

  RecordingHandler handler_;
  int settled_ = 0;
  Session session_{
      handler_, {.max_data_xfer_size = 65536, .max_msg_fds = 8}, [this] { ++settled_; }};
  MessageReader reader_{session_.limits()};
  std::uint16_t id_ = 0x1000;
};

inline constexpr std::uint32_t kEventfdTrigger = 0x24;
inline constexpr std::uint32_t kNoneTrigger = 0x21;
inline constexpr std::uint32_t kBoolTrigger = 0x22;
inline constexpr std::uint32_t kMsix = spec::VFIO_PCI_MSIX_IRQ_INDEX;

}  // namespace airlock::vfio_user
