// SPDX-License-Identifier: Apache-2.0
#include "device/gateway/fuse_watch.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <utility>

#include "spec/fuse.h"
#include "wire/message.h"

namespace airlock::device {

namespace {

// A reply to whatever opens and makes a file; and lists of a directory, as long as drivers ask for.
constexpr std::uint32_t kReplyLooked =
    sizeof(spec::FuseOutHeader) + sizeof(spec::FuseEntryOut) + sizeof(spec::FuseOpenOut);
constexpr std::uint32_t kListLooked = std::uint32_t{1} << 21U;

// In this order: less each time. Whether mount points are announced the session does not say.
struct Attempt {
  FuseSession::Extent extent;
  bool submounts;
};
constexpr Attempt kAttempts[] = {
    {.extent = FuseSession::Extent::kAll, .submounts = true},
    {.extent = FuseSession::Extent::kAll, .submounts = false},
    {.extent = FuseSession::Extent::kOpen, .submounts = true},
    {.extent = FuseSession::Extent::kOpen, .submounts = false},
    {.extent = FuseSession::Extent::kRoot, .submounts = true},
    {.extent = FuseSession::Extent::kRoot, .submounts = false},
};
// One that is killed while it is told says nothing about what it was told; three do.
constexpr unsigned kDeaths = 3;

constexpr bool agrees_on(std::uint64_t bits, unsigned bit) {
  return (bits >> bit & 1U) != 0;
}

void copy_in(const std::vector<shm::SharedBytes>& parts, std::span<const std::byte> source) {
  for (const shm::SharedBytes& part : parts) {
    const std::size_t bytes = std::min<std::size_t>(part.size(), source.size());
    part.copy_in(0, source.first(bytes));
    source = source.subspan(bytes);
  }
}

std::vector<std::byte> copy_out(const std::vector<shm::SharedBytes>& parts, std::size_t most) {
  std::vector<std::byte> bytes;
  for (const shm::SharedBytes& part : parts) {
    const std::size_t before = bytes.size();
    bytes.resize(std::min<std::size_t>(most, before + part.size()));
    part.copy_out(0, std::span(bytes).subspan(before));
  }
  return bytes;
}

std::uint32_t looked_at(const FuseRequest& asked) {
  if (asked.opcode == spec::FUSE_READDIRPLUS) return kListLooked;
  return asked.changes_session() ? kReplyLooked : sizeof(spec::FuseOutHeader);
}

}  // namespace

FuseWatch::Request& FuseWatch::at(std::uint16_t queue, std::uint16_t head) {
  CHECK(queue < queues_.size());
  std::vector<Request>& requests = queues_[queue];
  if (requests.size() <= head) requests.resize(std::size_t{head} + 1);
  return requests[head];
}

std::optional<std::uint32_t> FuseWatch::taken(std::uint16_t queue, const ring::Chain& chain) {
  Request& request = at(queue, std::to_underlying(chain.head()));
  request.repeated = false;
  request.reply.clear();
  auto asked = FuseRequest::read(chain);
  request.readable = asked.has_value();
  request.asked = asked ? std::move(*asked) : FuseRequest{};
  const std::uint32_t length = std::min(chain.writable_bytes(), looked_at(request.asked));
  MUST(chain.append_writable({.offset = 0, .length = length}, request.reply));
  if (!given_up_ || request.asked.opcode == spec::FUSE_INIT) return std::nullopt;
  return answer(request, ENOTCONN);
}

std::optional<std::uint32_t> FuseWatch::again(std::uint16_t queue, std::uint16_t head, bool seen) {
  Request& request = at(queue, head);
  if (given_up_ && request.asked.opcode != spec::FUSE_INIT) return answer(request, ENOTCONN);
  request.repeated = request.repeated || seen;
  if (request.repeated && cannot_be_repeated(request.asked)) return answer(request, EIO);
  return std::nullopt;
}

/// A reply without a backend. What has no room for one (FORGET) wants none.
std::uint32_t FuseWatch::answer(const Request& request, int error) const {
  const spec::FuseOutHeader out{.len = Le32(sizeof(spec::FuseOutHeader)),
                                .error = Le32(static_cast<std::uint32_t>(-error)),
                                .unique = Le64(request.asked.unique)};
  std::size_t room = 0;
  for (const shm::SharedBytes& part : request.reply)
    room += part.size();
  if (room < sizeof out) return 0;
  copy_in(request.reply, std::as_bytes(std::span(&out, 1)));
  return sizeof out;
}

// What would be there twice, or undone, if it had been done already. Whether it was nobody knows.
bool FuseWatch::cannot_be_repeated(const FuseRequest& asked) const {
  if (asked.opcode == spec::FUSE_RENAME2) return (asked.flags & kFuseExchange) != 0;
  return asked.opcode == spec::FUSE_WRITE && (asked.flags & O_APPEND) != 0;
}

/// What a driver is to be told in the place of an error.
int FuseWatch::corrected(const Request& request, int error) const {
  const FuseRequest& asked = request.asked;
  const bool stale =
      !session_.knows(asked.node) || (asked.other_node != 0 && !session_.knows(asked.other_node));
  if (error == EBADF && restored_ && stale) return ESTALE;
  if (!request.repeated) return error;
  switch (asked.opcode) {
    case spec::FUSE_UNLINK:
    case spec::FUSE_RMDIR:
    case spec::FUSE_RENAME:
    case spec::FUSE_RENAME2:
      return error == ENOENT ? 0 : error;  // the backend that died did it
    case spec::FUSE_REMOVEXATTR:
      return error == ENODATA ? 0 : error;
    default:
      return error;
  }
}

void FuseWatch::returned(std::uint16_t queue, std::uint16_t head, std::uint32_t written) {
  Request& request = at(queue, head);
  if (!request.readable) return;
  const bool forgets = !request.asked.forgotten.empty();
  std::vector<std::byte> reply = copy_out(request.reply, written);
  const auto header = vfio_user::read_struct<spec::FuseOutHeader>(reply);
  if (header) {
    const int error = -static_cast<int>(header->error.get());
    const int told = corrected(request, error);
    if (told != error) static_cast<void>(answer(request, told));
    if (told != 0) return;
  } else if (!forgets && request.asked.opcode != spec::FUSE_DESTROY) {
    return;
  }
  if (!request.asked.changes_session()) return;
  const std::span<const std::byte> body = reply;
  session_.answered(request.asked, body.subspan(std::min(body.size(), sizeof(*header))));
  if (request.asked.opcode != spec::FUSE_INIT) return;
  told_ = true;
  given_up_ = false;
  restored_ = false;
}

void FuseWatch::reset() {
  const std::size_t queues = queues_.size();
  *this = FuseWatch(static_cast<std::uint16_t>(queues));
}

void FuseWatch::backend_lost() {
  told_ = false;
  if (!std::exchange(telling_, false) || ++died_of_it_ < kDeaths) return;
  ++attempt_;
  died_of_it_ = 0;
}

// Of what is agreed on at the start virtiofsd's stream leaves out that requests have a longer form,
// and labels: it would misread the one and drop the other.
std::optional<std::vector<std::byte>> FuseWatch::to_tell() {
  const std::uint64_t agreed = session_.agreed();
  if (agrees_on(agreed, spec::FUSE_SETXATTR_EXT) || agrees_on(agreed, spec::FUSE_SECURITY_CTX)) {
    return std::nullopt;
  }
  while (attempt_ < std::size(kAttempts)) {
    const Attempt& attempt = kAttempts[attempt_];
    if (attempt.submounts && !agrees_on(agreed, spec::FUSE_SUBMOUNTS)) {
      ++attempt_;
      continue;
    }
    telling_ = true;
    return session_.state(attempt.extent, attempt.submounts);
  }
  return std::nullopt;
}

void FuseWatch::accepted() {
  session_.keep(kAttempts[attempt_].extent);
  telling_ = false;
  told_ = true;
  restored_ = true;
  attempt_ = 0;
  died_of_it_ = 0;
}

void FuseWatch::refused() {
  telling_ = false;
  died_of_it_ = 0;
  ++attempt_;
}

void FuseWatch::give_up() {
  session_.end();
  given_up_ = true;
  attempt_ = 0;
  died_of_it_ = 0;
}

}  // namespace airlock::device
