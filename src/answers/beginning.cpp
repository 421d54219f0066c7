// How far a text that begins with its answer is the answer, and where the explanation of it begins.
#include "answers/prose.h"

#include "answers/math/spellings.h"
#include "answers/reading.h"
#include "text/ascii.h"
#include "text/utf8.h"

namespace grpo {
namespace {

/// Whether a sentence ends at `at`: with a full stop that no digit follows, or a question mark.
bool stops(std::string_view text, std::size_t at) {
  const char c = text[at];
  if (c == '.')
    return at + 1 == text.size() || std::string_view(" \n\t\r$<*").find(text[at + 1]) != std::string_view::npos;
  if (static_cast<unsigned char>(c) < 0x80) return c == '?';
  return text.substr(at).starts_with("。") || text.substr(at).starts_with("？");
}
// ---- Words ----

/// What follows explains the answer in front of it.
constexpr std::string_view kReasons =
    " because since as not never no nor rather instead given where provided namely weil denn parce puisque "
    "porque pues ";
/// What follows goes on from the answer in front of it.
constexpr std::string_view kConsequences =
    " so which that whereas while although though thus therefore hence who whose meaning whence ";
/// What follows may say when the answer holds, or add another one.
constexpr std::string_view kConditions =
    " if when whenever for after before once unless but however then under during from with without via using such "
    "assuming except also maybe perhaps possibly alternatively otherwise else either even along due thanks "
    "according based "
    "considering wenn falls oder ou sonst sinon aber mais pero ";
/// They join a second answer to the first.
constexpr std::string_view kJoints = " or and be oder und ou et o y e sonst sinon ";
/// What stands before them is spoken of, and is no answer.
constexpr std::string_view kVerbs =
    " is are was were be been has have had can cannot could may might must will would shall should do does did equals "
    "equal gives makes means becomes seems looks appears works fails cost costs went goes ist sind war est sont "
    "es son ";
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
  if (!is_ascii(word)) return false;
  if (word.size() == 1 || is_function(word)) return true;
  if (word.size() <= 3 && std::all_of(word.begin(), word.end(), is_upper)) return true;
  return word.size() <= 3 && word.find_first_of("aeiouAEIOU") == word.npos && !is_upper(word[0]) &&
         !math::is_word(word) && word != "by" && word != "my";
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
  const std::size_t end = latin_word_end(text, at);
  if (!is_symbolic(text.substr(at, end - at))) return false;
  if ((rest[0] != 'a' && rest[0] != 'I' && rest[0] != 'A') || end > at + 1) return true;
  // "a half", "I think"; but "A because"
  const std::size_t next = skip_white_space(text, end), next_end = latin_word_end(text, next);
  return next == next_end || next == end || math::is_among(kReasons, lowered(text.substr(next, next_end - next)));
}

// ---- Formulas ----
/// The end of the bracket that opens at `at`; `at` where it stays open, or others nest deeper in it than anyone writes.
std::size_t bracket_end(std::string_view text, std::size_t at) {
  constexpr int kMostOpen = 16;
  int open = 0;
  for (std::size_t i = at; i < text.size() && i < at + kMaxAside; ++i) {
    open += text[i] == '(' || text[i] == '[';
    open -= text[i] == ')' || text[i] == ']';
    if (open == 0) return i + 1;
    if (open > kMostOpen) break;
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
    const std::size_t end = latin_word_end(inside, at);
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

/// Whether a second number follows that is as good as the first: "and 18 otherwise", "but it may also be 18".
bool adds_another(std::string_view text) {
  text = text.substr(0, std::min(sentence_end(text, 0), kMaxAside));
  if (text.find_first_of("0123456789$") == text.npos) return false;
  const bool objects = text.find("but ") != text.npos || text.find("however") != text.npos;
  std::string last;
  for (std::size_t at = 0; at < text.size();) {
    if (is_letter(text[at])) {
      const std::size_t end = latin_word_end(text, at);
      last = lowered(text.substr(at, end - at));
      if (math::is_among(" otherwise else also well either alternatively maybe perhaps possibly sonst sinon ", last))
        return true;
      at = end;
      continue;
    }
    if (is_digit(text[at])) {
      if (math::is_among(kJoints, last) || (objects && math::is_among(" is it's was are ", last))) return true;
      last.clear();
      const std::size_t end = number_end(text, at), next = skip_white_space(text, end);
      const std::string_view before = trim(text.substr(0, at));
      if ((before.ends_with(',') || before.ends_with(';')) &&  // 17 for Tom, 18 for Ann
          math::is_among(kConditions, lowered(text.substr(next, latin_word_end(text, next) - next))))
        return true;
      at = end;
      continue;
    }
    if (starts_with_any(text.substr(at), std::array<std::string_view, 6>{"或", "也", "否则", "또는", "和", "及"}) > 0)
      return true;
    ++at;
  }
  return false;
}
/// Whether a clause, in small letters from its verb on, says what is not so: "is not possible", "doesn't work", "is too
/// small".
bool denies(std::string_view clause) {
  const std::size_t end = latin_word_end(clause, 0), next = skip_white_space(clause, end);
  const std::string_view verb = clause.substr(0, end);
  const std::string_view following = clause.substr(next, latin_word_end(clause, next) - next);
  return verb.ends_with("n't") || verb == "cannot" || verb == "fails" ||
         math::is_among(" not never too no impossible wrong incorrect ", following);
}

/// "car 16 est trop petit", "et il n'y a pas d'autre", "y no hay otra", "und keine andere": French, Spanish and German
/// words that are something else in English, or join numbers as well.
bool is_foreign_reason(std::string_view word, std::string_view rest) {
  const std::string following = lowered(rest.substr(0, latin_word_end(rest, 0)));
  if (word == "car")
    return !rest.empty() && (is_digit(rest[0]) || rest[0] == '$' ||
                             math::is_among(" il elle on le la les ce c'est nous un une ", following));
  if (word == "et" || word == "y" || word == "und" || word == "e")
    return math::is_among(" il elle ce c'est non pas aucune aucun no es el la los las hay nicht kein keine não ",
                          following);
  return false;
}

}  // namespace

bool is_latin(std::string_view text, std::size_t at) {
  if (at >= text.size()) return false;
  if (is_ascii(text[at])) return is_letter(text[at]);
  const char32_t c = decode_utf8(text, at).value;
  return c >= 0xC0 && c < 0x250 && c != U'×' && c != U'÷';
}

std::size_t latin_word_end(std::string_view text, std::size_t at) {
  while (true) {
    if (is_latin(text, at))
      at += is_ascii(text[at]) ? 1 : 2;
    else if (at + 1 < text.size() && text[at] == '\'' && is_latin(text, at + 1))
      ++at;
    else
      return at;
  }
}

std::size_t number_end(std::string_view text, std::size_t at) {
  std::size_t end = at;
  while (end < text.size() && (is_digit(text[end]) || ((text[end] == ',' || text[end] == '.' || text[end] == '/') &&
                                                       end + 1 < text.size() && is_digit(text[end + 1]))))
    ++end;
  return end;
}

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

bool confirms(std::string_view text) {
  std::size_t at = 0;
  const auto take = [&](std::string_view words) {
    const std::size_t end = latin_word_end(text, at);
    if (end == at || !math::is_among(words, text.substr(at, end - at))) return false;
    at = skip_white_space(text, end);
    return true;
  };
  if (!take(" is are ")) return false;
  take(" the our my your ");
  while (take(" final correct right required only desired ")) {
  }
  if (take(" answer answers result solution ")) return true;
  if (!take(" smallest largest least greatest ")) return false;  // "is the smallest such number"
  take(" such possible ");
  return take(" number value integer ");
}

namespace {

// Reads a text sign by sign, up to where it is no more the answer.
class BeginningReader {
 public:
  explicit BeginningReader(std::string_view text) : text_(text) {}

  Beginning read() {
    skip_leads();
    if (!starts_value(text_, at_)) return found_;
    found_.start = at_;
    while (at_ < text_.size())
      if (take()) return found_;
    ends(Beginning::nothing);
    return found_;
  }

 private:
  // What may lead to the answer.
  void skip_leads() {
    for (bool more = true; more && at_ < text_.size();) {
      more = false;
      while (at_ < text_.size() && (is_space(text_[at_]) || text_[at_] == ':' || text_[at_] == '=')) ++at_, more = true;
      if (at_ < text_.size() && static_cast<unsigned char>(text_[at_]) >= 0x80)
        if (const std::size_t size = starts_with_any(text_.substr(at_), kEasternLeads); size > 0)
          at_ += size, more = true;
      const std::size_t end = latin_word_end(text_, at_);
      if (end == at_ || (end == at_ + 1 && text_[at_] != 'a')) continue;
      const std::string word = lowered(text_.substr(at_, end - at_));
      const bool sign = (word == "negative" || word == "minus") && end + 1 < text_.size() && is_digit(text_[end + 1]);
      if (!sign && !math::is_among(kLeads, word)) continue;
      if (end < text_.size() && !is_space(text_[end]) && text_[end] != ',' && text_[end] != ':') continue;
      if (word == "a" && !text_.substr(end).starts_with(" total")) continue;
      found_.negative = sign;
      at_ = end + (end < text_.size() && text_[end] == ',' ? 1 : 0);
      more = true;
    }
  }

  // Each of these takes what stands at at_, or ends there: then it is true, and found_ is what was found.
  bool take() {
    const char c = text_[at_];
    const std::string_view rest = text_.substr(at_);
    if (c == '\n') return value_ ? ends(Beginning::sentence) : pass(at_ + 1);
    if (is_digit(c)) return value_ = true, pass(number_end(text_, at_));
    if (c == '$' || rest.starts_with("\\(") || rest.starts_with("\\[")) return take_formula();
    if (c == '\\') return take_command();
    if (c == '{') return take_braces();
    if (c == '(' || c == '[') return take_bracket();
    if (c == '?' || rest.starts_with("？")) return is_subject();
    if (c == '.' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1])) return pass(at_ + 1);
    if (c == '.' && stops(text_, at_)) return ends(Beginning::sentence);
    if (rest.starts_with("。") || rest.starts_with("！")) return ends(Beginning::sentence);
    if (rest.starts_with("（")) return ends(Beginning::reason);
    if (c == ',' || c == ';') return take_separator(1);
    if (rest.starts_with("，") || rest.starts_with("；") || rest.starts_with("、")) return take_separator(3);
    if (c == ':' && at_ + 1 < text_.size() && is_space(text_[at_ + 1])) return take_colon();
    if (c == '#' && value_ && is_space(text_[at_ - 1])) return ends(Beginning::reason);
    if (c == '-') return take_dash(1);
    if (rest.starts_with("–") || rest.starts_with("—")) return take_dash(3);
    if (is_latin(text_, at_)) return take_word();
    if (is_eastern(c)) return take_eastern();
    value_ |= static_cast<unsigned char>(c) >= 0x80;
    return pass(at_ + 1);
  }

  bool take_formula() {
    const std::size_t end = formula_end(text_, at_, marks_);
    const bool lone = end == at_ && text_[at_] == '$' && (at_ + 1 == text_.size() || is_space(text_[at_ + 1]));
    if (lone && value_) return ends(Beginning::condition);  // 2,74 $
    value_ |= end > at_;
    return pass(std::max(end, at_ + 1));
  }

  bool take_command() {
    std::size_t end = at_ + 1;
    while (end < text_.size() && is_letter(text_[end])) ++end;
    value_ |= end > at_ + 1;
    return pass(std::max(end, std::min(at_ + 2, text_.size())));
  }

  bool take_braces() {
    const auto body = braced_body(text_, at_);
    if (!body) return is_subject();
    value_ = true;
    return pass(at_ + body->size() + 2);
  }

  bool take_bracket() {
    const std::size_t end = bracket_end(text_, at_);
    if (value_ && end > at_ + 1 && is_aside(text_.substr(at_ + 1, end - at_ - 2)) && !is_operand_ahead(text_, end)) {
      std::size_t after = skip_white_space(text_, end);
      for (const std::string_view joint : {",", ";", "and ", "or "})
        if (text_.substr(after).starts_with(joint)) after = skip_white_space(text_, after + joint.size());
      ends(Beginning::reason);
      if (after < text_.size() && after > skip_white_space(text_, end) && is_digit(text_[after]))
        found_.kind = Beginning::several;  // 5 (Tom), 6 (Ann)
      return true;
    }
    value_ |= end > at_;
    return pass(std::max(end, at_ + 1));
  }

  bool take_separator(std::size_t size) {
    const std::size_t after = skip_white_space(text_, at_ + size);
    if (after == text_.size()) return ends(Beginning::sentence);
    const std::string_view behind = text_.substr(after);
    const std::size_t end = latin_word_end(text_, after);
    const std::string word = lowered(text_.substr(after, end - after));
    if (behind.starts_with("i.e") || behind.starts_with("e.g")) return ends(Beginning::reason);
    if (word == "and" || word == "or" || starts_value(text_, after)) {
      if (value_) parted_ = at_;
      return pass(after);
    }
    if (is_eastern(text_[after]))
      return ends(starts_with_any(behind, kEasternConditions) ? Beginning::condition : Beginning::reason);
    if (math::is_among(kConditions, word)) return ends(Beginning::condition);
    const bool reason = math::is_among(kReasons, word) || math::is_among(" da il car pas ", word) ||
                        is_foreign_reason(word, text_.substr(skip_white_space(text_, end)));
    return ends(reason ? Beginning::reason : Beginning::consequence);
  }

  bool take_colon() {
    const std::size_t after = skip_white_space(text_, at_ + 1);
    if (after < text_.size() && is_letter(text_[after]) && !starts_value(text_, after))
      return ends(Beginning::consequence);
    if (value_) parted_ = at_;
    return pass(at_ + 1);
  }

  bool take_dash(std::size_t size) {
    const std::string_view rest = text_.substr(at_);
    const std::size_t after = skip_white_space(text_, at_ + size);
    const bool word = after < text_.size() && is_letter(text_[after]) && !starts_value(text_, after);
    const bool spaced = at_ > 0 && is_space(text_[at_ - 1]) && after > at_ + size;
    if (value_ && ((spaced && word) || (rest.starts_with("—") && (spaced || word)) || rest.starts_with("--")))
      return ends(Beginning::reason);
    return pass(at_ + size);
  }

  bool take_word() {
    const std::size_t end = latin_word_end(text_, at_), next = skip_white_space(text_, end);
    const std::string word = lowered(text_.substr(at_, end - at_));
    const bool before_word = next > end && next < text_.size() && is_letter(text_[next]);
    if (text_[at_] == 'I' && value_ && (before_word || end > at_ + 1) && (word == "i" || word[1] == '\''))
      return ends(Beginning::reason);  // "17 I think"
    if (word == "and" || word == "or") return take_joint(word, next);
    if (is_foreign_reason(word, text_.substr(next))) return ends(Beginning::reason);
    if (word == "as" && text_.substr(next).starts_with("well as")) {
      found_.kind = Beginning::several;
      return true;
    }
    const bool symbolic = is_symbolic(text_.substr(at_, end - at_));
    if (symbolic && !(value_ && before_word && word == "a")) return value_ = true, pass(end);
    const bool compares = word == "as" && trim(text_.substr(0, at_)).ends_with(" times");  // 17 times as many
    if (math::is_among(kReasons, word) && !compares) return ends(Beginning::reason);
    if (math::is_among(kConsequences, word)) return ends(Beginning::consequence);
    if (math::is_among(kConditions, word)) return ends(Beginning::condition);
    if (word == "by" && !starts_value(text_, next)) return ends(Beginning::condition);
    if (math::is_among(kVerbs, word) || word.ends_with("n't"))
      return confirms(lowered(text_.substr(at_, kMaxAside))) ? ends(Beginning::confirmed) : is_subject();
    return pass(end);
  }

  // "and" or "or", with what stands at `next` behind it.
  bool take_joint(std::string_view word, std::size_t next) {
    std::size_t after = next;
    while (after < text_.size() && (text_[after] == ',' || is_space(text_[after]))) ++after;
    if (starts_value(text_, after)) return pass(after);
    const std::string following = lowered(text_.substr(after, latin_word_end(text_, after) - after));
    if (word == "or" && following == "not") return is_subject();
    if ((word == "and" && following == "a") ||  // and a half; or more, and up
        math::is_among(" more less fewer greater larger higher lower above below beyond so up thereabouts half ",
                       following))
      return pass(after);
    const bool goes_on = word == "and" && text_[next - (next == text_.size())] != ',' &&
                         math::is_among(" not no nothing none never neither hence thus therefore so that this it "
                                        "there we i he she they is because since ",
                                        following);
    return ends(goes_on ? Beginning::reason : Beginning::condition);
  }

  bool take_eastern() {
    const std::string_view rest = text_.substr(at_);
    if (starts_with_any(rest, kEasternReasons)) return ends(Beginning::reason);
    if (starts_with_any(rest, kEasternEnds)) return ends(Beginning::sentence);
    if (const std::size_t size = starts_with_any(rest, kEasternConditions); size > 0)
      return starts_value(text_, skip_white_space(text_, at_ + size)) ? pass(at_ + size)  // 17或18
                                                                      : ends(Beginning::condition);
    if (starts_with_any(rest, kEasternVerbs)) return is_subject();
    return pass(at_ + decode_utf8(text_, at_).size);
  }

  bool pass(std::size_t at) { return at_ = at, false; }

  bool ends(decltype(Beginning::cut) cut) {
    found_.cut = cut;
    found_.end = at_;
    const bool open = cut == Beginning::condition && adds_another(text_.substr(at_));
    found_.kind = !value_ ? Beginning::none : open ? Beginning::several : Beginning::answer;
    return true;
  }

  // What was read is spoken of, and no answer, but for the members in front of the last one: "17, and 16 is not
  // possible".
  bool is_subject() {
    if (parted_ == 0) return found_ = Beginning(), true;
    const bool denied = denies(lowered(text_.substr(at_, std::min(sentence_end(text_, at_) - at_, kMaxAside))));
    at_ = parted_;
    return ends(denied ? Beginning::reason : Beginning::condition);
  }

  std::string_view text_;
  std::size_t at_ = 0;
  Beginning found_;
  NextMarks marks_;
  bool value_ = false;      // whether a value was read
  std::size_t parted_ = 0;  // where the last member starts that may be a sentence: "17; 16 is too small"
};

}  // namespace

Beginning beginning_of(std::string_view text) { return BeginningReader(text).read(); }

std::string answer_at(std::string_view text, const Beginning& found) {
  std::string_view answer = trim(text.substr(found.start, found.end - found.start));
  while (!answer.empty() && std::string_view(",;:-").find(answer.back()) != std::string_view::npos)
    answer = trim(answer.substr(0, answer.size() - 1));
  if (answer.ends_with(')') && answer.find_first_of("([") == answer.npos) answer.remove_suffix(1);
  return (found.negative ? "-" : "") + std::string(answer);
}

std::size_t sentence_end(std::string_view text, std::size_t from) {
  for (std::size_t i = from; i < text.size(); ++i)
    if (stops(text, i) || (text[i] == '\n' && i > from)) return i;
  return text.size();
}

}  // namespace grpo
