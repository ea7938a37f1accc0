// SPDX-License-Identifier: Apache-2.0
//
// How SharedBytes moves many bytes. Nobody else needs it.
#pragma once

#include <cstddef>

namespace airlock::shm {

/// memcpy of memory that somebody else may change meanwhile: a call that the compiler can't look
/// into, with a barrier behind it, so that neither end is read again in place of the copy. (A byte
/// may be loaded twice, where blocks overlap; what is looked at afterwards is the copy alone.)
void bulk_copy(std::byte* target, const std::byte* source, std::size_t length);
/// The same of memset with zero.
void bulk_zero(std::byte* target, std::size_t length);

}  // namespace airlock::shm
