// SPDX-License-Identifier: Apache-2.0
#include "backend/net/stream_backend.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "backend/net/gather.h"
#include "backend/net/net_checksum.h"
#include "backend/net/socket_backend.h"
#include "backend/net/stream_parser.h"
#include "backend/net/stream_sender.h"

namespace airlock::backend {

namespace {

class StreamChannel final : public NetChannel {
 public:
  StreamChannel(SocketLink& link, NetCounters& counters) : link_(link), counters_(counters) {}

  Result<std::optional<std::size_t>> receive(spec::VirtioNetHdr& header,
                                             std::span<std::byte> frame) override;
  [[nodiscard]] int receive_fd() const override { return link_.receive_fd(); }
  NetSendResult send(const spec::VirtioNetHdr& header,
                     std::span<const shm::SharedBytes> pieces) override;
  void flush() override;
  [[nodiscard]] int send_fd() const override { return link_.send_fd(); }

 private:
  const Fd* socket_to_send();
  void send_pending(const Fd& socket);
  bool fill();

  SocketLink& link_;
  NetCounters& counters_;
  StreamParser parser_;  // the receiving thread's
  StreamSender sender_;  // the sending thread's
};

Result<std::optional<std::size_t>> StreamChannel::receive(spec::VirtioNetHdr& header,
                                                          std::span<std::byte> frame) {
  CHECK(frame.size() >= kNetFrameMax);
  do {
    const auto next = parser_.next();
    // NOLINTNEXTLINE(bugprone-unchecked-optional-access): looked at just before
    const bool good = next && (!*next || is_frame_length((*next)->size()));
    if (!good) {
      counters_.count_malformed();
      parser_.clear();
      link_.lost("it sent a frame of an impossible length");
      return std::nullopt;
    }
    if (const auto& whole = *next) {
      header = {};
      std::ranges::copy(*whole, frame.begin());
      return whole->size();
    }
  } while (fill());
  return std::nullopt;
}

// More from the peer; false: there is nothing now.
bool StreamChannel::fill() {
  bool anew = false;
  const Fd* const socket = link_.receiving(anew);
  if (anew) parser_.clear();
  if (socket == nullptr) return false;
  const std::span<std::byte> room = parser_.room();
  const ssize_t got = ::recv(socket->get(), room.data(), room.size(), MSG_DONTWAIT);
  if (got > 0) {
    parser_.came(static_cast<std::size_t>(got));
    return true;
  }
  if (got < 0 && errno == EINTR) return true;
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
  const std::string why = got == 0 ? "it hung up" : airlock::describe(system_error());
  parser_.clear();
  link_.lost(why);
  return false;
}

NetSendResult StreamChannel::send(const spec::VirtioNetHdr& header,
                                  std::span<const shm::SharedBytes> pieces) {
  const std::uint64_t length = frame_bytes(pieces);
  const bool segments = header.gso_type != spec::VIRTIO_NET_HDR_GSO_NONE;
  const Fd* const socket = socket_to_send();
  if (socket == nullptr || segments || !is_frame_length(length) || !header_fits(header, length)) {
    counters_.count_unsent();
    return NetSendResult::kDropped;
  }
  if (!sender_.has_room(length)) send_pending(*socket);
  if (!sender_.has_room(length)) return NetSendResult::kBusy;
  sender_.push(header, pieces, length);
  if (sender_.pending().size() >= StreamSender::kEnough) flush();
  return NetSendResult::kSent;
}

void StreamChannel::flush() {
  const Fd* const socket = socket_to_send();
  if (socket != nullptr) send_pending(*socket);
}

const Fd* StreamChannel::socket_to_send() {
  bool anew = false;
  const Fd* const socket = link_.sending(anew);
  if (anew) sender_.clear();  // the rest of a frame would be the start of one there
  return socket;
}

void StreamChannel::send_pending(const Fd& socket) {
  while (!sender_.empty()) {
    const std::span<const std::byte> bytes = sender_.pending();
    const ssize_t sent =
        ::send(socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      sender_.sent(static_cast<std::size_t>(sent));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return link_.wait_writable();
    sender_.clear();
    return link_.report_lost();
  }
  link_.stop_waiting();
}

}  // namespace

Result<std::unique_ptr<NetBackend>> make_stream(StreamOptions options) {
  return SocketBackend<StreamChannel>::create(std::move(options.link), options.mtu);
}

}  // namespace airlock::backend
