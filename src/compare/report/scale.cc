// SPDX-License-Identifier: Apache-2.0
#include "compare/report/scale.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/core.h>

namespace airlock::compare {

namespace {

struct NumberPrefix {
  double from;
  double unit;
  const char* letter;
};
constexpr std::array<NumberPrefix, 4> kNumberPrefixes{{
    {.from = 1e12, .unit = 1e12, .letter = "T"},
    {.from = 1e9, .unit = 1e9, .letter = "G"},
    {.from = 1e6, .unit = 1e6, .letter = "M"},
    {.from = 1e4, .unit = 1e3, .letter = "k"},
}};
// Values of an axis that goes by ones, twos or fives: so many at most, with 0.
constexpr double kLinearSteps = 4;
constexpr double kZeroRoom = 0.15;

std::string three_digits(double value) {
  if (value >= 100) return fmt::format("{:.0f}", value);
  if (value >= 10) return fmt::format("{:.1f}", value);
  if (value >= 1) return fmt::format("{:.2f}", value);
  return fmt::format("{:.3g}", value);
}

// 1.00 is 1, and 12.50 is 12.5.
std::string without_zeros(std::string text) {
  if (!text.contains('.') || text.contains('e')) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

// The least of 1, 2 and 5 times a power of ten that is not below `least`.
double step_from(double least) {
  const double power = std::pow(10.0, std::floor(std::log10(least)));
  for (const double times : {1.0, 2.0, 5.0}) {
    if (times * power >= least) return times * power;
  }
  return 10 * power;
}

}  // namespace

std::string short_number(double value) {
  for (const NumberPrefix& prefix : kNumberPrefixes) {
    if (value >= prefix.from)
      return without_zeros(three_digits(value / prefix.unit)) + prefix.letter;
  }
  return without_zeros(three_digits(value));
}

Scale Scale::linear(double most) {
  Scale scale;
  const double step = step_from((most > 0 ? most : 1) / kLinearSteps);
  const double steps = std::max(1.0, std::ceil(most / step));
  scale.last_ = step * steps;
  for (double i = 0; i <= steps; ++i)
    scale.ticks_.push_back({.at = i / steps, .label = short_number(step * i)});
  return scale;
}

Scale Scale::logarithmic(double least, double most, bool with_zero) {
  Scale scale;
  scale.logarithmic_ = true;
  scale.first_ = std::floor(std::log10(least));
  scale.last_ = std::max(scale.first_ + 1, std::ceil(std::log10(most)));
  if (with_zero) {
    scale.first_place_ = kZeroRoom;
    scale.ticks_.push_back({.at = 0, .label = "0"});
  }
  const double decades = scale.last_ - scale.first_;
  const double stride = std::ceil(decades / kLinearSteps);
  for (double power = scale.first_; power <= scale.last_; power += stride) {
    const double value = std::pow(10.0, power);
    scale.ticks_.push_back({.at = scale.at(value), .label = short_number(value)});
  }
  return scale;
}

double Scale::at(double value) const {
  if (!logarithmic_) return std::clamp(value / last_, 0.0, 1.0);
  if (value <= 0) return 0;
  const double place = std::clamp((std::log10(value) - first_) / (last_ - first_), 0.0, 1.0);
  return first_place_ + place * (1 - first_place_);
}

}  // namespace airlock::compare
