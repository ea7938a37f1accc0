// SPDX-License-Identifier: Apache-2.0
#include "backend/net/dgram_backend.h"

#include <sys/socket.h>

#include <cerrno>
#include <vector>

#include "backend/net/gather.h"
#include "backend/net/net_checksum.h"
#include "backend/net/socket_backend.h"

namespace airlock::backend {

namespace {

class DgramChannel final : public NetChannel {
 public:
  DgramChannel(SocketLink& link, NetCounters& counters)
      : link_(link), counters_(counters), frame_(kNetFrameMax) {}

  Result<std::optional<std::size_t>> receive(spec::VirtioNetHdr& header,
                                             std::span<std::byte> frame) override;
  [[nodiscard]] int receive_fd() const override { return link_.receive_fd(); }
  NetSendResult send(const spec::VirtioNetHdr& header,
                     std::span<const shm::SharedBytes> pieces) override;
  [[nodiscard]] int send_fd() const override { return link_.send_fd(); }

 private:
  NetSendResult drop();

  SocketLink& link_;
  NetCounters& counters_;
  std::vector<std::byte> frame_;  // the sending thread's
};

Result<std::optional<std::size_t>> DgramChannel::receive(spec::VirtioNetHdr& header,
                                                         std::span<std::byte> frame) {
  CHECK(frame.size() >= kNetFrameMax);
  bool anew = false;
  const Fd* const socket = link_.receiving(anew);
  if (socket == nullptr) return std::nullopt;
  for (int i = 0; i < kMalformedInARow; ++i) {
    const ssize_t got = ::recv(socket->get(), frame.data(), kNetFrameMax, MSG_DONTWAIT | MSG_TRUNC);
    if (got >= 0 && is_frame_length(static_cast<std::size_t>(got))) {
      header = {};
      return static_cast<std::size_t>(got);
    }
    if (got >= 0) {
      counters_.count_malformed();
      continue;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return std::nullopt;
    // ECONNREFUSED: an ICMP message about what was sent; a peer of UDP may be there all the same.
    if (errno == EINTR || errno == ECONNREFUSED) continue;
    link_.lost(airlock::describe(system_error()));
    return std::nullopt;
  }
  return std::nullopt;
}

NetSendResult DgramChannel::send(const spec::VirtioNetHdr& header,
                                 std::span<const shm::SharedBytes> pieces) {
  const std::uint64_t length = frame_bytes(pieces);
  const bool segments = header.gso_type != spec::VIRTIO_NET_HDR_GSO_NONE;
  bool anew = false;
  const Fd* const socket = link_.sending(anew);
  if (socket == nullptr || segments || !is_frame_length(length) || !header_fits(header, length)) {
    return drop();
  }
  const std::span<std::byte> frame = std::span(frame_).first(length);
  gather(pieces, frame);
  complete_checksum(header, frame);
  ssize_t sent = -1;
  do {
    sent = ::send(socket->get(), frame.data(), frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) {
    link_.stop_waiting();
    return NetSendResult::kSent;
  }
  if (errno == EAGAIN || errno == EWOULDBLOCK) {
    link_.wait_writable();
    return NetSendResult::kBusy;
  }
  // Nobody is bound to the peer's file any more: a new one is found by its name alone.
  const bool gone = errno == ECONNRESET || errno == ENOTCONN || errno == EPIPE;
  if (gone || (errno == ECONNREFUSED && link_.has_file_peer())) link_.report_lost();
  return drop();
}

NetSendResult DgramChannel::drop() {
  counters_.count_unsent();
  return NetSendResult::kDropped;
}

}  // namespace

Result<std::unique_ptr<NetBackend>> make_dgram(SocketLink::Options options) {
  return SocketBackend<DgramChannel>::create(std::move(options), 0);
}

}  // namespace airlock::backend
