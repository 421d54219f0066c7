// What no library gives: a product in fp32 whose rows keep their bits.
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace grpo::cuda {
namespace {

constexpr int kRows = 4;      // of a block
constexpr int kColumns = 64;
constexpr int kDepth = 128;   // of k at a time, of which each warp has 16
constexpr int kWarps = 8, kThreads = kWarps * kWarp;
constexpr int kOfColumns = kColumns / kWarps;  // that a warp carries, a run of four along k a lane
static_assert(kDepth == 4 * kWarp && kRows <= kWarps);

struct alignas(16) Four {
  float x[4];
};
__device__ Four load(const float* from, int64_t count) {
  if (count >= 4 && reinterpret_cast<uintptr_t>(from) % 16 == 0) return *reinterpret_cast<const Four*>(from);
  Four v{};
  for (int i = 0; i < count && i < 4; ++i) v.x[i] = from[i];
  return v;
}

// A lane has columns lane and lane + 32 of all the block's rows; a warp's sums go over its share of each depth, and one
// warp's follow the other's. What comes next is on its way while a depth is worked on.
__global__ void __launch_bounds__(kThreads) rows_times_columns(int64_t m, int64_t n, int64_t k, const float* a,
                                                               const float* b, float* c) {
  __shared__ __align__(16) float columns[kColumns][kDepth + 4];
  __shared__ __align__(16) float rows[kRows][kDepth + 4];
  __shared__ float sums[kWarps][kRows][kColumns];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kRows, first = static_cast<int64_t>(blockIdx.y) * kColumns;
  Four next[kOfColumns], next_row{};
  const auto fetch = [&](int64_t at) {
#pragma unroll
    for (int i = 0; i < kOfColumns; ++i) {
      const int64_t column = first + warp + i * kWarps;
      next[i] = column < n ? load(b + column * k + at + 4 * lane, k - at - 4 * lane) : Four{};
    }
    if (warp < kRows)
      next_row = first_row + warp < m ? load(a + (first_row + warp) * k + at + 4 * lane, k - at - 4 * lane) : Four{};
  };
  float sum[kRows][2] = {};
  fetch(0);
  for (int64_t at = 0; at < k; at += kDepth) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kOfColumns; ++i) *reinterpret_cast<Four*>(&columns[warp + i * kWarps][4 * lane]) = next[i];
    if (warp < kRows) *reinterpret_cast<Four*>(&rows[warp][4 * lane]) = next_row;
    __syncthreads();
    fetch(at + kDepth);
#pragma unroll
    for (int i = 0; i < kDepth / kWarps; i += 4) {
      const int depth = warp * (kDepth / kWarps) + i;
      Four w[2];
      for (int e = 0; e < 2; ++e) w[e] = *reinterpret_cast<const Four*>(&columns[lane + e * kWarp][depth]);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const Four x = *reinterpret_cast<const Four*>(&rows[r][depth]);
#pragma unroll
        for (int e = 0; e < 2; ++e)
#pragma unroll
          for (int d = 0; d < 4; ++d) sum[r][e] = fmaf(x.x[d], w[e].x[d], sum[r][e]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int e = 0; e < 2; ++e) sums[warp][r][lane + e * kWarp] = sum[r][e];
  __syncthreads();
  for (int i = threadIdx.x; i < kRows * kColumns; i += kThreads) {
    const int r = i / kColumns, j = i % kColumns;
    float total = sums[0][r][j];
    for (int w = 1; w < kWarps; ++w) total = total + sums[w][r][j];
    if (first_row + r < m && first + j < n) c[(first_row + r) * n + first + j] = total;
  }
}

}  // namespace

#ifdef __CUDACC__
bool runs_here(int device) {
  int before = 0;
  cudaFuncAttributes of;
  const bool runs = cudaGetDevice(&before) == cudaSuccess && cudaSetDevice(device) == cudaSuccess &&
                    cudaFuncGetAttributes(&of, rows_times_columns) == cudaSuccess;
  cudaGetLastError();
  cudaSetDevice(before);
  return runs;
}
#endif

void narrow_product(Stream stream, int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c) {
  launch("linear", rows_times_columns,
         dim3(static_cast<unsigned>((m + kRows - 1) / kRows), static_cast<unsigned>((n + kColumns - 1) / kColumns)),
         kThreads, 0, stream, m, n, k, a, b, c);
}

}  // namespace grpo::cuda
