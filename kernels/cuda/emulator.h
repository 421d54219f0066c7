// CUDA's execution model on the CPU, for tests: blocks one after another in a shuffled order, the threads of a block as
// fibers that run in a shuffled order from barrier to barrier. What depends on an order that a card does not promise, or
// on dynamic shared memory that nobody wrote, or waits at a barrier that not all reach, shows.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static thread_local
#define __syncthreads() grpo::emulator::sync_block()
#define __syncwarp() grpo::emulator::sync_warp()
#define threadIdx (grpo::emulator::place.thread)
#define blockIdx (grpo::emulator::place.block)
#define blockDim (grpo::emulator::place.block_size)
#define gridDim (grpo::emulator::place.grid)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace grpo::emulator {

struct Place {
  dim3 thread, block, block_size, grid;
};
extern thread_local Place place;  // of the fiber that runs

/// Runs a kernel. Throws Error when threads wait for each other at different places.
void run(dim3 grid, int threads, size_t shared, const std::function<void()>& kernel);

void sync_block();
void sync_warp();
void* shared_memory();

/// What each of the warp's 32 threads gives, `count` words of up to 8, as [32][8]. All of them come here together.
const uint32_t (*gather(const uint32_t* words, int count))[8];

}  // namespace grpo::emulator

namespace grpo::cuda {

struct bf16 {
  uint16_t bits;
};
inline float widen(bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof(wide));
  return wide;
}
inline bf16 narrow(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  if (std::isnan(x)) return {0x7fff};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
using std::isfinite;
using std::isnan;
using std::max;
using std::min;

template <class T>
T shuffle_from(T x, int lane) {
  static_assert(sizeof(T) == 4);
  uint32_t word;
  std::memcpy(&word, &x, 4);
  std::memcpy(&x, &emulator::gather(&word, 1)[lane][0], 4);
  return x;
}
inline int lane() { return static_cast<int>(threadIdx.x % 32); }
template <class T>
T shuffle_xor(T x, int lanes) {
  return shuffle_from(x, lane() ^ lanes);
}

inline uint32_t transpose(uint32_t x) {
  const auto all = emulator::gather(&x, 1);
  const int row = lane() / 4, pair = lane() % 4;
  const auto at = [&](int r) { return all[4 * r + row / 2][0] >> (16 * (row % 2)) & 0xffff; };
  return at(2 * pair) | at(2 * pair + 1) << 16;
}
inline void prefetch(const void*, int) {}
inline bool warp_any(bool x) {
  const uint32_t word = x;
  const auto all = emulator::gather(&word, 1);
  for (int i = 0; i < 32; ++i)
    if (all[i][0]) return true;
  return false;
}
inline float fast_exp2(float x) { return std::exp2(x); }

void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);

template <class T>
T* dynamic_shared() {
  return static_cast<T*>(emulator::shared_memory());
}

template <class... Parameters, class... Arguments>
void launch(const char*, void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared, kernel::Stream,
            Arguments... arguments) {
  emulator::run(grid, threads, shared, [&] { kernel(arguments...); });
}

}  // namespace grpo::cuda
