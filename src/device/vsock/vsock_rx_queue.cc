// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "device/ring_task.h"
#include "device/vsock/vsock_queue.h"

namespace airlock::device {

namespace {

using Turn = VsockConnections::Turn;

/// Packets given in one poll().
constexpr unsigned kRxBatch = 32;
constexpr std::uint32_t kVsockHeaderBytes = sizeof(spec::VirtioVsockHdr);
/// Longest message that is passed on, of a host that can make longer ones.
constexpr std::uint32_t kHostMessageMost = 256U << 10U;
/// What one system call takes (IOV_MAX), less one.
constexpr std::size_t kPiecesMost = 1023;

/// What a socket of the host has: bytes that are there and stay there until they are read.
struct Found {
  enum class Kind : std::uint8_t { kNothing, kBytes, kEnd, kGone };
  Kind kind = Kind::kNothing;
  std::uint32_t bytes = 0;  // kBytes: of a message all, of a stream one at least
};

class VsockRxQueue final : public RingTask {
 public:
  VsockRxQueue(const QueueContext& context, ring::DeviceQueue ring, VsockShared& shared)
      : RingTask(context, std::move(ring)),
        connections_(*shared.connections),
        host_(*shared.host) {}

  void want_notifications(bool wanted) override {
    RingTask::want_notifications(wanted);
    connections_.want_event(wanted);
  }
  [[nodiscard]] int completion_fd() const override { return host_.fd(); }

 protected:
  Result<bool> serve() override;

 private:
  /// Sends one packet, or finds that there is none after all. False: no buffer for it.
  Result<bool> give(const Turn& turn);
  Result<bool> give_data(const Turn& turn);
  /// The next chain, with room for more than `bytes`.
  Result<bool> take_buffer(std::uint32_t bytes);
  Result<std::uint32_t> read_stream(const Turn& turn, std::uint32_t bytes);
  Result<std::uint32_t> read_message(const Turn& turn, std::uint32_t bytes, std::uint32_t whole);
  [[nodiscard]] static Found look(const Turn& turn);

  VsockConnections& connections_;
  VsockHost& host_;
  ring::Chain chain_;
  std::vector<shm::SharedBytes> pieces_;
  std::vector<iovec> vectors_;
  std::vector<std::byte> passed_over_;  // the part of a message that the guest has
};

Result<bool> VsockRxQueue::serve() {
  bool progress = host_.poll();
  for (unsigned i = 0; i < kRxBatch; ++i) {
    const auto turn = connections_.next();
    if (!turn) break;
    const auto given = turn->data ? give_data(*turn) : give(*turn);
    if (!given) return given;
    if (!*given) {
      connections_.give_back(*turn);
      break;
    }
    progress = true;
  }
  return progress;
}

Result<bool> VsockRxQueue::take_buffer(std::uint32_t bytes) {
  if (!TRY(take(chain_))) return false;
  if (chain_.writable_bytes() <= bytes) return broken_rule(Errc::kTooSmall);
  return true;
}

Result<bool> VsockRxQueue::give(const Turn& turn) {
  if (!TRY(take_buffer(kVsockHeaderBytes - 1))) return false;
  const auto header = vsock_header(turn.reply, connections_.guest_cid(), 0);
  MUST(chain_.write(0, std::as_bytes(std::span(&header, 1))));
  give_back(chain_, kVsockHeaderBytes);
  return true;
}

Found VsockRxQueue::look(const Turn& turn) {
  std::byte first{};
  ssize_t seen = -1;
  const int length_of_message = turn.connection->type == VsockType::kSeqpacket ? MSG_TRUNC : 0;
  do {
    seen = recv(turn.socket->get(), &first, 1, MSG_PEEK | MSG_DONTWAIT | length_of_message);
  } while (seen < 0 && errno == EINTR);
  if (seen > 0) return {.kind = Found::Kind::kBytes, .bytes = static_cast<std::uint32_t>(seen)};
  if (seen < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return {};
  if (seen < 0) return {.kind = Found::Kind::kGone};
  pollfd now{.fd = turn.socket->get(), .events = POLLIN | POLLRDHUP, .revents = 0};
  ::poll(&now, 1, 0);
  if ((now.revents & (POLLHUP | POLLERR)) != 0) return {.kind = Found::Kind::kGone};
  if ((now.revents & POLLRDHUP) != 0) return {.kind = Found::Kind::kEnd};
  // An empty message, which nobody can tell from an end: it is taken, and was nothing.
  static_cast<void>(recv(turn.socket->get(), &first, 1, MSG_DONTWAIT));
  return {.kind = Found::Kind::kBytes, .bytes = 0};
}

Result<bool> VsockRxQueue::give_data(const Turn& turn) {
  const Found found = look(turn);
  const bool stream = turn.connection->type == VsockType::kStream;
  switch (found.kind) {
    case Found::Kind::kNothing:
      connections_.nothing_to_read(turn.connection);
      return true;
    case Found::Kind::kEnd:
    case Found::Kind::kGone:
      connections_.host_ended(turn.connection, found.kind == Found::Kind::kGone);
      return true;
    case Found::Kind::kBytes:
      break;
  }
  if (found.bytes == 0) {
    connections_.look_again(turn.connection);
    return true;
  }
  // A guest that has no room for the whole of a message could never take it.
  const std::uint32_t most = std::min(kHostMessageMost, turn.message_most);
  if (!stream && (found.bytes > most || found.bytes <= turn.message_at)) {
    connections_.reset(turn.connection);
    return true;
  }
  if (!TRY(take_buffer(kVsockHeaderBytes))) return false;
  std::uint32_t room = std::min(chain_.writable_bytes() - kVsockHeaderBytes, turn.most);
  if (!stream) room = std::min(room, found.bytes - turn.message_at);
  const auto read = stream ? read_stream(turn, room) : read_message(turn, room, found.bytes);
  // The socket's only reader is this one, so what was seen is there.
  const std::uint32_t bytes = read ? *read : 0;
  const std::uint32_t rest = stream ? 0 : found.bytes - turn.message_at - bytes;
  const auto header = connections_.data_header(turn, bytes, rest);
  MUST(chain_.write(0, std::as_bytes(std::span(&header, 1))));
  give_back(chain_, kVsockHeaderBytes + bytes);
  if (!read) connections_.host_ended(turn.connection, true);
  return true;
}

// Straight from the socket into the region.
Result<std::uint32_t> VsockRxQueue::read_stream(const Turn& turn, std::uint32_t bytes) {
  pieces_.clear();
  MUST(chain_.append_writable({.offset = kVsockHeaderBytes, .length = bytes}, pieces_));
  vectors_.clear();
  for (const shm::SharedBytes& piece :
       std::span(pieces_).first(std::min(pieces_.size(), kPiecesMost)))
    vectors_.push_back(piece.for_kernel());
  msghdr message = {};
  message.msg_iov = vectors_.data();
  message.msg_iovlen = vectors_.size();
  const ssize_t count = recvmsg(turn.socket->get(), &message, MSG_DONTWAIT);
  if (count < 0) return fail(system_error());
  return static_cast<std::uint32_t>(count);
}

// A message is read whole or not at all, and a guest's buffers are small: all parts but the last
// are read without taking it, each behind those that the guest has.
Result<std::uint32_t> VsockRxQueue::read_message(const Turn& turn, std::uint32_t bytes,
                                                 std::uint32_t whole) {
  pieces_.clear();
  MUST(chain_.append_writable({.offset = kVsockHeaderBytes, .length = bytes}, pieces_));
  if (pieces_.size() > kPiecesMost) return fail(Errc::kTooLarge);
  vectors_.clear();
  passed_over_.resize(std::max<std::size_t>(passed_over_.size(), turn.message_at));
  if (turn.message_at > 0) {
    vectors_.push_back({.iov_base = passed_over_.data(), .iov_len = turn.message_at});
  }
  for (const shm::SharedBytes& piece : pieces_)
    vectors_.push_back(piece.for_kernel());
  msghdr message = {};
  message.msg_iov = vectors_.data();
  message.msg_iovlen = vectors_.size();
  const bool last = turn.message_at + bytes == whole;
  const ssize_t count = recvmsg(turn.socket->get(), &message, MSG_DONTWAIT | (last ? 0 : MSG_PEEK));
  if (count < 0) return fail(system_error());
  return bytes;
}

}  // namespace

Result<std::unique_ptr<QueueTask>> make_vsock_rx_queue(const QueueContext& context,
                                                       VsockShared& shared) {
  return std::make_unique<VsockRxQueue>(context, TRY(RingTask::open_ring(context)), shared);
}

}  // namespace airlock::device
