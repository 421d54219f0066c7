// Drawing as an op: one token for each draw that is due behind a pass, where the logits are.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "grpo/sampling.h"

namespace grpo {

struct Drawn {
  at::Tensor tokens;    ///< [draws] int32; −1: the row's largest logit is not finite, the policy has diverged
  at::Tensor logprobs;  ///< [draws] fp32
  at::Tensor entropies;  ///< [draws] fp32, nats: token_logprobs's to the bit
  std::vector<std::vector<int32_t>> kept;  ///< [draws] ascending ids, where sampling truncates; else empty
};

/// Draws from row rows[d] of `logits` [rows, vocab] fp32 with the key keys[d] (philox.h): see sample.h. rows [draws]
/// int32, keys [draws, kKeyColumns] int64, on the host or with the logits. Throws Error on shape or dtype mismatch, and
/// on the host, which need not be asked for it, for a row whose largest logit is not finite.
Drawn draw(const at::Tensor& logits, const at::Tensor& rows, const at::Tensor& keys, const SamplingConfig& config);

}  // namespace grpo
