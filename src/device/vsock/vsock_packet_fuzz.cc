// SPDX-License-Identifier: Apache-2.0
// What a guest says to a socket device, mostly in turn and now and then not, with a host that does
// whatever it likes meanwhile. Here: every packet that can be taken is, exactly once; what is said
// in turn is well-formed, to the guest's own cid, and no more data than it has room for.
#include <fuzzer/FuzzedDataProvider.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "device/vsock/vsock_device.h"
#include "testing/chain_builder.h"
#include "testing/fake_connector.h"

namespace airlock::device {
namespace {

using testing::BuiltChain;
using testing::ChainBuilder;
using testing::FakeConnector;
using testing::FakeDriver;
using testing::TestRegion;

constexpr std::uint16_t kEntries = 32;
constexpr std::uint32_t kCid = 3;
constexpr std::uint32_t kListening = 80;

bool rarely(FuzzedDataProvider& input) {
  return input.ConsumeIntegralInRange(0, 31) == 31;
}

class Guest {
 public:
  explicit Guest(FuzzedDataProvider& input) : input_(input) {
    auto connector = std::make_unique<FakeConnector>();
    connector_ = connector.get();
    connector_->listening[kListening] = true;
    connector_->held = input.ConsumeBool();
    connector_->send_buffer = input.ConsumeBool() ? 4096 : 0;
    VsockDevice::Options options;
    options.queue_size = kEntries;
    options.connections_most = 4;
    options.connector = std::move(connector);
    options.ring_features = 0;
    device_ = MUST(VsockDevice::create(std::move(options)));
    rx_task_ = make_task(rx_, spec::VIRTIO_VSOCK_QUEUE_RX);
    tx_task_ = make_task(tx_, spec::VIRTIO_VSOCK_QUEUE_TX);
  }

  void run() {
    for (int i = 0; i < 40 && input_.remaining_bytes() > 0; ++i) {
      switch (input_.ConsumeIntegralInRange(0, 7)) {
        case 0:
          write_as_host();
          break;
        case 1:
          read_as_host();
          break;
        case 2:
          if (!connector_->accepted.empty()) connector_->accepted.pop_front();
          break;
        case 3:
          connector_->answer_all();
          break;
        default:
          if (!say()) return;
          break;
      }
      if (!listen()) return;
    }
  }

 private:
  std::unique_ptr<QueueTask> make_task(FakeDriver& ring, std::uint16_t queue) {
    const ring::QueueAreas& areas = ring.config().areas;
    QueueContext context;
    context.negotiated.features = device_->features();
    context.negotiated.reach = window::Reach::kRegion;
    context.setup = {.index = queue,
                     .size = kEntries,
                     .descriptor_area = areas.descriptors,
                     .driver_area = areas.driver,
                     .device_area = areas.device};
    context.window = &region_.window();
    return MUST(device_->make_queue(context));
  }

  template <class T>
  T mostly(T usual) {
    return rarely(input_) ? input_.ConsumeIntegral<T>() : usual;
  }

  /// False: the queue broke, as it had to.
  bool say() {
    const std::string text = input_.ConsumeRandomLengthString(64);
    spec::VirtioVsockHdr header{};
    header.src_cid.set(mostly<std::uint32_t>(kCid));
    header.dst_cid.set(mostly<std::uint32_t>(spec::VIRTIO_VSOCK_CID_HOST));
    header.dst_cid_high.set(mostly<std::uint32_t>(0));
    header.src_port.set(input_.ConsumeIntegralInRange<std::uint32_t>(1, 6));
    header.dst_port.set(mostly<std::uint32_t>(kListening));
    header.len.set(mostly(static_cast<std::uint32_t>(text.size())));
    header.type.set(mostly<std::uint16_t>(input_.ConsumeBool() ? 1 : 2));
    header.op.set(input_.ConsumeIntegralInRange<std::uint16_t>(0, 8));
    header.flags.set(input_.ConsumeIntegralInRange<std::uint32_t>(0, 3));
    header.buf_alloc.set(mostly<std::uint32_t>(65536));
    header.fwd_cnt.set(mostly<std::uint32_t>(heard_[header.src_port.get()]));
    const bool whole = header.len.get() <= text.size();
    ChainBuilder builder(tx_);
    builder.readable_struct(header);
    if (!text.empty()) builder.readable(text);
    const BuiltChain chain = builder.submit();
    const auto polled = tx_task_->poll();
    CHECK(polled.has_value() == whole);
    if (!polled) return false;
    const auto used = tx_.take_used();
    CHECK(used.has_value() && used->id == chain.head() && used->length == 0);
    return true;
  }

  /// One buffer after the other, until nothing comes.
  bool listen() {
    for (int i = 0; i < 64; ++i) {
      if (!waiting_) {
        waiting_ = ChainBuilder(rx_).writable(input_.ConsumeBool() ? 64 : 300).submit();
      }
      CHECK(rx_task_->poll().has_value());
      const auto used = rx_.take_used();
      if (!used) return true;
      check(*used);
      waiting_.reset();
    }
    return true;
  }

  void check(const ring::UsedElement& used) {
    CHECK(used.id == waiting_->head());
    const std::vector<std::byte> bytes = waiting_->written();
    spec::VirtioVsockHdr header{};
    CHECK(used.length >= sizeof header && used.length <= bytes.size());
    std::memcpy(&header, bytes.data(), sizeof header);
    CHECK(used.length == sizeof header + header.len.get());
    CHECK(header.dst_cid.get() == kCid && header.dst_cid_high.get() == 0);
    const std::uint16_t op = header.op.get();
    CHECK(op >= spec::VIRTIO_VSOCK_OP_REQUEST && op <= spec::VIRTIO_VSOCK_OP_CREDIT_REQUEST);
    CHECK(op == spec::VIRTIO_VSOCK_OP_RW || header.len.get() == 0);
    if (op == spec::VIRTIO_VSOCK_OP_RESPONSE) heard_[header.dst_port.get()] = 0;
    if (op == spec::VIRTIO_VSOCK_OP_RW) heard_[header.dst_port.get()] += header.len.get();
  }

  void write_as_host() {
    const std::string text = input_.ConsumeRandomLengthString(600);
    if (connector_->accepted.empty()) return;
    static_cast<void>(::send(connector_->accepted.back().get(), text.data(), text.size(),
                             MSG_DONTWAIT | MSG_NOSIGNAL));
  }
  void read_as_host() {
    std::array<char, 4096> text{};
    if (connector_->accepted.empty()) return;
    static_cast<void>(
        ::recv(connector_->accepted.front().get(), text.data(), text.size(), MSG_DONTWAIT));
  }

  FuzzedDataProvider& input_;
  TestRegion region_{TestRegion::Options{.size = std::uint64_t{4} << 20}};
  FakeDriver rx_{region_, kEntries, 0};
  FakeDriver tx_{region_, kEntries, 1};
  FakeConnector* connector_ = nullptr;
  std::unique_ptr<VsockDevice> device_;
  std::unique_ptr<QueueTask> rx_task_;
  std::unique_ptr<QueueTask> tx_task_;
  std::optional<BuiltChain> waiting_;
  std::map<std::uint32_t, std::uint32_t> heard_;  // bytes, by the guest's port
};

}  // namespace
}  // namespace airlock::device

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  airlock::set_log_level(airlock::LogLevel::kError);
  FuzzedDataProvider input(data, size);
  airlock::device::Guest(input).run();
  return 0;
}
