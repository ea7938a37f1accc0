// SPDX-License-Identifier: Apache-2.0
#include "cli/mac_address.h"
#include "cli/options_serve.h"

namespace airlock::cli {

void add_serve_net(CLI::App& serve, Action& action, ServeNetOptions& options) {
  CLI::App& app =
      *serve.add_subcommand("net", "A network card: serves a tap, passt or a socket as virtio-net");
  app.add_option("--backend", options.backend,
                 "passt[,OPTION]..., passt:PATH, tap:NAME, socket:unix:PATH[,listen=on], "
                 "socket:tcp:ADDRESS:PORT[,listen=on], socket:dgram:PATH,local=PATH, "
                 "socket:udp:ADDRESS:PORT,local=ADDRESS:PORT, socket:fd:NUMBER or loop")
      ->required()
      ->type_name("BACKEND");
  add_serve_options(app, options.serve);
  add_serve_encryption(app, options.serve);
  app.add_option_function<std::string>(
         "--mac",
         [&options](const std::string& text) {
           options.mac = parse_mac(text);
           if (!options.mac) {
             throw CLI::ValidationError(
                 "--mac",
                 fmt::format("'{}' is no card's address (such as 52:54:00:12:34:56)", text));
           }
         },
         "the card's address (one that is always the same for the same --socket)")
      ->type_name("MAC");
  app.add_option("--mtu", options.mtu, "largest packet, which the guest is told (the backend's)")
      ->check(CLI::Range(spec::VIRTIO_NET_MTU_MIN, std::uint16_t{65535}))
      ->type_name("BYTES");
  app.add_option("--queues", options.pairs, "pairs of queues, two threads each (1)")
      ->check(CLI::Range(std::uint16_t{1}, device::kNetPairsMost))
      ->type_name("N");
  app.add_option("--queue-size", options.queue_size, "entries of a queue (256)")
      ->check(CLI::Range(device::kNetQueueSizeLeast, device::kNetQueueSizeMost))
      ->type_name("N");
  app.add_option("--speed", options.speed_mbits, "what the guest is told, in Mbit/s (nothing)")
      ->check(CLI::Range(1, 0x7fffffff))
      ->type_name("MBITS");
  app.footer(
      "example:\n"
      "  airlock serve net --socket /run/net.sock --backend passt\n"
      "  qemu-system-x86_64 -m 2G ... -device "
      "'{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"/run/"
      "net.sock\"}}'");
  app.callback([&] { action = [&] { return serve_net(options); }; });
}

}  // namespace airlock::cli
