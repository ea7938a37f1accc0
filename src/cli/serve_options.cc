// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_options.h"

#include "cli/options_serve.h"
#include "crypt/algorithm.h"

namespace airlock::cli {

namespace {

constexpr std::string_view kShared = "shared:";

/// SIZE, or shared:NAME[,SIZE].
bool parse_region(std::string_view text, ServeOptions& options) {
  options.shared_region = shared_region_name(text);
  if (text.starts_with(kShared)) {
    const std::size_t comma = text.find(',');
    if (options.shared_region.empty()) return false;
    if (comma == std::string_view::npos) return true;
    text.remove_prefix(comma + 1);
  }
  const auto bytes = parse_size(text);
  if (bytes) options.region = *bytes;
  return bytes.has_value();
}

void add_region(CLI::App& app, ServeOptions& options) {
  app.add_option_function<std::string>(
         "--region",
         [&options](const std::string& text) {
           if (parse_region(text, options)) return;
           throw CLI::ValidationError(
               "--region",
               fmt::format("'{}' is neither a size (such as 64M) nor shared:NAME[,SIZE]", text));
         },
         "the buffer on the device, all that it can touch: a power of two (64M); or "
         "shared:NAME[,SIZE], one for all devices of a --config that name it")
      ->type_name("REGION");
}

}  // namespace

std::string_view shared_region_name(std::string_view region) {
  if (!region.starts_with(kShared)) return {};
  region.remove_prefix(kShared.size());
  return region.substr(0, region.find(','));
}

void add_serve_options(CLI::App& app, ServeOptions& options) {
  app.add_option("--socket,--socket-path", options.socket, "where QEMU finds the device")
      ->type_name("PATH");
  app.add_option("--fd", options.socket_fd, "a listening socket that was inherited, instead")
      ->type_name("FD");
  add_region(app, options);
  app.add_flag("--huge-pages", options.huge_pages,
               "back the region with huge pages; our own driver takes them from "
               "vfio-user+huge-pages:PATH only");
  add_choice<pci::DmaPolicy>(app, "--dma", options.dma,
                             {{"require", pci::DmaPolicy::kRequire},
                              {"prefer", pci::DmaPolicy::kPrefer},
                              {"open", pci::DmaPolicy::kOpen}},
                             "a driver that declines the region is refused; served over guest "
                             "memory that the VMM shared; never asked (require)");
  add_choice<pci::AddressOffer>(
      app, "--address", options.address,
      {{"bus", pci::AddressOffer::kBus}, {"offset", pci::AddressOffer::kOffset}},
      "how a driver addresses the region: as VIRTIO_F_SWIOTLB or VIRTIO_F_DMB has it (bus)");
  add_features(app, options.ring_features, "what the rings are offered with (all on)");
  add_duration(app, "--poll-max", options.poll_max,
               "longest that a queue polls before it naps or sleeps (20us)");
  add_duration(
      app, "--nap-max", options.nap_max,
      "longest that it polls and naps before it asks for a notification and sleeps; 0us, or "
      "--poll-max 0us: no naps (500us)");
  add_percent(app, "--poll-cpu", options.poll_cpu_percent,
              "share of a core that a queue polls away in vain, at most: it sleeps at once when "
              "that is used up (100%)");
  add_choice<bool>(app, "--sandbox", options.sandbox, {{"on", true}, {"off", false}},
                   "give up all rights but those of a server, once all is open (on); off is for "
                   "debuggers");
  app.add_option("--stats", options.stats, "write counters here as JSON at the end, and on SIGUSR1")
      ->type_name("FILE");
}

void add_serve_encryption(CLI::App& app, ServeOptions& options) {
  app.add_option_function<std::string>(
         "--encrypt",
         [&options](const std::string& text) {
           const auto chosen = crypt::parse_algorithms(text);
           if (!chosen) {
             throw CLI::ValidationError("--encrypt", fmt::format("'{}' is not made of {}", text,
                                                                 crypt::algorithm_names()));
           }
           options.encryption = *chosen;
         },
         fmt::format("serve only a driver that encrypts its buffers, by one of these: {} (off)",
                     crypt::algorithm_names()))
      ->type_name("LIST");
}

}  // namespace airlock::cli
