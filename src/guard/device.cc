// SPDX-License-Identifier: Apache-2.0
#include "guard/device.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include <fmt/core.h>

#include "core/range.h"
#include "guard/profile_reader.h"
#include "spec/pci.h"
#include "spec/virtio_pci.h"

namespace airlock::guard {

namespace {

using vfio_user::bytes_of;

// What a driver sets of the header: where the regions are and whether they are on. Config space
// behind it is described to the driver, or emulated by the VMM.
bool is_header_write(const RegionWrite& write) {
  return write.region == spec::VFIO_PCI_CONFIG_REGION_INDEX && write.offset >= spec::PCI_COMMAND &&
         write.offset < spec::PCI_STD_HEADER_SIZEOF;
}

}  // namespace

Device::Device(Options options, Poller& poller, DeviceSource& source, Audit& audit, Events events)
    : options_(options),
      poller_(poller),
      source_(source),
      audit_(audit),
      events_(std::move(events)),
      restarts_(options.restarts),
      relay_(poller, options.interrupts, [this] {
        audit_.record({.message = "interrupt",
                       .decision = Decision::kWithheld,
                       .reason = "a storm of interrupts: many are passed on as one"});
      }) {}

Device::~Device() {
  // The next VM's device is another one. What can't be ended now ends with the source.
  if (state_ != State::kIdle) static_cast<void>(source_.end());
}

void Device::start() {
  auto watch = poller_.watch(source_.fd(), EPOLLIN, [this] { on_source(); });
  if (!watch) return fail_device(describe(watch.error()));
  source_watch_ = std::move(*watch);
  ask();
}

bool Device::is_region_file(const FileId& file) const {
  if (!profile_) return false;
  return std::ranges::any_of(profile_->regions, [&](const ProfileRegion& region) {
    return region.fd && region.file == file;
  });
}

// -- Starting, and starting again.

void Device::ask() {
  state_ = State::kAsked;
  deadline_ = Clock::now() + (profile_ ? options_.hang_limit : options_.start_within);
  if (auto asked = source_.ask(region_to_keep()); !asked) {
    give_up(fmt::format("no device can be had: {}", describe(asked.error())));
  }
}

int Device::region_to_keep() const {
  if (!profile_) return -1;
  const auto kept =
      std::ranges::find_if(profile_->regions, [](const ProfileRegion& r) { return bool{r.fd}; });
  return kept == profile_->regions.end() ? -1 : kept->fd.get();
}

void Device::on_source() {
  auto socket = source_.take();
  if (!socket) {
    source_watch_ = {};
    return give_up(fmt::format("no device can be had: {}", describe(socket.error())));
  }
  std::optional<Fd> taken = std::move(*socket);
  if (taken && state_ == State::kAsked) adopt(std::move(*taken));
}

void Device::adopt(Fd socket) {
  state_ = State::kProbing;
  brought_back_ = false;
  link_ = std::make_unique<DeviceLink>(std::move(socket), [this](vfio_user::Message message) {
    return events_.command(std::move(message));
  });
  auto watch = poller_.watch(link_->fd(), EPOLLIN, [this] { on_link(); });
  if (!watch) return note(std::unexpected(watch.error()));
  link_watch_ = std::move(*watch);
  note(read_profile(options_.rules, *link_, audit_,
                    [this](DeviceProfile profile) { return on_profile(std::move(profile)); }));
}

void Device::on_link() {
  note(link_->flush());
  if (!broken_) note(link_->receive());
  if (!broken_ && !late(Clock::now())) send_held();
}

Result<void> Device::on_profile(DeviceProfile profile) {
  if (profile_) {
    if (!profile_->same_as(profile)) return fail(Errc::kWrongState);
    return bring_back();
  }
  profile_ = std::move(profile);
  cache_.set_config(spec::VFIO_PCI_CONFIG_REGION_INDEX, profile_->config);
  if (const auto places = find_virtio(profile_->config)) virtio_.emplace(*places);
  state_ = State::kUp;
  log(LogLevel::kInfo, "a VM has its device: PCI {:04x}:{:04x}",
      vfio_user::require_struct<Le16>(profile_->config, spec::PCI_VENDOR_ID).get(),
      vfio_user::require_struct<Le16>(profile_->config, spec::PCI_DEVICE_ID).get());
  events_.ready();
  return {};
}

// Everything is sent at once: the device takes it in order.
Result<void> Device::bring_back() {
  for (const auto& [address, mapping] : mappings_)
    TRY(send_mapping(mapping));
  for (const auto& [offset, bytes] : config_writes_) {
    TRY(send_write(
        {.region = spec::VFIO_PCI_CONFIG_REGION_INDEX, .offset = offset, .bytes = bytes}));
  }
  Result<void> sent;
  relay_.for_each([&](InterruptRelay::Vector vector) {
    if (sent) sent = send_irq(vector);
  });
  TRY(std::move(sent));
  if (virtio_) {
    // docs/RESTART.md: or it would go on with queues that are no more.
    if (resets_ != resets_answered_) TRY(send_write(virtio_->reset_write()));
    for (const RegionWrite& write : virtio_->setup())
      TRY(send_write(write));
  }
  // It has done all of that when it answers this; whether it has come to the same state shows.
  const spec::VfioUserRegionAccess any{
      .offset = 0, .region = spec::VFIO_PCI_CONFIG_REGION_INDEX, .count = 1};
  const auto status = virtio_ ? virtio_->status_access() : any;
  const std::byte expected = virtio_ ? virtio_->status() : std::byte{0};
  brought_back_ = true;  // what the driver does from here on comes behind
  return link_->request(spec::VFIO_USER_REGION_READ, bytes_of(status), status.count,
                        [this, expected](const Answer& answer) -> Result<void> {
                          if (answer.error != 0 || (virtio_ && answer.payload.back() != expected)) {
                            return fail(Errc::kWrongState);
                          }
                          come_up();
                          return {};
                        });
}

void Device::come_up() {
  state_ = State::kUp;
  restarts_.came_up();
  audit_.record({.message = "device",
                 .decision = Decision::kForwarded,
                 .reason = "a new process goes on where the last one was",
                 .rare = true});
  held_.clear();
  if (virtio_) {
    for (const RegionWrite& write : virtio_->notifications())
      note(send_write(write));
  }
  relay_.signal_all();  // those that the last process owed
  if (waiting_) note(send_waiting());
}

void Device::note(const Result<void>& sent) {
  if (!sent && !broken_) broken_ = sent.error();
  link_watch_.wait_for(link_ && link_->unsent() ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void Device::fail_device(const std::string& why) {
  broken_.reset();
  link_watch_ = {};
  link_.reset();
  if (waiting_) waiting_->sent = false;
  audit_.record({.message = "device", .decision = Decision::kFailed, .reason = why, .rare = true});
  log(LogLevel::kWarning, "the device failed: {}", why);
  if (!profile_ || !source_.restarts()) return give_up(why);
  const auto when = restarts_.failed(Clock::now());
  if (!when) return give_up("it fails again and again");
  state_ = State::kWaiting;
  deadline_ = *when;
}

void Device::give_up(const std::string& why) {
  state_ = State::kDead;
  link_watch_ = {};
  link_.reset();
  static_cast<void>(source_.end());
  if (!profile_) return events_.unusable(why);
  audit_.record({.message = "device",
                 .decision = Decision::kFailed,
                 .reason = fmt::format("given up: {}", why),
                 .rare = true});
  log(LogLevel::kError, "the device is given up: {}", why);
  if (!virtio_) return;
  const bool told = virtio_->driver_ok();
  virtio_->set_gone();
  if (told && virtio_->config_vector() != spec::VIRTIO_MSI_NO_VECTOR) {
    relay_.signal(spec::VFIO_PCI_MSIX_IRQ_INDEX, virtio_->config_vector());
  }
}

void Device::condemn(const std::string& why) {
  if (state_ != State::kDead) give_up(why);
}

// -- Registers.

void Device::write(RegionWrite write) {
  if (is_header_write(write)) config_writes_[write.offset] = write.bytes;
  if (virtio_) {
    if (virtio_->is_reset(write)) ++resets_;
    virtio_->wrote(write);
  }
  if (!takes_orders()) return;
  // A device that is late gets one notification of each queue, however often the driver asked.
  if (virtio_ && late(Clock::now()) && virtio_->is_notification(write.region, write.offset)) {
    held_[{write.region, write.offset}] = std::move(write);
    return;
  }
  note(send_write(write));
}

Result<void> Device::send_write(const RegionWrite& write) {
  const spec::VfioUserRegionAccess access{.offset = write.offset,
                                          .region = write.region,
                                          .count = static_cast<std::uint32_t>(write.bytes.size())};
  std::vector<std::byte> payload = bytes_of(access);
  payload.insert(payload.end(), write.bytes.begin(), write.bytes.end());
  if (virtio_ && virtio_->is_reset(write)) {
    return link_->request(spec::VFIO_USER_REGION_WRITE, payload, 0,
                          [this, number = resets_](const Answer&) -> Result<void> {
                            resets_answered_ = number;
                            return {};
                          });
  }
  // The VM was told that it is done; an error of the device's concerns nobody but itself.
  return link_->tell(spec::VFIO_USER_REGION_WRITE, payload);
}

void Device::send_held() {
  for (const auto& [place, write] : std::exchange(held_, {}))
    note(send_write(write));
}

void Device::read(std::uint32_t region, std::uint64_t offset, std::uint32_t count, OnRead on_read) {
  CHECK(!waiting_);
  waiting_ = Waiting{.number = ++waits_,
                     .is_reset = false,
                     .region = region,
                     .offset = offset,
                     .count = count,
                     .on_answer = std::move(on_read),
                     .deadline = Clock::now() + options_.answer_within};
  note(send_waiting());
}

void Device::reset(std::move_only_function<void()> on_reset) {
  CHECK(!waiting_);
  ++resets_;
  if (virtio_) virtio_->reset();
  config_writes_.clear();
  held_.clear();
  waiting_ = Waiting{
      .number = ++waits_,
      .is_reset = true,
      .on_answer = [done = std::move(on_reset)](std::span<const std::byte>) mutable { done(); },
      .deadline = Clock::now() + options_.answer_within};
  note(send_waiting());
}

Result<void> Device::send_waiting() {
  if (state_ == State::kDead || late(Clock::now())) {
    answer_from_memory();
    return {};
  }
  if (state_ != State::kUp || waiting_->sent) return {};
  waiting_->sent = true;
  const std::uint64_t number = waiting_->number;
  if (waiting_->is_reset) {
    return link_->request(spec::VFIO_USER_DEVICE_RESET, {}, 0,
                          [this, number, reset = resets_](const Answer&) {
                            resets_answered_ = reset;
                            if (waiting_ && waiting_->number == number) answer({});
                            return Result<void>();
                          });
  }
  const spec::VfioUserRegionAccess access{
      .offset = waiting_->offset, .region = waiting_->region, .count = waiting_->count};
  return link_->request(
      spec::VFIO_USER_REGION_READ, bytes_of(access), access.count,
      [this, number, access](const Answer& reply) { return on_read(number, access, reply); });
}

Result<void> Device::on_read(std::uint64_t number, const spec::VfioUserRegionAccess& asked,
                             const Answer& reply) {
  std::vector<std::byte> bytes(asked.count, std::byte{0xff});
  if (reply.error == 0) {
    std::ranges::copy(std::span(reply.payload).subspan(sizeof asked), bytes.begin());
    cache_.correct(asked.region, asked.offset, bytes);
    cache_.learn(asked.region, asked.offset, bytes);
  }
  if (waiting_ && waiting_->number == number) answer(bytes);
  return {};
}

void Device::answer_from_memory() {
  if (!waiting_) return;
  std::vector<std::byte> bytes(waiting_->count);
  if (!waiting_->is_reset) {
    cache_.recall(waiting_->region, waiting_->offset, bytes);
    if (virtio_) virtio_->overlay(waiting_->region, waiting_->offset, bytes);
  }
  audit_.record({.message = waiting_->is_reset ? "DEVICE_RESET" : "REGION_READ",
                 .decision = Decision::kAnswered,
                 .reason = state_ == State::kUp ? "the device is late" : "there is no device now"});
  answer(bytes);
}

void Device::answer(std::span<const std::byte> bytes) {
  if (!waiting_) return;
  Waiting waiting = std::move(*waiting_);
  waiting_.reset();  // the VM's next request may come before this returns
  waiting.on_answer(bytes);
}

// -- Interrupts and memory.

Result<void> Device::set_irqs(const spec::VfioUserIrqSet& request, std::span<const std::byte> data,
                              std::vector<Fd> eventfds) {
  for (std::uint32_t i = 0; i < eventfds.size(); ++i) {
    const std::uint32_t vector = request.start + i;
    const auto fd = TRY(relay_.assign(request.index, vector, std::move(eventfds[i])));
    if (!fd || !takes_orders()) continue;
    note(send_irq({.index = request.index, .vector = vector, .eventfd = *fd}));
  }
  if (!eventfds.empty()) return {};
  const bool is_eventfd = (request.flags & spec::VFIO_IRQ_SET_DATA_EVENTFD) != 0;
  for (std::uint32_t i = 0; is_eventfd && i < request.count; ++i)
    relay_.deassign(request.index, request.start + i);
  if (request.count == 0) relay_.disable(request.index);
  if (!takes_orders()) return {};
  std::vector<std::byte> payload = bytes_of(request);
  payload.insert(payload.end(), data.begin(), data.end());
  note(link_->tell(spec::VFIO_USER_DEVICE_SET_IRQS, payload));
  return {};
}

Result<void> Device::send_irq(InterruptRelay::Vector vector) {
  const spec::VfioUserIrqSet request{
      .argsz = sizeof request,
      .flags = spec::VFIO_IRQ_SET_DATA_EVENTFD | spec::VFIO_IRQ_SET_ACTION_TRIGGER,
      .index = vector.index,
      .start = vector.vector,
      .count = 1};
  Fd copy = TRY(own_fd(fcntl(vector.eventfd, F_DUPFD_CLOEXEC, 0)));
  return link_->tell(spec::VFIO_USER_DEVICE_SET_IRQS, bytes_of(request), std::move(copy));
}

void Device::map(const vfio_user::DmaRange& range, Fd fd) {
  Mapping& mapping = mappings_[range.address];
  mapping = {.range = range, .fd = std::move(fd)};
  if (takes_orders()) note(send_mapping(mapping));
}

Result<void> Device::send_mapping(const Mapping& mapping) {
  const std::uint32_t flags = (mapping.range.readable ? spec::VFIO_USER_F_DMA_REGION_READ : 0) |
                              (mapping.range.writable ? spec::VFIO_USER_F_DMA_REGION_WRITE : 0);
  const spec::VfioUserDmaMap request{.argsz = sizeof request,
                                     .flags = flags,
                                     .offset = mapping.range.file_offset,
                                     .address = mapping.range.address,
                                     .size = mapping.range.size};
  Fd copy;
  if (mapping.fd) copy = TRY(mapping.fd.duplicate());
  return link_->tell(spec::VFIO_USER_DMA_MAP, bytes_of(request), std::move(copy));
}

void Device::unmap(std::uint64_t address, std::uint64_t size) {
  for (auto at = mappings_.lower_bound(address); at != mappings_.end();) {
    const auto& [first, mapping] = *at;
    const std::uint64_t bytes = mapping.range.size;
    if (!airlock_range_inside(first, bytes, address, size)) return;
    const spec::VfioUserDmaUnmap request{
        .argsz = sizeof request, .flags = 0, .address = first, .size = bytes};
    at = mappings_.erase(at);
    if (takes_orders()) note(link_->tell(spec::VFIO_USER_DMA_UNMAP, bytes_of(request)));
  }
}

void Device::answer_command(vfio_user::Outgoing message) {
  if (link_) note(link_->answer(std::move(message)));
}

// -- Time.

// Before that, what the VM does is remembered, and sent with all else.
bool Device::takes_orders() const {
  return link_ && (state_ == State::kUp || brought_back_);
}

bool Device::late(TimePoint now) const {
  if (state_ != State::kUp || !link_) return false;
  const auto since = link_->waiting_since();
  return since && now - *since > options_.answer_within;
}

std::optional<TimePoint> Device::next_deadline() const {
  std::optional<TimePoint> next = relay_.next_deadline();
  const auto consider = [&](TimePoint time) { next = next ? std::min(*next, time) : time; };
  if (broken_) consider(Clock::now());
  if (waiting_) consider(waiting_->deadline);
  if (state_ == State::kAsked || state_ == State::kProbing || state_ == State::kWaiting) {
    consider(deadline_);
  }
  if (link_ && source_.restarts()) {
    if (const auto since = link_->waiting_since()) consider(*since + options_.hang_limit);
  }
  return next;
}

void Device::tick(TimePoint now) {
  relay_.resume(now);
  const auto since = link_ ? link_->waiting_since() : std::nullopt;
  if (broken_) {
    fail_device(describe(*broken_));
  } else if ((state_ == State::kAsked || state_ == State::kProbing) && now >= deadline_) {
    fail_device("it does not say in time what it is");
  } else if (state_ == State::kWaiting && now >= deadline_) {
    ask();
  } else if (state_ == State::kUp && source_.restarts() && since &&
             now - *since >= options_.hang_limit) {
    fail_device("it does not answer any more");
  }
  if (waiting_ && (state_ == State::kDead || now >= waiting_->deadline)) answer_from_memory();
}

}  // namespace airlock::guard
