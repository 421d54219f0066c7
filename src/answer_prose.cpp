// What a sentence says the answer is: where the answer in it begins, where the explanation behind it begins, and whether
// the sentence refuses, doubts or asks instead.
#include <algorithm>
#include <array>
#include <utility>

#include "answer.h"
#include "math_spellings.h"
#include "utf8.h"

namespace grpo {
namespace {

constexpr std::size_t kMaxAside = 256;  // bytes of a bracket that may be an aside, or of a clause that is looked through

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
/// The first byte of a character of Chinese, Japanese or Korean.
bool is_eastern(char c) { return static_cast<unsigned char>(c) >= 0xE3 && static_cast<unsigned char>(c) <= 0xED; }

bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::string lowered(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (is_upper(c)) c = static_cast<char>(c + 32);
  return result;
}

template <class Words>
std::size_t starts_with_any(std::string_view text, const Words& words) {
  std::size_t size = 0;
  for (const std::string_view each : words)
    if (text.starts_with(each)) size = std::max(size, each.size());
  return size;
}
template <class Words>
bool contains_any(std::string_view text, const Words& words) {
  return std::any_of(std::begin(words), std::end(words),
                     [&](std::string_view each) { return text.find(each) != text.npos; });
}

/// Whether a sentence ends at `at`: with a full stop that no digit follows, or a question mark.
bool stops(std::string_view text, std::size_t at) {
  const char c = text[at];
  if (c == '.') return at + 1 == text.size() || std::string_view(" \n\t\r$<*").find(text[at + 1]) != std::string_view::npos;
  if (static_cast<unsigned char>(c) < 0x80) return c == '?';
  return text.substr(at).starts_with("。") || text.substr(at).starts_with("？");
}

/// Emphasis, code and quotation marks taken off: *17*, `17`, "17". A * or _ with something on both sides is no mark.
std::string without_marks(std::string_view text) {
  if (text.find_first_of("`\"*_'\xE2") == text.npos) return std::string(text);
  std::string plain;
  plain.reserve(text.size());
  const auto bounds = [&](std::size_t at) {  // no letter, digit or sign that a mark would stand on
    return at >= text.size() || is_space(text[at]) || std::string_view(".,;:!?*_`\"'()").find(text[at]) != text.npos;
  };
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '`' || c == '"') {
      ++at;
    } else if (text.substr(at).starts_with("“") || text.substr(at).starts_with("”")) {
      at += 3;
    } else if (c == '*' || c == '_' || c == '\'') {
      std::size_t end = at;
      while (end < text.size() && text[end] == c) ++end;
      const bool before = at == 0 || bounds(at - 1), after = bounds(end);
      if (before == after && !(c == '*' && before && end - at > 1)) plain += text.substr(at, end - at);
      at = end;
    } else {
      if (c == '\\' && at + 1 < text.size()) plain += text[at++];
      plain += text[at++];
    }
  }
  return plain;
}

// ---- Words ----

/// What follows explains the answer in front of it.
constexpr std::string_view kReasons = " because since as not never no nor rather instead given where provided namely ";
/// What follows goes on from the answer in front of it.
constexpr std::string_view kConsequences =
    " so which that whereas while although though thus therefore hence who whose meaning whence ";
/// What follows may say when the answer holds, or add another one.
constexpr std::string_view kConditions =
    " if when whenever for after before once unless but however then under during from with without via using such "
    "assuming except also maybe perhaps possibly alternatively otherwise else either even along due thanks according based "
    "considering ";
/// What stands before them is spoken of, and is no answer.
constexpr std::string_view kVerbs =
    " is are was were be been has have had can cannot could may might must will would shall should do does did equals "
    "equal gives makes means becomes seems looks appears works fails cost costs went goes ";
/// Words that may stand between "the answer is" and the answer.
constexpr std::string_view kLeads =
    " approximately about exactly just only simply therefore thus hence indeed clearly definitely then equal equals to "
    "be roughly around precisely actually obviously certainly surely now a total of given by found again still also "
    "always the number value both option choice ";

constexpr std::string_view kEasternReasons[] = {"因为", "由于", "因此", "所以",   "而不是",     "而非",  "其中", "理由",
                                                "なぜ", "だから", "왜냐하면", "따라서", "때문"};
constexpr std::string_view kEasternConditions[] = {"如果", "当", "但", "若", "또는", "或", "和", "및", "그리고", "만약", "也"};
constexpr std::string_view kEasternVerbs[] = {"是", "为", "不", "吗", "嗎"};
constexpr std::string_view kEasternLeads[] = {"应该是", "就是", "等于", "大约", "约",   "应为", "一共", "总共",
                                              "共有", "还剩", "剩下", "还有", "剩", "모두", "총", "共",   "是",   "为",   "：",   "약"};
/// Behind a number, they only end the sentence.
constexpr std::string_view kEasternEnds[] = {"입니다", "이다", "이에요", "예요", "이고", "이며", "です", "である", "だ", "で、"};

bool is_function(std::string_view word) {
  using math::find_spelling;
  const math::Spelling* spelling = find_spelling(math::kWords, word);
  return spelling && spelling->sign != math::Sign::times && spelling->sign != math::Sign::and_or;
}
/// Whether a word may be mathematics: x, ab, sin, AB.
bool is_symbolic(std::string_view word) {
  if (word.size() == 1 || is_function(word)) return true;
  if (word.size() <= 3 && std::all_of(word.begin(), word.end(), is_upper)) return true;
  return word.size() <= 3 && word.find_first_of("aeiouAEIOU") == word.npos && !is_upper(word[0]) &&
         !math::is_word(word) && word != "by" && word != "my";
}

std::size_t word_end(std::string_view text, std::size_t at) {
  while (at < text.size() &&
         (is_letter(text[at]) || (text[at] == '\'' && at + 1 < text.size() && is_letter(text[at + 1]))))
    ++at;
  return at;
}

/// The end of the number at `at`, its separators included.
std::size_t number_end(std::string_view text, std::size_t at) {
  std::size_t end = at;
  while (end < text.size() && (is_digit(text[end]) || ((text[end] == ',' || text[end] == '.' || text[end] == '/') &&
                                                       end + 1 < text.size() && is_digit(text[end + 1]))))
    ++end;
  return end;
}

/// Whether an answer may start at `at`: a number, a formula, a variable.
bool starts_value(std::string_view text, std::size_t at) {
  if (at >= text.size()) return false;
  const std::string_view rest = text.substr(at);
  if (is_digit(rest[0]) || std::string_view("$\\([{|.-+<>").find(rest[0]) != std::string_view::npos) return true;
  if (static_cast<unsigned char>(rest[0]) >= 0x80)
    return starts_with_any(rest, std::array<std::string_view, 13>{"–", "—", "√", "π", "−", "€", "£", "¥", "½", "≤", "≥",
                                                                  "≠", "±"}) > 0;
  if (!is_letter(rest[0])) return false;
  const std::size_t end = word_end(text, at);
  if (!is_symbolic(text.substr(at, end - at))) return false;
  if ((rest[0] != 'a' && rest[0] != 'I' && rest[0] != 'A') || end > at + 1) return true;
  // "a half", "I think"; but "A because"
  const std::size_t next = skip_white_space(text, end), next_end = word_end(text, next);
  return next == next_end || next == end || math::is_among(kReasons, lowered(text.substr(next, next_end - next)));
}

// ---- Formulas ----

/// Where the marks are that come next, so that no text is searched twice; before that, 0.
struct NextMarks {
  std::array<std::size_t, 4> close{};  // that end formulas
  std::size_t line = 0;                // the end of the line
};

/// Where a formula ends that opens at `at`; `at` itself where none does. `next` is of the same text, whose formulas are
/// looked for in order.
std::size_t formula_end(std::string_view text, std::size_t at, NextMarks& next) {
  if (text[at] != '$' && text[at] != '\\') return at;
  constexpr std::string_view kOpen[] = {"$$", "$", "\\[", "\\("}, kClose[] = {"$$", "$", "\\]", "\\)"};
  for (std::size_t i = 0; i < 4; ++i) {
    if (!text.substr(at).starts_with(kOpen[i])) continue;
    std::size_t& close = next.close[i];
    if (const std::size_t from = at + kOpen[i].size(); close < from) {
      close = text.find(kClose[i], from);
      while (i == 1 && close != text.npos && text[close - 1] == '\\') close = text.find('$', close + 1);  // $\$40$
    }
    if (close == text.npos) continue;
    if (next.line <= at) next.line = std::min(text.find('\n', at + 1), text.size());
    // A formula within a line stays on it: else two prices in two paragraphs would make one. Nor are "$5 or $6" one.
    if (i % 2 == 1 && next.line < close) continue;
    if (i == 1 && close + 1 < text.size() && is_digit(text[close + 1]) && at + 1 < text.size() &&
        is_digit(text[at + 1]) && std::string_view(" (+-*/=,").find(text[close - 1]) != std::string_view::npos)
      continue;
    return close + kClose[i].size();
  }
  return at;
}

/// The end of the point or interval at `at`, such as (1, 2) or [0, 1/2); else `at`.
std::size_t point_end(std::string_view text, std::size_t at) {
  if ((text[at] != '(' && text[at] != '[') || (at > 0 && is_letter(text[at - 1]))) return at;
  const std::size_t end = std::min(text.find_first_not_of("0123456789.,;/- ", at + 1), text.size());
  const std::string_view inside = text.substr(at, end - at);
  const bool parted = inside.find_first_of(",;") != inside.npos && inside.find_first_of("0123456789") != inside.npos;
  return parted && end < text.size() && (text[end] == ')' || text[end] == ']') ? end + 1 : at;
}

/// The end of the bracket that opens at `at`; `at` where it stays open.
std::size_t bracket_end(std::string_view text, std::size_t at) {
  int open = 0;
  for (std::size_t i = at; i < text.size() && i < at + kMaxAside; ++i) {
    open += text[i] == '(' || text[i] == '[';
    open -= text[i] == ')' || text[i] == ']';
    if (open == 0) return i + 1;
  }
  return at;
}
/// Whether a bracket is no part of a formula: (since 3·5+2=17), (= 3 + 14), (not a guess).
bool is_aside(std::string_view inside) {
  if (inside.find('=') != inside.npos) return true;
  for (std::size_t at = 0; at < inside.size(); ++at) {
    if (inside[at] == '\\' || inside[at] == '$') return false;
    if (is_eastern(inside[at])) return true;
    if (!is_letter(inside[at])) continue;
    const std::size_t end = word_end(inside, at);
    const std::string word = lowered(inside.substr(at, end - at));
    if (word == "or" || word == "mod" || word == "base") return false;
    if (!is_symbolic(word)) return true;
    at = end - 1;
  }
  return false;
}

/// Whether a formula goes on at `at`: " - 3" of "16 (eggs per day) - 3".
bool is_operand_ahead(std::string_view text, std::size_t at) {
  at = skip_white_space(text, at);
  const std::string_view rest = text.substr(at);
  constexpr std::string_view kOperators[] = {"+", "-", "*", "/", "=", "^", "×", "÷", "·", "−"};
  const std::size_t size = starts_with_any(rest, kOperators);
  return size > 0 && starts_value(text, skip_white_space(text, at + size));
}

// ---- How a text begins ----

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

/// Whether a text says that what stands in front of it is the answer: "is the answer", "is our final answer".
bool confirms(std::string_view text) {
  std::size_t at = 0;
  const auto take = [&](std::string_view words) {
    const std::size_t end = word_end(text, at);
    if (end == at || !math::is_among(words, text.substr(at, end - at))) return false;
    at = skip_white_space(text, end);
    return true;
  };
  if (!take(" is are ")) return false;
  take(" the our my your ");
  while (take(" final correct right required only desired ")) {
  }
  return take(" answer answers result solution ");
}

/// Whether a sentence goes on to say what a formula in front of it is: "$x$ is the price."
bool names(std::string_view text) {
  const std::string_view said = text.substr(0, std::min(sentence_end(text, 0), text.size()));
  if (said.size() > 64 || !(said.starts_with("is the ") || said.starts_with("is our ") || said.starts_with("are the ")))
    return false;
  for (std::size_t at = 0; at < said.size();) {
    const std::size_t end = word_end(said, at);
    if (math::is_among(" wrong incorrect false impossible not never no ", said.substr(at, end - at))) return false;
    at = end + 1;
  }
  return said.find_first_of("0123456789,") == said.npos;
}

/// Whether a second number follows that is as good as the first: "and 18 otherwise", "but it may also be 18".
bool adds_another(std::string_view text) {
  text = text.substr(0, std::min(sentence_end(text, 0), kMaxAside));
  if (text.find_first_of("0123456789$") == text.npos) return false;
  std::string last;
  for (std::size_t at = 0; at < text.size();) {
    if (is_letter(text[at])) {
      const std::size_t end = word_end(text, at);
      last = lowered(text.substr(at, end - at));
      if (math::is_among(" otherwise else also well either alternatively maybe perhaps possibly ", last)) return true;
      at = end;
      continue;
    }
    if (is_digit(text[at]) && math::is_among(" or and be ", last)) return true;
    if (is_digit(text[at])) last.clear();
    if (starts_with_any(text.substr(at), std::array<std::string_view, 6>{"或", "也", "否则", "또는", "和", "及"}) > 0)
      return true;
    ++at;
  }
  return false;
}

Beginning beginning_of(std::string_view text) {
  Beginning found;
  std::size_t at = 0;
  // What may lead to the answer.
  for (bool more = true; more && at < text.size();) {
    more = false;
    while (at < text.size() && (is_space(text[at]) || text[at] == ':' || text[at] == '=')) ++at, more = true;
    if (at < text.size() && static_cast<unsigned char>(text[at]) >= 0x80)
      if (const std::size_t size = starts_with_any(text.substr(at), kEasternLeads); size > 0) at += size, more = true;
    const std::size_t end = word_end(text, at);
    if (end == at || (end == at + 1 && text[at] != 'a')) continue;
    const std::string word = lowered(text.substr(at, end - at));
    const bool sign = (word == "negative" || word == "minus") && end + 1 < text.size() && is_digit(text[end + 1]);
    if (!sign && !math::is_among(kLeads, word)) continue;
    if (end < text.size() && !is_space(text[end]) && text[end] != ',' && text[end] != ':') continue;
    if (word == "a" && !text.substr(end).starts_with(" total")) continue;
    found.negative = sign;
    at = end + (end < text.size() && text[end] == ',' ? 1 : 0);
    more = true;
  }
  if (!starts_value(text, at)) return found;
  found.start = at;

  NextMarks marks;
  bool value = false;
  std::size_t parted = 0;  // where the last member starts that may be a sentence: "17; 16 is too small"
  const auto ends = [&](auto cut) {
    found.cut = cut;
    found.end = at;
    const std::string_view rest = text.substr(at);
    const bool open = cut == Beginning::condition && adds_another(rest);
    found.kind = !value ? Beginning::none : open ? Beginning::several : Beginning::answer;
    return found;
  };
  const auto is_subject = [&] {
    if (parted == 0) return Beginning();
    at = parted;
    return ends(Beginning::condition);
  };
  while (at < text.size()) {
    const char c = text[at];
    const std::string_view rest = text.substr(at);
    if (c == '\n') {
      if (value) return ends(Beginning::sentence);
      ++at;
    } else if (is_digit(c)) {
      value = true;
      at = number_end(text, at);
    } else if (c == '$' || rest.starts_with("\\(") || rest.starts_with("\\[")) {
      const std::size_t end = formula_end(text, at, marks);
      const bool lone = end == at && c == '$' && (at + 1 == text.size() || is_space(text[at + 1]));
      if (lone && value) return ends(Beginning::condition);  // 2,74 $
      value |= end > at;
      at = std::max(end, at + 1);
    } else if (c == '\\') {
      std::size_t end = at + 1;
      while (end < text.size() && is_letter(text[end])) ++end;
      value |= end > at + 1;
      at = std::max(end, std::min(at + 2, text.size()));
    } else if (c == '{') {
      const auto body = braced_body(text, at);
      if (!body) return is_subject();
      value = true;
      at += body->size() + 2;
    } else if (c == '(' || c == '[') {
      const std::size_t end = bracket_end(text, at);
      if (value && end > at + 1 && is_aside(text.substr(at + 1, end - at - 2)) && !is_operand_ahead(text, end))
        return ends(Beginning::reason);
      value |= end > at;
      at = std::max(end, at + 1);
    } else if (c == '?' || rest.starts_with("？")) {
      return is_subject();
    } else if (c == '.' && at + 1 < text.size() && is_digit(text[at + 1])) {
      ++at;
    } else if (c == '.' && stops(text, at)) {
      return ends(Beginning::sentence);
    } else if (rest.starts_with("。") || rest.starts_with("（") || rest.starts_with("！")) {
      return ends(rest.starts_with("（") ? Beginning::reason : Beginning::sentence);
    } else if (c == ',' || c == ';' || rest.starts_with("，") || rest.starts_with("；") || rest.starts_with("、")) {
      const std::size_t after = skip_white_space(text, at + (c == ',' || c == ';' ? 1 : 3));
      if (after == text.size()) return ends(Beginning::sentence);
      const std::size_t end = word_end(text, after);
      const std::string word = lowered(text.substr(after, end - after));
      if (text.substr(after).starts_with("i.e") || text.substr(after).starts_with("e.g")) {
        return ends(Beginning::reason);
      } else if (word == "and" || word == "or" || starts_value(text, after)) {
        if (value) parted = at;
        at = after;
      } else if (is_eastern(text[after])) {
        return ends(starts_with_any(text.substr(after), kEasternConditions) ? Beginning::condition : Beginning::reason);
      } else {
        return ends(math::is_among(kConditions, word) ? Beginning::condition
                    : math::is_among(kReasons, word)  ? Beginning::reason
                                                      : Beginning::consequence);
      }
    } else if (c == ':' && at + 1 < text.size() && is_space(text[at + 1])) {
      const std::size_t after = skip_white_space(text, at + 1);
      if (after < text.size() && is_letter(text[after]) && !starts_value(text, after))
        return ends(Beginning::consequence);
      if (value) parted = at;
      ++at;
    } else if (c == '#' && value && is_space(text[at - 1])) {
      return ends(Beginning::reason);
    } else if (c == '-' || rest.starts_with("–") || rest.starts_with("—")) {
      const std::size_t size = c == '-' ? 1 : 3;
      const std::size_t after = skip_white_space(text, at + size);
      const bool word = after < text.size() && is_letter(text[after]) && !starts_value(text, after);
      const bool spaced = at > 0 && is_space(text[at - 1]) && after > at + size;
      if (value && ((spaced && word) || (rest.starts_with("—") && (spaced || word)) || rest.starts_with("--")))
        return ends(Beginning::reason);
      at += size;
    } else if (is_letter(c)) {
      const std::size_t end = word_end(text, at);
      const std::string word = lowered(text.substr(at, end - at));
      const std::size_t next = skip_white_space(text, end);
      const bool before_word = next > end && next < text.size() && is_letter(text[next]);
      if (c == 'I' && value && (before_word || end > at + 1) && (word == "i" || word[1] == '\''))
        return ends(Beginning::reason);  // "17 I think"
      if (word == "and" || word == "or") {
        std::size_t after = next;
        while (after < text.size() && (text[after] == ',' || is_space(text[after]))) ++after;
        if (starts_value(text, after)) {
          at = after;
          continue;
        }
        const std::string following = lowered(text.substr(after, word_end(text, after) - after));
        if (word == "or" && following == "not") return is_subject();
        if ((word == "and" && following == "a") ||  // and a half; or more, and up
            math::is_among(" more less fewer greater larger higher lower above below beyond so up thereabouts half ",
                           following)) {
          at = after;
          continue;
        }
        const bool goes_on = word == "and" && text[next - (next == text.size())] != ',' && math::is_among(" not no nothing none never neither hence thus therefore so "
                                                             "that this it there we i he she they is because since ",
                                                             following);
        return ends(goes_on ? Beginning::reason : Beginning::condition);
      }
      if (word == "as" && text.substr(next).starts_with("well as")) {
        found.kind = Beginning::several;
        return found;
      }
      const bool symbolic = is_symbolic(text.substr(at, end - at));
      if (symbolic && !(value && before_word && word == "a")) {
        value = true;
        at = end;
        continue;
      }
      const bool compares = word == "as" && trim(text.substr(0, at)).ends_with(" times");  // 17 times as many
      if (math::is_among(kReasons, word) && !compares) return ends(Beginning::reason);
      if (math::is_among(kConsequences, word)) return ends(Beginning::consequence);
      if (math::is_among(kConditions, word)) return ends(Beginning::condition);
      if (word == "by" && !starts_value(text, next)) return ends(Beginning::condition);
      if (math::is_among(kVerbs, word) || word.ends_with("n't")) {
        if (confirms(lowered(text.substr(at, kMaxAside)))) return ends(Beginning::confirmed);
        return is_subject();
      }
      at = end;
    } else if (is_eastern(c)) {
      if (starts_with_any(rest, kEasternReasons)) return ends(Beginning::reason);
      if (starts_with_any(rest, kEasternEnds)) return ends(Beginning::sentence);
      const std::size_t size = starts_with_any(rest, kEasternConditions);
      if (size > 0) {
        if (starts_value(text, skip_white_space(text, at + size))) {  // 17或18
          at += size;
          continue;
        }
        return ends(Beginning::condition);
      }
      if (starts_with_any(rest, kEasternVerbs)) return is_subject();
      at += decode_utf8(text, at).size;
    } else {
      value |= static_cast<unsigned char>(c) >= 0x80;
      ++at;
    }
  }
  return ends(Beginning::nothing);
}

std::string answer_at(std::string_view text, const Beginning& found) {
  std::string_view answer = trim(text.substr(found.start, found.end - found.start));
  while (!answer.empty() && std::string_view(",;:-").find(answer.back()) != std::string_view::npos)
    answer = trim(answer.substr(0, answer.size() - 1));
  if (answer.ends_with(')') && answer.find_first_of("([") == answer.npos) answer.remove_suffix(1);
  return (found.negative ? "-" : "") + std::string(answer);
}

// ---- Refusals ----

/// The speaker does not know, wherever in the sentence it stands.
constexpr std::string_view kDoubts[] = {
    "don't know", "do not know", "doesn't know", "no idea",    "give up",    "sorry",     "i refuse", "we refuse",
    "must refuse", "i am unable", "i'm unable", "we are unable", "we're unable", "unable to determine",
    "unable to find", "unable to solve", "unable to answer",
    "not sure",   "unsure",      "not certain",  "cannot say", "can't say",  "can not say", "cannot tell", "can't tell",
    "i guess",    "just a guess", "only a guess", "my guess",  "am guessing", "i'm guessing", "maybe", "perhaps",
    "i doubt",    "不知道",      "无法确定",     "不确定",     "不清楚",     "也许",      "모르",     "포기",
    "아마",       "分から",      "わから",       "かどうか"};
/// The clause denies what it says.
constexpr std::string_view kDenials[] = {"cannot", "can't", "can not", "don't", "do not", "impossible", "never",  "n't",
                                         "is unknown", "neither", "不能", "不是", "不可能", "不会", "未必", "不一定", "并非", "没有", "无法", "못",    "없",
                                         "아니",    "ない",    "guess",  "doubt", "unable", "nobody"};
/// The clause supposes, asks or denies what it introduces.
constexpr std::string_view kSuppositions =
    " suppose supposing whether imagine pretend doubt doubts deny denies unlikely refuse unsure uncertain untrue nobody ";
/// The same of a clause that introduces "the answer is". "If you add them you get 17" supposes nothing.
constexpr std::string_view kAnnouncedSuppositions =
    " if assume assuming unless impossible false wrong incorrect maybe perhaps possibly guess unable might could ";
constexpr std::string_view kNegations = " not cannot never no nor nothing none without hardly ";
constexpr std::string_view kSayings =
    " say said tell know sure certain think believe conclude claim claimed determine decide prove proof evidence reason "
    "suggest suggests confirm guarantee true way one mean means ";
constexpr std::string_view kEasternSuppositions[] = {"不知道", "无法", "不能", "不确定", "不清楚", "是否",  "如果", "假设",
                                                     "假如",   "不认为", "不可能", "难说",   "未必",   "不会", "怀疑", "可能",   "也许", "만약", "아마"};

/// The last clause of a text.
std::string_view last_clause(std::string_view text) {
  std::size_t start = 0;
  const auto start_behind = [&](auto... marks) {
    for (const std::string_view mark : {std::string_view(marks)...})
      if (const std::size_t at = text.rfind(mark); at != text.npos) start = std::max(start, at + mark.size());
  };
  start_behind(", ", ",", "; ", ": ", " so ", " but ", " and ", " therefore ", " thus ", " hence ", " then ");
  if (!is_ascii(text)) start_behind("，", "：", "所以", "因此", "但", "、");
  return text.substr(start);
}

/// Whether what leads to "the answer is" makes it no statement: "I cannot say that", "if", "it is false that". `before`
/// is in small letters.
bool is_supposed(std::string_view before, bool announced) {
  std::string clause(last_clause(before));
  if (clause.empty()) return false;
  if (clause.find("doubt") != clause.npos)
    for (const std::string_view sure :
         {"no doubt", "without a doubt", "without any doubt", "without doubt", "beyond doubt"})
      if (const std::size_t at = clause.find(sure); at != clause.npos) clause.erase(at, sure.size());
  if (announced && ((!is_ascii(clause) && contains_any(clause, kEasternSuppositions)) ||
                    clause.find("no way") != clause.npos || clause.find("no idea") != clause.npos))
    return true;
  bool negated = false, said = false;
  for (std::size_t at = 0; at < clause.size();) {
    const std::size_t end = word_end(clause, at);
    if (end == at) {
      ++at;
      continue;
    }
    const std::string_view word = std::string_view(clause).substr(at, end - at);
    if (math::is_among(kSuppositions, word) || (announced && math::is_among(kAnnouncedSuppositions, word))) return true;
    negated |= math::is_among(kNegations, word) || word.ends_with("n't");
    said |= math::is_among(kSayings, word);
    at = end;
  }
  return negated && said;
}

/// Whether what follows an answer takes it back: ", which is wrong", "이 아닙니다", ", but I'm not sure".
bool takes_back(std::string_view after) {
  const std::size_t end = std::min(sentence_end(after, 0), kMaxAside);
  const bool asks = end < after.size() && (after[end] == '?' || after.substr(end).starts_with("？"));
  if (asks) return true;
  const std::string_view spoken = after.substr(0, end);
  if (std::none_of(spoken.begin(), spoken.end(), [](char c) { return is_letter(c) || is_eastern(c); })) return false;
  const std::string text = lowered(spoken);
  for (const std::string_view doubt : kDoubts)
    if (const std::size_t at = text.find(doubt); at != text.npos &&
                                                 std::string_view(text).substr(0, at).find("not ") == text.npos)
      return true;
  constexpr std::array<std::string_view, 5> kSubjects{"which", "that", "this", "it", "but"};
  constexpr std::array<std::string_view, 11> kFaults{"wrong",       "incorrect", "false",        "impossible",
                                                     "not right",   "not correct", "not true",   "not possible",
                                                     "not the answer", "a mistake", "nonsense"};
  for (const std::string_view verb : {" is ", "'s ", " was ", " seems ", " can't be ", " cannot be "})
    for (std::size_t at = text.find(verb); at != text.npos; at = text.find(verb, at + 1)) {
      const std::string_view subject = std::string_view(text).substr(0, at);
      const std::string_view fault = std::string_view(text).substr(at + verb.size());
      if (starts_with_any(fault, kFaults) > 0 &&
          std::ranges::any_of(kSubjects, [&](std::string_view each) { return subject.ends_with(each); }))
        return true;
    }
  if (is_ascii(text)) return false;
  const std::string_view said = std::string_view(text).substr(0, std::min(text.find_first_of(",;"), text.size()));
  const std::string_view clause = said.substr(0, std::min(said.find("、"), said.size()));
  return contains_any(clause, std::array<std::string_view, 17>{
                                  "아니", "아닙", "아닌", "모르", "틀렸", "틀린", "ではな", "ではあり", "じゃな", "かどうか",
                                  "分から", "わから", "不对", "是错", "吗", "嗎", "ですか"});
}

/// Where the last "not", "cannot" or "nothing" of a text in small letters ends; npos for none. "Another" is none.
std::size_t last_not(std::string_view text) {
  for (std::size_t at = text.rfind("not"); at != text.npos; at = at == 0 ? text.npos : text.rfind("not", at - 1)) {
    std::size_t start = at;
    while (start > 0 && is_letter(text[start - 1]) && at - start <= 3) --start;
    const std::string_view word = text.substr(start, std::min(word_end(text, at), at + 8) - start);
    if (word == "not" || word == "cannot" || word == "nothing") return start + word.size();
  }
  return text.npos;
}

/// Whether a sentence does not state the number that it leads to. `before` and `after` are its parts.
bool is_denied(std::string_view before, std::string_view after, bool confirmed) {
  const std::string text = lowered(before);
  const std::string_view clause = last_clause(text);
  if (contains_any(text, kDoubts) || contains_any(clause, kDenials) || is_supposed(text, confirmed)) return true;
  // "not" with nothing after it that takes it back ("not 10 it's 12")
  if (const std::size_t end = last_not(text); end != text.npos) {
    const std::string_view rest = std::string_view(text).substr(end);
    if (rest.find(" it's") == rest.npos && rest.find(" it is") == rest.npos && rest.find(" but") == rest.npos &&
        rest.find(',') == rest.npos)
      return true;
  }
  return takes_back(after);
}

// ---- Sentences ----

struct Span {
  std::size_t start, end;
  bool formula;
};

/// Formulas, points and bare numbers of a text, in order.
std::vector<Span> spans_of(std::string_view text) {
  std::vector<Span> spans;
  NextMarks marks;
  for (std::size_t at = 0; at < text.size();) {
    if (const std::size_t end = formula_end(text, at, marks); end > at) {
      spans.push_back({at, end, true});
      at = end;
      continue;
    }
    if (const std::size_t end = point_end(text, at); end > at) {
      spans.push_back({at, end, false});
      at = end;
      continue;
    }
    const bool starts = is_digit(text[at]) || (text[at] == '.' && at + 1 < text.size() && is_digit(text[at + 1]));
    if (starts && (at == 0 || !(is_letter(text[at - 1]) || text[at - 1] == '_'))) {
      const std::size_t end = number_end(text, at + (text[at] == '.' ? 1 : 0));
      std::size_t start = at;
      for (const std::string_view sign : {"-", "\u2212", "\u2013"})
        if (text.substr(0, at).ends_with(sign) && (at == sign.size() || text[at - sign.size() - 1] == ' '))
          start = at - sign.size();
      spans.push_back({start, end, false});
      at = end;
      continue;
    }
    if (text[at] == '\\' && at + 1 < text.size()) ++at;
    ++at;
  }
  return spans;
}

/// Whether two spans are members of one answer: 3 or 4.
bool is_joint(std::string_view between) {
  const std::string rest = lowered(trim(between));
  return rest == "or" || rest == "and" || rest == "," || rest == ", and" || rest == ", or" || rest == ";" ||
         rest == "/" || rest == "또는" || rest == "或" || rest == "和" || rest == "및" || rest == "、";
}
/// Whether they are parts of one formula: 3 + 14 = 17.
bool is_operator(std::string_view between) {
  const std::string_view rest = trim(between);
  return !rest.empty() && rest.find_first_not_of("+-*/=^() ") == rest.npos && rest.find_first_of("+-*/=^") != rest.npos;
}

/// Whether a number stands in a reason for another: "17 because 16 is too small".
bool gives_reason(std::string_view between) {
  const std::string text = lowered(between.substr(0, std::min(between.size(), kMaxAside)));
  const bool opens = contains_any(text, std::array<std::string_view, 9>{" because ", " since ", ", as ", " rather than ",
                                                                        " instead of ", " whereas ", "因为", "由于",
                                                                        "왜냐하면"});
  return opens && !contains_any(text, std::array<std::string_view, 7>{" so ", " therefore", " thus", " hence", "所以",
                                                                      "因此", "따라서"});
}

std::string_view last_words(std::string_view before) {
  return before.size() > 40 ? before.substr(before.size() - 40) : before;
}

bool follows_copula(std::string_view before) {
  std::string text = lowered(trim(last_words(before)));
  while (!text.empty() && std::string_view("$ \\}").find(text.back()) != std::string_view::npos) text.pop_back();
  for (const std::string_view currency : {"€", "£", "¥", "₩"})
    if (text.ends_with(currency)) text.resize(text.size() - currency.size());
  while (text.ends_with(' ')) text.pop_back();
  if (text.ends_with("因为")) return false;
  for (const std::string_view about : {" approximately", " about", " exactly", " just", " only", " a total of"})
    if (text.ends_with(about)) text.resize(text.size() - about.size());
  for (const std::string_view word :
       {" is",    " it's", " are",   " equals", " equal to", " by",     " was",     " be",  "=",         ":",
        " becomes", " to", " get",   " gets",   " give",     " gives",  " have",    " has", " find",     " obtain",
        " pays",  " paid", " cost",  " costs",  " takes",    " needs",  " makes",   " leaves", " leaving", " est",
        " so",    " thus", " hence", " therefore", "：",     "는",      "은",       "是",  "为",        "は",
        "有",     "一共",  "总共",   "剩",      "剩下"})
    if (text.ends_with(word)) return true;
  return text == "is" || text == "it's" || text == "一共" || text == "总共";
}

/// Whether the words in front make another number of it: half of 17, at least 17, the square of 17, page 17.
bool is_changed_by(std::string_view before, bool equation) {
  std::string text = lowered(trim(last_words(before)));
  while (!text.empty() && std::string_view("$ \\").find(text.back()) != std::string_view::npos) text.pop_back();
  const auto last_word = [&] {
    std::size_t start = text.size();
    while (start > 0 && is_letter(text[start - 1])) --start;
    std::string word = text.substr(start);
    text.resize(start);
    while (text.ends_with(' ')) text.pop_back();
    return word;
  };
  const std::string word = last_word();
  if (math::is_among(" than least most twice double half triple under over above below not between minus plus times "
                     "negative neither nor except without versus beyond of but exceeds from to near nearly almost hardly barely within "
                     "longer first unknown ",
                     word)) {
    if (word == "to") return math::is_among(" up close next prior near similar opposed ", last_word());
    if (word == "but") return math::is_among(" anything everything nothing all numbers none number ", last_word());
    if (word != "of") return true;
    const std::string what = last_word();
    return math::is_among(" half halves third thirds quarter quarters fifth tenth multiple multiples power powers square "
                          "cube root roots factor factors percent one most all none double inverse reciprocal opposite "
                          "negative out instead each any divisor divisors ",
                          what);
  }
  return !equation && math::is_among(" page step room chapter question day week year line ", word);
}

}  // namespace

std::size_t sentence_end(std::string_view text, std::size_t from) {
  for (std::size_t i = from; i < text.size(); ++i)
    if (stops(text, i) || (text[i] == '\n' && i > from)) return i;
  return text.size();
}

Statement find_in_prose(std::string_view marked, bool announced) {
  const std::string plain = without_marks(marked);
  const std::string_view text = plain;
  const std::vector<Span> spans = spans_of(text);
  if (spans.empty()) return {};
  // Each belongs to a sentence, and does not count where it only gives a reason there.
  std::vector<std::size_t> sentences(spans.size());
  std::vector<bool> explains(spans.size());
  std::size_t sentence = 0, end = sentence_end(text, 0);
  for (std::size_t i = 0; i < spans.size(); ++i) {
    while (end < spans[i].start) sentence = end + 1, end = sentence_end(text, sentence);
    if (spans[i].end > end) end = sentence_end(text, spans[i].end);
    sentences[i] = sentence;
    if (i == 0 || sentences[i - 1] != sentence) continue;
    const std::string_view between = text.substr(spans[i - 1].end, spans[i].start - spans[i - 1].end);
    explains[i] = gives_reason(between) ||
                  (explains[i - 1] && !contains_any(lowered(between), std::array<std::string_view, 6>{
                                                                          " so ", " therefore", " thus", " hence",
                                                                          "所以", "因此"}));
  }
  const auto confirmed = [&](const Span& span) {
    const std::size_t after = skip_white_space(text, span.end);
    return confirms(lowered(text.substr(after, 64)));
  };
  const auto counts = [&](std::size_t i) {
    if (explains[i]) return false;
    if (spans[i].formula || follows_copula(text.substr(0, spans[i].start)) || confirmed(spans[i])) return true;
    // "not 16 but 17"
    const std::string_view between =
        i == 0 ? std::string_view() : text.substr(spans[i - 1].end, spans[i].start - spans[i - 1].end);
    return trim(between) == "but" || trim(between) == ", but";
  };
  std::size_t last = spans.size();
  while (last > 0 && !counts(last - 1)) --last;
  if (last == 0) {  // after "Answer:" any number counts, but a choice among several is none
    if (!announced || std::count(explains.begin(), explains.end(), false) != 1) return {};
    last = static_cast<std::size_t>(std::find(explains.begin(), explains.end(), false) - explains.begin()) + 1;
  }
  --last;
  const Span& span = spans[last];
  std::size_t first = last;
  const auto between = [&](std::size_t i) { return text.substr(spans[i].end, spans[i + 1].start - spans[i].end); };
  while (first > 0 && sentences[first - 1] == sentences[last] &&
         (is_joint(between(first - 1)) || is_operator(between(first - 1))))
    --first;
  if (first > 0 && trim(between(first - 1)) == "to") return {Statement::refused, ""};  // from 1 to 17
  const std::string_view before = text.substr(sentences[last], spans[first].start - sentences[last]);
  // "In the last line $3 + 14 = 17$"
  const std::string_view value = text.substr(spans[first].start, span.end - spans[first].start);
  const bool equation = spans[first].formula && value.find('=') != value.npos;
  if (is_denied(before, text.substr(span.end), confirmed(span)) || is_changed_by(before, equation))
    return {Statement::refused, ""};
  std::size_t from = spans[first].start;
  if (const std::string_view lead = text.substr(0, from); lead.ends_with("\\$")) from -= 2;
  else if (lead.ends_with('$')) --from;
  for (const std::string_view currency : {"€", "£", "¥", "₩"})
    if (text.substr(0, from).ends_with(currency)) from -= currency.size();
  const std::string_view stated = text.substr(from);
  const Beginning found = beginning_of(stated);
  if (found.kind == Beginning::none && span.formula && names(lowered(trim(text.substr(span.end, 80)))))
    return {Statement::read, std::string(text.substr(from, span.end - from))};
  if (found.kind != Beginning::answer || takes_back(stated.substr(found.end))) return {Statement::refused, ""};
  return {Statement::read, answer_at(stated, found)};
}

Statement read_statement(std::string_view text, bool announced) {
  const std::string plain = without_marks(text);
  const Beginning found = beginning_of(plain);
  if (found.kind == Beginning::several) return {};
  if (found.kind == Beginning::answer) {
    const std::string_view rest = std::string_view(plain).substr(found.end);
    const std::string answer = answer_at(plain, found);
    // Of a text that nothing announces, the first number may be one of the question, or of a list of steps.
    const auto stands = [&] {
      if (announced || found.cut == Beginning::nothing || found.cut == Beginning::reason ||
          found.cut == Beginning::confirmed || trim(rest).size() <= 3)
        return true;
      if (found.cut != Beginning::sentence || answer == "1") return false;
      const Statement other = find_in_prose(plain, false);
      return other.kind != Statement::read || other.answer == answer;
    };
    if (!stands()) return {};
    if (takes_back(rest)) return {Statement::refused, ""};
    return {Statement::read, answer};
  }
  if (!announced) return {};
  // "Evelyn because she was faster"
  const std::string small = lowered(plain);
  std::size_t end = small.size();
  for (const std::string_view reason : {" because ", ", because ", ", since ", "因为"})
    end = std::min(end, small.find(reason));
  const std::string_view words = std::string_view(small).substr(0, end);
  if (end == small.size() || words.find_first_of("0123456789$\\") != words.npos)
    if (Statement said = find_in_prose(plain, true); said.kind != Statement::unclear) return said;
  if (contains_any(small, kDoubts) || contains_any(words, kDenials) || words.starts_with("not "))
    return {Statement::refused, ""};
  return {Statement::read, std::string(trim(std::string_view(plain).substr(0, end)))};
}

bool is_supposed_at(std::string_view text, std::size_t at) {
  std::string_view before = text.substr(0, at);
  if (before.size() > kMaxAside) before.remove_prefix(before.size() - kMaxAside);
  const auto start_behind = [&](auto... stops) {
    for (const std::string_view stop : {std::string_view(stops)...})
      if (const std::size_t from = before.rfind(stop); from != before.npos) before.remove_prefix(from + stop.size());
  };
  start_behind(". ", "\n", "! ", "? ", ">");
  if (!is_ascii(before)) start_behind("。", "？", "！");
  return is_supposed(lowered(before), true);
}

}  // namespace grpo
