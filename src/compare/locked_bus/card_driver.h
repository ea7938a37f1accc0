// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "compare/access.h"
#include "compare/locked_bus/card.h"

namespace airlock::compare {

/// The card's driver. It asks the same DMA API for memory as RigDisk does (an Access), and knows no
/// more of where that is: a pool is nothing that virtio alone can use. It trusts the card as
/// little: what it believes of a descriptor is read once, and held against what it wrote. One
/// thread.
class CardDriver {
 public:
  static constexpr std::uint32_t kEntries = 16;
  static constexpr std::uint64_t kFrameMost = 1536;  // bytes

  /// Sets up the rings, and gives the card buffers to receive into: stretches of `buffers`, which
  /// is kEntries * kFrameMost bytes of the guest's. Both outlive it.
  /// Errors: the model's; kWrongSize (of `buffers`).
  static Result<std::unique_ptr<CardDriver>> open(Access& access, Card& card,
                                                  std::span<std::byte> buffers);

  /// Sends a frame of the guest's memory, which stays as it is until take_sent() has told of it.
  /// Errors: the model's map(); kQueueFull; kBadLength (empty, or more than kFrameMost).
  Result<void> send(std::span<std::byte> frame);
  /// Takes back what the card is done with. Errors: kIoError, of a frame that was lost; the
  /// model's.
  Result<std::uint32_t> take_sent();
  /// The next frame, where it was received: valid until the next call of this. Nothing: there is
  /// none now. Errors: kIoError (the card could not reach a buffer, which it is given again);
  /// kBadLength (more than the buffer has, HD-3).
  Result<std::optional<std::span<const std::byte>>> receive();

 private:
  struct Ring {
    std::uint64_t offset = 0;  // in Access::memory()
    std::uint32_t next = 0;    // whose turn it is to come back
    std::vector<MappedBuffer> mapped;
  };
  CardDriver(Access& access, Card& card, const Ring& send, const Ring& receive)
      : access_(access), card_(card), send_(send), receive_(receive) {}
  void give(const Ring& ring, std::uint32_t index);
  [[nodiscard]] std::optional<std::uint32_t> state(const Ring& ring) const;
  Result<void> give_next_again();

  Access& access_;
  Card& card_;
  Ring send_;
  Ring receive_;
  std::uint32_t in_flight_ = 0;  // of send_, from its next one on
  bool holds_ = false;           // the caller has the frame of receive_'s next
};

}  // namespace airlock::compare
