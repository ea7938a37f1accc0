// SPDX-License-Identifier: Apache-2.0
#include "backend/net/tap_backend.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "backend/net/gather.h"
#include "backend/net/net_checksum.h"
#include "backend/net/net_counters.h"
#include "backend/net/tap_frame.h"
#include "backend/net/writable_wake.h"
#include "base/check.h"
#include "base/log.h"
#include "spec/virtio.h"
#include "spec/virtio_net.h"

namespace airlock::backend {

namespace {

// Linux 6.2 and newer; not in older headers.
constexpr unsigned kTunUso = 0x20 | 0x40;  // TUN_F_USO4, TUN_F_USO6

constexpr std::size_t kPiecesMax = 64;  // of one frame, to be sent as they lie

struct OffloadPair {
  unsigned feature;
  unsigned tun;
};
constexpr OffloadPair kTapGuestOffloads[] = {
    {.feature = spec::VIRTIO_NET_F_GUEST_CSUM, .tun = TUN_F_CSUM},
    {.feature = spec::VIRTIO_NET_F_GUEST_TSO4, .tun = TUN_F_TSO4},
    {.feature = spec::VIRTIO_NET_F_GUEST_TSO6, .tun = TUN_F_TSO6},
    {.feature = spec::VIRTIO_NET_F_GUEST_ECN, .tun = TUN_F_TSO_ECN},
};
constexpr std::uint64_t kTapHostOffloads =
    spec::feature(spec::VIRTIO_NET_F_CSUM) | spec::feature(spec::VIRTIO_NET_F_HOST_TSO4) |
    spec::feature(spec::VIRTIO_NET_F_HOST_TSO6) | spec::feature(spec::VIRTIO_NET_F_HOST_ECN);
// One type of segments stands for both: a driver that takes only one of them gets none.
constexpr std::uint64_t kTapGuestUso =
    spec::feature(spec::VIRTIO_NET_F_GUEST_USO4) | spec::feature(spec::VIRTIO_NET_F_GUEST_USO6);

unsigned tun_offloads(std::uint64_t mask) {
  unsigned offloads = (mask & kTapGuestUso) == kTapGuestUso ? kTunUso : 0;
  for (const OffloadPair& pair : kTapGuestOffloads)
    offloads |= (mask & spec::feature(pair.feature)) != 0 ? pair.tun : 0;
  return offloads;
}

/// What the channels of an interface share.
struct TapState {
  NetCounters counters;
  std::function<void()> changed;
  std::atomic<bool> up{true};
};

/// One queue of the interface.
class TapQueue {
 public:
  TapQueue(Fd tap, Fd epoll) : tap_(std::move(tap)), epoll_(std::move(epoll)) {}

  [[nodiscard]] int fd() const { return tap_.get(); }
  /// Readable when the queue is, as long as it is attached.
  [[nodiscard]] int receive_fd() const { return epoll_.get(); }

  /// Errors: kSystem.
  Result<void> watch() {
    epoll_event event{.events = EPOLLIN, .data = {}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, tap_.get(), &event) == 0) return {};
    return fail(system_error());
  }
  /// Control thread. Errors: kSystem.
  Result<void> attach(bool wanted);
  /// Any thread: it has no interface. Whether that is not because it was detached; once.
  bool lost_interface();

 private:
  // One without an interface is readable for ever, with nothing there.
  void unwatch() {
    static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, tap_.get(), nullptr));
  }

  Fd tap_;
  Fd epoll_;
  std::mutex lock_;  // for what follows
  bool attached_ = true;
};

Result<void> TapQueue::attach(bool wanted) {
  const std::scoped_lock held(lock_);
  if (attached_ == wanted) return {};
  ifreq request{};
  request.ifr_flags = static_cast<short>(wanted ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE);
  if (::ioctl(tap_.get(), TUNSETQUEUE, &request) != 0) return fail(system_error());
  attached_ = wanted;
  if (wanted) return watch();
  unwatch();
  return {};
}

bool TapQueue::lost_interface() {
  const std::scoped_lock held(lock_);
  if (!std::exchange(attached_, false)) return false;
  unwatch();
  return true;
}

class TapChannel final : public NetChannel {
 public:
  TapChannel(TapQueue& queue, WritableWake writable, TapState& state)
      : queue_(queue), writable_(std::move(writable)), state_(state) {}

  Result<std::optional<std::size_t>> receive(spec::VirtioNetHdr& header,
                                             std::span<std::byte> frame) override;
  [[nodiscard]] int receive_fd() const override { return queue_.receive_fd(); }
  NetSendResult send(const spec::VirtioNetHdr& header,
                     std::span<const shm::SharedBytes> pieces) override;
  [[nodiscard]] int send_fd() const override { return writable_.fd(); }

 private:
  void lost_interface() {
    if (!queue_.lost_interface() || !state_.up.exchange(false)) return;
    log(LogLevel::kError, "the tap interface is gone: there will be no frames any more");
    state_.counters.count_disconnect();
    if (state_.changed) state_.changed();
  }

  TapQueue& queue_;
  WritableWake writable_;
  TapState& state_;
  std::vector<std::byte> copy_;  // of a frame in more pieces than kPiecesMax
};

Result<std::optional<std::size_t>> TapChannel::receive(spec::VirtioNetHdr& header,
                                                       std::span<std::byte> frame) {
  auto got = read_tap_frame(queue_.fd(), header, frame, state_.counters);
  if (got || got.error() != system_error(EBADFD)) return got;
  lost_interface();
  return std::nullopt;
}

NetSendResult TapChannel::send(const spec::VirtioNetHdr& header,
                               std::span<const shm::SharedBytes> pieces) {
  const std::uint64_t length = frame_bytes(pieces);
  if (!is_frame_length(length) || !header_fits(header, length)) {
    state_.counters.count_unsent();
    return NetSendResult::kDropped;
  }
  spec::VirtioNetHdr wire = header;
  wire.num_buffers.set(0);
  std::array<iovec, kPiecesMax + 1> parts{{{.iov_base = &wire, .iov_len = sizeof wire}}};
  std::size_t count = 1;
  if (pieces.size() <= kPiecesMax) {
    for (const shm::SharedBytes& piece : pieces)
      parts[count++] = piece.for_kernel();
  } else {
    copy_.resize(length);
    gather(pieces, copy_);
    parts[count++] = {.iov_base = copy_.data(), .iov_len = copy_.size()};
  }
  ssize_t sent = -1;
  do {
    sent = ::writev(queue_.fd(), parts.data(), static_cast<int>(count));
  } while (sent < 0 && errno == EINTR);
  if (sent < 0 && errno == EAGAIN) {
    writable_.arm(queue_.fd());
    return NetSendResult::kBusy;
  }
  writable_.disarm();
  if (sent >= 0) return NetSendResult::kSent;
  state_.counters
      .count_unsent();  // EIO: the interface is down. EINVAL: the kernel wants no such header
  return NetSendResult::kDropped;
}

using TapQueues = std::vector<std::unique_ptr<TapQueue>>;

class TapBackend final : public NetBackend {
 public:
  TapBackend(std::string name, TapQueues queues, std::vector<WritableWake> wakes, std::uint16_t mtu,
             bool uso)
      : name_(std::move(name)),
        queues_(std::move(queues)),
        wakes_(std::move(wakes)),
        mtu_(mtu),
        uso_(uso) {}

  [[nodiscard]] std::string describe() const override {
    return fmt::format("tap {}, {} queue{}", name_, queues_.size(), queues_.size() == 1 ? "" : "s");
  }
  [[nodiscard]] std::uint64_t offloads() const override {
    std::uint64_t mask = kTapHostOffloads;
    for (const OffloadPair& pair : kTapGuestOffloads)
      mask |= spec::feature(pair.feature);
    if (uso_) mask |= kTapGuestUso | spec::feature(spec::VIRTIO_NET_F_HOST_USO);
    return mask;
  }
  [[nodiscard]] std::uint16_t mtu() const override { return mtu_; }
  [[nodiscard]] std::uint16_t channels_max() const override {
    return static_cast<std::uint16_t>(queues_.size());
  }
  Result<std::unique_ptr<NetChannel>> open_channel() override {
    CHECK(opened_ < queues_.size());
    const std::size_t index = opened_++;
    return std::make_unique<TapChannel>(*queues_[index], std::move(wakes_[index]), state_);
  }
  Result<void> use_channels(std::uint16_t count) override {
    CHECK(count >= 1 && count <= queues_.size());
    for (std::size_t i = 1; i < queues_.size(); ++i)
      TRY(queues_[i]->attach(i < count));
    return {};
  }
  Result<void> set_guest_offloads(std::uint64_t mask) override {
    CHECK((mask & ~offloads()) == 0);
    // An interface has one setting, whichever queue it is told through.
    if (::ioctl(queues_[0]->fd(), TUNSETOFFLOAD, tun_offloads(mask)) != 0) {
      return fail(system_error());
    }
    return {};
  }
  [[nodiscard]] bool link_up() const override { return state_.up.load(); }
  void on_link_change(std::function<void()> changed) override {
    state_.changed = std::move(changed);
  }
  [[nodiscard]] NetBackendCounts counts() const override { return state_.counters.counts(); }

 private:
  TapState state_;
  std::string name_;
  TapQueues queues_;
  std::vector<WritableWake> wakes_;  // of those not opened yet
  std::uint16_t mtu_;
  bool uso_;
  std::size_t opened_ = 0;
};

/// What TUNSETIFF and its like say; `step` names it.
std::unexpected<OpenError> cannot_open(const TapOptions& options, const Error& error) {
  std::string advice = fmt::format(
      "make it first: ip tuntap add {} mode tap user $USER{}, and ip "
      "link set {} up",
      options.name, options.channels > 1 ? " multi_queue" : "", options.name);
  if (error == system_error(ENOENT) || error == system_error(ENODEV)) {
    advice = "load the module tun: modprobe tun";
  } else if (error == system_error(EINVAL)) {
    advice = fmt::format("it is no tap, or has {} queue: ip tuntap add {} mode tap multi_queue",
                         options.channels > 1 ? "only one" : "more than one", options.name);
  } else if (error == system_error(EBUSY)) {
    advice = "end the other program that uses it, or give the name of another one";
  }
  return std::unexpected(OpenError{
      .what = "open tap:" + options.name, .why = airlock::describe(error), .advice = advice});
}

Result<Fd> open_queue(const TapOptions& options) {
  Fd tap = TRY(own_fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)));
  ifreq request{};
  std::ranges::copy(options.name, request.ifr_name);
  const int several = options.channels > 1 ? IFF_MULTI_QUEUE : 0;
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | several);
  int header_bytes = sizeof(spec::VirtioNetHdr);
  int little_endian = 1;
  if (::ioctl(tap.get(), TUNSETIFF, &request) != 0 ||
      ::ioctl(tap.get(), TUNSETVNETHDRSZ, &header_bytes) != 0 ||
      ::ioctl(tap.get(), TUNSETVNETLE, &little_endian) != 0 ||
      ::ioctl(tap.get(), TUNSETOFFLOAD, 0) != 0) {
    return fail(system_error());
  }
  return tap;
}

Result<std::unique_ptr<TapQueue>> make_queue(const TapOptions& options) {
  Fd tap = TRY(open_queue(options));
  Fd epoll = TRY(own_fd(::epoll_create1(EPOLL_CLOEXEC)));
  auto queue = std::make_unique<TapQueue>(std::move(tap), std::move(epoll));
  TRY(queue->watch());
  return queue;
}

/// Whether the kernel knows segments of UDP: both ways, if at all.
bool has_uso(int tap) {
  const bool known = ::ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | kTunUso) == 0;
  static_cast<void>(::ioctl(tap, TUNSETOFFLOAD, 0));
  return known;
}

/// The interface's MTU; 0 where it can't be told.
std::uint16_t mtu_of(const std::string& name) {
  const Fd any(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::ranges::copy(name, request.ifr_name);
  if (!any || ::ioctl(any.get(), SIOCGIFMTU, &request) != 0) return 0;
  return static_cast<std::uint16_t>(std::clamp(request.ifr_mtu, 0, 65535));
}

}  // namespace

Opened<std::unique_ptr<NetBackend>> open_tap(const TapOptions& options) {
  CHECK(options.channels > 0);
  if (options.name.empty() || options.name.size() >= IFNAMSIZ) {
    return std::unexpected(
        OpenError{.what = "--backend tap:" + options.name,
                  .why = fmt::format("an interface has a name of 1 to {} characters", IFNAMSIZ - 1),
                  .advice = "write tap:NAME, as tap:tap0"});
  }
  TapQueues queues;
  std::vector<WritableWake> wakes;
  for (std::uint16_t i = 0; i < options.channels; ++i) {
    auto queue = make_queue(options);
    if (!queue) return cannot_open(options, queue.error());
    queues.push_back(std::move(*queue));
    auto wake = WritableWake::create();
    if (!wake) return cannot_open(options, wake.error());
    wakes.push_back(std::move(*wake));
  }
  const bool uso = has_uso(queues[0]->fd());
  return std::make_unique<TapBackend>(options.name, std::move(queues), std::move(wakes),
                                      mtu_of(options.name), uso);
}

}  // namespace airlock::backend
