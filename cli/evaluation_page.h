#pragma once

#include <string>
#include <utility>
#include <vector>

#include "training/evaluation/protocols.h"

namespace facet::cli {

/// A line of a chart.
struct Curve {
  std::string name;
  std::vector<std::pair<double, double>> points;  ///< by rising x
};

/// Axes of a chart whose y goes up to 1.
struct Chart {
  std::string title;
  std::string id;  ///< of the drawing in the page
  std::string x_label;
  std::string y_label;
  bool logarithmic = false;  ///< x; points below `x_least` are drawn there
  double x_least = 0;
  double x_most = 1;
  std::vector<Curve> curves;
};

/// ROC curves with a logarithmic x from the smallest rate that the pairs can tell on; nothing
/// without pairs.
Chart roc_chart(const std::vector<Curve>& curves, double least);
Curve roc_curve_of(const std::string& name, const std::vector<RocPoint>& roc);
/// The cumulative match characteristic of every group.
Chart cmc_chart(const ProtocolResults& results);

struct EvaluationPage {
  std::string title;                ///< the network
  std::string about;                ///< one line: weights, protocol, precision
  std::vector<std::string> tables;  ///< as the command prints them
  std::vector<Chart> charts;        ///< those without curves are left out
};

/// A self-contained HTML document in ASCII, readable as XML too: no script, nothing from a network,
/// light or dark as the browser is.
std::string to_html(const EvaluationPage& page);

}  // namespace facet::cli
