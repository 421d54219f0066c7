#include "grpo/collect.h"

#include <algorithm>

#include "grpo/error.h"
#include "grpo/stopwatch.h"

namespace grpo {

void check_places(uint64_t first_index, uint64_t count, const ObjectiveConfig& objective) {
  const uint64_t refills = objective.dynamic_sampling ? static_cast<uint64_t>(std::max(objective.max_refills, 0)) : 0;
  constexpr uint64_t kPlaces = uint64_t{1} << 24;  // philox.h
  if (first_index + count > kPlaces || refills > (kPlaces - first_index - count) / std::max<uint64_t>(count, 1))
    throw Error("config", "expected at most ", kPlaces, " tasks in a step, got ", count, " and as many in each of ",
                refills, " refills; lower prompts_per_step or objective.max_refills");
}

Collected collect(Rollout& rollout, Scorer& scorer, const TakeTasks& take, std::size_t count,
                  const ObjectiveConfig& objective, uint64_t seed, uint64_t step, const Rescore& rescore,
                  uint32_t first_index) {
  check_places(first_index, count, objective);
  Collected out;
  std::vector<Group> flat;
  uint32_t index = first_index;
  for (;; ++out.refills) {
    const std::vector<Task> batch = take(count - out.groups.size());
    if (batch.size() != count - out.groups.size())
      throw Error("collect", "expected the next ", count - out.groups.size(), " tasks from `take`, got ", batch.size());
    Stopwatch watch;
    std::vector<Group> groups;
    try {
      groups = rollout.generate(batch, {seed, Purpose::rollout, step, index},
                                [&](Group& group, std::size_t sample) { scorer.submit(group, sample); });
    } catch (...) {
      scorer.cancel();  // its threads must not read groups that are about to go
      throw;
    }
    out.rollout_seconds += watch.lap();
    scorer.finish(groups);
    if (rescore) rescore(groups, static_cast<std::size_t>(out.refills));
    out.reward_seconds += watch.lap();
    index += static_cast<uint32_t>(batch.size());
    const RolloutStats& stats = rollout.stats();
    out.stats.forward_passes += stats.forward_passes;
    out.stats.prompt_tokens += stats.prompt_tokens;
    out.stats.completion_tokens += stats.completion_tokens;
    out.stats.dropped_tokens += stats.dropped_tokens;
    out.stats.recomputed_tokens += stats.recomputed_tokens;
    out.stats.preemptions += stats.preemptions;
    out.stats.peak_pages = std::max(out.stats.peak_pages, stats.peak_pages);
    out.stats.peak_running = std::max(out.stats.peak_running, stats.peak_running);
    for (Group& group : groups) {
      const bool is_flat = objective.dynamic_sampling && !has_signal(group, objective.normalize_each_reward);
      (is_flat ? flat : out.groups).push_back(std::move(group));
    }
    if (out.groups.size() == count) return out;
    if (out.refills < objective.max_refills) continue;
    out.exhausted = true;
    for (std::size_t i = 0; out.groups.size() < count; ++i) out.groups.push_back(std::move(flat[i]));
    std::sort(out.groups.begin(), out.groups.end(), [](const Group& a, const Group& b) { return a.index < b.index; });
    return out;
  }
}

}  // namespace grpo
