// SPDX-License-Identifier: Apache-2.0
//
// Goal: whatever a driver that has the key seals, and however it lies about it, a device's
// encrypted queue breaks at most; what it hands out is what was sealed, and its own checks (CHECK)
// hold. Method: the input says what is sealed, how it is cut, what of it is changed, moved and sent
// again, and what the device does with what it gets.
#include <fuzzer/FuzzedDataProvider.h>

#include <vector>

#include "testing/sealed_pair.h"

namespace airlock::ring {
namespace {

using testing::SealedPair;

constexpr std::uint32_t kMessageMost = 3000;

class Session {
 public:
  explicit Session(FuzzedDataProvider& data)
      : data_(data),
        pair_({.algorithm = data.ConsumeBool() ? crypt::Algorithm::kAes256Gcm
                                               : crypt::Algorithm::kChaCha20Poly1305,
               .features = {.format = data.ConsumeBool() ? Format::kPacked : Format::kSplit}}) {}

  void run() {
    while (data_.remaining_bytes() > 0 && !pair_.device().broken()) {
      const std::uint64_t mark = pair_.region().mark();
      const bool honest = send();
      if (!serve(honest)) return;
      if (pair_.region().free_bytes() < std::uint64_t{4} * kMessageMost) {
        pair_.region().free_to(mark);
      }
    }
  }

 private:
  /// Whether it is what was sealed, and comes next.
  bool send() {
    plain_ = data_.ConsumeBytes<std::byte>(data_.ConsumeIntegralInRange<std::size_t>(0, 64));
    plain_.resize(plain_.size() * data_.ConsumeIntegralInRange<std::size_t>(1, 40));
    std::optional<std::uint32_t> answer;
    if (plain_.empty() || data_.ConsumeBool()) {
      answer = data_.ConsumeIntegralInRange<std::uint32_t>(0, kMessageMost);
    }
    auto sealed = pair_.seal(plain_, answer);
    bool honest = true;
    if (data_.ConsumeIntegralInRange(0, 7) == 0) honest = !lie(sealed);
    const auto cut = data_.ConsumeIntegralInRange<std::uint32_t>(150, 4000);
    pair_.submit(sealed, cut);
    answer_room_ = answer.value_or(0);
    sent_ = sealed;
    return honest;
  }

  /// Changes something about it, if there is anything to change.
  bool lie(SealedPair::Sealed& sealed) {
    switch (data_.ConsumeIntegralInRange(0, 3)) {
      case 0:
        if (sealed.readable.length == 0) return false;
        pair_.flip(sealed.readable.offset,
                   data_.ConsumeIntegralInRange<std::uint64_t>(0, sealed.readable.length - 1));
        return true;
      case 1:
        return cut(sealed.readable);
      case 2:
        // Nothing is authenticated of a chain that is for answers alone.
        return cut(sealed.writable) && sealed.readable.length != 0;
      default:
        if (sent_.readable.length == 0) return false;
        sealed = sent_;
        return true;
    }
  }
  bool cut(Buffer& buffer) {
    if (buffer.length < 2) return false;
    buffer.length = data_.ConsumeIntegralInRange<std::uint32_t>(1, buffer.length - 1);
    return true;
  }

  /// The device's turn; false: it is over.
  bool serve(bool honest) {
    Chain chain;
    const auto popped = pair_.device().pop(chain);
    if (!popped) {
      CHECK(pair_.device().broken());
      return false;
    }
    CHECK(*popped && honest);
    SealedPair::Bytes read(chain.readable_bytes());
    MUST(chain.read(0, read));
    CHECK(read == plain_ && chain.writable_bytes() <= answer_room_);
    const auto written = data_.ConsumeIntegralInRange<std::uint32_t>(0, chain.writable_bytes());
    const SealedPair::Bytes answer(written, std::byte{0x5a});
    MUST(chain.write(0, answer));
    MUST(pair_.device().push_used(chain.head(), written));
    pair_.device().publish();
    const auto completion = MUST(pair_.driver().poll());
    CHECK(completion.has_value());
    if (sent_.writable.length == 0) return true;
    sent_.chain.writable = sent_.writable.length;
    const auto opened = pair_.open(sent_, completion->written_bytes);
    CHECK(opened && *opened == answer);
    return true;
  }

  FuzzedDataProvider& data_;
  SealedPair pair_;
  SealedPair::Bytes plain_;
  SealedPair::Sealed sent_;
  std::uint32_t answer_room_ = 0;
};

}  // namespace
}  // namespace airlock::ring

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  FuzzedDataProvider data(bytes, size);
  airlock::ring::Session(data).run();
  return 0;
}
