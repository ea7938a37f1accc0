// SPDX-License-Identifier: Apache-2.0
#include "compare/rig_sealer.h"

#include <algorithm>
#include <array>

namespace airlock::compare {

static_assert(RigSealer::kStatusAt + RigSealer::kStatusBytes + RigSealer::kTag <=
              RigSealer::kFrameBytes);

Result<crypt::SealedChain> RigSealer::seal(const Place& place,
                                           const spec::VirtioBlkReqHeader& header,
                                           std::span<const std::byte> source,
                                           std::size_t target_bytes) {
  const auto length = static_cast<std::uint32_t>(sizeof header + source.size());
  const auto answer = static_cast<std::uint32_t>(target_bytes + kStatusBytes);
  const crypt::SealedChain chain = TRY(cipher_.next_chain(length + kTag, answer + kTag));
  cipher_.begin_seal(chain, length);
  cipher_.seal(std::as_bytes(std::span(&header, 1)), memory_, place.frame);
  cipher_.seal(source, memory_, place.data);
  memory_.copy_in(place.frame + kTagAt, cipher_.finish_seal());
  data_bytes_ += source.size();
  return chain;
}

Result<std::uint8_t> RigSealer::open(const crypt::SealedChain& chain, const Place& place,
                                     std::uint32_t written, std::span<std::byte> target) {
  // An answer fills what there is for it: one that was cut is not what was sealed.
  const bool whole = written == chain.writable;
  cipher_.begin_open(chain, chain.writable - kTag);
  cipher_.open(memory_, place.data, target);
  std::array<std::byte, kStatusBytes> status{};
  cipher_.open(memory_, place.frame + kStatusAt, status);
  crypt::Tag tag{};
  memory_.copy_out(place.frame + kStatusAt + kStatusBytes, tag);
  const auto opened = cipher_.finish_open(tag);
  data_bytes_ += target.size();
  if (opened && whole) return std::to_integer<std::uint8_t>(status[0]);
  std::ranges::fill(target, std::byte{0});
  return fail({.code = Errc::kNotAuthentic, .address = chain.counter});
}

}  // namespace airlock::compare
