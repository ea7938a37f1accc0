// SPDX-License-Identifier: Apache-2.0
#include "vfio_user/session.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "spec/vfio_user_io_fds.h"
#include "vfio_user/version.h"
#include "wire/socket.h"

namespace airlock::vfio_user {

namespace {

// What an Error is on the wire. Clients know nothing finer.
std::uint32_t errno_of(const Error& error) {
  switch (error.code) {
    case Errc::kSystem:
      return error.detail != 0 && error.detail <= kMaxErrno ? error.detail : EIO;
    case Errc::kUnsupported:
    case Errc::kNotSupportedByDevice:
      return EOPNOTSUPP;
    case Errc::kIoError:
      return EIO;
    case Errc::kReadOnly:
      return EROFS;
    case Errc::kTimeout:
      return ETIMEDOUT;
    case Errc::kTooLarge:
      return E2BIG;
    default:
      return EINVAL;
  }
}

std::unexpected<Error> invalid(std::size_t offset) {
  return fail({.code = Errc::kMalformed, .detail = static_cast<std::uint32_t>(offset)});
}

std::unexpected<Error> unsupported(std::uint16_t command) {
  return fail({.code = Errc::kUnsupported, .detail = command});
}

// A struct that begins with argsz. Both the message and argsz may be larger: a newer client may
// know fields that are of no interest here.
template <class T>
Result<T> read_argsz_struct(std::span<const std::byte> payload) {
  const auto request = read_struct<T>(payload);
  if (!request || request->argsz < sizeof(T)) return invalid(offsetof(T, argsz));
  return *request;
}

// Not empty, and its last byte has an address.
bool sound_range(std::uint64_t address, std::uint64_t size) {
  return size != 0 && airlock_range_within(address, size - 1, UINT64_MAX);
}

// Our own handler's promises about its mapping of a region of `size` bytes.
void check_mapping(const RegionMapping& mapping, std::uint64_t size) {
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  CHECK(mapping.fd >= 0 && mapping.area.size != 0);
  CHECK(airlock_range_within(mapping.area.offset, mapping.area.size, size));
  CHECK(airlock_is_aligned(mapping.area.offset, page));
  CHECK(airlock_is_aligned(mapping.area.size, page));
  CHECK(airlock_is_aligned(mapping.file_offset, page));
}

// A reply under construction: room for the header, which send() fills in.
std::vector<std::byte> start_reply() {
  return std::vector<std::byte>(kHeaderSize);
}

}  // namespace

Session::Session(Handler& handler, const Options& options, std::move_only_function<void()> settled)
    : handler_(handler),
      options_(options),
      settled_(std::move(settled)),
      link_(std::make_shared<Link>(this)) {}

Session::~Session() {
  close();
  link_->session = nullptr;
}

MessageReader::Limits Session::limits() const {
  // The largest message is a REGION_WRITE.
  constexpr auto kAround =
      static_cast<std::uint32_t>(kHeaderSize + sizeof(spec::VfioUserRegionAccess));
  return {.max_message_size = kAround + options_.max_data_xfer_size,
          .max_fds = options_.max_msg_fds};
}

void Session::handle(Message message) {
  CHECK(!pending_ && !closed_);
  handling_ = true;
  const spec::VfioUserHeader request = message.header;
  Outcome outcome = dispatch(message);
  handling_ = false;
  if (!outcome) return send_error(request, outcome.error());
  std::optional<Answer> answer = std::move(*outcome);
  if (answer) send(request, std::move(*answer));
}

std::optional<Outgoing> Session::take_reply() {
  if (replies_.empty()) return std::nullopt;
  Outgoing reply = std::move(replies_.front());
  replies_.pop_front();
  return reply;
}

void Session::close() {
  if (std::exchange(closed_, true)) return;
  replies_.clear();
  if (negotiated_) handler_.disconnected();
}

// What holds for every command.
Result<void> Session::check_message(const Message& message) const {
  constexpr std::size_t kFlags = offsetof(spec::VfioUserHeader, flags);
  constexpr std::size_t kCommand = offsetof(spec::VfioUserHeader, command);
  const spec::VfioUserHeader& header = message.header;
  // No command of ours is outstanding, so a reply answers nothing.
  if ((header.flags & ~spec::VFIO_USER_F_NO_REPLY) != spec::VFIO_USER_F_TYPE_COMMAND) {
    return invalid(kFlags);
  }
  if (message.fds_lost) return invalid(kHeaderSize);
  const bool takes_fds = header.command == spec::VFIO_USER_DMA_MAP ||
                         header.command == spec::VFIO_USER_DEVICE_SET_IRQS;
  if (!message.fds.empty() && !takes_fds) return invalid(kHeaderSize);
  // VERSION comes first, and once.
  if (negotiated_ == (header.command == spec::VFIO_USER_VERSION)) return invalid(kCommand);
  return {};
}

Session::Outcome Session::dispatch(Message& message) {
  TRY(check_message(message));
  const std::span<const std::byte> payload = message.payload;
  const std::uint16_t command = message.header.command;
  switch (command) {
    case spec::VFIO_USER_VERSION:
      return on_version(payload);
    case spec::VFIO_USER_DMA_MAP:
      return on_dma_map(message);
    case spec::VFIO_USER_DMA_UNMAP:
      return on_dma_unmap(message);
    case spec::VFIO_USER_DEVICE_GET_INFO:
      return on_device_info(payload);
    case spec::VFIO_USER_DEVICE_GET_REGION_INFO:
      return on_region_info(payload);
    case spec::VFIO_USER_DEVICE_GET_REGION_IO_FDS:
      return on_region_io_fds(payload);
    case spec::VFIO_USER_DEVICE_GET_IRQ_INFO:
      return on_irq_info(payload);
    case spec::VFIO_USER_DEVICE_SET_IRQS:
      return on_set_irqs(message);
    case spec::VFIO_USER_REGION_READ:
      return on_region_read(payload);
    case spec::VFIO_USER_REGION_WRITE:
      return on_region_write(payload);
    case spec::VFIO_USER_DEVICE_RESET:
      return on_reset(message);
    case spec::VFIO_USER_REGION_WRITE_MULTI:
    case spec::VFIO_USER_DIRTY_PAGES:
    case spec::VFIO_USER_MIG_DATA_READ:
    case spec::VFIO_USER_MIG_DATA_WRITE:
      return unsupported(command);
    case spec::VFIO_USER_DEVICE_FEATURE:
      return fail(system_error(ENOTTY));
    // Only a server may send these two, and this one never does.
    case spec::VFIO_USER_DMA_READ:
    case spec::VFIO_USER_DMA_WRITE:
    default:
      return invalid(offsetof(spec::VfioUserHeader, command));
  }
}

Session::Outcome Session::on_version(std::span<const std::byte> payload) {
  const Proposal proposal = TRY(parse_version(payload));
  if (proposal.major != kVersionMajor) return invalid(offsetof(spec::VfioUserVersion, major));
  Answer answer{.bytes = start_reply(), .fds = {}};
  append_version(answer.bytes,
                 {.major = kVersionMajor,
                  .minor = std::min(proposal.minor, kVersionMinor),
                  .capabilities = {.max_msg_fds = options_.max_msg_fds,
                                   .max_data_xfer_size = options_.max_data_xfer_size}});
  CHECK(answer.bytes.size() <= kMaxVersionReply);
  client_max_fds_ = proposal.capabilities.max_msg_fds;
  negotiated_ = true;
  handler_.connected();
  return answer;
}

Session::Outcome Session::on_dma_map(Message& message) {
  using Request = spec::VfioUserDmaMap;
  const auto request = TRY(read_argsz_struct<Request>(message.payload));
  constexpr std::uint32_t kFlags =
      spec::VFIO_USER_F_DMA_REGION_READ | spec::VFIO_USER_F_DMA_REGION_WRITE;
  if ((request.flags & ~kFlags) != 0) return invalid(offsetof(Request, flags));
  if (!sound_range(request.address, request.size) || !sound_range(request.offset, request.size)) {
    return invalid(offsetof(Request, size));
  }
  if (message.fds.size() > 1) return invalid(kHeaderSize);
  const DmaRange range{.address = request.address,
                       .size = request.size,
                       .file_offset = request.offset,
                       .readable = (request.flags & spec::VFIO_USER_F_DMA_REGION_READ) != 0,
                       .writable = (request.flags & spec::VFIO_USER_F_DMA_REGION_WRITE) != 0};
  Fd fd;
  if (!message.fds.empty()) fd = std::move(message.fds.front());
  handler_.dma_map(range, std::move(fd), defer(message.header, {}));
  return std::nullopt;
}

Session::Outcome Session::on_dma_unmap(const Message& message) {
  using Request = spec::VfioUserDmaUnmap;
  const auto request = TRY(read_argsz_struct<Request>(message.payload));
  const bool all = request.flags == spec::VFIO_USER_F_DMA_UNMAP_ALL;
  // No dirty bitmap: a device that touches no guest memory has nothing to report.
  if (!all && request.flags != 0) return invalid(offsetof(Request, flags));
  const bool sound =
      all ? request.address == 0 && request.size == 0 : sound_range(request.address, request.size);
  if (!sound) return invalid(offsetof(Request, size));
  // Cloud Hypervisor waits for exactly the request's 24 bytes.
  handler_.dma_unmap(request.address, request.size, all, defer(message.header, bytes_of(request)));
  return std::nullopt;
}

Session::Outcome Session::on_device_info(std::span<const std::byte> payload) {
  TRY(read_argsz_struct<spec::VfioUserDeviceInfo>(payload));
  Answer answer{.bytes = start_reply(), .fds = {}};
  append_struct(answer.bytes, spec::VfioUserDeviceInfo{.argsz = sizeof(spec::VfioUserDeviceInfo),
                                                       .flags = spec::VFIO_DEVICE_FLAGS_RESET |
                                                                spec::VFIO_DEVICE_FLAGS_PCI,
                                                       .num_regions = spec::VFIO_PCI_NUM_REGIONS,
                                                       .num_irqs = spec::VFIO_PCI_NUM_IRQS});
  return answer;
}

Session::Outcome Session::on_region_info(std::span<const std::byte> payload) {
  using Info = spec::VfioUserRegionInfo;
  using Sparse = spec::VfioRegionInfoCapSparseMmap;
  using Area = spec::VfioRegionSparseMmapArea;
  const auto request = TRY(read_argsz_struct<Info>(payload));
  if (request.index >= spec::VFIO_PCI_NUM_REGIONS) return invalid(offsetof(Info, index));
  const RegionInfo region = handler_.region(request.index);
  Info info{.argsz = sizeof(Info),
            .flags = (region.readable ? spec::VFIO_REGION_INFO_FLAG_READ : 0) |
                     (region.writable ? spec::VFIO_REGION_INFO_FLAG_WRITE : 0),
            .index = request.index,
            .cap_offset = 0,
            .size = region.size,
            .offset = 0};
  Answer answer{.bytes = start_reply(), .fds = {}};
  // Mapping takes an fd, and a client may be unable to receive any.
  if (!region.mapping || client_max_fds_ == 0) {
    append_struct(answer.bytes, info);
    return answer;
  }
  check_mapping(*region.mapping, region.size);
  info.argsz = sizeof(Info) + sizeof(Sparse) + sizeof(Area);
  info.flags |= spec::VFIO_REGION_INFO_FLAG_MMAP;
  info.offset = region.mapping->file_offset;
  // Without room for the capability there is no CAPS flag and no fd either: the client would take
  // neither. It learns from argsz what to ask with.
  if (request.argsz < info.argsz) {
    append_struct(answer.bytes, info);
    return answer;
  }
  info.flags |= spec::VFIO_REGION_INFO_FLAG_CAPS;
  info.cap_offset = sizeof(Info);
  append_struct(answer.bytes, info);
  append_struct(answer.bytes,
                Sparse{.header = {.id = spec::VFIO_REGION_INFO_CAP_SPARSE_MMAP,
                                  .version = spec::VFIO_REGION_INFO_CAP_SPARSE_MMAP_VERSION,
                                  .next = 0},
                       .nr_areas = 1,
                       .reserved = 0});
  append_struct(answer.bytes,
                Area{.offset = region.mapping->area.offset, .size = region.mapping->area.size});
  // A duplicate: the reply may still wait for the client when the handler is gone.
  answer.fds.push_back(TRY(own_fd(fcntl(region.mapping->fd, F_DUPFD_CLOEXEC, 0))));
  return answer;
}

// VFIO_USER 1.8.
Session::Outcome Session::on_region_io_fds(std::span<const std::byte> payload) {
  using Info = spec::VfioUserRegionIoFds;
  using Entry = spec::VfioUserSubRegionIoeventfd;
  const auto request = TRY(read_argsz_struct<Info>(payload));
  if (request.flags != 0) return invalid(offsetof(Info, flags));
  if (request.index >= spec::VFIO_PCI_NUM_REGIONS) return invalid(offsetof(Info, index));
  if (request.count != 0) return invalid(offsetof(Info, count));
  const std::uint64_t region_bytes = handler_.region(request.index).size;
  std::vector<Doorbell> doorbells = handler_.doorbells(request.index);
  const std::uint64_t most = std::min<std::uint64_t>(client_max_fds_, kMaxMessageFds);
  if (doorbells.size() > most) doorbells.resize(most);
  const auto count = static_cast<std::uint32_t>(doorbells.size());
  const Info info{.argsz = static_cast<std::uint32_t>(sizeof(Info) + count * sizeof(Entry)),
                  .flags = 0,
                  .index = request.index,
                  .count = count};
  Answer answer{.bytes = start_reply(), .fds = {}};
  append_struct(answer.bytes, info);
  // Without room for all of it the client gets none, and learns from argsz what to ask with.
  if (request.argsz < info.argsz) return answer;
  for (const Doorbell& doorbell : doorbells) {
    CHECK(airlock_range_within(doorbell.offset, doorbell.size, region_bytes));
    append_struct(answer.bytes, Entry{.offset = doorbell.offset,
                                      .size = doorbell.size,
                                      .fd_index = static_cast<std::uint32_t>(answer.fds.size()),
                                      .type = spec::VFIO_USER_IO_FD_TYPE_IOEVENTFD,
                                      .flags = 0,
                                      .padding = 0,
                                      .datamatch = 0});
    answer.fds.push_back(TRY(own_fd(fcntl(doorbell.fd, F_DUPFD_CLOEXEC, 0))));
  }
  return answer;
}

Session::Outcome Session::on_irq_info(std::span<const std::byte> payload) {
  using Info = spec::VfioUserIrqInfo;
  const auto request = TRY(read_argsz_struct<Info>(payload));
  if (request.index >= spec::VFIO_PCI_NUM_IRQS) return invalid(offsetof(Info, index));
  Answer answer{.bytes = start_reply(), .fds = {}};
  // Without NORESIZE, QEMU sets up vector after vector instead of all anew each time.
  append_struct(answer.bytes, Info{.argsz = sizeof(Info),
                                   .flags = spec::VFIO_IRQ_INFO_EVENTFD,
                                   .index = request.index,
                                   .count = handler_.irq_count(request.index)});
  return answer;
}

Session::Outcome Session::on_set_irqs(Message& message) {
  using Request = spec::VfioUserIrqSet;
  const auto request = TRY(read_argsz_struct<Request>(message.payload));
  const auto data = std::span<const std::byte>(message.payload).subspan(sizeof request);
  if (request.index >= spec::VFIO_PCI_NUM_IRQS) return invalid(offsetof(Request, index));
  const std::uint32_t count = handler_.irq_count(request.index);
  if (!airlock_range_within(request.start, request.count, count)) {
    return invalid(offsetof(Request, start));
  }
  const std::uint32_t type = request.flags & spec::VFIO_IRQ_SET_DATA_TYPE_MASK;
  const std::uint32_t action = request.flags & spec::VFIO_IRQ_SET_ACTION_TYPE_MASK;
  if ((type | action) != request.flags || !airlock_is_power_of_two(type) ||
      !airlock_is_power_of_two(action)) {
    return invalid(offsetof(Request, flags));
  }
  const std::size_t data_size = type == spec::VFIO_IRQ_SET_DATA_BOOL ? request.count : 0;
  if (data.size() != data_size) return invalid(sizeof request);
  if (type != spec::VFIO_IRQ_SET_DATA_EVENTFD && !message.fds.empty()) return invalid(kHeaderSize);
  // No interrupt is announced as maskable.
  if (action != spec::VFIO_IRQ_SET_ACTION_TRIGGER) return fail(system_error(ENOTTY));
  if (type == spec::VFIO_IRQ_SET_DATA_EVENTFD) {
    TRY(set_eventfds(request, std::move(message.fds)));
  } else {
    TRY(trigger(request, data));
  }
  return Answer{.bytes = start_reply(), .fds = {}};
}

Result<void> Session::set_eventfds(const spec::VfioUserIrqSet& request, std::vector<Fd> eventfds) {
  if (request.count == 0) return invalid(offsetof(spec::VfioUserIrqSet, count));
  if (eventfds.empty()) {
    return handler_.deassign_irqs(request.index, request.start, request.count);
  }
  if (eventfds.size() != request.count) return invalid(kHeaderSize);
  if (!std::ranges::all_of(eventfds, is_anonymous_inode)) return invalid(kHeaderSize);
  return handler_.set_irq_eventfds(request.index, request.start, std::move(eventfds));
}

// DATA_NONE or DATA_BOOL; `flags` is empty for the first.
Result<void> Session::trigger(const spec::VfioUserIrqSet& request,
                              std::span<const std::byte> flags) {
  const bool none =
      request.flags == (spec::VFIO_IRQ_SET_DATA_NONE | spec::VFIO_IRQ_SET_ACTION_TRIGGER);
  if (request.count == 0) {
    if (!none || request.start != 0) return invalid(offsetof(spec::VfioUserIrqSet, count));
    // QEMU turns INTx off whether or not there is any.
    if (handler_.irq_count(request.index) == 0) return {};
    return handler_.disable_irqs(request.index);
  }
  if (none) return handler_.trigger_irq(request.index, request.start, request.count);
  for (std::uint32_t i = 0; i < request.count; ++i) {
    if (flags[i] == std::byte{0}) continue;
    TRY(handler_.trigger_irq(request.index, request.start + i, 1));
  }
  return {};
}

// The part of REGION_READ and REGION_WRITE that is the same.
Result<spec::VfioUserRegionAccess> Session::check_access(std::span<const std::byte> payload) const {
  using Request = spec::VfioUserRegionAccess;
  const auto request = read_struct<Request>(payload);
  if (!request) return invalid(0);
  if (request->region >= spec::VFIO_PCI_NUM_REGIONS) return invalid(offsetof(Request, region));
  if (request->count > options_.max_data_xfer_size) return invalid(offsetof(Request, count));
  return *request;
}

Session::Outcome Session::on_region_read(std::span<const std::byte> payload) {
  using Request = spec::VfioUserRegionAccess;
  const auto request = TRY(check_access(payload));
  if (payload.size() != sizeof(Request)) return invalid(sizeof(Request));
  const RegionInfo region = handler_.region(request.region);
  if (!region.readable || !airlock_range_within(request.offset, request.count, region.size)) {
    return invalid(offsetof(Request, offset));
  }
  Answer answer{.bytes = start_reply(), .fds = {}};
  answer.bytes.reserve(kHeaderSize + sizeof request + request.count);
  append_struct(answer.bytes, request);
  const std::size_t data = answer.bytes.size();
  answer.bytes.resize(data + request.count);
  if (request.count != 0) {
    TRY(handler_.read(request.region, request.offset, std::span(answer.bytes).subspan(data)));
  }
  return answer;
}

Session::Outcome Session::on_region_write(std::span<const std::byte> payload) {
  using Request = spec::VfioUserRegionAccess;
  const auto request = TRY(check_access(payload));
  const auto source = payload.subspan(sizeof(Request));
  if (source.size() != request.count) return invalid(offsetof(Request, count));
  const RegionInfo region = handler_.region(request.region);
  if (!region.writable || !airlock_range_within(request.offset, request.count, region.size)) {
    return invalid(offsetof(Request, offset));
  }
  if (request.count != 0) TRY(handler_.write(request.region, request.offset, source));
  Answer answer{.bytes = start_reply(), .fds = {}};
  append_struct(answer.bytes, request);
  return answer;
}

Session::Outcome Session::on_reset(const Message& message) {
  if (!message.payload.empty()) return invalid(kHeaderSize);
  handler_.reset(defer(message.header, {}));
  return std::nullopt;
}

Reply Session::defer(const spec::VfioUserHeader& request, std::vector<std::byte> payload) {
  pending_.emplace(request, std::move(payload));
  return Reply([weak = std::weak_ptr(link_)](Result<void> result) {
    const auto link = weak.lock();
    if (link && link->session != nullptr) link->session->finish(std::move(result));
  });
}

void Session::finish(Result<void> result) {
  CHECK(pending_);
  const Pending pending = std::move(*pending_);
  pending_.reset();
  if (result) {
    Answer answer{.bytes = start_reply(), .fds = {}};
    answer.bytes.insert(answer.bytes.end(), pending.payload.begin(), pending.payload.end());
    send(pending.request, std::move(answer));
  } else {
    send_error(pending.request, result.error());
  }
  if (!handling_) settled_();
}

void Session::send(const spec::VfioUserHeader& request, Answer answer) {
  if (closed_ || (request.flags & spec::VFIO_USER_F_NO_REPLY) != 0) return;
  const spec::VfioUserHeader header{.message_id = request.message_id,
                                    .command = request.command,
                                    .message_size = static_cast<std::uint32_t>(answer.bytes.size()),
                                    .flags = spec::VFIO_USER_F_TYPE_REPLY,
                                    .error = 0};
  std::memcpy(answer.bytes.data(), &header, sizeof header);
  replies_.push_back({.bytes = std::move(answer.bytes), .fds = std::move(answer.fds)});
}

void Session::send_error(const spec::VfioUserHeader& request, const Error& error) {
  if (log_enabled(LogLevel::kWarning) && options_.log_limit->allow()) {
    log(LogLevel::kWarning, "vfio-user: command {} refused: {}", request.command, describe(error));
  }
  // Nothing at all may answer a message that wants no reply: one would desynchronise the client.
  if (closed_ || (request.flags & spec::VFIO_USER_F_NO_REPLY) != 0) return;
  const spec::VfioUserHeader header{.message_id = request.message_id,
                                    .command = request.command,
                                    .message_size = kHeaderSize,
                                    .flags = spec::VFIO_USER_F_TYPE_REPLY | spec::VFIO_USER_F_ERROR,
                                    .error = errno_of(error)};
  replies_.push_back({.bytes = bytes_of(header), .fds = {}});
}

}  // namespace airlock::vfio_user
