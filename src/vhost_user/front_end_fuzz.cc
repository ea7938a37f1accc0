// SPDX-License-Identifier: Apache-2.0
//
// A backend's bytes and fds against the front end: mostly what was asked for, with rare lies in
// header, size, payload and fds, cut into pieces anywhere; and requests of its own.
#include <fuzzer/FuzzedDataProvider.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iterator>

#include "vhost_user/backend_request.h"
#include "vhost_user/front_end.h"
#include "vhost_user/scripted_backend.h"

namespace airlock::vhost_user {
namespace {

constexpr std::uint32_t kConfigBytes = 60;

std::ptrdiff_t open_fds() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

class Fuzzer {
 public:
  Fuzzer(const std::uint8_t* data, std::size_t size) : input_(data, size) {}

  void run() {
    backend_.features = rarely() ? input_.ConsumeIntegral<std::uint64_t>() : backend_.features;
    backend_.protocol = input_.ConsumeIntegral<std::uint64_t>();
    backend_.queues = input_.ConsumeIntegral<std::uint64_t>();
    backend_.on_answer = [this](Message& answer) { lie(answer); };
    front_end_.greet(kConfigBytes, Fd(eventfd(0, EFD_CLOEXEC)),
                     [this](const Facts& facts) -> Result<void> {
                       CHECK(facts.config.empty() || facts.config.size() == kConfigBytes);
                       greeted_ = true;
                       return {};
                     });
    while (answer_all() && greeted_ && input_.remaining_bytes() > 0) {
      ask();
      request();
    }
  }

 private:
  bool rarely() { return input_.ConsumeIntegralInRange(0, 31) == 31; }

  void lie(Message& answer) {
    if (rarely()) answer.header.request = input_.ConsumeIntegralInRange<std::uint32_t>(0, 45);
    if (rarely()) answer.header.flags = input_.ConsumeIntegral<std::uint32_t>();
    if (rarely()) answer.header.size = input_.ConsumeIntegral<std::uint32_t>();
    if (rarely() && !answer.payload.empty()) {
      const auto at = input_.ConsumeIntegralInRange<std::size_t>(0, answer.payload.size() - 1);
      answer.payload[at] = static_cast<std::byte>(input_.ConsumeIntegral<std::uint8_t>());
    }
    if (rarely()) answer.payload.resize(input_.ConsumeIntegralInRange<std::size_t>(0, 300));
    if (rarely()) answer.fds.emplace_back(eventfd(0, EFD_CLOEXEC));
    if (rarely()) answer.fds.clear();
  }

  // As a stream, in pieces. False once the connection would be closed.
  bool answer_all() {
    while (auto outgoing = dialogue_.take_outgoing()) {
      auto answer = backend_.answer(*outgoing);
      if (!answer) continue;
      auto bytes = vfio_user::bytes_of(answer->header);
      bytes.insert(bytes.end(), answer->payload.begin(), answer->payload.end());
      if (!feed(bytes, std::move(answer->fds))) return false;
    }
    return true;
  }
  bool feed(std::span<const std::byte> bytes, std::vector<Fd> fds) {
    while (!bytes.empty()) {
      const auto target = reader_.target();
      std::size_t count = std::min(target.size(), bytes.size());
      if (rarely()) count = input_.ConsumeIntegralInRange<std::size_t>(1, count);
      std::ranges::copy(bytes.first(count), target.begin());
      bytes = bytes.subspan(count);
      if (!reader_.advance(count, std::exchange(fds, {}))) return false;
      if (reader_.complete() && !dialogue_.receive(reader_.take())) return false;
    }
    return true;
  }

  void ask() {
    const auto queue = input_.ConsumeIntegralInRange<std::uint16_t>(0, 3);
    switch (input_.ConsumeIntegralInRange(0, 6)) {
      case 0:
        return front_end_.set_features(input_.ConsumeIntegral<std::uint64_t>());
      case 1:
        return front_end_.stop_ring(queue, [](std::uint32_t) {});
      case 2:
        return front_end_.get_inflight(2, 64, [this](Inflight inflight) {
          CHECK(inflight.fd && inflight.shape.num_queues == 2 && inflight.shape.queue_size == 64);
          front_end_.set_inflight(inflight.shape, std::move(inflight.fd));
        });
      case 3:
        return front_end_.enable(queue, input_.ConsumeBool());
      case 4:
        if (!front_end_.facts().config.empty()) front_end_.get_config([] {});
        return;
      case 5:
        return front_end_.reset_device();
      default:
        return front_end_.set_ring({.index = queue, .size = 8}, Fd(), Fd());
    }
  }
  // One of its own.
  void request() {
    Message message;
    message.header = {.request = input_.ConsumeIntegralInRange<std::uint32_t>(0, 12),
                      .flags = input_.ConsumeIntegral<std::uint32_t>(),
                      .size = 0};
    message.payload.resize(input_.ConsumeIntegralInRange<std::size_t>(0, 16));
    bool changed = false;
    const auto answer = answer_backend_request(message, [&changed] { changed = true; });
    CHECK(!changed || message.header.request == spec::VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
    CHECK(!answer || !*answer || (*answer)->bytes.size() == kHeaderSize + 8);
  }

  FuzzedDataProvider input_;
  ScriptedBackend backend_;
  Dialogue dialogue_;
  FrontEnd front_end_{dialogue_};
  MessageReader reader_;
  bool greeted_ = false;
};

}  // namespace
}  // namespace airlock::vhost_user

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto before = airlock::vhost_user::open_fds();
  airlock::vhost_user::Fuzzer(data, size).run();
  CHECK(airlock::vhost_user::open_fds() == before);
  return 0;
}
