// SPDX-License-Identifier: Apache-2.0
#include "compare/models/relay_trusted.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "base/event_fd.h"
#include "base/relax.h"
#include "pool/pool.h"
#include "ring/driver_queue.h"

namespace airlock::compare {

namespace {

constexpr std::uint64_t kRelayBufferBytes = std::uint64_t{16} << 20;
// What both queues are looked at for in vain, before the trusted part sleeps.
constexpr std::chrono::microseconds kLookFor{50};

/// How the trusted part, and what stands at both ends of a queue, wake each other.
struct RelayBells {
  EventFd from_guest;
  EventFd to_guest;
  EventFd to_device;
  EventFd from_device;
};

/// What the queues share: where buffers of the device's are, and how many chains have some.
struct RelayRoom {
  std::unique_ptr<pool::Pool> pool;
  std::uint32_t in_flight = 0;
};

/// A queue of the guest's on one side, one of the device's on the other.
class RelayQueue {
 public:
  /// `shared` has the device's ring and buffers. Errors: those of the rings.
  static Result<RelayQueue> create(const QueueStart& queue, std::unique_ptr<RelayFront> front,
                                   const shm::SharedBytes& shared, RelayRoom& room);

  /// Moves what there is, both ways; true if there was any. Errors: a ring's, for good.
  Result<bool> move();
  /// Asks both sides to wake it (true), or looks anyway.
  void want_wakes(bool wanted) {
    front_->suppress_notifications(!wanted);
    back_.want_interrupts(wanted);
  }
  void take_wakes() const {
    static_cast<void>(bells_.from_guest.drain());
    static_cast<void>(bells_.from_device.drain());
  }
  /// Before the first move(). Errors: kSystem.
  Result<void> connect(Fd from_guest, Fd to_guest);
  /// The device's queue, as it is told to the device.
  [[nodiscard]] ring::QueueAreas areas() const { return back_.published_areas(); }
  [[nodiscard]] const RelayBells& bells() const { return bells_; }
  [[nodiscard]] std::uint64_t wakes() const { return wakes_; }

 private:
  struct Relayed {
    std::vector<pool::Mapped> readable;
    std::vector<pool::Mapped> writable;
  };
  RelayQueue(std::unique_ptr<RelayFront> front, ring::DriverQueue back, pool::CoherentBuffer block,
             RelayRoom& room)
      : room_(&room),
        block_(std::move(block)),
        front_(std::move(front)),
        back_(std::move(back)),
        relayed_(back_.size().value()) {}

  Result<bool> take();
  Result<bool> pass_on(const RelayedChain& chain);
  Result<void> map(const RelayedChain& chain, Relayed& relayed);
  Result<void> unmap(Relayed& relayed, std::uint64_t written);
  Result<bool> bring_back();
  Result<void> finish(const ring::Completion& completion);

  RelayRoom* room_;
  pool::CoherentBuffer block_;  // where the device's ring is
  std::unique_ptr<RelayFront> front_;
  ring::DriverQueue back_;
  RelayBells bells_;
  std::vector<Relayed> relayed_;  // by the head of the guest's chain
  RelayedChain chain_;
  bool waiting_ = false;  // chain_, for room
  std::uint64_t wakes_ = 0;
};

Result<RelayQueue> RelayQueue::create(const QueueStart& queue, std::unique_ptr<RelayFront> front,
                                      const shm::SharedBytes& shared, RelayRoom& room) {
  const ring::QueueSize size = TRY(ring::QueueSize::from(queue.size));
  const ring::Layout layout(size);
  auto block = TRY(room.pool->allocate_coherent(layout.block_bytes(), pool::kPageBytes));
  const ring::DriverQueueConfig config{
      .size = size,
      .areas = layout.block_at(block.offset()),
      .publisher = {.mode = window::AddressMode::kBus, .region = kSharedBase}};
  auto back = TRY(ring::DriverQueue::create(config, shared));
  return RelayQueue(std::move(front), std::move(back), std::move(block), room);
}

Result<void> RelayQueue::connect(Fd from_guest, Fd to_guest) {
  bells_.from_guest = TRY(EventFd::adopt(std::move(from_guest)));
  bells_.to_guest = TRY(EventFd::adopt(std::move(to_guest)));
  bells_.to_device = TRY(EventFd::create_shared());
  bells_.from_device = TRY(EventFd::create_shared());
  return {};
}

Result<bool> RelayQueue::move() {
  const bool taken = TRY(take());
  const bool brought = TRY(bring_back());
  return taken || brought;
}

// What finds no room waits: something is in flight then, and makes room when it comes back.
Result<bool> RelayQueue::take() {
  bool any = false;
  while (waiting_ || TRY(front_->pop(chain_))) {
    waiting_ = !TRY(pass_on(chain_));
    if (waiting_) break;
    any = true;
  }
  if (any && back_.publish()) {
    bells_.to_device.signal();
    ++wakes_;
  }
  return any;
}

Result<void> RelayQueue::map(const RelayedChain& chain, Relayed& relayed) {
  for (const window::SharedSpan& span : chain.readable)
    relayed.readable.push_back(TRY(room_->pool->map_to_device(span.in_place())));
  for (const window::SharedSpan& span : chain.writable)
    relayed.writable.push_back(TRY(room_->pool->map_from_device(span.in_place())));
  return {};
}

Result<void> RelayQueue::unmap(Relayed& relayed, std::uint64_t written) {
  for (const pool::Mapped& mapped : relayed.readable)
    TRY(room_->pool->unmap(mapped, 0));
  for (const pool::Mapped& mapped : relayed.writable) {
    const std::uint64_t of_this = std::min(written, mapped.bytes);
    TRY(room_->pool->unmap(mapped, of_this));
    written -= of_this;
  }
  relayed.readable.clear();
  relayed.writable.clear();
  return {};
}

// False if there is no room now. What finds none though nothing is in flight, in any of the queues,
// is refused.
Result<bool> RelayQueue::pass_on(const RelayedChain& chain) {
  const std::size_t buffers = chain.readable.size() + chain.writable.size();
  if (back_.free_slots() < back_.slots_for(static_cast<std::uint32_t>(buffers))) return false;
  Relayed& relayed = relayed_.at(chain.head);
  if (const auto mapped = map(chain, relayed); !mapped) {
    TRY(unmap(relayed, 0));
    if (mapped.error().code != Errc::kPoolFull || room_->in_flight == 0) {
      return fail(mapped.error());
    }
    return false;
  }
  const auto as_buffers = [](const std::vector<pool::Mapped>& all) {
    std::vector<ring::Buffer> made;
    made.reserve(all.size());
    for (const pool::Mapped& one : all)
      made.push_back({.offset = one.offset, .length = static_cast<std::uint32_t>(one.bytes)});
    return made;
  };
  TRY(back_.submit(as_buffers(relayed.readable), as_buffers(relayed.writable), chain.head));
  ++room_->in_flight;
  return true;
}

Result<bool> RelayQueue::bring_back() {
  bool any = false;
  ring::Completion completion;
  while (TRY(back_.poll(completion))) {
    TRY(finish(completion));
    any = true;
  }
  if (!any) return false;
  front_->publish();
  if (front_->guest_wants_interrupt()) {
    bells_.to_guest.signal();
    ++wakes_;
  }
  return true;
}

Result<void> RelayQueue::finish(const ring::Completion& completion) {
  TRY(unmap(relayed_.at(completion.cookie), completion.written_bytes));
  --room_->in_flight;
  return front_->push_used(static_cast<std::uint16_t>(completion.cookie), completion.written_bytes);
}

/// All queues of one guest, over one piece of memory that the device has.
class Relay {
 public:
  /// Errors: those of the memory and the rings; kMalformed.
  static Result<std::unique_ptr<Relay>> start(const RelayRequest& request, std::vector<Fd> fds,
                                              const MakeFront& make, RelayReply& reply);

  /// As of each of its queues.
  Result<bool> move() {
    bool any = false;
    for (RelayQueue& queue : queues_) {
      if (TRY(queue.move())) any = true;
    }
    return any;
  }
  void want_wakes(bool wanted) {
    for (RelayQueue& queue : queues_)
      queue.want_wakes(wanted);
  }
  /// Waits until `guest` is readable, or somebody wakes a queue.
  void sleep(const Fd& guest) const;
  /// For the device, as in a reply to kStart.
  [[nodiscard]] std::vector<int> device_fds() const;
  void count(RelayReply& reply) const;

 private:
  struct Memory {
    PrivateMemory own;
    std::unique_ptr<window::Window> window;  // onto the guest
    shm::SealedMemfd shared;
    shm::Mapping mapping;
    RelayRoom room;
  };
  explicit Relay(Memory memory) : memory_(std::move(memory)) {}
  static Result<Memory> make_memory(const RelayRequest& request, Fd guest);

  Memory memory_;
  std::vector<RelayQueue> queues_;
};

Result<Relay::Memory> Relay::make_memory(const RelayRequest& request, Fd guest) {
  Memory memory;
  memory.own = TRY(PrivateMemory::adopt(std::move(guest), request.private_bytes));
  memory.window = std::make_unique<window::Window>(memory.own.bytes());
  memory.window->configure(window::AddressMode::kBus, window::Reach::kRegion);
  memory.window->set_region_bus_base(kPrivateBase);
  memory.shared =
      TRY(shm::SealedMemfd::create({.name = "airlock-relay", .size = kRelayBufferBytes}));
  memory.mapping = TRY(memory.shared.map());
  memory.room.pool = TRY(pool::Pool::create(memory.mapping.bytes(), {}));
  return memory;
}

Result<std::unique_ptr<Relay>> Relay::start(const RelayRequest& request, std::vector<Fd> fds,
                                            const MakeFront& make, RelayReply& reply) {
  if (request.queues > kQueuesMost || fds.size() != 1 + 2 * std::size_t{request.queues}) {
    return fail(Errc::kMalformed);
  }
  std::unique_ptr<Relay> relay(new Relay(TRY(make_memory(request, std::move(fds[0])))));
  Memory& memory = relay->memory_;
  for (std::size_t i = 0; i < request.queues; ++i) {
    const QueueStart& start = request.queue.at(i);
    auto front = TRY(make(start, memory.own, *memory.window));
    relay->queues_.push_back(
        TRY(RelayQueue::create(start, std::move(front), memory.mapping.bytes(), memory.room)));
    RelayQueue& queue = relay->queues_.back();
    TRY(queue.connect(std::move(fds[2 * i + 1]), std::move(fds[2 * i + 2])));
    reply.queue.at(i) = start;
    // The shadow ring is as plain as can be.
    reply.queue.at(i).features &= ~ring::Features::kMask;
    reply.queue.at(i).areas = queue.areas();
  }
  reply.shared_bytes = kRelayBufferBytes;
  return relay;
}

void Relay::sleep(const Fd& guest) const {
  std::vector<pollfd> watched;
  watched.reserve(1 + 2 * queues_.size());
  watched.push_back({.fd = guest.get(), .events = POLLIN, .revents = 0});
  for (const RelayQueue& queue : queues_) {
    for (const EventFd* const bell : {&queue.bells().from_guest, &queue.bells().from_device})
      watched.push_back({.fd = bell->fd(), .events = POLLIN, .revents = 0});
  }
  static_cast<void>(::poll(watched.data(), watched.size(), -1));
  for (const RelayQueue& queue : queues_)
    queue.take_wakes();
}

std::vector<int> Relay::device_fds() const {
  std::vector<int> fds{memory_.shared.fd().get()};
  for (const RelayQueue& queue : queues_)
    fds.insert(fds.end(), {queue.bells().to_device.fd(), queue.bells().from_device.fd()});
  return fds;
}

void Relay::count(RelayReply& reply) const {
  const pool::Stats stats = memory_.room.pool->stats();
  reply.high_water_bytes = stats.high_water * pool::kSlotBytes;
  reply.counts.copied_bytes = stats.bytes_to_device + stats.bytes_from_device;
  for (const RelayQueue& queue : queues_)
    reply.counts.wakes += queue.wakes();
}

// Until somebody wants something: a queue, or the guest by a message.
Result<void> rest(const Fd& guest, Relay* relay) {
  if (relay == nullptr) return wait_readable(guest, kForEver);
  relay->want_wakes(true);
  // Once more: something may have come before either side saw the wish.
  if (!TRY(relay->move())) relay->sleep(guest);
  relay->want_wakes(false);
  return {};
}

// As long as there is something to move, and a little longer.
Result<void> work(Relay& relay) {
  auto last = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - last < kLookFor) {
    if (TRY(relay.move())) last = std::chrono::steady_clock::now();
    relax();
  }
  return {};
}

Result<void> answer(const Fd& guest, const MakeFront& make, std::unique_ptr<Relay>& relay) {
  auto received = TRY(receive<RelayRequest>(guest, kAnswerWithin));
  RelayReply reply;
  if (received.message.kind == RelayRequest::Kind::kReset) {
    relay.reset();  // the device keeps memory that nobody looks at any more
    return send(guest, reply);
  }
  if (received.message.kind == RelayRequest::Kind::kStart && !relay) {
    auto started = Relay::start(received.message, std::move(received.fds), make, reply);
    if (!started) {
      reply.answer = {.failed = true, .error = started.error()};
      return send(guest, reply);
    }
    relay = std::move(*started);
    return send(guest, reply, relay->device_fds());
  }
  if (relay) relay->count(reply);
  reply.counts.cpu_ns = TRY(own_cpu_ns());
  return send(guest, reply);
}

Result<bool> wants_something(const Fd& guest) {
  const auto ready = wait_readable(guest, std::chrono::milliseconds(0));
  if (ready) return true;
  if (ready.error().code == Errc::kTimeout) return false;
  return fail(ready.error());
}

}  // namespace

Result<void> serve_relay(const Fd& guest, const MakeFront& make) {
  std::unique_ptr<Relay> relay;
  for (;;) {
    if (relay) TRY(work(*relay));
    TRY(rest(guest, relay.get()));
    if (TRY(wants_something(guest))) TRY(answer(guest, make, relay));
  }
}

}  // namespace airlock::compare
