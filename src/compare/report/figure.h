// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace airlock::compare {

/// One plot: a row for each model, a panel for each size of request, and in each row of a panel a
/// mark for each series.
struct Figure {
  enum class Axis {
    kLinear,           // bars from 0; one axis for all panels
    kLinearEach,       // the same, an axis for each panel
    kLogarithmic,      // dots; one axis for all panels
    kLogarithmicZero,  // the same, and 0 stands before it
  };
  struct Mark {
    double value = 0;
    std::optional<double> to;  // where a line from the mark ends
  };
  struct Panel {
    std::string title;
    /// By row, then by series; nothing where nothing was measured.
    std::vector<std::vector<std::optional<Mark>>> marks;
  };

  std::string_view id;  // of its element: a word
  std::string title;
  std::string axis_title;  // with its unit
  std::string reading;     // how to read it, in a sentence or two
  Axis axis = Axis::kLinear;
  // NOLINTBEGIN(readability-redundant-member-init): GCC wants one, where a caller leaves it out
  std::vector<std::string_view> series = {};  // two at most: there are two colours
  std::vector<std::string> rows = {};
  std::vector<Panel> panels = {};
  // NOLINTEND(readability-redundant-member-init)
};

/// The plot as an SVG element that needs nothing else: no style, font, script or address.
[[nodiscard]] std::string draw(const Figure& figure);

}  // namespace airlock::compare
