// SPDX-License-Identifier: Apache-2.0
#include "device/blk/blk_queue.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "base/check.h"
#include "device/interrupt_moderation.h"
#include "ring/device_queue.h"

namespace airlock::device {

namespace {

/// New chains taken in one poll(), in number and bytes: answers should not wait long for company.
/// To copy so many bytes takes no longer than to wake a driver, who then submits anew while the
/// rest is served.
constexpr std::uint32_t kBatchChains = 8;
constexpr std::uint64_t kBatchBytes = std::uint64_t{1} << 17;
/// With this much taken and not answered, new chains wait in the ring.
constexpr std::uint64_t kInFlightBytes = std::uint64_t{64} << 20;
/// What a chain may describe where a driver has guest memory for it: no driver's request comes
/// near, while buffers that overlap could make one chain 4 GiB of work.
constexpr std::uint64_t kGuestChainBytes = std::uint64_t{1} << 30;
/// Completions fetched in one go.
constexpr std::size_t kReapMost = 64;
/// Buffers that a record has room for from the start.
constexpr std::size_t kBuffersAtFirst = 16;

using Kind = BlkRequest::Kind;

/// A request on its way: the chain, what it asks for, how far it got.
struct Record {
  explicit Record(std::size_t buffers) : chain(buffers) { segments.reserve(buffers); }

  ring::Chain chain;
  BlkRequest request;
  std::vector<shm::SharedBytes> segments;  // the data's memory: the channel's while in flight
  std::uint32_t next_range = 0;            // discard, write zeroes: the first not yet given out
  int error = 0;                           // errno
  std::uint64_t bytes = 0;                 // read or written
  std::uint64_t charge = 0;                // bytes that the chain describes
  unsigned attempts = 0;                   // in vain
};

std::string_view name_of(Kind kind) {
  switch (kind) {
    case Kind::kRead:
      return "read";
    case Kind::kWrite:
      return "write";
    case Kind::kFlush:
      return "flush";
    case Kind::kGetId:
      return "get id";
    case Kind::kDiscard:
      return "discard";
    case Kind::kWriteZeroes:
      return "write zeroes";
    case Kind::kRefused:
      return "refused request";
  }
  return "?";
}

class BlkQueue final : public QueueTask {
 public:
  BlkQueue(const QueueContext& context, ring::DeviceQueue ring, std::uint32_t size,
           BlkQueueOptions options, std::unique_ptr<BlkHold> hold);

  Result<bool> poll() override;
  void want_notifications(bool wanted) override { ring_.suppress_notifications(!wanted); }
  [[nodiscard]] int completion_fd() const override {
    return hold_ ? hold_->fd() : options_.channel->completion_fd();
  }
  [[nodiscard]] std::size_t in_flight() const override { return records_.size() - free_.size(); }
  void drain(bool discard) override;
  void idle_for(std::chrono::nanoseconds idle) override;
  [[nodiscard]] Result<void> rebind() override;

 private:
  using RecordIndex = std::uint32_t;

  Result<bool> take_new();
  /// Whether there is room for one more request, and then in free_.
  bool find_room();
  /// Checks a chain just taken and what it asks for. Errors: kChainTooBig, kTooSmall.
  Result<void> check(Record& record) const;
  void expect(const BlkRequest& request) const;
  /// Fetches what finished; true if there was any.
  bool take_finished();
  /// Unless `may_hold`, no interrupt is held back any longer.
  void show_driver(bool may_hold);
  void interrupt() const;

  void begin(RecordIndex index);
  /// The next request of a record for the channel; nothing if the record has no more.
  std::optional<backend::BlockRequest> next_step(RecordIndex index);
  void advance(RecordIndex index);
  void give_to_channel(RecordIndex index);
  void retry_waiting();
  void fail_or_hold(RecordIndex index);
  bool retry_held();
  void end_held();
  void answer(RecordIndex index);
  std::uint8_t status_of(Record& record);
  void fill_rest(Record& record, std::uint64_t filled);
  void count(const Record& record, std::uint8_t status) const;
  void report(const Record& record, std::string_view consequence);
  void release(RecordIndex index) {
    bytes_in_flight_ -= std::exchange(records_[index].charge, 0);
    free_.push_back(index);
  }

  ring::DeviceQueue ring_;
  std::uint16_t queue_;
  std::function<void()> interrupt_;
  BlkQueueOptions options_;
  std::unique_ptr<BlkHold> hold_;  // null: errors are reported
  std::size_t size_;
  std::vector<Record> records_;  // those that were needed so far; none ever moves
  std::vector<RecordIndex> free_;
  std::array<backend::BlockCompletion, kReapMost> finished_{};  // of one reap()
  std::vector<RecordIndex> waiting_;  // for room in the channel, oldest first
  std::uint64_t chain_bytes_most_;
  std::uint64_t bytes_in_flight_ = 0;
  bool broken_ = false;      // for good: chains may be lost to the ring
  bool discarding_ = false;  // the ring and the chains are not ours any more
  bool draining_ = false;    // nothing is held any more, until the next poll()
  unsigned unshown_ = 0;     // used elements that the driver does not see yet
  InterruptModeration moderation_;
};

BlkQueue::BlkQueue(const QueueContext& context, ring::DeviceQueue ring, std::uint32_t size,
                   BlkQueueOptions options, std::unique_ptr<BlkHold> hold)
    : ring_(std::move(ring)),
      queue_(context.setup.index),
      interrupt_(context.interrupt),
      options_(std::move(options)),
      hold_(std::move(hold)),
      size_(size),
      // Buffers that don't overlap can't be more than the memory they lie in.
      chain_bytes_most_(context.negotiated.reach == window::Reach::kRegion
                            ? context.window->region().size()
                            : kGuestChainBytes) {
  CHECK(options_.channel && options_.shared != nullptr && options_.metrics != nullptr);
  records_.reserve(size);
  free_.reserve(size);
  waiting_.reserve(size);
}

Result<bool> BlkQueue::poll() {
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = queue_});
  draining_ = false;
  const bool was_at_rest = in_flight() == 0;
  // What finished first: it makes room. Last again: taking it also starts what is new, and a
  // backend of memory has it done by then.
  bool progress = take_finished();
  if (hold_) progress |= retry_held();
  const Result<bool> taken = hold_ && hold_->stopped() ? Result<bool>(false) : take_new();
  progress |= taken.value_or(false);
  progress |= take_finished();
  // For what the backend has, answers come anyway: an interrupt waits for the driver's doing only.
  show_driver(taken && was_at_rest && in_flight() == 0);
  if (!taken) {
    broken_ = true;
    return taken;
  }
  return progress;
}

// All chains first, then what is in them: the first's header is on its way from the driver's
// processor while the others are taken.
Result<bool> BlkQueue::take_new() {
  std::array<RecordIndex, kBatchChains> batch;
  std::size_t taken = 0;
  std::uint64_t bytes = 0;
  Result<void> outcome;
  while (find_room() && taken < batch.size() && bytes < kBatchBytes &&
         bytes_in_flight_ < kInFlightBytes) {
    Record& record = records_[free_.back()];
    const auto head = ring_.pop(record.chain);
    if (!head) outcome = fail(head.error());
    if (!head || !*head) break;
    batch[taken++] = free_.back();
    free_.pop_back();
    // All of it, whatever the request is: what is not data is filled with zeros.
    record.charge = std::uint64_t{record.chain.readable_bytes()} + record.chain.writable_bytes();
    bytes += record.charge;
    bytes_in_flight_ += record.charge;
    if (!record.chain.readable().empty()) record.chain.readable().front().prefetch_for_write(0);
  }
  std::size_t good = 0;  // of a driver that broke a rule nothing more is done
  for (; good < taken; ++good) {
    if (const auto checked = check(records_[batch[good]]); !checked) {
      outcome = fail(checked.error());
      break;
    }
  }
  for (const RecordIndex index : std::span(batch).subspan(good, taken - good))
    release(index);
  for (std::size_t i = 0; i < good; ++i) {
    if (i + 1 < good) expect(records_[batch[i + 1]].request);
    begin(batch[i]);
  }
  TRY(outcome);
  return taken > 0;
}

// A deep queue seldom has many requests at a time: it costs memory for those that it had.
bool BlkQueue::find_room() {
  if (free_.empty() && records_.size() < size_) {
    free_.push_back(static_cast<RecordIndex>(records_.size()));
    records_.emplace_back(std::min(size_, kBuffersAtFirst));
  }
  return !free_.empty();
}

Result<void> BlkQueue::check(Record& record) const {
  const std::uint64_t bytes =
      std::uint64_t{record.chain.readable_bytes()} + record.chain.writable_bytes();
  if (bytes > chain_bytes_most_) return fail({.code = Errc::kChainTooBig, .queue = queue_});
  auto parsed = parse_blk_request(record.chain, options_.limits, record.request);
  if (!parsed) parsed.error().queue = queue_;
  return parsed;
}

void BlkQueue::expect(const BlkRequest& request) const {
  const bool read = request.kind == Kind::kRead;
  if ((!read && request.kind != Kind::kWrite) || request.data.length == 0) return;
  options_.channel->expect(read ? backend::BlockOp::kRead : backend::BlockOp::kWrite,
                           request.offset, request.data.length);
}

bool BlkQueue::take_finished() {
  bool any = false;
  std::size_t count = 0;
  do {
    count = options_.channel->reap(finished_);
    for (const backend::BlockCompletion& completion : std::span(finished_).first(count)) {
      CHECK(completion.token < records_.size());
      const auto index = static_cast<RecordIndex>(completion.token);
      Record& record = records_[index];
      record.error = completion.error;
      record.bytes += completion.bytes;
      advance(index);
    }
    any |= count > 0;
    if (count > 0) retry_waiting();
  } while (count == finished_.size());
  return any;
}

void BlkQueue::show_driver(bool may_hold) {
  if (const unsigned count = std::exchange(unshown_, 0); count > 0) {
    ring_.publish();
    moderation_.answered(count);
    const bool wanted = ring_.driver_wants_interrupt() || moderation_.holds();
    if (wanted && moderation_.shown(count, InterruptModeration::Clock::now())) interrupt();
  }
  if (!may_hold && moderation_.give()) interrupt();
}

void BlkQueue::idle_for(std::chrono::nanoseconds idle) {
  if (moderation_.idle(idle)) interrupt();
}

void BlkQueue::interrupt() const {
  if (interrupt_) interrupt_();
}

void BlkQueue::begin(RecordIndex index) {
  Record& record = records_[index];
  record.segments.clear();
  record.next_range = 0;
  record.error = 0;
  record.bytes = 0;
  record.attempts = 0;
  if (record.request.kind == Kind::kRead) {
    MUST(record.chain.append_writable(record.request.data, record.segments));
  } else if (record.request.kind == Kind::kWrite) {
    MUST(record.chain.append_readable(record.request.data, record.segments));
  }
  advance(index);
}

std::optional<backend::BlockRequest> BlkQueue::next_step(RecordIndex index) {
  Record& record = records_[index];
  const BlkRequest& request = record.request;
  backend::BlockRequest step;
  step.token = index;
  switch (request.kind) {
    case Kind::kRead:
    case Kind::kWrite:
      if (request.data.length == 0 || record.next_range++ > 0) return std::nullopt;
      step.op = request.kind == Kind::kRead ? backend::BlockOp::kRead : backend::BlockOp::kWrite;
      step.offset = request.offset;
      step.length = request.data.length;
      step.segments = record.segments;
      step.durable = options_.durable_writes && request.kind == Kind::kWrite;
      return step;
    case Kind::kFlush:
      if (record.next_range++ > 0) return std::nullopt;
      step.op = backend::BlockOp::kFlush;
      return step;
    case Kind::kDiscard:
    case Kind::kWriteZeroes:
      while (record.next_range < request.range_count) {
        const BlkRequest::Range& range = request.ranges()[record.next_range++];
        if (range.length == 0) continue;
        step.op = request.kind == Kind::kDiscard ? backend::BlockOp::kDiscard
                                                 : backend::BlockOp::kWriteZeroes;
        step.may_unmap = range.unmap;
        step.durable = options_.durable_writes && request.kind == Kind::kWriteZeroes;
        step.offset = range.offset;
        step.length = range.length;
        return step;
      }
      return std::nullopt;
    case Kind::kGetId:
    case Kind::kRefused:
      return std::nullopt;
  }
  return std::nullopt;
}

// A record that has just been taken, or whose step has just finished.
void BlkQueue::advance(RecordIndex index) {
  if (discarding_) {
    release(index);
    return;
  }
  give_to_channel(index);
}

void BlkQueue::give_to_channel(RecordIndex index) {
  Record& record = records_[index];
  const std::uint32_t before = record.next_range;
  const auto step = record.error == 0 ? next_step(index) : std::nullopt;
  if (!step) {
    if (record.error != 0) {
      fail_or_hold(index);
    } else {
      answer(index);
    }
    return;
  }
  const auto submitted = options_.channel->submit(*step);
  if (submitted) return;
  if (submitted.error().code == Errc::kQueueFull) {
    record.next_range = before;
    ++options_.metrics->waits;
    waiting_.push_back(index);
    return;
  }
  record.error =
      submitted.error().code == Errc::kSystem ? static_cast<int>(submitted.error().detail) : EIO;
  fail_or_hold(index);
}

// A held request has the step that failed before it again.
void BlkQueue::fail_or_hold(RecordIndex index) {
  Record& record = records_[index];
  if (!hold_ || draining_ || !hold_->wants(record.error)) {
    answer(index);
    return;
  }
  ++options_.metrics->held;
  const auto delay = hold_->add({.request = index, .error = record.error}, record.attempts++);
  report(record, delay ? fmt::format("held, and tried again in {} ms", delay->count())
                       : "held, with all that follows it, until SIGUSR2 has it tried again");
  CHECK(record.next_range > 0);
  --record.next_range;
  record.error = 0;
  record.bytes = 0;  // of a transfer, which is one step
}

bool BlkQueue::retry_held() {
  const std::vector<BlkHold::Held> due = hold_->take_due();
  for (const BlkHold::Held& held : due) {
    give_to_channel(held.request);
  }
  return !due.empty();
}

// Nobody waits for them any longer, or whoever does must not have to wait for the disk.
void BlkQueue::end_held() {
  for (const BlkHold::Held& held : hold_->take_all()) {
    if (discarding_) {
      release(held.request);
      continue;
    }
    Record& record = records_[held.request];
    record.error = held.error;
    ++record.next_range;
    answer(held.request);
  }
}

void BlkQueue::retry_waiting() {
  // Each is tried once: those that find it full again line up anew, in their order.
  for (std::size_t left = waiting_.size(); left > 0; --left) {
    const RecordIndex index = waiting_.front();
    waiting_.erase(waiting_.begin());
    const std::size_t others = waiting_.size();
    give_to_channel(index);
    if (waiting_.size() > others) {
      std::ranges::rotate(waiting_, waiting_.end() - 1);
      return;
    }
  }
}

std::uint8_t BlkQueue::status_of(Record& record) {
  if (record.request.kind == Kind::kRefused) return record.request.refusal;
  if (record.error == 0) return spec::VIRTIO_BLK_S_OK;
  report(record, "the driver gets an I/O error");
  return spec::VIRTIO_BLK_S_IOERR;
}

void BlkQueue::answer(RecordIndex index) {
  Record& record = records_[index];
  const std::uint8_t status = status_of(record);
  std::uint64_t filled = 0;
  if (status == spec::VIRTIO_BLK_S_OK && record.request.kind == Kind::kRead) {
    filled = record.request.data.length;
  } else if (status == spec::VIRTIO_BLK_S_OK && record.request.kind == Kind::kGetId) {
    MUST(record.chain.write(0, options_.shared->id));
    filled = options_.shared->id.size();
  }
  fill_rest(record, filled);
  const std::uint32_t writable = record.chain.writable_bytes();
  MUST(record.chain.write(writable - 1, std::as_bytes(std::span(&status, 1))));
  count(record, status);
  // On a broken ring the answer goes nowhere; the record is free all the same.
  if (ring_.push_used(record.chain.head(), writable)) ++unshown_;
  release(index);
}

// Zeros what lies between the data and the status: the used length covers it.
void BlkQueue::fill_rest(Record& record, std::uint64_t filled) {
  const std::uint64_t rest = record.chain.writable_bytes() - 1 - filled;
  if (rest == 0) return;
  record.segments.clear();
  MUST(record.chain.append_writable(
      {.offset = static_cast<std::uint32_t>(filled), .length = static_cast<std::uint32_t>(rest)},
      record.segments));
  for (const shm::SharedBytes& segment : record.segments) {
    segment.fill_zero(0, segment.size());
  }
}

void BlkQueue::count(const Record& record, std::uint8_t status) const {
  BlkQueueMetrics& metrics = *options_.metrics;
  const bool ok = status == spec::VIRTIO_BLK_S_OK;
  if (record.error != 0) ++metrics.io_errors;
  switch (record.request.kind) {
    case Kind::kRead:
      ++metrics.reads;
      metrics.read_bytes += ok ? record.bytes : 0;
      return;
    case Kind::kWrite:
      ++metrics.writes;
      metrics.written_bytes += ok ? record.bytes : 0;
      return;
    case Kind::kFlush:
      ++metrics.flushes;
      return;
    case Kind::kDiscard:
      ++metrics.discards;
      return;
    case Kind::kWriteZeroes:
      ++metrics.write_zeroes;
      return;
    case Kind::kGetId:
      ++metrics.get_ids;
      return;
    case Kind::kRefused:
      ++metrics.refused;
      return;
  }
}

void BlkQueue::report(const Record& record, std::string_view consequence) {
  LogLimit& limit = options_.shared->io_errors;
  if (!limit.allow()) return;
  const std::uint64_t held_back = limit.take_suppressed();
  BlkRequest::Range where{.offset = record.request.offset, .length = record.request.data.length};
  const bool has_ranges = record.request.range_count > 0 && record.next_range > 0;
  if (has_ranges) where = record.request.ranges()[record.next_range - 1];
  log(LogLevel::kError, "{}: {} of {} bytes at {:#x} (queue {}): {}: {}{}", options_.shared->name,
      name_of(record.request.kind), where.length, where.offset, queue_,
      describe(system_error(record.error)), consequence,
      held_back > 0 ? fmt::format(" ({} lines like this held back)", held_back) : "");
}

void BlkQueue::drain(bool discard) {
  // For good: what is still on its way belongs to a ring that isn't ours any more.
  if (discard && !std::exchange(discarding_, true)) {
    broken_ = true;
    options_.channel->cancel();
    for (const RecordIndex index : waiting_) {
      release(index);
    }
    waiting_.clear();
  }
  draining_ = true;
  if (hold_) end_held();
  while (take_finished()) {
  }
  if (in_flight() > 0 && !discarding_) {
    options_.channel->give_up_waiting();
    while (take_finished()) {
    }
  }
  if (!discarding_) show_driver(false);
}

Result<void> BlkQueue::rebind() {
  // The ring still counts chains that no answer will come for.
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = queue_});
  return ring_.rebind();
}

}  // namespace

Result<std::unique_ptr<QueueTask>> make_blk_queue(const QueueContext& context,
                                                  BlkQueueOptions options) {
  const pci::QueueSetup& setup = context.setup;
  const ring::Features features = ring::Features::from(context.negotiated.features);
  const ring::QueueSize size = TRY(ring::QueueSize::from(setup.size, features.format));
  const ring::QueueConfig config{.queue = setup.index,
                                 .size = size,
                                 .areas = {.descriptors = setup.descriptor_area,
                                           .driver = setup.driver_area,
                                           .device = setup.device_area},
                                 .features = features,
                                 .record = context.record,
                                 .secret = setup.secret};
  auto ring = TRY(ring::DeviceQueue::create(config, *context.window));
  std::unique_ptr<BlkHold> hold;
  if (options.on_error != OnError::kReport) {
    CHECK(options.retry_bell != nullptr);
    hold = TRY(
        BlkHold::create(options.on_error, *options.retry_bell, options.channel->completion_fd()));
  }
  return std::make_unique<BlkQueue>(context, std::move(ring), setup.size, std::move(options),
                                    std::move(hold));
}

}  // namespace airlock::device
