// SPDX-License-Identifier: Apache-2.0
//
// Goal: a device's queue hands out what the driver sealed and nothing else, and the region never
// has it in the clear. Method: honest chains, and each thing that somebody between the two could do
// to them, in both formats, both address modes and both algorithms.
#include "ring/sealed_device_queue.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <tuple>

#include "testing/sealed_pair.h"
#include "testing/state_page.h"

namespace airlock::ring {
namespace {

using crypt::Algorithm;
using testing::SealedPair;
using Bytes = SealedPair::Bytes;

constexpr std::uint32_t kTag = crypt::kTagBytes;

Bytes text(std::string_view words) {
  const auto bytes = std::as_bytes(std::span(words.data(), words.size()));
  return {bytes.begin(), bytes.end()};
}

/// Longer than what is sealed at a time.
Bytes long_text() {
  Bytes bytes(2 * crypt::QueueCipher::kPieceBytes + 100);
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(i * 31 + i / 251);
  return bytes;
}

Bytes readable(const Chain& chain) {
  Bytes bytes(chain.readable_bytes());
  MUST(chain.read(0, bytes));
  return bytes;
}

using Parameters = std::tuple<Format, window::AddressMode, Algorithm>;

class SealedDeviceQueueTest : public ::testing::TestWithParam<Parameters> {
 protected:
  /// What the device's queue says of the next chain.
  Result<std::optional<Head>> pop() { return pair_.device().pop(chain_); }
  /// The next chain is refused, with this code, and so is everything after it: ENC-9.
  void expect_refused(Errc code) {
    const auto popped = pop();
    ASSERT_FALSE(popped);
    EXPECT_EQ(popped.error().code, code);
    EXPECT_EQ(popped.error().queue, SealedPair::kQueue);
    EXPECT_EQ(pair_.device().broken(), popped.error());
    EXPECT_EQ(pop().error().code, Errc::kQueueBroken);
    EXPECT_EQ(pair_.device().rebind().error().code, Errc::kQueueBroken);
  }
  /// Returns the chain with this answer, and has the driver take it.
  Completion answer(const Bytes& bytes) {
    MUST(chain_.write(0, bytes));
    MUST(pair_.device().push_used(chain_.head(), static_cast<std::uint32_t>(bytes.size())));
    pair_.device().publish();
    return MUST(pair_.driver().poll())
    .value();
  }

  Algorithm algorithm_ = std::get<Algorithm>(GetParam());
  SealedPair pair_{{.algorithm = algorithm_,
                    .features = {.format = std::get<Format>(GetParam())},
                    .mode = std::get<window::AddressMode>(GetParam())}};
  Chain chain_;
};

std::string parameters_name(const ::testing::TestParamInfo<Parameters>& info) {
  const auto& [format, mode, algorithm] = info.param;
  return std::string(format == Format::kPacked ? "Packed" : "Split") +
         (mode == window::AddressMode::kBus ? "Bus" : "Offset") +
         (algorithm == Algorithm::kAes256Gcm ? "Gcm" : "ChaCha");
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, SealedDeviceQueueTest,
    ::testing::Combine(::testing::Values(Format::kSplit, Format::kPacked),
                       ::testing::Values(window::AddressMode::kBus, window::AddressMode::kOffset),
                       ::testing::Values(Algorithm::kAes256Gcm, Algorithm::kChaCha20Poly1305)),
    parameters_name);

// --- honest ------------------------------------------------------------------------------------

// ENC-6: the used length counts the tag.
TEST_P(SealedDeviceQueueTest, HandsOutWhatWasSealedAndSealsWhatIsAnswered) {
  const auto sealed = pair_.send(text("a request"), 10);
  ASSERT_TRUE(MUST(pop()));
  EXPECT_EQ(readable(chain_), text("a request"));
  EXPECT_EQ(chain_.writable_bytes(), 10U);
  EXPECT_EQ(pair_.device().in_flight(), 1U);
  const Completion completion = answer(text("answer"));
  EXPECT_EQ(completion.written_bytes, 6 + kTag);
  EXPECT_EQ(MUST(pair_.open(sealed, completion.written_bytes)), text("answer"));
  EXPECT_EQ(pair_.device().in_flight(), 0U);
  EXPECT_FALSE(MUST(pop()));
}

// VIRTIO 1.3, 2.7.4: how the driver cut a message into buffers means nothing, nor where its tag is.
TEST_P(SealedDeviceQueueTest, TakesMessagesHoweverTheyAreCut) {
  for (const std::uint32_t cut : {3U, 7U, 16U, 17U, 100U}) {
    const auto sealed = pair_.send(text("some forty bytes that are cut anywhere."), 40, cut);
    ASSERT_TRUE(MUST(pop())) << cut;
    EXPECT_EQ(readable(chain_), text("some forty bytes that are cut anywhere."));
    EXPECT_EQ(chain_.writable_bytes(), 40U);
    const Completion completion = answer(text("and forty bytes are the answer to them.."));
    EXPECT_EQ(MUST(pair_.open(sealed, completion.written_bytes)),
              text("and forty bytes are the answer to them.."));
  }
}

TEST_P(SealedDeviceQueueTest, TakesLongMessages) {
  const Bytes bytes = long_text();
  const auto sealed = pair_.send(bytes, static_cast<std::uint32_t>(bytes.size()), 4096);
  ASSERT_TRUE(MUST(pop()));
  EXPECT_EQ(readable(chain_), bytes);
  for (const window::SharedSpan& span : chain_.writable()) {
    // So that a disk can be read into it directly.
    if (span.size() < 512) continue;
    EXPECT_EQ(std::bit_cast<std::uintptr_t>(span.in_place().data()) % 4096, 0U);
  }
  const Completion completion = answer(bytes);
  EXPECT_EQ(MUST(pair_.open(sealed, completion.written_bytes)), bytes);
}

// A part may be missing; one that is there is authenticated even if it says nothing.
TEST_P(SealedDeviceQueueTest, TakesChainsOfOnePart) {
  pair_.send(text("only to the device"), std::nullopt);
  ASSERT_TRUE(MUST(pop()));
  EXPECT_EQ(readable(chain_), text("only to the device"));
  EXPECT_EQ(chain_.writable_bytes(), 0U);
  EXPECT_EQ(answer({}).written_bytes, 0U);

  const auto sealed = pair_.send({}, 100);
  ASSERT_TRUE(MUST(pop()));
  EXPECT_TRUE(chain_.readable().empty());
  EXPECT_EQ(answer({}).written_bytes, kTag);
  EXPECT_EQ(MUST(pair_.open(sealed, kTag)), Bytes());
}

// ENC-8: an answer has the counter of its request, whenever it comes.
TEST_P(SealedDeviceQueueTest, AnswersInAnyOrder) {
  const auto first = pair_.send(text("first"), 6);
  const auto second = pair_.send(text("second"), 6);
  Chain other;
  ASSERT_TRUE(MUST(pop()));
  ASSERT_TRUE(MUST(pair_.device().pop(other)));
  MUST(other.write(0, text("II")));
  MUST(pair_.device().push_used(other.head(), 2));
  pair_.device().publish();
  EXPECT_EQ(MUST(pair_.driver().poll()).value().cookie, second.chain.counter);
  EXPECT_EQ(MUST(pair_.open(second, 2 + kTag)), text("II"));
  EXPECT_EQ(answer(text("I")).cookie, first.chain.counter);
  EXPECT_EQ(MUST(pair_.open(first, 1 + kTag)), text("I"));
}

// ENC-11, with the twin that finds it: the same bytes without encryption.
TEST_P(SealedDeviceQueueTest, KeepsTheRegionFreeOfPlaintext) {
  const Bytes canary = text("a canary that nobody else may see");
  pair_.send(canary, static_cast<std::uint32_t>(canary.size()));
  EXPECT_EQ(pair_.count(canary), 0U);
  ASSERT_TRUE(MUST(pop()));
  EXPECT_EQ(readable(chain_), canary);
  (void)answer(canary);
  EXPECT_EQ(pair_.count(canary), 0U);
  pair_.region().bytes().copy_in(500'000, canary);
  EXPECT_EQ(pair_.count(canary), 1U);
}

// --- what somebody in between could do: ENC-7 to ENC-9 -------------------------------------------

TEST_P(SealedDeviceQueueTest, RefusesWhateverWasChanged) {
  const auto sealed = pair_.send(text("pay 10 to Bob"), 10);
  pair_.flip(sealed.readable.offset, 4);
  expect_refused(Errc::kNotAuthentic);
}

TEST_P(SealedDeviceQueueTest, RefusesAChangedTag) {
  const auto sealed = pair_.send(text("pay 10 to Bob"), 10);
  pair_.flip(sealed.readable.offset, 13);
  expect_refused(Errc::kNotAuthentic);
}

TEST_P(SealedDeviceQueueTest, RefusesACutMessage) {
  auto sealed = pair_.seal(text("do not"), 10);
  sealed.readable.length--;
  pair_.submit(sealed);
  expect_refused(Errc::kNotAuthentic);
}

// Less room for an answer than the driver gave would be a shorter read.
TEST_P(SealedDeviceQueueTest, RefusesAnAnswerThatWasMadeSmaller) {
  auto sealed = pair_.seal(text("read"), 10);
  sealed.writable.length--;
  pair_.submit(sealed);
  expect_refused(Errc::kNotAuthentic);
}

TEST_P(SealedDeviceQueueTest, RefusesAnotherOrder) {
  const auto first = pair_.seal(text("delete"), 10);
  const auto second = pair_.seal(text("create"), 10);
  pair_.submit(second);
  pair_.submit(first);
  expect_refused(Errc::kNotAuthentic);
}

TEST_P(SealedDeviceQueueTest, RefusesWhatWasThereBefore) {
  const auto sealed = pair_.send(text("pay 10 to Bob"), 10);
  ASSERT_TRUE(MUST(pop()));
  (void)answer(text("paid"));
  pair_.submit(sealed);  // again, byte by byte
  expect_refused(Errc::kNotAuthentic);
}

TEST_P(SealedDeviceQueueTest, RefusesWhatComesAfterOneThatWasKeptBack) {
  (void)pair_.seal(text("first"), 10);
  pair_.send(text("second"), 10);
  expect_refused(Errc::kNotAuthentic);
}

// ENC-5: not the key that the driver seals with.
TEST_P(SealedDeviceQueueTest, RefusesAnotherKey) {
  ring::QueueConfig config = pair_.config();
  config.secret = SealedPair::secret(algorithm_, 9);
  pair_.device() = MUST(DeviceQueue::create(config, pair_.region().window()));
  pair_.send(text("hello"), 10);
  expect_refused(Errc::kNotAuthentic);
  EXPECT_NE(describe(*pair_.device().broken()).find("different keys"), std::string::npos);
}

TEST_P(SealedDeviceQueueTest, RefusesPartsThatHaveNoRoomForATag) {
  auto sealed = pair_.seal(text("x"), 10);
  sealed.readable.length = kTag;
  pair_.submit(sealed);
  expect_refused(Errc::kTooSmall);
}

TEST_P(SealedDeviceQueueTest, RefusesAnAnswerThatHasNoRoomForATag) {
  auto sealed = pair_.seal(text("x"), 10);
  sealed.writable.length = kTag - 1;
  pair_.submit(sealed);
  expect_refused(Errc::kTooSmall);
}

// Buffers that overlap could make one chain more memory than a process has.
TEST_P(SealedDeviceQueueTest, RefusesMoreThanTheRegionHas) {
  auto sealed = pair_.seal(text("x"), 10);
  sealed.readable = {.offset = window::RegionOffset{4096}, .length = 1'000'000};
  sealed.writable = sealed.readable;
  pair_.submit(sealed);
  expect_refused(Errc::kChainTooBig);
}

// --- what the driver finds -----------------------------------------------------------------------

class SealedAnswers : public SealedDeviceQueueTest {
 protected:
  void expect_not_authentic(const SealedPair::Sealed& sealed, std::uint32_t written) {
    const auto opened = pair_.open(sealed, written);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Errc::kNotAuthentic);
    EXPECT_EQ(opened.error().address, sealed.chain.counter);
  }
};

INSTANTIATE_TEST_SUITE_P(Kinds, SealedAnswers,
                         ::testing::Combine(::testing::Values(Format::kSplit, Format::kPacked),
                                            ::testing::Values(window::AddressMode::kOffset),
                                            ::testing::Values(Algorithm::kAes256Gcm,
                                                              Algorithm::kChaCha20Poly1305)),
                         parameters_name);

// ENC-7, ENC-9: changed, cut, another's.
TEST_P(SealedAnswers, AreWhatTheDeviceSealedOrNothing) {
  const auto first = pair_.send(text("first"), 4);
  const auto second = pair_.send(text("second"), 4);
  ASSERT_TRUE(MUST(pop()));
  EXPECT_EQ(answer(text("1111")).written_bytes, 4 + kTag);
  ASSERT_TRUE(MUST(pop()));
  EXPECT_EQ(answer(text("2222")).written_bytes, 4 + kTag);

  EXPECT_EQ(MUST(pair_.open(first, 4 + kTag)), text("1111"));
  expect_not_authentic(first, 3 + kTag);
  expect_not_authentic(first, kTag);
  Bytes bytes(4 + kTag);
  pair_.region().bytes().copy_out(std::to_underlying(second.writable.offset), bytes);
  pair_.region().bytes().copy_in(std::to_underlying(first.writable.offset), bytes);
  expect_not_authentic(first, 4 + kTag);
  EXPECT_EQ(MUST(pair_.open(second, 4 + kTag)), text("2222"));
  pair_.flip(second.writable.offset, 3);
  expect_not_authentic(second, 4 + kTag);
}

// --- life ----------------------------------------------------------------------------------------

// SYS-9, ENC-5: a process that takes another's place has no counters to go on from.
TEST(SealedDeviceQueue, DoesNotGoOnFromARecord) {
  SealedPair pair{{}};
  testing::StatePage page;
  QueueConfig config = pair.config();
  config.record = page.record();
  ASSERT_TRUE(DeviceQueue::create(config, pair.region().window()));
  const auto again = DeviceQueue::create(config, pair.region().window());
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error(), (Error{.code = Errc::kWrongState, .queue = SealedPair::kQueue}));
}

TEST(SpareMemory, IsUsedAgainAndBounded) {
  SpareMemory spare;
  PrivateMemory first = spare.take(10'000);
  const auto* const where = first.bytes().data();
  spare.give(std::move(first));
  PrivateMemory again = spare.take(9'000);
  EXPECT_EQ(again.bytes().data(), where);
  EXPECT_GE(again.bytes().size(), 9'000U);
  spare.give(std::move(again));
  const PrivateMemory larger = spare.take(100'000);
  EXPECT_EQ(larger.bytes().size(), 100'000U);
  spare.give(PrivateMemory(std::size_t{17} << 20));  // more than is kept
  EXPECT_EQ(spare.take(1).bytes().size(), 1U);
}

}  // namespace
}  // namespace airlock::ring
