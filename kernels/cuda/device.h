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
__device__ inline int32_t shuffle_up(int32_t x, int lanes) { return __shfl_up_sync(~0u, x, lanes); }

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

template <class T>
__device__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char grpo_dynamic_shared[];
  return reinterpret_cast<T*>(grpo_dynamic_shared);
}

template <class... Parameters, class... Arguments>
void launch(const char* op, void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared, kernel::Stream stream,
            Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (shared > 48 << 10)
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
  kernel<<<grid, threads, shared, static_cast<cudaStream_t>(stream.handle)>>>(arguments...);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess)
    throw Error(op, "the CUDA kernel could not be launched: ", cudaGetErrorString(error));
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

// Sums in one fixed order: of a warp by halves, of a block warp by warp. `shared` holds a value for each warp.
__device__ inline float warp_sum(float x) {
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) x = x + shuffle_xor(x, lanes);
  return x;
}
__device__ inline float warp_max(float x) {
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) x = fmaxf(x, shuffle_xor(x, lanes));
  return x;
}
template <class F>
__device__ inline float block_reduce(float x, float* shared, F combine) {
  __syncthreads();  // whoever used `shared` before is done
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  x = shared[0];
  for (unsigned i = 1; i < blockDim.x / kWarp; ++i) x = combine(x, shared[i]);
  return x;
}
__device__ inline float block_sum(float x, float* shared) {
  return block_reduce(warp_sum(x), shared, [](float a, float b) { return a + b; });
}
__device__ inline float block_max(float x, float* shared) {
  return block_reduce(warp_max(x), shared, [](float a, float b) { return fmaxf(a, b); });
}

}  // namespace grpo::cuda
