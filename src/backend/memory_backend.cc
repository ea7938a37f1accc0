// SPDX-License-Identifier: Apache-2.0
#include "backend/memory_backend.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include <fmt/core.h>

#include "backend/immediate_channel.h"
#include "base/check.h"
#include "base/size.h"
#include "core/range.h"

namespace airlock::backend {

namespace {

constexpr std::uint64_t kLineBytes = 64;
// By then the processor has seen that it goes on, and fetches the rest by itself.
constexpr std::uint64_t kPrefetchBytes = 1024;

/// Owns the private mapping.
class Memory {
 public:
  explicit Memory(std::uint64_t size)
      // tidy: allow mmap because this memory is private: no peer ever sees it
      : base_(mmap(nullptr, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)),
        size_(size) {
    // A large disk read at random would miss the TLB with every small page. Only a hint.
    if (*this) static_cast<void>(madvise(base_, size_, MADV_HUGEPAGE));
  }
  ~Memory() {
    if (*this) munmap(base_, size_);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  explicit operator bool() const { return base_ != MAP_FAILED; }

  /// Has the first bytes of a range fetched while something else is done.
  void prefetch(std::uint64_t offset, std::uint64_t length, bool to_write) const {
    const std::span<std::byte> bytes = range(offset, std::min(length, kPrefetchBytes));
    for (std::size_t at = 0; at < bytes.size(); at += kLineBytes) {
      if (to_write) {
        __builtin_prefetch(&bytes[at], 1);
      } else {
        __builtin_prefetch(&bytes[at]);
      }
    }
  }

  [[nodiscard]] std::span<std::byte> range(std::uint64_t offset, std::uint64_t length) const {
    CHECK(airlock_range_within(offset, length, size_));
    return std::span(static_cast<std::byte*>(base_), size_).subspan(offset, length);
  }

  /// Zeros a range; with `unmap` whole pages of it go back to the system, and read as zeros.
  void clear(std::uint64_t offset, std::uint64_t length, bool unmap) const {
    const std::span<std::byte> bytes = range(offset, length);
    const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    const std::uint64_t head = std::min(length, (page - offset % page) % page);
    const std::uint64_t whole = unmap ? (length - head) / page * page : 0;
    const std::span<std::byte> pages = bytes.subspan(head, whole);
    if (whole == 0 || madvise(pages.data(), whole, MADV_DONTNEED) != 0) {
      std::ranges::fill(bytes, std::byte{0});
      return;
    }
    std::ranges::fill(bytes.first(head), std::byte{0});
    std::ranges::fill(bytes.subspan(head + whole), std::byte{0});
  }

 private:
  void* base_;
  std::uint64_t size_;
};

class MemoryChannel : public ImmediateChannel {
 public:
  MemoryChannel(const Memory& memory, bool read_only, std::uint32_t depth)
      : ImmediateChannel(read_only, depth), memory_(&memory) {}

  // A copy of a block that is in no cache spends most of its time on waiting for the first lines.
  void expect(BlockOp op, std::uint64_t offset, std::uint64_t length) override {
    if (op == BlockOp::kRead || op == BlockOp::kWrite) {
      memory_->prefetch(offset, length, op == BlockOp::kWrite);
    }
  }

 protected:
  void perform(const BlockRequest& request) override {
    switch (request.op) {
      case BlockOp::kFlush:
        return;
      case BlockOp::kDiscard:
        return memory_->clear(request.offset, request.length, true);
      case BlockOp::kWriteZeroes:
        return memory_->clear(request.offset, request.length, request.may_unmap);
      case BlockOp::kRead:
      case BlockOp::kWrite:
        return transfer(request);
    }
  }

 private:
  void transfer(const BlockRequest& request) const {
    std::span<std::byte> bytes = memory_->range(request.offset, request.length);
    for (const shm::SharedBytes& segment : request.segments) {
      CHECK(segment.size() <= bytes.size());
      const std::span<std::byte> part = bytes.first(segment.size());
      if (request.op == BlockOp::kRead) {
        segment.copy_in(0, part);
      } else {
        segment.copy_out(0, part);
      }
      bytes = bytes.subspan(segment.size());
    }
    CHECK(bytes.empty());
  }

  const Memory* memory_;
};

class MemoryBackend : public BlockBackend {
 public:
  MemoryBackend(std::uint64_t capacity, bool read_only)
      : memory_(capacity),
        geometry_{.capacity_bytes = capacity,
                  .read_only = read_only,
                  .can_discard = !read_only,
                  .can_write_zeroes = !read_only} {}

  [[nodiscard]] bool mapped() const { return static_cast<bool>(memory_); }
  [[nodiscard]] const Geometry& geometry() const override { return geometry_; }
  [[nodiscard]] bool copies() const override { return true; }
  [[nodiscard]] bool outlives_process() const override { return false; }
  [[nodiscard]] std::string describe() const override {
    return fmt::format("memory, {}", format_size(geometry_.capacity_bytes));
  }
  Result<std::unique_ptr<BlockChannel>> open_channel(const shm::SharedBytes& /*region*/,
                                                     std::uint32_t depth) override {
    CHECK(depth > 0);
    return std::make_unique<MemoryChannel>(memory_, geometry_.read_only, depth);
  }

 private:
  Memory memory_;
  Geometry geometry_;
};

}  // namespace

Opened<std::unique_ptr<BlockBackend>> open_memory(std::uint64_t capacity, bool read_only) {
  CHECK(capacity > 0 && capacity % kSectorBytes == 0);
  auto backend = std::make_unique<MemoryBackend>(capacity, read_only);
  if (!backend->mapped()) {
    return std::unexpected(OpenError{.what = fmt::format("memory:{}", format_size(capacity)),
                                     .why = airlock::describe(system_error()),
                                     .advice = "choose a smaller size, or use file:PATH"});
  }
  return backend;
}

}  // namespace airlock::backend
