// SPDX-License-Identifier: Apache-2.0
//
// What options are made of, beyond what CLI11 has: sizes, times, shares, words. For the files that
// define options, which alone include CLI11.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <CLI/CLI.hpp>

#include "base/duration.h"
#include "base/percent.h"
#include "base/size.h"
#include "cli/outcome.h"
#include "cli/ring_features.h"

namespace airlock::cli {

/// What the command line turned out to ask for: called when all of it was parsed.
using Action = std::function<Outcome()>;

/// A size with a suffix (64M), as bytes.
inline void add_size(CLI::App& app, const std::string& name, std::uint64_t& target,
                     const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [&target, name](const std::string& text) {
           const auto bytes = parse_size(text);
           if (!bytes) {
             throw CLI::ValidationError(name, fmt::format("'{}' is no size (such as 64M)", text));
           }
           target = *bytes;
         },
         help)
      ->type_name("SIZE");
}

/// A time with a unit (50us).
inline void add_duration(CLI::App& app, const std::string& name, std::chrono::microseconds& target,
                         const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [&target, name](const std::string& text) {
           const auto time = parse_duration(text);
           if (!time) {
             throw CLI::ValidationError(name, fmt::format("'{}' is no time (such as 50us)", text));
           }
           target = *time;
         },
         help)
      ->type_name("TIME");
}

/// A share of a whole (20%), in per cent.
inline void add_percent(CLI::App& app, const std::string& name, unsigned& target,
                        const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [&target, name](const std::string& text) {
           const auto percent = parse_percent(text);
           if (!percent) {
             throw CLI::ValidationError(name,
                                        fmt::format("'{}' is no share from 0% to 100%", text));
           }
           target = *percent;
         },
         help)
      ->type_name("SHARE");
}

/// One of a few words.
template <class T>
void add_choice(CLI::App& app, const std::string& name, T& target,
                std::vector<std::pair<std::string, T>> choices, const std::string& help) {
  std::string words;
  for (const auto& [word, value] : choices)
    words += (words.empty() ? "" : "|") + word;
  app.add_option_function<std::string>(
         name,
         [&target, name, words, choices = std::move(choices)](const std::string& text) {
           for (const auto& [word, value] : choices) {
             if (word != text) continue;
             target = value;
             return;
           }
           throw CLI::ValidationError(name, fmt::format("'{}' is none of {}", text, words));
         },
         help)
      ->type_name(words);
}

/// --features: what of `target` is on or off.
inline void add_features(CLI::App& app, std::uint64_t& target, const std::string& help) {
  app.add_option_function<std::string>(
         "--features",
         [&target](const std::string& text) {
           const auto chosen = choose_ring_features(text, target);
           if (!chosen) throw CLI::ValidationError("--features", chosen.error());
           target = *chosen;
         },
         fmt::format("{}: NAME=on|off,... of {}", help, ring_feature_names()))
      ->type_name("LIST");
}

}  // namespace airlock::cli
