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

  at::Tensor log_weight = log_ratio;
  if (config.loss == Loss::gspo) log_weight = sequence_sum(log_ratio) / length;
  if (config.loss == Loss::rloo) log_weight = sequence_sum(log_ratio);
  const at::Tensor ratio = log_weight.exp();
  at::Tensor per_token;
  if (config.loss == Loss::cispo)
    per_token = -ratio.detach().clamp_max(config.cispo_max_weight) * advantages * logprobs;
  else
    per_token =
        -at::minimum(ratio * advantages, ratio.clamp(1 - config.clip_low, 1 + config.clip_high) * advantages);
  if (config.kl == Kl::k2_in_loss || config.kl == Kl::k3_in_loss) {
    const at::Tensor d = input.reference_logprobs.to(at::kDouble) - logprobs;
    const at::Tensor kl = config.kl == Kl::k2_in_loss ? 0.5 * d * d : d.exp() - d - 1;
    per_token = per_token + config.kl_coefficient * (config.kl_ratio_weighted ? kl * ratio : kl);
  }

  at::Tensor loss;
  switch (config.loss) {
    case Loss::dapo:
    case Loss::bnpo:
    case Loss::cispo:
      loss = per_token.sum() / normalizer.tokens;
      break;
    case Loss::dr_grpo:
      loss = per_token.sum() / (normalizer.sequences * config.length_constant);
      break;
    case Loss::grpo:
    case Loss::gspo:
    case Loss::rloo:
      loss = (per_token / length).sum() / normalizer.sequences;
      break;
  }
  if (config.entropy_coefficient != 0)
    loss = loss - config.entropy_coefficient * entropy.to(at::kDouble).sum() / normalizer.tokens;
  loss.backward();
  return {loss.item<double>(), current.grad(), entropy.defined() ? entropy.grad() : at::Tensor(), {}};
}

}  // namespace grpo
