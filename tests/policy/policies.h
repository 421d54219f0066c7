// Small policies of every kind, and passes for them.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "grpo/policy.h"

namespace grpo {

inline PolicyConfig dense_config() {
  PolicyConfig config;
  config.vocab_size = 37;
  config.hidden_size = 24;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.intermediate_size = 40;
  config.max_positions = 128;
  config.init_std = 0.2;  // large enough that every part shows in the output
  return config;
}
inline PolicyConfig dressed_config() {  // everything that a dense model can have besides
  PolicyConfig config = dense_config();
  config.head_dim = 10;
  config.qk_norm = QkNorm::head, config.attention_bias = true;
  config.tied_embeddings = false;
  return config;
}
inline PolicyConfig moe_config() {
  PolicyConfig config = dense_config();
  config.moe.experts = 5;
  config.moe.intermediate_size = 12;
  return config;
}
inline PolicyConfig late_moe_config() {  // dense first, softmax, nothing shared, weights not normalised
  PolicyConfig config = moe_config();
  config.layers = 3;
  config.moe.dense_layers = 1;
  config.moe.shared_experts = 0;
  config.moe.scoring = Scoring::softmax;
  config.moe.normalize = false;
  config.moe.scaling = 1.5;
  config.moe.experts_per_token = 3;
  return config;
}

inline PolicyConfig projection_norm_config() {
  PolicyConfig config = dense_config();
  config.qk_norm = QkNorm::projection;
  return config;
}
inline PolicyConfig latent_config() {  // DeepSeek-V2-Lite's form
  PolicyConfig config = dense_config();
  config.attention = Attention::mla;
  config.mla = {0, 14, 10, 6, 9};
  config.rope_interleaved = true;
  return config;
}
inline PolicyConfig latent_moe_config() {  // DeepSeek-V3's
  PolicyConfig config = latent_config();
  config.layers = 3;
  config.mla.q_lora_rank = 11;
  config.rope_scaling.type = RopeType::yarn;
  config.rope_scaling.factor = 4;
  config.rope_scaling.original_max_positions = 32;
  config.rope_scaling.score_factor = 1.3;
  config.moe.dense_layers = 1;
  config.moe.experts = 6;
  config.moe.intermediate_size = 12;
  config.moe.groups = 3;
  config.moe.groups_per_token = 2;
  config.tied_embeddings = false;
  return config;
}

/// The same with an adapter beside all projections, or some.
inline PolicyConfig adapted(PolicyConfig config, std::vector<std::string> targets = AdapterConfig().targets) {
  config.adapter.rank = 3;
  config.adapter.alpha = 5;
  config.adapter.targets = std::move(targets);
  return config;
}

struct Kind {
  const char* name;
  PolicyConfig config;
};
inline void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }
inline const Kind kKinds[] = {{"dense", dense_config()},
                       {"dressed", dressed_config()},
                       {"projection_norm", projection_norm_config()},
                       {"moe", moe_config()},
                       {"late_moe", late_moe_config()},
                       {"latent", latent_config()},
                       {"latent_moe", latent_moe_config()},
                       {"adapted", adapted(dressed_config())},
                       {"adapted_in_part", adapted(dressed_config(), {"q_proj", "v_proj", "up_proj"})},
                       {"adapted_moe", adapted(moe_config())},
                       {"adapted_latent_moe", adapted(latent_moe_config())}};

/// A policy whose norms, biases, selection biases and adapters are not the ones and zeros that they start as.
inline Policy lively(PolicyConfig config, DType dtype, uint64_t seed = 3) {
  config.dtype = dtype;
  Policy policy(config, seed);
  at::manual_seed(seed);
  NamedTensors state;
  for (const auto& [name, tensor] : policy.state())
    state.emplace_back(name, tensor.dim() == 1 || name.ends_with(".lora_B") ? tensor + at::randn(tensor.sizes()) * 0.1
                                                                            : tensor);
  policy.load_state(state);
  return policy;
}

/// Weights by name, each with what its adapter adds: to the rows of every part its rows of B times its own A.
inline std::map<std::string, Tensor> merged_weights(const Policy& policy) {
  std::map<std::string, Tensor> weights;
  for (const auto& [name, tensor] : policy.weights()) weights[name] = tensor.clone();
  const AdapterConfig& config = policy.config().adapter;
  for (const auto& [name, adapter] : policy.adapters()) {
    const Tensor a = adapter.a.detach(), b = adapter.b.detach();
    int64_t row = 0, a_row = 0, b_row = 0;  // of a part in the weight, A and B
    for (const Adapter::Part& part : adapter.parts) {
      if (part.adapted) {
        weights[name].narrow(-2, row, part.rows).add_(
            at::matmul(b.narrow(-2, b_row, part.rows), a.narrow(-2, a_row, config.rank)), config.alpha / config.rank);
        a_row += config.rank, b_row += part.rows;
      }
      row += part.rows;
    }
  }
  return weights;
}

inline Pass pass_of(const std::vector<std::vector<int32_t>>& tokens, const std::vector<int32_t>& parents) {
  PassBuilder builder;
  for (size_t s = 0; s < tokens.size(); ++s)
    builder.add(tokens[s], static_cast<int32_t>(parents[s] < 0 ? 0 : tokens[parents[s]].size()), parents[s]);
  return builder.build();
}

/// Random tokens: groups of lengths that cross key blocks.
inline std::vector<std::vector<int32_t>> random_tokens(const std::vector<int32_t>& lengths) {
  std::vector<std::vector<int32_t>> tokens;
  for (const int32_t length : lengths) {
    const Tensor ids = at::randint(37, {length}, at::kInt);
    tokens.emplace_back(ids.const_data_ptr<int32_t>(), ids.const_data_ptr<int32_t>() + length);
  }
  return tokens;
}

}  // namespace grpo
