// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "crypt/queue_cipher.h"
#include "spec/virtio_blk.h"

namespace airlock::compare {

/// What RigDisk does otherwise where its queue is encrypted (docs/ENCRYPTION.md): a request is one
/// message, with its data where the caller's buffer is mapped, and so is its answer. The region has
/// ciphertext only. One thread, as the queue.
class RigSealer {
 public:
  /// Where a request stands, as offsets in the memory that driver and device share.
  struct Place {
    std::uint64_t frame = 0;  // kFrameBytes: header, tag, status, its tag
    std::uint64_t data = 0;
  };
  static constexpr std::uint64_t kFrameBytes = 64;
  static constexpr std::uint32_t kTag = crypt::kTagBytes;
  static constexpr std::uint64_t kTagAt = sizeof(spec::VirtioBlkReqHeader);
  static constexpr std::uint64_t kStatusAt = kTagAt + kTag;
  static constexpr std::uint32_t kStatusBytes = 1;

  RigSealer(crypt::QueueCipher cipher, shm::SharedBytes memory)
      : cipher_(std::move(cipher)), memory_(memory) {}

  /// Seals a request, which is the queue's next chain from now on (ENC-8): `source` is what it
  /// writes, `target_bytes` what it reads. Errors: kKeySpent.
  Result<crypt::SealedChain> seal(const Place& place, const spec::VirtioBlkReqHeader& header,
                                  std::span<const std::byte> source, std::size_t target_bytes);
  /// Opens the answer, of which the device says it wrote `written` bytes, into `target`, and
  /// returns the status. Errors: kNotAuthentic, and `target` is zeros then (ENC-9).
  Result<std::uint8_t> open(const crypt::SealedChain& chain, const Place& place,
                            std::uint32_t written, std::span<std::byte> target);

  /// What was sealed and opened so far, in bytes of data: each was moved once.
  [[nodiscard]] std::uint64_t data_bytes() const { return data_bytes_; }

 private:
  crypt::QueueCipher cipher_;
  shm::SharedBytes memory_;
  std::uint64_t data_bytes_ = 0;
};

}  // namespace airlock::compare
