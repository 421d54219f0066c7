#include "answer.h"

#include <array>
#include <string>
#include <utility>

#include "grpo/reward.h"
#include "utf8.h"

namespace grpo {
namespace {

constexpr int kMaxWrappings = 8;          // \boxed{$\boxed{…}$}
constexpr std::size_t kMaxBytes = 16384;  // of a number, markup included
constexpr std::size_t kMaxDigits = 4096;  // of a number, zeros of exponents included: bounds all arithmetic
constexpr int kMaxDepth = 16;             // of parentheses and fractions: bounds the recursion
constexpr std::string_view kBoxed = "\\boxed{";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// The body that all boxes in `text` agree on; "" when one of them differs or stays open. `first` is where the first
/// is.
std::string_view agreed_box(std::string_view text, std::size_t first) {
  std::optional<std::string_view> agreed;
  for (std::size_t at = first; at != text.npos;) {
    const auto body = boxed_body(text, at);
    if (!body || (agreed && trim(*body) != *agreed)) return {};
    agreed = trim(*body);
    at = text.find(kBoxed, at + kBoxed.size() + body->size());
  }
  return agreed.value_or(std::string_view());
}

/// Removes `open` and `close` from the ends of `text` when they are one pair: `$3$ or $4$` keeps both of its.
bool strip_pair(std::string_view& text, std::string_view open, std::string_view close) {
  if (text.size() < open.size() + close.size() || !text.starts_with(open) || !text.ends_with(close)) return false;
  const std::string_view inner = text.substr(open.size(), text.size() - open.size() - close.size());
  if (inner.find(close) != inner.npos) return false;
  text = inner;
  return true;
}

/// Rewrites the markup of a number to plain ASCII: `-1\,234.5\%` and `−1{,}234.5％` become `-1,234.5%`.
std::string plain_number(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 22> kPlain{{
      {"\\left", ""},        {"\\right", ""},       {"{,}", ","},    {"\\%", "%"},    {"\\$", "$"},
      {"\\;", " "},          {"\\:", " "},          {"\\ ", " "},    {"~", " "},      {"\\dfrac", "\\frac"},
      {"\\tfrac", "\\frac"}, {"\\cfrac", "\\frac"}, {"\u2212", "-"}, {"\uFF05", "%"}, {"\u2044", "/"},
      {"\u20AC", "$"},       {"\u00A3", "$"},       {"\u00A5", "$"}, {"\uFFE5", "$"}, {"\u20A9", "$"},
      {"\u00A0", " "},       {"percent", "%"},
  }};
  constexpr std::array<std::string_view, 3> kThinSpaces{"\\,", "\u2009", "\u202F"};
  std::string plain;
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view rest = text.substr(at);
    if (rest.starts_with("\\!")) {  // 11,\! 111: TeX ignores the space too
      at = skip_white_space(text, at + 2);
      continue;
    }
    std::string_view from = rest.substr(0, 1), to = from;
    for (const std::string_view space : kThinSpaces) {
      if (!rest.starts_with(space)) continue;
      const std::string_view after = rest.substr(space.size());
      const bool thousands = !plain.empty() && is_digit(plain.back()) && !after.empty() && is_digit(after[0]);
      from = space, to = thousands ? "," : " ";
    }
    for (const auto& [written, meant] : kPlain)
      if (rest.starts_with(written)) from = written, to = meant;
    plain += to;
    at += from.size();
  }
  return plain;
}

/// Recursive descent over:  number   = [sign] ["$"] [sign] quotient, one sign at most
///                          quotient = operand ["/" operand] ["%"]
///                          operand  = decimal | "(" [sign] quotient ")" | "\frac" part part
///                          part     = "{" [sign] quotient "}" | digit
class NumberReader {
 public:
  explicit NumberReader(std::string_view text) : text_(text) {}

  std::optional<Rational> number() {
    bool negative = false;
    const bool has_sign = sign(negative);
    if (take('$') && !has_sign) sign(negative);
    auto value = quotient(0);
    skip_spaces();
    if (!value || at_ != text_.size()) return {};
    return negative ? -*value : *value;
  }

 private:
  void skip_spaces() { at_ = skip_white_space(text_, at_); }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    skip_spaces();
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  bool sign(bool& negative) {
    negative = take('-');
    return negative || take('+');
  }

  std::optional<Rational> signed_quotient(int depth) {
    bool negative = false;
    sign(negative);
    auto value = quotient(depth);
    if (value && negative) value = -*value;
    return value;
  }

  std::optional<Rational> quotient(int depth) {
    auto value = operand(depth);
    if (value && take('/')) value = divide(value, operand(depth));
    if (value && take('%')) value = divide(value, Rational{false, Natural(100)});
    return value;
  }

  std::optional<Rational> operand(int depth) {
    if (depth == kMaxDepth) return {};
    if (take('(')) {
      auto value = signed_quotient(depth + 1);
      return take(')') ? value : std::nullopt;
    }
    if (text_.substr(at_).starts_with("\\frac")) {
      at_ += 5;
      const auto numerator = part(depth + 1);
      return numerator ? divide(numerator, part(depth + 1)) : std::nullopt;
    }
    return decimal();
  }

  std::optional<Rational> part(int depth) {
    if (take('{')) {
      auto value = signed_quotient(depth);
      return take('}') ? value : std::nullopt;
    }
    if (!is_digit(peek())) return {};
    return Rational{false, Natural(static_cast<std::uint32_t>(text_[at_++] - '0'))};
  }

  std::string_view digits() {
    const std::size_t start = at_;
    while (is_digit(peek())) ++at_;
    return text_.substr(start, at_ - start);
  }

  std::optional<Rational> decimal() {
    skip_spaces();
    std::string all(digits());
    if (peek() == ',') {  // thousands: 1 to 3 digits, then groups of exactly 3
      if (all.empty() || all.size() > 3 || all[0] == '0') return {};
      while (peek() == ',') {
        ++at_;
        const std::string_view group = digits();
        if (group.size() != 3) return {};
        all += group;
      }
    }
    std::size_t decimals = 0;
    if (peek() == '.') {
      ++at_;
      const std::string_view fraction = digits();
      if (fraction.empty()) return {};
      decimals = fraction.size();
      all += fraction;
    }
    if (all.empty()) return {};
    std::size_t exponent = 0;
    bool small = false;
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      small = peek() == '-';
      if (small || peek() == '+') ++at_;
      const std::string_view power = digits();
      if (power.empty()) return {};
      for (const char digit : power) {
        exponent = exponent * 10 + static_cast<std::size_t>(digit - '0');
        if (exponent > kMaxDigits) return {};
      }
    }
    if (all.size() + exponent > digits_left_) return {};
    digits_left_ -= all.size() + exponent;

    const std::string zeros(exponent, '0');
    std::string denominator = "1" + std::string(decimals, '0');
    (small ? denominator : all) += zeros;
    return Rational{false, Natural::from_digits(all), Natural::from_digits(denominator)};
  }

  static std::optional<Rational> divide(const std::optional<Rational>& a, const std::optional<Rational>& b) {
    if (!a || !b || b->is_zero()) return {};
    return *a / *b;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t digits_left_ = kMaxDigits;
};

/// "x = 5" says 5.
std::string_view drop_variable(std::string_view text) {
  if (text.empty() || !is_letter(text[0])) return text;
  const std::size_t equals = skip_white_space(text, 1);
  return equals < text.size() && text[equals] == '=' ? text.substr(equals + 1) : text;
}

/// Equality up to the white space at the ends and the amount of it inside. Empty text equals nothing.
bool same_text(std::string_view a, std::string_view b) {
  a = trim(a);
  b = trim(b);
  if (a.empty()) return false;
  std::size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    const std::size_t after_i = skip_white_space(a, i), after_j = skip_white_space(b, j);
    if ((after_i > i) != (after_j > j)) return false;
    i = after_i, j = after_j;  // not at an end: both are trimmed
    if (a[i++] != b[j++]) return false;
  }
  return i == a.size() && j == b.size();
}

}  // namespace

std::optional<std::string_view> boxed_body(std::string_view text, std::size_t at) {
  const std::size_t start = at + kBoxed.size();
  std::size_t open = 1;
  for (std::size_t i = start; i < text.size(); ++i) {
    if (text[i] == '\\')
      ++i;  // \{ and \} do not count
    else if (text[i] == '{')
      ++open;
    else if (text[i] == '}' && --open == 0)
      return text.substr(start, i - start);
  }
  return {};
}

std::string_view unwrap_answer(std::string_view text) {
  for (int layer = 0; layer < kMaxWrappings; ++layer) {
    const std::string_view before = text = trim(text);
    if (const std::size_t box = text.find(kBoxed); box != text.npos) {
      text = agreed_box(text, box);
      continue;
    }
    if (text.ends_with('.') && !text.ends_with("..")) text.remove_suffix(1);
    if (text.ends_with("。")) text.remove_suffix(std::string_view("。").size());
    text = trim(text);
    strip_pair(text, "$$", "$$") || strip_pair(text, "$", "$") || strip_pair(text, "\\(", "\\)") ||
        strip_pair(text, "\\[", "\\]");
    if (text == before) return text;
  }
  return {};
}

std::optional<Rational> read_number(std::string_view text) {
  if (text.size() > kMaxBytes) return {};
  const std::string plain = plain_number(text);
  return NumberReader(plain).number();
}

bool answers_match(std::string_view answer, std::string_view reference) {
  const std::string_view given = unwrap_answer(answer), wanted = unwrap_answer(reference);
  if (const auto number = read_number(wanted)) return read_number(drop_variable(given)) == number;
  return same_text(given, wanted) || same_text(answer, reference);
}

}  // namespace grpo
