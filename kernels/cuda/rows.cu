// Kernels that work row by row: embedding, norms, gates, rotations. 16 bytes a thread where rows divide into them.
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace grpo::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kVector = 8;  // bf16 in 16 bytes

struct alignas(16) Vector {
  bf16 x[kVector];
};

// Calls f(column, count) for the columns that a thread of the block has, kVector at a time where `n` divides by it.
template <class F>
__device__ void each_column(int64_t n, F f) {
  if (n % kVector == 0)
    for (int64_t j = threadIdx.x * kVector; j < n; j += blockDim.x * kVector) f(j, kVector);
  else
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x) f(j, 1);
}
__device__ Vector load(const bf16* p, int count) {
  if (count == kVector) return *reinterpret_cast<const Vector*>(p);
  Vector v{};
  v.x[0] = *p;
  return v;
}
__device__ void store(bf16* p, const Vector& v, int count) {
  if (count == kVector)
    *reinterpret_cast<Vector*>(p) = v;
  else
    *p = v.x[0];
}

__global__ void embedding_rows(int64_t n, const bf16* weight, const int32_t* tokens, bf16* y) {
  const bf16* from = weight + tokens[blockIdx.x] * n;
  each_column(n, [&](int64_t j, int count) { store(y + blockIdx.x * n + j, load(from + j, count), count); });
}

__global__ void rms_norm_rows(int64_t n, const bf16* x, const bf16* weight, float epsilon, bf16* y) {
  __shared__ float sums[kThreads / kWarp];
  const bf16* row = x + blockIdx.x * n;
  float squares = 0.0f;
  each_column(n, [&](int64_t j, int count) {
    const Vector v = load(row + j, count);
    for (int i = 0; i < count; ++i) squares = fmaf(widen(v.x[i]), widen(v.x[i]), squares);
  });
  squares = block_sum(squares, sums);
  const float r = rsqrtf(squares / static_cast<float>(n) + epsilon);
  each_column(n, [&](int64_t j, int count) {
    Vector v = load(row + j, count);
    const Vector w = load(weight + j, count);
    for (int i = 0; i < count; ++i) v.x[i] = narrow(widen(v.x[i]) * r * widen(w.x[i]));
    store(y + blockIdx.x * n + j, v, count);
  });
}

__global__ void swiglu_rows(int64_t n, const bf16* gate_up, bf16* y) {
  const bf16* row = gate_up + blockIdx.x * 2 * n;
  each_column(n, [&](int64_t j, int count) {
    Vector gate = load(row + j, count);
    const Vector up = load(row + n + j, count);
    for (int i = 0; i < count; ++i) {
      const float g = widen(gate.x[i]);
      gate.x[i] = narrow(g / (1.0f + expf(-g)) * widen(up.x[i]));
    }
    store(y + blockIdx.x * n + j, gate, count);
  });
}

// One warp a head: a lane has columns lane, lane + 32 …
__global__ void rope_heads(kernel::Rope r, const bf16* qkv, bf16* out) {
  const int64_t width = r.layout.width(), d = r.layout.head_dim, rotary = r.layout.rotary_dim(), half = rotary / 2,
                still = d - rotary, turned = r.layout.heads + r.layout.kv_heads;
  const int lane = threadIdx.x % kWarp;
  const float* angles = r.table + r.positions[blockIdx.x] * rotary;
  for (int64_t head = threadIdx.x / kWarp; head < turned; head += blockDim.x / kWarp) {
    const bf16* x = qkv + blockIdx.x * width + head * d;
    bf16* y = out + blockIdx.x * width + head * d;
    const bf16* norm = static_cast<const bf16*>(head < r.layout.heads ? r.q_norm : r.k_norm);
    float scale = 1.0f;
    if (norm) {
      float squares = 0.0f;
      for (int64_t j = lane; j < d; j += kWarp) squares = fmaf(widen(x[j]), widen(x[j]), squares);
      scale = rsqrtf(warp_sum(squares) / static_cast<float>(d) + r.epsilon);
    }
    const auto read = [&](int64_t j) { return norm ? widen(x[j]) * scale * widen(norm[j]) : widen(x[j]); };
    for (int64_t j = lane; j < still; j += kWarp) y[j] = narrow(read(j));
    for (int64_t j = lane; j < half; j += kWarp) {
      const int64_t left = still + (r.interleaved ? 2 * j : j), right = still + (r.interleaved ? 2 * j + 1 : half + j);
      const float a = read(left), b = read(right), cosine = angles[j], sine = angles[half + j];
      y[left] = narrow(fmaf(a, cosine, -(b * sine)));
      y[right] = narrow(fmaf(b, cosine, a * sine));
    }
  }
  for (int64_t j = turned * d + threadIdx.x; j < width; j += blockDim.x)
    out[blockIdx.x * width + j] = qkv[blockIdx.x * width + j];
}

dim3 grid_of(int64_t rows) { return dim3(static_cast<unsigned>(rows)); }

}  // namespace

void embedding(Stream stream, int64_t rows, int64_t n, const void* weight, const int32_t* tokens, void* y) {
  launch("embedding", embedding_rows, grid_of(rows), kThreads / 2, 0, stream, n, static_cast<const bf16*>(weight),
         tokens, static_cast<bf16*>(y));
}

void rms_norm(Stream stream, int64_t rows, int64_t n, const void* x, const void* weight, float epsilon, void* y) {
  launch("rms_norm", rms_norm_rows, grid_of(rows), kThreads, 0, stream, n, static_cast<const bf16*>(x),
         static_cast<const bf16*>(weight), epsilon, static_cast<bf16*>(y));
}

void swiglu(Stream stream, int64_t rows, int64_t n, const void* gate_up, void* y) {
  launch("swiglu", swiglu_rows, grid_of(rows), kThreads, 0, stream, n, static_cast<const bf16*>(gate_up),
         static_cast<bf16*>(y));
}

void rope(Stream stream, const kernel::Rope& r, const void* qkv, void* out) {
  launch("rope", rope_heads, grid_of(r.rows), kThreads, 0, stream, r, static_cast<const bf16*>(qkv),
         static_cast<bf16*>(out));
}

}  // namespace grpo::cuda
