// Sampling as on a card: slots that the device brings forward by itself, on the CUDA kernels compiled for the CPU.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <span>
#include <vector>

#include "emulated_table.h"
#include "grpo/rollout.h"
#include "kernels/op.h"
#include "tiny.h"

namespace grpo {
namespace {

using testing::ElementsAreArray;

class CudaRollout : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override { use_for_cpu(&emulated()); }
  void TearDown() override { use_for_cpu(nullptr); }

  static Policy policy() {
    PolicyConfig config = tiny::policy_config(DType::bfloat16, GetParam());
    config.heads = 2, config.kv_heads = 1, config.head_dim = 32;
    return Policy(config, 3);
  }
  static RolloutConfig config() {
    RolloutConfig config;
    config.samples = 3, config.max_new_tokens = 9, config.page_size = 64;
    return config;
  }
  static std::vector<Group> sample(const Policy& policy, const RolloutConfig& config) {
    Rollout rollout(policy, tiny::tokenizer(), {}, config);
    std::vector<std::vector<int32_t>> prompts;
    for (int p = 0; p < 3; ++p) {
      prompts.emplace_back();
      for (int i = 0; i < 3 + 33 * p; ++i) prompts[p].push_back(5 + (p * 31 + i * 7) % 250);
    }
    return rollout.generate(std::vector<Task>(3), prompts, {11, Purpose::rollout, 4, 2});
  }
};
INSTANTIATE_TEST_SUITE_P(DenseAndMoe, CudaRollout, testing::Bool());

TEST_P(CudaRollout, records_what_training_computes) {
  const Policy policy = CudaRollout::policy();
  const at::NoGradGuard no_grad;
  int64_t tokens = 0;
  for (const Group& group : sample(policy, config())) {
    PassBuilder builder;
    const int32_t root = builder.add(group.prompt), prompt = static_cast<int32_t>(group.prompt.size());
    for (const Completion& c : group.completions)
      builder.add(std::span(c.tokens).first(c.tokens.size() - 1), prompt, root);
    const Pass pass = builder.build();
    const Tensor hidden = policy.hidden(pass);
    for (size_t s = 0; s < group.completions.size(); ++s) {
      const Completion& c = group.completions[s];
      const Tensor rows = at::cat({hidden.narrow(0, prompt - 1, 1),
                                   hidden.slice(0, pass.host_starts[s + 1], pass.host_starts[s + 2])});
      const TokenLogprobs found = policy.token_logprobs(rows, at::tensor(c.tokens, at::kInt), 1.0);
      EXPECT_TRUE(at::equal(found.logprobs, at::tensor(c.logprobs)));
      EXPECT_TRUE(at::equal(found.entropy, at::tensor(c.entropies)));
      tokens += std::ssize(c.tokens);
    }
  }
  EXPECT_GT(tokens, 40);
}

TEST_P(CudaRollout, draws_the_same_however_many_run_and_however_seldom_it_looks) {
  const Policy policy = CudaRollout::policy();
  const std::vector<Group> expected = sample(policy, config());
  const auto same = [&](const RolloutConfig& other, const char* what) {
    const std::vector<Group> groups = sample(policy, other);
    for (size_t g = 0; g < groups.size(); ++g)
      for (size_t s = 0; s < groups[g].completions.size(); ++s) {
        const Completion &got = groups[g].completions[s], &wanted = expected[g].completions[s];
        EXPECT_THAT(got.tokens, ElementsAreArray(wanted.tokens)) << what;
        EXPECT_THAT(got.logprobs, ElementsAreArray(wanted.logprobs)) << what;
        EXPECT_THAT(got.entropies, ElementsAreArray(wanted.entropies)) << what;
        EXPECT_EQ(got.finish, wanted.finish) << what;
      }
  };
  RolloutConfig few = config();
  few.max_running_sequences = 2;
  same(few, "two at a time");
  RolloutConfig looks = config();
  looks.horizon = 2, looks.max_batch_tokens = 20;
  same(looks, "a look every second token, prompts in chunks");
  RolloutConfig pages = config();
  pages.pages = 4;
  same(pages, "few pages");
}

// The host looks late: what a slot had drawn behind the end was never there.
TEST_P(CudaRollout, ends_where_a_sequence_ends) {
  const Policy policy = CudaRollout::policy();
  RolloutConfig long_ones = config();
  long_ones.samples = 8, long_ones.max_new_tokens = 30, long_ones.sampling.temperature = 9;
  int ended = 0;
  for (const Group& group : sample(policy, long_ones))
    for (const Completion& c : group.completions) {
      for (size_t i = 0; i + 1 < c.tokens.size(); ++i) EXPECT_FALSE(tiny::tokenizer().ends(c.tokens[i]));
      EXPECT_EQ(c.finish == Finish::length, !tiny::tokenizer().ends(c.tokens.back()));
      ended += c.finish != Finish::length;
    }
  EXPECT_GT(ended, 0);
}

}  // namespace
}  // namespace grpo
