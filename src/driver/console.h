// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "driver/buffer_queue.h"
#include "driver/virtio_device.h"
#include "spec/virtio_console.h"

namespace airlock::driver {

/// What the device said of one port.
struct ConsolePortInfo {
  bool is_there = false;    // the device added it
  bool is_console = false;  // it is for a person
  bool host_open = false;   // somebody is at the other end
  std::string name;         // any bytes, but zeros, 256 at most; may be empty
};

/// A virtio console with its ports. VIRTIO 1.3, 5.3. One thread at a time.
///
/// The device is not trusted: what it says of ports is checked and bounded, what it sends is copied
/// once, and a lie breaks it.
class Console {
 public:
  struct Options {
    bool multiport = true;                      // use ports where they are on offer
    std::uint16_t ports_max = 8;                // of more ports the rest is left alone
    std::uint32_t buffers = 16;                 // of each queue
    std::uint32_t buffer_bytes = 4096;          // each
    std::chrono::milliseconds timeout{30'000};  // of a write: then the device is broken
    VirtioDevice::Options device{};             // device_type and features are filled in here
  };

  /// Errors: those of VirtioDevice and BufferQueue; kMalformed (no port at all).
  static Result<std::unique_ptr<Console>> open(std::unique_ptr<PciTransport> transport,
                                               const Options& options);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  [[nodiscard]] VirtioDevice& device() { return *device_; }
  [[nodiscard]] bool has_ports() const { return multiport_; }
  /// By number; as far as the device's messages have been taken (read(), update()).
  [[nodiscard]] const std::vector<ConsolePortInfo>& ports() const { return infos_; }
  /// Characters, where the device knows; as of the last message.
  [[nodiscard]] std::optional<spec::VirtioConsoleResize> size() const { return size_; }

  /// Takes what messages there are. True if there were any. Errors: the device lied or is broken.
  Result<bool> update();
  /// Waits until a message came, and takes it. Errors: kTimeout, which breaks nothing; as update();
  /// kUnsupported (there are no messages without ports).
  Result<void> wait_for_message(std::chrono::milliseconds timeout);
  /// Waits until `port` is there. Errors: kTimeout, which breaks nothing; as update().
  Result<void> wait_for_port(std::uint32_t port, std::chrono::milliseconds timeout);
  /// Tells the device that the port is used, or not any more. Without ports there is nothing to
  /// tell. Errors: kBadIndex (there is no such port), kTimeout (breaks the device).
  Result<void> open_port(std::uint32_t port, bool open = true);

  /// Sends all of `source`, waiting for room. Errors: kBadIndex; kTimeout (breaks the device).
  Result<void> write(std::uint32_t port, std::span<const std::byte> source);
  /// Waits until the device has taken all that was written: what it has not taken ends with this.
  /// Errors: as write().
  Result<void> flush(std::uint32_t port);
  /// What has come for `port`: at least a byte, up to target.size(). Takes messages meanwhile.
  /// Errors: kBadIndex; kTimeout, which breaks nothing; the device lied or is broken.
  Result<std::size_t> read(std::uint32_t port, std::span<std::byte> target,
                           std::chrono::milliseconds timeout);

  /// One character by way of the configuration. Errors: kUnsupported (not on offer), those of the
  /// transport. VIRTIO 1.3, 5.3.4.
  Result<void> write_in_emergency(char character);

 private:
  struct Port {
    std::unique_ptr<BufferQueue> in;
    std::unique_ptr<BufferQueue> out;
    std::optional<BufferQueue::Returned> current;  // of `in`: not read to its end
    std::size_t taken = 0;                         // bytes of that
  };

  Console(std::unique_ptr<VirtioDevice> device, const Options& options)
      : device_(std::move(device)), options_(options) {}
  Result<void> set_up();
  Result<std::unique_ptr<BufferQueue>> make_queue(std::uint16_t index);
  Result<Port*> find(std::uint32_t port);
  Result<void> take_message(const BufferQueue::Returned& returned);
  Result<void> tell(std::uint32_t port, std::uint16_t event, std::uint16_t value);
  Result<void> send(BufferQueue& queue, std::span<const std::byte> source);
  Result<void> wait_for_buffers(BufferQueue& queue, std::size_t count);
  Result<bool> wait(BufferQueue& queue, const Deadline& deadline);

  std::unique_ptr<VirtioDevice> device_;
  Options options_;
  bool multiport_ = false;
  std::vector<ConsolePortInfo> infos_;
  std::optional<spec::VirtioConsoleResize> size_;
  std::vector<Port> ports_;
  std::unique_ptr<BufferQueue> control_in_;
  std::unique_ptr<BufferQueue> control_out_;
};

}  // namespace airlock::driver
