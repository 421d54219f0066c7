// Reading JSON that someone else wrote: nesting is bounded, and digits are kept.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace grpo {

/// Levels of brackets that are read: whatever writes or walks a value recurses.
inline constexpr std::size_t kMaxJsonDepth = 512;

/// What becomes of a number that neither 64 bits nor a double hold as it is written, such as 18446744073709551617.
enum class LongNumbers {
  round,    ///< to a double
  as_text,  ///< it is the text of its digits: where an answer may be a text or a number
  refuse
};

/// Why a text is no value.
struct JsonFault {
  std::size_t byte = 0;  ///< how far it was read
  bool malformed = true;  ///< or else it is JSON, but beyond the bounds above, or with a key twice
  std::string problem;    ///< "malformed JSON at column 7: no colon behind a key"
};

/// What an exception of the JSON library says of a malformed text, in this library's words: "no colon behind a key".
std::string_view json_problem(std::string_view library_words);

/// The value that `text` is, in full; discarded where it is none, or where an object has a key twice, and `fault`, where
/// given, says why. For nlohmann::json and nlohmann::ordered_json.
template <class Json>
Json read_json(std::string_view text, LongNumbers numbers = LongNumbers::round, JsonFault* fault = nullptr);

/// A number, or null for one that is not finite, which JSON has no word for.
nlohmann::ordered_json json_of(double number);

}  // namespace grpo
