// What the CUDA kernels are written in: the device's own words where nvcc compiles them, and the same words on the CPU
// (emulator.h) where a test does, so that their logic is tested without a card. Sums and products stand as they are
// written: both are compiled without contraction.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "grpo/error.h"
#else
#include "kernels/cuda/emulator.h"
#endif

namespace grpo::cuda {

#ifdef __CUDACC__
using bf16 = __nv_bfloat16;
__device__ inline float widen(bf16 x) { return __bfloat162float(x); }
__device__ inline bf16 narrow(float x) { return __float2bfloat16_rn(x); }

__device__ inline float shuffle_xor(float x, int lanes) { return __shfl_xor_sync(~0u, x, lanes); }
__device__ inline int32_t shuffle_xor(int32_t x, int lanes) { return __shfl_xor_sync(~0u, x, lanes); }

// c += a·b of one tile: a 16 x 16, b 16 x 8 bf16, c 16 x 8 fp32, as mma.sync.m16n8k16 spreads them over a warp.
__device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ < 800
  __trap();  // a card without bf16
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// The transpose of an 8 x 8 matrix of 16-bit numbers, of which a lane has two neighbours of row lane / 4.
__device__ inline uint32_t transpose(uint32_t x) {
  uint32_t y;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
  return y;
}

// Brings so many bytes, a multiple of 16 like the address, closer to the processors: a hint.
__device__ inline void prefetch(const void* from, int bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
#endif
}

__device__ inline bool warp_any(bool x) { return __any_sync(~0u, x); }
// 2^x to within a few units in the last place, and 0 for what is too small.
__device__ inline float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

template <class T>
__device__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char grpo_dynamic_shared[];
  return reinterpret_cast<T*>(grpo_dynamic_shared);
}

template <class... Parameters, class... Arguments>
void launch(const char* op, void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared, kernel::Stream stream,
            Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  const auto check = [op](cudaError_t error) {
    if (error != cudaSuccess) throw Error(op, "the CUDA kernel could not be launched: ", cudaGetErrorString(error));
  };
  if (shared > 48 << 10)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
  kernel<<<grid, threads, shared, static_cast<cudaStream_t>(stream.handle)>>>(arguments...);
  check(cudaGetLastError());
}
#endif

__device__ inline uint32_t narrow2(float low, float high) {
  union {
    bf16 halves[2];
    uint32_t word;
  } both = {{narrow(low), narrow(high)}};
  return both.word;
}

constexpr int kWarp = 32;
constexpr int kVector = 8;  // bf16 in 16 bytes

struct alignas(16) Vector {
  bf16 x[kVector];
};
struct alignas(4) Pair {
  bf16 x[2];
};

// Calls f(column, count) for the columns that a thread of the block has, kVector at a time where `n` divides by it.
template <class F>
__device__ void each_column(int64_t n, F f) {
  if (n % kVector == 0)
    for (int64_t j = threadIdx.x * kVector; j < n; j += blockDim.x * kVector) f(j, kVector);
  else
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x) f(j, 1);
}
__device__ inline Vector load(const bf16* p, int count) {
  if (count == kVector) return *reinterpret_cast<const Vector*>(p);
  Vector v{};
  v.x[0] = *p;
  return v;
}
__device__ inline void store(bf16* p, const Vector& v, int count) {
  if (count == kVector)
    *reinterpret_cast<Vector*>(p) = v;
  else
    *p = v.x[0];
}

// Sums in one fixed order: of a warp by halves, of a block warp by warp. `shared` holds a value for each warp.
__device__ inline float warp_sum(float x) {
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) x = x + shuffle_xor(x, lanes);
  return x;
}
__device__ inline float warp_max(float x) {
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) x = fmaxf(x, shuffle_xor(x, lanes));
  return x;
}
__device__ inline float block_sum(float x, float* shared) {
  x = warp_sum(x);
  __syncthreads();  // whoever used `shared` before is done
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  x = shared[0];
  for (unsigned i = 1; i < blockDim.x / kWarp; ++i) x = x + shared[i];
  return x;
}

}  // namespace grpo::cuda
