// The GPU's sampler against the CPU's: the same keys and logits give the same tokens.
#include <ATen/ATen.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "grpo/ops.h"
#include "kernels/cpu/sample.h"
#include "kernels/cuda/sample.h"

namespace grpo {
namespace {

using at::Tensor;

struct Drawn {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
};

class SampleCuda : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override {
    if (!dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) || !at::hasCUDA()) GTEST_SKIP() << "no GPU here";
  }

  static Drawn draw(const Tensor& logits, float scale, const DrawKey& key, const std::vector<CudaDraw>& draws) {
    const int64_t count = static_cast<int64_t>(draws.size());
    Tensor jobs = at::empty({count, 4}, at::kInt);
    std::memcpy(jobs.data_ptr(), draws.data(), draws.size() * sizeof(CudaDraw));
    jobs = jobs.cuda();
    const Tensor device = logits.cuda(), tokens = at::empty({count}, jobs.options()),
                 logprobs = at::empty({count}, device.options());
    sample_rows_cuda(device.data_ptr<float>(), logits.size(1), scale, key,
                     static_cast<const CudaDraw*>(jobs.data_ptr()), count, tokens.data_ptr<int32_t>(),
                     logprobs.data_ptr<float>(), device.device().index());
    const Tensor t = tokens.cpu(), l = logprobs.cpu();
    return {{t.data_ptr<int32_t>(), t.data_ptr<int32_t>() + count}, {l.data_ptr<float>(), l.data_ptr<float>() + count}};
  }
};

TEST_P(SampleCuda, draws_the_tokens_that_the_cpu_draws) {
  const int64_t vocab = GetParam(), rows = 7, each = 300;
  at::manual_seed(3);
  const Tensor logits = at::randn({rows, vocab}) * 3;
  SamplingConfig config;
  config.temperature = 0.7;
  DrawKey key{.seed = 0x123456789abcdef, .purpose = Purpose::evaluation, .step = 9};
  std::vector<CudaDraw> draws;
  for (int32_t row = 0; row < rows; ++row)
    for (uint32_t i = 0; i < each; ++i) draws.push_back({row, i / 10, i % 10, 1000 * i});
  const Drawn drawn = draw(logits, config.scale(), key, draws);
  int differing = 0;
  for (size_t i = 0; i < draws.size(); ++i) {
    const float* row = logits.data_ptr<float>() + draws[i].row * vocab;
    key.index = draws[i].index, key.sample = draws[i].sample, key.position = draws[i].position;
    const Draw expected = sample_row(row, vocab, log_sum_exp(row, vocab, config.temperature), config, key);
    // Both add the same noise to logits that are rounded once more on the GPU (the row's maximum is taken off first):
    // only two candidates within an ulp of each other may change places.
    if (drawn.tokens[i] != expected.token)
      ++differing;
    else
      EXPECT_NEAR(drawn.logprobs[i], expected.logprob, 2e-5f) << "draw " << i;
  }
  EXPECT_LE(differing, 1) << "of " << draws.size();
}

TEST_P(SampleCuda, marks_a_row_that_is_not_finite) {
  const int64_t vocab = GetParam();
  Tensor logits = at::randn({3, vocab});
  logits[1][vocab / 2] = NAN;
  logits[2][vocab - 1] = INFINITY;
  const Drawn drawn = draw(logits, 1.0f, {}, {{0, 0, 0, 0}, {1, 0, 0, 0}, {2, 0, 0, 0}});
  EXPECT_GE(drawn.tokens[0], 0);
  EXPECT_EQ(drawn.tokens[1], -1);
  EXPECT_EQ(drawn.tokens[2], -1);
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, SampleCuda, testing::Values(1, 2, 17, 64, 65, 512, 1031, 128256));

// Logits are fp32, not bf16 spelled in fp32: of products of bf16 numbers hardly one in a hundred fits into bf16.
TEST(LogitsCuda, are_not_rounded_to_the_weights_type) {
  if (!dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) || !at::hasCUDA()) GTEST_SKIP() << "no GPU here";
  at::manual_seed(5);
  const Tensor hidden = at::randn({37, 192}).to(at::kBFloat16), head = at::randn({501, 192}).to(at::kBFloat16);
  const Tensor exact = at::mm(hidden.to(at::kDouble), head.to(at::kDouble).t());
  const Tensor got = logits(hidden.cuda(), head.cuda()).cpu();
  ASSERT_EQ(got.scalar_type(), at::kFloat);
  EXPECT_LT((got.to(at::kDouble) - exact).abs().max().item<double>(), 1e-4 * exact.abs().max().item<double>());
  EXPECT_LT(got.eq(got.to(at::kBFloat16).to(at::kFloat)).to(at::kFloat).mean().item<double>(), 0.05);
}

}  // namespace
}  // namespace grpo
