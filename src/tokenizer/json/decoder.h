// How a tokenizer.json makes text of tokens again.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/json/component.h"
#include "tokenizer/json/normalizer.h"

namespace grpo::tokenizer_json {

struct SpellingToBytes {};  // and U+FFFD for what is no character
struct ByteFallback {};     // "<0xE2>" is a byte
struct Fuse {};
struct MarksToSpaces {
  std::string mark;
  bool drop_first;  // in the first token marks give nothing
};
struct StripCharacter {
  std::string character;
  std::size_t start, stop;
  bool fused;  // of the whole text rather than of each token
};
struct JoinBySpaces {};
using Decoder = std::variant<Replace, SpellingToBytes, ByteFallback, Fuse, MarksToSpaces, StripCharacter, JoinBySpaces>;

std::vector<Decoder> read_decoders(const Json& json, const std::string& where);
/// Refuses post-processors that do more than add special tokens.
void read_post_processors(const Json& json, const std::string& where);

/// The byte that "<0xE2>" stands for. Two digits, of which the first may be a plus sign: so the reference reads it.
std::optional<char> byte_of(std::string_view token);

}  // namespace grpo::tokenizer_json
