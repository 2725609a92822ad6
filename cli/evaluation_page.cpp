#include "cli/evaluation_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "runtime/svg_content.h"

namespace facet::cli {
namespace {

using drawing::escape;

constexpr std::size_t kColours = 6;
constexpr const char* kStyle = R"(
  :root { --ink: #1a1a1a; --faint: #555555; --rule: #dddddd; --paper: #ffffff;
    --c0: #1f5fa8; --c1: #c4491d; --c2: #2c7d4f; --c3: #8a4fa3; --c4: #8a6a00; --c5: #4d5563; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e6e6e6; --faint: #a0a0a0; --rule: #3a3f45; --paper: #16191d;
      --c0: #7ab3f0; --c1: #f29b74; --c2: #7cc99a; --c3: #c79be0; --c4: #d9b84a; --c5: #aab3c0; }
  }
  body { margin: 24px; font: 14px/1.45 Helvetica, Arial, sans-serif; color: var(--ink);
    background: var(--paper); }
  h1 { font-size: 22px; margin: 0 0 4px; }
  h2 { font-size: 16px; margin: 26px 0 8px; }
  .about { color: var(--faint); margin: 0 0 16px; }
  pre { font: 12.5px/1.5 "DejaVu Sans Mono", Consolas, monospace; overflow-x: auto; }
  .charts { display: flex; flex-wrap: wrap; gap: 24px; }
  svg { max-width: 100%; height: auto; }
  svg text { fill: var(--ink); font: 12px Helvetica, Arial, sans-serif; }
  svg .tick { fill: var(--faint); font-size: 11px; }
  svg .grid { stroke: var(--rule); }
  svg .curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
)";

// The drawing and, in it, the plot.
constexpr double kWidth = 560;
constexpr double kLeft = 56;
constexpr double kTop = 12;
constexpr double kPlotWidth = 488;
constexpr double kPlotHeight = 320;
constexpr double kLegendLine = 18;

/// Places of values in the plot.
class Axes {
 public:
  explicit Axes(const Chart& chart) : chart_(chart) {
    double lowest = 1;
    for (const Curve& curve : chart.curves) {
      for (const auto& [x, y] : curve.points) {
        if (x >= chart.x_least) lowest = std::min(lowest, y);
      }
    }
    lowest_ = lowest >= 0.9 ? 0.9 : lowest >= 0.5 ? 0.5 : 0;
  }

  double x(double value) const {
    if (!chart_.logarithmic) {
      return kLeft + kPlotWidth * (value - chart_.x_least) / (chart_.x_most - chart_.x_least);
    }
    const double from = std::log10(chart_.x_least);
    const double at = std::log10(std::max(value, chart_.x_least));
    return kLeft + kPlotWidth * (at - from) / (std::log10(chart_.x_most) - from);
  }
  double y(double value) const {
    return kTop + kPlotHeight * (1 - (std::max(value, lowest_) - lowest_) / (1 - lowest_));
  }
  double lowest() const { return lowest_; }

  std::vector<double> x_ticks() const {
    std::vector<double> ticks;
    if (chart_.logarithmic) {
      const int first = static_cast<int>(std::ceil(std::log10(chart_.x_least) - 1e-9));
      for (int power = first; power <= 0; ++power) ticks.push_back(std::pow(10.0, power));
      return ticks;
    }
    const double step = std::max(1.0, std::ceil((chart_.x_most - chart_.x_least) / 10));
    for (double at = chart_.x_least; at <= chart_.x_most; at += step) ticks.push_back(at);
    return ticks;
  }

 private:
  const Chart& chart_;
  double lowest_ = 0;
};

std::string grid(const Chart& chart, const Axes& axes) {
  std::string text;
  const double bottom = kTop + kPlotHeight;
  for (int i = 0; i <= 5; ++i) {
    const double value = axes.lowest() + (1 - axes.lowest()) * i / 5;
    const double y = axes.y(value);
    text += fmt::format(
        "<path class=\"grid\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>"
        "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{:.0f}%</text>\n",
        kLeft, y, kLeft + kPlotWidth, kLeft - 6, y + 4, value * 100);
  }
  for (const double value : axes.x_ticks()) {
    const double x = axes.x(value);
    text += fmt::format(
        "<path class=\"grid\" d=\"M{:.1f} {:.1f}V{:.1f}\"/>"
        "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{:g}</text>\n",
        x, kTop, bottom, x, bottom + 16, value);
  }
  text += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
                      kLeft + kPlotWidth / 2, bottom + 34, escape(chart.x_label));
  return text + fmt::format(
                    "<text transform=\"translate(14 {:.1f}) rotate(-90)\" "
                    "text-anchor=\"middle\">{}</text>\n",
                    kTop + kPlotHeight / 2, escape(chart.y_label));
}

/// Points that share a pixel's column and row are drawn once.
std::string path_of(const Curve& curve, const Axes& axes) {
  std::string path;
  std::string last;
  for (const auto& [x, y] : curve.points) {
    std::string point = fmt::format("{:.1f} {:.1f}", axes.x(x), axes.y(y));
    if (point == last) continue;
    path += (path.empty() ? "M" : "L") + point;
    last = std::move(point);
  }
  return path;
}

std::string drawing_of(const Chart& chart) {
  const Axes axes(chart);
  const double height =
      kTop + kPlotHeight + 48 + kLegendLine * static_cast<double>(chart.curves.size());
  std::string text = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" id=\"{}\" width=\"{:.0f}\" height=\"{:.0f}\" "
      "viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\">\n",
      escape(chart.id), kWidth, height, kWidth, height, escape(chart.title));
  text += grid(chart, axes);
  for (std::size_t i = 0; i < chart.curves.size(); ++i) {
    const Curve& curve = chart.curves[i];
    const double y = kTop + kPlotHeight + 56 + kLegendLine * static_cast<double>(i);
    text += fmt::format(
        "<path class=\"curve\" style=\"stroke: var(--c{0})\" d=\"{1}\"/>\n"
        "<path class=\"curve\" style=\"stroke: var(--c{0})\" d=\"M{2:.1f} {3:.1f}h22\"/>"
        "<text x=\"{4:.1f}\" y=\"{5:.1f}\">{6}</text>\n",
        i % kColours, path_of(curve, axes), kLeft, y - 4, kLeft + 30, y, escape(curve.name));
  }
  return text + "</svg>\n";
}

}  // namespace

Curve roc_curve_of(const std::string& name, const std::vector<RocPoint>& roc) {
  Curve curve{name, {}};
  for (const RocPoint& point : roc) curve.points.emplace_back(point.fpr, point.tpr);
  return curve;
}

Chart roc_chart(const std::vector<Curve>& curves, double least) {
  return {"ROC",
          "roc",
          "pairs of two persons accepted (FAR)",
          "pairs of one person accepted (TAR)",
          true,
          std::min(least, 0.1),
          1,
          curves};
}

Chart cmc_chart(const ProtocolResults& results) {
  constexpr std::size_t kMostRanks = 50;
  Chart chart{
      "Cumulative match", "cmc", "rank", "probes whose person is among these", false, 1, 2, {}};
  for (const IdentificationResult& result : results.identification) {
    for (const GroupResult& group : result.groups) {
      Curve curve{
          fmt::format("{} {}: rank-1 {:.1f}%", result.name, group.name, group.rank(1) * 100), {}};
      for (std::size_t k = 0; k < std::min(group.cmc.size(), kMostRanks); ++k) {
        curve.points.emplace_back(static_cast<double>(k + 1), group.cmc[k]);
        chart.x_most = std::max(chart.x_most, static_cast<double>(k + 1));
      }
      chart.curves.push_back(std::move(curve));
    }
  }
  return chart;
}

std::string to_html(const EvaluationPage& page) {
  std::string text = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"color-scheme\" content=\"light dark\"/>\n"
      "<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n<h1>{0}</h1>\n<p "
      "class=\"about\">{2}</p>\n",
      escape(page.title), kStyle, escape(page.about));
  for (const std::string& table : page.tables) {
    std::string lines;
    for (std::size_t begin = 0; begin < table.size();) {  // escape() has no line ends
      const std::size_t end = std::min(table.find('\n', begin), table.size());
      lines += escape(table.substr(begin, end - begin)) + "\n";
      begin = end + 1;
    }
    text += "<pre>" + lines + "</pre>\n";
  }
  text += "<div class=\"charts\">\n";
  for (const Chart& chart : page.charts) {
    if (chart.curves.empty()) continue;
    text += fmt::format("<div>\n<h2>{}</h2>\n{}</div>\n", escape(chart.title), drawing_of(chart));
  }
  return text + "</div>\n</body>\n</html>\n";
}

}  // namespace facet::cli
