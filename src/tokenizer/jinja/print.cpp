#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "text/utf8.h"
#include "tokenizer/jinja/value.h"

namespace grpo::jinja {
namespace {

// As Python's repr: the shortest digits that mean this number, with an exponent where it is far from 1.
std::string number_text(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  std::array<char, 40> buffer;
  const auto write = [&](std::chars_format format) {
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, format);
    return std::string(buffer.data(), end.ptr);
  };
  const std::string scientific = write(std::chars_format::scientific);
  const int exponent = std::stoi(scientific.substr(scientific.find('e') + 1));
  if (exponent < -4 || exponent >= 16) return scientific;
  const std::string fixed = write(std::chars_format::fixed);
  return fixed.find('.') == std::string::npos ? fixed + ".0" : fixed;
}

// What Python writes as an escape in repr; of the unassigned characters only the planes that are empty.
bool is_unprintable(char32_t c) {
  return c < 0x20 || (c >= 0x7F && c <= 0xA0) || c == 0xAD || (c >= 0x600 && c <= 0x605) || c == 0x61C || c == 0x6DD ||
         c == 0x70F || c == 0x890 || c == 0x891 || c == 0x8E2 || c == 0x1680 || c == 0x180E ||
         (c >= 0x2000 && c <= 0x200F) || (c >= 0x2028 && c <= 0x202F) || (c >= 0x205F && c <= 0x206F) || c == 0x3000 ||
         (c >= 0xE000 && c <= 0xF8FF) || c == 0xFEFF || (c >= 0xFFF0 && c <= 0xFFFB) || c == 0xFFFE || c == 0xFFFF ||
         c == 0x110BD || c == 0x110CD || (c >= 0x1BCA0 && c <= 0x1BCA3) || (c >= 0x1D173 && c <= 0x1D17A) ||
         (c >= 0xE0000 && c <= 0xE00FF) || c >= 0xE01F0;
}

std::string escape(char mark, char32_t c, int digits) {
  std::array<char, 16> buffer;
  std::snprintf(buffer.data(), buffer.size(), "\\%c%0*x", mark, digits, static_cast<unsigned>(c));
  return buffer.data();
}

// Writes values as Python's repr or, with a style, as JSON.
class Writer {
 public:
  Writer(Runtime& runtime, const JsonStyle* json, Builder& out) : runtime_(runtime), json_(json), out_(out) {}

  void write(const Value& value) {
    runtime_.step();
    switch (value.kind()) {
      case Kind::none:
        out_ += json_ ? "null" : "None";
        return;
      case Kind::boolean:
        out_ += value.as_integer() ? (json_ ? "true" : "True") : (json_ ? "false" : "False");
        return;
      case Kind::integer:
        out_ += std::to_string(value.as_integer());
        return;
      case Kind::real:
        out_ += json_ && std::isnan(value.as_real())   ? "NaN"
                : json_ && std::isinf(value.as_real()) ? (value.as_real() < 0 ? "-Infinity" : "Infinity")
                                                       : number_text(value.as_real());
        return;
      case Kind::text:
        return json_ ? json_string(value.text()) : python_string(value.text());
      case Kind::list:
        return list(value.items(), '[', "]");
      case Kind::tuple:
        if (json_) return list(value.items(), '[', "]");
        return list(value.items(), '(', value.items().size() == 1 ? ",)" : ")");
      case Kind::dict:
        return dict(value.as<Dict>());
      case Kind::undefined:
        if (json_) runtime_.need(value);
        out_ += "Undefined";
        return;
      default:
        runtime_.fail("expected a value that can be printed, got a ", type_name(value),
                      value.is_sequence()        ? "; pass it through list or join"
                      : value.is(Kind::callable) ? "; call it"
                                                 : "");
    }
  }

 private:
  template <class Items, class Write>
  void all(const Items& items, char open, std::string_view close, const Write& write) {
    out_ += open;
    ++level_;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i) out_ += json_ ? std::string_view(json_->item) : ", ";
      line_break();
      write(items[i]);
    }
    --level_;
    if (!items.empty()) line_break();
    out_ += close;
  }

  void line_break() {
    if (!json_ || !json_->indent) return;
    out_ += '\n';
    out_.repeat(*json_->indent, level_);
  }

  void list(const std::vector<Value>& items, char open, std::string_view close) {
    all(items, open, close, [&](const Value& item) { write(item); });
  }

  void dict(const Dict& dict) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (json_ && json_->sorted)
      std::stable_sort(entries.begin(), entries.end(), [&](const auto* a, const auto* b) {
        return holds(runtime_, Comparison::less, a->first, b->first);
      });
    all(entries, '{', "}", [&](const auto* entry) {
      key(entry->first);
      out_ += json_ ? std::string_view(json_->key) : ": ";
      write(entry->second);
    });
  }

  void key(const Value& key) {
    if (!json_ || key.is(Kind::text)) return write(key);
    if (!key.is_number() && !key.is(Kind::none))
      runtime_.fail("tojson: expected a key that JSON has, got a ", type_name(key));
    out_ += '"';
    write(key);
    out_ += '"';
  }

  void python_string(std::string_view text) {
    const char quote = text.find('\'') != text.npos && text.find('"') == text.npos ? '"' : '\'';
    out_ += quote;
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint c = decode_utf8(text, at);
      if (c.value == static_cast<char32_t>(quote) || c.value == '\\')
        (out_ += '\\') += static_cast<char>(c.value);
      else if (c.value == '\n' || c.value == '\r' || c.value == '\t')
        out_ += c.value == '\n' ? "\\n" : c.value == '\r' ? "\\r" : "\\t";
      else if (c.value == kBrokenUtf8)
        out_ += escape('x', static_cast<unsigned char>(text[at]), 2);
      else if (is_unprintable(c.value))
        out_ += c.value < 0x100     ? escape('x', c.value, 2)
                : c.value < 0x10000 ? escape('u', c.value, 4)
                                    : escape('U', c.value, 8);
      else
        out_ += text.substr(at, c.size);
      at += c.size;
    }
    out_ += quote;
  }

  void json_string(std::string_view text) {
    static constexpr std::string_view kSpecial = "\"\\\n\r\t\f\b", kNames = "\"\\nrtfb";
    out_ += '"';
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint c = decode_utf8(text, at);
      const std::string_view character = text.substr(at, c.size);
      at += c.size;
      if (const std::size_t place = kSpecial.find(character.front()); place != kSpecial.npos)
        (out_ += '\\') += kNames[place];
      else if (c.value < 0x20 || (json_->ascii && c.value >= 0x7F && c.value < 0x10000))
        out_ += escape('u', c.value, 4);
      else if (json_->ascii && c.value >= 0x10000 && c.value != kBrokenUtf8)
        (out_ += escape('u', 0xD7C0 + (c.value >> 10), 4)) += escape('u', 0xDC00 + (c.value & 0x3FF), 4);
      else
        out_ += character;
    }
    out_ += '"';
  }

  Runtime& runtime_;
  const JsonStyle* json_;
  Builder& out_;
  std::int64_t level_ = 0;
};

}  // namespace

std::string repr(Runtime& runtime, const Value& value) {
  Builder out(runtime);
  Writer(runtime, nullptr, out).write(value);
  return out.str();
}

std::string str(Runtime& runtime, const Value& value) {
  if (value.is(Kind::text)) return value.text();
  return value.is_undefined() ? "" : repr(runtime, value);
}

Value json_text(Runtime& runtime, const Value& value, const JsonStyle& style) {
  Builder out(runtime);
  Writer(runtime, &style, out).write(value);
  return out.value();
}

Value percent_format(Runtime& runtime, std::string_view format, const Value& values) {
  const std::vector<Value> all = values.is(Kind::tuple) ? values.items() : std::vector<Value>{values};
  Builder out(runtime);
  std::size_t next = 0;
  for (std::size_t at = 0; at < format.size();) {
    const std::size_t place = std::min(format.find('%', at), format.size());
    out += format.substr(at, place - at);
    if (place == format.size()) break;
    at = place + 1;
    if (format.substr(at).starts_with('%')) {
      out += '%';
      ++at;
      continue;
    }
    int digits = 6;
    const bool precise = at + 2 < format.size() && format[at] == '.' && format[at + 1] >= '0' && format[at + 1] <= '9';
    if (precise) digits = format[at + 1] - '0', at += 2;
    const char kind = at < format.size() ? format[at++] : ' ';
    if ((kind != 's' && kind != 'd' && kind != 'f') || (precise && kind != 'f'))
      runtime.fail("expected a format that this library knows, such as %s, %d or %.2f, got ",
                   format.substr(place, at - place));
    if (next == all.size()) runtime.fail("expected a value for each place of the format, got fewer");
    const Value& value = all[next++];
    if (kind != 's' && !(kind == 'f' ? value.is_number() : value.is_integral()))
      runtime.fail("expected a number for %", kind, ", got ", type_name(value));
    std::array<char, 400> number{};
    if (kind == 'f') std::snprintf(number.data(), number.size(), "%.*f", digits, value.as_real());
    out += kind == 's' ? str(runtime, value) : kind == 'd' ? std::to_string(value.as_integer()) : number.data();
  }
  if (next < all.size() && (values.is(Kind::tuple) || !(values.is(Kind::dict) || values.is(Kind::list))))
    runtime.fail("expected a place in the format for each value, got fewer");
  return out.value();
}

}  // namespace grpo::jinja
