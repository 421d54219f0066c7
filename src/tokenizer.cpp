#include "grpo/tokenizer.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <system_error>
#include <unordered_map>

#include "fill.h"

namespace grpo {
namespace {

// sentencepiece writes a space as U+2581, so a U+2581 of the text itself travels as kEscape 's', and kEscape as
// kEscape kEscape. kEscape is the ASCII control code SUBSTITUTE: hardly ever in text, and one byte.
constexpr std::string_view kSpaceMark = "\u2581";
constexpr std::string_view kReplacement = "\uFFFD";
constexpr char kEscape = '\x1a';
constexpr char kEscapedSpaceMark = 's';

struct Utf8Step {
  enum { valid, invalid, cut_short } kind;
  std::size_t size;  // bytes of the character, or of the longest beginning of one (at least 1)
};

/// Reads one character from the front of `bytes`, which is not empty; the "maximal subpart" practice of the Unicode
/// Standard (section 3.9) for what is not one.
Utf8Step utf8_step(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {Utf8Step::valid, 1};
  const std::size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                             : (lead & 0xF0) == 0xE0        ? 3
                             : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                            : 0;
  if (length == 0) return {Utf8Step::invalid, 1};
  // The second byte's range excludes overlong forms, surrogates, and code points beyond U+10FFFF.
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (std::size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {Utf8Step::cut_short, i};
    if (byte(i) < (i == 1 ? low : 0x80) || byte(i) > (i == 1 ? high : 0xBF)) return {Utf8Step::invalid, i};
  }
  return {Utf8Step::valid, length};
}

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

void write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::error_code ignored;  // a failure shows when the file is opened
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), ignored);
  std::filesystem::path unfinished = path;
  unfinished += ".part";
  std::ofstream file(unfinished, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  std::error_code failure;
  if (file) std::filesystem::rename(unfinished, path, failure);
  if (!file || failure) throw Error("tokenizer", path.string(), ": expected a file that can be written, got none");
}

}  // namespace

// ---- Configs ----

void TokenizerConfig::validate() const {
  if (vocab_size < 1) throw Error("tokenizer", "expected vocab_size of 1 or more, got ", vocab_size);
  for (const std::string& symbol : symbols)
    if (symbol.empty() || symbol.find_first_of(",\"\n \t\r") != std::string::npos || escape(symbol) != symbol)
      throw Error("tokenizer", "expected symbols that are words without commas, quotes and white space, got \"", symbol,
                  '"');
}

void ChatTemplate::validate() const {
  if (text.find("{prompt}") == std::string::npos)
    throw Error("tokenizer", "expected a chat template with {prompt}, got \"", text, "\"; say where the prompt goes");
}

std::string ChatTemplate::render(const Task& task) const {
  validate();
  return fill(text, {{"{prompt}", task.prompt}, {"{language}", task.language}});
}

bool ChatTemplate::opens_think() const {
  const std::size_t last = text.find_last_not_of(" \t\r\n");
  return last != std::string::npos && std::string_view(text).substr(0, last + 1).ends_with("<think>");
}

// ---- Tokenizer ----

struct Tokenizer::Model {
  sentencepiece::SentencePieceProcessor processor;
  std::string serialized;
  std::vector<std::string> pieces, surfaces;  // [vocab_size]
};

void Tokenizer::train(const std::vector<std::string>& documents, const TokenizerConfig& config,
                      const std::filesystem::path& model_file) {
  config.validate();
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
  if (!status.ok())
    throw Error("tokenizer", "expected a vocabulary of ", config.vocab_size,
                " pieces, got from sentencepiece: ", status.ToString(), "; change vocab_size or give more text");
  write_file(model_file, bytes);
}

Tokenizer Tokenizer::load(const std::filesystem::path& model_file) {
  std::ifstream file(model_file, std::ios::binary);
  if (!file || std::filesystem::is_directory(model_file))
    throw Error("tokenizer", model_file.string(),
                ": expected a sentencepiece model, got no such file; train one first");
  return from_serialized(std::string(std::istreambuf_iterator<char>(file), {}), model_file.string());
}

Tokenizer Tokenizer::from_serialized(std::string_view bytes, const std::string& where) {
  auto model = std::make_shared<Model>();
  model->serialized = bytes;
  sentencepiece::SentencePieceProcessor& processor = model->processor;
  const auto status = bytes.empty()
                          ? sentencepiece::util::Status(sentencepiece::util::StatusCode::kInternal, "no bytes")
                          : processor.LoadFromSerializedProto(model->serialized);
  if (!status.ok())
    throw Error("tokenizer", where, ": expected a sentencepiece model, got a corrupt one (", status.ToString(), ")");
  if (processor.eos_id() < 0)
    throw Error("tokenizer", where, ": expected a model with an end-of-sequence token, got none");
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const std::string& piece = model->pieces.emplace_back(processor.IdToPiece(id));
    std::string surface = piece;
    if (processor.IsControl(id)) {
      surface.clear();
    } else if (processor.IsUnknown(id)) {
      surface = kReplacement;
    } else if (processor.IsByte(id)) {  // "<0x0A>"
      surface = static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16));
    } else {
      for (std::size_t at = 0; (at = surface.find(kSpaceMark, at)) != std::string::npos;)
        surface.replace(at, kSpaceMark.size(), " ");
    }
    model->surfaces.push_back(std::move(surface));
  }

  const Tokenizer tokenizer(std::move(model));
  constexpr std::string_view kProbe = " Two  spaces,\ttab\r\n\n\u2581 \uAC00\u0301 \U0001F600 ①ﬁ ";
  if (tokenizer.decode(tokenizer.encode(kProbe)) != kProbe)
    throw Error("tokenizer", where,
                ": expected a model that keeps any text exactly, got one that changes it; train it ",
                "with identity normalisation, byte fallback, no dummy prefix and no removal of spaces");
  return tokenizer;
}

const std::string& Tokenizer::serialized() const { return model_->serialized; }

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int> ids;
  const auto status = model_->processor.Encode(escape(text), &ids);
  if (!status.ok()) throw Error("tokenizer", "expected text that can be encoded, got: ", status.ToString());
  return std::vector<std::int32_t>(ids.begin(), ids.end());
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  TextStream stream(*this);
  for (const std::int32_t id : ids) stream.push(id);
  return stream.text();
}

std::int32_t Tokenizer::vocab_size() const { return static_cast<std::int32_t>(model_->pieces.size()); }
std::int32_t Tokenizer::eos() const { return model_->processor.eos_id(); }
std::int32_t Tokenizer::bos() const { return model_->processor.bos_id(); }
std::int32_t Tokenizer::pad() const { return model_->processor.pad_id() < 0 ? eos() : model_->processor.pad_id(); }

const std::string& Tokenizer::piece(std::int32_t id) const {
  (void)surface(id);  // checks id
  return model_->pieces[static_cast<std::size_t>(id)];
}

const std::string& Tokenizer::surface(std::int32_t id) const {
  if (id < 0 || id >= vocab_size())
    throw Error("tokenizer", "expected a token id from 0 to ", vocab_size() - 1, ", got ", id);
  return model_->surfaces[static_cast<std::size_t>(id)];
}

void TextStream::push(std::int32_t id) {
  pending_ += tokenizer_.surface(id);
  text_.resize(settled_);
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Step step = utf8_step(rest);
    if (step.kind == Utf8Step::cut_short) break;
    std::size_t consumed = step.size;
    if (step.kind == Utf8Step::invalid) {
      text_ += kReplacement;
    } else if (rest.front() != kEscape) {
      text_ += rest.substr(0, step.size);
    } else if (rest.size() == 1) {
      break;
    } else if (rest[1] == kEscapedSpaceMark) {
      text_ += kSpaceMark, consumed = 2;
    } else {
      text_ += kEscape, consumed = rest[1] == kEscape ? 2 : 1;  // one that escapes nothing stands for itself
    }
    rest.remove_prefix(consumed);
  }
  settled_ = text_.size();
  pending_ = std::string(rest);
  if (!pending_.empty()) text_ += pending_.front() == kEscape ? std::string_view(&kEscape, 1) : kReplacement;
}

}  // namespace grpo
