// Policies on the CUDA kernels, compiled for the CPU: what sampling records, training repeats bit for bit.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <span>
#include <vector>

#include "grpo/policy.h"
#include "emulated_table.h"
#include "kernels/op.h"
#include "policy/policies.h"

namespace grpo {
namespace {

PolicyConfig config_of(bool moe) {
  PolicyConfig config = moe ? late_moe_config() : dense_config();
  config.hidden_size = 32, config.heads = 4, config.kv_heads = 2, config.head_dim = 32;
  config.qk_norm = QkNorm::head;
  config.max_positions = 256;
  config.dtype = DType::bfloat16;
  return config;
}

class CudaPolicy : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override { use_for_cpu(&emulated()); }
  void TearDown() override { use_for_cpu(nullptr); }
};
INSTANTIATE_TEST_SUITE_P(DenseAndMoe, CudaPolicy, testing::Bool());

const std::vector<int32_t> kLengths{70, 9, 66, 5, 3}, kParents{-1, 0, 0, -1, 3};

std::vector<std::vector<int32_t>> some_tokens() {
  std::vector<std::vector<int32_t>> tokens;
  for (size_t s = 0; s < kLengths.size(); ++s)
    for (int32_t i = 0; i < kLengths[s]; ++i) {
      if (i == 0) tokens.emplace_back();
      tokens.back().push_back((static_cast<int32_t>(s) * 11 + i * 7) % 37);
    }
  return tokens;
}

Pass training_pass(const std::vector<std::vector<int32_t>>& tokens) {
  PassBuilder builder;
  for (size_t s = 0; s < tokens.size(); ++s) builder.add(tokens[s], kParents[s] < 0 ? 0 : kLengths[kParents[s]], kParents[s]);
  return builder.build();
}

TEST_P(CudaPolicy, sampling_out_of_pages_gives_the_training_forwards_bits) {
  const Policy policy(config_of(GetParam()), 5);
  const auto tokens = some_tokens();
  const Pass batch = training_pass(tokens);
  const at::NoGradGuard no_grad;
  const Tensor all = policy.hidden(batch);
  KvPages pages = policy.make_pages(20, 64);
  const auto slots = std::ssize(tokens);
  PageTable table{64, at::randperm(20).narrow(0, 0, 2 * slots).view({slots, 2}).to(at::kInt), at::zeros({slots}, at::kInt),
                  at::tensor(kParents, at::kInt)};
  const KvView view{&pages, &table};
  std::vector<int32_t> done(tokens.size(), 0);
  for (int64_t fed = 1; fed > 0;) {
    PassBuilder step;
    std::vector<int64_t> rows;
    table.lengths.copy_(at::tensor(done, at::kInt));
    for (size_t s = 0; s < tokens.size(); ++s) {
      const int32_t parent = kParents[s], prompt = parent < 0 ? 0 : kLengths[parent], left = kLengths[s] - done[s];
      if (left == 0 || (parent >= 0 && table.lengths[parent].item<int32_t>() < prompt)) continue;
      const int32_t count = std::min<int32_t>(left, parent < 0 ? 29 : s == 2 ? 3 : 1);
      for (int32_t i = 0; i < count; ++i) rows.push_back(batch.host_starts[s] + done[s] + i);
      step.add_to_slot(std::span(tokens[s]).subspan(done[s], count), prompt + done[s], static_cast<int32_t>(s));
      done[s] += count;
    }
    fed = std::ssize(rows);
    if (fed == 0) break;
    EXPECT_TRUE(at::equal(policy.hidden(step.build(), &view), all.index_select(0, at::tensor(rows, at::kLong))));
  }
  EXPECT_EQ(done, kLengths);
}

TEST_P(CudaPolicy, is_the_cpus_policy_but_for_rounding) {
  const Policy policy(config_of(GetParam()), 5), same(config_of(GetParam()), 5);
  const Pass batch = training_pass(some_tokens());
  const Tensor targets = batch.tokens.roll({-1}, {0});
  const auto run = [&](const Policy& p) {
    const TokenLogprobs out = p.token_logprobs(p.hidden(batch), targets, 0.9);
    (out.logprobs.sum() + out.entropy.sum() * 0.1).backward();
    return out;
  };
  const TokenLogprobs got = run(policy);
  use_for_cpu(nullptr);
  const TokenLogprobs expected = run(same);
  // (of single tokens nothing is sure: a rounding may choose another expert)
  EXPECT_LT((got.logprobs - expected.logprobs).abs().mean().item<float>(), 0.02);
  EXPECT_LT((got.entropy - expected.entropy).abs().mean().item<float>(), 0.02);
  for (size_t i = 0; i < policy.parameters().size(); ++i) {
    const auto& [name, parameter] = policy.parameters()[i];
    const Tensor a = parameter.grad(), b = same.parameters()[i].second.grad();
    ASSERT_TRUE(a.defined()) << name;
    EXPECT_LT(((a - b).norm() / b.norm()).item<float>(), 0.1) << name;
  }
}

TEST_P(CudaPolicy, learns_from_the_log_probabilities_that_it_tells) {
  Policy policy(config_of(GetParam()), 5);
  for (const auto& [name, parameter] : policy.parameters())
    const_cast<Tensor&>(parameter).mutable_grad() = at::zeros(parameter.sizes(), at::kFloat);
  const Pass batch = training_pass(some_tokens());
  const Tensor targets = batch.tokens.roll({-1}, {0}), hidden = policy.hidden(batch).detach();
  const TokenLogprobs told = policy.token_logprobs(hidden, targets, 0.9);
  const LearnedTokens learned = policy.learn_tokens(hidden, targets, 0.9, {}, [](int64_t, const TokenLogprobs& chunk) {
    return TokenLogprobs{at::ones_like(chunk.logprobs), at::Tensor()};
  });
  EXPECT_TRUE(at::equal(learned.found.logprobs, told.logprobs));
  EXPECT_TRUE(at::equal(learned.found.entropy, told.entropy));
  EXPECT_TRUE(learned.hidden_gradient.isfinite().all().item<bool>());
}

}  // namespace
}  // namespace grpo
