// Text to token ids and back, exactly: a sentencepiece model without normalisation; and the chat template.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpo/config.h"
#include "grpo/task.h"

namespace grpo {

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
    v("vocab_size", vocab_size, "most pieces to learn; 256 bytes, 4 special tokens and the symbols are among them");
    v("symbols", symbols, "strings that are always one token");
  }
  void validate() const;
};

/// The text around a task's prompt; its end is where the policy begins to write.
struct ChatTemplate {
  std::string text = "User: {prompt}\nAssistant: ";

  template <class V>
  void visit(V& v) {
    v("text", text, "what the policy reads; {prompt} and {language} are filled in from the task");
  }
  /// Throws Error when `text` has no {prompt}.
  void validate() const;
  /// `text` with every {prompt} and {language} replaced; what is filled in is not searched again.
  std::string render(const Task& task) const;
  /// True when `text` ends with <think> (white space may follow), so that completions begin inside the reasoning.
  bool opens_think() const;
};

/// An immutable vocabulary; copies share it, and all const members may be used from several threads. Every valid UTF-8
/// text survives decode(encode(text)) byte for byte: characters without a piece fall back to bytes, and U+2581, which
/// sentencepiece uses for the space, is escaped on the way in.
class Tokenizer {
 public:
  /// Learns a vocabulary from `documents` and writes it to `model_file`, whose folders are made. The same documents
  /// give the same file. Digits are never merged, nor are line feeds. The result has fewer than config.vocab_size
  /// pieces when the documents offer no more. Throws Error when they hold no text, or when vocab_size has no room for
  /// what is required.
  static void train(const std::vector<std::string>& documents, const TokenizerConfig& config,
                    const std::filesystem::path& model_file);

  /// Throws Error naming the file when it is missing or corrupt, or when it cannot keep any text exactly.
  static Tokenizer load(const std::filesystem::path& model_file);

  /// The inverse of serialized(); `where` names the source in errors.
  static Tokenizer from_serialized(std::string_view bytes, const std::string& where);
  const std::string& serialized() const;

  /// Never adds special tokens, and never yields one from text that merely looks like one. A symbol (such as <think>)
  /// in the text becomes its token. Invalid UTF-8 counts as U+FFFD.
  std::vector<std::int32_t> encode(std::string_view text) const;

  /// Always valid UTF-8: bytes that form no character give U+FFFD. Special tokens (bos, eos, pad) give nothing, unk
  /// gives U+FFFD. Throws Error for an id outside [0, vocab_size).
  std::string decode(std::span<const std::int32_t> ids) const;

  std::int32_t vocab_size() const;
  std::int32_t eos() const;
  std::int32_t bos() const;  ///< -1 when the vocabulary has none
  std::int32_t pad() const;  ///< eos() when the vocabulary has none

  /// The piece as the vocabulary spells it: "▁the", "<0x0A>", "</s>". Throws Error for an id outside [0, vocab_size).
  const std::string& piece(std::int32_t id) const;

 private:
  friend class TextStream;
  struct Model;
  explicit Tokenizer(std::shared_ptr<const Model> model) : model_(std::move(model)) {}
  const std::string& surface(std::int32_t id) const;  // the raw bytes that a token stands for

  std::shared_ptr<const Model> model_;
};

/// Decodes tokens as they come, in time proportional to the new token. text() equals decode() of all ids pushed so far;
/// so while the bytes of one character are still coming in, it ends with U+FFFD (or, within an escape, U+001A), which
/// the whole character replaces later. Everything before that never changes.
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
  std::string pending_;      // raw bytes behind them: the beginning of a character or of an escape
};

}  // namespace grpo
