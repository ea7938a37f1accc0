// SPDX-License-Identifier: Apache-2.0
//
// The command line: stable, as scripts rely on it. `serve` has files of its own for its options.
#include "cli/options.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>

#include "base/log.h"
#include "cli/attach.h"
#include "cli/blk_commands.h"
#include "cli/check.h"
#include "cli/guard.h"
#include "cli/option_types.h"
#include "cli/options_compare.h"
#include "cli/options_dt.h"
#include "cli/options_serve.h"
#include "cli/serve_blk.h"
#include "cli/serve_config.h"
#include "cli/serve_vsock.h"

namespace airlock::cli {

namespace {

void add_device(CLI::App& app, std::string& target) {
  app.add_option("--device", target, "vfio-user:PATH or pci:ADDRESS")
      ->required()
      ->type_name("DEVICE");
}

/// What every command on a disk has.
template <class Options>
void add_disk(CLI::App& app, Options& options) {
  add_device(app, options.device);
  add_features(
      app, options.ring_features,
      "what our driver may use, where it is on offer (all but in_order and notification_data)");
}

/// The same, and what commands of ours alone have.
template <class Options>
void add_own_disk(CLI::App& app, Options& options) {
  add_disk(app, options);
  app.add_option_function<std::string>(
         "--encrypt",
         [&options](const std::string& text) {
           const auto chosen = crypt::parse_algorithm(text);
           if (!chosen) {
             throw CLI::ValidationError(
                 "--encrypt", fmt::format("'{}' is none of {}", text, crypt::algorithm_names()));
           }
           options.encryption = *chosen;
         },
         fmt::format("encrypt what crosses the region: {} (off)", crypt::algorithm_names()))
      ->type_name("ALGORITHM");
}

struct ServeCommands {
  std::string config;
  ServeBlkOptions blk;
  ServeConsoleOptions console;
  ServeRngOptions rng;
  ServeNetOptions net;
  ServeVhostUserOptions vhost_user;
  ServeVsockOptions vsock;
};

/// The kinds of devices.
void add_serve_kinds(CLI::App& serve, Action& action, ServeCommands& commands) {
  add_serve_blk(serve, action, commands.blk);
  add_serve_console(serve, action, commands.console);
  add_serve_rng(serve, action, commands.rng);
  add_serve_net(serve, action, commands.net);
  add_serve_vhost_user(serve, action, commands.vhost_user);
  add_serve_vsock(serve, action, commands.vsock);
}

/// The example of each kind: how it is served, and how QEMU attaches it.
std::string examples_of(const CLI::App& serve) {
  std::string all;
  for (const CLI::App* kind : serve.get_subcommands({})) {
    const std::string footer = kind->get_footer();
    const std::size_t heading = footer.find('\n');
    if (heading != std::string::npos) all += footer.substr(heading + 1) + '\n';
  }
  return all;
}

void add_serve(CLI::App& serve, Action& action, ServeCommands& commands) {
  serve.require_subcommand(0, 1);
  serve
      .add_option("--config", commands.config,
                  "serve what this file says instead: any number of devices, in one process")
      ->type_name("FILE");
  add_serve_kinds(serve, action, commands);
  serve.footer(
      "example:\n" + examples_of(serve) +
      "  airlock serve --config /etc/airlock.toml   # SIGHUP: read again; with, for example,\n"
      "    [[device]]\n"
      "    type = \"blk\"\n"
      "    socket = \"/run/disk.sock\"\n"
      "    backend = \"file:disk.img\"\n"
      "    queues = 4");
  serve.callback([&] {
    if (serve.get_subcommands().empty() == commands.config.empty()) {
      throw CLI::ValidationError("serve", "it needs a kind of device, or --config FILE");
    }
    if (!commands.config.empty()) action = [&] { return serve_config(commands.config); };
  });
}

std::string one_line(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  return text;
}

/// `airlock serve` for lines of a configuration.
struct ServeParser {
  CLI::App app{"", "airlock serve"};
  ServeCommands commands;
  Action action;

  ServeParser() { add_serve_kinds(app, action, commands); }

  /// Null if there is no such kind.
  [[nodiscard]] const CLI::App* kind(const std::string& type) const {
    const auto found =
        app.get_subcommands([&](const CLI::App* one) { return one->get_name() == type; });
    return found.empty() ? nullptr : found.front();
  }
};

struct BlkCommands {
  BlkInfoOptions info;
  BlkCopyOptions copy;
  BlkVerifyOptions verify;
  BlkBenchOptions bench;
};

void add_copy(CLI::App& blk, Action& action, BlkCopyOptions& options, bool read) {
  CLI::App& app = read ? *blk.add_subcommand("read", "Copy the disk, or a part of it, to a file")
                       : *blk.add_subcommand("write", "Copy a file to the disk, then flush");
  add_own_disk(app, options);
  app.add_option(read ? "--output" : "--input", options.file, "a file, or - for a pipe")
      ->required()
      ->type_name("FILE");
  add_size(app, "--offset", options.offset, "where on the disk (0)");
  app.add_option_function<std::string>(
         "--length",
         [&options](const std::string& text) {
           options.length = parse_size(text);
           if (!options.length) {
             throw CLI::ValidationError("--length", fmt::format("'{}' is no size", text));
           }
         },
         "how much (to the end)")
      ->type_name("SIZE");
  app.add_flag("--json", options.json, "report on stderr as JSON");
  app.footer(
      read ? "example:\n  airlock blk read --device vfio-user:/run/disk.sock --output disk.img"
           : "example:\n  airlock blk write --device vfio-user:/run/disk.sock --input disk.img");
  app.callback(
      [&, read] { action = [&, read] { return read ? blk_read(options) : blk_write(options); }; });
}

void add_verify(CLI::App& blk, Action& action, BlkVerifyOptions& options) {
  CLI::App& app = *blk.add_subcommand(
      "verify", "OVERWRITE the disk with random data at random places, and check all of it");
  add_own_disk(app, options);
  add_size(app, "--total", options.total, "bytes to write (1G)");
  add_size(app, "--bs-max", options.block_max, "largest request (4M)");
  app.add_option("--iodepth-max", options.depth_max, "most requests in flight (128)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  app.add_option("--seed", options.seed, "repeat a run")->type_name("N");
  app.add_flag("--json", options.json, "print JSON");
  app.footer("example:\n  airlock blk verify --device vfio-user:/run/scratch.sock --total 256M");
  app.callback([&] { action = [&] { return blk_verify(options); }; });
}

void add_bench(CLI::App& blk, Action& action, BlkBenchOptions& options) {
  CLI::App& app = *blk.add_subcommand("bench", "Measure the disk, in fio's words");
  add_own_disk(app, options);
  app.add_option("--rw", options.rw, "read write rw randread randwrite randrw (randread)")
      ->type_name("PATTERN");
  add_size(app, "--bs", options.bs, "bytes a request (4k)");
  app.add_option("--iodepth", options.iodepth, "requests in flight, each job (1)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  app.add_option("--numjobs", options.numjobs, "threads, a queue each (1)")
      ->check(CLI::Range(1, 64))
      ->type_name("N");
  app.add_option("--queue-size", options.queue_size, "entries of a queue that are used (256)")
      ->check(CLI::Range(kQueueSizeMin, kQueueSizeMax))
      ->type_name("N");
  app.add_option("--rwmixread", options.rwmixread, "reads in rw and randrw, per cent (50)")
      ->check(CLI::Range(0, 100))
      ->type_name("N");
  add_duration(app, "--runtime", options.runtime, "how long (5s)");
  add_duration(app, "--ramp", options.ramp, "run this long before, and forget it (0s)");
  add_size(app, "--size", options.size, "use the first SIZE of the disk (all)");
  app.add_flag("--in-place", options.in_place, "buffers in the region: no copy on our side");
  add_duration(app, "--poll-max", options.poll_max,
               "longest that a wait looks at the ring before it sleeps (50us)");
  add_percent(app, "--poll-cpu", options.poll_cpu_percent,
              "share of a core that a job looks away in vain, at most (100%)");
  app.add_flag("--json", options.json, "print JSON");
  app.footer(
      "example:\n  airlock blk bench --device vfio-user:/run/disk.sock --rw=randread --bs=4k "
      "--iodepth=32 --runtime=5");
  app.callback([&] { action = [&] { return blk_bench(options); }; });
}

void add_blk(CLI::App& blk, Action& action, BlkCommands& commands) {
  blk.require_subcommand(1);
  blk.preparse_callback([](std::size_t) { set_log_level(LogLevel::kWarning); });
  blk.footer("example:\n  airlock blk info --device vfio-user:/run/disk.sock");
  CLI::App& info = *blk.add_subcommand("info", "What the disk says of itself");
  add_own_disk(info, commands.info);
  info.add_flag("--json", commands.info.json, "print JSON");
  info.footer("example:\n  airlock blk info --device pci:0000:00:05.0");
  info.callback([&] { action = [&] { return blk_info(commands.info); }; });
  add_copy(blk, action, commands.copy, true);
  add_copy(blk, action, commands.copy, false);
  add_verify(blk, action, commands.verify);
  add_bench(blk, action, commands.bench);
}

void add_check(CLI::App& app, Action& action, CheckOptions& options) {
  app.preparse_callback([](std::size_t) { set_log_level(LogLevel::kWarning); });
  app.add_option("--device", options.device, "vfio-user:PATH or pci:ADDRESS")->type_name("DEVICE");
  app.add_option("--only", options.only, "these checks, or all of these requirements")
      ->delimiter(',')
      ->type_name("ID,ID");
  app.add_flag("--list", options.list, "print the checks and what they look at; needs no device");
  app.add_flag("--destructive", options.destructive,
               "also write to the last sectors of a disk; what was there is put back");
  app.add_option("--vsock-port", options.vsock_port,
                 "sockets: a port of the host that echoes, for the checks of credit")
      ->type_name("PORT");
  app.add_flag("--json", options.json, "print JSON");
  app.footer(
      "example:\n"
      "  airlock check --device vfio-user:/run/disk.sock\n"
      "  airlock check --device pci:0000:00:05.0 --only DEF-5,VIRTIO-4.1.4.3.1 --json");
  app.callback([&] { action = [&] { return check_device(options); }; });
}

void add_attach(CLI::App& app, Action& action, AttachOptions& options) {
  add_disk(app, options);
  app.add_option("--export", options.export_to,
                 "nbd:unix:PATH: a socket that the kernel's nbd-client, or any other, connects to")
      ->required()
      ->type_name("EXPORT");
  app.add_flag("--readonly", options.read_only, "refuse writes");
  app.add_option("--plugin", options.plugin, "our plugin for nbdkit (beside this program)")
      ->type_name("FILE");
  app.footer(
      "example:\n"
      "  airlock attach --device pci:0000:00:05.0 --export nbd:unix:/run/disk.nbd &\n"
      "  modprobe nbd && nbd-client -unix /run/disk.nbd /dev/nbd0 -b 512 && mount /dev/nbd0 /mnt");
  app.callback([&] { action = [&] { return attach(options); }; });
}

void add_guard(CLI::App& app, Action& action, GuardOptions& options) {
  app.add_option("--listen", options.listen, "the socket that QEMU connects to")->type_name("PATH");
  app.add_option("--connect", options.connect, "the device's socket")->type_name("PATH");
  app.add_option(
         "--exec", options.exec,
         "start the device by this command instead, and again when it fails; {socket} in it "
         "becomes its socket's path")
      ->type_name("COMMAND");
  app.add_option(
         "--policy", options.policy,
         "bounce: no guest memory (the default). window=ADDRESS+SIZE: that range only. open: "
         "all that the VM maps, audited; to compare and to debug")
      ->type_name("POLICY");
  app.add_option("--audit", options.audit, "append what was decided here, as JSON lines")
      ->type_name("FILE");
  add_duration(app, "--answer-within", options.answer_within,
               "longest that the VM waits for the device (80ms)");
  add_duration(app, "--hang-limit", options.hang_limit,
               "a device that was started and answers nothing for so long is started again (30s)");
  app.add_option("--restart-limit", options.restart_limit,
                 "how often it is started again in 10 s, before it is given up (5)")
      ->check(CLI::Range(0, 1000))
      ->type_name("N");
  add_choice<bool>(app, "--sandbox", options.sandbox, {{"on", true}, {"off", false}},
                   "lock the guard's own process in (on)");
  app.add_flag("--explain", options.explain, "print what the policy lets a device reach, and why");
  app.add_flag("--self-test", options.self_test, "try to get out of the guard's own sandbox");
  app.footer(
      "example:\n"
      "  airlock guard --listen /run/disk.sock --audit /var/log/disk.audit \\\n"
      "    --exec 'airlock serve blk --socket {socket} --backend file:disk.img'\n"
      "  airlock guard --listen /run/disk.sock --connect /run/device.sock");
  app.callback([&] { action = [&] { return guard(options); }; });
}

}  // namespace

Outcome run_command_line(int argc, char** argv) {
  CLI::App app("Virtio devices that cannot touch guest memory.", "airlock");
  app.require_subcommand(1);
  app.set_version_flag("--version", AIRLOCK_VERSION);
  app.add_flag_callback("--quiet", [] { set_log_level(LogLevel::kError); }, "log errors only");
  app.add_flag_callback("--verbose", [] { set_log_level(LogLevel::kDebug); }, "log more");
  app.footer("example:\n  airlock serve blk --socket /run/disk.sock --backend file:disk.img");

  Action action;
  ServeCommands serve_commands;
  add_serve(*app.add_subcommand("serve", "Serve a device to a VM"), action, serve_commands);
  BlkCommands blk_commands;
  add_blk(*app.add_subcommand("blk", "Use a disk through our own driver"), action, blk_commands);
  AttachOptions attach_options;
  add_attach(*app.add_subcommand("attach", "Use a device without a kernel module: export it"),
             action, attach_options);
  GuardOptions guard_options;
  add_guard(*app.add_subcommand("guard", "Stand between a VM and a device: no guest memory passes"),
            action, guard_options);
  CheckOptions check_options;
  add_check(*app.add_subcommand("check", "Look whether a device keeps the rules, one by one"),
            action, check_options);
  CompareOptions compare_options;
  add_compare(*app.add_subcommand("compare", "Ways to keep a device out of memory, side by side"),
              action, compare_options);
  DtOptions dt_options;
  add_dt(*app.add_subcommand("dt", "Device trees: give devices a restricted DMA pool"), action,
         dt_options);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      app.exit(error);  // --help, --version
      return {};
    }
    std::string command = "airlock";
    for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
      at = at->get_subcommands().front();
      command += " " + at->get_name();
    }
    return usage("usage", one_line(error.what()), fmt::format("see {} --help", command));
  }
  return action();
}

bool serves(const std::string& type) {
  const ServeParser parser;
  return parser.kind(type) != nullptr;
}

std::optional<OptionTakes> serve_option(const std::string& type, const std::string& name) {
  const ServeParser parser;
  const CLI::App* const device = parser.kind(type);
  const CLI::Option* const option = device != nullptr ? device->get_option_no_throw(name) : nullptr;
  if (option == nullptr || name == "--help") return std::nullopt;
  return option->get_expected_max() == 0 ? OptionTakes::kNothing : OptionTakes::kValue;
}

std::expected<ServeLine, std::string> parse_serve(const std::string& type,
                                                  const std::vector<std::string>& words) {
  const auto parser = std::make_shared<ServeParser>();
  // The last one is taken first.
  std::vector<std::string> reversed(words.rbegin(), words.rend());
  reversed.push_back(type);
  try {
    parser->app.parse(std::move(reversed));
  } catch (const CLI::ParseError& error) {
    return std::unexpected(one_line(error.what()));
  }
  return ServeLine{.options = parser, .action = parser->action};
}

}  // namespace airlock::cli
