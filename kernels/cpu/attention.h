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
#include "kernels/cpu/cpu.h"
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

inline float scale_of(const HeadLayout& a) {
  return a.scale > 0 ? static_cast<float>(a.scale) : 1.0f / std::sqrt(static_cast<float>(a.head_dim));
}

// What one thread works on: a family or run, and query heads that share a key head.
struct HeadTask {
  int64_t item, kv_head, first_head, heads;

  // A latent layout has many query heads over its one key head: its tasks take kShare of them each.
  static constexpr int64_t kShare = 16;
  static int64_t shares(const HeadLayout& a) {
    return a.latent > 0 ? (a.heads / a.kv_heads + kShare - 1) / kShare : 1;
  }
  static int64_t count(const HeadLayout& a, int64_t items) { return items * a.kv_heads * shares(a); }
  HeadTask(const HeadLayout& a, int64_t task) {
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
void attend_rows(const HeadLayout& a, const KeyBlocks<T>& keys, const HeadTask& task, int64_t hidden_keys,
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
    attend(keys, rows, d, dv, scale_of(a), result, sums);
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

// Rows behind the last segment see nothing.
template <class T>
void zero_inert(const HeadLayout& heads, int64_t live, int64_t rows, T* out) {
  const int64_t width = heads.heads * heads.value_dim();
  std::fill(out + live * width, out + rows * width, T());
}

// Families (a segment without parent and the segments that name it) are independent of each other; so are key heads.
template <class T>
void attention(kernel::Stream, const kernel::Attention& a, const void* qkv_, void* out_, float* lse) {
  const HeadLayout& heads = a.layout;
  const T* qkv = static_cast<const T*>(qkv_);
  T* out = static_cast<T*>(out_);
  const int64_t d = heads.head_dim, width = heads.width();
  zero_inert(heads, a.starts[a.segments], a.rows, out);
  parallel_for(HeadTask::count(heads, a.families), [&](int64_t number) {
    const HeadTask task(heads, number);
    const int32_t root = a.family_starts[task.item], end = a.family_starts[task.item + 1];
    const T *k = qkv + heads.key_column(task.kv_head), *v = qkv + heads.value_column(task.kv_head);
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
      attend_rows(heads, keys, task, segment == root ? 0 : root_blocks * kKeys, 0, a.starts[segment],
                  a.starts[segment + 1] - a.starts[segment], qkv, out, lse);
    }
  });
}

// Puts the keys and values of the runs' new tokens where `attend_pages` reads them: keys in [pages, kv_heads, page_size /
// kKeys, head_dim, kKeys], values in [pages, kv_heads, page_size, head_dim], as the one row of a latent layout does.
template <class T>
void write_pages(const kernel::PagedAttention& a, const T* qkv) {
  const HeadLayout& heads = a.layout;
  const int64_t d = heads.head_dim, width = heads.width(), page_width = a.page_size * d;
  parallel_for(a.runs, [&](int64_t run) {
    const int64_t owner = a.slots[run];
    if (owner < 0) return;
    const int32_t* pages = a.pages + owner * a.most_pages;
    for (int64_t row = a.starts[run]; row < a.starts[run + 1]; ++row) {
      const int64_t position = a.lengths[owner] + row - a.starts[run], slot = position % a.page_size;
      for (int64_t head = 0; head < heads.kv_heads; ++head) {
        const int64_t at = (pages[position / a.page_size] * heads.kv_heads + head) * page_width;
        std::memcpy(static_cast<T*>(a.values) + at + slot * d, qkv + row * width + heads.value_column(head),
                    sizeof(T) * d);
        if (heads.latent > 0) continue;  // the value's row is the key's, too
        const T* k = qkv + row * width + heads.key_column(head);
        T* to = static_cast<T*>(a.keys) + at + slot / kKeys * kKeys * d + slot % kKeys;
        for (int64_t j = 0; j < d; ++j) to[j * kKeys] = k[j];
      }
    }
  });
}

template <class T>
void attend_pages(const kernel::PagedAttention& a, const T* qkv, T* out) {
  const HeadLayout& heads = a.layout;
  const int64_t d = heads.head_dim, page_width = a.page_size * d;
  const bool latent = heads.latent > 0;
  parallel_for(HeadTask::count(heads, a.runs), [&](int64_t number) {
    const HeadTask task(heads, number);
    const int32_t slot = a.slots[task.item], parent = slot < 0 ? -1 : a.parents[slot];
    const int64_t token = a.starts[task.item], count = a.starts[task.item + 1] - token;
    if (slot < 0) {
      const int64_t dv = heads.value_dim();
      for (int64_t row = token; row < token + count; ++row)
        std::fill_n(out + (row * heads.heads + task.first_head) * dv, task.heads * dv, T());
      return;
    }
    const int64_t first = a.lengths[slot], prompt_length = parent < 0 ? 0 : a.lengths[parent],
                  prompt = padded(prompt_length);
    KeyBlocks<T> keys;
    keys.v_stride = d;
    std::vector<T> transposed(latent ? (prompt + padded(first + count)) * d : 0);
    T* next = transposed.data();
    auto extend = [&](const int32_t* pages, int64_t n) {
      for (int64_t j = 0; j < n; j += kKeys) {
        const int64_t at = (pages[j / a.page_size] * heads.kv_heads + task.kv_head) * page_width + j % a.page_size * d;
        const auto in_block = static_cast<int>(std::min<int64_t>(kKeys, n - j));
        const T* values = static_cast<const T*>(a.values) + at;
        if (latent) transpose_blocks(values, d, in_block, d, next);
        keys.add(latent ? next : static_cast<const T*>(a.keys) + at, values, in_block);
        next += latent ? kKeys * d : 0;
      }
    };
    if (parent >= 0) extend(a.pages + parent * a.most_pages, prompt_length);
    extend(a.pages + slot * a.most_pages, first + count);
    attend_rows<T>(heads, keys, task, prompt, first, token, count, qkv, out, nullptr);
  });
}

template <class T>
void paged_attention(kernel::Stream, const kernel::PagedAttention& a, const void* qkv, void* out) {
  write_pages(a, static_cast<const T*>(qkv));
  attend_pages(a, static_cast<const T*>(qkv), static_cast<T*>(out));
  zero_inert(a.layout, a.starts[a.runs], a.rows, static_cast<T*>(out));
}

// Backward, of one family and the query heads that share a key head. With P the weights and D = dO·O of a row: dV += Pᵀ
// dO, dS = P∘(dO Vᵀ − D)·scale, dQ = dS K, dK += dSᵀ Q. Keys of a family's root gather from its children, in order, and
// from itself last, so that the children may come in passes of their own. A latent key's gradient is dK plus dV.
template <class T>
class FamilyBackward {
 public:
  FamilyBackward(const kernel::Attention& a, int64_t family, int64_t kv_head, const T* qkv, const T* out,
                 const float* lse, const T* dout, T* dqkv)
      : a_(a),
        heads_(a.layout),
        root_(a.family_starts[family]),
        end_(a.family_starts[family + 1]),
        kv_head_(kv_head),
        qkv_(qkv),
        out_(out),
        lse_(lse),
        dout_(dout),
        dqkv_(dqkv),
        q_(kRows * dims_[0]),
        grad_(kRows * dims_[1]),
        dq_(kRows * dims_[0]) {}

  void run() {
    extend(root_, 0);
    const bool first = root_ == 0, given = first && a_.given;
    if (first && a_.root_gradient) begin_from(a_.root_gradient, a_.starts[1]);
    root_blocks_ = keys_.k.size();
    for (int32_t child = root_ + 1; child < end_; ++child) {
      extend(child, 1);
      segment(child, root_blocks_ * kKeys);
      write(child, 1, dqkv_);
      keys_.k.resize(root_blocks_), keys_.v.resize(root_blocks_), keys_.count.resize(root_blocks_);
      values_.resize(root_blocks_), key_rows_.resize(root_blocks_);
    }
    if (given) return write(0, 0, a_.root_gradient);
    segment(root_, 0);
    write(root_, 0, dqkv_);
  }

 private:
  // The keys and values of a segment behind those that are there, as the root's (part 0) or a child's (1).
  void extend(int64_t segment, int part) {
    const int64_t start = a_.starts[segment], n = a_.starts[segment + 1] - start, d = dims_[0];
    const int64_t columns[2] = {heads_.key_column(kv_head_), heads_.value_column(kv_head_)};
    for (int kind = 0; kind < 2; ++kind) {
      gradient_[part][kind].assign(padded(n) * dims_[kind], 0.0f);
      if (kind == 1 && heads_.latent > 0) continue;
      store_[part][kind].resize(padded(n) * d);
      transpose_blocks(qkv_ + columns[kind] + start * width_, width_, n, d, store_[part][kind].data());
    }
    for (int64_t j = 0; j < n; j += kKeys) {
      keys_.add(store_[part][0].data() + j * d, nullptr, static_cast<int>(std::min<int64_t>(kKeys, n - j)));
      values_.push_back(store_[part][heads_.latent > 0 ? 0 : 1].data() + j * d);
      key_rows_.push_back(qkv_ + columns[0] + (start + j) * width_);
    }
  }

  void begin_from(const float* root_gradient, int64_t n) {
    const int64_t d = dims_[0];
    for (int64_t j = 0; j < n; ++j) {
      const float* from = root_gradient + j * width_;
      std::copy_n(from + heads_.key_column(kv_head_), d, gradient_[0][0].data() + j * d);
      if (heads_.latent == 0) std::copy_n(from + heads_.value_column(kv_head_), d, gradient_[0][1].data() + j * d);
    }
  }

  template <class G>
  void write(int64_t segment, int part, G* gradients) {
    const int64_t start = a_.starts[segment], n = a_.starts[segment + 1] - start, d = dims_[0], dv = dims_[1];
    for (int64_t j = 0; j < n; ++j) {
      float *dk = gradient_[part][0].data() + j * d, *dvalue = gradient_[part][1].data() + j * dv;
      G* to = gradients + (start + j) * width_;
      if (heads_.latent > 0) {
        for (int64_t e = 0; e < dv; ++e) dk[e] += dvalue[e];
      } else {
        for (int64_t e = 0; e < dv; ++e) put(to + heads_.value_column(kv_head_) + e, dvalue[e]);
      }
      for (int64_t e = 0; e < d; ++e) put(to + heads_.key_column(kv_head_) + e, dk[e]);
    }
  }

  // All query rows of a segment, to which `before` (padded) keys come before its own.
  void segment(int64_t segment, int64_t before) {
    const int64_t start = a_.starts[segment], group = heads_.heads / heads_.kv_heads, d = dims_[0];
    const int64_t count = (a_.starts[segment + 1] - start) * group;
    for (int64_t i = 0; i < count; i += kRows) {
      QueryRow rows[kRows], grads[kRows];
      float sums[kRows], dots[kRows];
      int64_t blocks = 0;
      for (int r = 0; r < kRows; ++r) {
        const int64_t index = std::min(i + r, count - 1);
        read(start + index / group, kv_head_ * group + index % group, r, sums, dots);
        rows[r] = {q_.data() + r * d, i + r < count ? before + index / group + 1 : 0};
        grads[r] = {grad_.data() + r * dims_[1], rows[r].limit};
        blocks = std::max(blocks, (rows[r].limit + kKeys - 1) / kKeys);
      }
      weigh_keys(rows, grads, sums, dots, blocks);
      weigh(keys_, key_rows_, width_, rows, ds_.data(), blocks * kKeys, d, dq_.data());
      for (int r = 0; r < kRows && i + r < count; ++r) {
        const int64_t row = start + (i + r) / group, head = kv_head_ * group + (i + r) % group;
        for (int64_t j = 0; j < d; ++j) put(dqkv_ + row * width_ + head * d + j, dq_[r * d + j]);
      }
    }
  }

  void read(int64_t row, int64_t head, int r, float* sums, float* dots) {
    const int64_t d = dims_[0], dv = dims_[1];
    sums[r] = lse_[row * heads_.heads + head];
    dots[r] = 0.0f;
    for (int64_t j = 0; j < d; ++j) q_[r * d + j] = widen(qkv_[row * width_ + head * d + j]);
    for (int64_t j = 0; j < dv; ++j) {
      const int64_t at = (row * heads_.heads + head) * dv + j;
      grad_[r * dv + j] = widen(dout_[at]);
      dots[r] += grad_[r * dv + j] * widen(out_[at]);
    }
  }

  // P and dS of kRows rows, and what they add to the gradients of keys and values.
  void weigh_keys(const QueryRow* rows, const QueryRow* grads, const float* sums, const float* dots, int64_t blocks) {
    const int64_t stride = blocks * kKeys;
    const float scale = scale_of(heads_);
    p_.resize(kRows * stride), ds_.resize(kRows * stride);
    for (int64_t b = 0; b < blocks; ++b) {
      Vec s[kRows][kKeyVectors], dp[kRows][kKeyVectors];
      block_dots(rows, keys_.k[b], dims_[0], s);
      block_dots(grads, values_[b], dims_[1], dp);
      for (int r = 0; r < kRows; ++r) {
        const int lanes = visible(b, keys_.count[b], rows[r].limit);
        for (int x = 0; x < kKeyVectors; ++x) {
          Vec weight = exp(fma(s[r][x], splat(scale), splat(-sums[r])));
          for (int e = std::max(0, lanes - x * kLanes); e < kLanes; ++e) weight[e] = 0.0f;
          const int64_t at = r * stride + b * kKeys + x * kLanes;
          store_some(p_.data() + at, weight, kLanes);
          store_some(ds_.data() + at, weight * (dp[r][x] - dots[r]) * splat(scale), kLanes);
        }
      }
      const int part = static_cast<size_t>(b) < root_blocks_ ? 0 : 1;
      const int64_t base = (part ? b - root_blocks_ : b) * kKeys;
      add_rows(ds_.data() + b * kKeys, stride, q_.data(), dims_[0], keys_.count[b],
               gradient_[part][0].data() + base * dims_[0]);
      add_rows(p_.data() + b * kKeys, stride, grad_.data(), dims_[1], keys_.count[b],
               gradient_[part][1].data() + base * dims_[1]);
    }
  }

  // to[j] += Σ_r weights[r, j]·from[r], of rows of n.
  static void add_rows(const float* weights, int64_t stride, const float* from, int64_t n, int count, float* to) {
    each_vector(n, [&](int64_t e, int lanes) {
      Vec x[kRows];
      for (int r = 0; r < kRows; ++r) x[r] = load_some(from + r * n + e, lanes);
      for (int j = 0; j < count; ++j) {
        Vec total = load_some(to + j * n + e, lanes);
        for (int r = 0; r < kRows; ++r) total = fma(splat(weights[r * stride + j]), x[r], total);
        store_some(to + j * n + e, total, lanes);
      }
    });
  }

  const kernel::Attention& a_;
  const HeadLayout& heads_;
  const int64_t width_ = heads_.width();
  const int64_t dims_[2] = {heads_.head_dim, heads_.value_dim()};  // of keys and of values
  const int32_t root_, end_;
  const int64_t kv_head_;
  const T *const qkv_, *const out_;
  const float* const lse_;
  const T* const dout_;
  T* const dqkv_;

  KeyBlocks<T> keys_;
  std::vector<const T*> values_, key_rows_;  // of the blocks: transposed values, and the keys' rows in qkv
  size_t root_blocks_ = 0;
  std::vector<T> store_[2][2];         // [root, child][keys, values], transposed; of latent values the keys' serve
  std::vector<float> gradient_[2][2];  // [root, child][keys, values], [keys, head_dim or value_dim]
  std::vector<float> q_, grad_, dq_, p_, ds_;
};

template <class T>
void attention_backward(kernel::Stream, const kernel::Attention& a, const void* qkv, const void* out, const float* lse,
                        const void* dout, void* dqkv) {
  const int64_t kv_heads = a.layout.kv_heads, width = a.layout.width(), live = a.starts[a.segments];
  std::fill(static_cast<T*>(dqkv) + live * width, static_cast<T*>(dqkv) + a.rows * width, T());
  parallel_for(a.families * kv_heads, [&](int64_t task) {
    FamilyBackward<T>(a, task / kv_heads, task % kv_heads, static_cast<const T*>(qkv), static_cast<const T*>(out), lse,
                      static_cast<const T*>(dout), static_cast<T*>(dqkv))
        .run();
  });
}

}  // namespace grpo::GRPO_ISA
