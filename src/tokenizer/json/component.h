// What the parts of a tokenizer.json's pipeline are read with and made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/json_reader.h"
#include "tokenizer/code_point_set.h"
#include "tokenizer/split_pattern.h"

namespace grpo::tokenizer_json {

using Json = nlohmann::json;
using Span = SplitPattern::Span;

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

inline constexpr int kDeepest = 16;            // sequences within sequences
inline constexpr std::size_t kMostParts = 64;  // of a pipeline, which is walked by recursion

[[noreturn]] void refuse_component(const std::string& where, const char* kind, const std::string& type);

template <class Visit>
void walk_components(const Json& component, const std::string& where, const char* members, const Visit& visit,
                     int depth) {
  if (component.is_null()) return;
  const JsonReader reader(component, where);
  if (reader.string("type") != "Sequence") return visit(reader);
  reader.expect_keys({"type", members});
  const Json& list = reader.required(members);
  if (!list.is_array()) reader.refuse(members, "an array");
  if (depth == kDeepest) reader.refuse("type", "fewer sequences within sequences");
  for (std::size_t i = 0; i < list.size(); ++i)
    walk_components(list[i], where + '.' + members + '[' + std::to_string(i) + ']', members, visit, depth + 1);
}

/// Calls `visit(component)` for a component, or for each of a Sequence's, however deep; null has none.
template <class Visit>
void for_each_component(const Json& component, const std::string& where, const char* members, const Visit& visit) {
  std::size_t count = 0;
  const auto counted = [&](const JsonReader& reader) {
    if (++count > kMostParts) reader.refuse("type", "at most " + std::to_string(kMostParts) + " components");
    visit(reader);
  };
  walk_components(component, where, members, counted, 0);
}

SplitPattern read_pattern(const JsonReader& owner);
std::string read_character(const JsonReader& owner, const char* key);

/// The most bytes that text of `size` may become on its way: a few components that double it would fill any memory.
inline std::size_t most_bytes(std::size_t size) { return 64 * size + (1 << 20); }
void expect_at_most(std::size_t size, std::size_t most);

/// `text` with `content` for each match; at most `most` bytes.
std::string replaced(std::string_view text, const SplitPattern& pattern, std::string_view content, std::size_t most);

/// \s of a pattern.
const CodePointSet& white_space();
/// Where the last character before `end` begins.
std::size_t character_before(std::string_view text, std::size_t end);
/// The white space that `text` begins with, in bytes; ends with.
std::size_t leading_space(std::string_view text);
std::size_t trailing_space(std::string_view text);

/// GPT-2's spelling of bytes: printable characters of Latin-1 stand for themselves, the others for U+0100 and on.
struct ByteAlphabet {
  std::string spelled[256];
  std::int16_t byte_of[0x144];  // -1 for a character that spells no byte

  ByteAlphabet();
};

const ByteAlphabet& byte_alphabet();

}  // namespace grpo::tokenizer_json
