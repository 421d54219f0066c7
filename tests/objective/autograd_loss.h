// The loss as a graph of plain operations, whose gradient is autograd's: what the closed form is held against.
#pragma once

#include <cstdint>
#include <optional>

#include "rollouts.h"

namespace grpo {

/// Of one micro-batch; `metrics.loss` and the gradients are set, the other metrics are not.
inline Found autograd_loss(const MicroBatch& micro, const Normalizer& normalizer, const ObjectiveConfig& config) {
  const LossInput& input = micro.input;
  const at::Tensor current = micro.logprobs.detach().requires_grad_();
  const at::Tensor entropy = micro.entropy.defined() ? micro.entropy.detach().requires_grad_() : at::Tensor();
  const at::Tensor logprobs = current.to(at::kDouble), lengths = input.starts.diff();
  const at::Tensor owner = at::repeat_interleave(lengths, std::optional(current.size(0)));
  const at::Tensor length = lengths.to(at::kDouble).index_select(0, owner);
  const auto sequence_sum = [&](const at::Tensor& values) {
    return at::zeros({lengths.size(0)}, at::kDouble).index_add(0, owner, values).index_select(0, owner);
  };
  const at::Tensor log_ratio = logprobs - input.old_logprobs.to(at::kDouble);
  const at::Tensor advantages = input.advantages.to(at::kDouble).index_select(0, owner);

  const RatioLevel level = config.resolved_ratio_level();
  at::Tensor log_weight = log_ratio;
  if (level == RatioLevel::sequence || level == RatioLevel::sequence_token)
    log_weight = sequence_sum(log_ratio) / length;
  if (level == RatioLevel::trajectory) log_weight = sequence_sum(log_ratio);
  if (level == RatioLevel::sequence_token) log_weight = log_weight.detach() + logprobs - logprobs.detach();
  const at::Tensor ratio = log_weight.exp();
  const auto by_sign = [](const at::Tensor& positive, double yes, double no) {
    return at::where(positive, at::full({}, yes, at::kDouble), at::full({}, no, at::kDouble));
  };
  at::Tensor per_token;
  if (config.loss == Loss::cispo) {
    per_token = -ratio.detach().clamp_max(config.cispo_max_weight) * advantages * logprobs;
  } else if (config.loss == Loss::sapo) {
    const at::Tensor t =
        by_sign(advantages > 0, config.sapo_temperature_positive, config.sapo_temperature_negative);
    per_token = -4 / t * at::sigmoid(t * (ratio - 1)) * advantages;
  } else if (config.loss == Loss::vespo) {
    const at::Tensor k = by_sign(advantages >= 0, config.vespo_k_positive, config.vespo_k_negative);
    const at::Tensor lambda = by_sign(advantages >= 0, config.vespo_lambda_positive, config.vespo_lambda_negative);
    const at::Tensor w = sequence_sum(log_ratio).detach().exp();
    per_token = -w.pow(k) * at::exp(lambda * (1 - w)) * advantages * logprobs;
  } else {
    const at::Tensor bounded = config.max_ratio > 0 ? ratio.clamp_max(config.max_ratio) : ratio;
    per_token =
        -at::minimum(bounded * advantages, ratio.clamp(1 - config.clip_low, 1 + config.clip_high) * advantages);
  }
  at::Tensor on = at::ones_like(logprobs);
  if (config.off_policy_threshold > 0)
    per_token = per_token * ((advantages >= 0) | (-sequence_sum(log_ratio) / length <= config.off_policy_threshold));
  if (config.top_entropy < 1) on = (entropy.detach() >= input.cut.threshold).to(at::kDouble);
  per_token = per_token * on;
  if (config.kl == Kl::k2_in_loss || config.kl == Kl::k3_in_loss) {
    const at::Tensor d = input.reference_logprobs.to(at::kDouble) - logprobs;
    const at::Tensor kl = config.kl == Kl::k2_in_loss ? 0.5 * d * d : d.exp() - d - 1;
    per_token = per_token + config.kl_coefficient * (config.kl_ratio_weighted ? kl * ratio : kl);
  }

  at::Tensor loss;
  switch (config.resolved_aggregation()) {
    case Aggregation::token_mean:
    case Aggregation::rollout_token_mean:
      loss = per_token.sum() / normalizer.tokens;
      break;
    case Aggregation::length_constant:
      loss = per_token.sum() / (normalizer.sequences * config.length_constant);
      break;
    case Aggregation::sequence_sum:
      loss = per_token.sum() / normalizer.sequences;
      break;
    case Aggregation::recipe:
    case Aggregation::sequence_mean:
      loss = (per_token / length).sum() / normalizer.sequences;
      break;
  }
  if (config.entropy_coefficient != 0)
    loss = loss - config.entropy_coefficient * (entropy.to(at::kDouble) * on).sum() /
                      (config.top_entropy < 1 ? input.cut.tokens : at::full({}, normalizer.tokens, at::kDouble));
  loss.backward();
  return {loss.item<double>(), current.grad(), entropy.defined() ? entropy.grad() : at::Tensor(), {}};
}

}  // namespace grpo
