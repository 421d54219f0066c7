// Drawing on the GPU, so that logits never leave it.
#pragma once

#include <cstdint>

#include "base/philox.h"
#include "kernels/kernels.h"

namespace grpo {

/// Untruncated draws from `logits` [rows, vocab] on GPU number `device`, queued on its `stream`: tokens [draws], and
/// logprobs [draws] = log-softmax(logits · scale)[token], each from the row rows[draw] with the key keys[draw]
/// (read_key). The token is the one that sample_row draws from the same logits, bit for bit the same noise. Token −1
/// marks a row whose largest logit is not finite. `rows` [draws], `keys` [draws, kKeyColumns] and the outputs lie on the
/// device. Throws Error when the launch fails.
void sample_rows_cuda(kernel::Stream stream, int device, const float* logits, int64_t vocab, float scale,
                      const int32_t* rows, const int64_t* keys, int64_t draws, int32_t* tokens, float* logprobs);

}  // namespace grpo
