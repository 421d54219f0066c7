// What the tests of the tools share that work on a model folder.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "child.h"
#include "files.h"
#include "grpo/pretrained.h"

namespace grpo {

inline constexpr const char* kChat =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

inline void write(const std::filesystem::path& file, const std::string& text) { std::ofstream(file) << text; }

inline void write_lines(const std::filesystem::path& file, const std::vector<nlohmann::ordered_json>& lines) {
  std::ofstream out(file);
  for (const nlohmann::ordered_json& line : lines) out << line.dump() << '\n';
}

/// A folder with a small random model: SmolLM2's tokenizer in small, 483 tokens, and more rows than that, as models
/// have that pad their embeddings.
class Models : public testing::Test {
 protected:
  using Json = nlohmann::ordered_json;
  static constexpr int kRows = 496;
  Models() : model_(folder_ / "model") {
    const std::filesystem::path fixtures = std::filesystem::path(GRPO_FIXTURES), like = folder_ / "like";
    std::filesystem::create_directory(like);
    Json config = Json::parse(read_file(fixtures / "models/smollm2/config.json"));
    config["vocab_size"] = kRows;
    write(like / "config.json", config.dump());
    std::filesystem::copy_file(fixtures / "tokenizers/smollm/tokenizer.json", like / "tokenizer.json");
    write(like / "tokenizer_config.json", R"({"eos_token": "<|im_end|>", "bos_token": "<|im_start|>"})");
    write(like / "chat_template.jinja", kChat);
    write(like / "generation_config.json", R"({"eos_token_id": [482, 480]})");
    save_pretrained(Policy(pretrained_config(like), 5), model_, like);
  }

  /// What r1_zero is called with for four steps on the model, with these settings besides.
  std::vector<std::string> four_steps(const std::string& name, const std::vector<std::string>& settings) const {
    std::vector<std::string> words{GRPO_R1_ZERO};
    for (const std::string& set :
         {"policy.from=" + model_.string(), std::string("steps=4"), std::string("prompts_per_step=2"),
          std::string("save_every=1"), std::string("rollout.samples=4"), std::string("rollout.max_new_tokens=24"),
          std::string("rewards.weights={\"format\": 0, \"overlong\": 1}"),
          std::string("rewards.overlong_max_length=24"), std::string("rewards.overlong_buffer=20"),
          std::string("chat.text=User: {prompt}\nAssistant: "), "out=" + (folder_ / name).string()})
      words.insert(words.end(), {"--set", set});
    for (const std::string& set : settings) words.insert(words.end(), {"--set", set});
    return words;
  }

  int tool(const std::string& program, std::vector<std::string> words) {
    words.insert(words.begin(), program);
    std::filesystem::remove(folder_ / "out");
    child_.start(words, folder_ / "out", 1);
    return child_.wait();
  }
  int generate(std::vector<std::string> words) {
    words.insert(words.end(), {"--model", model_, "--in", folder_ / "in.jsonl", "--out", folder_ / "out.jsonl",
                               "--max-new-tokens", "40"});
    return tool(GRPO_GENERATE, words);
  }
  std::vector<Json> generated(const std::vector<Json>& lines, std::vector<std::string> words) {
    write_lines(folder_ / "in.jsonl", lines);
    EXPECT_EQ(generate(std::move(words)), 0) << output();
    return lines_of(folder_ / "out.jsonl");
  }
  std::string output() { return read_file(folder_ / "out"); }

  Folder folder_;
  std::filesystem::path model_;
  Child child_;
};

}  // namespace grpo
