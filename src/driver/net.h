// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "driver/net_control.h"
#include "driver/net_in_place_receiver.h"
#include "driver/net_info.h"
#include "driver/net_receiver.h"
#include "driver/net_sender.h"
#include "driver/virtio_device.h"

namespace airlock::driver {

/// A virtio network card, driven so that a hostile one can neither see nor change what was not
/// meant for it, nor crash or hang its driver. VIRTIO 1.3, 5.1.
///
///     auto net = TRY(Net::open(TRY(VfioUserTransport::connect({.path = path})), {}));
///     TRY(net->send(frame));
///     TRY(net->receiver(0).wait(1000ms));
///     while (const auto received = TRY(net->receiver(0).poll())) look_at(received->frame);
///
/// Each queue may be used by a thread of its own; everything else is for one thread at a time.
class Net {
 public:
  struct Options {
    std::uint16_t pairs = 1;         // of queues, at most; the device may have fewer
    std::uint32_t queue_size = 256;  // at most; a power of two from 4 on
    std::uint64_t receive_bytes = std::uint64_t{1} << 20;  // of the pool, for each receive queue
    /// Frames are received by in_place_receiver(), which copies nothing, instead of receiver().
    bool receive_in_place = false;
    std::chrono::microseconds spin{50};        // in a wait, before it sleeps; see SpinWindow
    std::chrono::milliseconds timeout{3'000};  // of a command, and of send()
    VirtioDevice::Options device{};            // device_type and features are filled in here
  };

  /// Errors: those of VirtioDevice and parse_net_config(); kBadIndex (it has fewer queues than it
  /// says), kPoolFull, kTooLarge (the region has no room for received frames), kUnsupported (in
  /// place, and queues are to be encrypted: ENC-12).
  static Result<std::unique_ptr<Net>> open(std::unique_ptr<PciTransport> transport,
                                           const Options& options);
  /// Completes nothing any more; in-place buffers must be gone.
  ~Net();
  Net(const Net&) = delete;
  Net& operator=(const Net&) = delete;

  [[nodiscard]] const NetInfo& info() const { return info_; }
  [[nodiscard]] VirtioDevice& device() { return *device_; }
  [[nodiscard]] std::size_t pair_count() const { return senders_.size(); }
  [[nodiscard]] NetReceiver& receiver(std::size_t pair) { return *receivers_.at(pair); }
  [[nodiscard]] NetInPlaceReceiver& in_place_receiver(std::size_t pair) {
    return *in_place_receivers_.at(pair);
  }
  [[nodiscard]] NetSender& sender(std::size_t pair) { return *senders_.at(pair); }

  /// Memory for frames that are sent without a copy. Errors: those of Pool::allocate();
  /// kUnsupported (queues are encrypted, and what is there is not: ENC-12).
  Result<pool::InPlaceBuffer> allocate(std::uint64_t bytes) {
    if (device_->encrypts()) return fail(Errc::kUnsupported);
    return device_->pool().allocate(bytes, pool::kSlotBytes);
  }

  /// Sends a frame by pair 0 and waits only for room: all that is said of it later is lost. Not
  /// while sender(0) is in use otherwise. Errors: those of NetSender::submit(), kTimeout.
  Result<void> send(std::span<const std::byte> frame);

  /// The link's state as the device has it now. Errors: those of
  /// VirtioDevice::read_device_config().
  Result<NetStatus> status();

  // By the control queue. Errors: kUnsupported (the feature was not negotiated), those of
  // NetControl::run().
  Result<void> set_mac(const MacAddress& mac);
  /// Whether frames for other stations are received too.
  Result<void> set_promiscuous(bool on);
  /// Received frames are spread over the first `pairs` pairs; at first over one. Errors also:
  /// kBadIndex (there are not so many).
  Result<void> use_pairs(std::uint16_t pairs);
  /// Tells the device that its wish to be announced was heard.
  Result<void> acknowledge_announce();

  /// Resets the device and starts it again, with one pair in use. Frames inside the send queues
  /// complete with kQueueBroken, or the error that broke them; received ones are lost. No queue may
  /// be in use. Errors: those of VirtioDevice::quiesce() and revive(); kMalformed if the card is
  /// another one than before. After an error only reset() helps.
  Result<void> reset();

  /// Of all queues of a kind, from any thread. Approximate while they are in use.
  [[nodiscard]] NetStats received() const;
  [[nodiscard]] NetStats sent() const;

 private:
  Net(std::unique_ptr<VirtioDevice> device, const Options& options)
      : device_(std::move(device)), options_(options) {}
  Result<spec::VirtioNetConfig> read_config(std::size_t& available);
  Result<NetInfo> read_info();
  void make_queues();
  void for_each_receiver(const auto& visit) {
    for (const auto& receiver : receivers_)
      visit(*receiver);
    for (const auto& receiver : in_place_receivers_)
      visit(*receiver);
  }
  Result<void> attach_queues();
  void stop_queues();
  Result<void> command(unsigned feature, std::uint8_t command_class, std::uint8_t command,
                       std::span<const std::byte> data);

  std::unique_ptr<VirtioDevice> device_;
  Options options_;
  NetInfo info_;
  // Of one kind only.
  std::vector<std::unique_ptr<NetReceiver>> receivers_;
  std::vector<std::unique_ptr<NetInPlaceReceiver>> in_place_receivers_;
  std::vector<std::unique_ptr<NetSender>> senders_;
  std::unique_ptr<NetControl> control_;
};

}  // namespace airlock::driver
