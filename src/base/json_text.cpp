#include "base/json_text.h"

#include <cstddef>
#include <vector>

namespace grpo {
namespace {

constexpr std::size_t kMostDigits = 4300;  // of an integer, Python's limit

class JsonText {
 public:
  explicit JsonText(std::string_view text) : text_(text) {}

  bool is_value() {
    std::vector<char> open;  // the brackets around
    for (;;) {
      skip_space();
      if (take('{')) {
        skip_space();
        if (!take('}')) {
          open.push_back('}');
          if (!key()) return false;
          continue;
        }
      } else if (take('[')) {
        skip_space();
        if (!take(']')) {
          open.push_back(']');
          continue;
        }
      } else if (!scalar()) {
        return false;
      }
      // A value has ended: brackets close, or the next value follows.
      for (;;) {
        skip_space();
        if (open.empty()) return at_ == text_.size();
        if (!take(open.back())) break;
        open.pop_back();
      }
      if (!take(',')) return false;
      skip_space();
      if (open.back() == '}' && !key()) return false;
    }
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  void skip_space() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') ++at_;
  }
  std::size_t digits() {
    const std::size_t start = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ - start;
  }

  bool key() {
    if (!string()) return false;
    skip_space();
    return take(':');
  }

  bool scalar() {
    for (const std::string_view word : {"true", "false", "null", "NaN", "Infinity", "-Infinity"})
      if (take(word)) return true;
    return peek() == '"' ? string() : number();
  }

  bool string() {
    if (!take('"')) return false;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"') return true;
      if (static_cast<unsigned char>(c) < 0x20) return false;
      if (c != '\\') continue;
      if (take('u')) {
        for (int i = 0; i < 4; ++i, ++at_)
          if (std::string_view("0123456789abcdefABCDEF").find(peek()) == std::string_view::npos) return false;
      } else if (at_ == text_.size() || std::string_view("\"\\/bfnrt").find(text_[at_++]) == std::string_view::npos) {
        return false;
      }
    }
    return false;
  }

  bool number() {
    take('-');
    const bool zero = peek() == '0';
    if (zero) ++at_;
    const std::size_t whole = zero ? 1 : digits();
    if (whole == 0) return false;
    bool integer = true;
    if (peek() == '.') {
      ++at_;
      if (digits() == 0) return false;
      integer = false;
    }
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (!take('+')) take('-');
      if (digits() == 0) return false;
      integer = false;
    }
    return !integer || whole <= kMostDigits;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

bool is_json(std::string_view text) { return JsonText(text).is_value(); }

}  // namespace grpo
