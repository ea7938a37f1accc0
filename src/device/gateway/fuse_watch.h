// SPDX-License-Identifier: Apache-2.0
//
// What keeps a mounted file system alive when its backend dies: virtiofsd has the driver's session
// in its own memory. Here it is followed, and the next virtiofsd is told it as if the device had
// migrated to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "device/gateway/chain_watcher.h"
#include "device/gateway/fuse_session.h"

namespace airlock::device {

/// One client's session. What of it can't be handed on the driver is told when it asks for it:
/// files that are stale (ESTALE: it looks for their names anew), or a session that is gone
/// (ENOTCONN, until it mounts again). Never is a request left without an answer. Control thread.
class FuseWatch final : public ChainWatcher {
 public:
  explicit FuseWatch(std::uint16_t queues) : queues_(queues) {}

  std::optional<std::uint32_t> taken(std::uint16_t queue, const ring::Chain& chain) override;
  std::optional<std::uint32_t> again(std::uint16_t queue, std::uint16_t head, bool seen) override;
  void returned(std::uint16_t queue, std::uint16_t head, std::uint32_t written) override;

  /// The driver resets its device: nothing of it is left.
  void reset();
  /// The backend is gone, with what it knew.
  void backend_lost();
  /// Whether the backend that is there has to be told a session before it gets a request.
  [[nodiscard]] bool has_to_tell() const { return session_.begun() && !told_ && !given_up_; }
  /// What it is to be told: all of it at first, ever less after refused(). Nothing, when there is
  /// nothing more to try, or when a session can't be told: then give_up().
  [[nodiscard]] std::optional<std::vector<std::byte>> to_tell();
  void accepted();
  void refused();
  void give_up();

 private:
  /// A request that is in flight.
  struct Request {
    FuseRequest asked;
    std::vector<shm::SharedBytes> reply;  // as much of its place as is looked at
    bool readable = false;                // it could be made sense of
    bool repeated = false;                // another backend may have done it
  };

  Request& at(std::uint16_t queue, std::uint16_t head);
  [[nodiscard]] std::uint32_t answer(const Request& request, int error) const;
  [[nodiscard]] bool cannot_be_repeated(const FuseRequest& asked) const;
  [[nodiscard]] int corrected(const Request& request, int error) const;

  FuseSession session_;
  bool told_ = true;         // the backend knows the session
  bool given_up_ = false;    // it will not: the session is over for the driver
  bool restored_ = false;    // once or more
  bool telling_ = false;     // a backend was told, and has not said what it thinks of it
  unsigned attempt_ = 0;     // how much of it is told
  unsigned died_of_it_ = 0;  // backends, in this attempt
  std::vector<std::vector<Request>> queues_;  // by head
};

}  // namespace airlock::device
