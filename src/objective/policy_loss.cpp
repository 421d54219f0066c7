#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>

#include "grpo/error.h"
#include "grpo/objective.h"

namespace grpo {
namespace {

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
  if (input.old_entropy.defined()) expect_size(input.old_entropy, tokens, "old_entropy", "N");
  if (!input.advantages.defined() || input.advantages.dim() != 1)
    throw Error("objective", "expected advantages [S], one value for each sequence");
  if (config.top_entropy < 1.0 && !(input.cut.threshold.defined() && input.cut.tokens.defined()))
    throw Error("objective", "expected the entropy cut of the minibatch with top_entropy ", config.top_entropy);
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

at::Tensor as_double(const at::Tensor& t) { return t.defined() ? t.to(at::kDouble) : t; }

/// `sum` + `more`, either of which may be undefined.
at::Tensor plus(const at::Tensor& sum, const at::Tensor& more) {
  if (!sum.defined() || !more.defined()) return sum.defined() ? sum : more;
  return sum + more;
}

}  // namespace

EntropyCut entropy_cut(const at::Tensor& entropy, double top_entropy) {
  if (entropy.size(0) == 0) return {at::zeros({}, at::kDouble), at::zeros({}, at::kDouble)};
  const at::Tensor values = entropy.to(at::kDouble), sorted = std::get<0>(values.sort());
  const double place = (1.0 - top_entropy) * static_cast<double>(values.size(0) - 1);
  const auto below = static_cast<std::int64_t>(place);
  const at::Tensor low = sorted[below], high = sorted[std::min(below + 1, values.size(0) - 1)];
  const at::Tensor threshold = low + (place - static_cast<double>(below)) * (high - low);
  return {threshold, (values >= threshold).sum().to(at::kDouble)};
}

double EntropyControl::applied(const ObjectiveConfig& config) const {
  return config.entropy_target == 0.0 || last_entropy <= config.entropy_target ? coefficient : 0.0;
}

void EntropyControl::observe(double entropy, const ObjectiveConfig& config) {
  if (config.entropy_target == 0.0 || !std::isfinite(entropy)) return;
  const double step = config.entropy_coefficient_step;
  coefficient = entropy <= config.entropy_target ? std::min(coefficient + step, config.entropy_coefficient_max)
                                                 : std::max(coefficient - step, config.entropy_coefficient_min);
  last_entropy = entropy;
}

/// The policy term of every token: its value, its derivatives by the logarithm of the ratio and, the ratio held, by the
/// log-probability (undefined: 0), and whether the ratio is clipped (undefined: none is).
struct PolicyLoss::Surrogate {
  at::Tensor value, by_weight, by_logprob, clipped;  // [N]
};

/// The same behind the masks and with the divergence from the reference.
struct PolicyLoss::Term : Surrogate {
  at::Tensor low_entropy, off;  // [N] whether top_entropy masks the policy term, whether anything does; undefined: no
  at::Tensor kl;                // [N] undefined without a reference
};

PolicyLoss::PolicyLoss(const LossInput& input, const Normalizer& normalizer, const ObjectiveConfig& config)
    : config_(config), normalizer_(normalizer), cut_(input.cut) {
  check(input, normalizer, config);
  config_.ratio_level = config.resolved_ratio_level();
  lengths_ = input.starts.diff();
  owner_ = at::repeat_interleave(lengths_, std::optional(input.old_logprobs.size(0)));
  length_ = of_sequence(lengths_.to(at::kDouble));
  old_logprobs_ = input.old_logprobs.to(at::kDouble);
  if (input.old_entropy.defined()) old_entropy_ = input.old_entropy.to(at::kDouble);
  if (input.reference_logprobs.defined()) reference_logprobs_ = input.reference_logprobs.to(at::kDouble);
  advantages_ = of_sequence(input.advantages.to(at::kDouble));
  switch (config.resolved_aggregation()) {
    case Aggregation::token_mean:
    case Aggregation::rollout_token_mean:
      share_ = at::full_like(old_logprobs_, 1.0 / normalizer.tokens);
      break;
    case Aggregation::length_constant:
      share_ = at::full_like(old_logprobs_, 1.0 / (normalizer.sequences * config.length_constant));
      break;
    case Aggregation::sequence_sum:
      share_ = at::full_like(old_logprobs_, 1.0 / normalizer.sequences);
      break;
    case Aggregation::recipe:
    case Aggregation::sequence_mean:
      share_ = 1.0 / (length_ * normalizer.sequences);
      break;
  }
}

PolicyLoss PolicyLoss::with_sequences(const at::Tensor& logprobs_found, const at::Tensor& entropy_found) const {
  const at::NoGradGuard no_grad;
  const std::int64_t tokens = old_logprobs_.size(0);
  expect_size(logprobs_found, tokens, "logprobs", "N");
  if (cut_.threshold.defined()) expect_size(entropy_found, tokens, "entropy", "N");
  PolicyLoss loss = *this;
  if (config_.is_by_token()) return loss;
  const at::Tensor logprobs = logprobs_found.to(at::kDouble);
  loss.log_ratio_sum_ = tokens == 0 ? logprobs : sequence_sum(logprobs - old_logprobs_);
  if (!has_ratio_of_sequence() || tokens == 0) return loss;
  const at::Tensor by_weight = loss.term(logprobs, as_double(entropy_found)).by_weight;
  if (by_weight.defined()) loss.by_ratio_ = sequence_sum(by_weight * share_);
  if (by_weight.defined() && config_.ratio_level == RatioLevel::sequence) loss.by_ratio_ = loss.by_ratio_ / length_;
  return loss;
}

PolicyLoss PolicyLoss::part(std::int64_t first, std::int64_t tokens) const {
  if (!config_.is_by_token() && !log_ratio_sum_.defined())
    throw Error("objective", "expected an objective that goes token by token, or a loss with_sequences, got the loss ",
                enum_name(config_.loss), " at the ratio level ", enum_name(config_.ratio_level));
  PolicyLoss part = *this;
  at::Tensor* const of_tokens[] = {&part.owner_,      &part.length_,     &part.old_logprobs_,  &part.old_entropy_,
                                   &part.advantages_, &part.share_,      &part.reference_logprobs_,
                                   &part.by_ratio_,   &part.log_ratio_sum_};
  for (at::Tensor* each : of_tokens)
    if (each->defined()) *each = each->narrow(0, first, tokens);
  return part;
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

bool PolicyLoss::has_ratio_of_sequence() const {
  return config_.ratio_level == RatioLevel::sequence || config_.ratio_level == RatioLevel::trajectory;
}

at::Tensor PolicyLoss::log_weight(const at::Tensor& log_ratio) const {
  switch (config_.ratio_level) {
    case RatioLevel::sequence:
    case RatioLevel::sequence_token:
      return log_ratio_sum_ / length_;
    case RatioLevel::trajectory:
      return log_ratio_sum_;
    case RatioLevel::recipe:
    case RatioLevel::token:
      return log_ratio;
  }
  throw Error("objective", "expected a named ratio level, got ", static_cast<int>(config_.ratio_level));
}

PolicyLoss::Surrogate PolicyLoss::surrogate(const at::Tensor& logprobs, const at::Tensor& ratio) const {
  const at::Tensor& advantages = advantages_;
  const auto by_sign = [](const at::Tensor& positive, double yes, double no) {
    return positive.to(at::kDouble) * (yes - no) + no;
  };
  if (config_.loss == Loss::cispo) {
    const at::Tensor slope = -ratio.clamp_max(config_.cispo_max_weight) * advantages;
    return {slope * logprobs, {}, slope, ratio > config_.cispo_max_weight};
  }
  if (config_.loss == Loss::sapo) {
    const at::Tensor t =
        by_sign(advantages > 0, config_.sapo_temperature_positive, config_.sapo_temperature_negative);
    const at::Tensor gate = at::sigmoid(t * (ratio - 1.0)), rest = at::sigmoid(t * (1.0 - ratio));
    return {-4.0 * gate / t * advantages, -4.0 * gate * rest * ratio * advantages, {}, {}};
  }
  if (config_.loss == Loss::vespo) {
    const at::Tensor k = by_sign(advantages >= 0, config_.vespo_k_positive, config_.vespo_k_negative);
    const at::Tensor lambda = by_sign(advantages >= 0, config_.vespo_lambda_positive, config_.vespo_lambda_negative);
    const at::Tensor slope = -at::exp(k * log_ratio_sum_ - lambda * at::expm1(log_ratio_sum_)) * advantages;
    return {slope * logprobs, {}, slope, {}};
  }
  const double low = 1.0 - config_.clip_low, high = 1.0 + config_.clip_high;
  at::Tensor clipped = ((ratio < low) & (advantages < 0)) | ((ratio > high) & (advantages > 0));
  at::Tensor bounded = at::where(advantages > 0, ratio.clamp_max(high), ratio.clamp_min(low));
  if (config_.max_ratio > 0.0) {
    clipped = clipped | ((ratio > config_.max_ratio) & (advantages < 0));
    bounded = bounded.clamp_max(config_.max_ratio);
  }
  const at::Tensor value = -bounded * advantages;
  return {value, at::where(clipped, 0.0, value), {}, clipped};
}

// Which tokens' policy terms do not count; undefined where all do.
at::Tensor PolicyLoss::masked(const at::Tensor& low_entropy) const {
  if (config_.off_policy_threshold == 0.0) return low_entropy;
  const at::Tensor strayed = (-log_ratio_sum_ / length_ > config_.off_policy_threshold) & (advantages_ < 0);
  return low_entropy.defined() ? strayed | low_entropy : strayed;
}

PolicyLoss::Term PolicyLoss::term(const at::Tensor& logprobs, const at::Tensor& entropy) const {
  const at::Tensor ratio = log_weight(logprobs - old_logprobs_).exp();
  Term term{surrogate(logprobs, ratio), {}, {}, {}};
  if (cut_.threshold.defined()) term.low_entropy = entropy < cut_.threshold;
  term.off = masked(term.low_entropy);
  if (term.off.defined()) {
    // A product, since what is not finite is to show.
    const at::Tensor on = term.off.logical_not().to(at::kDouble);
    for (at::Tensor* of : {&term.value, &term.by_weight, &term.by_logprob})
      if (of->defined()) *of = *of * on;
    if (term.clipped.defined()) term.clipped = term.clipped & term.off.logical_not();
  }
  if (!reference_logprobs_.defined()) return term;
  const Estimate kl = kl_estimate(reference_logprobs_ - logprobs, config_.kl);
  term.kl = kl.value;
  if (!kl_in_loss(config_.kl)) return term;
  const auto weighted = [&](const at::Tensor& x) {
    return config_.kl_coefficient * (config_.kl_ratio_weighted ? x * ratio : x);
  };
  term.value = term.value + weighted(kl.value);
  term.by_logprob = plus(term.by_logprob, weighted(kl.slope));
  if (config_.kl_ratio_weighted) term.by_weight = plus(term.by_weight, weighted(kl.value));
  return term;
}

PolicyGradient PolicyLoss::gradient(const at::Tensor& logprobs_found, const at::Tensor& entropy_found) const {
  const at::NoGradGuard no_grad;
  const std::int64_t tokens = old_logprobs_.size(0);
  expect_size(logprobs_found, tokens, "logprobs", "N");
  const bool has_bonus = config_.entropy_coefficient != 0.0;
  if (has_bonus || cut_.threshold.defined() || old_entropy_.defined() || entropy_found.defined())
    expect_size(entropy_found, tokens, "entropy", "N");
  if (tokens == 0)
    return {at::zeros_like(logprobs_found), has_bonus ? at::zeros_like(entropy_found) : at::Tensor(),
            at::zeros({LossMetrics::kSize}, old_logprobs_.options())};
  if (!config_.is_by_token() && !log_ratio_sum_.defined())
    return with_sequences(logprobs_found, entropy_found).gradient(logprobs_found, entropy_found);

  const at::Tensor logprobs = logprobs_found.to(at::kDouble), log_ratio = logprobs - old_logprobs_;
  const at::Tensor entropy = entropy_found.defined() ? as_double(entropy_found) : at::zeros_like(log_ratio);
  const Term term = this->term(logprobs, entropy);
  const at::Tensor through_ratio = has_ratio_of_sequence()     ? by_ratio_
                                   : term.by_weight.defined() ? term.by_weight * share_
                                                              : at::Tensor();
  const at::Tensor gradient =
      plus(through_ratio, term.by_logprob.defined() ? term.by_logprob * share_ : at::Tensor());
  // A sequence's ratio may come from finite records: what is not finite now is to show.
  at::Tensor loss = (term.value * share_ + 0.0 * log_ratio).sum(), entropy_gradient;

  const at::Tensor none = at::zeros_like(loss), all = at::full_like(loss, static_cast<double>(tokens));
  at::Tensor bonus_tokens = all, bonus_entropy = entropy.sum();
  if (term.low_entropy.defined()) {
    const at::Tensor high = term.low_entropy.logical_not().to(at::kDouble);
    bonus_tokens = high.sum(), bonus_entropy = (entropy * high).sum();
    if (has_bonus) entropy_gradient = -config_.entropy_coefficient / cut_.tokens * high;
  } else if (has_bonus) {
    entropy_gradient = at::full_like(entropy, -config_.entropy_coefficient / normalizer_.tokens);
  }
  if (has_bonus) {
    loss = loss + (entropy_gradient * entropy).sum();
    entropy_gradient = entropy_gradient.to(entropy_found.scalar_type());
  }
  const auto sum_of = [&](const at::Tensor& values) {
    return values.defined() ? values.sum().to(at::kDouble) : none;
  };
  const at::Tensor entropy_deviation = old_entropy_.defined() ? (entropy - old_entropy_).abs().max() : none;
  return {gradient.to(logprobs_found.scalar_type()), entropy_gradient,
          at::stack({loss, all, sum_of(term.clipped), sum_of(term.off), sum_of(term.kl), entropy.sum(), bonus_tokens,
                     bonus_entropy, k3(log_ratio).sum(), at::expm1(log_ratio).abs().max(), entropy_deviation})};
}

LossMetrics::LossMetrics(const at::Tensor& rows) {
  const at::Tensor host = rows.cpu();
  for (std::int64_t row = 0; row < host.size(0); ++row) {
    const double* of = host[row].const_data_ptr<double>();
    LossMetrics one;
    one.loss = of[0], one.tokens = of[1], one.clipped_tokens = of[2], one.masked_tokens = of[3], one.kl_sum = of[4];
    one.entropy_sum = of[5], one.bonus_tokens = of[6], one.bonus_entropy = of[7], one.mismatch_kl_sum = of[8];
    one.ratio_deviation = of[9], one.entropy_deviation = of[10];
    add(one);
  }
}

void LossMetrics::add(const LossMetrics& other) {
  loss += other.loss;
  tokens += other.tokens;
  clipped_tokens += other.clipped_tokens;
  masked_tokens += other.masked_tokens;
  kl_sum += other.kl_sum;
  entropy_sum += other.entropy_sum;
  bonus_tokens += other.bonus_tokens;
  bonus_entropy += other.bonus_entropy;
  mismatch_kl_sum += other.mismatch_kl_sum;
  for (double LossMetrics::*const largest : {&LossMetrics::ratio_deviation, &LossMetrics::entropy_deviation})
    if (other.*largest > this->*largest || std::isnan(other.*largest)) this->*largest = other.*largest;
}

}  // namespace grpo
