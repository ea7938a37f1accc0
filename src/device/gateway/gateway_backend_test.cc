// SPDX-License-Identifier: Apache-2.0
//
// Goal: what a gateway tells a backend of a driver's device: where the memory is, where the rings
// are, whose eventfds; again when something of it moves; and what becomes of the driver when the
// backend dies, lies or is silent. Method: a scripted backend on sockets, a transport that records.
#include "device/gateway/gateway_model.h"

#include <gtest/gtest.h>

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/log.h"
#include "ring/layout.h"
#include "spec/fuse.h"
#include "testing/chain_builder.h"
#include "vhost_user/backend_on_socket.h"

namespace airlock::device {
namespace {

using spec::feature;
using vfio_user::require_struct;

constexpr std::uint32_t kSlots = 8;

class RecordingTransport final : public pci::VirtioTransport {
 public:
  void interrupt_queue(std::uint16_t /*queue*/) override { ++interrupts; }
  void interrupt_config() override { ++config_interrupts; }
  Result<Fd> queue_eventfd(std::uint16_t /*queue*/) override {
    return vector ? vector.duplicate() : Fd();
  }
  void report_violation(const Error& /*error*/) override { ++violations; }

  EventFd vector;  // of all queues; empty: masked
  unsigned interrupts = 0;
  unsigned config_interrupts = 0;
  unsigned violations = 0;
};

class GatewayBackendTest : public ::testing::TestWithParam<window::AddressMode> {
 protected:
  GatewayBackendTest() {
    set_log_level(LogLevel::kError);
    region_.window().configure(GetParam(), window::Reach::kRegion);
  }
  ~GatewayBackendTest() override { set_log_level(LogLevel::kInfo); }

  // A gateway for a network card (in order, so that nothing is tracked) or another kind, which has
  // found a backend, and a client's model of it.
  void make(std::string_view kind = "net", std::uint64_t protocol = 0) {
    host_.prepare = [protocol](vhost_user::BackendOnSocket& backend) {
      backend.script.queues = 8;
      backend.script.features |= feature(spec::VIRTIO_F_ACCESS_PLATFORM) |
                                 feature(spec::VIRTIO_F_SWIOTLB) |
                                 feature(spec::VIRTIO_F_EVENT_IDX);
      backend.script.protocol |= protocol;
    };
    gateway_ = std::make_unique<Gateway>(
        host_.context, host_.connector(),
        Gateway::Options{.shape = {.kind = *find_device_kind(kind), .queue_size = kSlots},
                         .answer_timeout = std::chrono::milliseconds(300)});
    gateway_->begin();
    ASSERT_TRUE(host_.run_until([this] { return gateway_->connected(); }));
    model_ = gateway_->make_model({.window = region_.window(), .region = region_.memfd()});
    model_->attach(transport_);
  }
  [[nodiscard]] pci::QueueSetup setup() const {
    const ring::QueueAreas& areas = driver_.config().areas;
    return {.index = 0,
            .size = kSlots,
            .descriptor_area = areas.descriptors,
            .driver_area = areas.driver,
            .device_area = areas.device};
  }
  void start() {
    const pci::Negotiated negotiated{
        .features = model_->features() | feature(spec::VIRTIO_F_VERSION_1) |
                    feature(spec::VIRTIO_F_ACCESS_PLATFORM) | feature(spec::VIRTIO_F_SWIOTLB),
        .mode = GetParam(),
        .reach = window::Reach::kRegion};
    ASSERT_TRUE(model_->start(negotiated, std::array{setup()}));
    ASSERT_TRUE(told(spec::VHOST_USER_SET_VRING_ENABLE));
  }
  // Waits until the backend was told `request`, since the last time that this was asked.
  bool told(std::uint32_t request) {
    const bool yes = host_.run_until([&] {
      return host_.backend && std::ranges::count(backend().script.requests, request) > 0;
    });
    std::erase(backend().script.requests, request);
    return yes;
  }
  vhost_user::BackendOnSocket& backend() { return *host_.backend; }
  template <class T>
  T payload(std::uint32_t request, std::size_t offset = 0) {
    return require_struct<T>(backend().script.payloads[request], offset);
  }
  spec::VhostUserMemoryRegion memory_region() {
    return payload<spec::VhostUserMemoryRegion>(spec::VHOST_USER_SET_MEM_TABLE,
                                                sizeof(spec::VhostUserMemory));
  }
  std::uint32_t base() {
    return payload<spec::VhostUserVringState>(spec::VHOST_USER_SET_VRING_BASE).num;
  }
  // Writes the used index as a backend does.
  void set_used(std::uint16_t index) {
    const ring::UsedWriter used(MUST(region_.window().translate(
        setup().device_area, ring::Layout(driver_.size()).device().bytes, window::Access::kWrite)));
    used.publish_index(ring::RingIndex(index));
  }
  // Stops as a driver's reset does.
  bool stop() {
    bool stopped = false;
    model_->stop([&stopped] { stopped = true; });
    return host_.run_until([&stopped] { return stopped; });
  }

  vhost_user::BackendHost host_;
  testing::TestRegion region_{{.mode = GetParam()}};
  testing::FakeDriver driver_{region_, kSlots};
  RecordingTransport transport_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<ClientModel> model_;
};

INSTANTIATE_TEST_SUITE_P(Modes, GatewayBackendTest,
                         ::testing::Values(window::AddressMode::kBus,
                                           window::AddressMode::kOffset));

// SYS-2: the table has the region where the driver's addresses have it, and nothing else.
TEST_P(GatewayBackendTest, GivesTheBackendTheRegionAndNothingElse) {
  make();
  start();
  const bool bus = GetParam() == window::AddressMode::kBus;
  EXPECT_EQ(payload<spec::VhostUserMemory>(spec::VHOST_USER_SET_MEM_TABLE).region_count, 1U);
  const auto table = memory_region();
  EXPECT_EQ(table.guest_address, bus ? 0x8'0000'0000U : 0U);
  EXPECT_EQ(table.size, region_.bytes().size());
  // The file is the region's, sealed: what the driver writes there the backend reads.
  const auto given = MUST(shm::SealedMemfd::adopt(
      std::move(backend().fds[spec::VHOST_USER_SET_MEM_TABLE]), table.size));
  const auto mapping = MUST(given.map());
  region_.bytes().store_relaxed<std::uint32_t>(0, 77);
  EXPECT_EQ(mapping.bytes().load_relaxed<std::uint32_t>(0), 77U);

  const auto ring = payload<spec::VhostUserVringAddr>(spec::VHOST_USER_SET_VRING_ADDR);
  const auto offset = [&](window::DriverAddress address) {
    return std::to_underlying(address) - table.guest_address;
  };
  EXPECT_EQ(ring.descriptor - table.user_address, offset(setup().descriptor_area));
  EXPECT_EQ(ring.available - table.user_address, offset(setup().driver_area));
  EXPECT_EQ(ring.used - table.user_address, offset(setup().device_area));
  EXPECT_EQ(base(), 0U);
}

// No IOTLB, and nothing of the region's own negotiation.
TEST_P(GatewayBackendTest, KeepsTheTransportsFeaturesFromTheBackend) {
  make();
  EXPECT_EQ(model_->features() & feature(spec::VIRTIO_F_ACCESS_PLATFORM), 0U);
  start();
  const auto told_features = payload<std::uint64_t>(spec::VHOST_USER_SET_FEATURES);
  EXPECT_EQ(told_features, feature(spec::VIRTIO_F_VERSION_1) | feature(spec::VIRTIO_F_EVENT_IDX) |
                               feature(spec::VHOST_USER_F_PROTOCOL_FEATURES));
}

TEST_P(GatewayBackendTest, HandsTheVmsEventfdThroughAndItsOwnWhereThereIsNone) {
  make();
  transport_.vector = MUST(EventFd::create());
  start();
  const auto signal = [this] {
    const auto call =
        MUST(EventFd::adopt(std::move(backend().fds[spec::VHOST_USER_SET_VRING_CALL])));
    call.signal();
  };
  signal();
  EXPECT_TRUE(transport_.vector.drain());
  EXPECT_EQ(transport_.interrupts, 0U);
  // Masked: the next one is kept by whoever keeps interrupts. And one more for what went astray.
  transport_.vector = EventFd();
  model_->vectors_changed();
  ASSERT_TRUE(told(spec::VHOST_USER_SET_VRING_CALL));
  ASSERT_TRUE(host_.run_until([this] { return transport_.interrupts == 1; }));
  signal();
  ASSERT_TRUE(host_.run_until([this] { return transport_.interrupts == 2; }));
  // A notification is a signal of what the backend waits for.
  const auto kick = MUST(EventFd::adopt(std::move(backend().fds[spec::VHOST_USER_SET_VRING_KICK])));
  static_cast<void>(kick.drain());
  model_->notify(0);
  EXPECT_TRUE(kick.drain());
}

// A backend may drain a kick that comes before the ring is enabled, and then never look: rust-vmm's
// do.
TEST_P(GatewayBackendTest, KicksARingThatTheBackendKnowsToBeEnabled) {
  make();
  const auto kicked = [this] {
    pollfd kick{
        .fd = backend().fds[spec::VHOST_USER_SET_VRING_KICK].get(), .events = POLLIN, .revents = 0};
    return ::poll(&kick, 1, 0) > 0;
  };
  bool asked = false;
  bool early = false;
  backend().script.on_answer = [&](const vhost_user::Message& answer) {
    if (answer.header.request != spec::VHOST_USER_SET_VRING_ENABLE) return;
    asked = true;
    early = kicked();
  };
  start();
  EXPECT_TRUE(asked && !early);
  EXPECT_TRUE(host_.run_until(kicked));
}

TEST_P(GatewayBackendTest, FollowsTheBar) {
  make();
  start();
  set_used(7);  // what the scripted backend has read
  region_.window().set_region_bus_base(window::BusAddress{0x9'0000'0000});
  model_->region_moved();
  if (GetParam() == window::AddressMode::kOffset) {  // offsets don't notice
    EXPECT_TRUE(stop());
    EXPECT_EQ(std::ranges::count(backend().script.requests, spec::VHOST_USER_SET_MEM_TABLE), 1);
    return;
  }
  backend().script.requests.clear();
  ASSERT_TRUE(told(spec::VHOST_USER_GET_VRING_BASE));
  ASSERT_TRUE(told(spec::VHOST_USER_SET_MEM_TABLE));
  EXPECT_EQ(memory_region().guest_address, 0x9'0000'0000U);
  // Its rings are not there: nothing runs.
  EXPECT_EQ(std::ranges::count(backend().script.requests, spec::VHOST_USER_SET_VRING_ADDR), 0);
  backend().script.requests.clear();
  region_.window().set_region_bus_base(window::BusAddress{0x8'0000'0000});
  model_->region_moved();
  ASSERT_TRUE(told(spec::VHOST_USER_SET_VRING_ENABLE));
  EXPECT_EQ(base(), 7U);  // where it was
}

TEST_P(GatewayBackendTest, GoesOnAtTheUsedIndexWithTheNextBackend) {
  make();
  start();
  set_used(5);
  backend().die();
  ASSERT_TRUE(host_.run_until([this] { return !gateway_->connected(); }));
  model_->notify(0);  // nobody hears it yet
  ASSERT_TRUE(told(spec::VHOST_USER_SET_VRING_ENABLE));
  EXPECT_EQ(base(), 5U);
  EXPECT_EQ(gateway_->stats().losses, 1U);
  EXPECT_EQ(transport_.violations, 0U);
}

TEST_P(GatewayBackendTest, GivesInflightMemoryToTheNextBackend) {
  make("blk", feature(spec::VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD));
  EXPECT_FALSE(gateway_->tracks());
  start();
  EXPECT_TRUE(told(spec::VHOST_USER_GET_INFLIGHT_FD));
  EXPECT_TRUE(told(spec::VHOST_USER_SET_INFLIGHT_FD));
  backend().die();
  ASSERT_TRUE(told(spec::VHOST_USER_SET_INFLIGHT_FD));
  EXPECT_TRUE(backend().fds[spec::VHOST_USER_SET_INFLIGHT_FD]);
  ASSERT_TRUE(told(spec::VHOST_USER_SET_VRING_ENABLE));
  EXPECT_EQ(std::ranges::count(backend().script.requests, spec::VHOST_USER_GET_INFLIGHT_FD), 0);
}

TEST_P(GatewayBackendTest, TracksWhatADiskWouldForget) {
  make("blk");
  EXPECT_TRUE(gateway_->tracks());
  start();
  EXPECT_EQ(payload<spec::VhostUserMemory>(spec::VHOST_USER_SET_MEM_TABLE).region_count, 2U);
  const auto ring = payload<spec::VhostUserVringAddr>(spec::VHOST_USER_SET_VRING_ADDR);
  const auto table = memory_region();
  EXPECT_EQ(ring.descriptor - table.user_address,
            std::to_underlying(setup().descriptor_area) - table.guest_address);
  EXPECT_GT(ring.available, table.user_address + table.size);  // ours
  EXPECT_GT(ring.used, ring.available);
}

// --- a file system's session ---

class GatewaySessionTest : public GatewayBackendTest {
 protected:
  // A file system that is mounted.
  void mount(std::uint64_t protocol) {
    make("fs", protocol);
    EXPECT_TRUE(gateway_->tracks());
    start();
    const auto init = request(spec::FUSE_INIT);
    const auto& place = init.pieces().back();
    spec::FuseOutHeader header{};
    header.unique.set(kUnique);
    region_.bytes().put(std::to_underlying(place.offset), header);
    use(init.head(), place.length);
  }
  testing::BuiltChain request(std::uint32_t opcode) {
    spec::FuseInHeader header{};
    header.opcode.set(opcode);
    header.unique.set(kUnique);
    header.nodeid.set(spec::FUSE_ROOT_ID);
    const auto built = testing::ChainBuilder(driver_)
                           .readable_struct(header)
                           .readable(std::string_view("name", 5))
                           .writable(sizeof(spec::FuseOutHeader) + sizeof(spec::FuseInitOut))
                           .submit();
    model_->notify(0);
    return built;
  }
  // What the first backend returns first.
  void use(std::uint16_t head, std::uint32_t length) {
    const auto table = payload<spec::VhostUserMemoryRegion>(
        spec::VHOST_USER_SET_MEM_TABLE,
        sizeof(spec::VhostUserMemory) + sizeof(spec::VhostUserMemoryRegion));
    const auto rings = MUST(shm::SealedMemfd::adopt(
        std::move(backend().fds[spec::VHOST_USER_SET_MEM_TABLE]), table.size));
    const auto mapping = MUST(rings.map());
    const ring::UsedWriter used(
        MUST(mapping.bytes().slice(TrackedQueue::device_area_offset(driver_.size()),
                                   ring::Layout(driver_.size()).device().bytes)));
    used.put(0, {.id = head, .length = length});
    used.publish_index(ring::RingIndex(1));
    const auto call =
        MUST(EventFd::adopt(std::move(backend().fds[spec::VHOST_USER_SET_VRING_CALL])));
    call.signal();
    ASSERT_TRUE(host_.run_until([this] { return driver_.used_index() == 1; }));
  }
  std::size_t times(std::uint32_t request) {
    return static_cast<std::size_t>(std::ranges::count(backend().script.requests, request));
  }

  void expect_end(const testing::BuiltChain& waiting) {
    ASSERT_TRUE(host_.run_until([this] { return driver_.used_index() == 2; }));
    const auto answer = require_struct<spec::FuseOutHeader>(waiting.written());
    EXPECT_EQ(answer.error.get(), static_cast<std::uint32_t>(-ENOTCONN));
    EXPECT_EQ(answer.unique.get(), kUnique);
    request(spec::FUSE_LOOKUP);
    EXPECT_EQ(driver_.used_index(), 3U);
    EXPECT_TRUE(gateway_->connected());
  }

  static constexpr std::uint64_t kUnique = 7;
  static constexpr std::uint64_t kState = feature(spec::VHOST_USER_PROTOCOL_F_DEVICE_STATE);
};

INSTANTIATE_TEST_SUITE_P(Modes, GatewaySessionTest,
                         ::testing::Values(window::AddressMode::kBus,
                                           window::AddressMode::kOffset));

TEST_P(GatewaySessionTest, IsHandedToTheNextBackendBeforeItGetsARequest) {
  mount(kState);
  EXPECT_EQ(times(spec::VHOST_USER_SET_DEVICE_STATE_FD), 0U);  // the first one begins by itself
  const auto waiting = request(spec::FUSE_LOOKUP);
  backend().die();
  ASSERT_TRUE(told(spec::VHOST_USER_SET_VRING_ENABLE));
  const auto& requests = backend().script.requests;
  EXPECT_LT(std::ranges::find(requests, spec::VHOST_USER_CHECK_DEVICE_STATE),
            std::ranges::find(requests, spec::VHOST_USER_SET_VRING_ADDR));
  EXPECT_EQ(times(spec::VHOST_USER_SET_DEVICE_STATE_FD), 1U);
  // It is read from its beginning to its end: the root alone, and nothing that was agreed on.
  std::array<std::uint8_t, 64> bytes{};
  const Fd& file = backend().fds[spec::VHOST_USER_SET_DEVICE_STATE_FD];
  ASSERT_EQ(read(file.get(), bytes.data(), bytes.size()), 13);
  constexpr std::array<std::uint8_t, 13> kExpected{0, 1, 1, 2, 0, 0, 2, 0, 1};
  EXPECT_TRUE(std::ranges::equal(std::span(bytes).first(13), kExpected));
  EXPECT_EQ(driver_.used_index(), 1U);  // the request is the backend's to answer
}

// Whoever takes no session over, or not this one, gets none of its requests: all are answered here.
TEST_P(GatewaySessionTest, EndsWhereTheNextBackendTakesNone) {
  mount(0);
  const auto waiting = request(spec::FUSE_LOOKUP);
  backend().die();
  expect_end(waiting);
  EXPECT_EQ(times(spec::VHOST_USER_SET_DEVICE_STATE_FD), 0U);
}

TEST_P(GatewaySessionTest, EndsWhereTheNextBackendRefusesIt) {
  mount(kState);
  const auto waiting = request(spec::FUSE_LOOKUP);
  host_.prepare = [prepare = host_.prepare](vhost_user::BackendOnSocket& backend) {
    prepare(backend);
    backend.script.state_checked = 1;
  };
  backend().die();
  expect_end(waiting);
  EXPECT_EQ(times(spec::VHOST_USER_SET_DEVICE_STATE_FD), 3U);  // less each time
}

TEST_P(GatewayBackendTest, StopsWhenTheBackendHasReturnedWhatItTook) {
  make();
  start();
  bool stopped = false;
  model_->stop([&stopped] { stopped = true; });
  ASSERT_TRUE(told(spec::VHOST_USER_GET_VRING_BASE));
  EXPECT_FALSE(stopped);  // it has read 7, and returned none
  set_used(7);
  EXPECT_TRUE(host_.run_until([&stopped] { return stopped; }));
  EXPECT_TRUE(gateway_->connected());
}

// A backend that keeps what it took is sent away, one that is silent or dies is too: the driver's
// reset ends all the same.
TEST_P(GatewayBackendTest, StopsWithoutTheBackend) {
  make();
  start();
  EXPECT_TRUE(stop());
  ASSERT_TRUE(host_.run_until([this] { return gateway_->connected(); }));
  start();
  host_.silent = true;
  EXPECT_TRUE(stop());
  host_.silent = false;
  ASSERT_TRUE(host_.run_until([this] { return gateway_->connected(); }));
  start();
  bool stopped = false;
  model_->stop([&stopped] { stopped = true; });
  backend().die();
  EXPECT_TRUE(host_.run_until([&stopped] { return stopped; }));
}

TEST_P(GatewayBackendTest, ResetsOneQueueByItself) {
  make();
  start();
  set_used(7);
  bool stopped = false;
  model_->reset_queue(0, [&stopped] { stopped = true; });
  ASSERT_TRUE(host_.run_until([&stopped] { return stopped; }));
  backend().script.requests.clear();
  ASSERT_TRUE(model_->start_queue({.features = 0, .mode = GetParam()}, setup()));
  ASSERT_TRUE(told(spec::VHOST_USER_SET_VRING_ENABLE));
  EXPECT_EQ(base(), 0U);
}

// What drivers were offered, the next backend has to have.
TEST_P(GatewayBackendTest, WaitsForABackendThatHasWhatTheFirstOneHad) {
  make();
  start();
  host_.prepare = [](vhost_user::BackendOnSocket& lesser) { lesser.script.queues = 8; };
  const unsigned asked = host_.asked;
  backend().die();
  ASSERT_TRUE(host_.run_until([&] { return host_.asked > asked + 2; }));
  EXPECT_FALSE(gateway_->connected());
}

TEST_P(GatewayBackendTest, LeavesNothingOfOneClientToTheNext) {
  make();
  start();
  set_used(7);
  host_.silent = true;
  model_.reset();
  host_.silent = false;
  const unsigned asked = host_.asked;
  ASSERT_TRUE(host_.run_until([&] { return host_.asked > asked && gateway_->connected(); }));
  model_ = gateway_->make_model({.window = region_.window(), .region = region_.memfd()});
  model_->attach(transport_);
  start();
  EXPECT_EQ(base(), 0U);
}

}  // namespace
}  // namespace airlock::device
