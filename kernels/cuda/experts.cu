// A mixture of experts: choosing them, and carrying rows to them and back.
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"
#include "kernels/routing.h"

namespace grpo::cuda {
namespace {

constexpr int kThreads = 128;
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

// A number whose order is that of `greater` (NaN first), and above 0, which is what has been taken.
__device__ uint32_t rank_of(float x) {
  if (isnan(x)) return 0xffffffffu;
  union {
    float value;
    uint32_t bits;
  } u = {x + 0.0f};  // −0 is 0
  return u.bits >> 31 ? ~u.bits : u.bits | 0x80000000u;
}

// One warp a token. shared: score and choice [n] each, the choices' ranks [n], and of groups their values and whether
// they are kept [2·groups].
__global__ void route_tokens(int n, RouterOptions options, const float* logits, const float* bias, float* scores,
                             int32_t* chosen, float* weights) {
  float* own = dynamic_shared<float>();
  float *choice = own + n, *value = choice + 2 * n;
  auto* rank = reinterpret_cast<uint32_t*>(choice + n);
  const int lane = threadIdx.x, k = options.experts_per_token;
  const float* row = logits + static_cast<int64_t>(blockIdx.x) * n;
  float* score = scores + static_cast<int64_t>(blockIdx.x) * n;
  const bool softmax = options.scoring == Scoring::softmax;
  float top = 0.0f, total = 1.0f;
  for (int e = lane; e < n; e += kWarp) own[e] = row[e];
  if (softmax) {
    top = -INFINITY;
    for (int e = lane; e < n; e += kWarp) top = fmaxf(top, own[e]);
    top = warp_max(top);
    total = 0.0f;
    for (int e = lane; e < n; e += kWarp) total += expf(own[e] - top);
    total = warp_sum(total);
  }
  for (int e = lane; e < n; e += kWarp) {
    const float s = softmax ? expf(own[e] - top) / total : 1.0f / (1.0f + expf(-own[e]));
    score[e] = s, own[e] = s, choice[e] = s + bias[e];
  }
  for (int g = lane; g < 2 * options.groups; g += kWarp) value[g] = 0.0f;
  __syncwarp();
  if (options.groups_per_token < options.groups) keep_best_groups(choice, value, n, options);
  for (int e = lane; e < n; e += kWarp) rank[e] = rank_of(choice[e]);
  int32_t* mine = chosen + static_cast<int64_t>(blockIdx.x) * k;
  int32_t last = 0;  // lane j has choice j of each 32
  float sum = kTiny;
  for (int j = 0; j < k; ++j) {
    uint32_t best = 0;
    int32_t at = 0;
    for (int e = lane; e < n; e += kWarp)
      if (const uint32_t r = rank[e]; r > best) best = r, at = e;
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
      const auto other = static_cast<uint32_t>(shuffle_xor(static_cast<int32_t>(best), lanes));
      const int32_t there = shuffle_xor(at, lanes);
      if (other > best || (other == best && there < at)) best = other, at = there;
    }
    if (at % kWarp == lane) rank[at] = 0;
    if (j % kWarp == lane) last = at;
    if (j % kWarp == kWarp - 1 || j == k - 1)
      if (const int32_t place = j / kWarp * kWarp + lane; place <= j) mine[place] = last;
    sum += own[at];
  }
  __syncwarp();
  const float factor = static_cast<float>(options.scaling) / (options.normalize ? sum : 1.0f);
  for (int j = lane; j < k; j += kWarp) weights[static_cast<int64_t>(blockIdx.x) * k + j] = own[mine[j]] * factor;
}

// Rows by expert, tokens in order within each: a stable sort by counting, one block an expert. Each thread has a run of
// assignments; how many before it are the expert's comes from a scan over the threads, and where its rows begin from
// how many are of experts below.
__global__ void place_rows(int64_t assignments, const int32_t* chosen, int32_t* offsets, int32_t* slots) {
  __shared__ int32_t before[kSortThreads], below[kSortThreads];
  const int64_t run = (assignments + blockDim.x - 1) / blockDim.x, first = threadIdx.x * run,
                end = min(first + run, assignments);
  const int expert = static_cast<int>(blockIdx.x);
  int32_t count = 0, less = 0;
  for (int64_t i = first; i < end; ++i) count += chosen[i] == expert, less += chosen[i] < expert;
  before[threadIdx.x] = count, below[threadIdx.x] = less;
  for (unsigned step = 1; step < blockDim.x; step *= 2) {
    __syncthreads();
    const int32_t other = threadIdx.x >= step ? before[threadIdx.x - step] : 0,
                  lower = threadIdx.x >= step ? below[threadIdx.x - step] : 0;
    __syncthreads();
    before[threadIdx.x] += other, below[threadIdx.x] += lower;
  }
  __syncthreads();
  const int32_t begin = below[blockDim.x - 1];
  if (threadIdx.x == 0) offsets[expert] = begin;
  if (threadIdx.x == 0 && blockIdx.x == gridDim.x - 1) offsets[expert + 1] = static_cast<int32_t>(assignments);
  int32_t next = begin + before[threadIdx.x] - count;
  for (int64_t i = first; i < end; ++i)
    if (chosen[i] == expert) slots[i] = next++;
}

__global__ void dispatch_rows(int64_t n, int64_t k, const bf16* x, const int32_t* slots, bf16* y) {
  bf16* to = y + static_cast<int64_t>(slots[blockIdx.x * k + blockIdx.y]) * n;
  each_column(n, [&](int64_t j, int count) { store(to + j, load(x + blockIdx.x * n + j, count), count); });
}

__global__ void combine_rows(int64_t n, int64_t k, const bf16* x, const int32_t* slots, const float* weights,
                             const bf16* base, bf16* y) {
  each_column(n, [&](int64_t j, int count) {
    float total[kVector] = {};
    Vector v{};
    if (base) v = load(base + blockIdx.x * n + j, count);
    for (int e = 0; base && e < count; ++e) total[e] = widen(v.x[e]);
    for (int64_t i = 0; i < k; ++i) {
      v = load(x + static_cast<int64_t>(slots[blockIdx.x * k + i]) * n + j, count);
      const float weight = weights ? weights[blockIdx.x * k + i] : 1.0f;  // times 1 is exact
      for (int e = 0; e < count; ++e) total[e] = fmaf(weight, widen(v.x[e]), total[e]);
    }
    for (int e = 0; e < count; ++e) v.x[e] = narrow(total[e]);
    store(y + blockIdx.x * n + j, v, count);
  });
}

// One warp a token: the chosen scores' gradients join those of all scores, which become the logits'.
__global__ void route_gradients(int n, RouterOptions options, const float* scores, const int32_t* chosen,
                                const float* weights, const float* dweights, float* dlogits) {
  const int lane = threadIdx.x, k = options.experts_per_token;
  const float* s = scores + static_cast<int64_t>(blockIdx.x) * n;
  float* ds = dlogits + static_cast<int64_t>(blockIdx.x) * n;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * k;
  const float scaling = static_cast<float>(options.scaling);
  float total = kTiny, dot = 0.0f;
  for (int j = 0; j < k; ++j)
    total += s[chosen[first + j]], dot += dweights[first + j] * weights[first + j];
  for (int j = lane; j < k; j += kWarp)
    ds[chosen[first + j]] += options.normalize ? (scaling * dweights[first + j] - dot) / total : scaling * dweights[first + j];
  __syncwarp();
  const bool softmax = options.scoring == Scoring::softmax;
  float inner = 0.0f;
  for (int e = lane; softmax && e < n; e += kWarp) inner += ds[e] * s[e];
  inner = warp_sum(inner);
  for (int e = lane; e < n; e += kWarp) ds[e] = softmax ? s[e] * (ds[e] - inner) : ds[e] * s[e] * (1.0f - s[e]);
}

__global__ void combine_gradients(int64_t n, int64_t k, const bf16* x, const int32_t* slots, const float* weights,
                                  const bf16* dy, bf16* dx, float* dweights) {
  __shared__ float sums[kThreads / kWarp];
  const bf16* grad = dy + blockIdx.x * n;
  for (int64_t i = 0; i < k; ++i) {
    const int64_t at = static_cast<int64_t>(slots[blockIdx.x * k + i]) * n;
    float dot = 0.0f;
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x) {
      const float g = widen(grad[j]);
      dot = fmaf(g, widen(x[at + j]), dot);
      dx[at + j] = narrow(g * weights[blockIdx.x * k + i]);
    }
    dot = block_sum(dot, sums);
    if (threadIdx.x == 0) dweights[blockIdx.x * k + i] = dot;
  }
}

}  // namespace

void route(Stream stream, int64_t tokens, int64_t experts, const RouterOptions& options, const float* logits,
           const float* bias, float* scores, int32_t* chosen, float* weights, int32_t* slots, int32_t* offsets) {
  const int n = static_cast<int>(experts);
  launch("route", route_tokens, dim3(static_cast<unsigned>(tokens)), kWarp,
         sizeof(float) * (3 * n + 2 * static_cast<size_t>(options.groups)), stream, n, options, logits, bias, scores,
         chosen, weights);
  const int64_t assignments = tokens * options.experts_per_token;
  launch("route", place_rows, dim3(n), kSortThreads, 0, stream, assignments, chosen, offsets, slots);
}

void dispatch(Stream stream, int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots, void* y) {
  launch("dispatch", dispatch_rows, dim3(static_cast<unsigned>(rows), static_cast<unsigned>(k)), kThreads, 0, stream, n, k,
         static_cast<const bf16*>(x), slots, static_cast<bf16*>(y));
}

void combine(Stream stream, int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots,
             const float* weights, const void* base, void* y) {
  launch("combine", combine_rows, dim3(static_cast<unsigned>(rows)), kThreads, 0, stream, n, k,
         static_cast<const bf16*>(x), slots, weights, static_cast<const bf16*>(base), static_cast<bf16*>(y));
}

void route_backward(Stream stream, int64_t tokens, int64_t experts, const RouterOptions& options, const float* scores,
                    const int32_t* chosen, const float* weights, const float* dweights, float* dlogits) {
  launch("route", route_gradients, dim3(static_cast<unsigned>(tokens)), kWarp, 0, stream, static_cast<int>(experts),
         options, scores, chosen, weights, dweights, dlogits);
}

void combine_backward(Stream stream, int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots,
                      const float* weights, const void* dy, void* dx, float* dweights) {
  launch("combine", combine_gradients, dim3(static_cast<unsigned>(rows)), kThreads, 0, stream, n, k,
         static_cast<const bf16*>(x), slots, weights, static_cast<const bf16*>(dy), static_cast<bf16*>(dx), dweights);
}

}  // namespace grpo::cuda
