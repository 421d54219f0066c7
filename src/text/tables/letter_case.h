// Written by scripts/make_letter_case.py: the letters beyond ASCII whose case changes.
// clang-format off
#pragma once

#include <string_view>

namespace grpo {

/// Letters from `first` to `last`, `distance` apart, whose counterpart is `move` further.
struct LetterRun {
  char32_t first, last;
  int distance, move;
};

/// A letter whose capital form is several characters.
struct ExpandingLetter {
  char32_t letter;
  std::string_view capital;
};

extern const LetterRun kToLower[180], kToUpper[193];
extern const ExpandingLetter kExpanding[102];

}  // namespace grpo
