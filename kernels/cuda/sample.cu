// Compiled with -fmad=false: see gumbel.h.
#include <cuda_runtime.h>

#include "grpo/error.h"
#include "kernels/cuda/sample.h"
#include "kernels/gumbel.h"

namespace grpo {
namespace {

constexpr int kThreads = 256;

// A candidate for the largest value; of equals the lowest id wins.
struct Best {
  float value;
  int32_t id;
};
__device__ Best better(Best a, Best b) { return b.value > a.value || (b.value == a.value && b.id < a.id) ? b : a; }

template <class T, class F>
__device__ T reduce(T value, T* shared, F combine) {
  shared[threadIdx.x] = value;
  for (int width = kThreads / 2; width > 0; width /= 2) {
    __syncthreads();
    if (threadIdx.x < width) shared[threadIdx.x] = combine(shared[threadIdx.x], shared[threadIdx.x + width]);
  }
  __syncthreads();
  const T result = shared[0];
  __syncthreads();  // before the next reduction writes there
  return result;
}

// One block a draw. A Philox block of four words serves ids 16 apart (philox.h), so a thread takes four ids at a time.
__global__ void sample_rows(const float* logits, int64_t vocab, float scale, const int32_t* rows, const int64_t* keys,
                            int32_t* tokens, float* logprobs) {
  __shared__ float floats[kThreads];
  __shared__ Best bests[kThreads];
  const DrawKey key = read_key(keys + blockIdx.x * kKeyColumns);
  const float* row = logits + rows[blockIdx.x] * vocab;

  float peak = -INFINITY;
  bool broken = false;
  for (int64_t id = threadIdx.x; id < vocab; id += kThreads) {
    broken |= isnan(row[id]);
    peak = fmaxf(peak, row[id]);
  }
  peak = reduce(broken ? INFINITY : peak, floats, [](float a, float b) { return fmaxf(a, b); });
  const float top = peak * scale;

  Best best{-INFINITY, 0};
  float total = 0.0f;
  const int64_t blocks = (vocab + 63) / 64 * 16;
  for (int64_t block = threadIdx.x; block < blocks; block += kThreads) {
    const PhiloxBlock bits = philox(draw_counter(key, static_cast<uint32_t>(block)), key.seed);
    for (int word = 0; word < 4; ++word) {
      const int64_t id = block / 16 * 64 + word * 16 + block % 16;
      if (id >= vocab) continue;
      const float value = row[id] * scale - top;
      total += expf(value);
      best = better(best, {value + gumbel_of(bits.word[word]), static_cast<int32_t>(id)});
    }
  }
  best = reduce(best, bests, [](Best a, Best b) { return better(a, b); });
  total = reduce(total, floats, [](float a, float b) { return a + b; });
  if (threadIdx.x == 0) {
    tokens[blockIdx.x] = isfinite(top) ? best.id : -1;
    logprobs[blockIdx.x] = row[best.id] * scale - (top + logf(total));
  }
}

}  // namespace

void sample_rows_cuda(kernel::Stream stream, int device, const float* logits, int64_t vocab, float scale,
                      const int32_t* rows, const int64_t* keys, int64_t draws, int32_t* tokens, float* logprobs) {
  cudaSetDevice(device);
  sample_rows<<<static_cast<unsigned>(draws), kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(
      logits, vocab, scale, rows, keys, tokens, logprobs);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess)
    throw Error("sample", "the CUDA kernel could not be launched: ", cudaGetErrorString(error));
}

}  // namespace grpo
