// SPDX-License-Identifier: Apache-2.0
#include "cli/options_serve.h"

namespace airlock::cli {

void add_serve_console(CLI::App& serve, Action& action, ServeConsoleOptions& options) {
  CLI::App& app =
      *serve.add_subcommand("console", "A console, and other ports between guest and host");
  app.add_option("--backend", options.backend,
                 "the console's other end: stdio, pty[:LINK], file:PATH or socket:PATH")
      ->type_name("BACKEND");
  app.add_option("--port", options.ports,
                 "instead, and once for each port: its name in the guest and its backend; the "
                 "first is the console")
      ->type_name("NAME=BACKEND")
      ->take_all();
  add_serve_options(app, options.serve);
  app.footer(
      "example:\n"
      "  airlock serve console --socket /run/console.sock --backend pty:/run/console\n"
      "  airlock serve console --socket /run/console.sock --port console=stdio "
      "--port org.qemu.guest_agent.0=socket:/run/agent.sock\n"
      "  qemu-system-x86_64 -m 2G ... -append console=hvc0 -device "
      "'{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"/run/"
      "console.sock\"}}'");
  app.callback([&] { action = [&] { return serve_console(options); }; });
}

}  // namespace airlock::cli
