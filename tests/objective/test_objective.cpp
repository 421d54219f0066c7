#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "grpo/error.h"
#include "grpo/objective.h"
#include "autograd_loss.h"
#include "rollouts.h"

namespace grpo {
namespace {

using ::testing::HasSubstr;
using ::testing::Pointwise;

// --------------------------------------------------------------------------------------------------------------- loss

Rollout far_rollout() { return read_rollout(fixture()["rollouts"][1]); }

/// Equal up to the rounding of fp32.
void expect_rounding(const at::Tensor& a, const at::Tensor& b) {
  ASSERT_EQ(a.scalar_type(), at::kFloat);
  ASSERT_EQ(a.sizes(), b.sizes());
  const std::vector<double> ours = doubles(a), theirs = doubles(b);
  for (std::size_t t = 0; t < ours.size(); ++t)
    EXPECT_NEAR(ours[t], theirs[t], 1.2e-7 * std::abs(theirs[t]) + 1e-14) << "token " << t;
}

class EveryLoss : public ::testing::TestWithParam<Loss> {
 protected:
  EveryLoss() {
    config.loss = GetParam();
    config.length_constant = 11;
    config.cispo_max_weight = 1.3;
    config.kl = Kl::k3_in_loss;
    config.kl_coefficient = 0.1;
    config.entropy_coefficient = 0.05;
  }
  bool is_weight() const { return config.loss == Loss::cispo || config.loss == Loss::vespo; }
  bool clips() const { return !is_weight() && config.loss != Loss::sapo; }

  // The closed form against autograd's.
  void check_gradient(const std::vector<std::size_t>& rows) {
    compute_advantages(rollout.groups, config, std::vector<std::vector<double>>(4, {0.1, 0.3, 0, -1}));
    MicroBatch micro = micro_batch(rollout, rows, false);
    if (config.top_entropy < 1) micro.input.cut = entropy_cut(micro.entropy, config.top_entropy);
    const Found ours = closed_form(micro, {37, 6}, config), theirs = autograd_loss(micro, {37, 6}, config);
    EXPECT_NEAR(ours.loss, theirs.loss, 1e-12 * std::max(1.0, std::abs(theirs.loss)));
    expect_rounding(ours.logprobs, theirs.logprobs);
    ASSERT_EQ(ours.entropy.defined(), config.entropy_coefficient != 0);
    if (ours.entropy.defined()) expect_rounding(ours.entropy, theirs.entropy);
  }
  // The bits of the whole, part by part.
  void check_parts() {
    compute_advantages(rollout.groups, config);
    MicroBatch micro = micro_batch(rollout, {4, 5, 6, 7}, false);
    micro.input.cut = entropy_cut(micro.entropy, config.top_entropy);
    micro.input.old_entropy = micro.entropy.clone();
    micro.input.old_entropy[-1] += 0.25;
    const PolicyLoss loss(micro.input, {37, 6}, config), ahead = loss.with_sequences(micro.logprobs, micro.entropy);
    const PolicyGradient whole = loss.gradient(micro.logprobs, micro.entropy);
    LossMetrics sum;
    for (std::int64_t first = 0, n = micro.logprobs.size(0); first < n; first += 7) {
      const std::int64_t tokens = std::min<std::int64_t>(7, n - first);
      const PolicyGradient part =
          ahead.part(first, tokens)
              .gradient(micro.logprobs.narrow(0, first, tokens), micro.entropy.narrow(0, first, tokens));
      EXPECT_TRUE(part.logprobs.equal(whole.logprobs.narrow(0, first, tokens)));
      EXPECT_TRUE(part.entropy.equal(whole.entropy.narrow(0, first, tokens)));
      sum.add(LossMetrics(part.metrics.unsqueeze(0)));
    }
    const LossMetrics expected(whole.metrics.unsqueeze(0));
    EXPECT_NEAR(sum.loss, expected.loss, 1e-12);
    EXPECT_EQ(sum.tokens, expected.tokens);
    EXPECT_EQ(sum.clipped_tokens, expected.clipped_tokens);
    EXPECT_NEAR(expected.entropy_deviation, 0.25, 1e-6);
    EXPECT_EQ(sum.entropy_deviation, expected.entropy_deviation);
    EXPECT_EQ(sum.masked_tokens, expected.masked_tokens);
    EXPECT_EQ(sum.ratio_deviation, expected.ratio_deviation);
  }
  ObjectiveConfig config;
  Rollout rollout = far_rollout();
};

TEST_P(EveryLoss, does_not_depend_on_how_a_minibatch_is_split) {
  config.mask_truncated = true;
  config.top_entropy = 0.7;
  config.off_policy_threshold = 0.1;
  rollout.groups[1].rewards[2] = kNanD;
  compute_advantages(rollout.groups, config);
  const Result reference = evaluate(rollout, config, false, 2, whole);
  double largest = 0;
  for (const double value : joined(reference.gradient)) largest = std::max(largest, std::abs(value));
  std::mt19937 random(5);
  for (int trial = 0; trial < 20; ++trial) {
    const Result result = evaluate(rollout, config, false, 2, [&](std::vector<std::size_t> rows) {
      std::shuffle(rows.begin(), rows.end(), random);
      std::vector<std::vector<std::size_t>> parts(1);
      for (const std::size_t row : rows) {
        if (random() % 3 == 0) parts.emplace_back();
        parts.back().push_back(row);
      }
      return parts;  // empty micro-batches among them
    });
    EXPECT_THAT(result.losses, Pointwise(::testing::DoubleNear(1e-9), reference.losses));
    EXPECT_THAT(joined(result.gradient), Pointwise(::testing::DoubleNear(1e-6 * largest), joined(reference.gradient)));
    EXPECT_THAT(joined(result.entropy_gradient),
                Pointwise(::testing::DoubleNear(1e-7), joined(reference.entropy_gradient)));
    EXPECT_EQ(result.metrics.tokens, reference.metrics.tokens);
    EXPECT_EQ(result.metrics.clipped_tokens, reference.metrics.clipped_tokens);
    EXPECT_EQ(result.metrics.masked_tokens, reference.metrics.masked_tokens);
    EXPECT_EQ(result.metrics.bonus_tokens, reference.metrics.bonus_tokens);
    EXPECT_NEAR(result.metrics.bonus_entropy, reference.metrics.bonus_entropy, 1e-9);
    EXPECT_EQ(result.metrics.ratio_deviation, reference.metrics.ratio_deviation);
    EXPECT_NEAR(result.metrics.kl_sum, reference.metrics.kl_sum, 1e-9);
    EXPECT_NEAR(result.metrics.mismatch_kl_sum, reference.metrics.mismatch_kl_sum, 1e-9);
    EXPECT_NEAR(result.metrics.entropy_sum, reference.metrics.entropy_sum, 1e-9);
  }
}

TEST_P(EveryLoss, has_the_gradient_of_finite_differences) {
  for (const Kl kl : {Kl::k2_in_loss, Kl::k3_in_loss}) {
    config.kl = kl;
    config.kl_ratio_weighted = kl == Kl::k3_in_loss && !is_weight();
    compute_advantages(rollout.groups, config);
    MicroBatch micro = micro_batch(rollout, {0, 5, 6, 11}, false);
    micro.logprobs = micro.logprobs.to(at::kDouble);
    const Normalizer normalizer{37, 6};
    const std::vector<double> gradient = doubles(closed_form(micro, normalizer, config).logprobs);
    const std::vector<double> current = doubles(micro.logprobs);
    const auto loss_at = [&](const std::vector<double>& logprobs) {
      MicroBatch shifted = micro;
      shifted.logprobs = at::tensor(at::ArrayRef<double>(logprobs));
      // A weight is a constant for the gradient: hold it by moving the old log-probabilities along.
      if (is_weight())
        shifted.input.old_logprobs = micro.input.old_logprobs + shifted.logprobs - micro.logprobs;
      return closed_form(shifted, normalizer, config).loss;
    };
    for (std::size_t t = 0; t < current.size(); ++t) {
      const double step = 1e-6;
      std::vector<double> above = current, below = current;
      above[t] += step;
      below[t] -= step;
      EXPECT_NEAR(gradient[t], (loss_at(above) - loss_at(below)) / (2 * step), 1e-8) << "token " << t;
    }
  }
}

TEST_P(EveryLoss, has_the_gradient_that_autograd_finds) {
  const std::pair<Kl, bool> divergences[] = {{Kl::none, false},
                                             {Kl::k1_in_reward, false},
                                             {Kl::k2_in_loss, false},
                                             {Kl::k3_in_loss, false},
                                             {Kl::k3_in_loss, true}};
  const std::pair<double, double> ranges[] = {{0.2, 0.2}, {0.1, 0.5}, {0.0, 0.0}, {1.0, 1e9}};
  for (const auto& [kl, weighted] : divergences)
    for (const auto& [low, high] : ranges)
      for (const double entropy_coefficient : {0.0, 0.05}) {
        SCOPED_TRACE(std::string(enum_name(kl)) + (weighted ? ", weighted, " : ", ") + std::to_string(low) + ' ' +
                     std::to_string(high) + ' ' + std::to_string(entropy_coefficient));
        config.kl = kl, config.kl_ratio_weighted = weighted;
        config.clip_low = low, config.clip_high = high, config.cispo_max_weight = 1 + std::min(high, 10.0);
        config.entropy_coefficient = entropy_coefficient;
        check_gradient({3});
        check_gradient({15, 2, 9});
        check_gradient({4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14});
      }
}

TEST_P(EveryLoss, has_the_gradient_that_autograd_finds_at_every_ratio_level_and_aggregation) {
  config.kl_ratio_weighted = true;
  config.sapo_temperature_positive = 2.5, config.vespo_k_negative = 0.5;
  for (const auto& [level, level_name] : EnumNames<RatioLevel>::values)
    for (const auto& [aggregation, aggregation_name] : EnumNames<Aggregation>::values)
      for (const bool masks : {false, true}) {
        SCOPED_TRACE(std::string(level_name) + ' ' + std::string(aggregation_name) + (masks ? " masked" : ""));
        config.ratio_level = level, config.aggregation = aggregation;
        config.max_ratio = masks && clips() ? 1.4 : 0;
        config.top_entropy = masks ? 0.6 : 1, config.off_policy_threshold = masks ? 0.1 : 0;
        if (config.loss == Loss::vespo && config.resolved_ratio_level() != RatioLevel::token) continue;
        EXPECT_NO_THROW(validate(config, "objective"));
        check_gradient({4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14});
      }
}

TEST_P(EveryLoss, is_the_policy_gradient_on_policy) {
  // At ratio 1 every loss has the gradient -A times its averaging weight.
  config.kl = Kl::none;
  config.kl_coefficient = config.entropy_coefficient = 0;
  MicroBatch micro;
  micro.logprobs = micro.input.old_logprobs = floats({-1, -2, -0.5, -3});
  micro.input.advantages = floats({2, -1});
  micro.input.starts = starts_of({3, 1});
  const at::Tensor gradient = closed_form(micro, {8, 5}, config).logprobs;
  std::vector<double> expected;
  switch (config.loss) {
    case Loss::grpo:
    case Loss::gspo:
    case Loss::sapo:
      expected = {-2.0 / 15, -2.0 / 15, -2.0 / 15, 1.0 / 5};
      break;
    case Loss::rloo:
    case Loss::luspo:
      expected = {-2.0 / 5, -2.0 / 5, -2.0 / 5, 1.0 / 5};
      break;
    case Loss::dr_grpo:
      expected = {-2.0 / 55, -2.0 / 55, -2.0 / 55, 1.0 / 55};
      break;
    case Loss::dapo:
    case Loss::bnpo:
    case Loss::cispo:
    case Loss::vespo:
      expected = {-2.0 / 8, -2.0 / 8, -2.0 / 8, 1.0 / 8};
      break;
  }
  EXPECT_THAT(doubles(gradient), Pointwise(::testing::DoubleNear(1e-7), expected));
}

TEST_P(EveryLoss, accepts_an_empty_micro_batch) {
  const at::Tensor none = floats({});
  const Found found = closed_form({{none, none, none, starts_of({})}, none, none}, {}, config);
  EXPECT_EQ(found.loss, 0.0);
  EXPECT_EQ(found.logprobs.size(0), 0);
  EXPECT_EQ(found.metrics.tokens, 0.0);
  const PolicyLoss loss({none, none, none, starts_of({})}, {}, config);
  EXPECT_EQ(loss.with_sequences(none, none).part(0, 0).gradient(none, none).logprobs.size(0), 0);
}

TEST_P(EveryLoss, has_the_same_gradient_in_parts) {
  config.top_entropy = 0.6;
  config.kl_ratio_weighted = true;
  for (const auto& [level, level_name] : EnumNames<RatioLevel>::values)
    for (const bool off_policy : {false, true}) {
      SCOPED_TRACE(std::string(level_name) + (off_policy ? ", off policy" : ""));
      config.ratio_level = level, config.off_policy_threshold = off_policy ? 0.1 : 0;
      if (config.loss == Loss::vespo && config.resolved_ratio_level() != RatioLevel::token) continue;
      check_parts();
    }
}

TEST_P(EveryLoss, that_is_not_by_token_needs_whole_sequences_ahead) {
  for (const bool off_policy : {false, true}) {
    config.off_policy_threshold = off_policy ? 0.1 : 0;
    const bool by_token = !off_policy && config.loss != Loss::gspo && config.loss != Loss::luspo &&
                          config.loss != Loss::rloo && config.loss != Loss::vespo;
    EXPECT_EQ(config.is_by_token(), by_token);
    compute_advantages(rollout.groups, config);
    const MicroBatch micro = micro_batch(rollout, {4, 5, 6, 7}, true);
    const PolicyLoss loss(micro.input, {37, 6}, config);
    if (by_token) {
      EXPECT_NO_THROW(loss.part(0, 2));
    } else {
      EXPECT_THROW(loss.part(0, 2), Error);
    }
    EXPECT_THROW(loss.with_sequences(micro.logprobs.narrow(0, 0, 3), {}), Error);
    // Finite records hide nothing: neither a token that strayed from them nor one that is not finite.
    const PolicyLoss ahead = loss.with_sequences(micro.logprobs, {});
    at::Tensor now = micro.logprobs.clone();
    now[5] += 0.5;
    EXPECT_NEAR(LossMetrics(ahead.gradient(now, micro.entropy).metrics.unsqueeze(0)).ratio_deviation,
                std::exp(0.5) - 1, 1e-6);
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
      now[5] = bad;
      EXPECT_FALSE(std::isfinite(LossMetrics(ahead.gradient(now, micro.entropy).metrics.unsqueeze(0)).loss));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, EveryLoss,
                         ::testing::Values(Loss::grpo, Loss::dr_grpo, Loss::dapo, Loss::bnpo, Loss::gspo, Loss::luspo,
                                           Loss::rloo, Loss::cispo, Loss::sapo, Loss::vespo),
                         [](const auto& each) { return std::string(enum_name(each.param)); });

/// Three sequences of two tokens with the given log ratios.
MicroBatch with_log_ratios(std::vector<double> log_ratios, std::vector<double> advantages) {
  MicroBatch micro;
  micro.input.old_logprobs = at::full({6}, -2.0, at::kDouble);
  micro.input.advantages = floats(std::move(advantages));
  micro.input.starts = starts_of({2, 2, 2});
  micro.logprobs = at::tensor(at::ArrayRef<double>(log_ratios)) - 2.0;
  return micro;
}

TEST(Clipping, cuts_only_what_the_advantage_pushes_further_out) {
  ObjectiveConfig config;
  config.loss = Loss::dapo;
  config.clip_low = 0.2;
  config.clip_high = 0.3;
  const double up = std::log(1.31), in = std::log(1.29), down = std::log(0.79), held = std::log(0.81);
  const Found found = closed_form(with_log_ratios({up, in, up, down, down, held}, {1, -1, -1}), {6, 3}, config);
  EXPECT_EQ(found.metrics.clipped_tokens, 3);  // one upwards in sequence 0, one downwards in each of 1 and 2
  EXPECT_NEAR(found.loss, -(1.3 + 1.29 - 1.31 - 0.8 - 0.8 - 0.81) / 6, 1e-12);
  EXPECT_THAT(doubles(found.logprobs),
              Pointwise(::testing::DoubleNear(1e-12), {0.0, -1.29 / 6, 1.31 / 6, 0.0, 0.0, 0.81 / 6}));
}

TEST(Clipping, of_gspo_is_for_whole_sequences) {
  ObjectiveConfig config;
  config.loss = Loss::gspo;
  config.clip_low = config.clip_high = 0.1;
  // Mean log ratios 0.2 (out), 0.05 (in, though its first token alone would be out), -0.2 (out).
  const Found found = closed_form(with_log_ratios({0.5, -0.1, 0.3, -0.2, -0.2, -0.2}, {1, 1, -1}), {6, 3}, config);
  EXPECT_EQ(found.metrics.clipped_tokens, 4);
  EXPECT_NEAR(found.loss, -(1.1 + std::exp(0.05) - 0.9) / 3, 1e-12);
  const double each = -std::exp(0.05) / 2 / 3;
  EXPECT_THAT(doubles(found.logprobs),
              Pointwise(::testing::DoubleNear(1e-12), {0.0, 0.0, each, each, 0.0, 0.0}));
}

TEST(Clipping, of_cispo_keeps_the_gradient_of_every_token) {
  ObjectiveConfig config;
  config.loss = Loss::cispo;
  config.cispo_max_weight = 2;
  const MicroBatch micro =
      with_log_ratios({std::log(4.0), std::log(1.5), std::log(3.0), std::log(0.1), 0, 0}, {1, -1, 0.5});
  const Found found = closed_form(micro, {6, 3}, config);
  EXPECT_EQ(found.metrics.clipped_tokens, 2);
  EXPECT_THAT(doubles(found.logprobs),
              Pointwise(::testing::DoubleNear(1e-12), {-2 / 6.0, -1.5 / 6, 2 / 6.0, 0.1 / 6, -0.5 / 6, -0.5 / 6}));
}

TEST(Clipping, on_two_sides_bounds_the_ratio_of_negative_advantages_too) {
  ObjectiveConfig config;
  config.loss = Loss::dapo;
  config.max_ratio = 3;
  const MicroBatch micro = with_log_ratios({std::log(4.0), std::log(2.5), std::log(4.0), 0, 0, 0}, {-1, 1, 0});
  const Found found = closed_form(micro, {6, 3}, config);
  EXPECT_EQ(found.metrics.clipped_tokens, 2);
  EXPECT_NEAR(found.loss, -(-3 - 2.5 + 1.2 + 1) / 6, 1e-12);
  EXPECT_THAT(doubles(found.logprobs), Pointwise(::testing::DoubleNear(1e-12), {0.0, 2.5 / 6, 0.0, -1.0 / 6, 0.0, 0.0}));
}

TEST(Masks, keep_completions_out_that_the_policy_left_though_they_were_bad) {
  ObjectiveConfig config;
  config.loss = Loss::dapo;
  config.clip_low = 1;
  config.off_policy_threshold = 0.15;
  // On the mean 0.2, 0.1 and 0.3 nats less likely than when they were drawn; the last is good.
  const Found found = closed_form(with_log_ratios({-0.5, 0.1, -0.1, -0.1, -0.3, -0.3}, {-1, -1, 1}), {6, 3}, config);
  EXPECT_EQ(found.metrics.masked_tokens, 2);
  const double kept = std::exp(-0.1) / 6, good = -std::exp(-0.3) / 6;
  EXPECT_THAT(doubles(found.logprobs), Pointwise(::testing::DoubleNear(1e-12), {0.0, 0.0, kept, kept, good, good}));
  EXPECT_NEAR(found.loss, 2 * (kept + good), 1e-12);
}

TEST(Masks, keep_the_tokens_of_the_highest_entropy) {
  const auto kept = [](const std::vector<double>& entropy, double top) {
    const EntropyCut cut = entropy_cut(floats(entropy), top);
    return std::pair(cut.threshold.item<double>(), cut.tokens.item<double>());
  };
  EXPECT_EQ(kept({3, 1, 2, 5, 4}, 0.5), std::pair(3.0, 3.0));
  EXPECT_EQ(kept({3, 1, 2, 5, 4}, 0.0), std::pair(5.0, 1.0));
  EXPECT_EQ(kept({3, 1, 2, 5, 4}, 1.0), std::pair(1.0, 5.0));
  EXPECT_EQ(kept({3, 1, 2, 5}, 0.5), std::pair(2.5, 2.0));
  EXPECT_EQ(kept({2, 2, 2}, 0.0), std::pair(2.0, 3.0)) << "equal ones are kept together";
  EXPECT_EQ(kept({7}, 0.2), std::pair(7.0, 1.0));

  ObjectiveConfig config;
  config.loss = Loss::dapo;
  config.entropy_coefficient = 0.3;
  config.top_entropy = 0.4;
  MicroBatch micro = with_log_ratios({0, 0, 0, 0, 0, 0}, {1, 1, 1});
  micro.entropy = floats({0.1, 0.6, 0.2, 0.5, 0.3, 0.4});
  micro.input.cut = entropy_cut(micro.entropy, config.top_entropy);  // at 0.4
  const Found found = closed_form(micro, {6, 3}, config);
  EXPECT_EQ(found.metrics.masked_tokens, 3);
  EXPECT_EQ(found.metrics.bonus_tokens, 3);
  EXPECT_NEAR(found.metrics.bonus_entropy, 1.5, 1e-6);
  EXPECT_NEAR(found.metrics.entropy_sum, 2.1, 1e-6);
  EXPECT_NEAR(found.loss, -0.5 - 0.3 * 0.5, 1e-6);
  const double each = -1.0 / 6;
  EXPECT_THAT(doubles(found.logprobs), Pointwise(::testing::DoubleNear(1e-12), {0.0, each, 0.0, each, 0.0, each}));
  EXPECT_THAT(doubles(found.entropy), Pointwise(::testing::DoubleNear(1e-7), {0.0, -0.1, 0.0, -0.1, 0.0, -0.1}));
}

TEST(EntropyControl, raises_the_coefficient_where_the_entropy_is_low_and_counts_only_there) {
  ObjectiveConfig config;
  config.entropy_coefficient = 0.1, config.entropy_target = 0.5, config.entropy_coefficient_step = 0.06;
  config.entropy_coefficient_min = 0.05, config.entropy_coefficient_max = 0.15;
  EntropyControl control{config.entropy_coefficient};
  std::vector<double> coefficients, applied;
  for (const double entropy : {0.4, 0.5, kNanD, 0.6, 0.7, 0.1}) {
    applied.push_back(control.applied(config));
    control.observe(entropy, config);
    coefficients.push_back(control.coefficient);
  }
  const auto near = Pointwise(::testing::DoubleNear(1e-12), std::vector{0.15, 0.15, 0.15, 0.09, 0.05, 0.11});
  EXPECT_THAT(coefficients, near);
  EXPECT_THAT(applied, Pointwise(::testing::DoubleNear(1e-12), {0.0, 0.15, 0.15, 0.15, 0.0, 0.0}));
  config.entropy_target = 0;
  control.observe(0.1, config);
  EXPECT_NEAR(control.coefficient, 0.11, 1e-12) << "without a target it stays";
  EXPECT_EQ(control.applied(config), control.coefficient);
}

TEST(Divergence, is_estimated_as_configured) {
  MicroBatch micro = with_log_ratios({0, 0, 0, 0, 0, 0}, {0, 0, 0});
  micro.input.reference_logprobs = at::full({6}, -2.5, at::kDouble);  // d = -0.5
  ObjectiveConfig config;
  config.kl_coefficient = 2;
  const double k3 = std::exp(-0.5) + 0.5 - 1;
  const std::vector<std::tuple<Kl, double, double>> expected{
      {Kl::k1_in_reward, 0.5, 0}, {Kl::k2_in_loss, 0.125, 0.25}, {Kl::k3_in_loss, k3, 2 * k3}};
  for (const auto& [kl, each, loss] : expected) {
    config.kl = kl;
    const Found found = closed_form(micro, {6, 3}, config);
    EXPECT_NEAR(found.metrics.kl_sum, 6 * each, 1e-12) << enum_name(kl);
    EXPECT_NEAR(found.loss, loss, 1e-12) << enum_name(kl);
  }
}

TEST(Mismatch, is_exactly_zero_only_when_all_bits_agree) {
  for (const float at : {-0.0f, -1e-30f, -1e-9f, -3e-4f, -0.7f, -20.0f}) {
    const at::Tensor logprobs = at::tensor({-1.5f, at, -0.25f});
    MicroBatch micro{{logprobs.clone(), {}, floats({1}), starts_of({3})}, logprobs, {}};
    LossMetrics metrics = closed_form(micro, {3, 1}, {}).metrics;
    EXPECT_EQ(metrics.ratio_deviation, 0.0);
    EXPECT_EQ(metrics.mismatch_kl_sum, 0.0);

    const float ulp = std::nextafter(at, -1e9f);
    micro.input.old_logprobs = at::tensor({-1.5f, ulp, -0.25f});
    metrics = closed_form(micro, {3, 1}, {}).metrics;
    const double d = static_cast<double>(at) - static_cast<double>(ulp);
    EXPECT_GT(metrics.ratio_deviation, 0.0) << at;
    EXPECT_NEAR(metrics.ratio_deviation, d, 1e-5 * d) << at;
    EXPECT_GT(metrics.mismatch_kl_sum, 0.0) << at;
    EXPECT_NEAR(metrics.mismatch_kl_sum, d * d / 2, 1e-5 * d * d) << at;
  }
}

TEST(Mismatch, is_a_ratio_and_a_divergence_when_large) {
  const LossMetrics metrics = closed_form(with_log_ratios({0, 0.3, 0, 0, -1.0, 0}, {0, 0, 0}), {6, 3}, {}).metrics;
  EXPECT_NEAR(metrics.ratio_deviation, 1 - std::exp(-1.0), 1e-12);  // the largest deviation is a fall
  EXPECT_NEAR(metrics.mismatch_kl_sum, std::exp(0.3) - 1.3 + std::exp(-1.0), 1e-12);
}

TEST(Mismatch, that_is_not_a_number_is_not_hidden_by_later_micro_batches) {
  LossMetrics sum, bad, good;
  bad.ratio_deviation = kNanD;
  good.ratio_deviation = 0.5;
  sum.add(good);
  EXPECT_EQ(sum.ratio_deviation, 0.5);
  sum.add(bad);
  sum.add(good);
  EXPECT_TRUE(std::isnan(sum.ratio_deviation));
}

TEST(Metrics, of_many_micro_batches_are_read_as_one) {
  const MicroBatch near = with_log_ratios({0, 0.1, 0, 0, 0, 0}, {1, 0, 0}),
                   far = with_log_ratios({0, 0, -1, 0, 0, 0}, {0, -1, 0});
  const auto rows = [](const MicroBatch& micro) {
    return PolicyLoss(micro.input, {6, 3}, {}).gradient(micro.logprobs, micro.entropy).metrics;
  };
  LossMetrics expected = closed_form(near, {6, 3}, {}).metrics;
  expected.add(closed_form(far, {6, 3}, {}).metrics);
  const LossMetrics read(at::stack({rows(near), rows(far)}));
  EXPECT_EQ(read.loss, expected.loss);
  EXPECT_EQ(read.tokens, 12);
  EXPECT_EQ(read.clipped_tokens, 1);
  EXPECT_EQ(read.mismatch_kl_sum, expected.mismatch_kl_sum);
  EXPECT_EQ(read.ratio_deviation, expected.ratio_deviation);
}

// ------------------------------------------------------------------------------------------------------------ refusals

void expect_refused(const std::function<void()>& act, const std::string& words) {
  try {
    act();
    ADD_FAILURE() << "not refused: " << words;
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("objective"));
    EXPECT_THAT(e.what(), HasSubstr(words));
  }
}

TEST(Refused, are_shapes_that_do_not_fit) {
  const MicroBatch good = with_log_ratios({0, 0, 0, 0, 0, 0}, {1, 2, 3});
  const auto refused = [&](auto change, const std::string& words, ObjectiveConfig config = {}, Normalizer n = {6, 3}) {
    MicroBatch bad = good;
    change(bad);
    expect_refused([&] { closed_form(bad, n, config); }, words);
  };
  EXPECT_NO_THROW(closed_form(good, {6, 3}, {}));
  refused([](MicroBatch& m) { m.logprobs = at::zeros({2, 3}); }, " logprobs");
  refused([](MicroBatch& m) { m.logprobs = at::zeros({5}); }, " logprobs");
  refused([](MicroBatch& m) { m.input.old_logprobs = at::zeros({2, 3}); }, "old_logprobs");
  refused([](MicroBatch& m) { m.entropy = at::zeros({5}); }, "entropy");
  refused([](MicroBatch& m) { m.input.old_entropy = at::zeros({5}); }, "old_entropy");
  refused([](MicroBatch& m) { m.input.starts = starts_of({2, 4}); }, "starts");
  refused([](MicroBatch& m) { m.input.starts = starts_of({2, 2, 3}); }, "starts");
  refused([](MicroBatch& m) { m.input.starts = m.input.starts.to(at::kInt); }, "int64");
  refused([](MicroBatch& m) { m.input.advantages = floats({1, kNanD, 1}); }, "finite advantages");
  refused([](MicroBatch&) {}, "normalizer", {}, {0, 0});
  ObjectiveConfig config;
  config.entropy_coefficient = 0.1;
  refused([](MicroBatch&) {}, "entropy", config);
  config = {};
  config.kl = Kl::k3_in_loss;
  refused([](MicroBatch&) {}, "reference_logprobs", config);
  config = {};
  config.top_entropy = 0.5;
  refused([](MicroBatch&) {}, "the entropy cut of the minibatch", config);
  refused([](MicroBatch& m) { m.input.cut = entropy_cut(floats({1, 2}), 0.5); }, "entropy", config);
}

TEST(Refused, are_configurations_that_make_no_sense) {
  EXPECT_NO_THROW(validate(ObjectiveConfig(), "objective"));
  const auto refused = [](auto change, const std::string& words) {
    ObjectiveConfig config;
    change(config);
    expect_refused([&] { validate(config, "objective"); }, words);
  };
  refused([](ObjectiveConfig& c) { c.clip_low = -0.1; }, "clip_low");
  refused([](ObjectiveConfig& c) { c.clip_low = 1.5; }, "clip_low");
  refused([](ObjectiveConfig& c) { c.clip_high = -0.1; }, "clip_high");
  refused([](ObjectiveConfig& c) { c.clip_high = kNanD; }, "clip_high");
  refused([](ObjectiveConfig& c) { c.cispo_max_weight = 0; }, "cispo_max_weight");
  refused([](ObjectiveConfig& c) { c.advantage_epsilon = -1; }, "advantage_epsilon");
  refused([](ObjectiveConfig& c) { c.entropy_coefficient = -1; }, "entropy_coefficient");
  refused([](ObjectiveConfig& c) { c.loss = Loss::dr_grpo; }, "length_constant");
  refused([](ObjectiveConfig& c) { c.kl = Kl::k1_in_reward; }, "kl_coefficient: expected a value above 0");
  refused([](ObjectiveConfig& c) { c.kl_coefficient = 0.1; }, "kl_coefficient: expected 0");
  refused([](ObjectiveConfig& c) { c.kl_coefficient = -0.1; }, "kl_coefficient");
  refused([](ObjectiveConfig& c) { c.kl_ratio_weighted = true; }, "kl_ratio_weighted");
  refused([](ObjectiveConfig& c) { c.reference_refresh_steps = 5; }, "reference_refresh_steps");
  refused([](ObjectiveConfig& c) { c.aggregation = Aggregation::length_constant; }, "length_constant");
  refused([](ObjectiveConfig& c) { c.loss = Loss::vespo, c.ratio_level = RatioLevel::sequence; }, "ratio_level");
  refused([](ObjectiveConfig& c) { c.max_ratio = 1.2; }, "max_ratio: expected a value above 1 + clip_high");
  for (const Loss loss : {Loss::cispo, Loss::sapo, Loss::vespo})
    refused([&](ObjectiveConfig& c) { c.loss = loss, c.max_ratio = 4; }, "max_ratio: expected 0");
  refused([](ObjectiveConfig& c) { c.sapo_temperature_positive = 0; }, "sapo_temperature_positive");
  refused([](ObjectiveConfig& c) { c.sapo_temperature_negative = -1; }, "sapo_temperature_negative");
  refused([](ObjectiveConfig& c) { c.vespo_k_positive = -1; }, "vespo_k_positive");
  refused([](ObjectiveConfig& c) { c.vespo_lambda_negative = 0; }, "vespo_lambda_negative");
  refused([](ObjectiveConfig& c) { c.reference_mixup = 0.5; }, "reference_mixup: expected 1 without");
  refused([](ObjectiveConfig& c) { c.reference_mixup = 0; }, "reference_mixup");
  refused([](ObjectiveConfig& c) { c.entropy_target = 0.5, c.entropy_coefficient = 2; }, "entropy_coefficient_max");
  refused([](ObjectiveConfig& c) { c.entropy_target = -0.5; }, "entropy_target");
  refused([](ObjectiveConfig& c) { c.top_entropy = 1.5; }, "top_entropy");
  refused([](ObjectiveConfig& c) { c.off_policy_threshold = -1; }, "off_policy_threshold");
  refused([](ObjectiveConfig& c) { c.normalize_each_reward = true, c.scale = Scale::group; }, "scale");
  refused([](ObjectiveConfig& c) { c.normalize_each_reward = true, c.baseline = Baseline::reinforce_pp; }, "baseline");
  refused(
      [](ObjectiveConfig& c) {
        c.normalize_each_reward = true, c.kl = Kl::k1_in_reward, c.kl_coefficient = 0.1;
      },
      "k1_in_reward");
  refused([](ObjectiveConfig& c) { c.epochs = 0; }, "epochs");
  refused([](ObjectiveConfig& c) { c.minibatches = 0; }, "minibatches");
  refused([](ObjectiveConfig& c) { c.dynamic_sampling = true, c.max_refills = 0; }, "max_refills");
}

}  // namespace
}  // namespace grpo
