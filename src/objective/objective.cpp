#include "grpo/objective.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>

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

bool token_mean_over_rollout(Loss loss) { return loss == Loss::dapo || loss == Loss::cispo; }
bool token_mean(Loss loss) { return token_mean_over_rollout(loss) || loss == Loss::bnpo; }
bool kl_in_loss(Kl kl) { return kl == Kl::k2_in_loss || kl == Kl::k3_in_loss; }

void expect_size(const at::Tensor& tensor, std::int64_t size, std::string_view name, std::string_view of) {
  if (!tensor.defined()) throw Error("objective", "expected ", name, " [", of, "], got an undefined tensor");
  if (tensor.dim() != 1 || tensor.size(0) != size)
    throw Error("objective", "expected ", name, " [", of, "] of ", size, " values, got the shape ", tensor.sizes());
}

void check(const LossInput& input, const Normalizer& normalizer, const ObjectiveConfig& config) {
  if (!input.logprobs.defined() || input.logprobs.dim() != 1)
    throw Error("objective", "expected logprobs [N] as one vector of completion tokens laid end to end");
  const std::int64_t tokens = input.logprobs.size(0);
  expect_size(input.old_logprobs, tokens, "old_logprobs", "N");
  if (kl_in_loss(config.kl) || input.reference_logprobs.defined())
    expect_size(input.reference_logprobs, tokens, "reference_logprobs", "N");
  if (config.entropy_coefficient != 0.0 || input.entropy.defined()) expect_size(input.entropy, tokens, "entropy", "N");
  if (!input.advantages.defined() || input.advantages.dim() != 1)
    throw Error("objective", "expected advantages [S], one value for each sequence");
  expect_size(input.starts, input.advantages.size(0) + 1, "starts", "S + 1");
  if (input.starts.scalar_type() != at::kLong)
    throw Error("objective", "expected starts of type int64, got ", input.starts.scalar_type());
  if (input.starts.is_cpu() && input.starts[-1].item<std::int64_t>() != tokens)  // reading a GPU's would wait for it
    throw Error("objective", "expected starts to end at the number of tokens, ", tokens, ", got ",
                input.starts[-1].item<std::int64_t>());
  if (tokens > 0 && !(normalizer.tokens > 0 && normalizer.sequences > 0))
    throw Error("objective", "expected a normalizer counted over the minibatch, got ", normalizer.tokens,
                " tokens and ", normalizer.sequences, " sequences for a micro-batch of ", tokens, " tokens");
}

/// exp(d) - d - 1 without cancellation: for small d the difference of expm1(d) and d has no correct digit.
at::Tensor k3(const at::Tensor& d) {
  return at::where(d.abs() < 1e-4, d * d * (0.5 + d / 6.0 + d * d / 24.0), at::expm1(d) - d);
}

at::Tensor kl_estimate(const at::Tensor& reference_minus_current, Kl kl) {
  const at::Tensor& d = reference_minus_current;
  switch (kl) {
    case Kl::none:
      return at::zeros_like(d);
    case Kl::k1_in_reward:
      return -d;
    case Kl::k2_in_loss:
      return 0.5 * d * d;
    case Kl::k3_in_loss:
      return k3(d);
  }
  throw Error("objective", "expected a named divergence, got ", static_cast<int>(kl));
}

/// [S] sums over consecutive runs of `lengths` values. Deterministic on every device, which index_add is not.
at::Tensor segment_sum(const at::Tensor& values, const at::Tensor& lengths) {
  constexpr bool kUnchecked = true;  // the checks would wait for the GPU; `check` has made them
  return at::segment_reduce(values, "sum", lengths, /*indices=*/{}, /*offsets=*/{}, /*axis=*/0, kUnchecked);
}

/// The policy term of every token, and which tokens are clipped.
struct PolicyTerm {
  at::Tensor loss, clipped;  // [N]
};

PolicyTerm policy_term(const at::Tensor& ratio, const at::Tensor& logprobs, const at::Tensor& advantages,
                       const ObjectiveConfig& config) {
  if (config.loss == Loss::cispo) {
    const at::Tensor weight = ratio.detach();
    return {-weight.clamp_max(config.cispo_max_weight) * advantages * logprobs, weight > config.cispo_max_weight};
  }
  const double low = 1.0 - config.clip_low, high = 1.0 + config.clip_high;
  return {-at::minimum(ratio * advantages, ratio.clamp(low, high) * advantages),
          ((ratio < low) & (advantages < 0)) | ((ratio > high) & (advantages > 0))};
}

}  // namespace

void ObjectiveConfig::validate() const {
  const auto expect = [](bool good, std::string_view key, std::string_view expected, double got) {
    if (!good) throw Error("objective", key, ": expected ", expected, ", got ", got);
  };
  expect(loss != Loss::dr_grpo || length_constant > 0, "length_constant",
         "a value above 0 with the loss dr_grpo (set it to the completion limit)", length_constant);
  expect(kl == Kl::none || kl_coefficient > 0.0, "kl_coefficient", "a value above 0 with kl on (or set kl to none)",
         kl_coefficient);
  expect(kl != Kl::none || kl_coefficient == 0.0, "kl_coefficient",
         "0 with kl off (or set kl to where it should count)", kl_coefficient);
  expect(!kl_ratio_weighted || kl == Kl::k3_in_loss, "kl_ratio_weighted", "false without kl k3_in_loss",
         kl_ratio_weighted);
  expect(reference_refresh_steps == 0 || kl != Kl::none, "reference_refresh_steps",
         "0 with kl off, where there is no reference", reference_refresh_steps);
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

Scale ObjectiveConfig::resolved_scale() const {
  if (scale != Scale::recipe) return scale;
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
    advantages.push_back(subtract_baseline(rewards, moments, config.baseline));
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

bool has_signal(const Group& group) {
  Moments moments;
  moments.add(group.rewards, largest_score(group));
  return !moments.constant();
}

bool enters_loss(const Group& group, std::size_t sample, const ObjectiveConfig& config) {
  const Completion& completion = group.completions.at(sample);
  return !left_out(group, sample) && !masked(completion, config) && !completion.tokens.empty();
}

Normalizer count(std::span<const Group> minibatch, std::span<const Group> rollout, const ObjectiveConfig& config) {
  Normalizer normalizer;
  for (const Group& group : minibatch)
    for (std::size_t i = 0; i < group.completions.size(); ++i) normalizer.sequences += left_out(group, i) ? 0 : 1;
  normalizer.tokens = token_mean_over_rollout(config.loss)
                          ? loss_tokens(rollout, config) * completions(minibatch) / completions(rollout)
                          : loss_tokens(minibatch, config);
  return normalizer;
}

void LossMetrics::add(const LossMetrics& other) {
  tokens += other.tokens;
  clipped_tokens += other.clipped_tokens;
  kl_sum += other.kl_sum;
  entropy_sum += other.entropy_sum;
  mismatch_kl_sum += other.mismatch_kl_sum;
  if (other.ratio_deviation > ratio_deviation || std::isnan(other.ratio_deviation))
    ratio_deviation = other.ratio_deviation;
}

LossOutput policy_loss(const LossInput& input, const Normalizer& normalizer, const ObjectiveConfig& config) {
  check(input, normalizer, config);
  const std::int64_t tokens = input.logprobs.size(0);
  if (tokens == 0) return {input.logprobs.to(at::kDouble).sum(), {}};
  const at::Tensor lengths = input.starts.diff();                                  // [S]
  const at::Tensor owner = at::repeat_interleave(lengths, std::optional(tokens));  // [N] sequence of each token
  const auto of_sequence = [&](const at::Tensor& per_sequence) { return per_sequence.index_select(0, owner); };

  const at::Tensor logprobs = input.logprobs.to(at::kDouble);  // [N], as all that follows
  const at::Tensor log_ratio = logprobs - input.old_logprobs.detach().to(at::kDouble);
  const at::Tensor advantages = of_sequence(input.advantages.detach().to(at::kDouble));
  const at::Tensor length = of_sequence(lengths.to(at::kDouble));

  at::Tensor log_weight = log_ratio;
  if (config.loss == Loss::gspo || config.loss == Loss::rloo) {
    log_weight = of_sequence(segment_sum(log_ratio, lengths));
    if (config.loss == Loss::gspo) log_weight = log_weight / length;
  }
  const at::Tensor ratio = log_weight.exp();
  const PolicyTerm policy = policy_term(ratio, logprobs, advantages, config);
  at::Tensor per_token = policy.loss;

  at::Tensor kl = at::zeros_like(log_ratio);
  if (input.reference_logprobs.defined())
    kl = kl_estimate(input.reference_logprobs.detach().to(at::kDouble) - logprobs, config.kl);
  if (kl_in_loss(config.kl))
    per_token = per_token + config.kl_coefficient * (config.kl_ratio_weighted ? kl * ratio : kl);

  at::Tensor loss;
  if (token_mean(config.loss)) {
    loss = per_token.sum() / normalizer.tokens;
  } else if (config.loss == Loss::dr_grpo) {
    loss = per_token.sum() / (normalizer.sequences * config.length_constant);
  } else {
    loss = (per_token / length).sum() / normalizer.sequences;
  }
  if (config.entropy_coefficient != 0.0)
    loss = loss - config.entropy_coefficient * input.entropy.to(at::kDouble).sum() / normalizer.tokens;

  const at::Tensor d = log_ratio.detach();
  const at::Tensor entropy = input.entropy.defined() ? input.entropy.detach().to(at::kDouble) : at::zeros_like(d);
  const at::Tensor sums =
      at::stack({policy.clipped.sum().to(at::kDouble), kl.detach().sum(), entropy.sum(), k3(d).sum(),
                 at::expm1(d).abs().max(), at::isfinite(advantages).all().to(at::kDouble)})
          .cpu();  // one transfer for all of them
  const double* sum = sums.const_data_ptr<double>();
  if (sum[5] == 0.0)
    throw Error("objective",
                "expected finite advantages, got one that is not; pass only sequences that enter the loss");
  return {loss, {static_cast<double>(tokens), sum[0], sum[1], sum[2], sum[3], sum[4]}};
}

}  // namespace grpo
