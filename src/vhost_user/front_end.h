// SPDX-License-Identifier: Apache-2.0
//
// The requests of a front end, in the protocol's words, and the greeting that comes first.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/event_fd.h"
#include "vhost_user/dialogue.h"

namespace airlock::vhost_user {

/// What a backend said of itself when the connection was made.
struct Facts {
  std::uint64_t features = 0;     // of virtio, and F_PROTOCOL_FEATURES
  std::uint64_t protocol = 0;     // protocol features that both have
  std::uint64_t queues_max = 0;   // 0: it did not say
  std::vector<std::byte> config;  // device configuration; empty: it keeps none

  [[nodiscard]] bool has_protocol(unsigned bit) const { return (protocol >> bit & 1) != 0; }
  [[nodiscard]] bool speaks_protocol_features() const {
    return (features >> spec::VHOST_USER_F_PROTOCOL_FEATURES & 1) != 0;
  }
};

/// A memory region of the table: all of a file.
struct Region {
  std::uint64_t guest_address = 0;  // of its first byte, as descriptors have it
  std::uint64_t size = 0;           // bytes
  std::uint64_t user_address = 0;   // likewise, as Ring has it
  Fd file;
};

/// A ring, as user addresses.
struct Ring {
  std::uint16_t index = 0;
  std::uint16_t size = 0;  // entries
  std::uint32_t base = 0;  // where to go on: an index; of a packed ring both positions
  std::uint64_t descriptor_area = 0;
  std::uint64_t driver_area = 0;
  std::uint64_t device_area = 0;
};

/// Memory in which a backend keeps what is in flight: its own, of which we hold the file for the
/// next one and never map it. Empty where there is none.
struct Inflight {
  spec::VhostUserInflight shape = {};
  Fd fd;
};

/// Requests to one backend, over a Dialogue that outlives it. Nothing is sent here. One thread.
class FrontEnd {
 public:
  using OnFacts = std::function<Result<void>(const Facts&)>;

  explicit FrontEnd(Dialogue& dialogue) : dialogue_(dialogue) {}
  FrontEnd(const FrontEnd&) = delete;
  FrontEnd& operator=(const FrontEnd&) = delete;

  /// Agrees on protocol features, asks what the device is like, and calls `on_facts`, whose error
  /// ends the connection. `config_bytes`: of device configuration to ask for; `channel`: the
  /// backend's end of a channel for its own requests.
  void greet(std::uint32_t config_bytes, Fd channel, OnFacts on_facts);
  [[nodiscard]] const Facts& facts() const { return facts_; }

  /// `features` without F_PROTOCOL_FEATURES, which is added where the backend has it.
  void set_features(std::uint64_t features);
  void set_regions(std::vector<Region> regions);
  void set_ring(const Ring& ring, Fd kick, Fd call);
  void set_call(std::uint16_t queue, Fd call);
  /// Nothing for a backend whose rings are enabled as such.
  void enable(std::uint16_t queue, bool on);
  /// Stops the ring. `on_base` gets what Ring::base goes on from.
  void stop_ring(std::uint16_t queue, std::function<void(std::uint32_t base)> on_base);

  /// Errors, of the connection: a file that is no memory, a size that can't be.
  void get_inflight(std::uint16_t queues, std::uint16_t queue_size,
                    std::function<void(Inflight)> on_inflight);
  void set_inflight(const spec::VhostUserInflight& shape, Fd file);

  /// Reads the configuration anew: facts() has it when `on_config` is called.
  void get_config(std::function<void()> on_config);
  void set_config(std::uint32_t offset, std::span<const std::byte> bytes);

  /// For a backend with DEVICE_STATE, before its rings run: its state is in the file, from the
  /// beginning to the end. `on_loaded`: whether it took it for its own.
  void load_state(Fd file, std::function<void(bool loaded)> on_loaded);

  /// Calls `done` when the backend has acted on all that it was told before.
  void when_done(std::function<void()> done);
  /// The device status, for a backend that wants to know it. Nothing for others.
  void set_status(std::uint8_t status);
  /// The backend's state as it was at first, where it has a way for that.
  void reset_device();

 private:
  void on_features(std::uint32_t config_bytes, Fd channel);
  void on_protocol(std::uint64_t theirs, std::uint32_t config_bytes, Fd channel);
  void tell_number(std::uint32_t request, std::uint64_t number, Fd fd = {});
  void tell_state(std::uint32_t request, std::uint32_t index, std::uint32_t number);
  void tell_eventfd(std::uint32_t request, std::uint16_t queue, Fd fd);

  Dialogue& dialogue_;
  Facts facts_;
  OnFacts on_facts_;
};

}  // namespace airlock::vhost_user
