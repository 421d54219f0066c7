// The CUDA kernels, compiled for the CPU (kernels/cuda/emulator.h), as a table that use_for_cpu takes.
#pragma once

#include "kernels/cpu/cpu.h"
#include "kernels/cuda/kernels.h"

namespace grpo {

// Products are the CPU's: a card's come from a library.
inline const kernel::Table& emulated() {
  static const kernel::Table table = [] {
    kernel::Table t{};
    t.name = "emulated";
    t.page_block = 64, t.query_columns = 16;
    t.gemm = cpu::table().gemm, t.grouped_gemm = cpu::table().grouped_gemm;
    t.grouped_gemm_sum = cpu::table().grouped_gemm_sum;
    t.embedding[1] = &cuda::embedding, t.rms_norm[1] = &cuda::rms_norm, t.swiglu[1] = &cuda::swiglu;
    t.rope[1] = &cuda::rope, t.attends = &cuda::attends, t.attention[1] = &cuda::attention;
    t.paged_attention[1] = &cuda::paged_attention;
    t.route = &cuda::route, t.dispatch[1] = &cuda::dispatch, t.combine[1] = &cuda::combine;
    t.route_backward = &cuda::route_backward, t.combine_backward[1] = &cuda::combine_backward;
    t.add_rms_norm[1] = &cuda::add_rms_norm;
    t.sample = &cuda::sample, t.next_pass = &cuda::next_pass, t.take_drawn = &cuda::take_drawn;
    t.logit_stats = &cuda::logit_stats, t.token_logprobs = &cuda::token_logprobs;
    t.token_logprobs_backward = &cuda::token_logprobs_backward, t.narrow = &cuda::narrow;
    return t;
  }();
  return table;
}

}  // namespace grpo
