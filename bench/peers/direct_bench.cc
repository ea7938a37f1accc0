// SPDX-License-Identifier: Apache-2.0
//
// A file by pread and pwrite, io_uring or mmap, or a plain memcpy loop: by the words and in the
// JSON of `airlock blk bench`, without a device. One thread. For `./dev bench peers`.
#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

#include <fmt/core.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "peers/direct_engines.h"

namespace airlock::bench {

namespace {

struct Pattern {
  std::string_view name;
  bool random;
  bool mixed;
  std::uint32_t read_percent;  // where it is not mixed
};
constexpr std::array kPatterns{
    Pattern{.name = "read", .random = false, .mixed = false, .read_percent = 100},
    Pattern{.name = "write", .random = false, .mixed = false, .read_percent = 0},
    Pattern{.name = "rw", .random = false, .mixed = true, .read_percent = 0},
    Pattern{.name = "randread", .random = true, .mixed = false, .read_percent = 100},
    Pattern{.name = "randwrite", .random = true, .mixed = false, .read_percent = 0},
    Pattern{.name = "randrw", .random = true, .mixed = true, .read_percent = 0},
};

void set_pattern(DirectOptions& options) {
  const auto* const found = std::ranges::find(kPatterns, options.rw, &Pattern::name);
  if (found == kPatterns.end()) {
    throw CLI::ValidationError("--rw", "give read, write, rw, randread, randwrite or randrw");
  }
  options.random = found->random;
  if (!found->mixed) options.read_percent = found->read_percent;
}

void parse(CLI::App& app, DirectOptions& options, int argc, char** argv) {
  double runtime = 1;
  double ramp = 0;
  options.read_percent = 50;
  app.add_option("--engine", options.engine)
      ->check(CLI::IsMember({"pread", "io_uring", "mmap", "memcpy"}));
  app.add_option("--path", options.path, "the file; memcpy needs none")->check(CLI::ExistingFile);
  app.add_option("--size", options.size, "bytes of the file (all), or of memcpy's memory");
  app.add_option("--rw", options.rw, "read write rw randread randwrite randrw (randread)");
  app.add_option("--rwmixread", options.read_percent, "reads in rw and randrw, per cent (50)")
      ->check(CLI::Range(0, 100));
  app.add_option("--bs", options.bs, "bytes a request (4096)")->check(CLI::PositiveNumber);
  app.add_option("--iodepth", options.iodepth,
                 "io_uring: requests in flight; mmap and memcpy: buffers, in turn (1)")
      ->check(CLI::Range(1, 4096));
  app.add_option("--runtime", runtime, "seconds (1)")->check(CLI::PositiveNumber);
  app.add_option("--ramp", ramp, "seconds before those that count (0)")
      ->check(CLI::NonNegativeNumber);
  app.footer("example:\n  direct_bench --engine pread --path /dev/shm/disk.img --bs 4096");
  app.parse(argc, argv);
  set_pattern(options);
  options.runtime = std::chrono::duration<double>(runtime);
  options.ramp = std::chrono::duration<double>(ramp);
  if (options.engine != "memcpy" && options.path.empty()) throw CLI::RequiredError("--path");
  if (options.size == 0 && !options.path.empty()) {
    options.size = std::filesystem::file_size(options.path);
  }
  if (options.size < options.bs) {
    throw CLI::ValidationError("--size", "give one block at least");
  }
}

void print(const DirectOptions& options, const Meter& meter) {
  const double seconds = meter.seconds();
  const double iops = static_cast<double>(meter.requests()) / seconds;
  const nlohmann::ordered_json json = {
      {"rw", options.rw},
      {"bs", options.bs},
      {"iodepth", options.iodepth},
      {"seconds", seconds},
      {"requests", meter.requests()},
      {"iops", iops},
      {"gb_per_s", iops * static_cast<double>(options.bs) / 1e9},
      {"p50_us", meter.latency().percentile_us(0.5)},
      {"p99_us", meter.latency().percentile_us(0.99)},
      {"p999_us", meter.latency().percentile_us(0.999)},
      {"cpu_driver", meter.cpu_seconds() / seconds},
      {"cpu_device", nullptr},
  };
  fmt::print("{}\n", json.dump(2));
}

int run(int argc, char** argv) {
  DirectOptions options;
  CLI::App app("A file or plain memory, measured without a device in front of it");
  try {
    parse(app, options, argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : 2;
  }
  Meter meter(std::chrono::duration_cast<Clock::duration>(options.ramp),
              std::chrono::duration_cast<Clock::duration>(options.runtime));
  try {
    run_engine(options, meter);
  } catch (const EngineError& error) {
    fmt::print(stderr, "direct_bench: {}\n", error.what());
    return 1;
  }
  print(options, meter);
  return 0;
}

}  // namespace

}  // namespace airlock::bench

int main(int argc, char** argv) {
  return airlock::bench::run(argc, argv);
}
