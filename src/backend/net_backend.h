// SPDX-License-Identifier: Apache-2.0
//
// Where a network card's frames go. A backend is opened once, by the control thread; each pair of
// queues has a channel of its own, with a side that receives and a side that sends, which never
// wait for each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "shm/shared_bytes.h"

namespace airlock::spec {
struct VirtioNetHdr;
}

namespace airlock::backend {

/// An Ethernet header without a VLAN tag.
inline constexpr std::size_t kNetFrameMin = 14;
/// The largest frame either way: what a driver without mergeable buffers has room for, less the
/// header. VIRTIO 1.3, 5.1.6.3.1.
inline constexpr std::size_t kNetFrameMax = 65550;

enum class NetSendResult : std::uint8_t {
  kSent,     // taken: nothing looks at the pieces any more
  kBusy,     // not taken, not counted: the same frame again when send_fd() is readable
  kDropped,  // nobody will ever see it: it is malformed, or there is no link
};

/// One queue pair's way out. Two threads at most: one calls the receiving side, one the sending
/// side. Nothing blocks. Everything from the other end is checked here: what comes out of receive()
/// has a length from kNetFrameMin to kNetFrameMax, and a header that fits it and the offloads.
class NetChannel {
 public:
  NetChannel() = default;
  virtual ~NetChannel() = default;
  NetChannel(const NetChannel&) = delete;
  NetChannel& operator=(const NetChannel&) = delete;

  // The receiving side.

  /// Fetches the next frame: its bytes into `frame`, private memory of kNetFrameMax bytes at least,
  /// and its header, without num_buffers. Returns its length; nullopt if there is none now. What is
  /// malformed is dropped inside, and counted. Errors: those that no wait will mend (kSystem).
  virtual Result<std::optional<std::size_t>> receive(spec::VirtioNetHdr& header,
                                                     std::span<std::byte> frame) = 0;
  /// Readable when receive() may have something, once it returned nullopt; -1: never. The same for
  /// the channel's life.
  [[nodiscard]] virtual int receive_fd() const = 0;

  // The sending side.

  /// Sends one frame, without its header: the bytes of `pieces`, one after the other, of memory
  /// that a guest may change meanwhile. The header is a private copy; a backend makes sure that it
  /// fits the frame. It may keep a copy of the frame until flush().
  virtual NetSendResult send(const spec::VirtioNetHdr& header,
                             std::span<const shm::SharedBytes> pieces) = 0;
  /// Sends what send() has kept, as far as there is room: at the end of each batch, and whenever
  /// send_fd() is readable, which it will be when there is room for the rest.
  virtual void flush() {}
  /// Readable when there is room again, after send() returned kBusy or flush() kept something; -1:
  /// never. The same for the channel's life.
  [[nodiscard]] virtual int send_fd() const = 0;
};

/// What happened to frames, of all channels.
struct NetBackendCounts {
  std::uint64_t malformed = 0;    // from the other end: dropped
  std::uint64_t unsent = 0;       // to the other end: dropped
  std::uint64_t disconnects = 0;  // times the other end was lost
};

/// An open network. Any thread, unless a function says otherwise. Outlives its channels.
class NetBackend {
 public:
  NetBackend() = default;
  virtual ~NetBackend() = default;
  NetBackend(const NetBackend&) = delete;
  NetBackend& operator=(const NetBackend&) = delete;

  /// A line for people: what it is and where. No trailing newline.
  [[nodiscard]] virtual std::string describe() const = 0;

  /// The features of VIRTIO 1.3, 5.1.3 that it has the means for, as bits of the feature word. Of
  /// CSUM and HOST_*: what headers given to send() may ask for. Of GUEST_*: what those from
  /// receive() may, once set_guest_offloads() allowed it.
  [[nodiscard]] virtual std::uint64_t offloads() const = 0;

  /// The largest packet, without the Ethernet header, that is worth sending; 0: not known.
  [[nodiscard]] virtual std::uint16_t mtu() const = 0;

  /// Channels that there can be at a time, at least 1.
  [[nodiscard]] virtual std::uint16_t channels_max() const = 0;

  /// A channel, which is meant to live as long as the device: through resets of it, with nobody
  /// calling, frames may pile up, in bounded memory, and come out afterwards. No more than
  /// channels_max() at a time (CHECK). Control thread, also in a sandbox. Errors: kSystem.
  virtual Result<std::unique_ptr<NetChannel>> open_channel() = 0;

  /// From now on frames are spread over the first `count` channels, 1 to all of those open: what
  /// the others would get goes to these. All of them at first. Control thread. Errors: kSystem.
  virtual Result<void> use_channels(std::uint16_t count) {
    static_cast<void>(count);
    return {};
  }

  /// What headers from receive() may ask for from now on: bits of offloads(), GUEST_* alone; none
  /// at first. What is on its way meanwhile may come as it was. Control thread. Errors: kSystem.
  virtual Result<void> set_guest_offloads(std::uint64_t mask) = 0;

  /// Whether the other end is there.
  [[nodiscard]] virtual bool link_up() const = 0;
  /// Calls `changed` whenever link_up() may have: on any thread, also inside a channel's calls,
  /// with no lock held. Set once, before the first channel is in use.
  virtual void on_link_change(std::function<void()> changed) = 0;

  [[nodiscard]] virtual NetBackendCounts counts() const = 0;
};

}  // namespace airlock::backend
