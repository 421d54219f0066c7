#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "error_of.h"
#include "grpo/error.h"
#include "grpo/objective.h"

namespace grpo {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::NanSensitiveFloatEq;
using ::testing::Pointwise;

const float kNanF = std::numeric_limits<float>::quiet_NaN();
const double kNanD = std::numeric_limits<double>::quiet_NaN();

Group group_of(std::vector<double> rewards, std::size_t tokens = 0) {
  Group group;
  group.completions.resize(rewards.size());
  for (Completion& completion : group.completions) completion.tokens.assign(tokens, 7);
  group.rewards = std::move(rewards);
  return group;
}

std::vector<float> advantages_of(std::vector<double> rewards, const ObjectiveConfig& config) {
  std::vector<Group> groups{group_of(std::move(rewards))};
  compute_advantages(groups, config);
  return groups[0].advantages;
}

TEST(Advantages, of_a_group_have_its_mean_and_deviation_removed) {
  ObjectiveConfig config;
  config.advantage_epsilon = 0;
  config.unbiased_std = false;  // deviation of 1, 2, 3, 6 about 3: sqrt(14 / 4)
  const float s = std::sqrt(3.5f);
  EXPECT_THAT(advantages_of({1, 2, 3, 6}, config), Pointwise(::testing::FloatEq(), {-2 / s, -1 / s, 0.f, 3 / s}));
  config.unbiased_std = true;
  const float u = std::sqrt(14.0f / 3);
  EXPECT_THAT(advantages_of({1, 2, 3, 6}, config), Pointwise(::testing::FloatEq(), {-2 / u, -1 / u, 0.f, 3 / u}));
  config.advantage_epsilon = 0.5;
  EXPECT_FLOAT_EQ(advantages_of({1, 2, 3, 6}, config)[3], 3 / (u + 0.5f));
}

TEST(Advantages, of_equal_rewards_are_exactly_zero) {
  for (const auto& [baseline, name] : EnumNames<Baseline>::values) {
    if (baseline == Baseline::reinforce_pp) continue;  // it has no baseline to be equal to
    for (const auto& [scale, scale_name] : EnumNames<Scale>::values) {
      ObjectiveConfig config;
      config.baseline = baseline;
      config.scale = scale;
      config.advantage_epsilon = 0;
      EXPECT_THAT(advantages_of({0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7}, config), ::testing::Each(0.0f))
          << name << scale_name;
      const float alone = baseline == Baseline::rloo ? kNanF : 0.0f;
      EXPECT_THAT(advantages_of({kNanD, 0.3}, config), Pointwise(NanSensitiveFloatEq(), {kNanF, alone})) << name;
    }
  }
}

TEST(Advantages, leave_undefined_rewards_out_of_the_baseline) {
  ObjectiveConfig config;
  config.advantage_epsilon = 0;
  const std::vector<float> with = advantages_of({1, kNanD, 2, 6}, config), without = advantages_of({1, 2, 6}, config);
  EXPECT_TRUE(std::isnan(with[1]));
  EXPECT_THAT((std::vector{with[0], with[2], with[3]}), Pointwise(::testing::FloatEq(), without));
  EXPECT_THAT(advantages_of({kNanD, kNanD}, config), Pointwise(NanSensitiveFloatEq(), {kNanF, kNanF}));
}

TEST(Advantages, of_rloo_compare_with_the_others) {
  ObjectiveConfig config;
  config.baseline = Baseline::rloo;  // 5 - (1 + 3) / 2, …
  EXPECT_THAT(advantages_of({5, 1, kNanD, 3}, config), Pointwise(NanSensitiveFloatEq(), {3.0f, -3.0f, kNanF, 0.0f}));
}

TEST(Advantages, of_reinforce_pp_are_the_whitened_batch) {
  ObjectiveConfig config;
  config.baseline = Baseline::reinforce_pp;
  config.advantage_epsilon = 0;
  config.unbiased_std = false;
  std::vector<Group> groups{group_of({0, 2}), group_of({4, 6})};  // mean 3, deviation sqrt((9 + 1 + 1 + 9) / 4)
  compute_advantages(groups, config);
  const float s = std::sqrt(5.0f);
  EXPECT_THAT(groups[0].advantages, Pointwise(::testing::FloatEq(), {-3 / s, -1 / s}));
  EXPECT_THAT(groups[1].advantages, Pointwise(::testing::FloatEq(), {1 / s, 3 / s}));

  config.baseline = Baseline::reinforce_pp_baseline;  // -1, 1 | -3, 3: mean 0, deviation sqrt((1 + 1 + 9 + 9) / 4)
  groups = {group_of({0, 2}), group_of({4, 10})};
  compute_advantages(groups, config);
  EXPECT_THAT(groups[0].advantages, Pointwise(::testing::FloatEq(), {-1 / s, 1 / s}));
  EXPECT_THAT(groups[1].advantages, Pointwise(::testing::FloatEq(), {-3 / s, 3 / s}));
}

TEST(Advantages, scale_as_published_unless_told_otherwise) {
  ObjectiveConfig config;
  EXPECT_EQ(config.resolved_scale(), Scale::group);
  config.loss = Loss::dr_grpo;
  EXPECT_EQ(config.resolved_scale(), Scale::none);
  EXPECT_THAT(advantages_of({1, 2, 6}, config), ElementsAre(-2, -1, 3));
  config.scale = Scale::batch;
  EXPECT_EQ(config.resolved_scale(), Scale::batch);
  config.scale = Scale::recipe;
  config.baseline = Baseline::reinforce_pp;
  EXPECT_EQ(config.resolved_scale(), Scale::whiten);
  config.loss = Loss::grpo;
  config.baseline = Baseline::rloo;
  EXPECT_EQ(config.resolved_scale(), Scale::none);
}

TEST(Advantages, best_keeps_the_first_of_the_highest_rewards) {
  ObjectiveConfig config;
  config.scale = Scale::none;
  config.selection = Selection::best;
  EXPECT_THAT(advantages_of({1, kNanD, 5, 0, 5, 4}, config),
              Pointwise(NanSensitiveFloatEq(), {kNanF, kNanF, 2.0f, kNanF, kNanF, kNanF}));
  EXPECT_THAT(advantages_of({kNanD, kNanD}, config), Pointwise(NanSensitiveFloatEq(), {kNanF, kNanF}));
}

TEST(Advantages, take_the_divergence_from_the_reward) {
  ObjectiveConfig config;
  config.scale = Scale::none;
  config.kl = Kl::k1_in_reward;
  config.kl_coefficient = 0.5;
  std::vector<Group> groups{group_of({1, 3})};
  compute_advantages(groups, config, {{2.0, -2.0}});  // rewards 0 and 4
  EXPECT_THAT(groups[0].advantages, ElementsAre(-2, 2));
  EXPECT_THAT(groups[0].rewards, ElementsAre(1, 3)) << "what is logged stays the reward";
  EXPECT_THROW(compute_advantages(groups, config), Error);
  EXPECT_THROW(compute_advantages(groups, config, {{2.0}}), Error);
}

TEST(Advantages, make_nothing_of_what_is_only_rounding) {
  for (const Loss loss : {Loss::grpo, Loss::dr_grpo})
    for (const auto& [baseline, name] : EnumNames<Baseline>::values)
      for (const auto& [scale, scale_name] : EnumNames<Scale>::values)
        for (const double epsilon : {1e-4, 0.0}) {
          if (baseline == Baseline::reinforce_pp && scale != Scale::recipe && scale != Scale::whiten) continue;
          SCOPED_TRACE(std::string(name) + ", scale " + std::string(scale_name));
          ObjectiveConfig config;
          config.loss = loss, config.baseline = baseline, config.scale = scale, config.advantage_epsilon = epsilon;
          std::vector<Group> groups{group_of({0.1 + 0.2, 0.3, 0.3}), group_of({0.3, 0.1 + 0.2, 0.3})};
          ASSERT_NE(groups[0].rewards[0], 0.3);
          for (const bool signal : {false, true}) {
            if (signal) groups.push_back(group_of({1, 0, 0.5}));
            compute_advantages(groups, config);
            if (signal && baseline == Baseline::reinforce_pp) continue;
            for (int g = 0; g < 2; ++g) {
              EXPECT_FALSE(has_signal(groups[g]));
              EXPECT_THAT(groups[g].advantages, Each(FloatNear(0.0f, signal ? 1e-7f : 0.0f)));  // whitening may shift
            }
          }
        }
}

TEST(Advantages, refuse_what_is_infinite) {
  std::vector<Group> groups{group_of({1, 3})};
  groups[0].task.id = "one";
  groups[0].rewards[1] = -std::numeric_limits<double>::infinity();
  const auto message = [&](const ObjectiveConfig& config, const std::vector<std::vector<double>>& kl) -> std::string {
    try {
      compute_advantages(groups, config, kl);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message({}, {}), HasSubstr("got -inf for sample 1 of task \"one\""));
  groups[0].rewards[1] = 3;
  ObjectiveConfig config;
  config.kl = Kl::k1_in_reward;
  config.kl_coefficient = 0.5;
  EXPECT_THAT(message(config, {{0.0, kNanD}}), HasSubstr("divergence from the reference, got nan for sample 1"));
}

TEST(Advantages, need_a_reward_for_each_completion) {
  std::vector<Group> groups{group_of({1, 3})};
  groups[0].rewards.pop_back();
  EXPECT_THROW(compute_advantages(groups, {}), Error);
}

TEST(Objective, refuses_one_sample_where_the_group_is_the_baseline) {
  ObjectiveConfig config;
  for (const auto& [baseline, name] : EnumNames<Baseline>::values) {
    config.baseline = baseline;
    EXPECT_NO_THROW(config.check_step(1, 2));
    if (baseline == Baseline::reinforce_pp)
      EXPECT_NO_THROW(config.check_step(1, 1));
    else
      EXPECT_THROW(config.check_step(1, 1), Error) << name;
  }
  config.minibatches = 4;
  EXPECT_NO_THROW(config.check_step(4, 2));
  EXPECT_THAT(error_of([&] { config.check_step(3, 2); }),
              HasSubstr("objective.minibatches: expected at most prompts_per_step (3), got 4"));
}

TEST(Signal, is_any_difference_of_defined_rewards) {
  EXPECT_TRUE(has_signal(group_of({0, 0, 1})));
  EXPECT_FALSE(has_signal(group_of({1, 1, 1})));
  EXPECT_FALSE(has_signal(group_of({1, kNanD, 1})));
  EXPECT_FALSE(has_signal(group_of({1})));
  EXPECT_FALSE(has_signal(group_of({})));
  EXPECT_TRUE(has_signal(group_of({kNanD, 1, 1.0 + 1e-12})));
  EXPECT_TRUE(has_signal(group_of({0, 1e-300})));
  EXPECT_FALSE(has_signal(group_of({0.1 + 0.2, 0.3})));
  Group cancelling = group_of({0.1 + 0.2 - 0.3, 0});  // equal but for the rounding of the scores they are sums of
  EXPECT_TRUE(has_signal(cancelling));
  cancelling.scores = {{{"a", 0.1}, {"b", 0.2}, {"c", -0.3}}, {{"a", 0.3}, {"b", 0.0}, {"c", -0.3}}};
  EXPECT_FALSE(has_signal(cancelling));
}

/// Four completions with two rewards each; the last of the second is undefined.
Group group_of_two_rewards(const std::vector<double>& first, const std::vector<double>& second) {
  Group group = group_of(first);
  group.weights = {{"first", 1.0}, {"second", 0.5}, {"absent", 3.0}};
  for (std::size_t i = 0; i < first.size(); ++i) {
    const Score of = std::isnan(second[i]) ? Score::undefined() : Score(second[i]);
    group.scores.push_back({{"first", first[i]}, {"second", of}});
    if (of.defined()) group.rewards[i] += 0.5 * second[i];
  }
  return group;
}

TEST(Advantages, of_rewards_that_are_normalized_one_by_one_weigh_each_by_its_own_spread) {
  ObjectiveConfig config;
  config.normalize_each_reward = true;
  config.unbiased_std = false;
  config.advantage_epsilon = 0;
  config.scale = Scale::none;
  // The first has mean 1 and deviation 1, the second, of three, mean 20 and deviation 10 sqrt(2 / 3).
  std::vector<Group> groups{group_of_two_rewards({0, 2, 0, 2}, {10, 20, 30, kNanD})};
  compute_advantages(groups, config);
  const float d = static_cast<float>(0.5 / std::sqrt(2.0 / 3));
  EXPECT_THAT(groups[0].advantages, Pointwise(FloatNear(1e-6f), {-1 - d, 1.0f, -1 + d, 1.0f}));
  // Over the batch they are whitened; a group of equal rewards is at the mean, which is 0.
  config.scale = Scale::recipe;
  EXPECT_EQ(config.resolved_scale(), Scale::whiten);
  groups.push_back(group_of_two_rewards({1, 1, 1, kNanD}, {2, 2, 2, 2}));
  compute_advantages(groups, config);
  const float w = std::sqrt((4 + 2 * d * d) / 7);
  EXPECT_THAT(groups[0].advantages, Pointwise(FloatNear(1e-6f), {(-1 - d) / w, 1 / w, (-1 + d) / w, 1 / w}));
  EXPECT_THAT(groups[1].advantages,
              Pointwise(::testing::NanSensitiveFloatNear(1e-6f), {0.0f, 0.0f, 0.0f, kNanF}));
}

TEST(Advantages, of_rewards_that_are_normalized_one_by_one_need_their_scores_and_weights) {
  ObjectiveConfig config;
  config.normalize_each_reward = true;
  std::vector<Group> groups{group_of({1, 2})};
  EXPECT_THAT(error_of([&] { compute_advantages(groups, config); }), HasSubstr("expected scores of 2 completions"));
}

TEST(Signal, of_each_reward_is_there_where_the_sum_hides_it) {
  const Group cancelling = group_of_two_rewards({0, 1}, {2, 0});  // both sum to 1
  EXPECT_FALSE(has_signal(cancelling));
  EXPECT_TRUE(has_signal(cancelling, true));
  EXPECT_FALSE(has_signal(group_of_two_rewards({1, 1}, {2, 2}), true));
  Group unweighted = cancelling;
  unweighted.weights = {{"first", 0.0}};
  EXPECT_FALSE(has_signal(unweighted, true));
}

class Counted : public ::testing::Test {
 protected:
  Counted() {
    groups = {group_of({1, 2}, 3), group_of({3, kNanD}, 5)};
    groups[1].completions[0].finish = Finish::length;
    compute_advantages(groups, config);
  }
  ObjectiveConfig config;
  std::vector<Group> groups;
};

TEST_F(Counted, completions_without_advantage_count_nowhere) {
  const Normalizer normalizer = count(groups, groups, config);
  EXPECT_EQ(normalizer.tokens, 3 + 3 + 5);
  EXPECT_EQ(normalizer.sequences, 3);
  EXPECT_FALSE(enters_loss(groups[1], 1, config));
  EXPECT_TRUE(enters_loss(groups[1], 0, config));
}

TEST_F(Counted, masked_completions_bring_no_tokens_but_are_sequences) {
  config.mask_truncated = true;
  const Normalizer normalizer = count(groups, groups, config);
  EXPECT_EQ(normalizer.tokens, 3 + 3);
  EXPECT_EQ(normalizer.sequences, 3);
  EXPECT_FALSE(enters_loss(groups[1], 0, config));
}

TEST_F(Counted, dapo_and_cispo_spread_the_tokens_of_the_rollout) {
  const std::span<const Group> first(groups.data(), 1);
  EXPECT_EQ(count(first, groups, config).tokens, 6);
  config.loss = Loss::bnpo;
  EXPECT_EQ(count(first, groups, config).tokens, 6);
  config.loss = Loss::dapo;
  EXPECT_EQ(count(first, groups, config).tokens, 5.5);
  config.loss = Loss::cispo;
  EXPECT_EQ(count(first, groups, config).tokens, 5.5);
}

}  // namespace
}  // namespace grpo
