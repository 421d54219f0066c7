// The policy: one set of weights and one forward pass, for sampling and for training alike.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpo/config.h"
#include "grpo/linear.h"
#include "grpo/ops.h"
#include "grpo/safetensors.h"

namespace grpo {

enum class Attention { gqa, mla };
enum class QkNorm { none, head, projection };
enum class DType { float32, bfloat16 };
enum class Recompute { none, layers };
enum class RopeType { plain, linear, llama3, yarn };

template <>
struct EnumNames<Attention> {
  static constexpr std::array<std::pair<Attention, std::string_view>, 2> values{
      {{Attention::gqa, "gqa"}, {Attention::mla, "mla"}}};
};
template <>
struct EnumNames<QkNorm> {
  static constexpr std::array<std::pair<QkNorm, std::string_view>, 3> values{
      {{QkNorm::none, "none"}, {QkNorm::head, "head"}, {QkNorm::projection, "projection"}}};
};
template <>
struct EnumNames<Scoring> {
  static constexpr std::array<std::pair<Scoring, std::string_view>, 2> values{
      {{Scoring::sigmoid, "sigmoid"}, {Scoring::softmax, "softmax"}}};
};
template <>
struct EnumNames<DType> {
  static constexpr std::array<std::pair<DType, std::string_view>, 2> values{
      {{DType::float32, "float32"}, {DType::bfloat16, "bfloat16"}}};
};
template <>
struct EnumNames<Recompute> {
  static constexpr std::array<std::pair<Recompute, std::string_view>, 2> values{
      {{Recompute::none, "none"}, {Recompute::layers, "layers"}}};
};
template <>
struct EnumNames<RopeType> {
  static constexpr std::array<std::pair<RopeType, std::string_view>, 4> values{{{RopeType::plain, "plain"},
                                                                                {RopeType::linear, "linear"},
                                                                                {RopeType::llama3, "llama3"},
                                                                                {RopeType::yarn, "yarn"}}};
};

/// Rotary frequencies stretched for contexts longer than those of pretraining:
///   linear  all divided by factor                                            (Chen et al., arXiv:2306.15595)
///   llama3  long wavelengths divided, short ones kept, those between blended (Llama 3.1, arXiv:2407.21783)
///   yarn    the same by the turns within original_max_positions, and cosines and sines times attention_factor
///                                                                            (Peng et al., arXiv:2309.00071)
struct RopeScaling {
  RopeType type = RopeType::plain;
  double factor = 1.0;
  int original_max_positions = 4096;
  double low_freq_factor = 1.0, high_freq_factor = 4.0;
  double beta_fast = 32.0, beta_slow = 1.0;
  bool truncate = true;
  double attention_factor = 1.0;
  double score_factor = 1.0;

  template <class V>
  void visit(V& v) {
    v("type", type, "how frequencies are stretched");
    v("factor", factor, "how much longer the context is", above(0));
    v("original_max_positions", original_max_positions, "llama3, yarn: the context of pretraining", at_least(1));
    v("low_freq_factor", low_freq_factor, "llama3: fewer turns than this within it are divided", above(0));
    v("high_freq_factor", high_freq_factor, "llama3: more turns than this are kept", above(0));
    v("beta_fast", beta_fast, "yarn: more turns than this are kept", above(0));
    v("beta_slow", beta_slow, "yarn: fewer turns than this are divided", above(0));
    v("truncate", truncate, "yarn: the bounds between them are whole dimensions");
    v("attention_factor", attention_factor, "yarn: factor on cosines and sines", above(0));
    v("score_factor", score_factor, "yarn: factor on attention scores (DeepSeek)", above(0));
  }
  /// The head_dim / 2 frequencies, in radians per position.
  std::vector<double> frequencies(int64_t head_dim, double theta) const;
};

/// A mixture of experts in place of the feed-forward network (DeepSeekMoE, arXiv:2401.06066): every token goes through
/// the shared experts and through the k routed ones that score highest.
///
/// The auxiliary loss is the balance loss within each sequence (DeepSeek-V3, arXiv:2412.19437, section 2.1.2, eq. 17 to
/// 20): auxiliary_loss · Σ_e f_e·P_e a layer, with f_e = experts / (k·T) times how many of the sequence's T tokens went
/// through expert e, and P_e the mean over them of e's score divided by the token's sum of scores. A sequence is a
/// segment of the pass: a prompt, a completion behind it, a document. An update takes the mean over all its sequences,
/// weighted by their tokens: no division into passes changes it.
struct MoeConfig : RouterOptions {
  int experts = 0;
  int shared_experts = 1;
  int intermediate_size = 64;
  int dense_layers = 0;
  std::vector<int> dense;
  double auxiliary_loss = 0.0;

  template <class V>
  void visit(V& v) {
    v("experts", experts, "routed experts of a layer; 0: a dense model", at_least(0).at_most(1 << 16));
    v("shared_experts", shared_experts, "experts that every token goes through", at_least(0).at_most(1 << 16));
    v("experts_per_token", experts_per_token, "routed experts that a token goes through", at_least(1));
    v("intermediate_size", intermediate_size, "width of one expert", at_least(1).at_most(1 << 24));
    v("dense_layers", dense_layers, "the first so many layers stay dense", at_least(0));
    v("dense", dense, "further layers that stay dense, counted from 0", at_least(0));
    v("groups", groups, "equal parts of the routed experts, of which a token chooses some first", at_least(1));
    v("groups_per_token", groups_per_token, "how many of them", at_least(1));
    v("group_best", group_best, "a group is as good as the sum of its so many best experts: 2 in DeepSeek-V3, 1 in V2",
      at_least(1));
    v("scoring", scoring, "a router's scores");
    v("normalize", normalize, "divide the chosen scores by their sum");
    v("scaling", scaling, "factor on the routed experts' weights", above(0));
    v("auxiliary_loss", auxiliary_loss,
      "coefficient of the loss that balances the experts' load within each sequence (DeepSeek-V3); 0: off",
      at_least(0));
  }
};

/// Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1): keys and values of all heads are made from
/// one small latent vector a token, beside which one rotary key serves all heads. Computed in the absorbed form, in
/// sampling and in training: queries are taken into the latent space and attend there, so that pages hold latents only
/// and both sides round alike.
struct MlaConfig {
  int q_lora_rank = 0;
  int kv_lora_rank = 32;
  int qk_nope_head_dim = 32, qk_rope_head_dim = 16, v_head_dim = 32;

  template <class V>
  void visit(V& v) {
    v("q_lora_rank", q_lora_rank, "width of the vector that queries are made from; 0: they are made directly",
      at_least(0).at_most(1 << 20));
    v("kv_lora_rank", kv_lora_rank, "width of the latent that keys and values are made from",
      at_least(1).at_most(1 << 16));
    v("qk_nope_head_dim", qk_nope_head_dim, "width of a query and key head without position",
      at_least(1).at_most(1 << 16));
    v("qk_rope_head_dim", qk_rope_head_dim, "width of the rotary part beside it",
      at_least(2).at_most(1 << 16).multiple_of(2));
    v("v_head_dim", v_head_dim, "width of a value head", at_least(1).at_most(1 << 16));
  }
};

/// Low-rank adapters beside the projections (linear.h), which alone are trained: the weights under them stay as they
/// are. The factor on B·A is alpha / rank. Router, embedding, norms and head have none.
struct AdapterConfig {
  int rank = 0;
  double alpha = 32;
  std::vector<std::string> targets{"attention", "feed_forward", "experts"};
  std::string from;

  template <class V>
  void visit(V& v) {
    v("rank", rank, "rank of an adapter; 0: none, all weights are trained", at_least(0).at_most(1 << 12));
    v("alpha", alpha, "alpha / rank is the factor on an adapter", above(0));
    v("targets", targets,
      "projections that have one: all of attention, of feed_forward (of shared experts, too) or of the routed experts, "
      "or single ones of the first two by their names in model folders",
      {"attention", "feed_forward", "experts", "q_proj", "k_proj", "v_proj", "o_proj", "q_a_proj", "q_b_proj",
       "kv_a_proj_with_mqa", "kv_b_proj", "gate_proj", "up_proj", "down_proj"});
    v("from", from, "folder of an adapter in PEFT's form to start from, which says rank, alpha and targets");
  }
  /// Throws Error for an adapter without targets.
  void validate() const;
};

/// Dense and mixture-of-experts decoders: pre-norm, rotary positions, SwiGLU.
struct PolicyConfig {
  std::string from;
  int vocab_size = 0;
  int hidden_size = 128;
  int layers = 2;
  int heads = 4;
  int kv_heads = 2;
  int head_dim = 0;
  int intermediate_size = 352;
  Attention attention = Attention::gqa;
  MlaConfig mla;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  bool rope_interleaved = false;
  double norm_epsilon = 1e-6;
  QkNorm qk_norm = QkNorm::none;
  bool attention_bias = false;
  bool tied_embeddings = true;
  int max_positions = 4096;
  MoeConfig moe;
  DType dtype = DType::float32;
  double init_std = 0.02;
  AdapterConfig adapter;

  template <class V>
  void visit(V& v) {
    v("from", from,
      "folder of a pretrained model to start from (pretrained.h); it says all but dtype, max_positions (at most its "
      "own), moe.auxiliary_loss and adapter, and brings its tokenizer");
    v("vocab_size", vocab_size, "rows of the embedding; 0: as many as the tokenizer has", at_least(0).at_most(1 << 24));
    v("hidden_size", hidden_size, "width of the residual stream", at_least(1).at_most(1 << 20));
    v("layers", layers, "decoder layers", at_least(1).at_most(1 << 12));
    v("heads", heads, "query heads", at_least(1).at_most(1 << 16));
    v("kv_heads", kv_heads, "key and value heads, shared by heads / kv_heads query heads each",
      at_least(1).at_most(1 << 16));
    v("head_dim", head_dim, "width of a head; 0: hidden_size / heads", at_least(0).at_most(1 << 16));
    v("intermediate_size", intermediate_size, "width of a dense feed-forward network", at_least(1).at_most(1 << 24));
    v("attention", attention, "gqa: grouped-query attention; mla: multi-head latent attention");
    v("mla", mla, "its widths, with attention = mla (in place of kv_heads and head_dim)");
    v("rope_theta", rope_theta, "base of the rotary frequencies", above(0));
    v("rope_scaling", rope_scaling, "the same for longer contexts");
    v("rope_interleaved", rope_interleaved, "neighbouring columns turn together, not the two halves");
    v("norm_epsilon", norm_epsilon, "added to the mean square in RMSNorm", above(0));
    v("qk_norm", qk_norm,
      "RMSNorm on queries and keys before the rotation: of each head (Qwen3), or of the whole projection (OLMoE)");
    v("attention_bias", attention_bias, "biases on the query, key and value projections (Qwen2)");
    v("tied_embeddings", tied_embeddings, "the output projection is the embedding");
    v("max_positions", max_positions, "longest sequence, prompt included", at_least(1).at_most(1 << 26));
    v("moe", moe, "mixture of experts");
    v("dtype", dtype, "weights and activations");
    v("init_std", init_std,
      "standard deviation of fresh weights; those that write to the residual stream get 1/sqrt(2 layers) of it",
      above(0));
    v("adapter", adapter, "low-rank adapters that are trained in place of the weights (LoRA)");
  }
  /// Throws Error, naming the key, for what no single range can say.
  void validate() const;
  /// This shape with what `user` may choose of a model that is there: dtype, max_positions, moe.auxiliary_loss and
  /// adapter.
  PolicyConfig with_choices_of(const PolicyConfig& user) const;
  int64_t head_size() const { return head_dim > 0 ? head_dim : hidden_size / heads; }
  /// What attention works on: heads of latent width, of which there is one for keys, with attention = mla.
  HeadLayout layout() const;
  /// Of one page of the KV cache: the keys and values of `page_size` tokens in every layer.
  double page_bytes(int64_t page_size) const;
  bool is_moe(int layer) const {
    return moe.experts > 0 && layer >= moe.dense_layers &&
           std::find(moe.dense.begin(), moe.dense.end(), layer) == moe.dense.end();
  }
};

/// The paged memory of earlier keys and values, one entry a layer.
using KvPages = std::vector<LayerPages>;

/// What sampling passes to the forward beside a pass with slots: the pages, and where the slots' sequences lie in them.
struct KvView {
  KvPages* pages;
  const PageTable* table;
};

/// What the routers did in forward passes, added up over passes.
struct RouterRecord {
  Tensor load;            ///< [MoE layers, experts] int64, tokens; undefined before the first pass
  Tensor auxiliary_loss;  ///< scalar fp64 (MoeConfig); undefined for a dense model, coefficient 0, or `tokens` 0
  /// Of all passes of an update, known before the first: what the auxiliary loss is a mean over. Not 0: whatever goes
  /// backward from a pass's hidden states brings the auxiliary loss's gradient with it.
  int64_t tokens = 0;
  /// The largest load of any expert over the mean load of its layer; 1 is perfect balance, NaN a dense model.
  double max_load() const;
};

/// Moves, and is copied by name alone (snapshot, copy_from): a copy costs all that is trained again. Const members may
/// be called from several threads.
class Policy {
 public:
  /// Fresh weights, a pure function of (config, seed), and with config.adapter a fresh adapter beside them, which
  /// changes nothing yet: A uniform in ±in^−½ as in PEFT, B zeros. Throws Error on an invalid config, and where no
  /// projection is one of the adapter's targets.
  Policy(const PolicyConfig& config, uint64_t seed, at::Device device = at::kCPU);

  /// Weights that are still to be written (see state and frozen): what their memory held.
  static Policy uninitialized(const PolicyConfig& config, at::Device device = at::kCPU);

  /// The same weights, frozen from now on, under a fresh adapter. Throws Error where there is one already.
  Policy adapted(const AdapterConfig& adapter, uint64_t seed) &&;

  Policy(Policy&&) noexcept = default;
  Policy& operator=(Policy&&) noexcept = default;
  Policy& operator=(const Policy&) = delete;

  /// Hidden states [pass.capacity(), hidden] after the last norm. Without `kv`, segments attend as their parents say;
  /// with it, each segment's new tokens attend to the pages of its slot, which they extend. Where there are kernels for
  /// it, a token's hidden state has the same bits either way. `record` (optional, without `kv`) gathers what the routers
  /// did. `first` (optional, without `kv`) has what each layer shares of segment 0 with other passes (ops.h): empty, it
  /// is filled by this pass; else it is the segment that the pass was told of by add_shared, and gets no hidden states.
  /// With `recompute`, only the layers' inputs are kept for going backward, which computes the rest again, to the same
  /// bits; till then the policy stays in its place. Throws Error for tokens that are not of the vocabulary, positions
  /// beyond max_positions, pages of another policy, and slots with too few pages for their tokens.
  Tensor hidden(const Pass& pass, const KvView* kv = nullptr, RouterRecord* record = nullptr,
                std::vector<SharedRows>* first = nullptr, Recompute recompute = Recompute::none) const;

  /// Log-probability and entropy of the token `targets` [N] int32 that follows each of `hidden` [N, hidden]. Throws
  /// Error for a temperature that is not above 0 and targets that are not of the vocabulary.
  TokenLogprobs token_logprobs(const Tensor& hidden, const Tensor& targets, double temperature,
                               const KeptSets& kept = {}) const;

  /// The same, the loss and the way back to `hidden` in one (ops.h); the head's gradient is added to.
  LearnedTokens learn_tokens(const Tensor& hidden, const Tensor& targets, double temperature, const KeptSets& kept,
                             const TokenGradients& gradients) const;

  /// [N, vocab] fp32, not differentiable.
  Tensor logits(const Tensor& hidden) const;

  KvPages make_pages(int64_t pages, int64_t page_size) const;

  /// Moves each expert's selection bias by ±rate against its share of `record.load` (DeepSeek-V3, arXiv:2412.19437,
  /// section 2.1.2). Part of an update: never between sampling and the update's own forward. Throws Error for a record
  /// of another policy.
  void balance(const RouterRecord& record, double rate);

  /// What the optimizer trains: the weights, or with an adapter its A and B alone. Their gradients are fp32, whatever
  /// their own type.
  const NamedTensors& parameters() const { return parameters_; }

  /// Parameters and selection biases: what a checkpoint keeps. load_state copies in place and throws Error, before
  /// anything changes, when a tensor is missing, unknown, or of another shape.
  NamedTensors state() const;
  void load_state(const NamedTensors& state);

  /// The weights under an adapter, which no update changes; none without one.
  NamedTensors frozen() const;
  /// What a model folder holds: the weights, without what an adapter adds, and the selection biases.
  NamedTensors weights() const;
  /// The adapters, by the names of the weights that they lie beside.
  const std::map<std::string, Adapter>& adapters() const { return adapters_; }

  /// What it computes now, in a policy of its own that is not trained. It shares what is frozen: under an adapter a
  /// snapshot costs that alone, and one of a fresh adapter is the model without it.
  Policy snapshot() const;
  /// Takes over what another policy has learned, in place. Throws Error, before anything changes, for other shapes, and
  /// where it does not share the frozen weights.
  void copy_from(const Policy& other);

  /// Names the weights, so that it can be told which drew a group: load_state raises it, and whoever updates the
  /// parameters; a copy has that of the original.
  uint64_t version() const { return version_; }
  void raise_version() { ++version_; }

  const PolicyConfig& config() const { return config_; }
  at::Device device() const { return embedding_.device(); }
  int64_t parameter_count() const;                      ///< all of them
  int64_t active_count() const;                         ///< those that one token goes through
  /// "0.6M (0.3M active), 8 experts top-2 + 1 shared · cpu avx512 float32, 2 threads": the kernels that run are named
  std::string describe() const;

 private:
  struct FeedForward {
    Linear gate_up, down;  // [2·width, hidden], [hidden, width]
  };
  struct Moe {
    Tensor router, selection_bias;  // fp32 [experts, hidden], [experts]
    Linear gate_up, down;           // [experts, 2·width, hidden], [experts, hidden, width]
    FeedForward shared;
  };
  struct Latent {            // multi-head latent attention
    Linear q_down, q_up;     // q_up [heads·(nope + rope), q_lora_rank, or hidden without q_down]
    Linear kv_down, kv_up;   // [kv_lora_rank + rope, hidden], [heads·(nope + value), kv_lora_rank]
    Tensor q_norm, kv_norm;  // behind q_down, and behind kv_down's first columns
  };
  struct Layer {
    Tensor attention_norm, q_norm, k_norm, feed_forward_norm;
    Linear qkv, output;
    Latent latent;
    FeedForward dense;
    Moe moe;
  };

  Policy(const Policy&) = default;  // shares all tensors
  Policy(const PolicyConfig& config, std::optional<uint64_t> seed, at::Device device);
  struct Fresh;  // weights in the making
  Layer fresh_layer(int number, Fresh& fresh);
  void fresh_attention(const std::string& name, Fresh& fresh, Layer& layer) const;
  struct Projection;
  std::vector<Projection> projections();
  void add_adapters(std::optional<uint64_t> seed);
  Tensor queries_keys_values(const Layer& layer, const Tensor& x, const Tensor& positions) const;
  Tensor latent_queries_keys(const Layer& layer, const Tensor& x, const Tensor& positions) const;
  Tensor values_seen(const Layer& layer, const Tensor& seen) const;
  struct LayerOutput {
    Tensor x;               // [capacity, hidden]
    Tensor qkv;             // what attention had
    Tensor load;            // [experts] int64; undefined for a dense layer, and when sampling
    Tensor auxiliary_loss;  // scalar, Σ of segments' tokens times their loss; undefined without a coefficient, too
  };
  struct Recomputed;  // a layer that is computed again
  /// A function of its arguments alone (the pages of `kv` aside), so that it can be computed again.
  LayerOutput layer(size_t number, const Tensor& x, const Pass& pass, const KvView* kv, const SharedRows& first) const;
  void feed_forward(const Layer& layer, const Tensor& x, const Pass& pass, LayerOutput& out) const;

  PolicyConfig config_;
  Tensor embedding_, final_norm_, head_, rope_table_;
  std::vector<Layer> layers_;
  NamedTensors weights_, biases_;    // all but the adapters
  NamedTensors parameters_;          // that are trained
  std::map<std::string, Adapter> adapters_;
  uint64_t version_ = 0;
};

}  // namespace grpo
