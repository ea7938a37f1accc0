// SPDX-License-Identifier: Apache-2.0
#include "cli/options_serve.h"

namespace airlock::cli {

void add_serve_rng(CLI::App& serve, Action& action, ServeRngOptions& options) {
  CLI::App& app = *serve.add_subcommand("rng", "Random numbers: those of this machine's kernel");
  add_serve_options(app, options.serve);
  add_size(app, "--max-bytes", options.max_bytes,
           "give out no more than this in a period (no limit)");
  app.add_option("--period", options.period_ms, "how long a period is, in milliseconds (65536)")
      ->check(CLI::Range(1U, 3'600'000U))
      ->type_name("MS");
  app.footer(
      "example:\n"
      "  airlock serve rng --socket /run/rng.sock --max-bytes 1K --period 1000\n"
      "  qemu-system-x86_64 -m 2G ... -device "
      "'{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"/run/"
      "rng.sock\"}}'");
  app.callback([&] { action = [&] { return serve_rng(options); }; });
}

}  // namespace airlock::cli
