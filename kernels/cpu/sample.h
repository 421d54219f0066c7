// Draws one token from one row of logits.
//
// The token is argmax over v of logit_v / T + g_v with g_v = −log(−log(u_v)), u_v uniform: exactly the softmax
// distribution (Gumbel 1954; Maddison, Tarlow, Minka: A* Sampling, 2014, section 2). u_v comes from a counter
// (philox.h), so a draw depends on its key and its row of logits and on nothing else; batch, thread and machine leave
// no trace. The logarithm and the exponential are our own polynomials: libm's last bit differs between versions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/philox.h"
#include "grpo/sampling.h"

namespace grpo {

struct Draw {
  int32_t token;
  float logprob;              ///< of `token`, over the whole vocabulary, or over `kept` when the config truncates
  std::vector<int32_t> kept;  ///< ascending ids that truncation kept; empty when the config does not truncate
};

/// Draws from `logits` [vocab], vocab ≤ 2^24.
///
/// A token is ruled out (end-of-sequence in a benchmark, say) by a logit of −inf, set by the caller before it computes
/// `log_sum_exp`, the log-sum-exp of scale()·logits over the row. Untruncated, logprob = logits[token]·scale() −
/// log_sum_exp in this order of fp32 operations, so whoever repeats it with the same numbers gets the same bits.
/// Truncated, log_sum_exp gives way to kept_log_sum_exp.
///
/// Throws Error on a NaN or +inf among the logits (the policy has diverged), when every logit is −inf, and on a config
/// or key out of range.
Draw sample_row(const float* logits, int64_t vocab, float log_sum_exp, const SamplingConfig& config,
                const DrawKey& key);

/// Log-sum-exp of scale·logits[id] over the ids in `kept`, which is not empty: the normaliser of a truncated draw, for
/// the trainer to repeat bit by bit. fp32 exponentials below the maximum, added in double in the order of `kept`. NaN
/// where one of them is NaN or the largest is not finite.
float kept_log_sum_exp(const float* logits, float scale, std::span<const int32_t> kept);

/// Standard Gumbel noise of 32 random bits: −log(−log u), u = uniform(bits). Rises with `bits`, from −3.2 to 22.9, and
/// keeps the full resolution of 32 bits at both ends (fp32 could not even hold a u near 1).
float gumbel(uint32_t bits);

/// The noise of ids 0 … vocab − 1, gumbel(draw_bits(key, id)), into `noise` [vocab].
void gumbel_noise(const DrawKey& key, int64_t vocab, float* noise);

/// log x for positive, normal, finite x, and e^x for x ≤ 0 (0 below −87), both within 2 ulp and alike on every machine.
float portable_log(float x);
float portable_exp(float x);

}  // namespace grpo
