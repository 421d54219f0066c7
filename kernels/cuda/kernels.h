// The CUDA kernels of the forward pass, launched: what a table will be made of. bf16 in and out, sums in fp32.
#pragma once

#include "kernels/kernels.h"

namespace grpo::cuda {

using kernel::Stream;

void embedding(Stream, int64_t rows, int64_t n, const void* weight, const int32_t* tokens, void* y);
void rms_norm(Stream, int64_t rows, int64_t n, const void* x, const void* weight, float epsilon, void* y);
void swiglu(Stream, int64_t rows, int64_t n, const void* gate_up, void* y);
void rope(Stream, const kernel::Rope&, const void* qkv, void* out);

/// Whether the two below take heads of this layout.
bool attends(const HeadLayout& layout);
void attention(Stream, const kernel::Attention&, const void* qkv, void* out, float* log_sum_exp);
void paged_attention(Stream, const kernel::PagedAttention&, const void* qkv, void* out);

void route(Stream, int64_t tokens, int64_t experts, const RouterOptions&, const float* logits, const float* bias,
           float* scores, int32_t* chosen, float* weights, int32_t* slots, int32_t* offsets);
void dispatch(Stream, int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots, void* y);
void combine(Stream, int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots, const float* weights,
             const void* base, void* y);

void logit_stats(Stream, int64_t rows, int64_t n, const float* x, float scale, float* log_sum_exp, float* entropy);
void token_logprobs(Stream, int64_t rows, int64_t n, float* logits, float scale, const int32_t* targets,
                    const kernel::Kept&, float* logprobs, float* entropy, float* log_sum_exp);

void token_logprobs_backward(Stream, int64_t rows, int64_t n, float* logits, float scale, const int32_t* targets,
                             const float* log_sum_exp, const float* entropy, const float* dlogprobs,
                             const float* dentropy);
void narrow(Stream, const float* from, void* to, int64_t n);

}  // namespace grpo::cuda
