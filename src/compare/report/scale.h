// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace airlock::compare {

/// A number for a person, with three digits and, where it is large, a prefix: "0", "0.0123",
/// "8", "1.25", "48.3", "12.3k", "1.70M".
[[nodiscard]] std::string short_number(double value);

/// An axis: where a value stands on it, from 0 (its beginning) to 1 (its end), and which values it
/// names.
class Scale {
 public:
  struct Tick {
    double at = 0;
    std::string label;
  };

  /// From 0 to at least `most`.
  static Scale linear(double most);
  /// In powers of ten, so that `least` and `most`, both above 0, are on it. `with_zero`: before
  /// the first of them stands 0, by itself.
  static Scale logarithmic(double least, double most, bool with_zero);

  /// Values beyond an end stand at it.
  [[nodiscard]] double at(double value) const;
  [[nodiscard]] const std::vector<Tick>& ticks() const { return ticks_; }

 private:
  Scale() = default;

  bool logarithmic_ = false;
  double first_ = 0;        // where it is logarithmic: the powers of ten at both ends
  double last_ = 1;         // else: the end
  double first_place_ = 0;  // of `first_`: behind 0, where there is one
  std::vector<Tick> ticks_;
};

}  // namespace airlock::compare
