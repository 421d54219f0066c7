// What routers record, and how the experts' load is evened out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "error_of.h"
#include "policies.h"

namespace grpo {
namespace {

using ::testing::HasSubstr;

Tensor selection_bias(const Policy& policy, int layer) {
  for (const auto& [name, tensor] : policy.state())
    if (name == "model.layers." + std::to_string(layer) + ".mlp.gate.e_score_correction_bias") return tensor;
  return {};
}

TEST(Balance, moves_each_bias_by_the_rate_against_its_experts_load) {
  Policy policy(moe_config(), 1);
  policy.balance({at::tensor({10, 0, 5, 4, 6, 1, 1, 1, 1, 1}, at::kLong).view({2, 5}), {}}, 0.25);
  EXPECT_TRUE(at::equal(selection_bias(policy, 0), at::tensor({-0.25f, 0.25f, 0.f, 0.25f, -0.25f})));
  EXPECT_TRUE(at::equal(selection_bias(policy, 1), at::zeros({5})));
  const Tensor load = at::tensor({0, 5, 5, 5, 10, 0, 0, 0, 0, 0}, at::kLong).view({2, 5});  // the second saw nothing
  policy.balance({load, {}}, 0.25);
  EXPECT_TRUE(at::equal(selection_bias(policy, 0), at::tensor({0.f, 0.25f, 0.f, 0.25f, -0.5f})));
}

TEST(Balance, evens_out_a_skewed_load) {
  at::NoGradGuard guard;
  Policy policy(moe_config(), 4);
  NamedTensors skewed = policy.state();
  for (auto& [name, tensor] : skewed)
    if (name.find("correction_bias") != std::string::npos) tensor = at::tensor({1.f, 0.5f, 0.f, 0.f, 0.f});
  policy.load_state(skewed);
  at::manual_seed(2);
  const Pass batch = pass_of(random_tokens({60, 60}), {-1, -1});
  const auto load = [&] {
    RouterRecord record;
    policy.hidden(batch, nullptr, &record);
    return record;
  };
  EXPECT_NEAR(load().max_load(), 2.5, 1e-9);  // all tokens choose expert 0: one of two choices, over a fifth
  for (int update = 0; update < 120; ++update) policy.balance(load(), 0.02);
  EXPECT_LT(load().max_load(), 1.4);
}

TEST(RouterRecord, adds_up_over_passes_and_finds_the_largest_load) {
  const Policy policy(moe_config(), 1);
  RouterRecord record;
  EXPECT_TRUE(std::isnan(record.max_load()));
  policy.hidden(pass_of({{1, 2, 3}}, {-1}), nullptr, &record);
  policy.hidden(pass_of({{4, 5}}, {-1}), nullptr, &record);
  EXPECT_TRUE(record.load.sum(-1).eq(5 * 2).all().item<bool>());
  record.load = at::tensor({4, 4, 4, 3, 9, 0, 0, 0, 0}, at::kLong).view({3, 3});
  EXPECT_DOUBLE_EQ(record.max_load(), 9.0 * 3 / 12);
  EXPECT_FALSE(record.auxiliary_loss.defined());  // coefficient 0

  PolicyConfig config = moe_config();
  config.moe.auxiliary_loss = 0.5;
  const Policy balanced(config, 1);
  RouterRecord whole{{}, {}, 5}, parts = whole, unasked;
  balanced.hidden(pass_of({{1, 2, 3}, {4, 5}}, {-1, -1}), nullptr, &whole);
  balanced.hidden(pass_of({{1, 2, 3}}, {-1}), nullptr, &parts);
  balanced.hidden(pass_of({{4, 5}}, {-1}), nullptr, &parts);
  EXPECT_NEAR(parts.auxiliary_loss.item<double>(), whole.auxiliary_loss.item<double>(), 1e-7);
  EXPECT_GT(whole.auxiliary_loss.item<double>(), 2 * 0.5 * 0.99) << "at least 1 a layer, of evenly loaded experts";
  balanced.hidden(pass_of({{1, 2, 3}}, {-1}), nullptr, &unasked);
  EXPECT_FALSE(unasked.auxiliary_loss.defined());
}

TEST(PolicyRefuses, the_record_of_another_policy) {
  Policy policy = lively(moe_config(), DType::float32);
  RouterRecord record;
  policy.hidden(pass_of({{1, 2, 3}}, {-1}), nullptr, &record);
  EXPECT_EQ(error_of([&] { policy.balance(record, 0.1); }), "(no error)");
  for (const Tensor& load : {at::zeros({3, 5}), record.load.slice(1, 0, 1)})
    EXPECT_THAT(error_of([&] { policy.balance({load, {}}, 0.1); }), HasSubstr("expected loads [MoE layers, experts]"));
}

}  // namespace
}  // namespace grpo
