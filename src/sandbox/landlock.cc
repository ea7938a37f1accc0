// SPDX-License-Identifier: Apache-2.0
#include "sandbox/landlock.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "base/fd.h"

namespace airlock::sandbox {

namespace {

// The kernel's interface (linux/landlock.h). Written down here, as the headers that we build with
// may be older than the kernel that we run on.
struct RulesetAttributes {
  std::uint64_t handled_access_fs;
  std::uint64_t handled_access_net;  // since ABI 4
  std::uint64_t scoped;              // since ABI 6
};
static_assert(sizeof(RulesetAttributes) == 24);
constexpr unsigned kAskVersion = 1U << 0U;
constexpr std::uint64_t kBindAndConnectTcp = 0x3;
constexpr std::uint64_t kAbstractSocketsAndSignals = 0x3;

/// All rights to files of an ABI: thirteen at first, then REFER, TRUNCATE and IOCTL_DEV.
std::uint64_t file_rights(int abi) {
  const unsigned count = 13U + (abi >= 2 ? 1U : 0U) + (abi >= 3 ? 1U : 0U) + (abi >= 5 ? 1U : 0U);
  return (std::uint64_t{1} << count) - 1;
}

}  // namespace

Result<int> landlock_everything() {
  const long abi = syscall(SYS_landlock_create_ruleset, nullptr, 0, kAskVersion);
  if (abi < 0) return fail(system_error());
  const int version = static_cast<int>(abi);
  // No rule follows, so nothing of this is allowed anywhere. An older kernel takes the longer
  // structure as long as what it doesn't know is zero.
  const RulesetAttributes attributes{.handled_access_fs = file_rights(version),
                                     .handled_access_net = version >= 4 ? kBindAndConnectTcp : 0,
                                     .scoped = version >= 6 ? kAbstractSocketsAndSignals : 0};
  const Fd ruleset = TRY(own_fd(
      static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0U))));
  if (syscall(SYS_landlock_restrict_self, ruleset.get(), 0U) != 0) return fail(system_error());
  return version;
}

}  // namespace airlock::sandbox
