// A mixture of experts: choosing them, and carrying rows to them and back.
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"
#include "kernels/routing.h"

namespace grpo::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kSortThreads = 512;

// NaN counts as the greatest, so that it is chosen and seen.
__device__ bool greater(float a, float b) { return a > b || (isnan(a) && !isnan(b)); }

struct Best {
  float value;
  int32_t index;  // −1: none
};
__device__ Best better(Best a, Best b) {  // of equals the lower index
  if (b.index < 0) return a;
  if (a.index < 0) return b;
  return greater(b.value, a.value) || (!greater(a.value, b.value) && b.index < a.index) ? b : a;
}
__device__ Best warp_best(Best best) {
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2)
    best = better(best, {shuffle_xor(best.value, lanes), shuffle_xor(best.index, lanes)});
  return best;
}

// Sets the choices of experts outside the best groups to −inf. One warp.
__device__ void keep_best_groups(float* choice, float* value, int n, const RouterOptions& options) {
  const int lane = threadIdx.x, groups = options.groups, size = n / groups, best = min(options.group_best, size);
  for (int g = lane; g < groups; g += kWarp) {
    // The sum of its best, greatest first, each found behind the last.
    float sum = 0.0f, last = 0.0f;
    int last_at = -1;
    for (int i = 0; i < best; ++i) {
      Best next{0.0f, -1};
      for (int e = g * size; e < (g + 1) * size; ++e) {
        const bool behind = last_at < 0 || greater(last, choice[e]) || (!greater(choice[e], last) && e > last_at);
        if (behind) next = better(next, {choice[e], e});
      }
      sum += next.value, last = next.value, last_at = next.index;
    }
    value[g] = sum;
  }
  __syncwarp();
  for (int kept = 0; kept < options.groups_per_token; ++kept) {
    Best best_group{0.0f, -1};
    for (int g = lane; g < groups; g += kWarp)
      if (value[groups + g] == 0.0f) best_group = better(best_group, {value[g], g});
    best_group = warp_best(best_group);
    if (lane == 0) value[groups + best_group.index] = 1.0f;  // kept
    __syncwarp();
  }
  for (int e = lane; e < n; e += kWarp)
    if (value[groups + e / size] == 0.0f) choice[e] = -INFINITY;
  __syncwarp();
}

// One warp a token. shared: choice [n], and of groups their values and whether they are kept [2·groups].
__global__ void route_tokens(int n, RouterOptions options, const float* logits, const float* bias, float* scores,
                             int32_t* chosen, float* weights) {
  float* choice = dynamic_shared<float>();
  float* value = choice + n;
  const int lane = threadIdx.x, k = options.experts_per_token;
  const float* row = logits + static_cast<int64_t>(blockIdx.x) * n;
  float* score = scores + static_cast<int64_t>(blockIdx.x) * n;
  float top = 0.0f, total = 1.0f;
  if (options.scoring == Scoring::softmax) {
    top = -INFINITY;
    for (int e = lane; e < n; e += kWarp) top = fmaxf(top, row[e]);
    top = warp_max(top);
    total = 0.0f;
    for (int e = lane; e < n; e += kWarp) total += expf(row[e] - top);
    total = warp_sum(total);
  }
  for (int e = lane; e < n; e += kWarp) {
    const float s = options.scoring == Scoring::softmax ? expf(row[e] - top) / total : 1.0f / (1.0f + expf(-row[e]));
    score[e] = s, choice[e] = s + bias[e];
  }
  for (int g = lane; g < 2 * options.groups; g += kWarp) value[g] = 0.0f;
  __syncwarp();
  if (options.groups_per_token < options.groups) keep_best_groups(choice, value, n, options);
  int32_t* mine = chosen + static_cast<int64_t>(blockIdx.x) * k;
  float sum = kTiny;
  for (int j = 0; j < k; ++j) {
    Best best{0.0f, -1};
    for (int e = lane; e < n; e += kWarp) {
      bool taken = false;
      for (int i = 0; i < j; ++i) taken |= mine[i] == e;
      if (!taken) best = better(best, {choice[e], e});
    }
    best = warp_best(best);
    if (lane == 0) mine[j] = best.index;
    __syncwarp();
    sum += score[best.index];
  }
  const float factor = static_cast<float>(options.scaling) / (options.normalize ? sum : 1.0f);
  for (int j = lane; j < k; j += kWarp) weights[static_cast<int64_t>(blockIdx.x) * k + j] = score[mine[j]] * factor;
}

// Rows by expert, tokens in order within each: a stable sort by counting, one block an expert. Each thread has a run of
// assignments; the counts before it come from a scan over the threads.
__global__ void count_rows(int64_t assignments, const int32_t* chosen, int32_t* counts) {
  __shared__ float sums[kSortThreads / kWarp];
  float mine = 0.0f;  // exact up to 2^24 a thread
  for (int64_t i = threadIdx.x; i < assignments; i += blockDim.x) mine += chosen[i] == static_cast<int>(blockIdx.x);
  const float all = block_sum(mine, sums);
  if (threadIdx.x == 0) counts[blockIdx.x + 1] = static_cast<int32_t>(all);
}
__global__ void scan_counts(int experts, int32_t* offsets) {
  if (threadIdx.x != 0) return;
  offsets[0] = 0;
  for (int e = 0; e < experts; ++e) offsets[e + 1] += offsets[e];
}
__global__ void place_rows(int64_t assignments, const int32_t* chosen, const int32_t* offsets, int32_t* slots) {
  __shared__ int32_t before[kSortThreads];
  const int64_t run = (assignments + blockDim.x - 1) / blockDim.x, first = threadIdx.x * run,
                end = min(first + run, assignments);
  const int expert = static_cast<int>(blockIdx.x);
  int32_t count = 0;
  for (int64_t i = first; i < end; ++i) count += chosen[i] == expert;
  before[threadIdx.x] = count;
  for (unsigned step = 1; step < blockDim.x; step *= 2) {
    __syncthreads();
    const int32_t other = threadIdx.x >= step ? before[threadIdx.x - step] : 0;
    __syncthreads();
    before[threadIdx.x] += other;
  }
  int32_t next = offsets[expert] + before[threadIdx.x] - count;
  for (int64_t i = first; i < end; ++i)
    if (chosen[i] == expert) slots[i] = next++;
}

__global__ void dispatch_rows(int64_t n, int64_t k, const bf16* x, const int32_t* slots, bf16* y) {
  const bf16* from = x + blockIdx.x * n;
  for (int64_t i = 0; i < k; ++i) {
    bf16* to = y + static_cast<int64_t>(slots[blockIdx.x * k + i]) * n;
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x) to[j] = from[j];
  }
}

__global__ void combine_rows(int64_t n, int64_t k, const bf16* x, const int32_t* slots, const float* weights,
                             const bf16* base, bf16* y) {
  for (int64_t j = threadIdx.x; j < n; j += blockDim.x) {
    float total = base ? widen(base[blockIdx.x * n + j]) : 0.0f;
    for (int64_t i = 0; i < k; ++i) {
      const float v = widen(x[static_cast<int64_t>(slots[blockIdx.x * k + i]) * n + j]);
      total = weights ? fmaf(weights[blockIdx.x * k + i], v, total) : total + v;
    }
    y[blockIdx.x * n + j] = narrow(total);
  }
}

}  // namespace

void route(Stream stream, int64_t tokens, int64_t experts, const RouterOptions& options, const float* logits,
           const float* bias, float* scores, int32_t* chosen, float* weights, int32_t* slots, int32_t* offsets) {
  const int n = static_cast<int>(experts);
  launch("route", route_tokens, dim3(static_cast<unsigned>(tokens)), kWarp,
         sizeof(float) * (n + 2 * static_cast<size_t>(options.groups)), stream, n, options, logits, bias, scores,
         chosen, weights);
  const int64_t assignments = tokens * options.experts_per_token;
  launch("route", count_rows, dim3(n), kSortThreads, 0, stream, assignments, chosen, offsets);
  launch("route", scan_counts, dim3(1), kWarp, 0, stream, n, offsets);
  launch("route", place_rows, dim3(n), kSortThreads, 0, stream, assignments, chosen, offsets, slots);
}

void dispatch(Stream stream, int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots, void* y) {
  launch("dispatch", dispatch_rows, dim3(static_cast<unsigned>(rows)), kThreads, 0, stream, n, k,
         static_cast<const bf16*>(x), slots, static_cast<bf16*>(y));
}

void combine(Stream stream, int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots,
             const float* weights, const void* base, void* y) {
  launch("combine", combine_rows, dim3(static_cast<unsigned>(rows)), kThreads, 0, stream, n, k,
         static_cast<const bf16*>(x), slots, weights, static_cast<const bf16*>(base), static_cast<bf16*>(y));
}

}  // namespace grpo::cuda
