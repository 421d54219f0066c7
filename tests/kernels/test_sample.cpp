#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "grpo/config.h"
#include "grpo/error.h"
#include "kernels/cpu/sample.h"

namespace grpo {
namespace {

using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint32_t kDraws = 20000;  // enough for a sanitizer, which is not there for the statistics
#else
constexpr uint32_t kDraws = 200000;
#endif

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<uint32_t> words(const PhiloxBlock& block) { return {block.word, block.word + 4}; }

// The known answers of Random123's kat_vectors for philox4x32-10.
TEST(Philox, gives_the_published_answers) {
  EXPECT_EQ(words(philox({{0, 0, 0, 0}}, 0)), (std::vector<uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(words(philox({{~0u, ~0u, ~0u, ~0u}}, ~uint64_t{0})),
            (std::vector<uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(words(philox({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0x299f31d0a4093822)),
            (std::vector<uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// Turning one bit of one field turns one bit of the counter, and never the same one: the packing is injective.
TEST(Philox, every_bit_of_a_draws_identity_has_its_own_bit_of_the_counter) {
  std::set<std::pair<int, uint32_t>> taken;
  const auto expect_own_bit = [&](const DrawKey& key, uint32_t block) {
    const PhiloxBlock counter = draw_counter(key, block), origin = draw_counter({}, 0);
    int bits = 0;
    for (int w = 0; w < 4; ++w) {
      const uint32_t turned = counter.word[w] ^ origin.word[w];
      bits += std::popcount(turned);
      if (turned != 0) {
        EXPECT_TRUE(taken.insert({w, turned}).second);
      }
    }
    EXPECT_EQ(bits, 1);
  };
  for (int b = 0; b < 22; ++b) expect_own_bit({}, 1u << b);
  for (int b = 0; b < 26; ++b) expect_own_bit({.position = 1u << b}, 0);
  for (int b = 0; b < 16; ++b) expect_own_bit({.sample = 1u << b}, 0);
  for (int b = 0; b < 24; ++b) expect_own_bit({.index = 1u << b}, 0);
  for (int b = 0; b < 8; ++b) expect_own_bit({.purpose = static_cast<Purpose>(1u << b)}, 0);
  for (int b = 0; b < 32; ++b) expect_own_bit({.step = uint64_t{1} << b}, 0);
  EXPECT_EQ(taken.size(), 128u);
}

TEST(Philox, every_id_reads_a_word_of_its_own) {
  std::set<uint32_t> seen;
  for (uint32_t id = 0; id < 4096; ++id) seen.insert(draw_bits({.seed = 5}, id));
  EXPECT_EQ(seen.size(), 4096u);  // would be fewer if two ids shared a word; chance alone makes 0.002 pairs
}

TEST(Philox, refuses_a_key_wider_than_the_counter) {
  EXPECT_NO_THROW(check({.step = 0xffffffff, .index = 0xffffff, .sample = 0xffff, .position = 0x3ffffff}));
  EXPECT_THROW(check({.step = uint64_t{1} << 32}), Error);
  EXPECT_THROW(check({.index = 1u << 24}), Error);
  EXPECT_THROW(check({.sample = 1u << 16}), Error);
  EXPECT_THROW(check({.position = 1u << 26}), Error);
  EXPECT_THROW(check({.purpose = static_cast<Purpose>(256)}), Error);
}

TEST(Philox, uniform_never_reaches_0_or_1) {
  EXPECT_GT(uniform(0), 0.0);
  EXPECT_LT(uniform(~0u), 1.0);
  EXPECT_EQ(uniform(0), 1.0 - uniform(~0u));
}

double ulps(float got, double wanted) {
  const float nearest = static_cast<float>(wanted);
  const double ulp = static_cast<double>(std::nextafter(std::abs(nearest), kInfinity)) - std::abs(nearest);
  return std::abs(got - wanted) / ulp;
}

TEST(PortableMath, log_and_exp_are_within_two_ulp) {
  std::mt19937 random(1);
  double worst_log = 0, worst_exp = 0;
  for (int i = 0; i < 400000; ++i) {
    const uint32_t bits = 0x00800000u + random() % (0x7f800000u - 0x00800000u);
    const float x = std::bit_cast<float>(bits);
    worst_log = std::max(worst_log, ulps(portable_log(x), std::log(static_cast<double>(x))));
    const float near_one = 0.5f + static_cast<float>(random() >> 8) * 0x1p-24f;
    worst_log = std::max(worst_log, ulps(portable_log(near_one), std::log(static_cast<double>(near_one))));
    const float y = -static_cast<float>(random() * 0x1p-32 * 87);
    worst_exp = std::max(worst_exp, ulps(portable_exp(y), std::exp(static_cast<double>(y))));
  }
  EXPECT_LT(worst_log, 2);
  EXPECT_LT(worst_exp, 2);
  EXPECT_EQ(portable_log(1.0f), 0.0f);
  EXPECT_EQ(portable_exp(0.0f), 1.0f);
  EXPECT_EQ(portable_exp(-0.0f), 1.0f);
  EXPECT_EQ(portable_exp(-88.0f), 0.0f);
  EXPECT_EQ(portable_exp(-kInfinity), 0.0f);
}

TEST(Gumbel, follows_its_formula_with_full_resolution_at_both_ends) {
  std::mt19937 random(2);
  std::vector<uint32_t> bits = {0,          1,          2,          3,          0x55555555, 0x7fffffff,
                                0x80000000, 0xaaaaaaaa, 0xfffffffd, 0xfffffffe, 0xffffffff};
  for (int shift = 0; shift < 32; ++shift)
    for (int i = 0; i < 2000; ++i) {
      const auto small = static_cast<uint32_t>(random()) >> shift;
      bits.push_back(small);
      bits.push_back(~small);
    }
  for (const uint32_t each : bits) {
    const double rest = (~each + 0.5) * 0x1p-32;  // 1 − u, exactly
    const double exponential = each >> 31 ? -std::log1p(-rest) : -std::log(uniform(each));
    const double wanted = -std::log(exponential);
    EXPECT_NEAR(gumbel(each), wanted, 3e-7 * std::max(1.0, std::abs(wanted))) << each;
  }
  EXPECT_GT(gumbel(0xffffffff), gumbel(0xfffffffe) + 1);  // rare tokens live on these steps
  EXPECT_NEAR(gumbel(0xffffffff), 22.8739, 1e-3);
  EXPECT_NEAR(gumbel(0), -3.1299, 1e-3);
}

TEST(Gumbel, noise_is_that_of_the_draws_own_bits_whatever_the_vocabulary) {
  const DrawKey key{.seed = 9, .step = 3, .index = 2, .sample = 1, .position = 7};
  for (const int vocab : {1, 15, 64, 65, 517}) {
    std::vector<float> noise(vocab + 1, 42.0f);
    gumbel_noise(key, vocab, noise.data());
    for (int id = 0; id < vocab; ++id) EXPECT_EQ(noise[id], gumbel(draw_bits(key, id)));
    EXPECT_EQ(noise[vocab], 42.0f);
  }
}

// Recorded once; another compiler, instruction set or a contracted multiply-add must not move a single bit, or runs
// stop being reproducible across machines.
TEST(Gumbel, keeps_its_bits_across_machines) {
  std::vector<float> noise(4096);
  gumbel_noise(
      {.seed = 1234567890123, .purpose = Purpose::evaluation, .step = 17, .index = 5, .sample = 3, .position = 70000},
      4096, noise.data());
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (const float each : noise) hash = (hash ^ std::bit_cast<uint32_t>(each)) * 1099511628211u;
  for (int i = 0; i < 4096; ++i) hash = (hash ^ std::bit_cast<uint32_t>(portable_exp(-0.02f * i))) * 1099511628211u;
  EXPECT_EQ(hash, 10373781013649689479u);
}

std::vector<double> probabilities(const std::vector<float>& logits, const SamplingConfig& config) {
  std::vector<double> p(logits.size());
  const double top = *std::max_element(logits.begin(), logits.end());
  for (std::size_t i = 0; i < p.size(); ++i) p[i] = std::exp((logits[i] - top) / config.temperature);
  std::vector<int> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return p[a] > p[b]; });
  const auto drop_from = [&](std::size_t rank) {
    for (; rank < order.size(); ++rank) p[order[rank]] = 0;
  };
  if (config.top_k > 0) drop_from(config.top_k);
  if (config.top_p < 1) {
    const double total = std::accumulate(p.begin(), p.end(), 0.0);
    double mass = 0;
    std::size_t rank = 0;
    while (rank < order.size() && mass < config.top_p * total) mass += p[order[rank++]];
    drop_from(rank);
  }
  for (double& each : p)
    if (each < config.min_p) each = 0;
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& each : p) each /= total;
  return p;
}

float log_sum_exp(const std::vector<float>& logits, float scale) {
  double sum = 0;
  const double top = static_cast<double>(*std::max_element(logits.begin(), logits.end())) * scale;
  for (const float each : logits) sum += std::exp(static_cast<double>(each) * scale - top);
  return static_cast<float>(top + std::log(sum));
}

// How many standard deviations the chi-square statistic of `counts` lies above its mean (Wilson and Hilferty 1931).
double chi_square_z(const std::vector<int64_t>& counts, const std::vector<double>& p) {
  const auto draws = static_cast<double>(std::accumulate(counts.begin(), counts.end(), int64_t{0}));
  double statistic = 0, rare_count = 0, rare = 0;
  int cells = 0;
  const auto add = [&](double count, double expected) {
    statistic += (count - expected) * (count - expected) / expected;
    ++cells;
  };
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (p[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "drew an excluded token";
    } else if (draws * p[i] < 10) {
      rare += draws * p[i], rare_count += static_cast<double>(counts[i]);
    } else {
      add(static_cast<double>(counts[i]), draws * p[i]);
    }
  }
  if (rare > 5) add(rare_count, rare);
  const double freedom = cells - 1;
  if (freedom < 1) return 0;
  return (std::cbrt(statistic / freedom) - (1 - 2 / (9 * freedom))) / std::sqrt(2 / (9 * freedom));
}

struct Case {
  const char* name;
  SamplingConfig config;
};

class Sampling : public ::testing::TestWithParam<Case> {};

TEST_P(Sampling, follows_the_exact_distribution) {
  const SamplingConfig config = GetParam().config;
  std::vector<float> logits(23);
  for (int i = 0; i < 23; ++i) logits[i] = 2.0f * std::sin(1.7f * static_cast<float>(i * i));
  logits[4] = logits[9] = logits[20];  // ties, for truncation to break
  logits[11] = -kInfinity;
  const std::vector<double> p = probabilities(logits, config);
  std::vector<int32_t> expected_kept;
  for (int i = 0; i < 23; ++i)
    if (p[i] > 0) expected_kept.push_back(i);
  const float normaliser = log_sum_exp(logits, config.scale());

  std::vector<int64_t> counts(23);
  for (uint32_t i = 0; i < kDraws; ++i) {
    const DrawKey key{
        .seed = 3, .step = i / 50000, .index = i / 5000 % 10, .sample = i / 500 % 10, .position = i % 500};
    const Draw draw = sample_row(logits.data(), 23, normaliser, config, key);
    ++counts.at(draw.token);
    if (i % 1000 != 0) continue;
    EXPECT_NEAR(draw.logprob, std::log(p[draw.token]), 2e-6);
    if (config.truncates())
      EXPECT_EQ(draw.kept, expected_kept);
    else
      EXPECT_TRUE(draw.kept.empty());
  }
  EXPECT_LT(chi_square_z(counts, p), 4);
  EXPECT_GT(chi_square_z(counts, p), -4);  // nor suspiciously even
}

INSTANTIATE_TEST_SUITE_P(Sampling, Sampling,
                         ::testing::Values(Case{"cold", {.temperature = 0.5}}, Case{"plain", {}},
                                           Case{"hot", {.temperature = 1.7}}, Case{"top_k", {.top_k = 5}},
                                           Case{"top_k_of_1", {.top_k = 1}}, Case{"top_k_of_all", {.top_k = 100}},
                                           Case{"top_p", {.top_p = 0.8}}, Case{"top_p_tiny", {.top_p = 1e-6}},
                                           Case{"min_p", {.min_p = 0.2}},
                                           Case{"all", {.temperature = 1.3, .top_k = 15, .top_p = 0.9, .min_p = 0.15}},
                                           Case{"top_k_before_top_p", {.temperature = 0.7, .top_k = 6, .top_p = 0.7}},
                                           Case{"top_p_before_min_p", {.temperature = 2, .top_p = 0.95, .min_p = 0.3}}),
                         [](const auto& info) { return info.param.name; });

// Joint frequencies of the tokens of two keys, against the product of their probabilities.
TEST(Sampling, draws_of_different_keys_are_independent) {
  const std::vector<float> logits = {0.5f, -0.5f, 1.0f, 0.0f, -1.5f};
  const std::vector<double> p = probabilities(logits, {});
  std::vector<double> joint;
  for (const double a : p)
    for (const double b : p) joint.push_back(a * b);
  const std::vector<std::pair<const char*, std::function<void(DrawKey&)>>> neighbours = {
      {"seed", [](DrawKey& k) { ++k.seed; }},
      {"step", [](DrawKey& k) { ++k.step; }},
      {"index", [](DrawKey& k) { ++k.index; }},
      {"sample", [](DrawKey& k) { ++k.sample; }},
      {"position", [](DrawKey& k) { ++k.position; }},
      {"purpose", [](DrawKey& k) { k.purpose = Purpose::evaluation; }},
      {"position by 1024", [](DrawKey& k) { k.position += 1024; }}};
  for (const auto& [name, move] : neighbours) {
    std::vector<int64_t> counts(25);
    for (uint32_t i = 0; i < kDraws / 3; ++i) {
      DrawKey key{.seed = 8,
                  .step = 2 * (i / 20000),
                  .index = 2 * (i % 10),
                  .sample = 2 * (i / 10 % 20),
                  .position = 2 * (i / 200 % 100)};
      const int32_t first = sample_row(logits.data(), 5, 0, {}, key).token;
      move(key);
      ++counts[first * 5 + sample_row(logits.data(), 5, 0, {}, key).token];
    }
    EXPECT_LT(chi_square_z(counts, joint), 4) << name;
  }
}

TEST(Sampling, noise_of_neighbouring_ids_is_uncorrelated) {
  constexpr int kVocab = 1 << 16;
  std::vector<float> noise(kVocab);
  gumbel_noise({.seed = 4}, kVocab, noise.data());
  const double mean = std::accumulate(noise.begin(), noise.end(), 0.0) / kVocab;
  EXPECT_NEAR(mean, 0.577216, 0.02);
  for (const int lag : {1, 16, 64}) {
    double covariance = 0;
    for (int i = 0; i + lag < kVocab; ++i) covariance += (noise[i] - mean) * (noise[i + lag] - mean);
    EXPECT_NEAR(covariance / kVocab / 1.644934, 0, 4.0 / 256) << lag;
  }
}

TEST(Sampling, is_the_argmax_of_logits_plus_noise_and_skips_only_what_cannot_win) {
  std::mt19937 random(6);
  for (const int vocab : {1, 2, 63, 64, 65, 200, 1000})
    for (uint32_t trial = 0; trial < 60; ++trial) {
      const float spread = trial % 3 == 0 ? 100.0f : trial % 3 == 1 ? 30.0f : 3.0f;
      std::vector<float> logits(vocab), noise(vocab);
      for (float& each : logits) each = spread * (static_cast<float>(random() >> 8) * 0x1p-24f - 0.5f);
      if (vocab > 128 && trial % 2 == 0) std::fill_n(logits.begin() + 64, 64, -200.0f);  // a stretch to skip
      const DrawKey key{.seed = 1, .position = trial};
      const SamplingConfig config{.temperature = 0.8};
      gumbel_noise(key, vocab, noise.data());
      const float top = *std::max_element(logits.begin(), logits.end()) * config.scale();
      for (int i = 0; i < vocab; ++i) noise[i] += logits[i] * config.scale() - top;
      const auto wanted = std::max_element(noise.begin(), noise.end()) - noise.begin();
      EXPECT_EQ(sample_row(logits.data(), vocab, 0, config, key).token, wanted);
    }
}

TEST(Sampling, truncation_changes_the_token_only_when_it_excluded_it) {
  std::vector<float> logits(300);
  for (int i = 0; i < 300; ++i) logits[i] = 3.0f * std::cos(0.9f * static_cast<float>(i * i));
  int excluded = 0;
  for (uint32_t position = 0; position < 500; ++position) {
    const DrawKey key{.seed = 2, .position = position};
    const int32_t whole = sample_row(logits.data(), 300, 0, {}, key).token;
    const Draw draw = sample_row(logits.data(), 300, 0, {.top_p = 0.9}, key);
    ASSERT_TRUE(std::is_sorted(draw.kept.begin(), draw.kept.end()));
    EXPECT_TRUE(std::binary_search(draw.kept.begin(), draw.kept.end(), draw.token));
    if (std::binary_search(draw.kept.begin(), draw.kept.end(), whole))
      EXPECT_EQ(draw.token, whole);
    else
      ++excluded;
  }
  EXPECT_NEAR(excluded, 50, 30);
}

std::vector<int32_t> kept_of(const std::vector<float>& logits, const SamplingConfig& config) {
  return sample_row(logits.data(), static_cast<int64_t>(logits.size()), 0, config, {}).kept;
}

TEST(Sampling, truncation_breaks_ties_by_id_and_keeps_what_lies_on_the_limit) {
  using Ids = std::vector<int32_t>;
  const std::vector<float> even(4, 1.5f), steps = {0.0f, 2.0f, 1.0f, 2.0f, 1.0f, 2.0f};
  EXPECT_EQ(kept_of(even, {.top_k = 3}), (Ids{0, 1, 2}));
  EXPECT_EQ(kept_of(even, {.top_p = 0.5}), (Ids{0, 1}));  // exactly half: no third one
  EXPECT_EQ(kept_of(even, {.top_p = 0.51}), (Ids{0, 1, 2}));
  EXPECT_EQ(kept_of(even, {.min_p = 1}), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(kept_of(steps, {.top_k = 2}), (Ids{1, 3}));
  EXPECT_EQ(kept_of(steps, {.top_k = 4}), (Ids{1, 2, 3, 5}));
  EXPECT_EQ(kept_of(steps, {.top_p = 1e-9}), (Ids{1}));
  EXPECT_EQ(kept_of(steps, {.min_p = 0.999}), (Ids{1, 3, 5}));
  EXPECT_EQ(kept_of(steps, {.top_k = 4, .top_p = 0.7}), (Ids{1, 3, 5}));  // 0.89 of the mass of the four
  EXPECT_EQ(kept_of(steps, {.temperature = 0.5, .min_p = 0.2}),
            (Ids{1, 3, 5}));  // e^-2 < 0.2 < e^-1: temperature is first
  EXPECT_EQ(kept_of(steps, {.min_p = 0.2}), (Ids{1, 2, 3, 4, 5}));
}

TEST(Sampling, the_log_probability_can_be_repeated_bit_by_bit) {
  std::vector<float> logits(77);
  for (int i = 0; i < 77; ++i) logits[i] = 2.0f * std::sin(static_cast<float>(i));
  const SamplingConfig plain{.temperature = 0.9}, truncated{.temperature = 0.9, .top_k = 20};
  const float normaliser = log_sum_exp(logits, plain.scale());
  for (uint32_t position = 0; position < 100; ++position) {
    const Draw draw = sample_row(logits.data(), 77, normaliser, plain, {.position = position});
    const float scaled = logits[draw.token] * plain.scale();
    EXPECT_EQ(draw.logprob, scaled - normaliser);
    const Draw cut = sample_row(logits.data(), 77, normaliser, truncated, {.position = position});
    ASSERT_EQ(cut.kept.size(), 20u);
    const float cut_scaled = logits[cut.token] * truncated.scale();
    EXPECT_EQ(cut.logprob, cut_scaled - kept_log_sum_exp(logits.data(), truncated.scale(), cut.kept));
  }
}

TEST(Sampling, the_same_key_and_row_give_the_same_draw_and_nothing_else_matters) {
  std::vector<float> logits(130);
  for (int i = 0; i < 130; ++i) logits[i] = std::sin(static_cast<float>(i));
  std::vector<float> longer = logits;  // extra ids that cannot be drawn: the others keep their noise
  longer.resize(512, -kInfinity);
  for (uint32_t i = 0; i < 200; ++i) {
    const DrawKey key{.seed = 7, .index = i, .position = 3 * i};
    const int32_t token = sample_row(logits.data(), 130, 0, {}, key).token;
    EXPECT_EQ(sample_row(logits.data(), 130, 0, {}, key).token, token);
    EXPECT_EQ(sample_row(longer.data(), 512, 0, {}, key).token, token);
  }
}

TEST(Sampling, temperature_0_takes_the_first_of_the_most_likely) {
  const std::vector<float> logits = {-1.0f, 3.0f, 2.0f, 3.0f};
  const float normaliser = log_sum_exp(logits, 1);
  const Draw draw = sample_row(logits.data(), 4, normaliser, {.temperature = 0, .top_k = 2}, {});
  EXPECT_EQ(draw.token, 1);
  EXPECT_EQ(draw.logprob, 3.0f - normaliser);
  EXPECT_TRUE(draw.kept.empty());
}

TEST(Sampling, large_logits_keep_their_proportions) {
  std::vector<int64_t> counts(4);
  const std::vector<float> logits = {1e4f, -1e4f, 1e4f, -kInfinity};
  for (uint32_t i = 0; i < 20000; ++i)
    ++counts[sample_row(logits.data(), 4, 0, {.temperature = 0.5}, {.position = i}).token];
  EXPECT_LT(chi_square_z(counts, {0.5, 0, 0.5, 0}), 4);
  const std::vector<float> single = {-kInfinity, -3e38f, -kInfinity};
  EXPECT_EQ(sample_row(single.data(), 3, 0, {}, {}).token, 1);
  EXPECT_EQ(sample_row(single.data(), 3, 0, {.top_p = 0.5}, {}).kept, (std::vector<int32_t>{1}));
}

std::string error_of(const std::vector<float>& logits, const SamplingConfig& config, const DrawKey& key = {}) {
  try {
    sample_row(logits.data(), static_cast<int64_t>(logits.size()), 0, config, key);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Sampling, a_row_that_is_not_a_distribution_is_an_error_that_names_it) {
  for (const int vocab : {1, 16, 33, 100})
    for (int at = 0; at < vocab; ++at)
      for (const float bad : {kNan, -kNan, kInfinity}) {
        std::vector<float> logits(vocab, 0.5f);
        logits[at] = bad;
        const std::string message = error_of(logits, {}, {.step = 12, .index = 34, .sample = 5, .position = 67});
        ASSERT_THAT(message, HasSubstr(std::isnan(bad) ? "got NaN" : "got +inf"));
        EXPECT_THAT(message, HasSubstr("step 12, task 34, sample 5, position 67"));
        EXPECT_THAT(message, HasSubstr("diverged"));
      }
  EXPECT_THAT(error_of({-kInfinity, -kInfinity}, {}), HasSubstr("-inf for every token"));
  EXPECT_THAT(error_of({}, {}), HasSubstr("1 to 2^24"));
  EXPECT_THAT(error_of({kNan}, {.temperature = 0}), HasSubstr("NaN"));
}

TEST(SamplingConfig, refuses_what_makes_no_sense) {
  for (const SamplingConfig& bad :
       {SamplingConfig{.temperature = -1}, SamplingConfig{.temperature = 1e-7},
        SamplingConfig{.temperature = kInfinity}, SamplingConfig{.temperature = kNan}, SamplingConfig{.top_k = -1},
        SamplingConfig{.top_p = 0}, SamplingConfig{.top_p = 1.5}, SamplingConfig{.top_p = kNan},
        SamplingConfig{.min_p = -0.1}, SamplingConfig{.min_p = 2}}) {
    EXPECT_THROW(validate(bad, "sampling"), Error);
    EXPECT_NE(error_of({0.0f}, bad), "");
  }
  EXPECT_NO_THROW(validate(SamplingConfig{.temperature = 0, .top_k = 0, .top_p = 1, .min_p = 1}, "sampling"));
  EXPECT_THAT(error_of({0.0f}, {.top_p = 1.5}), HasSubstr("sampling.top_p: expected 0 < x <= 1, got 1.5"));
}

}  // namespace
}  // namespace grpo
