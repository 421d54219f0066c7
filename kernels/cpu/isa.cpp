// Compiled once for each instruction set, with GRPO_ISA naming its namespace (see CMakeLists.txt).
#include "kernels/cpu/gemm.h"
// (the order matters: the others use its scratch buffers)
#include "kernels/cpu/attention.h"
#include "kernels/cpu/experts.h"
#include "kernels/cpu/logits.h"
#include "kernels/cpu/rows.h"

namespace grpo::GRPO_ISA {

#define GRPO_BOTH(f) \
  { &f<float>, &f<bf16> }
extern const kernel::Table table;
const kernel::Table table = {
    .name = GRPO_ISA_NAME,
    .page_block = cpu::kKeyBlock,
    .embedding = GRPO_BOTH(embedding),
    .embedding_backward = GRPO_BOTH(embedding_backward),
    .gemm = &gemm,
    .grouped_gemm = &grouped_gemm,
    .grouped_gemm_sum = &grouped_gemm_sum,
    .rms_norm = GRPO_BOTH(rms_norm),
    .rms_norm_backward = GRPO_BOTH(rms_norm_backward),
    .swiglu = GRPO_BOTH(swiglu),
    .swiglu_backward = GRPO_BOTH(swiglu_backward),
    .rope = GRPO_BOTH(rope),
    .rope_backward = GRPO_BOTH(rope_backward),
    .attends = nullptr,
    .attention = GRPO_BOTH(attention),
    .attention_backward = GRPO_BOTH(attention_backward),
    .paged_attention = GRPO_BOTH(paged_attention),
    .route = &route,
    .route_backward = &route_backward,
    .dispatch = GRPO_BOTH(dispatch),
    .combine = GRPO_BOTH(combine),
    .combine_backward = GRPO_BOTH(combine_backward),
    .logit_stats = &logit_stats,
    .token_logprobs = &token_logprobs,
    .token_logprobs_backward = &token_logprobs_backward,
    .narrow = &narrow,
};
#undef GRPO_BOTH

}  // namespace grpo::GRPO_ISA
