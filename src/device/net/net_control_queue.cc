// SPDX-License-Identifier: Apache-2.0
#include "device/net/net_control_queue.h"

#include <utility>

#include "base/check.h"
#include "device/ring_task.h"
#include "spec/virtio_net.h"

namespace airlock::device {

namespace {

/// Commands taken in one poll().
constexpr unsigned kBatchCommands = 8;
constexpr std::size_t kCommandBuffersAtFirst = 8;

class NetControlQueue final : public RingTask {
 public:
  NetControlQueue(const QueueContext& context, ring::DeviceQueue ring, NetControlOptions options)
      : RingTask(context, std::move(ring)),
        options_(std::move(options)),
        chain_(kCommandBuffersAtFirst) {
    CHECK(options_.answer && options_.carry_out && options_.metrics != nullptr);
  }

  void want_notifications(bool wanted) override {
    RingTask::want_notifications(wanted && !waiting_);
  }
  // Only who waits drains it: an answer that was taken before its signal came, or that comes too
  // late, would be readable for ever.
  [[nodiscard]] int completion_fd() const override { return waiting_ ? options_.answer->fd() : -1; }

 protected:
  Result<bool> serve() override;
  void finish() override;
  void forget() override { waiting_ = false; }

 private:
  /// Takes the next command and gives it away; false if there is none. Errors: the ring's;
  /// kTooSmall.
  Result<bool> take_next();
  /// Answers the command given away, if the answer is there.
  bool take_answer();
  void answer(std::uint8_t ack);

  NetControlOptions options_;
  ring::Chain chain_;
  NetCommand command_;
  std::uint64_t number_ = 0;  // of the last command that was given away
  bool waiting_ = false;      // for its answer
};

Result<bool> NetControlQueue::serve() {
  bool progress = take_answer();
  for (unsigned commands = 0; !waiting_ && commands < kBatchCommands; ++commands) {
    const bool took = TRY(take_next());
    if (!took) break;
    progress = true;
    take_answer();
  }
  return progress;
}

Result<bool> NetControlQueue::take_next() {
  const bool took = TRY(take(chain_));
  if (!took) return false;
  if (auto parsed = parse_net_command(chain_, options_.rules, command_); !parsed) {
    parsed.error().queue = queue();
    return fail(parsed.error());
  }
  if (command_.kind == NetCommand::Kind::kRefused) {
    ++options_.metrics->refused;
    answer(spec::VIRTIO_NET_ERR);
    return true;
  }
  waiting_ = true;
  options_.carry_out(command_, ++number_);
  return true;
}

bool NetControlQueue::take_answer() {
  if (!waiting_) return false;
  const auto ack = options_.answer->take(number_);
  if (!ack) return false;
  waiting_ = false;
  if (*ack == spec::VIRTIO_NET_OK) ++options_.metrics->commands;
  answer(*ack);
  return true;
}

void NetControlQueue::answer(std::uint8_t ack) {
  MUST(chain_.write(0, std::as_bytes(std::span(&ack, 1))));
  give_back(chain_, sizeof(ack));
}

void NetControlQueue::finish() {
  take_answer();
  if (std::exchange(waiting_, false)) answer(spec::VIRTIO_NET_ERR);
}

}  // namespace

Result<std::shared_ptr<NetAnswer>> NetAnswer::create() {
  return std::shared_ptr<NetAnswer>(new NetAnswer(TRY(EventFd::create())));
}

void NetAnswer::give(std::uint64_t number, std::uint8_t ack) {
  {
    const std::lock_guard lock(mutex_);
    given_ = Given{.number = number, .ack = ack};
  }
  ready_.signal();
}

std::optional<std::uint8_t> NetAnswer::take(std::uint64_t number) {
  static_cast<void>(ready_.drain());
  const std::lock_guard lock(mutex_);
  const auto given = std::exchange(given_, std::nullopt);
  if (!given || given->number != number) return std::nullopt;
  return given->ack;
}

Result<std::unique_ptr<QueueTask>> make_net_control_queue(const QueueContext& context,
                                                          NetControlOptions options) {
  return std::make_unique<NetControlQueue>(context, TRY(RingTask::open_ring(context)),
                                           std::move(options));
}

}  // namespace airlock::device
