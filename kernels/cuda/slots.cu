// Running sequences that a device brings forward by itself: the pass over their last tokens, and what comes of it.
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace grpo::cuda {
namespace {

constexpr int kThreads = 128, kPassThreads = 512;
constexpr int kKeyColumns = 6, kPositionColumn = 5;  // base/philox.h

// One block. Each thread has a run of rows, one behind the other.
__global__ void make_pass(kernel::Slots s, int rows, const int32_t* who, int most, int32_t* tokens, int32_t* positions,
                          int32_t* slots, int32_t* draw_rows, int64_t* keys, int32_t* siblings) {
  __shared__ int32_t before[kPassThreads];
  int32_t* parents = siblings + 1 + 2 * rows;
  for (int i = threadIdx.x; i < rows; i += blockDim.x) {
    const int32_t slot = who[i];
    const bool runs = slot >= 0 && !s.waiting[slot];
    const int32_t parent = runs ? s.parents[slot] : -1;
    tokens[i] = runs ? s.tokens[slot] : 0;
    positions[i] = runs ? s.lengths[slot] + (parent < 0 ? 0 : s.lengths[parent]) : 0;
    slots[i] = runs ? slot : -1;
    draw_rows[i] = runs ? i : -1;
    parents[i] = parent;
    for (int j = 0; j < kKeyColumns; ++j) keys[i * kKeyColumns + j] = runs ? s.keys[slot * kKeyColumns + j] : 0;
  }
  __syncthreads();
  const int run = (rows + kPassThreads - 1) / kPassThreads, first = threadIdx.x * run, end = min(first + run, rows);
  int place = 0;  // among its parent's neighbours, of the row before `first`
  for (int i = first; i > 0 && i < rows && parents[i - 1] == parents[first]; --i) ++place;
  // Of a set that is more than one: alone, a sequence reads its prompt itself.
  const auto leads = [&](int i, int at) {
    return parents[i] >= 0 && at % most == 0 && most > 1 && i + 1 < rows && parents[i + 1] == parents[i];
  };
  int count = 0;
  for (int i = first, at = place; i < end; ++i, ++at) {
    if (i > first && parents[i] != parents[i - 1]) at = 0;
    count += leads(i, at);
  }
  before[threadIdx.x] = count;
  for (int step = 1; step < kPassThreads; step *= 2) {
    __syncthreads();
    const int32_t other = static_cast<int>(threadIdx.x) >= step ? before[threadIdx.x - step] : 0;
    __syncthreads();
    before[threadIdx.x] += other;
  }
  int32_t* next = siblings + 1 + 2 * (before[threadIdx.x] - count);
  for (int i = first, at = place; i < end; ++i, ++at) {
    if (i > first && parents[i] != parents[i - 1]) at = 0;
    if (!leads(i, at)) continue;
    int members = 1;
    while (members < most && i + members < rows && parents[i + members] == parents[i]) ++members;
    next[0] = i, next[1] = members, next += 2;
  }
  if (threadIdx.x == kPassThreads - 1) siblings[0] = before[threadIdx.x];
  __syncthreads();
  for (int i = threadIdx.x; i < rows; i += blockDim.x) parents[i] = 0;
  __syncthreads();
  for (int set = threadIdx.x; set < siblings[0]; set += blockDim.x)
    for (int i = 0; i < siblings[2 + 2 * set]; ++i) parents[siblings[1 + 2 * set] + i] = 1;
}

__global__ void take(kernel::Slots s, int64_t rows, const int32_t* slots, const int32_t* tokens, const float* logprobs,
                     const float* entropies, int32_t longer) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= rows || slots[i] < 0) return;
  const int64_t slot = slots[i], place = slot * s.horizon + s.counts[slot];
  s.counts[slot] += 1;
  s.lengths[slot] += longer;
  s.drawn[place] = tokens[i], s.tokens[slot] = tokens[i];
  s.logprobs[place] = logprobs[i], s.entropies[place] = entropies[i];
  const int64_t count = s.keys[slot * kKeyColumns + kPositionColumn] += 1;
  s.waiting[slot] = tokens[i] < 0 || s.ends[tokens[i]] || count >= s.limits[slot];
}

dim3 grid_of(int64_t rows) { return dim3(static_cast<unsigned>((rows + kThreads - 1) / kThreads)); }

}  // namespace

void next_pass(Stream stream, const kernel::Slots& s, int64_t rows, const int32_t* who, int most, int32_t* tokens,
               int32_t* positions, int32_t* slots, int32_t* draw_rows, int64_t* keys, int32_t* siblings) {
  launch("next_pass", make_pass, dim3(1), kPassThreads, 0, stream, s, static_cast<int>(rows), who, most, tokens,
         positions, slots, draw_rows, keys, siblings);
}

void take_drawn(Stream stream, const kernel::Slots& s, int64_t rows, const int32_t* slots, const int32_t* tokens,
                const float* logprobs, const float* entropies, int32_t longer) {
  launch("take_drawn", take, grid_of(rows), kThreads, 0, stream, s, rows, slots, tokens, logprobs, entropies, longer);
}

}  // namespace grpo::cuda
