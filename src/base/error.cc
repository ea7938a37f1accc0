// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

#include <cerrno>
#include <cstring>

#include <fmt/core.h>

namespace airlock {

Error system_error() {
  return system_error(errno);
}

Error system_error(int errno_value) {
  return {.code = Errc::kSystem, .detail = static_cast<std::uint32_t>(errno_value)};
}

namespace {

std::string errno_text(int value) {
  char buffer[128] = {};
  return strerror_r(value, buffer, sizeof buffer);  // the GNU one: returns the text
}

// tidy: allow function because one switch over all codes lets the compiler find a missing one
std::string reason(const Error& e) {
  switch (e.code) {
    case Errc::kSystem:
      return errno_text(static_cast<int>(e.detail));
    case Errc::kOutOfRange:
      return fmt::format("{:#x} + {:#x} is out of range", e.address, e.detail);
    case Errc::kNotAligned:
      return fmt::format("{:#x} is not a multiple of {}", e.address, e.detail);
    case Errc::kNotPowerOfTwo:
      return fmt::format("{} is not a power of two", e.address);
    case Errc::kUnsealed:
      return "the memory is not a memfd sealed against shrinking and growing";
    case Errc::kHugePages:
      return "the memory is of huge pages, which its owner can take away";
    case Errc::kWrongSize:
      return fmt::format("the size is {}, not what was announced", e.address);
    case Errc::kTooSmall:
      return fmt::format("too small: at least {} bytes are needed", e.address);
    case Errc::kBadIndex:
      return fmt::format("index {} is not below the queue size", e.detail);
    case Errc::kBadIndexJump:
      return fmt::format("the ring index jumped to {}, further than it can", e.detail);
    case Errc::kBadFlags:
      return fmt::format("descriptor flags {:#x} are unknown or were not negotiated", e.detail);
    case Errc::kBadOrder:
      return "a device-readable descriptor follows a device-writable one";
    case Errc::kBadLength:
      return fmt::format("length {} is zero or more than was given", e.detail);
    case Errc::kChainTooLong:
      return "the descriptor chain has more descriptors than the queue has left: it may loop";
    case Errc::kChainTooBig:
      return "the descriptor chain describes more bytes than it can have";
    case Errc::kNotOutstanding:
      return fmt::format("id {} is not in flight", e.detail);
    case Errc::kAlreadyInFlight:
      return fmt::format("head {} was made available while in flight", e.detail);
    case Errc::kQueueFull:
      return "the queue is full";
    case Errc::kQueueBroken:
      return "the queue is broken until the device is reset";
    case Errc::kBadQueueSize:
      return fmt::format("queue size {} is not allowed", e.detail);
    case Errc::kAddressOutside:
      return fmt::format("address {:#x} + {:#x} is outside what the device may touch", e.address,
                         e.detail);
    case Errc::kPoolFull:
      return "the pool has no room now";
    case Errc::kTooLarge:
      return fmt::format("{} bytes never fit", e.address);
    case Errc::kBadHandle:
      return "not a live handle";
    case Errc::kMalformed:
      return fmt::format("malformed message (at byte {})", e.detail);
    case Errc::kUnsupported:
      return fmt::format("not supported ({})", e.detail);
    case Errc::kPeerClosed:
      return "the peer closed the connection";
    case Errc::kTimeout:
      return fmt::format("no answer within {} ms", e.detail);
    case Errc::kWrongState:
      return "not possible in this state";
    case Errc::kFeaturesRefused:
      return "the device refused the features (FEATURES_OK stayed clear)";
    case Errc::kNeedsReset:
      return "the device needs a reset";
    case Errc::kNoRegion:
      return "the device has no usable bounce region";
    case Errc::kNotVirtio:
      return fmt::format("not a modern virtio device ({:04x}:{:04x})", e.detail >> 16,
                         e.detail & 0xffff);
    case Errc::kIoError:
      return "the device reported an I/O error";
    case Errc::kReadOnly:
      return "the device is read-only";
    case Errc::kNotSupportedByDevice:
      return "the device does not support the request";
    case Errc::kNoEncryption:
      return "the device does not offer the encryption that was asked for";
    case Errc::kNotAuthentic:
      return fmt::format(
          "chain {} is not authentic: the two sides have different keys, or somebody changed, cut, "
          "moved or repeated what was sealed",
          e.address);
    case Errc::kKeySpent:
      return "the key has sealed as much as it may: the queue needs a reset, and a new one";
  }
  return fmt::format("error {}", static_cast<unsigned>(e.code));
}

}  // namespace

std::string describe(const Error& error) {
  if (error.queue == kNoQueue) return reason(error);
  return fmt::format("queue {}: {}", error.queue, reason(error));
}

}  // namespace airlock
