// SPDX-License-Identifier: Apache-2.0
//
// Result<T>: a value or an Error. A dropped one is a warning, which is an error here.
#pragma once

#include <expected>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "base/error.h"

namespace airlock {

template <class T>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using std::expected<T, Error>::expected;
};

/// The failing half of a Result, with the fields of Error in their order.
inline std::unexpected<Error> fail(Errc code) {
  return std::unexpected(Error{.code = code});
}
inline std::unexpected<Error> fail(const Error& error) {
  return std::unexpected(error);
}

namespace internal {
template <class R>
decltype(auto) take(R&& result) {
  if constexpr (std::is_void_v<typename std::remove_cvref_t<R>::value_type>) {
    return;
  } else {
    static_assert(!std::is_reference_v<typename std::remove_cvref_t<R>::value_type>,
                  "a statement expression can't hand out a reference");
    return std::move(*result);
  }
}

template <class T>
T must(Result<T> result, const char* expression, const char* file, int line) {
  if (!result) check_failed(expression, file, line);
  return take(result);
}
}  // namespace internal

}  // namespace airlock

/// The value of `expr`, or a return of its error from the function around.
#define TRY(expr) AIRLOCK_TRY(expr, AIRLOCK_JOIN(try_result_, __COUNTER__))
// Each use has a name of its own, so that one TRY may stand inside another.
#define AIRLOCK_JOIN(a, b) AIRLOCK_JOIN_TEXT(a, b)
#define AIRLOCK_JOIN_TEXT(a, b) a##b
#define AIRLOCK_TRY(expr, result)                                     \
  __extension__({                                                     \
    auto result = (expr);                                             \
    if (!result) return std::unexpected(result.error());              \
    std::remove_cvref_t<decltype(::airlock::internal::take(result))>( \
        ::airlock::internal::take(result));                           \
  })

/// The value of `expr`, where failing would be our own bug. An expression: usable in an
/// initializer.
#define MUST(expr) ::airlock::internal::must((expr), #expr, __FILE__, __LINE__)
