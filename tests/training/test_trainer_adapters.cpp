// Training an adapter in place of the weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "trainer_test.h"

namespace grpo {
namespace {

PolicyConfig adapted(DType dtype, bool moe, bool latent = false) {
  PolicyConfig config = tiny::policy_config(dtype, moe);
  if (latent) config.attention = Attention::mla, config.mla = {12, 16, 8, 8, 8};
  config.adapter.rank = 4;
  config.adapter.alpha = 6;
  return config;
}

TEST(TrainerOfAdapters, trains_them_alone_and_leaves_the_weights_as_they_are) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    Policy policy = tiny::policy(adapted(dtype, true));
    const NamedTensors frozen = copy_of(policy.frozen()), before = copy_of(policy.state());
    Trainer trainer(policy, {}, gradient_probe(), 1.0, {80, 0.01});
    auto groups = scored_groups(policy);
    const UpdateReport report = trainer.update(groups, 0);
    EXPECT_EQ(report.ratio_deviation, 0.0);
    EXPECT_GT(report.grad_norm, 0.0);
    EXPECT_TRUE(same(policy.frozen(), frozen));
    const NamedTensors after = policy.state();
    for (size_t i = 0; i < before.size(); ++i) {  // selection biases, too: bias_update_rate is not 0
      EXPECT_FALSE(before[i].second.equal(after[i].second)) << before[i].first;
    }
    // Moments and masters of the adapter, and of nothing else: what it costs goes by its size alone.
    int64_t trained = 0, kept = 0;
    for (const auto& [name, tensor] : policy.parameters()) trained += tensor.numel();
    for (const auto& [name, tensor] : trainer.state()) kept += tensor.dim() > 0 ? tensor.numel() : 0;
    EXPECT_EQ(kept, trained * (dtype == DType::bfloat16 ? 3 : 2));
    EXPECT_EQ(Gradients(policy.parameters()).parameters().size(), 2 * policy.adapters().size());
  }
}

// ∂loss/∂B = scale·∂loss/∂W·Aᵀ and ∂loss/∂A = scale·Bᵀ·∂loss/∂W, with the gradient of the weights W + scale·B·A.
TEST(TrainerOfAdapters, takes_the_gradient_that_the_merged_weights_would_get) {
  for (const bool latent : {false, true})
    for (const bool moe : {false, true}) {
      SCOPED_TRACE(std::string(latent ? "latent " : "") + (moe ? "moe" : "dense"));
      Policy policy = tiny::policy(adapted(DType::float32, moe, latent));
      const auto groups = scored_groups(policy);
      const auto gradients_of = [&](Policy& of) {
        Trainer trainer(of, {}, gradient_probe(), 1.0, {60});
        auto some = groups;
        trainer.update(some, 0);
        return gradients(trainer);
      };
      PolicyConfig config = policy.config();
      config.adapter = {};
      Policy whole(config, 1);
      NamedTensors merged_state = copy_of(policy.weights());
      struct Rows {
        std::string weight;
        int64_t first, count;
        at::Tensor a, b;
      };
      std::vector<Rows> parts;
      for (auto& [name, tensor] : merged_state) {
        const auto found = policy.adapters().find(name);
        if (found == policy.adapters().end()) continue;
        int64_t row = 0;
        for (size_t i = 0; i < found->second.parts.size(); ++i) {
          const auto [a, b] = found->second.factors(i);
          const int64_t rows = found->second.parts[i].rows;
          tensor.narrow(-2, row, rows).add_(at::matmul(b.detach(), a.detach()) * 1.5);
          parts.push_back({name, row, rows, a.detach().clone(), b.detach().clone()});
          row += rows;
        }
      }
      whole.load_state(merged_state);
      const auto of_weights = gradients_of(whole), of_adapter = gradients_of(policy);
      std::map<std::string, at::Tensor> expected;
      for (const Rows& part : parts) {
        const at::Tensor g = of_weights.at(part.weight).narrow(-2, part.first, part.count);
        const std::string stem = part.weight.substr(0, part.weight.size() - (part.weight.ends_with(".weight") ? 7 : 0));
        for (const auto& [name, gradient] :
             {std::pair(stem + ".lora_A", at::matmul(part.b.transpose(-1, -2), g) * 1.5),
              std::pair(stem + ".lora_B", at::matmul(g, part.a.transpose(-1, -2)) * 1.5)}) {
          at::Tensor& all = expected[name];
          all = all.defined() ? at::cat({all, gradient}, -2) : gradient;
        }
      }
      ASSERT_EQ(of_adapter.size(), expected.size());
      EXPECT_LT(relative_difference(of_adapter, expected), 1e-4);
      for (const auto& [name, gradient] : of_adapter) {
        const double size = expected.at(name).norm().item<double>();
        EXPECT_LT((gradient - expected.at(name)).norm().item<double>(), 2e-3 * size + 1e-7) << name;
      }
    }
}

TEST(TrainerOfAdapters, measures_the_divergence_from_the_model_without_a_second_copy_of_it) {
  PolicyConfig config = adapted(DType::float32, true);
  Policy policy(config, 3);
  ObjectiveConfig objective;
  objective.kl = Kl::k3_in_loss, objective.kl_coefficient = 0.05;
  OptimizerConfig optimizer = gradient_probe();
  optimizer.learning_rate = 0.05;
  Trainer trainer(policy, objective, optimizer);
  ASSERT_NE(trainer.reference(), nullptr);
  const NamedTensors ours = policy.frozen(), theirs = trainer.reference()->frozen();
  ASSERT_EQ(ours.size(), theirs.size());
  for (size_t i = 0; i < ours.size(); ++i) EXPECT_EQ(ours[i].second.data_ptr(), theirs[i].second.data_ptr());
  for (int64_t step = 0; step < 3; ++step) {
    auto groups = scored_groups(policy, static_cast<uint64_t>(step));
    const UpdateReport report = trainer.update(groups, step);
    EXPECT_EQ(report.ratio_deviation, 0.0);
    ASSERT_TRUE(report.kl.has_value());
    EXPECT_EQ(*report.kl == 0.0, step == 0);
  }
  // A fresh adapter adds nothing: the reference is the model that it was put on.
  config.adapter.rank = 0;
  const Policy model(config, 3);
  PassBuilder text;
  const std::vector<int32_t> tokens{5, 6, 7, 8, 9};
  text.add(tokens);
  EXPECT_TRUE(at::equal(trainer.reference()->hidden(text.build()), model.hidden(text.build())));
}

}  // namespace
}  // namespace grpo
