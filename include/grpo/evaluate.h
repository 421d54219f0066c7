// Evaluation: sampled answers to held-out tasks, scored by the rules.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "grpo/answer.h"
#include "grpo/config.h"
#include "grpo/reward.h"
#include "grpo/rollout.h"
#include "grpo/sampling.h"
#include "grpo/statistics.h"
#include "grpo/task.h"
#include "grpo/tasks.h"

namespace grpo {

/// Means over all samples; NaN where nothing was defined.
struct Evaluation {
  int64_t problems = 0, samples = 0;  ///< samples: of each problem
  double pass_at_1 = 0;               ///< share of right answers among the samples of tasks with a reference
  double pass_at_1_error = 0;  ///< half-width of its 95 % interval: 1.96 standard errors of the mean over problems
  /// For k = 1, 2, 4, … and all samples: the mean over tasks with a reference of pass_at_k.
  std::map<int64_t, double> pass_at;
  double cons_at_k = 0;  ///< share of tasks with a reference whose most frequent answer is right: consensus of
                         ///< statistics.h, by check_answer
  double format = 0, language_consistency = 0, mixed_traces = 0, completion_length = 0, reflection_rate = 0,
         truncated = 0;
  double strict_language_consistency = 0;  ///< the same with 0 for every trace without words, instead of leaving it out
  double worded_traces = 0;                ///< share of traces with at least 5 words
  LeftOut left_out;                        ///< tasks that cannot be asked or scored: they count nowhere above

  /// {"pass@1", "pass@1_ci95", "pass@k": {"1", "2", …}, "cons@k", "format", …}; NaN becomes null.
  nlohmann::ordered_json json() const;
};

/// Collects the figures of scored groups; `answer_options` say which answers are equal in a vote. Throws Error for a
/// group that is not scored.
Evaluation summarize(const std::vector<Group>& groups, const AnswerOptions& answer_options = {});

/// Where an evaluation's completions are kept while it goes on, so that another one goes on from there. Either may be
/// empty.
struct KeptCompletions {
  std::function<bool(Group&)> find;       ///< fills in the completions of group.index (with `text`, `tokens`, `finish`)
  std::function<void(const Group&)> add;  ///< told of each other group when all its completions have ended
};

using OnTasksDone = std::function<void(std::size_t done, std::size_t total)>;

/// Draws rollout.config().samples completions of every task, keyed by (seed, Purpose::evaluation, step), scores them
/// and summarises. Tasks that Rollout::refusal or Scorer::refusal has something to say about are left out; the others
/// keep the draws of their places. `on_progress` is told after every batch of tasks, `keep` (optional) receives the
/// scored groups. `check` (optional) is called again and again while answers are sampled: what it throws ends the
/// evaluation, which leaves no trace but in `kept` and can be done again with the same result (StopSignal::check). Throws
/// Error when there are tasks, but all of them are left out.
Evaluation evaluate(Rollout& rollout, Scorer& scorer, const std::vector<Task>& tasks, uint64_t seed, uint64_t step,
                    const OnTasksDone& on_progress = nullptr, std::vector<Group>* keep = nullptr,
                    const std::function<void()>& check = nullptr, const KeptCompletions& kept = {});

/// What a recipe measures of each of its stages.
struct RecipeEvaluation {
  int problems = 256, samples = 8;
  int general_problems = 96, general_samples = 4;
  int pairs = 200;
  int max_new_tokens = 96;
  std::string judge;

  template <class V>
  void visit(V& v) {
    v("problems", problems, "held-out problems after each stage", at_least(0).at_most(1 << 24));
    v("samples", samples, "answers to each", kSamples);
    v("general_problems", general_problems, "held-out general requests after each stage; 0: none",
      at_least(0).at_most(1 << 24));
    v("general_samples", general_samples, "answers to each", kSamples);
    v("pairs", pairs, "held-out pairs of answers on which each judge is measured", at_least(0));
    v("max_new_tokens", max_new_tokens, "longest answer", kNewTokens);
    v("judge", judge, "the stage whose policy judges general answers in the table; empty: no such column");
  }
};

}  // namespace grpo
