// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace airlock {

/// Everything that can go wrong, in all of Airlock. One switch, describe(), turns it into words.
enum class Errc : std::uint16_t {
  kSystem,  // detail: errno

  // Memory and addresses.
  kOutOfRange,     // address: what was asked for; detail: length, saturated
  kNotAligned,     // address: the value; detail: the alignment
  kNotPowerOfTwo,  // address: the value
  kUnsealed,       // a memfd that its owner could still shrink
  kHugePages,      // a memfd of huge pages, which its owner could give back, and nobody get again
  kWrongSize,      // address: the size found
  kTooSmall,       // address: the size that would do

  // Rings. queue: which one.
  kBadIndex,         // detail: the index
  kBadIndexJump,     // detail: the index
  kBadFlags,         // detail: the flags
  kBadOrder,         // device-readable after device-writable
  kBadLength,        // detail: the length
  kChainTooLong,     // more descriptors than the queue has
  kChainTooBig,      // more than 2^32 - 1 bytes
  kNotOutstanding,   // detail: the id
  kAlreadyInFlight,  // detail: the head
  kQueueFull,        // retry after a completion
  kQueueBroken,      // final until reset
  kBadQueueSize,     // detail: the size
  kAddressOutside,   // address: what the driver wrote, outside what the device may touch

  // Pool.
  kPoolFull,   // retry after an unmap
  kTooLarge,   // never fits; address: bytes asked for
  kBadHandle,  // not something that the pool gave out, or given back already

  // Protocols.
  kMalformed,    // detail: which field, by its offset
  kUnsupported,  // detail: command or feature
  kPeerClosed,
  kTimeout,     // detail: milliseconds
  kWrongState,  // the call does not fit the state

  // Negotiation.
  kFeaturesRefused,  // the device withheld FEATURES_OK
  kNeedsReset,       // the device set DEVICE_NEEDS_RESET
  kNoRegion,         // no usable bounce region
  kNotVirtio,        // detail: PCI vendor << 16 | device

  // Devices.
  kIoError,
  kReadOnly,
  kNotSupportedByDevice,

  // Encrypted queues.
  kNoEncryption,  // detail: the feature, or the algorithm, that the device lacks
  kNotAuthentic,  // address: the number of the chain
  kKeySpent,
};

inline constexpr std::uint16_t kNoQueue = 0xffff;

/// An error as a value: 16 bytes, no strings, no heap, cheap to return from a hot path.
struct Error {
  Errc code;
  std::uint16_t queue = kNoQueue;
  std::uint32_t detail = 0;
  std::uint64_t address = 0;

  friend bool operator==(const Error&, const Error&) = default;
};
static_assert(sizeof(Error) == 16);

/// The error of the last system call: the only place, with the calls in base/, where errno enters.
Error system_error();
/// The same for a call that returned its errno (io_uring's res, posix_fallocate).
Error system_error(int errno_value);

/// One line for a person or a log: what is wrong, with the numbers. No trailing newline.
std::string describe(const Error& error);

}  // namespace airlock
