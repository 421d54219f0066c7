// Rewards that rules read from text and length alone, beside those of reward.h, and what they are made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "grpo/config.h"

namespace grpo {

/// The knobs of these rewards, `text` in RewardsConfig. Built in, by name:
///   repetition    -repetition_most · the share of the completion's token n-grams that were there before
///   length        the cosine reward: short when right, as `accuracy` has it, long when wrong; undefined where that is
///   reflection    how often the reasoning re-checks itself, at most reflection_most
///   instructions  1 when the answer follows every instruction of the task's answer (instructions.h), else 0
///   exact         1 when the answer is the task's answer, up to case, white space, Unicode form and wrapping, else 0
///   regex         1 when the whole answer matches the task's answer, a regular expression, else 0
///   choice        1 when the answer names the task's letter (A to J) and no other one, else 0
struct TextRewardsConfig {
  int repetition_ngram = 20;
  double repetition_most = 1.0;
  std::int64_t length_max = 4096;
  double length_right_short = 1.0, length_right_long = 0.5;
  double length_wrong_short = -1.0, length_wrong_long = -0.5;
  double length_exceeded = -1.0;
  int reflection_most = 10;

  template <class V>
  void visit(V& v) {
    v("repetition_ngram", repetition_ngram, "repetition: tokens of an n-gram", at_least(1));
    v("repetition_most", repetition_most, "repetition: penalty when all n-grams are repeated", at_least(0));
    v("length_max", length_max, "length: tokens of the longest completion", at_least(1));
    v("length_right_short", length_right_short, "length: reward of a right answer in no tokens", any_finite());
    v("length_right_long", length_right_long, "length: reward of a right answer just below length_max", any_finite());
    v("length_wrong_short", length_wrong_short, "length: reward of a wrong answer in no tokens", any_finite());
    v("length_wrong_long", length_wrong_long, "length: reward of a wrong answer just below length_max", any_finite());
    v("length_exceeded", length_exceeded, "length: reward from length_max on, and when the limit cut the answer",
      any_finite());
    v("reflection_most", reflection_most, "reflection: count from which on more is worth no more", at_least(1));
  }
};

/// The share of the n-grams of `tokens` that stood further in front already, in [0, 1]; 0 for fewer than n tokens. The
/// n-gram repetition penalty of Yeo et al. (arXiv:2502.03373, appendix C.2), as a share of the whole. Linear.
double repeated_share(std::span<const std::int32_t> tokens, int n);

/// The cosine length reward of Yeo et al. (arXiv:2502.03373, equation 1): from the short value at length 0 to the long
/// one at length_max, for right and for wrong answers, and length_exceeded from there on.
double cosine_length_reward(bool right, std::int64_t length, const TextRewardsConfig& config);

/// `text` as `exact` compares it: NFKC, small letters, white space as single spaces, without `\boxed{}`, `$…$` and a
/// full stop around it. "" for text without anything.
std::string normalized_text(std::string_view text);

/// The letter from A to J that `text` chooses, in capitals, or '\0'. It may stand alone ("c", "(C)", "**C.**",
/// "\boxed{\text{C}}"), before its own text ("C. Paris", "C) Paris") or behind such words as "the answer is", "option",
/// "답은"; each letter that stands as an option must be the same: "B or C", "not B but C" choose none. The article "A"
/// and the pronoun "I" are no options in front of a word in small letters. Linear.
char chosen_letter(std::string_view text);

}  // namespace grpo
