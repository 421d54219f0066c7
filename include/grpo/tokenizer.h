// Text to token ids and back, exactly: a sentencepiece model without normalisation, or a tokenizer.json; and the chat
// template.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpo/config.h"
#include "grpo/task.h"

namespace grpo {

class MessageTemplate;

enum class TokenizerAlgorithm { bpe, unigram };

template <>
struct EnumNames<TokenizerAlgorithm> {
  static constexpr std::array<std::pair<TokenizerAlgorithm, std::string_view>, 2> values{
      {{TokenizerAlgorithm::bpe, "bpe"}, {TokenizerAlgorithm::unigram, "unigram"}}};
};

/// How a new vocabulary is learned.
struct TokenizerConfig {
  TokenizerAlgorithm algorithm = TokenizerAlgorithm::bpe;
  int vocab_size = 512;
  std::vector<std::string> symbols = {"<think>", "</think>", "<answer>", "</answer>"};

  template <class V>
  void visit(V& v) {
    v("algorithm", algorithm, "how pieces are learned");
    v("vocab_size", vocab_size, "most pieces to learn; 256 bytes, 4 special tokens and the symbols are among them",
      at_least(1).at_most(1 << 24));
    v("symbols", symbols, "strings that are always one token");
  }
  void validate() const;
};

/// How a policy is asked: the text around a task's prompt, whose end is where the policy begins to write.
struct ChatTemplate {
  std::string text = "User: {prompt}\nAssistant: ";
  std::shared_ptr<const MessageTemplate> messages = nullptr;  ///< read where `text` is empty
  std::string system = {};
  bool open_think = false;

  template <class V>
  void visit(V& v) {
    v("text", text,
      "what the policy reads; {prompt}, {language} and {system} are filled in; empty: the chat template of the model "
      "folder that the policy came from, with the prompt as the user's turn");
    v("system", system, "the system prompt of every conversation that has none of its own; empty: none");
    v("open_think", open_think, "end what the policy reads with <think>: completions begin inside the reasoning");
  }
  /// Throws Error when `text` is there, but has no {prompt}, or no {system} where there is a system prompt.
  void validate() const;
  /// `text` with every {prompt}, {language} and {system} replaced (what is filled in is not searched again), or what
  /// the model's own template makes of the task's messages. Throws Error when both `text` and `messages` are missing,
  /// where the template fails, and for a conversation of more than the user's one turn where there is a text.
  std::string render(const Task& task) const;
  /// The same for a conversation: a list of {"role", "content"}, with whatever else the model's template reads.
  std::string render(const nlohmann::ordered_json& conversation) const;
  /// True when what is read ends with <think> (white space may follow), so that completions begin inside the reasoning.
  bool opens_think() const;
};

/// Ask for the form `<think>…</think><answer>…</answer>`: a system prompt for chat models, and a `text` for models
/// without a chat template.
extern const std::string_view kFormSystem, kFormText;

namespace internal {

struct TokenModel;

/// How far a text has been decoded: what each stage of a decoder holds back or remembers.
struct DecodeState {
  struct Stage {
    std::string held;
    std::size_t seen = 0;
    bool broken = false;
  };
  std::vector<Stage> stages;
};

}  // namespace internal

/// An immutable vocabulary of one of two kinds; copies share it, and all const members may be used from several
/// threads.
///
/// One that train() made is a sentencepiece model: every valid UTF-8 text survives decode(encode(text)) byte for byte,
/// as characters without a piece fall back to bytes, and U+2581, which sentencepiece uses for the space, is escaped on
/// the way in.
///
/// One that came with a pretrained model is a tokenizer.json (byte-pair encoding): its ids are those of the
/// `tokenizers` package. Whether a text survives is the file's doing (most keep any, some normalise it); added tokens
/// do, though that package takes the letters of one such as "Straße" for bytes when it decodes.
class Tokenizer {
 public:
  /// Learns a vocabulary from `documents` and writes it to `model_file`, whose folders are made. The same documents
  /// give the same file. Digits are never merged, nor are line feeds. The result has fewer than config.vocab_size
  /// pieces when the documents offer no more. Throws Error when they hold no text, or when vocab_size has no room for
  /// what is required.
  static void train(const std::vector<std::string>& documents, const TokenizerConfig& config,
                    const std::filesystem::path& model_file);

  /// Reads a sentencepiece model, a tokenizer.json, or a model's folder with a tokenizer.json or else a
  /// tokenizer.model. The files beside a tokenizer.json say which tokens are special: tokenizer_config.json,
  /// special_tokens_map.json, generation_config.json, the first that names one. Throws Error naming the file when it is
  /// missing or corrupt; for a sentencepiece model also when it cannot keep any text exactly, and for a tokenizer.json
  /// when it has a component or an option that is not known here.
  static Tokenizer load(const std::filesystem::path& path);

  /// The inverse of serialized(), which is what the file holds (and, behind a tokenizer.json, a line with the special
  /// tokens that the files beside it name); `where` names the source in errors.
  static Tokenizer from_serialized(std::string_view bytes, const std::string& where);
  const std::string& serialized() const;

  /// Never adds special tokens. A symbol (such as <think>) in the text becomes its token. A sentencepiece model never
  /// yields a special token from text that merely looks like one; a tokenizer.json does, as chat templates expect: so
  /// text that is not trusted must not be put into a prompt as it is. Invalid UTF-8 counts as U+FFFD.
  std::vector<std::int32_t> encode(std::string_view text) const;

  /// The fewest tokens that a text of so many bytes can have: a megabyte that a policy has no room for need not be
  /// encoded to be refused. 0 where nothing is certain, as with a tokenizer.json that shortens texts.
  std::size_t fewest_tokens(std::size_t bytes) const;

  /// Always valid UTF-8: bytes that form no character give U+FFFD. In a sentencepiece model special tokens (bos, eos,
  /// pad) give nothing, and unk gives U+FFFD; in a tokenizer.json every token gives its text. Throws Error for an id
  /// outside [0, vocab_size).
  std::string decode(std::span<const std::int32_t> ids) const;

  std::int32_t vocab_size() const;   ///< the greatest id + 1
  std::int32_t eos() const;          ///< throws Error when no file names one
  bool ends(std::int32_t id) const;  ///< whether it ends a completion: eos(), or one more of generation_config.json's
  std::int32_t bos() const;          ///< -1 when the vocabulary has none
  std::int32_t pad() const;          ///< eos() when the vocabulary has none

  /// The piece as the vocabulary spells it: "▁the", "Ġthe", "<0x0A>", "</s>"; "" for an id that a tokenizer.json leaves
  /// out. Throws Error for an id outside [0, vocab_size).
  const std::string& piece(std::int32_t id) const;

 private:
  friend class TextStream;
  explicit Tokenizer(std::shared_ptr<const internal::TokenModel> model) : model_(std::move(model)) {}
  void check(std::int32_t id) const;  // throws when it is out of range

  std::shared_ptr<const internal::TokenModel> model_;
};

/// Decodes tokens as they come, in time proportional to the new token. text() equals decode() of all ids pushed so far;
/// so while the bytes of one character are still coming in, it ends with U+FFFD (or, within an escape, U+001A), which
/// the whole character replaces later. Everything before that never changes. Two decoders of a tokenizer.json hold more
/// back, as one later token changes what they make of a stretch: ByteFallback a run of byte tokens (whose time is then
/// proportional to the run), Strip the characters that it may cut off the end.
class TextStream {
 public:
  explicit TextStream(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  /// Throws Error for an id outside [0, vocab_size).
  void push(std::int32_t id);
  const std::string& text() const { return text_; }

 private:
  Tokenizer tokenizer_;
  std::string text_;
  std::size_t settled_ = 0;  // bytes of text_ that are final
  internal::DecodeState state_;
};

}  // namespace grpo
