// A step's data: tasks sampled and scored, with dynamic sampling where the objective asks for it.
#pragma once

#include <functional>
#include <vector>

#include "grpo/objective.h"
#include "grpo/reward.h"
#include "grpo/rollout.h"
#include "grpo/tasks.h"

namespace grpo {

struct Collected {
  std::vector<Group> groups;
  RolloutStats stats;          ///< added up over refills
  double rollout_seconds = 0;  ///< sampling, with scoring going on beside it
  double reward_seconds = 0;   ///< waiting for scores after that
  int refills = 0;             ///< rounds of dynamic sampling
  bool exhausted = false;      ///< the limit on refills was reached with groups without signal left
};

using TakeTasks = std::function<std::vector<Task>(std::size_t)>;
/// Throws Error for more than 2^24 tasks in a step, refills included.
void check_places(uint64_t first_index, uint64_t count, const ObjectiveConfig& objective);

using Rescore = std::function<void(std::vector<Group>&, std::size_t round)>;
/// Samples and scores `count` tasks. With objective.dynamic_sampling (DAPO, arXiv:2503.14476, section 3.2), groups
/// whose rewards are all equal give way to groups of fresh tasks, in at most objective.max_refills rounds; what is
/// still missing then is made up of the groups without signal. Draws are keyed by each task's place in the step,
/// refills included. `take` gives the next tasks; `rescore` (optional) sees each round's scored groups and may change
/// their scores. `first_index` is the place of the first task, where a step's tasks come in several calls.
/// Throws Error, before anything is sampled, where the places of `count` tasks and all their refills would not fit in
/// the draws' 24 bits (check_places, which tells it from the configuration alone).
Collected collect(Rollout& rollout, Scorer& scorer, const TakeTasks& take, std::size_t count,
                  const ObjectiveConfig& objective, uint64_t seed, uint64_t step, const Rescore& rescore = nullptr,
                  uint32_t first_index = 0);

}  // namespace grpo
