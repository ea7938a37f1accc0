// SPDX-License-Identifier: Apache-2.0
#include "pci/encryption_config.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace airlock::pci {

namespace {

using Registers = spec::VirtioPciEncryptionCfg;

constexpr bool is_in(std::uint32_t at, std::size_t start, std::size_t bytes) {
  return at >= start && at - start < bytes;
}

// A register's value after a write to one of its bytes.
std::uint16_t with_byte(std::uint16_t value, std::uint32_t byte, std::uint8_t now) {
  const unsigned shift = 8 * byte;
  const unsigned kept = value & ~(0xffU << shift);
  return static_cast<std::uint16_t>(kept | (static_cast<unsigned>(now) << shift));
}

}  // namespace

EncryptionConfig::EncryptionConfig(std::uint32_t algorithms, std::uint16_t queues, IsOpen is_open)
    : algorithms_(algorithms), is_open_(std::move(is_open)), queues_(queues) {
  reset();
}

void EncryptionConfig::read(std::uint32_t offset, std::span<std::byte> target) const {
  const Registers registers = image();
  const auto bytes = std::as_bytes(std::span(&registers, 1));
  std::ranges::copy(bytes.subspan(offset, target.size()), target.begin());
}

// ENC-2: of the key there is nothing to be read, selected or not, locked or not.
Registers EncryptionConfig::image() const {
  Registers registers{};
  registers.algorithms.set(algorithms_);
  registers.queue_select = queue_select_;
  const std::uint16_t selected = queue_select_.get();
  if (selected >= queues_.size()) return registers;
  const Queue& queue = queues_[selected];
  registers.algorithm.set(queue.algorithm);
  std::uint32_t state = 0;
  if (queue.written.all()) state |= spec::VIRTIO_ENCRYPTION_S_KEYED;
  if (!is_open_(selected)) state |= spec::VIRTIO_ENCRYPTION_S_LOCKED;
  registers.state.set(state);
  std::ranges::transform(queue.secret->salt, registers.salt,
                         [](std::byte byte) { return std::to_integer<std::uint8_t>(byte); });
  return registers;
}

void EncryptionConfig::write(std::uint32_t offset, std::span<const std::byte> source) {
  for (const std::byte value : source) {
    write_byte(offset, std::to_integer<std::uint8_t>(value));
    ++offset;
  }
  drop_unknown_algorithms();
}

template <class F>
void EncryptionConfig::for_each_selected(const F& call) {
  const std::uint16_t selected = queue_select_.get();
  const auto count = static_cast<std::uint16_t>(queues_.size());
  for (std::uint16_t queue = 0; queue < count; ++queue) {
    const bool meant = selected == queue || selected == spec::VIRTIO_ENCRYPTION_ALL_QUEUES;
    if (meant && is_open_(queue)) call(queues_[queue]);
  }
}

void EncryptionConfig::write_byte(std::uint32_t at, std::uint8_t value) {
  if (is_in(at, offsetof(Registers, queue_select), sizeof(Le16))) {
    const auto byte = static_cast<std::uint32_t>(at - offsetof(Registers, queue_select));
    queue_select_.set(with_byte(queue_select_.get(), byte, value));
    return;
  }
  // ENC-3: what may not be written now is as if it had not been.
  for_each_selected([=](Queue& queue) { write_queue_byte(queue, at, value); });
}

void EncryptionConfig::write_queue_byte(Queue& queue, std::uint32_t at, std::uint8_t value) {
  if (is_in(at, offsetof(Registers, algorithm), sizeof(Le16))) {
    const auto byte = static_cast<std::uint32_t>(at - offsetof(Registers, algorithm));
    queue.algorithm = with_byte(queue.algorithm, byte, value);
    forget_key(queue);
  } else if (is_in(at, offsetof(Registers, key), crypt::kKeyBytes)) {
    const std::size_t byte = at - offsetof(Registers, key);
    queue.secret->key[byte] = std::byte{value};
    queue.written.set(byte);
  }
}

// What is not on offer reads back as nothing, so that a driver sees it.
void EncryptionConfig::drop_unknown_algorithms() {
  for (Queue& queue : queues_) {
    const bool known = queue.algorithm < 32 && (algorithms_ >> queue.algorithm & 1) != 0;
    if (!known) queue.algorithm = spec::VIRTIO_ENCRYPTION_NONE;
  }
}

void EncryptionConfig::forget_key(Queue& queue) {
  crypt::wipe(queue.secret->key);
  queue.written.reset();
}

void EncryptionConfig::reset() {
  queue_select_.set(0);
  const auto count = static_cast<std::uint16_t>(queues_.size());
  for (std::uint16_t queue = 0; queue < count; ++queue)
    reset_queue(queue);
}

void EncryptionConfig::reset_queue(std::uint16_t queue) {
  CHECK(queue < queues_.size());
  Queue& fresh = queues_[queue];
  fresh.algorithm = spec::VIRTIO_ENCRYPTION_NONE;
  fresh.secret = std::make_unique<crypt::QueueSecret>();
  fresh.written.reset();
  crypt::fill_random(fresh.secret->salt);
}

Result<crypt::SharedSecret> EncryptionConfig::take(std::uint16_t queue) {
  CHECK(queue < queues_.size());
  Queue& from = queues_[queue];
  if (from.algorithm == spec::VIRTIO_ENCRYPTION_NULL) return crypt::SharedSecret();
  if (from.algorithm == spec::VIRTIO_ENCRYPTION_NONE || !from.written.all()) {
    return fail({.code = Errc::kWrongState, .queue = queue});
  }
  auto taken = std::make_shared<crypt::QueueSecret>();
  taken->algorithm = static_cast<crypt::Algorithm>(from.algorithm);
  taken->key = from.secret->key;
  taken->salt = from.secret->salt;
  crypt::wipe(from.secret->key);
  return crypt::SharedSecret(std::move(taken));
}

}  // namespace airlock::pci
