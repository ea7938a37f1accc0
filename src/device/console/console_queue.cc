// SPDX-License-Identifier: Apache-2.0
#include "device/console/console_queue.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "base/check.h"
#include "device/ring_task.h"

namespace airlock::device {

namespace {

constexpr unsigned kConsoleBatch = 16;      // chains of one poll()
constexpr std::size_t kPieceBytes = 16384;  // copied at a time

class ConsoleReceive final : public RingTask {
 public:
  ConsoleReceive(const QueueContext& context, ring::DeviceQueue ring, ConsolePort& port)
      : RingTask(context, std::move(ring)), port_(port), piece_(kPieceBytes) {}

  [[nodiscard]] int completion_fd() const override { return port_.input_wake().fd(); }

 protected:
  Result<bool> serve() override {
    static_cast<void>(port_.input_wake().take());
    bool any = false;
    for (unsigned i = 0; i < kConsoleBatch && port_.has_input(); ++i) {
      if (!TRY(take(chain_))) break;
      if (chain_.readable_bytes() > 0) return broken_rule(Errc::kBadOrder);
      const std::size_t room = std::min<std::size_t>(chain_.writable_bytes(), piece_.size());
      const std::size_t count = port_.take_input(std::span(piece_).first(room));
      MUST(chain_.write(0, std::span(piece_).first(count)));
      give_back(chain_, static_cast<std::uint32_t>(count));
      any = true;
    }
    return any;
  }

 private:
  ConsolePort& port_;
  std::vector<std::byte> piece_;
  ring::Chain chain_;
};

class ConsoleTransmit final : public RingTask {
 public:
  ConsoleTransmit(const QueueContext& context, ring::DeviceQueue ring, ConsolePort& port)
      : RingTask(context, std::move(ring), {.chain_bytes_max = kConsoleChainBytesMost}),
        port_(port),
        piece_(kPieceBytes) {}

  [[nodiscard]] int completion_fd() const override { return port_.room_wake().fd(); }

 protected:
  Result<bool> serve() override;
  void finish() override;
  void forget() override;

 private:
  /// Sends on what is left of the chain that is kept; true if that was all.
  bool send_chain();
  bool send_left_over();

  ConsolePort& port_;
  std::vector<std::byte> piece_;
  ring::Chain chain_;
  bool kept_ = false;                 // chain_ is not given back yet
  std::uint32_t sent_ = 0;            // bytes of chain_
  std::vector<std::byte> left_over_;  // of a chain that was given back, at most one
  std::size_t left_over_sent_ = 0;
};

Result<bool> ConsoleTransmit::serve() {
  static_cast<void>(port_.room_wake().take());
  bool any = false;
  if (!left_over_.empty()) {
    const std::size_t before = left_over_sent_;
    if (!send_left_over()) return left_over_sent_ != before;
    any = true;
  }
  for (unsigned i = 0; i < kConsoleBatch; ++i) {
    if (!kept_) {
      if (!port_.takes_output() || !TRY(take(chain_))) break;
      kept_ = true;
      sent_ = 0;
      if (chain_.writable_bytes() > 0) return broken_rule(Errc::kBadOrder);
      any = true;
    }
    const std::uint32_t before = sent_;
    const bool all = send_chain();
    any |= sent_ != before;
    if (!all) break;
    give_back(chain_, 0);
    kept_ = false;
  }
  return any;
}

bool ConsoleTransmit::send_chain() {
  while (sent_ < chain_.readable_bytes()) {
    const std::size_t count = std::min<std::size_t>(chain_.readable_bytes() - sent_, piece_.size());
    const auto piece = std::span(piece_).first(count);
    MUST(chain_.read(sent_, piece));
    const std::size_t taken = port_.put_output(piece);
    sent_ += static_cast<std::uint32_t>(taken);
    if (taken < count) return false;
  }
  return true;
}

bool ConsoleTransmit::send_left_over() {
  left_over_sent_ += port_.put_output(std::span(left_over_).subspan(left_over_sent_));
  if (left_over_sent_ < left_over_.size()) return false;
  left_over_ = {};
  left_over_sent_ = 0;
  return true;
}

// The driver was told of none of it yet, and is not to wait for the host.
void ConsoleTransmit::finish() {
  if (discarding() || !kept_) return;
  CHECK(left_over_.empty());
  left_over_.resize(chain_.readable_bytes() - sent_);
  MUST(chain_.read(sent_, left_over_));
  give_back(chain_, 0);
  kept_ = false;
}

void ConsoleTransmit::forget() {
  kept_ = false;
  left_over_ = {};
  left_over_sent_ = 0;
}

class ConsoleControlReceive final : public RingTask {
 public:
  ConsoleControlReceive(const QueueContext& context, ring::DeviceQueue ring,
                        ConsoleMessages& messages)
      : RingTask(context, std::move(ring)), messages_(messages) {}

  [[nodiscard]] int completion_fd() const override { return messages_.wake().fd(); }

 protected:
  Result<bool> serve() override {
    static_cast<void>(messages_.wake().take());
    bool any = false;
    for (unsigned i = 0; i < kConsoleBatch && messages_.has_message(); ++i) {
      if (!TRY(take(chain_))) break;
      if (chain_.readable_bytes() > 0) return broken_rule(Errc::kBadOrder);
      if (chain_.writable_bytes() < ConsoleControl::kLeastBytes) {
        return broken_rule(Errc::kTooSmall);
      }
      std::array<std::byte, ConsoleControl::kMessageBytesMost> message{};
      const std::size_t room = std::min<std::size_t>(chain_.writable_bytes(), message.size());
      const std::size_t count = messages_.next(std::span(message).first(room));
      MUST(chain_.write(0, std::span(message).first(count)));
      give_back(chain_, static_cast<std::uint32_t>(count));
      any = true;
    }
    return any;
  }

 private:
  ConsoleMessages& messages_;
  ring::Chain chain_;
};

class ConsoleControlTransmit final : public RingTask {
 public:
  ConsoleControlTransmit(const QueueContext& context, ring::DeviceQueue ring,
                         ConsoleMessages& messages,
                         std::function<void(const ConsoleControl::Opened&)> opened)
      : RingTask(context, std::move(ring)), messages_(messages), opened_(std::move(opened)) {}

 protected:
  Result<bool> serve() override {
    bool any = false;
    for (unsigned i = 0; i < kConsoleBatch && TRY(take(chain_)); ++i) {
      any = true;
      if (chain_.writable_bytes() > 0) return broken_rule(Errc::kBadOrder);
      // Once: what the driver makes of it later changes nothing.
      const auto message = chain_.read<spec::VirtioConsoleControl>(0);
      give_back(chain_, 0);
      if (!message) continue;
      if (const auto opened = messages_.take(*message)) opened_(*opened);
    }
    return any;
  }

 private:
  ConsoleMessages& messages_;
  std::function<void(const ConsoleControl::Opened&)> opened_;
  ring::Chain chain_;
};

}  // namespace

Result<std::unique_ptr<QueueTask>> make_console_receive(const QueueContext& context,
                                                        ConsolePort& port) {
  auto ring = TRY(RingTask::open_ring(context));
  return std::make_unique<ConsoleReceive>(context, std::move(ring), port);
}

Result<std::unique_ptr<QueueTask>> make_console_transmit(const QueueContext& context,
                                                         ConsolePort& port) {
  auto ring = TRY(RingTask::open_ring(context));
  return std::make_unique<ConsoleTransmit>(context, std::move(ring), port);
}

Result<std::unique_ptr<QueueTask>> make_console_control_receive(const QueueContext& context,
                                                                ConsoleMessages& messages) {
  auto ring = TRY(RingTask::open_ring(context));
  return std::make_unique<ConsoleControlReceive>(context, std::move(ring), messages);
}

Result<std::unique_ptr<QueueTask>> make_console_control_transmit(
    const QueueContext& context, ConsoleMessages& messages,
    std::function<void(const ConsoleControl::Opened&)> opened) {
  auto ring = TRY(RingTask::open_ring(context));
  return std::make_unique<ConsoleControlTransmit>(context, std::move(ring), messages,
                                                  std::move(opened));
}

}  // namespace airlock::device
