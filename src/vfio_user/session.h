// SPDX-License-Identifier: Apache-2.0
//
// The server's half of the protocol, without I/O: a message in, an action on the handler, a reply
// out.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "base/log.h"
#include "vfio_user/handler.h"
#include "wire/message.h"

namespace airlock::vfio_user {

/// One client's conversation with a Handler. One thread. Whatever the client sends, the answer is a
/// reply or an error reply; only a message that no header can announce (MessageReader) ends it.
class Session {
 public:
  struct Options {
    std::uint32_t max_data_xfer_size = 1U << 20U;  // bytes in one access
    std::uint32_t max_msg_fds = 8;                 // in one message
    /// For lines that a client can cause. Not null; whoever serves clients one after another gives
    /// all of them the same, or coming back would be a way to fill the log.
    std::shared_ptr<LogLimit> log_limit = std::make_shared<LogLimit>();
  };

  /// `handler` outlives the session. `settled` is called when a Reply is given after handle() has
  /// returned, from wherever it was given: it must not call back into the session at once.
  Session(Handler& handler, const Options& options, std::move_only_function<void()> settled);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// What a MessageReader for this session should let through.
  [[nodiscard]] MessageReader::Limits limits() const;

  /// Acts on one message. Not to be called while pending() or after close().
  void handle(Message message);

  /// Whether the handler owes a Reply: no further message may be handled until it is given.
  [[nodiscard]] bool pending() const { return pending_.has_value(); }

  /// The oldest reply that nobody took yet.
  std::optional<Outgoing> take_reply();

  /// The client has gone: tells the handler, once. Replies that are still due go nowhere, but
  /// pending() and `settled` go on to tell of them. Idempotent.
  void close();

 private:
  struct Answer {
    std::vector<std::byte> bytes;  // room for the header, then the payload
    std::vector<Fd> fds;
  };
  // Nothing: the answer comes later, by a Reply.
  using Outcome = Result<std::optional<Answer>>;
  struct Pending {
    spec::VfioUserHeader request;
    std::vector<std::byte> payload;  // of the reply, on success
  };
  // Outlives the session, inside Reply objects.
  struct Link {
    Session* session;
  };

  Outcome dispatch(Message& message);
  Outcome on_version(std::span<const std::byte> payload);
  Outcome on_dma_map(Message& message);
  Outcome on_dma_unmap(const Message& message);
  Outcome on_device_info(std::span<const std::byte> payload);
  Outcome on_region_info(std::span<const std::byte> payload);
  Outcome on_region_io_fds(std::span<const std::byte> payload);
  Outcome on_irq_info(std::span<const std::byte> payload);
  Outcome on_set_irqs(Message& message);
  Outcome on_region_read(std::span<const std::byte> payload);
  Outcome on_region_write(std::span<const std::byte> payload);
  Outcome on_reset(const Message& message);

  Result<void> check_message(const Message& message) const;
  Result<spec::VfioUserRegionAccess> check_access(std::span<const std::byte> payload) const;
  Result<void> set_eventfds(const spec::VfioUserIrqSet& request, std::vector<Fd> eventfds);
  Result<void> trigger(const spec::VfioUserIrqSet& request, std::span<const std::byte> flags);

  Reply defer(const spec::VfioUserHeader& request, std::vector<std::byte> payload);
  void finish(Result<void> result);
  void send(const spec::VfioUserHeader& request, Answer answer);
  void send_error(const spec::VfioUserHeader& request, const Error& error);

  Handler& handler_;
  Options options_;
  std::move_only_function<void()> settled_;
  std::shared_ptr<Link> link_;
  std::deque<Outgoing> replies_;
  std::optional<Pending> pending_;
  std::uint64_t client_max_fds_ = 0;
  bool negotiated_ = false;
  bool handling_ = false;
  bool closed_ = false;
};

}  // namespace airlock::vfio_user
