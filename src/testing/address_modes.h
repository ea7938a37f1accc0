// SPDX-License-Identifier: Apache-2.0
//
// Tests that are run once in each address mode:
//     INSTANTIATE_TEST_SUITE_P(Modes, MyTest, testing::address_modes(), testing::mode_name);
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "window/window.h"

namespace airlock::testing {

inline auto address_modes() {
  return ::testing::Values(window::AddressMode::kBus, window::AddressMode::kOffset);
}

inline std::string mode_name(const ::testing::TestParamInfo<window::AddressMode>& mode) {
  return mode.param == window::AddressMode::kBus ? "Bus" : "Offset";
}

}  // namespace airlock::testing
