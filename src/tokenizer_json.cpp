#include "tokenizer_json.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>

#include "bpe.h"
#include "code_point_set.h"
#include "json_reader.h"
#include "model_file.h"
#include "split_pattern.h"
#include "unicode_classes.h"
#include "unicode_form.h"
#include "utf8.h"

namespace grpo::internal {
namespace {

using Json = nlohmann::json;
using Span = SplitPattern::Span;

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

constexpr std::string_view kReplacement = "\uFFFD";
constexpr std::string_view kSpecialTokensKey = "grpo_special_tokens";
constexpr int kDeepest = 16;                   // sequences within sequences
constexpr std::size_t kMostParts = 64;         // of a pipeline, which is walked by recursion
constexpr std::size_t kMostDecoded = 1 << 20;  // bytes of one token
constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

[[noreturn]] void refuse_component(const std::string& where, const char* kind, const std::string& type) {
  throw Error("tokenizer", where, ": expected a ", kind, " that is known here, got \"", type.substr(0, 80),
              "\"; nothing is approximated: use a tokenizer without it, or add it to src/tokenizer_json.cpp");
}

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

SplitPattern read_pattern(const JsonReader& owner) {
  const std::string where = owner.where() + ".pattern";
  const JsonReader pattern(owner.required("pattern"), where);
  pattern.expect_keys({"String", "Regex"});
  if (pattern.optional("Regex").is_null()) return SplitPattern::literal(pattern.string("String"), where);
  if (!pattern.optional("String").is_null()) pattern.refuse("String", "no second pattern");
  return SplitPattern::regex(pattern.string("Regex"), where);
}

std::string read_character(const JsonReader& owner, const char* key) {
  const std::string& text = owner.string(key);
  if (text.empty() || decode_utf8(text, 0).size != text.size()) owner.refuse(key, "one character");
  return text;
}

/// The most bytes that text of `size` may become on its way: a few components that double it would fill any memory.
std::size_t most_bytes(std::size_t size) { return 64 * size + (1 << 20); }

void expect_at_most(std::size_t size, std::size_t most) {
  if (size > most)
    throw Error("tokenizer",
                "expected normalizers, pre-tokenizers and decoders that lengthen a text at most 64 times, ",
                "got more than ", most, " bytes; use another tokenizer");
}

std::string replaced(std::string_view text, const SplitPattern& pattern, std::string_view content, std::size_t most) {
  std::vector<Span> spans;
  pattern.find(text, spans);
  std::string result;
  std::size_t at = 0;
  for (const auto& [first, end] : spans) {
    (result += text.substr(at, first - at)) += content;
    expect_at_most(result.size(), most);
    at = end;
  }
  return result += text.substr(at);
}

const CodePointSet& white_space() {
  static const CodePointSet set{unicode::kSpace};
  return set;
}

std::size_t character_before(std::string_view text, std::size_t end) {  // where the last character before `end` begins
  do --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

/// The white space that `text` begins with, in bytes; ends with.
std::size_t leading_space(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const CodePoint c = decode_utf8(text, at);
    if (!white_space().contains(c.value)) break;
    at += c.size;
  }
  return at;
}
std::size_t trailing_space(std::string_view text) {
  std::size_t at = text.size();
  while (at > 0) {
    const std::size_t before = character_before(text, at);
    if (!white_space().contains(decode_utf8(text, before).value)) break;
    at = before;
  }
  return text.size() - at;
}

// ---- Bytes as characters ----

/// GPT-2's spelling of bytes: printable characters of Latin-1 stand for themselves, the others for U+0100 and on.
struct ByteAlphabet {
  std::string spelled[256];
  std::int16_t byte_of[0x144];  // -1 for a character that spells no byte

  ByteAlphabet() {
    std::fill(std::begin(byte_of), std::end(byte_of), std::int16_t{-1});
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
      const char32_t c = printable ? byte : next++;
      append_utf8(spelled[byte], c);
      byte_of[c] = static_cast<std::int16_t>(byte);
    }
  }
};

const ByteAlphabet& byte_alphabet() {
  static const ByteAlphabet alphabet;
  return alphabet;
}

// ---- Normalisers ----

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

std::vector<Normalizer> read_normalizers(const Json& json, const std::string& where) {
  std::vector<Normalizer> result;
  for_each_component(json, where, "normalizers", [&](const JsonReader& reader) {
    const std::string& type = reader.string("type");
    constexpr std::pair<const char*, UnicodeForm> kForms[] = {
        {"NFC", UnicodeForm::nfc}, {"NFD", UnicodeForm::nfd}, {"NFKC", UnicodeForm::nfkc}, {"NFKD", UnicodeForm::nfkd}};
    for (const auto& [name, form] : kForms)
      if (type == name) return reader.expect_keys({"type"}), result.emplace_back(form), void();
    if (type == "Prepend") {
      reader.expect_keys({"type", "prepend"});
      result.emplace_back(Prepend{reader.string("prepend")});
    } else if (type == "Replace") {
      reader.expect_keys({"type", "pattern", "content"});
      result.emplace_back(Replace{read_pattern(reader), reader.string("content")});
    } else if (type == "Strip") {
      reader.expect_keys({"type", "strip_left", "strip_right"});
      result.emplace_back(StripSpace{reader.boolean("strip_left"), reader.boolean("strip_right")});
    } else {
      refuse_component(reader.where(), "normalizer", type);
    }
  });
  return result;
}

/// A stretch of text on its way through the pipeline.
struct Stretch {
  std::string_view text;
  bool at_start;  // it begins where the whole input begins
};

/// The normalised text; `storage` holds it where it is not the given one. An empty text stays empty.
Stretch normalized(const std::vector<Normalizer>& normalizers, Stretch stretch, std::string& storage) {
  const std::size_t most = most_bytes(stretch.text.size());
  for (const Normalizer& normalizer : normalizers) {
    expect_at_most(stretch.text.size(), most);
    std::visit(Overloaded{
                   [&](UnicodeForm form) { storage = normalize(form, stretch.text), stretch.text = storage; },
                   [&](const Prepend& prepend) {
                     if (stretch.text.empty()) return;
                     storage = prepend.text + std::string(stretch.text);
                     stretch.text = storage;
                   },
                   [&](const Replace& replace) {
                     storage = replaced(stretch.text, replace.pattern, replace.content, most);
                     stretch.text = storage;
                   },
                   [&](const StripSpace& strip) {
                     const std::size_t left = strip.left ? leading_space(stretch.text) : 0;
                     stretch.text.remove_prefix(left);
                     if (left > 0) stretch.at_start = false;
                     if (strip.right) stretch.text.remove_suffix(trailing_space(stretch.text));
                     storage = std::string(stretch.text);
                     stretch.text = storage;
                   },
               },
               normalizer);
  }
  return stretch;
}

// ---- Splitters ----

enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

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

/// Turns the matches in `text` into the pieces that are kept.
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

// ---- Decoders ----

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

std::vector<Decoder> read_decoders(const Json& json, const std::string& where) {
  std::vector<Decoder> result;
  bool fused = false;  // what comes now sees the whole text; here in parts, so it must not matter where they end
  for_each_component(json, where, "decoders", [&](const JsonReader& reader) {
    const std::string& type = reader.string("type");
    const auto expect_tokens = [&] {
      if (fused) reader.refuse("type", "no decoder of this type behind one that joins the tokens");
    };
    if (type == "ByteLevel") {
      reader.expect_keys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
      expect_tokens();
      result.emplace_back(SpellingToBytes{});
      fused = true;
    } else if (type == "ByteFallback") {
      reader.expect_keys({"type"});
      expect_tokens();
      result.emplace_back(ByteFallback{});
    } else if (type == "Fuse") {
      reader.expect_keys({"type"});
      result.emplace_back(Fuse{});
      fused = true;
    } else if (type == "Metaspace") {
      expect_tokens();
      const Metaspace metaspace = read_metaspace(reader);
      result.emplace_back(MarksToSpaces{metaspace.mark, metaspace.prepend != Metaspace::never});
    } else if (type == "Strip") {
      reader.expect_keys({"type", "content", "start", "stop"});
      const auto count = [&](const char* key) { return static_cast<std::size_t>(reader.count(key, 1 << 20)); };
      result.emplace_back(StripCharacter{read_character(reader, "content"), count("start"), count("stop"), fused});
    } else if (type == "Replace") {
      reader.expect_keys({"type", "pattern", "content"});
      const Replace replace{read_pattern(reader), reader.string("content")};
      if (fused && !replace.pattern.is_one_character())
        reader.refuse("pattern", "one character, behind a decoder that joins the tokens");
      result.emplace_back(replace);
    } else {
      refuse_component(reader.where(), "decoder", type);
    }
  });
  if (json.is_null()) result.emplace_back(JoinBySpaces{});
  return result;
}

void read_post_processors(const Json& json, const std::string& where) {
  for_each_component(json, where, "processors", [&](const JsonReader& reader) {
    const std::string& type = reader.string("type");
    for (const char* known : {"ByteLevel", "TemplateProcessing", "BertProcessing", "RobertaProcessing"})
      if (type == known) return;  // all they do is add special tokens and correct offsets
    refuse_component(reader.where(), "post_processor", type);
  });
}

/// The byte that "<0xE2>" stands for. Two digits, of which the first may be a plus sign: so the reference reads it.
std::optional<char> byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  const int high = token[3] == '+' ? 0 : digit(token[3]), low = digit(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

// ---- Added tokens ----

struct AddedToken {
  std::int32_t id;
  std::string content;
  bool single_word, left_strip, right_strip, normalized, special;
};

/// Finds added tokens in text: the leftmost, and the longest of those.
class AddedTokenFinder {
 public:
  void add(const AddedToken& token, std::string_view spelled) {
    std::uint32_t node = 0;
    for (const char byte : spelled) {
      const auto [next, fresh] = children_.try_emplace(key(node, byte), static_cast<std::uint32_t>(tokens_.size()));
      if (fresh) tokens_.push_back(nullptr);
      node = next->second;
    }
    tokens_[node] = &token;
    starts_[static_cast<unsigned char>(spelled.front())] = true;
  }

  struct Part {
    std::string_view text;
    std::int32_t id;  // -1: text between added tokens
  };

  /// Parts `text`; white space that an added token takes along is lost.
  void split(std::string_view text, std::vector<Part>& parts) const {
    std::size_t begin = 0;   // of what is not yet in a part
    std::size_t spaces = 0;  // where the white space ends that was last found behind a token
    for (std::size_t at = 0; at < text.size();) {
      const auto [token, size] = longest(text, at);
      if (token == nullptr) {
        ++at;
        continue;
      }
      std::size_t first = at, end = at += size;
      if (token->single_word && (!word_ends_before(text, first) || !word_begins_behind(text, end))) continue;
      // No stretch of white space is walked twice: it may hold as many tokens as it has characters.
      if (token->left_strip && first < begin) first = begin;
      if (token->left_strip) first -= trailing_space(text.substr(begin, first - begin));
      if (token->right_strip) {
        if (end >= spaces) spaces = end + leading_space(text.substr(end));
        end = spaces;
      }
      if (begin < first) parts.push_back({text.substr(begin, first - begin), -1});
      parts.push_back({text.substr(first, end > first ? end - first : 0), token->id});
      begin = end;
    }
    if (begin < text.size()) parts.push_back({text.substr(begin), -1});
  }

 private:
  static std::uint64_t key(std::uint32_t node, char byte) {
    return static_cast<std::uint64_t>(node) << 8 | static_cast<unsigned char>(byte);
  }
  std::pair<const AddedToken*, std::size_t> longest(std::string_view text, std::size_t at) const {
    std::pair<const AddedToken*, std::size_t> best{nullptr, 0};
    if (!starts_[static_cast<unsigned char>(text[at])]) return best;
    std::uint32_t node = 0;
    for (std::size_t i = at; i < text.size(); ++i) {
      const auto next = children_.find(key(node, text[i]));
      if (next == children_.end()) break;
      node = next->second;
      if (tokens_[node] != nullptr) best = {tokens_[node], i + 1 - at};
    }
    return best;
  }
  static bool is_word(char32_t c) {
    static const CodePointSet word{unicode::kPlainWord};
    return word.contains(c);
  }
  static bool word_ends_before(std::string_view text, std::size_t at) {
    return at == 0 || !is_word(decode_utf8(text, character_before(text, at)).value);
  }
  static bool word_begins_behind(std::string_view text, std::size_t at) {
    return at == text.size() || !is_word(decode_utf8(text, at).value);
  }

  std::unordered_map<std::uint64_t, std::uint32_t> children_;
  std::vector<const AddedToken*> tokens_ = {nullptr};  // of each node; the first is the root
  std::array<bool, 256> starts_{};
};

// ---- The whole ----

class JsonTokenizer : public TokenModel {
 public:
  JsonTokenizer(const Json& json, const std::string& where)
      : bpe_(model_of(json, where), where + ": model"),
        normalizers_(read_normalizers(JsonReader(json, where).optional("normalizer"), where + ": normalizer")),
        splitters_(read_splitters(JsonReader(json, where).optional("pre_tokenizer"), where + ": pre_tokenizer")),
        decoders_(read_decoders(JsonReader(json, where).optional("decoder"), where + ": decoder")),
        gpt2_(SplitPattern::regex(kGpt2, where)) {
    const JsonReader reader(json, where + ": ");
    reader.expect_keys({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                        "post_processor", "decoder", "model"});
    if (reader.string("version") != "1.0") reader.refuse("version", "\"1.0\"");
    // "truncation" and "padding" are how its last writer cut and filled up texts, which keep their length here.
    // What `first` depends on is where the reference believes that replaced text began, which no test here has proved.
    const auto is_first = [](const Splitter& splitter) {
      const auto* metaspace = std::get_if<Metaspace>(&splitter);
      return metaspace != nullptr && metaspace->prepend == Metaspace::first;
    };
    const auto replaces = [](const Normalizer& normalizer) { return std::holds_alternative<Replace>(normalizer); };
    if (std::any_of(splitters_.begin(), splitters_.end(), is_first) &&
        std::any_of(normalizers_.begin(), normalizers_.end(), replaces))
      reader.refuse("normalizer", "no Replace before a Metaspace with prepend_scheme \"first\"");
    read_post_processors(reader.optional("post_processor"), where + ": post_processor");
    pieces = bpe_.pieces();
    read_added_tokens(reader.optional("added_tokens"), where + ": added_tokens");
  }

  std::vector<std::int32_t> encode(std::string_view raw) const override {
    std::string valid, storage;
    const std::string_view text = valid_utf8(raw, valid);
    Work work;
    work.most = most_bytes(text.size());
    work.spans.resize(splitters_.size() + 1);
    std::vector<AddedTokenFinder::Part> parts, normalized_parts;
    raw_finder_.split(text, parts);
    for (const auto& part : parts) {
      if (part.id >= 0) {
        work.ids.push_back(part.id);
        continue;
      }
      const Stretch stretch = normalized(normalizers_, {part.text, part.text.data() == text.data()}, storage);
      normalized_parts.clear();
      normalized_finder_.split(stretch.text, normalized_parts);
      for (const auto& each : normalized_parts) {
        if (each.id >= 0)
          work.ids.push_back(each.id);
        else
          split({each.text, stretch.at_start && each.text.data() == stretch.text.data()}, 0, work);
      }
    }
    return std::move(work.ids);
  }

  void decode(std::int32_t id, DecodeState& state, std::string& text) const override {
    state.stages.resize(decoders_.size());
    if (!present_[static_cast<std::size_t>(id)]) return;
    const auto found = spellings_.find(id);
    feed(found != spellings_.end() ? found->second : pieces[static_cast<std::size_t>(id)], 0, state, text);
  }

  void finish(DecodeState state, std::string& text) const override {
    state.stages.resize(decoders_.size());
    for (std::size_t stage = 0; stage < decoders_.size(); ++stage) {
      const std::string held = std::exchange(state.stages[stage].held, {});
      if (held.empty()) continue;
      if (std::holds_alternative<SpellingToBytes>(decoders_[stage]))
        feed(kReplacement, stage + 1, state, text);  // the beginning of a character
      else if (std::holds_alternative<ByteFallback>(decoders_[stage]))
        feed_bytes(held, stage + 1, state, text);
    }
  }

 private:
  struct Work {
    std::vector<std::int32_t> ids;
    std::size_t most;                      // bytes that a piece may have
    std::vector<std::vector<Span>> spans;  // of each splitter
    std::string spelled;
    Bpe::Workspace bpe;
  };

  static const Json& model_of(const Json& json, const std::string& where) {
    if (json.is_object() && !json.contains("model"))
      throw Error("tokenizer", where, ": expected a tokenizer.json, got JSON without \"model\"; check the path");
    const JsonReader model(JsonReader(json, where + ": ").required("model"), where + ": model");
    if (const Json& type = model.optional("type"); !type.is_null() && type != "BPE")
      refuse_component(model.where(), "model", model.string("type"));
    return json.at("model");
  }

  void read_added_tokens(const Json& list, const std::string& where) {
    present_.resize(pieces.size());
    for (std::size_t id = 0; id < pieces.size(); ++id)
      present_[id] = bpe_.find(pieces[id]) == static_cast<std::int32_t>(id);
    if (list.is_null()) return;
    if (!list.is_array()) throw Error("tokenizer", where, ": expected an array, got ", list.type_name());
    added_.reserve(list.size());  // the finders point into it
    std::unordered_set<std::string> contents;
    std::size_t next = bpe_.size();
    for (std::size_t i = 0; i < list.size(); ++i) {
      const JsonReader reader(list[i], where + '[' + std::to_string(i) + ']');
      reader.expect_keys({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
      AddedToken token{-1,
                       reader.string("content"),
                       reader.boolean("single_word"),
                       reader.boolean("lstrip"),
                       reader.boolean("rstrip"),
                       reader.boolean("normalized"),
                       reader.boolean("special")};
      if (token.content.empty()) reader.refuse("content", "a string that is not empty");
      // The reference numbers tokens itself, whatever the file says; a file that says otherwise was not written by it.
      const std::int32_t known = bpe_.find(token.content);
      const std::size_t expected = known >= 0 ? static_cast<std::size_t>(known) : next;
      if (reader.count("id", std::int64_t{1} << 31) != static_cast<std::int64_t>(expected))
        reader.refuse("id",
                      std::to_string(expected) + (known >= 0 ? ", its id in the vocabulary" : ", the next free id"));
      if (known < 0) {
        if (expected < pieces.size() && present_[expected]) reader.refuse("id", "an id that no other piece has");
        if (expected >= pieces.size()) pieces.resize(expected + 1), present_.resize(expected + 1);
        pieces[expected] = token.content;
        present_[expected] = true;
        next = expected + 1;
      } else {
        next = std::max(next, expected + 1);
      }
      token.id = static_cast<std::int32_t>(expected);
      if (!contents.insert(token.content).second) reader.refuse("content", "each token once");
      added_.push_back(std::move(token));
    }
    for (const AddedToken& token : added_) {
      std::string spelled = token.content;
      if (token.normalized) {
        std::string storage;
        spelled = normalized(normalizers_, {token.content, true}, storage).text;
        if (spelled.empty())
          throw Error("tokenizer", where, ": expected tokens that the normalizer leaves something of, got \"",
                      token.content.substr(0, 80), '"');
      }
      (token.normalized ? normalized_finder_ : raw_finder_).add(token, spelled);
      protect_from_decoding(token, spelled);
      if (spelled != token.content) spellings_.emplace(token.id, std::move(spelled));
    }
  }

  /// Spells an added token so that it comes out of the decoders as it went in: "Straße" is text, though each of its
  /// letters could spell a byte. (The reference takes it for bytes and returns another text.) A piece that the model
  /// itself makes of bytes, such as "Ġthe" or "é", does stand for these.
  void protect_from_decoding(const AddedToken& token, std::string& spelled) const {
    const auto spells_bytes = [](const Decoder& decoder) { return std::holds_alternative<SpellingToBytes>(decoder); };
    if (std::none_of(decoders_.begin(), decoders_.end(), spells_bytes)) return;
    std::string bytes;
    append_spelled(spelled, bytes);
    if (bytes == spelled) return;
    std::vector<std::int32_t> made;
    Bpe::Workspace work;
    bpe_.encode(token.content, work, made);
    if (made == std::vector{token.id}) return;
    bytes = std::exchange(spelled, {});  // of its UTF-8
    for (const char byte : bytes) spelled += byte_alphabet().spelled[static_cast<unsigned char>(byte)];
  }

  void split(Stretch piece, std::size_t step, Work& work) const {
    if (piece.text.empty()) return;
    expect_at_most(piece.text.size(), work.most);
    if (step == splitters_.size()) return bpe_.encode(piece.text, work.bpe, work.ids);
    const auto split_at = [&](std::string_view text, bool at_start, const std::vector<Span>& spans) {
      for (const auto& [first, end] : spans)
        split({text.substr(first, end - first), at_start && first == 0}, step + 1, work);
    };
    std::vector<Span>& spans = work.spans[step];
    spans.clear();
    std::visit(Overloaded{
                   [&](const PatternSplit& by) {
                     by.pattern.find(piece.text, spans);
                     cut(piece.text, by.behavior, by.invert, spans);
                     split_at(piece.text, piece.at_start, spans);
                   },
                   [&](const CharacterSplit& by) {
                     for (std::size_t at = 0; at < piece.text.size();) {
                       const CodePoint c = decode_utf8(piece.text, at);
                       if (by.characters.contains(c.value)) spans.emplace_back(at, at + c.size);
                       at += c.size;
                     }
                     cut(piece.text, by.behavior, false, spans);
                     split_at(piece.text, piece.at_start, spans);
                   },
                   [&](const WordSplit&) {
                     words_of(piece.text, spans);
                     split_at(piece.text, piece.at_start, spans);
                   },
                   [&](const SpellBytes& by) { spell(by, piece, step, work); },
                   [&](const Metaspace& by) {
                     std::string marked;
                     for (const char byte : piece.text) byte == ' ' ? marked += by.mark : marked += byte;
                     const bool prepend =
                         by.prepend == Metaspace::always || (by.prepend == Metaspace::first && piece.at_start);
                     if (prepend && !marked.starts_with(by.mark)) marked.insert(0, by.mark);
                     if (!by.split) return split({marked, piece.at_start}, step + 1, work);
                     for (std::size_t at = 0; (at = marked.find(by.mark, at)) != std::string::npos;
                          at += by.mark.size())
                       spans.emplace_back(at, at + by.mark.size());
                     cut(marked, Behavior::merged_with_next, false, spans);
                     split_at(marked, piece.at_start, spans);
                   },
               },
               splitters_[step]);
  }

  void spell(const SpellBytes& by, Stretch piece, std::size_t step, Work& work) const {
    std::string prefixed;
    if (by.prefix_space && !piece.text.starts_with(' ')) {
      prefixed = ' ' + std::string(piece.text);
      piece.text = prefixed;
    }
    std::vector<Span>& spans = work.spans[step];
    if (by.gpt2_words) {
      gpt2_.find(piece.text, spans);
      cut(piece.text, Behavior::isolated, false, spans);
    } else {
      spans.emplace_back(0, piece.text.size());
    }
    const bool last = step + 1 == splitters_.size();
    for (const auto& [first, end] : spans) {
      work.spelled.clear();
      for (const char byte : piece.text.substr(first, end - first))
        work.spelled += byte_alphabet().spelled[static_cast<unsigned char>(byte)];
      if (last) {
        bpe_.encode(work.spelled, work.bpe, work.ids);
      } else {
        const std::string spelled = work.spelled;  // another of these may follow
        split({spelled, piece.at_start && first == 0}, step + 1, work);
      }
    }
  }

  /// One token through the decoders from `stage` on.
  void feed(std::string_view token, std::size_t stage, DecodeState& state, std::string& out) const {
    if (stage == decoders_.size()) {
      out += token;
      return;
    }
    DecodeState::Stage& own = state.stages[stage];
    const auto pass = [&](std::string_view text) { feed(text, stage + 1, state, out); };
    std::visit(Overloaded{
                   [&](const Replace& by) { pass(replaced(token, by.pattern, by.content, kMostDecoded)); },
                   [&](const Fuse&) { pass(token); },
                   [&](const JoinBySpaces&) {
                     if (own.seen++ > 0) pass(" ");
                     pass(token);
                   },
                   [&](const MarksToSpaces& by) {
                     std::string text(token);
                     const std::string_view space = own.seen++ == 0 && by.drop_first ? "" : " ";
                     for (std::size_t at = 0; (at = text.find(by.mark, at)) != std::string::npos; at += space.size())
                       text.replace(at, by.mark.size(), space);
                     pass(text);
                   },
                   [&](const StripCharacter& by) { strip(by, token, own, pass); },
                   [&](const SpellingToBytes&) {
                     append_spelled(token, own.held);
                     std::string text;
                     std::string_view rest = own.held;
                     while (!rest.empty()) {
                       const Utf8Step step = utf8_step(rest);
                       if (step.kind == Utf8Step::cut_short) break;
                       text += step.kind == Utf8Step::valid ? rest.substr(0, step.size) : kReplacement;
                       rest.remove_prefix(step.size);
                     }
                     own.held = std::string(rest);
                     if (!text.empty()) pass(text);
                   },
                   [&](const ByteFallback&) {
                     if (const auto byte = byte_of(token)) {
                       feed_byte(*byte, stage, state, out);
                       return;
                     }
                     const std::string held = std::exchange(own.held, {});
                     own.seen = 0;
                     own.broken = false;
                     if (!held.empty()) feed_bytes(held, stage + 1, state, out);
                     pass(token);
                   },
               },
               decoders_[stage]);
  }

  /// The bytes that a token spells; one with a character that spells none stands for itself.
  static void append_spelled(std::string_view token, std::string& bytes) {
    const std::size_t before = bytes.size();
    for (std::size_t at = 0; at < token.size();) {
      const CodePoint c = decode_utf8(token, at);
      const int byte = c.value < std::size(byte_alphabet().byte_of) ? byte_alphabet().byte_of[c.value] : -1;
      if (byte < 0) {
        bytes.resize(before);
        bytes += token;
        return;
      }
      bytes += static_cast<char>(byte);
      at += c.size;
    }
  }

  /// A run of bytes that is not UTF-8 as a whole gives U+FFFD for each of them, even where a part would be. So a run is
  /// held until it ends, or until nothing can mend it.
  void feed_byte(char byte, std::size_t stage, DecodeState& state, std::string& out) const {
    DecodeState::Stage& own = state.stages[stage];
    own.held += byte;
    while (!own.broken && own.seen < own.held.size()) {  // `seen`: bytes of whole characters
      const Utf8Step step = utf8_step(std::string_view(own.held).substr(own.seen));
      if (step.kind == Utf8Step::cut_short) break;
      if (step.kind == Utf8Step::invalid)
        own.broken = true;
      else
        own.seen += step.size;
    }
    if (!own.broken) return;
    const std::size_t count = std::exchange(own.held, {}).size();
    for (std::size_t i = 0; i < count; ++i) feed(kReplacement, stage + 1, state, out);
  }

  void feed_bytes(const std::string& bytes, std::size_t stage, DecodeState& state, std::string& out) const {
    std::string storage;
    if (valid_utf8(bytes, storage).data() == bytes.data()) return feed(bytes, stage, state, out);
    for (std::size_t i = 0; i < bytes.size(); ++i) feed(kReplacement, stage, state, out);
  }

  template <class Pass>
  static void strip(const StripCharacter& by, std::string_view token, DecodeState::Stage& own, const Pass& pass) {
    std::string text;
    if (by.fused) {  // `seen`: what was dropped at the start; `held`: what may be the end
      while (!own.broken && own.seen < by.start && token.starts_with(by.character)) {
        token.remove_prefix(by.character.size());
        ++own.seen;
      }
      if (!token.empty()) own.broken = true;  // the start is over
      text = std::exchange(own.held, {}) + std::string(token);
    } else {
      for (std::size_t i = 0; i < by.start && token.starts_with(by.character); ++i)
        token.remove_prefix(by.character.size());
      text = token;
    }
    std::string_view kept = text;
    for (std::size_t i = 0; i < by.stop && kept.ends_with(by.character); ++i) kept.remove_suffix(by.character.size());
    if (by.fused) own.held = text.substr(kept.size());
    pass(kept);
  }

  Bpe bpe_;
  std::vector<Normalizer> normalizers_;
  std::vector<Splitter> splitters_;
  std::vector<Decoder> decoders_;
  SplitPattern gpt2_;
  std::vector<AddedToken> added_;
  AddedTokenFinder raw_finder_, normalized_finder_;
  std::unordered_map<std::int32_t, std::string> spellings_;  // of added tokens that enter the decoders in another form
  std::vector<bool> present_;                                // [vocab_size] false for an id that nobody has
};

}  // namespace

std::string read_tokenizer_json(const std::filesystem::path& file) {
  auto found = read_model_file("tokenizer", file);
  if (!found) throw Error("tokenizer", file.string(), ": expected a file, got none");
  std::string serialized = *std::move(found);
  if (serialized.rfind('\n' + std::string("{\"") + std::string(kSpecialTokensKey)) != std::string::npos)
    return serialized;
  Json special = Json::object();
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json", "generation_config.json"}) {
    const auto path = file.parent_path() / name;
    const auto bytes = read_model_file("tokenizer", path);
    if (!bytes) continue;
    const Json json = parse_model_json(*bytes, path.string());
    const JsonReader reader(json, path.string() + ": ");
    for (const std::string role : {"eos", "bos", "pad"}) {
      if (special.contains(role)) continue;
      Json value = reader.optional(role + "_token");
      if (value.is_object()) value = JsonReader(value, path.string() + ": " + role + "_token").optional("content");
      if (value.is_null()) value = reader.optional(role + "_token_id");
      if (value.is_array() && !value.empty()) value = Json(value.front());  // several ways to end: the first
      if (value.is_string() || value.is_number_integer())
        special[role] = value;
      else if (!value.is_null())
        reader.refuse(role + "_token", "a token");
    }
    const Json& ends = reader.optional("eos_token_id");
    if (path.filename() == "generation_config.json" && !ends.is_null())
      special["ends"] = ends.is_array() ? ends : Json::array({ends});
  }
  if (!special.empty()) serialized += '\n' + Json{{kSpecialTokensKey, special}}.dump() + '\n';
  return serialized;
}

bool is_tokenizer_json(std::string_view serialized) {
  const std::size_t first = serialized.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && serialized[first] == '{';
}

std::shared_ptr<const TokenModel> parse_tokenizer_json(std::string_view serialized, const std::string& where) {
  const std::size_t line = serialized.rfind('\n' + std::string("{\"") + std::string(kSpecialTokensKey));
  auto model = std::make_shared<JsonTokenizer>(parse_model_json(serialized.substr(0, line), where), where);
  model->serialized = serialized;
  if (line == std::string_view::npos) return model;

  const Json trailer = parse_model_json(serialized.substr(line), where);
  const JsonReader special(JsonReader(trailer, where + ": ").required(kSpecialTokensKey),
                           where + ": " + std::string(kSpecialTokensKey));
  special.expect_keys({"eos", "bos", "pad", "ends"});
  const auto find = [&](const char* role) -> std::int32_t {
    const Json& value = special.optional(role);
    if (value.is_null()) return -1;
    if (value.is_number_integer())
      return static_cast<std::int32_t>(special.count(role, static_cast<std::int64_t>(model->pieces.size())));
    const auto found = std::find(model->pieces.rbegin(), model->pieces.rend(), special.string(role));
    if (found == model->pieces.rend() || found->empty()) special.refuse(role, "a token of the vocabulary");
    return static_cast<std::int32_t>(model->pieces.rend() - found) - 1;
  };
  model->eos = find("eos");
  model->bos = find("bos");
  model->pad = find("pad");
  for (const Json& end : special.optional("ends")) {
    const bool fits = end.is_number_integer() && end.get<std::int64_t>() >= 0 &&
                      end.get<std::int64_t>() < static_cast<std::int64_t>(model->pieces.size());
    if (!fits) special.refuse("ends", "token ids");
    model->ends.push_back(end.get<std::int32_t>());
  }
  return model;
}

}  // namespace grpo::internal
