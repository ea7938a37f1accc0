// SPDX-License-Identifier: Apache-2.0
//
// Goal: whatever happens to backends, every request of a driver is answered, none is done twice
// that must not be, and files that the next backend does not know are stale and not others. Method:
// chains as a driver makes them, a backend's replies, and backends that accept a session or not.
#include "device/gateway/fuse_watch.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "ring/split_device_queue.h"
#include "spec/fuse.h"
#include "testing/chain_builder.h"
#include "wire/message.h"

namespace airlock::device {
namespace {

constexpr std::uint64_t kUnique = 0x1234567890;

class FuseWatchTest : public ::testing::Test {
 protected:
  // A request of the driver's that is in flight.
  struct Asked {
    testing::BuiltChain built;
    ring::Chain chain;
    std::optional<std::uint32_t> answered;  // by the watch
  };

  Asked ask(std::uint32_t opcode, std::uint64_t node, std::span<const std::byte> body = {},
            std::uint32_t room = 512) {
    spec::FuseInHeader header{};
    header.opcode.set(opcode);
    header.unique.set(kUnique);
    header.nodeid.set(node);
    testing::ChainBuilder builder(driver_);
    builder.readable_struct(header);
    if (!body.empty()) builder.readable(body);
    if (room > 16) builder.writable(10).writable(room - 10);
    Asked asked{.built = builder.submit(), .chain = ring::Chain(), .answered = std::nullopt};
    EXPECT_TRUE(MUST(queue_.pop(asked.chain)));
    asked.answered = watch_.taken(1, asked.chain);
    return asked;
  }
  Asked ask(std::uint32_t opcode, std::uint64_t node, const std::string& name) {
    return ask(opcode, node, std::as_bytes(std::span(name.c_str(), name.size() + 1)));
  }
  // The backend's reply; what the driver reads.
  int reply(const Asked& asked, int error, std::span<const std::byte> body = {}) {
    std::vector<std::byte> bytes = header_of(error);
    bytes.insert(bytes.end(), body.begin(), body.end());
    MUST(asked.chain.write(0, bytes));
    watch_.returned(1, head(asked), static_cast<std::uint32_t>(bytes.size()));
    MUST(queue_.push_used(asked.chain.head(), 0));
    return told(asked);
  }
  static std::vector<std::byte> header_of(int error) {
    spec::FuseOutHeader header{};
    header.len.set(sizeof header);
    header.error.set(static_cast<std::uint32_t>(-error));
    header.unique.set(kUnique);
    return vfio_user::bytes_of(header);
  }
  static std::uint16_t head(const Asked& asked) { return std::to_underlying(asked.chain.head()); }
  static int told(const Asked& asked) {
    const auto header = vfio_user::require_struct<spec::FuseOutHeader>(asked.built.written());
    EXPECT_EQ(header.unique.get(), kUnique);
    return -static_cast<int>(header.error.get());
  }
  std::optional<std::uint32_t> again(const Asked& asked, bool seen = true) {
    return watch_.again(1, head(asked), seen);
  }
  void mount(std::uint64_t agreed = 0) {
    spec::FuseInitOut out{};
    out.flags.set(static_cast<std::uint32_t>(agreed));
    EXPECT_EQ(reply(ask(spec::FUSE_INIT, 0), 0, vfio_user::bytes_of(out)), 0);
  }
  void find(const std::string& name, std::uint64_t node) {
    spec::FuseEntryOut out{};
    out.nodeid.set(node);
    EXPECT_EQ(reply(ask(spec::FUSE_LOOKUP, 1, name), 0, vfio_user::bytes_of(out)), 0);
  }
  // Another backend, which takes what it is told after so many refusals.
  bool come_back(unsigned refusals = 0) {
    watch_.backend_lost();
    for (; watch_.has_to_tell() && watch_.to_tell(); --refusals) {
      if (refusals == 0) {
        watch_.accepted();
        return true;
      }
      watch_.refused();
    }
    watch_.give_up();
    return false;
  }

  testing::TestRegion region_{{.mode = window::AddressMode::kBus}};
  testing::FakeDriver driver_{region_, 64, 1};
  ring::SplitDeviceQueue queue_ =
      MUST(ring::SplitDeviceQueue::create(driver_.config(), region_.window()));
  FuseWatch watch_{2};
};

TEST_F(FuseWatchTest, HasNothingToTellBeforeAMountAndAfterIt) {
  watch_.backend_lost();
  EXPECT_FALSE(watch_.has_to_tell());
  mount();
  EXPECT_FALSE(watch_.has_to_tell());
  watch_.backend_lost();
  EXPECT_TRUE(watch_.has_to_tell());
  EXPECT_TRUE(watch_.to_tell());
  watch_.accepted();
  EXPECT_FALSE(watch_.has_to_tell());
  const Asked destroy = ask(spec::FUSE_DESTROY, 0);
  watch_.returned(1, head(destroy), 0);  // virtiofsd's answer has no bytes
  watch_.backend_lost();
  EXPECT_FALSE(watch_.has_to_tell());
}

// What was told is known, what could not be is stale: a driver looks for its name anew.
TEST_F(FuseWatchTest, SaysThatFilesAreStaleThatTheNextBackendDoesNotKnow) {
  mount();
  find("a", 2);
  EXPECT_EQ(reply(ask(spec::FUSE_LOOKUP, 2, "x"), EBADF), EBADF);
  ASSERT_TRUE(come_back());
  EXPECT_EQ(reply(ask(spec::FUSE_LOOKUP, 2, "x"), EBADF), EBADF);  // it knows 2: that is an answer
  EXPECT_EQ(reply(ask(spec::FUSE_LOOKUP, 3, "x"), EBADF), ESTALE);
  EXPECT_EQ(reply(ask(spec::FUSE_LOOKUP, 3, "x"), ENOENT), ENOENT);
  ASSERT_TRUE(come_back(2));  // only the root
  EXPECT_EQ(reply(ask(spec::FUSE_LOOKUP, 2, "x"), EBADF), ESTALE);
  EXPECT_EQ(reply(ask(spec::FUSE_LOOKUP, 1, "x"), EBADF), EBADF);
  find("a", 4);
  ASSERT_TRUE(come_back());
  EXPECT_EQ(reply(ask(spec::FUSE_LOOKUP, 4, "x"), EBADF), EBADF);
}

TEST_F(FuseWatchTest, TriesLessEachTimeThenEndsTheSession) {
  mount();
  const auto waiting = ask(spec::FUSE_LOOKUP, 1, "a");
  const auto forget = ask(spec::FUSE_FORGET, 2, vfio_user::bytes_of(spec::FuseForgetIn{}), 0);
  EXPECT_FALSE(come_back(3));
  // Every request has an answer, those that were in flight and those that come.
  EXPECT_EQ(again(waiting), 16U);
  EXPECT_EQ(told(waiting), ENOTCONN);
  EXPECT_EQ(again(forget), 0U);
  const auto late = ask(spec::FUSE_LOOKUP, 1, "a");
  EXPECT_EQ(late.answered, 16U);
  EXPECT_EQ(told(late), ENOTCONN);
  EXPECT_EQ(ask(spec::FUSE_FORGET, 2, {}, 0).answered, 0U);
  // A new mount is a new session.
  const auto init = ask(spec::FUSE_INIT, 0);
  EXPECT_FALSE(init.answered);
  EXPECT_FALSE(again(init));
  EXPECT_EQ(reply(init, 0, vfio_user::bytes_of(spec::FuseInitOut{})), 0);
  EXPECT_FALSE(ask(spec::FUSE_LOOKUP, 1, "a").answered);
  EXPECT_TRUE(come_back());
}

// A backend that dies of what it is told is not told it for ever; one that is killed is.
TEST_F(FuseWatchTest, TellsLessWhenBackendsDieOfIt) {
  mount();
  find("a", 2);
  const auto all = watch_.to_tell();
  watch_.backend_lost();
  EXPECT_EQ(watch_.to_tell(), all);
  watch_.backend_lost();
  EXPECT_EQ(watch_.to_tell(), all);
  watch_.backend_lost();
  EXPECT_NE(watch_.to_tell(), all);
  watch_.accepted();
  EXPECT_EQ(reply(ask(spec::FUSE_LOOKUP, 2, "x"), EBADF), ESTALE);
}

TEST_F(FuseWatchTest, HandsOnNoSessionThatVirtiofsdsStreamLeavesHalfOut) {
  mount(1U << spec::FUSE_SETXATTR_EXT);
  EXPECT_FALSE(come_back());
  watch_.reset();
  EXPECT_FALSE(ask(spec::FUSE_LOOKUP, 1, "a").answered);
  mount();
  EXPECT_TRUE(come_back());
}

// Done by the backend that died or not: the driver is told that it is done, once.
TEST_F(FuseWatchTest, TakesWhatIsGoneAlreadyForDone) {
  mount();
  find("a", 2);
  const auto first = ask(spec::FUSE_UNLINK, 1, "a");
  const auto second = ask(spec::FUSE_UNLINK, 1, "b");
  const auto unseen = ask(spec::FUSE_RMDIR, 1, "c");
  ASSERT_TRUE(come_back());
  EXPECT_FALSE(again(first));
  EXPECT_FALSE(again(second));
  EXPECT_FALSE(again(unseen, false));  // no backend had it
  EXPECT_EQ(reply(first, ENOENT), 0);
  EXPECT_EQ(reply(second, EACCES), EACCES);
  EXPECT_EQ(reply(unseen, ENOENT), ENOENT);
  EXPECT_EQ(reply(ask(spec::FUSE_UNLINK, 1, "b"), ENOENT), ENOENT);
}

TEST_F(FuseWatchTest, RepeatsNoWriteAtTheEndAndNoExchange) {
  mount();
  find("a", 2);
  spec::FuseWriteIn write{};
  const auto plain = ask(spec::FUSE_WRITE, 2, vfio_user::bytes_of(write));
  write.flags.set(O_WRONLY | O_APPEND);
  const auto append = ask(spec::FUSE_WRITE, 2, vfio_user::bytes_of(write));
  const auto unseen = ask(spec::FUSE_WRITE, 2, vfio_user::bytes_of(write));
  spec::FuseRename2In rename{};
  rename.newdir.set(1);
  rename.flags.set(2);
  auto names = vfio_user::bytes_of(rename);
  for (const char name : {'a', '\0', 'b', '\0'})
    names.push_back(static_cast<std::byte>(name));
  const auto exchange = ask(spec::FUSE_RENAME2, 1, names);
  ASSERT_TRUE(come_back());
  EXPECT_FALSE(again(plain));
  EXPECT_FALSE(again(unseen, false));
  EXPECT_EQ(again(append), 16U);
  EXPECT_EQ(told(append), EIO);
  EXPECT_EQ(again(exchange), 16U);
  EXPECT_EQ(told(exchange), EIO);
}

// A driver's nonsense is the backend's to judge, and leaves nothing here.
TEST_F(FuseWatchTest, PassesOnWhatItCannotRead) {
  mount();
  for (const std::uint32_t opcode : {1U, 2U, 6U, 8U, 9U, 11U, 12U, 13U, 14U, 16U, 18U, 35U, 42U,
                                     44U, 45U, 51U, 0U, 0xffffffffU}) {
    const auto cut = ask(opcode, 1, std::array{std::byte{'a'}, std::byte{'b'}});
    EXPECT_FALSE(cut.answered);
    EXPECT_EQ(reply(cut, opcode % 2 == 0 ? EINVAL : 0), opcode % 2 == 0 ? EINVAL : 0);
  }
  EXPECT_TRUE(come_back());
}

}  // namespace
}  // namespace airlock::device
