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
#include <vector>

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
  /// A request that the driver published and that was not returned, as it was then.
  struct Request {
    std::uint32_t id = 0;
    std::uint32_t slots = 0;  // of the ring
    std::uint32_t writable_bytes = 0;
    std::vector<airlock_descriptor> buffers;  // those of the indirect table too
    shm::SharedBytes table;                   // the indirect table; empty: none
  };

  /// For a new ring, whose requests are all still open.
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
  /// Serves one request, and returns how many bytes it wrote. With it the ring answers by itself,
  /// in step with its own lies, and lies about descriptors are told before the answers: for a
  /// driver that runs meanwhile.
  void set_server(std::function<std::uint32_t(const Request&)> server) {
    server_ = std::move(server);
  }

  /// Returns `id`, whatever that is, as the next answer.
  void use(std::uint32_t id, std::uint32_t length);
  /// Rewrites every answer that was given and may not have been read yet.
  virtual void rewrite_answers(std::uint32_t id, std::uint32_t length) = 0;
  /// Says that `by` more requests are answered, from the oldest on (fewer, if negative), and writes
  /// no answer. More than are open is possible.
  void move_used(std::int32_t by);
  /// Rewrites every descriptor of the table or ring.
  void rewrite_table(const std::function<void(airlock_descriptor&)>& change);
  /// Rewrites every descriptor, and answers all open requests honestly.
  void answer_and_rewrite_table(const std::function<void(airlock_descriptor&)>& change);
  /// Answers all open requests honestly, and rewrites the indirect tables that they had. Returns
  /// how many descriptors that were.
  std::uint32_t answer_and_rewrite_tables(const std::function<void(airlock_descriptor&)>& change);
  /// Overwrites what the driver alone may write, but for the available index of a split ring, by
  /// which requests are found: the available ring, or the driver's event suppression structure.
  void rewrite_driver_area();
  /// Says at random when the driver is to notify: flags and event index, or the device's event
  /// suppression structure.
  void rewrite_device_events() const;
  /// The memory of the ring's three areas.
  [[nodiscard]] std::vector<shm::SharedBytes> areas() const;

 protected:
  explicit HostileRing(const Place& place) : place_(place) {}

  /// The next request that was published since the last look, if there is one.
  virtual std::optional<Request> look() = 0;
  /// The slot of the descriptor that comes after the one in `slot`.
  [[nodiscard]] virtual std::uint32_t next_slot(const airlock_descriptor& descriptor,
                                                std::uint32_t slot) const = 0;
  /// Writes the next answer, of a request that took `slots` of the ring, and shows it.
  virtual void put_answer(std::uint32_t id, std::uint32_t length, std::uint32_t slots) = 0;
  /// Goes on behind an answer of that many slots, which is in memory already.
  virtual void skip_answer(std::uint32_t slots) = 0;
  /// Shows `by` answers more or fewer, of which none is written; where the next goes stays.
  virtual void show_used(std::int32_t by) = 0;

  [[nodiscard]] const Place& place() const { return place_; }
  /// An area of the ring; the descriptors.
  [[nodiscard]] shm::SharedBytes area(window::RegionOffset offset,
                                      const ring::AreaShape& shape) const;
  [[nodiscard]] shm::SharedBytes descriptors() const;
  /// Reads the request whose first descriptor is in `slot`. Its id is that of its last descriptor,
  /// where the format has one there.
  [[nodiscard]] Request read_request(std::uint32_t slot) const;

 private:
  Place place_;
  std::deque<Request> open_;
  std::function<void(std::size_t)> honest_;
  std::function<std::uint32_t(const Request&)> server_;
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
