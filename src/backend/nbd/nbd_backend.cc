// SPDX-License-Identifier: Apache-2.0
#include "backend/nbd/nbd_backend.h"

#include <poll.h>

#include <algorithm>
#include <bit>
#include <utility>

#include <fmt/core.h>

#include "backend/nbd/nbd_channel.h"
#include "backend/nbd/nbd_tls.h"
#include "backend/nbd/nbd_uri.h"
#include "base/check.h"
#include "base/size.h"

namespace airlock::backend {

namespace {

std::unexpected<OpenError> cannot_open(const NbdSource& source, std::string why) {
  return std::unexpected(
      OpenError{.what = "open " + source.name, .why = std::move(why), .advice = source.advice});
}

/// What a preferred size is good for: some servers prefer what they like best, as 4 MiB.
constexpr std::uint32_t kPhysicalMost = 65536;

Geometry geometry_of(const NbdExport& exported, bool read_only) {
  const std::uint32_t block = std::max(exported.block_least, kSectorBytes);
  const bool writable = !read_only && !exported.read_only;
  const std::uint32_t preferred = exported.block_preferred;
  Geometry geometry{.capacity_bytes = exported.bytes,
                    .logical_block_bytes = block,
                    .physical_block_bytes = block,
                    .read_only = !writable,
                    .can_discard = writable && exported.can_trim,
                    .can_write_zeroes = writable && exported.can_zero,
                    .discard_alignment_bytes = block};
  if (preferred <= kPhysicalMost && preferred >= block) {
    geometry.physical_block_bytes = usable_physical_block(block, preferred);
  } else if (preferred > kPhysicalMost && preferred % block == 0) {
    geometry.optimal_io_bytes = preferred;
  }
  return geometry;
}

class NbdBackend final : public BlockBackend {
 public:
  explicit NbdBackend(const NbdSource& source) {
    server_.name = source.name;
    server_.export_name = source.export_name;
  }

  NbdServer& server() { return server_; }
  NbdLinks& links() { return links_; }
  // NOLINTNEXTLINE(bugprone-unchecked-optional-access): a link is ready
  void settle(bool read_only) { geometry_ = geometry_of(*server_.exported, read_only); }

  [[nodiscard]] const Geometry& geometry() const override { return geometry_; }
  [[nodiscard]] std::string describe() const override {
    return fmt::format("{}, {}{}", server_.name, format_size(geometry_.capacity_bytes),
                       geometry_.read_only ? ", read-only" : "");
  }
  Result<std::unique_ptr<BlockChannel>> open_channel(const shm::SharedBytes& /*region*/,
                                                     std::uint32_t depth) override {
    CHECK(depth > 0 && depth <= 32768);
    return std::make_unique<NbdChannel>(links_, server_, TRY(links_.take()), depth);
  }

 private:
  NbdServer server_;
  Geometry geometry_;
  NbdLinks links_;
};

/// Waits for the first connection; with `wait` as long as it takes. False, and why in the link, if
/// the first attempt failed.
bool connect_first(NbdLink& link, const std::string& name, bool wait) {
  bool told = !wait;
  link.start();
  while (!link.ready() && (wait || link.failures() == 0)) {
    pollfd ready{.fd = link.fd(), .events = POLLIN, .revents = 0};
    static_cast<void>(::poll(&ready, 1, -1));
    link.drive();
    if (link.failures() == 1 && !told) {
      told = true;
      log(LogLevel::kInfo, "{}: {}: waiting for it", name, link.why());
    }
  }
  return link.ready();
}

}  // namespace

Opened<std::unique_ptr<BlockBackend>> open_nbd_source(const NbdSource& source,
                                                      const OpenOptions& options) {
  const std::uint32_t count = std::max(options.channels, 1U);
  auto backend = std::make_unique<NbdBackend>(source);
  auto ways = start_connector(source.connect, count);
  if (!ways) return cannot_open(source, describe(ways.error()));
  for (Fd& way : *ways) {
    auto link = NbdLink::create(backend->server(), std::move(way));
    if (!link) return cannot_open(source, describe(link.error()));
    // One is enough to know what is served; others connect when a queue needs them.
    if (!backend->server().exported && !connect_first(**link, source.name, options.wait)) {
      return cannot_open(source, (*link)->why());
    }
    backend->links().give_back(std::move(*link));
  }
  // NOLINTNEXTLINE(bugprone-unchecked-optional-access): the first link is ready
  const NbdExport& exported = *backend->server().exported;
  if (count > 1 && !exported.many_connections) {
    return std::unexpected(
        OpenError{.what = "open " + source.name,
                  .why = "its server does not promise that several connections see one disk",
                  .advice = "give --queues 1, or have the server allow it (multi-conn)"});
  }
  backend->settle(options.read_only);
  return backend;
}

Opened<std::unique_ptr<BlockBackend>> open_nbd(const std::string& uri, const OpenOptions& options) {
  const auto address = parse_nbd_uri(uri);
  if (!address) {
    return std::unexpected(OpenError{
        .what = "--backend nbd:" + uri,
        .why = address.error(),
        .advice = "write nbd:nbd://HOST[:PORT]/EXPORT or nbd:nbd+unix:///EXPORT?socket=PATH"});
  }
  return open_nbd_source({.name = uri,
                          .export_name = address->export_name,
                          .connect =
                              [address = *address] {
                                return address.tls ? connect_tls(address) : connect_to(address);
                              },
                          .advice = "start the server, or see with nbdinfo what is there"},
                         options);
}

}  // namespace airlock::backend
