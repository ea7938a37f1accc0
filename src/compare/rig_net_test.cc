// SPDX-License-Identifier: Apache-2.0
//
// Goal: every model carries frames both ways, and shows for one what it says it does. Method: as
// rig_test.cc; the wire that the card is plugged into by itself, and the driver with a card that
// lies.
#include "compare/rig.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "compare/comparison.h"
#include "compare/models/open.h"
#include "compare/models/pool.h"
#include "compare/models/region.h"
#include "compare/models/share.h"
#include "compare/models/shared.h"
#include "compare/models/snoop.h"
#include "compare/models/viommu.h"
#include "compare/models/vmm_copy.h"
#include "compare/repeating_wire.h"
#include "compare/rig_net.h"
#include "ring/device_queue.h"
#include "spec/virtio.h"
#include "spec/virtio_net.h"
#include "testing/net_bench.h"

namespace airlock::compare {
namespace {

using backend::NetSendResult;
using testing::make_frame;

constexpr std::chrono::milliseconds kFramesFor{5};

TEST(RepeatingWire, GivesWhatWasSentLastAsOftenAsSomebodyReceives) {
  testing::NetBench bench;
  const auto wire = make_repeating_wire();
  const auto channel = MUST(wire->open_channel());
  EXPECT_TRUE(bench.receive(*channel).empty());
  EXPECT_FALSE(testing::is_readable(channel->receive_fd(), 0));
  EXPECT_EQ(bench.send(*channel, make_frame(backend::kNetFrameMin - 1)), NetSendResult::kDropped);
  EXPECT_TRUE(bench.receive(*channel).empty());
  EXPECT_EQ(bench.send(*channel, make_frame(60, 1)), NetSendResult::kSent);
  EXPECT_TRUE(testing::is_readable(channel->receive_fd()));
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(bench.receive(*channel), make_frame(60, 1));
  EXPECT_EQ(bench.send(*channel, make_frame(backend::kNetFrameMax, 2)), NetSendResult::kSent);
  EXPECT_EQ(bench.receive(*channel), make_frame(backend::kNetFrameMax, 2));
}

/// A driver over `region`, and a card that is this test.
class HandMadeCard : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kFrameAt = 0x100000;

  void SetUp() override {
    SocketPair sockets = MUST(socket_pair());
    DeviceRequest start;
    std::thread card([&] {
      while (start.kind != DeviceRequest::Kind::kStart) {
        start = MUST(receive<DeviceRequest>(sockets.second, kAnswerWithin))
        .message;
        DeviceReply reply;
        reply.features = spec::feature(spec::VIRTIO_F_VERSION_1);
        MUST(send(sockets.second, reply));
      }
    });
    DeviceLink link(std::move(sockets.first));
    driver_ = MUST(RigNet::open(*access_, link));
    card.join();
    ASSERT_EQ(start.queues, 2U);
    window_.configure(window::AddressMode::kBus, window::Reach::kRegion);
    window_.set_region_bus_base(kSharedBase);
    const ring::QueueSize size = MUST(ring::QueueSize::from(start.queue[0].size));
    received_.emplace(
        MUST(ring::DeviceQueue::create({.size = size, .areas = start.queue[0].areas}, window_)));
    std::ranges::fill(buffer_, std::byte{9});
  }
  /// Gives the card a buffer, into which it claims to have written so much; what comes of it.
  Result<std::optional<RigDriver::Done>> receive_as(std::uint32_t written) {
    MUST(driver_->submit({.buffer = buffer_}));
    driver_->kick();
    ring::Chain chain{4};
    const auto head = MUST(received_->pop(chain));
    EXPECT_EQ(chain.writable_bytes(), kHeaderBytes + buffer_.size());
    MUST(received_->push_used(*head, written));
    received_->publish();
    return driver_->poll();
  }

  static constexpr std::uint32_t kHeaderBytes = sizeof(spec::VirtioNetHdr);
  std::unique_ptr<Access> access_ = MUST(kRegion.connect({.private_bytes = 4 << 20}));
  std::span<std::byte> buffer_ = access_->private_memory().span().subspan(kFrameAt, 64);
  std::unique_ptr<RigNet> driver_;
  window::Window window_{access_->memory()};
  std::optional<ring::DeviceQueue> received_;
};

TEST_F(HandMadeCard, AWholeFrameIsTakenAndAShorterOneIsSaid) {
  EXPECT_FALSE(MUST(receive_as(kHeaderBytes + 64))->error);
  EXPECT_EQ(buffer_[63], std::byte{0});  // the pool's zeros, of which the card claims to be
  std::ranges::fill(buffer_, std::byte{9});
  const auto shorter = MUST(receive_as(kHeaderBytes + 10));
  EXPECT_EQ(shorter->error->code, Errc::kBadLength);
  EXPECT_EQ(buffer_[9], std::byte{0});
  EXPECT_EQ(buffer_[10], std::byte{9});
  EXPECT_EQ(driver_->counts().io_errors, 1U);
}

// HD-3
TEST_F(HandMadeCard, ALengthThatIsNoFramesIsRefused) {
  EXPECT_EQ(receive_as(kHeaderBytes - 1).error().code, Errc::kBadLength);
  EXPECT_EQ(buffer_[0], std::byte{9});
}

struct FrameInSight {
  const Model* model = nullptr;
  std::uint64_t received = 0;  // bytes seen of a buffer for a frame of 64
  std::uint64_t sent = 0;      // the same of a frame of 64 that is sent
  std::uint64_t after = 0;     // of that, once it is
};
void PrintTo(const FrameInSight& one, std::ostream* out) {
  *out << one.model->name;
}

std::string model_name(const ::testing::TestParamInfo<FrameInSight>& tested) {
  std::string name(tested.param.model->name);
  std::erase(name, '-');
  return name;
}

class RigNetTest : public ::testing::TestWithParam<FrameInSight> {};

// SYS-1, SYS-2, SYS-4, SYS-5, SYS-6, SYS-7, SYS-13; DT-11, HD-26.
INSTANTIATE_TEST_SUITE_P(
    Models, RigNetTest,
    ::testing::Values(
        FrameInSight{.model = &kRegion, .received = 0, .sent = 64, .after = 0},
        FrameInSight{.model = &kRegionInPlace, .received = 64, .sent = 64, .after = 64},
        FrameInSight{.model = &kPool, .received = 64, .sent = 64, .after = 64},
        FrameInSight{.model = &kShared, .received = 64, .sent = 64, .after = 64},
        FrameInSight{.model = &kShare, .received = 4096, .sent = 4096, .after = 0},
        FrameInSight{.model = &kShareBounce, .received = 0, .sent = 64, .after = 0},
        FrameInSight{.model = &kViommu, .received = 4096, .sent = 4096, .after = 0},
        FrameInSight{.model = &kViommuBounce, .received = 64, .sent = 64, .after = 64},
        FrameInSight{.model = &kVmmCopy, .received = 0, .sent = 64, .after = 0},
        FrameInSight{.model = &kSnoop, .received = 0, .sent = 64, .after = 0}),
    model_name);

TEST_P(RigNetTest, CarriesFramesBothWaysAndShowsNoMoreThanThem) {
  auto started = Rig::start(*GetParam().model, {}, Traffic::kNet);
  ASSERT_TRUE(started) << describe(started.error());
  const auto rig = std::move(*started);
  ASSERT_TRUE(rig->verify());
  const Exposure received = MUST(rig->expose(64, false));
  EXPECT_EQ(received.during.bytes, GetParam().received);
  const Exposure sent = MUST(rig->expose(64, true));
  EXPECT_EQ(sent.during.bytes, GetParam().sent);
  EXPECT_EQ(sent.during.outside_bytes, GetParam().sent > 64 ? 4096U - 64 : 0U);
  EXPECT_EQ(sent.after.bytes, GetParam().after);
  for (const BufferPlan& plan : kFramePlans) {
    for (const bool write : {true, false}) {
      const Cell cell{.request_bytes = plan.request_bytes, .write = write, .depth = 8};
      const RunResult result = MUST(rig->run(cell, kFramesFor));
      EXPECT_GE(result.requests, cell.depth);
      // None was dropped, and none was of another size.
      EXPECT_EQ(result.device_copied_bytes, result.requests * cell.request_bytes);
    }
  }
  const Seen seen = MUST(rig->scan());
  EXPECT_GT(seen.bytes, 0U);
  EXPECT_EQ(seen.outside_bytes, 0U) << "first at " << seen.first_outside;
  EXPECT_FALSE(rig->run({.request_bytes = 512}, kFramesFor));
}

TEST(RigNetOpen, ControlShowsEverything) {
  const auto rig = MUST(Rig::start(kOpen, {}, Traffic::kNet));
  ASSERT_TRUE(rig->verify());
  EXPECT_GE(MUST(rig->expose(64, true)).during.bytes, kPrivateBytes - PrivateMemory::kReserved);
  EXPECT_GT(MUST(rig->scan()).outside_bytes, kPrivateBytes / 2);
}

TEST(RigNet, EveryModelCarriesFramesButThoseThatSealRequests) {
  for (const Model* const model : all_models()) {
    EXPECT_TRUE(cannot_carry(*model, Traffic::kBlk).empty()) << model->name;
    EXPECT_EQ(cannot_carry(*model, Traffic::kNet).empty(),
              model->encryption == crypt::Algorithm::kNone)
        << model->name;
  }
}

}  // namespace
}  // namespace airlock::compare
