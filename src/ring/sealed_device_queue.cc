// SPDX-License-Identifier: Apache-2.0
#include "ring/sealed_device_queue.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "ring/concepts.h"

namespace airlock::ring {

namespace {

constexpr std::uint32_t kTag = crypt::kTagBytes;
// A buffer of so many bytes may be for a disk, which wants it aligned as memory is.
constexpr std::size_t kAlignedFrom = 512;
constexpr std::size_t kSmallAlignment = 64;

std::size_t place_behind(std::size_t end, std::size_t bytes) {
  const std::size_t alignment = bytes < kAlignedFrom ? kSmallAlignment : PrivateMemory::kAlignment;
  // tidy: cannot overflow because what is placed is a chain, whose bytes are below 2^32
  return (end + alignment - 1) / alignment * alignment;
}

// Calls visit(bytes, nth) for what is left of each buffer when the tag at the end of all is cut.
template <class Visit>
void for_each_untagged(std::span<const window::SharedSpan> spans, std::uint64_t untagged,
                       const Visit& visit) {
  for (const window::SharedSpan& span : spans) {
    const std::uint64_t bytes = std::min(untagged, span.size());
    if (bytes == 0) return;
    visit(static_cast<std::size_t>(bytes));
    untagged -= bytes;
  }
}

std::uint32_t untagged(std::uint32_t bytes) {
  return bytes == 0 ? 0 : bytes - kTag;
}

}  // namespace

Result<SealedDeviceQueue> SealedDeviceQueue::create(const QueueConfig& config,
                                                    const window::Window& window) {
  CHECK(config.secret != nullptr);
  // ENC-5: its counters, and what was sealed with them, nobody knows any more.
  if (config.record.live()) return fail({.code = Errc::kWrongState, .queue = config.queue});
  auto cipher = TRY(crypt::QueueCipher::create(*config.secret, config.queue, crypt::Side::kDevice));
  QueueConfig plain = config;
  plain.secret.reset();
  const std::uint32_t heads = config.size.value();
  if (config.features.format == Format::kPacked) {
    return SealedDeviceQueue(TRY(PackedDeviceQueue::create(plain, window)), std::move(cipher),
                             window, heads);
  }
  return SealedDeviceQueue(TRY(SplitDeviceQueue::create(plain, window)), std::move(cipher), window,
                           heads);
}

Result<std::optional<Head>> SealedDeviceQueue::pop(Chain& target) {
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = queue()});
  const auto head = TRY(with([this](auto& ring) { return ring.pop(taken_); }));
  if (!head) return head;
  CHECK(std::to_underlying(*head) < records_.size());
  Record& record = records_[std::to_underlying(*head)];
  std::swap(record.shared, taken_);
  if (const auto opened = open(record, target); !opened) {
    broken_ = opened.error();
    return fail(*broken_);
  }
  return head;
}

Result<void> SealedDeviceQueue::open(Record& record, Chain& target) {
  TRY(check(record.shared));
  // ENC-8: it is the chain that comes next, whatever it claims to be.
  record.sealed =
      TRY(cipher_.next_chain(record.shared.readable_bytes(), record.shared.writable_bytes()));
  lay_out(record, target);
  return open_readable(record, target);
}

// A part is more than its tag, but for an answer that has nothing to say.
Result<void> SealedDeviceQueue::check(const Chain& shared) const {
  const std::uint64_t readable = shared.readable_bytes();
  const std::uint64_t writable = shared.writable_bytes();
  // tidy: cannot overflow because both have 32 bits
  if (readable + writable > chain_bytes_most_) {
    return fail({.code = Errc::kChainTooBig, .queue = queue()});
  }
  if ((readable != 0 && readable <= kTag) || (writable != 0 && writable < kTag)) {
    return fail({.code = Errc::kTooSmall, .queue = queue(), .address = kTag});
  }
  return {};
}

// Memory for each buffer, in which `target` is cut as the driver cut its own.
void SealedDeviceQueue::lay_out(Record& record, Chain& target) {
  const Chain& shared = record.shared;
  const std::uint32_t readable = untagged(shared.readable_bytes());
  const std::uint32_t writable = untagged(shared.writable_bytes());
  std::size_t end = 0;
  const auto measure = [&end](std::size_t bytes) { end = place_behind(end, bytes) + bytes; };
  for_each_untagged(shared.readable(), readable, measure);
  for_each_untagged(shared.writable(), writable, measure);
  record.memory = spare_.take(end);
  const std::span<std::byte> memory = record.memory.bytes();

  end = 0;
  target.spans_.clear();
  record.writable.clear();
  const auto place = [&](std::size_t bytes) {
    const std::span<std::byte> own = memory.subspan(place_behind(end, bytes), bytes);
    end = place_behind(end, bytes) + bytes;
    target.spans_.emplace_back(shm::PrivateBytes(own));
    return own;
  };
  for_each_untagged(shared.readable(), readable, place);
  target.readable_count_ = target.spans_.size();
  for_each_untagged(shared.writable(), writable,
                    [&](std::size_t bytes) { record.writable.push_back(place(bytes)); });
  target.readable_bytes_ = readable;
  target.writable_bytes_ = writable;
  target.head_ = shared.head();
}

// Each byte is copied out once, and opened where it is then (ENC-11).
Result<void> SealedDeviceQueue::open_readable(Record& record, const Chain& target) {
  if (record.sealed.readable == 0) return {};
  const std::uint32_t length = untagged(record.sealed.readable);
  cipher_.begin_open(record.sealed, length);
  std::uint32_t at = 0;
  for (const window::SharedSpan& own : target.readable()) {
    std::span<std::byte> rest = own.in_place();
    while (!rest.empty()) {
      const std::span<std::byte> piece =
          rest.first(std::min(rest.size(), crypt::QueueCipher::kPieceBytes));
      MUST(record.shared.read(at, piece));
      cipher_.open_piece(piece);
      at += static_cast<std::uint32_t>(piece.size());
      rest = rest.subspan(piece.size());
    }
  }
  crypt::Tag tag{};
  MUST(record.shared.read(length, tag));
  return cipher_.finish_open(tag);
}

Result<void> SealedDeviceQueue::push_used(Head head, std::uint32_t written_bytes) {
  CHECK(std::to_underlying(head) < records_.size());
  Record& record = records_[std::to_underlying(head)];
  CHECK(written_bytes <= untagged(record.sealed.writable));
  const bool answers = record.sealed.writable != 0;
  if (answers && !broken()) seal_writable(record, written_bytes);
  spare_.give(std::exchange(record.memory, {}));
  const std::uint32_t total = answers ? written_bytes + kTag : 0;
  return with([&](auto& ring) { return ring.push_used(head, total); });
}

void SealedDeviceQueue::seal_writable(Record& record, std::uint32_t bytes) {
  cipher_.begin_seal(record.sealed, bytes);
  std::uint32_t at = 0;
  for (std::span<std::byte> own : record.writable) {
    own = own.first(std::min<std::size_t>(own.size(), bytes - at));
    while (!own.empty()) {
      const std::size_t length = std::min(own.size(), crypt::QueueCipher::kPieceBytes);
      MUST(record.shared.write(at, cipher_.seal_piece(own.first(length))));
      at += static_cast<std::uint32_t>(length);
      own = own.subspan(length);
    }
  }
  MUST(record.shared.write(bytes, cipher_.finish_seal()));
}

void SealedDeviceQueue::publish() {
  with([](auto& ring) { ring.publish(); });
}

bool SealedDeviceQueue::driver_wants_interrupt() {
  return with([](auto& ring) { return ring.driver_wants_interrupt(); });
}

void SealedDeviceQueue::suppress_notifications(bool suppressed) {
  with([=](auto& ring) { ring.suppress_notifications(suppressed); });
}

Result<void> SealedDeviceQueue::rebind() {
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = queue()});
  return with([](auto& ring) { return ring.rebind(); });
}

std::uint32_t SealedDeviceQueue::in_flight() const {
  return with([](const auto& ring) { return ring.in_flight(); });
}

const std::optional<Error>& SealedDeviceQueue::broken() const {
  if (broken_) return broken_;
  return with([](const auto& ring) -> const std::optional<Error>& { return ring.broken(); });
}

std::uint16_t SealedDeviceQueue::queue() const {
  return with([](const auto& ring) { return ring.queue(); });
}

QueueSize SealedDeviceQueue::size() const {
  return with([](const auto& ring) { return ring.size(); });
}

static_assert(DeviceQueueLike<SealedDeviceQueue>);

}  // namespace airlock::ring
