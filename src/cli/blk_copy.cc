// SPDX-License-Identifier: Apache-2.0
//
// `airlock blk read` and `airlock blk write`: a pipeline of in-place buffers between the disk and a
// file, so that nothing is copied on our side but by the kernel; of private ones where queues are
// encrypted.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/blk_commands.h"
#include "cli/disk.h"
#include "cli/piece_bytes.h"
#include "cli/progress.h"
#include "cli/whole_io.h"

namespace airlock::cli {

namespace {

constexpr std::size_t kDepth = 8;

struct Piece {
  pool::InPlaceBuffer buffer;
  std::vector<std::byte> own;  // in its place, where queues are encrypted
  std::uint64_t offset = 0;    // on the disk
  std::uint64_t length = 0;
  bool done = false;

  [[nodiscard]] std::span<std::byte> bytes() { return buffer ? buffer.span() : std::span(own); }
};

/// Waits until piece `index` is done; others may be done before.
Result<void> wait_for(driver::BlkQueue& queue, std::array<Piece, kDepth>& pieces,
                      std::size_t index) {
  while (!pieces[index].done) {
    const auto completion = queue.poll();
    if (!completion) {
      if (auto waited = queue.wait(std::chrono::seconds(30)); !waited) return waited;
      continue;
    }
    if (completion->error) return fail(*completion->error);
    pieces[completion->cookie].done = true;
  }
  return {};
}

struct Range {
  std::uint64_t offset = 0;
  std::uint64_t end = 0;
};

std::expected<Range, Failure> range_of(const BlkCopyOptions& options, const driver::BlkInfo& info) {
  const std::uint64_t left =
      options.offset <= info.capacity_bytes ? info.capacity_bytes - options.offset : 0;
  const std::uint64_t length = options.length.value_or(left);
  if (options.offset > info.capacity_bytes || length > left) {
    return usage("--offset, --length", fmt::format("the disk has {} bytes", info.capacity_bytes),
                 "choose a part of it");
  }
  if (options.offset % info.block_bytes != 0 || length % info.block_bytes != 0) {
    return usage("--offset, --length",
                 fmt::format("the disk's blocks have {} bytes", info.block_bytes),
                 "give multiples of that");
  }
  return Range{.offset = options.offset, .end = options.offset + length};
}

void report(const BlkCopyOptions& options, const char* what, std::uint64_t bytes,
            const driver::BlkStats& stats) {
  if (!options.json) return;
  const nlohmann::ordered_json json = {
      {what, bytes}, {"requests", stats.requests}, {"bytes_copied", stats.bytes_copied}};
  fmt::print(stderr, "{}\n", json.dump());
}

std::expected<std::array<Piece, kDepth>, Failure> make_pieces(driver::Blk& blk) {
  std::array<Piece, kDepth> pieces;
  const std::uint64_t bytes =
      piece_bytes(blk.device().pool().max_mapping_bytes() / (2 * kDepth), blk.info().block_bytes);
  for (Piece& piece : pieces) {
    if (blk.device().encrypts()) {
      piece.own.resize(bytes);
      continue;
    }
    auto buffer = blk.allocate(bytes);
    if (!buffer) return disk_failed("find room in the region", buffer.error());
    piece.buffer = std::move(*buffer);
  }
  return pieces;
}

/// After everything up to `written` is on the disk: the input must have ended there, unless a
/// length was asked for, and that must have been there. Neither is cut short silently.
Outcome check_end(const BlkCopyOptions& options, const Fd& file, const Range& range,
                  std::uint64_t written) {
  if (options.length && written < range.end) {
    return failed("write " + options.file,
                  fmt::format("it ended after {} bytes", written - range.offset),
                  "give a shorter --length");
  }
  std::array<std::byte, 1> more{};
  if (!options.length && written == range.end && read_full(file, more).value_or(0) == 1) {
    return failed("write " + options.file, "it has more than fits on the disk",
                  "give --length to write only the start of it");
  }
  return {};
}

}  // namespace

Outcome blk_read(const BlkCopyOptions& options) {
  auto disk = open_disk(options.device, {.device = {.ring_features = options.ring_features,
                                                    .encryption = options.encryption}});
  if (!disk) return std::unexpected(disk.error());
  driver::Blk& blk = *disk->blk;
  const auto range = range_of(options, blk.info());
  if (!range) return std::unexpected(range.error());
  const auto file = open_path(options.file, O_WRONLY | O_CREAT | O_TRUNC);
  if (!file) return failed("open " + options.file, describe(file.error()), "check the path");
  auto pieces = make_pieces(blk);
  if (!pieces) return std::unexpected(pieces.error());

  driver::BlkQueue& queue = blk.queue(0);
  Progress progress("read", range->end - range->offset);
  std::uint64_t next = range->offset;
  const auto start = [&](std::size_t index) -> Result<void> {
    Piece& piece = (*pieces)[index];
    piece.offset = next;
    piece.length = std::min<std::uint64_t>(piece.bytes().size(), range->end - next);
    piece.done = piece.length == 0;
    if (piece.done) return {};
    next += piece.length;
    TRY(queue.submit({.op = driver::BlkOp::kRead,
                      .offset = piece.offset,
                      .target = piece.bytes().first(piece.length),
                      .cookie = index}));
    queue.kick();
    return {};
  };
  for (std::size_t index = 0; index < kDepth; ++index) {
    if (auto started = start(index); !started) return disk_failed("read", started.error());
  }
  std::uint64_t written = range->offset;
  for (std::size_t index = 0; written < range->end; index = (index + 1) % kDepth) {
    Piece& piece = (*pieces)[index];
    if (auto done = wait_for(queue, *pieces, index); !done) {
      return disk_failed(fmt::format("read at {}", piece.offset), done.error());
    }
    if (auto put = write_full(*file, piece.bytes().first(piece.length)); !put) {
      return failed("write " + options.file, describe(put.error()), "make room or choose another");
    }
    written += piece.length;
    progress.update(written - range->offset);
    if (auto started = start(index); !started) return disk_failed("read", started.error());
  }
  report(options, "bytes_read", written - range->offset, blk.stats());
  return {};
}

Outcome blk_write(const BlkCopyOptions& options) {
  auto disk = open_disk(options.device, {.device = {.ring_features = options.ring_features,
                                                    .encryption = options.encryption}});
  if (!disk) return std::unexpected(disk.error());
  driver::Blk& blk = *disk->blk;
  const auto range = range_of(options, blk.info());
  if (!range) return std::unexpected(range.error());
  const auto file = open_path(options.file, O_RDONLY);
  if (!file) return failed("open " + options.file, describe(file.error()), "check the path");
  auto pieces = make_pieces(blk);
  if (!pieces) return std::unexpected(pieces.error());

  driver::BlkQueue& queue = blk.queue(0);
  Progress progress("write", range->end - range->offset);
  std::uint64_t next = range->offset;
  bool more = true;
  for (Piece& piece : *pieces)
    piece.done = true;
  for (std::size_t index = 0; more; index = (index + 1) % kDepth) {
    Piece& piece = (*pieces)[index];
    if (auto done = wait_for(queue, *pieces, index); !done) {
      return disk_failed(fmt::format("write at {}", piece.offset), done.error());
    }
    const auto room = std::min<std::uint64_t>(piece.bytes().size(), range->end - next);
    const auto got = read_full(*file, piece.bytes().first(room));
    if (!got) return failed("read " + options.file, describe(got.error()), "check the file");
    more = *got == piece.bytes().size() && next + *got < range->end;
    if (*got == 0) break;
    if (*got % blk.info().block_bytes != 0) {
      return failed("write " + options.file,
                    fmt::format("its size is no multiple of {} bytes", blk.info().block_bytes),
                    "pad it, as with: truncate -s %" + std::to_string(blk.info().block_bytes));
    }
    piece.offset = next;
    piece.done = false;
    const auto submitted = queue.submit({.op = driver::BlkOp::kWrite,
                                         .offset = next,
                                         .source = piece.bytes().first(*got),
                                         .cookie = index});
    if (!submitted) return disk_failed(fmt::format("write at {}", next), submitted.error());
    queue.kick();
    next += *got;
    progress.update(next - range->offset);
  }
  for (std::size_t index = 0; index < kDepth; ++index) {
    if (auto done = wait_for(queue, *pieces, index); !done) {
      return disk_failed("write", done.error());
    }
  }
  if (auto whole = check_end(options, *file, *range, next); !whole) return whole;
  if (blk.info().has_flush) {
    if (auto done = blk.flush(); !done) return disk_failed("flush", done.error());
  }
  report(options, "bytes_written", next - range->offset, blk.stats());
  return {};
}

}  // namespace airlock::cli
