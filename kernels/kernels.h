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
  /// Of a pass with one row a run, made by next_pass; else null: how many sets of two or more neighbours there are that
  /// have one parent; then of each the first run and their number; from 1 + 2·runs on, whether a run is in one.
  const int32_t* siblings = nullptr;
  float* prefix = nullptr;  // room then for what each row makes of the parent's keys, [rows, heads, value_dim + 2]
};

/// Truncated sampling's kept vocabulary of rows: ids[starts[r]] … ids[starts[r + 1]]; null, or an empty range: all.
struct Kept {
  const int32_t* ids;
  const int64_t* starts;
};

/// Untruncated draws, each from a row of logits of its own with a key of its own (base/philox.h).
struct Draws {
  int64_t count;
  const int32_t* rows;  // [count]; −1: nothing is drawn, and nothing written
  const int64_t* keys;  // [count, 6]
  float scale;          // on logits
  bool greedy;          // the most likely token, whatever the key
  int32_t* tokens;      // [count]; −1: of a row whose largest logit is not finite
  float *logprobs, *entropies;  // [count]
};

/// Running sequences, a row a slot (rollout/slots.h), on a device that brings them forward by itself.
struct Slots {
  int64_t horizon;
  int32_t *lengths, *parents;  // [slots], of the page table
  int32_t* tokens;             // [slots] its last token
  int64_t* keys;               // [slots, 6] of its next draw
  const int32_t* limits;       // [slots] with so many tokens it waits
  const bool* ends;            // [vocab] tokens that end a sequence
  bool* waiting;               // [slots] it has ended or come to its limit
  int32_t *counts, *drawn;     // [slots] drawn since the host last looked, and [slots, horizon] which
  float *logprobs, *entropies;  // [slots, horizon]
};

/// Arrays of two hold the fp32 and the bf16 version, to be indexed by Type; a device may lack some. Gradients of weights
/// are added to.
struct Table {
  const char* name;

  /// Page sizes are multiples of it.
  int64_t page_block;
  /// How many queries of a key head decoding takes together where sequences have one prompt: what next_pass is asked for.
  int64_t query_columns = 1;

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

  /// sum = x + more, and y = rms_norm of it: the bits of the two by themselves.
  void (*add_rms_norm[2])(Stream, int64_t rows, int64_t n, const void* x, const void* more, void* sum,
                          const void* weight, float epsilon, void* y) = {};
  /// Draws from logits [rows, n], each token by the bits that logit_stats and token_logprobs find of its row.
  void (*sample)(Stream, const Draws&, int64_t n, const float* logits) = nullptr;
  /// A pass over the last tokens of the slots in who [rows], the rows to draw from and the keys to draw with. Of a slot
  /// that waits, and of −1, slot and row are −1. siblings [1 + 3·rows]: see PagedAttention; of up to `most` runs, and
  /// behind them room.
  void (*next_pass)(Stream, const Slots&, int64_t rows, const int32_t* who, int most, int32_t* tokens,
                    int32_t* positions, int32_t* slots, int32_t* draw_rows, int64_t* keys,
                    int32_t* siblings) = nullptr;
  /// Takes in what was drawn for the slots [rows] (−1: nobody), which are a token longer in their pages by `longer`.
  void (*take_drawn)(Stream, const Slots&, int64_t rows, const int32_t* slots, const int32_t* tokens,
                     const float* logprobs, const float* entropies, int32_t longer) = nullptr;
};

}  // namespace grpo::kernel
