// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <thread>

#include "compare/two_stage/hypervisor.h"

namespace airlock::compare {

/// A machine whose devices translate in two stages: one of hardware, in a thread, and one that the
/// hypervisor emulates, in another. The caller is the guest, and sets up stage 2 for the
/// hypervisor. One thread. SYS-8.
class TwoStageMachine {
 public:
  static constexpr std::uint64_t kMemoryBytes = std::uint64_t{1} << 20;

  struct Options {
    /// Whether writes to the invalidation queue trap, so that the hypervisor hears of them.
    bool hv_sees_flush = false;
  };
  /// Errors: kSystem.
  static Result<std::unique_ptr<TwoStageMachine>> create(const Options& options);
  TwoStageMachine(const TwoStageMachine&) = delete;
  TwoStageMachine& operator=(const TwoStageMachine&) = delete;
  ~TwoStageMachine();

  /// Stage 2, by the hypervisor: where a page of the guest's is in the machine's memory.
  /// Errors: those of PageTable.
  Result<void> place(std::uint64_t guest_page, const PageEntry& entry) {
    return hypervisor_table_.map(guest_page, entry);
  }
  /// Stage 1, by the guest: lets devices at one of its pages. Nobody is told. Errors: the same.
  Result<void> map(std::uint64_t address, const PageEntry& entry) {
    return guest_table_.map(address, entry);
  }
  /// Takes it back: out of the table, then out of what hardware knows, and waits for that. The page
  /// is the guest's to use when it returns. Errors: the same; those of ask().
  Result<void> unmap(std::uint64_t address);

  /// An access of the device of hardware, or of the emulated one. Errors: those of TranslatingPort.
  Result<std::uint64_t> hardware(const DeviceAccess& access) { return hardware_->access(access); }
  Result<std::uint64_t> emulated(const DeviceAccess& access);
  [[nodiscard]] std::vector<TranslationFault> hardware_faults() { return hardware_->faults(); }

  /// A word of the guest's memory, as its processor finds it: by stage 2. Errors: kAddressOutside.
  [[nodiscard]] Result<std::uint64_t> load(std::uint64_t guest_address) const;
  Result<void> store(std::uint64_t guest_address, std::uint64_t value);
  /// Of the invalidation queue, that the hypervisor had to handle.
  [[nodiscard]] std::uint64_t traps() const { return traps_; }

 private:
  /// Of three owners: what stage 1 is in, stage 2, and the machine's memory.
  struct Memories {
    shm::Mapping guest_table;
    shm::Mapping hypervisor_table;
    shm::Mapping memory;
  };
  TwoStageMachine(const Options& options, Memories memories, const PageTable& guest_table,
                  const PageTable& hypervisor_table, SocketPair sockets);
  [[nodiscard]] Result<std::uint64_t> place_of(std::uint64_t guest_address) const;

  Options options_;
  Memories memories_;
  PageTable guest_table_;
  PageTable hypervisor_table_;
  std::uint64_t traps_ = 0;
  std::unique_ptr<Hardware> hardware_;
  Fd hypervisor_;
  std::jthread hypervisor_thread_;  // last: it uses all of the others
};

}  // namespace airlock::compare
