// SPDX-License-Identifier: Apache-2.0
//
// Goal: what a front end says to a backend, in which order; and that whatever a backend answers
// that is not what was asked for is an error, with nothing believed of it. Method: a scripted
// backend, honest or not, without sockets.
#include "vhost_user/front_end.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include "vhost_user/scripted_backend.h"

namespace airlock::vhost_user {
namespace {

using Requests = std::vector<std::uint32_t>;

class FrontEndTest : public testing::Test {
 protected:
  Result<void> greet() {
    front_end_.greet(60, Fd(eventfd(0, EFD_CLOEXEC)), [this](const Facts& facts) -> Result<void> {
      facts_ = facts;
      return {};
    });
    return backend_.answer_all(dialogue_);
  }
  // The answers to one request are changed.
  void lie(std::uint32_t request, std::function<void(Message&)> change) {
    backend_.on_answer = [request, change = std::move(change)](Message& answer) {
      if (answer.header.request == request) change(answer);
    };
  }
  Errc error_of(const Result<void>& result) { return result ? Errc::kSystem : result.error().code; }

  ScriptedBackend backend_;
  Dialogue dialogue_;
  FrontEnd front_end_{dialogue_};
  std::optional<Facts> facts_;
};

TEST_F(FrontEndTest, GreetsAndLearnsWhatTheBackendIs) {
  backend_.config[3] = std::byte{9};
  ASSERT_TRUE(greet());
  ASSERT_TRUE(facts_);
  EXPECT_EQ(facts_->features, backend_.features);
  EXPECT_EQ(facts_->protocol, backend_.protocol);
  EXPECT_EQ(facts_->queues_max, 2U);
  EXPECT_EQ(facts_->config, backend_.config);
  EXPECT_EQ(backend_.requests,
            (Requests{spec::VHOST_USER_GET_FEATURES, spec::VHOST_USER_GET_PROTOCOL_FEATURES,
                      spec::VHOST_USER_SET_PROTOCOL_FEATURES, spec::VHOST_USER_SET_OWNER,
                      spec::VHOST_USER_SET_BACKEND_REQ_FD, spec::VHOST_USER_GET_QUEUE_NUM,
                      spec::VHOST_USER_GET_CONFIG, spec::VHOST_USER_GET_FEATURES}));
  EXPECT_FALSE(dialogue_.awaiting());
}

TEST_F(FrontEndTest, SpeaksThePlainProtocolWithABackendThatHasNoOther) {
  backend_.features = spec::feature(spec::VIRTIO_F_VERSION_1);
  ASSERT_TRUE(greet());
  EXPECT_EQ(backend_.requests,
            (Requests{spec::VHOST_USER_GET_FEATURES, spec::VHOST_USER_SET_OWNER}));
  front_end_.enable(0, true);  // nothing: such rings are enabled when they start
  ASSERT_TRUE(backend_.answer_all(dialogue_));
  EXPECT_EQ(backend_.requests.size(), 2U);
}

TEST_F(FrontEndTest, TakesNoProtocolFeatureThatItDoesNotKnow) {
  backend_.protocol = ~std::uint64_t{0};
  ASSERT_TRUE(greet());
  const auto chosen = vfio_user::require_struct<std::uint64_t>(
      backend_.payloads[spec::VHOST_USER_SET_PROTOCOL_FEATURES]);
  EXPECT_EQ(chosen, facts_->protocol);
  EXPECT_EQ(chosen & spec::feature(11), 0U);  // host notifiers: memory of the backend's in the VM
  EXPECT_EQ(chosen & spec::feature(8), 0U);   // page faults handed to us
  EXPECT_EQ(chosen & spec::feature(18), 0U);  // shared objects
}

TEST_F(FrontEndTest, SendsRegionsWithTheirFds) {
  ASSERT_TRUE(greet());
  std::vector<Region> regions(1);
  regions[0] = {.guest_address = 0x1000000,
                .size = 65536,
                .user_address = 1,
                .file = Fd(eventfd(0, EFD_CLOEXEC))};
  front_end_.set_regions(std::move(regions));
  ASSERT_TRUE(backend_.answer_all(dialogue_));
  const auto& payload = backend_.payloads[spec::VHOST_USER_SET_MEM_TABLE];
  ASSERT_EQ(payload.size(), 40U);
  EXPECT_EQ(vfio_user::require_struct<spec::VhostUserMemory>(payload).region_count, 1U);
  const auto region = vfio_user::require_struct<spec::VhostUserMemoryRegion>(payload, 8);
  EXPECT_EQ(region.guest_address, 0x1000000U);
  EXPECT_EQ(region.size, 65536U);
  EXPECT_EQ(region.mmap_offset, 0U);
  EXPECT_EQ(backend_.fds[spec::VHOST_USER_SET_MEM_TABLE], 1U);
}

TEST_F(FrontEndTest, StartsARingFromItsBaseAndStopsIt) {
  ASSERT_TRUE(greet());
  backend_.requests.clear();
  front_end_.set_ring({.index = 1, .size = 64, .base = 5, .descriptor_area = 16}, Fd(eventfd(0, 0)),
                      Fd());
  front_end_.enable(1, true);
  std::uint32_t base = 0;
  front_end_.stop_ring(1, [&base](std::uint32_t found) { base = found; });
  ASSERT_TRUE(backend_.answer_all(dialogue_));
  EXPECT_EQ(backend_.requests,
            (Requests{spec::VHOST_USER_SET_VRING_NUM, spec::VHOST_USER_SET_VRING_BASE,
                      spec::VHOST_USER_SET_VRING_ADDR, spec::VHOST_USER_SET_VRING_CALL,
                      spec::VHOST_USER_SET_VRING_KICK, spec::VHOST_USER_SET_VRING_ENABLE,
                      spec::VHOST_USER_GET_VRING_BASE}));
  EXPECT_EQ(base, 7U);
  // Without an fd the message says so.
  EXPECT_EQ(
      vfio_user::require_struct<std::uint64_t>(backend_.payloads[spec::VHOST_USER_SET_VRING_CALL]),
      1U | spec::VHOST_USER_VRING_NOFD_MASK);
}

TEST_F(FrontEndTest, KeepsInflightMemoryForTheNextBackend) {
  ASSERT_TRUE(greet());
  Inflight kept;
  front_end_.get_inflight(2, 64, [&kept](Inflight inflight) { kept = std::move(inflight); });
  ASSERT_TRUE(backend_.answer_all(dialogue_));
  ASSERT_TRUE(kept.fd);
  EXPECT_EQ(kept.shape.mmap_size, 4096U);
  EXPECT_EQ(kept.shape.num_queues, 2U);
  front_end_.set_inflight(kept.shape, std::move(kept.fd));
  ASSERT_TRUE(backend_.answer_all(dialogue_));
  EXPECT_EQ(backend_.fds[spec::VHOST_USER_SET_INFLIGHT_FD], 1U);
}

// --- twins that reject ---

TEST_F(FrontEndTest, RefusesAnAnswerToAnotherRequest) {
  lie(spec::VHOST_USER_GET_QUEUE_NUM, [](Message& answer) { answer.header.request = 99; });
  EXPECT_EQ(error_of(greet()), Errc::kMalformed);
  EXPECT_FALSE(facts_);
}

TEST_F(FrontEndTest, RefusesAnAnswerThatNobodyAskedFor) {
  ASSERT_TRUE(greet());
  Message more{.header = {.request = spec::VHOST_USER_GET_FEATURES,
                          .flags = spec::VHOST_USER_VERSION | spec::VHOST_USER_F_REPLY,
                          .size = 8},
               .payload = std::vector<std::byte>(8),
               .fds = {}};
  EXPECT_EQ(error_of(dialogue_.receive(std::move(more))), Errc::kMalformed);
}

TEST_F(FrontEndTest, RefusesARequestWhereAnAnswerBelongs) {
  lie(spec::VHOST_USER_GET_FEATURES,
      [](Message& answer) { answer.header.flags = spec::VHOST_USER_VERSION; });
  EXPECT_EQ(error_of(greet()), Errc::kMalformed);
}

TEST_F(FrontEndTest, RefusesAnswersOfAnotherSize) {
  for (const std::uint32_t request :
       {spec::VHOST_USER_GET_FEATURES, spec::VHOST_USER_GET_PROTOCOL_FEATURES,
        spec::VHOST_USER_GET_QUEUE_NUM, spec::VHOST_USER_GET_CONFIG, spec::VHOST_USER_SET_OWNER}) {
    for (const int by : {-1, 1}) {
      Dialogue dialogue;
      FrontEnd front_end(dialogue);
      ScriptedBackend backend;
      backend.on_answer = [request, by](Message& answer) {
        if (answer.header.request == request) {
          answer.payload.resize(static_cast<std::size_t>(std::ssize(answer.payload) + by));
        }
      };
      front_end.greet(60, Fd(eventfd(0, 0)), [](const Facts&) -> Result<void> { return {}; });
      EXPECT_EQ(error_of(backend.answer_all(dialogue)), Errc::kMalformed) << request << " " << by;
    }
  }
}

TEST_F(FrontEndTest, RefusesFdsThatItDidNotAskFor) {
  lie(spec::VHOST_USER_GET_FEATURES,
      [](Message& answer) { answer.fds.emplace_back(eventfd(0, EFD_CLOEXEC)); });
  EXPECT_EQ(error_of(greet()), Errc::kMalformed);
}

TEST_F(FrontEndTest, TakesARefusalForTheEnd) {
  ASSERT_TRUE(greet());
  backend_.acknowledgement = 1;
  front_end_.set_features(0);
  const auto refused = backend_.answer_all(dialogue_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(),
            (Error{.code = Errc::kUnsupported, .detail = spec::VHOST_USER_SET_FEATURES}));
}

TEST_F(FrontEndTest, RefusesAnotherRingsBase) {
  ASSERT_TRUE(greet());
  lie(spec::VHOST_USER_GET_VRING_BASE, [](Message& answer) {
    answer.payload = vfio_user::bytes_of(spec::VhostUserVringState{.index = 0, .num = 1});
  });
  front_end_.stop_ring(1, [](std::uint32_t) { FAIL(); });
  EXPECT_EQ(error_of(backend_.answer_all(dialogue_)), Errc::kBadIndex);
}

TEST_F(FrontEndTest, RefusesInflightMemoryThatIsNone) {
  ASSERT_TRUE(greet());
  const auto try_with = [this](std::function<void(Message&)> change) {
    lie(spec::VHOST_USER_GET_INFLIGHT_FD, std::move(change));
    front_end_.get_inflight(2, 64, [](Inflight) { FAIL(); });
    return error_of(backend_.answer_all(dialogue_));
  };
  EXPECT_EQ(try_with([](Message& answer) { answer.fds.clear(); }), Errc::kMalformed);
  EXPECT_EQ(try_with([](Message& answer) {
              answer.fds.clear();
              answer.fds.emplace_back(eventfd(0, EFD_CLOEXEC));
            }),
            Errc::kMalformed);
  for (const std::uint64_t size : {std::uint64_t{0}, ~std::uint64_t{0}}) {
    EXPECT_EQ(try_with([size](Message& answer) {
                auto shape = vfio_user::require_struct<spec::VhostUserInflight>(answer.payload);
                shape.mmap_size = size;
                answer.payload = vfio_user::bytes_of(shape);
              }),
              Errc::kTooLarge);
  }
}

TEST_F(FrontEndTest, RefusesAHeaderThatNoMessageHas) {
  for (const spec::VhostUserHeader header :
       {spec::VhostUserHeader{.request = 1, .flags = 5, .size = kPayloadMax + 1},
        spec::VhostUserHeader{.request = 1, .flags = 4, .size = 8},
        spec::VhostUserHeader{.request = 1, .flags = 6, .size = 8}}) {
    MessageReader reader;
    const auto bytes = vfio_user::bytes_of(header);
    std::ranges::copy(bytes, reader.target().begin());
    EXPECT_EQ(error_of(reader.advance(bytes.size(), {})), Errc::kMalformed);
  }
}

}  // namespace
}  // namespace airlock::vhost_user
