// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "crypt/queue_cipher.h"
#include "pool/buffer.h"
#include "pool/pool.h"
#include "spec/virtio_blk.h"

namespace airlock::driver {

/// What an encrypted disk's queue has in the region, part by part: sealed headers, data, answers.
/// All of a request is one message, so that its data belongs to its sector and to no other; so is
/// its answer. ENC-6, ENC-11. For its queue's thread.
class BlkSealed {
 public:
  /// Buffers of a request besides its data, at most: the header, its tag, the status with its tag.
  static constexpr std::uint32_t kRequestBuffers = 3;

  /// What is sealed for a part.
  struct Request {
    spec::VirtioBlkReqHeader header;
    // NOLINTBEGIN(readability-redundant-member-init): GCC wants one, where a caller leaves it out
    std::optional<spec::VirtioBlkDiscardWriteZeroes> range = {};
    std::span<const std::byte> source = {};
    std::span<std::byte> target = {};  // for what the device has to say besides the status
    // NOLINTEND(readability-redundant-member-init)
    bool target_in_frame = false;  // it is small: no memory was placed for it
  };
  /// A stretch of the region.
  struct Place {
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
  };
  /// Where a part's buffers are but those of its data, which stands behind `head` or before `end`.
  struct Frame {
    Place head;
    Place tag;  // of the request, where its data stands between; else in `head`, and this is empty
    Place end;  // what the device answers, its status and its tag
  };

  /// Room for `parts` parts. Pool and cipher outlive it. Errors: those of Pool::allocate().
  static Result<std::unique_ptr<BlkSealed>> create(pool::Pool& pool, crypt::QueueCipher& cipher,
                                                   std::uint32_t parts);

  /// Memory for a part's data: false if the pool has none now. Errors: Pool's others.
  Result<bool> place(std::uint32_t part, std::uint64_t bytes);
  [[nodiscard]] window::RegionOffset data_offset(std::uint32_t part) const {
    return records_[part].data.offset();
  }
  void release(std::uint32_t part) { records_[part].data.reset(); }

  /// Seals a request: it is the queue's next chain from now on, or the queue's last word (ENC-8).
  /// Errors: kKeySpent.
  Result<Frame> seal(std::uint32_t part, const Request& request);
  /// Opens the answer, of which the device says it wrote `written` bytes, into Request::target, and
  /// returns the status. Errors: kNotAuthentic; the target is zeros then.
  Result<std::uint8_t> open(std::uint32_t part, std::uint32_t written);

 private:
  struct Record {
    pool::CoherentBuffer data;
    crypt::SealedChain chain;
    std::span<std::byte> target;
    bool target_in_frame = false;
  };

  BlkSealed(crypt::QueueCipher& cipher, pool::Pool& pool, pool::CoherentBuffer frames,
            std::uint32_t parts)
      : cipher_(cipher), pool_(pool), frames_(std::move(frames)), records_(parts) {}

  crypt::QueueCipher& cipher_;
  pool::Pool& pool_;
  pool::CoherentBuffer frames_;
  std::vector<Record> records_;
};

}  // namespace airlock::driver
