// Attention over packed segments; over pages (paged.cu) it has the same bits: a row's result is made of tiles of 64 keys from each
// segment's start, its parent's first. Each tile stands alone (its own maximum, sum and weighted values from zero) and is
// folded into what came before in this order, so that tiles may be worked out anywhere: by other warps, by blocks that
// serve a prompt's samples together, by the one block of a training pass. Within a tile the matrix instruction is the
// same everywhere, and a row's bits do not depend on the rows beside it.
#include "kernels/cuda/tile.h"

namespace grpo::cuda {
namespace {

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
  const int first_row = piece * kKeys + kRows * static_cast<int>(threadIdx.x / kWarp);
  const auto row_of = [&](int octet, int e) { return first_row + 8 * octet + 2 * (lane % 4) + e; };  // as tiles have it
  const bf16* const query = qkv + begin * width + head * kDim;
  Queries<kDim, 2> q;
  for (int octet = 0; octet < 2; ++octet) {
    const int row = first_row + 8 * octet + lane / 4;
    read_query<kDim>(q, octet, row < count ? query + row * width : nullptr);
  }
  Rows<kDim> result;
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
          k = words_at(row + heads.key_column(kv_head)), v.words = words_at(row + heads.value_column(kv_head));
        }
        *reinterpret_cast<Words*>(&keys[key][column]) = k;
        for (int j = 0; j < 8; ++j) values[column + j][key] = v.x[j];
      }
      __syncthreads();
      int seen[2][2];
      for (int octet = 0; octet < 2; ++octet)
        for (int e = 0; e < 2; ++e)
          seen[octet][e] = part == 0 ? length - base : min(length, row_of(octet, e) + 1) - base;
      Tile<kDim, 2> tile;
      attend<kDim, 2, false>(q, &keys[0][0], kDim + 8, &values[0][0], 8, kKeys + 8, seen, scale, tile);
      result.add(tile);
    }
  }
  result.each([&](int octet, int e, int column, float x) {
    if (row_of(octet, e) < count) out[((begin + row_of(octet, e)) * heads.heads + head) * kDim + column] = narrow(x);
  });
  for (int octet = 0; octet < 2; ++octet)
    for (int e = 0; e < 2; ++e)
      if (lane / 4 == 0 && row_of(octet, e) < count)
        log_sum_exp[(begin + row_of(octet, e)) * heads.heads + head] = result.folded[octet][e].log_sum_exp();
}

template <int kDim>
void run_packed(Stream stream, const kernel::Attention& a, const bf16* qkv, bf16* out, float* log_sum_exp) {
  const int64_t pieces = (a.rows + kKeys - 1) / kKeys + a.segments;  // as many at most
  launch("attention", packed<kDim>, grid(pieces, a.layout.heads), kWarps * kWarp, 0, stream, a,
         static_cast<int>(a.segments), score_scale(a.layout), qkv, out, log_sum_exp);
}

}  // namespace

bool attends(const HeadLayout& layout) {
  if (layout.latent > 0) return attends_to_latents(layout);
  return (layout.head_dim == 32 || layout.head_dim == 64 || layout.head_dim == 96 ||
          layout.head_dim == 128);
}

void attention(Stream stream, const kernel::Attention& a, const void* qkv_, void* out_, float* log_sum_exp) {
  const auto* qkv = static_cast<const bf16*>(qkv_);
  auto* out = static_cast<bf16*>(out_);
  if (a.layout.latent > 0) return latent_attention(stream, a, qkv, out, log_sum_exp);
  launch("attention", zero_inert, grid(a.rows), 128, 0, stream, a.layout.heads * a.layout.head_dim,
         a.starts + a.segments, out);
  switch (a.layout.head_dim) {
    case 32: return run_packed<32>(stream, a, qkv, out, log_sum_exp);
    case 64: return run_packed<64>(stream, a, qkv, out, log_sum_exp);
    case 96: return run_packed<96>(stream, a, qkv, out, log_sum_exp);
    case 128: return run_packed<128>(stream, a, qkv, out, log_sum_exp);
  }
}

}  // namespace grpo::cuda
