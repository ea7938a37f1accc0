// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "crypt/queue_cipher.h"
#include "driver/transport.h"
#include "spec/queue_encryption.h"

namespace airlock::driver {

/// The registers by which queues are encrypted. docs/ENCRYPTION.md.
class EncryptionRegisters {
 public:
  /// `place` was checked to hold them. The transport outlives this.
  EncryptionRegisters(PciTransport& transport, const pci::BarRange& place)
      : transport_(&transport), place_(place) {}

  /// Has `queue`, which is not enabled yet, encrypted by `algorithm`, under a key that is made
  /// here, for this once (ENC-5). Null for the null algorithm. Errors: kNoEncryption (the device
  /// does not offer it; detail: the algorithm), kMalformed (a register does not keep what was
  /// written, or the key can't be written now; detail: its offset), those of the transport.
  Result<std::unique_ptr<crypt::QueueCipher>> encrypt(std::uint16_t queue,
                                                      crypt::Algorithm algorithm);

 private:
  Result<std::uint64_t> read(std::size_t offset, Width width);
  Result<void> write(std::size_t offset, Width width, std::uint64_t value);
  Result<void> choose(std::uint16_t queue, crypt::Algorithm algorithm);
  Result<void> write_key(const crypt::Key& key);
  Result<void> read_salt(crypt::Salt& target);

  PciTransport* transport_;
  pci::BarRange place_;
};

}  // namespace airlock::driver
