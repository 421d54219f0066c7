// The GPU's sampler against the CPU's: the same keys and logits give the same tokens.
#include <ATen/ATen.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "grpo/device.h"
#include "grpo/ops.h"
#include "kernels/cpu/sample.h"
#include "kernels/draw.h"

namespace grpo {
namespace {

using at::Tensor;

class SampleCuda : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override {
    if (!dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) || !at::hasCUDA()) GTEST_SKIP() << "no GPU here";
    open_device("cuda");
  }

  static Drawn draw_there(const Tensor& logits, const std::vector<int32_t>& rows, const std::vector<DrawKey>& keys,
                          const SamplingConfig& config = {}) {
    Tensor columns = at::empty({static_cast<int64_t>(keys.size()), kKeyColumns}, at::kLong);
    for (size_t i = 0; i < keys.size(); ++i) write_key(keys[i], columns.data_ptr<int64_t>() + i * kKeyColumns);
    const Drawn drawn = draw(logits.cuda(), at::tensor(rows, at::kInt), columns, config);
    return {drawn.tokens.cpu(), drawn.logprobs.cpu(), {}, {}};
  }
};

TEST_P(SampleCuda, draws_the_tokens_that_the_cpu_draws) {
  const int64_t vocab = GetParam(), rows = 7, each = 300;
  at::manual_seed(3);
  const Tensor logits = at::randn({rows, vocab}) * 3;
  SamplingConfig config;
  config.temperature = 0.7;
  std::vector<int32_t> from;
  std::vector<DrawKey> keys;
  for (int32_t row = 0; row < rows; ++row)
    for (uint32_t i = 0; i < each; ++i) {
      from.push_back(row);
      keys.push_back({uint64_t{0x123456789abcdef} + i % 3, Purpose::evaluation, 9 + i % 2, i / 10, i % 10, 1000 * i});
    }
  const Drawn drawn = draw_there(logits, from, keys, config);
  int differing = 0;
  for (size_t i = 0; i < keys.size(); ++i) {
    const float* row = logits.data_ptr<float>() + from[i] * vocab;
    const Draw expected = sample_row(row, vocab, log_sum_exp(row, vocab, config.temperature), config, keys[i]);
    // Both add the same noise to logits that are rounded once more on the GPU (the row's maximum is taken off first):
    // only two candidates within an ulp of each other may change places.
    if (drawn.tokens.data_ptr<int32_t>()[i] != expected.token)
      ++differing;
    else
      EXPECT_NEAR(drawn.logprobs.data_ptr<float>()[i], expected.logprob, 2e-5f) << "draw " << i;
  }
  EXPECT_LE(differing, 1) << "of " << keys.size();
}

TEST_P(SampleCuda, marks_a_row_that_is_not_finite) {
  const int64_t vocab = GetParam();
  Tensor logits = at::randn({3, vocab});
  logits[1][vocab / 2] = NAN;
  logits[2][vocab - 1] = INFINITY;
  const Drawn drawn = draw_there(logits, {0, 1, 2}, {{}, {}, {}});
  const int32_t* tokens = drawn.tokens.data_ptr<int32_t>();
  EXPECT_GE(tokens[0], 0);
  EXPECT_EQ(tokens[1], -1);
  EXPECT_EQ(tokens[2], -1);
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, SampleCuda, testing::Values(1, 2, 17, 64, 65, 512, 1031, 128256));

// Logits are fp32, not bf16 spelled in fp32: of products of bf16 numbers hardly one in a hundred fits into bf16.
TEST(LogitsCuda, are_not_rounded_to_the_weights_type) {
  if (!dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) || !at::hasCUDA()) GTEST_SKIP() << "no GPU here";
  open_device("cuda");
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
