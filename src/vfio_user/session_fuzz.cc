// SPDX-License-Identifier: Apache-2.0
//
// A client's bytes and fds against the server's half of the protocol. Mostly well-formed messages
// with rare lies, so that the commands themselves are reached. RecordingHandler checks every
// argument that gets through.
#include <fuzzer/FuzzedDataProvider.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include "base/log.h"
#include "spec/vfio_user_io_fds.h"
#include "vfio_user/recording_handler.h"
#include "vfio_user/session.h"

namespace airlock::vfio_user {
namespace {

constexpr std::uint32_t kMaxXfer = 16384;

class Fuzzer {
 public:
  Fuzzer(const std::uint8_t* data, std::size_t size) : input_(data, size) {}

  void run() {
    if (!rarely()) {
      feed({.message_id = 0,
            .command = spec::VFIO_USER_VERSION,
            .message_size = 20,
            .flags = 0,
            .error = 0},
           std::vector<std::byte>(4));
    }
    while (input_.remaining_bytes() > 0 && sound_) {
      handler_.hold = input_.ConsumeIntegralInRange(0, 7) == 0;
      step();
      check_replies();
    }
    session_.close();
    handler_.held.clear();
    CHECK(!session_.pending() && !handler_.is_connected);
  }

 private:
  bool rarely() { return input_.ConsumeIntegralInRange(0, 31) == 31; }

  // A small number, or any.
  template <class T>
  T number() {
    switch (input_.ConsumeIntegralInRange(0, 3)) {
      case 0:
        return input_.ConsumeIntegral<T>();
      case 1:
        return static_cast<T>(0U - input_.ConsumeIntegralInRange<T>(0, 16));
      default:
        return input_.ConsumeIntegralInRange<T>(0, 40);
    }
  }

  std::vector<std::byte> payload(std::uint16_t command) {
    std::vector<std::byte> bytes;
    switch (command) {
      case spec::VFIO_USER_DMA_MAP:
        append_struct(bytes,
                      spec::VfioUserDmaMap{32, number<std::uint32_t>() & 3, number<std::uint64_t>(),
                                           number<std::uint64_t>(), number<std::uint64_t>()});
        break;
      case spec::VFIO_USER_DMA_UNMAP:
        append_struct(
            bytes, spec::VfioUserDmaUnmap{24, number<std::uint32_t>() & 2, number<std::uint64_t>(),
                                          number<std::uint64_t>()});
        break;
      case spec::VFIO_USER_DEVICE_GET_REGION_INFO:
        append_struct(bytes, spec::VfioUserRegionInfo{number<std::uint32_t>() | 32, 0,
                                                      number<std::uint32_t>() & 15, 0, 0, 0});
        break;
      case spec::VFIO_USER_DEVICE_GET_REGION_IO_FDS:
        append_struct(bytes, spec::VfioUserRegionIoFds{number<std::uint32_t>() | 16, 0,
                                                       number<std::uint32_t>() & 15,
                                                       rarely() ? number<std::uint32_t>() : 0});
        break;
      case spec::VFIO_USER_DEVICE_GET_INFO:
      case spec::VFIO_USER_DEVICE_GET_IRQ_INFO:
        append_struct(bytes, spec::VfioUserIrqInfo{16, 0, number<std::uint32_t>() & 7, 0});
        break;
      case spec::VFIO_USER_DEVICE_SET_IRQS:
        append_struct(bytes, spec::VfioUserIrqSet{
                                 20, number<std::uint32_t>() & 0x3f, number<std::uint32_t>() & 7,
                                 number<std::uint32_t>(), number<std::uint32_t>()});
        break;
      case spec::VFIO_USER_REGION_READ:
      case spec::VFIO_USER_REGION_WRITE:
        append_struct(
            bytes, spec::VfioUserRegionAccess{number<std::uint64_t>(), number<std::uint32_t>() & 15,
                                              number<std::uint32_t>()});
        break;
      default:
        break;
    }
    const auto more =
        input_.ConsumeBytes<std::uint8_t>(input_.ConsumeIntegralInRange<std::size_t>(0, 40));
    for (const std::uint8_t byte : more)
      bytes.push_back(std::byte{byte});
    return bytes;
  }

  void step() {
    spec::VfioUserHeader header{.message_id = input_.ConsumeIntegral<std::uint16_t>(),
                                .command = input_.ConsumeIntegralInRange<std::uint16_t>(0, 20),
                                .message_size = 0,
                                .flags = rarely() ? input_.ConsumeIntegral<std::uint32_t>() : 0,
                                .error = 0};
    if (input_.ConsumeBool()) header.flags |= spec::VFIO_USER_F_NO_REPLY;
    const std::vector<std::byte> bytes = payload(header.command);
    header.message_size =
        rarely() ? number<std::uint32_t>() : static_cast<std::uint32_t>(16 + bytes.size());
    feed(header, bytes);
  }

  void feed(const spec::VfioUserHeader& header, const std::vector<std::byte>& payload) {
    std::vector<std::byte> bytes;
    append_struct(bytes, header);
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    std::span<const std::byte> rest(bytes);
    while (!rest.empty() && sound_) {
      const auto target = reader_.target();
      CHECK(!target.empty());
      const std::size_t most = std::min(target.size(), rest.size());
      const auto count = rarely() ? input_.ConsumeIntegralInRange<std::size_t>(1, most) : most;
      std::ranges::copy(rest.first(count), target.begin());
      rest = rest.subspan(count);
      sound_ = reader_.advance(count, fds(), rarely()).has_value();
      if (sound_ && reader_.complete()) handle();
    }
  }

  std::vector<Fd> fds() {
    std::vector<Fd> fds;
    if (input_.ConsumeIntegralInRange(0, 3) != 3) return fds;
    const auto count = input_.ConsumeIntegralInRange<std::size_t>(0, 17);
    while (fds.size() < count)
      fds.emplace_back(eventfd(0, EFD_CLOEXEC));
    return fds;
  }

  void handle() {
    answers_due_ = 1;
    Message message = reader_.take();
    const bool no_reply = (message.header.flags & spec::VFIO_USER_F_NO_REPLY) != 0;
    id_ = message.header.message_id;
    command_ = message.header.command;
    session_.handle(std::move(message));
    if (session_.pending()) {
      CHECK(!session_.take_reply());
      auto reply = std::move(handler_.held.back());
      handler_.held.pop_back();
      if (input_.ConsumeBool()) reply({});
    }
    CHECK(!session_.pending());
    if (no_reply) answers_due_ = 0;
    check_replies();
  }

  // One reply, well-formed, to the one message; none to one that wants none.
  void check_replies() {
    while (const auto reply = session_.take_reply()) {
      CHECK(answers_due_-- == 1);
      const auto header = require_struct<spec::VfioUserHeader>(reply->bytes);
      CHECK(header.message_size == reply->bytes.size());
      CHECK(header.message_id == id_ && header.command == command_);
      const bool is_error =
          header.flags == (spec::VFIO_USER_F_TYPE_REPLY | spec::VFIO_USER_F_ERROR);
      CHECK(is_error || header.flags == spec::VFIO_USER_F_TYPE_REPLY);
      CHECK(!is_error || (header.message_size == 16 && header.error != 0));
      const std::size_t most = is_error                                                   ? 0
                               : header.command == spec::VFIO_USER_DEVICE_GET_REGION_INFO ? 1
                               : header.command == spec::VFIO_USER_DEVICE_GET_REGION_IO_FDS
                                   ? RecordingHandler::kDoorbells
                                   : 0;
      CHECK(reply->fds.size() <= most);
    }
    CHECK(answers_due_ == 0);
  }

  FuzzedDataProvider input_;
  RecordingHandler handler_;
  Session session_{handler_, {.max_data_xfer_size = kMaxXfer, .max_msg_fds = 8}, [] {}};
  MessageReader reader_{session_.limits()};
  std::uint16_t id_ = 0;
  std::uint16_t command_ = 0;
  int answers_due_ = 0;
  bool sound_ = true;  // the stream
};

}  // namespace
}  // namespace airlock::vfio_user

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  airlock::set_log_level(airlock::LogLevel::kError);
  airlock::vfio_user::Fuzzer(data, size).run();
  return 0;
}
