// Reading one answer out of model text: its wrappings, and the number inside.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "rational.h"

namespace grpo {

/// The body of the `\boxed{…}` that starts at `text[at]`, or nothing when its brace is never closed. Linear.
std::optional<std::string_view> boxed_body(std::string_view text, std::size_t at);

/// `text` without white space, full stop, `$…$`, `\(…\)` and `\[…\]` around it; where it holds a `\boxed{}`, the body
/// of that. "" for boxes that differ or stay open, and for more wrappings than anyone means. Linear.
std::string_view unwrap_answer(std::string_view text);

/// The number that `text` is, in full; see answers_match for the forms. Nothing for any other text, for a denominator
/// of zero and for more than 4,096 digits. `text` is unwrapped already.
std::optional<Rational> read_number(std::string_view text);

}  // namespace grpo
