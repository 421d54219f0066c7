// Small policies of every kind, and passes for them.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <ostream>
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
                       {"latent_moe", latent_moe_config()}};

/// A policy whose norms, biases and selection biases are not the ones and zeros that they start as.
inline Policy lively(PolicyConfig config, DType dtype, uint64_t seed = 3) {
  config.dtype = dtype;
  Policy policy(config, seed);
  at::manual_seed(seed);
  NamedTensors state;
  for (const auto& [name, tensor] : policy.state())
    state.emplace_back(name, tensor.dim() == 1 ? tensor + at::randn(tensor.sizes()) * 0.1 : tensor);
  policy.load_state(state);
  return policy;
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
