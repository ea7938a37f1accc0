// SPDX-License-Identifier: Apache-2.0
//
// Goal: what holds for every message: VERSION first, framing, fds, no-reply, replies in order.
// Method: bytes and fds go into a MessageReader and a Session, replies come out; no socket.
#include "vfio_user/session.h"

#include <cerrno>

#include "vfio_user/session_fixture.h"

namespace airlock::vfio_user {
namespace {

// A session that has not agreed on a version.
class FreshSessionTest : public SessionTest {
 protected:
  void SetUp() override {}
};

// --- VERSION. VFIO_USER 1.3 -------------------------------------------------------------------

TEST_F(FreshSessionTest, AnswersEveryMinorWithZeroAndInAtMost214Bytes) {
  const Answer answer = send_version(0, 2, R"({"capabilities":{"max_msg_fds":1}})");
  EXPECT_EQ(answer.error(), 0U);
  EXPECT_EQ(answer.as<spec::VfioUserVersion>().minor, 0);
  EXPECT_LE(answer.header.message_size, 214U);
  const auto said = MUST(parse_version(answer.payload));
  EXPECT_EQ(said.capabilities.max_msg_fds, 8U);
  EXPECT_EQ(said.capabilities.max_data_xfer_size, 65536U);
  EXPECT_EQ(handler_.take_calls(), Calls{"connected"});
}

TEST(SessionVersion, ReplyFitsQemusBufferForTheLargestNumbers) {
  Bytes bytes;
  append_version(bytes,
                 {.capabilities = {.max_msg_fds = UINT64_MAX, .max_data_xfer_size = UINT64_MAX}});
  EXPECT_LE(16 + bytes.size(), kMaxVersionReply);
}

TEST_F(FreshSessionTest, TakesAVersionWithoutJsonAsSpdkSendsIt) {
  EXPECT_EQ(send_version(0, 1, "").error(), 0U);
}

TEST_F(FreshSessionTest, RefusesAnotherMajorAndStaysForABetterTry) {
  EXPECT_EQ(send_version(1, 0, "").error(), EINVAL);
  EXPECT_FALSE(handler_.is_connected);
  EXPECT_EQ(send_version(0, 0, "").error(), 0U);
  EXPECT_TRUE(handler_.is_connected);
}

TEST_F(FreshSessionTest, RefusesVersionsThatAreNone) {
  EXPECT_EQ(send(spec::VFIO_USER_VERSION, Bytes(3)).error(), EINVAL);
  EXPECT_EQ(send_version(0, 0, "{").error(), EINVAL);
  EXPECT_EQ(send_version(0, 0, "[]").error(), EINVAL);
  EXPECT_EQ(send_version(0, 0, R"({"capabilities":[]})").error(), EINVAL);
  EXPECT_EQ(send_version(0, 0, R"({"capabilities":{"max_msg_fds":-1}})").error(), EINVAL);
  EXPECT_EQ(send_version(0, 0, R"({"capabilities":{"max_data_xfer_size":"x"}})").error(), EINVAL);
  EXPECT_EQ(send_version(0, 0, std::string(5000, ' ') + "{}").error(), E2BIG);
  EXPECT_EQ(send_version(0, 0, std::string(4000, '[')).error(), EINVAL);
  Bytes unterminated = bytes_of(spec::VfioUserVersion{.major = 0, .minor = 0});
  unterminated.push_back(std::byte{'{'});
  unterminated.push_back(std::byte{'}'});
  EXPECT_EQ(send(spec::VFIO_USER_VERSION, unterminated).error(), EINVAL);
  EXPECT_FALSE(handler_.is_connected);
}

TEST_F(FreshSessionTest, RefusesEverythingBeforeVersion) {
  EXPECT_EQ(read(0, 0, 4).error(), EINVAL);
  EXPECT_EQ(send(spec::VFIO_USER_DEVICE_RESET, {}).error(), EINVAL);
  EXPECT_TRUE(handler_.take_calls().empty());
}

TEST_F(SessionTest, RefusesASecondVersion) {
  EXPECT_EQ(send_version(0, 0, "").error(), EINVAL);
}

// --- Framing. VFIO_USER 1.1 -------------------------------------------------------------------

TEST_F(SessionTest, PutsAMessageTogetherFromSingleBytes) {
  Bytes bytes = bytes_of(spec::VfioUserHeader{.message_id = ++id_,
                                              .command = spec::VFIO_USER_REGION_READ,
                                              .message_size = 32,
                                              .flags = 0,
                                              .error = 0});
  append_struct(bytes, spec::VfioUserRegionAccess{.offset = 0, .region = 0, .count = 8});
  ASSERT_TRUE(feed(bytes, {}, 1).has_value());
  EXPECT_EQ(take().payload.size(), 24U);
}

TEST_F(SessionTest, LosesTheStreamOnSizesThatNoMessageHas) {
  for (const std::uint32_t size : {0U, 15U, 32 + 65536 + 1U, UINT32_MAX}) {
    reader_ = MessageReader(session_.limits());
    const Bytes bytes = bytes_of(spec::VfioUserHeader{
        .message_id = 1, .command = 9, .message_size = size, .flags = 0, .error = 0});
    const auto result = feed(bytes, {});
    ASSERT_FALSE(result.has_value()) << size;
    EXPECT_EQ(result.error().code, Errc::kMalformed);
  }
}

TEST_F(SessionTest, TakesTheLargestWriteThereIs) {
  // Past the end of the region, but well framed.
  EXPECT_EQ(write(0, 0, 65536).error(), EINVAL);
  EXPECT_EQ(read(0, 0, 4).error(), 0U);
}

TEST_F(SessionTest, EchoesIdsThatRepeat) {
  for (int i = 0; i < 3; ++i) {
    id_ = 6;  // post() makes it 7
    EXPECT_EQ(read(0, 0, 1).header.message_id, 7);
  }
}

TEST_F(SessionTest, RefusesRepliesAndUnknownTypesAndKeepsTheConnection) {
  for (const std::uint32_t flags : {1U, 2U, 0xfU, 0x20U, 0x80000000U}) {
    post(spec::VFIO_USER_DEVICE_GET_INFO,
         bytes_of(
             spec::VfioUserDeviceInfo{.argsz = 16, .flags = 0, .num_regions = 0, .num_irqs = 0}),
         flags);
    EXPECT_EQ(take().error(), EINVAL) << flags;
  }
  EXPECT_EQ(read(0, 0, 4).error(), 0U);
}

TEST_F(SessionTest, RefusesWhatItDoesNotDo) {
  const Bytes payload(16);
  EXPECT_EQ(send(spec::VFIO_USER_REGION_WRITE_MULTI, payload).error(), EOPNOTSUPP);
  EXPECT_EQ(send(spec::VFIO_USER_DIRTY_PAGES, payload).error(), EOPNOTSUPP);
  EXPECT_EQ(send(spec::VFIO_USER_DEVICE_FEATURE, payload).error(), ENOTTY);
  EXPECT_EQ(send(spec::VFIO_USER_MIG_DATA_READ, payload).error(), EOPNOTSUPP);
  EXPECT_EQ(send(spec::VFIO_USER_MIG_DATA_WRITE, payload).error(), EOPNOTSUPP);
  for (const std::uint16_t unknown : {std::uint16_t{0}, std::uint16_t{19}, std::uint16_t{65535}}) {
    EXPECT_EQ(send(unknown, payload).error(), EINVAL);
  }
  EXPECT_TRUE(calls().empty());
  EXPECT_EQ(read(0, 0, 4).error(), 0U);
}

// VFIO_USER 1.13: only a server sends these.
TEST_F(SessionTest, RefusesDmaAccessesFromAClient) {
  EXPECT_EQ(send(spec::VFIO_USER_DMA_READ, Bytes(16)).error(), EINVAL);
  EXPECT_EQ(send(spec::VFIO_USER_DMA_WRITE, Bytes(24)).error(), EINVAL);
  EXPECT_TRUE(calls().empty());
}

// VFIO_USER 1.1: with no-reply set nothing at all may be sent, not even an error.
TEST_F(SessionTest, AnswersNothingToAMessageThatWantsNoReply) {
  constexpr std::uint32_t kNoReply = spec::VFIO_USER_F_NO_REPLY;
  post(spec::VFIO_USER_REGION_WRITE, write_payload(0, 0, 4, 4), kNoReply);
  post(spec::VFIO_USER_REGION_WRITE, write_payload(0, 9999, 4, 4), kNoReply);
  post(spec::VFIO_USER_REGION_READ,
       bytes_of(spec::VfioUserRegionAccess{.offset = 0, .region = 0, .count = 4}), kNoReply);
  post(spec::VFIO_USER_DEVICE_RESET, {}, kNoReply);
  post(spec::VFIO_USER_DMA_MAP,
       bytes_of(
           spec::VfioUserDmaMap{.argsz = 32, .flags = 3, .offset = 0, .address = 0, .size = 4096}),
       kNoReply);
  handler_.failure = Error{.code = Errc::kIoError};
  post(spec::VFIO_USER_DEVICE_RESET, {}, kNoReply);
  post(999, {}, kNoReply);
  EXPECT_FALSE(session_.take_reply().has_value());
  EXPECT_EQ(calls(),
            (Calls{"write 0 0x0 4", "read 0 0x0 4", "reset", "map 0x0 0x1000 rw", "reset"}));
}

// --- File descriptors -------------------------------------------------------------------------

TEST_F(SessionTest, ClosesFdsOnCommandsThatTakeNone) {
  const auto before = open_fds();
  for (std::uint16_t command = 1; command < 20; ++command) {
    if (command == spec::VFIO_USER_DMA_MAP || command == spec::VFIO_USER_DEVICE_SET_IRQS) continue;
    EXPECT_NE(send(command, Bytes(32), some_eventfds(1)).error(), 0U) << command;
  }
  EXPECT_EQ(open_fds(), before);
  EXPECT_TRUE(calls().empty());
}

TEST_F(SessionTest, ClosesAllFdsOfAMessageWithTooMany) {
  const auto before = open_fds();
  for (const std::uint32_t count : {9U, 17U}) {
    EXPECT_EQ(set_irqs(kEventfdTrigger, kMsix, 0, count, some_eventfds(count)), EINVAL);
  }
  EXPECT_EQ(open_fds(), before);
  EXPECT_TRUE(handler_.eventfds.empty());
  // The same without too many.
  EXPECT_EQ(set_irqs(kEventfdTrigger, kMsix, 0, 8, some_eventfds(8)), 0U);
  EXPECT_EQ(handler_.eventfds.size(), 8U);
}

TEST_F(SessionTest, RefusesAMessageOfWhichTheKernelDroppedFds) {
  const Bytes bytes = bytes_of(spec::VfioUserHeader{.message_id = 1,
                                                    .command = spec::VFIO_USER_DEVICE_RESET,
                                                    .message_size = 16,
                                                    .flags = 0,
                                                    .error = 0});
  std::ranges::copy(bytes, reader_.target().begin());
  ASSERT_TRUE(reader_.advance(bytes.size(), {}, true).has_value());
  id_ = 1;
  session_.handle(reader_.take());
  EXPECT_EQ(take().error(), EINVAL);
  EXPECT_EQ(send(spec::VFIO_USER_DEVICE_RESET, {}).error(), 0U);  // the next one is unharmed
}

// --- RESET, and replies that come later -------------------------------------------------------

TEST_F(SessionTest, Resets) {
  const Answer answer = send(spec::VFIO_USER_DEVICE_RESET, {});
  EXPECT_EQ(answer.error(), 0U);
  EXPECT_TRUE(answer.payload.empty());
  EXPECT_EQ(send(spec::VFIO_USER_DEVICE_RESET, Bytes(4)).error(), EINVAL);
  EXPECT_EQ(calls(), Calls{"reset"});
  EXPECT_EQ(settled_, 0);  // answered at once, so nobody waits
}

TEST_F(SessionTest, AnswersLaterWhatTheHandlerHoldsBack) {
  handler_.hold = true;
  post(spec::VFIO_USER_DMA_UNMAP, bytes_of(spec::VfioUserDmaUnmap{
                                      .argsz = 24, .flags = 0, .address = 0x1000, .size = 0x1000}));
  EXPECT_TRUE(session_.pending());
  EXPECT_FALSE(session_.take_reply().has_value());
  handler_.held.front()({});
  EXPECT_EQ(settled_, 1);
  EXPECT_FALSE(session_.pending());
  EXPECT_EQ(take().payload.size(), 24U);
  handler_.held.front()({});  // a second answer is none
  EXPECT_FALSE(session_.take_reply().has_value());
}

TEST_F(SessionTest, AnswersForAHandlerThatDropsItsReply) {
  handler_.hold = true;
  post(spec::VFIO_USER_DEVICE_RESET, {});
  handler_.held.clear();
  EXPECT_EQ(settled_, 1);
  EXPECT_EQ(take().error(), EIO);
}

TEST_F(SessionTest, ForgetsItsClientOnceAndStillAwaitsTheReply) {
  handler_.hold = true;
  post(spec::VFIO_USER_DEVICE_RESET, {});
  session_.close();
  session_.close();
  EXPECT_TRUE(session_.pending());
  EXPECT_EQ(calls(), (Calls{"reset", "disconnected"}));
  handler_.held.clear();
  EXPECT_FALSE(session_.pending());
  EXPECT_EQ(settled_, 1);
  EXPECT_FALSE(session_.take_reply().has_value());
}

TEST(SessionLife, RepliesMayOutliveTheSession) {
  RecordingHandler handler;
  handler.hold = true;
  {
    Session session(handler, {}, [] {});
    Message version;
    version.header = {.message_id = 1,
                      .command = spec::VFIO_USER_VERSION,
                      .message_size = 20,
                      .flags = 0,
                      .error = 0};
    version.payload = Bytes(4);
    session.handle(std::move(version));
    Message reset;
    reset.header = {.message_id = 2,
                    .command = spec::VFIO_USER_DEVICE_RESET,
                    .message_size = 16,
                    .flags = 0,
                    .error = 0};
    session.handle(std::move(reset));
  }
  EXPECT_EQ(handler.take_calls(), (Calls{"connected", "reset", "disconnected"}));
  handler.held.front()({});
}

TEST(SessionLife, TellsNothingOfAClientThatNeverAgreedOnAVersion) {
  RecordingHandler handler;
  {
    const Session session(handler, {}, [] {});
  }
  EXPECT_TRUE(handler.calls.empty());
}

}  // namespace
}  // namespace airlock::vfio_user
