#include "grpo/json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/plain_words.h"

namespace grpo {
namespace {

/// A number as it is written: its digits without zeros at either end, and the power of ten of the last one.
struct Decimal {
  std::string digits;
  long power = 0;

  explicit Decimal(std::string_view number) {
    bool point = false;
    for (std::size_t i = 0; i < number.size(); ++i) {
      const char c = number[i];
      if (c == '.') {
        point = true;
      } else if (c >= '0' && c <= '9') {
        if (c != '0' || !digits.empty()) digits += c;
        power -= point;
      } else if (c == 'e' || c == 'E') {
        std::string_view exponent = number.substr(i + 1);
        if (exponent.starts_with('+')) exponent.remove_prefix(1);
        long value = 0;
        if (std::from_chars(exponent.data(), exponent.data() + exponent.size(), value).ec != std::errc())
          value = exponent.starts_with('-') ? -(1L << 60) : 1L << 60;
        power += std::clamp(value, -(1L << 60), 1L << 60);
        break;
      }
    }
    const std::size_t kept = digits.find_last_not_of('0') + 1;
    power = kept == 0 ? 0 : power + static_cast<long>(digits.size() - kept);
    digits.resize(kept);
  }
  bool operator==(const Decimal&) const = default;
};

/// Whether `value` has all digits of the number that was read as it.
bool holds(double value, std::string_view written) {
  constexpr std::size_t kMaxDigits = 800;  // no double has as many
  const Decimal number(written);
  if (number.digits.empty()) return value == 0;
  if (number.digits.size() > kMaxDigits) return false;
  std::array<char, kMaxDigits + 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::scientific,
                                 static_cast<int>(number.digits.size()) - 1)
                       .ptr;
  if (number == Decimal(std::string_view(text.data(), static_cast<std::size_t>(end - text.data())))) return true;
  if (number.digits.size() > 17 || value == 0) return false;
  // Whoever printed it may have rounded a half the other way. A long double has noise of its own.
  const long double last = std::pow(10.0L, static_cast<long double>(number.power));
  return std::abs(std::strtold(std::string(written).c_str(), nullptr) - value) <= 0.51L * last;
}

/// Builds a value from the events of nlohmann's parser.
template <class Json>
class Builder {
 public:
  Builder(LongNumbers numbers, JsonFault& fault) : numbers_(numbers), fault_(fault) {}

  Json root = Json(Json::value_t::discarded);

  bool null() { return put(nullptr); }
  bool boolean(bool value) { return put(value); }
  bool number_integer(typename Json::number_integer_t value) { return put(value); }
  bool number_unsigned(typename Json::number_unsigned_t value) { return put(value); }
  bool number_float(double value, const std::string& written) {
    if (numbers_ == LongNumbers::round || holds(value, written)) return put(value);
    if (numbers_ == LongNumbers::as_text) return put(written);
    return refuse("a number that loses digits, " + written.substr(0, 40) + "; write it as a string");
  }
  bool string(std::string& value) { return put(std::move(value)); }
  bool binary(typename Json::binary_t&) { return false; }  // JSON has none

  bool start_object(std::size_t) { return open(Json::object()); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    const auto [member, is_new] = open_.back()->emplace(name, nullptr);
    if (!is_new) return refuse("the key \"" + cut(name, 80) + "\" twice");
    member_ = &*member;
    return true;
  }

  bool parse_error(std::size_t byte, const std::string&, const nlohmann::detail::exception& error) {
    fault_.byte = byte;
    fault_.malformed = error.id != 406;
    fault_.problem = fault_.malformed ? json_problem(error.what()) : "a number beyond the range of doubles";
    return false;
  }

 private:
  template <class Value>
  bool put(Value&& value) {
    *place() = Json(std::forward<Value>(value));
    return true;
  }
  bool open(Json value) {
    if (open_.size() == kMaxJsonDepth)
      return refuse("more than " + std::to_string(kMaxJsonDepth) + " levels of brackets");
    Json* const at = place();
    *at = std::move(value);
    open_.push_back(at);
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }
  /// Where the next value goes.
  Json* place() {
    if (open_.empty()) return &root;
    Json& around = *open_.back();
    if (!around.is_array()) return member_;
    around.push_back(nullptr);
    return &around.back();
  }
  bool refuse(std::string problem) {
    fault_.malformed = false;
    fault_.problem = std::move(problem);
    return false;
  }

  LongNumbers numbers_;
  JsonFault& fault_;
  std::vector<Json*> open_;
  Json* member_ = nullptr;
};

}  // namespace

std::string_view json_problem(std::string_view library_words) {
  // What was being read, and what it met; the first that fits.
  constexpr std::pair<std::string_view, std::string_view> kProblems[] = {
      {"empty input", "nothing"},
      {"unexpected end of input", "an end where more is expected"},
      {"missing closing quote", "a text without its closing quote"},
      {"control character", "a line break or another control character in a text; write \\n, \\t or \\u00XX"},
      {"ill-formed UTF-8", "bytes that are no UTF-8"},
      {"invalid string", "a backslash in front of what it cannot escape"},
      {"invalid comment", "a comment without its end"},
      {"parsing object key", "something else than a key in double quotes"},
      {"parsing object separator", "no colon behind a key"},
      {"parsing object -", "no comma or } behind a value"},
      {"parsing array -", "no comma or ] behind a value"},
      {"invalid number", "a number that is not written out"},
      {"invalid literal", "a word that is no value; texts stand in double quotes"},
      {"expected end of input", "something behind the end of the value"},
  };
  for (const auto& [words, problem] : kProblems)
    if (library_words.find(words) != library_words.npos) return problem;
  return "something else than a value";
}

template <class Json>
Json read_json(std::string_view text, LongNumbers numbers, JsonFault* fault) {
  JsonFault found;
  Builder<Json> builder(numbers, found);
  if (Json::sax_parse(text, &builder)) return std::move(builder.root);
  if (fault && found.malformed) {
    const std::string_view before = text.substr(0, found.byte > 0 ? found.byte - 1 : 0);
    const std::size_t column = before.size() - (before.rfind('\n') + 1) + 1;  // npos + 1 is 0
    found.problem = "malformed JSON at column " + std::to_string(column) + ": " + found.problem;
  }
  if (fault) *fault = std::move(found);
  return Json(Json::value_t::discarded);
}

nlohmann::ordered_json json_of(double number) {
  return std::isfinite(number) ? nlohmann::ordered_json(number) : nlohmann::ordered_json(nullptr);
}

template nlohmann::json read_json(std::string_view, LongNumbers, JsonFault*);
template nlohmann::ordered_json read_json(std::string_view, LongNumbers, JsonFault*);

}  // namespace grpo
