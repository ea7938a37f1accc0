// SPDX-License-Identifier: Apache-2.0
//
// The trusted part of share: who owns the guest's memory, and a count for each page of how often it
// is shared.
//
// A hypervisor maps a page into the device's stage 2 and takes it out again. A process can't take a
// page back from another that mapped it, but it can take the page out of the file: the device has
// an alias of the private memory, a sealed memfd of the same size that is all holes; a page is
// shared by moving its content there, and unshared by moving it back and punching the hole anew,
// which takes it out of every mapping of the file, whoever holds on to one. What is moved stands in
// for the change of a page table, and is counted apart from copies that a model itself makes.
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <vector>

#include "compare/models/share.h"
#include "core/range.h"

namespace airlock::compare {

namespace {

constexpr std::uint64_t kPagesMost = std::uint64_t{1} << 20;

class Owner {
 public:
  explicit Owner(bool keep_shared) : keep_shared_(keep_shared) {}

  Result<void> start(std::uint64_t bytes);
  /// Errors: kOutOfRange; kBadHandle, and then nothing was changed.
  Result<void> answer(const ShareRequest& request);
  void count(ShareReply& reply) const;
  [[nodiscard]] std::array<int, 2> fds() const { return {private_.fd().get(), alias_.fd().get()}; }
  [[nodiscard]] bool started() const { return !references_.empty(); }

 private:
  /// The part of a range in one page.
  struct Part {
    std::uint64_t page = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  [[nodiscard]] static std::vector<Part> parts_of(const ShareRequest& request);
  void share(const Part& part);
  Result<void> unshare(const Part& part, bool written);
  void move_in(std::uint64_t offset, std::uint64_t length);
  void move_out(std::uint64_t offset, std::uint64_t length);

  bool keep_shared_;
  PrivateMemory private_;
  shm::SealedMemfd alias_;
  shm::Mapping alias_mapping_;
  std::vector<std::uint32_t> references_;  // by page
  std::uint64_t pages_shared_ = 0;
  std::uint64_t pages_most_ = 0;
  std::uint64_t moved_bytes_ = 0;
};

Result<void> Owner::start(std::uint64_t bytes) {
  if (started() || bytes / kPageBytes > kPagesMost) return fail(Errc::kOutOfRange);
  private_ = TRY(PrivateMemory::create(bytes));
  alias_ = TRY(shm::SealedMemfd::create({.name = "airlock-alias", .size = bytes}));
  alias_mapping_ = TRY(alias_.map());
  references_.assign(bytes / kPageBytes, 0);
  return {};
}

std::vector<Owner::Part> Owner::parts_of(const ShareRequest& request) {
  std::vector<Part> parts;
  std::uint64_t offset = request.offset;
  std::uint64_t left = request.length;
  while (left > 0) {
    const std::uint64_t length = std::min(left, kPageBytes - offset % kPageBytes);
    parts.push_back({.page = offset / kPageBytes, .offset = offset, .length = length});
    offset += length;
    left -= length;
  }
  return parts;
}

Result<void> Owner::answer(const ShareRequest& request) {
  const bool inside = airlock_range_within(request.offset, request.length, private_.size());
  if (!started() || !inside || request.length == 0) {
    return fail({.code = Errc::kOutOfRange, .address = request.offset});
  }
  const std::vector<Part> parts = parts_of(request);
  if (request.kind == ShareRequest::Kind::kShare) {
    for (const Part& part : parts)
      share(part);
    return {};
  }
  const auto unshared =
      std::ranges::find(parts, 0U, [this](const Part& part) { return references_[part.page]; });
  if (unshared != parts.end()) {
    return fail({.code = Errc::kBadHandle, .address = unshared->offset});
  }
  for (const Part& part : parts) {
    if (request.kind == ShareRequest::Kind::kSync) {
      move_in(part.offset, part.length);
    } else {
      TRY(unshare(part, request.written));
    }
  }
  return {};
}

// A page that is shared already has its content there: what is new is the range.
void Owner::share(const Part& part) {
  if (references_[part.page]++ > 0) {
    move_in(part.offset, part.length);
    return;
  }
  move_in(part.page * kPageBytes, kPageBytes);
  pages_most_ = std::max(pages_most_, ++pages_shared_);
}

Result<void> Owner::unshare(const Part& part, bool written) {
  if (written) move_out(part.offset, part.length);
  if (--references_[part.page] > 0 || keep_shared_) return {};
  --pages_shared_;
  // A page that can't be taken back is the end of the trust in this process.
  if (::fallocate(alias_.fd().get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(part.page * kPageBytes),
                  static_cast<off_t>(kPageBytes)) != 0) {
    return fail(system_error());
  }
  return {};
}

void Owner::move_in(std::uint64_t offset, std::uint64_t length) {
  alias_mapping_.bytes().copy_in(offset, private_.span().subspan(offset, length));
  moved_bytes_ += length;
}

void Owner::move_out(std::uint64_t offset, std::uint64_t length) {
  alias_mapping_.bytes().copy_out(offset, private_.span().subspan(offset, length));
  moved_bytes_ += length;
}

void Owner::count(ShareReply& reply) const {
  reply.counts.stand_in_bytes = moved_bytes_;
  reply.pages_shared = pages_shared_;
  reply.pages_most = pages_most_;
}

}  // namespace

Result<void> serve_share(const Fd& guest, const Controls& controls) {
  Owner owner(controls.keep_shared);
  for (;;) {
    const auto received = TRY(receive<ShareRequest>(guest, kForEver));
    const ShareRequest& request = received.message;
    ShareReply reply;
    if (request.kind == ShareRequest::Kind::kStart) {
      reply.answer = Answer::of(owner.start(request.length));
      const auto fds = owner.fds();
      TRY(send(guest, reply,
               reply.answer.failed ? std::span<const int>() : std::span<const int>(fds)));
      continue;
    }
    if (request.kind == ShareRequest::Kind::kCounts) {
      owner.count(reply);
      reply.counts.cpu_ns = TRY(own_cpu_ns());
    } else {
      reply.answer = Answer::of(owner.answer(request));
    }
    TRY(send(guest, reply));
  }
}

}  // namespace airlock::compare
