// SPDX-License-Identifier: Apache-2.0
#include "device/gateway/gateway_model.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <numeric>
#include <utility>

#include <asio/steady_timer.hpp>

#include "base/le.h"
#include "device/gateway/virtiofsd_state.h"
#include "ring/layout.h"
#include "spec/virtio.h"
#include "spec/virtio_ring.h"

namespace airlock::device {

namespace {

using std::chrono::milliseconds;

// Where the backend is told that the region is in "our" memory: any place will do, as nobody but
// the two of us, in SET_MEM_TABLE and SET_VRING_ADDR, speaks of it.
constexpr std::uint64_t kUserBase = std::uint64_t{1} << 40U;
// And the rings of tracked queues: nowhere that a BAR can be.
constexpr std::uint64_t kRingsBase = std::uint64_t{1} << 60U;

// Where a queue starts. Of a packed ring both positions, each with its wrap counter, which is 1.
constexpr std::uint32_t kSplitStart = 0;
constexpr std::uint32_t kPackedStart = 0x80008000;

// A backend that has given its queues back writes what was in flight for this long at most.
constexpr milliseconds kInFlightLongest{1000};
constexpr milliseconds kInFlightLook{1};
constexpr milliseconds kLastWords{5000};  // when the client has left

constexpr std::uint8_t kFeaturesOk = spec::VIRTIO_CONFIG_S_ACKNOWLEDGE |
                                     spec::VIRTIO_CONFIG_S_DRIVER |
                                     spec::VIRTIO_CONFIG_S_FEATURES_OK;

}  // namespace

/// Queues that the backend is asked to give back.
struct GatewayModel::Stopping {
  Stopping(asio::io_context& context, std::function<void()> then)
      : timer(context), done(std::move(then)) {}

  std::vector<std::uint16_t> queues;
  std::size_t answers_due = 0;
  bool returned = false;     // all of them, with what was in flight
  asio::steady_timer timer;  // until what was in flight is in the rings
  std::chrono::steady_clock::time_point deadline;
  std::function<void()> done;
};

GatewayModel::GatewayModel(Gateway& gateway, const ClientMemory& memory)
    : gateway_(gateway),
      memory_(memory),
      metrics_(device::queue_count(gateway.shape())),
      queues_(device::queue_count(gateway.shape())) {
  if (gateway.shape().kind.has_session && tracks()) watch_.emplace(queue_count());
  gateway_.enter(*this);
}

GatewayModel::~GatewayModel() {
  for (const Queue& queue : queues_) {
    for (const auto* const wait : {&queue.call_wait, &queue.doorbell_wait}) {
      if (*wait == nullptr) continue;
      [[maybe_unused]] const int still_the_eventfds = (*wait)->release();
    }
  }
  stopping_.clear();
  gateway_.leave(worked_);
}

std::uint16_t GatewayModel::device_type() const {
  return gateway_.shape().kind.virtio_id;
}

std::uint32_t GatewayModel::pci_class() const {
  return gateway_.shape().kind.pci_class;
}

std::uint16_t GatewayModel::queue_count() const {
  return static_cast<std::uint16_t>(queues_.size());
}

std::uint16_t GatewayModel::queue_size_max(std::uint16_t /*queue*/) const {
  return gateway_.shape().queue_size;
}

std::uint32_t GatewayModel::config_size() const {
  return static_cast<std::uint32_t>(gateway_.config().size());
}

void GatewayModel::read_config(std::uint32_t offset, std::span<std::byte> target) const {
  std::ranges::copy(std::span(gateway_.config()).subspan(offset, target.size()), target.begin());
}

void GatewayModel::write_config(std::uint32_t offset, std::span<const std::byte> source) {
  gateway_.write_config(offset, source);
}

QueueCounts GatewayModel::counts() const {
  QueueCounts sum{.interrupts = relayed_};
  for (const QueueMetrics& queue : metrics_)
    sum += queue.snapshot();
  return sum;
}

Result<const EventFd*> GatewayModel::doorbell(std::uint16_t queue) {
  CHECK(queue < queues_.size());
  EventFd& doorbell = queues_[queue].doorbell;
  if (!doorbell) doorbell = TRY(EventFd::create_shared());
  return &doorbell;
}

void GatewayModel::notify(std::uint16_t queue) {
  ++notifications_;
  Queue& notified = queues_[queue];
  if (notified.tracked) return forward(notified);
  if (notified.relay) notified.relay->notify();  // more may follow: it looks for a while
  if (const EventFd& kick = kick_of(notified)) kick.signal();
}

bool GatewayModel::packed() const {
  return negotiated_.has(spec::VIRTIO_F_RING_PACKED);
}

// --- what the driver wants ---

Result<void> GatewayModel::start(const pci::Negotiated& negotiated,
                                 std::span<const pci::QueueSetup> queues) {
  CHECK(transport_ != nullptr);
  negotiated_ = negotiated;
  setups_.clear();
  for (const pci::QueueSetup& setup : queues)
    TRY(want(setup));
  started_ = true;
  bring_up();
  return {};
}

Result<void> GatewayModel::start_queue(const pci::Negotiated& /*negotiated*/,
                                       const pci::QueueSetup& setup) {
  TRY(want(setup));
  vhost_user::FrontEnd* const backend = gateway_.backend();
  // If it is not there yet, or not that far, the queue is one of those that are brought up then.
  if (backend == nullptr || !up_ || !shown_) return {};
  bring_up_ring(*backend, queues_[setup.index]);
  gateway_.flush();
  return {};
}

Result<void> GatewayModel::want(const pci::QueueSetup& setup) {
  std::erase_if(setups_, [&setup](const auto& old) { return old.index == setup.index; });
  setups_.push_back(setup);
  if (setup.index >= served_queue_count(gateway_.shape())) return {};
  Queue& queue = queues_[setup.index];
  TRY(doorbell(setup.index));
  queue.setup = setup;
  if (!queue.call) {
    queue.call = TRY(EventFd::create_shared());
    TRY(watch(queue.call_wait, queue.call, queue, &GatewayModel::on_call));
  }
  if (tracks()) TRY(track(queue));
  queue.wanted = true;
  queue.base = packed() ? kPackedStart : kSplitStart;
  queue.base_known = true;
  return {};
}

void GatewayModel::stop(std::function<void()> done) {
  started_ = false;
  inflight_ = {};
  if (watch_) watch_->reset();
  for (Queue& queue : queues_)
    queue.wanted = false;
  take_down([this, done = std::move(done)] {
    if (vhost_user::FrontEnd* const backend = gateway_.backend(); backend != nullptr) {
      backend->reset_device();
      gateway_.flush();
    }
    done();
  });
}

void GatewayModel::reset_queue(std::uint16_t queue, std::function<void()> done) {
  queues_[queue].wanted = false;
  give_back({queue}, std::move(done));
}

void GatewayModel::stop_and_wait() {
  started_ = false;
  take_down([] {});
  static_cast<void>(gateway_.settle(kLastWords));
}

void GatewayModel::pause(std::function<void()> paused) {
  ++pauses_;
  take_down(std::move(paused));
}

void GatewayModel::resume() {
  --pauses_;
  bring_up();
}

// SYS-2: the backend's table says where the region is now. Until a ring is found there again, it
// does not run.
void GatewayModel::region_moved() {
  if (started_ && negotiated_.mode == window::AddressMode::kBus) take_down([this] { bring_up(); });
}

// --- what the backend is told ---

void GatewayModel::bring_up() {
  vhost_user::FrontEnd* const backend = gateway_.backend();
  if (!started_ || pauses_ != 0 || up_ || backend == nullptr) return;
  up_ = true;
  shown_ = false;
  worked_ = true;
  ++round_;
  backend->set_features(backend_features(negotiated_.features, backend->facts()));
  backend->set_status(kFeaturesOk);
  if (watch_ && watch_->has_to_tell()) return tell_session(*watch_);
  bring_up_inflight();
}

// The backend that died had begun one, and this one is to go on with it.
void GatewayModel::tell_session(FuseWatch& watch) {
  vhost_user::FrontEnd& backend = *gateway_.backend();
  const bool can = backend.facts().has_protocol(spec::VHOST_USER_PROTOCOL_F_DEVICE_STATE);
  const auto state = can ? watch.to_tell() : std::nullopt;
  Result<Fd> file = fail(Errc::kUnsupported);
  if (state) file = file_with(*state);
  if (!file) {
    gateway_.warn("the driver's session ended with the backend that began it");
    watch.give_up();
    return bring_up_inflight();
  }
  backend.load_state(std::move(*file), [this, &watch, round = round_](bool loaded) {
    if (round != round_ || !up_) return;
    if (!loaded) {
      watch.refused();
      return tell_session(watch);
    }
    watch.accepted();
    bring_up_inflight();
  });
  gateway_.flush();
}

void GatewayModel::bring_up_inflight() {
  vhost_user::FrontEnd* const backend = gateway_.backend();
  const bool tracks = backend->facts().has_protocol(spec::VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
  if (tracks && !inflight_.fd) {
    std::uint16_t longest = 0;
    for (const Queue& queue : queues_)
      longest = std::max(longest, queue.setup.size);
    backend->get_inflight(served_queue_count(gateway_.shape()), longest,
                          [this, round = round_](vhost_user::Inflight inflight) {
                            if (round != round_ || !up_) return;
                            inflight_ = std::move(inflight);
                            bring_up_rings();
                          });
    gateway_.flush();
    return;
  }
  bring_up_rings();
}

void GatewayModel::bring_up_rings() {
  vhost_user::FrontEnd& backend = *gateway_.backend();
  if (inflight_.fd) {
    if (auto file = inflight_.fd.duplicate()) {
      backend.set_inflight(inflight_.shape, std::move(*file));
    }
  }
  if (tracks()) {
    if (auto made = make_rings(); !made) {
      return gateway_.renew(describe(made.error()));
    }
  }
  auto regions = memory_table();
  if (!regions) {
    return gateway_.renew(describe(regions.error()));
  }
  backend.set_regions(std::move(*regions));
  shown_ = true;
  for (Queue& queue : queues_) {
    if (queue.wanted) bring_up_ring(backend, queue);
  }
  backend.set_status(kFeaturesOk | spec::VIRTIO_CONFIG_S_DRIVER_OK);
  gateway_.flush();
}

Result<std::vector<vhost_user::Region>> GatewayModel::memory_table() const {
  const bool bus = negotiated_.mode == window::AddressMode::kBus;
  std::vector<vhost_user::Region> table;
  table.push_back({
    .guest_address = bus ? std::to_underlying(memory_.window.region_bus_base()) : 0,
    .size = memory_.region.size(), .user_address = kUserBase,
    .file = TRY(memory_.region.fd().duplicate())
  });
  if (tracks()) {
    // Descriptors that lead here spoil what the driver's own queues return, and nothing else.
    table.push_back({
      .guest_address = kRingsBase, .size = rings_.size(), .user_address = kRingsBase,
      .file = TRY(rings_.fd().duplicate())
    });
  }
  return table;
}

void GatewayModel::bring_up_ring(vhost_user::FrontEnd& backend, Queue& queue) {
  const auto ring = ring_of(queue);
  if (!ring) return;  // the region is elsewhere now
  if (queue.tracked) {
    const auto rings = rings_mapping_.bytes();
    const std::uint64_t offset = rings_offset(queue);
    queue.tracked->restart(MUST(rings.slice(offset, rings.size() - offset)));
  }
  if (relays_kicks()) {
    auto relay = make_relay(queue);
    if (relay) {
      queue.relay = std::move(*relay);
    } else {
      gateway_.warn("each notification is a message: " + describe(relay.error()));
    }
  }
  auto kick = kick_of(queue).duplicate();
  backend.set_ring(*ring, kick ? std::move(*kick) : Fd(), call_of(queue));
  backend.enable(queue.setup.index, true);
  queue.state = Queue::State::kRunning;
  // The driver may have notified nobody; a ring starts when it is kicked. Not before the backend
  // knows that it is enabled: it may take a kick that comes earlier for nothing, and forget it.
  backend.when_done([this, &queue, round = round_] {
    if (round != round_ || queue.state != Queue::State::kRunning) return;
    kick_of(queue).signal();
    if (queue.relay) queue.relay->resume();
  });
  if (!queue.tracked) return;
  forward(queue);
  backward(queue);  // what a watcher answered
}

// Where the backend has a say in when it is notified, it has all of it.
bool GatewayModel::relays_kicks() const {
  return !tracks() && !packed() && !negotiated_.has(spec::VIRTIO_F_EVENT_IDX) &&
         PollBudget(gateway_.poll()).ever_polls();
}

// At rest, until the backend knows that the ring is enabled.
Result<std::unique_ptr<QueueWorker>> GatewayModel::make_relay(Queue& queue) {
  TRY(make_kick(queue));
  auto relay = TRY(KickRelay::create(TRY(config_of(queue)), memory_.window, queue.kick));
  const std::uint16_t index = queue.setup.index;
  return QueueWorker::start(std::move(relay), {.queue = index,
                                               .poll = gateway_.poll(),
                                               .at_rest = true,
                                               .metrics = &metrics_[index],
                                               .doorbell = &queue.doorbell,
                                               .on_broken = nullptr});
}

Result<vhost_user::Ring> GatewayModel::ring_of(Queue& queue) const {
  const pci::QueueSetup& setup = queue.setup;
  const ring::Format format = ring::Features::from(negotiated_.features).format;
  const ring::QueueSize size = TRY(ring::QueueSize::from(setup.size, format));
  const ring::Layout layout(size, format);
  vhost_user::Ring ring{.index = setup.index, .size = setup.size, .base = queue.base};
  ring.descriptor_area = TRY(user_address(setup.descriptor_area, layout.descriptors().bytes));
  ring.driver_area = TRY(user_address(setup.driver_area, layout.driver().bytes));
  ring.device_area = TRY(user_address(setup.device_area, layout.device().bytes));
  queue.device_area = ring.device_area - kUserBase;
  if (queue.tracked) {
    const std::uint64_t areas = kRingsBase + rings_offset(queue);
    ring.base = kSplitStart;
    ring.driver_area = areas;
    ring.device_area = areas + TrackedQueue::device_area_offset(size);
    return ring;
  }
  // A backend that died said nothing. What it had returned, the ring tells; a backend that tracks
  // what is in flight knows the rest, and for one that works in order there is no rest.
  if (!queue.base_known && !packed()) ring.base = used_index(queue);
  return ring;
}

Result<std::uint64_t> GatewayModel::user_address(window::DriverAddress address,
                                                 std::uint64_t bytes) const {
  TRY(memory_.window.translate(address, bytes, window::Access::kWrite));
  const bool bus = negotiated_.mode == window::AddressMode::kBus;
  const std::uint64_t base = bus ? std::to_underlying(memory_.window.region_bus_base()) : 0;
  return kUserBase + (std::to_underlying(address) - base);
}

std::uint16_t GatewayModel::used_index(const Queue& queue) const {
  if (queue.tracked) return queue.tracked->used_index();
  constexpr std::uint64_t kIndexOffset = 2;  // VIRTIO 1.3, 2.7.8
  const auto& region = memory_.window.region();
  return std::bit_cast<Le16>(region.load_acquire<std::uint16_t>(queue.device_area + kIndexOffset))
      .get();
}

// --- and asked for back ---

void GatewayModel::take_down(std::function<void()> done) {
  up_ = false;
  std::vector<std::uint16_t> all(queues_.size());
  // NOLINTNEXTLINE(modernize-use-ranges): GCC 12 has no std::ranges::iota
  std::iota(all.begin(), all.end(), std::uint16_t{0});
  give_back(std::move(all), std::move(done));
}

// Those that are on their way back already are waited for as well: each Stopping ends after those
// that were asked for before it.
void GatewayModel::give_back(std::vector<std::uint16_t> queues, std::function<void()> done) {
  std::erase_if(queues, [this](std::uint16_t queue) {
    return queues_[queue].state != Queue::State::kRunning;
  });
  vhost_user::FrontEnd* const backend = gateway_.backend();
  if (backend == nullptr || (queues.empty() && stopping_.empty())) return done();
  auto stopping = std::make_shared<Stopping>(gateway_.context(), std::move(done));
  stopping->queues = std::move(queues);
  stopping->answers_due = stopping->queues.size();
  stopping->returned = stopping->queues.empty();
  stopping_.push_back(stopping);
  for (const std::uint16_t queue : stopping->queues) {
    queues_[queue].state = Queue::State::kStopping;
    queues_[queue].relay.reset();
    backend->enable(queue, false);
    backend->stop_ring(queue, [this, queue, stopping](std::uint32_t base) {
      queues_[queue].base = base;
      queues_[queue].base_known = true;
      if (--stopping->answers_due > 0) return;
      stopping->deadline = std::chrono::steady_clock::now() + kInFlightLongest;
      finish_when_returned(stopping);
    });
  }
  gateway_.flush();
}

// The answer says how far the backend has read; some have yet to write what they read.
void GatewayModel::finish_when_returned(const std::shared_ptr<Stopping>& stopping) {
  stopping->returned = packed() || std::ranges::all_of(stopping->queues, [this](auto index) {
                         const Queue& queue = queues_[index];
                         return static_cast<std::uint16_t>(queue.base) == used_index(queue);
                       });
  if (stopping->returned) {
    // Its call may have yet to be heard, and at rest no queue passes anything on.
    for (const std::uint16_t queue : stopping->queues)
      backward(queues_[queue]);
    return finish_returned();
  }
  if (std::chrono::steady_clock::now() > stopping->deadline) {
    return gateway_.renew("it keeps what was in flight");  // which ends all of them
  }
  stopping->timer.expires_after(kInFlightLook);
  stopping->timer.async_wait(
      [this, kept = std::weak_ptr<Stopping>(stopping)](const asio::error_code& error) {
        const auto there = kept.lock();
        if (!error && there) finish_when_returned(there);
      });
}

// In the order in which they were asked for.
void GatewayModel::finish_returned() {
  while (!stopping_.empty() && stopping_.front()->returned) {
    const std::shared_ptr<Stopping> first = stopping_.front();
    stopping_.pop_front();
    for (const std::uint16_t queue : first->queues)
      queues_[queue].state = Queue::State::kIdle;
    first->done();
  }
}

void GatewayModel::backend_there() {
  bring_up();
}

void GatewayModel::backend_lost() {
  up_ = false;
  for (Queue& queue : queues_) {
    if (std::exchange(queue.state, Queue::State::kIdle) == Queue::State::kIdle) continue;
    queue.relay.reset();
    queue.base_known = false;
    queue.base = packed() ? kPackedStart : kSplitStart;
    if (!queue.tracked) continue;
    // What it returned with its last breath counts.
    if (queue.wanted && queue.tracked->backward()) transport_->interrupt_queue(queue.setup.index);
    queue.tracked->detach();
  }
  if (watch_) watch_->backend_lost();
  for (const auto& stopping : std::exchange(stopping_, {}))
    stopping->done();
}

// --- interrupts ---

// The VM's own eventfd, so that an interrupt passes nobody; ours where it has none now, as the
// vector is masked: then it is kept until it has.
Fd GatewayModel::call_of(const Queue& queue) const {
  if (!gateway_.relays_interrupts() && !queue.tracked) {
    auto direct = transport_->queue_eventfd(queue.setup.index);
    if (direct && *direct) return std::move(*direct);
  }
  auto ours = queue.call.duplicate();
  return ours ? std::move(*ours) : Fd();
}

void GatewayModel::on_call(Queue& queue) {
  if (queue.tracked) return backward(queue);
  ++relayed_;
  transport_->interrupt_queue(queue.setup.index);
}

void GatewayModel::vectors_changed() {
  vhost_user::FrontEnd* const backend = gateway_.backend();
  if (backend == nullptr || gateway_.relays_interrupts() || tracks()) return;
  bool any = false;
  for (const Queue& queue : queues_) {
    if (queue.state != Queue::State::kRunning) continue;
    backend->set_call(queue.setup.index, call_of(queue));
    any = true;
  }
  if (!any) return;
  // What was signalled on the way here may have gone to an eventfd that nobody hears any more.
  backend->when_done([this] {
    for (const Queue& queue : queues_) {
      if (queue.state == Queue::State::kRunning) transport_->interrupt_queue(queue.setup.index);
    }
  });
  gateway_.flush();
}

}  // namespace airlock::device
