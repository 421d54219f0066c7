// Cuts the text of an answer (LaTeX, plain, or a mix of both) into tokens that no longer know how they were written.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "answers/math/expression.h"

namespace grpo::math {

enum class Sign : char {
  end,
  number,    // text: digits, at most one '.', maybe an exponent
  numeral,   // text: digits of another base; the base follows as a subscript
  symbol,    // text
  function,  // function; text too
  word,      // text that is no mathematics
  unit,      // text, in its shortest spelling
  relation,  // text[0] as in Relation
  and_or,
  open_round,
  close_round,
  open_square,
  close_square,
  open_brace,
  close_brace,  // { }: TeX's own
  open_set,
  close_set,  // \{ \}
  open_angle,
  close_angle,
  open_floor,
  close_floor,
  open_ceiling,
  close_ceiling,
  bar,
  comma,
  semicolon,
  colon,
  plus,
  minus,
  times,
  divide,
  power,
  subscript,
  bang,
  percent,
  degree,
  plus_minus,
  minus_plus,
  fraction,
  over,  // what stands before by what stands behind
  binomial,
  square_root,
  pi,
  e,
  i,
  infinity,
  unite,
  intersect,
  without,
  fold,
  overline,
  begin,
  finish,
  column,
  row,
  implies,
  prime,
  currency
};

struct Token {
  Sign sign = Sign::end;
  Function function = Function::none;  // of a unit: opaque where it may be a variable, as in 5 m
  bool space_before = false;
  std::string text;
};

/// Nothing for a character or a command that no answer is made of. Linear.
std::optional<std::vector<Token>> cut_into_tokens(std::string_view text, const ReadOptions& options);

}  // namespace grpo::math
