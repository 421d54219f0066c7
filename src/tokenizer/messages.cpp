#include "grpo/messages.h"

#include <array>
#include <optional>
#include <utility>

#include "base/files/model_file.h"
#include "grpo/error.h"
#include "tokenizer/jinja/jinja.h"

namespace grpo {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr std::string_view kRoom = "chat template";

// Of a file that is not there, nothing.
OrderedJson object_in(const std::filesystem::path& file) {
  return read_model_object(kRoom, file).value_or(nlohmann::json::object());
}

// The tokens of a file that are not known yet; each is a text or an object that has it as its content.
void add_tokens(const OrderedJson& file, OrderedJson& tokens) {
  for (const auto& [name, value] : file.items()) {
    if (!name.ends_with("_token") || tokens.contains(name)) continue;
    if (value.is_string())
      tokens[name] = value;
    else if (value.is_object() && value.contains("content") && value["content"].is_string())
      tokens[name] = value["content"];
  }
}

}  // namespace

struct MessageTemplate::State {
  Jinja plain;
  std::optional<Jinja> with_tools;
  OrderedJson variables;
  std::string where;
};

MessageTemplate::MessageTemplate(std::shared_ptr<const State> state) : state_(std::move(state)) {}

MessageTemplate::MessageTemplate(std::string_view source, OrderedJson variables, std::string where) {
  if (!variables.is_object())
    throw Error(kRoom, where, ": expected an object of variables, got ", variables.type_name());
  state_ = std::make_shared<State>(State{Jinja(source, where), std::nullopt, std::move(variables), where});
}

MessageTemplate MessageTemplate::load(const std::filesystem::path& model_folder) {
  const std::filesystem::path file = model_folder / "chat_template.jinja";
  const std::filesystem::path config_file = model_folder / "tokenizer_config.json";
  const OrderedJson config = object_in(config_file);
  OrderedJson tokens = OrderedJson::object();
  add_tokens(config, tokens);
  add_tokens(object_in(model_folder / "special_tokens_map.json"), tokens);

  if (const auto source = read_model_file(kRoom, file))
    return MessageTemplate(*source, std::move(tokens), file.string());

  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null())
    throw Error(kRoom, model_folder.string(),
                ": expected chat_template.jinja, or \"chat_template\" in tokenizer_config.json, got neither; a base "
                "model has none: take the chat model, or write one");
  const std::string where = config_file.string() + ": chat_template";
  if (found->is_string()) return MessageTemplate(found->get<std::string>(), std::move(tokens), where);
  if (!found->is_array())
    throw Error(kRoom, where, ": expected a text or a list of {\"name\", \"template\"}, got ", found->type_name());
  std::optional<std::string> plain, with_tools;
  for (const OrderedJson& each : *found) {
    const auto text_of = [&](const char* key) {
      if (!each.is_object() || !each.contains(key) || !each[key].is_string())
        throw Error(kRoom, where, ": expected a list of {\"name\", \"template\"}, got an item without \"", key, "\"");
      return each[key].get<std::string>();
    };
    const std::string name = text_of("name");
    if (name == "default") plain = text_of("template");
    if (name == "tool_use") with_tools = text_of("template");
  }
  if (!plain) throw Error(kRoom, where, ": expected a template named \"default\", got none");
  auto state = std::make_shared<State>(State{Jinja(*plain, where), std::nullopt, std::move(tokens), where});
  if (with_tools) state->with_tools.emplace(*with_tools, where);
  return MessageTemplate(std::shared_ptr<const State>(std::move(state)));
}

std::string MessageTemplate::render(const std::vector<Message>& messages, bool add_generation_prompt,
                                    const OrderedJson& variables) const {
  OrderedJson list = OrderedJson::array();
  for (const Message& message : messages) {
    OrderedJson object = OrderedJson::object();
    object["role"] = message.role;
    object["content"] = message.content;
    list.push_back(std::move(object));
  }
  return render(list, add_generation_prompt, variables);
}

std::string MessageTemplate::render(const OrderedJson& messages, bool add_generation_prompt,
                                    const OrderedJson& variables) const {
  if (!messages.is_array())
    throw Error(kRoom, state_->where, ": expected a list of messages, got ", messages.type_name());
  if (!variables.is_object())
    throw Error(kRoom, state_->where, ": expected an object of variables, got ", variables.type_name());
  OrderedJson all = state_->variables;
  // As transformers has it, these two are there without a value, too.
  all["tools"] = nullptr;
  all["documents"] = nullptr;
  for (const auto& [name, value] : variables.items()) all[name] = value;
  for (const OrderedJson& message : messages)
    if (!message.is_object())
      throw Error(kRoom, state_->where, ": expected messages that are objects, got ", message.type_name());
  all["messages"] = messages;
  all["add_generation_prompt"] = add_generation_prompt;
  const bool tools = state_->with_tools && !all["tools"].is_null();
  return (tools ? *state_->with_tools : state_->plain).render(all);
}

const OrderedJson& MessageTemplate::variables() const { return state_->variables; }

}  // namespace grpo
