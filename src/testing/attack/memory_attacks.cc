// SPDX-License-Identifier: Apache-2.0
//
// Guest memory by what vfio-user has for it: the descriptors that come with DMA_MAP, and the
// commands DMA_READ and DMA_WRITE.
#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <string>

#include <fmt/core.h>

#include "shm/mapping.h"
#include "spec/vfio_user.h"
#include "testing/attack/attacks.h"
#include "testing/attack/search.h"

namespace airlock::testing::attack {

namespace {

using vfio_user::Bytes;

// QEMU allows 1 MiB, but of 512 KiB not all arrives.
constexpr std::uint64_t kDmaPiece = std::uint64_t{64} << 10U;

// What a device that was offered nothing asks for: where a small guest has its memory, and where
// added memory goes.
constexpr std::array<vfio_user::DmaRange, 2> kGuesses = {{
    {.address = 0, .size = std::uint64_t{64} << 20U},
    {.address = std::uint64_t{4} << 30U, .size = std::uint64_t{64} << 20U},
}};

/// Payload of DMA_READ and DMA_WRITE, both ways. VFIO_USER 1.13.
struct DmaAccess {
  std::uint64_t address;  // +0
  std::uint64_t count;    // +8   bytes
};

std::span<const std::byte> bytes_of_text(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// MARK: looks for it in every descriptor of memory.
std::string map_read(Hostile& self, Words words) {
  std::size_t fds = 0;
  std::string last = "none";
  for (const GreedyEndpoint::Offer& offer : self.endpoint.offers()) {
    if (!offer.fd) continue;
    fds++;
    const auto found = search_file(offer.fd, words[0]);
    if (!found) {
      last = describe(found.error());
    } else if (!found->empty()) {
      return fmt::format("offers={} fds={} got={}", self.endpoint.offers().size(), fds, *found);
    }
  }
  return fmt::format("offers={} fds={} error={}", self.endpoint.offers().size(), fds, last);
}

Result<void> write_file(const GreedyEndpoint::Offer& offer, std::uint64_t address,
                        const std::string& text) {
  const std::uint64_t at = offer.range.file_offset + (address - offer.range.address);
  const auto mapping = TRY(shm::Mapping::map(offer.fd, {.length = file_size(offer.fd)}));
  TRY(mapping.bytes().slice(at, text.size()))
  .copy_in(0, bytes_of_text(text));
  return {};
}

// ADDRESS TEXT: writes it there, by the descriptor of that memory.
std::string map_write(Hostile& self, Words words) {
  const std::uint64_t address = number(words[0]);
  std::string last = "none";
  for (const GreedyEndpoint::Offer& offer : self.endpoint.offers()) {
    const bool inside = address >= offer.range.address &&
                        address - offer.range.address < offer.range.size && offer.fd;
    if (!inside) continue;
    const auto written = write_file(offer, address, words[1]);
    if (written) return "written=1";
    last = describe(written.error());
  }
  return fmt::format("written=0 error={}", last);
}

// The errno of a reply; 0: it went well; -1: there is none.
int outcome(const std::optional<vfio_user::Message>& reply) {
  if (!reply) return -1;
  const bool failed = (reply->header.flags & spec::VFIO_USER_F_ERROR) != 0;
  return failed ? static_cast<int>(reply->header.error) : 0;
}

// MARK: asks for all memory that was offered, or that there might be, and looks for it.
std::string dma_read(Hostile& self, Words words) {
  std::vector<vfio_user::DmaRange> ranges;
  for (const GreedyEndpoint::Offer& offer : self.endpoint.offers())
    ranges.push_back(offer.range);
  if (ranges.empty()) ranges.assign(kGuesses.begin(), kGuesses.end());
  std::size_t asked = 0;
  std::size_t answered = 0;
  int last = 0;
  for (const vfio_user::DmaRange& range : ranges) {
    for (std::uint64_t at = 0; at < range.size && self.peer; at += kDmaPiece) {
      const DmaAccess access = {.address = range.address + at,
                                .count = std::min(kDmaPiece, range.size - at)};
      const auto reply = self.peer->ask(spec::VFIO_USER_DMA_READ, vfio_user::bytes_of(access));
      asked++;
      last = outcome(reply);
      if (!reply) break;
      if (last != 0) continue;
      answered++;
      const std::string found = find_marked(reply->payload, words[0]);
      if (!found.empty()) {
        return fmt::format("asked={} answered={} got={}", asked, answered, found);
      }
    }
  }
  return fmt::format("asked={} answered={} errno={}", asked, answered, last);
}

// ADDRESS TEXT: has it written there.
std::string dma_write(Hostile& self, Words words) {
  Bytes payload =
      vfio_user::bytes_of(DmaAccess{.address = number(words[0]), .count = words[1].size()});
  const auto text = bytes_of_text(words[1]);
  payload.insert(payload.end(), text.begin(), text.end());
  return fmt::format("errno={}", outcome(self.peer->ask(spec::VFIO_USER_DMA_WRITE, payload)));
}

constexpr std::array<Attack, 4> kMemoryAttacks = {{
    {.name = "map-read", .words = "MARK", .count = 1, .run = map_read},
    {.name = "map-write", .words = "ADDRESS TEXT", .count = 2, .run = map_write},
    {.name = "dma-read", .words = "MARK", .count = 1, .run = dma_read},
    {.name = "dma-write", .words = "ADDRESS TEXT", .count = 2, .run = dma_write},
}};

}  // namespace

std::span<const Attack> memory_attacks() {
  return kMemoryAttacks;
}

}  // namespace airlock::testing::attack
