// The benchmarks of DeepSeek-R1's table (arXiv:2501.12948, tables 4 and 5), one row each: how its published file is
// read, how it asks, how an answer is scored, and which figure the table shows. Nothing here samples: completions go in
// as text, so that a saved file can be scored again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "grpo/config.h"
#include "grpo/reward.h"
#include "grpo/statistics.h"
#include "grpo/task.h"

namespace grpo {

struct BenchmarkRules;  // how one row reads and scores

struct Benchmark {
  std::string_view name;    ///< "mmlu_pro"; its file is data/NAME.jsonl
  std::string_view title;   ///< "MMLU-Pro (EM)"
  std::string_view figure;  ///< the one of its figures that the table shows
  std::string_view prompt;  ///< with places such as {question}; "" where results are imported
  std::string_view judge;   ///< the question to the judge, with places; "" where none is asked
  const BenchmarkRules* rules;

  bool imported() const { return prompt.empty(); }  ///< only reports of its own harness are read; see import_report
};

/// All rows, in the table's order; HumanEval, which the table lacks, is the last.
const std::vector<Benchmark>& benchmarks();
/// The row of that name; throws Error that names the nearest.
const Benchmark& find_benchmark(std::string_view name);

// ---- Reading and asking ---------------------------------------------------------------------------------------------

struct BenchmarkProblem {
  Task task;             ///< what to ask; the reference (or the rival's) answer; `kind` is the benchmark's name
  std::string question;  ///< without the words around it
  nlohmann::json line;   ///< as it was published, for graders that need more of it
};

struct BenchmarkSource {
  std::filesystem::path file;
  /// drop: examples to show. arena_hard: the baseline's answers. alpaca_eval: regularising comparisons, if any.
  /// codeforces: contests, and the ratings of all players. JSONL, too.
  std::vector<std::filesystem::path> beside;
  std::string prompt;         ///< in place of Benchmark::prompt, with its places; "" for that
  std::string judge;          ///< in place of Benchmark::judge; "" for that
  std::string since, before;  ///< livecodebench: contest dates from `since` on and before `before`, "2024-08-01"
  std::uint64_t seed = 0;     ///< of the order of choices (gpqa_diamond) and the choice of examples (drop)
};

struct BenchmarkData {
  const Benchmark* benchmark = nullptr;
  std::string judge;
  std::vector<BenchmarkProblem> problems;
  std::vector<std::vector<nlohmann::json>> beside;  ///< their lines, by file
};

/// The problems of a JSONL file whose lines have the fields of the published data set. Lines that the row leaves out
/// (MMLU-Redux with an error, LiveCodeBench outside the dates) are no problems. Throws Error "[benchmark]
/// FILE:LINE.FIELD: expected …, got …", for a file that lacks, and when nothing is left.
BenchmarkData read_benchmark(const Benchmark& benchmark, const BenchmarkSource& source);

/// A completion of a problem, and what judges said of it.
struct Answered {
  std::string id;  ///< Task::id
  std::size_t sample = 0;
  std::string text;                   ///< thinking included
  bool cut = false;                   ///< it met the limit on new tokens
  std::vector<std::string> verdicts;  ///< one for each of judge_prompts, in its order
};

/// One a line: {"benchmark", "id", "sample", "text", "cut", "verdicts"}. The reader takes the lines of `benchmark`
/// alone; it throws Error "[benchmark] FILE:LINE…" as read_benchmark does.
nlohmann::ordered_json to_json(std::string_view benchmark, const Answered& answered);
std::vector<Answered> read_answered(std::string_view benchmark, const std::filesystem::path& file);

/// What to ask a judge about a completion: nothing where the row needs none or the completion says nothing; one
/// question; or two, of pairs in both orders. The judge sees the answer without the thinking before it.
std::vector<std::string> judge_prompts(const BenchmarkData& data, const BenchmarkProblem& problem,
                                       std::string_view text, bool think_open = false);

/// What a completion answers: the text behind the last `</think>`, and in it the last `<answer>…</answer>` if there is
/// one. "" while the thinking never ends (`think_open`: the prompt began it).
std::string_view shown_answer(std::string_view text, bool think_open = false);

// ---- BenchmarkScore
// --------------------------------------------------------------------------------------------------------

struct InstructionsFollowed {
  bool strict = false, loose = false;  ///< all instructions of the prompt
};

/// What rows need of other rooms. An empty function is an Error when a row needs it. They may not throw because of the
/// completion.
struct Graders {
  std::function<bool(std::string_view answer, std::string_view reference)> same_answer = answers_match;
  /// Whether `program` passes the tests of `problem.line`.
  std::function<bool(const BenchmarkProblem& problem, const std::string& program)> passes_tests;
  std::function<InstructionsFollowed(const BenchmarkProblem& problem, std::string_view response)> follows_instructions;
  bool think_open = false;
};

/// Of one completion: the answer as read ("" when unreadable), and named values; `right` is the one that pass@1 means.
struct Mark {
  std::string answer;
  std::map<std::string, double> values;
  bool unreadable = false;  ///< no answer or no verdict in the form that was asked for; it counts as wrong
};

/// Shares are 0 to 1, Codeforces' `rating` is its own unit. Intervals are 95 %, problems being the unit.
struct BenchmarkScore {
  std::map<std::string, Estimate> figures;
  std::vector<Mark> marks;  ///< of each completion, in the order given
  std::size_t problems = 0, answered = 0, completions = 0, cut = 0, unreadable = 0;
};

/// Scores completions of some of the problems. Figures: pass@1, pass@K and cons@K where every problem has K > 1
/// samples, and what the row adds: f1, em (drop), loose (if_eval), not_attempted, f_score (simple_qa, c_simple_qa),
/// lc_win_rate, win_rate (alpaca_eval), score (arena_hard), rating, percentile (codeforces). Throws Error for a
/// completion of no problem, two of the same sample, a missing grader, or a missing file beside.
BenchmarkScore score_completions(const BenchmarkData& data, const std::vector<Answered>& completions,
                                 const Graders& graders = {});

/// Figures from a report of the benchmark's own harness. swe_verified: the summary that SWE-bench's run_evaluation
/// writes (`total_instances`, `resolved_ids`). aider_polyglot: the .aider.results.json of the exercises, one a line
/// (`tests_outcomes`, of which the second try counts). Throws Error as read_benchmark does.
BenchmarkScore import_report(const Benchmark& benchmark, const std::filesystem::path& file);

/// DROP's two figures, 0 to 100, as its published evaluation gives them: spans normalised (case, articles, punctuation,
/// the form of numbers), aligned one to one so that F1 of the bags of words is highest, numbers of the reference having
/// to be met; rounded to two places.
struct DropScore {
  double exact = 0, f1 = 0;
};
DropScore drop_score(const std::vector<std::string>& predicted, const std::vector<std::string>& reference);

// ---- The suite ------------------------------------------------------------------------------------------------------

struct SuiteRow {
  std::string name, figure, file, url, prompt, judge, since, before;
  std::vector<std::string> beside;
  int samples = 1;
  std::map<std::string, double> cited;

  template <class V>
  void visit(V& v) {
    v("name", name, "the benchmark");
    v("figure", figure, "its figure in the table; empty: the usual one");
    v("file", file, "its JSONL file; empty: data/NAME.jsonl");
    v("beside", beside, "further files that it needs");
    v("url", url, "where its owner publishes it");
    v("prompt", prompt, "how to ask, in place of the built-in words");
    v("judge", judge, "what to ask the judge, in place of the built-in words");
    v("since", since, "livecodebench: first contest date");
    v("before", before, "livecodebench: first contest date no longer taken");
    v("samples", samples, "completions of each problem");
    v("cited", cited, "published figures by model, as the source prints them");
  }
};

struct SuiteConfig {
  double temperature = 0.6, top_p = 0.95;
  std::int64_t max_new_tokens = 32768;
  std::uint64_t seed = 0;
  std::string source;
  std::vector<std::string> columns;
  std::vector<SuiteRow> rows;

  template <class V>
  void visit(V& v) {
    v("temperature", temperature, "of the samples");
    v("top_p", top_p, "nucleus of the samples");
    v("max_new_tokens", max_new_tokens, "longest completion");
    v("seed", seed, "of samples, choices and examples");
    v("source", source, "where the cited figures are from");
    v("columns", columns, "models whose cited figures the table shows");
    v("rows", rows, "the table's rows");
  }
  /// Throws Error for a row of no known benchmark, fewer than one sample, or a cited model that is no column.
  void validate() const;
};

/// Where a row's data is read from.
BenchmarkSource source_of(const SuiteConfig& suite, const SuiteRow& row);
/// The files of a row that are not there.
std::vector<std::filesystem::path> missing_files(const SuiteConfig& suite, const SuiteRow& row);

/// The table in Markdown: a row for each of the suite, `model`'s figure with its interval (from `results`, by
/// benchmark) beside the cited ones; below it what is cited from where, and which files are missing and where to get
/// them.
std::string results_table(const SuiteConfig& suite, std::string_view model,
                          const std::map<std::string, BenchmarkScore>& results);

}  // namespace grpo
