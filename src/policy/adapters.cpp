// What of a policy is trained and what is frozen: the adapters beside its projections, and copies that share the rest.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "base/philox.h"
#include "grpo/error.h"
#include "grpo/policy.h"

namespace grpo {
namespace {

void copy_state(const NamedTensors& from, const NamedTensors& to) {
  for (const auto& [name, tensor] : from)
    if (std::none_of(to.begin(), to.end(), [&, &name = name](const auto& t) { return t.first == name; }))
      throw Error("policy", "expected the tensors of this configuration, got an unknown one named \"", name, '"');
  std::vector<const Tensor*> found;
  for (const auto& [name, tensor] : to) {
    const auto match =
        std::find_if(from.begin(), from.end(), [&, &name = name](const auto& t) { return t.first == name; });
    if (match == from.end()) throw Error("policy", "expected a tensor named \"", name, "\", got none");
    if (match->second.sizes() != tensor.sizes())
      throw Error("policy", '"', name, "\": expected shape ", tensor.sizes(), ", got ", match->second.sizes());
    found.push_back(&match->second);
  }
  at::NoGradGuard guard;
  for (size_t i = 0; i < to.size(); ++i) to[i].second.data().copy_(*found[i]);
}

// Kaiming's uniform distribution as PEFT starts A: within ±in^−½. The `place`-th projection's values depend on nothing
// but (seed, place, shape); sample 1 keeps them apart from the weights'.
Tensor fresh_factor(at::IntArrayRef shape, uint64_t seed, uint32_t place) {
  Tensor out = at::empty(shape, at::kFloat);
  const double bound = 1.0 / std::sqrt(static_cast<double>(shape.back()));
  float* values = out.data_ptr<float>();
  for (int64_t i = 0; i < out.numel(); ++i) {
    const DrawKey key{seed, Purpose::weights, static_cast<uint64_t>(i >> 22), place, 1, 0};
    const auto id = static_cast<uint32_t>(i & ((1 << 22) - 1));
    values[i] = static_cast<float>(bound * (2.0 * uniform(draw_bits(key, id)) - 1.0));
  }
  return out;
}

}  // namespace

struct Policy::Projection {
  std::string weight, group;
  Linear* linear;
  std::vector<Adapter::Part> parts;
};

// All that can have an adapter.
std::vector<Policy::Projection> Policy::projections() {
  const HeadLayout layout = config_.layout();
  const int64_t q = layout.heads * layout.head_dim, kv = layout.kv_heads * layout.head_dim;
  std::vector<Projection> all;
  const auto add = [&](const std::string& folder, const char* name, const char* group, Linear& linear) {
    if (linear.weight.defined())
      all.push_back({folder + name + ".weight", group, &linear, {{name, linear.weight.size(-2)}}});
  };
  const auto add_pair = [&](const std::string& folder, const char* group, Linear& gate_up, Linear& down) {
    if (!down.weight.defined()) return;
    const int64_t width = down.weight.size(-1);
    const char* end = gate_up.weight.dim() == 3 ? "" : ".weight";  // as experts' weights are named
    all.push_back({folder + "gate_up_proj" + end, group, &gate_up, {{"gate_proj", width}, {"up_proj", width}}});
    all.push_back({folder + "down_proj" + end, group, &down, {{"down_proj", down.weight.size(-2)}}});
  };
  for (size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = layers_[i];
    const std::string name = "model.layers." + std::to_string(i), attention = name + ".self_attn.";
    if (layer.qkv.weight.defined())
      all.push_back({attention + "qkv_proj.weight", "attention", &layer.qkv,
                     {{"q_proj", q}, {"k_proj", kv}, {"v_proj", kv}}});
    add(attention, "q_a_proj", "attention", layer.latent.q_down);
    add(attention, layer.latent.q_down.weight.defined() ? "q_b_proj" : "q_proj", "attention", layer.latent.q_up);
    add(attention, "kv_a_proj_with_mqa", "attention", layer.latent.kv_down);
    add(attention, "kv_b_proj", "attention", layer.latent.kv_up);
    add(attention, "o_proj", "attention", layer.output);
    add_pair(name + ".mlp.", "feed_forward", layer.dense.gate_up, layer.dense.down);
    add_pair(name + ".mlp.experts.", "experts", layer.moe.gate_up, layer.moe.down);
    add_pair(name + ".mlp.shared_experts.", "feed_forward", layer.moe.shared.gate_up, layer.moe.shared.down);
  }
  return all;
}

// Freezes the weights, and puts the adapters that config_ asks for beside them: fresh ones, or without a seed what
// their memory held.
void Policy::add_adapters(std::optional<uint64_t> seed) {
  for (auto& [name, tensor] : weights_) tensor.requires_grad_(false);
  parameters_.clear(), adapters_.clear();
  const auto& targets = config_.adapter.targets;
  const auto is_target = [&](const std::string& name) {
    return std::find(targets.begin(), targets.end(), name) != targets.end();
  };
  const int64_t rank = config_.adapter.rank;
  uint32_t place = 0;
  for (Projection& each : projections()) {
    const uint32_t own = place++;
    int64_t parts = 0, rows = 0;
    for (Adapter::Part& part : each.parts) {
      part.adapted = is_target(each.group) || (each.group != "experts" && is_target(part.name));
      if (part.adapted) ++parts, rows += part.rows;
    }
    if (parts == 0) continue;
    const Tensor& weight = each.linear->weight;
    std::vector<int64_t> a = weight.sizes().vec(), b = a;
    a[a.size() - 2] = parts * rank, b[b.size() - 2] = rows, b.back() = rank;
    const auto options = weight.options().requires_grad(false);
    Adapter& adapter = each.linear->adapter;
    adapter = {seed ? fresh_factor(a, *seed, own).to(options) : at::empty(a, options),
               seed ? at::zeros(b, options) : at::empty(b, options),
               config_.adapter.alpha / static_cast<double>(rank), each.parts};
    const std::string stem = each.weight.substr(0, each.weight.size() - (each.weight.ends_with(".weight") ? 7 : 0));
    for (const auto& [name, tensor] : {std::pair(".lora_A", &adapter.a), std::pair(".lora_B", &adapter.b)}) {
      tensor->requires_grad_(true);
      tensor->set_grad_dtype(at::kFloat);
      parameters_.emplace_back(stem + name, *tensor);
    }
    adapters_[each.weight] = adapter;
  }
}

Policy Policy::adapted(const AdapterConfig& adapter, uint64_t seed) && {
  if (config_.adapter.rank > 0) throw Error("policy", "expected a policy without an adapter, got one that has one");
  PolicyConfig config = config_;
  config.adapter = adapter;
  grpo::validate(config, "policy");
  config_ = config;
  if (config_.adapter.rank > 0) add_adapters(seed);
  return std::move(*this);
}

// ---- State ----------------------------------------------------------------------------------------------------------

NamedTensors Policy::state() const {
  NamedTensors all;
  for (const auto& [name, tensor] : parameters_) all.emplace_back(name, tensor.detach());
  all.insert(all.end(), biases_.begin(), biases_.end());
  return all;
}

NamedTensors Policy::frozen() const {
  NamedTensors all;
  if (adapters_.empty()) return all;
  for (const auto& [name, tensor] : weights_) all.emplace_back(name, tensor.detach());
  return all;
}

NamedTensors Policy::weights() const {
  NamedTensors all;
  for (const auto& [name, tensor] : weights_) all.emplace_back(name, tensor.detach());
  all.insert(all.end(), biases_.begin(), biases_.end());
  return all;
}

void Policy::load_state(const NamedTensors& from) {
  copy_state(from, state());
  raise_version();
}

Policy Policy::snapshot() const {
  const bool shares = !adapters_.empty();
  Policy copy = shares ? Policy(*this) : uninitialized(config_, device());
  if (shares) {  // all but what is trained
    auto bias = copy.biases_.begin();
    for (Layer& layer : copy.layers_)
      if (Tensor& own = layer.moe.selection_bias; own.defined()) (bias++)->second = own = own.clone();
    copy.add_adapters(std::nullopt);
  }
  copy.copy_from(*this);
  for (auto& [name, tensor] : copy.parameters_) tensor.requires_grad_(false);
  return copy;
}

void Policy::copy_from(const Policy& other) {
  for (size_t i = 0; !adapters_.empty() && i < weights_.size(); ++i)
    if (i >= other.weights_.size() || !weights_[i].second.is_same(other.weights_[i].second))
      throw Error("policy", "expected a policy with the same frozen weights, as a snapshot has, got one with others");
  copy_state(other.state(), state());
  version_ = other.version_;
}

}  // namespace grpo
