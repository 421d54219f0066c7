// Drawing on the GPU, so that logits never leave it.
#pragma once

#include <cstdint>

#include "base/philox.h"

namespace grpo {

/// One draw: the row of logits and what the draw is keyed by beside (seed, purpose, step).
struct CudaDraw {
  int32_t row;
  uint32_t index, sample, position;
};

/// Untruncated draws from `logits` [rows, vocab] on GPU number `device`, on its default stream: tokens [draws], and
/// logprobs [draws] = log-softmax(logits · scale)[token]. The token is the one that sample_row draws from the same
/// logits, bit for bit the same noise. Token −1 marks a row whose largest logit is not finite. `draws` and the outputs
/// are device memory. Throws Error when the launch fails.
void sample_rows_cuda(const float* logits, int64_t vocab, float scale, const DrawKey& key, const CudaDraw* draws,
                      int64_t count, int32_t* tokens, float* logprobs, int device);

}  // namespace grpo
