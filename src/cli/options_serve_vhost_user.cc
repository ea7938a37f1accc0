// SPDX-License-Identifier: Apache-2.0
#include "cli/options_serve.h"

namespace airlock::cli {

void add_serve_vhost_user(CLI::App& serve, Action& action, ServeVhostUserOptions& options) {
  CLI::App& app = *serve.add_subcommand(
      "vhost-user", "Any device: a vhost-user backend (virtiofsd, passt, ...) behind our buffer");
  app.add_option("--device", options.device,
                 "what the backend is: blk, net, fs, ... or the number of a virtio device")
      ->required()
      ->type_name("TYPE");
  app.add_option("--backend-socket", options.backend_socket, "where the backend listens")
      ->required()
      ->type_name("PATH");
  add_serve_options(app, options.serve);
  app.add_option("--queues", options.queues,
                 "queues, of types that have a choice: of requests of blk, fs, scsi (1)")
      ->check(CLI::Range(1, 64))
      ->type_name("N");
  app.add_option("--queue-size", options.queue_size, "entries of a queue (256)")
      ->check(CLI::Range(kQueueSizeMin, kQueueSizeMax))
      ->type_name("N");
  app.add_option("--tag", options.tag, "fs: the name that a guest mounts it by")->type_name("NAME");
  app.add_option("--mac", options.mac, "net: the card's address (the guest's choice)")
      ->type_name("ADDRESS");
  app.add_option("--mtu", options.mtu, "net: the largest packet, in bytes (the guest's choice)")
      ->check(CLI::Range(68, 65535))
      ->type_name("N");
  app.add_option("--cid", options.cid, "vsock: the guest's number")->type_name("N");
  add_choice<bool>(
      app, "--interrupts", options.relay_interrupts, {{"direct", false}, {"relay", true}},
      "the backend signals the VM's own eventfds, or this process does for it (direct)");
  add_choice<device::Tracking>(
      app, "--inflight", options.tracking,
      {{"auto", device::Tracking::kAuto},
       {"gateway", device::Tracking::kGateway},
       {"backend", device::Tracking::kBackend}},
      "who remembers what a backend that dies had taken: this process, through which each request "
      "then goes; the backend, or nobody if it works in order (auto)");
  app.footer(
      "example:\n"
      "  virtiofsd --socket-path=/run/fsd.sock --shared-dir=/srv/share\n"
      "  airlock serve vhost-user --device fs --tag share --backend-socket /run/fsd.sock \\\n"
      "          --socket /run/fs.sock\n"
      "  qemu-system-x86_64 -m 2G ... -device "
      "'{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"/run/"
      "fs.sock\"}}'");
  app.callback([&] { action = [&] { return serve_vhost_user(options); }; });
}

}  // namespace airlock::cli
