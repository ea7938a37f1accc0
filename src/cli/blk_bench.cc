// SPDX-License-Identifier: Apache-2.0
//
// `airlock blk bench`: fio's words, our driver. One thread and one queue a job.
#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/latency.h"
#include "base/size.h"
#include "cli/blk_commands.h"
#include "cli/cpu_time.h"
#include "cli/disk.h"
#include "cli/pattern.h"

namespace airlock::cli {

namespace {

using Clock = std::chrono::steady_clock;

/// Completions taken at once: what is submitted in their place is shown to the device after.
constexpr std::size_t kBatch = 8;

struct Pattern {
  bool random = false;
  std::uint32_t read_percent = 0;
};

std::expected<Pattern, Failure> pattern_of(const BlkBenchOptions& options) {
  const std::map<std::string, Pattern> known{
      {"read", {.random = false, .read_percent = 100}},
      {"write", {.random = false, .read_percent = 0}},
      {"rw", {.random = false, .read_percent = options.rwmixread}},
      {"randread", {.random = true, .read_percent = 100}},
      {"randwrite", {.random = true, .read_percent = 0}},
      {"randrw", {.random = true, .read_percent = options.rwmixread}},
  };
  const auto found = known.find(options.rw);
  if (found == known.end()) {
    return usage("--rw " + options.rw, "it is no pattern of I/O",
                 "give read, write, rw, randread, randwrite or randrw");
  }
  return found->second;
}

struct JobResult {
  std::uint64_t requests = 0;
  LatencyHistogram latency;
  std::optional<Error> error;
};

/// One job: keeps iodepth requests in flight until the time is over.
class Job {
 public:
  Job(driver::Blk& blk, const BlkBenchOptions& options, const Pattern& pattern,
      std::uint16_t number)
      : blk_(blk),
        queue_(blk.queue(number)),
        options_(options),
        pattern_(pattern),
        state_(number + 1U),
        blocks_((options.size == 0 ? blk.info().capacity_bytes : options.size) / options.bs),
        next_(blocks_ / options.numjobs * number),
        slots_(options.iodepth) {}

  /// The buffers. Errors: the pool's.
  Result<void> prepare();
  void run(Clock::time_point end);
  [[nodiscard]] const JobResult& result() const { return result_; }
  /// What was done so far was the ramp.
  void forget() { result_ = {}; }

 private:
  struct Slot {
    std::vector<std::byte> bytes;
    pool::InPlaceBuffer buffer;
    Clock::time_point start;
    [[nodiscard]] std::span<std::byte> data() { return buffer ? buffer.span() : std::span(bytes); }
  };
  Result<void> start(std::size_t index, Clock::time_point now);

  driver::Blk& blk_;
  driver::BlkQueue& queue_;
  const BlkBenchOptions& options_;
  Pattern pattern_;
  std::uint64_t state_;
  std::uint64_t blocks_;
  std::uint64_t next_;
  std::uint32_t in_flight_ = 0;
  std::vector<Slot> slots_;
  JobResult result_;
};

Result<void> Job::prepare() {
  for (Slot& slot : slots_) {
    if (options_.in_place) {
      slot.buffer = TRY(blk_.allocate(options_.bs));
    } else {
      slot.bytes.resize(options_.bs);
    }
    for (std::byte& byte : slot.data())
      byte = static_cast<std::byte>(mix(state_));
  }
  return {};
}

Result<void> Job::start(std::size_t index, Clock::time_point now) {
  Slot& slot = slots_[index];
  const std::uint64_t block = pattern_.random ? mix(state_) % blocks_ : next_++ % blocks_;
  const bool read = mix(state_) % 100 < pattern_.read_percent;
  driver::BlkRequest request{.op = read ? driver::BlkOp::kRead : driver::BlkOp::kWrite,
                             .offset = block * options_.bs,
                             .cookie = index};
  if (read) {
    request.target = slot.data();
  } else {
    request.source = slot.data();
  }
  slot.start = now;
  const auto submitted = queue_.submit(request);
  if (!submitted) return fail(submitted.error());
  ++in_flight_;
  return {};
}

void Job::run(Clock::time_point end) {
  const auto failed = [this](const Error& error) { result_.error = error; };
  for (std::size_t index = 0; index < slots_.size(); ++index) {
    if (auto started = start(index, Clock::now()); !started) return failed(started.error());
  }
  queue_.kick();
  std::array<driver::BlkCompletion, kBatch> batch;
  while (in_flight_ > 0) {
    const std::span<driver::BlkCompletion> came = std::span(batch).first(queue_.poll(batch));
    if (came.empty()) {
      if (auto waited = queue_.wait(std::chrono::seconds(30)); !waited)
        return failed(waited.error());
      continue;
    }
    // One look at the clock for all: it takes as long as a third of a request.
    const auto now = Clock::now();
    for (const driver::BlkCompletion& completion : came) {
      --in_flight_;
      if (completion.error) return failed(*completion.error);
      result_.latency.add(now - slots_[completion.cookie].start);
      ++result_.requests;
      if (now >= end) continue;
      if (auto started = start(completion.cookie, now); !started) return failed(started.error());
    }
  }
}

Outcome check(const BlkBenchOptions& options, const driver::Blk& blk, const Pattern& pattern) {
  const driver::BlkInfo& info = blk.info();
  const std::uint64_t size = options.size == 0 ? info.capacity_bytes : options.size;
  if (options.bs == 0 || options.bs % info.block_bytes != 0) {
    return usage(fmt::format("--bs {}", format_size(options.bs)),
                 fmt::format("the disk's blocks have {} bytes", info.block_bytes),
                 "give a multiple of that");
  }
  if (size > info.capacity_bytes || size < options.bs) {
    return usage(fmt::format("--size {}", format_size(size)),
                 fmt::format("the disk has {}", format_size(info.capacity_bytes)),
                 "give one block at least and the disk's size at most");
  }
  if (pattern.read_percent < 100 && info.read_only) {
    return failed("--rw " + options.rw, "the disk is read-only", "choose read or randread");
  }
  if (options.numjobs > blk.queue_count()) {
    return usage(fmt::format("--numjobs {}", options.numjobs),
                 fmt::format("the device has {} queues, and each job needs one", blk.queue_count()),
                 "serve it with --queues N");
  }
  return {};
}

struct Usage {
  double driver = 0;
  std::optional<double> device;
};

/// What requests cost besides time, on the driver's side.
struct PerRequest {
  double notifications = 0;
  double interrupts = 0;
  double sleeps = 0;
  double empty_polls = 0;
  double copies = 0;
  double bytes_copied = 0;
};

PerRequest per_request(const driver::BlkStats& stats) {
  const auto share = [&stats](std::uint64_t count) {
    return static_cast<double>(count) /
           static_cast<double>(std::max<std::uint64_t>(stats.requests, 1));
  };
  return {.notifications = share(stats.notifications),
          .interrupts = share(stats.interrupts),
          .sleeps = share(stats.sleeps),
          .empty_polls = share(stats.empty_polls),
          .copies = share(stats.copies),
          .bytes_copied = share(stats.bytes_copied)};
}

void print(const BlkBenchOptions& options, const JobResult& sum, double seconds, const Usage& cpu,
           const driver::BlkStats& stats) {
  const double iops = static_cast<double>(sum.requests) / seconds;
  const double gb = iops * static_cast<double>(options.bs) / 1e9;
  const double p50 = sum.latency.percentile_us(0.5);
  const double p99 = sum.latency.percentile_us(0.99);
  const double p999 = sum.latency.percentile_us(0.999);
  const PerRequest each = per_request(stats);
  nlohmann::ordered_json json = {
      {"rw", options.rw},
      {"bs", options.bs},
      {"iodepth", options.iodepth},
      {"numjobs", options.numjobs},
      {"in_place", options.in_place},
      {"encryption",
       options.encryption == crypt::Algorithm::kNone ? "off" : crypt::name_of(options.encryption)},
      {"seconds", seconds},
      {"requests", sum.requests},
      {"iops", iops},
      {"gb_per_s", gb},
      {"p50_us", p50},
      {"p99_us", p99},
      {"p999_us", p999},
      {"cpu_driver", cpu.driver / seconds},
      {"cpu_device", nullptr},
      {"notifications", stats.notifications},
      {"sleeps", stats.sleeps},
      {"notifications_per_request", each.notifications},
      {"interrupts_per_request", each.interrupts},
      {"sleeps_per_request", each.sleeps},
      {"empty_polls_per_request", each.empty_polls},
      {"copies_per_request", each.copies},
      {"bytes_copied_per_request", each.bytes_copied},
  };
  if (cpu.device) json["cpu_device"] = *cpu.device / seconds;
  if (options.json) {
    fmt::print("{}\n", json.dump(2));
    return;
  }
  const bool encrypts = options.encryption != crypt::Algorithm::kNone;
  fmt::print("{} bs={} iodepth={} numjobs={}{}{}: {:.0f} IOPS, {:.2f} GB/s\n", options.rw,
             format_size(options.bs), options.iodepth, options.numjobs,
             options.in_place ? " in place" : "",
             encrypts ? fmt::format(" {}", crypt::name_of(options.encryption)) : "", iops, gb);
  fmt::print("  latency  p50 {:.1f} us, p99 {:.1f} us, p99.9 {:.1f} us\n", p50, p99, p999);
  fmt::print("  CPU      driver {:.0f} %, device {}\n", cpu.driver / seconds * 100,
             cpu.device ? fmt::format("{:.0f} %", *cpu.device / seconds * 100) : "unknown");
  fmt::print(
      "  each     {:.3f} notifications, {:.3f} interrupts, {:.3f} sleeps, {:.3f} copies of {:.0f} "
      "bytes in all\n",
      each.notifications, each.interrupts, each.sleeps, each.copies, each.bytes_copied);
}

using Jobs = std::vector<std::unique_ptr<Job>>;

/// All at once, until `time` is over and nothing is in flight any more. Seconds that it took;
/// Errors: the first job's that had one.
Result<double> run_jobs(const Jobs& jobs, std::chrono::microseconds time) {
  const auto begin = Clock::now();
  {
    std::vector<std::jthread> threads;
    threads.reserve(jobs.size());
    for (const auto& job : jobs)
      threads.emplace_back([&job, end = begin + time] { job->run(end); });
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  for (const auto& job : jobs) {
    const std::optional<Error>& error = job->result().error;
    if (error) return fail(*error);
  }
  return seconds;
}

/// The part of a run that nobody measures: caches fill, and both sides learn whether to poll.
Result<void> ramp_up(const Jobs& jobs, std::chrono::microseconds time) {
  if (time.count() == 0) return {};
  TRY(run_jobs(jobs, time));
  for (const auto& job : jobs)
    job->forget();
  return {};
}

}  // namespace

Outcome blk_bench(const BlkBenchOptions& options) {
  const auto pattern = pattern_of(options);
  if (!pattern) return std::unexpected(pattern.error());
  if (options.in_place && options.encryption != crypt::Algorithm::kNone) {
    return usage("--in-place", "what is in the region is not encrypted (--encrypt)",
                 "give one of the two");
  }
  driver::Blk::Options wanted;
  wanted.queues = options.numjobs;
  wanted.queue_size = options.queue_size;
  wanted.spin = options.poll_max;
  wanted.spin_cpu_percent = options.poll_cpu_percent;
  wanted.device.ring_features = options.ring_features;
  wanted.device.encryption = options.encryption;
  auto disk = open_disk(options.device, wanted);
  if (!disk) return std::unexpected(disk.error());
  if (auto good = check(options, *disk->blk, *pattern); !good) return good;

  Jobs jobs;
  for (std::uint16_t number = 0; number < options.numjobs; ++number) {
    jobs.push_back(std::make_unique<Job>(*disk->blk, options, *pattern, number));
    if (auto ready = jobs.back()->prepare(); !ready) {
      return failed("bench", describe(ready.error()), "serve it with a larger --region");
    }
  }
  if (auto ready = ramp_up(jobs, options.ramp); !ready) return disk_failed("bench", ready.error());
  const driver::BlkStats stats_before = disk->blk->stats();
  const double driver_before = own_cpu_seconds();
  const auto device_before = cpu_seconds(disk->server_pid);
  const auto seconds = run_jobs(jobs, options.runtime);
  if (!seconds) return disk_failed("bench", seconds.error());
  Usage cpu{.driver = own_cpu_seconds() - driver_before, .device = std::nullopt};
  if (device_before) {
    const auto after = cpu_seconds(disk->server_pid);
    if (after) cpu.device = *after - *device_before;
  }
  JobResult sum;
  for (const auto& job : jobs) {
    sum.requests += job->result().requests;
    sum.latency.merge(job->result().latency);
  }
  print(options, sum, *seconds, cpu, disk->blk->stats() - stats_before);
  return {};
}

}  // namespace airlock::cli
