// SPDX-License-Identifier: Apache-2.0
#include "cli/options_dt.h"

#include "base/address.h"

namespace airlock::cli {

namespace {

void add_input(CLI::App& app, std::string& target) {
  app.add_option("--input", target, "a device tree blob, or - for a pipe")
      ->required()
      ->type_name("FILE");
}

void add_pool_command(CLI::App& app, Action& action, DtPoolOptions& options) {
  add_input(app, options.input);
  app.add_option("--output", options.output, "where the changed one goes, or - for a pipe")
      ->required()
      ->type_name("FILE");
  app.add_option_function<std::string>(
         "--base",
         [&options](const std::string& text) {
           const auto address = parse_address(text);
           if (!address) {
             throw CLI::ValidationError("--base", fmt::format("'{}' is no address", text));
           }
           options.request.base = *address;
         },
         "the pool's guest address, such as 0x50000000")
      ->required()
      ->type_name("ADDRESS");
  add_size(app, "--size", options.request.bytes, "the pool's size, such as 64M");
  app.get_option("--size")->required();
  app.add_option("--name", options.request.name, "of its node (restricted-dma-pool)")
      ->type_name("NAME");
  app.add_option("--node", options.request.nodes,
                 "the device's node, by its path; may be given several times")
      ->type_name("PATH");
  app.add_flag("--pci-host", options.request.host_bridge,
               "for all devices behind the PCI host bridge");
  app.footer(
      "example:\n"
      "  qemu-system-aarch64 -M virt,dumpdtb=virt.dtb -m 512M\n"
      "  airlock dt pool --input virt.dtb --output pool.dtb --base 0x50000000 --size 64M "
      "--pci-host\n"
      "  qemu-system-aarch64 -M virt -m 512M -dtb pool.dtb ...");
  app.callback([&] { action = [&] { return dt_pool(options); }; });
}

void add_check_command(CLI::App& app, Action& action, DtCheckOptions& options) {
  add_input(app, options.input);
  app.add_flag("--json", options.json, "print JSON");
  app.footer("example:\n  airlock dt check --input pool.dtb");
  app.callback([&] { action = [&] { return dt_check(options); }; });
}

}  // namespace

void add_dt(CLI::App& app, Action& action, DtOptions& options) {
  app.require_subcommand(1);
  app.footer("example:\n  airlock dt check --input pool.dtb");
  add_pool_command(*app.add_subcommand("pool", "Put a pool into a tree, for some devices"), action,
                   options.pool);
  add_check_command(
      *app.add_subcommand("check", "Print the pools and who gets them; fail where Linux refuses"),
      action, options.check);
}

}  // namespace airlock::cli
