// SPDX-License-Identifier: Apache-2.0
#include "vhost_user/front_end.h"

#include <sys/stat.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>

#include "spec/virtio.h"

namespace airlock::vhost_user {

namespace {

using vfio_user::bytes_of;
using vfio_user::require_struct;

// What we have of the protocol. Nothing by which a backend could have memory mapped or files kept.
constexpr std::uint64_t kProtocol = spec::feature(spec::VHOST_USER_PROTOCOL_F_MQ) |
                                    spec::feature(spec::VHOST_USER_PROTOCOL_F_REPLY_ACK) |
                                    spec::feature(spec::VHOST_USER_PROTOCOL_F_BACKEND_REQ) |
                                    spec::feature(spec::VHOST_USER_PROTOCOL_F_CONFIG) |
                                    spec::feature(spec::VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) |
                                    spec::feature(spec::VHOST_USER_PROTOCOL_F_RESET_DEVICE) |
                                    spec::feature(spec::VHOST_USER_PROTOCOL_F_STATUS) |
                                    spec::feature(spec::VHOST_USER_PROTOCOL_F_DEVICE_STATE);

// More than any ring's record takes: 32768 entries of 64 bytes, for 64 queues.
constexpr std::uint64_t kInflightBytesMax = std::uint64_t{1} << 28U;

std::uint64_t number_of(const Message& answer) {
  return require_struct<std::uint64_t>(answer.payload);
}

Result<void> check_inflight(const spec::VhostUserInflight& shape, const Fd& fd) {
  struct stat status{};
  if (fstat(fd.get(), &status) != 0) return fail(system_error());
  if (!S_ISREG(status.st_mode)) return fail(Errc::kMalformed);  // a memfd is a file, if unlinked
  if (shape.mmap_size == 0 || shape.mmap_size > kInflightBytesMax) {
    return fail({.code = Errc::kTooLarge, .address = shape.mmap_size});
  }
  return {};
}

}  // namespace

void FrontEnd::tell_number(std::uint32_t request, std::uint64_t number, Fd fd) {
  std::vector<Fd> fds;
  if (fd) fds.push_back(std::move(fd));
  dialogue_.tell({.request = request, .payload = bytes_of(number), .fds = std::move(fds)});
}

void FrontEnd::tell_state(std::uint32_t request, std::uint32_t index, std::uint32_t number) {
  dialogue_.tell({.request = request,
                  .payload = bytes_of(spec::VhostUserVringState{.index = index, .num = number})});
}

void FrontEnd::tell_eventfd(std::uint32_t request, std::uint16_t queue, Fd fd) {
  const std::uint64_t none = fd ? 0 : spec::VHOST_USER_VRING_NOFD_MASK;
  tell_number(request, (queue & spec::VHOST_USER_VRING_IDX_MASK) | none, std::move(fd));
}

// --- the greeting: each answer decides what is asked next ---

void FrontEnd::greet(std::uint32_t config_bytes, Fd channel, OnFacts on_facts) {
  on_facts_ = std::move(on_facts);
  auto end = std::make_shared<Fd>(std::move(channel));
  dialogue_.ask({.request = spec::VHOST_USER_GET_FEATURES}, sizeof(std::uint64_t), 0,
                [this, config_bytes, end](Message& answer) -> Result<void> {
                  facts_.features = number_of(answer);
                  if (facts_.speaks_protocol_features()) {
                    on_features(config_bytes, std::move(*end));
                    return {};
                  }
                  dialogue_.tell({.request = spec::VHOST_USER_SET_OWNER});
                  return on_facts_(facts_);
                });
}

void FrontEnd::on_features(std::uint32_t config_bytes, Fd channel) {
  auto end = std::make_shared<Fd>(std::move(channel));
  dialogue_.ask({.request = spec::VHOST_USER_GET_PROTOCOL_FEATURES}, sizeof(std::uint64_t), 0,
                [this, config_bytes, end](Message& answer) -> Result<void> {
                  on_protocol(number_of(answer), config_bytes, std::move(*end));
                  return {};
                });
}

void FrontEnd::on_protocol(std::uint64_t theirs, std::uint32_t config_bytes, Fd channel) {
  facts_.protocol = theirs & kProtocol;
  tell_number(spec::VHOST_USER_SET_PROTOCOL_FEATURES, facts_.protocol);
  dialogue_.set_reply_ack(facts_.has_protocol(spec::VHOST_USER_PROTOCOL_F_REPLY_ACK));
  dialogue_.tell({.request = spec::VHOST_USER_SET_OWNER});
  if (facts_.has_protocol(spec::VHOST_USER_PROTOCOL_F_BACKEND_REQ)) {
    std::vector<Fd> fds;
    fds.push_back(std::move(channel));
    dialogue_.tell(
        {.request = spec::VHOST_USER_SET_BACKEND_REQ_FD, .payload = {}, .fds = std::move(fds)});
  }
  if (facts_.has_protocol(spec::VHOST_USER_PROTOCOL_F_MQ)) {
    dialogue_.ask({.request = spec::VHOST_USER_GET_QUEUE_NUM}, sizeof(std::uint64_t), 0,
                  [this](Message& answer) -> Result<void> {
                    facts_.queues_max = number_of(answer);
                    return {};
                  });
  }
  if (facts_.has_protocol(spec::VHOST_USER_PROTOCOL_F_CONFIG) && config_bytes != 0) {
    facts_.config.resize(config_bytes);
    get_config([] {});
  }
  // A second time, after all else: its answer says that everything before it has been answered.
  dialogue_.ask({.request = spec::VHOST_USER_GET_FEATURES}, sizeof(std::uint64_t), 0,
                [this](Message& answer) -> Result<void> {
                  facts_.features = number_of(answer);
                  return on_facts_(facts_);
                });
}

// --- what follows ---

void FrontEnd::set_features(std::uint64_t features) {
  const std::uint64_t protocol =
      facts_.features & spec::feature(spec::VHOST_USER_F_PROTOCOL_FEATURES);
  tell_number(spec::VHOST_USER_SET_FEATURES, features | protocol);
}

void FrontEnd::set_regions(std::vector<Region> regions) {
  std::vector<std::byte> payload = bytes_of(spec::VhostUserMemory{
      .region_count = static_cast<std::uint32_t>(regions.size()), .padding = 0});
  std::vector<Fd> fds;
  for (Region& region : regions) {
    vfio_user::append_struct(payload,
                             spec::VhostUserMemoryRegion{.guest_address = region.guest_address,
                                                         .size = region.size,
                                                         .user_address = region.user_address,
                                                         .mmap_offset = 0});
    fds.push_back(std::move(region.file));
  }
  dialogue_.tell({.request = spec::VHOST_USER_SET_MEM_TABLE,
                  .payload = std::move(payload),
                  .fds = std::move(fds)});
}

void FrontEnd::set_ring(const Ring& ring, Fd kick, Fd call) {
  tell_state(spec::VHOST_USER_SET_VRING_NUM, ring.index, ring.size);
  tell_state(spec::VHOST_USER_SET_VRING_BASE, ring.index, ring.base);
  const spec::VhostUserVringAddr address{.index = ring.index,
                                         .flags = 0,
                                         .descriptor = ring.descriptor_area,
                                         .used = ring.device_area,
                                         .available = ring.driver_area,
                                         .log = 0};
  dialogue_.tell({.request = spec::VHOST_USER_SET_VRING_ADDR, .payload = bytes_of(address)});
  // The call before the kick: from the kick on the ring runs.
  tell_eventfd(spec::VHOST_USER_SET_VRING_CALL, ring.index, std::move(call));
  tell_eventfd(spec::VHOST_USER_SET_VRING_KICK, ring.index, std::move(kick));
}

void FrontEnd::set_call(std::uint16_t queue, Fd call) {
  tell_eventfd(spec::VHOST_USER_SET_VRING_CALL, queue, std::move(call));
}

void FrontEnd::enable(std::uint16_t queue, bool on) {
  if (!facts_.speaks_protocol_features()) return;
  tell_state(spec::VHOST_USER_SET_VRING_ENABLE, queue, on ? 1 : 0);
}

void FrontEnd::stop_ring(std::uint16_t queue, std::function<void(std::uint32_t)> on_base) {
  const spec::VhostUserVringState state{.index = queue, .num = 0};
  dialogue_.ask({.request = spec::VHOST_USER_GET_VRING_BASE, .payload = bytes_of(state)},
                sizeof state, 0,
                [queue, on_base = std::move(on_base)](Message& answer) -> Result<void> {
                  const auto ring = require_struct<spec::VhostUserVringState>(answer.payload);
                  if (ring.index != queue)
                    return fail({.code = Errc::kBadIndex, .queue = queue, .detail = ring.index});
                  on_base(ring.num);
                  return {};
                });
}

void FrontEnd::get_inflight(std::uint16_t queues, std::uint16_t queue_size,
                            std::function<void(Inflight)> on_inflight) {
  const spec::VhostUserInflight wanted{.mmap_size = 0,
                                       .mmap_offset = 0,
                                       .num_queues = queues,
                                       .queue_size = queue_size,
                                       .padding = 0};
  dialogue_.ask({.request = spec::VHOST_USER_GET_INFLIGHT_FD, .payload = bytes_of(wanted)},
                sizeof wanted, 1,
                [on_inflight = std::move(on_inflight), wanted](Message& answer) -> Result<void> {
                  auto shape = require_struct<spec::VhostUserInflight>(answer.payload);
                  TRY(check_inflight(shape, answer.fds.front()));
                  // Ours, not what it may have made of them.
                  shape.num_queues = wanted.num_queues;
                  shape.queue_size = wanted.queue_size;
                  shape.padding = 0;
                  on_inflight({.shape = shape, .fd = std::move(answer.fds.front())});
                  return {};
                });
}

void FrontEnd::set_inflight(const spec::VhostUserInflight& shape, Fd file) {
  std::vector<Fd> fds;
  fds.push_back(std::move(file));
  dialogue_.tell({.request = spec::VHOST_USER_SET_INFLIGHT_FD,
                  .payload = bytes_of(shape),
                  .fds = std::move(fds)});
}

void FrontEnd::get_config(std::function<void()> on_config) {
  const auto size = static_cast<std::uint32_t>(facts_.config.size());
  const spec::VhostUserConfig wanted{.offset = 0, .size = size, .flags = 0};
  std::vector<std::byte> payload = bytes_of(wanted);
  payload.resize(sizeof wanted + size);
  const std::size_t bytes = payload.size();
  dialogue_.ask({.request = spec::VHOST_USER_GET_CONFIG, .payload = std::move(payload)}, bytes, 0,
                [this, on_config = std::move(on_config)](Message& answer) -> Result<void> {
                  const auto bytes_read = std::span(answer.payload).subspan(sizeof wanted);
                  std::ranges::copy(bytes_read, facts_.config.begin());
                  on_config();
                  return {};
                });
}

void FrontEnd::set_config(std::uint32_t offset, std::span<const std::byte> bytes) {
  const spec::VhostUserConfig head{
      .offset = offset, .size = static_cast<std::uint32_t>(bytes.size()), .flags = 0};
  std::vector<std::byte> payload = bytes_of(head);
  payload.insert(payload.end(), bytes.begin(), bytes.end());
  dialogue_.tell({.request = spec::VHOST_USER_SET_CONFIG, .payload = std::move(payload)});
}

void FrontEnd::load_state(Fd file, std::function<void(bool)> on_loaded) {
  constexpr spec::VhostUserTransferDeviceState kLoad{
      .direction = spec::VHOST_TRANSFER_STATE_DIRECTION_LOAD,
      .phase = spec::VHOST_TRANSFER_STATE_PHASE_STOPPED};
  std::vector<Fd> fds;
  fds.push_back(std::move(file));
  dialogue_.ask({.request = spec::VHOST_USER_SET_DEVICE_STATE_FD,
                 .payload = bytes_of(kLoad),
                 .fds = std::move(fds)},
                sizeof(std::uint64_t), 0,
                [this, on_loaded = std::move(on_loaded)](Message& answer) -> Result<void> {
                  if ((number_of(answer) & spec::VHOST_USER_DEVICE_STATE_ERROR_MASK) != 0) {
                    on_loaded(false);
                    return {};
                  }
                  dialogue_.ask({.request = spec::VHOST_USER_CHECK_DEVICE_STATE},
                                sizeof(std::uint64_t), 0,
                                [on_loaded](Message& checked) -> Result<void> {
                                  on_loaded(number_of(checked) == 0);
                                  return {};
                                });
                  return {};
                });
}

void FrontEnd::when_done(std::function<void()> done) {
  dialogue_.ask({.request = spec::VHOST_USER_GET_FEATURES}, sizeof(std::uint64_t), 0,
                [done = std::move(done)](Message&) -> Result<void> {
                  done();
                  return {};
                });
}

void FrontEnd::set_status(std::uint8_t status) {
  if (!facts_.has_protocol(spec::VHOST_USER_PROTOCOL_F_STATUS)) return;
  tell_number(spec::VHOST_USER_SET_STATUS, status);
}

void FrontEnd::reset_device() {
  if (facts_.has_protocol(spec::VHOST_USER_PROTOCOL_F_STATUS)) return set_status(0);
  if (!facts_.has_protocol(spec::VHOST_USER_PROTOCOL_F_RESET_DEVICE)) return;
  dialogue_.tell({.request = spec::VHOST_USER_RESET_DEVICE});
}

}  // namespace airlock::vhost_user
