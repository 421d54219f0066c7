// C = A·B on the CPU, for one instruction set. Every element of C is one chain of fused multiply-adds over k in
// ascending order (for bf16 on AMX: the tile instruction's chain, in steps of 32), whatever M, N, the blocking or the
// thread count. So a row of C depends on that row of A alone, bit for bit. Included by isa.cpp only.
#pragma once

#include <algorithm>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/simd.h"

#if defined(__AMX_BF16__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace grpo::GRPO_ISA {

// A register tile of kTileRows x kPanelVectors vectors: 24 (AVX-512) or 12 (AVX2) accumulators.
constexpr int kTileRows = 6;
constexpr int kPanelVectors = kLanes == 16 ? 4 : 2;
constexpr int kPanel = kPanelVectors * kLanes;
constexpr int64_t kDepth = 128;            // k per pass: a panel of B then stays in the first-level cache
constexpr int64_t kPage = 1024;            // floats after which its lines fall into the same places again
constexpr int64_t kTurnedBytes = 1 << 20;  // of A turned on its side: it stays in the second-level cache
constexpr int kTurnedVectors = kLanes == 16 ? 4 : 3;  // of rows of A, at most
constexpr int64_t kTurnedRows = kTurnedVectors * kLanes;

// Scratch that a thread keeps between calls, aligned to cache lines: a vector or tile row that straddles two costs
// double.
template <class T, int kSlot>
T* scratch(size_t count) {
  struct alignas(64) Line {
    char bytes[64];
  };
  static thread_local std::vector<Line> buffer;
  const size_t lines = (count * sizeof(T) + sizeof(Line) - 1) / sizeof(Line);
  if (buffer.size() < lines) buffer.resize(lines);
  return reinterpret_cast<T*>(buffer.data());
}

// One stage of the transpose: swaps the off-diagonal kStep x kStep blocks of every 2·kStep x 2·kStep block.
template <int kStep, class V, int... kJ>
inline void swap_blocks(V (&x)[kLanes], std::integer_sequence<int, kJ...>) {
  constexpr IVec low = {((kJ & kStep) ? kLanes + kJ - kStep : kJ)...};
  constexpr IVec high = {((kJ & kStep) ? kLanes + kJ : kJ + kStep)...};
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    if (!(i & kStep)) {
      const V top = x[i], bottom = x[i + kStep];
      x[i] = __builtin_shuffle(top, bottom, low);
      x[i + kStep] = __builtin_shuffle(top, bottom, high);
    }
}

// x[i] holds row i; afterwards row i of the kLanes x kLanes matrix's transpose.
template <class V>
inline void transpose(V (&x)[kLanes]) {
  constexpr auto lanes = std::make_integer_sequence<int, kLanes>();
  swap_blocks<1>(x, lanes);
  swap_blocks<2>(x, lanes);
  swap_blocks<4>(x, lanes);
  if constexpr (kLanes == 16) swap_blocks<8>(x, lanes);
}

// out[k][kPanel] = B[k0 + k, n0 + …], widened to fp32; columns from n on are 0. Columns along k are many short runs,
// which the processor does not foresee: those of the next panel are asked for.
template <class T>
void pack_panel(const T* b, int64_t row_stride, int64_t col_stride, int64_t depth, int64_t n, float* out) {
  constexpr int64_t kLine = 64 / sizeof(T);
  if (col_stride == 1) {
    for (int64_t k = 0; k < depth; ++k) {
      const T* row = b + k * row_stride;
      float* to = out + k * kPanel;
      int64_t j = 0;
      for (; j + kLanes <= n; j += kLanes) store(to + j, load(row + j));
      if (j < n) store(to + j, load(row + j, static_cast<int>(n - j))), j += kLanes;
      for (; j < kPanel; j += kLanes) store(to + j, zero());
    }
    return;
  }
  for (int64_t j0 = 0; j0 < kPanel; j0 += kLanes) {
    const int64_t columns = std::clamp<int64_t>(n - j0, 0, kLanes);
    int64_t k = 0;
    if (row_stride == 1 && columns == kLanes)
      for (; k + kLanes <= depth; k += kLanes) {
        Vec block[kLanes];
#pragma GCC unroll 16
        for (int j = 0; j < kLanes; ++j) block[j] = load(b + (j0 + j) * col_stride + k);
        if (k % kLine == 0)
          for (int j = 0; j < kLanes; ++j) __builtin_prefetch(b + (j0 + j + kPanel) * col_stride + k);
        transpose(block);
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) store(out + (k + i) * kPanel + j0, block[i]);
      }
    for (; k < depth; ++k)
      for (int j = 0; j < kLanes; ++j)
        out[k * kPanel + j0 + j] = j < columns ? widen(b[k * row_stride + (j0 + j) * col_stride]) : 0.0f;
  }
}

// out[tile][k][row of the tile] = A, widened to fp32; tiles are kDepth deep.
template <class T>
void pack_tiles(const T* a, int64_t row_stride, int64_t col_stride, int64_t m, int64_t depth, float* out) {
  if (row_stride == 1) {
    const int64_t whole = m / kTileRows * kTileRows;
    for (int64_t k = 0; k < depth; ++k, a += col_stride, out += kTileRows) {
      for (int64_t i = 0; i < whole; i += kTileRows)
#pragma GCC unroll 6
        for (int r = 0; r < kTileRows; ++r) out[i * kDepth + r] = widen(a[i + r]);
      for (int64_t i = whole; i < m; ++i) out[whole * kDepth + i - whole] = widen(a[i]);
    }
    return;
  }
  for (int64_t i = 0; i < m; ++i) {
    float* to = out + i / kTileRows * kTileRows * kDepth + i % kTileRows;
    for (int64_t k = 0; k < depth; ++k) to[k * kTileRows] = widen(a[i * row_stride + k * col_stride]);
  }
}

// c[rows][vectors] (+)= Σ_k a(row, k)·panel[k]. kRowMajor: a(i, k) = a[i·stride + k]; otherwise a[k·stride + i].
template <int kRows, int kVectors, bool kRowMajor>
void tile(const float* a, int64_t stride, const float* panel, int64_t depth, float* c, int64_t c_stride, bool add) {
  Vec acc[kRows][kVectors];
  const float* row[kRows];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    row[i] = kRowMajor ? a + i * stride : a + i;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) acc[i][v] = add ? load(c + i * c_stride + v * kLanes) : zero();
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vec b[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) b[v] = load(panel + k * kPanel + v * kLanes);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const Vec x = splat(row[i][kRowMajor ? k : k * stride]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) acc[i][v] = fma(x, b[v], acc[i][v]);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(c + i * c_stride + v * kLanes, acc[i][v]);
}

using TileFunction = void (*)(const float*, int64_t, const float*, int64_t, float*, int64_t, bool);

template <bool kRowMajor>
TileFunction tile_function(int rows, int vectors) {
#define GRPO_ROW(R)                                                                                  \
  {                                                                                                  \
    &tile<R, 1, kRowMajor>, &tile<R, 2, kRowMajor>, &tile<R, 3 <= kPanelVectors ? 3 : 1, kRowMajor>, \
        &tile<R, 4 <= kPanelVectors ? 4 : 1, kRowMajor>                                              \
  }
  static constexpr TileFunction table[kTileRows][4] = {GRPO_ROW(1), GRPO_ROW(2), GRPO_ROW(3),
                                                       GRPO_ROW(4), GRPO_ROW(5), GRPO_ROW(6)};
#undef GRPO_ROW
  return table[rows - 1][vectors - 1];
}

// Columns of B that a turned tile takes with so many vectors of rows: as many accumulators as there are registers for.
constexpr int turned_columns(int vectors) {
  return kLanes == 16 && vectors == 1 ? 16 : kTileRows * kPanelVectors / vectors;
}

// c[m][kColumns] = A·B for m <= kVectors·kLanes rows of A that lie side by side: a[k][kVectors·kLanes]. Column j of B
// is b[j·stride + k]. The chains are those of `tile`, for a product does not mind which factor comes first. The memory
// at `ahead` is asked for in the order of its addresses, the one that the processor's own prefetcher goes on with.
template <int kColumns, int kVectors, class T>
void turned_tile(const float* a, const T* b, int64_t stride, int64_t k, int64_t m, const T* ahead, float* c,
                 int64_t c_stride) {
  Vec acc[kColumns][kVectors];
  for (auto& column : acc)
    for (Vec& v : column) v = zero();
  for (int64_t i = 0; i < k; ++i) {
    __builtin_prefetch(ahead + i * kColumns, 0, 2);
    Vec x[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) x[v] = load(a + (i * kVectors + v) * kLanes);
#pragma GCC unroll 16
    for (int j = 0; j < kColumns; ++j) {
      const Vec y = splat(widen(b[j * stride + i]));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) acc[j][v] = fma(y, x[v], acc[j][v]);
    }
  }
  float turned[kColumns][kVectors * kLanes];
  for (int j = 0; j < kColumns; ++j)
    for (int v = 0; v < kVectors; ++v) store(turned[j] + v * kLanes, acc[j][v]);
  for (int64_t r = 0; r < m; ++r)
    for (int j = 0; j < kColumns; ++j) c[r * c_stride + j] = turned[j][r];
}

// Up to kVectors·kLanes rows of A, laid side by side, times B read in place, its columns to their ends.
template <int kVectors, class T>
void turned_rows(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, int64_t a_col, const T* b, int64_t b_col,
                 float* c, int64_t c_stride) {
  constexpr int kColumns = turned_columns(kVectors), kWidth = kVectors * kLanes;
  float* side_by_side = scratch<float, 1>(k * kWidth);
  for (int64_t r0 = 0; r0 < kWidth; r0 += kLanes) {
    int64_t i = 0;
    for (; a_col == 1 && i + kLanes <= k; i += kLanes) {
      Vec block[kLanes];
      for (int64_t r = 0; r < kLanes; ++r) block[r] = r0 + r < m ? load(a + (r0 + r) * a_row + i) : zero();
      transpose(block);
      for (int64_t r = 0; r < kLanes; ++r) store(side_by_side + (i + r) * kWidth + r0, block[r]);
    }
    for (; i < k; ++i)
      for (int64_t r = r0; r < r0 + kLanes; ++r)
        side_by_side[i * kWidth + r] = r < m ? widen(a[r * a_row + i * a_col]) : 0.0f;
  }
  int64_t j = 0;
  for (; j + kColumns <= n; j += kColumns)
    turned_tile<kColumns, kVectors>(side_by_side, b + j * b_col, b_col, k, m, b + (j + kColumns) * b_col, c + j,
                                    c_stride);
  for (; j < n; ++j)
    turned_tile<1, kVectors>(side_by_side, b + j * b_col, b_col, k, m, b + (j + 1) * b_col, c + j, c_stride);
}

// For a B whose columns lie along k: what takes time is then reading or packing B, so it is read in place, as many of
// its columns at a time as the second-level cache holds.
template <class T>
void turned_block(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, int64_t a_col, const T* b, int64_t b_col,
                  float* c, int64_t c_stride) {
  constexpr int64_t kRows = 3 * kLanes;  // the quickest; a few more go along rather than by themselves
  const int64_t columns = std::max<int64_t>(kRows, kTurnedBytes / static_cast<int64_t>(k * sizeof(T)) / kRows * kRows);
  for (int64_t j = 0; j < n; j += columns)
    for (int64_t i = 0, rows; i < m; i += rows) {
      rows = m - i <= kTurnedRows ? m - i : kRows;
      const int64_t width = std::min(columns, n - j);
      const auto part = [&](auto vectors) {
        turned_rows<vectors()>(rows, width, k, a + i * a_row, a_row, a_col, b + j * b_col, b_col, c + i * c_stride + j,
                               c_stride);
      };
      if (rows <= kLanes)
        part(std::integral_constant<int, 1>());
      else if (rows <= 2 * kLanes)
        part(std::integral_constant<int, 2>());
      else if (rows <= 3 * kLanes)
        part(std::integral_constant<int, 3>());
      else
        part(std::integral_constant<int, kTurnedVectors>());
    }
}

// One task's block of C. `c` is fp32; panels of B are packed once for the block's rows.
template <class T>
void gemm_block(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, int64_t a_col, const T* b, int64_t b_row,
                int64_t b_col, float* c, int64_t c_stride, bool accumulate) {
  if (b_row == 1 && !accumulate && k > 0 && std::min(m, kTurnedRows) * k * 4 <= kTurnedBytes)
    return turned_block(m, n, k, a, a_row, a_col, b, b_col, c, c_stride);
  float* panel = scratch<float, 0>(kDepth * kPanel);
  constexpr bool kWiden = !std::is_same_v<T, float>;
  const bool direct = !kWiden && a_col == 1;
  // A that cannot be read in place (its type, or strides that touch a page an element) is packed as [k][kTileRows]
  // tiles. Rows that lie whole pages apart evict one another from the first-level cache: they are laid side by side.
  const bool beside = direct && a_row % kPage == 0 && n > 2 * kPanel;
  float* packed = direct && !beside ? nullptr : scratch<float, 1>((m + kTileRows) * kDepth);
  const auto pass = [&](int64_t k0, int64_t n0) {
    const int64_t depth = std::min(kDepth, k - k0), columns = std::min<int64_t>(kPanel, n - n0);
    const int vectors = static_cast<int>((columns + kLanes - 1) / kLanes);
    pack_panel(b + k0 * b_row + n0 * b_col, b_row, b_col, depth, columns, panel);
    for (int64_t i = 0; i < m; i += kTileRows) {
      const int rows = static_cast<int>(std::min<int64_t>(kTileRows, m - i));
      float* to = c + i * c_stride + n0;
      const bool add = accumulate || k0 > 0;
      const bool whole = columns == vectors * kLanes;
      float edge[kTileRows * kPanel];
      float* target = whole ? to : edge;
      const int64_t target_stride = whole ? c_stride : kPanel;
      if (!whole && add)
        for (int r = 0; r < rows; ++r) std::memcpy(edge + r * kPanel, to + r * c_stride, columns * sizeof(float));
      if (!direct)
        tile_function<false>(rows, vectors)(packed + i * kDepth, kTileRows, panel, depth, target, target_stride, add);
      else if constexpr (!kWiden)
        tile_function<true>(rows, vectors)(beside ? packed + i * kDepth : a + i * a_row + k0, beside ? kDepth : a_row,
                                           panel, depth, target, target_stride, add);
      if (!whole)
        for (int r = 0; r < rows; ++r) std::memcpy(to + r * c_stride, edge + r * kPanel, columns * sizeof(float));
    }
  };
  for (int64_t k0 = 0; k0 < std::max<int64_t>(k, 1); k0 += kDepth) {
    const int64_t depth = std::min(kDepth, k - k0);
    if (!direct) pack_tiles(a + k0 * a_col, a_row, a_col, m, depth, packed);
    for (int64_t i = 0; beside && i < m; ++i)
      std::memcpy(packed + i * kDepth, a + i * a_row + k0, depth * sizeof(float));
    for (int64_t n0 = 0; n0 < n; n0 += kPanel) pass(k0, n0);
  }
}

#if defined(__AMX_BF16__)
constexpr int64_t kAmxDepth = 32;  // k per tile instruction

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Before every block: other libraries (oneDNN under ATen) set and release the same thread's tiles.
inline void configure_tiles() {
  static const TileConfig config;
  asm volatile("ldtilecfg %0" ::"m"(config));
}

// Panels of 32 columns: out[k / 2][32][2], k padded with zeros to a multiple of kAmxDepth, columns to 32.
inline void pack_pairs(const bf16* b, int64_t row_stride, int64_t col_stride, int64_t k, int64_t n, uint32_t* out) {
  const int64_t pairs = (k + kAmxDepth - 1) / kAmxDepth * (kAmxDepth / 2);
  auto element = [&](int64_t row, int64_t col) -> uint32_t {
    return row < k && col < n ? b[row * row_stride + col * col_stride].bits : 0;
  };
  int64_t p = 0;
  if (row_stride == 1 && n == 32) {
    for (; 2 * (p + kLanes) <= k; p += kLanes)
      for (int half = 0; half < 2; ++half) {
        IVec block[kLanes];
#pragma GCC unroll 16
        for (int j = 0; j < kLanes; ++j) std::memcpy(&block[j], b + (half * 16 + j) * col_stride + 2 * p, sizeof(IVec));
        transpose(block);
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) std::memcpy(out + (p + i) * 32 + half * 16, &block[i], sizeof(IVec));
      }
  } else if (col_stride == 1 && n == 32) {
    for (; 2 * p + 1 < k; ++p)
      for (int half = 0; half < 2; ++half) {
        const bf16* top = b + 2 * p * row_stride + half * 16;
        const HVec even = load_bits(top);
        const HVec odd = load_bits(top + row_stride);
        const IVec joined = __builtin_convertvector(even, IVec) | (__builtin_convertvector(odd, IVec) << 16);
        std::memcpy(out + p * 32 + half * 16, &joined, sizeof(IVec));
      }
  }
  for (; p < pairs; ++p)
    for (int64_t j = 0; j < 32; ++j) out[p * 32 + j] = element(2 * p, j) | element(2 * p + 1, j) << 16;
}

// out[i][depth] = row i of A, k padded with zeros to `depth` and rows to `padded`.
inline void pack_rows(const bf16* a, int64_t row_stride, int64_t col_stride, int64_t rows, int64_t k, int64_t padded,
                      int64_t depth, bf16* out) {
  if (col_stride == 1) {
    for (int64_t i = 0; i < rows; ++i) {
      std::memcpy(out + i * depth, a + i * row_stride, sizeof(bf16) * k);
      std::memset(static_cast<void*>(out + i * depth + k), 0, sizeof(bf16) * (depth - k));
    }
    std::memset(static_cast<void*>(out + rows * depth), 0, sizeof(bf16) * (padded - rows) * depth);
    return;
  }
  for (int64_t i = 0; i < padded; i += kLanes)
    for (int64_t j = 0; j < depth; j += 2 * kLanes) {
      if (row_stride == 1 && i + kLanes <= rows && j + 2 * kLanes <= k) {
        // Pairs of neighbours in k side by side, and then a transpose of the pairs.
        IVec block[kLanes];
#pragma GCC unroll 16
        for (int p = 0; p < kLanes; ++p) {
          const bf16* even = a + i + (j + 2 * p) * col_stride;
          block[p] = __builtin_convertvector(load_bits(even), IVec) |
                     (__builtin_convertvector(load_bits(even + col_stride), IVec) << 16);
        }
        transpose(block);
#pragma GCC unroll 16
        for (int r = 0; r < kLanes; ++r) std::memcpy(out + (i + r) * depth + j, &block[r], sizeof(IVec));
      } else {
        for (int64_t r = i; r < i + kLanes; ++r)
          for (int64_t c = j; c < j + 2 * kLanes; ++c)
            out[r * depth + c] = r < rows && c < k ? a[r * row_stride + c * col_stride] : bf16{0};
      }
    }
}

template <class Out>
void amx_block(int64_t m, int64_t n, int64_t k, const bf16* a, int64_t a_row, int64_t a_col, const bf16* b,
               int64_t b_row, int64_t b_col, Out* c, int64_t c_stride, bool accumulate) {
  configure_tiles();
  const int64_t depth = (k + kAmxDepth - 1) / kAmxDepth * kAmxDepth;
  uint32_t* panel = scratch<uint32_t, 2>(depth * 16);
  // Whole 32-row blocks of a row-major A with k a multiple of 32 are read in place; anything else through a packed
  // copy.
  const bool direct = a_col == 1 && k == depth;
  const int64_t whole = direct ? m / 32 * 32 : 0;
  const int64_t packed_rows = (m - whole + 31) / 32 * 32;
  bf16* packed = scratch<bf16, 3>(packed_rows * depth);
  if (packed_rows > 0) pack_rows(a + whole * a_row, a_row, a_col, m - whole, k, packed_rows, depth, packed);
  for (int64_t n0 = 0; n0 < n; n0 += 32) {
    const int64_t columns = std::min<int64_t>(32, n - n0);
    pack_pairs(b + n0 * b_col, b_row, b_col, k, columns, panel);
    for (int64_t i = 0; i < m; i += 32) {
      const bf16* rows = i < whole ? a + i * a_row : packed + (i - whole) * depth;
      const int64_t stride = (i < whole ? a_row : depth) * 2;
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      for (int64_t j = 0; j < depth; j += kAmxDepth) {
        _tile_loadd(4, rows + j, stride);
        _tile_loadd(5, reinterpret_cast<const char*>(rows + j) + 16 * stride, stride);
        _tile_loadd(6, panel + j * 16, 128);
        _tile_loadd(7, panel + j * 16 + 16, 128);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      alignas(64) float result[32 * 32];
      _tile_stored(0, result, 128);
      _tile_stored(1, result + 16, 128);
      _tile_stored(2, result + 16 * 32, 128);
      _tile_stored(3, result + 16 * 32 + 16, 128);
      asm volatile("" ::: "memory");  // the tile stores name no memory operand for the compiler
      const int64_t count = std::min<int64_t>(32, m - i);
      for (int64_t r = 0; r < count; ++r) {
        Out* to = c + (i + r) * c_stride + n0;
        for (int64_t j = 0; j < columns; j += kLanes) {
          const int lanes = static_cast<int>(std::min<int64_t>(kLanes, columns - j));
          Vec value = load(result + r * 32 + j);
          if (lanes == kLanes) {
            if (accumulate) value += load(to + j);
            store(to + j, value);
          } else {
            if (accumulate) value += load(to + j, lanes);
            store(to + j, value, lanes);
          }
        }
      }
    }
  }
}

// The kernel lets a process use the tile registers only after it asked once.
inline bool amx_allowed() {
  static const bool allowed = syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* XTILEDATA */) == 0;
  return allowed;
}
#endif

// The widening route for bf16 results: an fp32 block, then rounded once.
template <class T, class Out>
void gemm_serial(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, int64_t a_col, const T* b, int64_t b_row,
                 int64_t b_col, Out* c, int64_t c_stride, bool accumulate) {
#if defined(__AMX_BF16__)
  if constexpr (std::is_same_v<T, bf16>) {
    if (amx_allowed()) return amx_block(m, n, k, a, a_row, a_col, b, b_row, b_col, c, c_stride, accumulate);
  }
#endif
  if constexpr (std::is_same_v<Out, float>) {
    gemm_block(m, n, k, a, a_row, a_col, b, b_row, b_col, c, c_stride, accumulate);
  } else {
    float* wide = scratch<float, 4>(m * n);
    gemm_block(m, n, k, a, a_row, a_col, b, b_row, b_col, wide, n, false);
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j)
        put(c + i * c_stride + j, wide[i * n + j] + (accumulate ? widen(c[i * c_stride + j]) : 0.0f));
  }
}

template <class T, class Out>
void gemm_typed(int64_t m, int64_t n, int64_t k, const kernel::MatrixRef& a, const kernel::MatrixRef& b, void* c,
                int64_t c_stride, bool accumulate) {
  if (m == 0 || n == 0) return;
  // Blocks enough for every thread, and so many that a short last one leaves none of them idle: by rows as long as each
  // has enough of them to pay for packing its panels of B, the rest by columns. An A that cannot be read in place is
  // packed for each column of blocks: then there are more by rows instead, but not so short ones that packing B costs
  // more than that, where there are columns enough.
  const int64_t threads = num_threads();
  const int64_t target = threads == 1 || m * n * k < 100000 ? 1 : 4 * threads;
  const bool in_place = a.col_stride == 1;
  const int64_t share = (m + target - 1) / target, panels = (n + kPanel - 1) / kPanel;
  int64_t rows = std::max<int64_t>(96, (share + 95) / 96 * 96);
  if (!in_place) {
    const int64_t fewest = std::min((target + panels - 1) / panels, (m + 95) / 96);
    const int64_t blocks = std::max((m + 383) / 384, fewest);
    rows = ((m + blocks - 1) / blocks + kTileRows - 1) / kTileRows * kTileRows;
  }
  const int64_t down = (m + rows - 1) / rows;
  const int64_t wanted = target == 1 ? 1 : (in_place && down > 1 ? 2 * target : target);
  const int64_t column_blocks = std::clamp<int64_t>((wanted + down - 1) / down, 1, panels);
  const int64_t columns = (panels + column_blocks - 1) / column_blocks * kPanel;
  const int64_t across = (n + columns - 1) / columns;
  parallel_for(across * down, [&](int64_t task) {
    const int64_t n0 = task % across * columns, m0 = task / across * rows;
    gemm_serial<T, Out>(std::min(rows, m - m0), std::min(columns, n - n0), k,
                        static_cast<const T*>(a.data) + m0 * a.row_stride, a.row_stride, a.col_stride,
                        static_cast<const T*>(b.data) + n0 * b.col_stride, b.row_stride, b.col_stride,
                        static_cast<Out*>(c) + m0 * c_stride + n0, c_stride, accumulate);
  });
}

inline void gemm(kernel::Stream, kernel::Type in, kernel::Type out, int64_t m, int64_t n, int64_t k,
                 const kernel::MatrixRef& a, const kernel::MatrixRef& b, void* c, int64_t c_stride, bool accumulate) {
  using kernel::Type;
  if (in == Type::f32) return gemm_typed<float, float>(m, n, k, a, b, c, c_stride, accumulate);
  if (out == Type::f32) return gemm_typed<bf16, float>(m, n, k, a, b, c, c_stride, accumulate);
  gemm_typed<bf16, bf16>(m, n, k, a, b, c, c_stride, accumulate);
}

}  // namespace grpo::GRPO_ISA
