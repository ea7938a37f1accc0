// SPDX-License-Identifier: Apache-2.0
#include "vhost_user/backend_keeper.h"

#include <algorithm>
#include <utility>

namespace airlock::vhost_user {

namespace {

// A connection that held this long was a good one.
constexpr std::chrono::milliseconds kGoodConnection{100};

}  // namespace

BackendKeeper::BackendKeeper(asio::io_context& context, Connector connector, Options options,
                             Events events)
    : retry_(context),
      connector_wait_(context),
      context_(context),
      connector_(std::move(connector)),
      options_(options),
      events_(std::move(events)),
      delay_(options.retry_first) {}

BackendKeeper::~BackendKeeper() {
  if (link_) link_->abandon();
  if (connector_wait_.is_open()) {
    [[maybe_unused]] const int still_the_connectors = connector_wait_.release();
  }
}

Result<void> BackendKeeper::watch_connector() {
  asio::error_code error;
  connector_wait_.assign(connector_.fd(), error);
  if (error) return fail(system_error(error.value()));
  return {};
}

void BackendKeeper::begin() {
  MUST(watch_connector());
  retry_later();
}

Result<void> BackendKeeper::connect_now(std::chrono::milliseconds longest) {
  TRY(watch_connector());
  TRY(open(TRY(connector_.connect())));
  const auto settled = link_->settle(longest);
  if (!settled) {
    link_->abandon();
    link_.reset();
  }
  return settled;
}

FrontEnd* BackendKeeper::front_end() {
  return greeted_ ? &link_->front_end() : nullptr;
}

void BackendKeeper::flush() {
  if (link_) link_->flush();
}

bool BackendKeeper::settle(std::chrono::milliseconds longest) {
  return greeted_ && link_->settle(longest).has_value();
}

void BackendKeeper::renew() {
  if (!link_) return;
  link_->abandon();
  link_.reset();
  forget_link();
  retry_later();
}

// A new connection is tried for at once after one that was good, and ever later after others.
bool BackendKeeper::forget_link() {
  if (!std::exchange(greeted_, false)) return false;
  if (std::chrono::steady_clock::now() - since_ > kGoodConnection) delay_ = options_.retry_first;
  return true;
}

Result<void> BackendKeeper::open(Connection connection) {
  link_ = TRY(Link::create(context_, std::move(connection), options_.answer_timeout,
                           {.lost = [this](const Error& why) { on_lost(why); },
                            .config_changed = [this] { on_config_changed(); }}));
  reading_config_ = false;
  config_stale_ = false;
  link_->start(options_.config_bytes, [this](const Facts& facts) { return on_facts(facts); });
  return {};
}

Result<void> BackendKeeper::on_facts(const Facts& facts) {
  greeted_ = true;
  auto taken = events_.connected(facts);
  greeted_ = taken.has_value();
  if (!greeted_) return taken;
  ++stats_.connections;
  since_ = std::chrono::steady_clock::now();
  if (stats_.connections > 1 && log_limit_.allow()) {
    log(LogLevel::kInfo, "vhost-user: the backend is there again");
  }
  return taken;
}

void BackendKeeper::on_lost(const Error& why) {
  link_.reset();
  if (log_limit_.allow()) {
    log(LogLevel::kWarning, "vhost-user: the backend is gone, waiting for another: {}",
        describe(why));
  }
  if (forget_link()) {
    ++stats_.losses;
    events_.lost();
  }
  retry_later();
}

// As often as it likes to say so: one question is under way at a time, and one more to come.
void BackendKeeper::on_config_changed() {
  if (!greeted_ || link_->front_end().facts().config.empty()) return;
  config_stale_ = true;
  if (!reading_config_) read_config();
}

void BackendKeeper::read_config() {
  reading_config_ = true;
  config_stale_ = false;
  link_->front_end().get_config([this] {
    reading_config_ = false;
    events_.config_changed();
    if (config_stale_) read_config();
  });
}

void BackendKeeper::retry_later() {
  retry_.expires_after(delay_);
  delay_ = std::min(delay_ * 2, options_.retry_longest);
  retry_.async_wait([this](const asio::error_code& error) {
    if (!error) ask();
  });
}

void BackendKeeper::ask() {
  if (!connector_.ask()) return give_up();
  wait_connector();
}

void BackendKeeper::wait_connector() {
  connector_wait_.async_wait(asio::posix::stream_descriptor::wait_read,
                             [this](const asio::error_code& error) {
                               if (error) return;
                               auto connection = connector_.take();
                               if (connection && !*connection) return wait_connector();
                               if (!connection && connection.error().code == Errc::kPeerClosed) {
                                 return give_up();
                               }
                               if (!connection || !open(std::move(*connection))) retry_later();
                             });
}

// From in here there is no other way to a backend.
void BackendKeeper::give_up() {
  log(LogLevel::kError,
      "vhost-user: the process that connects is gone: there will be no backend any more");
}

}  // namespace airlock::vhost_user
