// How a tokenizer.json cuts a text into pieces.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/code_point_set.h"
#include "tokenizer/json/component.h"

namespace grpo::tokenizer_json {

enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

struct PatternSplit {
  SplitPattern pattern;
  Behavior behavior = Behavior::isolated;
  bool invert = false;
};
struct CharacterSplit {
  CodePointSet characters;
  Behavior behavior;
};
struct WordSplit {};  // runs of word characters, and runs of what is neither those nor white space
struct SpellBytes {
  bool prefix_space, gpt2_words;
};
struct Metaspace {
  enum Scheme { never, first, always };
  std::string mark;
  Scheme prepend;
  bool split;
};
using Splitter = std::variant<PatternSplit, CharacterSplit, WordSplit, SpellBytes, Metaspace>;

Metaspace read_metaspace(const JsonReader& reader);
std::vector<Splitter> read_splitters(const Json& json, const std::string& where);

/// Turns the matches in `text` into the pieces that are kept.
void cut(std::string_view text, Behavior behavior, bool invert, std::vector<Span>& spans);
/// The pieces of a WordSplit.
void words_of(std::string_view text, std::vector<Span>& spans);

}  // namespace grpo::tokenizer_json
