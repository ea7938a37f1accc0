// SPDX-License-Identifier: Apache-2.0
#include "cli/options_serve.h"

namespace airlock::cli {

void add_serve_blk(CLI::App& serve, Action& action, ServeBlkOptions& options) {
  CLI::App& app = *serve.add_subcommand("blk", "A disk: serves FILE or memory as virtio-blk");
  app.add_option("--backend", options.backend,
                 "file:PATH[,direct=on|off], nbd:URI, rbd:POOL/IMAGE, memory:SIZE or null:SIZE")
      ->required()
      ->type_name("BACKEND");
  add_serve_options(app, options.serve);
  add_serve_encryption(app, options.serve);
  app.add_flag("--readonly", options.read_only, "refuse writes");
  app.add_option("--queues", options.queues, "request queues, a thread each (1)")
      ->check(CLI::Range(1, 64))
      ->type_name("N");
  app.add_option("--queue-size", options.queue_size, "entries of a queue (256)")
      ->check(CLI::Range(kQueueSizeMin, kQueueSizeMax))
      ->type_name("N");
  add_choice<device::OnError>(
      app, "--on-error", options.on_error,
      {{"report", device::OnError::kReport},
       {"stop", device::OnError::kStop},
       {"retry", device::OnError::kRetry},
       {"enospc", device::OnError::kEnospc}},
      "a request that fails: an I/O error for the driver; held, with all that follows it, until "
      "SIGUSR2; held, and tried again until it succeeds; stop if the disk is full, else report "
      "(report)");
  app.add_option("--serial", options.serial, "what the disk answers to GET_ID, 20 bytes (airlock)")
      ->type_name("TEXT");
  app.footer(
      "example:\n"
      "  airlock serve blk --socket /run/disk.sock --backend file:disk.img\n"
      "  qemu-system-x86_64 -m 2G ... -device "
      "'{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"/run/"
      "disk.sock\"}}'");
  app.callback([&] { action = [&] { return serve_blk(options); }; });
}

}  // namespace airlock::cli
