// SPDX-License-Identifier: Apache-2.0
//
// The disk and the source of random numbers as a hostile driver finds them.
#include "testing/hostile_driver_subject.h"

#include <gtest/gtest.h>

#include <utility>

#include "backend/memory_backend.h"
#include "base/check.h"
#include "device/blk/blk_device.h"
#include "device/rng/rng_device.h"
#include "spec/virtio.h"
#include "spec/virtio_blk.h"
#include "testing/hostile_driver.h"

namespace airlock::testing {

namespace {

std::vector<std::byte> probe_pattern(std::uint64_t seed) {
  std::vector<std::byte> bytes(HostileDriver::kProbeBytes);
  for (std::size_t i = 0; i < bytes.size(); i++)
    bytes[i] = static_cast<std::byte>((i * 7 + i / 256 + seed) & 0xff);
  return bytes;
}

class BlkSubject final : public AttackSubject {
 public:
  BlkSubject(const SubjectOptions& options, Gate& gate) {
    auto memory = backend::open_memory(AttackTarget::kDiskBytes, false);
    CHECK(memory.has_value());
    disk_ = MUST(device::BlkDevice::create(
        {.backend = std::make_unique<GatedBackend>(std::move(*memory), gate),
         .shape = {.queues = 2, .queue_size = options.queue_size},
         .ring_features = options.ring_features}));
  }

  [[nodiscard]] device::DeviceType& device() override { return *disk_; }
  [[nodiscard]] std::string name() const override { return "disk"; }
  [[nodiscard]] std::uint16_t queue() const override { return 0; }
  [[nodiscard]] std::uint64_t features() const override {
    return spec::feature(spec::VIRTIO_BLK_F_FLUSH) | spec::feature(spec::VIRTIO_BLK_F_DISCARD) |
           spec::feature(spec::VIRTIO_BLK_F_WRITE_ZEROES) | spec::feature(spec::VIRTIO_BLK_F_MQ);
  }
  [[nodiscard]] std::vector<airlock_descriptor> chain(const HostileDriver& driver) const override {
    return {driver.header(spec::VIRTIO_BLK_T_IN),
            driver.writable(HostileDriver::kData, kDataPartBytes), driver.status_byte()};
  }
  // A status is all that a request needs.
  [[nodiscard]] airlock_descriptor single(const HostileDriver& driver) const override {
    return driver.status_byte();
  }

  // A write and a read of the same sectors, by different queues, agree.
  bool works(HostileDriver& driver) override {
    const std::vector<std::byte> pattern = probe_pattern(++probes_);
    driver.memory().copy_in(HostileDriver::kData, pattern);
    if (!transfer(driver, 0, spec::VIRTIO_BLK_T_OUT, HostileDriver::kProbeSector)) return false;
    driver.memory().fill_zero(HostileDriver::kData, HostileDriver::kProbeBytes);
    if (!transfer(driver, 1, spec::VIRTIO_BLK_T_IN, HostileDriver::kProbeSector)) return false;
    return found(driver) == pattern;
  }
  void put_canary(HostileDriver& driver) override {
    driver.memory().copy_in(HostileDriver::kData, probe_pattern(0));
    EXPECT_TRUE(transfer(driver, 0, spec::VIRTIO_BLK_T_OUT, HostileDriver::kCanarySector));
  }
  bool has_canary(HostileDriver& driver) override {
    return transfer(driver, 0, spec::VIRTIO_BLK_T_IN, HostileDriver::kCanarySector) &&
           found(driver) == probe_pattern(0);
  }

 private:
  static bool transfer(HostileDriver& driver, std::uint16_t queue, std::uint32_t type,
                       std::uint64_t sector) {
    constexpr std::uint32_t kBytes = HostileDriver::kProbeBytes;
    driver.submit_request(queue, type, sector, kBytes);
    const auto used = driver.wait_used(queue);
    const std::uint32_t written = type == spec::VIRTIO_BLK_T_IN ? kBytes + 1 : 1;
    return used && (driver.packed() || used->id == 0) && used->length == written &&
           driver.status_written() == spec::VIRTIO_BLK_S_OK;
  }
  static std::vector<std::byte> found(const HostileDriver& driver) {
    std::vector<std::byte> bytes(HostileDriver::kProbeBytes);
    driver.memory().copy_out(HostileDriver::kData, bytes);
    return bytes;
  }

  std::unique_ptr<device::BlkDevice> disk_;
  std::uint64_t probes_ = 0;
};

class RngSubject final : public AttackSubject {
 public:
  explicit RngSubject(const SubjectOptions& options)
      : rng_(MUST(device::RngDevice::create(
            {.queue_size = options.queue_size, .ring_features = options.ring_features}))) {}

  [[nodiscard]] device::DeviceType& device() override { return *rng_; }
  [[nodiscard]] std::string name() const override { return "rng"; }
  [[nodiscard]] std::uint16_t queue() const override { return 0; }
  [[nodiscard]] std::uint64_t features() const override { return 0; }
  [[nodiscard]] std::vector<airlock_descriptor> chain(const HostileDriver& driver) const override {
    return {driver.writable(HostileDriver::kHeader, 16),
            driver.writable(HostileDriver::kData, kDataPartBytes),
            driver.writable(HostileDriver::kStatus, 1)};
  }
  [[nodiscard]] airlock_descriptor single(const HostileDriver& driver) const override {
    return driver.writable(HostileDriver::kData, kDataPartBytes);
  }

  // So many zeros in a row there never are.
  bool works(HostileDriver& driver) override {
    driver.memory().fill_zero(HostileDriver::kData, kDataPartBytes);
    driver.submit(0, {single(driver)});
    const auto used = driver.wait_used(0);
    std::vector<std::byte> bytes(kDataPartBytes);
    driver.memory().copy_out(HostileDriver::kData, bytes);
    return used && used->length == kDataPartBytes && bytes != std::vector<std::byte>(bytes.size());
  }

 private:
  std::unique_ptr<device::RngDevice> rng_;
};

}  // namespace

std::unique_ptr<AttackSubject> make_blk_subject(const SubjectOptions& options, Gate& gate) {
  return std::make_unique<BlkSubject>(options, gate);
}

std::unique_ptr<AttackSubject> make_rng_subject(const SubjectOptions& options) {
  return std::make_unique<RngSubject>(options);
}

std::unique_ptr<AttackSubject> make_subject(const SubjectOptions& options, Gate& gate) {
  switch (options.attacked) {
    case Attacked::kBlk:
      return make_blk_subject(options, gate);
    case Attacked::kNetReceive:
    case Attacked::kNetTransmit:
    case Attacked::kNetControl:
      return make_net_subject(options);
    case Attacked::kVsockReceive:
    case Attacked::kVsockTransmit:
      return make_vsock_subject(options);
    case Attacked::kConsoleReceive:
    case Attacked::kConsoleTransmit:
    case Attacked::kConsoleControlReceive:
    case Attacked::kConsoleControlTransmit:
      return make_console_subject(options);
    case Attacked::kRng:
      break;
  }
  return make_rng_subject(options);
}

}  // namespace airlock::testing
