// A mixture of experts: choosing them, carrying rows to them and back, and their products. Included by isa.cpp only.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "base/parallel.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/logits.h"
#include "kernels/routing.h"

namespace grpo::GRPO_ISA {

// Scores of a router's logits in place: sigmoid, or softmax over the row.
inline void router_scores(float* x, int64_t n, bool softmax) {
  float log_sum_exp = 0.0f;
  if (softmax) row_stats(x, n, 1.0f, &log_sum_exp, nullptr);
  each_vector(n, [&](int64_t j, int lanes) {
    const Vec v = load_some(x + j, lanes);
    store_some(x + j, softmax ? exp(v - log_sum_exp) : sigmoid(v), lanes);
  });
}

// NaN counts as the greatest, so that it is chosen and seen.
inline bool greater(float a, float b) { return a > b || (std::isnan(a) && !std::isnan(b)); }

// Sets the choices of experts outside the best groups to −inf. A tie goes to the lower index.
inline void keep_best_groups(float* choice, int64_t experts, const RouterOptions& options) {
  const int64_t groups = options.groups, size = experts / groups;
  std::vector<float> value(groups), sorted(size);
  for (int64_t g = 0; g < groups; ++g) {
    std::partial_sort_copy(choice + g * size, choice + (g + 1) * size, sorted.begin(), sorted.end(), greater);
    value[g] = std::accumulate(sorted.begin(), sorted.begin() + std::min<int64_t>(options.group_best, size), 0.0f);
  }
  std::vector<int64_t> order(groups);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return greater(value[a], value[b]); });
  for (int64_t i = options.groups_per_token; i < groups; ++i)
    std::fill_n(choice + order[i] * size, size, -INFINITY);
}

inline void route(kernel::Stream, int64_t tokens, int64_t n, const RouterOptions& options, const float* logits,
                  const float* bias, float* scores, int32_t* chosen, float* weights, int32_t* slots, int32_t* offsets) {
  const int64_t k = options.experts_per_token;
  std::vector<float> choice(n);
  std::copy_n(logits, tokens * n, scores);
  for (int64_t t = 0; t < tokens; ++t) {
    float *score = scores + t * n, *weight = weights + t * k;
    int32_t* mine = chosen + t * k;
    router_scores(score, n, options.scoring == Scoring::softmax);
    for (int64_t e = 0; e < n; ++e) choice[e] = score[e] + bias[e];
    if (options.groups_per_token < options.groups) keep_best_groups(choice.data(), n, options);
    for (int64_t j = 0; j < k; ++j) {
      int32_t best = -1;
      for (int32_t e = 0; e < n; ++e)
        if ((best < 0 || greater(choice[e], choice[best])) && std::find(mine, mine + j, e) == mine + j) best = e;
      mine[j] = best;
    }
    float total = kTiny;
    for (int64_t j = 0; j < k; ++j) total += score[mine[j]];
    const float factor = static_cast<float>(options.scaling) / (options.normalize ? total : 1.0f);
    for (int64_t j = 0; j < k; ++j) weight[j] = score[mine[j]] * factor;
  }
  assign_slots(chosen, tokens * k, n, slots, offsets);
}

inline void route_backward(kernel::Stream, int64_t tokens, int64_t n, const RouterOptions& options, const float* scores,
                           const int32_t* chosen, const float* weights, const float* dweights, float* dlogits) {
  const bool softmax = options.scoring == Scoring::softmax;
  const float scaling = static_cast<float>(options.scaling);
  const int64_t k = options.experts_per_token;
  for (int64_t t = 0; t < tokens; ++t) {
    const float *s = scores + t * n, *w = weights + t * k, *dw = dweights + t * k;
    const int32_t* mine = chosen + t * k;
    float *ds = dlogits + t * n, total = kTiny, dot = 0.0f, inner = 0.0f;
    for (int64_t j = 0; j < k; ++j) total += s[mine[j]], dot += dw[j] * w[j];
    for (int64_t j = 0; j < k; ++j) ds[mine[j]] += options.normalize ? (scaling * dw[j] - dot) / total : scaling * dw[j];
    if (softmax)
      for (int64_t e = 0; e < n; ++e) inner += ds[e] * s[e];
    for (int64_t e = 0; e < n; ++e) ds[e] = softmax ? s[e] * (ds[e] - inner) : ds[e] * s[e] * (1.0f - s[e]);
  }
}

// y[slots[row, j]] = x[row]
template <class T>
void dispatch(kernel::Stream, int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots, void* y) {
  for (int64_t i = 0; i < rows * k; ++i)
    std::memcpy(static_cast<T*>(y) + slots[i] * n, static_cast<const T*>(x) + i / k * n, sizeof(T) * n);
}

// y[row] = Σ_j weights[row, j] · x[slots[row, j]] + base[row]
template <class T>
void combine(kernel::Stream, int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots,
             const float* weights, const void* base, void* y) {
  each_row(rows, (k + 1) * n, [&](int64_t row) {
    each_vector(n, [&](int64_t j, int lanes) {
      Vec total = base ? load_some(static_cast<const T*>(base) + row * n + j, lanes) : zero();
      for (int64_t i = 0; i < k; ++i) {
        const T* from = static_cast<const T*>(x) + slots[row * k + i] * n;
        const Vec v = load_some(from + j, lanes);
        total = weights ? fma(splat(weights[row * k + i]), v, total) : total + v;
      }
      store_some(static_cast<T*>(y) + row * n + j, total, lanes);
    });
  });
}

// dx[slots[row, j]] = weights[row, j] · dy[row]; dweights[row, j] = dy[row] · x[slots[row, j]]
template <class T>
void combine_backward(kernel::Stream, int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots,
                      const float* weights, const void* dy, void* dx, float* dweights) {
  each_row(rows, 2 * k * n, [&](int64_t row) {
    const T* grad = static_cast<const T*>(dy) + row * n;
    for (int64_t i = 0; i < k; ++i) {
      const int64_t slot = slots[row * k + i];
      Vec dot = zero();
      each_vector(n, [&](int64_t j, int lanes) {
        const Vec g = load_some(grad + j, lanes);
        dot = fma(g, load_some(static_cast<const T*>(x) + slot * n + j, lanes), dot);
        store_some(static_cast<T*>(dx) + slot * n + j, g * splat(weights[row * k + i]), lanes);
      });
      dweights[row * k + i] = sum(dot);
    }
  });
}

// Experts side by side, one to a thread: their few rows are too little to share out. f(expert, first row, rows).
template <class F>
void each_expert(const kernel::ExpertRows& rows, F f) {
  parallel_for(rows.experts, [&](int64_t e) {
    const int64_t first = rows.offsets[e], count = rows.offsets[e + 1] - first;
    if (count > 0) f(e, first, count);
  });
}

template <class T>
const T* at(const void* data, int64_t element) {
  return static_cast<const T*>(data) + element;
}
inline const void* at(kernel::Type type, const void* data, int64_t element) {
  return type == kernel::Type::f32 ? static_cast<const void*>(at<float>(data, element)) : at<bf16>(data, element);
}

inline void grouped_gemm(kernel::Stream stream, kernel::Type type, const kernel::ExpertRows& rows, int64_t n, int64_t k,
                         const void* a, const kernel::ExpertsRef& b, void* c) {
  each_expert(rows, [&](int64_t e, int64_t first, int64_t count) {
    gemm(stream, type, type, count, n, k, {at(type, a, first * k), k, 1},
         {at(type, b.data, e * b.expert_stride), b.row_stride, b.col_stride},
         const_cast<void*>(at(type, c, first * n)), n, false);
  });
}

inline void grouped_gemm_sum(kernel::Stream stream, kernel::Type type, const kernel::ExpertRows& rows, int64_t m,
                             int64_t n, const void* a, const void* b, float* c, int64_t c_expert_stride,
                             int64_t c_row_stride) {
  each_expert(rows, [&](int64_t e, int64_t first, int64_t count) {
    gemm(stream, type, kernel::Type::f32, m, n, count, {at(type, a, first * m), 1, m}, {at(type, b, first * n), n, 1},
         c + e * c_expert_stride, c_row_stride, true);
  });
}

}  // namespace grpo::GRPO_ISA
