// Softmax statistics of rows of logits, and draws from them: one block a row, each thread a stride of it, threads' parts
// put together by warps and then in the warps' order. Drawing and training ask the same function.
#include <algorithm>

#include "base/philox.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/fold.h"
#include "kernels/cuda/kernels.h"
#include "kernels/gumbel.h"

namespace grpo::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kAtOnce = 8;  // a thread's logits that are under way

// With x' = x·scale·log2 e: the largest x, z = Σ 2^(x' − top'), and Σ 2^(x' − top')·(x' − top').
struct Sums {
  float top = -INFINITY, total = 0.0f, weighted = 0.0f;

  // The same, of a top that is as high or higher.
  __device__ void raise(float to, float scale2) {
    if (!(to > top)) return;
    const float d = fmaxf(-1e30f, (top - to) * scale2), e = fast_exp2(d);
    weighted = e * (weighted + d * total), total = total * e;
    top = to;
  }
};
__device__ Sums merged(Sums a, Sums b, float scale2) {  // either way round the same bits
  const float top = fmaxf(a.top, b.top);
  a.raise(top, scale2), b.raise(top, scale2);
  return {top, a.total + b.total, a.weighted + b.weighted};
}

struct Stats {
  float top, log_sum_exp, entropy;  // top: the largest x·scale
};

// log-sum-exp = top + log z, entropy = log z − Σ e^(…)·(…) / z.
__device__ Stats stats_of(const float* x, int n, float scale) {
  __shared__ Sums warps[kThreads / kWarp];
  const float scale2 = scale * kLog2e;
  Sums sums;
  bool broken = false;
  for (int first = threadIdx.x; first < n; first += kThreads * kAtOnce) {
    float v[kAtOnce], top = -INFINITY;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      v[i] = first + i * kThreads < n ? x[first + i * kThreads] : -INFINITY;
      broken |= v[i] != v[i];
      top = fmaxf(top, v[i]);
    }
    sums.raise(top, scale2);
    const float base = -sums.top * scale2;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const float shifted = fmaxf(-1e30f, fmaf(v[i], scale2, base)), e = fast_exp2(shifted);
      sums.total = sums.total + e;
      sums.weighted = fmaf(e, shifted, sums.weighted);
    }
  }
  if (broken) sums.total = NAN;
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2)
    sums = merged(sums, {shuffle_xor(sums.top, lanes), shuffle_xor(sums.total, lanes), shuffle_xor(sums.weighted, lanes)},
                  scale2);
  __syncthreads();  // whoever used the place before is done
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = sums;
  __syncthreads();
  sums = warps[0];
  for (int i = 1; i < kThreads / kWarp; ++i) sums = merged(sums, warps[i], scale2);
  if (sums.top == INFINITY) sums.total = NAN;  // ∞ − ∞
  const float log_total = logf(sums.total), top = sums.top * scale;
  return {top, top + log_total, log_total - sums.weighted / sums.total * (1.0f / kLog2e)};
}

__global__ void __launch_bounds__(kThreads) stats_rows(int64_t n, const float* x, float scale, float* log_sum_exp, float* entropy) {
  const Stats stats = stats_of(x + blockIdx.x * n, static_cast<int>(n), scale);
  if (threadIdx.x != 0) return;
  log_sum_exp[blockIdx.x] = stats.log_sum_exp;
  if (entropy) entropy[blockIdx.x] = stats.entropy;
}

__global__ void __launch_bounds__(kThreads) logprob_rows(int64_t n, float* logits, float scale, const int32_t* targets, kernel::Kept kept,
                             float* logprobs, float* entropy, float* log_sum_exp) {
  float* x = logits + blockIdx.x * n;
  const int64_t first = kept.ids ? kept.starts[blockIdx.x] : 0, end = kept.ids ? kept.starts[blockIdx.x + 1] : 0;
  for (int64_t j = threadIdx.x; first < end && j < n; j += kThreads) {
    int64_t low = first, high = end;  // the first kept id that is not below j
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      kept.ids[middle] < j ? low = middle + 1 : high = middle;
    }
    if (low == end || kept.ids[low] != j) x[j] = -INFINITY;
  }
  __syncthreads();
  const Stats stats = stats_of(x, static_cast<int>(n), scale);
  if (threadIdx.x != 0) return;
  log_sum_exp[blockIdx.x] = stats.log_sum_exp, entropy[blockIdx.x] = stats.entropy;
  logprobs[blockIdx.x] = x[targets[blockIdx.x]] * scale - stats.log_sum_exp;
}

// A candidate for the largest value; of equals the lowest id wins. −1 is none, and stands for what must be exceeded.
struct Candidate {
  float value;
  int32_t id;
};
__device__ Candidate better(Candidate a, Candidate b) {
  return b.value > a.value || (b.value == a.value && b.id < a.id) ? b : a;
}

// The largest of logits·scale − top + noise above `floor`, as on the CPU (cpu/sample.cpp), to the bit; id −1: none is. A
// Philox block of four words serves ids 16 apart (philox.h), so a thread takes four ids at a time. Few of them can win:
// noise is −log(−log u) and so at most −log(1 − u), which four with the greatest u and logit among them must reach; the
// slack is more than all roundings. Known to the whole warp.
__device__ Candidate best_of_warp(const float* x, int n, const kernel::Draws& draws, const DrawKey& key, float top,
                                  float floor) {
  Candidate best{floor, -1};
  const int blocks = (n + 63) / 64 * 16;
  for (int base = 0; base < blocks; base += kThreads) {
    const int block = base + static_cast<int>(threadIdx.x), first = block / 16 * 64 + block % 16;
    float v[4];
#pragma unroll
    for (int word = 0; word < 4; ++word) v[word] = first + word * 16 < n ? x[first + word * 16] : -INFINITY;
    const PhiloxBlock bits = draws.greedy ? PhiloxBlock{} : philox(draw_counter(key, static_cast<uint32_t>(block)), key.seed);
    const float highest = fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3])) * draws.scale - top;
    const uint32_t most = max(max(bits.word[0], bits.word[1]), max(bits.word[2], bits.word[3]));
    union {
      uint32_t bits;
      float value;
    } rest = {~most >> 9 | 0x3f800000u};  // 1 + (1 − u), cut
    const bool may_win = draws.greedy ? highest >= best.value
                                      : (rest.value - 1.0000003f) * 0.999f <= fast_exp2((highest - best.value) * kLog2e);
    if (!warp_any(may_win)) continue;
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      const float noise = draws.greedy ? 0.0f : gumbel_of(bits.word[word]), value = v[word] * draws.scale - top;
      if (first + word * 16 < n) best = better(best, {value + noise, first + word * 16});
    }
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2)
      best = better(best, {shuffle_xor(best.value, lanes), shuffle_xor(best.id, lanes)});
  }
  return best;
}

// One block a draw. The winner lies about log-sum-exp − top (its distribution is Gumbel's): once in 10^4 draws below what
// is asked for first.
__global__ void __launch_bounds__(kThreads) sample_rows(kernel::Draws draws, int n, const float* logits) {
  __shared__ Candidate warps[kThreads / kWarp];
  if (draws.rows[blockIdx.x] < 0) return;
  const float* x = logits + static_cast<int64_t>(draws.rows[blockIdx.x]) * n;
  const Stats stats = stats_of(x, n, draws.scale);
  const DrawKey key = read_key(draws.keys + blockIdx.x * kKeyColumns);
  Candidate best{-INFINITY, -1};
  for (int round = draws.greedy ? 1 : 0; round < 2 && best.id < 0; ++round) {
    best = best_of_warp(x, n, draws, key, stats.top, round == 0 ? stats.log_sum_exp - stats.top - 2.2f : -INFINITY);
    __syncthreads();  // the round before has been read
    if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = best;
    __syncthreads();
    for (int i = 0; i < kThreads / kWarp; ++i) best = better(best, warps[i]);
  }
  if (threadIdx.x != 0) return;
  const int32_t id = max(best.id, 0);
  draws.tokens[blockIdx.x] = isfinite(stats.log_sum_exp) ? id : -1;
  draws.logprobs[blockIdx.x] = x[id] * draws.scale - stats.log_sum_exp;
  draws.entropies[blockIdx.x] = stats.entropy;
}

// As token_logprobs' derivative: p·scale·(−dlogprob − dentropy·(log p + entropy)), and scale·dlogprob more at the target.
__global__ void __launch_bounds__(kThreads) logprob_gradients(int64_t n, float* logits, float scale, const int32_t* targets,
                                  const float* log_sum_exp, const float* entropy, const float* dlogprobs,
                                  const float* dentropy) {
  float* x = logits + blockIdx.x * n;
  const float sum = log_sum_exp[blockIdx.x], h = entropy[blockIdx.x];
  const float dlogprob = dlogprobs ? dlogprobs[blockIdx.x] : 0.0f, dh = dentropy ? dentropy[blockIdx.x] : 0.0f;
  const int32_t target = targets[blockIdx.x];
  for (int64_t j = threadIdx.x; j < n; j += kThreads) {
    const float logprob = fmaf(x[j], scale, -sum), p = expf(logprob);
    const float bounded = fmaxf(-1e30f, logprob);  // −inf logits: p is 0 and must stay so
    const float shared = p * -scale * fmaf(dh, bounded + h, dlogprob);
    x[j] = j == target && x[j] > -INFINITY ? shared + scale * dlogprob : shared;
  }
}

__global__ void narrow_all(int64_t n, const float* from, bf16* to) {
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    to[i] = grpo::cuda::narrow(from[i]);
}

}  // namespace

void token_logprobs_backward(Stream stream, int64_t rows, int64_t n, float* logits, float scale, const int32_t* targets,
                             const float* log_sum_exp, const float* entropy, const float* dlogprobs,
                             const float* dentropy) {
  launch("token_logprobs", logprob_gradients, dim3(static_cast<unsigned>(rows)), kThreads, 0, stream, n, logits, scale,
         targets, log_sum_exp, entropy, dlogprobs, dentropy);
}

void narrow(Stream stream, const float* from, void* to, int64_t n) {
  const auto blocks = static_cast<unsigned>(std::min<int64_t>((n + kThreads - 1) / kThreads, 4096));
  launch("narrow", narrow_all, dim3(blocks), kThreads, 0, stream, n, from, static_cast<bf16*>(to));
}

void logit_stats(Stream stream, int64_t rows, int64_t n, const float* x, float scale, float* log_sum_exp,
                 float* entropy) {
  launch("logit_stats", stats_rows, dim3(static_cast<unsigned>(rows)), kThreads, 0, stream, n, x, scale, log_sum_exp,
         entropy);
}

void token_logprobs(Stream stream, int64_t rows, int64_t n, float* logits, float scale, const int32_t* targets,
                    const kernel::Kept& kept, float* logprobs, float* entropy, float* log_sum_exp) {
  launch("token_logprobs", logprob_rows, dim3(static_cast<unsigned>(rows)), kThreads, 0, stream, n, logits, scale,
         targets, kept, logprobs, entropy, log_sum_exp);
}

void sample(Stream stream, const kernel::Draws& draws, int64_t n, const float* logits) {
  launch("draw", sample_rows, dim3(static_cast<unsigned>(draws.count)), kThreads, 0, stream, draws,
         static_cast<int>(n), logits);
}

}  // namespace grpo::cuda
