// SPDX-License-Identifier: Apache-2.0
//
// A device's end of a ring that writes whatever it is told to, and the list of lies that can be
// told there (REQUIREMENTS 4). What a lie must come to is for each test to say.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "core/descriptor.h"
#include "ring/layout.h"
#include "shm/shared_bytes.h"

namespace airlock::testing {

/// One ring, of any format, without a single check. It knows what an honest device would: which
/// requests it was given, in order, and where its next answer goes. Not thread-safe.
class HostileRing {
 public:
  struct Place {
    shm::SharedBytes region;  // the whole region, as the device has it
    ring::QueueSize size;
    ring::AreaOffsets areas;
    window::Publisher publisher;  // the driver's
    ring::Features features{};
  };
  /// A request that the driver published and that was not returned.
  struct Request {
    std::uint32_t id = 0;
    std::uint32_t writable_bytes = 0;
    std::uint32_t slots = 0;  // of the ring
  };

  /// For a ring that is empty, or whose requests are all still open.
  static std::unique_ptr<HostileRing> create(const Place& place);
  virtual ~HostileRing() = default;
  HostileRing(const HostileRing&) = delete;
  HostileRing& operator=(const HostileRing&) = delete;

  [[nodiscard]] std::uint32_t slots() const { return place_.size.value(); }
  /// All requests that are open now, oldest first.
  const std::deque<Request>& open();
  [[nodiscard]] bool is_open(std::uint32_t id);

  /// Answers the oldest `count` requests honestly: by set_honest(), or by returning each as wholly
  /// written.
  void answer(std::size_t count);
  /// What serves `count` requests, in this very ring, as an honest device does.
  void set_honest(std::function<void(std::size_t count)> honest) { honest_ = std::move(honest); }

  /// Leaves the oldest request to itself: to the device it is returned.
  void forget_oldest();

  /// Returns `id`, whatever that is, as the next answer.
  void use(std::uint32_t id, std::uint32_t length);
  /// Rewrites every answer that was given and may not have been read yet.
  virtual void rewrite_answers(std::uint32_t id, std::uint32_t length) = 0;
  /// Moves the end of what counts as answered by `by` answers, and writes none.
  virtual void move_used(std::int32_t by) = 0;
  /// Rewrites every descriptor of the table or ring, also the driver's own.
  virtual void rewrite_table(const std::function<void(airlock_descriptor&)>& change) = 0;
  /// The same for the indirect tables of the open requests. Returns how many descriptors it hit.
  virtual std::uint32_t rewrite_indirect(
      const std::function<void(airlock_descriptor&)>& change) = 0;
  /// Visits the descriptors of an open request, those of its indirect table in its place.
  virtual void visit(const Request& request,
                     const std::function<void(const airlock_descriptor&)>& see) = 0;

 protected:
  explicit HostileRing(const Place& place) : place_(place) {}

  /// Adds what was published since the last look.
  virtual void look(std::deque<Request>& open) = 0;
  /// Writes the next answer, of a request that took `slots` of the ring, and shows it.
  virtual void put_answer(std::uint32_t id, std::uint32_t length, std::uint32_t slots) = 0;
  /// Goes on behind an answer that somebody else wrote.
  virtual void skip_answer(std::uint32_t slots) = 0;

  [[nodiscard]] const Place& place() const { return place_; }
  /// The memory behind what the driver wrote as an address, [address, address + length).
  [[nodiscard]] shm::SharedBytes memory(std::uint64_t address, std::uint64_t length) const;

 private:
  Place place_;
  std::deque<Request> open_;
  std::function<void(std::size_t)> honest_;
};

/// A lie that is told in a ring with at least two open requests.
struct RingLie {
  std::string_view name;
  void (*tell)(HostileRing& ring);
};
/// By its name, which must be on the list (CHECK).
const RingLie& ring_lie(std::string_view name);
std::span<const RingLie> ring_lies();

}  // namespace airlock::testing
