// SPDX-License-Identifier: Apache-2.0
#include "testing/hostile_driver_backend.h"

#include <deque>
#include <utility>

#include "base/check.h"

namespace airlock::testing {

void Gate::open() {
  open_.store(true);
  const std::scoped_lock lock(mutex_);
  for (const EventFd* event : watchers_)
    event->signal();
}

void Gate::watch(const EventFd& event) {
  const std::scoped_lock lock(mutex_);
  watchers_.insert(&event);
}

void Gate::forget(const EventFd& event) {
  const std::scoped_lock lock(mutex_);
  watchers_.erase(&event);
}

class GatedChannel final : public backend::BlockChannel {
 public:
  GatedChannel(std::unique_ptr<backend::BlockChannel> inner, Gate& gate, std::uint32_t depth)
      : inner_(std::move(inner)), gate_(gate), depth_(depth) {
    gate_.watch(event_);
  }
  ~GatedChannel() override {
    CHECK(waiting_.empty());
    gate_.forget(event_);
  }

  Result<void> submit(const backend::BlockRequest& request) override {
    if (waiting_.size() >= depth_) return fail(Errc::kQueueFull);
    waiting_.push_back(request);
    ++gate_.in_flight_;
    return {};
  }

  std::size_t reap(std::span<backend::BlockCompletion> target) override {
    static_cast<void>(event_.drain());
    std::size_t count = 0;
    while (count < target.size() && !waiting_.empty() && gate_.is_open()) {
      MUST(inner_->submit(waiting_.front()));
      waiting_.pop_front();
      CHECK(inner_->reap(target.subspan(count, 1)) == 1);  // of memory: done when submitted
      ++count;
      --gate_.in_flight_;
    }
    return count;
  }

  [[nodiscard]] int completion_fd() const override { return event_.fd(); }

 private:
  std::unique_ptr<backend::BlockChannel> inner_;
  Gate& gate_;
  std::uint32_t depth_;
  EventFd event_ = MUST(EventFd::create());
  std::deque<backend::BlockRequest> waiting_;
};

Result<std::unique_ptr<backend::BlockChannel>> GatedBackend::open_channel(
    const shm::SharedBytes& region, std::uint32_t depth) {
  auto inner = TRY(inner_->open_channel(region, depth));
  return std::make_unique<GatedChannel>(std::move(inner), gate_, depth);
}

}  // namespace airlock::testing
