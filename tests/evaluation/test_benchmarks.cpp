// Rows of the suite that are scored by rules; test_judged_benchmarks.cpp has those that a judge reads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <fstream>

#include "benchmarks_test.h"
#include "error_of.h"
#include "evaluation/benchmarks/text.h"

namespace grpo {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const json& fixtures() {
  static const json all = json::parse(std::ifstream(GRPO_FIXTURES "/benchmarks.json"));
  return all;
}

json four_choices() {
  return object({{"question", "q"}, {"choices", texts({"1", "2", "3", "4"})}, {"answer", 2}, {"error_type", "ok"}});
}

// ---- Against the published evaluations ------------------------------------------------------------------------------

TEST(DropScore, equals_the_published_evaluation) {
  for (const json& each : fixtures()["drop"]) {
    const DropScore score = drop_score(each["predicted"], each["reference"]);
    EXPECT_EQ(score.exact, 100 * each["score"][0].get<double>()) << each;
    EXPECT_NEAR(score.f1, each["score"][1].get<double>(), 1e-9) << each;
  }
}

TEST(MmluPro, reads_choices_as_the_published_evaluation_does) {
  for (const json& each : fixtures()["mmlu_pro"]) {
    const char choice = mmlu_pro_choice(each["text"].get<std::string>());
    EXPECT_EQ(choice ? std::string(1, choice) : "", each["choice"].get<std::string>()) << each;
  }
}

TEST_F(Benchmarks, codeforces_rates_as_the_published_evaluation_does) {
  // That one counts places from 0: without the first of those ahead, the place counted from 1 is the same.
  for (json contest : fixtures()["contests"]) {
    std::vector<Answered> completions;
    std::vector<json> problems;
    for (const char index : {'A', 'B', 'C', 'D', 'E'}) {
      const std::string id = std::string("7") + index;
      problems.push_back(object({{"problem_id", id}, {"description", "d"}, {"input", "i"}, {"output", "o"}}));
      const json attempts = contest["attempts"].value(id, json::array({"WA"}));
      for (std::size_t i = 0; i < attempts.size(); ++i)
        completions.push_back({id, i, "```cpp\n" + attempts[i].get<std::string>() + "\n```", false, {}});
    }
    json& rows = contest["standings"]["rows"];
    rows.erase(rows.begin());
    BenchmarkSource source;
    source.beside = {write("contests.jsonl", {contest}), write("ratings.json", {json::array({800, 1000, 1200, 3000})})};
    Graders graders;
    graders.passes_tests = [](const BenchmarkProblem&, const std::string& program) { return program == "AC\n"; };
    const BenchmarkScore scoring = score_completions(data("codeforces", problems, source), completions, graders);
    const int rating = contest["rating"];
    EXPECT_EQ(scoring.figures.at("rating").value, rating);
    EXPECT_EQ(4 * scoring.figures.at("percentile").value, (rating > 800) + (rating > 1000) + (rating > 1200));

    // The same from verdicts alone, one attempt a line.
    std::vector<json> verdicts;
    for (const Answered& each : completions)
      verdicts.push_back(object(
          {{"problem_id", each.id}, {"verdict", each.text.find("AC") == std::string::npos ? "WRONG_ANSWER" : "OK"}}));
    source.file = write("verdicts.jsonl", verdicts);
    EXPECT_EQ(import_report(find_benchmark("codeforces"), source).figures.at("rating").value, rating);
  }
  EXPECT_EQ(fixtures()["contests"].size(), 6u);
}

// ---- Rows -----------------------------------------------------------------------------------------------------------

TEST_F(Benchmarks, mmlu_reads_both_published_forms) {
  const json list = object({{"question", "2+2?"}, {"choices", texts({"3", "4", "5", "6"})}, {"answer", 1}});
  const json columns = object({{"Question", "2+2?"}, {"A", "3"}, {"B", "4"}, {"C", "5"}, {"D", "6"}, {"Answer", "B"}});
  for (const json& line : {list, columns}) {
    const BenchmarkData mmlu = data("mmlu", {line});
    EXPECT_EQ(mmlu.problems[0].task.answer, "B");
    EXPECT_THAT(mmlu.problems[0].task.prompt, AllOf(HasSubstr("2+2?"), HasSubstr("B) 4"), HasSubstr("ABCD")));
    for (const char* good :
         {"Answer: B", "<think>Answer: A</think>Answer: $B$", "so\n**Answer:** B", "(B)", "B.",
          "<think>x</think><answer>B</answer>", "ANSWER : \\boxed{B}", "answer: \\text{B}", "Answer: **B**"})
      EXPECT_EQ(right(mmlu, good), 1) << good;
    for (const char* bad : {"Answer: A", "Answer: b", "Answer: Because", "", "<think>Answer: B", "I say B", "Answer: E",
                            "Answer: A\nAnswer: B", "A B C D", "Answer:"})
      EXPECT_EQ(right(mmlu, bad), 0) << bad;
    EXPECT_TRUE(mark(mmlu, "no idea").unreadable);
    Graders open;
    open.think_open = true;
    EXPECT_EQ(right(mmlu, "Answer: B", open), 0) << "thinking that the prompt opened and nobody closed";
  }
}

TEST_F(Benchmarks, mmlu_redux_leaves_errors_out_and_reads_json) {
  json bad = four_choices();
  bad["error_type"] = "wrong_groundtruth";
  const BenchmarkData redux = data("mmlu_redux", {bad, four_choices(), bad});
  ASSERT_EQ(redux.problems.size(), 1u);
  EXPECT_EQ(redux.problems[0].task.id, "1") << "ids are places in the file";
  bad["correct_answer"] = "D";
  EXPECT_EQ(data("mmlu_redux", {bad}).problems[0].task.answer, "D") << "a wrong key that was mended";
  bad["correct_answer"] = "several";
  EXPECT_EQ(data("mmlu_redux", {bad, four_choices()}).problems.size(), 1u);
  EXPECT_EQ(right(redux, "```json\n{\"reasoning\": \"\\\"answer\\\": \\\"A\\\"\", \"answer\" : \"C\"}\n```"), 1);
  EXPECT_EQ(right(redux, "{\"answer\": \"B\"} {\"answer\": \"C\"}"), 1) << "the last counts";
  EXPECT_EQ(right(redux, "{\"answer\": \"C\"} {\"answer\": \"B\"}"), 0);
  EXPECT_EQ(right(redux, "{\"answer\": \"Cat\"}"), 0);
  EXPECT_EQ(right(redux, "{\"answer\": 2}"), 0);
}

TEST_F(Benchmarks, mmlu_pro_has_up_to_ten_options) {
  const json line = object({{"question_id", 70},
                            {"question", "q"},
                            {"category", "law"},
                            {"answer", "C"},
                            {"answer_index", 2},
                            {"options", texts({"w", "x", "y", "N/A", "N/A"})}});
  const BenchmarkData pro = data("mmlu_pro", {line});
  EXPECT_EQ(pro.problems[0].task.id, "70");
  EXPECT_THAT(pro.problems[0].task.prompt, AllOf(HasSubstr("law"), HasSubstr("C. y"), Not(HasSubstr("N/A"))));
  EXPECT_EQ(right(pro, "The answer is (C)."), 1);
  EXPECT_TRUE(mark(pro, "no letter here").unreadable) << "no guess in its place";
}

TEST_F(Benchmarks, gpqa_shuffles_by_seed) {
  const json line = object({{"Question", "q"},
                            {"Correct Answer", "right\n"},
                            {"Incorrect Answer 1", "w1"},
                            {"Incorrect Answer 2", "w2"},
                            {"Incorrect Answer 3", "w3"}});
  std::map<std::string, int> places;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    BenchmarkSource source;
    source.seed = seed;
    const BenchmarkProblem problem = data("gpqa_diamond", {line}, source).problems[0];
    EXPECT_THAT(problem.task.prompt, HasSubstr(problem.task.answer + ") right"));
    ++places[problem.task.answer];
  }
  for (const auto& [letter, count] : places) EXPECT_NEAR(count, 50, 25) << letter;
  EXPECT_EQ(places.size(), 4u);
}

TEST_F(Benchmarks, drop_shows_three_examples_and_takes_the_best_reference) {
  std::vector<json> examples;
  for (const char* each : {"one", "two", "three", "four"})
    examples.push_back(object({{"context", std::string("passage ") + each}, {"completion", each}}));
  BenchmarkSource source;
  source.beside = {write("train.jsonl", examples)};
  const json line = object({{"context", "Who won? "}, {"ref_text", "5|the Tigers|Detroit Tigers"}});
  const BenchmarkData drop = data("drop", {line}, source);
  std::size_t shown = 0;
  for (const json& each : examples)
    shown += drop.problems[0].task.prompt.find(each["context"].get<std::string>()) != std::string::npos;
  EXPECT_EQ(shown, 3u);
  EXPECT_EQ(mark(drop, "They won.\nAnswer: Detroit Tigers\nyes").values.at("f1"), 1);
  EXPECT_NEAR(mark(drop, "answer : New York Tigers").values.at("f1"), 0.5, 1e-9);
  EXPECT_EQ(mark(drop, "<think>Answer: Tigers</think>").values.at("f1"), 0);
  EXPECT_THAT(error_of([&] { data("drop", {line}); }), HasSubstr("3 examples"));
}

TEST_F(Benchmarks, drop_reads_the_forms_it_is_published_in) {
  const auto answer = [](const char* number, std::initializer_list<const char*> spans, const char* year) {
    return object({{"number", number},
                   {"spans", texts(spans)},
                   {"date", object({{"day", ""}, {"month", year[0] ? "May" : ""}, {"year", year}})}});
  };
  const auto pair = [&](const char* id, const json& first, const json& more) {
    return object({{"query_id", id}, {"question", "Who?"}, {"answer", first}, {"validated_answers", more}});
  };
  const json owners = object(
      {{"nfl_1", object({{"passage", "Ann and Bob."},
                         {"qa_pairs", json::array({pair("a", answer("", {"Ann", "Bob"}, ""), json::array()),
                                                   pair("b", answer("3", {}, ""), json::array({answer("4", {}, "")})),
                                                   pair("c", answer("", {}, "1999"), json::array())})}})}});
  BenchmarkSource source;
  source.file = folder_.path() / "drop_dataset_dev.json";
  std::ofstream(source.file) << owners.dump(2);
  source.beside = {source.file};
  const BenchmarkData drop = read_benchmark(find_benchmark("drop"), source);
  ASSERT_EQ(drop.problems.size(), 3u);
  EXPECT_THAT(drop.problems[0].task.prompt,
              AllOf(HasSubstr("Answer: Ann | Bob\n"), HasSubstr("Answer: May 1999\n"), HasSubstr("Answer: 3\n")));
  const auto f1 = [](const BenchmarkData& data, const std::string& text, std::size_t problem = 0) {
    return score_completions(data, {{data.problems[problem].task.id, 0, text, false, {}}}).marks[0].values.at("f1");
  };
  EXPECT_EQ(f1(drop, "Answer: Bob | Ann"), 1) << "aligned, in any order";
  EXPECT_NEAR(f1(drop, "Answer: Bob"), 0.5, 1e-9);
  EXPECT_EQ(f1(drop, "Answer: 4", 1), 1) << "any annotator's";
  EXPECT_EQ(f1(drop, "Answer: May 1999", 2), 1);

  json columns = pair("d", answer("", {"Ann"}, ""),
                      object({{"number", texts({"", "7"})}, {"spans", json::array({texts({"Bob"}), texts({})})}}));
  columns["passage"] = "p";
  const json listed = object({{"query_id", "e"},
                              {"passage", "p"},
                              {"question", "q"},
                              {"answers_spans", object({{"spans", texts({"Ann", "Bob", "Ann"})}})}});
  const BenchmarkData others = data("drop", {columns, listed}, source);
  for (const char* good : {"Answer: Ann", "Answer: Bob", "Answer: 7"}) EXPECT_EQ(f1(others, good), 1) << good;
  for (const char* good : {"Answer: Ann", "Answer: Ann | Bob"}) EXPECT_EQ(f1(others, good, 1), 1) << good;
}

TEST_F(Benchmarks, maths_is_checked_by_the_grader_and_voted_on) {
  const BenchmarkData aime = data("aime_2024", {object({{"ID", "2024-I-1"}, {"Problem", "p"}, {"Answer", 204}}),
                                                object({{"problem", "q"}, {"answer", "1/2"}})});
  EXPECT_EQ(right(aime, "so \\boxed{204}"), 1);
  EXPECT_EQ(right(aime, "<think>\\boxed{204}"), 0);
  EXPECT_EQ(right(aime, "204"), 0) << "an answer stands in a box";
  EXPECT_EQ(right(aime, "<think></think><answer>204</answer>"), 1);
  const std::string two = "so $\\boxed{200}$ or rather $\\boxed{204}$";
  EXPECT_EQ(right(aime, two), 0) << "two answers are none";
  Graders last;
  last.last_box = true;
  EXPECT_EQ(score_completions(aime, {{"2024-I-1", 0, two, false, {}}}, last).marks[0].values.at("right"), 1);
  std::vector<Answered> completions;
  const char* halves[] = {"0.5", "\\frac12", "3", ""};
  for (std::size_t sample = 0; sample < 4; ++sample) {
    completions.push_back({"2024-I-1", sample, sample == 1 ? "\\boxed{204}" : "\\boxed{7}", false, {}});
    completions.push_back({"1", sample, std::string("\\boxed{") + halves[sample] + "}", false, {}});
  }
  const BenchmarkScore scoring = score_completions(aime, completions);
  EXPECT_EQ(scoring.figures.at("pass@1").value, (0.25 + 0.5) / 2);
  EXPECT_EQ(scoring.figures.at("pass@4").value, 1);
  EXPECT_NEAR(scoring.figures.at("pass@2").value, (1.0 / 2 + 5.0 / 6) / 2, 1e-12) << "1 and 2 of 4 are right";
  EXPECT_EQ(scoring.figures.at("cons@4").value, 0.5) << "0.5 and 1/2 vote together";
  EXPECT_EQ(scoring.unreadable, 1u);
  Graders strict;
  strict.same_answer = [](std::string_view, std::string_view) { return false; };
  EXPECT_EQ(score_completions(aime, completions, strict).figures.at("pass@1").value, 0);
}

TEST_F(Benchmarks, if_eval_and_code_ask_their_graders) {
  json asked =
      object({{"key", 1000},
              {"prompt", "Write."},
              {"instruction_id_list", texts({"length_constraints:number_words"})},
              {"kwargs", json::array({object({{"num_words", 5}, {"relation", "at least"}, {"language", nullptr}})})}});
  const BenchmarkData eval = data("if_eval", {asked});
  asked["instruction_id_list"][0] = "length_constraints:number_of_words";
  EXPECT_THAT(error_of([&] { data("if_eval", {asked}); }), HasSubstr("if_eval.jsonl:1"));
  EXPECT_THAT(error_of([&] { right(eval, "x"); }), HasSubstr("follows_instructions"));
  Graders graders;
  graders.follows_instructions = [](const BenchmarkProblem& problem, std::string_view response) {
    return InstructionsFollowed{problem.line["key"] == 1000 && response == "shown", true};
  };
  const Mark followed = mark(eval, "<think>hidden</think>\n\nshown", graders);
  EXPECT_EQ(followed.values.at("strict") + followed.values.at("loose"), 2);
  EXPECT_EQ(mark(eval, "other", graders).values.at("strict"), 0);

  const BenchmarkData human =
      data("human_eval",
           {object({{"task_id", "HumanEval/0"}, {"prompt", "def f():"}, {"test", "t"}, {"entry_point", "f"}})});
  EXPECT_EQ(whole_program(human.problems[0], "def f(): pass"), "def f():\n    pass\n\ndef f(): pass");
  EXPECT_EQ(whole_program(human.problems[0], " pass"), "def f():\n pass");
  EXPECT_THAT(error_of([&] { right(human, "x"); }), HasSubstr("passes_tests"));
  std::string tested;
  graders.passes_tests = [&](const BenchmarkProblem&, const std::string& program) {
    tested = program;
    return true;
  };
  EXPECT_EQ(right(human, "```python\nold\n```\nbetter:\n```py\nnew\n  ```\n```unfinished", graders), 1);
  EXPECT_EQ(tested, "new\n");
  EXPECT_EQ(right(human, "no code", graders), 0);
}

TEST_F(Benchmarks, live_code_bench_keeps_to_its_dates) {
  const auto line = [](const char* id, const char* date, const char* starter) {
    return object({{"question_id", id},
                   {"question_content", "c"},
                   {"starter_code", starter},
                   {"contest_date", date},
                   {"public_test_cases", R"([{"input": "1", "output": "2", "testtype": "stdin"}])"}});
  };
  BenchmarkSource source;
  source.since = "2024-08-01", source.before = "2025-02-01";
  const BenchmarkData code = data("live_code_bench",
                                  {line("a", "2024-07-31T00:00:00", ""), line("b", "2024-08-01T00:00:00", ""),
                                   line("c", "2025-01-31T00:00:00", "class Solution:"), line("d", "2025-02-01T00", "")},
                                  source);
  ASSERT_EQ(code.problems.size(), 2u);
  EXPECT_THAT(code.problems[0].task.prompt, HasSubstr("standard input"));
  EXPECT_THAT(code.problems[1].task.prompt, HasSubstr("class Solution:"));
}

TEST_F(Benchmarks, chinese_rows) {
  const BenchmarkData wsc = data("cluewsc", {object({{"text", "小明对小红说他累了。"},
                                                     {"target", object({{"span1_text", "小明"}, {"span2_text", "他"}})},
                                                     {"label", "true"}})});
  EXPECT_EQ(wsc.problems[0].task.language, "zh");
  EXPECT_THAT(wsc.problems[0].task.prompt, AllOf(HasSubstr("“他”"), HasSubstr("“小明”")));
  for (const char* good : {"答案：是", "分析……\n**答案：是**", "答案: 是。", "答案：** 是", "是"})
    EXPECT_EQ(right(wsc, good), 1) << good;
  for (const char* bad : {"答案：否", "答案：是否", "答案：", "不知道"}) EXPECT_EQ(right(wsc, bad), 0) << bad;

  const BenchmarkData eval = data(
      "c_eval",
      {object({{"id", 3}, {"question", "问"}, {"A", "甲"}, {"B", "乙"}, {"C", "丙"}, {"D", "丁"}, {"answer", "C"}})});
  for (const char* good : {"答案：C", "所以答案是C。", "答案为：（C）", "答案：A 不对，最终答案：**C**",
                           "答案：$\\boxed{C}$", "Answer: C", "C", "正确答案应选 C"})
    EXPECT_EQ(right(eval, good), 1) << good;
  for (const char* bad : {"答案：C，不，答案：A", "答案不是C", "选C吧"}) EXPECT_EQ(right(eval, bad), 0) << bad;
}

// ---- Reports --------------------------------------------------------------------------------------------------------

BenchmarkScore import_file(const char* name, const std::filesystem::path& file) {
  BenchmarkSource source;
  source.file = file;
  return import_report(find_benchmark(name), source);
}

TEST_F(Benchmarks, reports_of_other_harnesses_are_imported) {
  const auto swe = write("swe.json", {object({{"total_instances", 4}, {"resolved_ids", texts({"a", "b", "b"})}})});
  const BenchmarkScore resolved = import_file("swe_verified", swe);
  EXPECT_EQ(resolved.figures.at("pass@1").value, 0.5);
  EXPECT_NEAR(resolved.figures.at("pass@1").interval.low, clopper_pearson(2, 4).low, 1e-12);
  std::vector<json> exercises;
  for (const std::vector<bool>& outcomes : {std::vector<bool>{false, true}, {false, false, true}, {}, {true}}) {
    json list = json::array();
    for (const bool passed : outcomes) list.push_back(passed);
    exercises.push_back(object({{"tests_outcomes", list}}));
  }
  const auto aider = write("aider.jsonl", exercises);
  EXPECT_EQ(import_file("aider_polyglot", aider).figures.at("pass@1").value, 0.5) << "two tries";
  EXPECT_THAT(error_of([&] { import_file("swe_verified", aider); }), HasSubstr("one report"));

  // As the harnesses leave them: a report over several lines, and a folder of exercises.
  std::ofstream(swe) << object({{"total_instances", 500}, {"resolved_ids", texts({"a"})}}).dump(4);
  EXPECT_EQ(import_file("swe_verified", swe).figures.at("pass@1").value, 0.002);
  const auto lines = write("swe.jsonl", {object({{"instance_id", "a"}, {"resolved", true}}),
                                         object({{"instance_id", "b"}, {"resolved", false}})});
  EXPECT_EQ(import_file("swe_verified", lines).figures.at("pass@1").value, 0.5);
  for (std::size_t i = 0; i < exercises.size(); ++i) {
    const auto exercise = folder_.path() / "run/go/exercises/practice" / std::to_string(i);
    std::filesystem::create_directories(exercise / ".meta");
    std::ofstream(exercise / ".aider.results.json") << exercises[i].dump(4);
    std::ofstream(exercise / ".meta/config.json") << "{\"authors\": []}";
  }
  EXPECT_EQ(import_file("aider_polyglot", folder_.path() / "run").figures.at("pass@1").value, 0.5);
  EXPECT_THAT(error_of([&] { import_file("mmlu", swe); }), HasSubstr("imported"));
  EXPECT_THAT(error_of([&] { data("swe_verified", {}); }), HasSubstr("imported"));
}

// ---- Files ----------------------------------------------------------------------------------------------------------

TEST_F(Benchmarks, wrong_lines_name_file_line_and_field) {
  const auto said = [&](const char* field, const json& value) {
    json bad = four_choices();
    if (value.is_null())
      bad.erase(field);
    else
      bad[field] = value;
    return error_of([&] { data("mmlu", {four_choices(), bad}); });
  };
  EXPECT_THAT(said("question", nullptr), AllOf(HasSubstr("[benchmark]"), HasSubstr("mmlu.jsonl:2.question")));
  EXPECT_THAT(said("question", 5), HasSubstr("expected a string, got 5"));
  EXPECT_THAT(said("answer", 4), HasSubstr("mmlu.jsonl:2.answer"));
  EXPECT_THAT(said("choices", texts({"1", "2"})), HasSubstr("mmlu.jsonl:2.choices"));
  EXPECT_THAT(error_of([&] { data("mmlu", {four_choices(), json::array()}); }), HasSubstr("mmlu.jsonl:2"));
  EXPECT_THAT(error_of([&] { data("mmlu", {}); }), HasSubstr("at least one"));
  BenchmarkSource source;
  source.file = "/nowhere.jsonl";
  EXPECT_THAT(error_of([&] { read_benchmark(find_benchmark("mmlu"), source); }), HasSubstr("/nowhere.jsonl"));
  EXPECT_THAT(error_of([] { find_benchmark("mlu"); }), HasSubstr("\"mmlu\""));
  source.file = folder_.path() / "broken.jsonl";
  std::ofstream(source.file) << "{\"question\": \n";
  EXPECT_THAT(error_of([&] { read_benchmark(find_benchmark("mmlu"), source); }), HasSubstr("broken.jsonl:1"));
}

TEST_F(Benchmarks, completions_come_back_from_their_file) {
  const Answered one{"a/\"1\"", 3, "text\n\u00e9", true, {"A", "<think>"}}, other{"b", 0, "x", false, {}};
  write("answers.jsonl", {to_json("mmlu", one), to_json("drop", other), to_json("mmlu", other)});
  const auto file = folder_.path() / "answers.jsonl";
  const auto read = read_answered("mmlu", file).answers;
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(to_json("", read[0]), to_json("", one));
  EXPECT_EQ(to_json("", read[1]), to_json("", other));

  // What a stop may leave: a line that breaks off, or that lacks its end alone. A broken line elsewhere is an error.
  const auto size = std::filesystem::file_size(file);
  std::ofstream(file, std::ios::app) << to_json("mmlu", one).dump().substr(0, 40);
  SavedAnswers saved = read_answered("mmlu", file);
  EXPECT_TRUE(saved.torn && saved.ended && saved.bytes == size && saved.answers.size() == 2);
  std::filesystem::resize_file(file, size - 1);
  saved = read_answered("mmlu", file);
  EXPECT_TRUE(!saved.torn && !saved.ended && saved.bytes == size - 1 && saved.answers.size() == 2);
  std::ofstream(file, std::ios::app) << "\n{\"benchmark\n" << to_json("mmlu", one).dump() << '\n';
  EXPECT_THAT(error_of([&] { read_answered("mmlu", file); }), HasSubstr("answers.jsonl:4: expected a completion"));

  const BenchmarkData mmlu = data("mmlu", {four_choices()});
  EXPECT_THAT(error_of([&] { score_completions(mmlu, read); }), HasSubstr("a/\"1\", sample 3"));
  EXPECT_THAT(error_of([&] { score_completions(mmlu, {judged("0", {}), judged("0", {})}); }), HasSubstr("two of"));
  EXPECT_TRUE(score_completions(mmlu, {}).figures.empty());
}

TEST_F(Benchmarks, hostile_text_takes_linear_time_and_never_throws) {
  const json pro = object(
      {{"question", "q"}, {"options", texts({"1", "2"})}, {"answer", "A"}, {"answer_index", 0}, {"category", "c"}});
  const json eval = object({{"question", "q"}, {"A", "1"}, {"B", "2"}, {"C", "3"}, {"D", "4"}, {"answer", "A"}});
  BenchmarkSource shots;
  shots.beside = {write("train.jsonl", std::vector<json>(3, object({{"context", "c"}, {"completion", "d"}})))};
  const std::vector<BenchmarkData> all{
      data("mmlu", {four_choices()}), data("mmlu_redux", {four_choices()}),
      data("mmlu_pro", {pro}),        data("drop", {object({{"context", "c"}, {"ref_text", "5 a"}})}, shots),
      data("c_eval", {eval}),         data("math_500", {object({{"problem", "p"}, {"answer", "5"}})})};
  const auto start = std::chrono::steady_clock::now();
  for (const std::string piece :
       {"answer is ",   "Answer: A ", "answer:",  "\"answer\":\"", "答案", "答案：是", "(",    "```\n",   "[[",
        "\\boxed{",     "<answer>",   "\xff",     "\xe7\xad",      "a-",   "1e9 ",     "the ", "<think>", "B ",
        "\"answer\": ", "1",          "Answer : "}) {
    std::string text;
    while (text.size() < 300'000) text += piece;
    for (const BenchmarkData& each : all) right(each, text);
    read_arena_verdict(text);
    last_code_block(text);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

// ---- The suite ------------------------------------------------------------------------------------------------------

TEST(Suite, has_every_row_of_the_table) {
  SuiteConfig suite;
  load_json(suite, parse_json(read_file(GRPO_FIXTURES "/../../configs/eval_r1.json"), "eval_r1.json"), "eval_r1.json");
  EXPECT_EQ(suite.temperature, 0.6);
  EXPECT_EQ(suite.max_new_tokens, 32768);
  EXPECT_EQ(suite.rows.size(), 23u) << "21 of the table, cons@64, and HumanEval";
  for (const Benchmark& each : benchmarks()) {
    const auto same = [&](const SuiteRow& row) { return row.name == each.name; };
    EXPECT_TRUE(std::any_of(suite.rows.begin(), suite.rows.end(), same)) << each.name;
  }

  BenchmarkScore scoring;
  scoring.figures["pass@1"] = {0.7654, {0.7, 0.81}};
  scoring.figures["rating"] = {1234.4, {1000, 1500}};
  scoring.problems = 30, scoring.answered = 29;
  const std::string table = results_table(suite, "mine", {{"aime_2024", scoring}, {"codeforces", scoring}});
  EXPECT_THAT(table,
              HasSubstr("| AIME 2024 (Pass@1) | 76.5 (70.0 to 81.0), 29 of 30 problems | 16.0 | 9.3 | 39.2 | 63.6 "
                        "| 79.2 | 79.8 |"));
  EXPECT_THAT(table, HasSubstr("| Codeforces (Rating) | 1234 (1000 to 1500), 29 of 30 problems | 717 | 759 |"));
  EXPECT_THAT(table, HasSubstr("| Codeforces (percentile) | - | 20.3 |"));
  EXPECT_THAT(table, HasSubstr("| AIME 2024 (cons@64) | - | 26.7 | 13.4 | - | 80.0 | - | - |"));
  EXPECT_THAT(table, HasSubstr("| MMLU-Redux (EM) | - | 88.9 | 88.0 | 89.1 | 86.7 | - | 92.9 |"));
  EXPECT_THAT(table, HasSubstr("cited from DeepSeek-R1, arXiv:2501.12948"));
  EXPECT_THAT(table, HasSubstr("- drop: data/drop.jsonl, data/drop_train.jsonl; from https://"));
}

TEST(Suite, refuses_unknown_rows_and_models) {
  SuiteConfig suite;
  EXPECT_THAT(error_of([&] { validate(suite, "suite"); }), HasSubstr("suite.rows: expected at least one benchmark"));
  suite.rows.resize(1);
  suite.rows[0].name = "mmlu_por";
  EXPECT_THAT(error_of([&] { validate(suite, ""); }), HasSubstr("mmlu_pro"));
  suite.rows[0].name = "mmlu";
  suite.rows[0].cited = {{"who", 1}};
  EXPECT_THAT(error_of([&] { validate(suite, ""); }), HasSubstr("who"));
}

}  // namespace
}  // namespace grpo
