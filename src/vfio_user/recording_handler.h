// SPDX-License-Identifier: Apache-2.0
//
// For tests and fuzzing: a device of plain memory that writes down what it is asked, fails or holds
// its replies back on demand, and checks every promise that Handler makes to a device.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "base/check.h"
#include "base/event_fd.h"
#include "core/range.h"
#include "shm/sealed_memfd.h"
#include "spec/vfio_user.h"
#include "vfio_user/handler.h"

namespace airlock::vfio_user {

class RecordingHandler final : public Handler {
 public:
  static constexpr std::uint32_t kPlain = 0;     // readable and writable
  static constexpr std::uint32_t kReadOnly = 1;  // and kWriteOnly its twin
  static constexpr std::uint32_t kMapped = 2;    // its second page can be mapped
  static constexpr std::uint32_t kWriteOnly = 3;
  static constexpr std::uint32_t kAbsent = 4;
  static constexpr std::uint64_t kSize = 8192;  // of every region that is there, but
  static constexpr std::uint64_t kConfigSize = 4096;
  static constexpr std::uint64_t kPage = 4096;
  static constexpr std::uint32_t kDoorbells = 20;  // of kPlain: 2 bytes each, from kDoorbellsAt on
  static constexpr std::uint64_t kDoorbellsAt = 0x1000;
  static constexpr std::uint32_t kVectors = 20;  // MSI-X; no other interrupts

  RecordingHandler() : memfd_(MUST(shm::SealedMemfd::create({.size = kSize}))) {
    for (auto& bytes : memory)
      bytes.assign(kSize, std::byte{0});
  }

  // What the tests look at and turn.
  std::vector<std::string> calls;
  std::array<std::vector<std::byte>, spec::VFIO_PCI_NUM_REGIONS> memory;
  std::vector<std::pair<std::uint32_t, Fd>> eventfds;  // by vector
  std::vector<std::pair<DmaRange, Fd>> maps;
  std::optional<Error> failure;  // of everything that can fail
  bool hold = false;             // replies go to `held`
  std::vector<Reply> held;
  bool is_connected = false;
  EventFd bell = MUST(EventFd::create());  // every doorbell's
  Fd other_memfd;                          // in place of its own, if there is one

  [[nodiscard]] const Fd& memfd() const { return other_memfd ? other_memfd : memfd_.fd(); }
  // The calls so far, forgotten.
  std::vector<std::string> take_calls() { return std::exchange(calls, {}); }

  void connected() override {
    CHECK(!is_connected);
    is_connected = true;
    calls.emplace_back("connected");
  }

  void disconnected() override {
    CHECK(is_connected);
    is_connected = false;
    calls.emplace_back("disconnected");
    eventfds.clear();
    maps.clear();
  }

  RegionInfo region(std::uint32_t index) override {
    CHECK(is_connected && index < spec::VFIO_PCI_NUM_REGIONS);
    if (index >= kAbsent && index != spec::VFIO_PCI_CONFIG_REGION_INDEX) return {};
    const bool is_config = index == spec::VFIO_PCI_CONFIG_REGION_INDEX;
    RegionInfo info{.size = is_config ? kConfigSize : kSize,
                    .readable = index != kWriteOnly,
                    .writable = index != kReadOnly,
                    .mapping = std::nullopt};
    if (index == kMapped) {
      info.mapping = {
          .fd = memfd().get(), .file_offset = 0, .area = {.offset = kPage, .size = kSize - kPage}};
    }
    return info;
  }

  std::vector<Doorbell> doorbells(std::uint32_t index) override {
    CHECK(is_connected && index < spec::VFIO_PCI_NUM_REGIONS);
    std::vector<Doorbell> found;
    while (index == kPlain && found.size() < kDoorbells) {
      found.push_back({.offset = kDoorbellsAt + 4 * found.size(), .size = 2, .fd = bell.fd()});
    }
    return found;
  }

  std::uint32_t irq_count(std::uint32_t index) override {
    CHECK(is_connected && index < spec::VFIO_PCI_NUM_IRQS);
    return index == spec::VFIO_PCI_MSIX_IRQ_INDEX ? kVectors : 0;
  }

  Result<void> read(std::uint32_t index, std::uint64_t offset,
                    std::span<std::byte> target) override {
    check_access(index, offset, target.size());
    CHECK(region(index).readable);
    calls.push_back(fmt::format("read {} {:#x} {}", index, offset, target.size()));
    if (failure) return fail(*failure);
    std::copy_n(memory[index].begin() + static_cast<std::ptrdiff_t>(offset), target.size(),
                target.begin());
    return {};
  }

  Result<void> write(std::uint32_t index, std::uint64_t offset,
                     std::span<const std::byte> source) override {
    check_access(index, offset, source.size());
    CHECK(region(index).writable);
    calls.push_back(fmt::format("write {} {:#x} {}", index, offset, source.size()));
    if (failure) return fail(*failure);
    std::ranges::copy(source, memory[index].begin() + static_cast<std::ptrdiff_t>(offset));
    return {};
  }

  Result<void> set_irq_eventfds(std::uint32_t index, std::uint32_t start,
                                std::vector<Fd> fds) override {
    check_irqs(index, start, fds.size());
    calls.push_back(fmt::format("eventfds {} {} {}", index, start, fds.size()));
    if (failure) return fail(*failure);
    for (Fd& fd : fds) {
      CHECK(static_cast<bool>(fd));
      forget(start, 1);
      eventfds.emplace_back(start++, std::move(fd));
    }
    return {};
  }

  Result<void> deassign_irqs(std::uint32_t index, std::uint32_t start,
                             std::uint32_t count) override {
    check_irqs(index, start, count);
    calls.push_back(fmt::format("deassign {} {} {}", index, start, count));
    forget(start, count);
    return result();
  }

  Result<void> disable_irqs(std::uint32_t index) override {
    CHECK(irq_count(index) != 0);
    calls.push_back(fmt::format("disable {}", index));
    eventfds.clear();
    return result();
  }

  Result<void> trigger_irq(std::uint32_t index, std::uint32_t start, std::uint32_t count) override {
    check_irqs(index, start, count);
    calls.push_back(fmt::format("trigger {} {} {}", index, start, count));
    return result();
  }

  void dma_map(const DmaRange& range, Fd fd, Reply reply) override {
    CHECK(is_connected && range.size != 0);
    CHECK(airlock_range_within(range.address, range.size - 1, UINT64_MAX));
    calls.push_back(fmt::format("map {:#x} {:#x} {}{}{}", range.address, range.size,
                                range.readable ? "r" : "-", range.writable ? "w" : "-",
                                fd ? " fd" : ""));
    maps.emplace_back(range, std::move(fd));
    answer(std::move(reply));
  }

  void dma_unmap(std::uint64_t address, std::uint64_t size, bool all, Reply reply) override {
    CHECK(is_connected && (size == 0) == all);
    calls.push_back(fmt::format("unmap {:#x} {:#x}{}", address, size, all ? " all" : ""));
    maps.clear();
    answer(std::move(reply));
  }

  void reset(Reply reply) override {
    CHECK(is_connected);
    calls.emplace_back("reset");
    answer(std::move(reply));
  }

 private:
  void check_access(std::uint32_t index, std::uint64_t offset, std::uint64_t size) {
    CHECK(size != 0 && airlock_range_within(offset, size, region(index).size));
  }

  void check_irqs(std::uint32_t index, std::uint64_t start, std::uint64_t count) {
    CHECK(count != 0 && airlock_range_within(start, count, irq_count(index)));
  }

  void forget(std::uint32_t start, std::uint32_t count) {
    std::erase_if(eventfds, [&](const auto& e) { return e.first - start < count; });
  }

  Result<void> result() const {
    if (failure) return fail(*failure);
    return {};
  }

  void answer(Reply reply) {
    if (hold) {
      held.push_back(std::move(reply));
    } else {
      reply(result());
    }
  }

  shm::SealedMemfd memfd_;
};

}  // namespace airlock::vfio_user
