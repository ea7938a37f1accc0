// SPDX-License-Identifier: Apache-2.0
//
// Goal: no device makes the driver touch what it should not, crash, hang or lose a request. Method:
// an honest disk whose every answer (configuration space, registers, rings, status, lengths) the
// input may replace, driven through a whole life: open, I/O, reset, I/O.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "base/log.h"
#include "driver/blk.h"
#include "testing/fake_disk.h"
#include "testing/fake_transport.h"

namespace airlock::driver {
namespace {

using namespace std::chrono_literals;

class Life {
 public:
  explicit Life(FuzzedDataProvider& data) : data_(data), device_(options(data)) {
    testing::FakeDisk& disk = device_.disk;
    disk.own_features = data_.ConsumeIntegral<std::uint64_t>() & kBlkFeatures;
    disk.config.blk_size.set(512);
    disk.config.size_max.set(4096);
    disk.config.seg_max.set(4);
    disk.config.num_queues.set(1);
    for (auto& byte : std::as_writable_bytes(std::span(&disk.config, 1))) {
      if (rarely()) byte = std::byte(data_.ConsumeIntegral<std::uint8_t>());
    }
    disk.queue_sizes = {data_.PickValueInArray<std::uint16_t>({2, 4, 8, 64})};
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
    disk.on_answer = [this](const auto&, testing::FakeDisk::Answer& answer) {
      if (rarely()) answer.status = data_.ConsumeIntegral<std::uint8_t>();
      if (rarely()) answer.written = data_.ConsumeIntegral<std::uint32_t>();
    };
  }

  void run() {
    Blk::Options wanted{.queue_size = 16, .requests_max = 8, .spin = 0us, .timeout = 2ms};
    wanted.device.timeout = 2ms;
    auto blk =
        Blk::open(std::make_unique<testing::FakeTransport>(device_.device(), device_.memfd, lies_,
                                                           testing::FakeTransport::Options{}),
                  wanted);
    if (!blk) return;
    for (int i = 0; i < 16 && data_.remaining_bytes() > 0; i++)
      step(**blk);
    (void)(*blk)->reset();
    count(**blk);
    CHECK((*blk)->queue(0).inside() == 0 && open_.empty());
  }

 private:
  static testing::FakeDiskDevice::Options options(FuzzedDataProvider& data) {
    const auto offer = data.ConsumeBool() ? pci::AddressOffer::kBus : pci::AddressOffer::kOffset;
    return {.region_bytes = 64 * 1024, .negotiation = {.offer = offer}};
  }
  bool rarely() { return data_.ConsumeIntegral<std::uint8_t>() >= 0xfa; }

  void step(Blk& blk) {
    switch (data_.ConsumeIntegralInRange(0, 5)) {
      case 0:
      case 1:
        return submit(blk);
      case 2:
        return count(blk);
      case 3:
        return lie_in_the_ring();
      case 4:
        device_.disk.held = data_.ConsumeBool();
        return;
      default:
        if (data_.ConsumeBool()) (void)blk.reset();
    }
  }
  void submit(Blk& blk) {
    const auto op = static_cast<BlkOp>(data_.ConsumeIntegralInRange(0, 5));
    const std::size_t length = 512 * data_.ConsumeIntegralInRange<std::size_t>(1, 64);
    const std::span<std::byte> memory = std::span(memory_).first(op == BlkOp::kGetId ? 20 : length);
    const auto id =
        blk.queue(0).submit({.op = op,
                             .offset = 512 * data_.ConsumeIntegralInRange<std::uint64_t>(0, 100),
                             .target = memory,
                             .source = memory,
                             .length = length});
    if (id) open_.insert(*id);
    blk.queue(0).kick();
  }
  // Each completion is of a request that was submitted and had none.
  void count(Blk& blk) {
    while (const auto completion = blk.queue(0).poll())
      CHECK(open_.erase(completion->id) == 1);
  }
  void lie_in_the_ring() {
    if (!device_.disk.running()) return;
    testing::FakeDevice raw = device_.disk.raw(0);
    raw.put_used(data_.ConsumeIntegral<std::uint16_t>(),
                 {.id = data_.ConsumeIntegralInRange<std::uint32_t>(0, 20),
                  .length = data_.ConsumeIntegral<std::uint32_t>()});
    raw.set_used_index(data_.ConsumeIntegralInRange<std::uint16_t>(0, 20));
  }

  FuzzedDataProvider& data_;
  testing::FakeDiskDevice device_;
  testing::Lies lies_;
  std::vector<std::byte> memory_ = std::vector<std::byte>(64 * 512);
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
