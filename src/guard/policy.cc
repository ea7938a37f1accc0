// SPDX-License-Identifier: Apache-2.0
#include "guard/policy.h"

#include <unistd.h>

#include <fmt/core.h>

#include "base/address.h"
#include "guard/decision.h"
#include "guard/limits.h"

namespace airlock::guard {

namespace {

airlock_guard_rules rules_of(airlock_guard_policy policy) {
  return {.policy = policy,
          .window_first = 0,
          .window_bytes = 0,
          .data_max = kMaxAccess,
          .fds_max = kMaxVmFds,
          .region_max = kMaxRegion,
          .page_bytes = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE))};
}

}  // namespace

std::expected<airlock_guard_rules, std::string> parse_policy(std::string_view text) {
  constexpr std::string_view kWindow = "window=";
  if (text == "bounce") return rules_of(AIRLOCK_GUARD_BOUNCE);
  if (text == "snoop") return rules_of(AIRLOCK_GUARD_SNOOP);
  if (text == "open") return rules_of(AIRLOCK_GUARD_OPEN);
  if (!text.starts_with(kWindow)) {
    return std::unexpected(
        fmt::format("'{}' is none of bounce, window=ADDRESS+SIZE, snoop and open", text));
  }
  const std::string_view range = text.substr(kWindow.size());
  const std::size_t plus = range.find('+');
  if (plus == std::string_view::npos) {
    return std::unexpected("a window is window=ADDRESS+SIZE, such as window=0x80000000+64M");
  }
  const auto first = parse_address(range.substr(0, plus));
  const auto bytes = parse_address(range.substr(plus + 1));
  if (!first || !bytes) {
    return std::unexpected(fmt::format("'{}' is no ADDRESS+SIZE, such as 0x80000000+64M", range));
  }
  if (!airlock_is_range(*first, *bytes)) {
    return std::unexpected("the window is empty, or ends behind the last address");
  }
  airlock_guard_rules rules = rules_of(AIRLOCK_GUARD_WINDOW);
  rules.window_first = *first;
  rules.window_bytes = *bytes;
  return rules;
}

namespace {

// Under these rules, what the device is told of memory at `address`, in a file of its own or not.
std::string memory_line(const airlock_guard_rules& rules, std::uint64_t address,
                        std::uint64_t bytes, bool alone) {
  const airlock_guard_map map{.address = address, .size = bytes, .flags = 3};
  airlock_guard_file file{};
  file.present = file.memfd = true;
  file.seals = 7;
  file.bytes = alone ? bytes : bytes * 2;
  airlock_guard_share share{};
  const airlock_guard_memory none{};
  const auto reason = airlock_guard_dma_map(&rules, &none, &map, 0, &file, &share);
  if (reason != AIRLOCK_GUARD_PASS || !share.tell) return "nothing: answered here, the file closed";
  return share.with_fd ? "READABLE AND WRITABLE: the file is passed on"
                       : "nothing: its address is passed on, its file is closed";
}

std::string dma_line(const airlock_guard_rules& rules, std::uint64_t address, bool write) {
  const airlock_guard_map map{.address = address, .size = 4096, .flags = 3};
  const airlock_guard_memory memory{
      .maps = &map, .queues = nullptr, .map_count = 1, .queue_count = 0};
  constexpr std::uint64_t kBytes = 512;
  const auto reason =
      airlock_guard_dma(&rules, &memory, write, address, kBytes, write ? kBytes : 0);
  if (reason != AIRLOCK_GUARD_PASS) return fmt::format("nothing: {}", words(reason));
  return write ? "WRITABLE, if the VM mapped it" : "READABLE, if the VM mapped it";
}

}  // namespace

std::string explain(const airlock_guard_rules& rules) {
  const bool window = rules.policy == AIRLOCK_GUARD_WINDOW;
  const std::uint64_t inside = window ? rules.window_first : 0;
  const std::uint64_t bytes = window ? rules.window_bytes : 4096;
  std::string text;
  const auto add = [&text](std::string_view channel, std::string_view what) {
    text += fmt::format("{:46} {}\n", channel, what);
  };
  const auto add_memory = [&](std::string_view where, std::uint64_t address) {
    add(fmt::format("guest memory{}, by a file of DMA_MAP", where),
        memory_line(rules, address, bytes, false));
    add(fmt::format("guest memory{}, by a file of its own", where),
        memory_line(rules, address, bytes, true));
    add(fmt::format("guest memory{}, by DMA_READ", where), dma_line(rules, address, false));
    add(fmt::format("guest memory{}, by DMA_WRITE", where), dma_line(rules, address, true));
  };
  if (rules.policy == AIRLOCK_GUARD_SNOOP) {
    add("guest memory that descriptors invite",
        "READABLE OR WRITABLE as they say, while in flight");
  }
  if (window) {
    add_memory(" in the window", inside);
    add_memory(" elsewhere", rules.window_first + rules.window_bytes);
  } else {
    add_memory("", inside);
  }
  add("the region (BAR)", "READABLE AND WRITABLE: it is the device's, sealed, of its exact size");
  add("the VM's eventfds", "nothing: the device signals the guard's own, which passes them on");
  add("the interrupts ERR and REQ", "nothing: the VM is told that there are none");
  add("the VMM's threads", "nothing: it is answered from here, in time");
  return text;
}

}  // namespace airlock::guard
