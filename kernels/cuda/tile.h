// A tile of attention: 64 keys, and what queries make of it. Sampling, prefill and training go through the same procedure.
#pragma once

#include "kernels/cuda/fold.h"
#include "kernels/cuda/kernels.h"

namespace grpo::cuda {

constexpr int kKeys = 64;   // of a tile, and of a page's block
constexpr int kRows = 16;   // queries that a warp has at most: two octets
constexpr int kWarps = 4;
constexpr int64_t kProcessors = 132;  // of a card: how launches are divided, which changes no bit

struct alignas(16) Words {
  uint32_t x, y, z, w;
};
__device__ inline Words words_at(const bf16* p) { return *reinterpret_cast<const Words*>(p); }

// What a tile gives to queries 2(lane % 4) and the next of each octet: the maximum of its scores (times log2 e), the sum
// of the weights, and the weighted values: o[i] has row 16i + lane / 4 of both queries, then row 8 behind it.
template <int kDim, int kOctets>
struct Tile {
  float maximum[kOctets][2], sum[kOctets][2];
  float o[kOctets][kDim / 16][4];
};

// Over the lanes that have the same queries.
__device__ inline float column_max(float x) {
  for (int lanes = 4; lanes < kWarp; lanes *= 2) x = fmaxf(x, shuffle_xor(x, lanes));
  return x;
}
__device__ inline float column_sum(float x) {
  for (int lanes = 4; lanes < kWarp; lanes *= 2) x = x + shuffle_xor(x, lanes);
  return x;
}

// Fragments of octets of queries, of which a lane loads number lane / 4, or zeros for null. The k index runs through
// memory in 16 bytes a lane: queries and keys are permuted alike, and so are weights and values.
struct alignas(8) Half {
  uint32_t x, y;
};
template <int kDim, int kOctets>
struct Queries {  // in registers
  Half halves[kOctets][kDim / 16];

  __device__ Half get(int octet, int step) const { return halves[octet][step]; }
  __device__ void set(int octet, int step, Half half) { halves[octet][step] = half; }
};
template <int kDim>
struct SharedQueries {  // in shared memory, for all warps of a block: registers are what bounds how many run
  Half (*halves)[kDim / 16][kWarp];

  static constexpr int kBytes = sizeof(Half) * kDim / 16 * kWarp;  // of an octet
  __device__ SharedQueries octet(int number) const { return {halves + number}; }
  __device__ Half get(int octet, int step) const { return halves[octet][step][threadIdx.x % kWarp]; }
  __device__ void set(int octet, int step, Half half) { halves[octet][step][threadIdx.x % kWarp] = half; }
};
template <int kDim, class Q>
__device__ void read_query(Q& q, int octet, const bf16* row) {
#pragma unroll
  for (int b = 0; b < kDim / 32; ++b) {
    Words x{0, 0, 0, 0};
    if (row) x = words_at(row + 32 * b + 8 * (threadIdx.x % 4));
    q.set(octet, 2 * b, {x.x, x.y}), q.set(octet, 2 * b + 1, {x.z, x.w});
  }
}

// The softmax of an octet's scores by itself: weights as the second product takes them, the maximum and the sum.
__device__ inline void weigh(float (&s)[4][4], int first_key, const int (&seen)[2], float scale, float (&maximum)[2],
                             float (&total)[2], uint32_t (&p)[4][2]) {
  float most[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
#pragma unroll
  for (int j = 0; j < 4; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = 32 * (j / 2) + 4 * (j % 2) + first_key + 2 * (i / 2);
      s[j][i] = key < seen[i % 2] ? s[j][i] * scale : -INFINITY;
      most[i % 2] = fmaxf(most[i % 2], s[j][i]);
    }
#pragma unroll
  for (int e = 0; e < 2; ++e) maximum[e] = column_max(most[e]);
#pragma unroll
  for (int j = 0; j < 4; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float top = maximum[i % 2];
      s[j][i] = exp2f(s[j][i] - (top == -INFINITY ? 0.0f : top));
      sum[i % 2] = sum[i % 2] + s[j][i];
    }
#pragma unroll
  for (int e = 0; e < 2; ++e) total[e] = column_sum(sum[e]);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    p[j][0] = transpose(narrow2(s[j][0], s[j][1]));
    p[j][1] = transpose(narrow2(s[j][2], s[j][3]));
  }
}

// One tile: scores are keys · queries, and the result is values · weights, so that the few queries of a sequence that is
// sampled fill half an instruction's columns and not an eighth of its rows. Keys lie in rows `k_stride` apart, values by
// eights of keys: values + (key / 8) · eight_stride + column · v_stride + key % 8. A lane's queries see the keys below
// seen; what nobody sees must be finite. Swizzled tiles lie as in pages (write_pages): there they are of one piece, so that
// values can be asked for ahead (`asks`), and the keys at `next`, unless null.
template <int kDim, int kOctets, bool kSwizzled, class Q>
__device__ void attend(const Q& q, const bf16* keys, int64_t k_stride, const bf16* values, int64_t eight_stride,
                       int64_t v_stride, const int (&seen)[kOctets][2], float scale, Tile<kDim, kOctets>& tile,
                       bool asks = false, const bf16* next = nullptr) {
  const int row = threadIdx.x % kWarp / 4, quad = threadIdx.x % 4;
  const int first_key = 8 * (row / 2) + row % 2;  // of row `row`: those of tile j are 32(j / 2) + 4(j % 2) behind, and 2 more
  constexpr int kHalf = static_cast<int>(sizeof(bf16)) * kKeys * kDim;
  asks = asks && threadIdx.x % kWarp == 0;
  if (asks) prefetch(values, kHalf);
  float s[kOctets][4][4];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const bf16* key = keys + (32 * (j / 2) + 4 * (j % 2) + first_key) * k_stride + 8 * quad;
    constexpr bool kTurns = kSwizzled && kDim % 64 == 0;
#pragma unroll
    for (int o = 0; o < kOctets; ++o)
#pragma unroll
      for (int i = 0; i < 4; ++i) s[o][j][i] = 0.0f;
#pragma unroll
    for (int b = 0; b < kDim / 32; ++b) {
      const int at = 32 * (kTurns ? b ^ (row % 2) : b);
      const Words x = words_at(key + at), y = words_at(key + 2 * k_stride + at);
      const uint32_t low[4] = {x.x, y.x, x.y, y.y}, high[4] = {x.z, y.z, x.w, y.w};
#pragma unroll
      for (int o = 0; o < kOctets; ++o) {
        const Half first = q.get(o, 2 * b), second = q.get(o, 2 * b + 1);
        mma(s[o][j], low, first.x, first.y);
        mma(s[o][j], high, second.x, second.y);
      }
    }
  }
  if (asks && next) prefetch(next, kHalf);
  uint32_t p[kOctets][4][2];
#pragma unroll
  for (int o = 0; o < kOctets; ++o) weigh(s[o], first_key, seen[o], scale, tile.maximum[o], tile.sum[o], p[o]);
#pragma unroll
  for (int i = 0; i < kDim / 16; ++i) {
    const bf16* value = values + (16 * i + (kSwizzled ? row ^ 2 * quad : row)) * v_stride + quad * eight_stride;
#pragma unroll
    for (int o = 0; o < kOctets; ++o)
#pragma unroll
      for (int e = 0; e < 4; ++e) tile.o[o][i][e] = 0.0f;
#pragma unroll
    for (int b = 0; b < 2; ++b) {
      const bf16* at = value + 4 * b * eight_stride;
      const Words x = words_at(at), y = words_at(at + 8 * v_stride);
      const uint32_t low[4] = {x.x, y.x, x.y, y.y}, high[4] = {x.z, y.z, x.w, y.w};
#pragma unroll
      for (int o = 0; o < kOctets; ++o) {
        mma(tile.o[o][i], low, p[o][2 * b][0], p[o][2 * b][1]);
        mma(tile.o[o][i], high, p[o][2 * b + 1][0], p[o][2 * b + 1][1]);
      }
    }
  }
}

// What a warp has folded of 16 queries.
template <int kDim>
struct Rows {
  Folded folded[2][2];
  float o[2][kDim / 16][4] = {};

  __device__ void add(const Tile<kDim, 2>& tile) {
#pragma unroll
    for (int octet = 0; octet < 2; ++octet)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        folded[octet][e].fold(tile.maximum[octet][e], tile.sum[octet][e]);
#pragma unroll
        for (int i = 0; i < kDim / 16; ++i)
          for (int h = e; h < 4; h += 2) o[octet][i][h] = folded[octet][e].value(o[octet][i][h], tile.o[octet][i][h]);
      }
  }
  // f(octet, which of the lane's two queries, column, value)
  template <class F>
  __device__ void each(F f) const {
#pragma unroll
    for (int octet = 0; octet < 2; ++octet)
#pragma unroll
      for (int e = 0; e < 2; ++e)
#pragma unroll
        for (int i = 0; i < kDim / 16; ++i)
          for (int h = 0; h < 2; ++h)
            f(octet, e, 16 * i + static_cast<int>(threadIdx.x % kWarp) / 4 + 8 * h,
              o[octet][i][2 * h + e] / folded[octet][e].sum);
  }
};

// Rows behind the last segment see nothing.
static __global__ void zero_inert(int64_t width, const int32_t* live, bf16* out) {
  if (static_cast<int64_t>(blockIdx.x) < *live) return;
  for (int64_t j = threadIdx.x; j < width; j += blockDim.x) out[blockIdx.x * width + j] = narrow(0.0f);
}

inline dim3 grid(int64_t x, int64_t y = 1) { return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y)); }

}  // namespace grpo::cuda
