// The kernels of one kind of device: raw pointers in, raw pointers out, in one table of functions. No torch here; op
// files check shapes, keep the tensors alive and find the table by the device (op.h).
#pragma once

#include <cstdint>

#include "grpo/heads.h"
#include "grpo/router.h"

namespace grpo::kernel {

/// Where work is queued, in order: a cudaStream_t. The CPU has none and works at once.
struct Stream {
  void* handle = nullptr;
};

enum class Type { f32, bf16 };

/// Element (i, j) is data[i * row_stride + j * col_stride]; one of the two strides is 1.
struct MatrixRef {
  const void* data;
  int64_t row_stride, col_stride;
};

/// One matrix for each expert, `expert_stride` elements apart.
struct ExpertsRef {
  const void* data;
  int64_t expert_stride, row_stride, col_stride;
};

/// Rows of an expert-sorted batch: those of expert e are offsets[e] … offsets[e + 1].
struct ExpertRows {
  int64_t experts, rows;
  const int32_t* offsets;  // [experts + 1]
};

struct Rope {
  int64_t rows;
  HeadLayout layout;
  bool interleaved;             // neighbours turn together
  const int32_t* positions;     // [rows]
  const float* table;           // [max_positions, rotary_dim]: cosines, then sines
  const void *q_norm, *k_norm;  // [head_dim] or null
  float epsilon;
};

/// Segments laid end to end, family by family: a root and then the segments whose parent it is.
/// The root's keys and values gather their gradient from its children first, in order, and from itself last.
struct Attention {
  HeadLayout layout;
  int64_t rows;  // of qkv; those behind the last segment are inert
  int64_t segments, families;
  const int32_t* starts;           // [segments + 1]
  const int32_t* family_starts;    // [families + 1] segments
  bool given = false;              // segment 0 is attended to, and has no queries here
  float* root_gradient = nullptr;  // [segment 0's rows, width()]: its gradient starts from this; if `given`, ends there
};

/// Runs of new tokens, each a continuation of the sequence in a slot, whose earlier keys and values lie in pages.
struct PagedAttention {
  HeadLayout layout;
  int64_t rows;  // of qkv; those behind the last run are inert
  int64_t page_size, most_pages, runs;
  const int32_t* starts;   // [runs + 1] rows of qkv
  const int32_t* slots;    // [runs]; −1: inert
  const int32_t* pages;    // [slots, most_pages]
  const int32_t* lengths;  // [slots] tokens that lie there already
  const int32_t* parents;  // [slots] whose tokens come first; −1: none
  void *keys, *values;     // the pages, as this table's kernels lay them out
};

/// Truncated sampling's kept vocabulary of rows: ids[starts[r]] … ids[starts[r + 1]]; null, or an empty range: all.
struct Kept {
  const int32_t* ids;
  const int64_t* starts;
};

/// Arrays of two hold the fp32 and the bf16 version, to be indexed by Type; a device may lack some. Gradients of weights
/// are added to.
struct Table {
  const char* name;

  /// Where pages of keys and of values lie, [pages, kv_heads] each: page sizes are multiples of `page_block`.
  int64_t page_block;

  void (*embedding[2])(Stream, int64_t rows, int64_t n, const void* weight, const int32_t* tokens, void* y);
  void (*embedding_backward[2])(Stream, int64_t rows, int64_t n, const void* dy, const int32_t* tokens, float* dweight);

  /// C[m, n] = A[m, k]·B[k, n], plus C when `accumulate`. `in` is A's and B's type; `out` C's (fp32 in, fp32 out).
  void (*gemm)(Stream, Type in, Type out, int64_t m, int64_t n, int64_t k, const MatrixRef& a, const MatrixRef& b,
               void* c, int64_t c_stride, bool accumulate);
  /// c[rows, n] = a[rows, k]·b[k, n], with each row's expert's b.
  void (*grouped_gemm)(Stream, Type, const ExpertRows&, int64_t n, int64_t k, const void* a, const ExpertsRef& b,
                       void* c);
  /// c[m, n] += a[rows, m]ᵀ·b[rows, n] over the rows of each expert, to its own c, whose columns are 1 apart.
  void (*grouped_gemm_sum)(Stream, Type, const ExpertRows&, int64_t m, int64_t n, const void* a, const void* b,
                           float* c, int64_t c_expert_stride, int64_t c_row_stride);

  void (*rms_norm[2])(Stream, int64_t rows, int64_t n, const void* x, const void* weight, float epsilon, void* y);
  void (*rms_norm_backward[2])(Stream, int64_t rows, int64_t n, const void* x, const void* weight, const void* dy,
                               float epsilon, void* dx, float* dweight);
  void (*swiglu[2])(Stream, int64_t rows, int64_t n, const void* gate_up, void* y);
  void (*swiglu_backward[2])(Stream, int64_t rows, int64_t n, const void* gate_up, const void* dy, void* dgate_up);
  void (*rope[2])(Stream, const Rope&, const void* qkv, void* out);
  void (*rope_backward[2])(Stream, const Rope&, const void* qkv, const void* dout, void* dqkv, float* dq_norm,
                           float* dk_norm);

  /// Whether the kernels of attention take such heads; null: all.
  bool (*attends)(const HeadLayout&);
  void (*attention[2])(Stream, const Attention&, const void* qkv, void* out, float* log_sum_exp);
  void (*attention_backward[2])(Stream, const Attention&, const void* qkv, const void* out, const float* log_sum_exp,
                                const void* dout, void* dqkv);
  /// Stores the runs' keys and values in their pages, and attends.
  void (*paged_attention[2])(Stream, const PagedAttention&, const void* qkv, void* out);

  /// scores [tokens, experts] of the logits, the chosen experts and their weights [tokens, k]; ties go to the lower
  /// index, NaN counts as the greatest. `slots` [tokens, k] are the rows of the expert-sorted batch, tokens in order
  /// within each expert, and offsets [experts + 1] where each expert's begin.
  void (*route)(Stream, int64_t tokens, int64_t experts, const RouterOptions&, const float* logits, const float* bias,
                float* scores, int32_t* chosen, float* weights, int32_t* slots, int32_t* offsets);
  /// dlogits [tokens, experts] has the scores' gradient, and becomes the logits'.
  void (*route_backward)(Stream, int64_t tokens, int64_t experts, const RouterOptions&, const float* scores,
                         const int32_t* chosen, const float* weights, const float* dweights, float* dlogits);
  /// y[slots[row, j]] = x[row]
  void (*dispatch[2])(Stream, int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots, void* y);
  /// y[row] = base[row] + Σ_j weights[row, j]·x[slots[row, j]]; no base: 0, no weights: 1.
  void (*combine[2])(Stream, int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots,
                     const float* weights, const void* base, void* y);
  void (*combine_backward[2])(Stream, int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots,
                              const float* weights, const void* dy, void* dx, float* dweights);

  /// log Σ exp(x·scale) of rows of logits [rows, n], and, unless null, the entropy of that softmax.
  void (*logit_stats)(Stream, int64_t rows, int64_t n, const float* x, float scale, float* log_sum_exp, float* entropy);
  /// The same, and the log-probability of the targets, of rows which become −inf outside their kept sets.
  void (*token_logprobs)(Stream, int64_t rows, int64_t n, float* logits, float scale, const int32_t* targets,
                         const Kept&, float* logprobs, float* entropy, float* log_sum_exp);
  /// Turns such rows into their gradient, given those of the log-probabilities and of the entropies [rows] (null: 0).
  void (*token_logprobs_backward)(Stream, int64_t rows, int64_t n, float* logits, float scale, const int32_t* targets,
                                  const float* log_sum_exp, const float* entropy, const float* dlogprobs,
                                  const float* dentropy);
  /// n fp32 values to bf16, rounded to nearest even.
  void (*narrow)(Stream, const float* from, void* to, int64_t n);
};

}  // namespace grpo::kernel
