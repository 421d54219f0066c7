// The program `score`: lines in, the same lines with scores and a verdict out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "child.h"
#include "files.h"
#include "grpo/sandbox.h"

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

TEST_F(Score, stands_in_pipes) {
  std::string lines;  // more than a pipe holds
  for (int i = 0; i < 600; ++i)
    lines += R"({"gold": "1", "pred": "1", "note": ")" + std::string(1000, 'x') + "\"}\n";
  write("in.jsonl", lines);
  ASSERT_EQ(run(), 0) << said();
  const std::string expected = out();
  const auto shell = [&](const std::string& command) {
    Child child;
    child.start({"/bin/sh", "-c", "cd " + folder_.path().string() + " && " + command}, folder_ / "said");
    return child.wait();
  };
  EXPECT_EQ(shell("cat in.jsonl | " GRPO_SCORE " --in - --out - 2> said | cat > piped.jsonl"), 0);
  EXPECT_EQ(read_file(folder_ / "piped.jsonl"), expected) << "the lines and nothing else";
  EXPECT_THAT(said(), HasSubstr("600 lines"));
  shell("( " GRPO_SCORE " --in - --out - < in.jsonl 2> said; echo $? > status ) | head -1 > first.jsonl");
  EXPECT_EQ(read_file(folder_ / "status"), "141\n") << "nobody read on";
  EXPECT_THAT(said(), ::testing::Not(HasSubstr("error")));
  EXPECT_EQ(shell(GRPO_SCORE " --in - --out in.jsonl < in.jsonl"), 1);
  EXPECT_EQ(read_file(folder_ / "in.jsonl"), lines) << "standard input is that file";
}

TEST_F(Score, tells_of_kinds_that_nobody_knows_once) {
  write("in.jsonl", R"({"kind": "sum", "answer": "2", "completion": "2"}
{"kind": "sum", "answer": "2", "completion": "2"}
{"kind": "sudoko", "answer": "2", "completion": "2"}
{"kind": "choice", "answer": "B", "completion": "2"}
)");
  EXPECT_EQ(run({"--rewards", "accuracy, format"}), 0) << said();
  const std::string told = said(), sum = (folder_ / "in.jsonl").string() + ":1: unknown kind \"sum\": answers are read";
  EXPECT_THAT(told, AllOf(HasSubstr(sum), HasSubstr("in.jsonl:3: unknown kind \"sudoko\""), HasSubstr("\"sudoku\"?")));
  EXPECT_EQ(told.find("\"sum\""), told.rfind("\"sum\""));
  EXPECT_EQ(told.find("unknown kind \"choice\""), told.npos);
}

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

// A line that was scored before is scored again, and is otherwise as it was written.
TEST_F(Score, keeps_every_digit_of_a_line_that_was_scored_before) {
  const std::string line =
      R"({"id": 123456789012345678901234567890,  "x": [1.50e+2, "}, \\"], "gold":"3","s": "\\\" , {" , "pred":"3")";
  const std::string old =
      R"(, "scores": {"accuracy": 0.0, "b": [2]}, "verd\u0069ct":"wrong" ,"reason":"old", "last":-0.0})";
  write("in.jsonl", line + old + "\n{\"verdict\":1,\"gold\":1e-400,\"pred\":1e-400}\n");
  ASSERT_EQ(run(), 0) << said();
  const std::string scored = R"(,"scores":{"accuracy":1.0},"verdict":"correct"})";
  EXPECT_EQ(out(), line + R"(, "last":-0.0)" + scored + "\n{\"gold\":1e-400,\"pred\":1e-400" + scored + '\n');
}

TEST_F(Score, rounds_where_the_references_are_rounded) {
  write("in.jsonl", R"_({"gold": "(1.23, 4)", "pred": "(1.2345, 4)"})_");
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

// A program's verdict is that of the reward `code`, with the reason why it failed.
TEST_F(Score, tells_why_a_program_failed) {
  if (const std::string why = Sandbox::why_unavailable(SandboxConfig()); !why.empty()) GTEST_SKIP() << why;
  const std::string tests = R"({"inputs": ["1 2", "3 4"], "outputs": ["3", "7"]})",
                    calls = R"({"fn_name": "f", "inputs": [[1], [2]], "outputs": [1, 4]})",
                    check = R"({"entry_point": "f", "test": "def check(c):\n  assert c(2) == 4"})";
  const auto line = [](const std::string& answer, const std::string& program) {
    return Json{{"kind", "code"}, {"answer", answer}, {"completion", "```python\n" + program + "\n```"}}.dump() + '\n';
  };
  write("in.jsonl", line(tests, "print(sum(map(int, input().split())))") +           //
                        line(tests, "a = input().split()\nprint(int(a[0]) + 2)") +   //
                        line(tests, "print(1 / 0)") +                                //
                        line(tests, "import time\ntime.sleep(60)") +                 //
                        line(calls, "def f(x): return x") +                          //
                        line(check, "def f(x): return x") +                          //
                        R"({"kind": "code", "answer": "[{\"input\": \"\", \"output\": \"1\"}]", "completion": "1"})"
                        "\n"
                        R"({"answer": "1", "completion": "\\boxed{1}"})"
                        "\n");
  ASSERT_EQ(run({"--rewards", "code", "--scoring.code.limits.wall_seconds=3"}), 0) << said();
  const auto scored = lines_of(folder_ / "out.jsonl");
  EXPECT_EQ(scored.at(0)["scores"], Json::parse(R"({"code": 1.0})"));
  EXPECT_EQ(scored.at(0)["verdict"], "correct");
  EXPECT_FALSE(scored.at(0).contains("reason"));
  const std::vector<std::string> reasons{"",
                                         R"(test 2 of 2: wrong_output: printed "5\n", expected "7")",
                                         "test 1 of 2: runtime_error: ",
                                         "test 1 of 2: timeout",
                                         "test 2 of 2: wrong_output: returned 2, expected 4",
                                         "wrong_output: AssertionError:  in assert c(2) == 4",
                                         "no closed block of code"};
  for (std::size_t i = 1; i < reasons.size(); ++i) {
    EXPECT_EQ(scored.at(i)["scores"]["code"], 0.0) << i;
    EXPECT_EQ(scored.at(i)["verdict"], "wrong") << i;
    EXPECT_THAT(scored.at(i)["reason"].get<std::string>(), HasSubstr(reasons[i]));
  }
  EXPECT_THAT(scored.at(2)["reason"].get<std::string>(), HasSubstr("ZeroDivisionError"));
  EXPECT_TRUE(scored.at(7)["scores"]["code"].is_null());
  EXPECT_THAT(scored.at(7)["reason"].get<std::string>(), HasSubstr("expected \"kind\" to be \"code\""));
  EXPECT_EQ(scored.at(7)["verdict"], "correct") << "the others are scored as ever";
}

TEST_F(Score, has_the_verdict_of_the_reward_that_reads_the_reference) {
  write("in.jsonl",
        R"({"kind": "regex", "answer": "a+b", "completion": "<think>so</think><answer>aab</answer>"})"
        "\n"
        R"({"kind": "regex", "answer": "a+b", "completion": "<think>so</think><answer>b</answer>"})"
        "\n");
  ASSERT_EQ(run({"--rewards", "regex"}), 0) << said();
  EXPECT_EQ(lines_of(folder_ / "out.jsonl").at(0)["verdict"], "correct");
  EXPECT_EQ(lines_of(folder_ / "out.jsonl").at(1)["verdict"], "wrong");
  ASSERT_EQ(run(), 0) << said();
  EXPECT_EQ(lines_of(folder_ / "out.jsonl").at(0)["verdict"], "bad_reference") << "nobody reads it";
  write("in.jsonl", Json{{"kind", "instructions"},
                         {"answer", R"({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]})"},
                         {"completion", "<think>a</think><answer>No comma.</answer>"}}
                            .dump());
  ASSERT_EQ(run({"--rewards", "instructions"}), 0) << said();
  EXPECT_EQ(lines_of(folder_ / "out.jsonl").at(0)["verdict"], "correct");
}

// What was there stays until all of the new is.
TEST_F(Score, keeps_the_old_output_until_the_new_one_is_whole) {
  write("in.jsonl", "{\"gold\":\"1\",\"pred\":\"1\"}\n{\"gold\":\"1\",\"pred\"\n");
  write("out.jsonl", "old\n");
  EXPECT_EQ(run(), 1);
  EXPECT_EQ(out(), "old\n");
  write("in.jsonl", "{\"gold\":\"1\",\"pred\":\"1\"}\n");
  ASSERT_EQ(run(), 0) << said();
  EXPECT_EQ(lines_of(folder_ / "out.jsonl").size(), 1u);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out.jsonl.part"));
}

TEST_F(Score, never_writes_over_its_input) {
  namespace fs = std::filesystem;
  const std::string lines = "{\"gold\":\"1\",\"pred\":\"1\"}\n";
  write("in.jsonl", lines);
  fs::create_symlink(folder_ / "in.jsonl", folder_ / "link.jsonl");
  fs::create_hard_link(folder_ / "in.jsonl", folder_ / "hard.jsonl");
  fs::create_directory(folder_ / "sub");
  for (const fs::path& same : {folder_ / "in.jsonl", folder_.path() / "." / "in.jsonl", folder_ / "link.jsonl",
                              folder_ / "hard.jsonl", folder_.path() / "sub" / ".." / "in.jsonl"}) {
    EXPECT_EQ(run({"--out", same.string()}), 1) << same;
    EXPECT_THAT(said(), HasSubstr("an output that is none of the inputs"));
    EXPECT_EQ(read_file(folder_ / "in.jsonl"), lines) << same;
  }
  // Nor over one that has the name of its unfinished output.
  write("out.jsonl.part", lines);
  EXPECT_EQ(run({"--in", (folder_ / "out.jsonl.part").string()}), 1);
  EXPECT_EQ(read_file(folder_ / "out.jsonl.part"), lines);
  // A link to elsewhere stays one.
  fs::remove(folder_ / "out.jsonl.part");
  write("else.jsonl", "old\n");
  fs::create_symlink(folder_ / "else.jsonl", folder_ / "out.jsonl");
  ASSERT_EQ(run(), 0) << said();
  EXPECT_TRUE(fs::is_symlink(folder_ / "out.jsonl"));
  EXPECT_EQ(lines_of(folder_ / "else.jsonl").size(), 1u);
}

TEST_F(Score, writes_to_what_is_no_file) {
  write("in.jsonl", "{\"gold\":\"1\",\"pred\":\"1\"}\n");
  EXPECT_EQ(run({"--out", "/dev/null"}), 0) << said();
  EXPECT_EQ(run({"--out", "/dev/stdout"}), 0);
  EXPECT_THAT(said(), HasSubstr("\"verdict\":\"correct\"")) << "its standard output goes there";
  EXPECT_EQ(run({"--out", "/dev/full"}), 1);
  EXPECT_THAT(said(), HasSubstr("cannot write this file"));
  EXPECT_EQ(run({"--out", folder_.path().string()}), 1);
  EXPECT_THAT(said(), HasSubstr("got a folder"));
  EXPECT_EQ(run({"--in", folder_.path().string()}), 1);
  EXPECT_THAT(said(), HasSubstr("expected a JSONL file, got a folder"));
}

TEST_F(Score, ends_with_the_status_of_the_signal_that_stops_it) {
  std::filesystem::create_directory(folder_ / "fifo");
  const auto pipe = folder_ / "fifo" / "in.jsonl";  // that never ends
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    write("out.jsonl", "old\n");
    Child child;
    child.start({GRPO_SCORE, "--threads", "2", "--in", pipe.string(), "--out", (folder_ / "out.jsonl").string()},
                folder_ / "said");
    std::ofstream feed(pipe);
    std::string block;
    for (int i = 0; i < 256; ++i) block += "{\"gold\":\"1\",\"pred\":\"1\"}\n";
    const auto part = folder_ / "out.jsonl.part";
    const auto begun = [&] {
      feed << block << std::flush;
      return std::filesystem::exists(part) && std::filesystem::file_size(part) > 0;
    };
    ASSERT_TRUE(child.wait_until(begun)) << said();
    child.kill(signal);
    feed << block << block << block << std::flush;
    feed.close();
    EXPECT_EQ(child.wait(), 128 + signal);
    EXPECT_THAT(said(), AllOf(HasSubstr("stopped after"), HasSubstr("out.jsonl.part")));
    EXPECT_EQ(out(), "old\n");
    EXPECT_GE(lines_of(part).size(), 256u);
    std::filesystem::remove(part);
  }
  std::signal(SIGPIPE, before);
}

TEST_F(Score, refuses_a_line_that_nests_without_end) {
  write("in.jsonl", "{\"gold\":\"1\",\"pred\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}\n");
  EXPECT_EQ(run(), 1);
  EXPECT_THAT(said(), AllOf(HasSubstr("in.jsonl:1"), HasSubstr("got more than 512 levels of brackets")));
}

TEST_F(Score, names_the_line_that_it_cannot_score_and_keeps_those_before_it) {
  std::string lines;
  for (int i = 0; i < 1000; ++i) lines += "{\"gold\":\"1\",\"pred\":\"1\"}\n";
  write("in.jsonl", lines + "{\"gold\":\"1\",\"pred\"\n" + lines);
  EXPECT_EQ(run({"--threads", "3"}), 1);
  EXPECT_THAT(said(), AllOf(HasSubstr("in.jsonl:1001"), HasSubstr("expected a JSON object")));
  EXPECT_EQ(lines_of(folder_ / "out.jsonl.part").size(), 1000);
  EXPECT_THAT(said(), HasSubstr("out.jsonl.part"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out.jsonl"));
  for (const auto& [line, complaint] : std::map<std::string, std::string>{
           {"{\"gold\":\"1\"}", "expected \"completion\", or \"gold\" and \"pred\""},
           {"{\"gold\":[1],\"pred\":\"1\"}", "expected \"gold\" to be a text"},
           {"[]", "expected a JSON object"},
           {"{\"gold\":\"1\",\"pred\":" + std::string(200'000, '[') + std::string(200'000, ']') + "}",
            "got more than 512 levels of brackets"},
           {"{\"gold\":1e400,\"pred\":\"1\"}", "got a number beyond the range of doubles"}}) {
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
  EXPECT_THAT(said(), HasSubstr("rewards: expected some of accuracy, choice, "));
  EXPECT_THAT(said(), HasSubstr("got \"accurracy\""));
  EXPECT_EQ(run({"--set", "scoring.weights.format=0"}), 1);
  EXPECT_THAT(said(), HasSubstr("scoring.weights.format: expected none; --rewards says"));
  EXPECT_EQ(run({"--rewards", "accuracy,helpful"}), 1);
  EXPECT_THAT(said(), HasSubstr("rewards: expected rewards that rules decide, got helpful"));
  EXPECT_EQ(run({"--rewards", "overlong"}), 1);
  EXPECT_THAT(said(), HasSubstr("scoring.overlong_buffer: expected above 0"));
  EXPECT_EQ(run(), 1);
  EXPECT_THAT(said(), HasSubstr("in.jsonl: expected at least one line"));
  EXPECT_EQ(run({"--out", (folder_ / "no" / "out.jsonl").string()}), 1);
  EXPECT_THAT(said(), HasSubstr("out.jsonl: cannot create this file: its folder is not there"));
  EXPECT_EQ(run({"--threads", "1025"}), 1);
  EXPECT_THAT(said(), HasSubstr("threads: expected 0 <= x <= 1024, got 1025"));
}

}  // namespace
}  // namespace grpo
