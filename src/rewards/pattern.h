// Regular expressions of a task's author, searched for in model text within bounds.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace grpo {

/// A compiled PCRE2 pattern with Unicode's classes, reading as Python's `re` does where both know a construct.
/// Immutable, and usable from several threads.
class Pattern {
 public:
  enum class Case { matters, ignored };
  /// Throws Error naming `where` for a pattern that does not compile. Nothing in it may reach outside of the text:
  /// callouts and \C are refused.
  Pattern(std::string_view pattern, Case letter_case, std::string_view where);

  /// Each reads `text`, which must be valid UTF-8. Nothing is the answer when the search would take more steps than any
  /// pattern in good use does.
  std::optional<bool> found_in(std::string_view text) const;
  std::optional<bool> matches_all_of(std::string_view text) const;
  std::optional<std::size_t> count_in(std::string_view text) const;  ///< without overlap, as re.findall

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

}  // namespace grpo
