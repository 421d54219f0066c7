// What the objective asks of the trainer beside its gradient: a reference, entropies, advantages.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tokens_seen.h"
#include "trainer_test.h"

namespace grpo {
namespace {

using testing::HasSubstr;

TEST(Trainer, has_a_reference_only_with_kl_which_starts_at_0_and_is_refreshed_when_asked) {
  Policy policy = tiny::policy();
  EXPECT_EQ(Trainer(policy, {}, gradient_probe()).reference(), nullptr);
  EXPECT_FALSE(Trainer(policy, {}, gradient_probe())
                   .update(*std::make_unique<std::vector<Group>>(scored_groups(policy)), 0)
                   .kl.has_value());
  for (const Kl kl : {Kl::k1_in_reward, Kl::k2_in_loss, Kl::k3_in_loss})
    for (const int refresh : {0, 2}) {
      SCOPED_TRACE(std::string(enum_name(kl)) + ", refresh " + std::to_string(refresh));
      Policy learner = tiny::policy();
      ObjectiveConfig objective;
      objective.kl = kl;
      objective.kl_coefficient = 0.05;
      objective.reference_refresh_steps = refresh;
      Trainer trainer(learner, objective, gradient_probe(), 1.0, {80});
      ASSERT_NE(trainer.reference(), nullptr);
      const NamedTensors start = copy_of(learner.state());
      std::vector<double> kls;
      for (int64_t step = 0; step < 4; ++step) {
        auto groups = scored_groups(learner, static_cast<uint64_t>(step));
        const UpdateReport report = trainer.update(groups, step);
        ASSERT_TRUE(report.kl.has_value());
        kls.push_back(*report.kl);
        EXPECT_EQ(report.ratio_deviation, 0.0);
      }
      EXPECT_EQ(kls[0], 0.0);
      EXPECT_NE(kls[1], 0.0);
      EXPECT_EQ(kls[2] == 0.0, refresh == 2);
      EXPECT_NE(kls[3], 0.0);
      EXPECT_EQ(same(trainer.reference()->state(), start), refresh == 0);
      for (const auto& [name, tensor] : trainer.reference()->parameters()) EXPECT_FALSE(tensor.requires_grad());
    }
}

TEST(Trainer, mixes_the_policy_into_the_reference) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    Policy policy = tiny::policy(tiny::policy_config(dtype));
    ObjectiveConfig objective;
    objective.kl = Kl::k3_in_loss, objective.kl_coefficient = 0.05;
    objective.reference_refresh_steps = 1, objective.reference_mixup = 0.25;
    OptimizerConfig optimizer = gradient_probe();
    optimizer.learning_rate = 0.05;
    Trainer trainer(policy, objective, optimizer);
    const NamedTensors before = copy_of(policy.state());
    auto groups = scored_groups(policy);
    trainer.update(groups, 0);
    EXPECT_TRUE(same(trainer.reference()->state(), before)) << "the first step has nothing to mix";
    const NamedTensors after = copy_of(policy.state());
    auto fresh = scored_groups(policy, 1);
    trainer.update(fresh, 1);
    const NamedTensors mixed = trainer.reference()->state();
    for (size_t i = 0; i < mixed.size(); ++i) {
      const at::Tensor expected = 0.75 * before[i].second.to(at::kDouble) + 0.25 * after[i].second.to(at::kDouble);
      const double rounding = dtype == DType::float32 ? 1e-6 : 0.004;
      EXPECT_TRUE(at::allclose(mixed[i].second.to(at::kDouble), expected, rounding, 1e-7)) << mixed[i].first;
    }
  }
}

TEST(Trainer, keeps_the_tokens_of_high_entropy) {
  Policy policy = tiny::policy(), twin = tiny::policy();
  ObjectiveConfig objective;
  objective.top_entropy = 0.3;
  auto groups = scored_groups(policy), same_groups = groups;
  const UpdateReport some = Trainer(policy, objective, gradient_probe()).update(groups, 0);
  const UpdateReport all = Trainer(twin, {}, gradient_probe()).update(same_groups, 0);
  ASSERT_TRUE(some.masked_fraction.has_value());
  EXPECT_NEAR(*some.masked_fraction, 0.7, 0.02);
  EXPECT_FALSE(all.masked_fraction.has_value());
  EXPECT_EQ(some.entropy, all.entropy);
  EXPECT_NE(some.grad_norm, all.grad_norm);
}

TEST(Trainer, has_entropies_from_the_sampler_and_behind_an_update_from_a_forward_pass_more) {
  ObjectiveConfig objective;
  objective.top_entropy = 0.3;
  objective.epochs = 2;
  Policy policy = tiny::policy(), twin = tiny::policy(), other = tiny::policy();
  auto groups = scored_groups(policy), without = groups, off = groups;
  TokensSeen seen;
  const UpdateReport report = Trainer(policy, objective, gradient_probe()).update(groups, 0);
  EXPECT_EQ(2 * seen.take(), 3 * report.tokens);
  EXPECT_EQ(report.entropy_deviation, 0.0);

  for (Group& group : without)
    for (Completion& completion : group.completions) completion.entropies.clear();
  const UpdateReport same_report = Trainer(twin, objective, gradient_probe()).update(without, 0);
  EXPECT_EQ(seen.take(), 2 * same_report.tokens);
  EXPECT_EQ(same_report.entropy_deviation, std::nullopt);
  EXPECT_TRUE(same(twin.state(), policy.state()));

  float& entropy = off[1].completions[2].entropies[0];
  entropy = std::nextafter(entropy, 0.0f);
  Trainer trainer(other, objective, gradient_probe());
  const UpdateReport strayed = trainer.update(off, 0);
  EXPECT_GT(strayed.entropy_deviation.value(), 0.0);
  EXPECT_LT(strayed.entropy_deviation.value(), 1e-5);
  seen.take();
  EXPECT_EQ(trainer.update(off, 1).entropy_deviation, std::nullopt) << "recorded by other weights";
  EXPECT_EQ(seen.take(), 2 * strayed.tokens);
}

// What tokens take from whole sequences needs the log-probabilities of all of them before any gradient.
std::vector<ObjectiveConfig> of_sequences() {
  std::vector<ObjectiveConfig> all;
  for (const Loss loss : {Loss::gspo, Loss::luspo, Loss::rloo, Loss::vespo}) all.emplace_back().loss = loss;
  all.emplace_back().ratio_level = RatioLevel::sequence_token;
  all.emplace_back().off_policy_threshold = 0.1;
  ObjectiveConfig& much = all.emplace_back();
  much.loss = Loss::gspo, much.top_entropy = 0.4, much.entropy_coefficient = 0.01;
  much.kl = Kl::k3_in_loss, much.kl_coefficient = 0.05, much.kl_ratio_weighted = true;
  return all;
}

TEST(Trainer, has_what_sequences_bring_from_the_sampler_and_behind_an_update_from_the_head_once_more) {
  std::vector<ObjectiveConfig> all = of_sequences();
  all.emplace_back();
  for (const ObjectiveConfig& objective : all) {
    SCOPED_TRACE(dump_config(objective).dump());
    Policy policy = tiny::policy(), twin = tiny::policy();
    Trainer trainer(policy, objective, gradient_probe()), other(twin, objective, gradient_probe());
    auto groups = scored_groups(policy, 0, 8), as_of_others = groups;
    for (Group& group : as_of_others) ++group.policy_version;
    int64_t drawn = 0;  // by two chunks of the head in a pass at least
    for (const Group& group : groups)
      for (const Completion& completion : group.completions) drawn += static_cast<int64_t>(completion.tokens.size());
    ASSERT_GT(drawn, 300);

    TokensSeen scored("token_logprobs");
    const UpdateReport report = trainer.update(groups, 0);
    const int64_t by_reference = trainer.reference() ? drawn : 0;
    EXPECT_EQ(scored.take(), by_reference) << "the head is gone through once";
    const UpdateReport same_report = other.update(as_of_others, 0);
    const int64_t ahead = (objective.is_by_token() ? 0 : drawn) + (objective.top_entropy < 1 ? drawn : 0);
    EXPECT_EQ(scored.take(), by_reference + ahead);

    for (const auto& [name, gradient] : gradients(other)) EXPECT_TRUE(gradients(trainer).at(name).equal(gradient));
    EXPECT_TRUE(same(policy.state(), twin.state()));
    EXPECT_GT(report.grad_norm, 0.0);
    EXPECT_EQ(report.loss, same_report.loss);
    EXPECT_EQ(report.ratio_deviation, 0.0);
    EXPECT_EQ(report.entropy_deviation.has_value(), objective.top_entropy < 1);

    // By other weights now: the ratios are what they are.
    EXPECT_GT(trainer.update(groups, 1).ratio_deviation, 0.0);
    EXPECT_EQ(scored.take(), by_reference + ahead);
  }
}

TEST(Trainer, tells_of_records_that_whole_sequences_were_taken_from_and_that_differ) {
  for (const ObjectiveConfig& objective : of_sequences()) {
    SCOPED_TRACE(dump_config(objective).dump());
    Policy policy = tiny::policy();
    auto groups = scored_groups(policy);
    groups[1].completions[2].logprobs[0] += 0.25f;
    const UpdateReport report = Trainer(policy, objective, gradient_probe()).update(groups, 0);
    EXPECT_NEAR(report.ratio_deviation, 1 - std::exp(-0.25), 1e-6);
    EXPECT_GT(report.mismatch_kl, 0.0);
  }
}

TEST(Trainer, adapts_the_entropy_bonus_and_goes_on_where_it_was) {
  ObjectiveConfig objective;
  objective.entropy_coefficient = 0.01, objective.entropy_target = 100, objective.entropy_coefficient_step = 0.02;
  objective.minibatches = 2;
  Policy policy = tiny::policy();
  Trainer trainer(policy, objective, gradient_probe());
  auto groups = scored_groups(policy);
  EXPECT_NEAR(*trainer.update(groups, 0).entropy_coefficient, 0.03, 1e-12) << "of the second of two updates";
  Policy copy = tiny::policy();
  copy.copy_from(policy);
  Trainer resumed(copy, objective, gradient_probe());
  resumed.load_state(copy_of(trainer.state()));
  auto next = scored_groups(policy, 1), same_next = next;
  EXPECT_NEAR(*trainer.update(next, 1).entropy_coefficient, 0.07, 1e-12);
  EXPECT_NEAR(*resumed.update(same_next, 1).entropy_coefficient, 0.07, 1e-12);
  EXPECT_TRUE(same(resumed.state(), trainer.state()));
  EXPECT_TRUE(same(copy.state(), policy.state()));

  // One that adapts starts anew from a state without a coefficient; one that does not has no use for it.
  Policy another = tiny::policy();
  Trainer fixed(another, {}, gradient_probe());
  fixed.load_state(trainer.state());
  EXPECT_EQ(fixed.update(next, 2).entropy_coefficient, std::nullopt);
  resumed.load_state(fixed.state());
  EXPECT_NEAR(*resumed.update(next, 3).entropy_coefficient, 0.03, 1e-12);

  NamedTensors damaged = trainer.state();
  damaged.back().second = at::zeros({3}, at::kDouble);
  EXPECT_THAT(error_of([&] { resumed.load_state(damaged); }), HasSubstr("entropy_control: expected float64 [2]"));
}

TEST(Trainer, counts_the_groups_without_signal_by_what_their_advantages_are_made_from) {
  for (const bool each_reward : {false, true}) {
    Policy policy = tiny::policy();
    ObjectiveConfig objective;
    objective.normalize_each_reward = each_reward;
    auto groups = scored_groups(policy);
    for (size_t g = 0; g < groups.size(); ++g) {  // two differ in their sums, one in its scores alone, one not at all
      groups[g].weights = {{"first", 1}, {"second", 1}};
      groups[g].rewards = std::vector<double>(4, 1), groups[g].scores.assign(4, {{"first", 0.5}, {"second", 0.5}});
      if (g < 2) groups[g].rewards[0] = 1.5, groups[g].scores[0] = {{"first", 1}, {"second", 0.5}};
      if (g == 2) groups[g].scores[0] = {{"first", 0}, {"second", 1}};
    }
    EXPECT_EQ(Trainer(policy, objective, gradient_probe()).update(groups, 0).flat_groups, each_reward ? 1 : 2);
  }
}

TEST(Trainer, puts_the_divergence_into_the_reward_by_what_each_completion_strayed) {
  Policy policy = tiny::policy();
  ObjectiveConfig objective;
  objective.kl = Kl::k1_in_reward;
  objective.kl_coefficient = 0.5;
  objective.scale = Scale::none;
  Trainer trainer(policy, objective, gradient_probe());
  auto groups = scored_groups(policy);
  for (Group& group : groups) group.rewards.assign(4, 1.0);
  trainer.update(groups, 0);
  for (const Group& group : groups) EXPECT_EQ(group.advantages, (std::vector<float>{0, 0, 0, 0}));
  // One completion is made 0.1 nats more likely than the reference holds it: it pays 0.5 * 0.1, and the group's mean
  // moves.
  auto fresh = scored_groups(policy);
  for (Group& group : fresh) group.rewards.assign(4, 1.0);
  fresh[1].completions[2].logprobs[0] += 0.1f;
  trainer.update(fresh, 1);
  EXPECT_NEAR(fresh[1].advantages[2], -0.05 * 3 / 4, 1e-6);
  EXPECT_NEAR(fresh[1].advantages[0], 0.05 / 4, 1e-6);
  EXPECT_EQ(fresh[0].advantages[2], 0.0f);
}

}  // namespace
}  // namespace grpo
