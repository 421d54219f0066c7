// Kernels that work row by row: norms, rotations, gates, softmax statistics. Each row is computed by the same sequence
// of operations whatever the other rows are. Included by isa.cpp only.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/simd.h"

namespace grpo::GRPO_ISA {

// Calls f(offset, lanes) for the vectors that cover n elements; lanes < kLanes at most in the last.
template <class F>
inline void each_vector(int64_t n, F f) {
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) f(j, kLanes);
  if (j < n) f(j, static_cast<int>(n - j));
}
template <class T>
inline Vec load_some(const T* p, int lanes) {
  return lanes == kLanes ? load(p) : load(p, lanes);
}
template <class T>
inline void store_some(T* p, Vec v, int lanes) {
  lanes == kLanes ? store(p, v) : store(p, v, lanes);
}

// Rows are handed to threads in runs long enough to be worth it.
template <class F>
inline void each_row(int64_t rows, int64_t width, F f) {
  const int64_t run = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width));
  parallel_for((rows + run - 1) / run, [&](int64_t task) {
    for (int64_t row = task * run; row < std::min(rows, (task + 1) * run); ++row) f(row);
  });
}

template <class T>
float inverse_rms(const T* x, int64_t n, float epsilon) {
  Vec squares = zero();
  each_vector(n, [&](int64_t j, int lanes) {
    const Vec v = load_some(x + j, lanes);
    squares = fma(v, v, squares);
  });
  return 1.0f / std::sqrt(sum(squares) / static_cast<float>(n) + epsilon);
}

// y = x · r · w; x and y may be the same.
template <class T>
void scale_row(const T* x, const T* weight, int64_t n, float r, T* y) {
  each_vector(n, [&](int64_t j, int lanes) {
    store_some(y + j, load_some(x + j, lanes) * splat(r) * load_some(weight + j, lanes), lanes);
  });
}

// With x̂ = x·r: dx = r·(w·dy − x̂·mean(w·dy·x̂)), and dw += dy·x̂.
template <class T, class D>
void rms_norm_row_backward(const T* x, const T* weight, const D* dy, int64_t n, float epsilon, D* dx, float* dw) {
  const float r = inverse_rms(x, n, epsilon);
  Vec dot = zero();
  each_vector(n, [&](int64_t j, int lanes) {
    const Vec normed = load_some(x + j, lanes) * splat(r), g = load_some(dy + j, lanes);
    dot = fma(g * load_some(weight + j, lanes), normed, dot);
    store_some(dw + j, fma(g, normed, load_some(dw + j, lanes)), lanes);
  });
  const float mean = sum(dot) / static_cast<float>(n);
  each_vector(n, [&](int64_t j, int lanes) {
    const Vec normed = load_some(x + j, lanes) * splat(r);
    const Vec g = load_some(dy + j, lanes) * load_some(weight + j, lanes);
    store_some(dx + j, splat(r) * fma(normed, splat(-mean), g), lanes);
  });
}

// Sums of rows are taken over blocks of fixed size and then over the blocks in order: the same for any thread count.
constexpr int64_t kReduceRows = 64;

template <class F>
void reduce_rows(int64_t rows, int64_t n, float* total, F f) {
  const int64_t blocks = (rows + kReduceRows - 1) / kReduceRows;
  std::vector<float> partial(blocks * n, 0.0f);
  parallel_for(blocks, [&](int64_t block) {
    for (int64_t row = block * kReduceRows; row < std::min(rows, (block + 1) * kReduceRows); ++row)
      f(row, partial.data() + block * n);
  });
  for (int64_t block = 0; block < blocks; ++block)
    for (int64_t j = 0; j < n; ++j) total[j] += partial[block * n + j];
}

template <class T>
void rms_norm(int64_t rows, int64_t n, const void* x, const void* weight, float epsilon, void* y) {
  each_row(rows, n, [&](int64_t row) {
    const T* from = static_cast<const T*>(x) + row * n;
    scale_row(from, static_cast<const T*>(weight), n, inverse_rms(from, n, epsilon), static_cast<T*>(y) + row * n);
  });
}

template <class T>
void rms_norm_backward(int64_t rows, int64_t n, const void* x, const void* weight, const void* dy, float epsilon,
                       void* dx, float* dw) {
  reduce_rows(rows, n, dw, [&](int64_t row, float* partial) {
    rms_norm_row_backward(static_cast<const T*>(x) + row * n, static_cast<const T*>(weight),
                          static_cast<const T*>(dy) + row * n, n, epsilon, static_cast<T*>(dx) + row * n, partial);
  });
}

// silu(gate)·up, the two halves of each row.
template <class T>
void swiglu(int64_t rows, int64_t n, const void* gate_up, void* y) {
  each_row(rows, 4 * n, [&](int64_t row) {
    const T* gate = static_cast<const T*>(gate_up) + row * 2 * n;
    T* to = static_cast<T*>(y) + row * n;
    each_vector(n, [&](int64_t j, int lanes) {
      const Vec g = load_some(gate + j, lanes);
      store_some(to + j, g * sigmoid(g) * load_some(gate + n + j, lanes), lanes);
    });
  });
}

template <class T>
void swiglu_backward(int64_t rows, int64_t n, const void* gate_up, const void* dy, void* dgate_up) {
  each_row(rows, 4 * n, [&](int64_t row) {
    const T* gate = static_cast<const T*>(gate_up) + row * 2 * n;
    const T* d = static_cast<const T*>(dy) + row * n;
    T* to = static_cast<T*>(dgate_up) + row * 2 * n;
    each_vector(n, [&](int64_t j, int lanes) {
      const Vec g = load_some(gate + j, lanes), up = load_some(gate + n + j, lanes), grad = load_some(d + j, lanes);
      const Vec s = sigmoid(g);
      store_some(to + j, grad * up * s * fma(g, 1.0f - s, splat(1.0f)), lanes);
      store_some(to + n + j, grad * g * s, lanes);
    });
  });
}

// (a, b) of a head vector's last columns turn by the angle of its position: the two halves pair up (GPT-NeoX order), or
// neighbours do (GPT-J order). The columns before them stay.
inline void rotate(const cpu::Rope& r, const float* x, int64_t row, float sign, float* y) {
  const int64_t half = r.rotary / 2, still = r.head_dim - r.rotary;
  const float *cos = r.table + static_cast<int64_t>(r.positions[row]) * r.rotary, *sin = cos + half;
  std::copy_n(x, still, y);
  const auto turn = [&](int64_t left, int64_t right, int64_t j) {
    const float a = x[left], b = x[right], s = sign * sin[j];
    y[left] = __builtin_fmaf(a, cos[j], -(b * s));
    y[right] = __builtin_fmaf(b, cos[j], a * s);
  };
  if (r.interleaved)
    for (int64_t j = 0; j < half; ++j) turn(still + 2 * j, still + 2 * j + 1, j);
  else
    for (int64_t j = 0; j < half; ++j) turn(still + j, still + half + j, j);
}

template <class T>
void rope(const cpu::Rope& r, const void* qkv, void* out) {
  const int64_t width = r.width, d = r.head_dim, values = r.turned * d;
  each_row(r.rows, 4 * width, [&](int64_t row) {
    const T* from = static_cast<const T*>(qkv) + row * width;
    T* to = static_cast<T*>(out) + row * width;
    float vector[1024];
    for (int64_t head = 0; head < r.turned; ++head) {
      const T* x = from + head * d;
      const T* norm = static_cast<const T*>(head < r.heads ? r.q_norm : r.k_norm);
      const float scale = norm ? inverse_rms(x, d, r.epsilon) : 1.0f;
      for (int64_t j = 0; j < d; ++j) vector[j] = norm ? widen(x[j]) * scale * widen(norm[j]) : widen(x[j]);
      float turned[1024];
      rotate(r, vector, row, 1.0f, turned);
      for (int64_t j = 0; j < d; ++j) put(to + head * d + j, turned[j]);
    }
    std::memcpy(to + values, from + values, sizeof(T) * (width - values));
  });
}

template <class T>
void rope_backward(const cpu::Rope& r, const void* qkv, const void* dout, void* dqkv, float* dq_norm, float* dk_norm) {
  const int64_t width = r.width, d = r.head_dim, values = r.turned * d;
  std::vector<float> norms(2 * d, 0.0f);  // gradients of the two norm weights
  reduce_rows(r.rows, 2 * d, norms.data(), [&](int64_t row, float* partial) {
    const T* from = static_cast<const T*>(qkv) + row * width;
    const T* grad = static_cast<const T*>(dout) + row * width;
    T* to = static_cast<T*>(dqkv) + row * width;
    float vector[1024], x[1024], weight[1024];
    for (int64_t head = 0; head < r.turned; ++head) {
      for (int64_t j = 0; j < d; ++j) x[j] = widen(grad[head * d + j]);
      rotate(r, x, row, -1.0f, vector);
      const bool query = head < r.heads;
      if (const T* norm = static_cast<const T*>(query ? r.q_norm : r.k_norm)) {
        float turned[1024];
        for (int64_t j = 0; j < d; ++j) x[j] = widen(from[head * d + j]), weight[j] = widen(norm[j]);
        rms_norm_row_backward(x, weight, vector, d, r.epsilon, turned, partial + (query ? 0 : d));
        for (int64_t j = 0; j < d; ++j) put(to + head * d + j, turned[j]);
      } else {
        for (int64_t j = 0; j < d; ++j) put(to + head * d + j, vector[j]);
      }
    }
    std::memcpy(to + values, grad + values, sizeof(T) * (width - values));
  });
  for (int64_t j = 0; dq_norm && j < d; ++j) dq_norm[j] += norms[j];
  for (int64_t j = 0; dk_norm && j < d; ++j) dk_norm[j] += norms[d + j];
}

// log Σ exp(x·scale), and the entropy of that softmax.
inline void logit_stats(const float* x, int64_t n, float scale, float* log_sum_exp, float* entropy) {
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
inline void logit_backward(float* x, int64_t n, float scale, float log_sum_exp, float entropy, int32_t target,
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

// y[row] = Σ_j weights[row, j] · x[slots[row, j]] + base[row]
template <class T>
void combine(int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots, const float* weights,
             const void* base, void* y) {
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
void combine_backward(int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots, const float* weights,
                      const void* dy, void* dx, float* dweights) {
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

// Scores of a router's logits in place: sigmoid, or softmax over the row.
inline void router_scores(float* x, int64_t n, bool softmax) {
  float log_sum_exp = 0.0f;
  if (softmax) logit_stats(x, n, 1.0f, &log_sum_exp, nullptr);
  each_vector(n, [&](int64_t j, int lanes) {
    const Vec v = load_some(x + j, lanes);
    store_some(x + j, softmax ? exp(v - log_sum_exp) : sigmoid(v), lanes);
  });
}

}  // namespace grpo::GRPO_ISA
