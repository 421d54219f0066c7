// Kernels that work row by row: embedding, norms, rotations, gates. Each row is computed by the same sequence
// of operations whatever the other rows are. Included by isa.cpp only.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/parallel.h"
#include "kernels/cpu/cpu.h"
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
void rms_norm(kernel::Stream, int64_t rows, int64_t n, const void* x, const void* weight, float epsilon, void* y) {
  each_row(rows, n, [&](int64_t row) {
    const T* from = static_cast<const T*>(x) + row * n;
    scale_row(from, static_cast<const T*>(weight), n, inverse_rms(from, n, epsilon), static_cast<T*>(y) + row * n);
  });
}

template <class T>
void rms_norm_backward(kernel::Stream, int64_t rows, int64_t n, const void* x, const void* weight, const void* dy,
                       float epsilon, void* dx, float* dw) {
  reduce_rows(rows, n, dw, [&](int64_t row, float* partial) {
    rms_norm_row_backward(static_cast<const T*>(x) + row * n, static_cast<const T*>(weight),
                          static_cast<const T*>(dy) + row * n, n, epsilon, static_cast<T*>(dx) + row * n, partial);
  });
}

// silu(gate)·up, the two halves of each row.
template <class T>
void swiglu(kernel::Stream, int64_t rows, int64_t n, const void* gate_up, void* y) {
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
void swiglu_backward(kernel::Stream, int64_t rows, int64_t n, const void* gate_up, const void* dy, void* dgate_up) {
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
inline void rotate(const kernel::Rope& r, const float* x, int64_t row, float sign, float* y) {
  const int64_t rotary = r.layout.rotary_dim(), half = rotary / 2, still = r.layout.head_dim - rotary;
  const float *cos = r.table + static_cast<int64_t>(r.positions[row]) * rotary, *sin = cos + half;
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
void rope(kernel::Stream, const kernel::Rope& r, const void* qkv, void* out) {
  const int64_t width = r.layout.width(), d = r.layout.head_dim, turned_heads = r.layout.heads + r.layout.kv_heads,
                values = turned_heads * d;
  each_row(r.rows, 4 * width, [&](int64_t row) {
    const T* from = static_cast<const T*>(qkv) + row * width;
    T* to = static_cast<T*>(out) + row * width;
    float vector[1024];
    for (int64_t head = 0; head < turned_heads; ++head) {
      const T* x = from + head * d;
      const T* norm = static_cast<const T*>(head < r.layout.heads ? r.q_norm : r.k_norm);
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
void rope_backward(kernel::Stream, const kernel::Rope& r, const void* qkv, const void* dout, void* dqkv, float* dq_norm,
                   float* dk_norm) {
  const int64_t width = r.layout.width(), d = r.layout.head_dim, turned_heads = r.layout.heads + r.layout.kv_heads,
                values = turned_heads * d;
  std::vector<float> norms(2 * d, 0.0f);  // gradients of the two norm weights
  reduce_rows(r.rows, 2 * d, norms.data(), [&](int64_t row, float* partial) {
    const T* from = static_cast<const T*>(qkv) + row * width;
    const T* grad = static_cast<const T*>(dout) + row * width;
    T* to = static_cast<T*>(dqkv) + row * width;
    float vector[1024], x[1024], weight[1024];
    for (int64_t head = 0; head < turned_heads; ++head) {
      for (int64_t j = 0; j < d; ++j) x[j] = widen(grad[head * d + j]);
      rotate(r, x, row, -1.0f, vector);
      const bool query = head < r.layout.heads;
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

template <class T>
void embedding(kernel::Stream, int64_t rows, int64_t n, const void* weight, const int32_t* tokens, void* y) {
  for (int64_t row = 0; row < rows; ++row)
    std::memcpy(static_cast<T*>(y) + row * n, static_cast<const T*>(weight) + tokens[row] * n, sizeof(T) * n);
}

// A thread takes some columns and adds the tokens in order.
template <class T>
void embedding_backward(kernel::Stream, int64_t rows, int64_t n, const void* dy, const int32_t* tokens, float* dw) {
  constexpr int64_t kColumns = 256;
  parallel_for((n + kColumns - 1) / kColumns, [&](int64_t task) {
    const int64_t begin = task * kColumns, end = std::min(n, begin + kColumns);
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t j = begin; j < end; ++j) dw[tokens[row] * n + j] += widen(static_cast<const T*>(dy)[row * n + j]);
  });
}

}  // namespace grpo::GRPO_ISA
