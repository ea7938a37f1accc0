// SPDX-License-Identifier: Apache-2.0
#include "compare/report/figure.h"

#include <algorithm>
#include <array>
#include <iterator>

#include <fmt/core.h>

#include "compare/report/escape.h"
#include "compare/report/scale.h"

namespace airlock::compare {

namespace {

// All in the units of the drawing, which a page shows about as pixels.
constexpr double kWidth = 960;
constexpr double kNames = 126;      // for the models' names, on the left
constexpr double kGap = 22;         // between panels
constexpr double kLabelRoom = 62;   // for a value behind its mark, in a panel
constexpr double kHead = 46;        // above the rows: legend and titles
constexpr double kFoot = 40;        // below: values of the axis, and its title
constexpr double kMarkHeight = 11;  // of a series in a row
constexpr double kRowGap = 7;
constexpr double kZeroInk = 1.5;  // of a bar for 0: it was measured
constexpr std::array<std::string_view, 2> kColours{"#1f6fb4", "#d1651a"};
constexpr std::string_view kText = "#222222";
constexpr std::string_view kFaint = "#666666";
constexpr std::string_view kLines = "#dddddd";

struct Range {
  double least = 0;  // above 0
  double most = 0;
  bool zero = false;

  void take(double value) {
    if (value <= 0) {
      zero = true;
      return;
    }
    least = least == 0 ? value : std::min(least, value);
    most = std::max(most, value);
  }
  void take(const Figure::Panel& panel) {
    for (const auto& row : panel.marks) {
      for (const auto& mark : row) {
        if (!mark) continue;
        take(mark->value);
        if (mark->to) take(*mark->to);
      }
    }
  }
};

class Drawing {
 public:
  explicit Drawing(const Figure& figure)
      : figure_(figure),
        row_height_(static_cast<double>(figure.series.size()) * kMarkHeight + kRowGap),
        bottom_(kHead + static_cast<double>(figure.rows.size()) * row_height_) {}

  std::string text() {
    put(R"(<svg viewBox="0 0 {} {}" role="img" aria-labelledby="{}-title" )"
        R"(font-family="sans-serif" font-size="11">)"
        "\n<title id=\"{}-title\">{}</title>\n",
        kWidth, bottom_ + kFoot, figure_.id, figure_.id, escaped(figure_.title));
    legend();
    for (std::size_t row = 0; row < figure_.rows.size(); ++row) {
      label(kNames - 8, row_top(row) + row_height_ / 2 + 1, "end", kText, figure_.rows[row]);
    }
    const auto panels = static_cast<double>(std::max<std::size_t>(figure_.panels.size(), 1));
    const double width = (kWidth - kNames - kGap * (panels - 1)) / panels;
    double left = kNames;
    for (const Figure::Panel& panel : figure_.panels) {
      draw_panel(panel, left, width);
      left += width + kGap;
    }
    put("</svg>\n");
    return std::move(out_);
  }

 private:
  template <class... T>
  void put(fmt::format_string<T...> format, T&&... values) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<T>(values)...);
  }
  void label(double x, double middle, std::string_view anchor, std::string_view colour,
             std::string_view text) {
    put(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="{}" fill="{}">{}</text>)"
        "\n",
        x, middle + 4, anchor, colour, escaped(text));
  }
  [[nodiscard]] double row_top(std::size_t row) const {
    return kHead + static_cast<double>(row) * row_height_ + kRowGap / 2;
  }

  void legend() {
    double x = kNames;
    for (std::size_t i = 0; i < figure_.series.size(); ++i) {
      put(R"(<rect x="{:.1f}" y="4" width="10" height="10" fill="{}"/>)"
          "\n",
          x, kColours.at(i));
      label(x + 14, 9, "start", kText, figure_.series[i]);
      x += 30 + 7 * static_cast<double>(figure_.series[i].size());
    }
  }

  [[nodiscard]] Scale scale_for(const Figure::Panel& panel) const {
    Range range;
    if (figure_.axis == Figure::Axis::kLinearEach) {
      range.take(panel);
    } else {
      for (const Figure::Panel& each : figure_.panels)
        range.take(each);
    }
    if (!dots()) return Scale::linear(range.most);
    const double least = range.least == 0 ? 1 : range.least;
    return Scale::logarithmic(least, std::max(range.most, least),
                              figure_.axis == Figure::Axis::kLogarithmicZero);
  }
  [[nodiscard]] bool dots() const {
    return figure_.axis == Figure::Axis::kLogarithmic ||
           figure_.axis == Figure::Axis::kLogarithmicZero;
  }

  void draw_panel(const Figure::Panel& panel, double left, double width) {
    const Scale scale = scale_for(panel);
    const double length = width - kLabelRoom;
    put("<g class=\"panel\">\n");
    put(R"(<rect class="area" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" )"
        R"(fill="#fafafa"/>)"
        "\n",
        left, kHead, width, bottom_ - kHead);
    label(left, kHead - 12, "start", kText, panel.title);
    for (const Scale::Tick& tick : scale.ticks()) {
      const double x = left + tick.at * length;
      put(R"(<line x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}" stroke="{}"/>)"
          "\n",
          x, x, kHead, bottom_, kLines);
      label(x, bottom_ + 10, "middle", kFaint, tick.label);
    }
    label(left + length / 2, bottom_ + 28, "middle", kFaint, figure_.axis_title);
    for (std::size_t row = 0; row < panel.marks.size(); ++row) {
      for (std::size_t i = 0; i < panel.marks[row].size(); ++i) {
        const std::optional<Figure::Mark>& mark = panel.marks[row][i];
        if (!mark) continue;
        const double top = row_top(row) + static_cast<double>(i) * kMarkHeight;
        draw_mark(*mark, i, scale, {.left = left, .length = length, .top = top});
      }
    }
    put("</g>\n");
  }

  struct Place {
    double left;
    double length;
    double top;
  };
  void draw_mark(const Figure::Mark& mark, std::size_t series, const Scale& scale,
                 const Place& place) {
    const double middle = place.top + kMarkHeight / 2;
    const double x = place.left + scale.at(mark.value) * place.length;
    const double end = mark.to ? place.left + scale.at(*mark.to) * place.length : x;
    const std::string_view colour = kColours.at(series);
    if (dots()) {
      if (mark.to) {
        put(R"(<rect class="mark" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="2" fill="{}"/>)"
            "\n",
            std::min(x, end), middle - 1, std::abs(end - x), colour);
      }
      put(R"(<circle class="mark" cx="{:.1f}" cy="{:.1f}" r="4" fill="{}"/>)"
          "\n",
          x, middle, colour);
    } else {
      put(R"(<rect class="mark" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" )"
          R"(fill="{}"/>)"
          "\n",
          place.left, place.top + 1, std::max(x - place.left, kZeroInk), kMarkHeight - 2, colour);
    }
    const std::string text = mark.to ? short_number(mark.value) + " / " + short_number(*mark.to)
                                     : short_number(mark.value);
    label(std::max(x, end) + 7, middle, "start", kText, text);
  }

  const Figure& figure_;
  double row_height_;
  double bottom_;
  std::string out_;
};

}  // namespace

std::string draw(const Figure& figure) {
  return Drawing(figure).text();
}

}  // namespace airlock::compare
