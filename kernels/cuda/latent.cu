// Attention over latents (multi-head latent attention in its absorbed form): one key head for all query heads, of which
// values are the first columns. A block has one row's heads, 16 at a time; each tile of 64 keys comes to shared memory
// once and serves scores and values. Tiles stand alone and are folded in order, as in attention.cu, the parent's first:
// out of pages and packed they go through the same code.
#include "kernels/cuda/device.h"
#include "kernels/cuda/fold.h"
#include "kernels/cuda/kernels.h"

namespace grpo::cuda {
namespace {

constexpr int kKeys = 64, kQueries = 16, kWarps = 8, kThreads = kWarps * kWarp;
constexpr int kPad = 8;  // columns, against bank conflicts

// The last i in [0, n) with starts[i] ≤ x.
__device__ int last_from(const int32_t* starts, int n, int x) {
  int low = 0;
  for (int end = n - 1; low < end;) {
    const int middle = (low + end + 1) / 2;
    starts[middle] <= x ? low = middle : end = middle - 1;
  }
  return low;
}

// What a row sees: so many keys of its parent, then of its own; 0 and 0: nothing.
struct Seen {
  int count[2];
};

// Keys in the rows of a pass.
struct PackedKeys {
  kernel::Attention a;
  const bf16* qkv;
  int first[2];  // rows of the parent and of the segment

  __device__ Seen find(int row) {
    const int segments = static_cast<int>(a.segments), segment = last_from(a.starts, segments, row);
    if (row >= a.starts[segments] || (a.given && segment == 0)) return {{0, 0}};
    const int root = a.family_starts[last_from(a.family_starts, static_cast<int>(a.families), segment)];
    first[0] = a.starts[root], first[1] = a.starts[segment];
    return {{root == segment ? 0 : a.starts[root + 1] - first[0], row - first[1] + 1}};
  }
  __device__ const bf16* key(int part, int number) const {
    return qkv + (first[part] + number) * a.layout.width() + a.layout.key_column(0);
  }
};

// Keys in pages [page_size][head_dim].
struct PagedKeys {
  kernel::PagedAttention a;
  int slot[2];

  __device__ Seen find(int row) {
    const int runs = static_cast<int>(a.runs), run = last_from(a.starts, runs, row);
    if (row >= a.starts[runs] || a.slots[run] < 0) return {{0, 0}};
    slot[1] = a.slots[run], slot[0] = a.parents[slot[1]];
    return {{slot[0] < 0 ? 0 : a.lengths[slot[0]], a.lengths[slot[1]] + row - a.starts[run] + 1}};
  }
  __device__ const bf16* key(int part, int number) const {
    const int64_t page = a.pages[slot[part] * a.most_pages + number / a.page_size];
    return static_cast<const bf16*>(a.values) + (page * a.page_size + number % a.page_size) * a.layout.head_dim;
  }
};

template <int kDim>
struct Shared {
  bf16 keys[kKeys][kDim + kPad], queries[kQueries][kDim + kPad], weights[kQueries][kKeys + kPad];
  float scores[kQueries][kKeys + 1];
  float maximum[kQueries], sum[kQueries], kept[kQueries], added[kQueries];
};

__device__ uint32_t word(const bf16* p) { return *reinterpret_cast<const uint32_t*>(p); }

// Scores of the tile's keys by the tile's queries: each warp 16 keys and 8 queries.
template <int kDim>
__device__ void score_tile(Shared<kDim>& s, int seen, float scale) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, row = lane / 4, pair = 2 * (lane % 4);
  const int keys = 16 * (warp % 4), queries = 8 * (warp / 4);
  float c[4] = {};
#pragma unroll 4
  for (int k = 0; k < kDim; k += 16) {
    const uint32_t a[4] = {word(&s.keys[keys + row][k + pair]), word(&s.keys[keys + row + 8][k + pair]),
                           word(&s.keys[keys + row][k + 8 + pair]), word(&s.keys[keys + row + 8][k + 8 + pair])};
    mma(c, a, word(&s.queries[queries + row][k + pair]), word(&s.queries[queries + row][k + 8 + pair]));
  }
  for (int i = 0; i < 4; ++i) {
    const int key = keys + row + 8 * (i / 2);
    s.scores[queries + pair + i % 2][key] = key < seen ? c[i] * scale : -INFINITY;
  }
}

// Their softmax, each warp of two queries: weights, and the factors with which the tile is folded.
template <int kDim>
__device__ void weigh_tile(Shared<kDim>& s) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int q = 2 * warp; q < 2 * warp + 2; ++q) {
    const float x = s.scores[q][2 * lane], y = s.scores[q][2 * lane + 1], top = warp_max(fmaxf(x, y)),
                base = top == -INFINITY ? 0.0f : top;
    const float u = exp2f(x - base), v = exp2f(y - base), sum = warp_sum(u + v);
    *reinterpret_cast<uint32_t*>(&s.weights[q][2 * lane]) = narrow2(u, v);
    if (lane != 0) continue;
    Folded folded;
    folded.maximum = s.maximum[q], folded.sum = s.sum[q];
    folded.fold(top, sum);
    s.maximum[q] = folded.maximum, s.sum[q] = folded.sum, s.kept[q] = folded.kept, s.added[q] = folded.added;
  }
}

template <int kDim, int kValueDim, class Keys>
__global__ void __launch_bounds__(kThreads) latent(Keys keys, HeadLayout heads, float scale, const bf16* qkv, bf16* out,
                                                   float* log_sum_exp) {
  constexpr int kTiles = kValueDim / 16, kMine = (kTiles + kWarps - 1) / kWarps;  // of 16 value columns; of a warp
  Shared<kDim>& s = *dynamic_shared<Shared<kDim>>();
  const int row = blockIdx.x, lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, pair = 2 * (lane % 4);
  const Seen seen = keys.find(row);
  bf16* to = out + static_cast<int64_t>(row) * heads.heads * kValueDim;
  const int first = blockIdx.y * kQueries, count = min(kQueries, static_cast<int>(heads.heads) - first);  // heads
  if (seen.count[0] + seen.count[1] == 0) {
    for (int i = threadIdx.x; i < count * kValueDim; i += kThreads) to[first * kValueDim + i] = narrow(0.0f);
    return;
  }
  for (int i = threadIdx.x; i < kQueries * kDim / kVector; i += kThreads) {
    const int q = i / (kDim / kVector), column = i % (kDim / kVector) * kVector;
    Vector v{};
    if (q < count) v = load(qkv + row * heads.width() + (first + q) * kDim + column, kVector);
    store(&s.queries[q][column], v, kVector);
  }
  if (threadIdx.x < kQueries) s.maximum[threadIdx.x] = -INFINITY, s.sum[threadIdx.x] = 0.0f;
  float total[kMine][2][4] = {};
  for (int part = 0; part < 2; ++part)
    for (int base = 0; base < seen.count[part]; base += kKeys) {
      const int left = seen.count[part] - base;
      __syncthreads();
      for (int i = threadIdx.x; i < kKeys * kDim / kVector; i += kThreads) {
        const int key = i / (kDim / kVector), column = i % (kDim / kVector) * kVector;
        Vector v{};
        if (key < left) v = load(keys.key(part, base + key) + column, kVector);
        store(&s.keys[key][column], v, kVector);
      }
      __syncthreads();
      score_tile<kDim>(s, left, scale);
      __syncthreads();
      weigh_tile<kDim>(s);
      __syncthreads();
#pragma unroll
      for (int m = 0; m < kMine; ++m) {
        const int columns = 16 * (warp * kMine + m);
        if (columns >= kValueDim) break;
        float o[2][4] = {};
#pragma unroll
        for (int k = 0; k < kKeys; k += 16) {
          const uint32_t a[4] = {transpose(word(&s.keys[k + g][columns + pair])),
                                 transpose(word(&s.keys[k + g][columns + 8 + pair])),
                                 transpose(word(&s.keys[k + 8 + g][columns + pair])),
                                 transpose(word(&s.keys[k + 8 + g][columns + 8 + pair]))};
#pragma unroll
          for (int octet = 0; octet < 2; ++octet)
            mma(o[octet], a, word(&s.weights[8 * octet + g][k + pair]), word(&s.weights[8 * octet + g][k + 8 + pair]));
        }
#pragma unroll
        for (int octet = 0; octet < 2; ++octet)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int q = 8 * octet + pair + i % 2;
            total[m][octet][i] = fmaf(total[m][octet][i], s.kept[q], o[octet][i] * s.added[q]);
          }
      }
    }
#pragma unroll
  for (int m = 0; m < kMine; ++m) {
    const int columns = 16 * (warp * kMine + m);
    if (columns >= kValueDim) break;
#pragma unroll
    for (int octet = 0; octet < 2; ++octet)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int q = 8 * octet + pair + i % 2;
        if (q < count) to[(first + q) * kValueDim + columns + g + 8 * (i / 2)] = narrow(total[m][octet][i] / s.sum[q]);
      }
  }
  if (log_sum_exp && static_cast<int>(threadIdx.x) < count) {
    Folded folded;
    folded.maximum = s.maximum[threadIdx.x], folded.sum = s.sum[threadIdx.x];
    log_sum_exp[row * heads.heads + first + threadIdx.x] = folded.log_sum_exp();
  }
}

__global__ void write_latents(kernel::PagedAttention a, const bf16* qkv) {
  const int row = blockIdx.x, runs = static_cast<int>(a.runs), run = last_from(a.starts, runs, row);
  if (row >= a.starts[runs] || a.slots[run] < 0) return;
  const int64_t slot = a.slots[run], position = a.lengths[slot] + row - a.starts[run], dim = a.layout.head_dim;
  bf16* to = static_cast<bf16*>(a.values) +
             (static_cast<int64_t>(a.pages[slot * a.most_pages + position / a.page_size]) * a.page_size + position % a.page_size) * dim;
  for (int64_t j = threadIdx.x; j < dim; j += blockDim.x) to[j] = qkv[row * a.layout.width() + a.layout.key_column(0) + j];
}

template <class Keys>
void run(Stream stream, const char* op, const Keys& keys, int64_t rows, const HeadLayout& heads, const bf16* qkv,
         bf16* out, float* log_sum_exp) {
  const float scale = score_scale(heads);
  const dim3 grid(static_cast<unsigned>(rows), static_cast<unsigned>((heads.heads + kQueries - 1) / kQueries));
  if (heads.head_dim == 576)
    launch(op, latent<576, 512, Keys>, grid, kThreads, sizeof(Shared<576>), stream, keys, heads, scale, qkv, out, log_sum_exp);
  else
    launch(op, latent<48, 32, Keys>, grid, kThreads, sizeof(Shared<48>), stream, keys, heads, scale, qkv, out, log_sum_exp);
}

}  // namespace

bool attends_to_latents(const HeadLayout& heads) {
  return heads.kv_heads == 1 && ((heads.head_dim == 576 && heads.latent == 512) || (heads.head_dim == 48 && heads.latent == 32));
}

void latent_attention(Stream stream, const kernel::Attention& a, const void* qkv_, void* out, float* log_sum_exp) {
  const auto* qkv = static_cast<const bf16*>(qkv_);
  run(stream, "attention", PackedKeys{a, qkv, {}}, a.rows, a.layout, qkv, static_cast<bf16*>(out), log_sum_exp);
}

void latent_paged_attention(Stream stream, const kernel::PagedAttention& a, const void* qkv_, void* out) {
  const auto* qkv = static_cast<const bf16*>(qkv_);
  launch("paged_attention", write_latents, dim3(static_cast<unsigned>(a.rows)), 128, 0, stream, a, qkv);
  run(stream, "paged_attention", PagedKeys{a, {}}, a.rows, a.layout, qkv, static_cast<bf16*>(out), nullptr);
}

}  // namespace grpo::cuda
