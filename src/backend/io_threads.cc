// SPDX-License-Identifier: Apache-2.0
#include "backend/io_threads.h"

#include <pthread.h>
#include <signal.h>

#include <system_error>

#include "base/check.h"

namespace airlock::backend {

namespace {

/// Blocks every signal while it lives: threads started meanwhile leave signals to those that want
/// them. Not SIGSYS, by which a sandbox refuses a system call to the thread that makes it.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    sigdelset(&all, SIGSYS);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

Result<std::unique_ptr<IoThreads>> IoThreads::start(const Options& options) {
  CHECK(options.threads > 0 && options.depth > 0);
  EventFd event = TRY(EventFd::create());
  std::unique_ptr<IoThreads> self(new IoThreads(options, std::move(event)));
  const SignalsBlocked blocked;
  try {
    for (std::uint32_t i = 0; i < options.threads; ++i) {
      self->threads_.emplace_back([threads = self.get()] { threads->run(); });
    }
  } catch (const std::system_error& error) {
    return fail(system_error(error.code().value()));
  }
  return self;
}

IoThreads::IoThreads(const Options& options, EventFd finished_event)
    : depth_(options.depth), finished_event_(std::move(finished_event)), waiting_(options.depth) {
  finished_.reserve(options.depth);
  threads_.reserve(options.threads);
}

IoThreads::~IoThreads() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

void IoThreads::push(FileJob* job) {
  CHECK(!job->done());
  {
    const std::lock_guard lock(mutex_);
    CHECK(waiting_count_ < depth_);
    waiting_[(waiting_first_ + waiting_count_) % depth_] = job;
    ++waiting_count_;
  }
  work_.notify_one();
}

FileJob* IoThreads::pop() {
  if (!any_finished_.load(std::memory_order_acquire)) return nullptr;
  const std::lock_guard lock(mutex_);
  CHECK(!finished_.empty());
  FileJob* const job = finished_.back();
  finished_.pop_back();
  if (finished_.empty()) {
    static_cast<void>(finished_event_.drain());
    any_finished_.store(false, std::memory_order_release);
  }
  return job;
}

void IoThreads::run() {
  pthread_setname_np(pthread_self(), "block-io");
  while (FileJob* const job = next()) {
    while (!job->done()) {
      if (cancelled_.load(std::memory_order_relaxed)) {
        job->cancel();
      } else {
        job->advance(perform(*job));
      }
    }
    finished(job);
  }
}

FileJob* IoThreads::next() {
  std::unique_lock lock(mutex_);
  work_.wait(lock, [this] { return waiting_count_ > 0 || ending_; });
  if (waiting_count_ == 0) return nullptr;
  FileJob* const job = waiting_[waiting_first_];
  waiting_first_ = (waiting_first_ + 1) % depth_;
  --waiting_count_;
  return job;
}

void IoThreads::finished(FileJob* job) {
  const std::lock_guard lock(mutex_);
  finished_.push_back(job);
  if (finished_.size() > 1) return;  // signalled, and not drained since
  any_finished_.store(true, std::memory_order_release);
  finished_event_.signal();
}

}  // namespace airlock::backend
