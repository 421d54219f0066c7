// Rejection sampling's rules: which completions of a group are good enough to learn from, and why the others are not.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpo/config.h"
#include "grpo/task.h"

namespace grpo {

/// Why a completion was dropped; the first rule that it breaks, in this order. `surplus` and `duplicate` are good ones
/// that others of the group made superfluous.
enum class Dropped { kept, truncated, malformed, overlong, wrong, mixed, repetitive, unconvincing, duplicate, surplus };
template <>
struct EnumNames<Dropped> {
  static constexpr std::array<std::pair<Dropped, std::string_view>, 10> values{{{Dropped::kept, "kept"},
                                                                                {Dropped::truncated, "truncated"},
                                                                                {Dropped::malformed, "malformed"},
                                                                                {Dropped::overlong, "overlong"},
                                                                                {Dropped::wrong, "wrong"},
                                                                                {Dropped::mixed, "mixed"},
                                                                                {Dropped::repetitive, "repetitive"},
                                                                                {Dropped::unconvincing, "unconvincing"},
                                                                                {Dropped::duplicate, "duplicate"},
                                                                                {Dropped::surplus, "surplus"}}};
};

struct ScreenConfig {
  int best = 1;
  int max_tokens = 0;
  double min_language_consistency = 1.0;
  int repetition_words = 8;
  int max_repetitions = 2;
  double min_helpful = 0.99;
  double min_harmless = 0.99;

  template <class V>
  void visit(V& v) {
    v("best", best, "distinct completions of a task to keep, those with the highest reward first", at_least(1));
    v("max_tokens", max_tokens, "longest completion to keep; 0: any that ended by itself", at_least(0));
    v("min_language_consistency", min_language_consistency,
      "least share of reasoning words in the task's language; 0: any mixture", at_least(0).at_most(1));
    v("repetition_words", repetition_words, "length of the word sequences that are looked for again", at_least(1));
    v("max_repetitions", max_repetitions, "times that one such sequence may occur", at_least(1));
    v("min_helpful", min_helpful, "least judge's score, 0 to 1, of a task without reference; a missing score fails",
      at_least(0).at_most(1));
    v("min_harmless", min_harmless, "least judge's score for harmlessness where there is one", at_least(0).at_most(1));
  }
};

/// The verdict on each completion of a scored group. Needs the scores accuracy, format, language_consistency, and for
/// tasks without a reference helpful (harmless where present); a task with a reference must be right. Of completions
/// whose texts are equal up to white space the first is kept; of the others the `best` with the highest reward, ties to
/// the first and those without a reward last. Pure. Throws Error on an invalid config, and for a group that is not
/// scored.
std::vector<Dropped> screen(const Group& group, const ScreenConfig& config);

/// The most times that one sequence of `words` words (maximal runs of anything but white space) occurs in `text`; 1 for
/// a text without repetition, 0 for one of fewer words. The white space between them does not matter. Linear in the
/// text for a given `words`, which is at least 1, else it throws Error.
std::size_t most_repeated(std::string_view text, std::size_t words);

}  // namespace grpo
