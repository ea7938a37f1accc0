// SPDX-License-Identifier: Apache-2.0
//
// A device that another process is: towards the VM ours, with its own buffer and nothing else;
// towards a vhost-user backend a front end whose memory is that buffer.
#pragma once

#include <chrono>
#include <memory>
#include <string_view>
#include <vector>

#include <asio/io_context.hpp>

#include "base/log.h"
#include "device/client_model.h"
#include "device/gateway/gateway_shape.h"
#include "device/poll_budget.h"
#include "vhost_user/backend_keeper.h"

namespace airlock::device {

class GatewayModel;

/// One backend, and what it is to its device's clients, of whom there is one at a time. Lives as
/// long as the process. Control thread.
class Gateway {
 public:
  struct Options {
    GatewayShape shape;
    std::chrono::milliseconds answer_timeout{20'000};
    /// Interrupts go through this process, which keeps the VM's eventfds from the backend.
    bool relay_interrupts = false;
    /// How long a KickRelay looks. None at all by default.
    // NOLINTNEXTLINE(readability-redundant-member-init): lets initializers leave it out
    PollBudget::Limits poll{};
  };

  Gateway(asio::io_context& context, vhost_user::Connector connector, Options options);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  /// Connects, and learns what the backend is. Before there are models.
  /// Errors: those of BackendKeeper::connect_now(); kUnsupported (detail: VERSION_1), of a backend
  /// that does not speak of it; kTooSmall (address: what it has), of one with too few queues.
  Result<void> connect(std::chrono::milliseconds longest);

  /// The same without waiting: a backend is tried for until there is one.
  void begin() { keeper_.begin(); }

  /// A model for one client. The gateway outlives it.
  std::unique_ptr<ClientModel> make_model(const ClientMemory& memory);

  [[nodiscard]] const GatewayShape& shape() const { return options_.shape; }
  [[nodiscard]] bool relays_interrupts() const { return options_.relay_interrupts; }
  [[nodiscard]] const PollBudget::Limits& poll() const { return options_.poll; }
  /// Whether the queues are TrackedQueues.
  [[nodiscard]] bool tracks() const { return tracks_; }
  /// What drivers are offered, and read: it stays, whoever is there. The configuration may change.
  [[nodiscard]] std::uint64_t features() const { return features_; }
  /// What of the transport's features the backend can do.
  [[nodiscard]] std::uint64_t transport_features() const;
  [[nodiscard]] const std::vector<std::byte>& config() const { return config_; }
  [[nodiscard]] bool connected() const { return keeper_.connected(); }
  [[nodiscard]] const vhost_user::BackendKeeper::Stats& stats() const { return keeper_.stats(); }
  [[nodiscard]] asio::io_context& context() { return context_; }

 private:
  friend class GatewayModel;

  Result<void> on_connected(const vhost_user::Facts& facts);
  void on_config_changed();
  void write_config(std::uint32_t offset, std::span<const std::byte> source);
  // For the model.
  void enter(GatewayModel& model) { model_ = &model; }
  void leave(bool worked);
  [[nodiscard]] vhost_user::FrontEnd* backend() { return keeper_.front_end(); }
  void flush() { keeper_.flush(); }
  [[nodiscard]] bool settle(std::chrono::milliseconds longest) { return keeper_.settle(longest); }
  void warn(std::string_view what);
  void renew(std::string_view why);

  asio::io_context& context_;
  Options options_;
  std::uint64_t features_ = 0;
  std::uint64_t backend_features_ = 0;  // of the first backend
  std::vector<std::byte> config_;
  bool tracks_ = false;
  bool known_ = false;                // a first backend said what it is
  GatewayModel* model_ = nullptr;     // of the client there is
  LogLimit log_limit_;                // a driver and a backend can have us say it often
  vhost_user::BackendKeeper keeper_;  // last: it calls what is above
};

}  // namespace airlock::device
