// SPDX-License-Identifier: Apache-2.0
//
// The front end's half of a connection, without I/O: requests out in order, answers in the same
// order, and nothing believed that was not asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "base/fd.h"
#include "vhost_user/message.h"
#include "wire/message.h"

namespace airlock::vhost_user {

/// One connection's requests and their answers. One thread. Whatever the backend sends, it is the
/// answer to the oldest request that has one, or an error, after which the connection is to be
/// closed: nothing else here can be hurt by it.
class Dialogue {
 public:
  /// Takes an answer whose header and size are as asked for. An error ends the connection.
  using OnAnswer = std::function<Result<void>(Message& answer)>;

  struct Request {
    std::uint32_t request = 0;  // VHOST_USER_*
    // NOLINTBEGIN(readability-redundant-member-init): GCC wants it, to be left out where not used
    std::vector<std::byte> payload = {};
    std::vector<Fd> fds = {};
    // NOLINTEND(readability-redundant-member-init)
  };

  /// From here on every request that has no answer of its own is acknowledged.
  void set_reply_ack(bool on) { reply_ack_ = on; }

  /// A request without an answer of its own.
  void tell(Request request);
  /// A request that is answered: with `answer_bytes`, and an fd or none.
  void ask(Request request, std::size_t answer_bytes, std::size_t answer_fds, OnAnswer on_answer);

  /// The oldest message that was not sent yet.
  std::optional<vfio_user::Outgoing> take_outgoing();

  /// Whether an answer is due.
  [[nodiscard]] bool awaiting() const { return !expected_.empty(); }
  /// How many are.
  [[nodiscard]] std::size_t answers_due() const { return expected_.size(); }
  /// The request that is answered next; 0 if none.
  [[nodiscard]] std::uint32_t awaited() const;

  /// Acts on a message of the backend's.
  /// Errors: kMalformed (detail: the offset of the field that is wrong; the size of a message where
  /// fds came that were not asked for), kUnsupported (detail: the request that the backend
  /// refused), those of OnAnswer.
  Result<void> receive(Message message);

 private:
  struct Expected {
    std::uint32_t request = 0;
    std::size_t bytes = 0;
    std::size_t fds = 0;
    OnAnswer on_answer;
  };
  void send(Request request, std::uint32_t flags);

  bool reply_ack_ = false;
  std::deque<vfio_user::Outgoing> outgoing_;
  std::deque<Expected> expected_;
};

}  // namespace airlock::vhost_user
