// SPDX-License-Identifier: Apache-2.0
#include "vfio_user/connection.h"

#include <poll.h>

#include <utility>

#include <asio/post.hpp>

#include "base/log.h"

namespace airlock::vfio_user {

namespace {

// Messages in one go, before others on the same thread get a turn.
constexpr int kBurst = 64;

}  // namespace

Connection::Connection(asio::io_context& context, Handler& handler, const Session::Options& options,
                       Events events)
    : context_(context),
      socket_(context),
      session_(handler, options, [this] { on_settled(); }),
      reader_(session_.limits()),
      events_(std::move(events)),
      log_limit_(options.log_limit) {}

Result<std::shared_ptr<Connection>> Connection::create(asio::io_context& context, Handler& handler,
                                                       const Session::Options& options, Fd socket,
                                                       Events events) {
  // The constructor is private, which make_shared cannot see past.
  std::shared_ptr<Connection> connection(
      new Connection(context, handler, options, std::move(events)));
  asio::error_code error;
  connection->socket_.assign(socket.get(), error);
  if (error) return fail(system_error(error.value()));
  [[maybe_unused]] const int owned_by_asio = socket.release();
  return connection;
}

void Connection::start() {
  wait_readable();
}

void Connection::abandon() {
  if (std::exchange(closed_, true)) return;
  asio::error_code ignored;
  socket_.close(ignored);
  session_.close();
}

void Connection::close(const Error& why) {
  if (closed_) return;
  const bool left = why.code == Errc::kPeerClosed;
  const LogLevel level = left ? LogLevel::kInfo : LogLevel::kWarning;
  if (log_enabled(level) && log_limit_->allow()) {
    log(level, "vfio-user: {}",
        left ? "the client left" : fmt::format("client dropped: {}", describe(why)));
  }
  // Both may release the last reference elsewhere.
  const auto self = shared_from_this();
  abandon();
  events_.closed();
}

bool Connection::hung_up() {
  if (closed_) return true;
  pollfd state = {.fd = socket_.native_handle(), .events = POLLRDHUP, .revents = 0};
  return poll(&state, 1, 0) == 1 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void Connection::notice_hangup() {
  // Ends at the end of the stream at the latest: the client adds nothing any more.
  while (!closed_ && !pending()) {
    const auto progress = receive();
    if (!progress) return close(progress.error());
    if (*progress == Progress::kWouldBlock) return;
  }
}

// One burst of messages at most (kDone), up to where nothing is there (kWouldBlock) or a Reply is
// outstanding (kDone).
Result<Progress> Connection::receive() {
  for (int messages = 0; messages < kBurst && !session_.pending();) {
    const auto progress = TRY(receive_some(socket_.native_handle(), reader_));
    if (progress == Progress::kWouldBlock) return progress;
    if (!reader_.complete()) continue;
    ++messages;
    session_.handle(reader_.take());
    // At once: a processor of the client's waits for it, trapped in an access.
    TRY(flush());
  }
  return Progress::kDone;
}

Result<void> Connection::flush() {
  while (auto reply = session_.take_reply()) {
    TRY(queue_.push(std::move(*reply)));
  }
  // While a wait for room is under way the peer takes nothing, and order must hold.
  if (writing_) return {};
  if (TRY(queue_.flush(socket_.native_handle())) == Progress::kWouldBlock) wait_writable();
  return {};
}

void Connection::run() {
  const auto flushed = flush();
  if (!flushed) return close(flushed.error());
  const auto progress = receive();
  if (!progress) return close(progress.error());
  if (!session_.pending()) wait_readable();
}

void Connection::wait_readable() {
  if (closed_ || std::exchange(reading_, true)) return;
  socket_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [self = shared_from_this()](const asio::error_code& error) {
                       self->reading_ = false;
                       if (!error && !self->closed_) self->run();
                     });
}

void Connection::wait_writable() {
  if (closed_ || std::exchange(writing_, true)) return;
  socket_.async_wait(asio::posix::stream_descriptor::wait_write,
                     [self = shared_from_this()](const asio::error_code& error) {
                       self->writing_ = false;
                       if (error || self->closed_) return;
                       const auto result = self->flush();
                       if (!result) self->close(result.error());
                     });
}

// The handler calls this from wherever it gave its Reply: go on from a clean stack.
void Connection::on_settled() {
  asio::post(context_, [self = shared_from_this()] {
    if (self->closed_) {
      self->events_.settled();
    } else {
      self->run();
    }
  });
}

}  // namespace airlock::vfio_user
