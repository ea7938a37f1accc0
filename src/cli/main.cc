// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <exception>

#include <fmt/core.h>

#include "cli/options.h"

// What libraries throw (memory that can't be had, limits) is still one line for the person.
int main(int argc, char** argv) try {
  const auto outcome = airlock::cli::run_command_line(argc, argv);
  if (outcome) return 0;
  fmt::print(stderr, "{}\n", outcome.error().line());
  return outcome.error().status;
} catch (const std::exception& error) {
  fmt::print(stderr, "airlock: unexpected failure: {}: see the limits of this machine\n",
             error.what());
  return 1;
}
