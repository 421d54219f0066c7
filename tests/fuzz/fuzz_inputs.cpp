// Damages what the drivers and tools read beside models: configurations and command lines, tasks, lines to score and to
// tokenize, the files of benchmarks, tests of programs, instructions, verdicts, and the state of checkpoints; see
// fuzz.h.
#include <algorithm>
#include <filesystem>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "evaluation/benchmarks/file.h"
#include "evaluation/benchmarks/text.h"
#include "files.h"
#include "fuzz.h"
#include "grpo/benchmarks.h"
#include "grpo/code.h"
#include "grpo/config.h"
#include "grpo/corpus.h"
#include "grpo/instructions.h"
#include "grpo/json.h"
#include "grpo/language.h"
#include "grpo/messages.h"
#include "grpo/reward.h"
#include "grpo/screen.h"
#include "grpo/tasks.h"
#include "grpo/tokenizer.h"
#include "grpo/verdict.h"
#ifdef GRPO_FUZZ_LINES
#include "lines.h"
#endif
#ifdef GRPO_FUZZ_TORCH
#include "grpo/checkpoint.h"
#include "grpo/model.h"
#include "grpo/recipe.h"
#endif

namespace grpo {
namespace {

/// What drivers load, in one.
struct Everything {
  TasksConfig tasks;
  TokenizerConfig tokenizer;
  CorpusConfig corpus;
  ChatTemplate chat;
  JudgeConfig judging;
  RewardsConfig rewards;
  ScreenConfig screen;
  SuiteConfig suite;
#ifdef GRPO_FUZZ_TORCH
  ModelConfig model;
  RecipeConfig recipe;

  Everything() { model.model = "m"; }
#endif

  template <class V>
  void visit(V& v) {
    v("tasks", tasks, "");
    v("tokenizer", tokenizer, "");
    v("corpus", corpus, "");
    v("chat", chat, "");
    v("judging", judging, "");
    v("rewards", rewards, "");
    v("screen", screen, "");
    v("suite", suite, "");
#ifdef GRPO_FUZZ_TORCH
    v("model", model, "");
    v("recipe", recipe, "");
#endif
  }
};

/// What was loaded is dumped and loaded again as it was.
void load(const std::vector<std::string>& arguments) try {
  const auto dumped = dump_config(parse_config<Everything>(arguments));
  Everything again;
  load_json(again, nlohmann::json(dumped), "DUMPED");
  if (dump_config(again).dump(-1, ' ', false, Json::error_handler_t::replace) !=
      dumped.dump(-1, ' ', false, Json::error_handler_t::replace))
    throw std::logic_error("a configuration that is not what its dump says");
} catch (const HelpRequested&) {
}

std::vector<std::string> lines_in(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// A line of each benchmark's file, and of the files beside it.
struct Published {
  const char *benchmark, *line, *beside;
};
constexpr Published kPublished[] = {
    {"mmlu", R"({"question": "2+2?", "choices": ["3", "4", "5", "6"], "answer": 1})", ""},
    {"mmlu", R"({"Question": "2+2?", "A": "3", "B": "4", "C": "5", "D": "6", "Answer": "B"})", ""},
    {"mmlu_redux",
     R"({"question": "q", "choices": ["1", "2", "3", "4"], "answer": 2, "error_type": "wrong_groundtruth",)"
     R"( "correct_answer": "D"})",
     ""},
    {"mmlu_pro",
     R"({"question_id": 70, "question": "q", "category": "law", "answer": "C", "answer_index": 2, "options": ["w",)"
     R"( "x", "y", "N/A"]})",
     ""},
    {"drop", R"({"context": "Who won? ", "ref_text": "5|the Tigers|Detroit Tigers"})",
     R"({"context": "one", "completion": "1"}
{"context": "two", "completion": "2"}
{"context": "three", "completion": "3"})"},
    {"drop",
     R"({"nfl_1": {"passage": "Ann and Bob.", "qa_pairs": [{"query_id": "a", "question": "Who?",)"
     R"( "answer": {"number": "3", "spans": ["Ann"], "date": {"day": "", "month": "May", "year": "1999"}},)"
     R"( "validated_answers": []}]}})",
     R"({"context": "one", "completion": "1"}
{"context": "two", "completion": "2"}
{"context": "three", "completion": "3"})"},
    {"if_eval",
     R"({"key": 1000, "prompt": "Write.", "instruction_id_list": ["length_constraints:number_words",)"
     R"( "keywords:existence"], "kwargs": [{"num_words": 5, "relation": "at least"}, {"keywords": ["a+", "b"]}]})",
     ""},
    {"gpqa_diamond",
     R"({"Question": "q", "Correct Answer": "right\n", "Incorrect Answer 1": "w1", "Incorrect Answer 2": "w2",)"
     R"( "Incorrect Answer 3": "w3"})",
     ""},
    {"simple_qa", R"({"problem": "Capital of {answer}?", "answer": "Paris"})", ""},
    {"frames", R"({"Prompt": "q", "Answer": "Jane Ballou"})", ""},
    {"alpaca_eval", R"({"instruction": "do it", "output": "done"})", ""},
    {"arena_hard", R"({"question_id": "a", "turns": [{"content": "request"}]})",
     R"({"question_id": "a", "choices": [{"turns": [{"content": "BASELINE"}]}]})"},
    {"arena_hard", R"({"uid": "a", "category": "hard_prompt", "prompt": "request"})",
     R"({"uid": "a", "messages": [{"role": "user", "content": "request"}, {"role": "assistant",)"
     R"( "content": {"answer": "B"}}]})"},
    {"live_code_bench",
     R"({"question_id": "x", "question_content": "c", "starter_code": "", "contest_date": "2024-08-01T00:00:00",)"
     R"( "public_test_cases": "[{\"input\": \"1\", \"output\": \"2\", \"testtype\": \"stdin\"}]",)"
     R"( "private_test_cases": "eJxrYJmqwQABPQoAEN8Cig=="})",
     ""},
    {"codeforces",
     R"({"problem_id": "7A", "description": "d", "input": "i", "output": "o", "examples": [{"input": "1",)"
     R"( "output": "2"}], "time_limit": 2.0})",
     R"({"standings": {"contest": {"id": 7}, "problems": [{"index": "A", "points": 500, "rating": 800}],)"
     R"( "rows": [{"points": 500, "penalty": 3}]}, "ratingChanges": [{"oldRating": 1500}]}
{"standings": {"contest": {"id": 7}, "problems": [], "rows": []}, "ratingChanges": []})"},
    {"cluewsc",
     R"({"text": "小明对小红说他累了。", "target": {"span1_text": "小明", "span2_text": "他"}, "label": "true"})", ""},
    {"c_eval", R"({"id": 3, "question": "问", "A": "甲", "B": "乙", "C": "丙", "D": "丁", "answer": "C"})", ""},
    {"c_simple_qa", R"({"question": "问", "answer": "答"})", ""},
    {"aime_2024", R"({"ID": "2024-I-1", "Problem": "p", "Answer": 204})", ""},
    {"math_500", R"({"problem": "p", "answer": "\\frac{1}{2}", "unique_id": "test/1.json"})", ""},
    {"cnmo_2024", R"({"problem": "p", "answer": "12"})", ""},
    {"human_eval",
     R"({"task_id": "HumanEval/0", "prompt": "def f():", "test": "def check(c): pass", "entry_point": "f",)"
     R"( "canonical_solution": " pass"})",
     ""},
};

/// Between the benchmark's name, its file and the file beside it.
constexpr char kBetween = '\x1f';

void read_published(const fs::path& folder, const std::string& bytes) {
  const std::size_t one = bytes.find(kBetween), two = bytes.find(kBetween, one + 1);
  if (two == bytes.npos) return;
  BenchmarkSource source;
  source.file = folder / "data.jsonl";
  write(source.file, bytes.substr(one + 1, two - one - 1));
  if (two + 1 < bytes.size()) write(source.beside.emplace_back(folder / "beside.jsonl"), bytes.substr(two + 1));
  const Benchmark& benchmark = find_benchmark(bytes.substr(0, one));
  const BenchmarkData data = read_benchmark(benchmark, source);
  const std::string said = "<think>so</think>It is 4.\nAnswer: B\n```python\nprint(1)\n```\n\\boxed{204} [[A>B]]";
  std::vector<Answered> answers;
  for (const BenchmarkProblem& problem : data.problems) {
    std::vector<std::string> verdicts;
    for (const std::string& asked : judge_prompts(data, problem, said))
      verdicts.push_back(asked.substr(0, 1) + "[[A>B]]");
    answers.push_back({problem.task.id, 0, said, false, verdicts});
    if (benchmark.runs_programs()) whole_program(problem, "print(1)"), code_tests(problem);
  }
  Graders graders;
  graders.passes_tests = [](const BenchmarkProblem&, const std::string& program) { return program.size() % 2 == 0; };
  graders.follows_instructions = [](const BenchmarkProblem& problem, std::string_view response) {
    const auto verdicts = Instructions(problem.line.dump(), problem.task.id).check(response, nullptr);
    return InstructionsFollowed{verdicts.all_strict(), verdicts.all_loose()};
  };
  score_completions(data, answers, graders);
}

/// A task and its completion through every reward that needs no sandbox and no judge.
void score(const std::string& bytes) {
  static const Scorer scorer([] {
    RewardsConfig config;
    config.weights.clear();
    for (const char* name : {"accuracy", "format", "language_consistency", "overlong", "repetition", "length",
                             "reflection", "instructions", "exact", "regex", "choice"})
      config.weights[name] = 1.0;
    config.overlong_max_length = 100, config.overlong_buffer = 10, config.accuracy_needs_format = false;
    return config;
  }());
  const nlohmann::json line = nlohmann::json::parse(bytes, nullptr, false);
  if (!line.is_object()) return;
  const auto text = [&](const char* key) {
    return line.contains(key) && line[key].is_string() ? line[key].get<std::string>() : std::string();
  };
  const Task task{"t", text("prompt"), text("answer"), text("kind"), text("language")};
  Completion completion;
  completion.text = text("completion");
  completion.tokens.resize(completion.text.size() % 200, 7);
  scorer.score(task, completion);
  mixes_languages(completion.text);
  identify_language(completion.text);
}

const std::string kAnswer = "<think>We add two and two.</think><answer>4</answer>";

std::vector<Room> config_rooms(const fs::path& folder) {
  const Json defaults = dump_config(Everything());
  std::vector<std::string> configs{defaults.dump(2)};
  for (const auto& [name, config] : defaults.items()) configs.push_back(Json{{name, config}}.dump());
  configs.push_back(R"({"suite": {"columns": ["m"], "rows": [{"name": "mmlu", "samples": 2, "cited": {"m": 90.8}}]}})");
  configs.push_back(R"({"rewards": {"by_kind": [{"kind": "code", "weights": {"code": 1, "format": 0.2}}]}} // so)");
#ifdef GRPO_FUZZ_TORCH
  for (const auto& entry : fs::directory_iterator(GRPO_CONFIGS))
    if (entry.path().filename() == "r1_tiny.json") configs.push_back("{\"recipe\": " + read_file(entry.path()) + "}");
#endif
  return {
      {"config", Form::json, configs,
       [=](const std::string& bytes) {
         write(folder / "config.json", bytes);
         load({"--config", (folder / "config.json").string()});
       }},
      {"arguments",
       Form::json,
       {"--set\ntasks.seed=3\n--set\nrewards.weights={\"format\": 1, \"accuracy\": 0.5}",
        "--set\nrewards.weights.format=0.2\n--judging.votes=3\n--tasks.generator\ncountdown",
        "--set\nsuite.rows=[{\"name\": \"mmlu\"}]\n--set\nsuite.rows.0.samples=2\n--set\nsuite.rows.0.cited.m=3.5",
        "--corpus.style=worded\n--judging.boilerplate\n[\"a\", \"b\"]\n--rewards.think_open\n--help"},
       [](const std::string& bytes) { load(lines_in(bytes)); }},
  };
}

std::vector<Room> task_rooms(const fs::path& folder) {
  return {
      {"tasks",
       Form::json,
       {R"({"prompt": "What is 47+85?", "answer": "132", "kind": "arithmetic", "language": "en", "id": 3,)"
        R"( "completion": "c"})"
        "\n\n"
        R"({"prompt": "Make 24.", "answer": 24.5, "kind": null, "completion": "<think>x</think>"})"},
       [=](const std::string& bytes) {
         write(folder / "tasks.jsonl", bytes);
         try {
           read_tasks(folder / "tasks.jsonl");
         } catch (const Error&) {
         }
         read_demonstrations(folder / "tasks.jsonl");
       }},
      {"score",
       Form::json,
       {Json{{"prompt", "2+2?"}, {"answer", "4"}, {"completion", kAnswer}, {"language", "en"}}.dump(),
        Json{{"answer", "24 from 3 5 7 2"}, {"kind", "countdown"}, {"completion", "(7-3)*2*3 = 24"}}.dump(),
        Json{{"answer", "a+(b|c)*"}, {"kind", "regex"}, {"completion", kAnswer}, {"language", "ko"}}.dump(),
        Json{{"answer", "C"}, {"kind", "choice"}, {"completion", "<think>一</think><answer>(C)</answer>"}}.dump(),
        Json{{"answer", "530070000600195000098000060800060003400803001700020006060000280000419005000080079"},
             {"kind", "sudoku"},
             {"completion", kAnswer}}
            .dump(),
        Json{{"answer", R"({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]})"},
             {"kind", "instructions"},
             {"completion", kAnswer}}
            .dump(),
        Json{{"answer", "\\frac{1}{2}"}, {"completion", "So \\boxed{0.5}. 所以 women xian jia."}, {"language", "zh"}}.dump()},
       score},
  };
}

std::vector<Room> benchmark_rooms(const fs::path& folder) {
  std::vector<std::string> published;
  for (const Published& each : kPublished)
    published.push_back(std::string(each.benchmark) + kBetween + each.line + "\n" + each.line + kBetween + each.beside);
  return {
      {"benchmarks", Form::json, published, [=](const std::string& bytes) { read_published(folder, bytes); }},
      {"tables",
       Form::bytes,
       {"metadata,problem,answer\n{},\"Who,\nthen?\",Ann\n{},Where?,Here\n", "problem,answer\r\na,\"b \"\"c\"\"\"\r\n"},
       [=](const std::string& bytes) {
         for (const char* name : {"data.csv", "data.tsv", "data.csv.gz", "data.json"}) try {
             write(folder / name, bytes);
             read_records(folder / name);
           } catch (const Error&) {
           }
         unpack_text(bytes, "FILE");
       }},
      {"reports",
       Form::json,
       {R"({"total_instances": 4, "resolved_ids": ["a", "b"]})", R"({"instance_id": "a", "resolved": true})",
        R"({"tests_outcomes": [false, true]})", R"({"problem_id": "7A", "verdict": "OK", "sample": 0})",
        R"({"problem_id": "7A", "verdicts": ["OK", "WA", true]})"},
       [=](const std::string& bytes) {
         BenchmarkSource source;
         write(source.file = folder / "report.json", bytes);
         write(source.beside.emplace_back(folder / "contests.jsonl"),
               R"({"standings": {"contest": {"id": 7}, "problems": [{"index": "A"}], "rows": []},)"
               R"( "ratingChanges": []})");
         for (const char* name : {"swe_verified", "aider_polyglot", "codeforces"}) try {
             import_report(find_benchmark(name), source);
           } catch (const Error&) {
           }
       }},
      {"completions",
       Form::json,
       {to_json("mmlu", {"a", 1, kAnswer, false, {"A"}}).dump() + "\n" +
        to_json("mmlu", {"b", 0, "", true, {}}).dump()},
       [=](const std::string& bytes) {
         write(folder / "answers.jsonl", bytes);
         read_answered("mmlu", folder / "answers.jsonl");
       }},
  };
}

std::vector<Room> reading_rooms() {
  return {
      {"code",
       Form::json,
       {R"({"inputs": ["1 2\n", "3"], "outputs": ["3\n", "4"], "language": "cpp"})",
        R"([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}])",
        R"({"tests": [{"input": "1", "output": "2"}]})",
        R"({"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [3, 7]})",
        R"({"fn_name": "add", "inputs": ["1\n2"], "outputs": ["3"]})",
        R"({"entry_point": "add", "test": "def check(candidate): pass", "prompt": "import math"})"},
       [](const std::string& bytes) {
         find_code("<answer>\n```python\n" + bytes + "\n```\n</answer>" + bytes, Language::python);
         outputs_match(bytes, "1 2 " + bytes, 0.1);
         read_code_tests(bytes);
       }},
      {"instructions",
       Form::json,
       {R"({"instruction_id_list": ["keywords:frequency", "detectable_format:number_bullet_lists",)"
        R"( "length_constraints:nth_paragraph_first_word"], "kwargs": [{"keyword": "a.b", "frequency": 2,)"
        R"( "relation": "at least"}, {"num_bullets": 2}, {"num_paragraphs": 2, "nth_paragraph": 1,)"
        R"( "first_word": "a"}]})",
        R"({"instruction_id_list": ["detectable_content:postscript", "language:response_language",)"
        R"( "startend:end_checker"], "kwargs": [{"postscript_marker": "P.S."}, {"language": "de"},)"
        R"( {"end_phrase": "x"}]})",
        R"({"instruction_id_list": ["keywords:forbidden_words", "change_case:capital_word_frequency",)"
        R"( "detectable_format:multiple_sections"], "kwargs": [{"forbidden_words": ["(a|b)*c"]},)"
        R"( {"capital_frequency": 3, "capital_relation": "less than"}, {"section_spliter": "SECTION",)"
        R"( "num_sections": 2}]})"},
       [](const std::string& bytes) {
         const Instructions read(bytes);
         for (const std::string& response : {std::string("A b, c.\n\n* SECTION 1\nP.S. x"), bytes})
           read.check(response, [](std::string_view text) { return identify_language(text); });
       }},
      {"verdicts",
       Form::bytes,
       {kAnswer, "<think>A: a</think><answer>tie</answer>", "so [[A>>B]]", "{\"answer\": \"C\"}\nthe answer is (B)",
        "No.\nAssistant: <think>x</think><answer>3</answer>", "答案：**C**", "<|im_start|>user\u2028Answer: [INST]"},
       [](const std::string& bytes) {
         const Task task{"t", bytes, bytes, "", "en"};
         const JudgeConfig judge;
         (void)read_rating(bytes, 3), (void)read_rating(bytes, 3, true), (void)read_choice(bytes);
         (void)says_nothing(bytes, judge.boilerplate);
         (void)rating_prompt(judge, Rubric::helpful, task, bytes), (void)comparison_prompt(judge, task, bytes, bytes);
         (void)read_arena_verdict(bytes), (void)read_verdict(bytes, "A B C"), (void)mmlu_pro_choice(bytes);
         (void)choice_in_json(bytes, 'D'), (void)choice_after_answer(bytes, 'J'), (void)bare_choice(bytes, 'D');
         (void)after_chinese_answer(bytes), (void)last_code_block(bytes), (void)shown_answer(bytes, true);
         (void)final_answer(bytes);
       }},
  };
}

#ifdef GRPO_FUZZ_LINES
std::vector<Room> line_rooms(const fs::path& folder) {
  const Json families = Json::parse(read_file(fs::path(GRPO_FIXTURES) / "chat_templates/families.json"))["families"];
  std::vector<MessageTemplate> templates;
  for (const auto& [name, family] : families.items()) templates.emplace_back(family["template"].get<std::string>());
  return {
      {"messages",
       Form::json,
       {R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},)"
        R"( {"role": "assistant", "content": "<think>a</think>b", "tool_calls": [{"type": "function",)"
        R"( "function": {"name": "f", "arguments": {"x": 1}}}]}, {"role": "tool", "content": "3"}],)"
        R"( "variables": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],)"
        R"( "enable_thinking": true}})",
        R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]})"},
       [=](const std::string& bytes) {
         const Line line = parse_line(bytes, "LINE");
         if (!line.has("messages")) return;
         const Json variables = line.has("variables") ? line.json["variables"] : Json::object();
         if (!variables.is_object()) return;
         for (const MessageTemplate& each : templates) try {
             each.render(line.json["messages"], true, variables);
           } catch (const Error&) {
           }
       }},
      {"lines",
       Form::json,
       {R"({"prompt": "a", "completion": "b", "prompt_ids": [1, 2], "text": "c"})"
        "\n\n"
        R"({"ids": [3, 4], "gold": "1", "pred": 2})"},
       [=](const std::string& bytes) {
         write(folder / "lines.jsonl", bytes);
         LineWriter out((folder / "out.jsonl").string(), {(folder / "lines.jsonl").string()});
         for (const Line& line : read_lines((folder / "lines.jsonl").string())) {
           for (const char* key : {"prompt", "completion", "text"}) try {
               line.get<std::string>(key);
             } catch (const Error&) {
             }
           for (const char* key : {"prompt_ids", "ids"}) try {
               line.get<std::vector<std::int32_t>>(key);
             } catch (const Error&) {
             }
           nlohmann::json expected = line.json;
           const Json added{{"prompt", nullptr}, {"scores", {1, "}"}}};
           expected.update(nlohmann::json(added));
           out.write_lines(line.with(added));
           if (nlohmann::json(parse_line(line.with(added), "LINE").json) != expected)
             throw std::logic_error("a line with members behind it is another one");
         }
         out.finish();
       }},
  };
}
#endif

#ifdef GRPO_FUZZ_TORCH
std::vector<Room> checkpoint_rooms(const fs::path& folder) {
  const fs::path run = folder / "run";
  const fs::path step = write_checkpoint(run, 3, {{{"w", at::zeros({2, 3})}}, {}, std::nullopt, {{"step", 3}}});
  return {
      {"manifest", Form::json, {read_file(step / "manifest.json")}, [=](const std::string& bytes) {
         write(step / "manifest.json", bytes);
         read_checkpoint(step);
       }},
      {"state",
       Form::json,
       {R"({"step": 3, "cursors": [1, 2, 3], "kind": "grpo", "done": true,)"
        R"( "seed": 18446744073709551615})"},
       [=](const std::string& bytes) {
         const SavedState saved(read_json<Json>(bytes), step / "state.json");
         for (const char* key : {"step", "cursors", "kind", "done", "seed"})
           for (const auto& read : std::vector<std::function<void()>>{
                    [&] { saved.count(key); }, [&] { saved.counts(key); }, [&] { saved.name(key); },
                    [&] { saved.flag(key); }}) try {
               read();
             } catch (const Error&) {
             }
       }},
  };
}
#endif

std::vector<Room> rooms(const fs::path& folder) {
  std::vector<Room> all;
  const auto add = [&](std::vector<Room> some) { std::ranges::move(some, std::back_inserter(all)); };
  add(config_rooms(folder)), add(task_rooms(folder)), add(benchmark_rooms(folder)), add(reading_rooms());
#ifdef GRPO_FUZZ_LINES
  add(line_rooms(folder));
#endif
#ifdef GRPO_FUZZ_TORCH
  add(checkpoint_rooms(folder));
#endif
  return all;
}

}  // namespace
}  // namespace grpo

int main(int argc, char** argv) { return grpo::fuzz(argc, argv, grpo::rooms); }
