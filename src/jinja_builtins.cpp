#include "jinja_builtins.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <initializer_list>
#include <limits>
#include <optional>

#include "letter_case.h"
#include "nearest.h"
#include "utf8.h"

namespace grpo::jinja {
namespace {

// ---- Arguments ----

std::string list_of(const std::vector<std::string_view>& names) {
  std::string text;
  for (const std::string_view name : names) text += (text.empty() ? "" : ", ") + std::string(name);
  return text.empty() ? "none" : text;
}

}  // namespace

Bound::Bound(Runtime& runtime, std::string_view callee, std::string_view parameters, const Arguments& arguments)
    : arguments_(arguments) {
  if (parameters == "*") return;
  std::vector<std::string_view> names;
  std::size_t required = std::string_view::npos;
  while (!parameters.empty()) {
    const std::size_t end = std::min(parameters.find(' '), parameters.size());
    const std::string_view name = parameters.substr(0, end);
    parameters.remove_prefix(std::min(end + 1, parameters.size()));
    if (name == "|")
      required = names.size();
    else
      names.push_back(name);
  }
  required = std::min(required, names.size());
  if (arguments.positional.size() > names.size())
    runtime.fail(callee, ": expected at most ", names.size(), " arguments (", list_of(names), "), got ",
                 arguments.positional.size());
  values_.resize(names.size(), nullptr);
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto place = static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
    if (place == names.size())
      runtime.fail(callee, ": expected the arguments ", list_of(names), ", got one named \"", name, "\"");
    if (values_[place]) runtime.fail(callee, ": expected the argument \"", name, "\" once, got it twice");
    values_[place] = &value;
  }
  for (std::size_t i = 0; i < required; ++i)
    if (!values_[i]) runtime.fail(callee, ": expected the argument \"", names[i], "\", got none");
}

namespace {

// What an argument must be, for functions that ask for no less.

const std::string& text_argument(Runtime& runtime, const Value& value, std::string_view what) {
  if (!value.is(Kind::text)) runtime.fail("expected a str as ", what, ", got ", type_name(value));
  return value.text();
}

std::int64_t integer_argument(Runtime& runtime, const Value& value, std::string_view what) {
  if (!value.is_integral()) runtime.fail("expected an int as ", what, ", got ", type_name(value));
  return value.as_integer();
}

bool flag(const Bound& arguments, std::size_t parameter) {
  return arguments.has(parameter) && truthy(arguments[parameter]);
}

[[noreturn]] void refuse_undefined(Runtime& runtime, const Value& value) {
  if (value.object()) runtime.fail(value.as<Absence>().message);
  runtime.fail("expected a value, got an undefined one");
}

// ---- Text ----

bool has_character(const std::vector<std::string_view>& set, std::string_view c) {
  return std::find(set.begin(), set.end(), c) != set.end();
}

std::string_view strip(Runtime& runtime, std::string_view text, const Value* characters_to_strip, bool left,
                       bool right) {
  runtime.step(text.size() / 64);
  if (!characters_to_strip || characters_to_strip->is(Kind::none)) {
    if (left) text = strip_left(text);
    if (right) text = strip_right(text);
    return text;
  }
  const auto set = characters(text_argument(runtime, *characters_to_strip, "the characters to strip"));
  const auto all = characters(text);
  std::size_t begin = 0, end = all.size();
  while (left && begin < end && has_character(set, all[begin])) {
    runtime.step(1 + set.size() / 8);
    ++begin;
  }
  while (right && end > begin && has_character(set, all[end - 1])) {
    runtime.step(1 + set.size() / 8);
    --end;
  }
  if (begin == end) return {};
  const char* first = all[begin].data();
  return {first, static_cast<std::size_t>(all[end - 1].data() + all[end - 1].size() - first)};
}

std::string replace(Runtime& runtime, std::string_view text, std::string_view old, std::string_view with,
                    std::int64_t count) {
  Builder out(runtime);
  if (count < 0) count = std::numeric_limits<std::int64_t>::max();
  if (old.empty()) {  // in front of every character, and at the end
    for (const std::string_view c : characters(text)) {
      if (count > 0) {
        out += with;
        --count;
      }
      out += c;
      runtime.step();
    }
    if (count > 0) out += with;
    return out.take();
  }
  std::size_t at = 0;
  while (count-- > 0) {
    const std::size_t found = find_text(text, old, at);
    if (found == std::string_view::npos) break;
    out += text.substr(at, found - at);
    out += with;
    at = found + old.size();
    runtime.step(1 + old.size() / 16);
  }
  out += text.substr(at);
  return out.take();
}

bool is_line_end(char32_t c) {
  return (c >= '\n' && c <= '\r') || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    std::size_t next = at + c.size;
    if (is_line_end(c.value)) {
      if (c.value == '\r' && next < text.size() && text[next] == '\n') ++next;
      lines.push_back(text.substr(begin, (keep_ends ? next : at) - begin));
      begin = next;
    }
    at = next;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::vector<std::string_view> split_space(std::string_view text, std::int64_t most, bool from_right) {
  std::vector<std::string_view> parts;
  if (from_right) {
    text = strip_right(text);
    while (!text.empty() && most-- != 0) {
      std::size_t begin = text.size();
      while (begin > 0) {
        std::size_t start = begin - 1;
        while (start > 0 && begin - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
        const CodePoint c = decode_utf8(text, start);
        if (start + c.size == begin && is_python_space(c.value)) break;
        begin = start + c.size == begin ? start : begin - 1;
      }
      parts.push_back(text.substr(begin));
      text = strip_right(text.substr(0, begin));
    }
    if (!text.empty()) parts.push_back(text);
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  text = strip_left(text);
  while (!text.empty() && most-- != 0) {
    std::size_t end = 0;
    while (end < text.size()) {
      const CodePoint c = decode_utf8(text, end);
      if (is_python_space(c.value)) break;
      end += c.size;
    }
    parts.push_back(text.substr(0, end));
    text = strip_left(text.substr(end));
  }
  if (!text.empty()) parts.push_back(text);
  return parts;
}

std::vector<std::string_view> split(Runtime& runtime, std::string_view text, std::string_view separator,
                                    std::int64_t most, bool from_right) {
  if (separator.empty()) runtime.fail("expected a separator that is not empty, got \"\"");
  std::vector<std::string_view> parts;
  if (from_right) {
    while (most-- != 0) {
      runtime.step(1 + separator.size() / 16 + (separator.size() > 16 ? text.size() / 64 : 0));
      const std::size_t found = find_last_text(text, separator);
      if (found == std::string_view::npos) break;
      parts.push_back(text.substr(found + separator.size()));
      text = text.substr(0, found);
    }
    parts.push_back(text);
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  while (most-- != 0) {
    runtime.step(1 + separator.size() / 16);
    const std::size_t found = find_text(text, separator);
    if (found == std::string_view::npos) break;
    parts.push_back(text.substr(0, found));
    text.remove_prefix(found + separator.size());
  }
  parts.push_back(text);
  return parts;
}

Value texts(Runtime& runtime, const std::vector<std::string_view>& parts, Kind kind = Kind::list) {
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) items.push_back(runtime.text(std::string(part)));
  return runtime.sequence(kind, std::move(items));
}

std::string title_method(std::string_view text) {
  std::string result;
  bool in_word = false;
  std::size_t word = 0;
  const auto flush = [&](std::size_t end) { result += to_capitalized(text.substr(word, end - word)); };
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    const bool cased = letter_case(c.value) != LetterCase::none;
    if (cased != in_word) {
      if (in_word) flush(at);
      word = at;
      in_word = cased;
    }
    if (!cased) result += text.substr(at, c.size);
    at += c.size;
  }
  if (in_word) flush(text.size());
  return result;
}

// Jinja's own: a word begins behind white space, a hyphen or an opening bracket.
std::string title_filter(std::string_view text) {
  std::string result;
  const auto separates = [](char32_t c) {
    return is_python_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
  };
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    if (separates(c.value)) {
      result += text.substr(at, c.size);
      at += c.size;
      continue;
    }
    std::size_t end = at + c.size;
    while (end < text.size()) {
      const CodePoint next = decode_utf8(text, end);
      if (separates(next.value)) break;
      end += next.size;
    }
    result += to_upper(text.substr(at, c.size));
    result += to_lower(text.substr(at + c.size, end - at - c.size));
    at = end;
  }
  return result;
}

// Whether all letters are small (or capital) and there is one.
bool has_case(std::string_view text, LetterCase wanted) {
  bool some = false;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    const LetterCase found = letter_case(c.value);
    if (found != LetterCase::none) {
      if (found != wanted) return false;
      some = true;
    }
    at += c.size;
  }
  return some;
}

std::string spaces(Runtime& runtime, std::int64_t count) {
  Builder out(runtime);
  out.repeat(" ", count);
  return out.take();
}

Value justified(Runtime& runtime, std::string_view text, std::int64_t width, std::string_view fill, double left_share) {
  if (character_count(fill) != 1) runtime.fail("expected one character to fill with, got ", fill.size(), " bytes");
  const auto length = static_cast<std::int64_t>(character_count(text));
  const std::int64_t margin = width > length ? width - length : 0;
  // Python puts the odd one of a centred text on the left when the width is odd, too.
  const std::int64_t left = left_share == 0.5 ? margin / 2 + (margin & width & 1) : left_share == 1 ? margin : 0;
  Builder out(runtime);
  out.repeat(fill, left);
  out += text;
  out.repeat(fill, margin - left);
  return runtime.text(out.take());
}

// ---- Numbers ----

std::optional<std::string> plain_digits(std::string_view text, const std::function<bool(char)>& is_digit) {
  std::string digits;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_') {
      if (i == 0 || i + 1 == text.size() || text[i - 1] == '_' || text[i + 1] == '_') return std::nullopt;
      continue;
    }
    if (!is_digit(text[i])) return std::nullopt;
    digits += text[i];
  }
  return digits.empty() ? std::nullopt : std::optional<std::string>(digits);
}

bool is_decimal(char c) { return c >= '0' && c <= '9'; }

std::optional<std::int64_t> parse_integer(Runtime& runtime, std::string_view text, std::int64_t base) {
  text = strip_right(strip_left(text));
  bool minus = false;
  if (text.starts_with('-') || text.starts_with('+')) {
    minus = text[0] == '-';
    text.remove_prefix(1);
  }
  const auto prefixed = [&](char mark) {
    return text.size() > 2 && text[0] == '0' && (text[1] == mark || text[1] == mark - 32);
  };
  for (const auto& [mark, meant] : {std::pair{'x', 16}, {'o', 8}, {'b', 2}}) {
    if ((base != meant && base != 0) || !prefixed(mark)) continue;
    text.remove_prefix(text[2] == '_' ? 3 : 2);
    base = meant;
    break;
  }
  if (base == 0) base = 10;
  const auto value_of = [](char c) {
    return is_decimal(c) ? c - '0' : c >= 'a' && c <= 'z' ? c - 'a' + 10 : c >= 'A' && c <= 'Z' ? c - 'A' + 10 : 99;
  };
  const auto digits = plain_digits(text, [&](char c) { return value_of(c) < base; });
  if (!digits) return std::nullopt;
  const std::string signed_digits = (minus ? "-" : "") + *digits;
  std::int64_t value = 0;
  const auto end = signed_digits.data() + signed_digits.size();
  const auto [stop, error] = std::from_chars(signed_digits.data(), end, value, static_cast<int>(base));
  if (error != std::errc() || stop != end) runtime.fail("int: expected a whole number within 64 bits, got ", *digits);
  return value;
}

std::optional<double> parse_real(std::string_view text) {
  text = strip_right(strip_left(text));
  std::string sign;
  if (text.starts_with('-') || text.starts_with('+')) {
    sign = text.substr(0, 1);
    text.remove_prefix(1);
  }
  const double direction = sign == "-" ? -1 : 1;
  const std::string small = to_lower(text.substr(0, 16));
  if (small == "inf" || small == "infinity") return direction * std::numeric_limits<double>::infinity();
  if (small == "nan") return std::numeric_limits<double>::quiet_NaN();
  std::string_view mantissa = text, power;
  if (const std::size_t e = text.find_first_of("eE"); e != text.npos) {
    mantissa = text.substr(0, e);
    power = text.substr(e + 1);
    std::string_view digits = power;
    if (digits.starts_with('-') || digits.starts_with('+')) digits.remove_prefix(1);
    if (!plain_digits(digits, is_decimal)) return std::nullopt;
  }
  const std::size_t dot = mantissa.find('.');
  const std::string_view whole = mantissa.substr(0, std::min(dot, mantissa.size()));
  const std::string_view fraction = dot == mantissa.npos ? std::string_view() : mantissa.substr(dot + 1);
  if (whole.empty() && fraction.empty()) return std::nullopt;
  if (!whole.empty() && !plain_digits(whole, is_decimal)) return std::nullopt;
  if (!fraction.empty() && !plain_digits(fraction, is_decimal)) return std::nullopt;
  std::string plain = sign;
  for (const char c : text)
    if (c != '_') plain += c;
  return std::strtod(plain.c_str(), nullptr);
}

std::int64_t truncated(Runtime& runtime, double number) {
  if (!(number >= -0x1p63 && number < 0x1p63))
    runtime.fail("expected a number that an int within 64 bits can hold, got ", number_text(number));
  return static_cast<std::int64_t>(number);
}

// ---- Attributes of items, by a path such as "function.name" or "0.1" ----

Value follow(Runtime& runtime, Value item, const Value& path) {
  if (path.is(Kind::none)) return item;
  if (!path.is(Kind::text)) return item_of(runtime, item, path);
  std::string_view rest = path.text();
  while (true) {
    const std::size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    std::int64_t index = 0;
    const bool number = !part.empty() && std::all_of(part.begin(), part.end(), is_decimal) &&
                        std::from_chars(part.data(), part.data() + part.size(), index).ec == std::errc();
    item = item_of(runtime, item, number ? Value::integer(index) : runtime.text(std::string(part)));
    if (dot == rest.npos) return item;
    rest.remove_prefix(dot + 1);
  }
}

Value without_case(Runtime& runtime, const Value& value) {
  return value.is(Kind::text) ? runtime.text(to_lower(value.text())) : value;
}

// ---- Filters ----

Value abs_filter(Runtime& runtime, const Value& value, const Bound&) {
  if (value.is(Kind::real)) return Value::real(std::fabs(value.as_real()));
  const std::int64_t number = integer_argument(runtime, value, "the number of abs");
  if (number == std::numeric_limits<std::int64_t>::min()) runtime.fail("abs: expected a result within 64 bits");
  return Value::integer(std::abs(number));
}

Value attr_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  const std::string name = str(runtime, arguments[0]);
  if (value.is(Kind::dict)) {  // only what is no item
    const Value* item = value.as<Dict>().find(runtime, runtime.text(name));
    const Value found = attribute_of(runtime, value, name);
    if (item && !found.is(Kind::callable)) return runtime.undefined("'dict' has no attribute '" + name + "'");
    return found;
  }
  return attribute_of(runtime, value, name);
}

Value batch_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  const std::int64_t size = integer_argument(runtime, arguments[0], "the size of a batch");
  std::vector<Value> batches, batch;
  for (Value& item : items_of(runtime, value)) {
    if (static_cast<std::int64_t>(batch.size()) == size) {
      batches.push_back(runtime.list(std::move(batch)));
      batch.clear();
    }
    batch.push_back(std::move(item));
  }
  if (!batch.empty()) {
    if (arguments.has(1) && !arguments[1].is(Kind::none)) {
      if (size > static_cast<std::int64_t>(kMaxRange)) runtime.fail("batch: expected a smaller size, got ", size);
      while (static_cast<std::int64_t>(batch.size()) < size) batch.push_back(arguments[1]);
    }
    batches.push_back(runtime.list(std::move(batch)));
  }
  return runtime.iterator(std::move(batches));
}

Value capitalize_filter(Runtime& runtime, const Value& value, const Bound&) {
  return runtime.text(to_capitalized(str(runtime, value)));
}

Value center_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  const std::int64_t width = arguments.has(0) ? integer_argument(runtime, arguments[0], "the width") : 80;
  return justified(runtime, str(runtime, value), width, " ", 0.5);
}

Value default_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  if (value.is_undefined() || (flag(arguments, 1) && !truthy(value)))
    return arguments.has(0) ? arguments[0] : runtime.text("");
  return value;
}

// The order that sort and dictsort ask for; keys are compared by Python's rules.
void sort_by_keys(Runtime& runtime, std::vector<std::pair<Value, Value>>& keyed, bool reverse) {
  const auto less = [&](const auto& a, const auto& b) {
    return reverse ? compare(runtime, b.first, a.first).value_or(0) < 0
                   : compare(runtime, a.first, b.first).value_or(0) < 0;
  };
  std::stable_sort(keyed.begin(), keyed.end(), less);
}

Value values_of(Runtime& runtime, std::vector<std::pair<Value, Value>> keyed) {
  std::vector<Value> items;
  items.reserve(keyed.size());
  for (auto& [key, value] : keyed) items.push_back(std::move(value));
  return runtime.list(std::move(items));
}

Value dictsort_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  if (!value.is(Kind::dict)) runtime.fail("dictsort: expected a dict, got ", type_name(value));
  const std::string by = arguments.has(1) ? str(runtime, arguments[1]) : "key";
  if (by != "key" && by != "value") runtime.fail("dictsort: expected by to be key or value, got \"", by, "\"");
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, item] : value.as<Dict>().entries) {
    const Value& chosen = by == "key" ? key : item;
    keyed.emplace_back(flag(arguments, 0) ? chosen : without_case(runtime, chosen), runtime.tuple({key, item}));
  }
  sort_by_keys(runtime, keyed, flag(arguments, 2));
  return values_of(runtime, std::move(keyed));
}

Value first_filter(Runtime& runtime, const Value& value, const Bound&) {
  if (value.is(Kind::text)) {  // without a value for every character
    if (value.text().empty()) return runtime.undefined("No first item, sequence was empty.");
    return runtime.text(value.text().substr(0, decode_utf8(value.text(), 0).size));
  }
  const auto first = iterate(runtime, value)->next();
  return first ? *first : runtime.undefined("No first item, sequence was empty.");
}

Value float_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  if (value.is_undefined()) refuse_undefined(runtime, value);
  if (value.is_number()) return Value::real(value.as_real());
  if (value.is(Kind::text))
    if (const auto number = parse_real(value.text())) return Value::real(*number);
  return arguments.has(0) ? arguments[0] : Value::real(0);
}

Value format_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  const Arguments& given = arguments.raw();
  if (!given.named.empty() && !given.positional.empty())
    runtime.fail("format: expected arguments that all have a name or none, got both");
  if (given.named.empty())
    return percent_format(runtime, str(runtime, value), runtime.tuple(std::vector<Value>(given.positional)));
  auto dict = std::make_shared<Dict>();
  for (const auto& [name, each] : given.named) dict->set(runtime, runtime.text(name), each);
  return percent_format(runtime, str(runtime, value), runtime.dict(std::move(dict)));
}

Value indent_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  if (value.is_undefined()) refuse_undefined(runtime, value);
  const std::string& given = text_argument(runtime, value, "the value of indent");
  std::string margin = "    ";
  if (arguments.has(0))
    margin = arguments[0].is(Kind::text) ? arguments[0].text()
                                         : spaces(runtime, integer_argument(runtime, arguments[0], "the width"));
  const std::string text = given + "\n";
  const auto lines = split_lines(text, false);
  Builder out(runtime);
  if (flag(arguments, 1)) out += margin;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      out += '\n';
      if (flag(arguments, 2) || !lines[i].empty()) out += margin;
    }
    out += lines[i];
  }
  return runtime.text(out.take());
}

Value int_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  if (value.is_undefined()) refuse_undefined(runtime, value);
  if (value.is_integral()) return Value::integer(value.as_integer());
  const std::int64_t base = arguments.has(1) ? integer_argument(runtime, arguments[1], "the base") : 10;
  if (value.is(Kind::real) && !std::isnan(value.as_real())) return Value::integer(truncated(runtime, value.as_real()));
  if (value.is(Kind::text)) {
    if (base != 0 && (base < 2 || base > 36)) runtime.fail("int: expected a base from 2 to 36, got ", base);
    if (const auto whole = parse_integer(runtime, value.text(), base)) return Value::integer(*whole);
    if (const auto real = parse_real(value.text()); real && std::isfinite(*real))
      return Value::integer(truncated(runtime, *real));
  }
  return arguments.has(0) ? arguments[0] : Value::integer(0);
}

Value items_filter(Runtime& runtime, const Value& value, const Bound&) {
  if (value.is_undefined()) return runtime.iterator({});
  if (!value.is(Kind::dict)) runtime.fail("items: expected a dict, got ", type_name(value));
  std::vector<Value> items;
  for (const auto& [key, item] : value.as<Dict>().entries) items.push_back(runtime.tuple({key, item}));
  return runtime.iterator(std::move(items));
}

Value join_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  const std::string separator = arguments.has(0) ? str(runtime, arguments[0]) : "";
  Builder out(runtime);
  bool first = true;
  for (const Value& item : items_of(runtime, value)) {
    if (!std::exchange(first, false)) out += separator;
    out += str(runtime, arguments.has(1) ? follow(runtime, item, arguments[1]) : item);
  }
  return runtime.text(out.take());
}

Value last_filter(Runtime& runtime, const Value& value, const Bound&) {
  if (value.is(Kind::iterator) || value.is(Kind::loop))
    runtime.fail("last: expected something with an end, got ", type_name(value), "; pass it through list");
  const std::vector<Value> items = items_of(runtime, value);
  return items.empty() ? runtime.undefined("No last item, sequence was empty.") : items.back();
}

Value length_filter(Runtime& runtime, const Value& value, const Bound&) {
  const auto length = length_of(value);
  if (!length) runtime.fail("length: expected something with a length, got ", type_name(value));
  return Value::integer(*length);
}

Value list_filter(Runtime& runtime, const Value& value, const Bound&) { return runtime.list(items_of(runtime, value)); }

Value lower_filter(Runtime& runtime, const Value& value, const Bound&) {
  return runtime.text(to_lower(str(runtime, value)));
}

Value call_filter(Runtime& runtime, const std::string& name, const Value& value, const Arguments& arguments) {
  const Filter* filter = find_filter(name);
  if (!filter)
    runtime.fail("expected a filter that this library knows, got \"", name, "\"; the nearest known is \"",
                 nearest(name.substr(0, 64), filter_names()), "\"");
  runtime.read(value);
  return filter->apply(runtime, value, Bound(runtime, name, filter->parameters, arguments));
}

Value map_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  if (!truthy(value)) return runtime.iterator({});
  Arguments given = arguments.raw();
  std::vector<Value> items;
  if (given.positional.empty()) {
    static constexpr std::string_view kParameters = "attribute | default";
    const Bound named(runtime, "map", kParameters, arguments.raw());
    for (const Value& item : items_of(runtime, value)) {
      Value found = follow(runtime, item, named[0]);
      const bool absent = found.is_undefined() && named.has(1) && !named[1].is(Kind::none);
      items.push_back(absent ? named[1] : std::move(found));
    }
  } else {
    const std::string name = text_argument(runtime, given.positional[0], "the filter of map");
    given.positional.erase(given.positional.begin());
    for (const Value& item : items_of(runtime, value)) items.push_back(call_filter(runtime, name, item, given));
  }
  return runtime.iterator(std::move(items));
}

Value extreme(Runtime& runtime, const Value& value, const Bound& arguments, int wanted) {
  std::optional<Value> best, best_key;
  for (const Value& item : items_of(runtime, value)) {
    Value key = arguments.has(1) ? follow(runtime, item, arguments[1]) : item;
    if (!flag(arguments, 0)) key = without_case(runtime, key);
    if (best_key && compare(runtime, key, *best_key).value_or(0) != wanted) continue;
    best = item;
    best_key = std::move(key);
  }
  return best ? *best : runtime.undefined("No aggregated item, sequence was empty.");
}

Value max_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  return extreme(runtime, value, arguments, 1);
}

Value min_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  return extreme(runtime, value, arguments, -1);
}

// select, reject, selectattr and rejectattr.
Value selection(Runtime& runtime, const Value& value, const Bound& arguments, bool of_attribute, bool wanted) {
  if (!truthy(value)) return runtime.iterator({});
  Arguments given = arguments.raw();
  Value path = Value::none();
  if (of_attribute) {
    if (given.positional.empty()) runtime.fail("expected the name of an attribute to select by, got none");
    path = given.positional.front();
    given.positional.erase(given.positional.begin());
  }
  const Test* test = nullptr;
  std::string name;
  if (!given.positional.empty()) {
    name = text_argument(runtime, given.positional.front(), "the test to select by");
    given.positional.erase(given.positional.begin());
    test = find_test(name);
    if (!test)
      runtime.fail("expected a test that this library knows, got \"", name, "\"; the nearest known is \"",
                   nearest(name.substr(0, 64), test_names()), "\"");
  }
  std::vector<Value> chosen;
  for (Value& item : items_of(runtime, value)) {
    const Value subject = of_attribute ? follow(runtime, item, path) : item;
    runtime.read(subject);
    const bool passed =
        test ? test->apply(runtime, subject, Bound(runtime, name, test->parameters, given)) : truthy(subject);
    if (passed == wanted) chosen.push_back(std::move(item));
  }
  return runtime.iterator(std::move(chosen));
}

Value reject_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  return selection(runtime, value, arguments, false, false);
}
Value rejectattr_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  return selection(runtime, value, arguments, true, false);
}
Value select_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  return selection(runtime, value, arguments, false, true);
}
Value selectattr_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  return selection(runtime, value, arguments, true, true);
}

Value replace_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  std::int64_t count = -1;
  if (arguments.has(2) && !arguments[2].is(Kind::none)) count = integer_argument(runtime, arguments[2], "the count");
  return runtime.text(
      replace(runtime, str(runtime, value), str(runtime, arguments[0]), str(runtime, arguments[1]), count));
}

Value reverse_filter(Runtime& runtime, const Value& value, const Bound&) {
  if (value.is(Kind::text)) {
    std::string reversed;
    const auto all = characters(value.text());
    for (auto it = all.rbegin(); it != all.rend(); ++it) reversed += *it;
    return runtime.text(std::move(reversed));
  }
  std::vector<Value> items = items_of(runtime, value);
  std::reverse(items.begin(), items.end());
  // Python turns what has an end around as it goes, and copies the rest first.
  return value.is(Kind::iterator) ? runtime.list(std::move(items)) : runtime.iterator(std::move(items));
}

Value round_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  const std::int64_t digits = arguments.has(0) ? integer_argument(runtime, arguments[0], "the precision") : 0;
  const std::string method = arguments.has(1) ? str(runtime, arguments[1]) : "common";
  if (value.is_undefined()) refuse_undefined(runtime, value);
  if (!value.is_number()) runtime.fail("round: expected a number, got ", type_name(value));
  if (digits < 0 || digits > 300) runtime.fail("round: expected a precision from 0 to 300, got ", digits);
  if (method == "common") {
    if (value.is_integral()) return Value::integer(value.as_integer());
    if (!std::isfinite(value.as_real())) return value;
    // The C library rounds the number's exact value, ties to even, as Python does.
    std::array<char, 700> buffer;
    std::snprintf(buffer.data(), buffer.size(), "%.*f", static_cast<int>(digits), value.as_real());
    return Value::real(std::strtod(buffer.data(), nullptr));
  }
  if (method != "ceil" && method != "floor")
    runtime.fail("round: expected the method common, ceil or floor, got \"", method, "\"");
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = value.as_real() * scale;
  return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

// Nothing here is escaped, so that nothing needs to be exempt.
Value safe_filter(Runtime& runtime, const Value& value, const Bound&) { return runtime.text(str(runtime, value)); }

Value sort_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  std::vector<Value> paths;
  if (arguments.has(2) && arguments[2].is(Kind::text)) {
    for (const std::string_view path : split(runtime, arguments[2].text(), ",", -1, false))
      paths.push_back(runtime.text(std::string(path)));
  } else {
    paths.push_back(arguments.has(2) ? arguments[2] : Value::none());
  }
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : items_of(runtime, value)) {
    std::vector<Value> key;
    for (const Value& path : paths) {
      const Value found = follow(runtime, item, path);
      key.push_back(flag(arguments, 1) ? found : without_case(runtime, found));
    }
    keyed.emplace_back(runtime.list(std::move(key)), item);
  }
  sort_by_keys(runtime, keyed, flag(arguments, 0));
  return values_of(runtime, std::move(keyed));
}

Value string_filter(Runtime& runtime, const Value& value, const Bound&) {
  return value.is(Kind::text) ? value : runtime.text(str(runtime, value));
}

Value sum_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  Value total = arguments.has(1) ? arguments[1] : Value::integer(0);
  for (const Value& item : items_of(runtime, value)) {
    const Value each = arguments.has(0) ? follow(runtime, item, arguments[0]) : item;
    if (each.is_undefined()) refuse_undefined(runtime, each);
    if (!each.is_number() || !total.is_number()) runtime.fail("sum: expected numbers, got ", type_name(each));
    std::int64_t whole = 0;
    if (!total.is_integral() || !each.is_integral())
      total = Value::real(total.as_real() + each.as_real());
    else if (__builtin_add_overflow(total.as_integer(), each.as_integer(), &whole))
      runtime.fail("sum: expected a sum within 64 bits, got a larger one");
    else
      total = Value::integer(whole);
  }
  return total;
}

Value title_filter_of(Runtime& runtime, const Value& value, const Bound&) {
  return runtime.text(title_filter(str(runtime, value)));
}

Value tojson_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  JsonStyle style;
  style.ascii = flag(arguments, 0);
  style.sorted = flag(arguments, 3);
  if (arguments.has(1) && !arguments[1].is(Kind::none)) {
    style.item = ",";
    if (arguments[1].is(Kind::text))
      style.indent = arguments[1].text();
    else
      style.indent = spaces(runtime, integer_argument(runtime, arguments[1], "the indent of tojson"));
  }
  if (arguments.has(2) && !arguments[2].is(Kind::none)) {
    const std::vector<Value> separators = items_of(runtime, arguments[2]);
    if (separators.size() != 2) runtime.fail("tojson: expected two separators, got ", separators.size());
    style.item = text_argument(runtime, separators[0], "a separator");
    style.key = text_argument(runtime, separators[1], "a separator");
  }
  return runtime.text(json_text(runtime, value, style));
}

Value trim_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  const std::string text = str(runtime, value);
  return runtime.text(std::string(strip(runtime, text, arguments.has(0) ? &arguments[0] : nullptr, true, true)));
}

Value unique_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  Dict seen;
  std::vector<Value> kept;
  for (const Value& item : items_of(runtime, value)) {
    Value key = arguments.has(1) ? follow(runtime, item, arguments[1]) : item;
    if (!flag(arguments, 0)) key = without_case(runtime, key);
    if (seen.find(runtime, key)) continue;
    seen.set(runtime, std::move(key), Value::none());
    kept.push_back(item);
  }
  return runtime.iterator(std::move(kept));
}

Value upper_filter(Runtime& runtime, const Value& value, const Bound&) {
  return runtime.text(to_upper(str(runtime, value)));
}

constexpr Filter kFilters[] = {
    {"abs", "", abs_filter},
    {"attr", "name", attr_filter},
    {"batch", "linecount | fill_with", batch_filter},
    {"capitalize", "", capitalize_filter},
    {"center", "| width", center_filter},
    {"count", "", length_filter},
    {"d", "| default_value boolean", default_filter},
    {"default", "| default_value boolean", default_filter},
    {"dictsort", "| case_sensitive by reverse", dictsort_filter},
    {"first", "", first_filter},
    {"float", "| default", float_filter},
    {"format", "*", format_filter},
    {"indent", "| width first blank", indent_filter},
    {"int", "| default base", int_filter},
    {"items", "", items_filter},
    {"join", "| d attribute", join_filter},
    {"last", "", last_filter},
    {"length", "", length_filter},
    {"list", "", list_filter},
    {"lower", "", lower_filter},
    {"map", "*", map_filter},
    {"max", "| case_sensitive attribute", max_filter},
    {"min", "| case_sensitive attribute", min_filter},
    {"reject", "*", reject_filter},
    {"rejectattr", "*", rejectattr_filter},
    {"replace", "old new | count", replace_filter},
    {"reverse", "", reverse_filter},
    {"round", "| precision method", round_filter},
    {"safe", "", safe_filter},
    {"select", "*", select_filter},
    {"selectattr", "*", selectattr_filter},
    {"sort", "| reverse case_sensitive attribute", sort_filter},
    {"string", "", string_filter},
    {"sum", "| attribute start", sum_filter},
    {"title", "", title_filter_of},
    {"tojson", "| ensure_ascii indent separators sort_keys", tojson_filter},
    {"trim", "| chars", trim_filter},
    {"unique", "| case_sensitive attribute", unique_filter},
    {"upper", "", upper_filter},
};

// ---- Tests ----

bool divides(Runtime& runtime, const Value& value, std::int64_t by, std::int64_t rest) {
  if (value.is_undefined()) refuse_undefined(runtime, value);
  if (value.is(Kind::real)) {
    const double left = std::fmod(value.as_real(), static_cast<double>(by));
    return (left < 0 ? left + static_cast<double>(by) : left) == static_cast<double>(rest);
  }
  const std::int64_t left = integer_argument(runtime, value, "the number of a test") % by;
  return (left < 0 ? left + by : left) == rest;
}

bool same_object(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  if (a.object() || b.object()) return a.object() == b.object();
  return a.is(Kind::real) ? a.as_real() == b.as_real() : a.as_integer() == b.as_integer();
}

bool ordered(Runtime& runtime, const Value& a, const Value& b, std::initializer_list<int> wanted) {
  const auto order = compare(runtime, a, b);
  return order && std::find(wanted.begin(), wanted.end(), *order) != wanted.end();
}

bool equals(Runtime& runtime, const Value& value, const Bound& arguments) {
  return equal(runtime, value, arguments[0]);
}
bool differs(Runtime& runtime, const Value& value, const Bound& arguments) {
  return !equal(runtime, value, arguments[0]);
}
bool is_less(Runtime& runtime, const Value& value, const Bound& arguments) {
  return ordered(runtime, value, arguments[0], {-1});
}
bool is_less_or_equal(Runtime& runtime, const Value& value, const Bound& arguments) {
  return ordered(runtime, value, arguments[0], {-1, 0});
}
bool is_greater(Runtime& runtime, const Value& value, const Bound& arguments) {
  return ordered(runtime, value, arguments[0], {1});
}
bool is_greater_or_equal(Runtime& runtime, const Value& value, const Bound& arguments) {
  return ordered(runtime, value, arguments[0], {0, 1});
}

constexpr Test kTests[] = {
    {"!=", "other", differs},
    {"<", "other", is_less},
    {"<=", "other", is_less_or_equal},
    {"==", "other", equals},
    {">", "other", is_greater},
    {">=", "other", is_greater_or_equal},
    {"boolean", "", [](Runtime&, const Value& value, const Bound&) { return value.is(Kind::boolean); }},
    {"callable", "",
     [](Runtime&, const Value& value, const Bound&) {
       return value.is(Kind::callable) || value.is(Kind::loop) || value.is_undefined();
     }},
    {"defined", "", [](Runtime&, const Value& value, const Bound&) { return !value.is_undefined(); }},
    {"divisibleby", "num",
     [](Runtime& runtime, const Value& value, const Bound& arguments) {
       const std::int64_t by = integer_argument(runtime, arguments[0], "the divisor");
       if (by == 0) runtime.fail("divisibleby: expected a divisor that is not 0, got 0");
       return by == -1 || divides(runtime, value, by, 0);
     }},
    {"eq", "other", equals},
    {"equalto", "other", equals},
    {"even", "", [](Runtime& runtime, const Value& value, const Bound&) { return divides(runtime, value, 2, 0); }},
    {"false", "",
     [](Runtime&, const Value& value, const Bound&) { return value.is(Kind::boolean) && !value.as_integer(); }},
    {"filter", "",
     [](Runtime& runtime, const Value& value, const Bound&) {
       hash(runtime, value);  // refuses what Python could not look up
       return value.is(Kind::text) && find_filter(value.text());
     }},
    {"float", "", [](Runtime&, const Value& value, const Bound&) { return value.is(Kind::real); }},
    {"ge", "other", is_greater_or_equal},
    {"greaterthan", "other", is_greater},
    {"gt", "other", is_greater},
    {"in", "seq",
     [](Runtime& runtime, const Value& value, const Bound& arguments) {
       return contains(runtime, arguments[0], value);
     }},
    {"integer", "", [](Runtime&, const Value& value, const Bound&) { return value.is(Kind::integer); }},
    {"iterable", "",
     [](Runtime&, const Value& value, const Bound&) {
       return value.is_undefined() || value.is(Kind::text) || value.is(Kind::dict) || value.is_sequence() ||
              value.is(Kind::iterator) || value.is(Kind::loop);
     }},
    {"le", "other", is_less_or_equal},
    {"lessthan", "other", is_less},
    {"lower", "",
     [](Runtime& runtime, const Value& value, const Bound&) {
       return has_case(str(runtime, value), LetterCase::lower);
     }},
    {"lt", "other", is_less},
    {"mapping", "", [](Runtime&, const Value& value, const Bound&) { return value.is(Kind::dict); }},
    {"ne", "other", differs},
    {"none", "", [](Runtime&, const Value& value, const Bound&) { return value.is(Kind::none); }},
    {"number", "", [](Runtime&, const Value& value, const Bound&) { return value.is_number(); }},
    {"odd", "", [](Runtime& runtime, const Value& value, const Bound&) { return divides(runtime, value, 2, 1); }},
    {"sameas", "other",
     [](Runtime&, const Value& value, const Bound& arguments) { return same_object(value, arguments[0]); }},
    {"sequence", "",
     [](Runtime&, const Value& value, const Bound&) {
       return value.is_undefined() || value.is(Kind::text) || value.is(Kind::dict) ||
              (value.is_sequence() && !value.is(Kind::view));
     }},
    {"string", "", [](Runtime&, const Value& value, const Bound&) { return value.is(Kind::text); }},
    {"test", "",
     [](Runtime& runtime, const Value& value, const Bound&) {
       hash(runtime, value);  // refuses what Python could not look up
       return value.is(Kind::text) && find_test(value.text());
     }},
    {"true", "",
     [](Runtime&, const Value& value, const Bound&) { return value.is(Kind::boolean) && value.as_integer(); }},
    {"undefined", "", [](Runtime&, const Value& value, const Bound&) { return value.is_undefined(); }},
    {"upper", "",
     [](Runtime& runtime, const Value& value, const Bound&) {
       return has_case(str(runtime, value), LetterCase::upper);
     }},
};

// ---- Methods of str ----

// Which part of a text find, count, startswith and their kind look at: all, or from a first character to a last.
struct Window {
  std::string_view text;
  std::int64_t offset;  // of its first character
  bool exists;          // not when it begins behind the end
};

Window window(Runtime& runtime, std::string_view text, const Bound& arguments) {
  if (!arguments.has(1) && !arguments.has(2)) return {text, 0, true};
  const auto all = characters(text);
  const auto length = static_cast<std::int64_t>(all.size());
  const auto bound = [&](std::size_t parameter, std::int64_t otherwise) {
    if (!arguments.has(parameter) || arguments[parameter].is(Kind::none)) return otherwise;
    const std::int64_t index = integer_argument(runtime, arguments[parameter], "the place in a str");
    return index < 0 ? std::max<std::int64_t>(index + length, 0) : index;
  };
  const std::int64_t begin = bound(1, 0), end = std::min(bound(2, length), length);
  if (begin > end) return {{}, 0, false};
  const auto place = [&](std::int64_t index) {
    return index == length ? text.size()
                           : static_cast<std::size_t>(all[static_cast<std::size_t>(index)].data() - text.data());
  };
  return {text.substr(place(begin), place(end) - place(begin)), begin, true};
}

bool has_affix(Runtime& runtime, const Value& self, const Bound& arguments, bool prefix) {
  const Window view = window(runtime, self.text(), arguments);
  const auto fits = [&](const Value& affix) {
    const std::string& wanted = text_argument(runtime, affix, "the beginning or end of a str");
    return view.exists && (prefix ? view.text.starts_with(wanted) : view.text.ends_with(wanted));
  };
  if (!arguments[0].is(Kind::tuple)) return fits(arguments[0]);
  for (const Value& affix : arguments[0].as<Sequence>().items)
    if (fits(affix)) return true;
  return false;
}

std::int64_t place_of(Runtime& runtime, const Value& self, const Bound& arguments, bool last) {
  const std::string& wanted = text_argument(runtime, arguments[0], "what to find");
  const Window view = window(runtime, self.text(), arguments);
  if (!view.exists) return -1;
  runtime.step(view.text.size() / 64);
  const std::size_t found = last ? find_last_text(view.text, wanted) : find_text(view.text, wanted);
  if (found == std::string_view::npos) return -1;
  return view.offset + static_cast<std::int64_t>(character_count(view.text.substr(0, found)));
}

Value strip_method(Runtime& runtime, const Value& self, const Bound& arguments, bool left, bool right) {
  return runtime.text(
      std::string(strip(runtime, self.text(), arguments.has(0) ? &arguments[0] : nullptr, left, right)));
}

Value split_method(Runtime& runtime, const Value& self, const Bound& arguments, bool from_right) {
  const std::int64_t most = arguments.has(1) ? integer_argument(runtime, arguments[1], "maxsplit") : -1;
  runtime.step(self.text().size() / 64);
  if (!arguments.has(0) || arguments[0].is(Kind::none))
    return texts(runtime, split_space(self.text(), most < 0 ? -1 : most, from_right));
  return texts(runtime, split(runtime, self.text(), text_argument(runtime, arguments[0], "a separator"),
                              most < 0 ? -1 : most, from_right));
}

Value partition_method(Runtime& runtime, const Value& self, const Bound& arguments, bool from_right) {
  const std::string& separator = text_argument(runtime, arguments[0], "a separator");
  const auto parts = split(runtime, self.text(), separator, 1, from_right);
  if (parts.size() == 2) return texts(runtime, {parts[0], separator, parts[1]}, Kind::tuple);
  return from_right ? texts(runtime, {"", "", parts[0]}, Kind::tuple) : texts(runtime, {parts[0], "", ""}, Kind::tuple);
}

Value justify_method(Runtime& runtime, const Value& self, const Bound& arguments, double left_share) {
  return justified(runtime, self.text(), integer_argument(runtime, arguments[0], "the width"),
                   arguments.has(1) ? text_argument(runtime, arguments[1], "what to fill with") : " ", left_share);
}

bool is_east_asian_letter(char32_t c) {
  return (c >= 0x3041 && c <= 0x3096) || (c >= 0x30A1 && c <= 0x30FA) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xAC00 && c <= 0xD7A3);
}

// What is said of every character of a text that is not empty. Of the characters beyond ASCII only those with a case,
// those of East Asia and white space are known.
enum class Class { alpha, digit, alnum, space };

bool all_are(Runtime& runtime, const Value& self, Class wanted) {
  const std::string& text = self.text();
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    const bool alpha = (c.value | 32) >= 'a' && (c.value | 32) <= 'z', digit = c.value >= '0' && c.value <= '9';
    bool fits = false;
    if (wanted == Class::space)
      fits = is_python_space(c.value);
    else if (c.value < 0x80)
      fits = wanted == Class::alpha ? alpha : wanted == Class::digit ? digit : alpha || digit;
    else if (letter_case(c.value) != LetterCase::none || is_east_asian_letter(c.value))
      fits = wanted != Class::digit;
    else
      runtime.fail("expected a str whose characters this library knows to class, got ", text.substr(at, c.size));
    if (!fits) return false;
    at += c.size;
  }
  return !text.empty();
}

Value format_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  const std::string& format = self.text();
  Builder out(runtime);
  std::size_t next = 0;
  for (std::size_t at = 0; at < format.size();) {
    const char c = format[at];
    if ((c == '{' || c == '}') && at + 1 < format.size() && format[at + 1] == c) {
      out += c;
      at += 2;
      continue;
    }
    if (c == '}') runtime.fail("format: expected a { before }, got none");
    if (c != '{') {
      const std::size_t end = std::min(format.find_first_of("{}", at), format.size());
      out += std::string_view(format).substr(at, end - at);
      at = end;
      continue;
    }
    const std::size_t end = format.find('}', at);
    if (end == std::string::npos) runtime.fail("format: expected a } behind {, got none");
    const std::string field = format.substr(at + 1, end - at - 1);
    at = end + 1;
    const auto& [positional, named] = arguments.raw();
    const Value* found = nullptr;
    if (field.empty() || std::all_of(field.begin(), field.end(), is_decimal)) {
      std::size_t index = next;
      if (field.empty())
        ++next;
      else if (std::from_chars(field.data(), field.data() + field.size(), index).ec != std::errc())
        index = positional.size();
      if (index < positional.size()) found = &positional[index];
    } else {
      for (const auto& [name, value] : named)
        if (name == field) found = &value;
      if (!found && field.find_first_of(".[!:") != std::string::npos)
        runtime.fail("format: expected a field that this library knows, such as {}, {0} or {name}, got {", field, "}");
    }
    if (!found) runtime.fail("format: expected an argument for {", field, "}, got none");
    out += str(runtime, *found);
  }
  return runtime.text(out.take());
}

Value joined(Runtime& runtime, const Value& self, const Bound& arguments) {
  if (arguments[0].is_undefined() && arguments[0].object() == nullptr) return runtime.text("");
  Builder out(runtime);
  bool first = true;
  for (const Value& item : items_of(runtime, arguments[0])) {
    if (!std::exchange(first, false)) out += self.text();
    out += text_argument(runtime, item, "an item of join");
  }
  return runtime.text(out.take());
}

constexpr Method kTextMethods[] = {
    {"capitalize", "", [](Runtime& r, const Value& s, const Bound&) { return r.text(to_capitalized(s.text())); }},
    {"center", "width | fillchar",
     [](Runtime& r, const Value& s, const Bound& a) { return justify_method(r, s, a, 0.5); }},
    {"count", "sub | start end",
     [](Runtime& r, const Value& s, const Bound& a) {
       const std::string& wanted = text_argument(r, a[0], "what to count");
       const Window view = window(r, s.text(), a);
       if (!view.exists) return Value::integer(0);
       if (wanted.empty()) return Value::integer(static_cast<std::int64_t>(character_count(view.text)) + 1);
       return Value::integer(static_cast<std::int64_t>(split(r, view.text, wanted, -1, false).size()) - 1);
     }},
    {"endswith", "suffix | start end",
     [](Runtime& r, const Value& s, const Bound& a) { return Value::boolean(has_affix(r, s, a, false)); }},
    {"find", "sub | start end",
     [](Runtime& r, const Value& s, const Bound& a) { return Value::integer(place_of(r, s, a, false)); }},
    {"format", "*", format_method},
    {"index", "sub | start end",
     [](Runtime& r, const Value& s, const Bound& a) {
       const std::int64_t place = place_of(r, s, a, false);
       if (place < 0) r.fail("index: expected a str that contains \"", a[0].text(), "\", got one without");
       return Value::integer(place);
     }},
    {"isalnum", "",
     [](Runtime& r, const Value& s, const Bound&) { return Value::boolean(all_are(r, s, Class::alnum)); }},
    {"isalpha", "",
     [](Runtime& r, const Value& s, const Bound&) { return Value::boolean(all_are(r, s, Class::alpha)); }},
    {"isdigit", "",
     [](Runtime& r, const Value& s, const Bound&) { return Value::boolean(all_are(r, s, Class::digit)); }},
    {"islower", "",
     [](Runtime&, const Value& s, const Bound&) { return Value::boolean(has_case(s.text(), LetterCase::lower)); }},
    {"isspace", "",
     [](Runtime& r, const Value& s, const Bound&) { return Value::boolean(all_are(r, s, Class::space)); }},
    {"isupper", "",
     [](Runtime&, const Value& s, const Bound&) { return Value::boolean(has_case(s.text(), LetterCase::upper)); }},
    {"join", "iterable", joined},
    {"ljust", "width | fillchar",
     [](Runtime& r, const Value& s, const Bound& a) { return justify_method(r, s, a, 0); }},
    {"lower", "", [](Runtime& r, const Value& s, const Bound&) { return r.text(to_lower(s.text())); }},
    {"lstrip", "| chars",
     [](Runtime& r, const Value& s, const Bound& a) { return strip_method(r, s, a, true, false); }},
    {"partition", "sep", [](Runtime& r, const Value& s, const Bound& a) { return partition_method(r, s, a, false); }},
    {"removeprefix", "prefix",
     [](Runtime& r, const Value& s, const Bound& a) {
       const std::string& prefix = text_argument(r, a[0], "a prefix");
       return s.text().starts_with(prefix) ? r.text(s.text().substr(prefix.size())) : s;
     }},
    {"removesuffix", "suffix",
     [](Runtime& r, const Value& s, const Bound& a) {
       const std::string& suffix = text_argument(r, a[0], "a suffix");
       return s.text().ends_with(suffix) ? r.text(s.text().substr(0, s.text().size() - suffix.size())) : s;
     }},
    {"replace", "old new | count",
     [](Runtime& r, const Value& s, const Bound& a) {
       return r.text(replace(r, s.text(), text_argument(r, a[0], "what to replace"),
                             text_argument(r, a[1], "what to put in its place"),
                             a.has(2) ? integer_argument(r, a[2], "the count") : -1));
     }},
    {"rfind", "sub | start end",
     [](Runtime& r, const Value& s, const Bound& a) { return Value::integer(place_of(r, s, a, true)); }},
    {"rindex", "sub | start end",
     [](Runtime& r, const Value& s, const Bound& a) {
       const std::int64_t place = place_of(r, s, a, true);
       if (place < 0) r.fail("rindex: expected a str that contains \"", a[0].text(), "\", got one without");
       return Value::integer(place);
     }},
    {"rjust", "width | fillchar",
     [](Runtime& r, const Value& s, const Bound& a) { return justify_method(r, s, a, 1); }},
    {"rpartition", "sep", [](Runtime& r, const Value& s, const Bound& a) { return partition_method(r, s, a, true); }},
    {"rsplit", "| sep maxsplit",
     [](Runtime& r, const Value& s, const Bound& a) { return split_method(r, s, a, true); }},
    {"rstrip", "| chars",
     [](Runtime& r, const Value& s, const Bound& a) { return strip_method(r, s, a, false, true); }},
    {"split", "| sep maxsplit",
     [](Runtime& r, const Value& s, const Bound& a) { return split_method(r, s, a, false); }},
    {"splitlines", "| keepends",
     [](Runtime& r, const Value& s, const Bound& a) { return texts(r, split_lines(s.text(), flag(a, 0))); }},
    {"startswith", "prefix | start end",
     [](Runtime& r, const Value& s, const Bound& a) { return Value::boolean(has_affix(r, s, a, true)); }},
    {"strip", "| chars", [](Runtime& r, const Value& s, const Bound& a) { return strip_method(r, s, a, true, true); }},
    {"title", "", [](Runtime& r, const Value& s, const Bound&) { return r.text(title_method(s.text())); }},
    {"upper", "", [](Runtime& r, const Value& s, const Bound&) { return r.text(to_upper(s.text())); }},
    {"zfill", "width",
     [](Runtime& r, const Value& s, const Bound& a) {
       std::string_view text = s.text();
       const auto length = static_cast<std::int64_t>(character_count(text));
       Builder out(r);
       if (text.starts_with('-') || text.starts_with('+')) {
         out += text[0];
         text.remove_prefix(1);
       }
       const std::int64_t width = integer_argument(r, a[0], "the width");
       if (width > length) out.repeat("0", width - length);
       out += text;
       return r.text(out.take());
     }},
};

// ---- Methods of dict, list, tuple and loop ----

Value view(Runtime& runtime, const Value& self, std::string_view name) {
  std::vector<Value> items;
  for (const auto& [key, value] : self.as<Dict>().entries)
    items.push_back(name == "dict_keys" ? key : name == "dict_values" ? value : runtime.tuple({key, value}));
  return runtime.sequence(Kind::view, std::move(items), std::string(name));
}

constexpr Method kDictMethods[] = {
    {"copy", "", [](Runtime&, const Value& s, const Bound&) { return s; }},
    {"get", "key | default",
     [](Runtime& r, const Value& s, const Bound& a) {
       const Value* found = s.as<Dict>().find(r, a[0]);
       return found ? *found : a.has(1) ? a[1] : Value::none();
     }},
    {"items", "", [](Runtime& r, const Value& s, const Bound&) { return view(r, s, "dict_items"); }},
    {"keys", "", [](Runtime& r, const Value& s, const Bound&) { return view(r, s, "dict_keys"); }},
    {"values", "", [](Runtime& r, const Value& s, const Bound&) { return view(r, s, "dict_values"); }},
};

constexpr Method kListMethods[] = {
    {"copy", "", [](Runtime&, const Value& s, const Bound&) { return s; }},
    {"count", "value",
     [](Runtime& r, const Value& s, const Bound& a) {
       std::int64_t count = 0;
       for (const Value& item : s.as<Sequence>().items) count += equal(r, item, a[0]);
       return Value::integer(count);
     }},
    {"index", "value",
     [](Runtime& r, const Value& s, const Bound& a) {
       const auto& items = s.as<Sequence>().items;
       for (std::size_t i = 0; i < items.size(); ++i)
         if (equal(r, items[i], a[0])) return Value::integer(static_cast<std::int64_t>(i));
       r.fail("index: expected a value that is in the list, got one that is not");
     }},
};

constexpr Method kLoopMethods[] = {
    {"changed", "*",
     [](Runtime& r, const Value& s, const Bound& a) {
       auto& loop = s.as<Loop>();
       // A loop that is over must hold nothing any more that could hold it.
       if (loop.ended) r.fail("changed: expected a loop that goes on, got one that is over");
       const Value now = r.tuple(std::vector<Value>(a.raw().positional));
       if (loop.last_changed && equal(r, *loop.last_changed, now)) return Value::boolean(false);
       loop.last_changed = now;
       return Value::boolean(true);
     }},
    {"cycle", "*",
     [](Runtime& r, const Value& s, const Bound& a) {
       const auto& choices = a.raw().positional;
       if (choices.empty()) r.fail("cycle: expected values to go through, got none");
       return choices[static_cast<std::size_t>(std::max<std::int64_t>(s.as<Loop>().index0, 0)) % choices.size()];
     }},
};

// ---- Functions ----

void fill_dict(Runtime& runtime, Dict& dict, const Bound& arguments) {
  const auto& [positional, named] = arguments.raw();
  if (positional.size() > 1)
    runtime.fail("dict: expected at most one argument without a name, got ", positional.size());
  if (!positional.empty()) {
    if (positional[0].is(Kind::dict)) {
      for (const auto& [key, value] : positional[0].as<Dict>().entries) dict.set(runtime, key, value);
    } else {
      for (const Value& item : items_of(runtime, positional[0])) {
        const std::vector<Value> pair = items_of(runtime, item);
        if (pair.size() != 2) runtime.fail("dict: expected pairs, got an item of ", pair.size());
        dict.set(runtime, pair[0], pair[1]);
      }
    }
  }
  for (const auto& [name, value] : named) dict.set(runtime, runtime.text(name), value);
}

constexpr Method kGlobals[] = {
    {"dict", "*",
     [](Runtime& r, const Value&, const Bound& a) {
       auto made = std::make_shared<Dict>();
       fill_dict(r, *made, a);
       return r.dict(std::move(made));
     }},
    {"namespace", "*",
     [](Runtime& r, const Value&, const Bound& a) {
       Dict given;
       fill_dict(r, given, a);
       const Value made = r.space();
       for (const auto& [name, value] : given.entries) {
         const std::string& key = text_argument(r, name, "the name of a namespace's attribute");
         if (key.starts_with('_'))
           r.fail("namespace: expected names without an underscore in front, got \"", key, "\"");
         made.as<Space>().attributes.emplace_back(key, value);
       }
       return made;
     }},
    {"raise_exception", "message",
     [](Runtime& r, const Value&, const Bound& a) -> Value {
       r.fail("the template refuses these messages: ", str(r, a[0]));
     }},
    {"range", "first | second step",
     [](Runtime& r, const Value&, const Bound& a) {
       const std::int64_t first = integer_argument(r, a[0], "a bound of range");
       if (!a.has(1)) return r.range(0, first, 1);
       return r.range(first, integer_argument(r, a[1], "a bound of range"),
                      a.has(2) ? integer_argument(r, a[2], "the step of range") : 1);
     }},
    {"strftime_now", "format",
     [](Runtime& r, const Value&, const Bound& a) {
       const std::string& format = text_argument(r, a[0], "the format of strftime_now");
       constexpr std::size_t kLongest = 1024;
       if (format.size() > kLongest) r.fail("strftime_now: expected a format of at most ", kLongest, " bytes");
       const std::time_t now = std::time(nullptr);
       std::tm local{};
       localtime_r(&now, &local);
       // With a character behind it, so that an empty result differs from one that has no room.
       std::string out(64 * (format.size() + 2), '\0');
       const std::size_t size = std::strftime(out.data(), out.size(), (format + "|").c_str(), &local);
       if (size == 0) r.fail("strftime_now: expected a shorter date, got one without room");
       out.resize(size - 1);
       return r.text(std::move(out));
     }},
};

template <class Table>
auto find_in(const Table& table, std::string_view name) -> decltype(&table[0]) {
  for (const auto& each : table)
    if (each.name == name) return &each;
  return nullptr;
}

template <class Table>
std::vector<std::string> names_in(const Table& table) {
  std::vector<std::string> names;
  for (const auto& each : table) names.emplace_back(each.name);
  return names;
}

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// ---- What an object has ----

// The methods with which Python changes a list or a dict in place; no template may.
bool is_mutator(Kind kind, std::string_view name) {
  if (kind == Kind::list)
    return is_one_of(name, {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"});
  return kind == Kind::dict && is_one_of(name, {"clear", "pop", "popitem", "setdefault", "update"});
}

// What Python's types have beyond the tables above.
bool is_missing_attribute(Kind kind, std::string_view name) {
  switch (kind) {
    case Kind::text:
      return is_one_of(name, {"casefold", "encode", "expandtabs", "format_map", "isascii", "isdecimal", "isidentifier",
                              "isnumeric", "isprintable", "istitle", "maketrans", "swapcase", "translate"});
    case Kind::dict:
      return name == "fromkeys";
    case Kind::boolean:
    case Kind::integer:
      return is_one_of(name, {"as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator", "from_bytes",
                              "imag", "numerator", "real", "to_bytes"});
    case Kind::real:
      return is_one_of(name, {"as_integer_ratio", "conjugate", "fromhex", "hex", "imag", "is_integer", "real"});
    case Kind::range:
      return is_one_of(name, {"start", "stop", "step"});
    case Kind::view:
      return is_one_of(name, {"isdisjoint", "mapping"});
    case Kind::callable:
      return true;
    default:
      return false;
  }
}

const Method* method_of(Kind kind, std::string_view name) {
  switch (kind) {
    case Kind::text:
      return find_in(kTextMethods, name);
    case Kind::dict:
      return find_in(kDictMethods, name);
    case Kind::list:
      return find_in(kListMethods, name);
    case Kind::tuple:
    case Kind::range:
      return name == "copy" ? nullptr : find_in(kListMethods, name);
    case Kind::loop:
      return find_in(kLoopMethods, name);
    default:
      return nullptr;
  }
}

std::optional<Value> loop_attribute(Runtime& runtime, Loop& loop, std::string_view name) {
  if (name == "index") return Value::integer(loop.index0 + 1);
  if (name == "index0") return Value::integer(loop.index0);
  if (name == "first") return Value::boolean(loop.index0 == 0);
  if (name == "last") return Value::boolean(!loop.peek());
  if (name == "length") return Value::integer(loop.length());
  if (name == "revindex") return Value::integer(loop.length() - loop.index0);
  if (name == "revindex0") return Value::integer(loop.length() - loop.index0 - 1);
  if (name == "depth") return Value::integer(loop.depth0 + 1);
  if (name == "depth0") return Value::integer(loop.depth0);
  if (name == "previtem")
    return loop.index0 > 0 && loop.before ? *loop.before : runtime.undefined("there is no previous item");
  if (name == "nextitem") return loop.peek() ? *loop.peek() : runtime.undefined("there is no next item");
  return std::nullopt;
}

// What is no item: methods, and the attributes of loops and namespaces.
std::optional<Value> own_attribute(Runtime& runtime, const Value& object, std::string_view name) {
  if (object.is(Kind::space)) {
    for (const auto& [key, value] : object.as<Space>().attributes)
      if (key == name) return value;
    return std::nullopt;
  }
  if (object.is(Kind::loop))
    if (auto found = loop_attribute(runtime, object.as<Loop>(), name)) return found;
  if (const Method* method = method_of(object.kind(), name)) {
    auto bound = std::make_shared<Callable>();
    bound->method = method;
    bound->self = object;
    return Value(Kind::callable, runtime.own(std::move(bound), sizeof(Callable), object.depth()));
  }
  if (is_mutator(object.kind(), name) || name.starts_with("__"))
    return runtime.undefined("expected no change of a value in place, got the attribute \"" + std::string(name) +
                             "\" of a " + type_name(object) + ", which the sandbox refuses");
  if (is_missing_attribute(object.kind(), name))
    runtime.fail("expected an attribute that this library knows, got \"", name, "\" of a ", type_name(object));
  return std::nullopt;
}

Value no_attribute(Runtime& runtime, const Value& object, const std::string& name) {
  return runtime.undefined("expected a value, got an undefined one: a " + type_name(object) + " has no " + name);
}

// A negative index counts from the end.
std::optional<std::size_t> index_in(std::int64_t index, std::size_t size) {
  const auto length = static_cast<std::int64_t>(size);
  if (index < 0) index += length;
  if (index < 0 || index >= length) return std::nullopt;
  return static_cast<std::size_t>(index);
}

std::optional<Value> item_at(Runtime& runtime, const Value& object, const Value& key) {
  switch (object.kind()) {
    case Kind::dict: {
      if (key.is(Kind::list) || key.is(Kind::dict) || key.is(Kind::view)) return std::nullopt;  // no key
      const Value* found = object.as<Dict>().find(runtime, key);
      return found ? std::optional<Value>(*found) : std::nullopt;
    }
    case Kind::list:
    case Kind::tuple:
    case Kind::range: {
      if (!key.is_integral()) return std::nullopt;
      const auto& items = object.as<Sequence>().items;
      const auto place = index_in(key.as_integer(), items.size());
      return place ? std::optional<Value>(items[*place]) : std::nullopt;
    }
    case Kind::text: {
      if (!key.is_integral()) return std::nullopt;
      const std::string& text = object.text();
      runtime.step(text.size() / 64);
      const std::int64_t index = key.as_integer();
      const auto place = index_in(index, index < 0 ? character_count(text) : text.size());
      if (!place) return std::nullopt;
      std::size_t at = 0;
      for (std::size_t i = 0; i < *place && at < text.size(); ++i) at += decode_utf8(text, at).size;
      if (at >= text.size()) return std::nullopt;
      return runtime.text(text.substr(at, decode_utf8(text, at).size));
    }
    default:
      return std::nullopt;
  }
}

}  // namespace

const Filter* find_filter(std::string_view name) { return find_in(kFilters, name); }
const Test* find_test(std::string_view name) { return find_in(kTests, name); }
std::vector<std::string> filter_names() { return names_in(kFilters); }
std::vector<std::string> test_names() { return names_in(kTests); }
const Method* find_global(std::string_view name) { return find_in(kGlobals, name); }
bool is_missing_global(std::string_view name) { return is_one_of(name, {"lipsum", "cycler", "joiner"}); }

bool is_missing_method(std::string_view name) {
  for (const Kind kind : {Kind::text, Kind::integer, Kind::real, Kind::view})
    if (is_missing_attribute(kind, name)) return true;
  return false;
}

Value attribute_of(Runtime& runtime, const Value& object, std::string_view name) {
  if (object.is_undefined() && !name.starts_with("__")) refuse_undefined(runtime, object);
  if (auto found = own_attribute(runtime, object, name)) return *found;
  if (object.is(Kind::dict))
    if (const Value* found = object.as<Dict>().find(runtime, runtime.text(std::string(name)))) return *found;
  return no_attribute(runtime, object, "attribute \"" + std::string(name) + "\"");
}

Value item_of(Runtime& runtime, const Value& object, const Value& key) {
  if (object.is_undefined()) refuse_undefined(runtime, object);
  if (auto found = item_at(runtime, object, key)) return *found;
  if (key.is(Kind::text)) {
    if (auto found = own_attribute(runtime, object, key.text())) return *found;
    return no_attribute(runtime, object, "attribute \"" + key.text().substr(0, 100) + "\"");
  }
  return no_attribute(runtime, object, "item " + (key.is_number() ? repr(runtime, key) : type_name(key)));
}

Value slice_of(Runtime& runtime, const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (object.is_undefined()) refuse_undefined(runtime, object);
  if (!object.is(Kind::text) && (!object.is_sequence() || object.is(Kind::view)))
    runtime.fail("expected a str or a list to take a slice of, got ", type_name(object));
  for (const Value& each : {start, stop, step})
    if (!each.is(Kind::none) && !each.is_integral())
      runtime.fail("expected whole numbers for a slice, got ", type_name(each));
  std::vector<std::string_view> letters;
  if (object.is(Kind::text)) {
    runtime.step(object.text().size() / 16);
    letters = characters(object.text());
  }
  const auto length =
      static_cast<std::int64_t>(object.is(Kind::text) ? letters.size() : object.as<Sequence>().items.size());
  const std::int64_t stride = step.is(Kind::none) ? 1 : step.as_integer();
  if (stride == 0) runtime.fail("expected a slice whose step is not 0, got 0");
  const auto place = [&](const Value& given, std::int64_t otherwise) {
    if (given.is(Kind::none)) return otherwise;
    std::int64_t index = given.as_integer();
    if (index < 0) index += length;
    return stride > 0 ? std::clamp<std::int64_t>(index, 0, length) : std::clamp<std::int64_t>(index, -1, length - 1);
  };
  const std::int64_t begin = place(start, stride > 0 ? 0 : length - 1), end = place(stop, stride > 0 ? length : -1);
  if (object.is(Kind::range)) {
    const auto& range = object.as<Sequence>();
    std::int64_t wide = 0;
    if (__builtin_mul_overflow(range.step, stride, &wide)) runtime.fail("expected a slice with a smaller step");
    return runtime.range(range.start + begin * range.step, range.start + end * range.step, wide);
  }
  std::string text;
  std::vector<Value> items;
  for (std::int64_t i = begin; stride > 0 ? i < end : i > end;) {
    const auto at = static_cast<std::size_t>(i);
    if (object.is(Kind::text))
      text += letters[at];
    else
      items.push_back(object.as<Sequence>().items[at]);
    if (__builtin_add_overflow(i, stride, &i)) break;
  }
  if (object.is(Kind::text)) return runtime.text(std::move(text));
  return runtime.sequence(object.kind(), std::move(items));
}

Value percent_format(Runtime& runtime, std::string_view format, const Value& values) {
  Builder out(runtime);
  const bool several = values.is(Kind::tuple);
  std::size_t next = 0;
  const auto take = [&]() -> Value {
    if (several && next < values.as<Sequence>().items.size()) return values.as<Sequence>().items[next++];
    if (!several && next++ == 0) return values;
    runtime.fail("expected a value for each place of the format, got fewer");
  };
  for (std::size_t at = 0; at < format.size();) {
    const std::size_t place = std::min(format.find('%', at), format.size());
    out += format.substr(at, place - at);
    at = place + 1;
    if (place == format.size()) break;
    if (at < format.size() && format[at] == '%') {
      out += '%';
      ++at;
      continue;
    }
    std::optional<Value> named;
    if (at < format.size() && format[at] == '(') {
      const std::size_t end = format.find(')', at);
      if (end == format.npos) runtime.fail("expected a ) in the format, got none");
      if (!values.is(Kind::dict)) runtime.fail("expected a dict for a format with names, got ", type_name(values));
      const std::string key(format.substr(at + 1, end - at - 1));
      const Value* found = values.as<Dict>().find(runtime, runtime.text(key));
      if (!found) runtime.fail("expected a value for the format's \"", key, "\", got none");
      named = *found;
      next = 1;
      at = end + 1;
    }
    std::optional<int> digits;
    if (at + 1 < format.size() && format[at] == '.' && is_decimal(format[at + 1])) {
      const auto [stop, error] =
          std::from_chars(format.data() + at + 1, format.data() + format.size(), digits.emplace());
      if (error != std::errc() || *digits > 100) runtime.fail("expected at most 100 digits in a format, got more");
      at = static_cast<std::size_t>(stop - format.data());
    }
    const char kind = at < format.size() ? format[at++] : ' ';
    if (digits && kind != 'f')
      runtime.fail("expected a format that this library knows, such as %s, %d, %r or %.2f, got a precision for %",
                   kind);
    const Value value = named ? *named : take();
    switch (kind) {
      case 's':
        out += str(runtime, value);
        break;
      case 'r':
        out += repr(runtime, value);
        break;
      case 'd':
      case 'i':
        if (!value.is_number()) runtime.fail("expected a number for %", kind, ", got ", type_name(value));
        out += std::to_string(value.is(Kind::real) ? truncated(runtime, value.as_real()) : value.as_integer());
        break;
      case 'f': {
        if (!value.is_number()) runtime.fail("expected a number for %f, got ", type_name(value));
        std::array<char, 500> buffer;
        const int size = std::snprintf(buffer.data(), buffer.size(), "%.*f", digits.value_or(6), value.as_real());
        out += std::string_view(buffer.data(), static_cast<std::size_t>(size));
        break;
      }
      default:
        runtime.fail("expected a format that this library knows, such as %s, %d, %r or %.2f, got %", kind);
    }
  }
  if (several ? next < values.as<Sequence>().items.size()
              : next == 0 && !values.is(Kind::dict) && !values.is(Kind::list))
    runtime.fail("expected a place in the format for each value, got fewer");
  return runtime.text(out.take());
}

}  // namespace grpo::jinja
