#include "kernels/draw.h"

#include "base/parallel.h"
#include "kernels/cpu/sample.h"
#include "kernels/op.h"

namespace grpo {
namespace {

// The entropy of a kept set, by what token_logprobs asks: the whole row, with −inf outside the set.
float kept_entropy(const Launch& run, const float* row, int64_t vocab, float scale, const std::vector<int32_t>& kept) {
  std::vector<float> masked(vocab, -INFINITY);
  for (const int32_t id : kept) masked[id] = row[id];
  float sum, entropy;
  run(&kernel::Table::logit_stats, 1, vocab, masked.data(), scale, &sum, &entropy);
  return entropy;
}

}  // namespace

Drawn draw(const Tensor& logits, const Tensor& rows, const Tensor& keys, const SamplingConfig& config) {
  const int64_t draws = rows.numel();
  require(logits.dim() == 2 && logits.scalar_type() == at::kFloat, "draw",
          "expected float32 logits [rows, vocab], got ", logits.scalar_type(), " ", logits.sizes());
  require(rows.dim() == 1 && rows.scalar_type() == at::kInt, "draw", "expected int32 rows [draws], got ",
          rows.scalar_type(), " ", rows.sizes());
  require(keys.sizes() == at::IntArrayRef({draws, kKeyColumns}) && keys.scalar_type() == at::kLong, "draw",
          "expected int64 keys [", draws, ", ", kKeyColumns, "], got ", keys.scalar_type(), " ", keys.sizes());
  Drawn drawn{at::empty({draws}, at::kInt), at::empty({draws}, at::kFloat), {}, {}};
  if (const Launch run(logits, "draw"); run.has(&kernel::Table::sample) && !config.truncates()) {
    const Tensor there = logits.contiguous(), from = rows.to(logits.device()).contiguous(),
                 by = keys.to(logits.device()).contiguous();
    drawn.tokens = at::empty({draws}, from.options());
    drawn.logprobs = at::empty({draws}, logits.options()), drawn.entropies = at::empty_like(drawn.logprobs);
    run(&kernel::Table::sample,
        kernel::Draws{draws, from.data_ptr<int32_t>(), by.data_ptr<int64_t>(), config.scale(), config.temperature == 0,
                      drawn.tokens.data_ptr<int32_t>(), drawn.logprobs.data_ptr<float>(),
                      drawn.entropies.data_ptr<float>()},
        there.size(1), there.data_ptr<float>());
    return drawn;
  }
  const Tensor host = logits.cpu().contiguous(), from = rows.cpu().contiguous(), by = keys.cpu().contiguous();
  const float* const row = host.data_ptr<float>();
  const int64_t vocab = host.size(1);
  const float scale = config.scale();
  const Launch run(host, "draw");
  std::vector<float> sums(host.size(0)), entropy(host.size(0));
  run(&kernel::Table::logit_stats, host.size(0), vocab, row, scale, sums.data(), entropy.data());
  drawn.entropies = at::empty({draws}, at::kFloat);
  if (config.truncates()) drawn.kept.resize(draws);
  int32_t* const tokens = drawn.tokens.data_ptr<int32_t>();
  float *const logprobs = drawn.logprobs.data_ptr<float>(), *const entropies = drawn.entropies.data_ptr<float>();
  parallel_for(draws, [&](int64_t d) {
    const int64_t r = from.data_ptr<int32_t>()[d];
    Draw one =
        sample_row(row + r * vocab, vocab, sums[r], config, read_key(by.data_ptr<int64_t>() + d * kKeyColumns));
    tokens[d] = one.token, logprobs[d] = one.logprob;
    entropies[d] = config.truncates() ? kept_entropy(run, row + r * vocab, vocab, scale, one.kept) : entropy[r];
    if (config.truncates()) drawn.kept[d] = std::move(one.kept);
  });
  return drawn;
}

}  // namespace grpo
