// Attention over packed segments and over pages, whose bits agree: a row's result is made of tiles of 64 keys from each
// segment's start, its parent's first. Each tile stands alone (its own maximum, sum and weighted values from zero) and is
// folded into what came before in this order, so that tiles may be worked out anywhere: by other warps, by blocks that
// serve a prompt's samples together, by the one block of a training pass. Within a tile the matrix instruction is the
// same everywhere, and a row's bits do not depend on the rows beside it.
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace grpo::cuda {
namespace {

constexpr int kKeys = 64;   // of a tile, and of a page's block
constexpr int kRows = 16;   // query rows that a warp has: a lane sees rows lane / 4 and lane / 4 + 8
constexpr int kWarps = 4;
constexpr float kLog2e = 1.4426950408889634f;

struct alignas(16) Words {
  uint32_t x, y, z, w;
};
__device__ Words load(const bf16* p) { return *reinterpret_cast<const Words*>(p); }

// What a tile gives to a lane's two rows: the maximum of its scores (times log2 e), the sum of the weights, the weighted
// values: o[i] has columns 8i + 2(lane % 4) and the next of row lane / 4, then of the other.
template <int kDim>
struct Tile {
  float maximum[2], sum[2];
  float o[kDim / 8][4];
};

__device__ float quad_max(float x) {
  x = fmaxf(x, shuffle_xor(x, 1));
  return fmaxf(x, shuffle_xor(x, 2));
}
__device__ float quad_sum(float x) {
  x = x + shuffle_xor(x, 1);
  return x + shuffle_xor(x, 2);
}

// Fragments of 16 query rows, each given by a pointer or null for zeros. The k index runs through memory in 16 bytes a
// lane: queries and keys are permuted alike, and so are weights and values.
template <int kDim>
struct Queries {
  uint32_t words[kDim / 16][4];

  __device__ Queries(const bf16* row0, const bf16* row1) {
    const int column = 8 * (threadIdx.x % 4);
#pragma unroll
    for (int b = 0; b < kDim / 32; ++b) {
      Words x{0, 0, 0, 0}, y{0, 0, 0, 0};
      if (row0) x = load(row0 + 32 * b + column);
      if (row1) y = load(row1 + 32 * b + column);
      words[2 * b][0] = x.x, words[2 * b][1] = y.x, words[2 * b][2] = x.y, words[2 * b][3] = y.y;
      words[2 * b + 1][0] = x.z, words[2 * b + 1][1] = y.z, words[2 * b + 1][2] = x.w, words[2 * b + 1][3] = y.w;
    }
  }
};

// One tile. Keys lie in rows `k_stride` apart, values transposed: value_t + column · v_stride + key. Row 0 sees the keys
// below seen[0], row 1 those below seen[1]; what nobody sees must be finite.
template <int kDim>
__device__ void attend(const Queries<kDim>& q, const bf16* keys, int64_t k_stride, const bf16* value_t,
                       int64_t v_stride, const int (&seen)[2], float scale, Tile<kDim>& tile) {
  const int row = threadIdx.x % kWarp / 4, quad = threadIdx.x % 4;
  float s[8][4];
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const bf16* key = keys + (32 * (j / 4) + 8 * (row / 2) + 2 * (j % 4) + row % 2) * k_stride + 8 * quad;
#pragma unroll
    for (int i = 0; i < 4; ++i) s[j][i] = 0.0f;
#pragma unroll
    for (int b = 0; b < kDim / 32; ++b) {
      const Words x = load(key + 32 * b);
      mma(s[j], q.words[2 * b], x.x, x.y);
      mma(s[j], q.words[2 * b + 1], x.z, x.w);
    }
  }
  float most[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
#pragma unroll
  for (int j = 0; j < 8; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = 32 * (j / 4) + 8 * quad + 2 * (j % 4) + i % 2;
      s[j][i] = key < seen[i / 2] ? s[j][i] * scale : -INFINITY;
      most[i / 2] = fmaxf(most[i / 2], s[j][i]);
    }
#pragma unroll
  for (int h = 0; h < 2; ++h) tile.maximum[h] = quad_max(most[h]);
#pragma unroll
  for (int j = 0; j < 8; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float top = tile.maximum[i / 2];
      s[j][i] = exp2f(s[j][i] - (top == -INFINITY ? 0.0f : top));
      sum[i / 2] = sum[i / 2] + s[j][i];
    }
#pragma unroll
  for (int h = 0; h < 2; ++h) tile.sum[h] = quad_sum(sum[h]);
  uint32_t p[4][4];
#pragma unroll
  for (int h = 0; h < 4; ++h) {
    const int j = 4 * (h / 2) + 2 * (h % 2);
    p[h][0] = narrow2(s[j][0], s[j][1]), p[h][1] = narrow2(s[j][2], s[j][3]);
    p[h][2] = narrow2(s[j + 1][0], s[j + 1][1]), p[h][3] = narrow2(s[j + 1][2], s[j + 1][3]);
  }
#pragma unroll
  for (int i = 0; i < kDim / 8; ++i) {
    const bf16* column = value_t + (8 * i + row) * v_stride + 8 * quad;
#pragma unroll
    for (int e = 0; e < 4; ++e) tile.o[i][e] = 0.0f;
#pragma unroll
    for (int b = 0; b < 2; ++b) {
      const Words x = load(column + 32 * b);
      mma(tile.o[i], p[2 * b], x.x, x.y);
      mma(tile.o[i], p[2 * b + 1], x.z, x.w);
    }
  }
}

// A row's tiles so far. fold gives the factors of what was there and of the tile.
struct Folded {
  float maximum = -INFINITY, sum = 0.0f;
  float kept, added;

  __device__ void fold(float tile_maximum, float tile_sum) {
    const float most = fmaxf(maximum, tile_maximum);
    kept = most == -INFINITY ? 1.0f : exp2f(maximum - most);
    added = most == -INFINITY ? 0.0f : exp2f(tile_maximum - most);
    sum = fmaf(sum, kept, tile_sum * added);
    maximum = most;
  }
  __device__ float value(float before, float tile) const { return fmaf(before, kept, tile * added); }
  __device__ float log_sum_exp() const { return (maximum + log2f(sum)) / kLog2e; }
};

__host__ __device__ float scale_of(const HeadLayout& heads) {
  return kLog2e * (heads.scale > 0 ? static_cast<float>(heads.scale) : rsqrtf(static_cast<float>(heads.head_dim)));
}

// One block: 64 queries of one segment and head. Keys and values of a tile go through shared memory; rows beyond a
// segment's end are zeros there.
template <int kDim>
__global__ void packed(kernel::Attention a, int segments, float scale, const bf16* qkv, bf16* out, float* log_sum_exp) {
  __shared__ __align__(16) bf16 keys[kKeys][kDim + 8];
  __shared__ __align__(16) bf16 values[kDim][kKeys + 8];
  const HeadLayout& heads = a.layout;
  const int head = blockIdx.y, kv_head = head / static_cast<int>(heads.heads / heads.kv_heads),
            lane = threadIdx.x % kWarp;
  // Which segment has the block-th piece of 64 rows, and which segment is its parent.
  int segment = 0, piece = blockIdx.x, root = 0;
  for (int family = 0; segment < segments; ++segment) {
    if (a.family_starts[family + 1] == segment) ++family;
    if (a.family_starts[family] == segment) root = segment;
    const int pieces = (a.starts[segment + 1] - a.starts[segment] + kKeys - 1) / kKeys;
    if (piece < pieces) break;
    piece -= pieces;
  }
  if (segment == segments || (a.given && segment == 0)) return;
  const int begin = a.starts[segment], count = a.starts[segment + 1] - begin;
  const int64_t width = heads.width();
  const int rows[2] = {piece * kKeys + kRows * static_cast<int>(threadIdx.x / kWarp) + lane / 4,
                       piece * kKeys + kRows * static_cast<int>(threadIdx.x / kWarp) + lane / 4 + 8};
  const bf16* const query = qkv + begin * width + head * kDim;
  const Queries<kDim> q(rows[0] < count ? query + rows[0] * width : nullptr,
                        rows[1] < count ? query + rows[1] * width : nullptr);
  Folded folded[2];
  float o[kDim / 8][4] = {};
  for (int part = root == segment ? 1 : 0; part < 2; ++part) {
    const int from = part == 0 ? root : segment, first = a.starts[from], length = a.starts[from + 1] - first;
    const int last = part == 0 ? length : min(length, (piece + 1) * kKeys);
    for (int base = 0; base < last; base += kKeys) {
      __syncthreads();
      for (int i = threadIdx.x; i < kKeys * kDim / 8; i += blockDim.x) {
        const int key = i / (kDim / 8), column = i % (kDim / 8) * 8;
        Words k{0, 0, 0, 0};
        union {
          Words words;
          bf16 x[8];
        } v = {{0, 0, 0, 0}};
        if (base + key < length) {
          const bf16* row = qkv + (first + base + key) * width + column;
          k = load(row + heads.key_column(kv_head)), v.words = load(row + heads.value_column(kv_head));
        }
        *reinterpret_cast<Words*>(&keys[key][column]) = k;
        for (int j = 0; j < 8; ++j) values[column + j][key] = v.x[j];
      }
      __syncthreads();
      int seen[2];
      for (int h = 0; h < 2; ++h) seen[h] = part == 0 ? length - base : min(length, rows[h] + 1) - base;
      Tile<kDim> tile;
      attend(q, &keys[0][0], kDim + 8, &values[0][0], kKeys + 8, seen, scale, tile);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        folded[h].fold(tile.maximum[h], tile.sum[h]);
#pragma unroll
        for (int i = 0; i < kDim / 8; ++i)
          for (int e = 2 * h; e < 2 * h + 2; ++e) o[i][e] = folded[h].value(o[i][e], tile.o[i][e]);
      }
    }
  }
  for (int h = 0; h < 2; ++h) {
    if (rows[h] >= count) continue;
    const int64_t row = (begin + rows[h]) * heads.heads + head;
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i)
      for (int e = 0; e < 2; ++e)
        out[row * kDim + 8 * i + 2 * (lane % 4) + e] = narrow(o[i][2 * h + e] / folded[h].sum);
    if (lane % 4 == 0) log_sum_exp[row] = folded[h].log_sum_exp();
  }
}

// Pages hold keys [kv_heads][page_size][kDim] and, of each block of 64 tokens, transposed values [kDim][64]. A new block's
// values are zeros behind what is written: a weight of 0 times what nobody wrote must be 0.
template <int kDim>
__global__ void write_pages(kernel::PagedAttention a, const bf16* qkv) {
  const HeadLayout& heads = a.layout;
  int run = 0;
  const int row = blockIdx.x;
  while (run < a.runs && a.starts[run + 1] <= row) ++run;
  if (run == a.runs || a.slots[run] < 0) return;
  const int64_t slot = a.slots[run], position = a.lengths[slot] + row - a.starts[run];
  const int64_t page = a.pages[slot * a.most_pages + position / a.page_size], place = position % a.page_size;
  const bool last = row + 1 == a.starts[run + 1];
  for (int64_t i = threadIdx.x; i < heads.kv_heads * kDim; i += blockDim.x) {
    const int64_t head = i / kDim, column = i % kDim, at = (page * heads.kv_heads + head) * a.page_size * kDim;
    const bf16* from = qkv + row * heads.width() + column;
    static_cast<bf16*>(a.keys)[at + place * kDim + column] = from[heads.key_column(head)];
    bf16* block = static_cast<bf16*>(a.values) + at + place / kKeys * kKeys * kDim + column * kKeys;
    block[place % kKeys] = from[heads.value_column(head)];
    for (int64_t j = place % kKeys + 1; last && j < kKeys; ++j) {
      block[j] = narrow(0.0f);
      static_cast<bf16*>(a.keys)[at + (place / kKeys * kKeys + j) * kDim + column] = narrow(0.0f);
    }
  }
}

// One block: a run's rows and one key head, 16 (row, query head) pairs at a time; its warps take tiles in turn, leave
// them in shared memory, and all fold them in order.
template <int kDim>
__global__ void paged(kernel::PagedAttention a, int at_once, float scale, const bf16* qkv, bf16* out) {
  float* parts = dynamic_shared<float>();  // [at_once tiles][16 rows][kDim + 2]
  const HeadLayout& heads = a.layout;
  const int run = blockIdx.x, kv_head = blockIdx.y, lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int begin = a.starts[run], count = a.starts[run + 1] - begin,
            group = static_cast<int>(heads.heads / heads.kv_heads);
  const int slot = a.slots[run], parent = slot < 0 ? -1 : a.parents[slot], items = count * group;
  if (slot < 0) {
    for (int i = threadIdx.x; i < items * kDim; i += blockDim.x) {
      const int item = i / kDim;
      out[((begin + item / group) * heads.heads + kv_head * group + item % group) * kDim + i % kDim] = narrow(0.0f);
    }
    return;
  }
  const int before = parent < 0 ? 0 : a.lengths[parent], stored = a.lengths[slot],
            prompt_tiles = (before + kKeys - 1) / kKeys;
  const auto tile_at = [&](int owner, int tile, const bf16*& keys, const bf16*& values) {
    const int64_t token = static_cast<int64_t>(tile) * kKeys;
    const int64_t page = a.pages[owner * a.most_pages + token / a.page_size];
    const int64_t at = (page * heads.kv_heads + kv_head) * a.page_size * kDim + token % a.page_size * kDim;
    keys = static_cast<const bf16*>(a.keys) + at, values = static_cast<const bf16*>(a.values) + at;
  };
  for (int first = 0; first < items; first += kRows) {
    int item[2], own[2];  // of a lane's rows: which, and how many of the slot's own keys it sees
    const bf16* query[2];
    for (int h = 0; h < 2; ++h) {
      item[h] = first + lane / 4 + 8 * h;
      own[h] = item[h] < items ? stored + item[h] / group + 1 : 0;
      query[h] = item[h] < items ? qkv + (begin + item[h] / group) * heads.width() +
                                       (kv_head * group + item[h] % group) * kDim
                                 : nullptr;
    }
    const Queries<kDim> q(query[0], query[1]);
    const int most = stored + (min(first + kRows, items) - 1) / group + 1;
    const int tiles = prompt_tiles + (most + kKeys - 1) / kKeys;
    // What a thread folds: columns of rows, row threadIdx.x / 8 and column threadIdx.x % 8 + 8i.
    Folded folded;
    float o[kDim / 8] = {};
    const int mine = threadIdx.x / 8, column = threadIdx.x % 8;
    for (int base = 0; base < tiles; base += at_once) {
      const int now = min(at_once, tiles - base);
      for (int i = warp; i < now; i += kWarps) {
        const bool prompt = base + i < prompt_tiles;
        const int number = prompt ? base + i : base + i - prompt_tiles;
        const bf16 *keys, *values;
        tile_at(prompt ? parent : slot, number, keys, values);
        int seen[2];
        for (int h = 0; h < 2; ++h) seen[h] = (prompt ? before : own[h]) - number * kKeys;
        Tile<kDim> tile;
        attend(q, keys, kDim, values, kKeys, seen, scale, tile);
        for (int h = 0; h < 2; ++h) {
          float* part = parts + (i * kRows + lane / 4 + 8 * h) * (kDim + 2);
          if (lane % 4 == 0) part[0] = tile.maximum[h], part[1] = tile.sum[h];
          for (int j = 0; j < kDim / 8; ++j)
            for (int e = 0; e < 2; ++e) part[2 + 8 * j + 2 * (lane % 4) + e] = tile.o[j][2 * h + e];
        }
      }
      __syncthreads();
      for (int i = 0; i < now; ++i) {
        const float* part = parts + (i * kRows + mine) * (kDim + 2);
        folded.fold(part[0], part[1]);
        for (int j = 0; j < kDim / 8; ++j) o[j] = folded.value(o[j], part[2 + 8 * j + column]);
      }
      __syncthreads();
    }
    if (first + mine < items) {
      const int which = first + mine;
      bf16* to = out + ((begin + which / group) * heads.heads + kv_head * group + which % group) * kDim;
      for (int j = 0; j < kDim / 8; ++j) to[8 * j + column] = narrow(o[j] / folded.sum);
    }
  }
}

// Rows behind the last segment see nothing.
__global__ void zero_inert(int64_t width, const int32_t* live, bf16* out) {
  if (static_cast<int64_t>(blockIdx.x) < *live) return;
  for (int64_t j = threadIdx.x; j < width; j += blockDim.x) out[blockIdx.x * width + j] = narrow(0.0f);
}

dim3 grid(int64_t x, int64_t y = 1) { return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y)); }

template <int kDim>
void run_packed(Stream stream, const kernel::Attention& a, const bf16* qkv, bf16* out, float* log_sum_exp) {
  const int64_t pieces = (a.rows + kKeys - 1) / kKeys + a.segments;  // as many at most
  launch("attention", packed<kDim>, grid(pieces, a.layout.heads), kWarps * kWarp, 0, stream, a,
         static_cast<int>(a.segments), scale_of(a.layout), qkv, out, log_sum_exp);
}

template <int kDim>
void run_paged(Stream stream, const kernel::PagedAttention& a, const bf16* qkv, bf16* out) {
  constexpr int kAtOnce = 8;  // tiles
  launch("paged_attention", write_pages<kDim>, grid(a.rows), 128, 0, stream, a, qkv);
  launch("paged_attention", paged<kDim>, grid(a.runs, a.layout.kv_heads), kWarps * kWarp,
         sizeof(float) * kAtOnce * kRows * (kDim + 2), stream, a, kAtOnce, scale_of(a.layout), qkv, out);
}

}  // namespace

bool attends(const HeadLayout& layout) {
  return layout.latent == 0 && (layout.head_dim == 32 || layout.head_dim == 64 || layout.head_dim == 96 ||
                                layout.head_dim == 128);
}

void attention(Stream stream, const kernel::Attention& a, const void* qkv_, void* out_, float* log_sum_exp) {
  const auto* qkv = static_cast<const bf16*>(qkv_);
  auto* out = static_cast<bf16*>(out_);
  launch("attention", zero_inert, grid(a.rows), 128, 0, stream, a.layout.heads * a.layout.head_dim,
         a.starts + a.segments, out);
  switch (a.layout.head_dim) {
    case 32: return run_packed<32>(stream, a, qkv, out, log_sum_exp);
    case 64: return run_packed<64>(stream, a, qkv, out, log_sum_exp);
    case 96: return run_packed<96>(stream, a, qkv, out, log_sum_exp);
    case 128: return run_packed<128>(stream, a, qkv, out, log_sum_exp);
  }
}

void paged_attention(Stream stream, const kernel::PagedAttention& a, const void* qkv_, void* out_) {
  const auto* qkv = static_cast<const bf16*>(qkv_);
  auto* out = static_cast<bf16*>(out_);
  launch("paged_attention", zero_inert, grid(a.rows), 128, 0, stream, a.layout.heads * a.layout.head_dim,
         a.starts + a.runs, out);
  switch (a.layout.head_dim) {
    case 32: return run_paged<32>(stream, a, qkv, out);
    case 64: return run_paged<64>(stream, a, qkv, out);
    case 96: return run_paged<96>(stream, a, qkv, out);
    case 128: return run_paged<128>(stream, a, qkv, out);
  }
}

}  // namespace grpo::cuda
