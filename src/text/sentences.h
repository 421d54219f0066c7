// Sentences and words of English text as NLTK 3.9 takes them apart, which the instruction-following benchmark counts
// by: sent_tokenize with the English Punkt model (Kiss and Strunk 2006), and word_tokenize after it.
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

namespace grpo {

/// The first code point of each sentence and one past its last. Linear.
std::vector<std::pair<std::size_t, std::size_t>> split_sentences(std::u32string_view text);

/// How many of the words that word_tokenize finds are in capitals: "DON'T" is two, "U.S." one. Linear.
std::size_t count_capital_words(std::u32string_view text);

}  // namespace grpo
