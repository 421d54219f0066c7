// What a tokenizer.json does to a text before anything else.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/unicode_form.h"
#include "tokenizer/json/component.h"

namespace grpo::tokenizer_json {

struct Prepend {
  std::string text;
};
struct Replace {
  SplitPattern pattern;
  std::string content;
};
struct StripSpace {
  bool left, right;
};
using Normalizer = std::variant<UnicodeForm, Prepend, Replace, StripSpace>;

std::vector<Normalizer> read_normalizers(const Json& json, const std::string& where);

/// A stretch of text on its way through the pipeline.
struct Stretch {
  std::string_view text;
  bool at_start;  // it begins where the whole input begins
};

/// The normalised text; `storage` holds it where it is not the given one. An empty text stays empty.
Stretch normalized(const std::vector<Normalizer>& normalizers, Stretch stretch, std::string& storage);

}  // namespace grpo::tokenizer_json
