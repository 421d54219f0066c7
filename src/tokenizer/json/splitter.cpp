#include "tokenizer/json/splitter.h"

#include <algorithm>
#include <utility>

#include "text/tables/unicode_classes.h"
#include "text/utf8.h"

namespace grpo::tokenizer_json {

namespace {

Behavior read_behavior(const JsonReader& reader) {
  constexpr std::pair<const char*, Behavior> kBehaviors[] = {{"Removed", Behavior::removed},
                                                             {"Isolated", Behavior::isolated},
                                                             {"MergedWithPrevious", Behavior::merged_with_previous},
                                                             {"MergedWithNext", Behavior::merged_with_next},
                                                             {"Contiguous", Behavior::contiguous}};
  for (const auto& [name, behavior] : kBehaviors)
    if (reader.string("behavior") == name) return behavior;
  reader.refuse("behavior", "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

}  // namespace

Metaspace read_metaspace(const JsonReader& reader) {
  reader.expect_keys({"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"});
  Metaspace result{read_character(reader, "replacement"), Metaspace::always, reader.boolean("split", true)};
  if (!reader.optional("prepend_scheme").is_null()) {
    const std::string& scheme = reader.string("prepend_scheme");
    if (scheme != "always" && scheme != "first" && scheme != "never")
      reader.refuse("prepend_scheme", "always, first or never");
    result.prepend = scheme == "always" ? Metaspace::always : scheme == "first" ? Metaspace::first : Metaspace::never;
  }
  // The older option is only said twice: the reference refuses a file where it differs from the scheme.
  if (!reader.optional("add_prefix_space").is_null() && !reader.boolean("add_prefix_space") &&
      result.prepend != Metaspace::never)
    reader.refuse("add_prefix_space", "what prepend_scheme says");
  return result;
}

std::vector<Splitter> read_splitters(const Json& json, const std::string& where) {
  std::vector<Splitter> result;
  for_each_component(json, where, "pretokenizers", [&](const JsonReader& reader) {
    const std::string& type = reader.string("type");
    if (type == "ByteLevel") {
      reader.expect_keys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
      const SpellBytes bytes{reader.boolean("add_prefix_space", true), reader.boolean("use_regex", true)};
      result.emplace_back(bytes);
    } else if (type == "Split") {
      reader.expect_keys({"type", "pattern", "behavior", "invert"});
      result.emplace_back(PatternSplit{read_pattern(reader), read_behavior(reader), reader.boolean("invert")});
    } else if (type == "Digits") {
      reader.expect_keys({"type", "individual_digits"});
      result.emplace_back(CharacterSplit{CodePointSet(unicode::kNumeric), reader.boolean("individual_digits")
                                                                              ? Behavior::isolated
                                                                              : Behavior::contiguous});
    } else if (type == "Punctuation") {
      reader.expect_keys({"type", "behavior"});
      result.emplace_back(CharacterSplit{CodePointSet(unicode::kPunctuation), read_behavior(reader)});
    } else if (type == "WhitespaceSplit") {
      reader.expect_keys({"type"});
      result.emplace_back(CharacterSplit{white_space(), Behavior::removed});
    } else if (type == "Whitespace") {
      reader.expect_keys({"type"});
      result.emplace_back(WordSplit{});
    } else if (type == "Metaspace") {
      result.emplace_back(read_metaspace(reader));
    } else {
      refuse_component(reader.where(), "pre_tokenizer", type);
    }
  });
  return result;
}

void cut(std::string_view text, Behavior behavior, bool invert, std::vector<Span>& spans) {
  struct Part {
    Span span;
    bool match;
  };
  std::vector<Part> parts;
  parts.reserve(spans.size() * 2 + 1);
  std::size_t at = 0;
  const auto gap = [&](std::size_t end) {
    if (at < end) parts.push_back({{at, end}, invert});
  };
  for (const Span& span : spans) {
    gap(span.first);
    parts.push_back({span, !invert});
    at = span.second;
  }
  gap(text.size());

  spans.clear();
  const auto merge = [&](auto begin, auto end, const auto& joins) {
    bool previous = false;  // whether the part before was a match
    for (auto part = begin; part != end; ++part) {
      if (!spans.empty() && joins(part->match, previous))
        spans.back() = {std::min(spans.back().first, part->span.first),
                        std::max(spans.back().second, part->span.second)};
      else
        spans.push_back(part->span);
      previous = part->match;
    }
  };
  const auto attaches = [](bool match, bool previous) { return match && !previous; };
  switch (behavior) {
    case Behavior::removed:
      for (const Part& part : parts)
        if (!part.match) spans.push_back(part.span);
      break;
    case Behavior::isolated:
      for (const Part& part : parts) spans.push_back(part.span);
      break;
    case Behavior::contiguous:
      merge(parts.begin(), parts.end(), [](bool match, bool previous) { return match == previous; });
      break;
    case Behavior::merged_with_previous:
      merge(parts.begin(), parts.end(), attaches);
      break;
    case Behavior::merged_with_next:
      merge(parts.rbegin(), parts.rend(), attaches);
      std::reverse(spans.begin(), spans.end());
      break;
  }
}

void words_of(std::string_view text, std::vector<Span>& spans) {
  static const CodePointSet word{unicode::kPlainWord};
  enum { space, word_character, other } last = space;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    const auto kind = word.contains(c.value) ? word_character : white_space().contains(c.value) ? space : other;
    if (kind != space) {
      if (kind == last)
        spans.back().second = at + c.size;
      else
        spans.emplace_back(at, at + c.size);
    }
    last = kind;
    at += c.size;
  }
}

}  // namespace grpo::tokenizer_json
