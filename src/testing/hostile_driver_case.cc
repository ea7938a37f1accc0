// SPDX-License-Identifier: Apache-2.0
#include "testing/hostile_driver_case.h"

#include <unistd.h>

#include <fstream>

#include "spec/virtio.h"
#include "testing/hostile_driver_log.h"

namespace airlock::testing {

namespace {

/// What may stay resident that was not: the allocator's, for threads that came and went, and a page
/// a case. A sanitizer keeps what was freed on purpose, and watches for leaks by itself.
constexpr std::uint64_t kMemorySlack = std::uint64_t{24} << 20;
constexpr std::uint64_t kBytesPerCase = 4096;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kMemoryCounts = false;
#elif defined(__has_feature)
constexpr bool kMemoryCounts = !__has_feature(address_sanitizer);
#else
constexpr bool kMemoryCounts = true;
#endif

std::uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t total = 0;
  std::uint64_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

/// What a class of cases has, and what there was before it.
struct HostileState {
  LogCapture log;
  std::ptrdiff_t fds = vfio_user::open_fds();
  std::uint64_t memory = resident_bytes();
  std::uint64_t cases = 0;
  std::unique_ptr<AttackTarget> target;
  std::unique_ptr<HostileDriver> driver;
};

std::unique_ptr<HostileState> g_state;

bool connection_ended(HostileDriver& driver) {
  static_cast<void>(driver.status());
  return !driver.last_reply();
}

}  // namespace

void take_memory_back(HostileDriver& driver) {
  driver.exchange(spec::VFIO_USER_DMA_UNMAP, vfio_user::bytes_of(spec::VfioUserDmaUnmap{
                                                 .argsz = 24,
                                                 .flags = 0,
                                                 .address = HostileDriver::kGuestAddress,
                                                 .size = HostileDriver::kMemoryBytes}));
  const auto& reply = driver.last_reply();
  EXPECT_TRUE(reply && reply->header.error == 0);
}

struct HostileDriverTest::Before {
  std::uint8_t status = 0;
  std::uint64_t violations = 0;
  std::uint64_t refusals = 0;
  std::ptrdiff_t fds = 0;
};

namespace {

struct NamedQueue {
  Attacked attacked;
  const char* name;
};
constexpr NamedQueue kTypes[] = {
    {.attacked = Attacked::kBlk, .name = "Blk"},
    {.attacked = Attacked::kNetTransmit, .name = "NetTransmit"},
    {.attacked = Attacked::kVsockTransmit, .name = "VsockTransmit"},
    {.attacked = Attacked::kConsoleTransmit, .name = "ConsoleTransmit"},
    {.attacked = Attacked::kRng, .name = "Rng"}};
[[maybe_unused]] constexpr NamedQueue kMoreQueues[] = {
    {.attacked = Attacked::kNetReceive, .name = "NetReceive"},
    {.attacked = Attacked::kNetControl, .name = "NetControl"},
    {.attacked = Attacked::kVsockReceive, .name = "VsockReceive"},
    {.attacked = Attacked::kConsoleReceive, .name = "ConsoleReceive"},
    {.attacked = Attacked::kConsoleControlReceive, .name = "ConsoleControlReceive"},
    {.attacked = Attacked::kConsoleControlTransmit, .name = "ConsoleControlTransmit"}};

void append_cases(std::vector<HostileCase>& target, std::span<const HostileCase> cases,
                  std::span<const NamedQueue> queues) {
  for (const NamedQueue& queue : queues) {
    for (HostileCase one : cases) {
      one.name = std::string(queue.name) + "_" + one.name;
      one.target.attacked = queue.attacked;
      target.push_back(std::move(one));
    }
  }
}

}  // namespace

std::vector<HostileCase> for_every_type(std::span<const HostileCase> cases) {
  std::vector<HostileCase> all;
  append_cases(all, cases, kTypes);
  return all;
}

// ThreadSanitizer takes its time: there one queue of each type has to do.
std::vector<HostileCase> for_every_queue(std::span<const HostileCase> cases) {
  std::vector<HostileCase> all = for_every_type(cases);
#if !defined(__SANITIZE_THREAD__)
  append_cases(all, cases, kMoreQueues);
#endif
  return all;
}

std::vector<HostileCase> with_ring_features(std::vector<HostileCase> cases,
                                            std::uint64_t features) {
  for (HostileCase& one : cases) {
    one.target.ring_features |= features;
    one.manner.accept |= features;
  }
  return cases;
}

void HostileDriverTest::SetUpTestSuite() {
  g_state = std::make_unique<HostileState>();
}

void HostileDriverTest::TearDownTestSuite() {
  EXPECT_TRUE(AttackTarget::comes_to_rest()) << "a thread runs though nothing is asked of it";
  g_state->driver.reset();
  g_state->target.reset();
  EXPECT_EQ(vfio_user::open_fds(), g_state->fds);
  if (kMemoryCounts) {
    EXPECT_LE(resident_bytes(), g_state->memory + kMemorySlack + kBytesPerCase * g_state->cases);
  }
  g_state.reset();
}

void HostileDriverTest::attach(const AttackTarget::Options& options, const HostileManner& manner) {
  g_state->driver.reset();
  g_state->target.reset();
  g_state->target = std::make_unique<AttackTarget>(options);
  g_state->driver = std::make_unique<HostileDriver>(*g_state->target, manner);
  driver().start();
  static_cast<void>(take_log());
}

HostileDriver& HostileDriverTest::driver() {
  return *g_state->driver;
}

std::vector<std::string> HostileDriverTest::take_log() {
  return g_state->log.take();
}

void HostileDriverTest::run() {
  const HostileCase& hostile = GetParam();
  ++g_state->cases;
  attach(hostile.target, hostile.manner);
  ASSERT_EQ(hostile.manner.accept & ~driver().offered(), 0U) << "a feature that is not on offer";
  driver().put_canary();
  const Before before{.status = driver().status(),
                      .violations = g_state->target->stats().violations,
                      .refusals = g_state->target->subject().refusals(),
                      .fds = vfio_user::open_fds()};
  static_cast<void>(take_log());
  hostile.attack(driver());
  check_end(hostile.end, before);
  // The region of a client that left is emptied: that is not what the guards are for.
  EXPECT_TRUE(hostile.end == End::kClosed || driver().guards_untouched());
  revive();
  EXPECT_TRUE(eventually([&] { return vfio_user::open_fds() == before.fds; }))
      << vfio_user::open_fds() << " fds are open, not " << before.fds;
}

void HostileDriverTest::check_end(End end, const Before& before) {
  switch (end) {
    case End::kOk:
    case End::kIoError:
    case End::kUnsupported:
    case End::kDropped:
      return check_returned(end, before);
    case End::kGoesOn:
      return check_goes_on(before);
    case End::kBroken:
      return check_broken(before);
    case End::kRefused: {
      const auto& reply = driver().last_reply();
      EXPECT_TRUE(reply && reply->header.error != 0 && reply->payload.empty());
      EXPECT_EQ(take_log().size(), 1U);
      return check_goes_on(before);
    }
    case End::kClosed: {
      EXPECT_TRUE(driver().peer().closed_by_peer());
      const std::size_t lines = take_log().size();
      EXPECT_TRUE(lines == 1 || lines == 2) << lines << " lines";
      return;
    }
    case End::kRevives:
      return;
  }
}

void HostileDriverTest::check_returned(End end, const Before& before) {
  EXPECT_TRUE(driver().wait_used(driver().queue()));
  if (g_state->target->options().attacked == Attacked::kBlk) {
    const std::uint8_t status = end == End::kOk        ? spec::VIRTIO_BLK_S_OK
                                : end == End::kIoError ? spec::VIRTIO_BLK_S_IOERR
                                                       : spec::VIRTIO_BLK_S_UNSUPP;
    EXPECT_EQ(driver().status_written(), status);
  } else {
    const std::uint64_t more = end == End::kDropped ? 1 : 0;
    EXPECT_EQ(g_state->target->subject().refusals(), before.refusals + more);
  }
  check_goes_on(before);
}

// DEF-5: DEVICE_NEEDS_RESET, an interrupt that says so, and one line in the log.
void HostileDriverTest::check_broken(const Before& before) {
  static_cast<void>(g_state->target->subject().nudge(driver()));
  EXPECT_TRUE(eventually([] {
    return (driver().status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
  })) << "the device noticed nothing";
  EXPECT_TRUE(driver().take_interrupt(HostileDriver::kConfigVector));
  EXPECT_EQ(g_state->target->stats().violations, before.violations + 1);
  const auto lines = take_log();
  EXPECT_EQ(lines.size(), 1U);
  EXPECT_TRUE(lines.empty() ||
              lines[0].starts_with("airlock: warning: " + g_state->target->subject().name() + ": "))
      << lines[0];
}

void HostileDriverTest::check_goes_on(const Before& before) {
  EXPECT_EQ(driver().status(), before.status);
  EXPECT_TRUE(driver().works());
  EXPECT_EQ(g_state->target->stats().violations, before.violations);
  const auto lines = take_log();
  EXPECT_TRUE(lines.empty()) << lines[0];
}

void HostileDriverTest::revive() {
  if (connection_ended(driver())) {
    driver().reconnect();
  } else {
    driver().renew();
  }
  driver().start();
  EXPECT_TRUE(driver().has_canary());
  EXPECT_TRUE(driver().works());
  EXPECT_TRUE(driver().has_canary());
}

}  // namespace airlock::testing
