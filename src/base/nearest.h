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

/// Whether `name` looks like a slip of the pen for `known`: another case, or a letter or two (of short names one)
/// added, left out or exchanged. False for `known` itself.
bool is_slip_of(std::string_view name, std::string_view known);

}  // namespace grpo
