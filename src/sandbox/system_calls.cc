// SPDX-License-Identifier: Apache-2.0
#include "sandbox/system_calls.h"

#include <seccomp.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <type_traits>

#include "sandbox/call_lists.h"
#include "sandbox/refusal.h"

namespace airlock::sandbox {

namespace {

struct Release {
  void operator()(scmp_filter_ctx filter) const { seccomp_release(filter); }
};
using Filter = std::unique_ptr<std::remove_pointer_t<scmp_filter_ctx>, Release>;

/// libseccomp returns a negative errno.
Result<void> accepted(int result) {
  if (result < 0) return fail(system_error(-result));
  return {};
}

/// The number of a system call on this machine; -1 where it has none of that name.
int number_of(const char* name) {
  const int number = seccomp_syscall_resolve_name(name);
  return number < 0 ? -1 : number;
}

Result<void> allow(const Filter& filter, const AllowedCall& call) {
  const int number = number_of(call.name);
  if (number < 0) return {};
  if (call.argument < 0) return accepted(seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, number, 0));
  const scmp_arg_cmp where{.arg = static_cast<unsigned>(call.argument),
                           .op = SCMP_CMP_MASKED_EQ,
                           .datum_a = call.mask,
                           .datum_b = call.value};
  return accepted(seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, number, 1, &where));
}

Result<void> answer(const Filter& filter, const char* name, std::uint32_t action) {
  const int number = number_of(name);
  if (number < 0) return {};
  return accepted(seccomp_rule_add(filter.get(), action, number, 0));
}

Result<void> set_up(const Filter& filter) {
  TRY(accepted(seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS)));
  TRY(accepted(seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_NNP, 0)));  // taken already
  TRY(accepted(seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1)));
  // A binary tree, instead of a list that the last call's check walks to its end.
  TRY(accepted(seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2)));
  // Older kernels slow down all loads of a process with a filter, for the sake of those that run
  // code of strangers in it. An older kernel still doesn't know the wish: never mind.
  static_cast<void>(seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_SSB, 1));
  return {};
}

}  // namespace

Result<void> restrict_system_calls(Role role) {
  const Filter filter(seccomp_init(refusal_action()));
  if (!filter) return fail(system_error(ENOMEM));
  TRY(set_up(filter));
  for (const AllowedCall& call : common_calls()) {
    TRY(allow(filter, call));
  }
  for (const AllowedCall& call : role_calls(role)) {
    TRY(allow(filter, call));
  }
  // To itself only, as abort() does.
  const AllowedCall own{.name = "tgkill", .argument = 0, .value = static_cast<unsigned>(getpid())};
  TRY(allow(filter, own));
  TRY(answer(filter, "clone3", SCMP_ACT_ERRNO(ENOSYS)));
  for (const char* const name : deadly_calls()) {
    TRY(answer(filter, name, SCMP_ACT_KILL_PROCESS));
  }
  TRY(name_refusals());
  return accepted(seccomp_load(filter.get()));
}

}  // namespace airlock::sandbox
