#include "tokenizer/json/decoder.h"

#include "tokenizer/json/splitter.h"

namespace grpo::tokenizer_json {

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

}  // namespace grpo::tokenizer_json
