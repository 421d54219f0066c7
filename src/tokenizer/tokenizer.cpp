#include "grpo/tokenizer.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <system_error>
#include <unordered_map>

#include "base/files/durable_file.h"
#include "base/files/model_file.h"
#include "grpo/messages.h"
#include "text/fill.h"
#include "text/utf8.h"
#include "tokenizer/token_model.h"
#include "tokenizer/tokenizer_json.h"

namespace grpo {
namespace {

// sentencepiece writes a space as U+2581, so a U+2581 of the text itself travels as kEscape 's', and kEscape as
// kEscape kEscape. kEscape is the ASCII control code SUBSTITUTE: hardly ever in text, and one byte.
constexpr std::string_view kSpaceMark = "\u2581";
constexpr std::string_view kReplacement = "\uFFFD";
constexpr char kEscape = '\x1a';
constexpr char kEscapedSpaceMark = 's';

/// What sentencepiece may see: valid UTF-8, in which every U+2581 will mean a space.
std::string escape(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    const std::string_view character = text.substr(0, step.size);
    if (step.kind != Utf8Step::valid) {
      result += kReplacement;
    } else if (character == kSpaceMark) {
      (result += kEscape) += kEscapedSpaceMark;
    } else if (character.front() == kEscape) {
      (result += kEscape) += kEscape;
    } else {
      result += character;
    }
    text.remove_prefix(step.size);
  }
  return result;
}

/// The lines of escaped documents, as sentencepiece's trainer asks for them. As no line holds a line feed, none is
/// merged into a piece: how a prompt ends never changes the tokens behind it.
class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(const std::vector<std::string>& documents) {
    for (const std::string& document : documents) {
      const std::string text = escape(document);
      for (std::size_t start = 0; start < text.size();) {
        const std::size_t end = std::min(text.find('\n', start), text.size());
        if (end > start) lines_.push_back(text.substr(start, end - start));
        start = end + 1;
      }
    }
  }
  bool empty() const { return lines_.empty(); }
  bool done() const override { return next_ == lines_.size(); }
  void Next() override { ++next_; }
  const std::string& value() const override { return lines_[next_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::vector<std::string> lines_;
  std::size_t next_ = 0;
};

std::string join_as_csv(const std::vector<std::string>& items) {
  std::string csv;
  for (const std::string& item : items) csv += (csv.empty() ? "" : ",") + item;
  return csv;
}

// ---- The sentencepiece model ----

/// Whether the field at the end of `path` holds bytes anywhere in a protobuf message. What is malformed is left to its
/// parser to refuse.
bool holds_bytes(std::string_view message, std::span<const std::uint32_t> path) {
  const auto number = [&] {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64 && !message.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(message.front());
      message.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 127) << shift;
      if (byte < 128) break;
    }
    return value;
  };
  while (!message.empty()) {
    const auto tag = static_cast<std::uint32_t>(number());
    const std::uint32_t kind = tag & 7;  // 0: a number, 1 and 5: of fixed width, 2: bytes, 3 and 4: brackets
    if (kind == 0) (void)number();
    const std::uint64_t size = kind == 1 ? 8 : kind == 5 ? 4 : kind == 2 ? number() : 0;
    if (size > message.size()) break;
    if (kind == 2 && size > 0 && tag >> 3 == path.front() &&
        (path.size() == 1 || holds_bytes(message.substr(0, size), path.subspan(1))))
      return true;
    message.remove_prefix(size);
  }
  return false;
}

/// Of "Internal: trainer.cc(615) [condition] Vocabulary size too high (400)." what is told to users.
std::string reason_of(const sentencepiece::util::Status& status) {
  const std::string text = status.ToString();
  const std::size_t end = text.rfind("] ");
  return end == text.npos ? text : text.substr(end + 2);
}

class SentencePieceModel : public internal::TokenModel {
 public:
  SentencePieceModel(std::string_view bytes, const std::string& where) {
    serialized = bytes;
    // sentencepiece follows the tables of (de)normalizer_spec.precompiled_charsmap wherever they lead, out of memory
    // too. A model that keeps any text has none.
    for (const std::uint32_t spec : {3, 5})
      if (const std::uint32_t path[] = {spec, 2}; holds_bytes(bytes, path))
        throw Error("tokenizer", where, ": expected a model that changes no text, got one with a table of ",
                    "normalizations; train it with identity normalisation");
    sentencepiece::util::Status status(sentencepiece::util::StatusCode::kInternal, "no bytes");
    try {
      if (!bytes.empty()) status = processor_.LoadFromSerializedProto(serialized);
    } catch (const std::exception& error) {  // of its tables
      status = sentencepiece::util::Status(sentencepiece::util::StatusCode::kInternal, error.what());
    }
    if (!status.ok())
      throw Error("tokenizer", where, ": expected a sentencepiece model, got a corrupt one");
    if (processor_.eos_id() < 0)
      throw Error("tokenizer", where, ": expected a model with an end-of-sequence token, got none");
    eos = processor_.eos_id();
    bos = processor_.bos_id();
    pad = processor_.pad_id();
    for (int id = 0; id < processor_.GetPieceSize(); ++id) {
      const std::string& piece = pieces.emplace_back(processor_.IdToPiece(id));
      std::string surface = piece;
      if (processor_.IsControl(id)) {
        surface.clear();
      } else if (processor_.IsUnknown(id)) {
        surface = kReplacement;
      } else if (processor_.IsByte(id)) {  // "<0x0A>"
        surface = static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16));
      } else {
        for (std::size_t at = 0; (at = surface.find(kSpaceMark, at)) != std::string::npos;)
          surface.replace(at, kSpaceMark.size(), " ");
      }
      surfaces_.push_back(std::move(surface));
    }
    if (falls_back_to_bytes())
      for (const std::string& surface : surfaces_)  // the second character of an escape stands for up to three bytes
        longest = std::max(longest, surface.size() + std::ranges::count(surface, kEscape));
  }

  std::vector<std::int32_t> encode(std::string_view text) const override {
    std::vector<int> ids;
    const auto status = processor_.Encode(escape(text), &ids);
    if (!status.ok()) throw Error("tokenizer", "expected text that can be encoded, got: ", reason_of(status));
    return std::vector<std::int32_t>(ids.begin(), ids.end());
  }

  void decode(std::int32_t id, internal::DecodeState& state, std::string& text) const override {
    state.stages.resize(1);
    std::string& held = state.stages[0].held;  // the beginning of a character or of an escape
    held += surfaces_[static_cast<std::size_t>(id)];
    std::string_view rest = held;
    while (!rest.empty()) {
      const Utf8Step step = utf8_step(rest);
      if (step.kind == Utf8Step::cut_short) break;
      std::size_t consumed = step.size;
      if (step.kind == Utf8Step::invalid) {
        text += kReplacement;
      } else if (rest.front() != kEscape) {
        text += rest.substr(0, step.size);
      } else if (rest.size() == 1) {
        break;
      } else if (rest[1] == kEscapedSpaceMark) {
        text += kSpaceMark, consumed = 2;
      } else {
        text += kEscape, consumed = rest[1] == kEscape ? 2 : 1;  // one that escapes nothing stands for itself
      }
      rest.remove_prefix(consumed);
    }
    held = std::string(rest);
  }

  void finish(internal::DecodeState state, std::string& text) const override {
    if (state.stages.empty() || state.stages[0].held.empty()) return;
    text += state.stages[0].held.front() == kEscape ? std::string_view(&kEscape, 1) : kReplacement;
  }

 private:
  /// Whether no text is lost in unk, of which one may stand for any number of characters: a character that hardly any
  /// vocabulary has is spelled in bytes.
  bool falls_back_to_bytes() const {
    const std::vector<std::int32_t> ids = encode("\U0010FFFD");
    return std::ranges::all_of(ids, [&](std::int32_t id) { return processor_.IsByte(id); });
  }

  sentencepiece::SentencePieceProcessor processor_;
  std::vector<std::string> surfaces_;  // [vocab_size] the raw bytes that a token stands for
};

}  // namespace

// ---- Configs ----

void TokenizerConfig::validate() const {
  for (const std::string& symbol : symbols)
    if (symbol.empty() || symbol.find_first_of(",\"\n \t\r") != std::string::npos || escape(symbol) != symbol)
      throw Error("tokenizer", "symbols: expected words without commas, quotes and white space, got \"", symbol,
                  '"');
  constexpr std::size_t kFixed = 256 + 4;  // bytes, special tokens
  if (static_cast<std::size_t>(vocab_size) <= kFixed + symbols.size())
    throw Error("tokenizer", "vocab_size: expected more than ", kFixed + symbols.size(),
                " (256 bytes, 4 special tokens, ", symbols.size(), " symbols), got ", vocab_size);
}

void ChatTemplate::validate() const {
  if (text.empty()) return;
  if (text.find("{prompt}") == std::string::npos)
    throw Error("tokenizer", "chat.text: expected a text with {prompt}, got \"", text, "\"; say where the prompt goes");
  if (!system.empty() && text.find("{system}") == std::string::npos)
    throw Error("tokenizer", "chat.system: expected a chat.text with {system}, or an empty one (the model's own chat ",
                "template), got \"", text, '"');
}

namespace {

constexpr std::string_view kThink = "<think>";

bool ends_with_think(std::string_view read) {
  const std::size_t last = read.find_last_not_of(" \t\r\n");
  return last != std::string_view::npos && read.substr(0, last + 1).ends_with(kThink);
}

std::string opened(std::string read, bool open_think) {
  if (open_think && !ends_with_think(read)) read += kThink;
  return read;
}

std::string text_of(const nlohmann::ordered_json& message, const char* key) {
  const auto found = message.is_object() ? message.find(key) : message.end();
  return found != message.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

const std::string_view kFormSystem =
    "Work the problem out between <think> and </think>. Then give the final answer alone between <answer> and "
    "</answer>. For example: <think>Two of 7 and one of 5 make 7+7+5=19.</think><answer>19</answer>";

const std::string_view kFormText =
    "A user asks, and an assistant answers. The assistant first works the problem out between <think> and </think>, "
    "and then gives the final answer alone between <answer> and </answer>.\nUser: {prompt}\nAssistant: ";

std::string ChatTemplate::render(const Task& task) const {
  validate();
  if (!text.empty() && task.messages.empty())
    return opened(fill(text, {{"{prompt}", task.prompt}, {"{language}", task.language}, {"{system}", system}}),
                  open_think);
  auto conversation = nlohmann::ordered_json::array();
  if (task.messages.empty()) conversation.push_back({{"role", "user"}, {"content", task.prompt}});
  for (const Message& each : task.messages) conversation.push_back({{"role", each.role}, {"content", each.content}});
  return render(conversation);
}

std::string ChatTemplate::render(const nlohmann::ordered_json& conversation) const {
  validate();
  if (!text.empty()) {
    if (!conversation.is_array() || conversation.size() != 1 || text_of(conversation[0], "role") != "user")
      throw Error("tokenizer", "expected one turn, the user's: a conversation takes the model's own chat template ",
                  "(an empty chat.text), and this chat is the text \"", text, '"');
    return render(Task{"", text_of(conversation[0], "content"), "", "", "en"});
  }
  if (!messages)
    throw Error("tokenizer", "expected a chat template with {prompt}, got \"\"; only a policy that comes from a model ",
                "folder can have one of its own");
  const bool has_system =
      conversation.is_array() && !conversation.empty() && text_of(conversation[0], "role") == "system";
  if (system.empty() || has_system || !conversation.is_array())
    return opened(messages->render(conversation), open_think);
  auto whole = conversation;
  whole.insert(whole.begin(), nlohmann::ordered_json{{"role", "system"}, {"content", system}});
  try {
    return opened(messages->render(whole), open_think);
  } catch (const Error&) {
    // Some templates know no system prompt and refuse one: it then opens the user's first turn.
    auto first = conversation;
    if (text_of(first.empty() ? first : first[0], "role") != "user") throw;
    first[0]["content"] = system + "\n\n" + text_of(first[0], "content");
    return opened(messages->render(first), open_think);
  }
}

bool ChatTemplate::opens_think() const {
  if (open_think) return true;
  return ends_with_think(text.empty() && messages ? render(Task{"", "?", "", "", ""}) : text);
}

// ---- Tokenizer ----

void Tokenizer::train(const std::vector<std::string>& documents, const TokenizerConfig& config,
                      const std::filesystem::path& model_file) {
  validate(config, "tokenizer");
  Lines lines(documents);
  if (lines.empty()) throw Error("tokenizer", "expected documents to learn a vocabulary from, got no text");
  const std::unordered_map<std::string, std::string> options = {
      {"model_type", std::string(enum_name(config.algorithm))},
      {"vocab_size", std::to_string(config.vocab_size)},
      {"hard_vocab_limit", "false"},
      {"user_defined_symbols", join_as_csv(config.symbols)},
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", "false"},
      {"remove_extra_whitespaces", "false"},
      {"byte_fallback", "true"},
      {"split_digits", "true"},
      {"character_coverage", "0.9995"},       // the rest is spelled in bytes
      {"max_sentence_length", "1073741824"},  // bytes, the most it takes; longer lines would be skipped in silence
      {"shuffle_input_sentence", "false"},
      {"num_threads", "1"},
      {"unk_id", "0"},
      {"bos_id", "1"},
      {"eos_id", "2"},
      {"pad_id", "3"},
      {"minloglevel", "3"},
  };
  std::string bytes;
  const auto status = sentencepiece::SentencePieceTrainer::Train(options, &lines, &bytes);
  if (!status.ok()) {
    // "… smaller than required_chars. 300 vs 316. …": the characters of the text have places, too.
    const std::string why = status.ToString();
    if (const std::size_t at = why.find(" vs "); at != why.npos && why.find("required_chars") != why.npos)
      throw Error("tokenizer", "vocab_size: expected at least ", std::atoi(why.c_str() + at + 4),
                  ", for the bytes, special tokens, symbols and characters of the text, got ", config.vocab_size);
    throw Error("tokenizer", "expected a vocabulary of ", config.vocab_size, " pieces, got from sentencepiece: ",
                reason_of(status), "; change vocab_size or give more text");
  }
  write_file("tokenizer", model_file, bytes);
}

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  std::filesystem::path file = path;
  std::error_code ignored;
  for (const char* name : {"tokenizer.model", "tokenizer.json"})  // the latter counts when both are there
    if (std::filesystem::is_regular_file(path / name, ignored)) file = path / name;
  const auto bytes = std::filesystem::is_directory(file, ignored) ? std::nullopt : read_model_file("tokenizer", file);
  if (!bytes)
    throw Error("tokenizer", path.string(),
                ": expected a sentencepiece model, a tokenizer.json, or a folder with one, got ",
                std::filesystem::is_directory(path, ignored) ? "a folder with neither" : "no such file",
                "; train one first, or give the folder of a pretrained model");
  const bool json = file.extension() == ".json" || internal::is_tokenizer_json(*bytes);
  return from_serialized(json ? internal::read_tokenizer_json(file) : *bytes, file.string());
}

Tokenizer Tokenizer::from_serialized(std::string_view bytes, const std::string& where) {
  if (internal::is_tokenizer_json(bytes)) return Tokenizer(internal::parse_tokenizer_json(bytes, where));
  const Tokenizer tokenizer(std::make_shared<const SentencePieceModel>(bytes, where));
  constexpr std::string_view kProbe = " Two  spaces,\ttab\r\n\n\u2581 \uAC00\u0301 \U0001F600 ①ﬁ ";
  if (tokenizer.decode(tokenizer.encode(kProbe)) != kProbe)
    throw Error("tokenizer", where,
                ": expected a model that keeps any text exactly, got one that changes it; train it ",
                "with identity normalisation, byte fallback, no dummy prefix and no removal of spaces");
  return tokenizer;
}

const std::string& Tokenizer::serialized() const { return model_->serialized; }

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const { return model_->encode(text); }

std::size_t Tokenizer::fewest_tokens(std::size_t bytes) const {
  return model_->longest == 0 ? 0 : bytes / model_->longest + (bytes % model_->longest != 0);
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  internal::DecodeState state;
  std::string text;
  for (const std::int32_t id : ids) {
    check(id);
    model_->decode(id, state, text);
  }
  model_->finish(std::move(state), text);
  return text;
}

std::int32_t Tokenizer::vocab_size() const { return static_cast<std::int32_t>(model_->pieces.size()); }
std::int32_t Tokenizer::bos() const { return model_->bos; }
std::int32_t Tokenizer::pad() const { return model_->pad < 0 ? eos() : model_->pad; }

std::int32_t Tokenizer::eos() const {
  if (model_->eos < 0)
    throw Error("tokenizer", "expected an end-of-sequence token, got none; name \"eos_token\" in a ",
                "tokenizer_config.json beside the tokenizer.json");
  return model_->eos;
}

bool Tokenizer::ends(std::int32_t id) const {
  return id == eos() || std::find(model_->ends.begin(), model_->ends.end(), id) != model_->ends.end();
}

const std::string& Tokenizer::piece(std::int32_t id) const {
  check(id);
  return model_->pieces[static_cast<std::size_t>(id)];
}

void Tokenizer::check(std::int32_t id) const {
  if (id < 0 || id >= vocab_size())
    throw Error("tokenizer", "expected a token id from 0 to ", vocab_size() - 1, ", got ", id);
}

void TextStream::push(std::int32_t id) {
  tokenizer_.check(id);
  text_.resize(settled_);
  tokenizer_.model_->decode(id, state_, text_);
  settled_ = text_.size();
  tokenizer_.model_->finish(state_, text_);
}

}  // namespace grpo
