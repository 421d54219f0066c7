// What a policy's configuration says beyond its ranges: what fits together, and the sizes that follow.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "grpo/error.h"
#include "grpo/policy.h"

namespace grpo {

namespace {

// The names of the projections that `config` has and the adapter's `target` is about.
std::vector<std::string> names_of(const PolicyConfig& config, const std::string& target) {
  std::vector<std::string> attention{"q_proj", "k_proj", "v_proj", "o_proj"}, feed_forward;
  if (config.attention == Attention::mla && config.mla.q_lora_rank > 0)
    attention = {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"};
  else if (config.attention == Attention::mla)
    attention = {"q_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"};
  bool dense = false, routed = false;
  for (int layer = 0; layer < config.layers; ++layer) (config.is_moe(layer) ? routed : dense) = true;
  if (dense || config.moe.shared_experts > 0) feed_forward = {"gate_proj", "up_proj", "down_proj"};
  if (target == "attention") return attention;
  if (target == "feed_forward") return feed_forward;
  if (target == "experts") return {routed ? std::vector<std::string>{target} : std::vector<std::string>()};
  for (const auto* names : {&attention, &feed_forward})
    if (std::find(names->begin(), names->end(), target) != names->end()) return {target};
  return {};
}

void check_targets(const PolicyConfig& config) {
  std::vector<std::string> all;
  for (const std::string& target : config.adapter.targets) {
    const std::vector<std::string> names = names_of(config, target);
    if (names.empty() && target.find("_proj") != std::string::npos)  // one of its own, and no group
      throw Error("config", "policy.adapter.targets: expected projections that the model has, got \"", target, '"');
    all.insert(all.end(), names.begin(), names.end());
  }
  if (all.empty())
    throw Error("config", "policy.adapter.targets: expected projections that the model has, it has none of these");
}

}  // namespace

void AdapterConfig::validate() const {
  if (rank > 0 && targets.empty())
    throw Error("config", "targets: expected projections that have an adapter, got none; rank 0 stands for no adapter");
  if (rank == 0 && !from.empty())
    throw Error("config", "rank: expected that of the adapter in ", from, ", got 0; a run takes it over where there is a ",
                "policy.from, a program takes it from pretrained_adapter");
}

PolicyConfig PolicyConfig::with_choices_of(const PolicyConfig& user) const {
  PolicyConfig config = *this;
  config.dtype = user.dtype;
  config.max_positions = user.max_positions;
  config.moe.auxiliary_loss = user.moe.auxiliary_loss;
  config.adapter = user.adapter;
  return config;
}

void PolicyConfig::validate() const {
  if (rope_scaling.type == RopeType::llama3 && !(rope_scaling.high_freq_factor > rope_scaling.low_freq_factor))
    throw Error("config", "policy.rope_scaling.high_freq_factor: expected more than low_freq_factor = ",
                rope_scaling.low_freq_factor, ", got ", rope_scaling.high_freq_factor);
  if (attention == Attention::mla) {
    if (mla.kv_lora_rank + mla.qk_rope_head_dim > 1024)
      throw Error("config", "policy.mla: expected kv_lora_rank and qk_rope_head_dim up to 1024 together, got ",
                  mla.kv_lora_rank + mla.qk_rope_head_dim);
    if (qk_norm != QkNorm::none) throw Error("config", "policy.qk_norm: expected none with attention = mla");
    if (attention_bias) throw Error("config", "policy.attention_bias: expected false with attention = mla");
  } else {
    if (heads % kv_heads != 0)
      throw Error("config", "policy.heads: expected a multiple of policy.kv_heads = ", kv_heads, ", got ", heads);
    if (head_dim == 0 && hidden_size % heads != 0)
      throw Error("config", "policy.hidden_size: expected a multiple of policy.heads = ", heads, ", got ", hidden_size,
                  "; or set policy.head_dim");
    if (head_size() % 2 != 0 || head_size() > 1024)
      throw Error("config", "policy.head_dim: expected an even number up to 1024, got ", head_size());
  }
  if (moe.experts > 0) {
    if (moe.experts_per_token > moe.experts)
      throw Error("config", "policy.moe.experts_per_token: expected 1 … ", moe.experts, ", got ",
                  moe.experts_per_token);
    if (moe.experts % moe.groups != 0)
      throw Error("config", "policy.moe.groups: expected a divisor of policy.moe.experts = ", moe.experts, ", got ",
                  moe.groups);
    for (const int layer : moe.dense)
      if (layer >= layers)
        throw Error("config", "policy.moe.dense: expected layers from 0 to ", layers - 1, ", got ", layer);
    if (moe.groups_per_token > moe.groups ||
        moe.experts / moe.groups * moe.groups_per_token < moe.experts_per_token)
      throw Error("config", "policy.moe.groups_per_token: expected up to ", moe.groups, " groups of ",
                  moe.experts / moe.groups, " experts that hold the ", moe.experts_per_token, " of a token, got ",
                  moe.groups_per_token);
  }
  if (adapter.rank > 0 && from.empty()) check_targets(*this);  // a folder's shape is not known yet
  constexpr int64_t kAngles = int64_t{1} << 27;  // cosines and sines that are kept, half a gigabyte of them
  if (const int64_t most = kAngles / layout().rotary_dim(); max_positions > most)
    throw Error("config", "policy.max_positions: expected at most ", most,
                ", whose rotary angles take half a gigabyte, got ", max_positions);
}

double PolicyConfig::page_bytes(int64_t page_size) const {
  const HeadLayout own = layout();
  return static_cast<double>((own.width() - own.heads * own.head_dim) * layers * page_size) *
         (dtype == DType::bfloat16 ? 2 : 4);
}

HeadLayout PolicyConfig::layout() const {
  if (attention == Attention::gqa) {
    const double scale =
        rope_scaling.score_factor == 1 ? 0.0 : rope_scaling.score_factor / std::sqrt(static_cast<double>(head_size()));
    return {heads, kv_heads, head_size(), 0, 0, scale};
  }
  const int64_t nope = mla.qk_nope_head_dim, rope = mla.qk_rope_head_dim;
  return {heads,
          1,
          mla.kv_lora_rank + rope,
          mla.kv_lora_rank,
          rope,
          rope_scaling.score_factor / std::sqrt(static_cast<double>(nope + rope))};
}

std::vector<double> RopeScaling::frequencies(int64_t head_dim, double theta) const {
  const int64_t count = head_dim / 2;
  std::vector<double> out;
  for (int64_t i = 0; i < count; ++i)
    out.push_back(1.0 / std::pow(theta, 2.0 * static_cast<double>(i) / static_cast<double>(head_dim)));
  const double length = original_max_positions;
  // The dimension whose frequency makes so many turns within the original context.
  const auto dimension = [&](double turns) {
    return static_cast<double>(head_dim) * std::log(length / (turns * 2.0 * std::numbers::pi)) /
           (2.0 * std::log(theta));
  };
  double low = dimension(beta_fast), high = dimension(beta_slow);
  if (truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, static_cast<double>(head_dim - 1));
  if (low == high) high += 0.001;
  for (int64_t i = 0; i < count; ++i) {
    double kept = 1.0;  // how much of the original frequency stays
    if (type == RopeType::linear) kept = 0.0;
    if (type == RopeType::llama3) {
      const double turns = length * out[i] / (2.0 * std::numbers::pi);
      kept = std::clamp((turns - low_freq_factor) / (high_freq_factor - low_freq_factor), 0.0, 1.0);
    }
    if (type == RopeType::yarn) kept = 1.0 - std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    out[i] *= kept + (1.0 - kept) / factor;
  }
  return out;
}

}  // namespace grpo
