// Adapters: what is trained of a policy, and what stays.
#include <cmath>
#include <map>

#include "error_of.h"
#include "grpo/policy.h"
#include "op_test.h"
#include "policies.h"

namespace grpo {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::map<std::string, Tensor> by_name(const NamedTensors& tensors) { return {tensors.begin(), tensors.end()}; }

class Adapters : public ::testing::TestWithParam<Kind> {
 protected:
  PolicyConfig config(int rank = 3) const {
    PolicyConfig config = adapted(GetParam().config);
    config.adapter.rank = rank;
    return config;
  }
  Pass batch() const {
    at::manual_seed(5);
    return pass_of(random_tokens({12, 7, 9}), {-1, 0, 0});
  }
};
INSTANTIATE_TEST_SUITE_P(Kind, Adapters,
                         ::testing::Values(Kind{"dressed", dressed_config()}, Kind{"moe", moe_config()},
                                           Kind{"latent", latent_config()}, Kind{"latent_moe", latent_moe_config()}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(Adapters, change_nothing_at_first_and_are_all_that_is_trained) {
  const Policy whole(config(0), 4);
  const Policy policy(config(), 4);
  EXPECT_TRUE(at::equal(policy.hidden(batch()), whole.hidden(batch())));
  const auto weights = by_name(policy.weights()), expected = by_name(whole.weights());
  ASSERT_EQ(weights.size(), expected.size());
  for (const auto& [name, tensor] : expected) EXPECT_TRUE(same_bits(weights.at(name), tensor)) << name;
  EXPECT_EQ(policy.frozen().size(), whole.parameters().size());
  EXPECT_TRUE(whole.frozen().empty());
  EXPECT_TRUE(whole.adapters().empty());

  int64_t trained = 0, active = 0;  // the latter of one token
  for (const auto& [name, tensor] : policy.parameters()) {
    trained += tensor.numel();
    active += tensor.dim() == 3 ? tensor[0].numel() * config().moe.experts_per_token : tensor.numel();
    EXPECT_TRUE(tensor.requires_grad());
    if (name.ends_with(".lora_B")) {
      EXPECT_EQ(tensor.abs().max().item<float>(), 0) << name;
      continue;
    }
    ASSERT_TRUE(name.ends_with(".lora_A")) << name;
    const double bound = 1 / std::sqrt(static_cast<double>(tensor.size(-1)));
    EXPECT_LE(tensor.abs().max().item<double>(), bound) << name;
    EXPECT_NEAR(tensor.std().item<double>(), bound / std::sqrt(3.0), 0.3 * bound) << name;
    EXPECT_NEAR(tensor.mean().item<double>(), 0, 0.3 * bound) << name;
  }
  EXPECT_EQ(policy.parameter_count(), whole.parameter_count() + trained);
  EXPECT_EQ(policy.active_count(), whole.active_count() + active);
  EXPECT_THAT(policy.describe(), HasSubstr("of them in adapters of rank 3"));

  // Of the weights only what lies in a checkpoint's state could ever change.
  policy.hidden(batch()).sum().backward();
  for (const auto& [name, tensor] : policy.frozen()) EXPECT_FALSE(tensor.requires_grad()) << name;
  for (const auto& [name, tensor] : policy.state())
    EXPECT_TRUE(name.find(".lora_") != std::string::npos || name.ends_with("correction_bias")) << name;
}

TEST_P(Adapters, are_a_pure_function_of_seed_and_place) {
  const Policy one(config(), 4), same(config(), 4), other(config(), 5);
  const auto a = by_name(one.state()), b = by_name(same.state()), c = by_name(other.state());
  PolicyConfig fewer = config();
  fewer.adapter.targets = {"o_proj"};
  const auto alone = by_name(Policy(fewer, 4).state());
  for (const auto& [name, tensor] : a) {
    EXPECT_TRUE(same_bits(tensor, b.at(name))) << name;
    EXPECT_EQ(same_bits(tensor, c.at(name)), !name.ends_with(".lora_A")) << name;
    if (name.find(".o_proj.") == std::string::npos) continue;
    EXPECT_TRUE(same_bits(tensor, alone.at(name))) << name << ", whatever else has an adapter";
  }
}

TEST_P(Adapters, lie_on_the_very_weights_that_they_are_put_on) {
  Policy base(config(0), 4);
  std::map<std::string, const void*> memory;
  for (const auto& [name, tensor] : base.weights()) memory[name] = tensor.data_ptr();
  const Policy policy = std::move(base).adapted(config().adapter, 4);
  for (const auto& [name, tensor] : policy.weights()) EXPECT_EQ(tensor.data_ptr(), memory.at(name)) << name;
  EXPECT_TRUE(at::equal(policy.hidden(batch()), Policy(config(), 4).hidden(batch())));
  EXPECT_ERROR(Policy(config(), 4).adapted(config().adapter, 4), "expected a policy without an adapter");
}

// A reference policy, or a judge, costs no second copy of the weights.
TEST_P(Adapters, share_what_is_frozen_with_their_snapshots) {
  Policy policy = lively(config(), DType::float32);
  const Policy copy = policy.snapshot();
  const Tensor before = policy.hidden(batch());
  EXPECT_TRUE(same_bits(copy.hidden(batch()), before));
  const auto ours = by_name(policy.frozen());
  for (const auto& [name, tensor] : copy.frozen()) EXPECT_EQ(tensor.data_ptr(), ours.at(name).data_ptr()) << name;
  const auto state = by_name(policy.state());
  for (const auto& [name, tensor] : copy.state()) EXPECT_NE(tensor.data_ptr(), state.at(name).data_ptr()) << name;
  for (const auto& [name, tensor] : copy.parameters()) EXPECT_FALSE(tensor.requires_grad()) << name;
  for (const auto& [name, tensor] : policy.parameters()) EXPECT_TRUE(tensor.requires_grad()) << name;

  NamedTensors moved;
  for (const auto& [name, tensor] : policy.state()) moved.emplace_back(name, tensor + 0.25);
  policy.load_state(moved);
  EXPECT_FALSE(same_bits(policy.hidden(batch()), before));
  EXPECT_TRUE(same_bits(copy.hidden(batch()), before)) << "selection biases, too, are its own";
  Policy back = policy.snapshot();
  back.copy_from(copy);
  EXPECT_TRUE(same_bits(back.hidden(batch()), before));
  EXPECT_EQ(back.version(), copy.version());
  EXPECT_ERROR(back.copy_from(Policy(config(), 9)), "expected a policy with the same frozen weights");
  EXPECT_ERROR(back.copy_from(Policy(config(0), 9)), "expected a policy with the same frozen weights");
  EXPECT_TRUE(same_bits(back.hidden(batch()), before));
}

TEST(AdapterTargets, that_no_projection_has_are_refused) {
  const auto refusal = [](PolicyConfig config, std::vector<std::string> targets) {
    return error_of([&] { Policy(adapted(config, std::move(targets)), 1); });
  };
  EXPECT_EQ(refusal(latent_moe_config(), {"q_a_proj", "kv_b_proj"}), "(no error)");
  EXPECT_THAT(refusal(dense_config(), {"q_proj", "q_a_proj"}),
              HasSubstr("policy.adapter.targets: expected projections that the model has, got \"q_a_proj\""));
  EXPECT_THAT(refusal(dense_config(), {"q_proj", "kv_a_proj_with_mqa"}), HasSubstr("got \"kv_a_proj_with_mqa\""));
  EXPECT_THAT(refusal(dense_config(), {"experts"}), HasSubstr("it has none of these"));
  PolicyConfig routed = moe_config();
  routed.moe.shared_experts = 0;
  EXPECT_THAT(refusal(routed, {"gate_proj"}), HasSubstr("got \"gate_proj\""));
  EXPECT_THAT(refusal(dense_config(), {}), HasSubstr("targets: expected projections that have an adapter, got none"));
  EXPECT_THAT(refusal(dense_config(), {"lm_head"}), AllOf(HasSubstr("policy.adapter.targets.0"), HasSubstr("lm_head")));
}

}  // namespace
}  // namespace grpo
