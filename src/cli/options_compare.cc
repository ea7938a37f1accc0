// SPDX-License-Identifier: Apache-2.0
#include "cli/options_compare.h"

#include "base/log.h"

namespace airlock::cli {

void add_compare(CLI::App& app, Action& action, CompareOptions& options) {
  app.preparse_callback([](std::size_t) { set_log_level(LogLevel::kWarning); });
  auto* const models = app.add_option("--models", options.models, "these only (all)")
                           ->delimiter(',')
                           ->type_name("NAME,NAME");
  app.add_option("--workload", options.workload,
                 "what goes through each of them: blk, a disk's requests; net, frames (blk)")
      ->type_name("NAME");
  add_duration(app, "--time", options.time, "how long all loads take together (60s)");
  auto* const list =
      app.add_flag("--list", options.list, "print the models, and what keeps the device in");
  auto* const json = app.add_flag("--json", options.json, "print JSON");
  auto* const page =
      app.add_option("--html", options.page, "write a page with plots to FILE, and print no table")
          ->type_name("FILE")
          ->excludes(json)
          ->excludes(list);
  app.add_option("--from", options.from, "run nothing: a page of what --json printed to FILE")
      ->type_name("FILE")
      ->needs(page)
      ->excludes(models);
  app.footer(
      "example:\n"
      "  airlock compare\n"
      "  airlock compare --models region,share,open --time 10s --json\n"
      "  airlock compare --workload net --html compare.html\n"
      "  airlock compare --from saved.json --html compare.html");
  app.callback([&] { action = [&] { return compare_models(options); }; });
}

}  // namespace airlock::cli
