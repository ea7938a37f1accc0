// SPDX-License-Identifier: Apache-2.0
//
// What a socket device says of credit, and how it keeps to ours: VIRTIO 1.3, 5.10.6.3. It takes a
// connection, to a port of the host that somebody who echoes listens on.
#include <cstring>
#include <optional>
#include <vector>

#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "driver/deadline.h"
#include "driver/wait.h"
#include "spec/virtio_vsock.h"

namespace airlock::driver::conformance {

namespace {

constexpr std::uint32_t kCreditHeaderBytes = sizeof(spec::VirtioVsockHdr);
constexpr std::uint32_t kCreditRoomBytes = 1024;  // of each buffer for the device
constexpr std::uint16_t kCreditRooms = 8;
constexpr std::uint32_t kCreditGuestPort = 0x8001'2346;
constexpr std::uint32_t kCreditSent = 64;     // bytes, to be echoed
constexpr std::uint32_t kCreditGranted = 16;  // of them at a time

/// A connection, packet by packet. `wrong`, and what the functions return after it, is the first
/// thing that is not as it has to be.
class CreditFlow {
 public:
  explicit CreditFlow(CheckContext& ctx) : ctx_(ctx) {}

  /// Nothing, once connected; else why there is no connection.
  Result<std::optional<Finding>> open();
  /// Room for so many bytes more than it has ever had.
  void grant(std::uint32_t bytes) { granted_ += bytes; }
  Result<void> say(std::uint16_t op, std::uint32_t bytes = 0);
  /// Takes packets until `done` of the last one, or for as long as a device may take.
  template <class Done>
  Result<bool> take_until(const Done& done);
  /// Takes what comes though nothing is expected.
  Result<void> take_in_quiet();

  [[nodiscard]] std::uint32_t received() const { return received_; }
  [[nodiscard]] std::uint32_t peer_room() const { return peer_room_; }
  [[nodiscard]] const std::string& wrong() const { return wrong_; }

 private:
  using Header = spec::VirtioVsockHdr;

  void give_room(std::uint16_t slot);
  Result<std::optional<Header>> take();
  void judge(const Header& packet);

  CheckContext& ctx_;
  std::uint64_t cid_ = 0;
  std::uint16_t taken_ = 0;  // packets
  std::uint32_t sent_ = 0;   // bytes
  std::uint32_t received_ = 0;
  std::uint32_t granted_ = 0;  // since the beginning
  std::uint32_t peer_room_ = 0;
  std::string wrong_;
};

void CreditFlow::give_room(std::uint16_t slot) {
  const Part room{.offset = std::uint64_t{slot} * kCreditRoomBytes,
                  .length = kCreditRoomBytes,
                  .writable = true};
  ctx_.other_queue().put_chain(slot, std::span(&room, 1));
  ctx_.other_queue().make_available(slot);
}

Result<std::optional<Finding>> CreditFlow::open() {
  if (ctx_.device_type() != spec::VIRTIO_ID_VSOCK) return skipped("the device is no socket device");
  const auto port = ctx_.options().vsock_port;
  if (!port) return skipped("no port of the host was named that echoes: --vsock-port");
  ctx_.accept_also(spec::feature(spec::VIRTIO_VSOCK_F_STREAM));
  for (const std::uint16_t index : {spec::VIRTIO_VSOCK_QUEUE_RX, spec::VIRTIO_VSOCK_QUEUE_TX}) {
    TRY(ctx_.common().select_queue(index));
    const std::uint16_t size = TRY(ctx_.common().queue_size());
    const std::uint32_t used = ctx_.queue().size().value();
    if (size < used || used < kCreditRooms) {
      return skipped(fmt::format("queue {} has {} entries, queue 0 {}", index, size, used));
    }
  }
  ctx_.use_queue(spec::VIRTIO_VSOCK_QUEUE_TX);
  ctx_.use_other_queue(spec::VIRTIO_VSOCK_QUEUE_RX);
  TRY(ctx_.bring_up());
  cid_ = TRY(ctx_.device_config(0, Width::k4));
  for (std::uint16_t slot = 0; slot < kCreditRooms; ++slot)
    give_room(slot);
  TRY(ctx_.notify_other());
  TRY(say(spec::VIRTIO_VSOCK_OP_REQUEST));
  bool reset = false;
  const bool answered = TRY(take_until([&reset](const Header& packet) {
    reset = packet.op.get() == spec::VIRTIO_VSOCK_OP_RST;
    return reset || packet.op.get() == spec::VIRTIO_VSOCK_OP_RESPONSE;
  }));
  if (!answered) return failed("a request for a connection was not answered");
  if (reset) return skipped(fmt::format("nobody listens on port {} of the host", *port));
  return std::nullopt;
}

Result<void> CreditFlow::say(std::uint16_t op, std::uint32_t bytes) {
  Header packet{};
  packet.src_cid.set(static_cast<std::uint32_t>(cid_));
  packet.dst_cid.set(spec::VIRTIO_VSOCK_CID_HOST);
  packet.src_port.set(kCreditGuestPort);
  packet.dst_port.set(ctx_.options().vsock_port.value_or(0));
  packet.type.set(spec::VIRTIO_VSOCK_TYPE_STREAM);
  packet.op.set(op);
  packet.len.set(bytes);
  packet.fwd_cnt.set(received_);
  packet.buf_alloc.set(granted_ - received_);
  sent_ += bytes;
  ctx_.queue().data().put(0, packet);
  const Part part{.length = kCreditHeaderBytes + bytes};
  ctx_.queue().put_chain(0, std::span(&part, 1));
  ctx_.queue().make_available(0);
  TRY(ctx_.notify());
  return ctx_.wait_used(ctx_.queue().avail_index());
}

Result<std::optional<CreditFlow::Header>> CreditFlow::take() {
  RawQueue& queue = ctx_.other_queue();
  if (queue.used_index() == taken_) return std::nullopt;
  const auto used = queue.used(taken_++);
  Header packet{};
  if (used.id >= kCreditRooms || used.length < kCreditHeaderBytes) {
    wrong_ = fmt::format("head {} came back with {} bytes", used.id, used.length);
    return packet;
  }
  std::vector<std::byte> bytes(kCreditHeaderBytes);
  queue.data().copy_out(std::uint64_t{used.id} * kCreditRoomBytes, bytes);
  std::memcpy(&packet, bytes.data(), sizeof packet);
  judge(packet);
  give_room(static_cast<std::uint16_t>(used.id));
  TRY(ctx_.notify_other());
  return packet;
}

void CreditFlow::judge(const Header& packet) {
  if (!wrong_.empty() || packet.op.get() == spec::VIRTIO_VSOCK_OP_RST) return;
  peer_room_ = packet.buf_alloc.get();
  const std::uint32_t forwarded = packet.fwd_cnt.get();
  if (forwarded > sent_) {
    wrong_ = fmt::format("fwd_cnt says that {} bytes were taken, of {}", forwarded, sent_);
  }
  if (packet.op.get() != spec::VIRTIO_VSOCK_OP_RW) return;
  received_ += packet.len.get();
  if (received_ > granted_) {
    wrong_ = fmt::format("{} bytes came, and there was room for {}", received_, granted_);
  }
}

template <class Done>
Result<bool> CreditFlow::take_until(const Done& done) {
  const Deadline deadline = Deadline::after(ctx_.options().timeout);
  for (unsigned round = 0;; ++round) {
    const bool last_look = deadline.passed();
    while (const auto packet = TRY(take())) {
      if (!wrong_.empty() || done(*packet)) return true;
    }
    if (last_look) return false;
    pause_between_polls(round);
  }
}

Result<void> CreditFlow::take_in_quiet() {
  ctx_.watch();
  // As many as there is room for at once: who sends more than that does not keep to credit either.
  for (std::uint16_t i = 0; i < kCreditRooms && TRY(take()); ++i) {
  }
  return {};
}

Result<Finding> check_credit_is_valid(CheckContext& ctx) {
  CreditFlow flow(ctx);
  if (auto obstacle = TRY(flow.open())) return *obstacle;
  TRY(flow.say(spec::VIRTIO_VSOCK_OP_CREDIT_REQUEST));
  const bool answered = TRY(flow.take_until([](const spec::VirtioVsockHdr& packet) {
    return packet.op.get() == spec::VIRTIO_VSOCK_OP_CREDIT_UPDATE;
  }));
  TRY(flow.say(spec::VIRTIO_VSOCK_OP_RST));
  if (!answered) return failed("a request for credit was not answered");
  return flow.wrong().empty() ? passed() : failed(flow.wrong());
}

Result<Finding> check_credit_is_kept_to(CheckContext& ctx) {
  CreditFlow flow(ctx);
  if (auto obstacle = TRY(flow.open())) return *obstacle;
  if (flow.peer_room() < kCreditSent) return skipped("the device has no room for what is echoed");
  flow.grant(kCreditGranted);
  TRY(flow.say(spec::VIRTIO_VSOCK_OP_RW, kCreditSent));
  bool echoes = true;
  for (std::uint32_t due = kCreditGranted; echoes && due <= kCreditSent; due += kCreditGranted) {
    echoes = TRY(flow.take_until([&](const auto& /*packet*/) { return flow.received() >= due; }));
    TRY(flow.take_in_quiet());
    if (!flow.wrong().empty()) return failed(flow.wrong());
    flow.grant(kCreditGranted);
    TRY(flow.say(spec::VIRTIO_VSOCK_OP_CREDIT_UPDATE));
  }
  TRY(flow.say(spec::VIRTIO_VSOCK_OP_RST));
  if (echoes) return passed();
  if (flow.received() == 0) return skipped("who listens there echoes nothing");
  return failed(fmt::format("{} bytes came of {}, though there was room for more", flow.received(),
                            kCreditSent));
}

constexpr Check kVsockCreditChecks[] = {
    {"VIRTIO-5.10.6.3.2/valid", "sockets: what packets say of credit is so, and said when asked",
     Needs::kRegion, check_credit_is_valid},
    {"VIRTIO-5.10.6.3.2/limit", "sockets: no more data than the driver has room for",
     Needs::kRegion, check_credit_is_kept_to},
};

}  // namespace

std::span<const Check> vsock_credit_checks() {
  return kVsockCreditChecks;
}

}  // namespace airlock::driver::conformance
