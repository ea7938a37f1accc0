// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "base/event_fd.h"
#include "device/device_type.h"
#include "device/net/net_command.h"
#include "device/net/net_metrics.h"
#include "device/queue_task.h"

namespace airlock::device {

/// Where the answer to a control command is put down, by the control thread, and picked up by the
/// queue. Lives as long as one of the two knows of it.
class NetAnswer {
 public:
  /// Errors: kSystem.
  static Result<std::shared_ptr<NetAnswer>> create();

  /// VIRTIO_NET_OK or VIRTIO_NET_ERR for the command with this number. Any thread.
  void give(std::uint64_t number, std::uint8_t ack);
  /// What came for the command with this number, once; what came for others is forgotten.
  std::optional<std::uint8_t> take(std::uint64_t number);
  /// Readable when there is an answer.
  [[nodiscard]] int fd() const { return ready_.fd(); }

 private:
  struct Given {
    std::uint64_t number;
    std::uint8_t ack;
  };
  explicit NetAnswer(EventFd ready) : ready_(std::move(ready)) {}

  EventFd ready_;
  std::mutex mutex_;  // guards given_
  std::optional<Given> given_;
};

/// What the control queue is made with.
struct NetControlOptions {
  NetCommandRules rules;
  std::shared_ptr<NetAnswer> answer;
  /// Has a command carried out by the control thread, now or later, which gives the answer with
  /// this number. Called on the queue's thread.
  std::function<void(const NetCommand& command, std::uint64_t number)> carry_out;
  NetQueueMetrics* metrics = nullptr;  // outlives the queue
};

/// Makes the task of the control queue: it reads commands, has the control thread carry them out,
/// one after the other, and answers each when that is done. What breaks a rule is answered with
/// VIRTIO_NET_ERR. A chain without room for an answer breaks the queue.
///
/// When the queue is drained, a command under way is answered with VIRTIO_NET_ERR, though it may
/// take effect: the control thread may be the one who waits.
/// Errors: those of RingTask::open_ring().
/// VIRTIO 1.3, 5.1.6.5.
[[nodiscard]] Result<std::unique_ptr<QueueTask>> make_net_control_queue(const QueueContext& context,
                                                                        NetControlOptions options);

}  // namespace airlock::device
