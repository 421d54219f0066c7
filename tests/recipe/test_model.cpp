// The tools on a model folder of Hugging Face's form, and how it is opened.
#include <ATen/ATen.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "error_of.h"
#include "grpo/checkpoint.h"
#include "grpo/model.h"
#include "models_test.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using testing::HasSubstr;

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
  // So it is beside what a stop has left of a few more.
  write(part, whole.substr(0, whole.find('\n') + 1));
  ASSERT_EQ(tool(GRPO_EVALUATE, words("stopped.jsonl")), 0) << output();
  EXPECT_THAT(output(), HasSubstr("all tasks are answered in " + (folder_ / "stopped.jsonl").string() + " and " +
                                  part.string()));
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

}  // namespace
}  // namespace grpo
