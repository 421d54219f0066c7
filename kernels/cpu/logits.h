// Softmax statistics of rows of logits, and their gradient. Included by isa.cpp only.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/sample.h"
#include "kernels/cpu/simd.h"

namespace grpo::GRPO_ISA {

// log Σ exp(x·scale), and the entropy of that softmax.
inline void row_stats(const float* x, int64_t n, float scale, float* log_sum_exp, float* entropy) {
  Vec highest = splat(-INFINITY);
  each_vector(n, [&](int64_t j, int lanes) {
    Vec v = load_some(x + j, lanes) * splat(scale);
    for (int i = lanes; i < kLanes; ++i) v[i] = -INFINITY;
    highest = max(highest, v);
  });
  const float top = max_lane(highest);
  Vec total = zero(), weighted = zero();
  each_vector(n, [&](int64_t j, int lanes) {
    const Vec shifted = fma(load_some(x + j, lanes), splat(scale), splat(-top));
    Vec e = exp(shifted);
    for (int i = lanes; i < kLanes; ++i) e[i] = 0.0f;
    total += e;
    weighted = fma(e, max(splat(-1e30f), shifted), weighted);
  });
  const float z = sum(total);
  *log_sum_exp = top + std::log(z);
  if (entropy) *entropy = std::log(z) - sum(weighted) / z;
}

// Turns a row of logits into its gradient, given those of log p(target) and of the entropy.
inline void row_backward(float* x, int64_t n, float scale, float log_sum_exp, float entropy, int32_t target,
                           float dlogprob, float dentropy) {
  const float at_target = x[target];
  each_vector(n, [&](int64_t j, int lanes) {
    const Vec logprob = fma(load_some(x + j, lanes), splat(scale), splat(-log_sum_exp));
    const Vec p = exp(logprob);
    const Vec bounded = max(splat(-1e30f), logprob);  // −inf logits: p is 0 and must stay so
    store_some(x + j, p * splat(-scale) * fma(splat(dentropy), bounded + entropy, splat(dlogprob)), lanes);
  });
  x[target] += at_target > -INFINITY ? scale * dlogprob : 0.0f;
}

inline void logit_stats(kernel::Stream, int64_t rows, int64_t n, const float* x, float scale, float* log_sum_exp,
                        float* entropy) {
  parallel_for(rows, [&](int64_t row) {
    row_stats(x + row * n, n, scale, log_sum_exp + row, entropy ? entropy + row : nullptr);
  });
}

// Ids outside a row's kept set get logit −inf: from there on its softmax runs over the set. Gives the set's log-sum-exp
// by the sampler's own function, whose bits the recorded log-probability has.
inline float keep_only(float* x, int64_t n, float scale, std::span<const int32_t> ids) {
  const float sum = kept_log_sum_exp(x, scale, ids);
  std::vector<float> values(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) values[i] = x[ids[i]];
  std::fill_n(x, n, -INFINITY);
  for (size_t i = 0; i < ids.size(); ++i) x[ids[i]] = values[i];
  return sum;
}

inline void token_logprobs(kernel::Stream, int64_t rows, int64_t n, float* logits, float scale, const int32_t* targets,
                           const kernel::Kept& kept, float* logprobs, float* entropy, float* log_sum_exp) {
  parallel_for(rows, [&](int64_t row) {
    float* x = logits + row * n;
    const int64_t begin = kept.ids ? kept.starts[row] : 0, end = kept.ids ? kept.starts[row + 1] : 0;
    float sum = 0.0f;
    if (begin < end) sum = keep_only(x, n, scale, {kept.ids + begin, static_cast<size_t>(end - begin)});
    row_stats(x, n, scale, log_sum_exp + row, entropy + row);
    if (begin < end && !std::isnan(sum)) log_sum_exp[row] = sum;
    logprobs[row] = x[targets[row]] * scale - log_sum_exp[row];
  });
}

inline void token_logprobs_backward(kernel::Stream, int64_t rows, int64_t n, float* logits, float scale,
                                    const int32_t* targets, const float* log_sum_exp, const float* entropy,
                                    const float* dlogprobs, const float* dentropy) {
  parallel_for(rows, [&](int64_t row) {
    row_backward(logits + row * n, n, scale, log_sum_exp[row], entropy[row], targets[row],
                 dlogprobs ? dlogprobs[row] : 0.0f, dentropy ? dentropy[row] : 0.0f);
  });
}

inline void narrow(kernel::Stream, const float* from, void* to, int64_t n) {
  each_vector(n,
              [&](int64_t j, int lanes) { store_some(static_cast<bf16*>(to) + j, load_some(from + j, lanes), lanes); });
}

}  // namespace grpo::GRPO_ISA
