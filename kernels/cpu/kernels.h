// The CPU kernels: raw pointers in, raw pointers out, one table of functions for each instruction set and the best one
// that this machine runs chosen at start-up. No torch here; op files check shapes and keep the tensors alive.
#pragma once

#include <cstdint>

namespace grpo::cpu {

enum class Type { f32, bf16 };

constexpr int kKeyBlock = 16;  // keys in a block of transposed keys; a page holds whole blocks

/// Element (i, j) is data[i * row_stride + j * col_stride]; one of the two strides is 1.
struct MatrixRef {
  const void* data;
  int64_t row_stride, col_stride;
};

/// Rows of `width` columns: `turned` heads of head_dim, of which the first `heads` are queries, and then values.
struct Rope {
  int64_t rows, width, turned, heads, head_dim;
  int64_t rotary;               // trailing columns of a head that turn
  bool interleaved;             // neighbours turn together
  const int32_t* positions;     // [rows]
  const float* table;           // [max_positions, rotary]: cosines, then sines, of rotary / 2 angles
  const void *q_norm, *k_norm;  // [head_dim] or null
  float epsilon;
};

/// Segments laid end to end, family by family: a root and then the segments whose parent it is.
/// The root's keys and values gather their gradient from its children first, in order, and from itself last.
struct Attention {
  int64_t heads, kv_heads, head_dim;
  int64_t latent;  // not 0: a key's first `latent` columns are its value, and no others are
  float scale;
  const int32_t* starts = nullptr;         // [segments + 1]
  const int32_t* family_starts = nullptr;  // [families + 1] segments
  int64_t families = 0;
  bool given = false;              // segment 0 is attended to, and has no queries here
  float* root_gradient = nullptr;  // [segment 0's rows, width()]: its gradient starts from this; if `given`, ends there

  int64_t value_dim() const { return latent > 0 ? latent : head_dim; }
  // Columns of a row: all, and where a key head and its values begin.
  int64_t width() const { return (heads + (latent > 0 ? 1 : 2) * kv_heads) * head_dim; }
  int64_t key_column(int64_t kv_head) const { return (heads + kv_head) * head_dim; }
  int64_t value_column(int64_t kv_head) const { return key_column(kv_head) + (latent > 0 ? 0 : kv_heads * head_dim); }
};

/// Runs of new tokens, each a continuation of the sequence in a slot, whose earlier keys and values lie in pages.
struct Pages {
  int64_t page_size, most_pages, runs;
  const int32_t* tokens;   // [runs + 1] rows of qkv
  const int32_t* slots;    // [runs]; −1: inert
  const int32_t* table;    // [slots, most_pages]
  const int32_t* lengths;  // [slots] tokens that lie there already
  const int32_t* parents;  // [slots] whose tokens come first; −1: none
  // [pages, kv_heads, page_size / kKeyBlock, head_dim, kKeyBlock] (latent: null), [pages, kv_heads, page_size,
  // head_dim]
  const void *k, *v;
};

/// Arrays of two hold the fp32 and the bf16 version, to be indexed by Type. Gradients of weights are added to.
struct Kernels {
  const char* name;

  /// C[m, n] = A[m, k]·B[k, n], plus C when `accumulate`. `in` is A's and B's type; `out` C's (fp32 in, fp32 out).
  void (*gemm)(Type in, Type out, int64_t m, int64_t n, int64_t k, const MatrixRef& a, const MatrixRef& b, void* c,
               int64_t c_stride, bool accumulate);

  void (*rms_norm[2])(int64_t rows, int64_t n, const void* x, const void* weight, float epsilon, void* y);
  void (*rms_norm_backward[2])(int64_t rows, int64_t n, const void* x, const void* weight, const void* dy,
                               float epsilon, void* dx, float* dweight);
  void (*swiglu[2])(int64_t rows, int64_t n, const void* gate_up, void* y);
  void (*swiglu_backward[2])(int64_t rows, int64_t n, const void* gate_up, const void* dy, void* dgate_up);
  void (*rope[2])(const Rope&, const void* qkv, void* out);
  void (*rope_backward[2])(const Rope&, const void* qkv, const void* dout, void* dqkv, float* dq_norm, float* dk_norm);

  void (*attention[2])(const Attention&, const void* qkv, void* out, float* log_sum_exp);
  void (*attention_backward[2])(const Attention&, const void* qkv, const void* out, const float* log_sum_exp,
                                const void* dout, void* dqkv);
  void (*write_pages[2])(const Attention&, const Pages&, const void* qkv, void* k_cache, void* v_cache);
  void (*paged_attention[2])(const Attention&, const Pages&, const void* qkv, void* out);

  void (*combine[2])(int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots, const float* weights,
                     const void* base, void* y);
  void (*combine_backward[2])(int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots,
                              const float* weights, const void* dy, void* dx, float* dweights);
  void (*router_scores)(float* logits, int64_t n, bool softmax);

  /// log Σ exp(x · scale) of one row, and (unless null) the entropy of that softmax.
  void (*logit_stats)(const float* x, int64_t n, float scale, float* log_sum_exp, float* entropy);
  /// Turns a row of logits into its gradient, given the gradients of log p(target) and of the entropy.
  void (*logit_backward)(float* x, int64_t n, float scale, float log_sum_exp, float entropy, int32_t target,
                         float dlogprob, float dentropy);
  /// n fp32 values to bf16, rounded to nearest even.
  void (*narrow)(const float* from, void* to, int64_t n);
};

const Kernels& kernels();

}  // namespace grpo::cpu
