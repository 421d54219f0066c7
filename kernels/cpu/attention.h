// Causal attention for one query head at a time over blocks of 16 keys, forward and backward. A row's arithmetic is
// fixed by its own keys alone: scores key by key, one maximum, one sum with a lane for each key of a block, values
// added in key order. Keys come as blocks that start where their segment starts (the prompt's first, then the
// completion's), the same in training, where blocks are cut from the batch, and in sampling, where they lie in pages.
// Of a latent layout pages hold rows alone, and blocks are transposed from them as they are from a batch.
// Included by isa.cpp only.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/simd.h"

namespace grpo::GRPO_ISA {

constexpr int kKeys = cpu::kKeyBlock;        // keys in a block
constexpr int kKeyVectors = kKeys / kLanes;  // vectors that hold a block's scores
constexpr int kRows = 4;                     // query rows that share each load of a key or value

template <class T>
struct KeyBlocks {
  std::vector<const T*> k, v;  // block b: transposed keys [head_dim][kKeys]; values [kKeys] rows, v_stride apart
  std::vector<int> count;      // keys in block b
  int64_t v_stride = 0;

  void add(const T* keys, const T* values, int keys_in_block) {
    k.push_back(keys), v.push_back(values), count.push_back(keys_in_block);
  }
};

// One query row: `limit` keys are visible, counted with every earlier block as kKeys.
struct QueryRow {
  const float* q;  // [head_dim]
  int64_t limit;
};

// s[r][j] = q_r · key_j for the keys of one block, all rows against the same loads.
template <class T>
inline void block_dots(const QueryRow* rows, const T* k, int64_t head_dim, Vec (&s)[kRows][kKeyVectors]) {
  for (auto& row : s)
    for (auto& v : row) v = zero();
  for (int64_t d = 0; d < head_dim; ++d) {
    Vec key[kKeyVectors];
    for (int v = 0; v < kKeyVectors; ++v) key[v] = load(k + d * kKeys + v * kLanes);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kKeyVectors; ++v) s[r][v] = fma(splat(rows[r].q[d]), key[v], s[r][v]);
  }
}

// out[r] (+)= Σ_j p[r][j] · row_j for kVectors vectors at offset d, over the keys in order.
template <int kVectors, class T>
inline void weigh_rows(const KeyBlocks<T>& keys, const std::vector<const T*>& rows, int64_t stride, const QueryRow* q,
                       const float* p, int64_t p_stride, int64_t d, int lanes, float* out, int64_t out_stride) {
  Vec acc[kRows][kVectors];
  for (auto& row : acc)
    for (auto& v : row) v = zero();
  int64_t limit = 0, common = q[0].limit;  // the first row sees at least one key; one that sees none is not used
  for (int r = 0; r < kRows; ++r) {
    limit = std::max(limit, q[r].limit);
    if (q[r].limit > 0) common = std::min(common, q[r].limit);
  }
  for (size_t b = 0; b < rows.size() && static_cast<int64_t>(b) * kKeys < limit; ++b) {
    const int count = static_cast<int>(std::min<int64_t>(keys.count[b], limit - b * kKeys));
    const int seen_by_all = static_cast<int>(std::clamp<int64_t>(common - b * kKeys, 0, count));
    for (int j = 0; j < seen_by_all; ++j) {
      Vec value[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) value[v] = load_some(rows[b] + j * stride + d + v * kLanes, lanes);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const Vec weight = splat(p[r * p_stride + b * kKeys + j]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) acc[r][v] = fma(weight, value[v], acc[r][v]);
      }
    }
    for (int j = seen_by_all; j < count; ++j) {  // a weight of 0 would not do: what a row does not see may be NaN
      Vec value[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) value[v] = load_some(rows[b] + j * stride + d + v * kLanes, lanes);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        if (static_cast<int64_t>(b) * kKeys + j >= q[r].limit) continue;
        const Vec weight = splat(p[r * p_stride + b * kKeys + j]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) acc[r][v] = fma(weight, value[v], acc[r][v]);
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store_some(out + r * out_stride + d + v * kLanes, acc[r][v], lanes);
  }
}

template <class T>
inline void weigh(const KeyBlocks<T>& keys, const std::vector<const T*>& rows, int64_t stride, const QueryRow* q,
                  const float* p, int64_t p_stride, int64_t head_dim, float* out) {
  int64_t d = 0;
  for (; d + 4 * kLanes <= head_dim; d += 4 * kLanes)
    weigh_rows<4>(keys, rows, stride, q, p, p_stride, d, kLanes, out, head_dim);
  for (; d + kLanes <= head_dim; d += kLanes)
    weigh_rows<1>(keys, rows, stride, q, p, p_stride, d, kLanes, out, head_dim);
  if (d < head_dim) weigh_rows<1>(keys, rows, stride, q, p, p_stride, d, static_cast<int>(head_dim - d), out, head_dim);
}

// Lanes of a block that a row may see.
inline int visible(int64_t block, int count, int64_t limit) {
  return static_cast<int>(std::clamp<int64_t>(limit - block * kKeys, 0, count));
}

// out[r] = softmax(scale · q_r Kᵀ) V and lse[r] = log Σ exp(scale · q_r · k), for kRows rows (repeat a row to fill up).
template <class T>
void attend(const KeyBlocks<T>& keys, const QueryRow* rows, int64_t head_dim, int64_t value_dim, float scale,
            float* out, float* lse) {
  int64_t blocks = 0;
  for (int r = 0; r < kRows; ++r) blocks = std::max(blocks, (rows[r].limit + kKeys - 1) / kKeys);
  const int64_t stride = blocks * kKeys;
  float* p = scratch<float, 10>(kRows * stride);
  Vec highest[kRows][kKeyVectors];
  for (auto& row : highest)
    for (auto& v : row) v = splat(-INFINITY);
  for (int64_t b = 0; b < blocks; ++b) {
    Vec s[kRows][kKeyVectors];
    block_dots(rows, keys.k[b], head_dim, s);
    for (int r = 0; r < kRows; ++r) {
      const int lanes = visible(b, keys.count[b], rows[r].limit);
      for (int v = 0; v < kKeyVectors; ++v) {
        Vec x = s[r][v] * splat(scale);
        for (int i = std::max(0, lanes - v * kLanes); i < kLanes; ++i) x[i] = -INFINITY;
        store(p + r * stride + b * kKeys + v * kLanes, x);
        highest[r][v] = max(highest[r][v], x);
      }
    }
  }
  float inverse[kRows];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 1; v < kKeyVectors; ++v) highest[r][0] = max(highest[r][0], highest[r][v]);
    const float top = max_lane(highest[r][0]);
    Vec total[kKeyVectors];
    for (auto& v : total) v = zero();
    for (int64_t j = 0; j < stride; j += kKeys)
      for (int v = 0; v < kKeyVectors; ++v) {
        const Vec e = exp(load(p + r * stride + j + v * kLanes) - top);
        store(p + r * stride + j + v * kLanes, e);
        total[v] += e;
      }
    for (int v = 1; v < kKeyVectors; ++v) total[0] += total[v];
    const float z = sum(total[0]);
    inverse[r] = 1.0f / z;
    lse[r] = top + std::log(z);
  }
  weigh(keys, keys.v, keys.v_stride, rows, p, stride, value_dim, out);
  for (int r = 0; r < kRows; ++r)
    for (int64_t d = 0; d < value_dim; ++d) out[r * value_dim + d] *= inverse[r];
}

// What one thread works on: a family or run, and query heads that share a key head.
struct HeadTask {
  int64_t item, kv_head, first_head, heads;

  // A latent layout has many query heads over its one key head: its tasks take kShare of them each.
  static constexpr int64_t kShare = 16;
  static int64_t shares(const cpu::Attention& a) {
    return a.latent > 0 ? (a.heads / a.kv_heads + kShare - 1) / kShare : 1;
  }
  static int64_t count(const cpu::Attention& a, int64_t items) { return items * a.kv_heads * shares(a); }
  HeadTask(const cpu::Attention& a, int64_t task) {
    const int64_t share = task % shares(a), group = a.heads / a.kv_heads;
    kv_head = task / shares(a) % a.kv_heads;
    item = task / shares(a) / a.kv_heads;
    first_head = kv_head * group + share * kShare;
    heads = a.latent > 0 ? std::min(kShare, (kv_head + 1) * group - first_head) : group;
  }
};

// Runs attend for the task's heads of `count` tokens of one segment, kRows at a time: those that stand at `own` … in
// the segment and lie in rows `token` … of qkv. `hidden_keys` is how many (padded) keys come before the segment's own.
template <class T>
void attend_rows(const cpu::Attention& a, const KeyBlocks<T>& keys, const HeadTask& task, int64_t hidden_keys,
                 int64_t own, int64_t token, int64_t count, const T* qkv, T* out, float* lse) {
  const int64_t group = task.heads, d = a.head_dim, dv = a.value_dim(), width = a.width();
  float* q = scratch<float, 11>(kRows * d);
  float* result = scratch<float, 12>(kRows * dv);
  for (int64_t i = 0; i < count * group; i += kRows) {
    QueryRow rows[kRows];
    float sums[kRows];
    for (int r = 0; r < kRows; ++r) {
      const int64_t index = std::min(i + r, count * group - 1);
      const int64_t row = token + index / group, head = task.first_head + index % group;
      for (int64_t j = 0; j < d; ++j) q[r * d + j] = widen(qkv[row * width + head * d + j]);
      rows[r] = {q + r * d, hidden_keys + own + index / group + 1};
    }
    attend(keys, rows, d, dv, a.scale, result, sums);
    for (int r = 0; r < kRows && i + r < count * group; ++r) {
      const int64_t row = token + (i + r) / group, head = task.first_head + (i + r) % group;
      for (int64_t j = 0; j < dv; ++j) put(out + (row * a.heads + head) * dv + j, result[r * dv + j]);
      if (lse) lse[row * a.heads + head] = sums[r];
    }
  }
}

// Transposed copies of one column group of qkv, in blocks of kKeys rows; unused lanes are 0.
template <class T>
void transpose_blocks(const T* rows, int64_t stride, int64_t count, int64_t head_dim, T* out) {
  for (int64_t j0 = 0; j0 < count; j0 += kKeys, out += kKeys * head_dim) {
    const int64_t n = std::min<int64_t>(kKeys, count - j0);
    if (n < kKeys) std::memset(static_cast<void*>(out), 0, sizeof(T) * kKeys * head_dim);
    for (int64_t j = 0; j < n; ++j)
      for (int64_t d = 0; d < head_dim; ++d) out[d * kKeys + j] = rows[(j0 + j) * stride + d];
  }
}

inline int64_t padded(int64_t keys) { return (keys + kKeys - 1) / kKeys * kKeys; }

// Families (a segment without parent and the segments that name it) are independent of each other; so are key heads.
template <class T>
void attention(const cpu::Attention& a, const void* qkv_, void* out_, float* lse) {
  const T* qkv = static_cast<const T*>(qkv_);
  const int64_t d = a.head_dim, width = a.width();
  parallel_for(HeadTask::count(a, a.families), [&](int64_t number) {
    const HeadTask task(a, number);
    const int32_t root = a.family_starts[task.item], end = a.family_starts[task.item + 1];
    const T *k = qkv + a.key_column(task.kv_head), *v = qkv + a.value_column(task.kv_head);
    KeyBlocks<T> keys;
    keys.v_stride = width;
    std::vector<T> root_keys, own_keys;
    auto extend = [&](int64_t segment, std::vector<T>& store) {
      const int64_t start = a.starts[segment], n = a.starts[segment + 1] - start;
      store.resize(padded(n) * d);
      transpose_blocks(k + start * width, width, n, d, store.data());
      for (int64_t j = 0; j < n; j += kKeys)
        keys.add(store.data() + j * d, v + (start + j) * width, static_cast<int>(std::min<int64_t>(kKeys, n - j)));
    };
    extend(root, root_keys);
    const size_t root_blocks = keys.k.size();
    for (int32_t segment = root; segment != end; ++segment) {
      if (a.given && segment == 0) continue;
      if (segment != root) {
        keys.k.resize(root_blocks), keys.v.resize(root_blocks), keys.count.resize(root_blocks);
        extend(segment, own_keys);
      }
      attend_rows(a, keys, task, segment == root ? 0 : root_blocks * kKeys, 0, a.starts[segment],
                  a.starts[segment + 1] - a.starts[segment], qkv, static_cast<T*>(out_), lse);
    }
  });
}

template <class T>
void paged_attention(const cpu::Attention& a, const cpu::Pages& pages, const void* qkv_, void* out) {
  const T* qkv = static_cast<const T*>(qkv_);
  const int64_t d = a.head_dim, page_width = pages.page_size * d;
  const bool latent = a.latent > 0;
  parallel_for(HeadTask::count(a, pages.runs), [&](int64_t number) {
    const HeadTask task(a, number);
    const int32_t slot = pages.slots[task.item], parent = slot < 0 ? -1 : pages.parents[slot];
    const int64_t token = pages.tokens[task.item], count = pages.tokens[task.item + 1] - token;
    if (slot < 0) {
      const int64_t dv = a.value_dim();
      for (int64_t row = token; row < token + count; ++row)
        std::fill_n(static_cast<T*>(out) + (row * a.heads + task.first_head) * dv, task.heads * dv, T());
      return;
    }
    const int64_t first = pages.lengths[slot], prompt_length = parent < 0 ? 0 : pages.lengths[parent],
                  prompt = padded(prompt_length);
    KeyBlocks<T> keys;
    keys.v_stride = d;
    std::vector<T> transposed(latent ? (prompt + padded(first + count)) * d : 0);
    T* next = transposed.data();
    auto extend = [&](const int32_t* table, int64_t n) {
      for (int64_t j = 0; j < n; j += kKeys) {
        const int64_t at =
            (table[j / pages.page_size] * a.kv_heads + task.kv_head) * page_width + j % pages.page_size * d;
        const auto in_block = static_cast<int>(std::min<int64_t>(kKeys, n - j));
        const T* values = static_cast<const T*>(pages.v) + at;
        if (latent) transpose_blocks(values, d, in_block, d, next);
        keys.add(latent ? next : static_cast<const T*>(pages.k) + at, values, in_block);
        next += latent ? kKeys * d : 0;
      }
    };
    if (parent >= 0) extend(pages.table + parent * pages.most_pages, prompt_length);
    extend(pages.table + slot * pages.most_pages, first + count);
    attend_rows<T>(a, keys, task, prompt, first, token, count, qkv, static_cast<T*>(out), nullptr);
  });
}

// Puts the keys and values of a run's new tokens where paged_attention reads them.
template <class T>
void write_pages(const cpu::Attention& a, const cpu::Pages& pages, const void* qkv_, void* k_cache, void* v_cache) {
  const T* qkv = static_cast<const T*>(qkv_);
  const int64_t d = a.head_dim, width = a.width(), page_width = pages.page_size * d;
  parallel_for(pages.runs, [&](int64_t run) {
    const int64_t owner = pages.slots[run];
    if (owner < 0) return;
    const int32_t* table = pages.table + owner * pages.most_pages;
    for (int64_t row = pages.tokens[run]; row < pages.tokens[run + 1]; ++row) {
      const int64_t position = pages.lengths[owner] + row - pages.tokens[run], slot = position % pages.page_size;
      for (int64_t head = 0; head < a.kv_heads; ++head) {
        const int64_t at = (table[position / pages.page_size] * a.kv_heads + head) * page_width;
        std::memcpy(static_cast<T*>(v_cache) + at + slot * d, qkv + row * width + a.value_column(head), sizeof(T) * d);
        if (a.latent > 0) continue;  // the value's row is the key's, too
        const T* k = qkv + row * width + a.key_column(head);
        T* to = static_cast<T*>(k_cache) + at + slot / kKeys * kKeys * d + slot % kKeys;
        for (int64_t j = 0; j < d; ++j) to[j * kKeys] = k[j];
      }
    }
  });
}

// Backward. With P the weights and D = dO·O of a row: dV += Pᵀ dO, dS = P∘(dO Vᵀ − D)·scale, dQ = dS K, dK += dSᵀ Q.
// Keys of a family's root gather from its children, in order, and from itself last, so that the children may come in
// passes of their own. A latent key's gradient is dK plus dV.
template <class T>
void attention_backward(const cpu::Attention& a, const void* qkv_, const void* out_, const float* lse,
                        const void* dout_, void* dqkv_) {
  const T* qkv = static_cast<const T*>(qkv_);
  const T* out = static_cast<const T*>(out_);
  const T* dout = static_cast<const T*>(dout_);
  T* dqkv = static_cast<T*>(dqkv_);
  const int64_t d = a.head_dim, dv = a.value_dim(), width = a.width(), group = a.heads / a.kv_heads;
  const int64_t dims[2] = {d, dv};  // of keys and of values
  parallel_for(a.families * a.kv_heads, [&](int64_t task) {
    const int64_t kv_head = task % a.kv_heads;
    const int32_t family = a.family_starts[task / a.kv_heads], end = a.family_starts[task / a.kv_heads + 1];
    const T *k = qkv + a.key_column(kv_head), *v = qkv + a.value_column(kv_head);
    KeyBlocks<T> keys;
    std::vector<const T*> transposed_values, key_rows;
    std::vector<T> store[2][2];         // [root, own][keys, values], transposed; of latent values the keys' serve
    std::vector<float> gradient[2][2];  // [root, own][keys, values], [keys, head_dim or value_dim]
    auto extend = [&](int64_t segment, int part) {
      const int64_t start = a.starts[segment], n = a.starts[segment + 1] - start;
      for (int kind = 0; kind < 2; ++kind) {
        gradient[part][kind].assign(padded(n) * dims[kind], 0.0f);
        if (kind == 1 && a.latent > 0) continue;
        store[part][kind].resize(padded(n) * d);
        transpose_blocks((kind ? v : k) + start * width, width, n, d, store[part][kind].data());
      }
      for (int64_t j = 0; j < n; j += kKeys) {
        keys.add(store[part][0].data() + j * d, nullptr, static_cast<int>(std::min<int64_t>(kKeys, n - j)));
        transposed_values.push_back(store[part][a.latent > 0 ? 0 : 1].data() + j * d);
        key_rows.push_back(k + (start + j) * width);
      }
    };
    auto write = [&](int64_t segment, int part, auto* gradients) {
      const int64_t start = a.starts[segment], n = a.starts[segment + 1] - start;
      for (int64_t j = 0; j < n; ++j) {
        float *dk = gradient[part][0].data() + j * d, *dvalue = gradient[part][1].data() + j * dv;
        auto* to = gradients + (start + j) * width;
        if (a.latent > 0) {
          for (int64_t e = 0; e < dv; ++e) dk[e] += dvalue[e];
        } else {
          for (int64_t e = 0; e < dv; ++e) put(to + a.value_column(kv_head) + e, dvalue[e]);
        }
        for (int64_t e = 0; e < d; ++e) put(to + a.key_column(kv_head) + e, dk[e]);
      }
    };
    std::vector<float> q(kRows * d), grad(kRows * dv), dq(kRows * d), p, ds;
    extend(family, 0);
    const bool first = family == 0, given = first && a.given;
    for (int64_t j = 0; first && a.root_gradient && j < a.starts[1]; ++j) {
      const float* from = a.root_gradient + j * width;
      std::copy_n(from + a.key_column(kv_head), d, gradient[0][0].data() + j * d);
      if (a.latent == 0) std::copy_n(from + a.value_column(kv_head), d, gradient[0][1].data() + j * d);
    }
    const size_t root_blocks = keys.k.size();
    for (int32_t next = family + 1; next < end + (given ? 0 : 1); ++next) {
      const int32_t segment = next < end ? next : family;  // the root itself comes last
      const bool root = segment == family;
      keys.k.resize(root_blocks), keys.v.resize(root_blocks), keys.count.resize(root_blocks);
      transposed_values.resize(root_blocks), key_rows.resize(root_blocks);
      if (!root) extend(segment, 1);
      const int64_t before = root ? 0 : root_blocks * kKeys, start = a.starts[segment];
      const int64_t count = (a.starts[segment + 1] - start) * group;
      for (int64_t i = 0; i < count; i += kRows) {
        QueryRow rows[kRows], grads[kRows];
        float sums[kRows], dots[kRows];
        int64_t blocks = 0;
        for (int r = 0; r < kRows; ++r) {
          const int64_t index = std::min(i + r, count - 1);
          const int64_t row = start + index / group, head = kv_head * group + index % group;
          const bool live = i + r < count;
          rows[r] = {q.data() + r * d, live ? before + index / group + 1 : 0};
          grads[r] = {grad.data() + r * dv, rows[r].limit};
          sums[r] = lse[row * a.heads + head];
          dots[r] = 0.0f;
          for (int64_t j = 0; j < d; ++j) q[r * d + j] = widen(qkv[row * width + head * d + j]);
          for (int64_t j = 0; j < dv; ++j) {
            const int64_t at = (row * a.heads + head) * dv + j;
            grad[r * dv + j] = widen(dout[at]);
            dots[r] += grad[r * dv + j] * widen(out[at]);
          }
          blocks = std::max(blocks, (rows[r].limit + kKeys - 1) / kKeys);
        }
        const int64_t stride = blocks * kKeys;
        p.resize(kRows * stride), ds.resize(kRows * stride);
        for (int64_t b = 0; b < blocks; ++b) {
          Vec s[kRows][kKeyVectors], dp[kRows][kKeyVectors];
          block_dots(rows, keys.k[b], d, s);
          block_dots(grads, transposed_values[b], dv, dp);
          for (int r = 0; r < kRows; ++r) {
            const int lanes = visible(b, keys.count[b], rows[r].limit);
            for (int x = 0; x < kKeyVectors; ++x) {
              Vec weight = exp(fma(s[r][x], splat(a.scale), splat(-sums[r])));
              for (int e = std::max(0, lanes - x * kLanes); e < kLanes; ++e) weight[e] = 0.0f;
              store_some(p.data() + r * stride + b * kKeys + x * kLanes, weight, kLanes);
              store_some(ds.data() + r * stride + b * kKeys + x * kLanes,
                         weight * (dp[r][x] - dots[r]) * splat(a.scale), kLanes);
            }
          }
          const int part = static_cast<size_t>(b) < root_blocks ? 0 : 1;
          const int64_t base = (part ? b - root_blocks : b) * kKeys;
          for (int kind = 0; kind < 2; ++kind) {
            const float* weights = (kind ? p : ds).data() + b * kKeys;
            const float* from = (kind ? grad : q).data();
            const int64_t n = dims[kind];
            float* to = gradient[part][kind].data() + base * n;
            each_vector(n, [&](int64_t e, int lanes) {
              Vec x[kRows];
              for (int r = 0; r < kRows; ++r) x[r] = load_some(from + r * n + e, lanes);
              for (int j = 0; j < keys.count[b]; ++j) {
                Vec total = load_some(to + j * n + e, lanes);
                for (int r = 0; r < kRows; ++r) total = fma(splat(weights[r * stride + j]), x[r], total);
                store_some(to + j * n + e, total, lanes);
              }
            });
          }
        }
        weigh(keys, key_rows, width, rows, ds.data(), stride, d, dq.data());
        for (int r = 0; r < kRows && i + r < count; ++r) {
          const int64_t row = start + (i + r) / group, head = kv_head * group + (i + r) % group;
          for (int64_t j = 0; j < d; ++j) put(dqkv + row * width + head * d + j, dq[r * d + j]);
        }
      }
      if (!root) write(segment, 1, dqkv);
    }
    given ? write(0, 0, a.root_gradient) : write(family, 0, dqkv);
  });
}

}  // namespace grpo::GRPO_ISA
