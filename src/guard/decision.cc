// SPDX-License-Identifier: Apache-2.0
#include "guard/decision.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <array>

#include <fmt/core.h>

namespace airlock::guard {

airlock_guard_file file_facts(const Fd& fd) {
  airlock_guard_file facts{};
  facts.present = static_cast<bool>(fd);
  struct stat status = {};
  struct statfs system = {};
  // The seals first: the size that is read after them is the one that they keep.
  const int seals = fd ? fcntl(fd.get(), F_GET_SEALS) : -1;
  if (!fd || fstat(fd.get(), &status) != 0 || fstatfs(fd.get(), &system) != 0) return facts;
  // Files of tmpfs have seals as well, and names; a memfd has none.
  facts.memfd = seals >= 0 && S_ISREG(status.st_mode) && status.st_nlink == 0;
  facts.huge = system.f_type == HUGETLBFS_MAGIC;
  facts.seals = seals >= 0 ? static_cast<std::uint32_t>(seals) : 0;
  facts.bytes = static_cast<std::uint64_t>(status.st_size);
  return facts;
}

std::string command_name(std::uint16_t command) {
  static constexpr std::array kNames{"VERSION",
                                     "DMA_MAP",
                                     "DMA_UNMAP",
                                     "DEVICE_GET_INFO",
                                     "DEVICE_GET_REGION_INFO",
                                     "DEVICE_GET_REGION_IO_FDS",
                                     "DEVICE_GET_IRQ_INFO",
                                     "DEVICE_SET_IRQS",
                                     "REGION_READ",
                                     "REGION_WRITE",
                                     "DMA_READ",
                                     "DMA_WRITE",
                                     "DEVICE_RESET",
                                     "DIRTY_PAGES",
                                     "REGION_WRITE_MULTI",
                                     "DEVICE_FEATURE",
                                     "MIG_DATA_READ",
                                     "MIG_DATA_WRITE"};
  if (command >= 1 && command <= kNames.size()) return kNames.at(command - 1U);
  return fmt::format("command {}", command);
}

}  // namespace airlock::guard
