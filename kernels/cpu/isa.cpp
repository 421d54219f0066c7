// Compiled once for each instruction set, with GRPO_ISA naming its namespace (see CMakeLists.txt).
#include "kernels/cpu/gemm.h"
// (the order matters: the others use its scratch buffers)
#include "kernels/cpu/attention.h"
#include "kernels/cpu/rows.h"

namespace grpo::GRPO_ISA {

static void narrow_all(const float* from, void* to, int64_t n) {
  each_vector(n,
              [&](int64_t j, int lanes) { store_some(static_cast<bf16*>(to) + j, load_some(from + j, lanes), lanes); });
}

#define GRPO_BOTH(f) \
  { &f<float>, &f<bf16> }
extern const cpu::Kernels kernels;
const cpu::Kernels kernels = {
    .name = GRPO_ISA_NAME,
    .gemm = &gemm,
    .rms_norm = GRPO_BOTH(rms_norm),
    .rms_norm_backward = GRPO_BOTH(rms_norm_backward),
    .swiglu = GRPO_BOTH(swiglu),
    .swiglu_backward = GRPO_BOTH(swiglu_backward),
    .rope = GRPO_BOTH(rope),
    .rope_backward = GRPO_BOTH(rope_backward),
    .attention = GRPO_BOTH(attention),
    .attention_backward = GRPO_BOTH(attention_backward),
    .write_pages = GRPO_BOTH(write_pages),
    .paged_attention = GRPO_BOTH(paged_attention),
    .combine = GRPO_BOTH(combine),
    .combine_backward = GRPO_BOTH(combine_backward),
    .router_scores = &router_scores,
    .logit_stats = &logit_stats,
    .logit_backward = &logit_backward,
    .narrow = &narrow_all,
};
#undef GRPO_BOTH

}  // namespace grpo::GRPO_ISA
