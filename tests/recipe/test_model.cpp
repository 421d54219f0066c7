// The tools on a model folder of Hugging Face's form and on a run that begins with one.
#include <ATen/ATen.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "child.h"
#include "error_of.h"
#include "files.h"
#include "grpo/checkpoint.h"
#include "grpo/model.h"
#include "grpo/pretrained.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using testing::HasSubstr;

constexpr const char* kChat =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

void write(const fs::path& file, const std::string& text) { std::ofstream(file) << text; }

void write_lines(const fs::path& file, const std::vector<Json>& lines) {
  std::ofstream out(file);
  for (const Json& line : lines) out << line.dump() << '\n';
}

/// A folder with a small random model: SmolLM2's tokenizer in small, 483 tokens, and more rows than that, as models
/// have that pad their embeddings.
class Models : public testing::Test {
 protected:
  static constexpr int kRows = 496;
  Models() : model_(folder_ / "model") {
    const fs::path fixtures = fs::path(GRPO_FIXTURES), like = folder_ / "like";
    fs::create_directory(like);
    Json config = Json::parse(read_file(fixtures / "models/smollm2/config.json"));
    config["vocab_size"] = kRows;
    write(like / "config.json", config.dump());
    fs::copy_file(fixtures / "tokenizers/smollm/tokenizer.json", like / "tokenizer.json");
    write(like / "tokenizer_config.json", R"({"eos_token": "<|im_end|>", "bos_token": "<|im_start|>"})");
    write(like / "chat_template.jinja", kChat);
    write(like / "generation_config.json", R"({"eos_token_id": [482, 480]})");
    save_pretrained(Policy(pretrained_config(like), 5), model_, like);
  }

  int tool(const std::string& program, std::vector<std::string> words) {
    words.insert(words.begin(), program);
    fs::remove(folder_ / "out");
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
  fs::path model_;
  Child child_;
};

TEST_F(Models, generate_gives_each_line_back_with_completions_that_logprobs_scores_to_the_same_bits) {
  std::vector<Json> lines;
  for (int i = 0; i < 70; ++i) lines.push_back({{"note", i}, {"prompt", std::string(1 + i % 7, 'a') + " 12 + 3"}});
  lines.push_back({{"note", 70}, {"prompt_ids", {5, 6, 490}}});
  const auto out = generated(lines, {"--n", "3", "--seed", "4"});
  ASSERT_EQ(out.size(), lines.size());
  const Tokenizer tokenizer = Tokenizer::load(model_);
  std::vector<Json> pairs;
  bool unknown = false;
  int stops = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    EXPECT_EQ(out[i]["note"], i) << "in the order of the input, with its keys";
    ASSERT_EQ(out[i]["completions"].size(), 3u);
    for (const Json& each : out[i]["completions"]) {
      auto ids = each["ids"].get<std::vector<int32_t>>();
      ASSERT_EQ(each["logprobs"].size(), ids.size());
      const bool stopped = ids.back() == 482 || ids.back() == 480;
      EXPECT_EQ(each["finish_reason"], stopped ? "stop" : "length");
      EXPECT_EQ(ids.size() == 40, !stopped || ids.size() == 40);
      stops += stopped;
      pairs.push_back(
          {{"prompt_ids", i < 70 ? Json(tokenizer.encode(out[i]["prompt"].get<std::string>())) : out[i]["prompt_ids"]},
           {"completion_ids", ids},
           {"expected", each["logprobs"]}});
      if (stopped) ids.pop_back();
      unknown |= std::erase_if(ids, [&](int32_t id) { return id >= tokenizer.vocab_size(); }) > 0;
      EXPECT_EQ(each["text"], tokenizer.decode(ids)) << "the ending token is no text";
    }
  }
  EXPECT_TRUE(unknown) << "rows without a token were drawn, too";
  EXPECT_GT(stops, 0);

  write_lines(folder_ / "pairs.jsonl", pairs);
  for (const char* budget : {"64", "2048"}) {
    ASSERT_EQ(tool(GRPO_LOGPROBS, {"--model", model_, "--in", folder_ / "pairs.jsonl", "--out",
                                   folder_ / "scored.jsonl", "--max_batch_tokens", budget}),
              0)
        << output();
    const auto scored = lines_of(folder_ / "scored.jsonl");
    ASSERT_EQ(scored.size(), pairs.size());
    for (const Json& line : scored) {
      ASSERT_EQ(line["logprobs"], line["expected"]) << "bit for bit";
      double sum = 0;
      for (const Json& logprob : line["logprobs"]) sum += logprob.get<double>();
      EXPECT_NEAR(line["perplexity"].get<double>(), std::exp(-sum / static_cast<double>(line["logprobs"].size())),
                  1e-6);
    }
  }
  // Which lines are together changes nothing.
  const auto alone = generated({lines[0], lines[1]}, {"--n", "3", "--seed", "4"});
  EXPECT_EQ(alone.at(1), out[1]);
}

TEST_F(Models, logprobs_encodes_prompt_and_completion_apart) {
  write_lines(folder_ / "pairs.jsonl",
              {{{"prompt", "1 + 1 ="}, {"completion", " 2"}}, {{"prompt", "?"}, {"completion", ""}}});
  ASSERT_EQ(
      tool(GRPO_LOGPROBS, {"--model", model_, "--in", folder_ / "pairs.jsonl", "--out", folder_ / "scored.jsonl"}), 0)
      << output();
  const auto scored = lines_of(folder_ / "scored.jsonl");
  EXPECT_EQ(scored[0]["logprobs"].size(), Tokenizer::load(model_).encode(" 2").size());
  EXPECT_TRUE(scored[1]["logprobs"].empty());
  EXPECT_TRUE(scored[1]["perplexity"].is_null());
  write_lines(folder_ / "pairs.jsonl", {{{"prompt", "a"}, {"completion_ids", {3, kRows}}}});
  EXPECT_EQ(
      tool(GRPO_LOGPROBS, {"--model", model_, "--in", folder_ / "pairs.jsonl", "--out", folder_ / "scored.jsonl"}), 1);
  EXPECT_THAT(output(), HasSubstr("pairs.jsonl:1: expected tokens from 0 to 495, got 496"));
}

// (Of tools that take lines and give them back.)
TEST_F(Models, lines_keep_their_digits) {
  const std::string line = R"({"id": 123456789012345678901234567890, "completions": 1, "error": "old",  "prompt": "a")";
  write(folder_ / "in.jsonl", line + "}\n");
  ASSERT_EQ(generate({"--n", "1"}), 0) << output();
  EXPECT_TRUE(read_file(folder_ / "out.jsonl")
                  .starts_with(R"({"id": 123456789012345678901234567890,  "prompt": "a","completions":[{)"));
  EXPECT_THAT(read_file(folder_ / "out.jsonl"), testing::Not(HasSubstr("old")));
  write(folder_ / "in.jsonl", line + R"(, "completion": "b"})" + "\n");
  ASSERT_EQ(tool(GRPO_LOGPROBS, {"--model", model_, "--in", folder_ / "in.jsonl", "--out", folder_ / "out.jsonl"}), 0)
      << output();
  EXPECT_TRUE(read_file(folder_ / "out.jsonl").starts_with(line + R"(, "completion": "b","logprobs":[)"));
}

// What a model folder has to be told about, every tool that opens it tells.
TEST_F(Models, tools_warn_of_a_head_that_the_config_ties_away) {
  const fs::path head = fs::path(GRPO_FIXTURES) / "models/llama_head";
  write_lines(folder_ / "pairs.jsonl", {{{"prompt_ids", {5, 6}}, {"completion_ids", {7}}}});
  ASSERT_EQ(tool(GRPO_LOGPROBS, {"--model", head, "--in", folder_ / "pairs.jsonl", "--out", folder_ / "scored.jsonl"}),
            0)
      << output();
  EXPECT_THAT(output(), HasSubstr("warning: " + (head / "config.json").string() + " says \"tie_word_embeddings\""));
  ASSERT_EQ(
      tool(GRPO_LOGPROBS, {"--model", model_, "--in", folder_ / "pairs.jsonl", "--out", folder_ / "scored.jsonl"}), 0)
      << output();
  EXPECT_THAT(output(), testing::Not(HasSubstr("warning")));
}

TEST_F(Models, logprobs_of_tokens_needs_no_tokenizer) {
  write_lines(folder_ / "pairs.jsonl", {{{"prompt_ids", {5, 6}}, {"completion_ids", {7, 490}}}});
  const std::vector<std::string> words{"--model", model_, "--in", folder_ / "pairs.jsonl", "--out",
                                       folder_ / "scored.jsonl"};
  ASSERT_EQ(tool(GRPO_LOGPROBS, words), 0) << output();
  const std::string with = read_file(folder_ / "scored.jsonl");
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) fs::remove(model_ / file);
  ASSERT_EQ(tool(GRPO_LOGPROBS, words), 0) << output();
  EXPECT_EQ(read_file(folder_ / "scored.jsonl"), with);
  write_lines(folder_ / "pairs.jsonl", {{{"prompt", "a"}, {"completion_ids", {7}}}});
  EXPECT_EQ(tool(GRPO_LOGPROBS, words), 1);
  EXPECT_THAT(output(), HasSubstr("tokenizer"));
  EXPECT_EQ(read_file(folder_ / "scored.jsonl"), with) << "the old output stays";
}

TEST_F(Models, tools_never_write_over_their_input) {
  write_lines(folder_ / "lines.jsonl", {{{"prompt", "1+1"}, {"completion", "2"}, {"answer", "2"}}});
  const std::string lines = read_file(folder_ / "lines.jsonl");
  fs::create_hard_link(folder_ / "lines.jsonl", folder_ / "same.jsonl");
  for (const auto& [program, in] : std::vector<std::pair<std::string, std::string>>{
           {GRPO_GENERATE, "--in"}, {GRPO_LOGPROBS, "--in"}, {GRPO_EVALUATE, "--tasks"}}) {
    EXPECT_EQ(tool(program, {"--model", model_, in, folder_ / "lines.jsonl", "--out", folder_ / "same.jsonl"}), 1);
    EXPECT_THAT(output(), HasSubstr("an output that is none of the inputs")) << program;
    EXPECT_EQ(read_file(folder_ / "lines.jsonl"), lines) << program;
  }
}

// "-" is standard input and standard output, which then has the lines and nothing else.
TEST_F(Models, tools_stand_in_pipes) {
  // (more than a pipe holds)
  const std::vector<Json> lines(
      200, Json{{"prompt", "1+1"}, {"completion", "2"}, {"answer", std::string(2000, '2')}, {"language", ""}});
  write_lines(folder_ / "many.jsonl", lines);
  write_lines(folder_ / "in.jsonl", {lines[0], lines[1]});
  const auto shell = [&](const std::string& command) {
    return tool("/bin/sh", {"-c", "cd " + folder_.path().string() + " && " + command});
  };
  const std::string model = " --model " + model_.string() + ' ';
  for (const auto& [program, in, rows] : std::vector<std::tuple<std::string, std::string, size_t>>{
           {GRPO_GENERATE + model + "--max_new_tokens 4", " --in ", 2},
           {GRPO_LOGPROBS + model, " --in ", 2},
           {GRPO_EVALUATE + model + "--k 2 --max_new_tokens 4", " --tasks ", 4}}) {
    ASSERT_EQ(shell(program + in + "- --out - < in.jsonl > piped.jsonl"), 0) << output();
    ASSERT_EQ(shell("cat in.jsonl | " + program + in + "- --out - 2> said | cat > twice.jsonl"), 0) << output();
    ASSERT_EQ(shell(program + in + "in.jsonl --out file.jsonl"), 0) << output();
    EXPECT_EQ(lines_of(folder_ / "piped.jsonl").size(), rows) << program;
    const auto ids_aside = [&](const char* file) {  // tasks are named after their file
      auto all = lines_of(folder_ / file);
      for (Json& line : all) line.erase("task");
      return all;
    };
    EXPECT_EQ(ids_aside("piped.jsonl"), ids_aside("file.jsonl")) << program;
    EXPECT_EQ(ids_aside("twice.jsonl"), ids_aside("file.jsonl")) << program;
    EXPECT_FALSE(read_file(folder_ / "said").empty()) << "what is no line goes to standard error";
    // Whoever reads has seen enough: it ends as programs do that a closed pipe ends, without a word of it.
    shell("( " + program + in + "- --out - < many.jsonl 2> said; echo $? > status ) | head -1 > first.jsonl");
    EXPECT_EQ(lines_of(folder_ / "first.jsonl").size(), 1u) << program;
    EXPECT_EQ(read_file(folder_ / "status"), "141\n") << program;
    EXPECT_THAT(read_file(folder_ / "said"), testing::Not(HasSubstr("error"))) << program;
  }
}

/// Turns of standard input where that is no terminal.
class Conversation : public Models {
 protected:
  /// What it answers to these lines; what else it says goes to `said`.
  std::string answers(const std::string& lines, const std::string& options) {
    write(folder_ / "lines", lines);
    const std::string in = folder_.path().string();
    EXPECT_EQ(tool("/bin/sh", {"-c", GRPO_GENERATE " --model " + model_.string() + " --max_new_tokens 40 " + options +
                                         " < " + in + "/lines > " + in + "/answers 2> " + in + "/said"}),
              0)
        << said();
    return read_file(folder_ / "answers");
  }
  std::string said() { return read_file(folder_ / "said"); }
  /// What a file's line is answered, chat being on.
  std::string answer_of(const Json& line, std::vector<std::string> words) {
    words.push_back("--chat");
    return generated({line}, words).at(0)["completions"][0]["text"];
  }
};

TEST_F(Conversation, takes_a_turn_a_line_and_remembers) {
  const std::vector<std::string> greedy{"--temperature", "0"};
  const std::string first = answer_of({{"prompt", "Hi"}}, greedy);
  Json turns = Json::array({{{"role", "user"}, {"content", "Hi"}}, {{"role", "assistant"}, {"content", first}}});
  turns.push_back({{"role", "user"}, {"content", "And?"}});
  const std::string second = answer_of({{"messages", turns}}, greedy);
  EXPECT_EQ(answers("Hi\n\n  \nAnd?", "--chat --temperature 0"), first + '\n' + second + '\n') << "and nothing else";
  EXPECT_EQ(said(), "");
  EXPECT_EQ(answers("", "--chat"), "");
}

TEST_F(Conversation, is_cooler_than_a_file_unless_its_user_says_otherwise) {
  const std::vector<std::string> cool{"--temperature", "0.7", "--top_p", "0.95", "--seed", "5"}, plain{"--seed", "5"};
  const Json line{{"prompt", "Hi"}};
  ASSERT_NE(answer_of(line, cool), answer_of(line, plain));
  EXPECT_EQ(answers("Hi\n", "--chat --seed 5"), answer_of(line, cool) + '\n');
  EXPECT_EQ(answers("Hi\n", "--chat --seed 5 --temperature 1 --top_p 1"), answer_of(line, plain) + '\n');
}

TEST_F(Conversation, that_outgrows_the_model_begins_anew_and_what_is_too_long_is_not_asked) {
  const std::string line = "Say something", greedy = "--chat --temperature 0 --max_positions 128";
  const std::string alone = answers(line + '\n', greedy);
  EXPECT_EQ(said(), "");
  const std::string all = answers(line + '\n' + line + '\n' + line + '\n' + line + '\n', greedy);
  EXPECT_THAT(said(), HasSubstr("note: the conversation has outgrown the model's 128 positions; it begins anew"));
  EXPECT_TRUE(all.starts_with(alone));
  EXPECT_NE(all.find(alone, alone.size()), std::string::npos) << "asked alone again";
  EXPECT_EQ(answers(std::string(900, '7') + '\n' + line + '\n', greedy), alone);
  EXPECT_THAT(said(), HasSubstr("note: this cannot be asked, ask something shorter: "));
}

TEST_F(Models, tools_say_that_the_folder_of_their_output_is_not_there) {
  write_lines(folder_ / "in.jsonl", {{{"prompt", "1+1"}, {"completion", "2"}}});
  EXPECT_EQ(tool(GRPO_LOGPROBS, {"--model", model_, "--in", folder_ / "in.jsonl", "--out", folder_ / "none/x"}), 1);
  EXPECT_THAT(output(), HasSubstr("none/x: cannot create this file: its folder is not there"));
}

TEST_F(Models, a_signal_stops_an_evaluation_and_leaves_the_old_output) {
  std::vector<Json> lines;
  for (int i = 0; i < 4000; ++i) lines.push_back({{"prompt", "1+1"}, {"answer", "2"}});
  write_lines(folder_ / "tasks.jsonl", lines);
  for (const int signal : {SIGTERM, SIGHUP}) {
    write(folder_ / "answers.jsonl", "old");
    fs::remove(folder_ / "out");
    child_.start({GRPO_EVALUATE, "--model", model_, "--tasks", folder_ / "tasks.jsonl", "--k", "4", "--max_new_tokens",
                  "40", "--out", folder_ / "answers.jsonl"},
                 folder_ / "out");
    ASSERT_TRUE(child_.wait_until([&] { return output().find("/4000 tasks") != std::string::npos; })) << output();
    child_.kill(signal);
    EXPECT_EQ(child_.wait(), 128 + signal) << output();
    EXPECT_THAT(output(), HasSubstr("stopped"));
    EXPECT_EQ(read_file(folder_ / "answers.jsonl"), "old");
    EXPECT_FALSE(fs::exists(folder_ / "answers.jsonl.new"));
  }
}

TEST_F(Models, an_evaluation_goes_on_where_it_was_stopped) {
  std::vector<Json> lines;
  for (int i = 0; i < 300; ++i) lines.push_back({{"prompt", std::to_string(i) + "+1"}, {"answer", i + 1}});
  write_lines(folder_ / "tasks.jsonl", lines);
  const auto words = [&](const std::string& out, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all{"--model", model_,  "--tasks",          folder_ / "tasks.jsonl", "--k",
                                 "2",       "--out", folder_ / out, "--max_new_tokens",      "40"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto figures = [&] { return Json::parse(output().substr(output().find('{'))); };
  ASSERT_EQ(tool(GRPO_EVALUATE, words("whole.jsonl")), 0) << output();
  const Json expected = figures();
  const std::string whole = read_file(folder_ / "whole.jsonl");

  // Stopped, killed while it writes, and gone on with.
  const fs::path part = folder_ / "stopped.jsonl.part";
  for (const int signal : {SIGTERM, SIGKILL}) {
    const auto before = fs::exists(part) ? fs::file_size(part) : 0;
    std::vector<std::string> all = words("stopped.jsonl");
    all.insert(all.begin(), GRPO_EVALUATE);
    fs::remove(folder_ / "out");
    child_.start(all, folder_ / "out", 1);
    ASSERT_TRUE(child_.wait_until([&] { return fs::exists(part) && fs::file_size(part) > before + 2000; })) << output();
    child_.kill(signal);
    EXPECT_EQ(child_.wait(), signal == SIGKILL ? -SIGKILL : 128 + SIGTERM) << output();
    if (signal == SIGTERM) {
      EXPECT_THAT(output(), HasSubstr("the same command goes on from what is in " + part.string()));
    }
    EXPECT_FALSE(fs::exists(folder_ / "stopped.jsonl"));
  }
  const std::string left = read_file(part);
  std::ofstream(part, std::ios::app) << R"({"task": "tasks:9", "sam)";
  // Other completions are told from these, and lost to nothing.
  for (const std::vector<std::string>& other :
       {std::vector<std::string>{"--temperature", "0.5"}, {"--seed", "1"}, {"--max_new_tokens", "39"}}) {
    EXPECT_EQ(tool(GRPO_EVALUATE, words("stopped.jsonl", other)), 1);
    EXPECT_THAT(output(), HasSubstr(part.string() + ": expected completions of this model with these settings"));
  }
  EXPECT_TRUE(read_file(part).starts_with(left));
  ASSERT_EQ(tool(GRPO_EVALUATE, words("stopped.jsonl")), 0) << output();
  EXPECT_THAT(output(), HasSubstr("of 300 tasks from " + part.string()));
  EXPECT_EQ(read_file(folder_ / "stopped.jsonl"), whole);
  EXPECT_EQ(figures(), expected);
  EXPECT_FALSE(fs::exists(part));

  // What is complete is scored again; a task in other words is asked again, and no other.
  ASSERT_EQ(tool(GRPO_EVALUATE, words("stopped.jsonl")), 0) << output();
  EXPECT_THAT(output(), HasSubstr("all tasks are answered in"));
  EXPECT_EQ(figures(), expected);
  lines[7]["prompt"] = "7 + 1";
  write_lines(folder_ / "tasks.jsonl", lines);
  ASSERT_EQ(tool(GRPO_EVALUATE, words("stopped.jsonl")), 0) << output();
  EXPECT_THAT(output(), testing::AllOf(HasSubstr("goes on with 1 of 300 tasks"),
                                       HasSubstr("in other words or in another place: 1;")));
  const auto now = lines_of(folder_ / "stopped.jsonl"), then = lines_of(folder_ / "whole.jsonl");
  ASSERT_EQ(now.size(), then.size());
  for (size_t i = 0; i < now.size(); ++i) EXPECT_EQ(now[i] == then[i], i / 2 != 7) << i;
  // A whole file of another way of sampling is replaced when the new one is whole, as any output.
  ASSERT_EQ(tool(GRPO_EVALUATE, words("stopped.jsonl", {"--seed", "1"})), 0) << output();
  EXPECT_NE(read_file(folder_ / "stopped.jsonl"), whole);
}

TEST_F(Models, chat_renders_the_template_of_the_folder) {
  const std::string turn = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
  const Json conversation = Json::array({{{"role", "user"}, {"content", "Hi"}}});
  const std::vector<std::string> greedy{"--temperature", "0"}, chat{"--temperature", "0", "--chat"},
      system{"--temperature", "0", "--chat", "--system", "Be brief."}, bos{"--temperature", "0", "--bos"};
  const auto plain = generated({{{"prompt", turn}}}, greedy).at(0)["completions"];
  EXPECT_EQ(generated({{{"prompt", "Hi"}}}, chat).at(0)["completions"], plain);
  EXPECT_EQ(generated({{{"messages", conversation}}}, chat).at(0)["completions"], plain);
  const std::string with_system = "<|im_start|>system\nBe brief.<|im_end|>\n" + turn;
  EXPECT_EQ(generated({{{"prompt", "Hi"}}}, system).at(0)["completions"],
            generated({{{"prompt", with_system}}}, greedy).at(0)["completions"]);
  auto open_think = system;
  open_think.push_back("--open_think");
  EXPECT_EQ(generated({{{"prompt", "Hi"}}}, open_think).at(0)["completions"],
            generated({{{"prompt", with_system + "<think>"}}}, greedy).at(0)["completions"]);
  EXPECT_EQ(generated({{{"prompt", turn.substr(std::string("<|im_start|>").size())}}}, bos).at(0)["completions"],
            plain);
  fs::remove(model_ / "chat_template.jinja");
  EXPECT_EQ(generate(chat), 1);
  EXPECT_THAT(output(), HasSubstr("a base model has none"));
}

TEST_F(Models, generate_writes_what_is_finished_when_it_is_interrupted) {
  std::vector<Json> lines;
  for (int i = 0; i < 4000; ++i) lines.push_back({{"prompt", "a"}});
  write_lines(folder_ / "in.jsonl", lines);
  child_.start(
      {GRPO_GENERATE, "--model", model_, "--in", folder_ / "in.jsonl", "--out", folder_ / "out.jsonl", "--n", "4"},
      folder_ / "out");
  ASSERT_TRUE(child_.wait_until([&] {
    return fs::exists(folder_ / "out.jsonl.part") && fs::file_size(folder_ / "out.jsonl.part") > 0;
  })) << output();
  child_.kill(SIGTERM);
  EXPECT_EQ(child_.wait(), 128 + SIGTERM) << output();
  EXPECT_FALSE(fs::exists(folder_ / "out.jsonl.part"));
  const auto out = lines_of(folder_ / "out.jsonl");
  EXPECT_GT(out.size(), 0u);
  EXPECT_LT(out.size(), 4000u);
  for (const Json& line : out) EXPECT_EQ(line["completions"].size(), 4u);
}

TEST_F(Models, are_opened_from_any_folder_and_refused_by_what_is_missing) {
  const auto open = [&](const fs::path& path, const std::string& dtype = "") {
    ModelConfig config;
    config.model = path, config.dtype = dtype, config.max_positions = 100;
    return open_model(config);
  };
  const Model model = open(model_ / "", "bfloat16");
  EXPECT_EQ(model.policy.config().dtype, DType::bfloat16);
  EXPECT_EQ(model.policy.config().max_positions, 100);
  EXPECT_TRUE(model.tokenizer.ends(482) && model.tokenizer.ends(480));
  EXPECT_FALSE(model.tokenizer.ends(481));
  EXPECT_TRUE(Tokenizer::from_serialized(model.tokenizer.serialized(), "checkpoint").ends(480));
  EXPECT_THAT(error_of([&] { open(folder_ / "nowhere"); }), HasSubstr("found no config.json"));
  EXPECT_THAT(error_of([&] { open(std::string(5000, 'x')); }), HasSubstr("found no config.json")) << "no name of a file";
  EXPECT_THAT(error_of([&] { open(model_, "float8"); }), HasSubstr("expected one of \"\", \"float32\", \"bfloat16\""));
  write(folder_ / "config.json", R"({"policy": {}})");
  EXPECT_THAT(error_of([&] { open(folder_.path()); }), HasSubstr("expected a checkpoint in"));
  for (const auto& [stages, stage] :
       {std::pair{R"([{"name": "base"}])", "/base"}, {"[{}]", "/STAGE"}, {"3", "/STAGE"}}) {
    write(folder_ / "config.json", std::string(R"({"stages": )") + stages + "}");
    EXPECT_THAT(error_of([&] { open(folder_.path()); }), testing::EndsWith(stage));
  }
}

// A run that goes on deletes old checkpoints, also one that is being read: here as soon as its manifest is opened.
TEST(OpenPolicy, reads_the_next_checkpoint_where_the_newest_goes_away) {
  const Folder run;
  PolicyConfig shape;
  shape.vocab_size = 40, shape.hidden_size = 16, shape.layers = 1;
  write(run / "config.json", Json{{"policy", dump_config(shape)}}.dump());
  const auto save = [&](int64_t step) {
    CheckpointContents contents;
    contents.policy = Policy(shape, static_cast<uint64_t>(step)).state();
    contents.state = Json::object();
    return write_checkpoint(run, step, contents, 0);
  };
  save(1);
  for (const bool named : {false, true}) {
    const fs::path newest = save(2), manifest = newest / "manifest.json", away = run / "checkpoints/.tmp-away";
    fs::remove(manifest);
    ASSERT_EQ(::mkfifo(manifest.c_str(), 0600), 0);
    const int pipe = ::open(manifest.c_str(), O_RDWR), watch = ::inotify_init1(0);
    ASSERT_GE(::inotify_add_watch(watch, manifest.c_str(), IN_OPEN), 0);
    std::jthread deletes([&] {
      pollfd opened{watch, POLLIN, 0};
      ::poll(&opened, 1, 60'000);
      fs::rename(newest, away);
      ::close(pipe);
    });
    ModelConfig config;
    config.model = named ? newest : run.path();
    if (named) {
      EXPECT_THAT(error_of([&] { open_policy(config); }), HasSubstr("step-000002")) << "no other was asked for";
    } else {
      const auto read = open_policy(config).state(), expected = Policy(shape, 1).state();
      EXPECT_TRUE(at::equal(read[0].second, expected[0].second));
    }
    deletes.join();
    ::close(watch);
    fs::remove_all(away);
  }
}

TEST_F(Models, evaluate_asks_a_model_folder) {
  write_lines(folder_ / "tasks.jsonl", {{{"prompt", "1+1"}, {"answer", "2"}},
                                        {{"prompt", std::string(9000, '5')}, {"answer", "2"}},
                                        {{"prompt", "1+2"}, {"answer", "3"}}});
  std::ofstream(folder_ / "tasks.jsonl", std::ios::app) << "no task\n";
  const std::vector<std::string> words{"--model",          model_, "--tasks", folder_ / "tasks.jsonl",  "--k", "6",
                                       "--max_new_tokens", "8",    "--out",   folder_ / "answers.jsonl"};
  for (const std::vector<std::string>& how :
       {std::vector<std::string>{},
        {"--chat"},
        {"--template", "Q: {prompt} A:"},
        {"--chat", "--system", "Count.", "--open_think"}}) {
    auto all = words;
    all.insert(all.end(), how.begin(), how.end());
    ASSERT_EQ(tool(GRPO_EVALUATE, all), 0) << output();
    const Json figures = Json::parse(output().substr(output().find('{')));
    EXPECT_EQ(figures["problems"], 2);
    EXPECT_EQ(figures["left_out"], 2);
    EXPECT_THAT(output(), testing::AllOf(HasSubstr("tasks.jsonl:4: "), HasSubstr("tasks.jsonl:2: a prompt of ")));
    EXPECT_TRUE(figures["pass@k"].contains("6"));
    EXPECT_EQ(lines_of(folder_ / "answers.jsonl").size(), 12u);
  }
  auto refusing = words;
  refusing.insert(refusing.end(), {"--on_bad", "refuse"});
  EXPECT_EQ(tool(GRPO_EVALUATE, refusing), 1);
  EXPECT_THAT(output(), HasSubstr("tasks.jsonl:4: "));
}

// What is wrong is told before anything is sampled, in the words of whoever wrote it.
TEST_F(Models, tools_say_what_is_wrong_by_the_name_that_was_given) {
  write_lines(folder_ / "tasks.jsonl", {{{"prompt", "1+1"}, {"answr", "2"}, {"kind", "arithmatic"}}});
  write_lines(folder_ / "other.jsonl", {{{"prompt", "1+1"}, {"answer", "2"}, {"kind", "sudoku"}}});
  write_lines(folder_ / "letters.jsonl",
              {{{"prompt", "1+1"}, {"answer", 2}}, {{"prompt", "1+1"}, {"answer", 2}, {"kind", "choice"}}});
  write_lines(folder_ / "pairs.jsonl",
              {{{"prompt", "1+1"}, {"completion", "2"}}, {{"prompt", "1"}, {"completon", "2"}}});
  write(folder_ / "text", "no JSON\nat all\n");
  const std::string tasks = folder_ / "tasks.jsonl", other = folder_ / "other.jsonl", suite = "configs/eval_r1.json";
  struct Case {
    const char* program;
    std::vector<std::string> words;
    int status;
    std::vector<std::string> said;
  };
  const Case cases[] = {
      {GRPO_EVALUATE,
       {"--tasks", tasks, "--k", "1", "--max_new_tokens", "2"},
       0,
       {"tasks.jsonl:1: unknown key \"answr\" in 1 line; did you mean \"answer\"?",
        "tasks.jsonl:1: unknown kind \"arithmatic\": answers are read", "has an answer, so that none can be right"}},
      {GRPO_EVALUATE, {"--tasks", other}, 1, {"other.jsonl:1: accuracy cannot read its answer: expected a sudoku"}},
      {GRPO_EVALUATE,
       {"--tasks", folder_ / "letters.jsonl", "--k", "1", "--max_new_tokens", "2"},
       0,
       {"1 of 2 tasks have an answer that accuracy cannot read, and no part in pass@1; the first is " +
        (folder_ / "letters.jsonl").string() + ":2"}},
      {GRPO_LOGPROBS,
       {"--in", folder_ / "pairs.jsonl", "--out", folder_ / "o"},
       1,
       {"pairs.jsonl:2: expected \"completion\" to be a text, got none"}},
      {GRPO_GENERATE,
       {"--in", folder_ / "text", "--out", folder_ / "o"},
       1,
       {"at least one JSON object, got none; 2 of 2 lines are left out: " + (folder_ / "text").string() + ":1: "}},
      {GRPO_GENERATE, {"--n", "3"}, 1, {"[config] n: expected --in and --out with it"}},
      {GRPO_EVALUATE, {"--tasks", tasks, "--system", "Count."}, 1, {"[config] system: expected --chat"}},
      {GRPO_EVALUATE,
       {"--tasks", tasks, "--template", "Count."},
       1,
       {"[config] template: expected a text with {prompt}"}},
      {GRPO_EVALUATE, {"--tasks", tasks, "--judge", model_}, 1, {"judge: expected --suite"}},
      {GRPO_EVALUATE,
       {"--suite", suite, "--out", folder_ / "o", "--temperature", "1"},
       1,
       {"temperature: expected none"}},
      {GRPO_EVALUATE, {"--suite", folder_.path(), "--out", folder_ / "o"}, 1, {"got a folder"}},
      {GRPO_EVALUATE,
       {"--tasks", tasks, "--out", folder_ / "no/out.jsonl"},
       1,
       {"no/out.jsonl: cannot create", "folder is not there"}},
      {GRPO_GENERATE,
       {"--in", tasks, "--out", folder_ / "o.jsonl", "--stop", "[\"\"]"},
       1,
       {"[config] stop: expected strings"}},
  };
  for (const Case& each : cases) {
    auto words = each.words;
    words.insert(words.end(), {"--model", model_});
    EXPECT_EQ(tool(each.program, words), each.status) << each.words[1] << output();
    for (const std::string& what : each.said) EXPECT_THAT(output(), HasSubstr(what));
    EXPECT_FALSE(fs::exists(folder_ / "o") || fs::exists(folder_ / "o.part"));
  }
}

// Of a training run that is an error; whoever asks for text gets what there is room for.
TEST_F(Models, generate_ends_completions_where_the_model_s_positions_end) {
  write_lines(folder_ / "in.jsonl", {{{"prompt_ids", {5, 6, 7}}}, {{"prompt_ids", std::vector<int>(40, 5)}}});
  ASSERT_EQ(generate({"--max_positions", "32", "--temperature", "0", "--bos", "false"}), 0) << output();
  EXPECT_THAT(output(),
              testing::AllOf(HasSubstr("warning: max_new_tokens: the model has 32 positions"),
                             HasSubstr("in.jsonl:2: a prompt of 40 tokens leaves no room in the model's 32")));
  const auto out = lines_of(folder_ / "out.jsonl");
  ASSERT_EQ(out.size(), 2u);
  const Json& completion = out[0]["completions"][0];
  EXPECT_TRUE(completion["finish_reason"] == "stop" || completion["ids"].size() == 29u) << completion;
  EXPECT_LE(completion["ids"].size(), 29u);
  write_lines(folder_ / "in.jsonl", {{{"promt", "1+1"}}, {{"prompt", "1+1"}}});
  ASSERT_EQ(generate({}), 0) << output();
  EXPECT_THAT(output(),
              HasSubstr("1 of 2 lines are left out: " + (folder_ / "in.jsonl").string() + ":1: expected \"prompt\""));
}

TEST_F(Models, generate_answers_the_lines_that_can_be_asked) {
  // (No number that is no id is taken for one.)
  const std::vector<Json> none{{{"prompt_ids", {1.5}}}, {{"prompt_ids", {4294967301}}}, {{"prompt_ids", 5}}};
  for (const Json& line : generated(none, {}))
    EXPECT_THAT(line["error"].get<std::string>(), HasSubstr("expected \"prompt_ids\" to be a list of token ids"));
  EXPECT_THAT(output(), testing::Not(testing::ContainsRegex("in.jsonl:1.*in.jsonl:1"))) << "the place once";
  write_lines(folder_ / "in.jsonl", {{{"prompt", "1+1"}}, {{"prompt_ids", std::vector<int>(9000, 5)}}, {{"prompt", 3}}});
  std::ofstream(folder_ / "in.jsonl", std::ios::app) << "nonsense\n{\"prompt\": \"1+2\"}\n";
  ASSERT_EQ(generate({"--n", "2"}), 0) << output();
  EXPECT_THAT(output(), testing::AllOf(HasSubstr("warning: 3 of 5 lines are left out: "),
                                       HasSubstr("in.jsonl:4: expected a JSON object"),
                                       HasSubstr("in.jsonl:2: a prompt of 9000 tokens"), HasSubstr("in.jsonl:3: ")));
  const auto out = lines_of(folder_ / "out.jsonl");
  ASSERT_EQ(out.size(), 4u);
  const size_t completions[] = {2, 0, 0, 2};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(out[i]["completions"].size(), completions[i]) << i;
    EXPECT_EQ(out[i].contains("error"), completions[i] == 0) << i;
  }
  EXPECT_EQ(generate({"--on_bad", "refuse"}), 1);
  EXPECT_THAT(output(), HasSubstr("in.jsonl:4: expected a JSON object"));
}

/// R1-Zero from the model folder.
class FromPretrained : public Models {
 protected:
  std::vector<std::string> words(const std::string& name, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all{GRPO_R1_ZERO};
    for (const std::string& set :
         {"policy.from=" + model_.string(), std::string("steps=4"), std::string("prompts_per_step=2"),
          std::string("save_every=1"), std::string("rollout.samples=4"), std::string("rollout.max_new_tokens=24"),
          std::string("evaluate.problems=4"), std::string("evaluate.samples=2"),
          std::string("optimizer.learning_rate=1e-2"), std::string("rewards.weights={\"format\": 0, \"overlong\": 1}"),
          std::string("rewards.overlong_max_length=24"), std::string("rewards.overlong_buffer=20"),
          std::string("chat.text=User: {prompt}\nAssistant: "),
          "out=" + (folder_ / name).string()})
      all.insert(all.end(), {"--set", set});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  int run(const std::string& name, const std::vector<std::string>& more = {}) {
    child_.start(words(name, more), folder_ / "out");
    return child_.wait();
  }
};

TEST_F(FromPretrained, r1_zero_trains_it_resumes_without_it_and_writes_it_back) {
  ASSERT_EQ(run("whole"), 0) << output();
  const auto expected = metrics_without_timings(folder_ / "whole");
  ASSERT_EQ(expected.size(), 4u);
  double gradients = 0;
  for (const Json& line : expected) {
    EXPECT_EQ(line["ratio_deviation"], 0.0);
    gradients += line["grad_norm"].get<double>();
  }
  EXPECT_GT(gradients, 0);

  // Killed after a step, and resumed where the folder is gone.
  child_.start(words("killed"), folder_ / "out");
  ASSERT_TRUE(child_.wait_until([&] { return list_checkpoints(folder_ / "killed").size() > 1; })) << output();
  child_.kill(SIGKILL);
  child_.wait();
  fs::rename(model_, folder_ / "away");
  ASSERT_EQ(run("killed", {"--resume"}), 0) << output();
  EXPECT_EQ(metrics_without_timings(folder_ / "killed"), expected);
  EXPECT_EQ(read_file(folder_ / "killed/model/model.safetensors"),
            read_file(folder_ / "whole/model/model.safetensors"));

  // The folder that it wrote holds the weights of its last checkpoint, and all that lay beside the first ones.
  const fs::path written = folder_ / "whole/model";
  const Policy policy = load_pretrained(written);
  const NamedTensors saved = read_checkpoint(*newest_checkpoint(folder_ / "whole")).policy, left = policy.state();
  ASSERT_EQ(left.size(), saved.size());
  for (size_t i = 0; i < left.size(); ++i) EXPECT_TRUE(at::equal(left[i].second, saved[i].second)) << left[i].first;
  const auto before = load_pretrained(folder_ / "away").state();
  EXPECT_FALSE(at::equal(left[0].second, before[0].second));
  for (const char* file : {"tokenizer.json", "chat_template.jinja", "generation_config.json"})
    EXPECT_EQ(read_file(written / file), read_file(folder_ / "away" / file));

  // The run and what it wrote answer alike.
  write_lines(folder_ / "tasks.jsonl", {{{"prompt", "1+1"}, {"answer", "2"}}});
  const auto figures = [&](const fs::path& model, const std::vector<std::string>& more) {
    std::vector<std::string> all{"--model", model, "--tasks", folder_ / "tasks.jsonl", "--max_new_tokens", "24"};
    all.insert(all.end(), more.begin(), more.end());
    EXPECT_EQ(tool(GRPO_EVALUATE, all), 0) << output();
    return Json::parse(output().substr(output().find('{')))["completion_length"];
  };
  EXPECT_EQ(figures(folder_ / "whole", {}), figures(written, {"--template", "User: {prompt}\nAssistant: "}));
}

TEST_F(FromPretrained, a_stage_of_a_recipe_begins_with_it_and_the_others_share_its_tokenizer) {
  const Json rollout{{"samples", 4}, {"max_new_tokens", 16}};
  const Json rewards{
      {"weights", {{"format", 0}, {"overlong", 1}}}, {"overlong_max_length", 16}, {"overlong_buffer", 12}};
  Json config{
      {"chat", {{"text", ""}, {"system", "Think."}}},
      {"stages",
       {{{"name", "rl"},
         {"type", "grpo"},
         {"policy", {{"from", model_.string()}, {"dtype", "bfloat16"}}},
         {"grpo", {{"steps", 2}, {"prompts_per_step", 2}, {"rollout", rollout}, {"rewards", rewards}}}},
        {{"name", "tuned"},
         {"type", "sft"},
         {"from", "rl"},
         {"data", {{{"topic", "problem"}, {"count", 4}}}},
         {"sft", {{"documents_per_step", 2}}}}}},
      {"evaluation", {{"problems", 4}, {"samples", 2}, {"general_problems", 0}, {"pairs", 2}, {"max_new_tokens", 16}}}};
  write(folder_ / "r1.json", config.dump());
  const auto recipe = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all{"--config", folder_ / "r1.json", "--out", folder_ / "r1"};
    all.insert(all.end(), more.begin(), more.end());
    return tool(GRPO_R1, all);
  };
  ASSERT_EQ(recipe({}), 0) << output();
  const Json made = Json::parse(read_file(folder_ / "r1/config.json"));
  EXPECT_EQ(made["stages"][0]["grpo"]["optimizer"]["learning_rate"], 1e-5);
  EXPECT_EQ(made["stages"][1]["sft"]["optimizer"]["learning_rate"], 2e-5) << "it goes back to that model, too";
  EXPECT_EQ(made["chat"], (Json{{"text", ""}, {"system", "Think."}, {"open_think", true}}));
  EXPECT_THAT(output(), HasSubstr("stages.1.sft.optimizer.learning_rate 2e-05"));
  fs::rename(model_, folder_ / "away");
  EXPECT_EQ(recipe({"--resume"}), 0) << output();
  EXPECT_EQ(recipe({"--resume", "--force-from", "tuned"}), 0) << output();
  write_lines(folder_ / "tasks.jsonl", {{{"prompt", "1+1"}, {"answer", "2"}}});
  for (const char* stage : {"rl", "tuned"}) {
    EXPECT_EQ(tool(GRPO_EVALUATE, {"--model", folder_ / "r1" / stage, "--tasks", folder_ / "tasks.jsonl"}), 0)
        << output();
    const auto written = load_safetensors(folder_ / "r1" / stage / "model/model.safetensors");
    ASSERT_FALSE(written.empty());
    EXPECT_EQ(written[0].second.scalar_type(), at::kBFloat16);
  }
  config["stages"][1].erase("from");
  config["stages"][1]["policy"]["from"] = "elsewhere";
  write(folder_ / "r1.json", config.dump());
  EXPECT_EQ(recipe({}), 1);
  EXPECT_THAT(output(), HasSubstr("stage \"tuned\", policy.from: expected " + model_.string()));
}

TEST_F(FromPretrained, an_empty_chat_text_is_the_template_of_the_folder) {
  ASSERT_EQ(run("chat", {"--set", "chat.text=", "--set", "chat.system=", "--set", "chat.open_think=false", "--steps",
                         "1"}),
            0)
      << output();
  const Model model = [&] {
    ModelConfig config;
    config.model = folder_ / "chat";
    return open_model(config);
  }();
  EXPECT_EQ(model.chat.render(Task{"", "Hi", "", "", ""}), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  fs::remove(model_ / "chat_template.jinja");
  EXPECT_EQ(run("none", {"--set", "chat.text="}), 1);
  EXPECT_THAT(output(), HasSubstr("a base model has none"));
  EXPECT_FALSE(fs::exists(folder_ / "none")) << "said before any work";
}

// Values that follow what is trained: said with their reason, recorded, and not decided again.
TEST_F(FromPretrained, defaults_are_those_of_a_pretrained_model_where_the_user_says_nothing) {
  const auto start = [&](const std::string& name, const std::vector<std::string>& more) {
    std::vector<std::string> all{"--set", "policy.from=" + model_.string(), "--set", "steps=1", "--set",
                                 "prompts_per_step=1", "--set", "rollout.samples=2", "--set", "rollout.max_new_tokens=2",
                                 "--set", "evaluate.problems=0", "--out", (folder_ / name).string()};
    all.insert(all.end(), more.begin(), more.end());
    return tool(GRPO_R1_ZERO, all);
  };
  const auto config = [&](const std::string& name) { return Json::parse(read_file(folder_ / name / "config.json")); };
  ASSERT_EQ(start("own", {"--set", "policy.layers=3", "--set", "policy.max_positions=600"}), 0) << output();
  EXPECT_THAT(output(), HasSubstr("warning: policy.layers counts for nothing: the model and its vocabulary are"));
  EXPECT_THAT(output(), testing::Not(HasSubstr("max_positions counts for nothing")));
  EXPECT_THAT(output(), testing::AllOf(HasSubstr("optimizer.learning_rate 1e-05: the default for a pretrained model"),
                                       HasSubstr("--set optimizer.learning_rate=…"), HasSubstr("chat.system"),
                                       HasSubstr("objective.kl none")));
  Json written = config("own");
  EXPECT_EQ(written["optimizer"]["learning_rate"], 1e-5);
  EXPECT_EQ(written["optimizer"]["warmup_steps"], 10);
  EXPECT_EQ(written["rewards"]["accuracy_needs_format"], false);
  EXPECT_EQ(written["rewards"]["think_open"], true);
  EXPECT_EQ(written["chat"]["text"], "");
  EXPECT_EQ(written["chat"]["system"], kFormSystem);
  EXPECT_EQ(written["chat"]["open_think"], true);
  const Model trained = [&] {
    ModelConfig opened;
    opened.model = folder_ / "own";
    return open_model(opened);
  }();
  EXPECT_TRUE(trained.rewards.think_open);
  EXPECT_THAT(trained.chat.render(Task{"", "Hi", "", "", ""}),
              testing::AllOf(HasSubstr(std::string(kFormSystem)), testing::EndsWith("assistant\n<think>")));

  // A resumed run has what it was made with, also where defaults would be others now.
  written["optimizer"]["learning_rate"] = 3e-4;
  write(folder_ / "own/config.json", written.dump());
  ASSERT_EQ(tool(GRPO_R1_ZERO, {"--resume", "--out", folder_ / "own", "--set", "steps=2"}), 0) << output();
  EXPECT_EQ(config("own")["optimizer"]["learning_rate"], 3e-4);
  EXPECT_THAT(output(), testing::Not(HasSubstr("the default for a pretrained model")));

  // What the user says wins, from a file as from the command line.
  write(folder_ / "mine.json", R"({"optimizer": {"warmup_steps": 0}, "chat": {"open_think": false}})");
  ASSERT_EQ(start("mine", {"--config", folder_ / "mine.json", "--set", "optimizer.learning_rate=2e-5", "--set",
                           "rewards.accuracy_needs_format=true", "--set", "chat.system="}),
            0)
      << output();
  EXPECT_EQ(config("mine")["optimizer"]["learning_rate"], 2e-5);
  EXPECT_EQ(config("mine")["optimizer"]["warmup_steps"], 0);
  EXPECT_EQ(config("mine")["rewards"]["accuracy_needs_format"], true);
  EXPECT_EQ(config("mine")["chat"], (Json{{"text", ""}, {"system", ""}, {"open_think", false}}));

  // A model without a chat template is asked by a text.
  fs::remove(model_ / "chat_template.jinja");
  ASSERT_EQ(start("base", {}), 0) << output();
  EXPECT_EQ(config("base")["chat"]["text"], kFormText);
  EXPECT_EQ(config("base")["chat"]["open_think"], true);
}

TEST_F(FromPretrained, the_published_job_on_smollm2_runs_on_any_such_model) {
  ASSERT_EQ(tool(GRPO_R1_ZERO, {"--config", std::string(GRPO_FIXTURES) + "/../../configs/smollm2_sums.json", "--set",
                                "policy.from=" + model_.string(), "--set", "policy.max_positions=512", "--set",
                                "steps=1", "--set", "prompts_per_step=2", "--set", "rollout.samples=2", "--set",
                                "evaluate.problems=2", "--set", "evaluate.samples=1", "--out", folder_ / "sums"}),
            0)
      << output();
  EXPECT_THAT(output(), testing::Not(HasSubstr("warning: ")));
  const auto samples = lines_of(folder_ / "sums/samples.jsonl");
  ASSERT_EQ(samples.size(), 4u);
  for (const Json& each : samples) EXPECT_EQ(each["kind"], "arithmetic");
  EXPECT_TRUE(fs::exists(folder_ / "sums/model/model.safetensors"));
}

// The same questions, from a file of conversations, in training and in evaluation.
TEST_F(FromPretrained, conversations_are_asked_by_the_template) {
  std::vector<Json> lines;
  for (int i = 0; i < 4; ++i)
    lines.push_back({{"messages",
                      {{{"role", "system"}, {"content", "Count."}},
                       {{"role", "user"}, {"content", std::to_string(i) + "+1"}}}},
                     {"answer", i + 1}});
  write_lines(folder_ / "talks.jsonl", lines);
  const std::string file = "tasks.file=" + (folder_ / "talks.jsonl").string();
  ASSERT_EQ(run("talks", {"--set", file, "--set", "chat.text=", "--set", "evaluate.problems=0", "--set", "steps=2"}), 0)
      << output();
  EXPECT_THAT(output(), HasSubstr("tasks.heldout_share 0"));
  std::set<std::string> asked;
  for (const Json& line : lines_of(folder_ / "talks/samples.jsonl")) asked.insert(line["prompt"].get<std::string>());
  EXPECT_EQ(asked.size(), 4u) << "of four tasks none is held out where nothing is evaluated";
  ASSERT_EQ(tool(GRPO_EVALUATE, {"--model", folder_ / "talks", "--tasks", folder_ / "talks.jsonl", "--k", "2"}), 0)
      << output();
  EXPECT_EQ(run("none", {"--set", file, "--set", "tasks.heldout_share=0"}), 1);
  EXPECT_THAT(output(), testing::AllOf(HasSubstr("expected at least one held-out task"),
                                       HasSubstr("--set evaluate.problems=0")));
  EXPECT_EQ(run("text", {"--set", file, "--set", "evaluate.problems=0"}), 1);
  EXPECT_THAT(output(), HasSubstr("expected one turn, the user's"));
}

}  // namespace
}  // namespace grpo
