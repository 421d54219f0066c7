// The program `score`: lines in, the same lines with scores and a verdict out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "child.h"
#include "files.h"

namespace grpo {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::AllOf;
using ::testing::HasSubstr;

class Score : public ::testing::Test {
 protected:
  /// Its exit status; what it says goes to `said`.
  int run(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{GRPO_SCORE, "--in", (folder_ / "in.jsonl").string(), "--out",
                                       (folder_ / "out.jsonl").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    Child child;
    child.start(arguments, folder_ / "said");
    return child.wait();
  }
  void write(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }
  std::string out() const { return read_file(folder_ / "out.jsonl"); }
  std::string said() const { return read_file(folder_ / "said"); }
  const Folder folder_;
};

TEST_F(Score, gives_each_pair_its_verdict) {
  const std::map<std::string, std::pair<std::string, std::string>> cases{{"correct", {"\\frac{1}{2}", "0.5"}},
                                                                         {"wrong", {"2", "3"}},
                                                                         {"unparseable", {"2", "I do not know."}},
                                                                         {"bad_reference", {"", "3"}},
                                                                         {"over_budget", {"2", "9^{9^{9^9}}"}}};
  std::string lines;
  for (const auto& [verdict, pair] : cases) lines += Json{{"gold", pair.first}, {"pred", pair.second}}.dump() + '\n';
  write("in.jsonl", lines);
  ASSERT_EQ(run(), 0) << said();
  const auto scored = lines_of(folder_ / "out.jsonl");
  ASSERT_EQ(scored.size(), cases.size());
  std::size_t i = 0;
  for (const auto& [verdict, pair] : cases) {
    EXPECT_EQ(scored[i]["verdict"], verdict);
    const Json expected = verdict == "bad_reference" ? Json(nullptr) : Json(verdict == "correct" ? 1.0 : 0.0);
    EXPECT_EQ(scored[i++]["scores"]["accuracy"], expected) << verdict;
  }
}

TEST_F(Score, scores_completions_by_the_rewards_that_are_asked_for) {
  write("in.jsonl",
        R"({"prompt": "2+2?", "answer": "4", "completion": "<think>Two and two make four.</think><answer>4</answer>"})"
        "\n"
        R"({"prompt": "2+2?", "answer": 4, "completion": "둘에 둘은 넷이다.", "language": "en"})"
        "\n");
  ASSERT_EQ(run({"--rewards", "accuracy,format,language_consistency"}), 0) << said();
  const auto scored = lines_of(folder_ / "out.jsonl");
  EXPECT_EQ(scored.at(0)["scores"], Json::parse(R"({"accuracy": 1.0, "format": 1.0, "language_consistency": 1.0})"));
  EXPECT_EQ(scored.at(0)["verdict"], "correct");
  EXPECT_EQ(scored.at(1)["scores"]["format"], 0.0);
  EXPECT_EQ(scored.at(1)["verdict"], "unparseable");
}

// Numbers keep their digits, keys their order, blank lines vanish.
TEST_F(Score, leaves_the_line_as_it_was) {
  const std::string line = R"({"z": 1.50e+2,  "gold":"3" ,"pred":"3", "a":[ 1 ]  })";
  write("in.jsonl", "\n" + line + "\r\n  \n" + line);
  ASSERT_EQ(run(), 0) << said();
  const std::string scored =
      line.substr(0, line.size() - 1) + R"(,"scores":{"accuracy":1.0},"verdict":"correct"})" + '\n';
  EXPECT_EQ(out(), scored + scored);
}

// 2^64 + 1 and its neighbours, which a double cannot tell apart, and one that it does not hold.
TEST_F(Score, compares_all_digits_of_a_number) {
  const std::pair<std::string, bool> kLines[] = {
      {R"({"gold": 18446744073709551617, "pred": "18446744073709552000"})", false},
      {R"({"gold": 18446744073709551617, "pred": 18446744073709551617})", true},
      {R"({"gold": 100000000000000000000001, "pred": "100000000000000000000001"})", true},
      {R"({"gold": "100000000000000000000000", "pred": 100000000000000000000001})", false},
      {R"({"gold": 0.1000000000000000000001, "pred": "0.1"})", false},
      {R"({"gold": 1.0, "pred": 1})", true},
      {R"({"gold": -0, "pred": "0"})", true},
      {R"({"gold": 1e-400, "pred": "0"})", false}};
  std::string lines, expected;
  for (const auto& [line, right] : kLines) {
    lines += line + '\n';
    expected += line.substr(0, line.size() - 1) + R"(,"scores":{"accuracy":)" + (right ? "1.0" : "0.0") +
                R"(},"verdict":")" + (right ? "correct" : "wrong") + "\"}\n";
  }
  write("in.jsonl", lines);
  ASSERT_EQ(run(), 0) << said();
  EXPECT_EQ(out(), expected);
}

TEST_F(Score, rounds_where_the_references_are_rounded) {
  write("in.jsonl", R"({"gold": "(1.23, 4)", "pred": "(1.2345, 4)"})");
  ASSERT_EQ(run(), 0) << said();
  EXPECT_THAT(out(), HasSubstr("\"wrong\""));
  ASSERT_EQ(run({"--set", "scoring.answers.precision=2"}), 0) << said();
  EXPECT_THAT(out(), HasSubstr("\"correct\""));
}

TEST_F(Score, gives_the_same_lines_in_order_on_any_number_of_threads_and_when_scored_again) {
  std::string lines;
  for (int i = 0; i < 5000; ++i)
    lines +=
        Json{{"id", i}, {"gold", std::to_string(i)}, {"pred", "\\boxed{" + std::to_string(i - i % 7) + "}"}}.dump() +
        '\n';
  write("in.jsonl", lines);
  ASSERT_EQ(run({"--threads", "1"}), 0) << said();
  const std::string serial = out();
  for (const char* threads : {"2", "7"}) {
    ASSERT_EQ(run({"--threads", threads}), 0) << said();
    EXPECT_EQ(out(), serial) << threads << " threads";
  }
  write("in.jsonl", serial);
  ASSERT_EQ(run(), 0) << said();
  EXPECT_EQ(out(), serial);
}

TEST_F(Score, names_the_line_that_it_cannot_score_and_keeps_those_before_it) {
  std::string lines;
  for (int i = 0; i < 1000; ++i) lines += "{\"gold\":\"1\",\"pred\":\"1\"}\n";
  write("in.jsonl", lines + "{\"gold\":\"1\",\"pred\"\n" + lines);
  EXPECT_EQ(run({"--threads", "3"}), 1);
  EXPECT_THAT(said(), AllOf(HasSubstr("in.jsonl:1001"), HasSubstr("expected a JSON object")));
  EXPECT_EQ(lines_of(folder_ / "out.jsonl").size(), 1000);
  for (const auto& [line, complaint] :
       std::map<std::string, std::string>{{"{\"gold\":\"1\"}", "expected \"completion\", or \"gold\" and \"pred\""},
                                          {"{\"gold\":[1],\"pred\":\"1\"}", "expected \"gold\" to be a text"},
                                          {"[]", "expected a JSON object"},
                                          {"{\"gold\":\"1\",\"pred\":" + std::string(200'000, '[') +
                                               std::string(200'000, ']') + "}",
                                           "got more than 512 levels of brackets"},
                                          {"{\"gold\":1e400,\"pred\":\"1\"}",
                                           "got a number beyond the range of doubles"}}) {
    write("in.jsonl", line);
    EXPECT_EQ(run(), 1) << line;
    EXPECT_THAT(said(), AllOf(HasSubstr("in.jsonl:1:"), HasSubstr(complaint)));
  }
}

TEST_F(Score, refuses_what_it_cannot_read_write_or_compute) {
  EXPECT_EQ(run(), 1);
  EXPECT_THAT(said(), HasSubstr("no such file"));
  write("in.jsonl", "");
  EXPECT_EQ(run({"--rewards", "accurracy"}), 1);
  EXPECT_THAT(said(), AllOf(HasSubstr("accurracy"), HasSubstr("accuracy")));
  EXPECT_EQ(run({"--out", (folder_ / "no" / "out.jsonl").string()}), 1);
  EXPECT_THAT(said(), HasSubstr("could not open"));
}

}  // namespace
}  // namespace grpo
