// The driver of suites: a small model through benchmarks of every kind, stopped, gone on with, and scored again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "child.h"
#include "files.h"
#include "grpo/pretrained.h"
#include "grpo/sandbox.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// A small random model, a suite, and data for some of its rows, each in a form that an owner has.
class SuiteDriver : public testing::Test {
 protected:
  static constexpr int kMaths = 160;  // problems: more than are asked at once
  SuiteDriver() : model_(folder_ / "model") {
    const fs::path fixtures = fs::path(GRPO_FIXTURES), like = folder_ / "like";
    fs::create_directory(like);
    Json config = Json::parse(read_file(fixtures / "models/smollm2/config.json"));
    config["vocab_size"] = 483;
    write("like/config.json", config.dump());
    fs::copy_file(fixtures / "tokenizers/smollm/tokenizer.json", like / "tokenizer.json");
    write("like/tokenizer_config.json", R"({"eos_token": "<|im_end|>"})");
    write("like/generation_config.json", R"({"eos_token_id": [482, 480]})");
    write("like/chat_template.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}");
    save_pretrained(Policy(pretrained_config(like), 5), model_, like);

    write_maths(kMaths);
    write("simple_qa.csv", "metadata,problem,answer\n{},\"Who,\nthen?\",Ann\n{},Where?,Here\n");
    write("human_eval.jsonl", Json{{"task_id", "own/0"},
                                   {"prompt", "def one():\n    \"\"\"1\"\"\"\n"},
                                   {"entry_point", "one"},
                                   {"canonical_solution", "    return 1\n"},
                                   {"test", "def check(candidate):\n    assert candidate() == 1\n"}}
                                  .dump());
    write("swe.json", Json{{"total_instances", 4}, {"resolved_ids", {"a"}}}.dump(2));
    write("suite.json", R"({"max_new_tokens": 24, "seed": 3, "source": "a paper", "columns": ["other"], "rows": [
      {"name": "mmlu", "file": "DIR/mmlu.jsonl", "url": "https://example.org/mmlu", "cited": {"other": 50}},
      {"name": "math_500", "file": "DIR/math.jsonl", "samples": 4, "cited": {"other": 90.25}},
      {"name": "math_500", "file": "DIR/math.jsonl", "figure": "cons@4", "samples": 4},
      {"name": "simple_qa", "file": "DIR/simple_qa.csv", "samples": 2},
      {"name": "human_eval", "file": "DIR/human_eval.jsonl"},
      {"name": "swe_verified", "file": "DIR/swe.json"}]})");
  }

  /// Writes a file of the folder, whose name the text may hold as DIR.
  void write(const std::string& name, std::string text) {
    for (size_t at; (at = text.find("DIR/")) != text.npos;) text.replace(at, 3, folder_.path().string());
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  void write_maths(int count) {
    std::string lines;
    for (int i = 0; i < count; ++i)
      lines += Json{{"problem", std::to_string(i) + "+1?"}, {"answer", i + 1}, {"unique_id", i}}.dump() + "\n";
    write("math.jsonl", lines);
  }
  void start(const std::string& out, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words{GRPO_EVALUATE,          "--model", model_,       "--suite",
                                   folder_ / "suite.json", "--out",   folder_ / out};
    words.insert(words.end(), more.begin(), more.end());
    fs::remove(folder_ / (out + ".log"));
    child_.start(words, folder_ / (out + ".log"), 1);
  }
  int evaluate(const std::string& out, const std::vector<std::string>& more = {}) {
    start(out, more);
    return child_.wait();
  }
  std::string log(const std::string& out) { return read_file(folder_ / (out + ".log")); }
  std::string file(const std::string& name) { return read_file(folder_ / name); }
  std::vector<std::string> with_judge() { return {"--judge", model_}; }

  Folder folder_;
  fs::path model_;
  Child child_;
};

TEST_F(SuiteDriver, prints_a_table_of_what_is_there_and_says_what_is_not) {
  ASSERT_EQ(evaluate("out", with_judge()), 0) << log("out");
  const std::string table = file("out/table.md");
  EXPECT_THAT(log("out"), AllOf(HasSubstr(table), HasSubstr("math_500 160/160"), HasSubstr("simple_qa judged")));
  EXPECT_THAT(table, HasSubstr("| MMLU (Pass@1) | - | 50.0 |"));
  EXPECT_THAT(table, HasSubstr("| SWE Verified (Resolved) | 25.0 (0.6 to 80.6) | - |"));
  EXPECT_THAT(table, HasSubstr("- mmlu: " + (folder_ / "mmlu.jsonl").string() + "; from https://example.org/mmlu"));
  EXPECT_THAT(table, HasSubstr("cited from a paper"));
  const Json figures = Json::parse(file("out/figures.json"));
  EXPECT_EQ(figures["math_500"]["problems"], kMaths);
  EXPECT_EQ(figures["math_500"]["completions"], 4 * kMaths);
  EXPECT_TRUE(figures["math_500"].contains("cons@4"));
  if (const std::string why = Sandbox::why_unavailable(); why.empty()) {
    EXPECT_TRUE(figures["human_eval"].contains("pass@1"));
  } else {
    EXPECT_THAT(log("out"), AllOf(HasSubstr("human_eval: its answers are in "), HasSubstr(why)));
  }
  EXPECT_TRUE(figures["simple_qa"].contains("f_score"));
  const auto lines = lines_of(folder_ / "out/simple_qa.jsonl");
  ASSERT_EQ(lines.size(), 4u);
  for (const Json& line : lines) EXPECT_LE(line["verdicts"].size(), 1u);
}

TEST_F(SuiteDriver, scores_completions_that_are_there_without_sampling) {
  ASSERT_EQ(evaluate("out", with_judge()), 0) << log("out");
  // Other completions in the same form: right, and in any order.
  std::string right;
  for (int i = kMaths - 1; i >= 0; --i)
    for (int sample = 0; sample < 4; ++sample)
      right += Json{{"benchmark", "math_500"},
                    {"id", std::to_string(i)},
                    {"sample", sample},
                    {"text", "\\boxed{" + std::to_string(i + 1) + "}"}}
                   .dump() +
               "\n";
  write("out/math_500.jsonl", right);
  write("out/human_eval.jsonl", Json{{"benchmark", "human_eval"},
                                     {"id", "own/0"},
                                     {"sample", 0},
                                     {"text", "```python\ndef one():\n    return 1\n```"}}
                                    .dump());
  ASSERT_EQ(evaluate("out", with_judge()), 0) << log("out");
  EXPECT_THAT(log("out"), AllOf(Not(HasSubstr("math_500 ")), Not(HasSubstr("judged"))));
  EXPECT_THAT(file("out/table.md"), AllOf(HasSubstr("| MATH-500 (Pass@1) | 100.0 (97.7 to 100.0) | 90.2 |"),
                                          HasSubstr("| MATH-500 (cons@4) | 100.0 ")));
  if (Sandbox::why_unavailable().empty()) {
    EXPECT_THAT(file("out/table.md"), HasSubstr("| HumanEval (Pass@1) | 100.0 "));
  }
}

TEST_F(SuiteDriver, goes_on_after_kills_and_ends_with_the_same_files) {
  write_maths(3 * kMaths);
  ASSERT_EQ(evaluate("whole", with_judge()), 0) << log("whole");
  const std::string whole = file("whole/math_500.jsonl");
  std::mt19937 random(7);
  std::string said;
  int stopped = 0;
  // Killed when it has written so much, each time some more; then what a torn write leaves is added. (A machine that is
  // busy may look too late, and find it done.)
  for (const double share : {0.05, 0.2, 0.25, 0.5}) {
    start("stopped", with_judge());
    const bool running = child_.wait_until([&] {
      std::error_code none;
      const auto size = fs::file_size(folder_ / "stopped/math_500.jsonl", none);
      return !none && static_cast<double>(size) >= share * static_cast<double>(whole.size());
    });
    child_.kill(share < 0.2 ? SIGTERM : SIGKILL);
    const int status = child_.wait();
    stopped += status != 0 && running;
    said += log("stopped");
    if (share < 0.2 && running) {
      EXPECT_EQ(status, 128 + SIGTERM);
      EXPECT_THAT(log("stopped"), HasSubstr("the same command goes on"));
    }
    write("stopped/math_500.jsonl", file("stopped/math_500.jsonl") + whole.substr(0, 1 + random() % 60));
  }
  EXPECT_GT(stopped, 0);
  ASSERT_EQ(evaluate("stopped", with_judge()), 0) << log("stopped");
  EXPECT_THAT(said + log("stopped"), AllOf(HasSubstr("which a stop cut short"), HasSubstr("math_500: goes on with ")));
  for (const char* name : {"math_500.jsonl", "simple_qa.jsonl", "human_eval.jsonl", "figures.json", "table.md"})
    EXPECT_EQ(file(std::string("stopped/") + name), file(std::string("whole/") + name)) << name;
}

TEST_F(SuiteDriver, tells_of_a_wrong_line_before_it_samples_and_loses_nothing) {
  ASSERT_EQ(evaluate("out", with_judge()), 0) << log("out");
  const std::string before = file("out/math_500.jsonl");
  write("swe.json", "{\"total_instances\": 4}");
  EXPECT_EQ(evaluate("fresh"), 1);
  EXPECT_THAT(log("fresh"), HasSubstr("swe.json:1.resolved_ids"));
  EXPECT_FALSE(fs::exists(folder_ / "fresh"));
  fs::remove(folder_ / "swe.json");
  write("mmlu.jsonl",
        "{\"question\": \"q\", \"choices\": [\"1\", \"2\", \"3\", \"4\"], \"answer\": 1}\n{\"question\": \n");
  EXPECT_EQ(evaluate("out", with_judge()), 1);
  EXPECT_THAT(log("out"), HasSubstr("mmlu.jsonl:2: expected JSON"));
  fs::remove(folder_ / "mmlu.jsonl");
  // A wrong line among the completions.
  write("out/math_500.jsonl", "not JSON\n" + before);
  EXPECT_EQ(evaluate("out", with_judge()), 1);
  EXPECT_THAT(log("out"), HasSubstr("math_500.jsonl:1: expected a completion"));
  EXPECT_EQ(file("out/math_500.jsonl"), "not JSON\n" + before);
}

TEST_F(SuiteDriver, does_not_take_the_folder_of_the_data) {
  write("suite.json", R"({"max_new_tokens": 24, "rows": [{"name": "math_500", "file": "DIR/data/math_500.jsonl"}]})");
  fs::create_directory(folder_ / "data");
  fs::rename(folder_ / "math.jsonl", folder_ / "data/math_500.jsonl");
  const std::string before = file("data/math_500.jsonl");
  EXPECT_EQ(evaluate("data"), 1);
  EXPECT_THAT(log("data"), HasSubstr("another folder than that of the data"));
  EXPECT_EQ(file("data/math_500.jsonl"), before);
}

TEST_F(SuiteDriver, says_what_is_no_suite_and_no_folder) {
  EXPECT_EQ(evaluate("swe.json"), 1);
  EXPECT_THAT(log("swe.json"), HasSubstr("error: [suite] out: cannot make the folder "));
  fs::remove(folder_ / "suite.json");
  fs::create_directory(folder_ / "suite.json");
  EXPECT_EQ(evaluate("out"), 1);
  EXPECT_THAT(log("out"), HasSubstr("suite.json: expected a suite, got a folder"));
}

TEST_F(SuiteDriver, keeps_apart_what_was_sampled_in_another_way) {
  ASSERT_EQ(evaluate("out"), 0) << log("out");
  EXPECT_THAT(log("out"), HasSubstr("--judge FOLDER scores them"));
  EXPECT_THAT(file("out/table.md"), HasSubstr("| SimpleQA (Correct) | - | - |"));
  EXPECT_EQ(evaluate("out", {"--max_new_tokens", "8"}), 1);
  EXPECT_THAT(log("out"), AllOf(HasSubstr("settings.json"), HasSubstr("max_new_tokens"), HasSubstr("another --out")));
}

// Old answers are none to a question that was put in other words, nor are old verdicts on another question.
TEST_F(SuiteDriver, asks_again_what_has_changed_since) {
  write("suite.json", R"({"max_new_tokens": 8, "rows": [{"name": "math_500", "file": "DIR/math.jsonl"},
                          {"name": "simple_qa", "file": "DIR/simple_qa.csv"}]})");
  write_maths(6);
  ASSERT_EQ(evaluate("out", with_judge()), 0) << log("out");
  const auto before = lines_of(folder_ / "out/math_500.jsonl");
  std::string maths = file("math.jsonl");
  maths.replace(maths.find("3+1?"), 4, "3+9?");
  write("math.jsonl", maths);
  write("simple_qa.csv", "metadata,problem,answer\n{},\"Who,\nthen?\",Bob\n{},Where?,Here\n");  // another reference
  ASSERT_EQ(evaluate("out", with_judge()), 0) << log("out");
  EXPECT_THAT(log("out"), AllOf(HasSubstr("math_500: 1 of 6 problems are put in other words"),
                                HasSubstr("math_500 1/1"), HasSubstr("are another judge's, or on another question")));
  const auto after = lines_of(folder_ / "out/math_500.jsonl");
  ASSERT_EQ(after.size(), 6u);
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(before[i] == after[i], i != 3) << i;
  ASSERT_EQ(evaluate("out", with_judge()), 0) << log("out");
  EXPECT_THAT(log("out"),
              AllOf(Not(HasSubstr("other words")), Not(HasSubstr("another judge's")), Not(HasSubstr("judged"))));

  // Other weights under the same name.
  save_pretrained(Policy(pretrained_config(model_), 6), folder_ / "model2", model_);
  fs::rename(model_, folder_ / "model1"), fs::rename(folder_ / "model2", model_);
  EXPECT_EQ(evaluate("out", with_judge()), 1);
  EXPECT_THAT(log("out"), AllOf(HasSubstr("settings.json: expected \"weights\""), HasSubstr("another --out")));
}

TEST_F(SuiteDriver, gives_a_prompt_without_room_no_answer_and_goes_on) {
  write("suite.json", R"({"max_new_tokens": 24, "rows": [{"name": "math_500", "file": "DIR/math.jsonl"}]})");
  write("math.jsonl", Json{{"problem", std::string(3000, 'x')}, {"answer", 1}}.dump() + "\n" +
                          Json{{"problem", "1?"}, {"answer", 1}}.dump());
  ASSERT_EQ(evaluate("out", {"--max_positions", "256"}), 0) << log("out");
  EXPECT_THAT(log("out"), HasSubstr("no room in the model's 256 positions for 1 of the prompts"));
  const auto lines = lines_of(folder_ / "out/math_500.jsonl");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["text"], "");
  EXPECT_EQ(lines[0]["cut"], true);
}

}  // namespace
}  // namespace grpo
