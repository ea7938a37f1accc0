// SPDX-License-Identifier: Apache-2.0
//
// More commands than anybody can answer, whose answers nobody reads.
#include <array>
#include <string>

#include <fmt/core.h>

#include "spec/vfio_user.h"
#include "testing/attack/attacks.h"
#include "testing/attack/search.h"

namespace airlock::testing::attack {

namespace {

// Once the client takes no more for 10 s, which is RawPeer's patience, nothing more is sent.
std::string flood(Hostile& self, std::uint16_t command, const vfio_user::Bytes& payload,
                  std::uint64_t count) {
  self.deaf = true;
  self.at_work = std::jthread([&self, command, payload, count](const std::stop_token& stop) {
    for (std::uint64_t sent = 0; sent < count && !stop.stop_requested(); sent++) {
      if (!self.peer->post(command, payload)) return;
    }
  });
  return "flooding=1";
}

// COUNT: commands that do not exist.
std::string unknown(Hostile& self, Words words) {
  return flood(self, 0x7777, {}, number(words[0]));
}

// COUNT: reads of 64 KiB of guest memory each.
std::string dma_reads(Hostile& self, Words words) {
  vfio_user::Bytes payload;
  vfio_user::append_struct(payload, std::uint64_t{0});
  vfio_user::append_struct(payload, std::uint64_t{1} << 16U);
  return flood(self, spec::VFIO_USER_DMA_READ, payload, number(words[0]));
}

constexpr std::array<Attack, 2> kFloodAttacks = {{
    {.name = "flood-unknown", .words = "COUNT", .count = 1, .run = unknown},
    {.name = "flood-dma-read", .words = "COUNT", .count = 1, .run = dma_reads},
}};

}  // namespace

std::span<const Attack> flood_attacks() {
  return kFloodAttacks;
}

}  // namespace airlock::testing::attack
