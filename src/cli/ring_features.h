// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace airlock::cli {

/// Every feature that --features can name, as a mask: those of rings and of their transport that
/// device and driver have. VIRTIO 1.3, 6.
std::uint64_t ring_features_known();

/// Their names as --features has them, for help and for errors: "packed, indirect, ...".
std::string ring_feature_names();

/// What `text` ("packed=off,event_idx=on") makes of `features`: only what it names changes, the
/// last word on a feature counts. Errors: why it can't be read, for a person; the names are listed.
std::expected<std::uint64_t, std::string> choose_ring_features(std::string_view text,
                                                               std::uint64_t features);

/// The names of those in `features`, but for the ring's format: "packed" or "split" is said of that
/// elsewhere.
std::vector<std::string> names_of_ring_features(std::uint64_t features);

}  // namespace airlock::cli
