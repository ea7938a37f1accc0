// SPDX-License-Identifier: Apache-2.0
//
// Goal: whatever a peer sends, in whatever pieces, the parser hands out the frames of a plain model
// and nothing else, and always has room for more. Method: the input is cut into pieces, and each
// frame is compared with what a parser that has all of it at once finds.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend/net/stream_parser.h"

namespace airlock::backend {
namespace {

std::size_t length_at(std::span<const std::byte> stream) {
  std::size_t length = 0;
  for (const std::byte byte : stream.first(kStreamPrefixBytes))
    length = length * 256 + std::to_integer<std::size_t>(byte);
  return length;
}

// Takes the frames that are there; false: the stream is of no use any more.
bool take_frames(StreamParser& parser, std::span<const std::byte>& model) {
  for (;;) {
    const auto frame = parser.next();
    if (!frame) {
      CHECK(frame.error().code == Errc::kBadLength && length_at(model) > kNetFrameMax);
      return false;
    }
    if (!*frame) return true;
    CHECK(length_at(model) == (*frame)->size());
    model = model.subspan(kStreamPrefixBytes);
    CHECK(std::ranges::equal(**frame, model.first((*frame)->size())));
    model = model.subspan((*frame)->size());
  }
}

// A stream whose lengths are mostly right, so that there is something behind them.
std::vector<std::byte> make_stream(FuzzedDataProvider& data) {
  std::vector<std::byte> stream;
  for (int i = data.ConsumeIntegralInRange(0, 12); i > 0; --i) {
    const bool lies = data.ConsumeIntegral<std::uint8_t>() >= 0xf8;
    const auto length = lies ? data.ConsumeIntegral<std::uint32_t>()
                             : data.ConsumeIntegralInRange<std::uint32_t>(0, kNetFrameMax);
    for (unsigned shift = 32; shift > 0; shift -= 8)
      stream.push_back(std::byte(length >> (shift - 8) & 0xff));
    const auto sent = lies ? 64 : length;
    for (std::uint32_t at = 0; at < sent; ++at)
      stream.push_back(std::byte(at * 7 + length));
  }
  return stream;
}

void run(FuzzedDataProvider& data) {
  const std::vector<std::byte> stream = make_stream(data);
  std::span<const std::byte> model = stream;
  std::span<const std::byte> unsent = stream;
  StreamParser parser;
  while (!unsent.empty()) {
    const std::span<std::byte> room = parser.room();
    CHECK(!room.empty());
    const std::size_t most = std::min(room.size(), unsent.size());
    const std::size_t count =
        data.remaining_bytes() == 0 ? most : data.ConsumeIntegralInRange<std::size_t>(1, most);
    std::ranges::copy(unsent.first(count), room.begin());
    parser.came(count);
    unsent = unsent.subspan(count);
    if (!take_frames(parser, model)) return;
  }
  CHECK(model.size() < kStreamPrefixBytes || length_at(model) > model.size() - kStreamPrefixBytes);
}

}  // namespace
}  // namespace airlock::backend

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  FuzzedDataProvider data(bytes, size);
  airlock::backend::run(data);
  return 0;
}
