#include "grpo/objective.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "grpo/error.h"

namespace grpo {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Values that were summed in different orders differ by rounding, so many units of it in the largest summand at most.
constexpr double kRounding = 64 * std::numeric_limits<double>::epsilon();

/// Mean and standard deviation of the values that are numbers.
class Moments {
 public:
  /// `size`: the largest summand of the values, where one is larger than they are.
  void add(const std::vector<double>& values, double size = 0.0) {
    size_ = std::max(size_, size);
    for (const double value : values) {
      if (std::isnan(value)) continue;
      defined_.push_back(value);
      sum_ += value;
      size_ = std::max(size_, std::abs(value));
      low_ = std::min(low_, value), high_ = std::max(high_, value);
    }
  }
  std::size_t count() const { return defined_.size(); }
  bool constant() const { return defined_.empty() || (std::isfinite(size_) && high_ - low_ <= kRounding * size_); }
  double mean() const { return defined_.empty() ? 0.0 : sum_ / static_cast<double>(count()); }
  /// `value` less the mean: exactly 0 where the values are constant.
  double centered(double value) const { return constant() && !std::isnan(value) ? 0.0 : value - mean(); }
  double deviation(bool unbiased) const {
    if (constant()) return 0.0;
    const double center = mean();
    double squares = 0.0;
    for (const double value : defined_) squares += (value - center) * (value - center);
    return std::sqrt(squares / static_cast<double>(count() - (unbiased ? 1 : 0)));
  }

 private:
  std::vector<double> defined_;
  double sum_ = 0.0, size_ = 0.0, low_ = std::numeric_limits<double>::infinity(), high_ = -low_;
};

/// The largest score in a group: rewards are sums of them, which may cancel.
double largest_score(const Group& group) {
  double largest = 0.0;
  for (const Scores& scores : group.scores)
    for (const auto& [name, score] : scores)
      if (score.defined()) largest = std::max(largest, std::abs(score.value()));
  return largest;
}

/// A reward's scores in the group, NaN where it has none.
std::vector<double> scores_of(const Group& group, const std::string& name) {
  std::vector<double> values;
  for (const Scores& scores : group.scores) {
    const auto found = scores.find(name);
    values.push_back(found != scores.end() && found->second.defined() ? found->second.value() : kNan);
  }
  return values;
}

double scaled(double value, double deviation, double epsilon) {
  return value == 0.0 ? 0.0 : value / (deviation + epsilon);  // 0 / 0 is 0 here: nothing to learn
}

/// Rewards as the baseline sees them: less the penalty for leaving the reference.
std::vector<double> penalized_rewards(const Group& group, const std::vector<double>* kl,
                                      const ObjectiveConfig& config) {
  if (group.rewards.size() != group.completions.size())
    throw Error("objective", "expected a reward for each of ", group.completions.size(), " completions of task \"",
                group.task.id, "\", got ", group.rewards.size(), "; score the group first");
  std::vector<double> rewards = group.rewards;
  for (std::size_t i = 0; i < rewards.size(); ++i)
    if (std::isinf(rewards[i]))
      throw Error("objective", "expected finite rewards (or NaN, undefined), got ", rewards[i], " for sample ", i,
                  " of task \"", group.task.id, '"');
  if (kl) {
    if (kl->size() != rewards.size())
      throw Error("objective", "expected a divergence for each of ", rewards.size(), " completions of task \"",
                  group.task.id, "\", got ", kl->size());
    for (std::size_t i = 0; i < rewards.size(); ++i) {
      if (!std::isfinite((*kl)[i]))
        throw Error("objective", "expected a finite divergence from the reference, got ", (*kl)[i], " for sample ", i,
                    " of task \"", group.task.id, '"');
      rewards[i] -= config.kl_coefficient * (*kl)[i];
    }
  }
  return rewards;
}

std::vector<double> subtract_baseline(const std::vector<double>& rewards, const Moments& moments, Baseline baseline) {
  std::vector<double> advantages = rewards;
  if (baseline == Baseline::reinforce_pp) return advantages;
  const double n = static_cast<double>(moments.count());
  // r minus the mean of the other n - 1 is n / (n - 1) times r minus the mean of all; of no others there is no mean.
  double factor = 1.0;
  if (baseline == Baseline::rloo) factor = moments.count() > 1 ? n / (n - 1.0) : kNan;
  for (double& advantage : advantages) advantage = factor * moments.centered(advantage);
  return advantages;
}

/// Sums over the rewards of what each one's own baseline and deviation make of it (GDPO).
std::vector<double> normalized_sums(const Group& group, const ObjectiveConfig& config) {
  if (group.weights.empty() || group.scores.size() != group.completions.size())
    throw Error("objective", "expected scores of ", group.completions.size(), " completions of task \"", group.task.id,
                "\" and their weights, got ", group.scores.size(), " and ", group.weights.size(),
                " weights; normalize_each_reward needs both: have the rewards combined");
  std::vector<double> sums(group.completions.size(), 0.0);
  for (const auto& [name, weight] : group.weights) {
    const std::vector<double> values = scores_of(group, name);
    Moments moments;
    moments.add(values);
    const std::vector<double> centered = subtract_baseline(values, moments, config.baseline);
    const double deviation = moments.deviation(config.unbiased_std);
    for (std::size_t i = 0; i < sums.size(); ++i)
      if (!std::isnan(centered[i])) sums[i] += weight * scaled(centered[i], deviation, config.advantage_epsilon);
  }
  for (std::size_t i = 0; i < sums.size(); ++i)
    if (std::isnan(group.rewards[i])) sums[i] = kNan;
  return sums;
}

/// Index of the highest reward, the first of several; none when every reward is undefined.
std::optional<std::size_t> best_completion(const Group& group) {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < group.rewards.size(); ++i)
    if (!std::isnan(group.rewards[i]) && (!best || group.rewards[i] > group.rewards[*best])) best = i;
  return best;
}

bool masked(const Completion& completion, const ObjectiveConfig& config) {
  return config.mask_truncated && completion.finish == Finish::length;
}

bool left_out(const Group& group, std::size_t sample) { return std::isnan(group.advantages.at(sample)); }

double loss_tokens(std::span<const Group> groups, const ObjectiveConfig& config) {
  double tokens = 0;
  for (const Group& group : groups)
    for (std::size_t i = 0; i < group.completions.size(); ++i)
      if (enters_loss(group, i, config)) tokens += static_cast<double>(group.completions[i].tokens.size());
  return tokens;
}

double completions(std::span<const Group> groups) {
  double sum = 0;
  for (const Group& group : groups) sum += static_cast<double>(group.completions.size());
  return sum;
}

}  // namespace

void ObjectiveConfig::validate() const {
  const auto expect = [](bool good, std::string_view key, std::string_view expected, const auto& got) {
    if (!good) throw Error("objective", key, ": expected ", expected, ", got ", got);
  };
  expect(resolved_aggregation() != Aggregation::length_constant || length_constant > 0, "length_constant",
         "a value above 0 with the loss dr_grpo or the aggregation length_constant (set it to the completion limit)",
         length_constant);
  expect(loss != Loss::vespo || resolved_ratio_level() == RatioLevel::token, "ratio_level",
         "token or recipe with the loss vespo, whose weight is the whole sequence's by itself", enum_name(ratio_level));
  const bool clips = loss != Loss::cispo && loss != Loss::sapo && loss != Loss::vespo;
  expect(max_ratio == 0.0 || clips, "max_ratio", "0 with a loss that clips no ratio", max_ratio);
  expect(max_ratio == 0.0 || max_ratio > 1.0 + clip_high, "max_ratio", "a value above 1 + clip_high, or 0", max_ratio);
  expect(kl == Kl::none || kl_coefficient > 0.0, "kl_coefficient", "a value above 0 with kl on (or set kl to none)",
         kl_coefficient);
  expect(kl != Kl::none || kl_coefficient == 0.0, "kl_coefficient",
         "0 with kl off (or set kl to where it should count)", kl_coefficient);
  expect(!kl_ratio_weighted || kl == Kl::k3_in_loss, "kl_ratio_weighted", "false without kl k3_in_loss",
         kl_ratio_weighted);
  expect(reference_refresh_steps == 0 || kl != Kl::none, "reference_refresh_steps",
         "0 with kl off, where there is no reference", reference_refresh_steps);
  expect(reference_mixup == 1.0 || reference_refresh_steps > 0, "reference_mixup",
         "1 without reference_refresh_steps, at which the reference is mixed", reference_mixup);
  if (entropy_target > 0.0) {
    expect(entropy_coefficient_min <= entropy_coefficient && entropy_coefficient <= entropy_coefficient_max,
           "entropy_coefficient", "a start from entropy_coefficient_min to entropy_coefficient_max with entropy_target",
           entropy_coefficient);
  }
  if (normalize_each_reward) {
    expect(baseline == Baseline::group || baseline == Baseline::rloo, "baseline",
           "group or rloo with normalize_each_reward", enum_name(baseline));
    expect(scale == Scale::recipe || scale == Scale::whiten || scale == Scale::none, "scale",
           "recipe, whiten or none with normalize_each_reward, which divides every reward by itself", enum_name(scale));
    expect(kl != Kl::k1_in_reward, "kl", "no k1_in_reward with normalize_each_reward, where the rewards have no sum",
           enum_name(kl));
  }
  expect(max_refills >= 1 || !dynamic_sampling, "max_refills", "at least 1 with dynamic sampling", max_refills);
}

void ObjectiveConfig::check_step(int prompts, int samples) const {
  if (minibatches > prompts)
    throw Error("objective", "objective.minibatches: expected at most prompts_per_step (", prompts, "), got ",
                minibatches, "; each has the groups of one prompt at least");
  if (samples < 2 && baseline != Baseline::reinforce_pp)
    throw Error("objective", "rollout.samples: expected at least 2 with the baseline ", enum_name(baseline),
                ", which compares a task's completions with each other, got ", samples,
                "; raise it, or set objective.baseline to reinforce_pp");
}

RatioLevel ObjectiveConfig::resolved_ratio_level() const {
  if (ratio_level != RatioLevel::recipe) return ratio_level;
  if (loss == Loss::gspo || loss == Loss::luspo) return RatioLevel::sequence;
  return loss == Loss::rloo ? RatioLevel::trajectory : RatioLevel::token;
}

Aggregation ObjectiveConfig::resolved_aggregation() const {
  if (aggregation != Aggregation::recipe) return aggregation;
  switch (loss) {
    case Loss::grpo:
    case Loss::gspo:
    case Loss::rloo:
    case Loss::sapo:
      return Aggregation::sequence_mean;
    case Loss::luspo:
      return Aggregation::sequence_sum;
    case Loss::dr_grpo:
      return Aggregation::length_constant;
    case Loss::bnpo:
      return Aggregation::token_mean;
    case Loss::dapo:
    case Loss::cispo:
    case Loss::vespo:
      return Aggregation::rollout_token_mean;
  }
  throw Error("objective", "expected a named loss, got ", static_cast<int>(loss));
}

bool ObjectiveConfig::is_by_token() const {
  return resolved_ratio_level() == RatioLevel::token && loss != Loss::vespo && off_policy_threshold == 0.0;
}

Scale ObjectiveConfig::resolved_scale() const {
  if (scale != Scale::recipe) return scale;
  if (normalize_each_reward) return Scale::whiten;
  if (baseline == Baseline::reinforce_pp || baseline == Baseline::reinforce_pp_baseline) return Scale::whiten;
  return baseline == Baseline::rloo || loss == Loss::dr_grpo ? Scale::none : Scale::group;
}

void compute_advantages(std::span<Group> groups, const ObjectiveConfig& config,
                        const std::vector<std::vector<double>>& reward_kl) {
  const bool penalize = config.kl == Kl::k1_in_reward;
  if (penalize && reward_kl.size() != groups.size())
    throw Error("objective", "expected reward_kl for each of ", groups.size(), " groups with kl k1_in_reward, got ",
                reward_kl.size());
  const Scale scale = config.resolved_scale();
  std::vector<std::vector<double>> advantages;
  Moments batch_rewards, batch_advantages;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const std::vector<double> rewards = penalized_rewards(groups[g], penalize ? &reward_kl[g] : nullptr, config);
    Moments moments;
    moments.add(rewards, largest_score(groups[g]));
    advantages.push_back(config.normalize_each_reward ? normalized_sums(groups[g], config)
                                                      : subtract_baseline(rewards, moments, config.baseline));
    if (scale == Scale::group)
      for (double& advantage : advantages.back())
        advantage = scaled(advantage, moments.deviation(config.unbiased_std), config.advantage_epsilon);
    batch_rewards.add(rewards, largest_score(groups[g]));
    batch_advantages.add(advantages.back());
  }

  if (scale == Scale::batch || scale == Scale::whiten) {
    const Moments& moments = scale == Scale::batch ? batch_rewards : batch_advantages;
    const double deviation = moments.deviation(config.unbiased_std);
    for (std::vector<double>& group : advantages)
      for (double& advantage : group)
        advantage = scaled(scale == Scale::whiten ? moments.centered(advantage) : advantage, deviation,
                           config.advantage_epsilon);
  }

  for (std::size_t g = 0; g < groups.size(); ++g) {
    groups[g].advantages.assign(advantages[g].begin(), advantages[g].end());
    if (config.selection == Selection::best) {
      const std::optional<std::size_t> best = best_completion(groups[g]);
      for (std::size_t i = 0; i < groups[g].advantages.size(); ++i)
        if (i != best) groups[g].advantages[i] = static_cast<float>(kNan);
    }
  }
}

bool has_signal(const Group& group, bool each_reward) {
  const auto differ = [](const std::vector<double>& values, double size) {
    Moments moments;
    moments.add(values, size);
    return !moments.constant();
  };
  if (!each_reward) return differ(group.rewards, largest_score(group));
  return std::any_of(group.weights.begin(), group.weights.end(), [&](const auto& weighted) {
    return weighted.second != 0 && differ(scores_of(group, weighted.first), 0.0);
  });
}

bool enters_loss(const Group& group, std::size_t sample, const ObjectiveConfig& config) {
  const Completion& completion = group.completions.at(sample);
  return !left_out(group, sample) && !masked(completion, config) && !completion.tokens.empty();
}

Normalizer count(std::span<const Group> minibatch, std::span<const Group> rollout, const ObjectiveConfig& config) {
  Normalizer normalizer;
  for (const Group& group : minibatch)
    for (std::size_t i = 0; i < group.completions.size(); ++i) normalizer.sequences += left_out(group, i) ? 0 : 1;
  normalizer.tokens = config.resolved_aggregation() == Aggregation::rollout_token_mean
                          ? loss_tokens(rollout, config) * completions(minibatch) / completions(rollout)
                          : loss_tokens(minibatch, config);
  return normalizer;
}

}  // namespace grpo
