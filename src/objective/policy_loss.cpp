#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>

#include "grpo/error.h"
#include "grpo/objective.h"

namespace grpo {
namespace {

bool token_mean(Loss loss) { return loss == Loss::dapo || loss == Loss::cispo || loss == Loss::bnpo; }
bool kl_in_loss(Kl kl) { return kl == Kl::k2_in_loss || kl == Kl::k3_in_loss; }

void expect_size(const at::Tensor& tensor, std::int64_t size, std::string_view name, std::string_view of) {
  if (!tensor.defined()) throw Error("objective", "expected ", name, " [", of, "], got an undefined tensor");
  if (tensor.dim() != 1 || tensor.size(0) != size)
    throw Error("objective", "expected ", name, " [", of, "] of ", size, " values, got the shape ", tensor.sizes());
}

/// A GPU's values are not looked at, which would wait for it.
void check(const LossInput& input, const Normalizer& normalizer, const ObjectiveConfig& config) {
  if (!input.old_logprobs.defined() || input.old_logprobs.dim() != 1)
    throw Error("objective", "expected old_logprobs [N] as one vector of completion tokens laid end to end");
  const std::int64_t tokens = input.old_logprobs.size(0);
  if (kl_in_loss(config.kl) || input.reference_logprobs.defined())
    expect_size(input.reference_logprobs, tokens, "reference_logprobs", "N");
  if (!input.advantages.defined() || input.advantages.dim() != 1)
    throw Error("objective", "expected advantages [S], one value for each sequence");
  expect_size(input.starts, input.advantages.size(0) + 1, "starts", "S + 1");
  if (input.starts.scalar_type() != at::kLong)
    throw Error("objective", "expected starts of type int64, got ", input.starts.scalar_type());
  if (input.starts.is_cpu() && input.starts[-1].item<std::int64_t>() != tokens)
    throw Error("objective", "expected starts to end at the number of tokens, ", tokens, ", got ",
                input.starts[-1].item<std::int64_t>());
  if (input.advantages.is_cpu() && !at::isfinite(input.advantages).all().item<bool>())
    throw Error("objective",
                "expected finite advantages, got one that is not; pass only sequences that enter the loss");
  if (tokens > 0 && !(normalizer.tokens > 0 && normalizer.sequences > 0))
    throw Error("objective", "expected a normalizer counted over the minibatch, got ", normalizer.tokens,
                " tokens and ", normalizer.sequences, " sequences for a micro-batch of ", tokens, " tokens");
}

/// exp(d) - d - 1 without cancellation: for small d the difference of expm1(d) and d has no correct digit.
at::Tensor k3(const at::Tensor& d) {
  return at::where(d.abs() < 1e-4, d * d * (0.5 + d / 6.0 + d * d / 24.0), at::expm1(d) - d);
}

/// A function of the log-probabilities at every token, and its derivative there.
struct Estimate {
  at::Tensor value, slope;  // [N]
};

/// The divergence from the reference, with d = log pi_reference - log pi.
Estimate kl_estimate(const at::Tensor& d, Kl kl) {
  switch (kl) {
    case Kl::none:
      return {at::zeros_like(d), at::zeros_like(d)};
    case Kl::k1_in_reward:
      return {-d, at::ones_like(d)};
    case Kl::k2_in_loss:
      return {0.5 * d * d, -d};
    case Kl::k3_in_loss:
      return {k3(d), -at::expm1(d)};
  }
  throw Error("objective", "expected a named divergence, got ", static_cast<int>(kl));
}

/// The policy term of every token: its value, its derivatives by the logarithm of the ratio and, the ratio held, by the
/// log-probability (undefined: 0), and whether the ratio is clipped.
struct Surrogate {
  at::Tensor value, by_log_ratio, by_logprob, clipped;  // [N]
};

Surrogate clipped_surrogate(const at::Tensor& ratio, const at::Tensor& advantages, const ObjectiveConfig& config) {
  const double low = 1.0 - config.clip_low, high = 1.0 + config.clip_high;
  const at::Tensor free = -ratio * advantages;
  const at::Tensor clipped = ((ratio < low) & (advantages < 0)) | ((ratio > high) & (advantages > 0));
  return {at::where(clipped, -ratio.clamp(low, high) * advantages, free), at::where(clipped, 0.0, free), {}, clipped};
}

Surrogate cispo_surrogate(const at::Tensor& ratio, const at::Tensor& logprobs, const at::Tensor& advantages,
                          const ObjectiveConfig& config) {
  const at::Tensor slope = -ratio.clamp_max(config.cispo_max_weight) * advantages;
  return {slope * logprobs, {}, slope, ratio > config.cispo_max_weight};
}

}  // namespace

PolicyLoss::PolicyLoss(const LossInput& input, const Normalizer& normalizer, const ObjectiveConfig& config)
    : config_(config), normalizer_(normalizer) {
  check(input, normalizer, config);
  const std::int64_t tokens = input.old_logprobs.size(0);
  lengths_ = input.starts.diff();
  owner_ = at::repeat_interleave(lengths_, std::optional(tokens));
  old_logprobs_ = input.old_logprobs.to(at::kDouble);
  if (input.reference_logprobs.defined()) reference_logprobs_ = input.reference_logprobs.to(at::kDouble);
  advantages_ = of_sequence(input.advantages.to(at::kDouble));
  if (token_mean(config.loss))
    share_ = at::full_like(old_logprobs_, 1.0 / normalizer.tokens);
  else if (config.loss == Loss::dr_grpo)
    share_ = at::full_like(old_logprobs_, 1.0 / (normalizer.sequences * config.length_constant));
  else
    share_ = of_sequence(1.0 / (lengths_.to(at::kDouble) * normalizer.sequences));
}

at::Tensor PolicyLoss::of_sequence(const at::Tensor& per_sequence) const {
  return per_sequence.index_select(0, owner_);
}

// Deterministic on every device, which index_add is not.
at::Tensor PolicyLoss::sequence_sum(const at::Tensor& values) const {
  constexpr bool kUnchecked = true;  // the checks would wait for the GPU; `check` has made them
  return of_sequence(
      at::segment_reduce(values, "sum", lengths_, /*indices=*/{}, /*offsets=*/{}, /*axis=*/0, kUnchecked));
}

at::Tensor PolicyLoss::sequence_mean(const at::Tensor& values) const {
  return sequence_sum(values) / of_sequence(lengths_.to(at::kDouble));
}

PolicyGradient PolicyLoss::gradient(const at::Tensor& logprobs_found, const at::Tensor& entropy_found) const {
  const at::NoGradGuard no_grad;
  expect_size(logprobs_found, old_logprobs_.size(0), "logprobs", "N");
  if (config_.entropy_coefficient != 0.0 || entropy_found.defined())
    expect_size(entropy_found, old_logprobs_.size(0), "entropy", "N");
  if (logprobs_found.size(0) == 0)
    return {at::zeros_like(logprobs_found), entropy_found, at::zeros({LossMetrics::kSize}, old_logprobs_.options())};

  const at::Tensor logprobs = logprobs_found.to(at::kDouble);
  const at::Tensor log_ratio = logprobs - old_logprobs_;
  at::Tensor log_weight = log_ratio;
  if (config_.loss == Loss::gspo) log_weight = sequence_mean(log_ratio);
  if (config_.loss == Loss::rloo) log_weight = sequence_sum(log_ratio);
  const at::Tensor ratio = log_weight.exp();
  const Surrogate policy = config_.loss == Loss::cispo ? cispo_surrogate(ratio, logprobs, advantages_, config_)
                                                       : clipped_surrogate(ratio, advantages_, config_);
  at::Tensor value = policy.value, by_log_ratio = policy.by_log_ratio, by_logprob = policy.by_logprob;
  const auto add = [](at::Tensor& sum, const at::Tensor& more) { sum = sum.defined() ? sum + more : more; };

  Estimate kl{at::zeros_like(log_ratio), {}};
  if (reference_logprobs_.defined()) kl = kl_estimate(reference_logprobs_ - logprobs, config_.kl);
  if (kl_in_loss(config_.kl)) {
    const at::Tensor term = config_.kl_coefficient * (config_.kl_ratio_weighted ? kl.value * ratio : kl.value);
    add(value, term);
    add(by_logprob, config_.kl_coefficient * (config_.kl_ratio_weighted ? kl.slope * ratio : kl.slope));
    if (config_.kl_ratio_weighted) add(by_log_ratio, term);
  }

  at::Tensor gradient;
  if (by_log_ratio.defined()) {
    gradient = by_log_ratio * share_;
    if (config_.loss == Loss::gspo) gradient = sequence_mean(gradient);
    if (config_.loss == Loss::rloo) gradient = sequence_sum(gradient);
  }
  if (by_logprob.defined()) add(gradient, by_logprob * share_);

  at::Tensor loss = (value * share_).sum(), entropy_gradient;
  const at::Tensor entropy = entropy_found.defined() ? entropy_found.to(at::kDouble) : at::zeros_like(log_ratio);
  if (config_.entropy_coefficient != 0.0) {
    const double each = config_.entropy_coefficient / normalizer_.tokens;
    loss = loss - each * entropy.sum();
    entropy_gradient = at::full_like(entropy_found, -each);
  }
  const at::Tensor count = at::full_like(loss, static_cast<double>(log_ratio.size(0)));
  return {gradient.to(logprobs_found.scalar_type()), entropy_gradient,
          at::stack({loss, count, policy.clipped.sum().to(at::kDouble), kl.value.sum(), entropy.sum(),
                     k3(log_ratio).sum(), at::expm1(log_ratio).abs().max()})};
}

LossMetrics::LossMetrics(const at::Tensor& rows) {
  const at::Tensor host = rows.cpu();
  for (std::int64_t row = 0; row < host.size(0); ++row) {
    const double* of = host[row].const_data_ptr<double>();
    LossMetrics one;
    one.loss = of[0], one.tokens = of[1], one.clipped_tokens = of[2], one.kl_sum = of[3], one.entropy_sum = of[4];
    one.mismatch_kl_sum = of[5], one.ratio_deviation = of[6];
    add(one);
  }
}

void LossMetrics::add(const LossMetrics& other) {
  loss += other.loss;
  tokens += other.tokens;
  clipped_tokens += other.clipped_tokens;
  kl_sum += other.kl_sum;
  entropy_sum += other.entropy_sum;
  mismatch_kl_sum += other.mismatch_kl_sum;
  if (other.ratio_deviation > ratio_deviation || std::isnan(other.ratio_deviation))
    ratio_deviation = other.ratio_deviation;
}

}  // namespace grpo
