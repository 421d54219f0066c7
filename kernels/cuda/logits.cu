// Softmax statistics of rows of logits: one block a row, each thread a stride of it, sums by warps and then in their
// order.
#include <algorithm>

#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace grpo::cuda {
namespace {

constexpr int kThreads = 1024;

struct Stats {
  float log_sum_exp, entropy;
};

// With z the sum of e^(x·scale − top): log-sum-exp = top + log z, entropy = log z − Σ e^(…)·(…) / z.
__device__ Stats stats_of(const float* x, int64_t n, float scale, float* shared) {
  float top = -INFINITY;
  bool broken = false;
  for (int64_t j = threadIdx.x; j < n; j += kThreads) {
    broken |= isnan(x[j]);
    top = fmaxf(top, x[j] * scale);
  }
  top = block_max(top, shared);
  float total = 0.0f, weighted = 0.0f;
  for (int64_t j = threadIdx.x; j < n; j += kThreads) {
    const float shifted = fmaf(x[j], scale, -top), e = expf(shifted);
    total = total + e;
    weighted = fmaf(e, fmaxf(-1e30f, shifted), weighted);
  }
  total = block_sum(broken ? NAN : total, shared), weighted = block_sum(weighted, shared);
  const float log_total = logf(total);
  return {top + log_total, log_total - weighted / total};
}

__global__ void stats_rows(int64_t n, const float* x, float scale, float* log_sum_exp, float* entropy) {
  __shared__ float shared[kThreads / kWarp];
  const Stats stats = stats_of(x + blockIdx.x * n, n, scale, shared);
  if (threadIdx.x != 0) return;
  log_sum_exp[blockIdx.x] = stats.log_sum_exp;
  if (entropy) entropy[blockIdx.x] = stats.entropy;
}

__global__ void logprob_rows(int64_t n, float* logits, float scale, const int32_t* targets, kernel::Kept kept,
                             float* logprobs, float* entropy, float* log_sum_exp) {
  __shared__ float shared[kThreads / kWarp];
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
  const Stats stats = stats_of(x, n, scale, shared);
  if (threadIdx.x != 0) return;
  log_sum_exp[blockIdx.x] = stats.log_sum_exp, entropy[blockIdx.x] = stats.entropy;
  logprobs[blockIdx.x] = x[targets[blockIdx.x]] * scale - stats.log_sum_exp;
}

// As token_logprobs' derivative: p·scale·(−dlogprob − dentropy·(log p + entropy)), and scale·dlogprob more at the target.
__global__ void logprob_gradients(int64_t n, float* logits, float scale, const int32_t* targets,
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

}  // namespace grpo::cuda
