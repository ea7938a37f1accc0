// SPDX-License-Identifier: Apache-2.0
#include "cli/options_serve.h"

namespace airlock::cli {

void add_serve_vsock(CLI::App& serve, Action& action, ServeVsockOptions& options) {
  CLI::App& app =
      *serve.add_subcommand("vsock", "Sockets between the guest and its host: virtio-vsock");
  app.add_option("--uds", options.uds,
                 "a UNIX socket for the host's clients, which write CONNECT PORT; the guest's "
                 "connections to PORT go to what listens at PATH_PORT")
      ->required()
      ->type_name("PATH");
  app.add_option("--cid", options.cid, "the guest's context id (3)")
      ->check(CLI::Range(spec::VIRTIO_VSOCK_CID_GUEST_MIN, spec::VIRTIO_VSOCK_CID_ANY - 1))
      ->type_name("N");
  app.add_option("--connections", options.connections, "at most, a descriptor each (10240)")
      ->check(CLI::Range(std::uint32_t{1}, kVsockConnectionsMost))
      ->type_name("N");
  add_serve_options(app, options.serve);
  app.add_option("--queue-size", options.queue_size, "entries of a queue (256)")
      ->check(CLI::Range(4, 32768))
      ->type_name("N");
  app.footer(
      "example:\n"
      "  airlock serve vsock --socket /run/vm-vsock.sock --uds /run/vm.vsock\n"
      "  qemu-system-x86_64 -m 2G -drive file=disk.img,if=virtio -device "
      "'{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"/run/"
      "vm-vsock.sock\"}}'\n"
      "  socat - UNIX-CONNECT:/run/vm.vsock   (then: CONNECT 5000)");
  app.callback([&] { action = [&] { return serve_vsock(options); }; });
}

}  // namespace airlock::cli
