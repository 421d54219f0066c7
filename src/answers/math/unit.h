// What units measure, and how they convert.
#pragma once

#include <gmpxx.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace grpo::math {

/// The unit that `word` names, in one spelling ("centimetres" is "cm"), or "". Single letters only where `letters`.
std::string_view unit_named(std::string_view word, bool letters);

/// A unit that a task may take for granted; "5 apples" is not 5.
bool is_unit(std::string_view unit);
bool is_currency(std::string_view unit);
/// Equal, or one may stand for the other: pounds are money or a mass, ¥ is yen or yuan.
bool same_unit(std::string_view a, std::string_view b);

/// What `unit` measures (with its power: "length2") and how many of the base unit it is; nothing for units that do not
/// convert.
std::optional<std::pair<std::string, mpq_class>> conversion(const std::string& unit);

}  // namespace grpo::math
