// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "compare/access.h"

namespace airlock::compare {

/// Buffers and rings stay where they are, in private memory: whoever serves the queue has all of
/// it. Who that is, start() says.
class DirectAccess : public Access {
 public:
  explicit DirectAccess(PrivateMemory own) : private_(std::move(own)) {}

  [[nodiscard]] const PrivateMemory& private_memory() const override { return private_; }
  [[nodiscard]] shm::SharedBytes memory() const override { return private_.bytes(); }
  [[nodiscard]] window::Publisher publisher() const override {
    return {.mode = window::AddressMode::kBus, .region = kPrivateBase};
  }
  Result<window::RegionOffset> allocate_coherent(std::uint64_t bytes) override {
    return coherent_.take(bytes);
  }
  Result<MappedBuffer> map(std::span<std::byte> buffer, pool::Direction direction) override {
    const std::uint64_t offset = TRY(private_.offset_of(buffer));
    ++maps_;
    return MappedBuffer{
        .offset = window::RegionOffset{offset}, .buffer = buffer, .direction = direction};
  }
  Result<void> sync_for_device(const MappedBuffer& /*mapped*/) override { return {}; }
  Result<void> unmap(const MappedBuffer& /*mapped*/, std::uint64_t /*written*/) override {
    return {};
  }

 protected:
  [[nodiscard]] std::uint64_t maps() const { return maps_; }

 private:
  PrivateMemory private_;
  CoherentArea coherent_{0, PrivateMemory::kReserved};
  std::uint64_t maps_ = 0;
};

}  // namespace airlock::compare
