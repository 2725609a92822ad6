#include "passes/recompute_choice.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <queue>
#include <set>
#include <utility>

#include "ir/op.h"

// The budget is met greedily. A candidate is one step, or a step with those before it whose
// operands would otherwise have to be kept for it; of all candidates the one is taken that lowers
// what lies above the budget (bytes x steps) most for its cost. Scores are old until a candidate
// comes first: then it is scored again, and goes back into the queue if others are better now. At
// the end, what turned out not to be needed is taken out again, the most expensive first.

namespace facet {
namespace {

/// Steps with much arithmetic that a candidate may have.
constexpr int kComputeSteps[] = {0, 1, 3, 8};
/// All candidates are scored anew after so many choices.
constexpr int kRefresh = 32;
/// A candidate must be able to take this share of what is above the budget: others are not worth a
/// step, and would only make the search longer.
constexpr std::int64_t kShares = 1000;
/// A value this much smaller than what it helps to make again may be kept for it.
constexpr std::int64_t kSmall = 16;

class BudgetChoice {
 public:
  BudgetChoice(RecomputeModel& model, std::int64_t bytes)
      : model_(model), bytes_(bytes), again_(model.steps().size(), 0) {}

  RepeatedSteps run() {
    measure();
    for (int choices = 0; excess_ > 0; ++choices) {
      if (choices % kRefresh == 0) refresh();
      if (take_best()) continue;
      if (choices % kRefresh == 0) break;  // the scores are fresh
      choices = -1;
    }
    if (excess_ == 0) take_out();
    return again_;
  }

 private:
  using Steps = std::vector<int>;
  struct Candidate {
    double score = 0;
    Steps steps;
    bool operator<(const Candidate& other) const { return score < other.score; }
  };

  const RecomputeStep& step(int i) const { return model_.steps()[static_cast<std::size_t>(i)]; }
  char& again(int i) { return again_[static_cast<std::size_t>(i)]; }

  double excess_of(const RecomputeModel::Estimate& estimate) const {
    double excess = 0;
    for (const std::int64_t live : estimate.live) {
      excess += static_cast<double>(std::max<std::int64_t>(0, live - bytes_));
    }
    return excess;
  }

  void measure() {
    const RecomputeModel::Estimate& estimate = model_.estimate(again_);
    excess_ = excess_of(estimate);
    cost_ = estimate.cost;
    peak_ = estimate.peak;
  }

  double score(const Steps& steps) {
    for (const int i : steps) again(i) += 1;
    const RecomputeModel::Estimate& estimate = model_.estimate(again_);
    for (const int i : steps) again(i) -= 1;
    const double gain = excess_ - excess_of(estimate);
    return gain <= 0 ? 0 : gain / std::max(estimate.cost - cost_, 1.0);
  }

  /// Whether the value is in memory behind the forward pass whatever is chosen.
  bool is_kept(int value) const {
    const std::vector<int>& readers = model_.readers(value);
    return !readers.empty() && readers.back() > model_.boundary();
  }

  /// The step and those before it that make what it reads and nothing else keeps, as far as they
  /// may be repeated and have few steps with much arithmetic among them.
  Steps chain(int last, int compute_steps) {
    Steps steps{last};
    const std::int64_t size = model_.bytes(step(last).first_result);
    for (std::size_t at = 0; at < steps.size(); ++at) {
      for (const int value : step(steps[at]).operands) {
        if (value < 0 || is_kept(value) || model_.bytes(value) * kSmall < size) continue;
        const int made = model_.producer(value);
        if (made < 0 || !step(made).may_repeat || again(made)) continue;
        if (std::find(steps.begin(), steps.end(), made) != steps.end()) continue;
        if (step(made).node->op().cost.is_compute() && compute_steps-- <= 0) continue;
        steps.push_back(made);
      }
    }
    return steps;
  }

  std::int64_t result_bytes(int i) const {
    std::int64_t bytes = 0;
    for (int r = 0; r < step(i).results; ++r) bytes += model_.bytes(step(i).first_result + r);
    return bytes;
  }

  void refresh() {
    std::set<Steps> seen;
    queue_ = {};
    const auto add = [&](Steps steps) {
      std::sort(steps.begin(), steps.end());
      if (!seen.insert(steps).second) return;
      const double now = score(steps);
      if (now > 0) queue_.push({now, std::move(steps)});
    };
    const std::int64_t least = (peak_ - bytes_) / kShares;
    for (int i = 0; i <= model_.boundary(); ++i) {
      if (!step(i).may_repeat || again(i) || result_bytes(i) < least) continue;
      add({i});
      for (const int count : kComputeSteps) add(chain(i, count));
    }
  }

  /// False if no candidate of the queue helps.
  bool take_best() {
    while (!queue_.empty()) {
      Candidate best = queue_.top();
      queue_.pop();
      std::erase_if(best.steps, [&](int i) { return again(i) != 0; });
      if (best.steps.empty()) continue;
      best.score = score(best.steps);
      if (best.score <= 0) continue;
      if (!queue_.empty() && best.score < queue_.top().score) {
        queue_.push(std::move(best));
        continue;
      }
      for (const int i : best.steps) again(i) = 1;
      measure();
      return true;
    }
    return false;
  }

  void take_out() {
    Steps chosen;
    for (int i = 0; i <= model_.boundary(); ++i) {
      if (again(i)) chosen.push_back(i);
    }
    std::stable_sort(chosen.begin(), chosen.end(),
                     [&](int a, int b) { return step(a).cost > step(b).cost; });
    for (const int i : chosen) {
      again(i) = 0;
      const RecomputeModel::Estimate& estimate = model_.estimate(again_);
      if (estimate.peak > bytes_ || estimate.cost > cost_)
        again(i) = 1;
      else
        cost_ = estimate.cost;
    }
  }

  RecomputeModel& model_;
  std::int64_t bytes_;
  RepeatedSteps again_;
  double excess_ = 0;  ///< bytes above the budget, summed over the steps
  double cost_ = 0;
  std::int64_t peak_ = 0;
  std::priority_queue<Candidate> queue_;
};

}  // namespace

RepeatedSteps choose_by_budget(RecomputeModel& model, std::int64_t bytes) {
  return BudgetChoice(model, bytes).run();
}

}  // namespace facet
