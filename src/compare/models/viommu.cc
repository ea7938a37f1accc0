// SPDX-License-Identifier: Apache-2.0
#include "compare/models/viommu.h"

#include <utility>

#include "compare/models/linux_pool.h"
#include "compare/models/viommu_driver.h"
#include "compare/trusted_lines.h"

namespace airlock::compare {

namespace {

using HostAsk = ViommuRequest::Kind;

/// What both ways to use the IOMMU begin with: the guest's memory, the driver, whose queues are in
/// there, and the disk's addresses, which the guest sees as well.
struct ViommuGuest {
  PrivateMemory own;
  CoherentArea area{0, PrivateMemory::kReserved};
  std::unique_ptr<ViommuDriver> driver;
  shm::SealedMemfd io;
  shm::Mapping io_mapping;
};

// The disk is attached before anybody has its file.
Result<ViommuGuest> start_host(const Fd& host, std::uint64_t bytes) {
  auto started =
      TRY(ask<ViommuReply>(host, ViommuRequest{.kind = HostAsk::kStart, .bytes = bytes}));
  if (started.fds.size() != 1) return fail(Errc::kMalformed);
  ViommuGuest guest;
  guest.own = TRY(PrivateMemory::adopt(std::move(started.fds[0]), bytes));
  guest.driver = TRY(ViommuDriver::start(host, guest.own.bytes(), guest.area));
  TRY(guest.driver->attach(kDiskEndpoint));
  auto let = TRY(
      ask<ViommuReply>(host, ViommuRequest{.kind = HostAsk::kLetAt, .endpoint = kDiskEndpoint}));
  if (let.fds.size() != 1) return fail(Errc::kMalformed);
  guest.io = TRY(shm::SealedMemfd::adopt(std::move(let.fds[0]), kIoBytes));
  guest.io_mapping = TRY(guest.io.map());
  return guest;
}

/// The host's counts; the faults that it reported meanwhile are added to those in `counts`.
Result<TrustedCounts> host_counts(const Fd& host, ViommuDriver& driver, AccessCounts& counts) {
  const auto reply = TRY(ask<ViommuReply>(host, ViommuRequest{.kind = HostAsk::kCounts}))
  .message;
  counts.high_water_bytes = reply.pages_most * kPageBytes;
  counts.faults += TRY(driver.take_faults())
  .size();
  return reply.counts;
}

class ViommuAccess final : public Access {
 public:
  ViommuAccess(ViommuGuest guest, const Fd& host) : guest_(std::move(guest)), host_(host) {}

  [[nodiscard]] const PrivateMemory& private_memory() const override { return guest_.own; }
  [[nodiscard]] shm::SharedBytes memory() const override { return guest_.io_mapping.bytes(); }
  [[nodiscard]] window::Publisher publisher() const override {
    return {.mode = window::AddressMode::kBus, .region = kIoBase};
  }

  [[nodiscard]] Result<std::uint64_t> choose(std::uint64_t offered) const override {
    return choose_of_platform(offered);
  }
  // Mapped once and for all: both sides use it all the time, so the driver uses what the disk sees.
  Result<window::RegionOffset> allocate_coherent(std::uint64_t bytes) override {
    const window::RegionOffset own = TRY(guest_.area.take(bytes));
    return window::RegionOffset {
      TRY(map_pages({.offset = std::to_underlying(own), .length = bytes},
                    pool::Direction::kBidirectional))
    };
  }

  Result<MappedBuffer> map(std::span<std::byte> buffer, pool::Direction direction) override {
    const std::uint64_t own = TRY(guest_.own.offset_of(buffer));
    const Stretch stretch{.offset = own, .length = buffer.size()};
    const std::uint64_t offset = TRY(map_pages(stretch, direction));
    ++counts_.maps;
    return MappedBuffer{.offset = window::RegionOffset{offset + own % kPageBytes},
                        .buffer = buffer,
                        .direction = direction,
                        .handle = {offset, stretch.pages()}};
  }

  // Real pages need none of this. Here they are moved anew.
  Result<void> sync_for_device(const MappedBuffer& mapped) override {
    const auto [offset, pages] = mapped.handle;
    if (!addresses_.holds(offset, pages))
      return fail({.code = Errc::kBadHandle, .address = offset});
    TRY(guest_.driver->unmap(range_of(offset, pages)));
    const std::uint64_t own = TRY(guest_.own.offset_of(mapped.buffer));
    return guest_.driver->map(
        mapping_of(offset, {.offset = own, .length = mapped.buffer.size()}, mapped.direction));
  }

  // Nobody has the addresses, or the pages, before the answer is there.
  Result<void> unmap(const MappedBuffer& mapped, std::uint64_t /*written*/) override {
    const auto [offset, pages] = mapped.handle;
    if (!addresses_.holds(offset, pages))
      return fail({.code = Errc::kBadHandle, .address = offset});
    TRY(guest_.driver->unmap(range_of(offset, pages)));
    addresses_.give_back(offset, pages);
    return {};
  }

  Result<void> start(DeviceLink& device, std::span<const QueueLink> queues) override {
    const DeviceLink::Loan loan{.shape = {.size = kIoBytes, .address = kIoBase},
                                .memory = &guest_.io.fd()};
    return device.start(std::span(&loan, 1), queues);
  }

  [[nodiscard]] AccessCounts counts() const override {
    AccessCounts counts = counts_;
    counts.messages = guest_.driver->messages();
    return counts;
  }
  [[nodiscard]] Result<TrustedCounts> trusted_counts() override {
    return host_counts(host_, *guest_.driver, counts_);
  }

 private:
  /// Some of the guest's memory.
  struct Stretch {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;

    [[nodiscard]] std::uint64_t pages() const {
      return (offset % kPageBytes + length + kPageBytes - 1) / kPageBytes;
    }
  };
  static iommu::AddressRange range_of(std::uint64_t offset, std::uint64_t pages) {
    const std::uint64_t first = std::to_underlying(kIoBase) + offset;
    return {.first = first, .last = first + pages * kPageBytes - 1};
  }
  // The pages around it: an IOMMU knows no less.
  static iommu::Mapping mapping_of(std::uint64_t offset, const Stretch& own,
                                   pool::Direction direction) {
    return {.range = range_of(offset, own.pages()),
            .physical = std::to_underlying(kPrivateBase) + own.offset / kPageBytes * kPageBytes,
            .readable = direction != pool::Direction::kFromDevice,
            .writable = direction != pool::Direction::kToDevice};
  }
  /// Where the first page is, as an offset from kIoBase. Errors: kPoolFull, kTooLarge; the
  /// driver's.
  Result<std::uint64_t> map_pages(const Stretch& own, pool::Direction direction) {
    if (own.pages() > addresses_.pages()) {
      return fail({.code = Errc::kTooLarge, .address = own.length});
    }
    const auto offset = addresses_.take(own.pages());
    if (!offset) {
      ++counts_.full;
      return fail(Errc::kPoolFull);
    }
    auto mapped = guest_.driver->map(mapping_of(*offset, own, direction));
    if (!mapped) {
      addresses_.give_back(*offset, own.pages());
      return fail(mapped.error());
    }
    return *offset;
  }

  ViommuGuest guest_;
  const Fd& host_;
  IoAddresses addresses_{kIoBytes};
  AccessCounts counts_;
};

/// The pool is the window, and the guest's last memory. It is mapped for good, so the driver uses
/// what the disk sees of it.
class ViommuBounceAccess final : public LinuxPool {
 public:
  ViommuBounceAccess(LinuxPool::Memory memory, std::unique_ptr<ViommuDriver> driver, const Fd& host)
      : LinuxPool(std::move(memory)), driver_(std::move(driver)), host_(host) {}

  [[nodiscard]] Result<std::uint64_t> choose(std::uint64_t offered) const override {
    return choose_of_platform(offered);
  }
  [[nodiscard]] AccessCounts counts() const override {
    AccessCounts counts = LinuxPool::counts();
    counts.messages = driver_->messages();
    counts.faults = faults_;
    return counts;
  }
  [[nodiscard]] Result<TrustedCounts> trusted_counts() override {
    AccessCounts counts;
    TrustedCounts trusted = TRY(host_counts(host_, *driver_, counts));
    faults_ += counts.faults;
    return trusted;
  }

 private:
  std::unique_ptr<ViommuDriver> driver_;
  const Fd& host_;
  std::uint64_t faults_ = 0;
};

Result<std::unique_ptr<Access>> connect_viommu(const GuestSide& guest) {
  return std::make_unique<ViommuAccess>(TRY(start_host(*guest.trusted, guest.private_bytes)),
                                        *guest.trusted);
}

Result<std::unique_ptr<Access>> connect_viommu_bounce(const GuestSide& guest) {
  ViommuGuest started = TRY(start_host(*guest.trusted, guest.private_bytes + kIoBytes));
  const std::uint64_t first = std::to_underlying(kIoBase);
  TRY(started.driver->map({.range = {.first = first, .last = first + kIoBytes - 1},
                           .physical = std::to_underlying(kPrivateBase) + guest.private_bytes,
                           .readable = true,
                           .writable = true}));
  LinuxPool::Memory memory{.own = std::move(started.own),
                           .shared = std::move(started.io),
                           .mapping = std::move(started.io_mapping)};
  return std::make_unique<ViommuBounceAccess>(std::move(memory), std::move(started.driver),
                                              *guest.trusted);
}

constexpr std::string_view kViommuHost =
    "the host of the IOMMU, which maps pages for the device and takes them back";

}  // namespace

const Model kViommu{
    .name = "viommu",
    .what = "virtio-iommu: the pages of each buffer are mapped for the device, and unmapped after",
    .trust = kViommuHost,
    .trusted_lines = kViommuLines,
    .connect = connect_viommu,
    .view = region_view,
    .serve = serve_viommu,
};
const Model kViommuBounce{
    .name = "viommu-bounce",
    .what = "the same with one mapping for good, of a window that buffers are copied into",
    .trust = kViommuHost,
    .trusted_lines = kViommuLines,
    .connect = connect_viommu_bounce,
    .view = region_view,
    .serve = serve_viommu,
};

}  // namespace airlock::compare
