// The promise behind everything else: the log-probability stored when a token was drawn and the one that the update's
// own forward computes are the same bits, and so are the entropies.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "tiny.h"
#include "tokens_seen.h"

namespace grpo {
namespace {

struct Kind {
  DType dtype;
  bool moe, qk_norm_and_bias;
};

std::string name_of(const testing::TestParamInfo<Kind>& info) {
  return std::string(enum_name(info.param.dtype)) + (info.param.moe ? "_moe" : "_dense") +
         (info.param.qk_norm_and_bias ? "_qk_norm_and_bias" : "");
}

PolicyConfig config_of(const Kind& kind) { return tiny::policy_config(kind.dtype, kind.moe, kind.qk_norm_and_bias); }

OptimizerConfig optimizer() {
  OptimizerConfig config;
  config.learning_rate = 1e-3;
  return config;
}

constexpr double bias_update_rate = 0.01;  // routing changes between the steps, too

int64_t tokens_in(const std::vector<Group>& groups) {
  int64_t tokens = 0;
  for (const Group& group : groups)
    for (const Completion& completion : group.completions) tokens += static_cast<int64_t>(completion.tokens.size());
  return tokens;
}

class Parity : public testing::TestWithParam<Kind> {};

TEST_P(Parity, is_exact_before_every_first_update_however_sampling_and_training_are_batched) {
  Policy policy = tiny::policy(config_of(GetParam()));
  const auto tasks = tiny::tasks(5);
  SamplingConfig plain, cool, top_k, top_p, min_p;
  cool.temperature = 0.7;
  top_k.top_k = 5;
  top_p.top_p = 0.8;
  top_p.temperature = 1.3;
  min_p.min_p = 0.1;
  uint64_t step = 0;
  for (const SamplingConfig& sampling : {plain, cool, top_k, top_p, min_p})
    // One completion a pass, groups cut in the middle, everything in one pass.
    for (const int micro_batch_tokens : step % 4 == 0 ? std::array{1, 100000} : std::array{70, 100000}) {
      SCOPED_TRACE("temperature " + std::to_string(sampling.temperature) + ", top_k " + std::to_string(sampling.top_k) +
                   ", top_p " + std::to_string(sampling.top_p) + ", min_p " + std::to_string(sampling.min_p) +
                   ", micro_batch_tokens " + std::to_string(micro_batch_tokens));
      RolloutConfig settings = tiny::rollout_config();
      settings.sampling = sampling;
      if (step % 3 == 1) settings.max_running_sequences = 3, settings.max_batch_tokens = 11;
      if (step % 3 == 2) settings.pages = 6, settings.ignore_eos = true;
      Rollout rollout = tiny::rollout(policy, settings);
      ObjectiveConfig objective;
      objective.top_entropy = 0.5;  // has the entropies compared, too
      Trainer trainer(policy, objective, optimizer(), sampling.temperature, {micro_batch_tokens, bias_update_rate});
      auto groups = rollout.generate(tasks, {7, Purpose::rollout, step, 0});
      EXPECT_EQ(rollout.stats().preemptions > 0, settings.pages == 6);
      tiny::reward(groups);
      const UpdateReport report = trainer.update(groups, static_cast<int64_t>(step));
      EXPECT_EQ(report.ratio_deviation, 0.0);
      EXPECT_EQ(report.mismatch_kl, 0.0);
      EXPECT_EQ(report.entropy_deviation, 0.0);
      EXPECT_TRUE(report.grad_norm > 0 || sampling.truncates());  // of one kept token there is nothing to learn
      EXPECT_EQ(report.skipped_updates, 0);

      ++step;
      if (step > 2) continue;
      // The update has moved the policy, so the same completions are off-policy now: the zeros above are no accident.
      const UpdateReport again = trainer.update(groups, static_cast<int64_t>(step));
      EXPECT_GT(again.ratio_deviation, 0.0);
      EXPECT_GT(again.mismatch_kl, 0.0);
    }
}

TEST_P(Parity, sees_a_single_stored_value_that_is_off_by_one_ulp) {
  // The same weights in every round.
  Policy policy = tiny::policy(config_of(GetParam()));
  OptimizerConfig still = optimizer();
  still.learning_rate = 1e-30;
  Trainer trainer(policy, {}, still, 1.0, {70});
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
  auto groups = rollout.generate(tiny::tasks(4), {7, Purpose::rollout, 0, 0});
  tiny::reward(groups);
  std::vector<float*> values;
  for (Group& group : groups)
    for (Completion& completion : group.completions)
      for (float& value : completion.logprobs) values.push_back(&value);
  const auto [most, least] =
      std::minmax_element(values.begin(), values.end(), [](float* a, float* b) { return *a < *b; });
  for (float* value : {*most, *least, values[values.size() / 2]})
    for (const float direction : {-1e9f, 1e9f}) {
      const float stored = *value;
      EXPECT_EQ(trainer.update(groups, 0).ratio_deviation, 0.0);
      *value = std::nextafter(stored, direction);
      const UpdateReport report = trainer.update(groups, 0);
      EXPECT_GT(report.ratio_deviation, 0.0) << stored;
      EXPECT_LT(report.ratio_deviation, 1e-5) << stored;
      EXPECT_NE(report.mismatch_kl, 0.0) << stored;
      *value = stored;
    }
}

INSTANTIATE_TEST_SUITE_P(Policies, Parity,
                         testing::Values(Kind{DType::float32, false, false}, Kind{DType::float32, false, true},
                                         Kind{DType::float32, true, false}, Kind{DType::float32, true, true},
                                         Kind{DType::bfloat16, false, false}, Kind{DType::bfloat16, false, true},
                                         Kind{DType::bfloat16, true, false}, Kind{DType::bfloat16, true, true}),
                         name_of);

/// Two steps in both dtypes: a prompt beyond a page, completions beyond a key block, small batches.
void expect_parity(PolicyConfig config) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    config.dtype = dtype;
    Policy policy = tiny::policy(config);
    Trainer trainer(policy, {}, optimizer(), 1.0, {90, bias_update_rate});
    RolloutConfig settings = tiny::rollout_config(3, 70);
    settings.ignore_eos = true;
    settings.max_batch_tokens = 40;
    Rollout rollout = tiny::rollout(policy, settings);
    for (uint64_t step = 0; step < 2; ++step) {
      auto groups =
          rollout.generate({tiny::task(std::string(50, 'b')), tiny::task("c")}, {7, Purpose::rollout, step, 0});
      tiny::reward(groups);
      const UpdateReport report = trainer.update(groups, static_cast<int64_t>(step));
      EXPECT_EQ(report.ratio_deviation, 0.0);
      EXPECT_EQ(report.mismatch_kl, 0.0);
      EXPECT_GT(report.grad_norm, 0.0);
    }
  }
}

TEST(Parity, holds_where_the_shapes_of_heads_and_experts_are_odd) {
  PolicyConfig config = tiny::policy_config(DType::float32, true, true);
  config.hidden_size = 30;
  config.heads = 3;
  config.kv_heads = 1;
  config.head_dim = 14;
  config.intermediate_size = 37;
  config.moe.intermediate_size = 11;
  config.moe.experts = 7;
  config.moe.experts_per_token = 3;
  config.moe.shared_experts = 0;
  config.moe.scoring = Scoring::softmax;
  config.moe.auxiliary_loss = 0.01;
  expect_parity(config);
}

TEST(Parity, holds_for_latent_attention_and_groups_of_experts) {
  for (const int q_lora_rank : {0, 12}) {
    PolicyConfig config = tiny::policy_config(DType::float32, true);
    config.attention = Attention::mla;
    config.mla = {q_lora_rank, 18, 10, 6, 7};
    config.heads = 17;  // more than one task takes
    config.rope_interleaved = true;
    config.moe.experts = 8;
    config.moe.groups = 4;
    config.moe.groups_per_token = 2;
    expect_parity(config);
  }
}

TEST(Parity, holds_under_adapters_of_every_projection) {
  PolicyConfig latent = tiny::policy_config(DType::float32, true);
  latent.attention = Attention::mla;
  latent.mla = {12, 18, 10, 6, 7};
  for (PolicyConfig config : {tiny::policy_config(DType::float32, true, true), latent}) {
    config.adapter.rank = 5;
    config.adapter.alpha = 7;  // no power of two between them
    expect_parity(config);
  }
}

TEST(Parity, holds_for_completions_of_a_single_token) {
  Policy policy = tiny::policy();
  Trainer trainer(policy, {}, optimizer());
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config(4, 1));
  auto groups = rollout.generate(tiny::tasks(3), {7, Purpose::rollout, 0, 0});
  tiny::reward(groups);
  const UpdateReport report = trainer.update(groups, 0);
  EXPECT_EQ(report.ratio_deviation, 0.0);
  EXPECT_GT(report.grad_norm, 0.0);
  int64_t prompts = 0;
  for (const Group& group : groups) prompts += static_cast<int64_t>(group.prompt.size());
  EXPECT_EQ(report.tokens, prompts);
}

TEST(Parity, is_measured_for_every_loss) {
  for (const auto& [loss, name] : EnumNames<Loss>::values) {
    SCOPED_TRACE(name);
    Policy policy = tiny::policy();
    ObjectiveConfig objective;
    objective.loss = loss;
    objective.length_constant = 24;
    Trainer trainer(policy, objective, optimizer());
    Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
    auto groups = rollout.generate(tiny::tasks(3), {7, Purpose::rollout, 0, 0});
    tiny::reward(groups);
    EXPECT_EQ(trainer.update(groups, 0).ratio_deviation, 0.0);
    groups[1].completions[2].logprobs[0] = std::nextafter(groups[1].completions[2].logprobs[0], 0.0f);
    EXPECT_GT(trainer.update(groups, 0).ratio_deviation, 0.0);
  }
}

TEST(Parity, needs_no_scoring_pass) {
  Policy policy = tiny::policy(tiny::policy_config(DType::float32, true));
  Trainer trainer(policy, {}, optimizer());
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
  TokensSeen seen;
  auto groups = rollout.generate(tiny::tasks(4), {7, Purpose::rollout, 0, 0});
  const int64_t sampled = seen.take();
  int64_t prompts = 0, completions = 0;
  for (const Group& group : groups)
    prompts += static_cast<int64_t>(group.prompt.size()), completions += static_cast<int64_t>(group.completions.size());
  const int64_t once = prompts + tokens_in(groups) - completions;  // nobody computes the last token of a completion
  EXPECT_EQ(sampled, once);
  tiny::reward(groups);
  const UpdateReport report = trainer.update(groups, 0);
  EXPECT_EQ(report.tokens, once);
  EXPECT_EQ(seen.take(), once);

  // A reference policy has a pass of its own, and the policy still has none beside the update's.
  ObjectiveConfig objective;
  objective.kl = Kl::k3_in_loss;
  objective.kl_coefficient = 0.1;
  Trainer with_reference(policy, objective, optimizer());
  with_reference.update(groups, 1);
  EXPECT_EQ(seen.take(), 2 * once);
}

}  // namespace
}  // namespace grpo
