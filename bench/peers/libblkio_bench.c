// SPDX-License-Identifier: Apache-2.0
//
// A vhost-user-blk server measured through libblkio, by the words and in the JSON of `airlock blk
// bench`. One thread, one queue. Built in the lab's Debian 13 by bench/peers/build.
#include <blkio.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct options {
  const char* socket;
  const char* pattern;
  bool random;
  bool poll;
  unsigned read_percent;
  size_t block_bytes;
  unsigned depth;
  double runtime_seconds;
  double ramp_seconds;
  long server_pid;
};

// Buckets of about 1.6 % width, as airlock::LatencyHistogram has them.
#define FINE_BITS 6
#define FINE (1U << FINE_BITS)
#define BUCKETS (FINE * (64 - FINE_BITS + 1))

struct result {
  uint64_t latency[BUCKETS];
  uint64_t requests;
  uint64_t begin_ns;
  uint64_t end_ns;
  double client_cpu;
  double server_cpu;
};

struct bench {
  struct options options;
  struct blkio* device;
  struct blkioq* queue;
  struct blkio_mem_region memory;
  struct blkio_completion* completions;
  uint64_t* started_ns;
  uint64_t blocks;
  uint64_t next;
  uint64_t random_state;
  unsigned in_flight;
  struct result result;
};

static _Noreturn void fail(const char* what, const char* why) {
  fprintf(stderr, "libblkio_bench: %s: %s\n", what, why);
  exit(1);
}

static void must(int status, const char* what) {
  if (status < 0) fail(what, blkio_get_error_msg());
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

// splitmix64
static uint64_t mix(uint64_t* state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31U);
}

static size_t bucket_of(uint64_t ns) {
  if (ns < FINE) return ns;
  const unsigned shift = 63U - (unsigned)__builtin_clzll(ns) - FINE_BITS;
  return (shift + 1) * FINE + ((ns >> shift) - FINE);
}

static double percentile_us(const struct result* result, double part) {
  const uint64_t target = (uint64_t)(part * (double)result->requests);
  uint64_t seen = 0;
  for (size_t bucket = 0; bucket < BUCKETS; ++bucket) {
    seen += result->latency[bucket];
    if (seen <= target) continue;
    if (bucket < FINE) return (double)bucket / 1000;
    return (double)((bucket % FINE + FINE + 1) << (bucket / FINE - 1)) / 1000;
  }
  return 0;
}

static double own_cpu_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

// Of all threads of a process; 0 if there is none.
static double cpu_seconds(long pid) {
  char path[64];
  char line[1024];
  snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
  FILE* file = pid > 0 ? fopen(path, "r") : NULL;
  if (!file) return 0;
  const size_t length = fread(line, 1, sizeof(line) - 1, file);
  fclose(file);
  line[length] = 0;
  // The name may hold anything; after the last parenthesis come fields 3 and on. 14 and 15 count.
  char* at = strrchr(line, ')');
  for (int field = 3; at && field <= 14; ++field)
    at = strchr(at + 1, ' ');
  if (!at) return 0;
  const unsigned long user = strtoul(at, &at, 10);
  const unsigned long system = strtoul(at, &at, 10);
  return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void connect_device(struct bench* bench) {
  must(blkio_create("virtio-blk-vhost-user", &bench->device), "create");
  must(blkio_set_str(bench->device, "path", bench->options.socket), "path");
  must(blkio_connect(bench->device), "connect");
  must(blkio_set_int(bench->device, "num-queues", 1), "num-queues");
  must(blkio_start(bench->device), "start");
  uint64_t capacity = 0;
  must(blkio_get_uint64(bench->device, "capacity", &capacity), "capacity");
  bench->blocks = capacity / bench->options.block_bytes;
  if (bench->blocks == 0) fail("capacity", "less than a block");
  const size_t bytes = bench->options.depth * bench->options.block_bytes;
  must(blkio_alloc_mem_region(bench->device, &bench->memory, bytes), "allocate memory");
  must(blkio_map_mem_region(bench->device, &bench->memory), "map memory");
  memset(bench->memory.addr, 0x5a, bytes);
  bench->queue = blkio_get_queue(bench->device, 0);
}

static void submit(struct bench* bench, size_t slot, uint64_t now) {
  const struct options* options = &bench->options;
  const uint64_t block =
      (options->random ? mix(&bench->random_state) : bench->next++) % bench->blocks;
  const uint64_t offset = block * options->block_bytes;
  char* const buffer = (char*)bench->memory.addr + slot * options->block_bytes;
  void* const cookie = bench->started_ns + slot;
  if (mix(&bench->random_state) % 100 < options->read_percent) {
    blkioq_read(bench->queue, offset, buffer, options->block_bytes, cookie, 0);
  } else {
    blkioq_write(bench->queue, offset, buffer, options->block_bytes, cookie, 0);
  }
  bench->started_ns[slot] = now;
  ++bench->in_flight;
}

// The ramp ended at `begin_ns`: what counts begins there.
static void begin_measurement(struct bench* bench, uint64_t begin_ns) {
  bench->result = (struct result){
      .begin_ns = begin_ns,
      .client_cpu = -own_cpu_seconds(),
      .server_cpu = -cpu_seconds(bench->options.server_pid),
  };
}

static void complete(struct bench* bench, const struct blkio_completion* done, uint64_t now) {
  if (done->ret < 0) fail("request", strerror(-done->ret));
  const uint64_t* const started = done->user_data;
  ++bench->result.latency[bucket_of(now - *started)];
  ++bench->result.requests;
  --bench->in_flight;
}

static void run(struct bench* bench) {
  const struct options* options = &bench->options;
  const uint64_t ramp_end = now_ns() + (uint64_t)(options->ramp_seconds * 1e9);
  const uint64_t end = ramp_end + (uint64_t)(options->runtime_seconds * 1e9);
  bool measuring = false;
  uint64_t now = now_ns();
  for (size_t slot = 0; slot < options->depth; ++slot)
    submit(bench, slot, now);
  while (bench->in_flight > 0) {
    const int count = blkioq_do_io(bench->queue, bench->completions, options->poll ? 0 : 1,
                                   (int)options->depth, NULL);
    must(count, "do_io");
    if (count == 0) continue;
    now = now_ns();
    if (!measuring && now >= ramp_end) {
      begin_measurement(bench, ramp_end);
      measuring = true;
    }
    for (int i = 0; i < count; ++i) {
      const uint64_t* const started = bench->completions[i].user_data;
      complete(bench, &bench->completions[i], now);
      if (now < end) submit(bench, (size_t)(started - bench->started_ns), now);
    }
  }
  bench->result.end_ns = now_ns();
  bench->result.client_cpu += own_cpu_seconds();
  bench->result.server_cpu += cpu_seconds(options->server_pid);
}

static void print(const struct bench* bench) {
  const struct result* result = &bench->result;
  const struct options* options = &bench->options;
  const double seconds = (double)(result->end_ns - result->begin_ns) / 1e9;
  const double iops = (double)result->requests / seconds;
  printf("{\"rw\": \"%s\", \"bs\": %zu, \"iodepth\": %u, \"seconds\": %.6f,\n", options->pattern,
         options->block_bytes, options->depth, seconds);
  printf(" \"requests\": %llu, \"iops\": %.1f, \"gb_per_s\": %.9g,\n",
         (unsigned long long)result->requests, iops, iops * (double)options->block_bytes / 1e9);
  printf(" \"p50_us\": %.3f, \"p99_us\": %.3f, \"p999_us\": %.3f,\n", percentile_us(result, 0.5),
         percentile_us(result, 0.99), percentile_us(result, 0.999));
  printf(" \"cpu_driver\": %.4f, \"cpu_device\": %.4f}\n", result->client_cpu / seconds,
         result->server_cpu / seconds);
}

static void set_pattern(struct options* options, const char* name) {
  static const struct {
    const char* name;
    bool random;
    unsigned read_percent;
    bool mixed;
  } known[] = {
      {"read", false, 100, false},    {"write", false, 0, false},    {"rw", false, 50, true},
      {"randread", true, 100, false}, {"randwrite", true, 0, false}, {"randrw", true, 50, true},
  };
  for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); ++i) {
    if (strcmp(known[i].name, name) != 0) continue;
    options->pattern = name;
    options->random = known[i].random;
    if (!known[i].mixed) options->read_percent = known[i].read_percent;
    return;
  }
  fail("--rw", "it is read, write, rw, randread, randwrite or randrw");
}

static void usage(FILE* where) {
  fprintf(where,
          "usage: libblkio_bench --socket PATH [--rw PATTERN] [--rwmixread N] [--bs BYTES]\n"
          "         [--iodepth N] [--runtime SECONDS] [--ramp SECONDS] [--poll] [--server-pid N]\n"
          "Measures a vhost-user-blk server through libblkio and prints JSON. --poll: look at the\n"
          "ring all the time; without it, sleep until the device interrupts. --server-pid: whose\n"
          "processor time is cpu_device.\n"
          "Example: libblkio_bench --socket /tmp/q.sock --rw randread --bs 4096 --iodepth 32\n");
}

static void parse(int argc, char** argv, struct options* options) {
  static const struct option known[] = {
      {"socket", required_argument, NULL, 's'},
      {"rw", required_argument, NULL, 'w'},
      {"rwmixread", required_argument, NULL, 'm'},
      {"bs", required_argument, NULL, 'b'},
      {"iodepth", required_argument, NULL, 'd'},
      {"runtime", required_argument, NULL, 't'},
      {"ramp", required_argument, NULL, 'r'},
      {"poll", no_argument, NULL, 'p'},
      {"server-pid", required_argument, NULL, 'i'},
      {"help", no_argument, NULL, 'h'},
      {NULL, 0, NULL, 0},
  };
  const char* pattern = "randread";
  for (int name; (name = getopt_long(argc, argv, "", known, NULL)) != -1;) {
    switch (name) {
      case 's':
        options->socket = optarg;
        break;
      case 'w':
        pattern = optarg;
        break;
      case 'm':
        options->read_percent = (unsigned)strtoul(optarg, NULL, 10);
        break;
      case 'b':
        options->block_bytes = strtoul(optarg, NULL, 10);
        break;
      case 'd':
        options->depth = (unsigned)strtoul(optarg, NULL, 10);
        break;
      case 't':
        options->runtime_seconds = strtod(optarg, NULL);
        break;
      case 'r':
        options->ramp_seconds = strtod(optarg, NULL);
        break;
      case 'p':
        options->poll = true;
        break;
      case 'i':
        options->server_pid = strtol(optarg, NULL, 10);
        break;
      case 'h':
        usage(stdout);
        exit(0);
      default:
        usage(stderr);
        exit(2);
    }
  }
  set_pattern(options, pattern);
  if (!options->socket || optind != argc || options->block_bytes == 0 || options->depth == 0 ||
      options->depth > 4096) {
    usage(stderr);
    exit(2);
  }
}

int main(int argc, char** argv) {
  static struct bench bench = {
      .options = {.read_percent = 50, .block_bytes = 4096, .depth = 1, .runtime_seconds = 1},
      .random_state = 1,
  };
  parse(argc, argv, &bench.options);
  bench.completions = calloc(bench.options.depth, sizeof(*bench.completions));
  bench.started_ns = calloc(bench.options.depth, sizeof(*bench.started_ns));
  if (!bench.completions || !bench.started_ns) fail("memory", strerror(ENOMEM));
  connect_device(&bench);
  run(&bench);
  print(&bench);
  blkio_destroy(&bench.device);
  free(bench.completions);
  free(bench.started_ns);
  return 0;
}
