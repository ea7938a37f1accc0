// SPDX-License-Identifier: Apache-2.0
//
// What a peer could do between any two accesses of shared memory, tried one by one instead of hoped
// for: no second thread, the same order each time. Needs a build with AIRLOCK_ACCESS_HOOK.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "shm/access_hook.h"
#include "shm/shared_bytes.h"

namespace airlock::testing {

/// Bytes that one operation loads more than once: what was checked the first time may be something
/// else the second (HD-11). Watches the calling thread, and one mapping: what a fake peer does
/// through a mapping of its own does not count. Not thread-safe.
class DoubleFetchDetector final : private shm::AccessObserver {
 public:
  /// A range that was loaded again, as offsets in `memory`.
  struct DoubleFetch {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;  // bytes
    std::uint32_t first = 0;   // number of the load that saw it first, from 1
    std::uint32_t second = 0;  // and of the one that saw it again

    friend bool operator==(const DoubleFetch&, const DoubleFetch&) = default;
  };

  /// Watches loads from `memory`, which must stay mapped.
  explicit DoubleFetchDetector(const shm::SharedBytes& memory)
      : memory_(memory), seen_by_(memory.size()), polled_(memory.size()) {}

  /// Declares words that an operation may look at as often as it likes, since each look stands for
  /// itself: an index, a flags word.
  void allow_polling(std::uint64_t offset, std::uint64_t length);

  /// Runs one operation (one poll(), one pop()) and returns what it loaded twice.
  [[nodiscard]] std::vector<DoubleFetch> watch(const std::function<void()>& operation);
  /// Loads of `memory` in the operation watched last: 0 means that nothing was proved.
  [[nodiscard]] std::uint32_t loads() const { return loads_; }

 private:
  void before_access(const shm::Access& access) override;

  shm::SharedBytes memory_;
  std::vector<std::uint32_t> seen_by_;  // a byte's first load, 0: none
  std::vector<bool> polled_;            // a byte's loads don't count
  std::vector<DoubleFetch> found_;
  std::uint32_t loads_ = 0;
};

/// One line for a test's message.
std::string describe(const std::vector<DoubleFetchDetector::DoubleFetch>& found);

/// Runs an operation with somebody else's act just before one of its accesses. Watches the calling
/// thread and one mapping, as DoubleFetchDetector does.
class Strike final : private shm::AccessObserver {
 public:
  /// `act` happens before access number `number` (from 1) of `memory`.
  Strike(const shm::SharedBytes& memory, std::uint32_t number, std::function<void()> act)
      : memory_(memory), number_(number), act_(std::move(act)) {}

  void during(const std::function<void()>& operation);
  /// Whether the operation had that many accesses.
  [[nodiscard]] bool happened() const { return accesses_ >= number_; }

 private:
  void before_access(const shm::Access& access) override;

  shm::SharedBytes memory_;
  std::uint32_t number_;
  std::function<void()> act_;
  std::uint32_t accesses_ = 0;
};

/// All interleavings of an operation with one act of a peer. `World` has memory(), the view of
/// shared memory that the operation works through.
template <class World>
struct Interleaver {
  std::function<std::unique_ptr<World>()> make;  // a new one for each run, all alike
  std::function<void(World&)> operation;
  std::function<void(World&)> mutation;                  // rewrites shared memory
  std::function<void(World&, std::uint32_t)> invariant;  // after it; told the access's number

  /// Runs the operation with the mutation before its access number 1, 2, 3, ... until it has no
  /// more, and once undisturbed; the invariant must hold after each. Returns the accesses struck:
  /// a test that expects some must say so.
  std::uint32_t run() const {
    constexpr std::uint32_t kMost = 100'000;  // an operation that never ends is our own bug
    for (std::uint32_t number = 1; number < kMost; number++) {
      const std::unique_ptr<World> world = make();
      Strike strike(world->memory(), number, [&] { mutation(*world); });
      strike.during([&] { operation(*world); });
      invariant(*world, number);
      if (!strike.happened()) return number - 1;
    }
    CHECK(false);
    return 0;
  }
};

}  // namespace airlock::testing
