// Which languages the words of a text are in.
#include "grpo/language.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "grpo/error.h"
#include "text/language/language_model.h"
#include "text/language/pinyin.h"
#include "text/language/words.h"
#include "text/unicode_form.h"
#include "text/utf8.h"
#include "text/word_break.h"

namespace grpo {
namespace {

// In steps of evidence, which are 1/4 nat.
constexpr int kMost = 14;         // that one word may say, so that no name outweighs its sentence
constexpr int kPrice = 40;        // of a run of words in another language
constexpr int kEdge = 8;          // of beginning or ending it inside a sentence
constexpr int kClausePrice = 96;  // the same where a text is called mixed
constexpr int kSure = 4;          // lead that an identified language has over the next
constexpr std::int16_t kHan = 2, kKana = 8;

// Romanised Chinese is one more language of the Latin script, of which there is no model: a word that is made of its
// syllables is a little likelier in it than in the likeliest other one, any other word is not in it.
constexpr std::size_t kPinyin = kMaxLanguages - 1;
constexpr std::int16_t kPinyinSyllables = 4, kNoPinyinSyllables = -1000;

constexpr std::size_t kScripts = static_cast<std::size_t>(Script::mark);  // those that words are counted in
using WordCounts = std::array<std::size_t, kScripts>;

std::size_t& words_in(WordCounts& counts, Script script) { return counts[static_cast<std::size_t>(script)]; }

std::int16_t greatest(const Evidence& evidence) {
  std::int16_t most = evidence[0];
  for (const std::int16_t each : evidence) most = each > most ? each : most;
  return most;
}

/// What a word says.
struct Spoken {
  Evidence evidence{};
  std::int16_t most = 0;  // of it
};

/// What the words of a text say; one that comes again within a few words says nothing, lest a list of the same name do.
class WordEvidence {
 public:
  explicit WordEvidence(const LanguageModel& model) : model_(&model), memory_(&memory_of(model)) {}

  const Spoken& of(const Word& word) {
    static constexpr Spoken kNothing{};
    std::uint64_t key = 0;
    char32_t all = 0;
    for (std::size_t i = 0; i < word.size; ++i) {
      all |= word.symbols[i];
      key = (key << 8 | key >> 56) ^ word.symbols[i];
    }
    const bool again = std::find(recent_.begin(), recent_.end(), key) != recent_.end();
    recent_[next_++ % recent_.size()] = key;
    if (again) return kNothing;
    if (word.size > Known::kSymbols || all > 0xFFFF || !word.composed) return unknown_ = read(word);
    Known& known = (*memory_)[(key * 0x9E3779B97F4A7C15ull) >> (64 - kMemoryBits)];
    if (!known.is(word)) {
      known.spoken = read(word);
      known.size = static_cast<std::uint16_t>(word.size);
      std::copy_n(word.symbols.begin(), word.size, known.symbols.begin());
    }
    return known.spoken;
  }

 private:
  struct Known {
    static constexpr std::size_t kSymbols = 20;
    bool is(const Word& word) const {
      return size == word.size && std::equal(symbols.begin(), symbols.begin() + size, word.symbols.begin());
    }
    Spoken spoken;
    std::uint16_t size = 0;  // 0: nothing yet
    std::array<char16_t, kSymbols> symbols;
  };
  static constexpr int kMemoryBits = 12;
  using Memory = std::vector<Known>;

  /// Completions of one policy share most of their words, so these are remembered from text to text, half a megabyte
  /// for each thread and model.
  static Memory& memory_of(const LanguageModel& model) {
    thread_local std::vector<std::pair<const LanguageModel*, std::unique_ptr<Memory>>> memories;
    for (auto& [of, memory] : memories)
      if (of == &model) return *memory;
    return *memories.emplace_back(&model, std::make_unique<Memory>(std::size_t{1} << kMemoryBits)).second;
  }

  Spoken read(const Word& word) const {
    LanguageModel::Reader reader(*model_);
    if (word.composed) {
      for (std::size_t i = 0; i < word.size; ++i) reader.add(word.symbols[i]);
    } else {
      std::string text;
      for (std::size_t i = 0; i < word.size; ++i) append_utf8(text, word.symbols[i]);
      text = normalize(UnicodeForm::nfc, text);
      for (std::size_t at = 0; at < text.size();) {
        const CodePoint c = decode_utf8(text, at);
        reader.add(c.value);
        at += c.size;
      }
    }
    Evidence evidence = reader.finish();
    const std::int16_t most = greatest(evidence);
    if (word.script == Script::latin)
      evidence[kPinyin] = is_pinyin({word.symbols.data(), word.size}) ? most + kPinyinSyllables : kNoPinyinSyllables;
    return {evidence, most};
  }

  const LanguageModel* model_;
  Memory* memory_;
  Spoken unknown_;  // of a word that is not remembered
  std::array<std::uint64_t, 4> recent_{};
  std::size_t next_ = 0;
};

// ---- Runs in another language ---------------------------------------------------------------------------------------

/// Shares out words between a target language and others so that the evidence, less a price for every run of words in
/// another language, is greatest: the Viterbi algorithm, which here need not look back, since only the number of the
/// words in other languages is wanted.
class Labelling {
 public:
  Labelling(std::size_t target, int price) : target_(target), price_(static_cast<std::int16_t>(price)) {
    lead_.fill(-price_);
  }

  /// The next word. `halved`: its evidence counts half; `first`: of a sentence; `words`: that it counts.
  void add(const Spoken& spoken, bool halved, bool first, std::uint32_t words = 1) {
    const Evidence& evidence = spoken.evidence;
    const std::int16_t own = evidence[target_];
    if (calm_ && !first && spoken.most <= own) return;
    const std::int16_t edge = first ? 0 : kEdge, enters = static_cast<std::int16_t>(-price_ - edge);
    const std::int16_t leader = greatest(lead_), best = std::max<std::int16_t>(0, leader - edge);
    if (best > 0) target_words_ = words_[index_of(leader)];
    // Plain loops over whole arrays: they become vector instructions.
    const std::int16_t most = kMost, shift = halved ? 1 : 0;
    Evidence lead = lead_, entered;
    for (std::size_t l = 0; l < kMaxLanguages; ++l) {
      std::int16_t says = static_cast<std::int16_t>(evidence[l] - own);
      says = says > most ? most : says;
      says = says < -most ? static_cast<std::int16_t>(-most) : says;
      says = static_cast<std::int16_t>(says >> shift);
      std::int16_t stays = static_cast<std::int16_t>(lead[l] - best);
      entered[l] = stays < enters ? -1 : 0;
      stays = stays < enters ? enters : stays;
      lead[l] = static_cast<std::int16_t>(stays + says);
    }
    lead[target_] = static_cast<std::int16_t>(-price_ - kEdge);  // never "another"
    lead_ = lead;
    for (std::size_t l = 0; l < kMaxLanguages; ++l) {
      const auto mask = static_cast<std::uint32_t>(std::int32_t{entered[l]});
      words_[l] = ((words_[l] & ~mask) | (target_words_ & mask)) + words;
    }
    calm_ = greatest(lead_) <= -price_ - kEdge;
  }

  /// The words in other languages than the target.
  std::uint32_t foreign() const {
    const std::int16_t best = greatest(lead_);
    return best > 0 ? words_[index_of(best)] : target_words_;
  }

 private:
  std::size_t index_of(std::int16_t lead) const {
    return static_cast<std::size_t>(std::find(lead_.begin(), lead_.end(), lead) - lead_.begin());
  }

  std::size_t target_;
  std::int16_t price_;
  // By language, if the last word was in it: how much better the text reads than if it was in the target …
  Evidence lead_{};
  std::array<std::uint32_t, kMaxLanguages> words_{};  // … and how many words were foreign;
  std::uint32_t target_words_ = 0;                    // the same for the target
  bool calm_ = false;                                 // no language is better off than if it began with the next word
};

// ---- Names in another script ----------------------------------------------------------------------------------------

/// Counts words by whether they are in the target's script, and forgives names: see language.h. A text's forgiven words
/// are those of its longest names, whatever their order.
class ScriptCount {
 public:
  explicit ScriptCount(bool ideographs) : letters_of_a_word_(ideographs ? 2 : 1) {}

  void add(const Word& word, bool is_target) {
    if (word.first) end_sentence();
    ++(is_target ? count_.target : count_.other);
    if (is_target) {
      ++around_;
      open_ = false;
      return;
    }
    if (!std::exchange(open_, true)) ++runs_, size_ = 0, can_be_name_ = true;
    ++size_;
    const bool han = word.script == Script::han;
    can_be_name_ = can_be_name_ && size_ <= (is_ideographic(word.script) ? kMostIdeographs : kMostWords) &&
                   word.letters <= kMostLetters && !(han && kNoNames.find(word.symbols[0]) != kNoNames.npos);
  }

  LanguageCount finish() {
    end_sentence();
    std::size_t allowed = 1 + count_.target / letters_of_a_word_ / kWordsForEach;
    for (std::size_t size = names_.size() - 1; size > 0; --size) {
      const std::size_t forgiven = std::min(allowed, names_[size]);
      allowed -= forgiven;
      count_.other -= forgiven * size;
    }
    return count_;
  }

 private:
  static constexpr std::size_t kMostIdeographs = 4, kMostWords = 2, kMostLetters = 20, kWordsAround = 8,
                               kWordsForEach = 40;
  // What people are not called by: particles, pronouns, conjunctions, adverbs, and the words of sums.
  static constexpr std::u32string_view kNoNames =
      U"的了是我你您他她它们們這这那哪就都也不没沒所因但而则則于於再又此個个得很吗嗎呢吧被把讓让從从對对等加減减乘除數数算";

  void end_sentence() {
    if (runs_ == 1 && can_be_name_ && around_ / letters_of_a_word_ >= kWordsAround) ++names_[size_];
    runs_ = around_ = 0;
    open_ = false;
  }

  std::size_t letters_of_a_word_;
  LanguageCount count_;
  std::array<std::size_t, kMostIdeographs + 1> names_{};  // by their words
  // Of the sentence: runs of words in other scripts, the last one's words, and the words in the target's.
  std::size_t runs_ = 0, size_ = 0, around_ = 0;
  bool open_ = false, can_be_name_ = false;
};

// ---- Languages ------------------------------------------------------------------------------------------------------

struct Language {
  Script script;
  std::string_view codes;  // ISO 639-1, a space around each; the first is what a text in the script is taken for
};
constexpr Language kLanguages[] = {
    {Script::latin,
     " en af ca cs cy da de es et eu fi fr ga gl hr hu id is it lt lv ms mt nl no pl pt ro sk sl sq sv sw tl tr vi "},
    {Script::greek, " el "},
    {Script::cyrillic, " ru be bg kk ky mk mn sr tg uk "},
    {Script::hebrew, " he yi "},
    {Script::arabic, " ar fa ps ur "},
    {Script::devanagari, " hi mr ne "},
    {Script::bengali, " bn as "},
    {Script::gurmukhi, " pa "},
    {Script::gujarati, " gu "},
    {Script::tamil, " ta "},
    {Script::telugu, " te "},
    {Script::kannada, " kn "},
    {Script::malayalam, " ml "},
    {Script::thai, " th "},
    {Script::hangul, " ko "},
    {Script::han, " zh "},
    {Script::kana, " ja "},
};

std::string_view code_of(std::string_view language) { return language.substr(0, language.find_first_of("-_")); }

/// Script::none for a code that is not known.
Script script_of_language(std::string_view language) {
  const std::string_view code = code_of(language);
  const std::string wanted = " " + std::string(code) + " ";
  for (const Language& each : kLanguages)
    if (code.find(' ') == code.npos && !code.empty() && each.codes.find(wanted) != each.codes.npos) return each.script;
  return Script::none;
}

/// Chinese and Japanese as Labelling sees them: Han characters are a little likelier in Chinese, kana are Japanese.
constexpr std::size_t kChinese = 0, kJapanese = 1;
Spoken said_by_ideograph(Script script) {
  Spoken spoken{.most = script == Script::han ? kHan : kKana};
  spoken.evidence[script == Script::han ? kChinese : kJapanese] = spoken.most;
  return spoken;
}

LanguageCount count_ideographs(std::string_view text, Script target) {
  ScriptCount scripts(true);
  Labelling labelling(target == Script::han ? kChinese : kJapanese, kPrice);
  for_each_word(text, [&](const Word& word) {
    const bool counts = is_ideographic(word.script) && (target == Script::kana || word.script == Script::han);
    scripts.add(word, counts);
    if (is_ideographic(word.script)) labelling.add(said_by_ideograph(word.script), false, word.first, counts);
  });
  const LanguageCount count = scripts.finish();
  const std::size_t foreign = labelling.foreign();
  return {count.target - foreign, count.other + foreign};
}

LanguageCount count_words(std::string_view text, Script script) {
  ScriptCount scripts(is_ideographic(script));
  for_each_word(text, [&](const Word& word) {
    scripts.add(word, word.script == script || (is_ideographic(word.script) && is_ideographic(script)));
  });
  return scripts.finish();
}

/// The same where other languages are written in that script, too; `target` is one of the model's.
LanguageCount count_words(std::string_view text, Script script, const LanguageModel& model, std::size_t target,
                          int price) {
  ScriptCount scripts(false);
  WordEvidence said(model);
  Labelling labelling(target, price);
  for_each_word(text, [&](const Word& word) {
    scripts.add(word, word.script == script);
    if (word.script == script) labelling.add(said.of(word), word.capital, word.first);
  });
  const LanguageCount count = scripts.finish();
  const std::size_t foreign = labelling.foreign();
  return {count.target - foreign, count.other + foreign};
}

/// What the words of one script say of a text's language.
class Tally {
 public:
  explicit Tally(const LanguageModel& model) : said_(model) {}

  void add(const Word& word) {
    const Spoken& spoken = said_.of(word);
    for (std::size_t l = 0; l < kMaxLanguages; ++l)
      recent_[l] += std::max(spoken.evidence[l] - spoken.most, -2 * kMost);  // (kPinyin's is not asked for)
    if (++words_ % kFlush == 0) flush();
  }

  std::array<std::int64_t, kMaxLanguages> sums() {
    flush();
    return sums_;
  }

 private:
  static constexpr std::size_t kFlush = 1 << 20;  // small numbers are added up faster, and so many cannot overflow
  void flush() {
    for (std::size_t l = 0; l < kMaxLanguages; ++l) sums_[l] += std::exchange(recent_[l], 0);
  }

  WordEvidence said_;
  std::array<std::int32_t, kMaxLanguages> recent_{};
  std::array<std::int64_t, kMaxLanguages> sums_{};
  std::size_t words_ = 0;
};

struct Identified {
  WordCounts words{};
  Script script = Script::none;
  const LanguageModel* model = nullptr;
  std::size_t language = LanguageModel::kUnknown;  // of the model
  int lead = 0;                                    // over the next language
};

Identified identify(std::string_view text) {
  Identified result;
  std::array<std::optional<Tally>, kScripts> tallies;  // of the scripts that languages share
  std::size_t thai_letters = 0;
  for_each_word(text, [&](const Word& word) {
    if (word.script == Script::thai) thai_letters += word.letters;
    auto& tally = tallies[static_cast<std::size_t>(word.script)];
    if (words_in(result.words, word.script)++ == 0)
      if (const LanguageModel* model = LanguageModel::of(word.script)) tally.emplace(*model);
    if (tally) tally->add(word);
  });
  // A word has about two Han characters, four of kana, or four Thai letters, the signs above and below them aside.
  WordCounts counts = result.words;
  words_in(counts, Script::thai) = (thai_letters + 3) / 4;
  const std::size_t han = words_in(counts, Script::han), kana = words_in(counts, Script::kana);
  words_in(counts, Script::han) = kana * 10 >= han + kana ? 0 : (han + kana + 1) / 2;
  words_in(counts, Script::kana) = kana * 10 >= han + kana ? (han + kana + 2) / 3 : 0;
  const auto most = std::max_element(counts.begin(), counts.end());
  if (*most == 0) return result;
  result.script = static_cast<Script>(most - counts.begin());
  result.model = LanguageModel::of(result.script);
  if (result.model == nullptr) return result;
  auto sums = tallies[static_cast<std::size_t>(result.script)]->sums();
  const auto end = sums.begin() + static_cast<std::ptrdiff_t>(result.model->languages());
  const auto best = std::max_element(sums.begin(), end);
  result.language = static_cast<std::size_t>(best - sums.begin());
  const std::int64_t winner = std::exchange(*best, std::numeric_limits<std::int64_t>::min());
  result.lead = static_cast<int>(std::min<std::int64_t>(winner - *std::max_element(sums.begin(), end), kSure));
  return result;
}

}  // namespace

bool knows_language(std::string_view language) { return script_of_language(language) != Script::none; }

const std::string& known_languages() {
  static const std::string known = [] {
    std::string codes;
    for (const Language& each : kLanguages) codes += each.codes.substr(1);
    codes.pop_back();
    return codes;
  }();
  return known;
}

LanguageCount count_language(std::string_view text, std::string_view language) {
  const Script script = script_of_language(language);
  if (script == Script::none)
    throw Error("reward", "expected a language code (", known_languages(), "), got \"", language,
                "\"; mend the task's language");
  if (is_ideographic(script)) return count_ideographs(text, script);
  const LanguageModel* model = LanguageModel::of(script);
  const std::string_view code = code_of(language) == "ms" ? "id" : code_of(language);
  const std::size_t target = model == nullptr ? LanguageModel::kUnknown : model->index(code);
  if (target == LanguageModel::kUnknown) return count_words(text, script);
  return count_words(text, script, *model, target, kPrice);
}

Score language_consistency(std::string_view reasoning, std::string_view language) {
  if (language.empty()) return Score::undefined();
  const LanguageCount count = count_language(reasoning, language);
  if (count.target + count.other == 0) return Score::undefined();
  return static_cast<double>(count.target) / static_cast<double>(count.target + count.other);
}

bool mixes_languages(std::string_view reasoning) {
  const Identified most = identify(reasoning);
  WordCounts scripts = most.words;
  words_in(scripts, Script::kana) += std::exchange(words_in(scripts, Script::han), 0);
  const auto present = std::count_if(scripts.begin(), scripts.end(), [](std::size_t count) { return count > 0; });
  if (present > 1 && count_words(reasoning, most.script).other > 0) return true;
  if (most.model == nullptr || most.lead < kSure) return false;
  const LanguageCount count = count_words(reasoning, most.script, *most.model, most.language, kClausePrice);
  return count.other > 0 && count.target > 0;
}

bool can_identify(std::string_view language) {
  for (const Language& each : kLanguages) {
    const LanguageModel* model = LanguageModel::of(each.script);
    if (model != nullptr ? model->index(language) != LanguageModel::kUnknown : each.codes.substr(1, 2) == language)
      return true;
  }
  return false;
}

std::string identify_language(std::string_view text) {
  const Identified most = identify(text);
  if (most.model != nullptr) return most.lead < kSure ? "" : std::string(most.model->code(most.language));
  for (const Language& each : kLanguages)
    if (each.script == most.script) return std::string(each.codes.substr(1, 2));
  return "";
}

}  // namespace grpo
