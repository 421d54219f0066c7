// What no language can be told by: mathematics, code, URLs and tags.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

namespace grpo {

/// Finds the neutral spans of a text, in linear time. An opening mark without its closing one is no span.
class NeutralSpans {
 public:
  explicit NeutralSpans(std::string_view text) : text_(text) {}

  /// Whether a span can begin at `at`; at other places `end_of` need not be asked.
  bool may_begin(std::size_t at) const {
    static constexpr auto kBegins = [] {  // 2: an address begins so, and goes on with a letter
      std::array<char, 256> begins{};
      for (const unsigned char c : {'\\', '$', '`', '<'}) begins[c] = 1;
      begins['h'] = begins['w'] = 2;
      return begins;
    }();
    const char kind = kBegins[static_cast<unsigned char>(text_[at])];
    return kind == 1 || (kind == 2 && char_at(at + 1) == (text_[at] == 'h' ? 't' : 'w'));
  }

  /// The end of the neutral span that starts at `at`, or `at` when none does. To be asked of ascending places.
  std::size_t end_of(std::size_t at);

 private:
  /// The next place where `needle` is, from ascending places on: the whole text is searched once however often it is
  /// asked.
  class Next {
   public:
    Next(std::string_view text, std::string_view needle) : text_(text), needle_(needle) {}
    std::size_t from(std::size_t at) {
      if (!found_ || *found_ < at) found_ = text_.find(needle_, at);
      return *found_;
    }

   private:
    std::string_view text_, needle_;
    std::optional<std::size_t> found_;
  };

  bool starts_with(std::size_t at, std::string_view what) const { return text_.substr(at, what.size()) == what; }
  char char_at(std::size_t at) const { return at < text_.size() ? text_[at] : '\0'; }
  std::size_t end_of_latex(std::size_t at);
  std::size_t end_of_dollars(std::size_t at);
  bool closes_formula(std::size_t at) const;
  std::size_t end_of_code(std::size_t at);
  std::size_t end_of_tag(std::size_t at) const;
  std::size_t end_of_url(std::size_t at) const;

  std::string_view text_;
  Next parenthesis_{text_, "\\)"}, bracket_{text_, "\\]"}, double_dollar_{text_, "$$"}, paragraph_{text_, "\n\n"};
  Next fence_{text_, "```"}, double_quote_{text_, "``"}, quote_{text_, "`"};
  std::size_t dollar_ = 0;  // the last closing $ that was found, or the size of the text
};

}  // namespace grpo
