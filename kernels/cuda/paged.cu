// Attention over pages (attention.cu has the order): prefill and whatever else has more than a token a sequence, and
// decoding, where a prompt is read once for several of its samples.
#include <algorithm>

#include "kernels/cuda/tile.h"

namespace grpo::cuda {
namespace {

// Pages hold keys [kv_heads][page_size][kDim] and values [kv_heads][page_size / 8][kDim][8], so that a tile of either is
// one piece of memory. Their 16 bytes are swizzled against bank conflicts where that piece lies in shared memory: those
// of an odd key change places by 4, those of a value's column by 2 times its eight of keys. What pages hold is finite
// from the start: a weight of 0 times what lies behind a sequence must be 0.
template <int kDim>
__global__ void write_pages(kernel::PagedAttention a, const bf16* qkv) {
  const HeadLayout& heads = a.layout;
  const int row = blockIdx.x;
  int run = a.siblings ? row : 0;  // the first whose end is behind the row
  for (int end = a.siblings ? run : static_cast<int>(a.runs); run < end;) {
    const int middle = (run + end) / 2;
    a.starts[middle + 1] <= row ? run = middle + 1 : end = middle;
  }
  if (run == a.runs || a.slots[run] < 0) return;
  const int64_t slot = a.slots[run], position = a.lengths[slot] + row - a.starts[run];
  const int64_t page = a.pages[slot * a.most_pages + position / a.page_size], place = position % a.page_size;
  const int64_t all = page * heads.kv_heads * a.page_size * kDim;
  for (int i = threadIdx.x; i < heads.kv_heads * kDim / kVector; i += blockDim.x) {
    const int head = i / (kDim / kVector), column = i % (kDim / kVector) * kVector;
    const bf16* from = qkv + row * heads.width() + column;
    const int64_t at = all + head * a.page_size * kDim;
    const int64_t turned = kDim % 64 == 0 ? column ^ (place % 2 * 32) : column;
    store(static_cast<bf16*>(a.keys) + at + place * kDim + turned, load(from + heads.key_column(head), kVector), kVector);
  }
  for (int i = threadIdx.x; i < heads.kv_heads * kDim; i += blockDim.x) {  // neighbours side by side
    const int head = i / kDim, column = i % kDim;
    const int64_t turned = column ^ (place / 8 % 4 * 2);
    static_cast<bf16*>(a.values)[all + head * a.page_size * kDim + (place / 8 * kDim + turned) * 8 + place % 8] =
        qkv[row * heads.width() + heads.value_column(head) + column];
  }
}

// Where a tile of a slot's keys and values lies.
template <int kDim>
__device__ void find_tile(const kernel::PagedAttention& a, int slot, int tile, int kv_head, const bf16*& keys,
                          const bf16*& values) {
  const int64_t token = static_cast<int64_t>(tile) * kKeys;
  const int64_t page = a.pages[slot * a.most_pages + token / a.page_size];
  const int64_t at = (page * a.layout.kv_heads + kv_head) * a.page_size * kDim + token % a.page_size * kDim;
  keys = static_cast<const bf16*>(a.keys) + at, values = static_cast<const bf16*>(a.values) + at;
}

// What a block works with in shared memory: queries of up to so many rows, and what tiles give, so many at once.
struct Room {
  int rows, at_once;
  bool asks;  // see read_tiles
};
template <int kDim>
struct Fold {
  int rows, at_once;
  SharedQueries<kDim> q;
  float *parts;      // [at_once][rows][kDim + 2]: what tiles give: maximum, sum, values
  float *state, *o;  // [rows][2] and [rows][kDim]: what has been folded: maximum and sum, values
  float *factors;    // [at_once][rows][2]

  static constexpr int bytes(const Room& room) {
    return (room.rows + 7) / 8 * SharedQueries<kDim>::kBytes +
           4 * (room.at_once * room.rows * (kDim + 4) + room.rows * (kDim + 2));
  }
  // Of fewer rows than there is room for.
  __device__ Fold(const Room& room, int rows_)
      : rows(rows_),
        at_once(room.at_once),
        q{reinterpret_cast<Half(*)[kDim / 16][kWarp]>(dynamic_shared<Half>())},
        parts(reinterpret_cast<float*>(q.halves + (room.rows + 7) / 8)),
        state(parts + at_once * rows * (kDim + 2)),
        o(state + 2 * rows),
        factors(o + rows * kDim) {}
  // Row r's query is at(r), or zeros for null.
  template <class At>
  __device__ void queries(At at) const {
    __syncthreads();  // whoever read those before is done
    auto to = q;
    for (int octet = threadIdx.x / kWarp; 8 * octet < rows; octet += blockDim.x / kWarp) {
      const int row = 8 * octet + threadIdx.x % kWarp / 4;
      read_query<kDim>(to, octet, row < rows ? at(row) : nullptr);
    }
  }
  __device__ float* part(int tile) const { return parts + tile * rows * (kDim + 2); }

  // Nothing so far, or what from [rows] has, kDim + 2 apart.
  __device__ void begin(const float* from) const {
    __syncthreads();  // whoever read what was there is done
    for (int i = threadIdx.x; i < rows * (kDim + 2); i += blockDim.x) {
      const int row = i / (kDim + 2), column = i % (kDim + 2);
      const float x = from ? from[i] : column == 0 ? -INFINITY : 0.0f;
      (column < 2 ? state + 2 * row + column : o + row * kDim + column - 2)[0] = x;
    }
  }
  // Takes in so many tiles, in order.
  __device__ void add(int tiles) const {
    __syncthreads();
    for (int row = threadIdx.x; row < rows; row += blockDim.x) {
      Folded folded;
      folded.maximum = state[2 * row], folded.sum = state[2 * row + 1];
      for (int t = 0; t < tiles; ++t) {
        folded.fold(part(t)[row * (kDim + 2)], part(t)[row * (kDim + 2) + 1]);
        factors[2 * (t * rows + row)] = folded.kept, factors[2 * (t * rows + row) + 1] = folded.added;
      }
      state[2 * row] = folded.maximum, state[2 * row + 1] = folded.sum;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < rows * kDim; i += blockDim.x) {
      const int row = i / kDim, column = i % kDim;
      float x = o[i];
      for (int t = 0; t < tiles; ++t) {
        const float* factor = factors + 2 * (t * rows + row);
        x = fmaf(x, factor[0], part(t)[row * (kDim + 2) + 2 + column] * factor[1]);
      }
      o[i] = x;
    }
    __syncthreads();
  }
};

// What a warp found of a tile for one octet of the rows.
template <int kDim>
__device__ void leave_tile(const Tile<kDim, 1>& tile, int octet, int rows, float* part) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const int row = 8 * octet + 2 * (lane % 4) + e;
    if (row >= rows) continue;
    float* to = part + row * (kDim + 2);
    if (lane / 4 == 0) to[0] = tile.maximum[0][e], to[1] = tile.sum[0][e];
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i)
#pragma unroll
      for (int h = 0; h < 2; ++h) to[2 + 16 * i + lane / 4 + 8 * h] = tile.o[0][i][2 * h + e];
  }
}

// Reads the tiles of two slots' keys, up to a length each (0: none), one behind the other, and folds them behind what
// there is. A warp takes a tile for an octet of the rows. With `asks` it asks for what it reads next while it works: where
// few warps run that hides the memory's latency; many would push what others asked for out of the cache.
template <int kDim>
__device__ void read_tiles(const kernel::PagedAttention& a, int kv_head, float scale, const Fold<kDim>& fold, bool asks,
                           int slot0, int length0, int slot1, int length1) {
  const int first = (length0 + kKeys - 1) / kKeys, tiles = first + (length1 + kKeys - 1) / kKeys,
            octets = (fold.rows + 7) / 8, at_once = fold.at_once, warps = static_cast<int>(blockDim.x) / kWarp;
  const auto find = [&](int tile, const bf16*& keys, const bf16*& values) {
    const int part = tile >= first;
    find_tile<kDim>(a, part ? slot1 : slot0, tile - part * first, kv_head, keys, values);
  };
  for (int base = 0; base < tiles; base += at_once) {
    const int now = min(at_once, tiles - base);
    for (int unit = threadIdx.x / kWarp; unit < now * octets; unit += warps) {
      const int i = unit / octets, octet = unit % octets, tile_at = base + i, part = tile_at >= first;
      const bf16 *keys, *values, *next = nullptr, *ignored;
      find(tile_at, keys, values);
      const int behind = (unit + warps < now * octets ? base + (unit + warps) / octets : base + at_once + i);
      if (asks && behind < tiles) find(behind, next, ignored);
      const int left = (part ? length1 : length0) - (tile_at - part * first) * kKeys;
      const int limits[1][2] = {{left, left}};
      Tile<kDim, 1> tile;
      attend<kDim, 1, true>(fold.q.octet(octet), keys, kDim, values, 8 * kDim, 8, limits, scale, tile, asks, next);
      leave_tile(tile, octet, fold.rows, fold.part(i));
    }
    fold.add(now);
  }
}

// One block: a run's rows and one key head, 64 (row, query head) pairs at a time, of which a warp has 16; all go over a
// tile in shared memory before the next.
template <int kDim>
__global__ void __launch_bounds__(kWarps * kWarp) paged(kernel::PagedAttention a, float scale, const bf16* qkv,
                                                        bf16* out) {
  constexpr int kTile = 2 * kKeys * kDim;
  __shared__ __align__(16) bf16 tile_at[kTile];
  const HeadLayout& heads = a.layout;
  const int run = blockIdx.x, kv_head = blockIdx.y, lane = threadIdx.x % kWarp, begin = a.starts[run],
            count = a.starts[run + 1] - begin, group = static_cast<int>(heads.heads / heads.kv_heads);
  const int slot = a.slots[run], parent = slot < 0 ? -1 : a.parents[slot], items = count * group;
  const auto place_of = [&](int item) {  // of a pair's columns, among rows of all heads
    return (begin + item / group) * heads.heads + kv_head * group + item % group;
  };
  if (slot < 0) {
    for (int i = threadIdx.x; blockIdx.z == 0 && i < items * kDim; i += blockDim.x)
      out[place_of(i / kDim) * kDim + i % kDim] = narrow(0.0f);
    return;
  }
  const int before = parent < 0 ? 0 : a.lengths[parent], stored = a.lengths[slot];
  constexpr int kItems = kRows * kWarps;
  for (int first = blockIdx.z * kItems; first < items; first += gridDim.z * kItems) {
    const int mine = first + kRows * static_cast<int>(threadIdx.x / kWarp);
    Queries<kDim, 2> q;
    Rows<kDim> rows;
    int own[2][2];  // how many of the slot's own keys a lane's pairs see
    for (int octet = 0; octet < 2; ++octet) {
      const int item = mine + 8 * octet + lane / 4;
      read_query<kDim>(q, octet, item < items ? qkv + (begin + item / group) * heads.width() +
                                                    (kv_head * group + item % group) * kDim
                                              : nullptr);
      for (int e = 0; e < 2; ++e) {
        const int pair = mine + 8 * octet + 2 * (lane % 4) + e;
        own[octet][e] = pair < items ? stored + pair / group + 1 : 0;
      }
    }
    const int most = stored + (min(first + kItems, items) - 1) / group + 1;
    for (int part = 0; part < 2; ++part)
      for (int base = 0; base < (part == 0 ? before : most); base += kKeys) {
        const bf16 *keys, *values;
        find_tile<kDim>(a, part == 0 ? parent : slot, base / kKeys, kv_head, keys, values);
        __syncthreads();
        for (int i = threadIdx.x * kVector; i < kTile / 2; i += kWarps * kWarp * kVector) {
          store(tile_at + i, load(keys + i, kVector), kVector);
          store(tile_at + kTile / 2 + i, load(values + i, kVector), kVector);
        }
        __syncthreads();
        int seen[2][2];
        for (int octet = 0; octet < 2; ++octet)
          for (int e = 0; e < 2; ++e) seen[octet][e] = (part == 0 ? before : own[octet][e]) - base;
        Tile<kDim, 2> tile;
        attend<kDim, 2, true>(q, tile_at, kDim, tile_at + kTile / 2, 8 * kDim, 8, seen, scale, tile);
        rows.add(tile);
      }
    rows.each([&](int octet, int e, int column, float x) {
      const int item = mine + 8 * octet + 2 * (lane % 4) + e;
      if (item < items) out[place_of(item) * kDim + column] = narrow(x);
    });
  }
}

// A token each of many sequences. First the prompts: one block a key head and a few of a prompt's samples, whose query
// heads fill a tile's columns; it leaves each row's fold in prefix [rows, heads, kDim + 2].
template <int kDim>
__global__ void __launch_bounds__(kWarps * kWarp, 4) prompts(kernel::PagedAttention a, Room room, float scale,
                                                             const bf16* qkv, float* prefix) {
  const HeadLayout& heads = a.layout;
  const int group = static_cast<int>(heads.heads / heads.kv_heads),
            items = a.siblings[0] * static_cast<int>(heads.kv_heads);
  for (int each = blockIdx.x; each < items; each += gridDim.x) {
    const int kv_head = each % static_cast<int>(heads.kv_heads);
    const int32_t* siblings = a.siblings + 1 + 2 * (each / heads.kv_heads);
    const int run = siblings[0], rows = siblings[1] * group, parent = a.parents[a.slots[run]];
    const Fold<kDim> fold(room, rows);
    fold.queries([&](int row) {
      return qkv + (run + row / group) * heads.width() + (kv_head * group + row % group) * kDim;
    });
    fold.begin(nullptr);
    __syncthreads();
    read_tiles(a, kv_head, scale, fold, room.asks, parent, a.lengths[parent], parent, 0);
    for (int i = threadIdx.x; i < rows * (kDim + 2); i += blockDim.x) {
      const int row = i / (kDim + 2), column = i % (kDim + 2);
      prefix[((run + row / group) * heads.heads + kv_head * group + row % group) * (kDim + 2) + column] =
          column < 2 ? fold.state[2 * row + column] : fold.o[row * kDim + column - 2];
    }
  }
}

// Then each sequence's own keys, and a prompt's that nobody shares: one block a sequence and key head.
template <int kDim>
__global__ void __launch_bounds__(8 * kWarp, 2) own_tokens(kernel::PagedAttention a, Room room, float scale,
                                                           const bf16* qkv, const float* prefix, bf16* out) {
  const HeadLayout& heads = a.layout;
  const int run = blockIdx.x, kv_head = blockIdx.y, rows = static_cast<int>(heads.heads / heads.kv_heads),
            slot = a.slots[run];
  bf16* to = out + (run * heads.heads + kv_head * rows) * kDim;
  if (slot < 0) {
    for (int i = threadIdx.x; i < rows * kDim; i += blockDim.x) to[i] = narrow(0.0f);
    return;
  }
  const bool begun = a.siblings[1 + 2 * a.runs + run] > 0;
  const int parent = begun ? -1 : a.parents[slot];
  const Fold<kDim> fold(room, rows);
  fold.queries([&](int row) { return qkv + run * heads.width() + (kv_head * rows + row) * kDim; });
  fold.begin(begun ? prefix + (run * heads.heads + kv_head * rows) * (kDim + 2) : nullptr);
  __syncthreads();
  read_tiles(a, kv_head, scale, fold, room.asks, parent, parent < 0 ? 0 : a.lengths[parent], slot, a.lengths[slot] + 1);
  for (int i = threadIdx.x; i < rows * kDim; i += blockDim.x)
    to[i] = narrow(fold.o[i] / fold.state[2 * (i / kDim) + 1]);
}

template <int kDim>
void run_paged(Stream stream, const kernel::PagedAttention& a, const bf16* qkv, bf16* out) {
  const int group = static_cast<int>(a.layout.heads / a.layout.kv_heads);
  const float scale = score_scale(a.layout);
  launch("paged_attention", write_pages<kDim>, grid(a.rows), 128, 0, stream, a, qkv);
  if (!a.siblings || group > kRows) {
    const int64_t pieces = (a.rows * group + kRows * kWarps - 1) / (kRows * kWarps), runs = std::max<int64_t>(a.runs, 1);
    dim3 blocks = grid(a.runs, a.layout.kv_heads);
    blocks.z = static_cast<unsigned>(std::clamp<int64_t>((pieces + runs - 1) / runs, 1, 64));
    launch("paged_attention", zero_inert, grid(a.rows), 128, 0, stream, a.layout.heads * kDim, a.starts + a.runs, out);
    launch("paged_attention", paged<kDim>, blocks, kWarps * kWarp, 0, stream, a, scale, qkv, out);
    return;
  }
  const int64_t blocks = a.runs * a.layout.kv_heads;
  const Room shared{kRows, kWarps, blocks <= 4 * kProcessors};
  launch("paged_attention", prompts<kDim>, grid(std::min<int64_t>(blocks, 4 * kProcessors)), kWarps * kWarp,
         Fold<kDim>::bytes(shared), stream, a, shared, scale, qkv, a.prefix);
  // As many warps as keep a card busy, and no more to a sequence than it may have tiles for.
  const int64_t tiles = a.most_pages * a.page_size / kKeys;
  int warps = 1;
  while (warps < 8 && warps * blocks < 12 * kProcessors && warps < tiles) warps *= 2;
  const Room own{group, std::max(warps, 2), warps * blocks <= 4 * kProcessors};
  launch("paged_attention", own_tokens<kDim>, grid(a.runs, a.layout.kv_heads), warps * kWarp, Fold<kDim>::bytes(own),
         stream, a, own, scale, qkv, static_cast<const float*>(a.prefix), out);
}

}  // namespace

void paged_attention(Stream stream, const kernel::PagedAttention& a, const void* qkv_, void* out_) {
  const auto* qkv = static_cast<const bf16*>(qkv_);
  auto* out = static_cast<bf16*>(out_);
  if (a.layout.latent > 0) return latent_paged_attention(stream, a, qkv, out);
  switch (a.layout.head_dim) {
    case 32: return run_paged<32>(stream, a, qkv, out);
    case 64: return run_paged<64>(stream, a, qkv, out);
    case 96: return run_paged<96>(stream, a, qkv, out);
    case 128: return run_paged<128>(stream, a, qkv, out);
  }
}

}  // namespace grpo::cuda
