// generate on a model folder: files of lines, conversations, templates.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "grpo/tokenizer.h"
#include "models_test.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using testing::HasSubstr;

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
      ASSERT_EQ(each["entropies"].size(), ids.size());
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

}  // namespace
}  // namespace grpo
