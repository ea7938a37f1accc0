// SPDX-License-Identifier: Apache-2.0
#include "cli/options_compare.h"

#include "base/log.h"

namespace airlock::cli {

void add_compare(CLI::App& app, Action& action, CompareOptions& options) {
  app.preparse_callback([](std::size_t) { set_log_level(LogLevel::kWarning); });
  app.add_option("--models", options.models, "these only (all)")
      ->delimiter(',')
      ->type_name("NAME,NAME");
  app.add_option("--workload", options.workload, "what is done through each of them: blk (blk)")
      ->type_name("NAME");
  add_duration(app, "--time", options.time, "how long all loads take together (60s)");
  app.add_flag("--list", options.list, "print the models, and what keeps the device in");
  app.add_flag("--json", options.json, "print JSON");
  app.footer(
      "example:\n"
      "  airlock compare\n"
      "  airlock compare --models region,share,open --time 10s --json");
  app.callback([&] { action = [&] { return compare_models(options); }; });
}

}  // namespace airlock::cli
