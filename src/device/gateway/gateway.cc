// SPDX-License-Identifier: Apache-2.0
#include "device/gateway/gateway.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "device/gateway/gateway_model.h"
#include "spec/virtio.h"

namespace airlock::device {

namespace {

// A driver's processor waits in its access meanwhile.
constexpr std::chrono::milliseconds kConfigWait{2000};

std::uint32_t config_bytes_of_backend(const GatewayShape& shape) {
  return shape.kind.owner == ConfigOwner::kBackend ? shape.kind.config_bytes : 0;
}

}  // namespace

Gateway::Gateway(asio::io_context& context, vhost_user::Connector connector, Options options)
    : context_(context),
      options_(std::move(options)),
      keeper_(context, std::move(connector),
              {.config_bytes = config_bytes_of_backend(options_.shape),
               .answer_timeout = options_.answer_timeout},
              {.connected = [this](const auto& facts) { return on_connected(facts); },
               .lost =
                   [this] {
                     if (model_ != nullptr) model_->backend_lost();
                   },
               .config_changed = [this] { on_config_changed(); }}) {}

Gateway::~Gateway() = default;

Result<void> Gateway::connect(std::chrono::milliseconds longest) {
  return keeper_.connect_now(longest);
}

std::unique_ptr<ClientModel> Gateway::make_model(const ClientMemory& memory) {
  return std::make_unique<GatewayModel>(*this, memory);
}

std::uint64_t Gateway::transport_features() const {
  // What comes with a notification ends here, whatever the backend is.
  return spec::feature(spec::VIRTIO_F_NOTIFICATION_DATA) |
         (backend_features_ & spec::feature(spec::VIRTIO_F_RING_RESET));
}

// Each that comes is asked for what the first one had: drivers were offered that.
Result<void> Gateway::on_connected(const vhost_user::Facts& facts) {
  const GatewayShape& shape = options_.shape;
  if ((facts.features & spec::feature(spec::VIRTIO_F_VERSION_1)) == 0) {
    return fail({.code = Errc::kUnsupported, .detail = spec::VIRTIO_F_VERSION_1});
  }
  if (facts.queues_max != 0 && facts.queues_max < served_queue_count(shape)) {
    return fail({.code = Errc::kTooSmall, .address = served_queue_count(shape)});
  }
  if (!known_) {
    known_ = true;
    backend_features_ = facts.features;
    features_ = offered_features(shape, facts);
    tracks_ = device::tracks(shape, facts);
    config_ = device_config(shape, facts);
    return {};
  }
  const std::uint64_t missing = features_ & ~offered_features(shape, facts);
  if (missing != 0) {
    return fail({.code = Errc::kUnsupported,
                 .detail = static_cast<std::uint32_t>(std::countr_zero(missing))});
  }
  on_config_changed();
  if (model_ != nullptr) model_->backend_there();
  return {};
}

void Gateway::on_config_changed() {
  const vhost_user::FrontEnd* const backend = keeper_.front_end();
  if (backend == nullptr) return;
  std::vector<std::byte> now = device_config(options_.shape, backend->facts());
  if (now == config_ || now.size() != config_.size()) return;
  config_ = std::move(now);
  if (model_ != nullptr) model_->config_changed();
}

void Gateway::write_config(std::uint32_t offset, std::span<const std::byte> source) {
  const DeviceKind& kind = options_.shape.kind;
  vhost_user::FrontEnd* const backend = keeper_.front_end();
  const bool writable = offset >= kind.writable_first && offset < kind.writable_end &&
                        source.size() <= kind.writable_end - offset;
  if (backend == nullptr || backend->facts().config.empty() || !writable) return;
  backend->set_config(offset, source);
  // What a driver reads next may depend on what it wrote.
  backend->get_config([this] {
    if (const auto* const there = keeper_.front_end(); there != nullptr) {
      config_ = device_config(options_.shape, there->facts());
    }
  });
  keeper_.flush();
  static_cast<void>(keeper_.settle(kConfigWait));
}

// What the client's driver began, the next one's backend knows nothing of.
void Gateway::leave(bool worked) {
  model_ = nullptr;
  if (worked) keeper_.renew();
}

void Gateway::warn(std::string_view what) {
  if (log_limit_.allow()) log(LogLevel::kWarning, "vhost-user: {}", what);
}

void Gateway::renew(std::string_view why) {
  warn(fmt::format("the backend is sent away, to come anew: {}", why));
  keeper_.renew();
  if (model_ != nullptr) model_->backend_lost();
}

}  // namespace airlock::device
