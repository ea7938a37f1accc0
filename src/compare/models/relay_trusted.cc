// SPDX-License-Identifier: Apache-2.0
#include "compare/models/relay_trusted.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
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

class Relay {
 public:
  /// Errors: those of the memory and the rings.
  static Result<std::unique_ptr<Relay>> start(const RelayRequest& request, std::vector<Fd> fds,
                                              const MakeFront& make, RelayReply& reply);

  /// Moves what there is, both ways; true if there was any. Errors: a ring's, for good.
  Result<bool> move();
  /// Asks both sides to wake it (true), or looks anyway.
  void want_wakes(bool wanted) {
    front_->suppress_notifications(!wanted);
    back_.want_interrupts(wanted);
  }
  [[nodiscard]] std::array<int, 2> fds() const { return {from_guest_.fd(), from_device_.fd()}; }
  void take_wakes() const {
    static_cast<void>(from_guest_.drain());
    static_cast<void>(from_device_.drain());
  }
  /// For the device, as in a reply to kStart.
  [[nodiscard]] std::array<int, 3> device_fds() const {
    return {memory_.shared.fd().get(), to_device_.fd(), from_device_.fd()};
  }
  void count(RelayReply& reply) const;

 private:
  struct Relayed {
    std::vector<pool::Mapped> readable;
    std::vector<pool::Mapped> writable;
  };
  struct Memory {
    PrivateMemory own;
    std::unique_ptr<window::Window> window;  // onto the guest
    shm::SealedMemfd shared;
    shm::Mapping mapping;
    std::unique_ptr<pool::Pool> pool;
    std::vector<pool::CoherentBuffer> rings;
  };
  Relay(Memory memory, std::unique_ptr<RelayFront> front, ring::DriverQueue back)
      : memory_(std::move(memory)),
        front_(std::move(front)),
        back_(std::move(back)),
        relayed_(back_.size().value()) {}

  static Result<Memory> make_memory(const RelayRequest& request, Fd guest);
  Result<bool> take();
  Result<void> pass_on(const RelayedChain& chain);
  Result<bool> bring_back();
  Result<void> finish(const ring::Completion& completion);

  Memory memory_;
  std::unique_ptr<RelayFront> front_;
  ring::DriverQueue back_;
  EventFd from_guest_;
  EventFd to_guest_;
  EventFd to_device_;
  EventFd from_device_;
  std::vector<Relayed> relayed_;  // by the head of the guest's chain
  std::uint64_t wakes_ = 0;
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
  memory.pool = TRY(pool::Pool::create(memory.mapping.bytes(), {}));
  return memory;
}

Result<std::unique_ptr<Relay>> Relay::start(const RelayRequest& request, std::vector<Fd> fds,
                                            const MakeFront& make, RelayReply& reply) {
  if (fds.size() != 3) return fail(Errc::kMalformed);
  Memory memory = TRY(make_memory(request, std::move(fds[0])));
  const ring::QueueSize size = TRY(ring::QueueSize::from(request.queue.size));
  auto front = TRY(make(request.queue, memory.own, *memory.window));
  const ring::Layout layout(size);
  memory.rings.push_back(
      TRY(memory.pool->allocate_coherent(layout.block_bytes(), pool::kPageBytes)));
  const ring::DriverQueueConfig config{
      .size = size,
      .areas = layout.block_at(memory.rings.back().offset()),
      .publisher = {.mode = window::AddressMode::kBus, .region = kSharedBase}};
  auto back = TRY(ring::DriverQueue::create(config, memory.mapping.bytes()));
  std::unique_ptr<Relay> relay(new Relay(std::move(memory), std::move(front), std::move(back)));
  relay->from_guest_ = TRY(EventFd::adopt(std::move(fds[1])));
  relay->to_guest_ = TRY(EventFd::adopt(std::move(fds[2])));
  relay->to_device_ = TRY(EventFd::create_shared());
  relay->from_device_ = TRY(EventFd::create_shared());
  reply.queue = request.queue;
  reply.queue.areas = relay->back_.published_areas();
  reply.shared_bytes = kRelayBufferBytes;
  return relay;
}

Result<bool> Relay::move() {
  const bool taken = TRY(take());
  return TRY(bring_back())
  || taken;
}

Result<bool> Relay::take() {
  bool any = false;
  RelayedChain chain;
  while (TRY(front_->pop(chain))) {
    TRY(pass_on(chain));
    any = true;
  }
  if (any && back_.publish()) {
    to_device_.signal();
    ++wakes_;
  }
  return any;
}

// The pool has room for what the guest's queue can hold of honest requests; one that asks for more
// breaks its own queue.
Result<void> Relay::pass_on(const RelayedChain& chain) {
  Relayed& relayed = relayed_.at(chain.head);
  std::vector<ring::Buffer> readable;
  std::vector<ring::Buffer> writable;
  const auto buffer = [](const pool::Mapped& mapped) {
    return ring::Buffer{.offset = mapped.offset,
                        .length = static_cast<std::uint32_t>(mapped.bytes)};
  };
  for (const window::SharedSpan& span : chain.readable) {
    relayed.readable.push_back(TRY(memory_.pool->map_to_device(span.in_place())));
    readable.push_back(buffer(relayed.readable.back()));
  }
  for (const window::SharedSpan& span : chain.writable) {
    relayed.writable.push_back(TRY(memory_.pool->map_from_device(span.in_place())));
    writable.push_back(buffer(relayed.writable.back()));
  }
  TRY(back_.submit(readable, writable, chain.head));
  return {};
}

Result<bool> Relay::bring_back() {
  bool any = false;
  ring::Completion completion;
  while (TRY(back_.poll(completion))) {
    TRY(finish(completion));
    any = true;
  }
  if (!any) return false;
  front_->publish();
  if (front_->guest_wants_interrupt()) {
    to_guest_.signal();
    ++wakes_;
  }
  return true;
}

Result<void> Relay::finish(const ring::Completion& completion) {
  Relayed& relayed = relayed_.at(completion.cookie);
  for (const pool::Mapped& mapped : relayed.readable)
    TRY(memory_.pool->unmap(mapped, 0));
  std::uint64_t left = completion.written_bytes;
  for (const pool::Mapped& mapped : relayed.writable) {
    const std::uint64_t written = std::min(left, mapped.bytes);
    TRY(memory_.pool->unmap(mapped, written));
    left -= written;
  }
  relayed.readable.clear();
  relayed.writable.clear();
  return front_->push_used(static_cast<std::uint16_t>(completion.cookie), completion.written_bytes);
}

void Relay::count(RelayReply& reply) const {
  const pool::Stats stats = memory_.pool->stats();
  reply.high_water_bytes = stats.high_water * pool::kSlotBytes;
  reply.counts.copied_bytes = stats.bytes_to_device + stats.bytes_from_device;
  reply.counts.wakes = wakes_;
}

// Until somebody wants something: a queue, or the guest by a message.
Result<void> rest(const Fd& guest, Relay* relay) {
  if (relay == nullptr) return wait_readable(guest, kForEver);
  relay->want_wakes(true);
  // Once more: something may have come before either side saw the wish.
  if (!TRY(relay->move())) {
    const auto fds = relay->fds();
    std::array<pollfd, 3> watched{{{.fd = guest.get(), .events = POLLIN, .revents = 0},
                                   {.fd = fds[0], .events = POLLIN, .revents = 0},
                                   {.fd = fds[1], .events = POLLIN, .revents = 0}}};
    static_cast<void>(::poll(watched.data(), watched.size(), -1));
    relay->take_wakes();
  }
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
