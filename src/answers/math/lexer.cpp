#include "answers/math/lexer.h"

#include <algorithm>
#include <utility>

#include "answers/math/spellings.h"
#include "answers/math/unit.h"
#include "text/ascii.h"
#include "text/utf8.h"

namespace grpo::math {
namespace {

constexpr int kMaxTextDepth = 4;  // \text{\textbf{…}}
constexpr std::size_t kMaxTokens = 16384;
constexpr std::size_t kMaxNumeral = 256;  // bytes of a numeral with letters, such as 1A3_{16}

class Cutter {
 public:
  Cutter(std::string_view text, const ReadOptions& options, int text_depth, std::vector<Token>& tokens)
      : text_(text), options_(options), text_depth_(text_depth), tokens_(tokens) {
    // Inside brackets a comma parts, as in (1,234), unless the bracket parts its members in a way of its own.
    is_plain_ = text.find('\\') == text.npos;
    thousands_in_brackets_ = text.find(", ") != text.npos || text.find(';') != text.npos;
  }

  bool run() {
    while (at_ < text_.size()) {
      if (tokens_.size() > kMaxTokens || !step()) return false;
    }
    return true;
  }

 private:
  char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  std::string_view rest() const { return text_.substr(at_); }

  Token& add(Sign sign, std::string text = {}, Function function = Function::none) {
    tokens_.push_back({sign, function, std::exchange(space_, false), std::move(text)});
    return tokens_.back();
  }

  bool step() {
    const char c = peek();
    if (is_space(c) || c == '~') {
      ++at_, space_ = true;
      return true;
    }
    if (is_digit(c) || (c == '.' && is_digit(peek(1)))) return number();
    if (is_letter(c)) return letters();
    if (c == '\\') return command();
    if (static_cast<unsigned char>(c) >= 0x80) return character();
    return mark();
  }

  // ---- Numbers ----

  /// Where the run of digits that starts at `from` ends.
  std::size_t digits_end(std::size_t from) const {
    while (from < text_.size() && is_digit(text_[from])) ++from;
    return from;
  }

  /// The size of what parts groups of thousands at `at`, or 0.
  std::size_t separator(std::size_t at, bool wide) const {
    const std::string_view rest = text_.substr(at);
    std::size_t size = 0;
    if (rest.starts_with("{,}")) return 3 + (rest.substr(3).starts_with("\\!") ? 2 : 0);
    if (const std::size_t brace = rest.find_first_not_of(' '); brace < 4 && rest[brace] == '{') {  // 14 {, }916
      const std::size_t comma = rest.find_first_not_of(' ', brace + 1);
      if (comma < brace + 4 && rest[comma] == ',') {
        const std::size_t close = rest.find_first_not_of(' ', comma + 1);
        if (close < comma + 4 && rest[close] == '}') return close + 1;
      }
    }
    const char mark = options_.decimal_comma ? '.' : ',';
    if (rest.starts_with(mark) && (depth_ == 0 || thousands_in_brackets_ || wide || rest.substr(1).starts_with("000")))
      size = 1;
    if (size == 1 && rest.substr(1).starts_with("\\!")) size = std::min(rest.find_first_not_of(' ', 3), rest.size());
    if (size > 0) return size;
    for (const std::string_view thin : {" ", "\\,", "\\ ", "~", "\u2009", "\u202F", "\u00A0"})
      if (rest.starts_with(thin) && depth_ == 0) return thin.size();
    return 0;
  }

  /// Reads groups of three behind `digits`, all of them or none.
  void thousands(std::string& digits) {
    if (digits.size() > 3 || digits[0] == '0') return;
    std::string all = digits;
    std::size_t at = at_;
    std::string_view first;
    while (true) {
      const std::size_t size = separator(at, !first.empty());
      if (size == 0) break;
      const std::string_view mark = text_.substr(at, size);
      const std::size_t end = digits_end(at + size);
      if (end == at + size) break;
      if (end - at - size != 3 || (!first.empty() && mark != first)) {
        // 1,234,56 and 1 234 5 are lists
        if (first.empty() || mark == first) return;
        break;
      }
      first = mark;
      all += text_.substr(at + size, 3);
      at = end;
    }
    at_ = at;
    digits = std::move(all);
  }

  bool number() {
    if (numeral()) return true;
    const std::size_t start = at_;
    at_ = digits_end(at_);
    std::string digits(text_.substr(start, at_ - start));
    if (!digits.empty()) thousands(digits);
    const bool comma = (options_.decimal_comma || options_.comma_is_point) && peek() == ',' && is_digit(peek(1));
    const bool overline = peek() == '.' && text_.substr(at_ + 1).starts_with("\\overline{");
    if (comma || (peek() == '.' && !options_.decimal_comma)) {
      const std::size_t end = digits_end(at_ + 1);
      if (end > at_ + 1 || overline || end == text_.size() || !is_letter(text_[end])) {
        digits += '.';
        digits += text_.substr(at_ + 1, end - at_ - 1);
        at_ = end;
      }
    }
    if ((peek() == 'e' || peek() == 'E') && !digits.empty()) {  // 1.5e3; e alone is the constant
      const std::size_t sign = peek(1) == '-' || peek(1) == '+' ? 1 : 0;
      const std::size_t end = digits_end(at_ + 1 + sign);
      if (end > at_ + 1 + sign && (end == text_.size() || !is_letter(text_[end]))) {
        digits += 'e';
        digits += text_.substr(at_ + 1, end - at_ - 1);
        at_ = end;
      }
    }
    add(Sign::number, std::move(digits));
    return true;
  }

  /// 1A3_{16}, 1011_2, (1A)_{16}, FF_{16}: digits that a subscript follows, all of its base. 3A_2 is thrice A_2.
  bool numeral() {
    const bool round = peek() == '(';
    const std::size_t start = at_ + round;
    const std::size_t limit = std::min(text_.size(), start + kMaxNumeral);
    std::size_t end = start;
    while (end < limit && (is_digit(text_[end]) || is_upper(text_[end]))) ++end;
    const std::string_view digits = text_.substr(start, end - start);
    if (digits.empty() || (round && (end == text_.size() || text_[end++] != ')'))) return false;
    std::string_view base = text_.substr(end);
    if (!base.starts_with('_')) return false;
    base.remove_prefix(base.starts_with("_{") ? 2 : 1);
    const int highest = *std::ranges::max_element(digits);
    if (!is_digit(static_cast<char>(highest))) {
      const std::size_t size = std::min(base.find_first_not_of("0123456789"), base.size());
      const int named = size == 2 ? (base[0] - '0') * 10 + base[1] - '0' : 0;
      if (named > 36 || highest - 'A' + 10 >= named) return false;
      if (!is_digit(digits[0]) && (named != 16 || digits.size() < 2)) return false;  // a name
    } else if (base.empty() || !(is_digit(base[0]) || base[0] == '\\' || base[0] == '(')) {
      return false;
    }
    add(Sign::numeral, std::string(digits));
    at_ = end;
    return true;
  }

  // ---- Letters ----

  bool letters() {
    if (is_upper(peek()) && numeral()) return true;
    std::size_t end = at_;
    while (end < text_.size() && is_letter(text_[end])) ++end;
    const std::string_view word = text_.substr(at_, end - at_);
    const bool after_number = !tokens_.empty() && (tokens_.back().sign == Sign::number);
    at_ = end;
    if (word.size() == 1) return letter(word[0]);
    if (is_condition(word)) return space_ = true;
    if (word == "because" || word == "since") return false;  // a sentence, however it is set
    if (word == "US" && names_dollars()) return space_ = true;
    if (const std::string_view power = unit_power(word); !power.empty()) {
      add(Sign::unit, std::string(power));
      return true;
    }
    if (text_depth_ > 0 && word == "in" && ends_value() && at_ == text_.size()) {  // 5\text{ in}^2
      add(Sign::unit, "inch");
      return true;
    }
    const bool minutes = word == "min" && ends_value() && peek() != '(' && peek() != '{';
    if (const Spelling* spelling = find_spelling(kWords, word); spelling && !minutes) return spelled(*spelling);
    if (const auto unit = unit_named(word, text_depth_ > 0);
        !unit.empty() && (after_number || word.size() > 2 || ((text_depth_ > 0 || space_) && ends_value()) ||
                          ends_unit() || (text_depth_ > 0 && opens_fraction()))) {
      add(Sign::unit, std::string(unit));
      return true;
    }
    if (std::all_of(word.begin(), word.end(), is_upper)) {  // a segment, an angle: BA is not AB here
      add(Sign::symbol, std::string(word));
      return true;
    }
    const bool product = text_depth_ == 0 && word.size() <= 3 && !is_upper(word[0]) && !is_word(word);
    if (!product) {
      add(Sign::word, std::string(word));
      return true;
    }
    for (const char c : word) letter(c);
    return true;
  }

  bool letter(char c) {
    const bool after_number = !tokens_.empty() && tokens_.back().sign == Sign::number;
    const bool squared = rest().starts_with("\u00B2") || rest().starts_with("\u00B3");  // 12m², not in LaTeX
    const bool measures = text_depth_ > 0 ? ends_value() || opens_fraction() || ends_unit() : squared && after_number;
    if ((measures || (is_plain_ && ends_unit() && ends_quantity())) &&
        !unit_named(std::string_view(&c, 1), true).empty()) {
      add(Sign::unit, std::string(unit_named(std::string_view(&c, 1), true)));
    } else if (text_depth_ == 0 && after_number && space_ && is_plain_ && ends_quantity() &&
               std::string_view("mgshLNJWVAK").find(c) != std::string_view::npos) {
      add(Sign::unit, std::string(unit_named(std::string_view(&c, 1), true))).function = Function::opaque;
    } else if (c == 'U' && !tokens_.empty() && closes(tokens_.back().sign) && opens(rest())) {
      add(Sign::unite);
    } else {
      add(c == 'e' ? Sign::e : c == 'i' ? Sign::i : Sign::symbol, std::string(1, c));
    }
    return true;
  }
  /// Whether what was read may be measured in the unit that comes next.
  bool ends_value() const {
    if (tokens_.empty()) return false;
    const bool bracket = tokens_.size() > 1 && tokens_.back().sign == Sign::open_round;  // 5 (cm)
    const Sign last = tokens_[tokens_.size() - (bracket ? 2 : 1)].sign;
    return last == Sign::number || last == Sign::close_brace || last == Sign::close_round || last == Sign::pi;
  }
  /// Whether the numerator or the denominator of a fraction begins: \frac{\text{m}}{\text{s}}.
  bool opens_fraction() const {
    if (tokens_.size() < 2 || tokens_.back().sign != Sign::open_brace) return false;
    const Sign before = tokens_[tokens_.size() - 2].sign;
    return before == Sign::fraction || before == Sign::close_brace;
  }
  /// Whether what was read is a unit that another one may follow: m/, m s^{-2}, kg·.
  bool ends_unit() const {
    std::size_t end = tokens_.size();
    const auto is = [&](std::size_t back, Sign sign) { return end >= back && tokens_[end - back].sign == sign; };
    if (is(1, Sign::open_round) && is(2, Sign::divide)) --end;
    if (is(1, Sign::divide) || is(1, Sign::times)) --end;
    const std::size_t brace = is(1, Sign::close_brace) ? 1 : 0;
    if (is(1 + brace, Sign::number)) {  // a power
      const std::size_t minus = is(2 + brace, Sign::minus) ? 1 : 0, size = 2 + minus + 2 * brace;
      if (is(size, Sign::power)) end -= size;
    }
    return is(1, Sign::unit);
  }
  /// Whether a unit may end here: 5 m, 5 m^2, 5 m/s, 5 m s^-2; but not 5 m - n.
  bool ends_quantity() const {
    std::string_view rest = this->rest();
    for (const std::string_view power : {"^2", "^3", "^{2}", "^{3}", "^-1", "^-2", "^{-1}", "^{-2}", "\u00B2", "\u00B3",
                                         "\u207B\u00B9", "\u207B\u00B2"})
      if (rest.starts_with(power)) {
        rest.remove_prefix(power.size());
        break;
      }
    std::size_t next = skip_white_space(rest);
    for (const std::string_view sign : {"*", "\u00B7", "\u22C5"})
      if (rest.substr(next).starts_with(sign)) next = skip_white_space(rest, next + sign.size());
    if (next + 1 < rest.size() && is_letter(rest[next]))
      for (const std::string_view power : {"^-", "^{-", "\u207B"})
        if (rest.substr(next + 1).starts_with(power)) return true;
    return next == rest.size() || std::string_view("/,;.)").find(rest[next]) != std::string_view::npos ||
           rest.substr(next).starts_with("and ") || rest.substr(next).starts_with("or ");
  }
  /// "square" of "square inches", "sq. ft"; "cubic". At what follows the word.
  std::string_view unit_power(std::string_view word) {
    const bool square = word == "square" || word == "sq", cubic = word == "cubic" || word == "cu";
    if (!square && !cubic) return {};
    const std::size_t from = at_ + (peek() == '.' ? 1 : 0), start = skip_white_space(text_, from);
    std::size_t end = start;
    while (end < text_.size() && is_letter(text_[end])) ++end;
    if (unit_named(text_.substr(start, end - start), true).empty()) return {};
    at_ = start;
    return square ? "square" : "cubic";
  }
  /// The rest of "US$" and "US dollars".
  bool names_dollars() const {
    const std::string_view rest = this->rest().substr(skip_white_space(this->rest()));
    return rest.starts_with("$") || rest.starts_with("\\$") || rest.starts_with("dollar");
  }
  /// "if" of the cases of a function.
  bool is_condition(std::string_view word) const {
    return !environments_.empty() && environments_.back() == Environment::cases &&
           (word == "if" || word == "for" || word == "when" || word == "where");
  }

  static bool closes(Sign sign) {
    return sign == Sign::close_round || sign == Sign::close_square || sign == Sign::close_set;
  }
  static bool opens(std::string_view rest) {
    const std::size_t at = skip_white_space(rest);
    return at < rest.size() && (rest[at] == '(' || rest[at] == '[' || rest[at] == '{' || rest[at] == '\\');
  }

  // ---- Commands ----

  bool command() {
    if (peek(1) == '\\') {
      // Doubled backslashes before a command are a slip of escaping; elsewhere they end a row.
      std::size_t end = at_ + 2;
      while (end < text_.size() && is_letter(text_[end])) ++end;
      const std::string_view name = text_.substr(at_ + 2, end - at_ - 2);
      if (!name.empty() && (find_spelling(kCommands, name) || is_ignored(name) || is_text_command(name))) {
        ++at_;
        return true;
      }
      at_ += 2;
      return row();
    }
    if (!is_letter(peek(1))) return escaped();
    std::size_t end = at_ + 1;
    while (end < text_.size() && is_letter(text_[end])) ++end;
    const std::string_view name = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end;
    if (is_ignored(name)) return sized(name);
    if (is_text_command(name)) return text_command();
    if (is_among(kSiunitx, name)) return measured(name);
    if (name == "begin" || name == "end") {
      const auto body = braced();
      if (!body) return false;
      if (name == "begin") {
        environments_.push_back(*body == "cases"     ? Environment::cases
                                : is_aligning(*body) ? Environment::lines
                                                     : Environment::table);
      }
      const bool is_table = environments_.empty() || environments_.back() == Environment::table;
      if (name == "end" && !environments_.empty()) environments_.pop_back();
      if (!is_table) return space_ = true;
      if (*body == "array" || *body == "tabular") {
        if (name == "begin") braced();  // the columns
      }
      add(name == "begin" ? Sign::begin : Sign::finish, std::string(*body));
      return true;
    }
    if (const Spelling* spelling = find_spelling(kCommands, name)) return spelled(*spelling);
    // An unknown command is a name like any other; it can equal nothing but itself.
    add(Sign::symbol, "\\" + std::string(name));
    return true;
  }

  /// Behind \left and the like a full stop stands for no bracket, and < for an angle.
  bool sized(std::string_view name) {
    if (name == "left" || name == "right") {
      while (is_space(peek())) ++at_;
      const char c = peek();
      if (c == '.' || c == '<' || c == '>') ++at_;
      if (c == '<') add(Sign::open_angle);
      if (c == '>') add(Sign::close_angle);
    }
    return space_ = true;
  }

  /// Lines of an equation follow one another: x &= 2 \\ &= 3 is x = 2 = 3, and other lines and cases are members.
  bool row() {
    if (peek() == '[') {  // \\[2mm]
      const std::size_t close = text_.find(']', at_);
      if (close != text_.npos && close < at_ + 8 && text_.find_first_of("mpe", at_) < close) at_ = close + 1;
    }
    if (environments_.empty() || environments_.back() == Environment::table) {
      add(Sign::row);
      return true;
    }
    std::size_t next = at_;
    while (next < text_.size() && (is_space(text_[next]) || text_[next] == '&')) ++next;
    const std::string_view rest = text_.substr(next);
    const bool goes_on = rest.empty() || rest[0] == '=' || rest.starts_with("\\end") || rest.starts_with("\\approx");
    if (!goes_on) add(environments_.back() == Environment::cases ? Sign::semicolon : Sign::comma);
    return space_ = true;
  }
  static bool is_aligning(std::string_view environment) {
    if (environment.ends_with('*')) environment.remove_suffix(1);
    return is_among(" align aligned alignat equation eqnarray gather gathered multline split math displaymath ",
                    environment);
  }

  bool escaped() {
    const char c = peek(1);
    at_ += 2;
    switch (c) {
      case '{':
        ++depth_;
        add(Sign::open_set);
        return true;
      case '}':
        --depth_;
        add(Sign::close_set);
        return true;
      case '%':
        add(Sign::percent);
        return true;
      case '$':
        add(Sign::currency, "$");
        return true;
      case '|':
        add(Sign::bar);
        return true;
      case '!':
        while (is_space(peek())) ++at_;
        return true;
      case '(':
      case ')':
      case '[':
      case ']':  // mathematics begins or ends
      case ',':
      case ';':
      case ':':
      case ' ':
      case '>':
      case '/':
      case '\n':
        return space_ = true;
      default:
        return c == '_' || c == '#' || c == '&' ? (space_ = true) : false;
    }
  }

  /// The body of the braces that come next, or nothing. Linear over a whole text, as bodies are passed over.
  std::optional<std::string_view> braced() {
    while (is_space(peek())) ++at_;
    if (peek() != '{') return {};
    int open = 0;
    for (std::size_t i = at_; i < text_.size(); ++i) {
      if (text_[i] == '\\') {
        ++i;
      } else if (text_[i] == '{') {
        ++open;
      } else if (text_[i] == '}' && --open == 0) {
        const std::string_view body = text_.substr(at_ + 1, i - at_ - 1);
        at_ = i + 1;
        return body;
      }
    }
    return {};
  }

  bool text_command() {
    auto body = braced();
    if (!body || text_depth_ == kMaxTextDepth) return false;
    if (body->ends_with('.') && body->size() > 1 && is_letter((*body)[body->size() - 2])) body->remove_suffix(1);
    if (is_condition(trim(*body))) return space_ = true;
    if (*body == "e" || *body == "i") return letter((*body)[0]);
    return Cutter(*body, options_, text_depth_ + 1, tokens_).run();
  }

  /// \num{5}, \SI{5}{cm}, \qty{5}{\meter\per\second}, \unit{cm}, \ang{45}: the package siunitx.
  bool measured(std::string_view name) {
    if (text_depth_ == kMaxTextDepth) return false;
    const bool names_unit = name == "unit" || name == "si";
    if (!names_unit) {
      const auto number = braced();
      if (!number || !Cutter(*number, options_, text_depth_ + 1, tokens_).run()) return false;
      if (name == "ang") add(Sign::degree);
    }
    if (name == "num" || name == "ang") return true;
    const auto body = braced();
    if (!body) return false;
    std::string unit;
    for (std::size_t at = 0; at < body->size();) {
      if ((*body)[at] != '\\') {
        unit += (*body)[at] == '.' ? '*' : (*body)[at];
        ++at;
        continue;
      }
      std::size_t end = ++at;
      while (end < body->size() && is_letter((*body)[end])) ++end;
      const std::string_view word = body->substr(at, end - at);
      if (word.empty()) ++end;  // \, and the like
      const auto* const said = std::ranges::find(kUnitWords, word, [](const auto& each) { return each.first; });
      unit.append(said != std::end(kUnitWords) ? said->second : word);
      if (!is_among(kPrefixes, word)) unit += ' ';
      at = end;
    }
    return Cutter(unit, options_, text_depth_ + 1, tokens_).run();
  }

  bool spelled(const Spelling& spelling) {
    add(spelling.sign, std::string(spelling.text), spelling.function);
    return true;
  }

  // ---- Other characters ----

  bool character() {
    const CodePoint c = decode_utf8(text_, at_);
    if (c.value >= 0xFF01 && c.value <= 0xFF5E) return false;  // folded to ASCII before
    at_ += c.size;
    if (is_white_space(c.value) || c.value == 0x200B || c.value == 0xFEFF || c.value == 0x2061 || c.value == 0x2062)
      return space_ = true;
    const std::string_view bytes = text_.substr(at_ - c.size, c.size);
    if (const Spelling* spelling = find_spelling(kCharacters, bytes)) {
      if (spelling->sign == Sign::power || spelling->sign == Sign::subscript) {  // ², x¹⁰, x⁻¹, x₁
        const bool negative = spelling->text == "-";
        std::string digits(negative ? "" : spelling->text);
        while (at_ < text_.size() && static_cast<unsigned char>(text_[at_]) >= 0x80) {
          const CodePoint next = decode_utf8(text_, at_);
          const Spelling* digit = find_spelling(kCharacters, text_.substr(at_, next.size));
          if (!digit || digit->sign != spelling->sign || digit->text == "-") break;
          digits += digit->text;
          at_ += next.size;
        }
        add(spelling->sign);
        if (negative) add(Sign::minus);
        if (negative && digits.empty()) return false;
        add(Sign::number, std::move(digits));
        return true;
      }
      if (spelling->sign == Sign::fraction) {  // ½
        add(Sign::fraction);
        add(Sign::number, std::string(spelling->text.substr(0, 1)));
        add(Sign::number, std::string(spelling->text.substr(1)));
        return true;
      }
      return spelled(*spelling);
    }
    const bool may_count = c.value >= 0x3000 && c.value < 0xE000;  // 명, 个
    const std::string_view unit = may_count ? unit_named(bytes, true) : std::string_view();
    if (!unit.empty()) {
      add(Sign::unit, std::string(unit));
      return true;
    }
    add(Sign::word, std::string(bytes));
    return true;
  }

  /// A lone dollar sign before digits is no sign of mathematics.
  bool is_money() const {
    const std::size_t minus = peek() == '-' ? 1 : 0;
    return (is_digit(peek(minus)) || (peek(minus) == '.' && is_digit(peek(minus + 1)))) &&
           std::ranges::count(text_, '$') == 1;
  }

  bool mark() {
    const auto relation = [&](std::size_t size, char sign) {
      at_ += size;
      add(Sign::relation, std::string(1, sign));
      return true;
    };
    const std::string_view two = rest().substr(0, 2);
    if (two == "<=" || two == "=<") return relation(2, 'l');
    if (two == ">=") return relation(2, 'g');
    if (two == "!=" && !(tokens_.empty() || tokens_.back().sign == Sign::number)) return relation(2, '#');
    if (two == "==" || two == ":=") return relation(2, '=');
    if (two == "=>" || two == "->") return ++at_, ++at_, add(Sign::implies), true;
    if (two == "**") return ++at_, ++at_, add(Sign::power), true;
    const char c = peek();
    if (rest().starts_with("...")) return at_ += 3, add(Sign::symbol, "..."), true;
    if (c == '&' && !environments_.empty() && environments_.back() != Environment::table) {
      ++at_;
      if (environments_.back() == Environment::cases) add(Sign::comma);
      return space_ = true;
    }
    if (c == '=' || c == '<' || c == '>') return relation(1, c);
    if (c == '(' && numeral()) return true;
    ++at_;
    if (c == '$') {
      if (is_money()) add(Sign::currency, "$");
      return space_ = true;
    }
    if (c == '(' || c == '[') ++depth_;
    if (c == ')' || c == ']') --depth_;
    if (c == '+' && (peek() == '-' || rest().starts_with("/-"))) {
      at_ += peek() == '-' ? 1 : 2;
      add(Sign::plus_minus);
      return true;
    }
    for (const auto& [written, sign] : kMarks) {
      if (written != c) continue;
      add(sign);
      return true;
    }
    return false;
  }

  enum class Environment : char { table, lines, cases };

  std::string_view text_;
  const ReadOptions& options_;
  int text_depth_;
  std::vector<Token>& tokens_;
  std::vector<Environment> environments_;
  std::size_t at_ = 0;
  int depth_ = 0;  // of brackets
  bool space_ = false, thousands_in_brackets_ = false, is_plain_ = false;
};

}  // namespace

std::optional<std::vector<Token>> cut_into_tokens(std::string_view text, const ReadOptions& options) {
  std::vector<Token> tokens;
  tokens.reserve(std::min<std::size_t>(text.size() + 1, 64));
  if (!Cutter(text, options, 0, tokens).run()) return {};
  tokens.emplace_back();
  return tokens;
}

}  // namespace grpo::math
