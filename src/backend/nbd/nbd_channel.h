// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "backend/block_backend.h"
#include "backend/nbd/nbd_job.h"
#include "backend/nbd/nbd_link.h"
#include "base/fifo.h"

namespace airlock::backend {

/// The links of a disk that no channel has. Any thread.
class NbdLinks {
 public:
  /// Errors: kSystem (EBUSY), with all of them in use.
  Result<std::unique_ptr<NbdLink>> take();
  void give_back(std::unique_ptr<NbdLink> link);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<NbdLink>> spare_;
};

/// A queue's way to an NBD server, by a connection of its own.
///
/// While the server is away requests wait, and what it had not answered is sent again once it is
/// back: such a request may have been done already, and is done twice then, which for a disk is
/// once. What the server acknowledged, and was not asked to flush, is the server's to keep: as with
/// other clients of NBD it is lost if the server's machine goes down, and said in the log.
class NbdChannel final : public BlockChannel {
 public:
  /// `links` and `server` outlive it; `server.exported` is there.
  NbdChannel(NbdLinks& links, const NbdServer& server, std::unique_ptr<NbdLink> link,
             std::uint32_t depth);
  ~NbdChannel() override;

  Result<void> submit(const BlockRequest& request) override;
  std::size_t reap(std::span<BlockCompletion> target) override;
  void cancel() override { cancelled_ = true; }
  void give_up_waiting() override;
  [[nodiscard]] int completion_fd() const override { return link_->fd(); }

 private:
  struct Slot {
    NbdJob job;
    NbdChannel* channel = nullptr;
    bool sent = false;
    std::uint64_t acknowledged = 0;  // of a flush: writes that it covers
  };
  using SlotIndex = std::uint32_t;

  static int on_answer(void* slot, int* error);
  void answered(Slot& slot, int error);
  void look_for_loss();
  void send_waiting();
  /// False if it could not be sent now.
  bool send(Slot& slot);
  void fail_waiting(int error);
  void sort_in(Slot& slot);
  [[nodiscard]] SlotIndex index_of(const Slot& slot) const {
    return static_cast<SlotIndex>(&slot - slots_.data());
  }

  NbdLinks* links_;
  const NbdServer* server_;
  std::unique_ptr<NbdLink> link_;
  std::uint32_t depth_;
  std::vector<Slot> slots_;  // those that were needed so far; none ever moves
  std::vector<SlotIndex> free_;
  Fifo<SlotIndex> waiting_;  // to be sent
  Fifo<SlotIndex> finished_;
  std::uint64_t losses_seen_;
  std::uint64_t acknowledged_ = 0;  // writes that the server called done
  std::uint64_t flushed_ = 0;       // of these, how many it called stable
  bool leaving_ = false;            // the server said that it shuts down
  bool cancelled_ = false;
};

}  // namespace airlock::backend
