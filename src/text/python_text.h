// What Python's str does with characters. Texts are UTF-8; a byte that is none is a character of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace grpo::python {

std::vector<std::string_view> characters(std::string_view text);
std::size_t character_count(std::string_view text);

/// Where `needle` begins in `text` at or after `from`, or npos; in linear time.
std::size_t find_text(std::string_view text, std::string_view needle, std::size_t from = 0);

enum class Side { left = 1, right = 2, both = 3 };
/// Without white space (is_space of code_points.h) at its ends.
std::string_view strip(std::string_view text, Side side = Side::both);
/// Without any of the characters of `set` at its ends.
std::string_view strip(std::string_view text, Side side, std::string_view set);

/// At most `most` times, or as often as it goes when that is negative. `separator` is not empty.
std::vector<std::string_view> split(std::string_view text, std::string_view separator, std::int64_t most = -1);
/// At white space.
std::vector<std::string_view> split_words(std::string_view text, std::int64_t most = -1);
/// At whatever Python takes for the end of a line.
std::vector<std::string_view> split_lines(std::string_view text);

/// str.title, for which every run of letters is a word.
std::string title(std::string_view text);
/// The filter title, for which white space, a hyphen or an opening bracket is between words.
std::string title_words(std::string_view text);

}  // namespace grpo::python
