// SPDX-License-Identifier: Apache-2.0
#include "vfio_user/client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/checked.h"
#include "spec/vfio_user_io_fds.h"
#include "vfio_user/version.h"
#include "wire/message.h"
#include "wire/region_info.h"
#include "wire/region_io_fds.h"
#include "wire/socket.h"

namespace airlock::vfio_user {

namespace {

using Clock = std::chrono::steady_clock;
using Bytes = std::span<const std::byte>;

// What is taken in one access, whatever the server offers: it bounds what a reply can allocate.
constexpr std::uint32_t kMaxAccess = 1U << 20U;
constexpr std::uint32_t kMaxMessage =
    static_cast<std::uint32_t>(kHeaderSize + sizeof(spec::VfioUserRegionAccess)) + kMaxAccess;
// Of a region's description, with room for some 250 areas. Bytes.
constexpr std::uint32_t kMaxRegionInfo = 4096;
// Of a region's doorbells: as many as fds fit a message. Bytes.
constexpr std::uint32_t kMaxRegionIoFds =
    sizeof(spec::VfioUserRegionIoFds) + kMaxMessageFds * sizeof(spec::VfioUserSubRegionIoeventfd);

// One request and what its reply may look like.
struct Exchange {
  std::uint16_t command = 0;
  // NOLINTNEXTLINE(readability-redundant-member-init): GCC wants it, to be left out where not used
  std::vector<std::byte> payload = {};
  // NOLINTNEXTLINE(readability-redundant-member-init): likewise
  std::span<const int> fds = {};  // borrowed
  std::size_t reply_min = 0;      // bytes of payload
  std::size_t reply_max = 0;
  std::size_t reply_fds = 0;  // it may carry so many
};

}  // namespace

class Client::Impl {
 public:
  Impl(Fd socket, const Options& options)
      : socket_(std::move(socket)),
        timeout_(options.timeout),
        reader_({.max_message_size = kMaxMessage, .max_fds = kMaxMessageFds}) {}

  Result<void> negotiate();
  Result<Message> exchange(const Exchange& request);
  Result<void> post(std::uint16_t command, Bytes payload);
  Result<void> set_irqs(const spec::VfioUserIrqSet& request, std::span<const int> fds);
  // Ends the conversation.
  void give_up();
  // The same, with the error of a reply whose field at `offset` is no answer to the request.
  std::unexpected<Error> distrust(std::size_t offset);

  [[nodiscard]] const Version& version() const { return version_; }
  [[nodiscard]] std::uint64_t refused_commands() const { return refused_commands_; }
  [[nodiscard]] std::int64_t server_pid() const;

 private:
  Result<void> wait(short events, Clock::time_point deadline) const;
  Result<void> send(Bytes bytes, std::span<const int> fds, Clock::time_point deadline);
  Result<Message> receive(Clock::time_point deadline);
  Result<Message> receive_reply(std::uint16_t id, std::uint16_t command,
                                Clock::time_point deadline);
  Result<void> refuse(const Message& command, Clock::time_point deadline);
  Result<Message> try_exchange(const Exchange& request);
  [[nodiscard]] std::vector<std::byte> start(std::uint16_t command, std::uint32_t flags,
                                             Bytes payload);

  Fd socket_;
  std::chrono::milliseconds timeout_;
  MessageReader reader_;
  Version version_;
  std::uint16_t next_id_ = 0;
  std::uint64_t refused_commands_ = 0;
  bool broken_ = false;  // the stream is at an unknown place
};

std::int64_t Client::Impl::server_pid() const {
  ucred peer = {};
  socklen_t size = sizeof peer;
  if (getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return 0;
  return peer.pid;
}

// Until the socket is ready for `events`, or has ended, which the next call on it tells.
Result<void> Client::Impl::wait(short events, Clock::time_point deadline) const {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) {
      return fail({.code = Errc::kTimeout, .detail = static_cast<std::uint32_t>(timeout_.count())});
    }
    pollfd state = {.fd = socket_.get(), .events = events, .revents = 0};
    const int ready = poll(&state, 1, static_cast<int>(std::min<std::int64_t>(left, INT32_MAX)));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return fail(system_error());
  }
}

Result<void> Client::Impl::send(Bytes bytes, std::span<const int> fds, Clock::time_point deadline) {
  while (!bytes.empty()) {
    const std::size_t sent = TRY(send_some(socket_.get(), bytes, fds));
    if (sent == 0) {
      TRY(wait(POLLOUT, deadline));
      continue;
    }
    bytes = bytes.subspan(sent);
    fds = {};  // they went with the first byte
  }
  return {};
}

Result<Message> Client::Impl::receive(Clock::time_point deadline) {
  TRY(wait(POLLIN, deadline));
  while (true) {
    const auto progress = TRY(receive_some(socket_.get(), reader_));
    if (reader_.complete()) return reader_.take();
    // The clock as well: a server that trickles bytes must not keep this going.
    if (progress == Progress::kWouldBlock || Clock::now() >= deadline) {
      TRY(wait(POLLIN, deadline));
    }
  }
}

// A server's own command can only ask for our memory. It is told no, and that it asked is counted.
Result<void> Client::Impl::refuse(const Message& command, Clock::time_point deadline) {
  ++refused_commands_;
  if ((command.header.flags & spec::VFIO_USER_F_NO_REPLY) != 0) return {};
  const spec::VfioUserHeader header{.message_id = command.header.message_id,
                                    .command = command.header.command,
                                    .message_size = kHeaderSize,
                                    .flags = spec::VFIO_USER_F_TYPE_REPLY | spec::VFIO_USER_F_ERROR,
                                    .error = EPERM};
  return send(bytes_of(header), {}, deadline);
}

Result<Message> Client::Impl::receive_reply(std::uint16_t id, std::uint16_t command,
                                            Clock::time_point deadline) {
  while (true) {
    Message message = TRY(receive(deadline));
    const spec::VfioUserHeader& header = message.header;
    const std::uint32_t type = header.flags & spec::VFIO_USER_F_TYPE_MASK;
    if (type == spec::VFIO_USER_F_TYPE_COMMAND) {
      TRY(refuse(message, deadline));
      continue;
    }
    if (type != spec::VFIO_USER_F_TYPE_REPLY) {
      return malformed(offsetof(spec::VfioUserHeader, flags));
    }
    if (header.message_id != id) return malformed(offsetof(spec::VfioUserHeader, message_id));
    if (header.command != command) return malformed(offsetof(spec::VfioUserHeader, command));
    return message;
  }
}

std::vector<std::byte> Client::Impl::start(std::uint16_t command, std::uint32_t flags,
                                           Bytes payload) {
  std::vector<std::byte> bytes;
  bytes.reserve(kHeaderSize + payload.size());
  append_struct(bytes, spec::VfioUserHeader{
                           .message_id = ++next_id_,
                           .command = command,
                           .message_size = static_cast<std::uint32_t>(kHeaderSize + payload.size()),
                           .flags = spec::VFIO_USER_F_TYPE_COMMAND | flags,
                           .error = 0});
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

Result<Message> Client::Impl::try_exchange(const Exchange& request) {
  const auto deadline = Clock::now() + timeout_;
  TRY(send(start(request.command, 0, request.payload), request.fds, deadline));
  Message reply = TRY(receive_reply(next_id_, request.command, deadline));
  const bool is_error = (reply.header.flags & spec::VFIO_USER_F_ERROR) != 0;
  if (reply.fds_lost || reply.fds.size() > (is_error ? 0 : request.reply_fds)) {
    return malformed(kHeaderSize);
  }
  const std::size_t size = reply.payload.size();
  const bool fits = is_error ? size == 0 : size >= request.reply_min && size <= request.reply_max;
  if (!fits) return malformed(offsetof(spec::VfioUserHeader, message_size));
  return reply;
}

void Client::Impl::give_up() {
  broken_ = true;
  socket_.reset();  // the server shall not wait for us either
}

std::unexpected<Error> Client::Impl::distrust(std::size_t offset) {
  give_up();
  return malformed(offset);
}

// Any failure but the server's own error reply leaves the stream at an unknown place.
Result<Message> Client::Impl::exchange(const Exchange& request) {
  if (broken_) return fail(Errc::kPeerClosed);
  auto reply = try_exchange(request);
  if (!reply) {
    give_up();
    return reply;
  }
  if ((reply->header.flags & spec::VFIO_USER_F_ERROR) == 0) return reply;
  const std::uint32_t error = reply->header.error;
  const bool known = error != 0 && error <= kMaxErrno;
  return fail(system_error(known ? static_cast<int>(error) : EINVAL));
}

Result<void> Client::Impl::post(std::uint16_t command, Bytes payload) {
  if (broken_) return fail(Errc::kPeerClosed);
  auto sent =
      send(start(command, spec::VFIO_USER_F_NO_REPLY, payload), {}, Clock::now() + timeout_);
  if (!sent) give_up();
  return sent;
}

Result<void> Client::Impl::set_irqs(const spec::VfioUserIrqSet& request, std::span<const int> fds) {
  TRY(exchange(
      {.command = spec::VFIO_USER_DEVICE_SET_IRQS, .payload = bytes_of(request), .fds = fds}));
  return {};
}

Result<void> Client::Impl::negotiate() {
  Exchange request{.command = spec::VFIO_USER_VERSION,
                   .reply_min = sizeof(spec::VfioUserVersion),
                   .reply_max = kMaxVersionPayload};
  append_version(request.payload, {.capabilities = {.max_msg_fds = kMaxMessageFds,
                                                    .max_data_xfer_size = kMaxAccess}});
  const Message reply = TRY(exchange(request));
  const auto answer = TRY(parse_version(reply.payload));
  if (answer.major != kVersionMajor) return malformed(offsetof(spec::VfioUserVersion, major));
  if (answer.minor > kVersionMinor) return malformed(offsetof(spec::VfioUserVersion, minor));
  const Capabilities& offered = answer.capabilities;
  version_ = {.major = answer.major,
              .minor = answer.minor,
              .max_msg_fds = std::min(saturate<std::uint32_t>(offered.max_msg_fds), kMaxMessageFds),
              .max_data_xfer_size =
                  std::min(saturate<std::uint32_t>(offered.max_data_xfer_size), kMaxAccess)};
  return {};
}

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Result<Client> Client::connect(const std::string& path, const Options& options) {
  const sockaddr_un address = TRY(unix_address(path));
  Fd socket = TRY(own_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  // A full backlog makes connect() wait for room, which poll can't: bound it this way.
  const std::int64_t ms = std::max<std::int64_t>(options.timeout.count(), 1);
  const timeval limit = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
  if (setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0) {
    return fail(system_error());
  }
  int connected = -1;
  do {
    connected = ::connect(socket.get(), as_sockaddr(address), sizeof address);
  } while (connected != 0 && errno == EINTR);
  if (connected != 0) {
    if (errno != EAGAIN) return fail(system_error());
    return fail({.code = Errc::kTimeout, .detail = static_cast<std::uint32_t>(ms)});
  }
  return adopt(std::move(socket), options);
}

Result<Client> Client::adopt(Fd socket, const Options& options) {
  auto impl = std::make_unique<Impl>(std::move(socket), options);
  TRY(impl->negotiate());
  return Client(std::move(impl));
}

const Client::Version& Client::version() const {
  return impl_->version();
}

std::int64_t Client::server_pid() const {
  return impl_->server_pid();
}

std::uint64_t Client::refused_commands() const {
  return impl_->refused_commands();
}

Result<Client::DeviceInfo> Client::device_info() {
  using Info = spec::VfioUserDeviceInfo;
  const Info ask{.argsz = sizeof(Info), .flags = 0, .num_regions = 0, .num_irqs = 0};
  const Message reply = TRY(impl_->exchange({.command = spec::VFIO_USER_DEVICE_GET_INFO,
                                             .payload = bytes_of(ask),
                                             .reply_min = sizeof(Info),
                                             .reply_max = sizeof(Info)}));
  const auto info = require_struct<Info>(reply.payload);
  return DeviceInfo{
      .flags = info.flags, .num_regions = info.num_regions, .num_irqs = info.num_irqs};
}

Result<Client::Region> Client::region(std::uint32_t index) {
  using Info = spec::VfioUserRegionInfo;
  Info ask{
      .argsz = sizeof(Info), .flags = 0, .index = index, .cap_offset = 0, .size = 0, .offset = 0};
  Message reply;
  ParsedRegionInfo parsed;
  // Once with the bare struct, and once with the room that the server says it wants.
  for (const bool second : {false, true}) {
    reply = TRY(impl_->exchange({.command = spec::VFIO_USER_DEVICE_GET_REGION_INFO,
                                 .payload = bytes_of(ask),
                                 .reply_min = sizeof(Info),
                                 .reply_max = ask.argsz,
                                 .reply_fds = 1}));
    const auto announced = require_struct<Info>(reply.payload).argsz;
    const bool complete = announced <= ask.argsz;
    auto checked = parse_region_info(reply.payload, index, complete);
    if (!checked) {
      impl_->give_up();
      return fail(checked.error());
    }
    parsed = std::move(*checked);
    if (complete) break;
    if (second || announced > kMaxRegionInfo) return impl_->distrust(offsetof(Info, argsz));
    ask.argsz = announced;
  }
  Region region{.size = parsed.info.size,
                .readable = (parsed.info.flags & spec::VFIO_REGION_INFO_FLAG_READ) != 0,
                .writable = (parsed.info.flags & spec::VFIO_REGION_INFO_FLAG_WRITE) != 0,
                .file_offset = 0,
                .areas = {},
                .fd = {}};
  if (reply.fds.empty() || parsed.areas.empty()) return region;
  region.file_offset = parsed.info.offset;
  region.areas = std::move(parsed.areas);
  region.fd = std::move(reply.fds.front());
  return region;
}

Result<Client::Doorbells> Client::doorbells(std::uint32_t index, std::uint64_t region_bytes) {
  const spec::VfioUserRegionIoFds ask{
      .argsz = kMaxRegionIoFds, .flags = 0, .index = index, .count = 0};
  Message reply = TRY(impl_->exchange({.command = spec::VFIO_USER_DEVICE_GET_REGION_IO_FDS,
                                       .payload = bytes_of(ask),
                                       .reply_min = sizeof ask,
                                       .reply_max = kMaxRegionIoFds,
                                       .reply_fds = kMaxMessageFds}));
  auto parsed = parse_region_io_fds(reply.payload, index, region_bytes, reply.fds.size());
  if (!parsed) {
    impl_->give_up();
    return fail(parsed.error());
  }
  if (parsed->eventfds.empty()) return Doorbells{};
  if (!std::ranges::all_of(reply.fds, is_anonymous_inode)) return impl_->distrust(kHeaderSize);
  return Doorbells{.eventfds = std::move(parsed->eventfds), .fds = std::move(reply.fds)};
}

Result<Client::IrqInfo> Client::irq_info(std::uint32_t index) {
  using Info = spec::VfioUserIrqInfo;
  const Info ask{.argsz = sizeof(Info), .flags = 0, .index = index, .count = 0};
  const Message reply = TRY(impl_->exchange({.command = spec::VFIO_USER_DEVICE_GET_IRQ_INFO,
                                             .payload = bytes_of(ask),
                                             .reply_min = sizeof(Info),
                                             .reply_max = sizeof(Info)}));
  const auto info = require_struct<Info>(reply.payload);
  if (info.index != index) return impl_->distrust(offsetof(Info, index));
  return IrqInfo{.flags = info.flags, .count = info.count};
}

namespace {

Result<spec::VfioUserRegionAccess> make_access(const Client::Version& version, std::uint32_t region,
                                               std::uint64_t offset, std::size_t size) {
  if (size > version.max_data_xfer_size) return fail({.code = Errc::kTooLarge, .address = size});
  return spec::VfioUserRegionAccess{
      .offset = offset, .region = region, .count = static_cast<std::uint32_t>(size)};
}

}  // namespace

Result<void> Client::read(std::uint32_t region, std::uint64_t offset, std::span<std::byte> target) {
  using Access = spec::VfioUserRegionAccess;
  const auto ask = TRY(make_access(version(), region, offset, target.size()));
  const std::size_t size = sizeof(Access) + target.size();
  const Message reply = TRY(impl_->exchange({.command = spec::VFIO_USER_REGION_READ,
                                             .payload = bytes_of(ask),
                                             .reply_min = size,
                                             .reply_max = size}));
  std::ranges::copy(Bytes(reply.payload).subspan(sizeof(Access)), target.begin());
  return {};
}

Result<void> Client::write(std::uint32_t region, std::uint64_t offset,
                           std::span<const std::byte> source, Posted posted) {
  using Access = spec::VfioUserRegionAccess;
  const auto ask = TRY(make_access(version(), region, offset, source.size()));
  Exchange request{.command = spec::VFIO_USER_REGION_WRITE,
                   .payload = bytes_of(ask),
                   .reply_min = 0,  // some servers answer with a bare header
                   .reply_max = sizeof(Access)};
  request.payload.insert(request.payload.end(), source.begin(), source.end());
  if (posted == Posted::kYes) return impl_->post(request.command, request.payload);
  TRY(impl_->exchange(request));
  return {};
}

Result<void> Client::set_irq_eventfds(std::uint32_t index, std::uint32_t start,
                                      std::span<const int> eventfds) {
  if (version().max_msg_fds == 0) {
    return fail({.code = Errc::kUnsupported, .detail = spec::VFIO_USER_DEVICE_SET_IRQS});
  }
  while (!eventfds.empty()) {
    const auto batch =
        eventfds.first(std::min<std::size_t>(eventfds.size(), version().max_msg_fds));
    const auto count = static_cast<std::uint32_t>(batch.size());
    TRY(impl_->set_irqs(
        {.argsz = sizeof(spec::VfioUserIrqSet),
         .flags = spec::VFIO_IRQ_SET_DATA_EVENTFD | spec::VFIO_IRQ_SET_ACTION_TRIGGER,
         .index = index,
         .start = start,
         .count = count},
        batch));
    start += count;
    eventfds = eventfds.subspan(batch.size());
  }
  return {};
}

Result<void> Client::deassign_irqs(std::uint32_t index, std::uint32_t start, std::uint32_t count) {
  return impl_->set_irqs(
      {.argsz = sizeof(spec::VfioUserIrqSet),
       .flags = spec::VFIO_IRQ_SET_DATA_EVENTFD | spec::VFIO_IRQ_SET_ACTION_TRIGGER,
       .index = index,
       .start = start,
       .count = count},
      {});
}

Result<void> Client::disable_irqs(std::uint32_t index) {
  return trigger_irq(index, 0, 0);  // how the protocol spells it
}

Result<void> Client::trigger_irq(std::uint32_t index, std::uint32_t start, std::uint32_t count) {
  return impl_->set_irqs({.argsz = sizeof(spec::VfioUserIrqSet),
                          .flags = spec::VFIO_IRQ_SET_DATA_NONE | spec::VFIO_IRQ_SET_ACTION_TRIGGER,
                          .index = index,
                          .start = start,
                          .count = count},
                         {});
}

Result<void> Client::dma_map(const DmaRange& range, int fd) {
  const spec::VfioUserDmaMap ask{.argsz = sizeof(spec::VfioUserDmaMap),
                                 .flags = (range.readable ? spec::VFIO_USER_F_DMA_REGION_READ : 0) |
                                          (range.writable ? spec::VFIO_USER_F_DMA_REGION_WRITE : 0),
                                 .offset = range.file_offset,
                                 .address = range.address,
                                 .size = range.size};
  TRY(impl_->exchange({.command = spec::VFIO_USER_DMA_MAP,
                       .payload = bytes_of(ask),
                       .fds = fd >= 0 ? std::span(&fd, 1) : std::span<const int>()}));
  return {};
}

namespace {

Exchange make_unmap(std::uint32_t flags, std::uint64_t address, std::uint64_t size) {
  const spec::VfioUserDmaUnmap ask{
      .argsz = sizeof(spec::VfioUserDmaUnmap), .flags = flags, .address = address, .size = size};
  return {.command = spec::VFIO_USER_DMA_UNMAP,
          .payload = bytes_of(ask),
          .reply_min = 0,  // some servers answer with a bare header
          .reply_max = sizeof ask};
}

}  // namespace

Result<void> Client::dma_unmap(std::uint64_t address, std::uint64_t size) {
  TRY(impl_->exchange(make_unmap(0, address, size)));
  return {};
}

Result<void> Client::dma_unmap_all() {
  TRY(impl_->exchange(make_unmap(spec::VFIO_USER_F_DMA_UNMAP_ALL, 0, 0)));
  return {};
}

Result<void> Client::reset() {
  TRY(impl_->exchange({.command = spec::VFIO_USER_DEVICE_RESET}));
  return {};
}

}  // namespace airlock::vfio_user
