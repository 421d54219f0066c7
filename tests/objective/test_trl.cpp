// The advantages, losses and gradients of TRL's trainers (scripts/make_trl_fixtures.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>
#include <vector>

#include "rollouts.h"

namespace grpo {
namespace {

using ::testing::Pointwise;

struct PrintedCase {
  const json* stored;
};
void PrintTo(const PrintedCase& c, std::ostream* out) { *out << (*c.stored)["name"] << " #" << (*c.stored)["rollout"]; }

class Trl : public ::testing::TestWithParam<PrintedCase> {
 protected:
  Trl() : stored(*GetParam().stored), rollout(read_rollout(fixture()["rollouts"][stored["rollout"].get<int>()])) {
    load_json(config, stored["config"], "fixture");
    std::vector<std::vector<double>> reward_kl;
    if (config.kl == Kl::k1_in_reward) {
      const std::size_t group_size = rollout.groups[0].completions.size();
      for (std::size_t row = 0; row < rollout.lengths.size(); ++row) {
        if (row % group_size == 0) reward_kl.emplace_back();
        double sum = 0;
        for (std::size_t t = 0; t < rollout.rows["old"][row].size(); ++t)
          sum += rollout.rows["old"][row][t] - rollout.rows["reference"][row][t];
        reward_kl.back().push_back(sum);
      }
    }
    compute_advantages(rollout.groups, config, reward_kl);
  }
  const json& stored;
  ObjectiveConfig config;
  Rollout rollout;
};

TEST_P(Trl, gives_the_same_advantages) {
  std::vector<float> ours;
  for (const Group& group : rollout.groups)
    for (std::size_t i = 0; i < group.advantages.size(); ++i) {
      EXPECT_TRUE(std::isnan(group.advantages[i]) || !std::isnan(group.rewards[i]));
      ours.push_back(std::isnan(group.advantages[i]) ? 0.0f : group.advantages[i]);  // TRL writes 0
    }
  EXPECT_THAT(ours, Pointwise(::testing::FloatNear(1e-5f), stored["expected"]["advantages"].get<std::vector<float>>()));
}

TEST_P(Trl, gives_the_same_loss_and_gradient) {
  const json& expected = stored["expected"];
  if (!expected.contains("losses")) return;  // a case about advantages
  const Result result = evaluate(rollout, config, stored["on_policy"], stored["minibatches"], whole);
  EXPECT_THAT(result.losses, Pointwise(::testing::DoubleNear(2e-6), expected["losses"].get<std::vector<double>>()));
  EXPECT_THAT(joined(result.gradient),
              Pointwise(::testing::DoubleNear(1e-6), expected["gradient"].get<std::vector<double>>()));
  if (expected.contains("entropy_gradient")) {
    EXPECT_THAT(joined(result.entropy_gradient),
                Pointwise(::testing::DoubleNear(1e-7), expected["entropy_gradient"].get<std::vector<double>>()));
  }
  if (stored["on_policy"]) {
    EXPECT_EQ(result.metrics.ratio_deviation, 0.0);
    EXPECT_EQ(result.metrics.mismatch_kl_sum, 0.0);
    EXPECT_EQ(result.metrics.clipped_tokens, 0.0);
  } else if (stored["rollout"] == 1 && config.loss != Loss::sapo && config.loss != Loss::vespo &&
             config.top_entropy == 1) {  // far enough off policy for the clipping to matter
    EXPECT_GT(result.metrics.clipped_tokens, 0.0);
    EXPECT_LT(result.metrics.clipped_tokens, result.metrics.tokens);
  }
}

std::vector<PrintedCase> trl_cases() {
  std::vector<PrintedCase> cases;
  for (const json& stored : fixture()["cases"]) cases.push_back({&stored});
  return cases;
}
INSTANTIATE_TEST_SUITE_P(, Trl, ::testing::ValuesIn(trl_cases()));

}  // namespace
}  // namespace grpo
