// SPDX-License-Identifier: Apache-2.0
#include "ring/chain.h"

#include <algorithm>

#include "core/range.h"

namespace airlock::ring {

namespace {

using Spans = std::span<const window::SharedSpan>;

Error out_of_range(std::uint32_t offset, std::uint64_t length) {
  return {
      .code = Errc::kOutOfRange, .detail = static_cast<std::uint32_t>(length), .address = offset};
}

// Calls visit(span, offset in it, length) for each piece of bytes [offset, offset + length), which
// the caller has checked to be there.
template <class Visit>
void for_each_piece(Spans spans, std::uint64_t offset, std::uint64_t length, const Visit& visit) {
  for (const window::SharedSpan& span : spans) {
    if (length == 0) return;
    if (offset >= span.size()) {
      offset -= span.size();
      continue;
    }
    const std::uint64_t piece = std::min(length, span.size() - offset);
    visit(span, offset, piece);
    length -= piece;
    offset = 0;
  }
  CHECK(length == 0);
}

Result<void> append(Spans spans, Chain::Part part, std::uint32_t limit,
                    std::vector<shm::SharedBytes>& target) {
  if (!airlock_range_within(part.offset, part.length, limit)) {
    return fail(out_of_range(part.offset, part.length));
  }
  for_each_piece(spans, part.offset, part.length,
                 [&](const window::SharedSpan& span, std::uint64_t at, std::uint64_t piece) {
                   target.push_back(MUST(span.slice(at, piece)));
                 });
  return {};
}

}  // namespace

Result<void> Chain::read(std::uint32_t offset, std::span<std::byte> target) const {
  if (!airlock_range_within(offset, target.size(), readable_bytes_)) {
    return fail(out_of_range(offset, target.size()));
  }
  for_each_piece(readable(), offset, target.size(),
                 [&](const window::SharedSpan& span, std::uint64_t at, std::uint64_t piece) {
                   span.copy_out(at, target.first(piece));
                   target = target.subspan(piece);
                 });
  return {};
}

Result<void> Chain::write(std::uint32_t offset, std::span<const std::byte> source) const {
  if (!airlock_range_within(offset, source.size(), writable_bytes_)) {
    return fail(out_of_range(offset, source.size()));
  }
  for_each_piece(writable(), offset, source.size(),
                 [&](const window::SharedSpan& span, std::uint64_t at, std::uint64_t piece) {
                   span.copy_in(at, source.first(piece));
                   source = source.subspan(piece);
                 });
  return {};
}

Result<void> Chain::append_readable(Part part, std::vector<shm::SharedBytes>& target) const {
  return append(readable(), part, readable_bytes_, target);
}

Result<void> Chain::append_writable(Part part, std::vector<shm::SharedBytes>& target) const {
  return append(writable(), part, writable_bytes_, target);
}

}  // namespace airlock::ring
