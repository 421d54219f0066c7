// What the policy's forward pass is held against.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "grpo/ops.h"
#include "grpo/policy.h"
#include "policies.h"

namespace grpo {

/// A policy's forward pass, spelled out with the references of the ops and the tensors' names.
class ReferencePolicy {
 public:
  ReferencePolicy(const Policy& policy, const Pass& pass)
      : config_(policy.config()), pass_(pass), w_(merged_weights(policy)) {}

  Tensor hidden(Tensor* auxiliary) const {
    Tensor x = weight("model.embed_tokens.weight").index_select(0, pass_.tokens);
    for (int i = 0; i < config_.layers; ++i) {
      const std::string layer = "model.layers." + std::to_string(i), mlp = layer + ".mlp";
      x = x + attended(norm(x, layer + ".input_layernorm.weight"), layer + ".self_attn.");
      const Tensor y = norm(x, layer + ".post_attention_layernorm.weight");
      x = x + (config_.is_moe(i) ? experts(y, mlp, auxiliary) : gated(y, mlp));
    }
    return norm(x, "model.norm.weight");
  }

 private:
  const Tensor& weight(const std::string& name) const { return w_.at(name); }
  std::optional<Tensor> maybe(const std::string& name) const {
    return w_.contains(name) ? std::optional(weight(name)) : std::nullopt;
  }
  Tensor norm(const Tensor& x, const std::string& name) const {
    return reference::rms_norm(x, weight(name), config_.norm_epsilon);
  }
  Tensor project(const Tensor& x, const std::string& name) const {
    return reference::linear(x, weight(name + ".weight"), maybe(name + ".bias"));
  }
  Tensor gated(const Tensor& x, const std::string& name) const {
    return project(reference::swiglu(project(x, name + ".gate_up_proj")), name + ".down_proj");
  }
  Tensor table(int64_t width) const {
    return rope_table(config_.max_positions, config_.rope_scaling.frequencies(width, config_.rope_theta));
  }

  Tensor attended(const Tensor& normed, const std::string& attn) const {
    const bool latent = config_.attention == Attention::mla;
    return project(latent ? latent_attention(normed, attn) : attention(normed, attn), attn + "o_proj");
  }

  Tensor attention(const Tensor& normed, const std::string& attn) const {
    const HeadLayout layout = config_.layout();
    Tensor qkv = project(normed, attn + "qkv_proj");
    const bool whole = config_.qk_norm == QkNorm::projection;
    if (whole) {
      std::vector<Tensor> parts = qkv.split_with_sizes(
          {layout.heads * layout.head_dim, layout.kv_heads * layout.head_dim, layout.kv_heads * layout.head_dim}, 1);
      for (int i = 0; i < 2; ++i) parts[i] = norm(parts[i], attn + (i == 0 ? "q" : "k") + "_norm.weight");
      qkv = at::cat(parts, 1);
    }
    const Tensor turned =
        reference::rope(qkv, pass_.positions, table(config_.head_size()), layout,
                        whole ? std::nullopt : maybe(attn + "q_norm.weight"),
                        whole ? std::nullopt : maybe(attn + "k_norm.weight"), config_.norm_epsilon);
    return reference::attention(turned, pass_, layout);
  }

  // In its plain form: each head's keys and values made from the latents, and attended to.
  Tensor latent_attention(const Tensor& normed, const std::string& attn) const {
    const MlaConfig& mla = config_.mla;
    const int64_t n = normed.size(0), heads = config_.heads, nope = mla.qk_nope_head_dim, turn = mla.qk_rope_head_dim;
    const auto norm = [&](const Tensor& t, const char* name) {
      return reference::rms_norm(t, weight(attn + name), 1e-6);
    };
    const Tensor q_in =
        mla.q_lora_rank == 0 ? normed : norm(project(normed, attn + "q_a_proj"), "q_a_layernorm.weight");
    const Tensor q = project(q_in, attn + (mla.q_lora_rank == 0 ? "q_proj" : "q_b_proj")).view({n, heads, -1});
    const Tensor kv = project(normed, attn + "kv_a_proj_with_mqa");
    const Tensor up =
        project(norm(kv.narrow(1, 0, mla.kv_lora_rank), "kv_a_layernorm.weight"), attn + "kv_b_proj")
            .view({n, heads, -1});
    const auto turned = [&](const Tensor& t) {  // [n, heads, turn]
      const HeadLayout layout{t.size(1), 0, turn};
      return reference::rope(t.reshape({n, -1}), pass_.positions, table(turn), layout, {}, {}, 1e-6,
                             config_.rope_interleaved)
          .view_as(t);
    };
    const Tensor key_turned = turned(kv.narrow(1, mla.kv_lora_rank, turn).unsqueeze(1)).expand({n, heads, turn});
    const Tensor queries = at::cat({q.narrow(2, 0, nope), turned(q.narrow(2, nope, turn))}, 2);
    const Tensor keys = at::cat({up.narrow(2, 0, nope), key_turned}, 2);
    // Values as wide as keys, so that one layout holds both; what is added stays 0.
    const Tensor values = at::constant_pad_nd(up.narrow(2, nope, mla.v_head_dim), {0, nope + turn - mla.v_head_dim});
    const HeadLayout layout{
        heads, heads, nope + turn,
        0,     0,     config_.rope_scaling.score_factor / std::sqrt(static_cast<double>(nope + turn))};
    return reference::attention(at::cat({queries, keys, values}, 1).reshape({n, -1}), pass_, layout)
        .view({n, heads, -1})
        .narrow(2, 0, mla.v_head_dim)
        .reshape({n, -1});
  }

  Tensor experts(const Tensor& y, const std::string& mlp, Tensor* auxiliary) const {
    const MoeConfig& moe = config_.moe;
    const Tensor logits = at::matmul(y, weight(mlp + ".gate.weight").t());
    const Tensor scores = moe.scoring == Scoring::softmax ? at::softmax(logits, -1) : at::sigmoid(logits);
    const Tensor chosen = choice(scores + weight(mlp + ".gate.e_score_correction_bias"));
    Tensor weights = at::zeros_like(scores).scatter_(1, chosen, scores.gather(1, chosen));
    if (auxiliary) balance(scores, weights, *auxiliary);
    if (moe.normalize) weights = weights / weights.sum(1, true);
    Tensor sum = at::zeros_like(y);
    for (int e = 0; e < moe.experts; ++e) {
      const Tensor gate_up = weight(mlp + ".experts.gate_up_proj")[e], down = weight(mlp + ".experts.down_proj")[e];
      sum = sum + reference::linear(reference::swiglu(reference::linear(y, gate_up)), down) *
                      weights.select(1, e).unsqueeze(1) * moe.scaling;
    }
    return moe.shared_experts > 0 ? sum + gated(y, mlp + ".shared_experts") : sum;
  }

  // The experts of each token, by what their selection scores are.
  Tensor choice(const Tensor& scores) const {
    const MoeConfig& moe = config_.moe;
    const Tensor grouped = scores.view({scores.size(0), moe.groups, -1});
    const Tensor value = std::get<0>(grouped.topk(std::min<int64_t>(moe.group_best, grouped.size(2)))).sum(-1);
    const Tensor last = std::get<0>(value.topk(moe.groups_per_token)).select(1, -1);  // of the groups that are kept
    return std::get<1>(grouped.masked_fill((value < last.unsqueeze(1)).unsqueeze(2), -INFINITY)
                           .flatten(1)
                           .topk(moe.experts_per_token));
  }

  // The auxiliary loss: the mean of each sequence's, by tokens.
  void balance(const Tensor& scores, const Tensor& weights, Tensor& auxiliary) const {
    const MoeConfig& moe = config_.moe;
    for (int64_t s = 0; s < pass_.segments(); ++s) {
      const int64_t begin = pass_.host_starts[s], end = pass_.host_starts[s + 1];
      if (begin == end) continue;
      const Tensor fraction = weights.slice(0, begin, end).gt(0).to(at::kFloat).mean(0) / moe.experts_per_token;
      const Tensor mean_probability = (scores / scores.sum(1, true)).slice(0, begin, end).mean(0);
      const Tensor loss = (fraction * mean_probability).sum() * moe.experts * moe.auxiliary_loss *
                          (static_cast<double>(end - begin) / static_cast<double>(pass_.live()));
      auxiliary = auxiliary.defined() ? auxiliary + loss : loss;
    }
  }

  const PolicyConfig& config_;
  const Pass& pass_;
  std::map<std::string, Tensor> w_;
};

inline Tensor reference_hidden(const Policy& policy, const Pass& pass, Tensor* auxiliary = nullptr) {
  return ReferencePolicy(policy, pass).hidden(auxiliary);
}

}  // namespace grpo
