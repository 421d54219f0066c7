// The CUDA kernels, launched: what a card's table is made of (library.cpp). bf16 in and out, sums in fp32.
#pragma once

#include "kernels/kernels.h"

namespace grpo::cuda {

using kernel::Stream;

/// Whether a device can run what was built.
bool runs_here(int device);

void embedding(Stream, int64_t rows, int64_t n, const void* weight, const int32_t* tokens, void* y);
void rms_norm(Stream, int64_t rows, int64_t n, const void* x, const void* weight, float epsilon, void* y);
void add_rms_norm(Stream, int64_t rows, int64_t n, const void* x, const void* more, void* sum, const void* weight,
                  float epsilon, void* y);
void swiglu(Stream, int64_t rows, int64_t n, const void* gate_up, void* y);
void rope(Stream, const kernel::Rope&, const void* qkv, void* out);

/// Whether the two below take heads of this layout.
bool attends(const HeadLayout& layout);
void attention(Stream, const kernel::Attention&, const void* qkv, void* out, float* log_sum_exp);
void paged_attention(Stream, const kernel::PagedAttention&, const void* qkv, void* out);

/// The same of latent layouts, whose keys begin with the values.
bool attends_to_latents(const HeadLayout& layout);
void latent_attention(Stream, const kernel::Attention&, const void* qkv, void* out, float* log_sum_exp);
void latent_paged_attention(Stream, const kernel::PagedAttention&, const void* qkv, void* out);

void route(Stream, int64_t tokens, int64_t experts, const RouterOptions&, const float* logits, const float* bias,
           float* scores, int32_t* chosen, float* weights, int32_t* slots, int32_t* offsets);
void dispatch(Stream, int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots, void* y);
void combine(Stream, int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots, const float* weights,
             const void* base, void* y);
void route_backward(Stream, int64_t tokens, int64_t experts, const RouterOptions&, const float* scores,
                    const int32_t* chosen, const float* weights, const float* dweights, float* dlogits);
void combine_backward(Stream, int64_t rows, int64_t n, int64_t k, const void* x, const int32_t* slots,
                      const float* weights, const void* dy, void* dx, float* dweights);

void logit_stats(Stream, int64_t rows, int64_t n, const float* x, float scale, float* log_sum_exp, float* entropy);
void token_logprobs(Stream, int64_t rows, int64_t n, float* logits, float scale, const int32_t* targets,
                    const kernel::Kept&, float* logprobs, float* entropy, float* log_sum_exp);

void token_logprobs_backward(Stream, int64_t rows, int64_t n, float* logits, float scale, const int32_t* targets,
                             const float* log_sum_exp, const float* entropy, const float* dlogprobs,
                             const float* dentropy);
void narrow(Stream, const float* from, void* to, int64_t n);

void sample(Stream, const kernel::Draws&, int64_t n, const float* logits);
void next_pass(Stream, const kernel::Slots&, int64_t rows, const int32_t* who, int most, int32_t* tokens,
               int32_t* positions, int32_t* slots, int32_t* draw_rows, int64_t* keys, int32_t* siblings);
void take_drawn(Stream, const kernel::Slots&, int64_t rows, const int32_t* slots, const int32_t* tokens,
                const float* logprobs, const float* entropies, int32_t longer);

/// c[m, n] = a[m, k]·b[n, k]ᵀ in fp32, for few columns: a row's bits do not depend on the rows beside it.
void narrow_product(Stream, int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c);

}  // namespace grpo::cuda
