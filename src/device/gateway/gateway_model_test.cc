// SPDX-License-Identifier: Apache-2.0
//
// Goal: queues that a backend is slow to give back are nobody else's meanwhile, whatever a driver
// asks for next. Method: a scripted backend behind real sockets, which answers when it is told to.
#include "device/gateway/gateway_model.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <deque>
#include <optional>
#include <string>

#include <asio/io_context.hpp>

#include "spec/virtio.h"
#include "spec/virtio_ring.h"
#include "vhost_user/scripted_backend.h"
#include "wire/socket.h"

namespace airlock::device {
namespace {

using vhost_user::Message;
using vhost_user::MessageReader;

constexpr std::uint64_t kRegionBytes = std::uint64_t{1} << 20U;
constexpr std::uint64_t kBusBase = std::uint64_t{1} << 32U;
constexpr std::uint16_t kQueueSize = 16;

std::array<Fd, 2> socket_pair(int type) {
  std::array<int, 2> ends{-1, -1};
  CHECK(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()) == 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

class SilentTransport final : public pci::VirtioTransport {
 public:
  void interrupt_queue(std::uint16_t /*queue*/) override {}
  void interrupt_config() override {}
  Result<Fd> queue_eventfd(std::uint16_t /*queue*/) override { return Fd(); }
  void report_violation(const Error& error) override { ADD_FAILURE() << describe(error); }
};

/// The backend's end of a connection: what it was told it answers in order, and keeps the answers
/// while it is held.
class SlowBackend {
 public:
  explicit SlowBackend(Fd socket) : socket_(std::move(socket)) {
    script.protocol = spec::feature(spec::VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
    script.features |= spec::feature(spec::VIRTIO_F_RING_RESET);
  }

  vhost_user::ScriptedBackend script;
  bool held = false;
  std::vector<Fd> memory;  // of the table that it was shown last

  /// The greeting's answers, before it is asked: the front end waits for them without us.
  void greet() {
    for (const std::uint32_t request :
         {spec::VHOST_USER_GET_FEATURES, spec::VHOST_USER_GET_PROTOCOL_FEATURES,
          spec::VHOST_USER_GET_FEATURES}) {
      const spec::VhostUserHeader header{
          .request = request, .flags = spec::VHOST_USER_VERSION, .size = 0};
      send(*script.answer({.bytes = vfio_user::bytes_of(header), .fds = {}}));
      ++answered_before_;
    }
  }

  /// Reads what there is, and answers unless it is held.
  void act() {
    for (;;) {
      auto received = vfio_user::receive_bytes(socket_.get(), reader_.target());
      if (!received || received->bytes == 0) break;
      MUST(reader_.advance(received->bytes, std::move(received->fds)));
      if (reader_.complete()) take(reader_.take());
    }
    while (!held && !answers_.empty()) {
      send(answers_.front());
      answers_.pop_front();
    }
  }
  /// How often it was asked this.
  [[nodiscard]] std::ptrdiff_t asked(std::uint32_t request) const {
    return std::ranges::count(script.requests, request);
  }

 private:
  void take(Message message) {
    if (message.header.request == spec::VHOST_USER_SET_MEM_TABLE) memory = std::move(message.fds);
    std::vector<std::byte> bytes = vfio_user::bytes_of(message.header);
    bytes.insert(bytes.end(), message.payload.begin(), message.payload.end());
    auto answer = script.answer({.bytes = std::move(bytes), .fds = {}});
    if (!answer) return;
    if (answered_before_ > 0) {
      --answered_before_;
    } else {
      answers_.push_back(std::move(*answer));
    }
  }
  void send(const Message& message) const {
    std::vector<std::byte> bytes = vfio_user::bytes_of(message.header);
    bytes.insert(bytes.end(), message.payload.begin(), message.payload.end());
    std::vector<int> fds;
    for (const Fd& fd : message.fds)
      fds.push_back(fd.get());
    CHECK(MUST(vfio_user::send_some(socket_.get(), bytes, fds)) == bytes.size());
  }

  Fd socket_;
  MessageReader reader_;
  std::deque<Message> answers_;
  unsigned answered_before_ = 0;
};

class GatewayModelTest : public testing::Test {
 protected:
  explicit GatewayModelTest(Tracking tracking = Tracking::kAuto)
      : region_(MUST(shm::SealedMemfd::create({.name = "region", .size = kRegionBytes}))),
        mapping_(MUST(region_.map())),
        window_(mapping_.bytes()) {
    window_.set_region_bus_base(window::BusAddress{kBusBase});
    window_.configure(window::AddressMode::kBus, window::Reach::kRegion);
    auto way = socket_pair(SOCK_SEQPACKET);
    auto sockets = socket_pair(SOCK_STREAM);
    auto channel = socket_pair(SOCK_STREAM);
    backend_.emplace(std::move(sockets[1]));
    backend_->greet();
    const std::array<int, 3> fds{sockets[0].get(), channel[0].get(), channel[1].get()};
    MUST(vfio_user::send_some(way[1].get(), vfio_user::bytes_of(std::uint32_t{0}), fds));
    way_ = std::move(way[1]);
    gateway_.emplace(context_, vhost_user::Connector(std::move(way[0])),
                     Gateway::Options{.shape = {.kind = *find_device_kind("scmi"),
                                                .queue_size = kQueueSize,
                                                .tag = {},
                                                .mac = {},
                                                .tracking = tracking}});
    MUST(gateway_->connect(std::chrono::seconds(10)));
    model_.emplace(*gateway_, ClientMemory{.window = window_, .region = region_});
    model_->attach(transport_);
    backend_->script.base = 0;
  }

  void start(std::uint16_t queues) {
    std::vector<pci::QueueSetup> setups;
    for (std::uint16_t queue = 0; queue < queues; ++queue)
      setups.push_back(setup_of(queue));
    ASSERT_TRUE(model_->start(negotiated(), setups));
    run();
  }
  [[nodiscard]] static pci::Negotiated negotiated() {
    return {.features =
                spec::feature(spec::VIRTIO_F_VERSION_1) | spec::feature(spec::VIRTIO_F_RING_RESET),
            .mode = window::AddressMode::kBus,
            .reach = window::Reach::kRegion};
  }
  [[nodiscard]] static pci::QueueSetup setup_of(std::uint16_t queue) {
    const std::uint64_t at = kBusBase + 0x1000 + std::uint64_t{queue} * 0x1000;
    return {.index = queue,
            .size = kQueueSize,
            .descriptor_area = window::DriverAddress{at},
            .driver_area = window::DriverAddress{at + 0x400},
            .device_area = window::DriverAddress{at + 0x800}};
  }
  /// The backend writes that it returned a chain: the used ring's index is 1.
  void return_chain(std::uint16_t queue) const {
    constexpr std::uint64_t kIndexOffset = 2;
    const std::uint64_t used = std::to_underlying(setup_of(queue).device_area) - kBusBase;
    mapping_.bytes().store_release<std::uint16_t>(used + kIndexOffset, 1);
  }
  /// Until nobody has anything to say any more.
  void run() {
    for (int quiet = 0; quiet < 3; ++quiet) {
      backend_->act();
      context_.restart();
      if (context_.poll() > 0) quiet = 0;
    }
  }
  std::function<void()> note(std::string what) {
    return [this, what = std::move(what)] { notes_.push_back(what); };
  }

  asio::io_context context_;
  shm::SealedMemfd region_;
  shm::Mapping mapping_;
  window::Window window_;
  SilentTransport transport_;
  std::optional<SlowBackend> backend_;
  Fd way_;
  std::optional<Gateway> gateway_;
  std::optional<GatewayModel> model_;
  std::vector<std::string> notes_;
};

using Notes = std::vector<std::string>;

// VIRTIO 1.3, 2.6.1.1.1, 2.4.1: VirtioModel has the reset of a queue end before that of the device.
TEST_F(GatewayModelTest, EndsAResetOfTheOnlyQueueBeforeOneOfTheDevice) {
  start(1);
  backend_->held = true;
  model_->reset_queue(0, note("queue"));
  model_->stop(note("device"));
  run();
  EXPECT_EQ(notes_, Notes{}) << "the backend has not given the queue back";
  backend_->held = false;
  run();
  EXPECT_EQ(notes_, (Notes{"queue", "device"}));
}

TEST_F(GatewayModelTest, EndsAResetOfOneQueueOfSeveralBeforeOneOfTheDevice) {
  start(2);
  backend_->script.base = 1;  // one chain was taken of each, and has yet to come back
  return_chain(1);
  model_->reset_queue(0, note("queue"));
  model_->stop(note("device"));
  run();
  EXPECT_EQ(notes_, Notes{}) << "queue 0 still writes";
  return_chain(0);
  while (notes_.size() < 2) {
    ASSERT_GT(context_.run_one(), 0U);
    context_.restart();
  }
  EXPECT_EQ(notes_, (Notes{"queue", "device"}));
}

// SYS-2: where it goes on the backend says, and has not yet when the region moves once more.
TEST_F(GatewayModelTest, GoesOnWhereTheBackendWasWhenTheRegionMovesTwice) {
  start(1);
  backend_->script.base = 1;
  return_chain(0);
  backend_->held = true;
  window_.set_region_bus_base(window::Window::kUnplaced);
  model_->region_moved();
  window_.set_region_bus_base(window::BusAddress{kBusBase});
  model_->region_moved();
  run();
  EXPECT_EQ(backend_->asked(spec::VHOST_USER_SET_VRING_BASE), 1) << "it has not given it back";
  backend_->held = false;
  run();
  EXPECT_EQ(backend_->asked(spec::VHOST_USER_SET_VRING_BASE), 2);
  const auto base = vfio_user::require_struct<spec::VhostUserVringState>(
      backend_->script.payloads[spec::VHOST_USER_SET_VRING_BASE]);
  EXPECT_EQ(base.num, 1U);
  // It runs, and can be stopped.
  model_->stop(note("device"));
  run();
  EXPECT_EQ(backend_->asked(spec::VHOST_USER_GET_VRING_BASE), 2);
  EXPECT_EQ(notes_, Notes{"device"});
}

// A ring's addresses mean nothing to a backend that does not know where the region is.
TEST_F(GatewayModelTest, ShowsTheRegionBeforeAQueueThatIsEnabledMeanwhile) {
  backend_->held = true;
  start(1);
  ASSERT_TRUE(model_->start_queue(negotiated(), setup_of(1)));
  run();
  EXPECT_EQ(backend_->asked(spec::VHOST_USER_SET_VRING_ADDR), 0);
  backend_->held = false;
  run();
  EXPECT_EQ(backend_->asked(spec::VHOST_USER_SET_VRING_ADDR), 2);
  const auto& requests = backend_->script.requests;
  EXPECT_LT(std::ranges::find(requests, spec::VHOST_USER_SET_MEM_TABLE),
            std::ranges::find(requests, spec::VHOST_USER_SET_VRING_ADDR));
}

// Each vector that a driver sets is a question to the backend, which is remembered.
TEST_F(GatewayModelTest, PartsWithABackendThatOwesTooManyAnswers) {
  start(1);
  backend_->held = true;
  constexpr int kMany = 20'000;
  for (int i = 0; i < kMany && gateway_->stats().losses == 0; ++i) {
    model_->vectors_changed();
    backend_->act();
    context_.restart();
    context_.poll();
  }
  EXPECT_EQ(gateway_->stats().losses, 1U);
}

class TrackedGatewayTest : public GatewayModelTest {
 protected:
  TrackedGatewayTest() : GatewayModelTest(Tracking::kGateway) {}
};

// What is not passed on to the driver would be done anew.
TEST_F(TrackedGatewayTest, PassesOnWhatCameBackUnheardBeforeTheQueuesRest) {
  const auto areas = setup_of(0);
  const auto at = [](window::DriverAddress area) { return std::to_underlying(area) - kBusBase; };
  mapping_.bytes().put(at(areas.descriptor_area),
                       spec::VirtqDesc{.addr = Le64(kBusBase + 0x8000),
                                       .len = Le32(64),
                                       .flags = Le16(spec::VIRTQ_DESC_F_WRITE),
                                       .next = {}});
  mapping_.bytes().store_release<std::uint16_t>(at(areas.driver_area) + 2, 1);
  start(1);
  ASSERT_EQ(backend_->memory.size(), 2U);
  const auto size = MUST(ring::QueueSize::from(kQueueSize));
  const shm::Mapping::Options whole{.length = TrackedQueue::area_bytes(size)};
  const auto rings = MUST(shm::Mapping::map(backend_->memory[1], whole));
  const std::uint64_t used = TrackedQueue::device_area_offset(size);
  rings.bytes().store_release<std::uint16_t>(used + 2, 1);
  backend_->script.base = 1;
  model_->pause(note("rest"));
  run();
  EXPECT_EQ(notes_, Notes{"rest"});
  EXPECT_EQ(mapping_.bytes().load_acquire<std::uint16_t>(at(areas.device_area) + 2), 1);
}

}  // namespace
}  // namespace airlock::device
