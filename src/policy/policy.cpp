#include "grpo/policy.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <numbers>
#include <utility>

#include "base/parallel.h"
#include "base/philox.h"
#include "kernels/op.h"
#include "policy/part.h"

namespace grpo {
namespace {

at::ScalarType scalar_type(DType type) { return type == DType::bfloat16 ? at::kBFloat16 : at::kFloat; }

// Normal noise from the counter of the `index`-th tensor: weights depend on nothing but (seed, index, shape).
Tensor normal(at::IntArrayRef shape, double deviation, uint64_t seed, uint32_t index) {
  Tensor out = at::empty(shape, at::kFloat);
  float* values = out.data_ptr<float>();
  const int64_t count = out.numel();
  for (int64_t i = 0; i < count; i += 2) {
    const DrawKey key{seed, Purpose::weights, static_cast<uint64_t>(i >> 22), index, 0, 0};
    const uint32_t id = static_cast<uint32_t>(i & ((1 << 22) - 1));
    const double radius = std::sqrt(-2.0 * std::log(uniform(draw_bits(key, id))));  // Box–Muller
    const double angle = 2.0 * std::numbers::pi * uniform(draw_bits(key, id + 1));
    values[i] = static_cast<float>(deviation * radius * std::cos(angle));
    if (i + 1 < count) values[i + 1] = static_cast<float>(deviation * radius * std::sin(angle));
  }
  return out;
}

std::string millions(int64_t count) {
  char text[32];
  std::snprintf(text, sizeof(text), count < 10'000'000 ? "%.1fM" : "%.0fM", static_cast<double>(count) / 1e6);
  return text;
}

// Weights that no memory of this machine holds are refused at once: the kernel would end whoever asks for them, or all
// else, after minutes.
void require_memory(const PolicyConfig& config) {
  const auto hidden = static_cast<double>(config.hidden_size);
  double weights = hidden * config.vocab_size;
  for (int i = 0; i < config.layers; ++i)
    weights += 3 * hidden *
                   (config.is_moe(i) ? static_cast<double>(config.moe.experts) * config.moe.intermediate_size
                                     : static_cast<double>(config.intermediate_size)) +
               2 * hidden * config.heads *
                   static_cast<double>(config.attention == Attention::mla ? config.mla.v_head_dim : config.head_size());
  const double needed = weights * (config.dtype == DType::bfloat16 ? 2 : 4);
  const double there = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  if (needed > there)
    throw Error("config", "policy: expected weights that fit into the memory of this machine, ", std::ceil(there / 1e9),
                " GB, got ", std::floor(needed / 1e9),
                " GB or more; lower policy.hidden_size, layers, intermediate_size or ", "moe.experts");
}

}  // namespace

double RouterRecord::max_load() const {
  if (!load.defined() || load.numel() == 0) return std::numeric_limits<double>::quiet_NaN();
  const Tensor counts = load.to(at::kDouble), total = counts.sum(-1);
  // fmax of layers, of which one without tokens is NaN: 0 / 0
  const Tensor shares = (std::get<0>(counts.max(-1)) * counts.size(-1) / total).cpu();
  double highest = std::numeric_limits<double>::quiet_NaN();
  for (int64_t i = 0; i < shares.size(0); ++i) highest = std::fmax(highest, shares.data_ptr<double>()[i]);
  return highest;
}

Policy::Policy(const PolicyConfig& config, uint64_t seed, at::Device device)
    : Policy(config, std::optional<uint64_t>(seed), device) {}

Policy Policy::uninitialized(const PolicyConfig& config, at::Device device) {
  return Policy(config, std::optional<uint64_t>(), device);
}

// Every weight's bits go by its place among those that are drawn.
struct Policy::Fresh {
  std::optional<uint64_t> seed;
  at::TensorOptions options;
  double std, residual_std;  // of what writes to the residual stream
  NamedTensors& weights;
  uint32_t drawn = 0;

  Tensor add(const std::string& name, const Tensor& value, const at::TensorOptions& as) {
    Tensor parameter = value.to(as);
    parameter.requires_grad_(true);
    parameter.set_grad_dtype(at::kFloat);
    weights.emplace_back(name, parameter);
    return parameter;
  }
  Tensor weight(const std::string& name, at::IntArrayRef shape, double deviation, const at::TensorOptions& as) {
    return add(name, seed ? normal(shape, deviation, *seed, drawn++) : at::empty(shape, as), as);
  }
  Tensor weight(const std::string& name, at::IntArrayRef shape, double deviation) {
    return weight(name, shape, deviation, options);
  }
  Tensor ones(const std::string& name, int64_t n) { return add(name, at::ones({n}, options), options); }
  FeedForward feed_forward(const std::string& name, int64_t hidden, int64_t width) {
    FeedForward f;
    f.gate_up.weight = weight(name + ".gate_up_proj.weight", {2 * width, hidden}, std);
    f.down.weight = weight(name + ".down_proj.weight", {hidden, width}, residual_std);
    return f;
  }
};

void Policy::fresh_attention(const std::string& name, Fresh& fresh, Layer& layer) const {
  const int64_t hidden = config_.hidden_size, d = config_.head_size();
  const HeadLayout layout = config_.layout();
  if (config_.attention == Attention::mla) {
    const MlaConfig& mla = config_.mla;
    const int64_t heads = config_.heads, rank = mla.q_lora_rank, latent = mla.kv_lora_rank;
    if (rank > 0) {
      layer.latent.q_down.weight = fresh.weight(name + "q_a_proj.weight", {rank, hidden}, fresh.std);
      layer.latent.q_norm = fresh.ones(name + "q_a_layernorm.weight", rank);
    }
    layer.latent.q_up.weight =
        fresh.weight(name + (rank > 0 ? "q_b_proj.weight" : "q_proj.weight"),
                     {heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim), rank > 0 ? rank : hidden}, fresh.std);
    layer.latent.kv_down.weight =
        fresh.weight(name + "kv_a_proj_with_mqa.weight", {latent + mla.qk_rope_head_dim, hidden}, fresh.std);
    layer.latent.kv_norm = fresh.ones(name + "kv_a_layernorm.weight", latent);
    layer.latent.kv_up.weight =
        fresh.weight(name + "kv_b_proj.weight", {heads * (mla.qk_nope_head_dim + mla.v_head_dim), latent}, fresh.std);
  } else {
    layer.qkv.weight = fresh.weight(name + "qkv_proj.weight", {layout.width(), hidden}, fresh.std);
    if (config_.attention_bias)
      layer.qkv.bias = fresh.add(name + "qkv_proj.bias", at::zeros({layout.width()}, fresh.options), fresh.options);
  }
  if (config_.qk_norm != QkNorm::none) {
    const bool whole = config_.qk_norm == QkNorm::projection;
    layer.q_norm = fresh.ones(name + "q_norm.weight", whole ? layout.heads * d : d);
    layer.k_norm = fresh.ones(name + "k_norm.weight", whole ? layout.kv_heads * d : d);
  }
  const int64_t seen = config_.heads * (config_.attention == Attention::mla ? config_.mla.v_head_dim : d);
  layer.output.weight = fresh.weight(name + "o_proj.weight", {hidden, seen}, fresh.residual_std);
}

Policy::Layer Policy::fresh_layer(int number, Fresh& fresh) {
  const std::string name = "model.layers." + std::to_string(number);
  const int64_t hidden = config_.hidden_size;
  Layer layer;
  layer.attention_norm = fresh.ones(name + ".input_layernorm.weight", hidden);
  fresh_attention(name + ".self_attn.", fresh, layer);
  layer.feed_forward_norm = fresh.ones(name + ".post_attention_layernorm.weight", hidden);
  if (!config_.is_moe(number)) {
    layer.dense = fresh.feed_forward(name + ".mlp", hidden, config_.intermediate_size);
    return layer;
  }
  const MoeConfig& moe = config_.moe;
  const int64_t width = moe.intermediate_size;
  const auto fp32 = fresh.options.dtype(at::kFloat);
  layer.moe.router = fresh.weight(name + ".mlp.gate.weight", {moe.experts, hidden}, fresh.std, fp32);
  layer.moe.selection_bias = at::zeros({moe.experts}, fp32);
  biases_.emplace_back(name + ".mlp.gate.e_score_correction_bias", layer.moe.selection_bias);
  const std::string experts = name + ".mlp.experts.";
  layer.moe.gate_up.weight = fresh.weight(experts + "gate_up_proj", {moe.experts, 2 * width, hidden}, fresh.std);
  layer.moe.down.weight = fresh.weight(experts + "down_proj", {moe.experts, hidden, width}, fresh.residual_std);
  if (moe.shared_experts > 0)
    layer.moe.shared = fresh.feed_forward(name + ".mlp.shared_experts", hidden, moe.shared_experts * width);
  return layer;
}

Policy::Policy(const PolicyConfig& config, std::optional<uint64_t> seed, at::Device device) : config_(config) {
  validate(config_, "policy");
  if (config_.vocab_size == 0) throw Error("config", "policy.vocab_size: expected the tokenizer's size, got 0");
  // Our kernels have a thread pool of their own; ATen's would only compete with it for the same cores.
  if (device.is_cpu()) at::set_num_threads(1);
  if (device.is_cpu()) require_memory(config_);

  Fresh fresh{seed, at::TensorOptions(device).dtype(scalar_type(config_.dtype)), config_.init_std,
              config_.init_std / std::sqrt(2.0 * config_.layers), weights_};
  const std::vector<int64_t> table{config_.vocab_size, config_.hidden_size};
  embedding_ = fresh.weight("model.embed_tokens.weight", table, config_.init_std);
  for (int i = 0; i < config_.layers; ++i) layers_.push_back(fresh_layer(i, fresh));
  final_norm_ = fresh.ones("model.norm.weight", config_.hidden_size);
  head_ = config_.tied_embeddings ? embedding_ : fresh.weight("lm_head.weight", table, config_.init_std);
  rope_table_ = rope_table(config_.max_positions,
                           config_.rope_scaling.frequencies(config_.layout().rotary_dim(), config_.rope_theta),
                           config_.rope_scaling.attention_factor)
                    .to(device);
  parameters_ = weights_;
  if (config_.adapter.rank > 0) add_adapters(seed);
}

namespace {

// Each head's rows times a weight of its own: x [tokens, heads, in], weight [heads, out, in] → [tokens, heads, out].
Tensor per_head(const Tensor& x, const Tensor& weight) {
  const int64_t tokens = x.size(0), heads = x.size(1);
  const Tensor offsets = at::arange(heads + 1, x.options().dtype(at::kInt).requires_grad(false)) * tokens;
  const Tensor y = grouped_linear(x.transpose(0, 1).reshape({heads * tokens, x.size(2)}), weight, offsets);
  return y.view({heads, tokens, weight.size(1)}).transpose(0, 1);
}

// Each head's rows times one weight: x [tokens, heads, in], weight [1, out, in], of which a transpose is not copied.
Tensor each_head(const Tensor& x, const Tensor& weight) {
  const int64_t tokens = x.size(0), heads = x.size(1);
  const Tensor offsets = at::arange(2, x.options().dtype(at::kInt).requires_grad(false)) * (tokens * heads);
  const Tensor y = grouped_linear(x.reshape({tokens * heads, x.size(2)}), weight, offsets);
  return y.view({tokens, heads, weight.size(1)});
}

constexpr double kLatentNormEpsilon = 1e-6;  // DeepSeek's own, whatever norm_epsilon

// Σ over the pass's segments of T Σ_e f_e·P_e (MoeConfig), T their tokens.
Tensor balance_loss(const Routing& routing, const Pass& pass) {
  const int64_t live = pass.live(), k = routing.experts.size(1), experts = routing.scores.size(1);
  const Tensor rows = at::arange(pass.shared, pass.shared + live, pass.starts.options());
  const Tensor segment = at::searchsorted(pass.starts.slice(0, 1), rows, false, true);  // whose end is behind the row
  const Tensor scores = routing.scores.narrow(0, 0, live);
  const Tensor none = at::zeros({pass.segments(), experts}, scores.options());
  const Tensor chosen = none.index_put({segment.unsqueeze(1), routing.experts.narrow(0, 0, live).to(at::kLong)},
                                       at::ones({1}, scores.options()), true);
  const Tensor share = none.index_add(0, segment, scores / scores.sum(-1, true));
  const Tensor tokens = pass.starts.diff().clamp_min(1).unsqueeze(1);
  return (chosen * share / tokens).sum() * (static_cast<double>(experts) / static_cast<double>(k));
}

// Hidden states whose gradient brings with it `weight` times that of `loss`, a scalar.
struct WithLoss : torch::autograd::Function<WithLoss> {
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x, const Tensor& loss, double weight) {
    ctx->saved_data["gradient"] = at::full_like(loss, weight);
    return x;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list gradients) {
    return {gradients[0], ctx->saved_data["gradient"].toTensor(), Tensor()};
  }
};

}  // namespace

void Policy::feed_forward(const Layer& layer, const Tensor& x, const Pass& pass, LayerOutput& out) const {
  const auto dense = [&](const FeedForward& f) { return grpo::linear(swiglu(grpo::linear(x, f.gate_up)), f.down); };
  if (!layer.moe.router.defined()) {
    out.x = out.x + dense(layer.dense);
    return;
  }
  const MoeConfig& moe = config_.moe;
  const Routing routing = route(grpo::linear(x.to(at::kFloat), layer.moe.router), layer.moe.selection_bias,
                                moe);
  if (!pass.slots.defined()) {
    const Tensor chosen = routing.experts.narrow(0, 0, pass.live()).flatten().to(at::kLong);
    out.load = at::zeros({moe.experts}, chosen.options()).scatter_add_(0, chosen, at::ones_like(chosen));
  }
  if (moe.auxiliary_loss > 0 && !pass.slots.defined())
    out.auxiliary_loss = balance_loss(routing, pass) * moe.auxiliary_loss;
  const Tensor rows = dispatch(x, routing);
  const Tensor y =
      grouped_linear(swiglu(grouped_linear(rows, layer.moe.gate_up, routing.offsets)), layer.moe.down, routing.offsets);
  out.x = out.x + combine(y, routing, moe.shared_experts > 0 ? dense(layer.moe.shared) : Tensor());
}

Tensor Policy::queries_keys_values(const Layer& layer, const Tensor& x, const Tensor& positions) const {
  const auto maybe = [](const Tensor& t) { return t.defined() ? std::optional<Tensor>(t) : std::nullopt; };
  const HeadLayout layout = config_.layout();
  Tensor qkv = grpo::linear(x, layer.qkv);
  const bool whole = config_.qk_norm == QkNorm::projection;
  if (whole) {
    const int64_t q = layout.heads * layout.head_dim, k = layout.kv_heads * layout.head_dim;
    qkv = at::cat({rms_norm(qkv.narrow(1, 0, q), layer.q_norm, config_.norm_epsilon),
                   rms_norm(qkv.narrow(1, q, k), layer.k_norm, config_.norm_epsilon), qkv.narrow(1, q + k, k)},
                  1);
  }
  return rope(qkv, positions, rope_table_, layout, whole ? std::nullopt : maybe(layer.q_norm),
              whole ? std::nullopt : maybe(layer.k_norm), config_.norm_epsilon, config_.rope_interleaved);
}

// A head's product q·k with k = W c, c a token's latent, is (Wᵀq)·c: with Wᵀ taken into the query, all heads attend to
// the latents themselves. What an adapter adds to it is scale·Aᵀ(Bᵀq), with all heads' A in common.
Tensor Policy::latent_queries_keys(const Layer& layer, const Tensor& x, const Tensor& positions) const {
  const MlaConfig& mla = config_.mla;
  const Latent& l = layer.latent;
  const int64_t tokens = x.size(0), heads = config_.heads, nope = mla.qk_nope_head_dim, rope = mla.qk_rope_head_dim;
  const bool direct = !l.q_down.weight.defined();
  const Tensor q =
      grpo::linear(direct ? x : rms_norm(grpo::linear(x, l.q_down), l.q_norm, kLatentNormEpsilon), l.q_up);
  const Tensor by_head = q.view({tokens, heads, nope + rope}), without_position = by_head.narrow(2, 0, nope);
  const auto keys_of = [&](const Tensor& w) {
    return w.view({heads, nope + mla.v_head_dim, w.size(1)}).narrow(1, 0, nope).transpose(1, 2);
  };
  Tensor absorbed = per_head(without_position, part(l.kv_up.weight, keys_of));
  if (const Adapter& adapter = l.kv_up.adapter; adapter.defined()) {
    const Tensor inner = per_head(without_position, part(adapter.b, keys_of)) * adapter.scale;
    absorbed = absorbed + each_head(inner, part(adapter.a, [](const Tensor& a) { return a.t().unsqueeze(0); }));
  }
  const Tensor queries = at::cat({absorbed, by_head.narrow(2, nope, rope)}, 2).flatten(1);
  const Tensor kv = grpo::linear(x, l.kv_down);
  const Tensor latents = rms_norm(kv.narrow(1, 0, mla.kv_lora_rank), l.kv_norm, kLatentNormEpsilon);
  return grpo::rope(at::cat({queries, latents, kv.narrow(1, mla.kv_lora_rank, rope)}, 1), positions, rope_table_,
                    config_.layout(), std::nullopt, std::nullopt, config_.norm_epsilon, config_.rope_interleaved);
}

// The mean latent that each head saw, as its value.
Tensor Policy::values_seen(const Layer& layer, const Tensor& seen) const {
  const MlaConfig& mla = config_.mla;
  const Linear& up = layer.latent.kv_up;
  const Tensor latents = seen.view({seen.size(0), config_.heads, mla.kv_lora_rank});
  const auto values_of = [&](const Tensor& w) {
    return w.view({config_.heads, mla.qk_nope_head_dim + mla.v_head_dim, w.size(1)})
        .narrow(1, mla.qk_nope_head_dim, mla.v_head_dim);
  };
  Tensor values = per_head(latents, part(up.weight, values_of));
  if (up.adapter.defined()) {
    const Tensor inner = grpo::linear(latents.flatten(0, 1), up.adapter.a).view({seen.size(0), config_.heads, -1});
    values = values + per_head(inner * up.adapter.scale, part(up.adapter.b, values_of));
  }
  return values.flatten(1);
}

namespace {

// What the ops take on trust for the sake of speed, once a pass: they read pages wherever the table says they lie. Of a
// table on a device the host knows nothing, and whoever fills it answers for it.
void check_table(const KvView& kv, const Pass& pass, int64_t layers, const HeadLayout& layout) {
  if (kv.pages == nullptr || static_cast<int64_t>(kv.pages->size()) != layers)
    throw Error("policy", "expected pages of ", layers, " layers, got ", kv.pages ? kv.pages->size() : 0);
  if (kv.table == nullptr || !pass.slots.defined())
    throw Error("policy", "expected pages together with a table and a pass with slots, got none");
  const PageTable& table = *kv.table;
  const int64_t slots = table.lengths.defined() ? table.lengths.numel() : 0, pages = kv.pages->front().count();
  for (const Tensor* t : {&table.pages, &table.lengths, &table.parents})
    if (!t->defined() || t->scalar_type() != at::kInt || t->dim() != (t == &table.pages ? 2 : 1) ||
        t->size(0) != slots || !t->is_contiguous() || t->device() != pass.slots.device())
      throw Error("policy",
                  "expected a page table of int32 pages [slots, most pages], lengths and parents [slots], got others");
  for (const LayerPages& layer : *kv.pages)
    if (layer.count() != pages || layer.values.size(1) != layout.kv_heads || layer.page_size != table.page_size)
      throw Error("policy", "expected ", pages, " pages of ", layout.kv_heads, " heads and ", table.page_size,
                  " tokens, got ", layer.count(), " of ", layer.values.size(1), " and ", layer.page_size);
  if (!pass.slots.is_cpu()) return;
  const int64_t most = table.pages.size(1);
  const auto check_slot = [&](int64_t slot, int64_t first, int64_t end, size_t segment) {
    if (first < 0 || end > table.page_size * most)
      throw Error("policy", "expected pages that hold segment ", segment, ", got ", table.page_size * most,
                  " places for tokens ", first, " to ", end);
    for (int64_t i = 0; i * table.page_size < end; ++i)
      if (const int32_t page = table.pages.data_ptr<int32_t>()[slot * most + i]; page < 0 || page >= pages)
        throw Error("policy", "expected pages in [0, ", pages, "), got ", page);
  };
  for (int64_t s = 0; s < pass.segments(); ++s) {
    const int32_t slot = pass.slots.data_ptr<int32_t>()[s];
    if (slot < 0) continue;
    if (slot >= slots) throw Error("policy", "expected slots below ", slots, ", got ", slot);
    const int32_t parent = table.parents.data_ptr<int32_t>()[slot];
    if (parent >= slots) throw Error("policy", "expected parents below ", slots, ", got ", parent);
    const int32_t* lengths = table.lengths.data_ptr<int32_t>();
    const int64_t first = lengths[slot], count = pass.host_starts[s + 1] - pass.host_starts[s];
    check_slot(slot, first, first + count, s);
    if (parent >= 0) check_slot(parent, lengths[parent], lengths[parent], s);
  }
}

}  // namespace

Policy::LayerOutput Policy::layer(size_t number, const Tensor& x, const Pass& pass, const KvView* kv,
                                  const SharedRows& first) const {
  const Layer& layer = layers_[number];
  const HeadLayout layout = config_.layout();
  const bool latent = config_.attention == Attention::mla;
  const Tensor normed = rms_norm(x, layer.attention_norm, config_.norm_epsilon);
  LayerOutput out;
  out.qkv = latent ? latent_queries_keys(layer, normed, pass.positions)
                   : queries_keys_values(layer, normed, pass.positions);
  const Tensor seen = kv ? paged_attention(out.qkv, (*kv->pages)[number], pass, *kv->table, layout)
                         : attention(out.qkv, pass, layout, first);
  const NormedSum attended = add_rms_norm(x, grpo::linear(latent ? values_seen(layer, seen) : seen, layer.output),
                                          layer.feed_forward_norm, config_.norm_epsilon);
  out.x = attended.sum;
  feed_forward(layer, attended.normed, pass, out);
  return out;
}

// A layer of which its input alone is kept: going backward computes it again, by the same function of the same
// arguments, and goes on through what it computed.
struct Policy::Recomputed : torch::autograd::Function<Policy::Recomputed> {
  struct Plan : torch::CustomClassHolder {
    const Policy* policy;
    size_t number;
    std::shared_ptr<const Pass> pass;
    SharedRows first;
    LayerOutput out;  // on its way to whoever called

    LayerOutput run(const Tensor& x) const { return policy->layer(number, x, *pass, nullptr, first); }
  };

  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* ctx, const Tensor& x,
                                                c10::intrusive_ptr<Plan> plan) {
    plan->out = plan->run(x);
    ctx->save_for_backward({x});
    ctx->saved_data["plan"] = c10::IValue::make_capsule(plan);
    return differentiable(plan->out);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list gradients) {
    const auto plan = c10::static_intrusive_pointer_cast<Plan>(ctx->saved_data["plan"].toCapsule());
    at::AutoGradMode recorded(true);
    const Tensor x = ctx->get_saved_variables()[0].detach().requires_grad_(true);
    torch::autograd::backward(differentiable(plan->run(x)), gradients);
    return {x.grad(), Tensor()};
  }

  static torch::autograd::variable_list differentiable(const LayerOutput& out) {
    torch::autograd::variable_list list{out.x};
    if (out.auxiliary_loss.defined()) list.push_back(out.auxiliary_loss);
    return list;
  }

  static LayerOutput apply(const Policy& policy, size_t number, const Tensor& x, std::shared_ptr<const Pass> pass,
                           const SharedRows& first) {
    auto plan = c10::make_intrusive<Plan>();
    plan->policy = &policy, plan->number = number, plan->pass = std::move(pass), plan->first = first;
    const auto list = torch::autograd::Function<Recomputed>::apply(x, plan);
    LayerOutput out = std::exchange(plan->out, {});
    out.x = list[0];
    if (out.auxiliary_loss.defined()) out.auxiliary_loss = list[1];
    return out;
  }
};

Tensor Policy::hidden(const Pass& pass, const KvView* kv, RouterRecord* record, std::vector<SharedRows>* first,
                      Recompute recompute) const {
  if (!pass.tokens.defined() || !pass.positions.defined() || pass.tokens.dim() != 1 ||
      pass.positions.sizes() != pass.tokens.sizes() || pass.live() > pass.capacity())
    throw Error("policy", "expected tokens [T] and a position for each, got others");
  if (kv) check_table(*kv, pass, config_.layers, config_.layout());
  const bool filling = first && first->empty();
  if (first && (kv || (!filling && std::ssize(*first) != config_.layers)))
    throw Error("policy", "expected shared rows of ", config_.layers, " layers and no pages, got ", first->size(),
                kv ? " and pages" : "");
  RECORD_FUNCTION("grpo::Policy::hidden", std::vector<c10::IValue>{pass.tokens});  // what profilers show and tests count
  Tensor x = grpo::embedding(embedding_, pass.tokens);
  const bool learns = at::GradMode::is_enabled() && parameters_.front().second.requires_grad();
  const auto again = recompute == Recompute::layers && learns && !kv ? std::make_shared<const Pass>(pass) : nullptr;
  if (again && !x.requires_grad()) x.requires_grad_(true);  // under frozen embeddings: a layer's way back begins at x
  std::vector<Tensor> load;
  Tensor auxiliary_loss;
  for (size_t i = 0; i < layers_.size(); ++i) {
    SharedRows shared = first && !filling ? (*first)[i] : SharedRows();
    if (filling && at::GradMode::is_enabled())
      shared.gradient = at::zeros({pass.host_starts[1], config_.layout().width()}, x.options().dtype(at::kFloat));
    LayerOutput out = again ? Recomputed::apply(*this, i, x, again, shared) : layer(i, x, pass, kv, shared);
    if (filling) first->push_back({out.qkv.detach(), shared.gradient});
    x = std::move(out.x);
    if (out.load.defined()) load.push_back(std::move(out.load));
    if (out.auxiliary_loss.defined())
      auxiliary_loss = auxiliary_loss.defined() ? auxiliary_loss + out.auxiliary_loss : out.auxiliary_loss;
  }
  const Tensor out = rms_norm(x, final_norm_, config_.norm_epsilon);
  if (!record) return out;
  if (!load.empty()) record->load = record->load.defined() ? record->load + at::stack(load) : at::stack(load);
  if (!auxiliary_loss.defined() || record->tokens == 0) return out;
  const double weight = 1.0 / static_cast<double>(record->tokens);
  const Tensor loss = auxiliary_loss.detach().to(at::kDouble) * weight;
  record->auxiliary_loss = record->auxiliary_loss.defined() ? record->auxiliary_loss + loss : loss;
  return WithLoss::apply(out, auxiliary_loss, weight);
}

TokenLogprobs Policy::token_logprobs(const Tensor& hidden, const Tensor& targets, double temperature,
                                     const KeptSets& kept) const {
  RECORD_FUNCTION("grpo::Policy::token_logprobs", std::vector<c10::IValue>{targets});
  return grpo::token_logprobs(hidden, head_, targets, temperature, kept);
}

LearnedTokens Policy::learn_tokens(const Tensor& hidden, const Tensor& targets, double temperature,
                                   const KeptSets& kept, const TokenGradients& gradients) const {
  RECORD_FUNCTION("grpo::Policy::learn_tokens", std::vector<c10::IValue>{targets});
  return grpo::learn_tokens(hidden, head_, targets, temperature, kept, gradients);
}

Tensor Policy::logits(const Tensor& hidden) const {
  at::NoGradGuard guard;
  return grpo::logits(hidden, head_);
}

KvPages Policy::make_pages(int64_t pages, int64_t page_size) const {
  KvPages layers;
  for (int i = 0; i < config_.layers; ++i)
    layers.push_back(
        grpo::make_pages(config_.layout(), pages, page_size, embedding_.options().requires_grad(false)));
  return layers;
}

void Policy::balance(const RouterRecord& record, double rate) {
  if (!record.load.defined()) return;
  const std::vector<int64_t> shape{std::ssize(biases_), config_.moe.experts};
  if (record.load.sizes() != at::IntArrayRef(shape))
    throw Error("policy", "expected loads [MoE layers, experts] ", at::IntArrayRef(shape), ", got ",
                record.load.sizes());
  const Tensor load = record.load.to(at::kDouble), change = (load.mean(-1, true) - load).sign() * rate;
  for (size_t i = 0; i < biases_.size(); ++i)
    biases_[i].second.add_(change[static_cast<int64_t>(i)].to(biases_[i].second.options()));
}

int64_t Policy::parameter_count() const {
  int64_t count = 0;
  for (const auto& [name, tensor] : weights_) count += tensor.numel();
  for (const auto& [name, adapter] : adapters_) count += adapter.a.numel() + adapter.b.numel();
  return count;
}

int64_t Policy::active_count() const {
  int64_t count = parameter_count();
  for (const Layer& layer : layers_)
    for (const Linear* each : {&layer.moe.gate_up, &layer.moe.down})
      for (const Tensor& experts : {each->weight, each->adapter.a, each->adapter.b})
        if (experts.defined()) count -= experts[0].numel() * (config_.moe.experts - config_.moe.experts_per_token);
  return count;
}

std::string Policy::describe() const {
  std::string text = millions(parameter_count());
  if (config_.moe.experts > 0) {
    text += " (" + millions(active_count()) + " active), " + std::to_string(config_.moe.experts) + " experts top-" +
            std::to_string(config_.moe.experts_per_token);
    if (config_.moe.shared_experts > 0) text += " + " + std::to_string(config_.moe.shared_experts) + " shared";
  }
  if (config_.adapter.rank > 0) {
    int64_t trained = 0;
    for (const auto& [name, tensor] : parameters_) trained += tensor.numel();
    text += ", " + millions(trained) + " of them in adapters of rank " + std::to_string(config_.adapter.rank);
  }
  text += " · " + device().str() + ' ';
  const kernel::Table* kernels = kernels_of(device(), embedding_.scalar_type());
  const bool exact = attends(kernels, config_.dtype == DType::bfloat16 ? kernel::Type::bf16 : kernel::Type::f32,
                             config_.layout());
  if (exact) text.append(kernels->name) += ' ';
  text += enum_name(config_.dtype);
  if (!exact) {
    const std::string why = kernels ? "there are no kernels for its type or heads" : no_cuda_kernels();
    text += " by LibTorch (" + why + "), in which sampling and training differ in rounding";
  }
  const int threads = num_threads();
  if (device().is_cpu()) text += ", " + std::to_string(threads) + (threads == 1 ? " thread" : " threads");
  return text;
}

}  // namespace grpo
