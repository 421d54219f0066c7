// A conversation as the text that a pretrained chat model was taught to read: the model's own template, rendered as
// Jinja2 renders it where transformers has set it up.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "grpo/task.h"

namespace grpo {

/// A chat template in Jinja, as Hugging Face models carry one. Immutable; copies share it, and it may be used from
/// several threads. Templates are programs from elsewhere: they can do nothing but make text, in bounded time.
class MessageTemplate {
 public:
  /// Reads the template of a model's folder: chat_template.jinja, or else "chat_template" in tokenizer_config.json (a
  /// text, or a list of named ones, of which "default" is taken, and "tool_use" when there are tools). bos_token,
  /// eos_token and the other special tokens come from tokenizer_config.json and special_tokens_map.json. Throws Error
  /// that names the file when there is no template, or one with something in it that this library does not know.
  static MessageTemplate load(const std::filesystem::path& model_folder);

  /// From the template's own text. `variables` is an object of what it may read, such as {"bos_token": "<s>"}; `where`
  /// names it in errors.
  explicit MessageTemplate(std::string_view source, nlohmann::ordered_json variables = nlohmann::ordered_json::object(),
                           std::string where = "chat template");

  /// The whole prompt. With `add_generation_prompt` it ends where the assistant's next turn begins. `variables` is an
  /// object of more that the template may read, such as {"tools": [...], "enable_thinking": false}; it comes before the
  /// special tokens. Throws Error when the template refuses the messages or fails.
  std::string render(const std::vector<Message>& messages, bool add_generation_prompt = true,
                     const nlohmann::ordered_json& variables = nlohmann::ordered_json::object()) const;

  /// The same for messages with more than two texts: tool calls, lists of content, reasoning. `messages` is a list of
  /// objects, which the template sees as they are: their keys are those that it reads.
  std::string render(const nlohmann::ordered_json& messages, bool add_generation_prompt = true,
                     const nlohmann::ordered_json& variables = nlohmann::ordered_json::object()) const;

  /// What the template reads in every rendering: the special tokens by name.
  const nlohmann::ordered_json& variables() const;

 private:
  struct State;
  explicit MessageTemplate(std::shared_ptr<const State> state);

  std::shared_ptr<const State> state_;
};

}  // namespace grpo
