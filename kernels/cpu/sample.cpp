// See sample.h. The loops are plain and 16 lanes wide, for the compiler to vectorise: -O3 -ffp-contract=off (a
// contracted multiply-add would change bits from one instruction set to the next; test_sample.cpp knows the bits by
// heart).
#include "kernels/cpu/sample.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "grpo/config.h"
#include "kernels/gumbel.h"

// One binary, the best instruction set of the machine; sanitizers cannot run before the resolvers that this needs.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__AVX512F__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define GRPO_CLONES __attribute__((target_clones("default", "avx2", "arch=skylake-avx512")))
#else
#define GRPO_CLONES
#endif

namespace grpo {
namespace {

constexpr int kLanes = 16;
constexpr int kTile = 4 * kLanes;  // ids that 16 Philox blocks serve
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// e^x for x ≤ 0: 2^n·e^r with |r| ≤ ln 2 / 2; minimax fit of (e^r − 1 − r) / r², error 2^-28.3.
inline float exp_negative(float x) {
  const float bounded = x < -87.0f ? -87.0f : x;
  const float shifted = bounded * 0x1.715476p+0f + 0x1.8p23f;  // rounds to an integer, which lands in the low bits
  const float n = shifted - 0x1.8p23f;
  const float r = (bounded - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
  float q = 0.0013814599f;
  q = q * r + 0.0083687175f;
  q = q * r + 0.04166839f;
  q = q * r + 0.16666521f;
  q = q * r + 0.49999994f;
  const float e = 1.0f + (r + r * r * q);
  const float scaled = std::bit_cast<float>(std::bit_cast<int32_t>(e) + static_cast<int32_t>(n) * (1 << 23));
  return x < -87.0f ? 0.0f : scaled;
}

// Noise of the 64 ids from `tile`·64 on.
inline void tile_noise(const DrawKey& key, uint32_t tile, float* __restrict noise) {
  uint32_t bits[kTile];
  for (int lane = 0; lane < kLanes; ++lane) {
    const PhiloxBlock block = philox(draw_counter(key, tile * kLanes + lane), key.seed);
    for (int row = 0; row < 4; ++row) bits[row * kLanes + lane] = block.word[row];
  }
  for (int i = 0; i < kTile; ++i) noise[i] = gumbel_of(bits[i]);
}

// Maps fp32 to integers of the same order, which the compiler will reduce in vectors. NaNs fall outside ±inf.
inline int32_t ordered(float x) {
  const int32_t bits = std::bit_cast<int32_t>(x);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}
inline float from_ordered(int32_t bits) { return std::bit_cast<float>(bits ^ ((bits >> 31) & 0x7fffffff)); }

// The largest logit, or a NaN where there is one.
GRPO_CLONES float largest(const float* logits, int64_t vocab) {
  int32_t high = std::numeric_limits<int32_t>::min(), low = std::numeric_limits<int32_t>::max();
  for (int64_t i = 0; i < vocab; ++i) {
    const int32_t x = ordered(logits[i]);
    high = std::max(high, x);
    low = std::min(low, x);
  }
  return from_ordered(low < ordered(-kInfinity) ? low : high);
}

inline float largest_of_tile(const float* value) {
  int32_t high = std::numeric_limits<int32_t>::min();
  for (int i = 0; i < kTile; ++i) high = std::max(high, ordered(value[i]));
  return from_ordered(high);
}

// argmax of (logits·scale − peak) + noise, the lowest id where several attain it. `peak`, the largest logits·scale, is
// taken off first so that the noise keeps its bits beside large logits.
GRPO_CLONES int32_t argmax_with_noise(const float* logits, int64_t vocab, float scale, float peak, const DrawKey& key) {
  const float largest_noise = gumbel_of(0xffffffffu);
  float best = -kInfinity;
  int64_t best_id = 0;
  for (int64_t start = 0; start < vocab; start += kTile) {
    float value[kTile], noise[kTile];
    const int count = static_cast<int>(std::min<int64_t>(kTile, vocab - start));
    if (count < kTile) std::fill_n(value, kTile, -kInfinity);
    for (int i = 0; i < count; ++i) value[i] = logits[start + i] * scale - peak;
    if (largest_of_tile(value) + largest_noise <= best) continue;  // no noise could win: rounding is monotonic
    tile_noise(key, static_cast<uint32_t>(start / kTile), noise);
    for (int i = 0; i < kTile; ++i) value[i] += noise[i];
    if (const float top = largest_of_tile(value); top > best) {
      best = top;
      best_id = start + (std::find(value, value + kTile, top) - value);
    }
  }
  return static_cast<int32_t>(best_id);
}

// A candidate as one integer that sorts by weight and, among equals, puts the lowest id on top.
inline uint64_t candidate(float weight, int64_t id) {
  return uint64_t{std::bit_cast<uint32_t>(weight)} << 32 | static_cast<uint32_t>(~id);
}
inline float weight_of(uint64_t candidate) { return std::bit_cast<float>(static_cast<uint32_t>(candidate >> 32)); }
inline int32_t id_of(uint64_t candidate) { return static_cast<int32_t>(~static_cast<uint32_t>(candidate)); }

// Ascending ids that survive top-k, top-p and min-p; a token's weight is e^(scaled logit − top).
std::vector<int32_t> keep(const float* logits, int64_t vocab, float scale, float top, const SamplingConfig& config) {
  std::vector<uint64_t> likely;
  likely.reserve(vocab);
  for (int64_t id = 0; id < vocab; ++id)
    if (const float weight = exp_negative(logits[id] * scale - top); weight > 0)
      likely.push_back(candidate(weight, id));
  if (config.top_k > 0 && config.top_k < std::ssize(likely)) {
    std::nth_element(likely.begin(), likely.begin() + config.top_k, likely.end(), std::greater<>());
    likely.resize(config.top_k);
  }
  if (config.top_p < 1) {
    // The mass is added likeliest first, whatever order the lines above left: sums of another order would round
    // otherwise.
    std::sort(likely.begin(), likely.end(), std::greater<>());
    double total = 0, mass = 0;
    for (const uint64_t each : likely) total += weight_of(each);
    std::size_t count = 0;
    while (count < likely.size() && mass < config.top_p * total) mass += weight_of(likely[count++]);
    likely.resize(count);
  }
  if (config.min_p > 0)  // the largest weight is 1
    std::erase_if(likely, [&](uint64_t each) { return weight_of(each) < static_cast<float>(config.min_p); });
  std::vector<int32_t> ids(likely.size());
  std::transform(likely.begin(), likely.end(), ids.begin(), id_of);
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace

Draw sample_row(const float* logits, int64_t vocab, float log_sum_exp, const SamplingConfig& config,
                const DrawKey& key) {
  validate(config, "sampling");
  check(key);
  if (vocab < 1 || vocab > int64_t{4} * kPhiloxBlocks) throw Error("sample", "expected 1 to 2^24 logits, got ", vocab);
  const float peak = largest(logits, vocab), scale = config.scale(), top = peak * scale;
  if (!std::isfinite(top))
    throw Error(
        "sample", "expected finite logits (-inf rules a token out), got ",
        std::isnan(peak) ? "NaN"
        : top > 0        ? "+inf"
                         : "-inf for every token",
        " at step ", key.step, ", task ", key.index, ", sample ", key.sample, ", position ", key.position,
        ": the policy has diverged (resume from an earlier checkpoint with a lower learning rate), or every token "
        "was ruled out");

  if (config.temperature == 0) {
    const auto token = static_cast<int32_t>(std::find(logits, logits + vocab, peak) - logits);
    return {token, logits[token] * scale - log_sum_exp, {}};
  }
  if (!config.truncates()) {
    const int32_t token = argmax_with_noise(logits, vocab, scale, top, key);
    return {token, logits[token] * scale - log_sum_exp, {}};
  }
  std::vector<int32_t> kept = keep(logits, vocab, scale, top, config);
  std::vector<float> masked(vocab, -kInfinity);
  for (const int32_t id : kept) masked[id] = logits[id];
  const int32_t token = argmax_with_noise(masked.data(), vocab, scale, top, key);
  const float logprob = logits[token] * scale - kept_log_sum_exp(logits, scale, kept);
  return {token, logprob, std::move(kept)};
}

float kept_log_sum_exp(const float* logits, float scale, std::span<const int32_t> kept) {
  float top = -kInfinity;
  for (const int32_t id : kept) {
    if (std::isnan(logits[id])) return logits[id];
    top = std::max(top, logits[id] * scale);
  }
  if (!std::isfinite(top)) return std::numeric_limits<float>::quiet_NaN();  // ∞ − ∞
  double sum = 0;
  for (const int32_t id : kept) sum += exp_negative(logits[id] * scale - top);
  return top + log_normal(static_cast<float>(sum));
}

GRPO_CLONES void gumbel_noise(const DrawKey& key, int64_t vocab, float* noise) {
  for (int64_t start = 0; start < vocab; start += kTile) {
    float tile[kTile];
    tile_noise(key, static_cast<uint32_t>(start / kTile), tile);
    std::copy_n(tile, std::min<int64_t>(kTile, vocab - start), noise + start);
  }
}

float gumbel(uint32_t bits) { return gumbel_of(bits); }
float portable_log(float x) { return log_normal(x); }
float portable_exp(float x) { return exp_negative(x); }

}  // namespace grpo
