// SPDX-License-Identifier: Apache-2.0
#include "sandbox/trials.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>

#include <fmt/core.h>

namespace airlock::sandbox {

namespace {

// An attempt does no harm where nothing prevents it, not even as root: it asks for what nobody
// notices, or for what does not exist, so that another error shows how far it came.

/// What a call returned, as an attempt does.
int outcome(long result) {
  return result < 0 ? errno : 0;
}

int opens(const char* path, int flags) {
  return outcome(open(path, flags | O_CLOEXEC, 0600));
}

// --- files ------------------------------------------------------------------------------------

int open_file(const Outside& /*outside*/) {
  return opens("/", O_RDONLY | O_DIRECTORY);
}

int create_file(const Outside& /*outside*/) {
  return opens("/", O_WRONLY | O_TMPFILE);
}

int remove_file(const Outside& /*outside*/) {
  return outcome(unlink("/no-such-file-of-airlock"));
}

int open_proc(const Outside& /*outside*/) {
  return opens("/proc/self/status", O_RDONLY);
}

// --- other processes and programs ---------------------------------------------------------------

int read_memory_file(const Outside& outside) {
  return opens(fmt::format("/proc/{}/mem", outside.process).c_str(), O_RDONLY);
}

int read_memory(const Outside& outside) {
  std::uint64_t target = 0;
  const iovec here{.iov_base = &target, .iov_len = sizeof target};
  const iovec there{.iov_base = std::bit_cast<void*>(outside.address), .iov_len = sizeof target};
  return outcome(process_vm_readv(outside.process, &here, 1, &there, 1, 0));
}

int trace(const Outside& outside) {
  return outcome(ptrace(PTRACE_SEIZE, outside.process, nullptr, nullptr));  // ends with this child
}

int signal_outside(const Outside& outside) {
  return outcome(kill(outside.process, 0));
}

int execute(const Outside& /*outside*/) {
  const std::array<char*, 1> none{nullptr};
  return outcome(execve("/bin/true", none.data(), none.data()));
}

int start_process(const Outside& /*outside*/) {
  const long child = syscall(SYS_clone, 0, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) _exit(0);
  return outcome(child);
}

int start_thread(const Outside& /*outside*/) {
  // Refused for its flags by the kernel (EINVAL), where nobody refuses it before.
  return outcome(syscall(SYS_clone, CLONE_THREAD | CLONE_VM, nullptr, nullptr, nullptr, nullptr));
}

int open_process(const Outside& outside) {
  return outcome(syscall(SYS_pidfd_open, outside.process, 0));
}

// --- sockets ------------------------------------------------------------------------------------

int make_socket(const Outside& /*outside*/) {
  return outcome(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

int connect_socket(const Outside& /*outside*/) {
  return outcome(connect(STDIN_FILENO, nullptr, 0));
}

int reach_network(const Outside& /*outside*/) {
  const int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (udp < 0) return outcome(udp);
  const sockaddr_in discard{.sin_family = AF_INET,
                            .sin_port = htons(9),
                            .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)},
                            .sin_zero = {}};
  // tidy: allow cast because the kernel's sockaddr interface wants it
  return outcome(connect(udp, reinterpret_cast<const sockaddr*>(&discard), sizeof discard));
}

// --- memory for code ----------------------------------------------------------------------------

constexpr int kPrivate = MAP_PRIVATE | MAP_ANONYMOUS;

int map_code(const Outside& /*outside*/) {
  // tidy: allow mmap because nothing is to come of it
  void* const code = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, kPrivate, -1, 0);
  return code == MAP_FAILED ? errno : 0;
}

int make_code(const Outside& /*outside*/) {
  // tidy: allow mmap because it is private, and gone with the attempt
  void* const data = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, kPrivate, -1, 0);
  if (data == MAP_FAILED) return 0;  // which it may
  return outcome(mprotect(data, 4096, PROT_READ | PROT_EXEC));
}

// --- rights -------------------------------------------------------------------------------------

int change_user(const Outside& /*outside*/) {
  return outcome(setresuid(0, 0, 0));
}

int gain_capabilities(const Outside& /*outside*/) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  const std::uint32_t one = std::uint32_t{1} << CAP_SYS_ADMIN;
  const std::array<__user_cap_data_struct, 2> wanted{
      {{.effective = one, .permitted = one, .inheritable = 0}, {}}};
  return outcome(syscall(SYS_capset, &header, wanted.data()));
}

int change_root(const Outside& /*outside*/) {
  return outcome(chroot("/"));
}

int mount_something(const Outside& /*outside*/) {
  return outcome(mount("none", "/", "no-such-file-system", 0, nullptr));
}

int new_user_namespace(const Outside& /*outside*/) {
  return outcome(unshare(CLONE_NEWUSER));
}

int become_dumpable(const Outside& /*outside*/) {
  return outcome(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

int name_host(const Outside& /*outside*/) {
  std::array<char, 65> name{};
  if (gethostname(name.data(), name.size()) != 0) return errno;
  return outcome(
      sethostname(name.data(), std::char_traits<char>::length(name.data())));  // as it is
}

// --- the kernel's other doors -------------------------------------------------------------------

int load_bpf(const Outside& /*outside*/) {
  return outcome(syscall(SYS_bpf, 0, nullptr, 0));
}

int count_events(const Outside& /*outside*/) {
  perf_event_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.type = PERF_TYPE_SOFTWARE;
  return outcome(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0));
}

int handle_faults(const Outside& /*outside*/) {
  return outcome(syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY));
}

int use_keys(const Outside& /*outside*/) {
  constexpr int kGetKeyringId = 0;
  constexpr int kSessionKeyring = -3;
  return outcome(syscall(SYS_keyctl, kGetKeyringId, kSessionKeyring, 0));
}

int make_ring(const Outside& /*outside*/) {
  io_uring_params parameters{};
  return outcome(syscall(SYS_io_uring_setup, 1, &parameters));
}

int type_on_terminal(const Outside& /*outside*/) {
  const char key = '\n';
  return outcome(ioctl(STDIN_FILENO, TIOCSTI, &key));
}

int make_memory_file(const Outside& /*outside*/) {
  return outcome(memfd_create("airlock-self-test", MFD_CLOEXEC));
}

// --- measures that are only looked at -----------------------------------------------------------

int core_dumps(const Outside& /*outside*/) {
  rlimit core{};
  if (getrlimit(RLIMIT_CORE, &core) != 0) return 0;
  return core.rlim_max == 0 ? Trial::kInForce : 0;
}

int new_privileges(const Outside& /*outside*/) {
  return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? Trial::kInForce : 0;
}

int dumpable(const Outside& /*outside*/) {
  return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? Trial::kInForce : 0;
}

constexpr Measures kOwnMounts = Measure::kUserNamespace | Measure::kNamespaces;

constexpr Trial kMeasureTrials[] = {
    {.name = "limits: dump core",
     .of = Measure::kLimits,
     .taken = Measure::kLimits,
     .attempt = core_dumps},
    {.name = "user namespace: set the host's name",
     .of = Measure::kUserNamespace,
     .taken = Measure::kUserNamespace,
     .attempt = name_host},
    {.name = "namespaces: reach the network",
     .of = Measure::kNamespaces,
     .taken = kOwnMounts,
     .attempt = reach_network,
     .refusal = ENETUNREACH},
    {.name = "empty root: open a file",
     .of = Measure::kEmptyRoot,
     .taken = kOwnMounts | Measure::kEmptyRoot,
     .attempt = open_proc,
     .refusal = ENOENT},
    {.name = "no new privileges: turn it off",
     .of = Measure::kNoNewPrivileges,
     .taken = Measure::kNoNewPrivileges,
     .attempt = new_privileges},
    {.name = "Landlock: open a file",
     .of = Measure::kLandlock,
     .taken = Measure::kNoNewPrivileges | Measure::kLandlock,
     .attempt = open_file},
    {.name = "no capabilities: change the root",
     .of = Measure::kCapabilities,
     .taken = Measure::kCapabilities,
     .attempt = change_root},
    {.name = "no capabilities: gain one",
     .of = Measure::kCapabilities,
     .taken = Measure::kCapabilities,
     .attempt = gain_capabilities},
    {.name = "not dumpable: be read by others",
     .of = Measure::kNotDumpable,
     .taken = Measure::kNotDumpable,
     .attempt = dumpable},
};

constexpr Trial kCommonTrials[] = {
    {.name = "open a file", .attempt = open_file},
    {.name = "create a file", .attempt = create_file},
    {.name = "remove a file", .attempt = remove_file},
    {.name = "open /proc/PARENT/mem", .attempt = read_memory_file},
    {.name = "process_vm_readv of the parent", .attempt = read_memory},
    {.name = "ptrace the parent", .attempt = trace},
    {.name = "signal the parent", .attempt = signal_outside},
    {.name = "pidfd_open the parent", .attempt = open_process},
    {.name = "execve", .attempt = execute},
    {.name = "start a process", .attempt = start_process},
    {.name = "socket", .attempt = make_socket},
    {.name = "connect", .attempt = connect_socket},
    {.name = "map memory for code", .attempt = map_code},
    {.name = "turn memory into code", .attempt = make_code},
    {.name = "change the user", .attempt = change_user},
    {.name = "gain a capability", .attempt = gain_capabilities},
    {.name = "chroot", .attempt = change_root},
    {.name = "mount", .attempt = mount_something},
    {.name = "make a user namespace", .attempt = new_user_namespace},
    {.name = "become dumpable", .attempt = become_dumpable},
    {.name = "bpf", .attempt = load_bpf},
    {.name = "perf_event_open", .attempt = count_events},
    {.name = "userfaultfd", .attempt = handle_faults},
    {.name = "keyctl", .attempt = use_keys},
    {.name = "make an io_uring", .attempt = make_ring},
    {.name = "type on the terminal", .attempt = type_on_terminal},
};

constexpr Trial kGuardTrials[] = {
    {.name = "start a thread", .attempt = start_thread},
    {.name = "make a memory file", .attempt = make_memory_file},
};

}  // namespace

std::span<const Trial> measure_trials() {
  return kMeasureTrials;
}

std::span<const Trial> common_trials() {
  return kCommonTrials;
}

std::span<const Trial> role_trials(Role role) {
  if (role == Role::kGuard) return kGuardTrials;
  return {};
}

}  // namespace airlock::sandbox
