// SPDX-License-Identifier: Apache-2.0
#include "vhost_user/link.h"

#include <poll.h>

#include <utility>

#include <asio/post.hpp>

#include "vhost_user/backend_request.h"

namespace airlock::vhost_user {

namespace {

using vfio_user::Progress;

// Messages in one go, before others on the same thread get a turn.
constexpr int kBurst = 64;
// Answers due at a time: some for each of a device's queues, a few times over. A driver can cause
// requests faster than a backend answers them, and each is remembered.
constexpr std::size_t kAnswersDueMax = 8192;

/// Receives up to one burst of messages. False: nothing is there now.
template <class OnMessage>
Result<void> receive_burst(int socket, MessageReader& reader, const OnMessage& on_message) {
  for (int messages = 0; messages < kBurst;) {
    vfio_user::Received received = TRY(vfio_user::receive_bytes(socket, reader.target()));
    if (received.bytes == 0) return {};
    TRY(reader.advance(received.bytes, std::move(received.fds)));
    if (!reader.complete()) continue;
    ++messages;
    TRY(on_message(reader.take()));
  }
  return {};
}

Result<void> assign(asio::posix::stream_descriptor& descriptor, Fd fd) {
  asio::error_code error;
  descriptor.assign(fd.get(), error);
  if (error) return fail(system_error(error.value()));
  [[maybe_unused]] const int owned_by_asio = fd.release();
  return {};
}

}  // namespace

Link::Link(asio::io_context& context, std::chrono::milliseconds answer_timeout, Events events)
    : context_(context),
      socket_(context),
      channel_(context),
      timer_(context),
      answer_timeout_(answer_timeout),
      events_(std::move(events)) {}

Result<std::shared_ptr<Link>> Link::create(asio::io_context& context, Connection connection,
                                           std::chrono::milliseconds answer_timeout,
                                           Events events) {
  // The constructor is private, which make_shared cannot see past.
  std::shared_ptr<Link> link(new Link(context, answer_timeout, std::move(events)));
  TRY(assign(link->socket_, std::move(connection.socket)));
  TRY(assign(link->channel_, std::move(connection.channel)));
  link->backend_channel_ = std::move(connection.backend_channel);
  return link;
}

void Link::start(std::uint32_t config_bytes, FrontEnd::OnFacts on_facts) {
  front_end_.greet(config_bytes, std::move(backend_channel_), std::move(on_facts));
  wait_readable();
  wait_channel();
  flush();
}

void Link::flush() {
  act(send());
}

Result<void> Link::send() {
  if (closed_) return {};
  if (dialogue_.answers_due() > kAnswersDueMax) {
    return fail({.code = Errc::kTooLarge, .address = dialogue_.answers_due()});
  }
  while (auto message = dialogue_.take_outgoing())
    TRY(queue_.push(std::move(*message)));
  watch_time();
  // While a wait for room is under way the peer takes nothing, and order must hold.
  if (writing_) return {};
  if (TRY(queue_.flush(socket_.native_handle())) == Progress::kWouldBlock) wait_writable();
  return {};
}

Result<void> Link::receive() {
  TRY(receive_burst(socket_.native_handle(), reader_, [this](Message message) {
    ++answers_;
    return dialogue_.receive(std::move(message));
  }));
  return send();
}

// Answers that the backend does not read pile up to a limit, which ends the connection.
Result<void> Link::receive_requests() {
  TRY(receive_burst(channel_.native_handle(), channel_reader_,
                    [this](const Message& message) -> Result<void> {
                      auto answer = TRY(answer_backend_request(message, events_.config_changed));
                      if (answer) TRY(channel_queue_.push(std::move(*answer)));
                      return {};
                    }));
  TRY(channel_queue_.flush(channel_.native_handle()));
  return send();
}

void Link::act(const Result<void>& result) {
  if (!result) close(result.error());
}

// The event comes later, from a clean stack: whoever made the request that failed is still in it.
void Link::close(const Error& why) {
  if (closed_) return;
  why_ = why;
  shut();
  asio::post(context_, [self = shared_from_this()] {
    if (const auto lost = std::exchange(self->events_.lost, {})) lost(self->why_);
  });
}

void Link::abandon() {
  events_.lost = {};
  shut();
}

void Link::shut() {
  if (std::exchange(closed_, true)) return;
  asio::error_code ignored;
  socket_.close(ignored);
  channel_.close(ignored);
  timer_.cancel();
}

Result<void> Link::settle(std::chrono::milliseconds longest) {
  const auto self = shared_from_this();  // an answer may have us dropped
  const auto deadline = std::chrono::steady_clock::now() + longest;
  while (!closed_ && dialogue_.awaiting()) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd state{.fd = socket_.native_handle(),
                 .events = static_cast<short>(queue_.empty() ? POLLIN : POLLIN | POLLOUT),
                 .revents = 0};
    if (left.count() <= 0) {
      close({.code = Errc::kTimeout, .detail = static_cast<std::uint32_t>(longest.count())});
    } else if (poll(&state, 1, static_cast<int>(left.count())) > 0) {
      act(receive());
    }
  }
  if (closed_) return fail(why_);
  return {};
}

void Link::wait_readable() {
  if (closed_) return;
  socket_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [self = shared_from_this()](const asio::error_code& error) {
                       if (error || self->closed_) return;
                       self->act(self->receive());
                       self->wait_readable();
                     });
}

void Link::wait_channel() {
  if (closed_) return;
  channel_.async_wait(asio::posix::stream_descriptor::wait_read,
                      [self = shared_from_this()](const asio::error_code& error) {
                        if (error || self->closed_) return;
                        const auto result = self->receive_requests();
                        // It never took its end, or let go of it: that is no reason to part.
                        if (!result && result.error().code == Errc::kPeerClosed) return;
                        self->act(result);
                        self->wait_channel();
                      });
}

void Link::wait_writable() {
  if (closed_ || std::exchange(writing_, true)) return;
  socket_.async_wait(asio::posix::stream_descriptor::wait_write,
                     [self = shared_from_this()](const asio::error_code& error) {
                       self->writing_ = false;
                       if (!error && !self->closed_) self->flush();
                     });
}

void Link::watch_time() {
  if (closed_ || !dialogue_.awaiting() || std::exchange(timing_, true)) return;
  timer_.expires_after(answer_timeout_);
  timer_.async_wait([self = shared_from_this(), answers = answers_](const asio::error_code& error) {
    self->timing_ = false;
    if (error || self->closed_ || !self->dialogue_.awaiting()) return;
    if (self->answers_ != answers) return self->watch_time();
    self->close({.code = Errc::kTimeout,
                 .detail = static_cast<std::uint32_t>(self->answer_timeout_.count())});
  });
}

}  // namespace airlock::vhost_user
