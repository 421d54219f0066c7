#include "tokenizer/tokenizer_json.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>

#include "base/files/model_file.h"
#include "base/json_reader.h"
#include "text/utf8.h"
#include "tokenizer/bpe.h"
#include "tokenizer/json/added_token.h"
#include "tokenizer/json/decoder.h"
#include "tokenizer/json/normalizer.h"
#include "tokenizer/json/splitter.h"

namespace grpo::internal {
namespace {

using namespace tokenizer_json;

constexpr std::string_view kReplacement = "\uFFFD";
constexpr std::string_view kSpecialTokensKey = "grpo_special_tokens";
constexpr std::size_t kMostDecoded = 1 << 20;  // bytes of one token
constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

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
    if (keeps_text())
      for (const std::string& piece : pieces) longest = std::max(longest, piece.size());
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
  /// Whether every byte of a text ends up in a token, and none but as its piece spells it: at least a byte for a byte.
  bool keeps_text() const {
    const auto removes = [](const Splitter& splitter) {
      const auto* pattern = std::get_if<PatternSplit>(&splitter);
      const auto* characters = std::get_if<CharacterSplit>(&splitter);
      return std::holds_alternative<WordSplit>(splitter) || (pattern && pattern->behavior == Behavior::removed) ||
             (characters && characters->behavior == Behavior::removed);
    };
    const auto spells = [](const Splitter& splitter) { return std::holds_alternative<SpellBytes>(splitter); };
    const auto is_known = [&](const std::string& byte) { return bpe_.find(byte) >= 0; };
    const auto takes_spaces = [](const AddedToken& token) { return token.left_strip || token.right_strip; };
    return normalizers_.empty() && std::none_of(splitters_.begin(), splitters_.end(), removes) &&
           std::none_of(added_.begin(), added_.end(), takes_spaces) &&
           (std::any_of(splitters_.begin(), splitters_.end(), spells)
                ? std::ranges::all_of(byte_alphabet().spelled, is_known)
                : bpe_.falls_back_to_bytes());
  }

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
