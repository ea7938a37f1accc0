// SPDX-License-Identifier: Apache-2.0
#include "sandbox/namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string_view>

#include <fmt/core.h>

#include "base/fd.h"

namespace airlock::sandbox {

namespace {

Result<void> write_file(const char* path, std::string_view text) {
  const Fd file = TRY(own_fd(open(path, O_WRONLY | O_CLOEXEC)));
  const ssize_t written = write(file.get(), text.data(), text.size());
  if (written < 0) return fail(system_error());
  return {};
}

Result<void> checked(int result) {
  if (result != 0) return fail(system_error());
  return {};
}

}  // namespace

Result<void> map_own_ids(uid_t user, gid_t group) {
  TRY(write_file("/proc/self/setgroups", "deny"));  // or the kernel takes no map from us
  TRY(write_file("/proc/self/uid_map", fmt::format("{} {} 1", user, user)));
  return write_file("/proc/self/gid_map", fmt::format("{} {} 1", group, group));
}

Result<void> enter_user_namespace() {
  const uid_t user = geteuid();
  const gid_t group = getegid();
  TRY(checked(unshare(CLONE_NEWUSER)));
  // Without the maps (no /proc, say) it is in it all the same; only the empty root needs them.
  static_cast<void>(map_own_ids(user, group));
  return {};
}

Result<void> enter_namespaces() {
  TRY(checked(unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)));
  // What is unmounted outside must not stay busy because of us; what is mounted here stays here.
  return checked(mount("", "/", nullptr, MS_SLAVE | MS_REC, nullptr));
}

Result<void> enter_empty_root() {
  // Any directory will do that surely exists. What it covers, and all else, is unmounted after.
  constexpr const char* kPlace = "/proc";
  TRY(checked(mount("tmpfs", kPlace, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY,
                    "size=4k,nr_inodes=1,mode=0")));
  TRY(checked(chdir(kPlace)));
  // The old root goes on top of the new one: no directory has to exist in it.
  if (syscall(SYS_pivot_root, ".", ".") != 0) return fail(system_error());
  return checked(umount2(".", MNT_DETACH));
}

}  // namespace airlock::sandbox
