// SPDX-License-Identifier: Apache-2.0
#include "sandbox/call_lists.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/prctl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>

namespace airlock::sandbox {

namespace {

constexpr std::uint64_t kWord = 0xffffffff;  // of an argument that the kernel takes as 32 bits

constexpr AllowedCall command(const char* name, std::uint64_t value) {
  return {.name = name, .argument = 1, .mask = kWord, .value = value};
}

constexpr AllowedCall kCommon[] = {
    // Messages and descriptors that are open, or come with a message.
    {.name = "read"},
    {.name = "readv"},
    {.name = "write"},
    {.name = "writev"},
    {.name = "preadv2"},  // an eventfd that must not make us wait, whatever its peer did to it
    {.name = "recvmsg"},
    {.name = "sendmsg"},
    {.name = "recvfrom"},
    {.name = "sendto", .argument = 4, .value = 0},  // to no address but the peer's
    {.name = "accept4"},
    {.name = "shutdown"},
    {.name = "getsockopt"},
    {.name = "close"},
    {.name = "fstat"},
    {.name = "newfstatat", .argument = 3, .mask = kWord, .value = AT_EMPTY_PATH},  // fstat of glibc
    {.name = "fstatfs"},
    command("fcntl", F_GETFD),
    command("fcntl", F_SETFD),
    command("fcntl", F_GETFL),
    command("fcntl", F_SETFL),
    command("fcntl", F_DUPFD_CLOEXEC),
    command("fcntl", F_GET_SEALS),
    {.name = "eventfd2"},
    // Waiting.
    {.name = "poll"},
    {.name = "ppoll"},
    {.name = "epoll_wait"},
    {.name = "epoll_pwait"},
    {.name = "epoll_pwait2"},
    {.name = "epoll_ctl"},
    {.name = "timerfd_settime"},
    {.name = "futex"},
    {.name = "restart_syscall"},
    {.name = "sched_yield"},
    // Memory, and none of it for code.
    {.name = "brk"},
    {.name = "mmap", .argument = 2, .mask = PROT_EXEC, .value = 0},
    {.name = "mprotect", .argument = 2, .mask = PROT_EXEC, .value = 0},
    {.name = "mremap"},
    {.name = "munmap"},
    {.name = "madvise"},
    // Time, identity, signals, the end.
    {.name = "clock_gettime"},
    {.name = "clock_getres"},
    {.name = "gettimeofday"},
    {.name = "getrandom"},
    {.name = "getpid"},
    {.name = "gettid"},
    {.name = "rt_sigaction"},
    {.name = "rt_sigprocmask"},
    {.name = "rt_sigreturn"},
    {.name = "exit"},
    {.name = "exit_group"},
};

// A thread, and nothing in a namespace or at the end of a tracer of its own.
constexpr std::uint64_t kCloneMask = CLONE_THREAD | CLONE_VM | CLONE_PTRACE | CLONE_NEWNS |
                                     CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                                     CLONE_NEWPID | CLONE_NEWNET;

constexpr AllowedCall kDevice[] = {
    // Queues' threads.
    {.name = "clone", .argument = 0, .mask = kCloneMask, .value = CLONE_THREAD | CLONE_VM},
    {.name = "set_robust_list"},
    {.name = "rseq"},
    {.name = "sigaltstack"},
    {.name = "sched_getaffinity"},
    {.name = "prctl", .argument = 0, .mask = kWord, .value = PR_SET_NAME},
    {.name = "prctl", .argument = 0, .mask = kWord, .value = PR_SET_TIMERSLACK},
    // Regions: made, sealed, punched empty.
    {.name = "memfd_create"},
    {.name = "ftruncate"},
    {.name = "fallocate"},
    command("fcntl", F_ADD_SEALS),
    // What a queue waits by: for several things, for some time.
    {.name = "epoll_create1"},
    {.name = "timerfd_create"},
    // Sockets, as Asio makes them non-blocking.
    command("ioctl", FIONBIO),
    // A console's terminal: its size, and its mode given back at the end.
    command("ioctl", TIOCGWINSZ),
    command("ioctl", TCSETS),
    // I/O to what the backend has open.
    {.name = "pread64"},
    {.name = "pwrite64"},
    {.name = "preadv"},
    {.name = "pwritev"},
    {.name = "pwritev2"},
    {.name = "fsync"},
    {.name = "fdatasync"},
    command("ioctl", BLKDISCARD),
    // An open tap interface: which frames may come unsegmented, which of its queues are used.
    command("ioctl", TUNSETOFFLOAD),
    command("ioctl", TUNSETQUEUE),
    // Rings that exist already, and are restricted to transfers themselves. A new one would not be,
    // and its operations pass by this filter: io_uring_setup is not here.
    {.name = "io_uring_enter"},
    command("io_uring_register", IORING_REGISTER_BUFFERS),
    command("io_uring_register", IORING_UNREGISTER_BUFFERS),
};

constexpr const char* kDeadly[] = {
    // Other programs and processes.
    "execve",
    "execveat",
    "fork",
    "vfork",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_open",
    "pidfd_getfd",
    "pidfd_send_signal",
    "kcmp",
    "personality",
    // New ways out.
    "socket",
    "socketpair",
    "connect",
    "bind",
    "listen",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "setns",
    "unshare",
    "open_by_handle_at",
    "mknod",
    "mknodat",
    // More rights.
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
    "setfsuid",
    "setfsgid",
    "setgroups",
    "capset",
    "add_key",
    "request_key",
    "keyctl",
    // The kernel's own doors.
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "quotactl",
    "syslog",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "iopl",
    "ioperm",
    "modify_ldt",
    "nfsservctl",
    "lookup_dcookie",
    "vhangup",
    "sethostname",
    "setdomainname",
};

}  // namespace

std::span<const AllowedCall> common_calls() {
  return kCommon;
}

std::span<const AllowedCall> role_calls(Role role) {
  if (role == Role::kDevice) return kDevice;
  return {};
}

std::span<const char* const> deadly_calls() {
  return kDeadly;
}

}  // namespace airlock::sandbox
