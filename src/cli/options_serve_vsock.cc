// SPDX-License-Identifier: Apache-2.0
#include "cli/options_serve.h"

namespace airlock::cli {

void add_serve_vsock(CLI::App& serve, Action& action, ServeVsockOptions& options) {
  CLI::App& app =
      *serve.add_subcommand("vsock", "Sockets between the guest and its host: virtio-vsock");
  CLI::Option_group& host = *app.add_option_group("host", "the host's side");
  host.add_option("--uds", options.uds,
                  "a UNIX socket for the host's clients, which write CONNECT PORT; the guest's "
                  "connections to PORT go to what listens at PATH_PORT")
      ->type_name("PATH");
  CLI::Option* const forward_cid =
      host.add_option("--forward-cid", options.forward_cid,
                      "the guest's connections go to the same port of this cid, by the host's own "
                      "AF_VSOCK: 1 is the host itself")
          ->type_name("N");
  host.require_option(1);
  app.add_option(
         "--forward-listen", options.forward_listen,
         "ports of the host's AF_VSOCK, as in 22+80: their clients get to the same ports of "
         "the guest")
      ->delimiter('+')
      ->check(CLI::Range(0U, spec::VIRTIO_VSOCK_CID_ANY - 1))
      ->expected(1, static_cast<int>(kVsockForwardsMost))
      ->needs(forward_cid)
      ->type_name("PORT");
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
      "  socat - UNIX-CONNECT:/run/vm.vsock   (then: CONNECT 5000)\n"
      "or, between programs that speak AF_VSOCK on both sides:\n"
      "  airlock serve vsock --socket /run/vm-vsock.sock --forward-cid 1 --forward-listen 2222");
  app.callback([&] { action = [&] { return serve_vsock(options); }; });
}

}  // namespace airlock::cli
