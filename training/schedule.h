#pragma once

#include <cstdint>
#include <vector>

namespace facet {

enum class ScheduleKind { constant, step, cosine, polynomial, one_cycle };
/// How the one-cycle schedule falls after its peak.
enum class Anneal { cosine, linear };

/// How the learning rate moves, as factors of a base rate. With i the 0-based iteration, N the
/// iterations per epoch, E the epochs, T = N E, W = N warmup_epochs and t = (i - W) / (T - W):
///
/// - warm-up, i < W:  start_factor + (1 - start_factor) (i + 1) / W
/// - constant:        1
/// - step:            gamma ^ (number of milestones <= epoch), epoch = i / N rounded down
/// - cosine:          final_factor + (1 - final_factor) (1 + cos(pi t)) / 2
/// - polynomial:      final_factor + (1 - final_factor) (1 - t) ^ power
/// - one_cycle:       as cosine, or linear: final_factor + (1 - final_factor) (1 - t)
///
/// The published recipes as settings:
/// - LESA: cosine, warmup_epochs 5. Its "linear" is step with milestones 30 + W, 60 + W, 90 + W.
/// - LS-CNN: step, milestones {9, 19}: it counts epochs from 1 and steps the scheduler before the
///   first iteration of an epoch, so 9 epochs run at the base rate and 10 at a tenth of it.
/// - DCR: step, milestones {10, 30, 60}; its cosine is cosine with per_epoch.
/// - ArcFace: polynomial with warmup_from_zero, power 1 and first_at_base; its models of April 2022
///   power 2 without first_at_base. MLA's own: power 2, lag 1, no warm-up.
struct Schedule {
  ScheduleKind kind = ScheduleKind::constant;
  double warmup_epochs = 0;                   ///< may be a fraction; less than the epochs
  std::vector<std::int64_t> milestones = {};  ///< whole epochs done when the rate falls; ascending
  double gamma = 0.1;                         ///< step: what a milestone multiplies the rate by
  double power = 1;                           ///< polynomial
  Anneal anneal = Anneal::cosine;             ///< one_cycle
  double start_factor = 0;  ///< where the warm-up starts, as a part of the base rate
  double final_factor = 0;  ///< where the rate ends, as a part of the base rate
  /// cosine and polynomial: the rate moves only between epochs, to what it is at their first
  /// iteration. The warm-up goes on moving with every iteration.
  bool per_epoch = false;
  bool warmup_from_zero = false;  ///< i / W in place of (i + 1) / W: the first step does not move
  bool first_at_base = false;     ///< iteration 0 has the base rate, whatever the warm-up says
  std::int64_t lag = 0;           ///< iterations the schedule is behind: i becomes max(i - lag, 0)
};

/// The rate of iteration `iteration` (0-based, counted over all epochs). Exact in double precision
/// and a function of the arguments alone, so a resumed training goes on with the same rates. Behind
/// the last epoch the rate stays what it is at the end. Throws Error(usage) for settings without
/// meaning: a warm-up that is not shorter than the training, milestones that do not ascend.
double learning_rate(const Schedule& schedule, double base, std::int64_t iteration,
                     std::int64_t iterations_per_epoch, std::int64_t epochs);

/// The check that `learning_rate` makes.
void check_schedule(const Schedule& schedule, std::int64_t epochs);

}  // namespace facet
