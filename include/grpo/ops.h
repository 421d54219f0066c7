// One differentiable free function per operation. On the CPU each runs a kernel whose every output row is, bit for bit,
// a function of its own input row alone: batching, padding and thread count change nothing. On a device or of a type that
// has no kernels each runs its `reference`, plain ATen operations that are differentiable too.
//
// A weight (linear's weight and bias, a norm's, an embedding, a head) owns its gradient: weight.grad(), fp32 whatever
// the weight's type, to which backward passes add in place (Gradients in optimizer.h lays them out). A weight that has
// none yet gets the sum of a pass from autograd, in fp32 too; one that does not require it is frozen.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "grpo/heads.h"
#include "grpo/pass.h"
#include "grpo/router.h"

namespace grpo {

/// Rows of weight [vocab, n] at tokens [T] int32. Returns [T, n].
Tensor embedding(const Tensor& weight, const Tensor& tokens);

/// x·weightᵀ + bias.  x [tokens, in], weight [out, in], bias [out]; fp32 or bf16, all alike. Returns [tokens, out].
Tensor linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias = std::nullopt);

/// Rows offsets[e] … offsets[e + 1] of x times expert e's weight.  x [rows, in], weight [experts, out, in] (slices and
/// transposes of larger ones are not copied), offsets [experts + 1] int32, from 0 to rows. Returns [rows, out].
Tensor grouped_linear(const Tensor& x, const Tensor& weight, const Tensor& offsets);

/// x / rms(x) · weight with rms(x) = sqrt(mean(x²) + epsilon) (Zhang & Sennrich, arXiv:1910.07467).
/// x [tokens, n], weight [n].
Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon);

/// x + more, and rms_norm of that: in one kernel where there is one and nothing is differentiated, to the same bits.
struct NormedSum {
  Tensor sum, normed;
};
NormedSum add_rms_norm(const Tensor& x, const Tensor& more, const Tensor& weight, double epsilon);

/// silu(gate)·up (Shazeer, arXiv:2002.05202).  gate_up [tokens, 2n]: gate, then up. Returns [tokens, n].
Tensor swiglu(const Tensor& gate_up);

/// Cosines and sines for rope: [max_positions, 2·frequencies] fp32, of `frequencies` in radians per position, times
/// `scale`.
Tensor rope_table(int64_t max_positions, const std::vector<double>& frequencies, double scale = 1.0);

/// The usual ones: theta^(-2i / head_dim).
Tensor rope_table(int64_t max_positions, int64_t head_dim, double theta);

/// Rotary position embedding (Su et al., arXiv:2104.09864) of queries and keys, each head first normalised by rms_norm
/// with q_norm / k_norm [head_dim] where these are given. Values pass through. Column i turns with column i + half, or,
/// where `interleaved`, neighbours turn together. qkv [tokens, layout.width()], positions [tokens] int32, table
/// [max_positions, layout.rotary_dim()].
Tensor rope(const Tensor& qkv, const Tensor& positions, const Tensor& table, const HeadLayout& layout,
            const std::optional<Tensor>& q_norm, const std::optional<Tensor>& k_norm, double epsilon,
            bool interleaved = false);

/// What passes have in common whose segments attend to one prompt that went through a pass of its own: its rows of qkv,
/// and the sum of the gradients that these passes give to its keys and values. The prompt's pass goes backward last.
struct SharedRows {
  Tensor rows;      ///< [prompt, layout.width()]; undefined in the prompt's own pass
  Tensor gradient;  ///< [prompt, layout.width()] fp32, zeros at first; undefined without gradients
};

/// Causal attention over the pass's segments.  qkv [pass.capacity(), layout.width()]; returns [pass.capacity(),
/// heads·layout.value_dim()], zeros for inert rows.
/// `first` says what segment 0 shares with other passes. With rows, these are segment 0, which has no rows of qkv and no
/// outputs, and their keys' and values' gradient is added to first.gradient. Without, first.gradient is added to that of
/// qkv. Any division into passes gives the same bits as one pass, but of latent layouts, which may differ in the rounding
/// of fp32.
///
/// The order in which a row adds up is what sampling and training share, one for each device. On the CPU: blocks of 16
/// keys from each segment's start, its parent's first; one maximum and one sum over all of them, values in key order.
/// On CUDA: tiles of 64 keys from each segment's start, its parent's first; each by itself, with a maximum, a sum and
/// weighted values of its own, by one shape of the matrix instruction, then folded into what came before, in order.
/// Pages are cut into the same blocks and tiles.
Tensor attention(const Tensor& qkv, const Pass& pass, const HeadLayout& layout, const SharedRows& first = {});

/// One layer's pages of keys and values, page_size tokens each. What lies where in one is known to the kernels of its
/// device alone.
struct LayerPages {
  Tensor keys, values;  ///< [pages, kv_heads, …]; of a latent layout keys are undefined: they begin with the values
  int64_t page_size = 0;

  int64_t count() const { return values.size(0); }
  /// Adds pages up to a count; those that are there keep what they hold.
  void grow(int64_t to);
};

/// So many empty pages. Throws Error for a page_size that the device's kernels do not cut into whole blocks (16 tokens on
/// the CPU, 64 on CUDA).
LayerPages make_pages(const HeadLayout& layout, int64_t count, int64_t page_size, const at::TensorOptions& options);

/// Stores the new keys and values of the pass's sequences in their pages and attends as `attention` would, had the whole
/// sequences been one batch: the same bits. Not differentiable. On the CPU it trusts the table (Policy::hidden looks at
/// it).
Tensor paged_attention(const Tensor& qkv, const LayerPages& pages, const Pass& pass, const PageTable& table,
                       const HeadLayout& layout);

/// Where each token goes in a mixture of experts.
struct Routing {
  Tensor experts;  ///< [tokens, k] int32, by descending selection score (ties: lower index; NaN first)
  Tensor weights;  ///< [tokens, k] fp32
  Tensor scores;   ///< [tokens, experts] fp32: sigmoid, or softmax over experts
  Tensor slots;    ///< [tokens, k] int32: row in the expert-sorted batch
  Tensor offsets;  ///< [experts + 1] int32: expert e has rows offsets[e] … offsets[e + 1] of that batch
};

/// Chooses the experts with the highest score + selection_bias; weights come from the scores alone (auxiliary-loss-free
/// balancing and node-limited routing: DeepSeek-V3, arXiv:2412.19437, section 2.1.2).  logits [tokens, experts] fp32,
/// selection_bias [experts] fp32.
/// Differentiable: weights and scores with respect to logits.
Routing route(const Tensor& logits, const Tensor& selection_bias, const RouterOptions& options);

/// x's rows copied to their slots: [tokens·k, n] from x [tokens, n].
Tensor dispatch(const Tensor& x, const Routing& routing);

/// y[t] = base[t] + Σ_j weights[t, j]·x[slots[t, j]].  x [tokens·k, n], base [tokens, n] or undefined.
Tensor combine(const Tensor& x, const Routing& routing, const Tensor& base);

/// Truncated sampling's kept vocabulary of each token: ids[starts[t]] … ids[starts[t + 1]]; an empty range means all.
struct KeptSets {
  Tensor ids;     ///< [N] int32; undefined: all of every token
  Tensor starts;  ///< [tokens + 1] int64
};

struct TokenLogprobs {
  Tensor logprobs;  ///< [tokens] fp32
  Tensor entropy;   ///< [tokens] fp32, of the same distribution, in nats
};

/// Log-probability of `targets` under softmax(hidden·headᵀ / temperature), and that distribution's entropy. Up to 256
/// MiB of logits are kept for the gradient; a larger [tokens, vocab] never exists, its rows are worked out twice. With
/// kept sets the softmax runs over each token's set. hidden [tokens, hidden], head [vocab, hidden], targets [tokens]
/// int32.
TokenLogprobs token_logprobs(const Tensor& hidden, const Tensor& head, const Tensor& targets, double temperature,
                             const KeptSets& kept = {});

/// The gradients of a loss by the log-probabilities and the entropies (undefined: 0) of a chunk, [rows] fp32, given both:
/// those of the tokens from `first` on.
using TokenGradients = std::function<TokenLogprobs(int64_t first, const TokenLogprobs& chunk)>;

struct LearnedTokens {
  TokenLogprobs found;
  Tensor hidden_gradient;  ///< [tokens, hidden] of the loss by `hidden`, in its type
};

/// token_logprobs, the loss and the way back in one pass over chunks of tokens: what is `found` of a chunk is known
/// before its gradient is needed, so that the product with the head is worked out once and [tokens, vocab] never exists.
/// The bits are those of token_logprobs and its backward pass. A head that requires a gradient has one in fp32 already,
/// to which its own is added; autograd has no part in it.
LearnedTokens learn_tokens(const Tensor& hidden, const Tensor& head, const Tensor& targets, double temperature,
                           const KeptSets& kept, const TokenGradients& gradients);

/// hidden·headᵀ in fp32, the logits that token_logprobs works with: [tokens, vocab]. Not differentiable.
Tensor logits(const Tensor& hidden, const Tensor& head);

/// log Σ exp(row / temperature) over n logits on the CPU: the very bits that token_logprobs subtracts.
float log_sum_exp(const float* row, int64_t n, double temperature);

namespace reference {  // the same functions out of plain ATen operations
Tensor embedding(const Tensor& weight, const Tensor& tokens);
Tensor linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias = std::nullopt);
Tensor grouped_linear(const Tensor& x, const Tensor& weight, const Tensor& offsets);
Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon);
Tensor swiglu(const Tensor& gate_up);
Tensor rope(const Tensor& qkv, const Tensor& positions, const Tensor& table, const HeadLayout& layout,
            const std::optional<Tensor>& q_norm, const std::optional<Tensor>& k_norm, double epsilon,
            bool interleaved = false);
Tensor attention(const Tensor& qkv, const Pass& pass, const HeadLayout& layout, const SharedRows& first = {});
Tensor paged_attention(const Tensor& qkv, const LayerPages& pages, const Pass& pass, const PageTable& table,
                       const HeadLayout& layout);
Routing route(const Tensor& logits, const Tensor& selection_bias, const RouterOptions& options);
Tensor dispatch(const Tensor& x, const Routing& routing);
Tensor combine(const Tensor& x, const Routing& routing, const Tensor& base);
TokenLogprobs token_logprobs(const Tensor& hidden, const Tensor& head, const Tensor& targets, double temperature,
                             const KeptSets& kept = {});
LearnedTokens learn_tokens(const Tensor& hidden, const Tensor& head, const Tensor& targets, double temperature,
                           const KeptSets& kept, const TokenGradients& gradients);
}  // namespace reference

}  // namespace grpo
