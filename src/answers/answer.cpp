// Which kind of answer a reference is, and whether an answer of that kind is the same.
#include "grpo/answer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <tuple>

#include "answers/math/expression.h"
#include "answers/math/spellings.h"
#include "answers/reading.h"
#include "text/ascii.h"
#include "text/unicode_form.h"
#include "text/utf8.h"

namespace grpo {
namespace {

constexpr std::size_t kMaxBytes = 1 << 16;  // of an answer, prose included
constexpr std::size_t kMaxFormula = 16384;  // of what is read as mathematics
constexpr std::size_t kMaxDigits = 4096;    // of a plain number
constexpr std::size_t kMaxNamed = 256;      // of a date or a time of day
constexpr std::size_t kMaxReadings = 8;     // different final answers that are compared


/// One form for what looks the same: full-width forms, which Korean, Chinese and Japanese texts mix in, as the ASCII
/// they stand for, and letters with their marks composed.
std::string_view fold_forms(std::string_view text, std::string& storage) {
  if (is_ascii(text)) return text;
  std::string valid, composed;
  if (valid_utf8(text, valid).data() == text.data()) text = composed = normalize(UnicodeForm::nfc, text);
  storage.clear();
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    if (c.value >= 0xFF01 && c.value <= 0xFF5E)
      storage += static_cast<char>(c.value - 0xFF01 + '!');
    else if (c.value == 0x3000)
      storage += ' ';
    else
      storage += text.substr(at, c.size);
    at += c.size;
  }
  return storage;
}

// ---- Choices, texts, dates, times ----

/// B of "B", "(B)", "B.", "\text{(B)}", and, for an answer, of "(B) 12" and "Option B"; '\0' for anything else.
char choice(std::string_view text, bool may_explain) {
  const auto may_be = [&](char c) { return (c >= 'A' && c <= 'J') || (may_explain && c >= 'a' && c <= 'e'); };
  if (std::ranges::none_of(text, may_be)) return '\0';
  std::string plain;
  for (std::size_t at = 0; at < text.size() && plain.size() < 64; ++at) {
    if (text[at] == '\\') {
      while (at + 1 < text.size() && is_letter(text[at + 1])) ++at;
    } else if (std::string_view("{}$ *`").find(text[at]) == std::string_view::npos || text[at] == ' ') {
      if (std::string_view("{}$*`").find(text[at]) == std::string_view::npos) plain += text[at];
    }
  }
  std::string_view rest = trim(plain);
  if (may_explain)
    for (const std::string_view word : {"Option ", "option ", "Choice ", "choice "})
      if (rest.starts_with(word)) rest.remove_prefix(word.size());
  const bool round = rest.starts_with('(');
  if (round) rest.remove_prefix(1);
  if (rest.empty()) return '\0';
  const char letter = round && may_explain && rest[0] >= 'a' && rest[0] <= 'e' ? rest[0] - 'a' + 'A' : rest[0];  // (c)
  if (letter < 'A' || letter > 'J') return '\0';
  rest.remove_prefix(1);
  if (round && !rest.starts_with(')')) return '\0';
  const bool marked = round || rest.starts_with(')') || rest.starts_with('.') || rest.starts_with(':');
  if (marked && !rest.empty()) rest.remove_prefix(1);
  if (!trim(rest).empty()) {
    // "(B) 12, or (C)" names two
    if (!may_explain || !marked || rest.find('(') != rest.npos) return '\0';
    for (std::size_t i = 1; i + 1 < rest.size(); ++i)
      if (rest[i] >= 'A' && rest[i] <= 'J' && !is_letter(rest[i - 1]) && !is_letter(rest[i + 1])) return '\0';
    if (is_upper(rest.back()) && (rest.size() < 2 || !is_letter(rest[rest.size() - 2]))) return '\0';
  }
  return letter;
}

/// A text for comparison: white space runs are one space, no full stop or quotation marks around it, out of \text{}
/// and dollars; small letters where it holds a word, and no "there is" in front.
std::string plain_text(std::string_view text) {
  text = unwrap_answer(text);
  if (text.starts_with("\\displaystyle ")) text = trim(text.substr(std::string_view("\\displaystyle ").size()));
  for (int layer = 0; layer < 4; ++layer) {
    for (const std::string_view command :
         {"\\text{", "\\textbf{", "\\mathrm{", "\\mbox{", "\\textit{", "\\textnormal{", "\\mathbf{"}) {
      if (!text.starts_with(command)) continue;
      const auto body = braced_body(text, command.size() - 1);
      if (body && body->size() + command.size() + 1 == text.size()) text = trim(*body);
    }
    if (const auto body = text.starts_with('{') ? braced_body(text, 0) : std::nullopt;
        body && body->size() + 2 == text.size() && body->find(',') == body->npos)
      text = trim(*body);
    if (text.size() > 1 && ((text.starts_with('"') && text.ends_with('"')) ||
                            (text.starts_with("**") && text.ends_with("**") && text.size() > 4)))
      text = trim(text.substr(text[0] == '"' ? 1 : 2, text.size() - (text[0] == '"' ? 2 : 4)));
  }
  if (text.ends_with('.')) text.remove_suffix(1);
  std::string plain;
  plain.reserve(text.size());
  std::size_t run = 0, longest = 0;
  for (std::size_t at = 0; at < text.size();) {
    const bool is_mark = text[at] > ' ' && is_ascii(text[at]);  // as nearly all are
    const std::size_t after = is_mark ? at : skip_white_space(text, at);
    if (after > at) {
      plain += ' ';
      at = after;
      run = 0;
      continue;
    }
    run = is_letter(text[at]) ? run + 1 : 0;
    longest = std::max(longest, run);
    plain += text[at++];
  }
  if ((longest >= 3 || plain == "NO" || plain == "No") && plain.find('\\') == plain.npos)
    for (char& c : plain) c = lower(c);
  for (const std::string_view says : {"there is ", "there are "})
    if (plain.starts_with(says)) return plain.substr(says.size());
  return plain;
}

/// Minutes and seconds of "12:00", "3:05:10", "3:05 pm"; `half` is 'a', 'p' or '\0'.
struct Time {
  int hour = 0, minute = 0, second = 0;
  char half = '\0';
  int of_day() const {
    return (half == '\0' ? hour : hour % 12 + (half == 'p' ? 12 : 0)) * 3600 + minute * 60 + second;
  }
};
std::optional<Time> read_time(std::string_view text) {
  if (text.size() > kMaxNamed || text.find(':') == text.npos) return {};
  const std::string plain = plain_text(text);
  std::string tight;
  for (const char c : plain)
    if (c != ' ' && c != '.' && c != '\\' && c != '{' && c != '}') tight += lower(c);
  for (const std::string_view word : {"text", "mbox", "mathrm"})
    if (const std::size_t at = tight.find(word); at != tight.npos) tight.erase(at, word.size());
  Time time;
  if (tight.ends_with("am") || tight.ends_with("pm")) {
    time.half = tight[tight.size() - 2];
    tight.resize(tight.size() - 2);
  }
  std::vector<int> parts;
  for (std::size_t at = 0; at < tight.size();) {
    std::size_t end = at;
    while (end < tight.size() && is_digit(tight[end])) ++end;
    if (end == at || end - at > 2 || (at > 0 && end - at != 2)) return {};
    parts.push_back(std::stoi(tight.substr(at, end - at)));
    if (end < tight.size() && (tight[end] != ':' || end + 1 == tight.size())) return {};
    at = end + 1;
  }
  if (parts.size() < 2 || parts.size() > 3 || parts[0] > 24 || parts[1] > 59 || (parts.size() == 3 && parts[2] > 59))
    return {};
  time.hour = parts[0], time.minute = parts[1], time.second = parts.size() == 3 ? parts[2] : 0;
  return time;
}

using Date = std::tuple<int, int, int>;  // year (0: not said), month, day

/// "January 5, 2024", "5 Jan 2024", "2024-01-05".
std::optional<Date> read_date(std::string_view text) {
  constexpr std::string_view kMonths[] = {"january", "february", "march",     "april",   "may",      "june",
                                          "july",    "august",   "september", "october", "november", "december"};
  if (text.size() > kMaxNamed || text.find_first_of("0123456789") == text.npos) return {};
  if (std::ranges::none_of(text, is_letter) && std::ranges::count(text, '-') < 2) return {};
  const std::string plain = plain_text(text);
  if (plain.size() > 40) return {};
  std::vector<int> numbers;
  std::vector<std::size_t> sizes;
  int month = 0;
  std::string marks;
  for (std::size_t at = 0; at < plain.size();) {
    std::size_t end = at;
    if (is_digit(plain[at])) {
      while (end < plain.size() && is_digit(plain[end])) ++end;
      if (end - at > 4) return {};
      numbers.push_back(std::stoi(plain.substr(at, end - at)));
      sizes.push_back(end - at);
    } else if (is_letter(plain[at])) {
      while (end < plain.size() && is_letter(plain[end])) ++end;
      const std::string_view word = std::string_view(plain).substr(at, end - at);
      const bool ordinal =
          at > 0 && is_digit(plain[at - 1]) && (word == "st" || word == "nd" || word == "rd" || word == "th");
      const auto named = std::find_if(std::begin(kMonths), std::end(kMonths), [&](std::string_view name) {
        return word.size() >= 3 && (word == name || (word.size() <= 4 && name.starts_with(word)));
      });
      if (named != std::end(kMonths) && month == 0)
        month = static_cast<int>(named - std::begin(kMonths)) + 1;
      else if (!ordinal)
        return {};
    } else {
      if (plain[at] != ' ' && plain[at] != ',') marks += plain[at];
      end = at + 1;
    }
    at = end;
  }
  if (month == 0) {
    if (marks != "--" || numbers.size() != 3 || sizes[0] != 4 || sizes[1] != 2 || sizes[2] != 2) return {};
    return Date(numbers[0], numbers[1], numbers[2]);
  }
  if (!marks.empty() || numbers.empty() || numbers.size() > 2 || numbers[0] > 31) return {};
  return Date(numbers.size() == 2 ? numbers[1] : 0, month, numbers[0]);
}

/// The verdict where the reference is a choice, a date or a time.
std::optional<Verdict> check_named_kind(std::string_view answer, std::string_view reference) {
  if (const char wanted = choice(reference, false)) {
    // A lone letter may be a variable as well; then its expression may be said in another way.
    if (const char given = choice(answer, true)) return given == wanted ? Verdict::correct : Verdict::wrong;
    return {};
  }
  if (const auto wanted = read_time(reference)) {
    const auto given = read_time(answer);
    if (!given && answer.find(':') == answer.npos) return Verdict::wrong;
    if (!given) return {};  // both may be ratios
    if (wanted->half == '\0')
      return std::tie(given->hour, given->minute, given->second) ==
                     std::tie(wanted->hour, wanted->minute, wanted->second)
                 ? Verdict::correct
                 : Verdict::wrong;
    const bool tells = given->half != '\0' || given->hour > 12;
    return tells && given->of_day() == wanted->of_day() ? Verdict::correct : Verdict::wrong;
  }
  if (const auto wanted = read_date(reference)) {
    const auto given = read_date(answer);
    return given && *given == *wanted ? Verdict::correct : Verdict::wrong;
  }
  return {};
}

// ---- Mathematics ----

/// Whether "1,22" may be 1.22 as well as 1 and 22: one comma, digits around it, and nothing else that parts.
bool has_two_readings(std::string_view text) {
  const std::size_t comma = text.find(',');
  if (comma == text.npos || comma == 0 || !is_digit(text[comma - 1])) return false;
  const std::string_view after = text.substr(comma + 1);
  const std::size_t digits = std::min(after.find_first_not_of("0123456789"), after.size());
  return digits > 0 && after.substr(0, digits) != "0" &&  // nobody writes 1 as 1,0
         after.find_first_of(",;([{") == after.npos && text.find_first_of("([{") == text.npos;
}

std::uint64_t hash(std::string_view text, std::uint64_t seed) {  // FNV-1a
  for (const char c : text) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return seed;
}

struct Reading {
  math::ReadStatus status;
  std::vector<math::NodeId> roots;  // one for each way to read it
};

Reading read(std::string_view text, const AnswerOptions& options, math::Tree& tree) {
  Reading reading{math::ReadStatus::over_budget, {}};
  if (text.size() > kMaxFormula) return reading;
  math::ReadOptions how;
  how.decimal_comma = options.decimal_comma;
  math::NodeId root = 0;
  reading.status = math::read_expression(text, how, tree, root);
  if (reading.status != math::ReadStatus::read) return reading;
  reading.roots.push_back(root);
  if (!options.decimal_comma && has_two_readings(text)) {
    how.comma_is_point = true;
    if (math::read_expression(text, how, tree, root) == math::ReadStatus::read) reading.roots.push_back(root);
  }
  return reading;
}

/// Whether it holds letters that may be words: "x = 5" does not, and need not be read twice.
bool has_words(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\')
      while (i + 1 < text.size() && is_letter(text[i + 1])) ++i;
    else if (static_cast<unsigned char>(text[i]) >= 0x80 ||
             (is_letter(text[i]) && i + 1 < text.size() && is_letter(text[i + 1])))
      return true;
  }
  return false;
}

/// Whether a character beyond ASCII names something: a letter, a currency, a unit. The others, and π, are mathematics.
bool is_naming(char32_t c) {
  const bool letter = (c >= 0xC0 && c < 0x2000 && c != U'×' && c != U'÷' && c != U'π') || c >= 0x3000;
  const bool currency = (c >= 0xA2 && c <= 0xA5) || (c >= 0x20A0 && c <= 0x20CF);
  return letter || currency || c == U'°' || c == U'℃' || c == U'℉';
}

/// Whether a text is a value in which nothing is named, counted or measured.
bool is_bare(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!is_ascii(text[i])) {
      const CodePoint c = decode_utf8(text, i);
      if (is_naming(c.value)) return false;
      i += c.size - 1;
      continue;
    }
    if (is_letter(text[i]) || std::string_view("$%_:").find(text[i]) != std::string_view::npos) return false;
    if (text[i] != '\\') continue;
    std::size_t end = i + 1;
    while (end < text.size() && is_letter(text[end])) ++end;
    const std::string_view name = text.substr(i + 1, end - i - 1);
    const bool measures = math::is_among(math::kSiunitx, name) && name != "num";
    if (math::is_text_command(name) || measures || name == "circ" || name == "degree" || name.empty()) return false;
    i = end - 1;
  }
  return true;
}

/// A number written with digits, one sign and one point, as nearly all are: digits · 10^-places, in lowest terms.
struct PlainNumber {
  std::int64_t digits = 0;
  int places = 0;
  bool operator==(const PlainNumber&) const = default;
};
std::optional<PlainNumber> read_plain(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  if (text.empty() || text.size() > 18) return {};
  PlainNumber number;
  std::size_t point = text.size();
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_digit(text[i]))
      number.digits = number.digits * 10 + (text[i] - '0');
    else if (text[i] == '.' && point == text.size() && text.size() > 1)
      point = i;
    else
      return {};
  }
  if (point < text.size()) number.places = static_cast<int>(text.size() - point - 1);
  for (; number.places > 0 && number.digits % 10 == 0; --number.places) number.digits /= 10;
  if (negative) number.digits = -number.digits;
  return number;
}

/// The verdict where both are plain numbers, which need no more than a look: nothing where they are not.
std::optional<Verdict> check_plain(std::string_view answer, std::string_view reference, const AnswerOptions& options) {
  if (options.decimal_comma || options.tolerance != 0 || options.precision >= 0) return {};
  const auto wanted = read_plain(reference);
  const auto given = wanted ? read_plain(answer) : std::nullopt;
  if (!given) return {};
  return *given == *wanted ? Verdict::correct : Verdict::wrong;
}

Verdict check_text(std::string_view answer, std::string_view reference, const AnswerOptions& options,
                   std::int64_t& budget) {
  if (const auto verdict = check_plain(answer, reference, options)) return *verdict;
  std::string given = plain_text(answer), wanted = plain_text(reference);
  if (given.empty()) return Verdict::unparseable;
  if (wanted.empty()) return Verdict::bad_reference;
  if (const auto verdict = check_named_kind(answer, reference)) return *verdict;
  // A reference without a noun fixes the number; an answer without one leaves out what the reference counts.
  const Counted said = has_words(answer) ? read_counted(answer) : Counted();
  const Counted asked = has_words(reference) ? read_counted(reference) : Counted();
  std::string rest;  // 17 apples of 17 apples in total
  if (said.kind != Counted::none || asked.kind != Counted::none) {
    const bool bare_answer = is_bare(answer), bare_reference = is_bare(reference);
    if ((said.kind == Counted::factor && bare_reference) || (asked.kind == Counted::factor && bare_answer))
      return Verdict::wrong;
    const bool same = said.kind == asked.kind && plain_text(said.what) == plain_text(asked.what);
    if (said.kind == Counted::noun && (same || bare_reference))
      answer = unwrap_answer(said.value);
    else if (said.kind == Counted::noun && !trim(answer).ends_with(said.what) && answer.find('\\') == answer.npos)
      answer = rest = said.value + ' ' + said.what;
    if (asked.kind == Counted::noun && (same || bare_answer)) reference = unwrap_answer(asked.value);
    if (const auto verdict = check_plain(answer, reference, options)) return *verdict;
    given = plain_text(answer), wanted = plain_text(reference);
  }

  math::CompareOptions how;
  how.tolerance = options.tolerance;
  how.precision = options.precision;
  how.convert_units = options.convert_units;
  how.seed = hash(answer, hash(reference, 0xCBF29CE484222325));
  how.budget = budget;
  const auto spend = [&](Verdict verdict) {
    budget = how.budget;
    return verdict;
  };
  math::Tree tree;
  const Reading right = read(reference, options, tree);
  // What is equal to the reference shows that it means something.
  const auto unless_undefined = [&](Verdict verdict) {
    if (right.status != math::ReadStatus::read) return verdict;
    const math::Truth defined = math::is_defined(tree, right.roots[0], how);
    return defined == math::Truth::yes  ? verdict
           : defined == math::Truth::no ? Verdict::bad_reference
                                        : Verdict::over_budget;
  };
  if (given == wanted) return spend(unless_undefined(Verdict::correct));
  if (right.status == math::ReadStatus::over_budget) return Verdict::over_budget;
  const Reading left = read(answer, options, tree);
  if (left.status == math::ReadStatus::over_budget) return unless_undefined(Verdict::over_budget);
  if (right.status == math::ReadStatus::unreadable) return Verdict::wrong;
  if (left.status == math::ReadStatus::unreadable) return unless_undefined(Verdict::unparseable);
  Verdict verdict = Verdict::wrong;
  for (std::size_t i = 0; i < right.roots.size(); ++i)
    for (std::size_t j = 0; j < left.roots.size(); ++j) {
      if (i > 0 && j > 0) continue;  // 1,2 and 1,20 are both written as lists
      const math::Truth truth = math::same_answer(tree, left.roots[j], right.roots[i], how);
      if (truth == math::Truth::yes) return spend(Verdict::correct);
      if (truth == math::Truth::over_budget) verdict = Verdict::over_budget;
    }
  return spend(unless_undefined(verdict));
}

/// Whether a whole text is nothing but the answer, so that no sentence around it need be looked through.
bool is_formula(std::string_view text, const AnswerOptions& options) {
  math::Tree tree;
  return read(text, options, tree).status != math::ReadStatus::unreadable;
}

/// Whether it has characters of Chinese, Japanese or Korean, which part words by no space.
bool has_eastern(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) >= 0xE3 && static_cast<unsigned char>(c) <= 0xED;
  });
}

/// Whether numbers of a text stand in a sentence, not in a formula that cannot be read.
bool is_prose(std::string_view text) {
  if (text.find('$') != text.npos) return true;
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    if (text[i] != '\\') continue;
    std::size_t end = i + 1;
    while (end < text.size() && is_letter(text[end])) ++end;
    if (text[i + 1] == '(' || text[i + 1] == '[') return true;
    if (end > i + 1 && !math::is_text_command(text.substr(i + 1, end - i - 1))) return false;
    i = end - 1;
  }
  return true;
}

/// The final answers in a text that may be an answer, a sentence or a whole solution; empty where it says none. A
/// reference that nothing marks is all of it.
std::vector<std::string> answers_in(std::string_view text, const AnswerOptions& options, bool is_reference) {
  // Without letters, # and $ there is no mark of an answer, and no sentence.
  const auto marks = [](char c) {
    return static_cast<unsigned char>(c) >= 0x80 || is_letter(c) || c == '#' || c == '$';
  };
  if (std::ranges::none_of(text, marks)) return {std::string(unwrap_answer(text))};
  Finding finding = find_marked_answer(text, options.last_box);
  if (finding.answers.empty() && finding.broken) return {};
  const bool marked = !finding.answers.empty();
  if (!marked) finding.answers.push_back({std::string(text)});
  if (finding.answers.size() > kMaxReadings) finding.answers.resize(kMaxReadings);
  std::vector<std::string> answers;
  for (const Found& each : finding.answers) {
    std::string& answer = answers.emplace_back(unwrap_answer(each.text));
    const bool spaced = answer.find_first_of(" \n\t") != answer.npos || has_eastern(answer);
    if (!spaced || (answer.find('$') == answer.npos && !has_words(answer))) continue;
    const auto states = [&](const Statement& said) {
      if (said.kind == Statement::read) answer = std::string(unwrap_answer(said.answer));
      if (said.kind == Statement::refused) answer.clear();
      return said.kind != Statement::unclear;
    };
    if (!marked && !is_reference && states(read_statement(answer, false))) continue;
    if (is_formula(answer, options) || !is_prose(answer)) continue;
    if (marked && !is_reference)  // \boxed{17 \text{ because 16 is too small}}
      if (const auto plain = words_of(answer); plain && states(read_statement(*plain, false))) continue;
    if (const Statement said = find_in_prose(answer, false); said.kind == Statement::read)
      answer = std::string(unwrap_answer(said.answer));
    else if (said.kind == Statement::refused && !is_reference)  // "at least $17$" may well be asked for
      answer.clear();
  }
  return answers;
}

}  // namespace

std::optional<mpq_class> read_number(std::string_view text) {
  text = trim(text);
  if (text.size() > kMaxDigits) return {};
  std::string ascii;
  for (std::size_t at = 0; at < text.size();) {
    const bool minus = text.substr(at).starts_with("\u2212");
    ascii += minus ? '-' : text[at];
    at += minus ? 3 : 1;
  }
  math::Tree tree;
  math::NodeId root = 0;
  if (ascii.find_first_not_of("0123456789.,/- ") != ascii.npos ||
      math::read_expression(ascii, {}, tree, root) != math::ReadStatus::read)
    return {};
  bool negative = false;
  const auto literal = [&](math::NodeId id) -> std::optional<mpq_class> {
    if (tree[id].kind == math::Kind::negate) negative = !negative, id = tree[id].children[0];
    return tree[id].kind == math::Kind::number ? tree[id].value : std::nullopt;
  };
  std::optional<mpq_class> value;
  if (tree[root].kind == math::Kind::quotient) {
    const auto a = literal(tree[root].children[0]), b = literal(tree[root].children[1]);
    if (a && b && *b != 0) value = *a / *b;
  } else {
    value = literal(root);
  }
  return value && negative ? std::optional<mpq_class>(-*value) : value;
}

Verdict check_answer(std::string_view answer, std::string_view reference, const AnswerOptions& options) {
  validate(options, "answers");
  if (answer.size() > kMaxBytes || reference.size() > kMaxBytes) return Verdict::over_budget;
  // What was thought on the way is no answer.
  constexpr std::string_view kThought = "</think>";
  if (const std::size_t end = answer.rfind(kThought); end != answer.npos) answer.remove_prefix(end + kThought.size());
  answer = trim(answer);
  reference = trim(reference);
  if (const auto verdict = check_plain(answer, reference, options)) return *verdict;
  std::string answer_storage, reference_storage;
  const auto wanted = answers_in(fold_forms(reference, reference_storage), options, true);
  const auto given = answers_in(fold_forms(answer, answer_storage), options, answer == reference);
  if (wanted.empty() || trim(wanted.back()).empty()) return Verdict::bad_reference;
  if (given.empty()) return Verdict::unparseable;
  std::int64_t budget = math::CompareOptions().budget;
  if (wanted.size() > 1)
    for (const std::string& each : wanted)
      if (check_text(each, wanted.back(), options, budget) != Verdict::correct) return Verdict::bad_reference;
  for (const std::string& each : given)
    if (const Verdict verdict = check_text(each, wanted.back(), options, budget); verdict != Verdict::correct)
      return verdict;
  return Verdict::correct;
}

bool answers_match(std::string_view answer, std::string_view reference) {
  return check_answer(answer, reference) == Verdict::correct;
}

}  // namespace grpo
