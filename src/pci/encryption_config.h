// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "crypt/queue_secret.h"
#include "spec/queue_encryption.h"

namespace airlock::pci {

/// The registers by which a driver chooses how queues are encrypted, and gives their keys.
/// docs/ENCRYPTION.md.
///
/// As CommonConfig has it: a read or write of any size and offset is well defined, and a write goes
/// to the registers that it overlaps, byte by byte. Keys read as 0, whenever (ENC-2). Control
/// thread.
class EncryptionConfig {
 public:
  static constexpr std::uint32_t kLength = sizeof(spec::VirtioPciEncryptionCfg);
  /// Whether the registers of a queue may be written now. ENC-3.
  using IsOpen = std::function<bool(std::uint16_t queue)>;

  /// `algorithms`: those on offer, as crypt::algorithm_bit() has them.
  EncryptionConfig(std::uint32_t algorithms, std::uint16_t queues, IsOpen is_open);

  /// [offset, offset + size) is inside kLength.
  void read(std::uint32_t offset, std::span<std::byte> target) const;
  void write(std::uint32_t offset, std::span<const std::byte> source);

  /// As after power-on: no algorithm, no key, a new salt for each queue. ENC-4, ENC-5.
  void reset();
  /// The same of one queue.
  void reset_queue(std::uint16_t queue);

  /// Hands out what `queue` runs with, once: its key is nowhere in here then. Null for the null
  /// algorithm. Errors: kWrongState (no algorithm was chosen, or the key is not whole). ENC-4.
  Result<crypt::SharedSecret> take(std::uint16_t queue);

 private:
  struct Queue {
    std::uint16_t algorithm = spec::VIRTIO_ENCRYPTION_NONE;
    std::unique_ptr<crypt::QueueSecret> secret;  // its key and its salt
    std::bitset<crypt::kKeyBytes> written;       // of the key
  };

  static void forget_key(Queue& queue);
  void write_byte(std::uint32_t at, std::uint8_t value);
  static void write_queue_byte(Queue& queue, std::uint32_t at, std::uint8_t value);
  void drop_unknown_algorithms();
  [[nodiscard]] spec::VirtioPciEncryptionCfg image() const;
  template <class F>
  void for_each_selected(const F& call);

  std::uint32_t algorithms_;
  IsOpen is_open_;
  Le16 queue_select_;
  std::vector<Queue> queues_;
};

}  // namespace airlock::pci
