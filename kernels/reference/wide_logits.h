// Logits on devices without a kernel of ours.
#pragma once

#include "grpo/ops.h"

namespace grpo::reference {

/// hidden [tokens, hidden] · headᵀ [vocab, hidden] in fp32, where ATen's own product would round to the factors' type.
Tensor wide_logits(const Tensor& hidden, const Tensor& head);

}  // namespace grpo::reference
