#include "text/sentences.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "text/code_points.h"
#include "text/tables/sentences.h"

namespace grpo {
namespace {

using View = std::u32string_view;
using Span = std::pair<std::size_t, std::size_t>;

constexpr bool any_of(View set, char32_t c) { return set.find(c) != set.npos; }

/// The same for sets that every character of a text is looked up in.
class CharacterSet {
 public:
  constexpr explicit CharacterSet(View characters) : characters_(characters) {
    for (const char32_t c : characters)
      if (c < 0x80)
        ascii_[c >> 6] |= std::uint64_t{1} << (c & 63);
      else
        beyond_ascii_ = true;
  }
  constexpr bool has(char32_t c) const {
    return c < 0x80 ? (ascii_[c >> 6] >> (c & 63) & 1) != 0 : beyond_ascii_ && any_of(characters_, c);
  }

 private:
  View characters_;
  std::uint64_t ascii_[2]{};
  bool beyond_ascii_ = false;
};

// ---- The model ------------------------------------------------------------------------------------------------------

constexpr std::string_view kNumber = "##number##";

struct Model {
  std::unordered_set<std::string> abbreviations, pairs, starters, only_lower;
  std::unordered_map<std::string, bool> lower;  // words seen with a small letter: also with a capital in a sentence?
};

std::unordered_set<std::string> words_of(std::string_view list) {
  std::unordered_set<std::string> words;
  while (!list.empty()) {
    const std::size_t end = std::min(list.find(' '), list.size());
    words.emplace(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return words;
}

const Model& model() {
  static const Model model = [] {
    Model made{words_of(punkt::kAbbreviations),
               words_of(punkt::kPairs),
               words_of(punkt::kStarters),
               words_of(punkt::kOnlyLower),
               {}};
    std::string word;
    for (const char* at = punkt::kLower; *at != '\0';) {
      word.resize(static_cast<std::size_t>(*at++ - 'A'));
      const bool capital_too = *at == '^';
      if (capital_too) ++at;
      while (*at != '\0' && (*at < 'A' || *at > 'Z')) word += *at++;
      made.lower.emplace(word, capital_too);
    }
    return made;
  }();
  return model;
}

// ---- Tokens around a period -----------------------------------------------------------------------------------------

constexpr CharacterSet kEndings(U".?!");
constexpr CharacterSet kBlanks(U" \t\n\r\v\f");
constexpr CharacterSet kNoWord(U"?!)\";}]*:@'({[");     // in no word
constexpr CharacterSet kNoStart(U"(\"`{[:;&#*@)}]-,");  // no word begins with these

struct Token {
  View text;
  bool abbreviation = false, ellipsis = false, breaks = false;

  bool period_final() const { return text.back() == U'.'; }
  bool initial() const { return text.size() == 2 && is_word(text[0]) && !is_decimal(text[0]) && text[1] == U'.'; }
  std::string without_period() const;
  std::string type_inside() const;  // with the period of an abbreviation
};

bool is_number(View text) {
  std::size_t at = !text.empty() && text[0] == U'-' ? 1 : 0;
  if (at < text.size() && any_of(U".,", text[at])) ++at;
  if (at == text.size() || !is_decimal(text[at])) return false;
  return std::all_of(text.begin() + static_cast<std::ptrdiff_t>(at), text.end(),
                     [](char32_t c) { return is_decimal(c) || any_of(U",.-", c); });
}

/// A token as the model knows it: in small letters, ##number## for numbers. The model is ASCII, so '\xFF' for anything
/// beyond.
std::string type_of(View text) {
  if (is_number(text)) return std::string(kNumber);
  std::string type(text.size(), '\xFF');
  std::transform(text.begin(), text.end(), type.begin(), [](char32_t c) {
    return c >= 0x80 ? '\xFF' : static_cast<char>(c >= U'A' && c <= U'Z' ? c + 32 : c);
  });
  return type;
}

std::string Token::without_period() const {
  std::string type = type_of(text);
  if (type.size() > 1 && type.back() == '.') type.pop_back();
  return type;
}

std::string Token::type_inside() const { return breaks ? without_period() : type_of(text); }

/// How many characters of `--`, `..` or `. . .` are at `at`, or 0.
std::size_t long_punctuation(View line, std::size_t at) {
  const char32_t c = line[at];
  if (c != U'-' && c != U'.') return 0;
  std::size_t end = at + 1;
  while (end < line.size() && line[end] == c) ++end;
  if (end - at > 1) return end - at;
  std::size_t spaced = at;
  while (c == U'.' && spaced + 2 < line.size() && is_space(line[spaced + 1]) && line[spaced + 2] == U'.') spaced += 2;
  return spaced - at >= 4 ? spaced + 1 - at : 0;
}

bool word_ends(View line, std::size_t at) {
  return at == line.size() || is_space(line[at]) || kNoWord.has(line[at]) || long_punctuation(line, at) > 0;
}

void append_tokens(View line, std::vector<Token>& tokens) {
  for (std::size_t at = 0; at < line.size();) {
    std::size_t size = long_punctuation(line, at);
    if (size == 0 && is_space(line[at])) {
      ++at;
      continue;
    }
    if (size == 0) {
      size = 1;
      if (!kNoStart.has(line[at]))
        while (!word_ends(line, at + size) && !(line[at + size] == U',' && word_ends(line, at + size + 1))) ++size;
    }
    tokens.push_back({line.substr(at, size)});
    at += size;
  }
}

void judge_alone(Token& token) {
  const View text = token.text;
  if (text.size() == 1 && kEndings.has(text[0])) {
    token.breaks = true;
  } else if (text.size() > 1 && text.find_first_not_of(U'.') == text.npos) {
    token.ellipsis = true;
  } else if (token.period_final() && !text.ends_with(U"..")) {
    const std::string word = type_of(text.substr(0, text.size() - 1));
    const auto& known = model().abbreviations;  // and the model has learnt ". . ." as one
    token.abbreviation = text == U". . ." || known.contains(word) || known.contains(word.substr(word.rfind('-') + 1));
    token.breaks = !token.abbreviation;
  }
}

enum class Begins { no, unknown, yes };

/// Whether `token` is the first of a sentence, by how its word is written elsewhere.
Begins begins_sentence(const Token& token) {
  if (token.text.size() == 1 && any_of(U";:,.!?", token.text[0])) return Begins::no;
  const std::string type = token.type_inside();
  const auto seen = model().lower.find(type);
  if (has_upper(token.text[0]) && !has_lower(token.text[0]) && seen != model().lower.end() && !seen->second)
    return Begins::yes;
  if (has_lower(token.text[0]) && !has_upper(token.text[0]) && !model().only_lower.contains(type)) return Begins::no;
  return Begins::unknown;
}

void judge_with_next(Token& token, const Token& next) {
  if (!token.period_final()) return;
  const std::string type = token.without_period();
  const bool initial = token.initial(), number = type == kNumber;
  if (!initial && !number && !token.abbreviation && !token.ellipsis) return;  // pairs are of numbers and initials
  const std::string next_type = next.type_inside();
  const bool next_upper = has_upper(next.text[0]) && !has_lower(next.text[0]);
  const auto make_abbreviation = [&] { token.breaks = false, token.abbreviation = true; };
  if (model().pairs.contains(type + '/' + next_type)) return make_abbreviation();
  const Begins begins = begins_sentence(next);
  if ((token.abbreviation || token.ellipsis) && !initial &&
      (begins == Begins::yes || (next_upper && model().starters.contains(next_type)))) {
    token.breaks = true;
    return;
  }
  if ((initial || number) && (begins == Begins::no || (begins == Begins::unknown && initial && next_upper &&
                                                       !model().lower.contains(next_type))))
    make_abbreviation();
}

/// Whether a sentence ends before the last token of `context`; `tokens` is room to work in.
bool has_break(View context, std::vector<Token>& tokens) {
  tokens.clear();
  for (std::size_t start = 0; start <= context.size();) {
    const std::size_t end = std::min(context.find(U'\n', start), context.size());
    append_tokens(context.substr(start, end - start), tokens);
    start = end + 1;
  }
  for (Token& token : tokens) judge_alone(token);
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
    judge_with_next(tokens[i], tokens[i + 1]);
    if (tokens[i].breaks) return true;
  }
  return false;
}

/// A period, question mark or exclamation mark that may end a sentence.
struct Candidate {
  std::size_t word, at;         // where the word before it begins, and its own place
  std::size_t next, after_end;  // where the next sentence would begin; one past what is looked at behind
};

std::vector<Candidate> find_candidates(View text) {
  std::vector<Candidate> found;
  for (std::size_t at = 0; at + 1 < text.size(); ++at) {
    if (!kEndings.has(text[at])) continue;
    Candidate each{0, at, at + 1, at + 2};
    if (!kNoWord.has(text[at + 1])) {
      while (each.next < text.size() && is_space(text[each.next])) ++each.next;
      if (each.next == at + 1 || each.next == text.size()) continue;
      for (each.after_end = each.next; each.after_end < text.size() && !is_space(text[each.after_end]);)
        ++each.after_end;
    }
    // The word goes back to the last white space behind the candidate before; without one, to where that one's began.
    const std::size_t from = found.empty() ? 0 : found.back().at;
    std::size_t space = at;
    while (space > from && !kBlanks.has(text[space - 1])) --space;
    each.word = space > from + 1 ? space : found.empty() ? 0 : found.back().word;
    // Of candidates in one word the last one counts.
    if (!found.empty() && found.back().at > each.word)
      found.back() = each;
    else
      found.push_back(each);
  }
  return found;
}

}  // namespace

std::vector<Span> split_sentences(View text) {
  std::vector<Span> pieces;
  std::vector<Token> room;
  std::size_t start = 0;
  for (const Candidate& each : find_candidates(text)) {
    if (!has_break(text.substr(each.word, each.after_end - each.word), room)) continue;
    pieces.emplace_back(start, each.at + 1);
    start = each.next;
  }
  std::size_t end = text.size();
  while (end > 0 && is_space(text[end - 1])) --end;
  pieces.emplace_back(start, std::max(start, end));

  // Closing quotes and brackets in front of a sentence belong to the one before.
  std::vector<Span> sentences;
  std::size_t moved = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    Span piece{pieces[i].first + moved, pieces[i].second};
    moved = 0;
    if (i + 1 < pieces.size()) {
      const auto [first, last] = pieces[i + 1];
      std::size_t close = first;
      while (close < last && any_of(U"\"')]}", text[close])) ++close;
      if (close > first &&
          (close == last || is_space(text[close]) || text.substr(close, last - close).starts_with(U"--"))) {
        piece.second = close;
        while (close < last && is_space(text[close])) ++close;
        moved = close - first;
        sentences.push_back(piece);
        continue;
      }
    }
    if (piece.first < piece.second) sentences.push_back(piece);
  }
  return sentences;
}

// ---- Words ----------------------------------------------------------------------------------------------------------

namespace {

constexpr CharacterSet kApart(U"«“‘„`»”’\";@#$%&?!*[](){}<>");  // tokens of their own

char32_t small(char32_t c) { return c >= U'A' && c <= U'Z' ? c + 32 : c; }

bool equals_in_small(View text, View wanted) {
  return text.size() == wanted.size() &&
         std::equal(text.begin(), text.end(), wanted.begin(), [](char32_t a, char32_t b) { return small(a) == b; });
}

/// Makes `text` the sentence with white space for every token that is one of punctuation only, and for its last period.
void blank_punctuation(View sentence, std::u32string& text) {
  text = sentence;
  const auto at = [&](std::size_t i) { return i < sentence.size() ? sentence[i] : U' '; };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char32_t c = sentence[i], next = at(i + 1);
    if (kApart.has(c)) {
      text[i] = U' ';
    } else if ((c == U'\'' || c == U'-') && next == c) {
      text[i] = U' ';
      text[++i] = U' ';
    } else if (c == U'.' && next == U'.') {
      for (; at(i + 1) == U'.'; ++i) text[i] = U' ';
      text[i] = U' ';
    } else if ((c == U':' || c == U',') && !is_decimal(next)) {
      text[i] = U' ';
      if (any_of(U":,", next)) ++i;  // which stays with what follows
    } else if (c == U'\'' && is_word(next) && !is_word(at(i + 2)) && !any_of(U"mtsdn", small(next))) {
      text[i] = U' ';  // 'N' is a quoted letter, but 'S and the like are the ends of contractions
    }
  }
  std::size_t end = sentence.size();
  while (end > 0 && is_space(sentence[end - 1])) --end;
  while (end > 0 && any_of(U"])}>\"'»”’ ", sentence[end - 1])) --end;
  if (end > 1 && sentence[end - 1] == U'.' && sentence[end - 2] != U'.') text[end - 1] = U' ';
}

/// Parts `word`, without white space, before an ending such as 'S or N'T, and inside CAN|NOT and the like. `last`: it
/// is the end of the sentence.
void append_parts(View word, bool last, std::vector<View>& parts) {
  std::vector<std::size_t> cuts;
  View rest = word;
  const auto cut_ending = [&](const auto& endings) {
    for (const View ending : endings) {
      if (rest.size() <= ending.size() || !rest.ends_with(ending)) continue;
      const std::size_t at = rest.size() - ending.size();
      if (rest[at - 1] == U'\'') continue;
      cuts.push_back(at);
      rest = rest.substr(0, at);
      return;
    }
  };
  constexpr View kQuote[] = {U"'"};
  constexpr View kShort[] = {U"'s", U"'S", U"'m", U"'M", U"'d", U"'D"};
  constexpr View kLong[] = {U"'ll", U"'LL", U"'re", U"'RE", U"'ve", U"'VE", U"n't", U"N'T"};
  cut_ending(kQuote);
  if (!last || rest.size() == word.size()) cut_ending(kShort);
  cut_ending(kLong);

  constexpr struct {
    View whole;
    std::size_t first;
  } kTwoInOne[] = {{U"cannot", 3}, {U"d'ye", 1},   {U"gimme", 3}, {U"gonna", 3}, {U"gotta", 3},
                   {U"lemme", 3},  {U"more'n", 4}, {U"wanna", 3}, {U"'tis", 2},  {U"'twas", 2}};
  for (std::size_t at = 0; at < word.size(); ++at) {
    if (!any_of(U"cdglmw'", small(word[at])) || (at > 0 && is_word(word[at - 1]) && is_word(word[at]))) continue;
    for (const auto& [whole, first] : kTwoInOne) {
      const std::size_t end = at + whole.size();
      if (!equals_in_small(word.substr(at, whole.size()), whole) || (end < word.size() && is_word(word[end]))) continue;
      if ((whole[0] == U'\'' && at > 0) || (whole == U"wanna" && end != rest.size())) continue;
      cuts.push_back(at), cuts.push_back(at + first), cuts.push_back(end);
    }
  }
  std::sort(cuts.begin(), cuts.end());
  cuts.push_back(word.size());
  std::size_t start = 0;
  for (const std::size_t cut : cuts) {
    if (cut > start) parts.push_back(word.substr(start, cut - start));
    start = std::max(start, cut);
  }
}

}  // namespace

std::size_t count_capital_words(View text) {
  std::size_t count = 0;
  std::vector<View> parts;
  std::u32string blanked;
  for (const auto& [first, last] : split_sentences(text)) {
    blank_punctuation(text.substr(first, last - first), blanked);
    for (std::size_t at = 0; at < blanked.size();) {
      std::size_t end = at;
      while (end < blanked.size() && !is_space(blanked[end])) ++end;
      const View word = View(blanked).substr(at, end - at);
      if (std::any_of(word.begin(), word.end(), has_upper)) {
        parts.clear();
        append_parts(word, end == blanked.size(), parts);
        count += static_cast<std::size_t>(std::count_if(parts.begin(), parts.end(), is_all_upper));
      }
      at = end + 1;
    }
  }
  return count;
}

}  // namespace grpo
