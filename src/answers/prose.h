// How a text begins with its answer, and the words and marks by which sentences are read.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>

#include "text/ascii.h"

namespace grpo {

inline constexpr std::size_t kMaxAside = 256;  // bytes of a bracket that may be an aside, or of a clause that is read

/// The first byte of a character of Chinese, Japanese or Korean.
constexpr bool is_eastern(char c) {
  return static_cast<unsigned char>(c) >= 0xE3 && static_cast<unsigned char>(c) <= 0xED;
}

/// The size of the longest of `words` that `text` starts with; 0 for none.
template <class Words>
std::size_t starts_with_any(std::string_view text, const Words& words) {
  std::size_t size = 0;
  for (const std::string_view each : words)
    if (!text.empty() && text[0] == each[0] && text.starts_with(each)) size = std::max(size, each.size());
  return size;
}
template <class Words>
bool contains_any(std::string_view text, const Words& words) {
  const bool plain = is_ascii(text);
  return std::any_of(std::begin(words), std::end(words), [&](std::string_view each) {
    return (!plain || is_ascii(each[0])) && text.find(each) != text.npos;
  });
}

/// Whether a letter of a Latin alphabet stands at `at`, of two bytes where it has a mark.
bool is_latin(std::string_view text, std::size_t at);
/// The end of the letters at `at`, apostrophes between them included.
std::size_t latin_word_end(std::string_view text, std::size_t at);
/// The end of the number at `at`, its separators included.
std::size_t number_end(std::string_view text, std::size_t at);

/// Where the marks are that come next, so that no text is searched twice; before that, 0.
struct NextMarks {
  std::array<std::size_t, 4> close{};  // that end formulas
  std::size_t line = 0;                // the end of the line
};
/// Where a formula ends that opens at `at`; `at` itself where none does. `next` is of the same text, whose formulas are
/// looked for in order.
std::size_t formula_end(std::string_view text, std::size_t at, NextMarks& next);

struct Beginning {
  enum Kind {
    none,     ///< with no answer
    several,  ///< with more than one answer, or one that holds in some cases
    answer
  } kind = none;
  std::size_t start = 0, end = 0;                                ///< of the answer
  enum { nothing, reason, consequence, condition, sentence, confirmed } cut = nothing;  ///< what comes behind it
  bool negative = false;                                         ///< "minus 17"
};
Beginning beginning_of(std::string_view text);
std::string answer_at(std::string_view text, const Beginning& found);

/// Whether a text says that what stands in front of it is the answer: "is the answer", "is our final answer", "is the
/// smallest such number".
bool confirms(std::string_view text);

}  // namespace grpo
