// SPDX-License-Identifier: Apache-2.0
#include "sandbox/refusal.h"

#include <seccomp.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <string_view>

#include <fmt/format.h>

namespace airlock::sandbox {

namespace {

#if defined(__x86_64__) || defined(__aarch64__)
constexpr bool kHandled = true;
#else
constexpr bool kHandled = false;
#endif

constexpr int kBySeccomp = 1;  // SYS_SECCOMP of the kernel's asm-generic/siginfo.h

/// Names by number, from before: the handler may not allocate memory.
constexpr std::size_t kNumbers = 512;
std::array<std::array<char, 24>, kNumbers> g_names{};
std::atomic<int> g_lines{0};

void learn_names() {
  for (std::size_t number = 0; number < g_names.size(); ++number) {
    char* const name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, static_cast<int>(number));
    if (name == nullptr) continue;
    fmt::format_to_n(g_names[number].begin(), g_names[number].size() - 1, "{}", name);
    free(name);
  }
}

void log_refusal(int number) {
  if (g_lines.fetch_add(1, std::memory_order_relaxed) >= kRefusalLines) return;
  const bool known = number >= 0 && static_cast<std::size_t>(number) < g_names.size() &&
                     g_names[static_cast<std::size_t>(number)][0] != '\0';
  const std::string_view name = known ? g_names[static_cast<std::size_t>(number)].data() : "?";
  std::array<char, 128> line{};
  // Only of text and integers: formats on the stack.
  const auto end = fmt::format_to_n(line.begin(), line.size(),
                                    "airlock: warning: sandbox: refused the system call {} ({})\n",
                                    name, number);
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), end.size);
}

#if defined(__x86_64__)
void return_from_call(ucontext_t& context, int error) {
  context.uc_mcontext.gregs[REG_RAX] = -error;
}
#elif defined(__aarch64__)
void return_from_call(ucontext_t& context, int error) {
  context.uc_mcontext.regs[0] = static_cast<unsigned long long>(-static_cast<long long>(error));
}
#else
void return_from_call(ucontext_t& /*context*/, int /*error*/) {}
#endif

void on_refusal(int /*signal*/, siginfo_t* info, void* context) {
  if (info->si_code != kBySeccomp) return;  // somebody sent it
  const int before = errno;
  log_refusal(info->si_syscall);
  errno = before;
  return_from_call(*static_cast<ucontext_t*>(context), EPERM);
}

}  // namespace

std::uint32_t refusal_action() {
  return kHandled ? SCMP_ACT_TRAP : SCMP_ACT_ERRNO(EPERM);
}

Result<void> name_refusals() {
  learn_names();
  struct sigaction action{};
  action.sa_sigaction = on_refusal;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART;
  if (sigaction(SIGSYS, &action, nullptr) != 0) return fail(system_error());
  return {};
}

}  // namespace airlock::sandbox
