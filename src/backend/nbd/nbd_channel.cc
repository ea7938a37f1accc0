// SPDX-License-Identifier: Apache-2.0
#include "backend/nbd/nbd_channel.h"

#include <libnbd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"

namespace airlock::backend {

Result<std::unique_ptr<NbdLink>> NbdLinks::take() {
  const std::lock_guard lock(mutex_);
  if (spare_.empty()) return fail(system_error(EBUSY));
  // One that is connected, rather than one that would have to be.
  const auto ready = std::ranges::find_if(spare_, [](const auto& link) { return link->ready(); });
  const auto which = ready != spare_.end() ? ready : spare_.begin();
  std::unique_ptr<NbdLink> link = std::move(*which);
  spare_.erase(which);
  return link;
}

void NbdLinks::give_back(std::unique_ptr<NbdLink> link) {
  const std::lock_guard lock(mutex_);
  spare_.push_back(std::move(link));
}

NbdChannel::NbdChannel(NbdLinks& links, const NbdServer& server, std::unique_ptr<NbdLink> link,
                       std::uint32_t depth)
    : links_(&links),
      server_(&server),
      link_(std::move(link)),
      depth_(depth),
      losses_seen_(link_->losses()) {
  CHECK(server_->exported);
  slots_.reserve(depth);
  free_.reserve(depth);
  waiting_.reserve(depth);
  finished_.reserve(depth);
  link_->start();
}

NbdChannel::~NbdChannel() {
  // Nothing touches a segment once its connection is gone.
  if (std::ranges::any_of(slots_, &Slot::sent)) link_->drop("requests were given up");
  links_->give_back(std::move(link_));
}

Result<void> NbdChannel::submit(const BlockRequest& request) {
  if (cancelled_) return fail(system_error(ECANCELED));
  if (free_.empty() && slots_.size() < depth_) {
    free_.push_back(static_cast<SlotIndex>(slots_.size()));
    slots_.emplace_back().channel = this;
  }
  if (free_.empty()) return fail(Errc::kQueueFull);
  Slot& slot = slots_[free_.back()];
  free_.pop_back();
  // NOLINTNEXTLINE(bugprone-unchecked-optional-access): known since the start
  slot.job.start(request, *server_->exported);
  sort_in(slot);
  return {};
}

std::size_t NbdChannel::reap(std::span<BlockCompletion> target) {
  link_->drive();
  if (std::exchange(leaving_, false)) link_->drop("the server is shutting down");
  look_for_loss();
  if (cancelled_) fail_waiting(ECANCELED);
  send_waiting();
  std::size_t count = 0;
  while (count < target.size() && !finished_.empty()) {
    target[count++] = slots_[finished_.front()].job.completion();
    free_.push_back(finished_.front());
    finished_.pop_front();
  }
  return count;
}

void NbdChannel::give_up_waiting() {
  if (!link_->ready()) fail_waiting(EIO);
}

// NOLINTNEXTLINE(readability-non-const-parameter): the type is libnbd's
int NbdChannel::on_answer(void* slot, int* error) {
  auto& answered_slot = *static_cast<Slot*>(slot);
  answered_slot.channel->answered(answered_slot, *error);
  return 1;  // libnbd forgets it
}

// Called by libnbd, which must not be called from here.
void NbdChannel::answered(Slot& slot, int error) {
  // The connection is lost, which look_for_loss() finds out for all; or is about to be.
  if (error == ENOTCONN) return;
  if (error == ESHUTDOWN) {
    leaving_ = true;
    return;
  }
  slot.sent = false;
  const NbdCommand& command = slot.job.command();
  if (error == 0 && command.kind == NbdCommand::Kind::kFlush) {
    flushed_ = std::max(flushed_, slot.acknowledged);
  } else if (error == 0 && command.kind != NbdCommand::Kind::kRead && !command.durable) {
    ++acknowledged_;
  }
  slot.job.answered(error);
  sort_in(slot);
}

void NbdChannel::look_for_loss() {
  if (std::exchange(losses_seen_, link_->losses()) == link_->losses()) return;
  for (Slot& slot : slots_) {
    if (std::exchange(slot.sent, false)) waiting_.push_back(index_of(slot));
  }
  if (acknowledged_ == flushed_) return;
  log(LogLevel::kWarning,
      "{}: {} writes that it acknowledged were not flushed yet: they are lost if its machine went "
      "down",
      server_->name, acknowledged_ - flushed_);
  flushed_ = acknowledged_;
}

void NbdChannel::send_waiting() {
  if (waiting_.empty() || !link_->ready()) return;
  while (!waiting_.empty()) {
    Slot& slot = slots_[waiting_.front()];
    if (!send(slot)) break;
    waiting_.pop_front();
  }
  link_->sent();
  look_for_loss();
}

bool NbdChannel::send(Slot& slot) {
  const NbdCommand& command = slot.job.command();
  nbd_handle* const to = link_->handle();
  const nbd_completion_callback callback{
      .callback = &NbdChannel::on_answer, .user_data = &slot, .free = nullptr};
  const std::uint32_t flags = (command.durable ? LIBNBD_CMD_FLAG_FUA : 0U) |
                              (command.keep_allocated ? LIBNBD_CMD_FLAG_NO_HOLE : 0U);
  slot.sent = true;  // the answer may come at once
  std::int64_t cookie = -1;
  switch (command.kind) {
    case NbdCommand::Kind::kRead:
      cookie = nbd_aio_pread(to, command.memory, command.length, command.offset, callback, 0);
      break;
    case NbdCommand::Kind::kWrite:
      cookie = nbd_aio_pwrite(to, command.memory, command.length, command.offset, callback, flags);
      break;
    case NbdCommand::Kind::kFlush:
      slot.acknowledged = acknowledged_;
      cookie = nbd_aio_flush(to, callback, 0);
      break;
    case NbdCommand::Kind::kTrim:
      cookie = nbd_aio_trim(to, command.length, command.offset, callback, flags);
      break;
    case NbdCommand::Kind::kZero:
      cookie = nbd_aio_zero(to, command.length, command.offset, callback, flags);
      break;
  }
  if (cookie >= 0) return true;
  slot.sent = false;
  const int error = nbd_get_errno();
  // A handle that is no longer connected says so in several ways.
  if (nbd_aio_is_dead(to) != 0 || nbd_aio_is_closed(to) != 0) return false;
  slot.job.fail(error != 0 ? error : EIO);
  finished_.push_back(index_of(slot));
  return true;
}

void NbdChannel::fail_waiting(int error) {
  for (; !waiting_.empty(); waiting_.pop_front()) {
    slots_[waiting_.front()].job.fail(error);
    finished_.push_back(waiting_.front());
  }
}

void NbdChannel::sort_in(Slot& slot) {
  if (slot.job.done()) {
    finished_.push_back(index_of(slot));
  } else {
    waiting_.push_back(index_of(slot));
  }
}

}  // namespace airlock::backend
