// The nearest known name, for errors that suggest one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace grpo {

/// Levenshtein's distance in bytes. Takes time in the product of the lengths.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate with the fewest edits, the first of several; "" without candidates. Of dotted keys, a right last part
/// under another parent counts as one edit.
std::string nearest(std::string_view wanted, const std::vector<std::string>& candidates);

}  // namespace grpo
