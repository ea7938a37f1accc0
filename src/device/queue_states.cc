// SPDX-License-Identifier: Apache-2.0
#include "device/queue_states.h"

#include <fcntl.h>

#include <cerrno>
#include <utility>

#include <fmt/core.h>

#include "base/log.h"
#include "spec/queue_state.h"

namespace airlock::device {

namespace {

/// Opens the file anew, since a lock belongs to an open file description and the one that was
/// passed to us is shared with whoever passed it; and waits until nobody else has it locked.
Result<Fd> take_presence(const Fd& fd) {
  const std::string path = fmt::format("/proc/self/fd/{}", fd.get());
  Fd own = TRY(own_fd(::open(path.c_str(), O_RDWR | O_CLOEXEC)));
  struct flock whole{};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (fcntl(own.get(), F_OFD_SETLK, &whole) == 0) return own;
  if (errno != EAGAIN && errno != EACCES) return fail(system_error());
  log(LogLevel::kInfo, "waiting for what the process before this one has in flight");
  while (fcntl(own.get(), F_OFD_SETLKW, &whole) != 0) {
    if (errno != EINTR) return fail(system_error());
  }
  return own;
}

}  // namespace

Result<std::unique_ptr<QueueStates>> QueueStates::adopt(Fd fd) {
  const auto memfd = TRY(shm::SealedMemfd::adopt(std::move(fd), spec::QUEUE_STATE_BYTES));
  Fd presence = TRY(take_presence(memfd.fd()));
  shm::Mapping mapping = TRY(memfd.map());
  const std::uint32_t version = mapping.bytes().load_relaxed<Le32>(0).get();
  if (version != 0 && version != spec::QUEUE_STATE_VERSION) {
    return fail({.code = Errc::kUnsupported, .detail = version});
  }
  mapping.bytes().store_relaxed<Le32>(0, Le32(spec::QUEUE_STATE_VERSION));
  return std::unique_ptr<QueueStates>(new QueueStates(std::move(mapping), std::move(presence)));
}

ring::QueueRecord QueueStates::record(std::uint16_t queue) const {
  CHECK(queue < spec::QUEUE_STATE_QUEUES);
  const std::uint64_t offset = (queue + std::uint64_t{1}) * spec::QUEUE_STATE_RECORD_BYTES;
  return ring::QueueRecord(MUST(mapping_.bytes().slice(offset, sizeof(spec::VirtqState))));
}

void QueueStates::forget_all() const {
  for (std::uint16_t queue = 0; queue < spec::QUEUE_STATE_QUEUES; ++queue)
    forget(queue);
}

}  // namespace airlock::device
