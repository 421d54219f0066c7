// Kernels that work row by row: embedding, norms, gates, rotations.
#include <algorithm>

#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace grpo::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void embedding_rows(int64_t n, const bf16* weight, const int32_t* tokens, bf16* y) {
  const bf16* from = weight + tokens[blockIdx.x] * n;
  each_column(n, [&](int64_t j, int count) { store(y + blockIdx.x * n + j, load(from + j, count), count); });
}

// Of x, or of x + more, rounded to where it goes: sum.
__global__ void rms_norm_rows(int64_t n, const bf16* x, const bf16* more, bf16* sum, const bf16* weight, float epsilon,
                              bf16* y) {
  __shared__ float sums[kThreads / kWarp];
  const bf16* row = (more ? sum : x) + blockIdx.x * n;
  float squares = 0.0f;
  each_column(n, [&](int64_t j, int count) {
    Vector v = load(x + blockIdx.x * n + j, count);
    if (more) {
      const Vector m = load(more + blockIdx.x * n + j, count);
      for (int i = 0; i < count; ++i) v.x[i] = narrow(widen(v.x[i]) + widen(m.x[i]));
      store(sum + blockIdx.x * n + j, v, count);  // a thread reads again what it wrote
    }
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

// One warp a head, whose columns go by pairs where halves turn and divide into them; the last blocks of a row carry values.
__global__ void rope_heads(kernel::Rope r, const bf16* qkv, bf16* out) {
  const int64_t width = r.layout.width(), d = r.layout.head_dim, rotary = r.layout.rotary_dim(), half = rotary / 2,
                still = d - rotary, turned = r.layout.heads + r.layout.kv_heads;
  const int lane = threadIdx.x % kWarp;
  const int64_t head = blockIdx.y * (blockDim.x / kWarp) + threadIdx.x / kWarp;
  if (head >= turned) {
    const int64_t from = blockIdx.x * width + head * d;
    if (head >= width / d) return;
    if (d % kVector == 0)
      for (int64_t j = lane * kVector; j < d; j += kWarp * kVector) store(out + from + j, load(qkv + from + j, kVector), kVector);
    else
      for (int64_t j = lane; j < d; j += kWarp) out[from + j] = qkv[from + j];
    return;
  }
  const float* angles = r.table + r.positions[blockIdx.x] * rotary;
  const bf16* x = qkv + blockIdx.x * width + head * d;
  bf16* y = out + blockIdx.x * width + head * d;
  const bf16* norm = static_cast<const bf16*>(head < r.layout.heads ? r.q_norm : r.k_norm);
  float scale = 1.0f;
  if (norm) {
    float squares = 0.0f;
    for (int64_t j = lane; j < d; j += kWarp) squares = fmaf(widen(x[j]), widen(x[j]), squares);
    scale = rsqrtf(warp_sum(squares) / static_cast<float>(d) + r.epsilon);
  }
  const auto read = [&](bf16 v, int64_t j) { return norm ? widen(v) * scale * widen(norm[j]) : widen(v); };
  for (int64_t j = lane; j < still; j += kWarp) y[j] = narrow(read(x[j], j));
  if (!r.interleaved && half % 2 == 0 && still % 2 == 0 && d % 2 == 0) {
    for (int64_t j = 2 * lane; j < half; j += 2 * kWarp) {
      const int64_t left = still + j, right = still + half + j;
      const Pair a = *reinterpret_cast<const Pair*>(x + left), b = *reinterpret_cast<const Pair*>(x + right);
      Pair first, second;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float u = read(a.x[i], left + i), v = read(b.x[i], right + i), cosine = angles[j + i], sine = angles[half + j + i];
        first.x[i] = narrow(fmaf(u, cosine, -(v * sine))), second.x[i] = narrow(fmaf(v, cosine, u * sine));
      }
      *reinterpret_cast<Pair*>(y + left) = first, *reinterpret_cast<Pair*>(y + right) = second;
    }
    return;
  }
  for (int64_t j = lane; j < half; j += kWarp) {
    const int64_t left = still + (r.interleaved ? 2 * j : j), right = still + (r.interleaved ? 2 * j + 1 : half + j);
    const float a = read(x[left], left), b = read(x[right], right), cosine = angles[j], sine = angles[half + j];
    y[left] = narrow(fmaf(a, cosine, -(b * sine)));
    y[right] = narrow(fmaf(b, cosine, a * sine));
  }
}

dim3 grid_of(int64_t rows) { return dim3(static_cast<unsigned>(rows)); }

}  // namespace

void embedding(Stream stream, int64_t rows, int64_t n, const void* weight, const int32_t* tokens, void* y) {
  launch("embedding", embedding_rows, grid_of(rows), kThreads / 2, 0, stream, n, static_cast<const bf16*>(weight),
         tokens, static_cast<bf16*>(y));
}

namespace {

// Threads for a row of so many columns.
int threads_for(int64_t n) {
  const int64_t wanted = n % kVector == 0 ? n / kVector : n;
  return static_cast<int>(std::min<int64_t>(kThreads, (wanted + kWarp - 1) / kWarp * kWarp));
}

}  // namespace

void rms_norm(Stream stream, int64_t rows, int64_t n, const void* x, const void* weight, float epsilon, void* y) {
  launch("rms_norm", rms_norm_rows, grid_of(rows), threads_for(n), 0, stream, n, static_cast<const bf16*>(x),
         static_cast<const bf16*>(nullptr), static_cast<bf16*>(nullptr), static_cast<const bf16*>(weight), epsilon,
         static_cast<bf16*>(y));
}

void add_rms_norm(Stream stream, int64_t rows, int64_t n, const void* x, const void* more, void* sum, const void* weight,
                  float epsilon, void* y) {
  launch("rms_norm", rms_norm_rows, grid_of(rows), threads_for(n), 0, stream, n, static_cast<const bf16*>(x),
         static_cast<const bf16*>(more), static_cast<bf16*>(sum), static_cast<const bf16*>(weight), epsilon,
         static_cast<bf16*>(y));
}

void swiglu(Stream stream, int64_t rows, int64_t n, const void* gate_up, void* y) {
  launch("swiglu", swiglu_rows, grid_of(rows), threads_for(n), 0, stream, n, static_cast<const bf16*>(gate_up),
         static_cast<bf16*>(y));
}

void rope(Stream stream, const kernel::Rope& r, const void* qkv, void* out) {
  constexpr int64_t kHeads = kThreads / kWarp;  // of a block
  const int64_t heads = r.layout.width() / r.layout.head_dim;
  launch("rope", rope_heads, dim3(static_cast<unsigned>(r.rows), static_cast<unsigned>((heads + kHeads - 1) / kHeads)),
         kThreads, 0, stream, r, static_cast<const bf16*>(qkv),
         static_cast<bf16*>(out));
}

}  // namespace grpo::cuda
