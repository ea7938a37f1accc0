// SPDX-License-Identifier: Apache-2.0
//
// Queue buffer encryption: the registers that choose an algorithm and take keys, and what is
// authenticated with a message. docs/ENCRYPTION.md; no virtio specification has it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/le.h"

namespace airlock::spec {

/// The feature's bit: provisional, as those of the drafts are. The last of the bits that VIRTIO 1.3
/// (2.2) keeps for extensions below 64, since new ones are handed out from the first on. ENC-1.
inline constexpr unsigned VIRTIO_F_QUEUE_ENCRYPTION = 49;
/// cfg_type of the capability that says where the registers are, far above those of VIRTIO 1.3.
inline constexpr std::uint8_t VIRTIO_PCI_CAP_ENCRYPTION_CFG = 0x45;

// Algorithms, by number. ENC-6.
inline constexpr std::uint16_t VIRTIO_ENCRYPTION_NONE = 0;  // none chosen yet
inline constexpr std::uint16_t VIRTIO_ENCRYPTION_NULL = 1;  // bytes cross as they are
inline constexpr std::uint16_t VIRTIO_ENCRYPTION_AES_256_GCM = 2;
inline constexpr std::uint16_t VIRTIO_ENCRYPTION_CHACHA20_POLY1305 = 3;

/// In queue_select: what is written goes to every queue, and what is read of one queue is 0.
inline constexpr std::uint16_t VIRTIO_ENCRYPTION_ALL_QUEUES = 0xffff;

// state.
inline constexpr std::uint32_t VIRTIO_ENCRYPTION_S_KEYED = 1;   // all bytes of the key were written
inline constexpr std::uint32_t VIRTIO_ENCRYPTION_S_LOCKED = 2;  // what is written has no effect now

/// The registers. ENC-2 to ENC-5.
struct VirtioPciEncryptionCfg {
  Le32 algorithms;        // +0x00  read-only; bit n: algorithm n can be chosen
  Le16 queue_select;      // +0x04
  Le16 algorithm;         // +0x06  of the selected queue; writing it forgets the key
  Le32 state;             // +0x08  read-only; of the selected queue
  Le32 reserved;          // +0x0c
  std::uint8_t key[32];   // +0x10  write-only: reads as 0
  std::uint8_t salt[16];  // +0x30  read-only; of the selected queue, new with each reset
};
static_assert(sizeof(VirtioPciEncryptionCfg) == 64 && alignof(VirtioPciEncryptionCfg) == 4);
static_assert(offsetof(VirtioPciEncryptionCfg, queue_select) == 0x04 &&
              offsetof(VirtioPciEncryptionCfg, algorithm) == 0x06 &&
              offsetof(VirtioPciEncryptionCfg, state) == 0x08 &&
              offsetof(VirtioPciEncryptionCfg, key) == 0x10 &&
              offsetof(VirtioPciEncryptionCfg, salt) == 0x30);
static_assert(std::has_unique_object_representations_v<VirtioPciEncryptionCfg>);

// direction.
inline constexpr std::uint8_t VIRTIO_ENCRYPTION_TO_DEVICE = 1;
inline constexpr std::uint8_t VIRTIO_ENCRYPTION_TO_DRIVER = 2;

/// The nonce of a message. ENC-7.
struct VirtioEncryptionNonce {
  Le16 queue;              // +0
  std::uint8_t direction;  // +2  VIRTIO_ENCRYPTION_TO_*
  std::uint8_t reserved;   // +3  0
  Le32 counter_low;        // +4  of the chain, from 0
  Le32 counter_high;       // +8
};
static_assert(sizeof(VirtioEncryptionNonce) == 12 &&
              offsetof(VirtioEncryptionNonce, counter_low) == 4);
static_assert(std::has_unique_object_representations_v<VirtioEncryptionNonce>);

/// What is authenticated with a message, and not sent: both sides know it. ENC-7.
struct VirtioEncryptionAad {
  Le16 queue;              // +0
  std::uint8_t direction;  // +2  VIRTIO_ENCRYPTION_TO_*
  std::uint8_t reserved;   // +3  0
  Le32 length;             // +4  of the message, without its tag
  Le64 counter;            // +8
  Le32 readable;           // +16 bytes of the chain's readable part, with its tag
  Le32 writable;           // +20 and of its writable part
};
static_assert(sizeof(VirtioEncryptionAad) == 24 && offsetof(VirtioEncryptionAad, length) == 4 &&
              offsetof(VirtioEncryptionAad, counter) == 8 &&
              offsetof(VirtioEncryptionAad, writable) == 20);
static_assert(std::has_unique_object_representations_v<VirtioEncryptionAad>);

}  // namespace airlock::spec
