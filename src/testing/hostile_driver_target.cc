// SPDX-License-Identifier: Apache-2.0
#include "testing/hostile_driver_target.h"

#include <pthread.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <optional>
#include <thread>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>

#include "base/check.h"
#include "vfio_user/server.h"

// A driver may have two queues write the same bytes of its memory: what they are then is its own
// affair. ThreadSanitizer asks for what to be silent about; nothing else is.
extern "C" [[gnu::used]] const char*
// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming): its name
__tsan_default_suppressions() {
  return "race:src/shm/shared_bytes.cc\n";
}

namespace airlock::testing {

namespace {

using namespace std::chrono_literals;

/// The name of the server's thread, to find it by; a queue's begins as QueueWorker has it.
constexpr const char* kServerThread = "attacked";
constexpr const char* kQueueThread = "queue-";
constexpr auto kRestWindow = 50ms;

class SocketFolder {
 public:
  SocketFolder() { CHECK(mkdtemp(path_.data()) != nullptr); }
  ~SocketFolder() { std::filesystem::remove_all(path_); }
  SocketFolder(const SocketFolder&) = delete;
  SocketFolder& operator=(const SocketFolder&) = delete;
  [[nodiscard]] std::string socket() const { return path_ + "/socket"; }

 private:
  std::string path_ = (std::filesystem::temp_directory_path() / "hostile_XXXXXX").string();
};

std::string first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// Nanoseconds that the threads of the device have run.
std::uint64_t device_cpu_time() {
  std::uint64_t sum = 0;
  std::error_code gone;  // a thread may end while it is looked at
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", gone)) {
    const std::string name = first_line(task.path() / "comm");
    if (name != kServerThread && !name.starts_with(kQueueThread)) continue;
    sum += std::strtoull(first_line(task.path() / "schedstat").c_str(), nullptr, 10);
  }
  return sum;
}

}  // namespace

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

struct AttackTarget::Parts {
  SocketFolder folder;
  std::string path = folder.socket();
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard{context.get_executor()};
  std::unique_ptr<AttackSubject> subject;
  std::unique_ptr<device::Endpoint> endpoint;
  std::optional<vfio_user::Server> server;
  std::thread thread;

  template <class F>
  auto on_server(F function) {
    std::packaged_task<std::invoke_result_t<F>()> task(std::move(function));
    auto future = task.get_future();
    asio::post(context, std::move(task));
    return future.get();
  }
};

AttackTarget::AttackTarget(const Options& options)
    : options_(options), parts_(std::make_unique<Parts>()) {
  parts_->subject = make_subject({.attacked = options.attacked,
                                  .ring_features = options.ring_features,
                                  .queue_size = kQueueSize},
                                 gate_);
  parts_->endpoint = MUST(device::Endpoint::create(
      {.pci = {.negotiation = {.policy = options.policy, .offer = options.offer},
               .name = parts_->subject->name()},
       .region_bytes = kRegionBytes,
       .post =
           [this](std::function<void()> function) {
             asio::post(parts_->context, std::move(function));
           }},
      parts_->subject->device()));
  parts_->server.emplace(MUST(vfio_user::Server::listen(parts_->context, *parts_->endpoint,
                                                        {.path = parts_->path, .socket = {}})));
  parts_->thread = std::thread([parts = parts_.get()] {
    pthread_setname_np(pthread_self(), kServerThread);
    parts->context.run();
  });
}

// As `airlock serve` ends: what is in flight is finished first.
AttackTarget::~AttackTarget() {
  gate_.open();
  parts_->on_server([this] { parts_->endpoint->drain(); });
  parts_->on_server([this] { parts_->server.reset(); });
  parts_->guard.reset();
  parts_->context.stop();
  parts_->thread.join();
}

const std::string& AttackTarget::socket_path() const {
  return parts_->path;
}

AttackSubject& AttackTarget::subject() const {
  return *parts_->subject;
}

device::Endpoint::Stats AttackTarget::stats() {
  return parts_->on_server([this] { return parts_->endpoint->stats(); });
}

bool AttackTarget::comes_to_rest() {
  return eventually([] {
    const std::uint64_t before = device_cpu_time();
    std::promise<void> never;
    never.get_future().wait_for(kRestWindow);
    return device_cpu_time() == before;
  });
}

}  // namespace airlock::testing
