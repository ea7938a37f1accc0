// SPDX-License-Identifier: Apache-2.0
#include "compare/models/share.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "compare/trusted_lines.h"

namespace airlock::compare {

namespace {

using Ask = ShareRequest::Kind;

/// The private memory from the owner, and the alias in which rings are shared for good.
struct ShareMemory {
  PrivateMemory own;
  shm::SealedMemfd alias;
  shm::Mapping mapping;
};

class ShareAccess final : public Access {
 public:
  // What bounced buffers have: a stretch of the private memory that nothing else uses, as large as
  // a full queue of sub-page buffers needs.
  static constexpr std::uint64_t kBouncePages = 32;

  ShareAccess(ShareMemory memory, const Fd& owner, bool bounce)
      : memory_(std::move(memory)), owner_(owner), bounce_(bounce) {
    const std::uint64_t first = PrivateMemory::kReserved / kPageBytes - kBouncePages;
    for (std::uint64_t page = 0; page < kBouncePages; ++page)
      bounce_pages_.push_back(first + page);
  }

  [[nodiscard]] const PrivateMemory& private_memory() const override { return memory_.own; }
  [[nodiscard]] shm::SharedBytes memory() const override { return memory_.mapping.bytes(); }
  [[nodiscard]] window::Publisher publisher() const override {
    return {.mode = window::AddressMode::kBus, .region = kPrivateBase};
  }

  // Shared once and never taken back: both sides use it all the time, so the driver uses the alias.
  Result<window::RegionOffset> allocate_coherent(std::uint64_t bytes) override {
    const window::RegionOffset offset = TRY(coherent_.take(bytes));
    TRY(request(Ask::kShare, {.offset = std::to_underlying(offset), .length = bytes}, false));
    return offset;
  }

  Result<MappedBuffer> map(std::span<std::byte> buffer, pool::Direction direction) override {
    const std::uint64_t offset = TRY(memory_.own.offset_of(buffer));
    MappedBuffer mapped{.offset = window::RegionOffset{offset},
                        .buffer = buffer,
                        .direction = direction,
                        .handle = {offset, 0}};
    if (bounces({.offset = offset, .length = buffer.size()})) TRY(move_to_page(mapped));
    const Range range = range_of(mapped);
    auto shared = request(Ask::kShare, range, false);
    if (!shared) {
      free_page(mapped);
      return fail(shared.error());
    }
    ++counts_.maps;
    return mapped;
  }

  Result<void> sync_for_device(const MappedBuffer& mapped) override {
    if (is_bounced(mapped)) copy(mapped.buffer, page_of(mapped).first(mapped.buffer.size()));
    return request(Ask::kSync, range_of(mapped), false);
  }

  Result<void> unmap(const MappedBuffer& mapped, std::uint64_t written) override {
    const bool from_device = mapped.direction != pool::Direction::kToDevice;
    TRY(request(Ask::kUnshare, range_of(mapped), from_device));
    if (!is_bounced(mapped)) return {};
    const std::size_t bytes = std::min<std::size_t>(written, mapped.buffer.size());
    if (bytes > 0) copy(page_of(mapped).first(bytes), mapped.buffer.first(bytes));
    free_page(mapped);
    return {};
  }

  Result<void> start(DeviceLink& device, std::span<const QueueLink> queues) override {
    const DeviceLink::Loan loan{.shape = {.size = memory_.alias.size(), .address = kPrivateBase},
                                .memory = &memory_.alias.fd()};
    return device.start(std::span(&loan, 1), queues);
  }

  [[nodiscard]] AccessCounts counts() const override { return counts_; }
  [[nodiscard]] Result<TrustedCounts> trusted_counts() override {
    const ShareReply reply = TRY(ask<ShareReply>(owner_, ShareRequest{.kind = Ask::kCounts}))
    .message;
    counts_.high_water_bytes = reply.pages_most * kPageBytes;
    return reply.counts;
  }

 private:
  struct Range {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };

  [[nodiscard]] bool bounces(const Range& range) const {
    const bool whole = range.offset % kPageBytes == 0 && range.length % kPageBytes == 0;
    return bounce_ && !whole && range.length <= kPageBytes;
  }
  // A bounced buffer's page is all that is shared: the buffer, and zeros.
  Result<void> move_to_page(MappedBuffer& mapped) {
    if (bounce_pages_.empty()) {
      ++counts_.full;
      return fail(Errc::kPoolFull);
    }
    mapped.handle = {bounce_pages_.back() * kPageBytes, 1};
    mapped.offset = window::RegionOffset{mapped.handle[0]};
    bounce_pages_.pop_back();
    std::ranges::fill(page_of(mapped), std::byte{0});
    if (mapped.direction != pool::Direction::kFromDevice) {
      copy(mapped.buffer, page_of(mapped).first(mapped.buffer.size()));
    }
    return {};
  }
  void free_page(const MappedBuffer& mapped) {
    if (is_bounced(mapped)) bounce_pages_.push_back(mapped.handle[0] / kPageBytes);
  }
  static bool is_bounced(const MappedBuffer& mapped) { return mapped.handle[1] != 0; }
  [[nodiscard]] std::span<std::byte> page_of(const MappedBuffer& mapped) const {
    return memory_.own.span().subspan(mapped.handle[0], kPageBytes);
  }
  static Range range_of(const MappedBuffer& mapped) {
    return {.offset = mapped.handle[0], .length = mapped.buffer.size()};
  }
  void copy(std::span<const std::byte> source, std::span<std::byte> target) {
    std::ranges::copy(source, target.begin());
    counts_.copied_bytes += source.size();
  }
  Result<void> request(Ask kind, const Range& range, bool written) {
    ++counts_.messages;
    const ShareRequest request{
        .kind = kind, .written = written, .offset = range.offset, .length = range.length};
    TRY(ask<ShareReply>(owner_, request));
    return {};
  }

  ShareMemory memory_;
  const Fd& owner_;
  bool bounce_;
  CoherentArea coherent_{0, PrivateMemory::kReserved - kBouncePages* kPageBytes};
  std::vector<std::uint64_t> bounce_pages_;  // free ones
  AccessCounts counts_;
};

Result<std::unique_ptr<Access>> connect_owner(const GuestSide& guest, bool bounce) {
  auto started = TRY(ask<ShareReply>(
      *guest.trusted, ShareRequest{.kind = Ask::kStart, .length = guest.private_bytes}));
  if (started.fds.size() != 2) return fail(Errc::kMalformed);
  ShareMemory memory;
  memory.own = TRY(PrivateMemory::adopt(std::move(started.fds[0]), guest.private_bytes));
  memory.alias = TRY(shm::SealedMemfd::adopt(std::move(started.fds[1]), guest.private_bytes));
  memory.mapping = TRY(memory.alias.map());
  return std::make_unique<ShareAccess>(std::move(memory), *guest.trusted, bounce);
}
Result<std::unique_ptr<Access>> connect_share(const GuestSide& guest) {
  return connect_owner(guest, false);
}
Result<std::unique_ptr<Access>> connect_share_bounce(const GuestSide& guest) {
  return connect_owner(guest, true);
}

constexpr std::string_view kOwner =
    "the owner of the guest's memory, which shares pages and takes them back (pKVM's place)";

}  // namespace

const Model kShare{
    .name = "share",
    .what = "the pages of each buffer are shared when it is mapped, and taken back after",
    .trust = kOwner,
    .trusted_lines = kShareLines,
    .connect = connect_share,
    .view = region_view,
    .serve = serve_share,
};
const Model kShareBounce{
    .name = "share-bounce",
    .what = "the same, with buffers smaller than a page copied into a page of their own",
    .trust = kOwner,
    .trusted_lines = kShareLines,
    .connect = connect_share_bounce,
    .view = region_view,
    .serve = serve_share,
};

}  // namespace airlock::compare
