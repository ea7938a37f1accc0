// SPDX-License-Identifier: Apache-2.0
#include "vfio_user/server.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <chrono>
#include <utility>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>

#include "base/log.h"
#include "vfio_user/connection.h"
#include "wire/listener.h"

namespace airlock::vfio_user {

namespace {

constexpr std::uint32_t kMaxDataXferSize = 64U << 20U;  // QEMU refuses more
constexpr std::chrono::milliseconds kAcceptRetry{100};

// Keeps an inherited socket from the programs that this one starts, and tells whether it listens or
// is connected already.
Result<bool> inherit(const Fd& socket) {
  if (fcntl(socket.get(), F_SETFD, FD_CLOEXEC) != 0) return fail(system_error());
  int listening = 0;
  socklen_t length = sizeof listening;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) != 0) {
    return fail(system_error());
  }
  return listening != 0;
}

}  // namespace

// Who listens, and which client is served. `current_` is the client there is; `leaving_` one that
// has gone while the handler still owes it a Reply, which the next client has to wait for.
class Server::Impl : public std::enable_shared_from_this<Server::Impl> {
 public:
  Impl(asio::io_context& context, Handler& handler, const Session::Options& options)
      : context_(context),
        handler_(handler),
        options_(options),
        waiter_(context),
        retry_(context) {}

  Result<void> listen(Listener listener);
  Result<void> serve(Fd socket);
  void close();
  [[nodiscard]] bool connected() const { return current_ != nullptr; }

 private:
  void wait_for_client();
  void accept_clients();
  void retry_later();
  void take(Fd socket);
  void on_closed();
  void on_settled();

  asio::io_context& context_;
  Handler& handler_;
  Session::Options options_;
  Listener listener_;
  // Watches a duplicate of the listener's fd: Asio closes what it watches.
  asio::posix::stream_descriptor waiter_;
  asio::steady_timer retry_;
  std::shared_ptr<Connection> current_;
  std::shared_ptr<Connection> leaving_;
  Fd next_;  // a client to serve once leaving_ has left
  bool closed_ = false;
};

Result<void> Server::Impl::listen(Listener listener) {
  listener_ = std::move(listener);
  Fd watched = TRY(own_fd(fcntl(listener_.fd(), F_DUPFD_CLOEXEC, 0)));
  asio::error_code error;
  waiter_.assign(watched.get(), error);
  if (error) return fail(system_error(error.value()));
  [[maybe_unused]] const int owned_by_asio = watched.release();
  wait_for_client();
  return {};
}

Result<void> Server::Impl::serve(Fd socket) {
  const std::weak_ptr<Impl> weak = weak_from_this();
  Connection::Events events{
      .closed =
          [weak] {
            if (const auto self = weak.lock()) self->on_closed();
          },
      .settled =
          [weak] {
            if (const auto self = weak.lock()) self->on_settled();
          },
  };
  current_ =
      TRY(Connection::create(context_, handler_, options_, std::move(socket), std::move(events)));
  current_->start();
  return {};
}

void Server::Impl::close() {
  if (std::exchange(closed_, true)) return;
  asio::error_code ignored;
  waiter_.close(ignored);
  retry_.cancel();
  listener_ = Listener();
  next_.reset();
  if (current_) current_->abandon();
  current_.reset();
  leaving_.reset();
}

void Server::Impl::wait_for_client() {
  waiter_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [weak = weak_from_this()](const asio::error_code& error) {
                       const auto self = weak.lock();
                       if (!error && self && !self->closed_) self->accept_clients();
                     });
}

void Server::Impl::accept_clients() {
  while (true) {
    auto socket = listener_.accept();
    if (!socket) return retry_later();
    if (!*socket) return wait_for_client();
    take(std::move(*socket));
  }
}

// Out of file descriptors, say: asking again at once would only burn the processor.
void Server::Impl::retry_later() {
  retry_.expires_after(kAcceptRetry);
  retry_.async_wait([weak = weak_from_this()](const asio::error_code& error) {
    const auto self = weak.lock();
    if (!error && self && !self->closed_) self->accept_clients();
  });
}

void Server::Impl::take(Fd socket) {
  // The end of the last client's stream may be seen only after the next one has come.
  if (current_ && current_->hung_up()) {
    current_->notice_hangup();
    if (current_) current_->close({.code = Errc::kPeerClosed});
  }
  if (current_ || next_) {
    if (options_.log_limit->allow()) {
      log(LogLevel::kWarning, "vfio-user: a second client was refused: there is one already");
    }
    return;
  }
  if (leaving_) {
    next_ = std::move(socket);
    return;
  }
  const auto served = serve(std::move(socket));
  if (!served && options_.log_limit->allow()) {
    log(LogLevel::kError, "vfio-user: client dropped: {}", describe(served.error()));
  }
}

void Server::Impl::on_closed() {
  auto connection = std::move(current_);
  current_ = nullptr;
  if (connection->pending()) leaving_ = std::move(connection);
}

void Server::Impl::on_settled() {
  if (closed_ || !leaving_ || leaving_->pending()) return;
  leaving_.reset();
  if (!next_) return;
  take(std::exchange(next_, Fd()));
}

Server::Server(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::Server(Server&&) noexcept = default;

Server& Server::operator=(Server&& other) noexcept {
  if (this != &other) {
    close();
    impl_ = std::move(other.impl_);
  }
  return *this;
}

Server::~Server() {
  close();
}

Result<Server> Server::listen(asio::io_context& context, Handler& handler, Options options) {
  if (options.path.empty() != static_cast<bool>(options.socket)) return fail(Errc::kWrongState);
  if (options.max_data_xfer_size == 0 || options.max_data_xfer_size > kMaxDataXferSize) {
    return fail({.code = Errc::kOutOfRange, .address = options.max_data_xfer_size});
  }
  if (options.max_msg_fds == 0 || options.max_msg_fds > kMaxMessageFds) {
    return fail({.code = Errc::kOutOfRange, .address = options.max_msg_fds});
  }
  const Session::Options session{.max_data_xfer_size = options.max_data_xfer_size,
                                 .max_msg_fds = options.max_msg_fds};
  auto impl = std::make_shared<Impl>(context, handler, session);
  if (!options.path.empty()) {
    TRY(impl->listen(TRY(Listener::create(options.path))));
  } else if (TRY(inherit(options.socket))) {
    TRY(impl->listen(TRY(Listener::adopt(std::move(options.socket)))));
  } else {
    TRY(impl->serve(std::move(options.socket)));
  }
  return Server(std::move(impl));
}

void Server::close() {
  if (impl_) impl_->close();
}

bool Server::connected() const {
  return impl_ && impl_->connected();
}

}  // namespace airlock::vfio_user
