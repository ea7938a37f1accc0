// SPDX-License-Identifier: Apache-2.0
#include "device/running_model.h"

#include <algorithm>
#include <utility>

namespace airlock::device {

RunningModel::RunningModel(DeviceType& type, const window::Window& window,
                           QueueSet::Options options, const QueueStates* states)
    : type_(type),
      window_(window),
      states_(states),
      metrics_(type.queue_count()),
      doorbells_(type.queue_count()),
      queues_([this, &options] {
        options.on_broken = [this](const Error& error) { transport_->report_violation(error); };
        return std::move(options);
      }()) {}

QueueCounts RunningModel::counts() const {
  QueueCounts sum{.interrupts = interrupts_};
  for (const QueueMetrics& queue : metrics_)
    sum += queue.snapshot();
  return sum;
}

void RunningModel::read_config(std::uint32_t offset, std::span<std::byte> target) const {
  std::ranges::copy(type_.config().subspan(offset, target.size()), target.begin());
}

Result<void> RunningModel::start(const pci::Negotiated& negotiated,
                                 std::span<const pci::QueueSetup> queues) {
  CHECK(transport_ != nullptr && queues_.empty());
  setups_.clear();
  for (const pci::QueueSetup& setup : queues) {
    if (auto started = start_queue(negotiated, setup); !started) {
      stop_and_wait();  // at once: nothing was taken yet, or hardly anything
      return started;
    }
  }
  return {};
}

void RunningModel::stop(std::function<void()> done) {
  queues_.stop(true, [this, done = std::move(done)] {
    type_.stopped();
    done();
  });
}

void RunningModel::stop_and_wait() {
  queues_.stop_and_wait(true);
  type_.stopped();
}

void RunningModel::reset_queue(std::uint16_t queue, std::function<void()> done) {
  queues_.stop_one(queue, std::move(done));
}

Result<void> RunningModel::start_queue(const pci::Negotiated& negotiated,
                                       const pci::QueueSetup& setup) {
  CHECK(transport_ != nullptr);
  std::erase_if(setups_, [&setup](const auto& old) { return old.index == setup.index; });
  setups_.push_back(setup);
  setups_.back().secret.reset();
  CHECK(setup.index < metrics_.size());
  QueueMetrics& metrics = metrics_[setup.index];
  const auto interrupt = [this, &metrics, queue = setup.index] {
    ++metrics.interrupts;
    transport_->interrupt_queue(queue);
  };
  const auto record = states_ != nullptr ? states_->record(setup.index) : ring::QueueRecord();
  const bool goes_on = record.live();
  auto task = TRY(type_.make_queue({.negotiated = negotiated,
                                    .setup = setup,
                                    .window = &window_,
                                    .interrupt = interrupt,
                                    .record = record}));
  TRY(queues_.add(setup.index, std::move(task), &metrics, TRY(doorbell(setup.index))));
  if (goes_on) {
    ++interrupts_;
    transport_->interrupt_queue(setup.index);
  }
  return {};
}

Result<const EventFd*> RunningModel::doorbell(std::uint16_t queue) {
  CHECK(queue < doorbells_.size());
  EventFd& found = doorbells_[queue];
  if (!found) found = TRY(EventFd::create());
  return &found;
}

void RunningModel::forget_queue(std::uint16_t queue) {
  if (states_ != nullptr) states_->forget(queue);
}

void RunningModel::notify(std::uint16_t queue) {
  ++notifications_;
  queues_.notify(queue);
}

}  // namespace airlock::device
