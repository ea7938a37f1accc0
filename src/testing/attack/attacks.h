// SPDX-License-Identifier: Apache-2.0
//
// Every way in that a device server has, tried one at a time. What came of it is said by whoever
// tried: the bytes that it got hold of, or what it did.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "testing/attack/hostile.h"

namespace airlock::testing::attack {

/// The words of an order after its name.
using Words = std::span<const std::string>;

struct Attack {
  std::string_view name;
  std::string_view words;  // that it wants, for --list
  std::size_t count;       // of them
  /// Tries it. Returns what came of it as words `key=value`; the key `got` is guest memory.
  std::string (*run)(Hostile& self, Words words);
};

/// All of them.
std::vector<Attack> all_attacks();

// By channel, each in a file of its own.
std::span<const Attack> memory_attacks();
std::span<const Attack> reply_attacks();
std::span<const Attack> region_attacks();
std::span<const Attack> interrupt_attacks();
std::span<const Attack> flood_attacks();
std::span<const Attack> process_attacks();

}  // namespace airlock::testing::attack
