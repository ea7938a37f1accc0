// SPDX-License-Identifier: Apache-2.0
//
// An image of a Ceph cluster as a plugin of nbdkit: librbd, with all its threads, in a process that
// no guest talks to. Started by `--backend rbd:...`:
//
//     nbdkit --single ./nbdkit-airlock-rbd-plugin.so pool=rbd image=disk
#include <fcntl.h>
#include <rados/librados.h>
#include <rbd/librbd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/core.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

namespace {

// A cluster that is not there is said, and tried again by who started us.
constexpr const char* kConnectSeconds = "20";
constexpr std::uint32_t kBlockPreferred = 4096;
constexpr std::uint32_t kRequestMost = std::uint32_t{32} << 20;

/// The one image of this process. Made of the command line, then opened; calls come after that.
struct Image {
  std::string pool, image, snapshot, conf, id;
  int report = -1;
  rados_t cluster = nullptr;
  rados_ioctx_t io = nullptr;
  rbd_image_t rbd = nullptr;
  std::uint64_t bytes = 0;
};

Image& the_image() {
  static Image one;
  return one;
}

/// Tells who started us, who can see our errors nowhere else.
int refuse(std::string_view what, int error) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): before there are threads of ours
  const std::string text = fmt::format("{}: {}", what, std::strerror(-error));
  if (the_image().report >= 0) {
    static_cast<void>(!write(the_image().report, text.data(), text.size()));
  }
  nbdkit_error("%s", text.c_str());
  return -1;
}

int connect_to_cluster(Image& image) {
  int error = rados_create(&image.cluster, image.id.empty() ? nullptr : image.id.c_str());
  if (error < 0) return refuse("librados", error);
  // Before the file, which may say otherwise.
  for (const char* limit : {"client_mount_timeout", "rados_mon_op_timeout"})
    rados_conf_set(image.cluster, limit, kConnectSeconds);
  error = rados_conf_read_file(image.cluster, image.conf.empty() ? nullptr : image.conf.c_str());
  if (error < 0) return refuse(image.conf.empty() ? "ceph.conf" : image.conf, error);
  error = rados_connect(image.cluster);
  if (error < 0) return refuse("connect to the cluster", error);
  return 0;
}

int done(std::int64_t result, std::string_view what) {
  if (result >= 0) return 0;
  nbdkit_error("%s: %s", what.data(), std::strerror(static_cast<int>(-result)));  // NOLINT
  nbdkit_set_error(static_cast<int>(-result));
  return -1;
}

// --- what nbdkit calls, in its order -------------------------------------------------------------

int on_config(const char* key, const char* value) {
  Image& image = the_image();
  const std::string_view name = key;
  if (name == "pool") {
    image.pool = value;
  } else if (name == "image") {
    image.image = value;
  } else if (name == "snapshot") {
    image.snapshot = value;
  } else if (name == "conf") {
    image.conf = value;
  } else if (name == "id") {
    image.id = value;
  } else if (name == "report-fd") {
    if (nbdkit_parse_int("report-fd", value, &image.report) != 0) return -1;
    if (fcntl(image.report, F_SETFD, FD_CLOEXEC) != 0) {
      nbdkit_error("report-fd=%s: it is not open", value);
      return -1;
    }
  } else {
    nbdkit_error("%s: there are pool=, image=, snapshot=, conf=, id= and report-fd=", key);
    return -1;
  }
  return 0;
}

int on_config_complete() {
  if (!the_image().pool.empty() && !the_image().image.empty()) return 0;
  nbdkit_error("pool= and image= are both needed");
  return -1;
}

// librados has threads: after all forks.
int on_after_fork() {
  Image& image = the_image();
  if (connect_to_cluster(image) != 0) return -1;
  int error = rados_ioctx_create(image.cluster, image.pool.c_str(), &image.io);
  if (error < 0) return refuse("pool " + image.pool, error);
  const char* const snapshot = image.snapshot.empty() ? nullptr : image.snapshot.c_str();
  error = snapshot != nullptr
              ? rbd_open_read_only(image.io, image.image.c_str(), &image.rbd, snapshot)
              : rbd_open(image.io, image.image.c_str(), &image.rbd, nullptr);
  if (error < 0) return refuse("image " + image.image, error);
  error = rbd_get_size(image.rbd, &image.bytes);
  if (error < 0) return refuse("image " + image.image, error);
  close(std::exchange(image.report, -1));
  return 0;
}

void* on_open(int /*readonly*/) {
  return NBDKIT_HANDLE_NOT_NEEDED;
}

std::int64_t on_get_size(void* /*handle*/) {
  return static_cast<std::int64_t>(the_image().bytes);
}

int on_block_size(void* /*handle*/, std::uint32_t* minimum, std::uint32_t* preferred,
                  std::uint32_t* maximum) {
  *minimum = 1;
  *preferred = kBlockPreferred;
  *maximum = kRequestMost;
  return 0;
}

int on_can_write(void* /*handle*/) {
  return the_image().snapshot.empty() ? 1 : 0;
}

int on_yes(void* /*handle*/) {
  return 1;
}

// Another process has the image of another connection, and caches of its own.
int on_no(void* /*handle*/) {
  return 0;
}

int on_can_fua(void* /*handle*/) {
  return NBDKIT_FUA_EMULATE;
}

int on_pread(void* /*handle*/, void* buffer, std::uint32_t count, std::uint64_t offset,
             std::uint32_t /*flags*/) {
  return done(rbd_read(the_image().rbd, offset, count, static_cast<char*>(buffer)), "read");
}

int on_pwrite(void* /*handle*/, const void* buffer, std::uint32_t count, std::uint64_t offset,
              std::uint32_t /*flags*/) {
  return done(rbd_write(the_image().rbd, offset, count, static_cast<const char*>(buffer)), "write");
}

int on_flush(void* /*handle*/, std::uint32_t /*flags*/) {
  return done(rbd_flush(the_image().rbd), "flush");
}

int on_trim(void* /*handle*/, std::uint32_t count, std::uint64_t offset, std::uint32_t /*flags*/) {
  return done(rbd_discard(the_image().rbd, offset, count), "discard");
}

int on_zero(void* /*handle*/, std::uint32_t count, std::uint64_t offset, std::uint32_t /*flags*/) {
  return done(rbd_write_zeroes(the_image().rbd, offset, count, 0, 0), "write zeroes");
}

// The client has left, or we are told to end.
void on_cleanup() {
  Image& image = the_image();
  if (image.rbd != nullptr) rbd_close(image.rbd);  // and flushes it
  if (image.io != nullptr) rados_ioctx_destroy(image.io);
  if (image.cluster != nullptr) rados_shutdown(image.cluster);
}

nbdkit_plugin describe_plugin() {
  nbdkit_plugin plugin{};
  plugin.name = "airlockrbd";
  plugin.longname = "Airlock: an image of a Ceph cluster";
  plugin.version = AIRLOCK_VERSION;
  plugin.config_help =
      "pool=<POOL>        (required)\n"
      "image=<IMAGE>      (required)\n"
      "snapshot=<SNAP>    read only that\n"
      "conf=<FILE>        the cluster's configuration\n"
      "id=<USER>          without \"client.\"\n"
      "report-fd=<FD>     a pipe: say there why the image can't be opened";
  plugin.config = on_config;
  plugin.config_complete = on_config_complete;
  plugin.after_fork = on_after_fork;
  plugin.cleanup = on_cleanup;
  plugin.open = on_open;
  plugin.get_size = on_get_size;
  plugin.block_size = on_block_size;
  plugin.can_write = on_can_write;
  plugin.can_flush = on_yes;
  plugin.can_fua = on_can_fua;
  plugin.can_trim = on_yes;
  plugin.can_zero = on_yes;
  plugin.can_multi_conn = on_no;
  plugin.is_rotational = on_no;
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
