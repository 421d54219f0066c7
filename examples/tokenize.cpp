// Turns texts or conversations into token ids with a model's tokenizer, or ids back into text, line by line.
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "grpo/config.h"
#include "grpo/messages.h"
#include "grpo/tokenizer.h"

namespace {

struct TokenizeConfig {
  std::string model, in, out;
  bool decode = false, messages = false;

  template <class V>
  void visit(V& v) {
    v("model", model, "a sentencepiece model, a tokenizer.json, or a folder with one");
    v("in", in, "JSONL: {\"text\": …} on each line, {\"ids\": […]} to decode, or {\"messages\": […]}");
    v("out", out, "JSONL to write: {\"ids\": […]}, or {\"text\": …}; for messages both");
    v("decode", decode, "ids to text, special tokens included");
    v("messages", messages,
      "conversations by the model's chat template; a line may also have \"add_generation_prompt\" (true), \"tools\", "
      "and \"variables\", an object of what else the template reads");
  }
  void validate() const {
    if (model.empty() || in.empty() || out.empty())
      throw grpo::Error("config", "expected --model, --in FILE.jsonl and --out FILE.jsonl (see --help)");
    if (decode && messages) throw grpo::Error("config", "expected --decode or --messages, got both");
    // A sentencepiece model never yields a special token from text, and a chat template is made of them.
    if (messages && !std::filesystem::exists(std::filesystem::path(model) / "tokenizer.json"))
      throw grpo::Error("config", "expected --model to be a folder with a tokenizer.json for --messages, got ", model);
  }
};

using Json = nlohmann::ordered_json;

std::string rendered(const grpo::MessageTemplate& chat, const Json& line) {
  Json variables = line.value("variables", Json::object());
  if (line.contains("tools")) variables["tools"] = line["tools"];
  return chat.render(line.at("messages"), line.value("add_generation_prompt", true), variables);
}

}  // namespace

int main(int argc, char** argv) try {
  const auto config = grpo::load_config<TokenizeConfig>(argc, argv);
  const auto tokenizer = grpo::Tokenizer::load(config.model);
  std::optional<grpo::MessageTemplate> chat;
  if (config.messages) chat = grpo::MessageTemplate::load(config.model);
  std::ifstream in(config.in, std::ios::binary);
  if (!in) throw grpo::Error("tokenize", config.in, ": expected a JSONL file, got no such file");
  std::ofstream out(config.out, std::ios::binary);

  using Clock = std::chrono::steady_clock;
  Clock::duration spent{};  // in the tokenizer alone
  std::size_t bytes = 0, number = 0;
  for (std::string line; std::getline(in, line);) {
    const std::string where = config.in + ':' + std::to_string(++number);
    grpo::parse_json(line, where);  // for its errors; below the keys keep their order, in which tojson writes them
    const Json json = Json::parse(line, nullptr, true, true);
    const char* key = config.decode ? "ids" : chat ? "messages" : "text";
    if (!json.is_object() || !json.contains(key))
      throw grpo::Error("tokenize", where, ": expected an object with \"", key, "\", got ", line.substr(0, 80));
    Json result;
    try {
      if (config.decode) {
        const auto ids = json.at(key).get<std::vector<std::int32_t>>();
        const auto begin = Clock::now();
        result["text"] = tokenizer.decode(ids);
        spent += Clock::now() - begin;
      } else {
        const std::string text = chat ? rendered(*chat, json) : json.at(key).get<std::string>();
        if (chat) result["text"] = text;
        const auto begin = Clock::now();
        result["ids"] = tokenizer.encode(text);
        spent += Clock::now() - begin;
        bytes += text.size();
      }
    } catch (const nlohmann::json::exception&) {
      throw grpo::Error("tokenize", where, ": expected ",
                        config.decode ? "\"ids\" to be a list of token ids"
                        : chat        ? "\"add_generation_prompt\" to be true or false and \"variables\" an object"
                                      : "\"text\" to be a string",
                        ", got ", line.substr(0, 80));
    } catch (const grpo::Error& error) {
      throw grpo::Error("tokenize", where, ": ", error.what());
    }
    out << result.dump() << '\n';
  }
  if (!out.flush()) throw grpo::Error("tokenize", config.out, ": expected a file that can be written, got none");
  const double seconds = std::chrono::duration<double>(spent).count();
  std::cerr << number << (config.decode ? " lists of ids" : chat ? " conversations" : " texts");
  if (!config.decode && seconds > 0) std::cerr << ", " << static_cast<double>(bytes) / seconds / 1e6 << " MB/s";
  std::cerr << '\n';
  return 0;
} catch (const std::exception& error) {
  return grpo::report(error);
}
