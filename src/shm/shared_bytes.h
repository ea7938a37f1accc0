// SPDX-License-Identifier: Apache-2.0
//
// Memory that somebody else may change at any moment. There are no references into it and no
// data(): a scalar is read or written whole with a named order, anything longer is copied, and what
// was read is a private copy. Read once, check the copy, use the copy.
#pragma once

#include <sys/uio.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "base/check.h"
#include "base/le.h"
#include "base/result.h"
#include "core/range.h"
#include "shm/access_hook.h"

namespace airlock::shm {

/// What may be loaded or stored in one access: one lock-free, naturally aligned machine word.
template <class T>
concept SharedScalar = std::is_trivially_copyable_v<T> &&
                       (sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8);

/// A view of shared memory, as std::span is one of private memory: it owns nothing, and is valid as
/// long as its Mapping. Any number of threads and processes may access the bytes at once.
///
/// Offsets and sizes are in bytes. An access outside the view, or a misaligned scalar, is our own
/// bug (CHECK): a peer's numbers are checked before they become an offset here.
class SharedBytes {
 public:
  SharedBytes() = default;

  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }

  template <SharedScalar T>
  [[nodiscard]] T load_relaxed(std::uint64_t offset) const {
    return load<T, __ATOMIC_RELAXED>(offset);
  }
  template <SharedScalar T>
  [[nodiscard]] T load_acquire(std::uint64_t offset) const {
    return load<T, __ATOMIC_ACQUIRE>(offset);
  }
  template <SharedScalar T>
  void store_relaxed(std::uint64_t offset, std::type_identity_t<T> value) const {
    store<T, __ATOMIC_RELAXED>(offset, value);
  }
  template <SharedScalar T>
  void store_release(std::uint64_t offset, std::type_identity_t<T> value) const {
    store<T, __ATOMIC_RELEASE>(offset, value);
  }

  /// A hint that the bytes from `offset` on will be read and then written: their cache line is
  /// fetched to be written at once. No access.
  void prefetch_for_write(std::uint64_t offset) const {
    CHECK(offset <= size_);
    __builtin_prefetch(base_ + offset, 1);
  }

  /// Copies target.size() bytes out. The bytes are not one snapshot: each is read once, at some
  /// time.
  void copy_out(std::uint64_t offset, std::span<std::byte> target) const;
  /// Copies source.size() bytes in.
  void copy_in(std::uint64_t offset, std::span<const std::byte> source) const;
  void fill_zero(std::uint64_t offset, std::uint64_t length) const;

  /// A private copy of a wire struct.
  template <class T>
    requires(std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>)
  [[nodiscard]] T snapshot(std::uint64_t offset) const {
    T copy{};
    copy_out(offset, std::as_writable_bytes(std::span(&copy, 1)));
    return copy;
  }
  /// Writes a wire struct: one without padding, so that nothing private leaks through a hole.
  template <class T>
    requires(std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>)
  void put(std::uint64_t offset, const T& value) const {
    copy_in(offset, std::as_bytes(std::span(&value, 1)));
  }

  /// The part [offset, offset + length). Errors: kOutOfRange.
  [[nodiscard]] Result<SharedBytes> slice(std::uint64_t offset, std::uint64_t length) const;

  /// For a system call that fills or drains the bytes (preadv, io_uring): the kernel's copy is the
  /// one access.
  [[nodiscard]] iovec for_kernel() const { return {.iov_base = base_, .iov_len = size_}; }
  /// The bytes as an application may use them in place. The peer can change them at any time: data,
  /// never anything to decide by.
  [[nodiscard]] std::span<std::byte> in_place() const { return {base_, size_}; }

 protected:
  SharedBytes(std::byte* base, std::uint64_t size) : base_(base), size_(size) {}

 private:
  friend class Mapping;

  template <SharedScalar T>
  [[nodiscard]] T* at(std::uint64_t offset) const {
    CHECK(airlock_range_within(offset, sizeof(T), size_));
    std::byte* const address = base_ + offset;
    CHECK(airlock_is_aligned(std::bit_cast<std::uintptr_t>(address), sizeof(T)));
    return reinterpret_cast<T*>(address);
  }
  template <SharedScalar T, int kOrder>
  [[nodiscard]] T load(std::uint64_t offset) const {
    T value{};
    T* const address = at<T>(offset);
    note_access({.kind = Access::Kind::kLoad, .address = base_ + offset, .length = sizeof(T)});
    __atomic_load(address, &value, kOrder);
    return value;
  }
  template <SharedScalar T, int kOrder>
  void store(std::uint64_t offset, T value) const {
    T* const address = at<T>(offset);
    note_access({.kind = Access::Kind::kStore, .address = base_ + offset, .length = sizeof(T)});
    __atomic_store(address, &value, kOrder);
  }

  std::byte* base_ = nullptr;
  std::uint64_t size_ = 0;
};

}  // namespace airlock::shm
