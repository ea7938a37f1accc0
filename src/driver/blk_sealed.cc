// SPDX-License-Identifier: Apache-2.0
#include "driver/blk_sealed.h"

#include <algorithm>
#include <array>
#include <utility>

namespace airlock::driver {

namespace {

constexpr std::uint64_t kSealedFrameBytes = 128;
constexpr std::uint64_t kAnswerAt = 64;  // in a frame: a cache line that the device writes
constexpr std::uint32_t kTag = crypt::kTagBytes;
constexpr std::uint32_t kStatus = 1;

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace

Result<std::unique_ptr<BlkSealed>> BlkSealed::create(pool::Pool& pool, crypt::QueueCipher& cipher,
                                                     std::uint32_t parts) {
  auto frames = TRY(pool.allocate_coherent(parts * kSealedFrameBytes, pool::kPageBytes));
  return std::unique_ptr<BlkSealed>(new BlkSealed(cipher, pool, std::move(frames), parts));
}

Result<bool> BlkSealed::place(std::uint32_t part, std::uint64_t bytes) {
  auto data = pool_.allocate_coherent(bytes, pool::kSlotBytes);
  if (data) {
    records_[part].data = std::move(*data);
    return true;
  }
  if (data.error().code == Errc::kPoolFull) return false;
  return fail(data.error());
}

Result<BlkSealed::Frame> BlkSealed::seal(std::uint32_t part, const Request& request) {
  Record& record = records_[part];
  const std::uint64_t at = part * kSealedFrameBytes;
  const auto range = request.range ? bytes_of(*request.range) : std::span<const std::byte>();
  const auto head = static_cast<std::uint32_t>(sizeof request.header + range.size());
  const auto length = static_cast<std::uint32_t>(head + request.source.size());
  const auto answer = static_cast<std::uint32_t>(request.target.size() + kStatus);
  record.chain = TRY(cipher_.next_chain(length + kTag, answer + kTag));
  record.target = request.target;
  record.target_in_frame = request.target_in_frame;

  const shm::SharedBytes& frames = frames_.bytes();
  cipher_.begin_seal(record.chain, length);
  cipher_.seal(bytes_of(request.header), frames, at);
  cipher_.seal(range, frames, at + sizeof request.header);
  if (!request.source.empty()) cipher_.seal(request.source, record.data.bytes(), 0);
  frames.copy_in(at + head, cipher_.finish_seal());

  const std::uint64_t start = std::to_underlying(frames_.offset()) + at;
  const bool split = !request.source.empty();
  const std::uint32_t in_end = request.target_in_frame ? answer : kStatus;
  return Frame{.head = {.offset = start, .length = split ? head : head + kTag},
               .tag = {.offset = start + head, .length = split ? kTag : 0},
               .end = {.offset = start + kAnswerAt, .length = in_end + kTag}};
}

Result<std::uint8_t> BlkSealed::open(std::uint32_t part, std::uint32_t written) {
  const Record& record = records_[part];
  const std::span<std::byte> target = record.target;
  const shm::SharedBytes& frames = frames_.bytes();
  // An answer fills what there is for it: one that was cut is not what was sealed.
  const bool whole = written == record.chain.writable;
  cipher_.begin_open(record.chain, record.chain.writable - kTag);
  std::uint64_t at = part * kSealedFrameBytes + kAnswerAt;
  if (record.target_in_frame) {
    cipher_.open(frames, at, target);
    at += target.size();
  } else if (!target.empty()) {
    cipher_.open(record.data.bytes(), 0, target);
  }
  std::array<std::byte, kStatus> status{};
  cipher_.open(frames, at, status);
  crypt::Tag tag{};
  frames.copy_out(at + kStatus, tag);
  const auto opened = cipher_.finish_open(tag);
  if (opened && whole) return std::to_integer<std::uint8_t>(status[0]);
  std::ranges::fill(target, std::byte{0});
  return fail(opened ? Error{.code = Errc::kNotAuthentic, .address = record.chain.counter}
                     : opened.error());
}

}  // namespace airlock::driver
