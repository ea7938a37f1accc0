// SPDX-License-Identifier: Apache-2.0
//
// Goal: no network card makes the driver touch what it should not, crash, hang or lose a frame.
// Method: an honest card whose every answer (configuration space, registers, rings, headers,
// lengths) the input may replace, driven through a whole life: open, frames, commands, reset.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "base/log.h"
#include "driver/net.h"
#include "testing/fake_net.h"
#include "testing/fake_transport.h"

namespace airlock::driver {
namespace {

using namespace std::chrono_literals;

class Life {
 public:
  explicit Life(FuzzedDataProvider& data) : data_(data), device_({.region_bytes = 128 * 1024}) {
    testing::FakeNet& card = device_.net;
    card.own_features = data_.ConsumeIntegral<std::uint64_t>() & kNetFeatures;
    for (auto& byte : std::as_writable_bytes(std::span(&card.config, 1))) {
      if (rarely()) byte = std::byte(data_.ConsumeIntegral<std::uint8_t>());
    }
    const auto size = data_.PickValueInArray<std::uint16_t>({2, 4, 8, 64});
    card.queue_sizes = {size, size, size};
    card.loops = data_.ConsumeBool();
    card.on_return = [this](std::uint32_t& written) {
      if (rarely()) written = data_.ConsumeIntegral<std::uint32_t>();
      device_.net.ack.reset();
      if (rarely()) device_.net.ack = data_.ConsumeIntegral<std::uint8_t>();
    };
    lies_.on_read = [this](const Register&, std::uint64_t& value) {
      if (rarely()) value = data_.ConsumeIntegral<std::uint64_t>();
    };
    lies_.on_write = [this](const Register&, std::uint64_t) { return rarely(); };
    lies_.on_config_read = [this](std::uint16_t, std::span<std::byte> target) {
      if (!target.empty() && rarely()) {
        target[data_.ConsumeIntegralInRange<std::size_t>(0, target.size() - 1)] =
            std::byte(data_.ConsumeIntegral<std::uint8_t>());
      }
    };
  }

  void run() {
    Net::Options wanted{.queue_size = 16, .receive_bytes = 16 * 1024, .spin = 0us, .timeout = 2ms};
    wanted.device.timeout = 2ms;
    auto net =
        Net::open(std::make_unique<testing::FakeTransport>(device_.device(), device_.memfd, lies_,
                                                           testing::FakeTransport::Options{}),
                  wanted);
    if (!net) return;
    for (int i = 0; i < 16 && data_.remaining_bytes() > 0; i++)
      step(**net);
    (void)(*net)->reset();
    count(**net);
    CHECK((*net)->sender(0).inside() == 0 && open_.empty());
  }

 private:
  bool rarely() { return data_.ConsumeIntegral<std::uint8_t>() >= 0xfa; }

  void step(Net& net) {
    switch (data_.ConsumeIntegralInRange(0, 7)) {
      case 0:
        return submit(net);
      case 1:
        return count(net);
      case 2:
        return deliver();
      case 3:
        return receive(net);
      case 4:
        return lie_in_the_ring();
      case 5:
        device_.net.held = data_.ConsumeBool();
        return;
      case 6:
        (void)net.set_promiscuous(data_.ConsumeBool());
        (void)net.status();
        return;
      default:
        if (data_.ConsumeBool()) (void)net.reset();
    }
  }
  void submit(Net& net) {
    NetFrame frame{.bytes = std::span(memory_).first(
                       data_.ConsumeIntegralInRange<std::size_t>(0, memory_.size()))};
    if (rarely()) {
      frame.missing_checksum = NetChecksum{data_.ConsumeIntegral<std::uint16_t>(),
                                           data_.ConsumeIntegral<std::uint16_t>()};
    }
    if (const auto id = net.sender(0).submit(frame)) open_.insert(*id);
    net.sender(0).kick();
  }
  // Each completion is of a frame that was submitted and had none.
  void count(Net& net) {
    while (const auto sent = net.sender(0).poll())
      CHECK(open_.erase(sent->id) == 1);
  }
  void deliver() {
    testing::FakeNet::Delivery how;
    for (auto& byte : std::as_writable_bytes(std::span(&how.header, 1))) {
      if (rarely()) byte = std::byte(data_.ConsumeIntegral<std::uint8_t>());
    }
    if (rarely()) how.num_buffers = data_.ConsumeIntegral<std::uint16_t>();
    if (rarely()) how.buffer_bytes_max = data_.ConsumeIntegralInRange<std::size_t>(1, 4096);
    const auto length = data_.ConsumeIntegralInRange<std::size_t>(0, memory_.size());
    (void)device_.net.deliver(std::span(memory_).first(length), how);
  }
  static void receive(Net& net) {
    for (int i = 0; i < 100; i++) {
      const auto received = net.receiver(0).poll();
      if (!received || !*received) return;
      CHECK((*received)->frame.size() >= kEthernetBytes);
      CHECK((*received)->frame.size() <= kReceivedFrameMax);
      const auto& missing = (*received)->missing_checksum;
      CHECK(!missing ||
            std::size_t{missing->start} + missing->offset + 2 <= (*received)->frame.size());
    }
  }
  void lie_in_the_ring() {
    if (!device_.net.running()) return;
    testing::FakeDevice raw = device_.net.raw(data_.ConsumeBool() ? 1 : 0);
    raw.put_used(data_.ConsumeIntegral<std::uint16_t>(),
                 {.id = data_.ConsumeIntegralInRange<std::uint32_t>(0, 20),
                  .length = data_.ConsumeIntegral<std::uint32_t>()});
    raw.set_used_index(data_.ConsumeIntegralInRange<std::uint16_t>(0, 20));
  }

  FuzzedDataProvider& data_;
  testing::FakeNetDevice device_;
  testing::Lies lies_;
  std::vector<std::byte> memory_ = std::vector<std::byte>(9000);
  std::set<std::uint64_t> open_;
};

}  // namespace
}  // namespace airlock::driver

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  airlock::set_log_level(airlock::LogLevel::kError);
  FuzzedDataProvider data(bytes, size);
  airlock::driver::Life(data).run();
  return 0;
}
