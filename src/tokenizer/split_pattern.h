// The regular expressions of a tokenizer.json, with the classes of characters that its own engine knows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grpo {

/// A compiled pattern; immutable, and usable from several threads. A tokenizer.json is written for Oniguruma with
/// Unicode tables of its own; PCRE2's tables differ from those by thousands of letters. So each character is replaced
/// by one byte that says which of the pattern's sets it is in, and PCRE2 only ever sees those bytes: no Unicode is
/// left for it to disagree about, sets of any size are one table look-up, and the compiled code is plain ASCII
/// matching.
class SplitPattern {
 public:
  using Span = std::pair<std::size_t, std::size_t>;  // first byte, one past the last

  /// Throws Error naming `where` and the construct for a pattern that is malformed, may match nothing, or uses what is
  /// not known here to mean the same.
  static SplitPattern regex(std::string_view pattern, const std::string& where);
  static SplitPattern literal(std::string_view text, const std::string& where);

  /// The matches in valid UTF-8, left to right without overlap, appended to `spans`. Throws Error when the search takes
  /// too many steps.
  void find(std::string_view text, std::vector<Span>& spans) const;

  /// True when each match is one and the same code point.
  bool is_one_character() const;

 private:
  struct Code;
  SplitPattern() = default;
  std::uint8_t class_of(std::uint32_t c) const { return classes_[pages_[c >> 8]][c & 0xFF]; }

  std::string literal_;                                 // when it is one
  std::shared_ptr<const Code> code_;                    // else
  std::vector<std::uint16_t> pages_;                    // [0x1100] place in classes_ of a code point's upper bits
  std::vector<std::array<std::uint8_t, 256>> classes_;  // of the lower bits
};

}  // namespace grpo
