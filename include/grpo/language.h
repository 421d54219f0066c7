// Which languages a text is written in, read word by word.
//
// Words are those of Unicode Standard Annex #29, parted where the script changes, and also at full stops, colons,
// underscores and digits, so that no text can hide as one word. Han characters and kana count one each. Neutral are
// digits, punctuation, mathematics (`$…$`, `\(…\)`, `\[…\]`, LaTeX commands and the names of environments), code in
// backquotes, URLs, the four tags of a reasoning, single Latin or Greek letters (variables, "e.g."), and broken UTF-8.
//
// A word in a script that only one language is written in tells its language at once. Languages that share a script are
// told apart by the letters, over as many words as it takes: of all ways to share out the words of a text between its
// target language and others, the likeliest is taken, where every run of words in another language costs a fixed price.
// So a foreign sentence counts as foreign, while a name, an abbreviation or a borrowed word is too short to earn the
// price: a run needs three to five telling words, more where the languages are close relatives or the words have
// capitals. As the price is paid by run, wherever lines and sentences end, chopping a foreign text into small pieces
// hides nothing; a few foreign words at a time between as many of the target's do stay unseen. The order of sentences
// does not matter, and counts of texts add up, as long as each sentence tells its language by itself. Chinese in Latin
// letters (pinyin, with tone marks or without) is one more of the languages that share a script; it is no target.
//
// A word in another script tells its language, but may be a name, and then counts for neither: a run of up to four Han
// characters or kana, or of up to two words (of at most 20 letters) of other scripts, that is alone in its sentence or
// line among eight words or more of the target's script (16 characters where that is Han or kana), and has no Chinese
// particle, pronoun, conjunction or the like in it (的 是 所 因 …).
// One is forgiven a text, and one more for every forty words in the target's script, the longest first. So a name in a
// sentence costs nothing, "we have 所以 the answer 是 5" does, and who mixes at every sentence gains next to nothing.
//
// All readers take linear time, are thread-safe, and never throw because of the text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "grpo/task.h"

namespace grpo {

struct LanguageCount {
  std::size_t target = 0, other = 0;  ///< words
};

/// Counts the words of `text` that are in `language` and those that are not. `language` is an ISO 639-1 code,
/// optionally with a region ("zh-CN"). Throws Error for a code it does not know.
///
/// Told apart are, by letters, in Latin script: af ca cs cy da de en es et eu fi fr ga hr hu id is it lt lv nl no pl pt
/// ro sk sl sq sv sw tl tr vi; in Cyrillic: be bg kk mk mn ru sr uk; in Arabic: ar fa ur; in Devanagari: hi mr; and zh
/// from ja by kana. `ms` counts as `id`; for the other known codes any word in their script counts as target.
LanguageCount count_language(std::string_view text, std::string_view language);

/// Whether count_language knows this code; and all that it knows, "en af ca …".
bool knows_language(std::string_view language);
const std::string& known_languages();

/// target / (target + other) of count_language, the language consistency reward of DeepSeek-R1 (arXiv:2501.12948,
/// section 2.3.2); undefined for text without words and for an empty `language`.
Score language_consistency(std::string_view reasoning, std::string_view language);

/// Whether words of two or more scripts appear (Han and kana are one: Japanese), names aside, or, of languages that share
/// a script, more than a long clause in another one than most of the text.
bool mixes_languages(std::string_view reasoning);

/// The ISO 639-1 code of the language that most of `text` is in; "" when it has no words, or too few to be sure.
std::string identify_language(std::string_view text);

/// Whether identify_language can answer with this code (without a region). It cannot for the known codes that are not
/// told apart by letters, such as `ne`, whose texts it takes for a relative's.
bool can_identify(std::string_view language);

}  // namespace grpo
