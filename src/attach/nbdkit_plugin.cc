// SPDX-License-Identifier: Apache-2.0
//
// A disk with a region as a plugin of nbdkit, which does all that is NBD:
//
//     nbdkit -U /run/disk.nbd ./nbdkit-airlock-plugin.so device=pci:0000:00:05.0
//
// The device is opened before nbdkit forks or gives up root, so that it may do both. Requests come
// from any number of nbdkit's threads and meet in SharedBlk.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>

#include <fmt/core.h>

#include "attach/clients.h"
#include "attach/report.h"
#include "attach/shared_blk.h"
#include "base/log.h"
#include "driver/open_by_name.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

namespace airlock::attach {

namespace {

// What NBD's block sizes can be.
constexpr std::uint32_t kBlockMost = 65536;
constexpr std::uint32_t kPreferredBlock = 4096;
constexpr std::uint32_t kRequestMost = std::uint32_t{32} << 20;
// Queues of the disk that are used: a connection has one, or shares it.
constexpr std::uint16_t kQueuesMost = 4;

/// The one disk of this process. Made of the command line, then opened; calls come after that.
struct Export {
  std::string device;
  std::uint64_t ring_features = driver::kRingFeaturesByDefault;
  Fd report;  // to who started us: they hear of us, and we stop when they hang up
  std::unique_ptr<SharedBlk> disk;
  std::atomic<std::size_t> connections{0};
  std::atomic<bool> stopping{false};
};

Export& the_export() {
  static Export one;
  return one;
}

void tell(const Report& report) {
  const Fd& to = the_export().report;
  const std::string line = to_line(report);
  if (to && ::write(to.get(), line.data(), line.size()) >= 0) return;
  if (const auto* failure = std::get_if<Failed>(&report)) {
    nbdkit_error("%s: %s: %s", failure->what.c_str(), failure->why.c_str(),
                 failure->advice.c_str());
  }
}

// nbdkit would wait for its clients to leave. Requests under way still end, and are answered.
void stop_serving() {
  the_export().stopping = true;  // from here on no client gets in: on_preconnect()
  nbdkit_shutdown();
  if (the_export().report) hang_up_on_clients();
}

// Until who started us hangs up.
void await_hang_up() {
  std::array<char, 64> ignored{};
  for (;;) {
    const ssize_t got = ::read(the_export().report.get(), ignored.data(), ignored.size());
    if (got == 0 || (got < 0 && errno != EINTR)) return stop_serving();
  }
}

// A device that broke stays so: no client is served any more, and who started us is told why.
void end_if_broken() {
  Export& exported = the_export();
  const auto error = exported.disk->broken();
  if (!error || exported.stopping.exchange(true)) return;
  tell(Failed{.what = fmt::format("use {}", exported.device),
              .why = describe(*error),
              .advice = "see the device's log, and attach it anew"});
  stop_serving();
}

int errno_of(const Error& error) {
  switch (error.code) {
    case Errc::kNotAligned:
    case Errc::kBadLength:
    case Errc::kOutOfRange:
      return EINVAL;
    case Errc::kReadOnly:
      return EROFS;
    case Errc::kNotSupportedByDevice:
      return EOPNOTSUPP;
    default:
      return EIO;
  }
}

std::size_t lane_of(void* handle) {
  return *static_cast<const std::size_t*>(handle);
}

int run(void* handle, const driver::BlkRequest& request) {
  const auto done = the_export().disk->run(lane_of(handle), request);
  if (done) return 0;
  end_if_broken();
  nbdkit_error("%s", describe(done.error()).c_str());
  nbdkit_set_error(errno_of(done.error()));
  return -1;
}

const driver::BlkInfo& info() {
  return the_export().disk->info();
}

// --- what nbdkit calls, in its order -------------------------------------------------------------

int on_config(const char* key, const char* value) {
  Export& exported = the_export();
  const std::string_view name = key;
  if (name == "device") {
    exported.device = value;
    return 0;
  }
  if (name == "ring-features") {
    return nbdkit_parse_uint64_t("ring-features", value, &exported.ring_features);
  }
  if (name == "report-fd") {
    int fd = -1;
    if (nbdkit_parse_int("report-fd", value, &fd) != 0) return -1;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
      nbdkit_error("report-fd=%s: it is not open", value);
      return -1;
    }
    exported.report = Fd(fd);
    return 0;
  }
  nbdkit_error("%s: there are device=, ring-features= and report-fd=", key);
  return -1;
}

int on_config_complete() {
  if (!the_export().device.empty()) return 0;
  nbdkit_error("device= is missing: give device=vfio-user:PATH or device=pci:ADDRESS");
  return -1;
}

int on_get_ready() {
  Export& exported = the_export();
  set_log_level(LogLevel::kWarning);
  const driver::Blk::Options options{.queues = kQueuesMost,
                                     .device = {.ring_features = exported.ring_features}};
  auto opened = driver::open_disk_by_name(exported.device, options);
  if (!opened) {
    const driver::OpenError& error = opened.error();
    tell(Failed{
        .misnamed = error.misnamed, .what = error.what, .why = error.why, .advice = error.advice});
    return -1;
  }
  auto shared = SharedBlk::create(std::move(opened->blk), {.blk = options});
  if (!shared) {
    tell(Failed{.what = fmt::format("use {}", exported.device),
                .why = describe(shared.error()),
                .advice = "raise the limit of open files (ulimit -n)"});
    return -1;
  }
  exported.disk = std::move(*shared);
  return 0;
}

// By now the socket listens.
int on_after_fork() {
  tell(Ready{.capacity_bytes = info().capacity_bytes, .block_bytes = info().block_bytes});
  // It waits in the kernel until the end of the process, and needs nothing that goes before.
  if (the_export().report) std::thread(await_hang_up).detach();
  return 0;
}

int on_preconnect(int /*readonly*/) {
  return the_export().stopping ? -1 : 0;
}

void* on_open(int /*readonly*/) {
  Export& exported = the_export();
  return std::make_unique<std::size_t>(exported.connections++ % exported.disk->lanes()).release();
}

void on_close(void* handle) {
  const std::unique_ptr<std::size_t> taken_back(static_cast<std::size_t*>(handle));
}

std::int64_t on_get_size(void* /*handle*/) {
  return static_cast<std::int64_t>(info().capacity_bytes);
}

int on_block_size(void* /*handle*/, std::uint32_t* minimum, std::uint32_t* preferred,
                  std::uint32_t* maximum) {
  *minimum = std::min(info().block_bytes, kBlockMost);
  *preferred = std::max(*minimum, kPreferredBlock);
  *maximum = kRequestMost;
  return 0;
}

int on_can_write(void* /*handle*/) {
  return info().read_only ? 0 : 1;
}

// Without the feature the disk writes through. VIRTIO 1.3, 5.2.6.1.
int on_can_flush(void* /*handle*/) {
  return info().has_flush ? 1 : 0;
}

int on_can_fua(void* /*handle*/) {
  return info().has_flush ? NBDKIT_FUA_EMULATE : NBDKIT_FUA_NATIVE;
}

int on_can_trim(void* /*handle*/) {
  return info().discard_bytes_max > 0 ? 1 : 0;
}

// If not, nbdkit writes the zeroes.
int on_can_zero(void* /*handle*/) {
  return info().write_zeroes_bytes_max > 0 ? 1 : 0;
}

// A flush is of the whole disk, by whichever queue it goes.
int on_can_multi_conn(void* /*handle*/) {
  return 1;
}

int on_is_rotational(void* /*handle*/) {
  return 0;
}

int on_pread(void* handle, void* buffer, std::uint32_t count, std::uint64_t offset,
             std::uint32_t /*flags*/) {
  return run(handle, {.op = driver::BlkOp::kRead,
                      .offset = offset,
                      .target = std::span(static_cast<std::byte*>(buffer), count)});
}

int on_pwrite(void* handle, const void* buffer, std::uint32_t count, std::uint64_t offset,
              std::uint32_t /*flags*/) {
  return run(handle, {.op = driver::BlkOp::kWrite,
                      .offset = offset,
                      .source = std::span(static_cast<const std::byte*>(buffer), count)});
}

int on_flush(void* handle, std::uint32_t /*flags*/) {
  return run(handle, {.op = driver::BlkOp::kFlush});
}

int on_trim(void* handle, std::uint32_t count, std::uint64_t offset, std::uint32_t /*flags*/) {
  return run(handle, {.op = driver::BlkOp::kDiscard, .offset = offset, .length = count});
}

int on_zero(void* handle, std::uint32_t count, std::uint64_t offset, std::uint32_t flags) {
  return run(handle, {.op = driver::BlkOp::kWriteZeroes,
                      .offset = offset,
                      .length = count,
                      .unmap = (flags & NBDKIT_FLAG_MAY_TRIM) != 0});
}

// The last client has left: what was written is made safe, and the device is reset.
void on_cleanup() {
  Export& exported = the_export();
  if (!exported.disk) return;
  if (!info().read_only && !exported.disk->broken()) {
    const auto flushed = exported.disk->run(0, {.op = driver::BlkOp::kFlush});
    if (!flushed) {
      tell(Failed{.what = fmt::format("flush {}", exported.device),
                  .why = describe(flushed.error()),
                  .advice = "what was written last may be lost: see the device's log"});
    }
  }
  exported.disk.reset();
}

nbdkit_plugin describe_plugin() {
  nbdkit_plugin plugin{};
  plugin.name = "airlock";
  plugin.longname = "Airlock: a virtio disk that cannot touch guest memory";
  plugin.version = AIRLOCK_VERSION;
  plugin.config_help =
      "device=<DEVICE>        (required) vfio-user:PATH or pci:ADDRESS\n"
      "ring-features=<MASK>   feature bits that the driver may accept for its rings\n"
      "report-fd=<FD>         a socket: say here when the disk is open, or what it fails with, "
      "and\n"
      "                       stop when it is shut down";
  plugin.magic_config_key = "device";
  plugin.config = on_config;
  plugin.config_complete = on_config_complete;
  plugin.get_ready = on_get_ready;
  plugin.after_fork = on_after_fork;
  plugin.cleanup = on_cleanup;
  plugin.preconnect = on_preconnect;
  plugin.open = on_open;
  plugin.close = on_close;
  plugin.get_size = on_get_size;
  plugin.block_size = on_block_size;
  plugin.can_write = on_can_write;
  plugin.can_flush = on_can_flush;
  plugin.can_fua = on_can_fua;
  plugin.can_trim = on_can_trim;
  plugin.can_zero = on_can_zero;
  plugin.can_multi_conn = on_can_multi_conn;
  plugin.is_rotational = on_is_rotational;
  plugin.pread = on_pread;
  plugin.pwrite = on_pwrite;
  plugin.flush = on_flush;
  plugin.trim = on_trim;
  plugin.zero = on_zero;
  return plugin;
}

nbdkit_plugin the_plugin = describe_plugin();

}  // namespace

NBDKIT_REGISTER_PLUGIN(the_plugin)

}  // namespace airlock::attach
