// SPDX-License-Identifier: Apache-2.0
//
// How the guest's side speaks to the device: what is a transport's registers elsewhere, and the
// rig's own questions.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "compare/message.h"
#include "compare/sight.h"
#include "crypt/queue_secret.h"
#include "ring/layout.h"

namespace airlock::compare {

/// Memory that a device is let at.
struct GrantShape {
  std::uint64_t size = 0;
  window::BusAddress address{};
};
struct Grant {
  GrantShape shape;
  Fd memory;
};

/// What an encrypted queue's two ends agree upon: elsewhere in registers, half of it the device's.
/// The rig's driver makes all of it.
struct QueueKeys {
  crypt::Algorithm algorithm = crypt::Algorithm::kNone;  // none: it is not encrypted
  crypt::Key key{};
  crypt::Salt salt{};

  /// New ones.
  [[nodiscard]] static QueueKeys make(crypt::Algorithm algorithm);
  /// As the queues take it; null where there is no encryption.
  [[nodiscard]] crypt::SharedSecret secret() const;
};

/// A queue as its driver tells it to the device.
struct QueueStart {
  std::uint64_t features = 0;
  std::uint16_t size = 0;
  ring::QueueAreas areas{};
  QueueKeys keys{};
};
/// How the two ends of a queue wake each other: eventfds, borrowed.
struct QueueBells {
  int notify = -1;
  int interrupt = -1;
};
/// All that the other end of a queue is told.
struct QueueLink {
  QueueStart start;
  QueueBells bells;
};
/// Of a device here: a disk has one, a network card one to receive and one to send, in this order.
inline constexpr std::size_t kQueuesMost = 2;

/// What a process has used so far, and moved.
struct Usage {
  std::uint64_t cpu_ns = 0;
  std::uint64_t copied_bytes = 0;  // between what it was given and what is its own
  std::uint64_t messages = 0;      // that it answered, and sent to others than the asker
};
/// CPU time of this process. Errors: kSystem.
[[nodiscard]] Result<std::uint64_t> own_cpu_ns();

struct DeviceRequest {
  enum class Kind : std::uint32_t {
    kOffer,    // which features are there?
    kStart,    // here are memory and queues
    kHold,     // take nothing more from the ring
    kRelease,  // go on
    kLook,     // what can you see?
    kUsage,
    kReach,  // try to get at the guest's process: try_to_reach()
  };
  static constexpr std::size_t kGrantsMost = 4;

  Kind kind = Kind::kOffer;
  bool after_request = false;  // kLook: once a held queue has a request that it had not
  // kStart: its descriptors are notify and interrupt of each queue, and the memory.
  std::uint32_t queues = 0;
  std::array<QueueStart, kQueuesMost> queue{};
  std::uint32_t grants = 0;
  std::int32_t pid = 0;  // kReach
  std::array<GrantShape, kGrantsMost> grant{};
  Look look{};
};
struct DeviceReply {
  Answer answer{};
  std::uint64_t features = 0;
  Seen seen{};
  Usage usage{};
  std::uint32_t reached = 0;
};

/// The driver's end. Nothing that the device answers is used but to be reported. Errors of all:
/// what the device answers; those of ask().
class DeviceLink {
 public:
  explicit DeviceLink(Fd socket) : socket_(std::move(socket)) {}

  /// The features that the device offers.
  Result<std::uint64_t> offered();
  /// Gives it memory (borrowed) and queues to serve, kQueuesMost at most (CHECK).
  struct Loan {
    GrantShape shape;
    const Fd* memory = nullptr;
  };
  Result<void> start(std::span<const Loan> loans, std::span<const QueueLink> queues);
  /// Beyond what its model gives it, from the next start() on: the control of every test that finds
  /// nothing.
  void leak(const Fd& memory) { leaked_ = &memory; }
  Result<void> hold();
  Result<void> release();
  Result<Seen> look(const Look& look, bool after_request);
  Result<Usage> usage();
  Result<std::uint32_t> reach(std::int32_t pid);

 private:
  Result<DeviceReply> ask_for(DeviceRequest::Kind kind);

  Fd socket_;
  const Fd* leaked_ = nullptr;
};

}  // namespace airlock::compare
