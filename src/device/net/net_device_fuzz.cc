// SPDX-License-Identifier: Apache-2.0
// A driver that is mostly right and now and then wrong, on all queues of a card at once: headers,
// frames, buffers and control commands of any content in any framing, against a network that gives
// and takes frames of its own. Here: no frame leaves with a header that lies, every chain is
// returned once and with no more bytes than it has, and only what can't be answered breaks a queue.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "base/log.h"
#include "device/net/net_header.h"
#include "testing/net_rig.h"

namespace airlock::device {
namespace {

using testing::BuiltChain;
using testing::ChainBuilder;
using testing::NetRig;

constexpr unsigned kSteps = 12;

bool rarely(FuzzedDataProvider& input) {
  return input.ConsumeIntegralInRange(0, 31) == 31;
}

std::uint16_t place(FuzzedDataProvider& input) {
  return rarely(input) ? input.ConsumeIntegral<std::uint16_t>()
                       : input.ConsumeIntegralInRange<std::uint16_t>(0, 120);
}

spec::VirtioNetHdr any_header(FuzzedDataProvider& input) {
  constexpr std::uint8_t kTypes[] = {spec::VIRTIO_NET_HDR_GSO_NONE, spec::VIRTIO_NET_HDR_GSO_TCPV4,
                                     spec::VIRTIO_NET_HDR_GSO_TCPV6,
                                     spec::VIRTIO_NET_HDR_GSO_UDP_L4,
                                     spec::VIRTIO_NET_HDR_GSO_TCPV4 | spec::VIRTIO_NET_HDR_GSO_ECN};
  return {.flags = input.ConsumeIntegral<std::uint8_t>(),
          .gso_type = rarely(input) ? input.ConsumeIntegral<std::uint8_t>()
                                    : input.PickValueInArray(kTypes),
          .hdr_len = Le16(place(input)),
          .gso_size = Le16(place(input)),
          .csum_start = Le16(place(input)),
          .csum_offset = Le16(place(input)),
          .num_buffers = Le16(place(input))};
}

void append(std::vector<std::byte>& target, std::span<const std::byte> bytes) {
  target.insert(target.end(), bytes.begin(), bytes.end());
}

/// A command that looks like one: a class and a command that exist, and some data.
std::vector<std::byte> any_command(FuzzedDataProvider& input) {
  std::vector<std::byte> bytes = {
      static_cast<std::byte>(input.ConsumeIntegralInRange<unsigned>(0, rarely(input) ? 255 : 5)),
      static_cast<std::byte>(input.ConsumeIntegralInRange<unsigned>(0, rarely(input) ? 255 : 5))};
  for (int tables = input.ConsumeIntegralInRange(0, 2); tables > 0; --tables) {
    const auto claimed = rarely(input) ? input.ConsumeIntegral<std::uint32_t>()
                                       : input.ConsumeIntegralInRange<std::uint32_t>(0, 70);
    const Le32 count(claimed);
    append(bytes, std::as_bytes(std::span(&count, 1)));
    bytes.resize(bytes.size() + 6 * std::min<std::size_t>(claimed, 70));
  }
  const auto rest =
      input.ConsumeBytes<std::uint8_t>(input.ConsumeIntegralInRange<std::size_t>(0, 10));
  append(bytes, std::as_bytes(std::span(rest)));
  if (rarely(input)) bytes.resize(input.ConsumeIntegralInRange<std::size_t>(0, 8));
  return bytes;
}

/// Cuts `total` bytes into pieces and hands their lengths to `piece`.
template <class Piece>
void cut(FuzzedDataProvider& input, std::size_t total, const Piece& piece) {
  for (int pieces = 0; total > 0; ++pieces) {
    const bool last = pieces == 3;
    const auto length = last ? total : input.ConsumeIntegralInRange<std::size_t>(1, total);
    piece(length);
    total -= length;
  }
}

class Session {
 public:
  explicit Session(FuzzedDataProvider& input) : input_(input), rig_({.pairs = 2, .mtu = 1500}) {
    std::uint64_t features = rig_.device().features();
    if (input.ConsumeBool()) features &= input.ConsumeIntegral<std::uint64_t>();
    if (!net_features_hold(features)) features = rig_.device().features();
    features_ = features;
    rig_.start(features);
    pairs_ = (features & spec::feature(spec::VIRTIO_NET_F_MQ)) != 0 ? 2 : 1;
    control_ = (features & spec::feature(spec::VIRTIO_NET_F_CTRL_VQ)) != 0;
  }

  void run() {
    for (unsigned step = 0; step < kSteps && input_.remaining_bytes() > 0; ++step) {
      act();
      for (std::uint16_t queue = 0; queue < 2 * pairs_ + (control_ ? 1 : 0); ++queue)
        poll(queue);
    }
  }

 private:
  void act() {
    const auto pair = input_.ConsumeIntegralInRange<std::uint16_t>(0, pairs_ - 1);
    switch (input_.ConsumeIntegralInRange(0, 5)) {
      case 0: {
        std::vector<std::byte> bytes;
        const spec::VirtioNetHdr header = any_header(input_);
        append(bytes, std::as_bytes(std::span(&header, 1)));
        bytes.resize(bytes.size() + input_.ConsumeIntegralInRange<std::size_t>(0, 1600));
        if (rarely(input_)) bytes.resize(input_.ConsumeIntegralInRange<std::size_t>(1, 20));
        submit(2 * pair + 1, bytes, rarely(input_) ? 10 : 0);
        if (bytes.size() < sizeof(header)) may_break_.insert(2 * pair + 1);
        return;
      }
      case 1: {
        const auto bytes = rarely(input_) ? input_.ConsumeIntegralInRange<std::size_t>(1, 40)
                                          : input_.ConsumeIntegralInRange<std::size_t>(12, 2000);
        submit(2 * pair, {}, bytes);
        if (bytes < sizeof(spec::VirtioNetHdr)) may_break_.insert(2 * pair);
        return;
      }
      case 2:
        arrive(pair);
        return;
      case 3: {
        if (!control_) return;
        const std::vector<std::byte> bytes = any_command(input_);
        const std::size_t acks = rarely(input_) ? 0 : 1;
        if (bytes.empty() && acks == 0) return;
        submit(2 * pairs_, bytes, acks);
        if (acks == 0) may_break_.insert(2 * pairs_);
        return;
      }
      case 4:
        rig_.network().send_result = input_.PickValueInArray(
            {backend::NetSendResult::kSent, backend::NetSendResult::kSent,
             backend::NetSendResult::kBusy, backend::NetSendResult::kDropped});
        return;
      default:
        rig_.hold_posts = input_.ConsumeBool();
        if (!rig_.hold_posts) rig_.run_posts();
        return;
    }
  }

  void arrive(std::uint16_t pair) {
    // What a backend gives fits the frame: that is its part.
    std::vector<std::byte> frame(input_.ConsumeIntegralInRange<std::size_t>(14, 3000));
    spec::VirtioNetHdr header = any_header(input_);
    header = check_net_header(header, frame.size(), net_receive_rules(kNetGuestOffloads))
                 .value_or(spec::VirtioNetHdr{});
    rig_.network().arrive(pair, {.header = header, .bytes = std::move(frame)});
  }

  void submit(std::uint16_t queue, std::span<const std::byte> readable, std::size_t writable) {
    // A driver with that much on its way has room for no more.
    if (broken_.contains(queue) || owed_[queue].size() * 8 + 8 > NetRig::kSlots) return;
    ChainBuilder builder(rig_.ring(queue));
    cut(input_, readable.size(), [&](std::size_t length) {
      builder.readable(readable.first(length));
      readable = readable.subspan(length);
    });
    cut(input_, writable,
        [&](std::size_t length) { builder.writable(static_cast<std::uint32_t>(length)); });
    const BuiltChain chain = builder.submit();
    CHECK(owed_[queue].emplace(chain.head(), chain.written().size()).second);
  }

  void poll(std::uint16_t queue) {
    if (broken_.contains(queue)) return;
    const auto done = rig_.run(queue);
    if (!done) {
      CHECK(may_break_.contains(queue));
      rig_.task(queue).drain(true);
      CHECK(rig_.task(queue).in_flight() == 0);
      broken_.insert(queue);
      return;
    }
    while (const auto used = rig_.ring(queue).take_used()) {
      const auto found = owed_[queue].find(used->id);
      CHECK(found != owed_[queue].end());
      CHECK(used->length <= found->second);
      owed_[queue].erase(found);
    }
    check_sent();
  }

  void check_sent() {
    const NetHeaderRules rules = net_transmit_rules(features_);
    for (std::size_t i = 0; i < pairs_; ++i) {
      for (const testing::FakeFrame& frame : rig_.channel(i).sent) {
        CHECK(check_net_header(frame.header, frame.bytes.size(), rules).has_value());
        CHECK(frame.header.hdr_len.get() <= frame.bytes.size());
        CHECK(frame.bytes.size() >= backend::kNetFrameMin);
      }
      rig_.channel(i).sent.clear();
    }
  }

  FuzzedDataProvider& input_;
  NetRig rig_;
  std::uint64_t features_ = 0;
  std::uint16_t pairs_ = 1;
  bool control_ = false;
  std::map<std::uint16_t, std::map<std::uint32_t, std::size_t>> owed_;  // by queue: chains out
  std::set<std::uint16_t> may_break_;
  std::set<std::uint16_t> broken_;
};

}  // namespace
}  // namespace airlock::device

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  airlock::set_log_level(airlock::LogLevel::kError);
  FuzzedDataProvider input(data, size);
  airlock::device::Session(input).run();
  return 0;
}
