// Damages the files of a model folder; see fuzz.h.
#include <algorithm>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/files/safetensors_header.h"
#include "files.h"
#include "fuzz.h"
#include "grpo/messages.h"
#include "grpo/tokenizer.h"
#include "tokenizer/split_pattern.h"
#ifdef GRPO_FUZZ_TORCH
#include "grpo/pretrained.h"
#endif

namespace grpo {
namespace {

void use(const Tokenizer& tokenizer) {
  std::string text = "It's 한국어 <think> 12 + 34\n\n  \t e\u0301 \u2581 </s><|im_end|> \xff\xe2\x96";
  text += std::string(3000, 'a') + std::string(300, '\n');
  (void)tokenizer.decode(tokenizer.encode(text));
  TextStream stream(tokenizer);
  for (std::int32_t id = 0; id < std::min(tokenizer.vocab_size(), 1000); ++id)
    stream.push(id), (void)tokenizer.piece(id);
}

const fs::path kFixtures = GRPO_FIXTURES;

// The file of this name in each folder of the fixtures.
std::vector<std::string> all(const char* from, const char* file) {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(kFixtures / from))
    if (fs::exists(entry.path() / file)) found.push_back(read_file(entry.path() / file));
  std::sort(found.begin(), found.end());  // a folder has no order
  return found;
}

std::vector<Room> rooms_of_texts(const fs::path& folder) {
  const auto tokenizers = all("tokenizers", "tokenizer.json");
  const Json chats = Json::parse(read_file(kFixtures / "chat_templates/families.json"));
  std::vector<std::string> templates, configs, patterns = kStrings;
  for (const auto& [name, family] : chats["families"].items()) templates.push_back(family["template"]);
  const Json language = Json::parse(read_file(kFixtures / "chat_templates/language.json"));
  for (const auto& [name, group] : language["groups"].items())
    for (const Json& each : group) templates.push_back(each["template"]);
  for (std::size_t i = 0; i < templates.size(); ++i)
    configs.push_back(
        Json{{"eos_token", "<|im_end|>"},
             {"bos_token", {{"content", "<|endoftext|>"}}},
             {"pad_token_id", 480},
             {"eos_token_id", {481, 480}},
             {"chat_template", i % 2 ? Json(templates[i]) : Json{{{"name", "default"}, {"template", templates[i]}}}}}
            .dump());
  for (const std::string& tokenizer : tokenizers)
    for (const Token& token : tokens_of(tokenizer))
      if (tokenizer.substr(token.begin > 10 ? token.begin - 10 : 0, 8) == "\"Regex\":")
        patterns.push_back(Json::parse('"' + tokenizer.substr(token.begin, token.end - token.begin) + '"'));
  TokenizerConfig training;
  training.vocab_size = 300;
  Tokenizer::train({"some text to learn from 12 + 34", "and some more"}, training, folder / "trained.model");

  const Json conversation = {{{"role", "user"}, {"content", "hello"}}, {{"role", "assistant"}, {"content", "yes"}}};
  return {
      {"safetensors_header", Form::safetensors, all("models", "model.safetensors"),
       [](const std::string& bytes) { read_safetensors_header(bytes, "FILE"); }},
      {"tokenizer.json", Form::json, tokenizers,
       [](const std::string& bytes) { use(Tokenizer::from_serialized(bytes, "FILE")); }},
      {"sentencepiece",
       Form::bytes,
       {read_file(folder / "trained.model")},
       [](const std::string& bytes) { use(Tokenizer::from_serialized(bytes, "FILE")); }},
      {"tokenizer_config.json", Form::json, configs,
       [=](const std::string& bytes) {
         write(folder / "tokenizer.json", read_file(kFixtures / "tokenizers/qwen/tokenizer.json"));
         write(folder / "tokenizer_config.json", bytes);
         try {
           use(Tokenizer::load(folder));
         } catch (const Error&) {
         }
         MessageTemplate::load(folder).render(conversation, true);
       }},
      {"chat_template", Form::bytes, templates,
       [=](const std::string& bytes) {
         MessageTemplate(bytes, {{"bos_token", "<s>"}, {"eos_token", "</s>"}}, "FILE")
             .render(conversation, true, language["variables"]);
       }},
      {"pattern", Form::bytes, patterns,
       [](const std::string& bytes) {
         std::vector<SplitPattern::Span> spans;
         SplitPattern::regex(bytes, "FILE").find("It's 12 " + std::string(2000, 'a') + "b 한국어", spans);
       }},
  };
}

#ifdef GRPO_FUZZ_TORCH
std::vector<Room> rooms_of_models(const fs::path& folder) {
  const auto load = [=](const std::string& model, const char* file, const std::string& bytes) {
    for (const char* name : {"config.json", "model.safetensors"})
      write(folder / name, read_file(kFixtures / "models" / model / name));
    fs::remove(folder / "model.safetensors.index.json");
    write(folder / file, bytes);
    PolicyConfig config = pretrained_config(folder);
    config.max_positions = std::min(config.max_positions, 4096);
    load_pretrained(folder, config);
    pretrained_warning(folder);
  };
  const auto reader = [=](const char* model, const char* file) {
    return [=](const std::string& bytes) { load(model, file, bytes); };
  };
  Json index;
  const std::string qwen3 = read_file(kFixtures / "models/qwen3/model.safetensors");
  for (const auto& entry : read_safetensors_header(qwen3, "F").entries)
    index["weight_map"][entry.name] = "model.safetensors";
  std::vector<Room> rooms{
      {"config.json", Form::json, all("models", "config.json"), reader("qwen3", "config.json")}};
  for (const char* model : {"llama_head", "qwen3_moe_dense_layers"})  // with the weights that belong to it
    rooms.push_back(
        {model, Form::json, {read_file(kFixtures / "models" / model / "config.json")}, reader(model, "config.json")});
  rooms.push_back(
      {"weights", Form::safetensors, all("models", "model.safetensors"), reader("qwen3", "model.safetensors")});
  rooms.push_back({"tied weights",
                   Form::safetensors,
                   {read_file(kFixtures / "models/llama_head/model.safetensors")},
                   reader("llama_head", "model.safetensors")});
  rooms.push_back({"index", Form::json, {index.dump()}, reader("qwen3", "model.safetensors.index.json")});
  return rooms;
}
#endif

std::vector<Room> rooms(const fs::path& folder) {
  std::vector<Room> result = rooms_of_texts(folder);
#ifdef GRPO_FUZZ_TORCH
  std::ranges::move(rooms_of_models(folder), std::back_inserter(result));
#endif
  return result;
}

}  // namespace
}  // namespace grpo

int main(int argc, char** argv) { return grpo::fuzz(argc, argv, grpo::rooms); }
