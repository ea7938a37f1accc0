// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>

#include "base/event_fd.h"
#include "guard/poller.h"
#include "spec/vfio_user.h"

namespace airlock::guard {

/// Passes interrupts on. The VM's eventfds stay here: the device signals ones of the guard's own,
/// so it can neither fill, drain or block those of the VM nor make an interrupt of any other kind.
/// A storm is thinned out: no interrupt is lost, but many become one. One thread.
class InterruptRelay {
 public:
  /// How many interrupts pass at once, and how many a second after that.
  struct Rate {
    std::uint32_t burst = 512;
    std::uint32_t per_second = 50'000;
  };

  /// `poller` outlives it. `stormed` is called when interrupts begin to be held back.
  InterruptRelay(Poller& poller, Rate rate, std::function<void()> stormed)
      : poller_(poller), rate_(rate), tokens_(rate.burst), stormed_(std::move(stormed)) {}

  /// The VM wants vector `vector` of `index` signalled to `eventfd`. Returns the eventfd that the
  /// device is to signal (borrowed), the same one as long as clear() is not called; nothing if the
  /// device has it already. Errors: kSystem.
  Result<std::optional<int>> assign(std::uint32_t index, std::uint32_t vector, Fd eventfd);
  /// No longer to anybody. Whether the device had it.
  bool deassign(std::uint32_t index, std::uint32_t vector);
  void disable(std::uint32_t index);
  /// The VM has gone.
  void clear();

  /// Signals the VM, in the device's place.
  void signal(std::uint32_t index, std::uint32_t vector);
  /// Signals all that are assigned: some of them may have been lost.
  void signal_all();

  struct Vector {
    std::uint32_t index;
    std::uint32_t vector;
    int eventfd;  // the device's, borrowed
  };
  /// Calls `visit` for each that is assigned, to give them to another device process.
  void for_each(const std::function<void(Vector)>& visit) const;

  /// When interrupts that are held back may go on.
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;
  /// To be called when that time has come.
  void resume(TimePoint now);

 private:
  struct Entry {
    EventFd vm;
    EventFd device;
    Poller::Watch watch;
    bool assigned = false;
  };
  using Key = std::pair<std::uint32_t, std::uint32_t>;

  void pass(Key key);
  bool take_token(TimePoint now);

  Poller& poller_;
  Rate rate_;
  double tokens_;
  TimePoint refilled_ = Clock::now();
  std::function<void()> stormed_;
  std::map<Key, Entry> entries_;
  bool held_ = false;  // some are not watched until resume()
};

}  // namespace airlock::guard
