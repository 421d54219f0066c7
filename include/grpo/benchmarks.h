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

#include "grpo/code.h"
#include "grpo/config.h"
#include "grpo/reward.h"
#include "grpo/sampling.h"
#include "grpo/statistics.h"
#include "grpo/task.h"

namespace grpo {

struct BenchmarkRules;  // how one row reads and scores

struct Benchmark {
  std::string_view name;    ///< "mmlu_pro"; its file is data/NAME.jsonl, or see find_data
  std::string_view title;   ///< "MMLU-Pro (EM)"
  std::string_view figure;  ///< the one of its figures that the table shows
  std::string_view prompt;  ///< with places such as {question}; "" where results are imported
  std::string_view judge;   ///< the question to the judge, with places; "" where none is asked
  const BenchmarkRules* rules;

  bool imported() const { return prompt.empty(); }  ///< nothing is asked, a report is read; see import_report
  bool runs_programs() const;                       ///< scoring needs Graders::passes_tests
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
  /// As its owner publishes it: lines or a list of JSON, or a table (.csv, .tsv), all of these also packed (.gz); or a
  /// folder, of which all such files are read by name, as one.
  std::filesystem::path file;
  /// Files of the same forms. drop: the questions (of the training part) that the three shown to each are drawn from.
  /// arena_hard: the baseline's answers. alpaca_eval: regularising comparisons, if any. codeforces: contests, and the
  /// ratings of all players, if any.
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

/// The problems of a file whose lines have the fields of the published data set. Lines that the row leaves out
/// (MMLU-Redux with an error beyond its key, LiveCodeBench outside the dates) are no problems. Everything that scoring
/// will need of them is tried here. Throws Error "[benchmark] FILE:LINE.FIELD: expected …, got …" (FILE[PLACE] in a
/// JSON list), for a file that lacks, and when nothing is left.
BenchmarkData read_benchmark(const Benchmark& benchmark, const BenchmarkSource& source);

/// A completion of a problem, and what judges said of it.
struct Answered {
  std::string id;  ///< Task::id
  std::size_t sample = 0;
  std::string text;                   ///< thinking included
  bool cut = false;                   ///< it met the limit on new tokens
  std::vector<std::string> verdicts;  ///< one for each of judge_prompts, in its order
  std::string asked = {};             ///< fingerprint of the prompt that was answered; "" of one that does not say
  std::string judged = {};            ///< whatever tells what verdicts answer and whose they are; "" likewise
};

/// 16 hex digits by which texts are told apart.
std::string fingerprint(std::string_view text);

/// A file of completions, as far as it is whole: a run that is stopped may leave the last line `torn`.
struct SavedAnswers {
  std::vector<Answered> answers;
  std::uint64_t bytes = 0;  ///< up to and without a torn line
  bool ended = true;        ///< the last whole line has its line end
  bool torn = false;
};

/// One a line: {"benchmark", "id", "sample", "text", "cut", "verdicts"}, and "asked" and "judged" where they say
/// something. The reader takes the lines of `benchmark` alone; it throws Error "[benchmark] FILE:LINE…" for a line that
/// is none, the torn last one aside.
nlohmann::ordered_json to_json(std::string_view benchmark, const Answered& answered);
SavedAnswers read_answered(std::string_view benchmark, const std::filesystem::path& file);

/// What to ask a judge about a completion: nothing where the row needs none or the completion says nothing; one
/// question; or two, of pairs in both orders. The judge sees the answer without the thinking before it.
std::vector<std::string> judge_prompts(const BenchmarkData& data, const BenchmarkProblem& problem,
                                       std::string_view text, bool think_open = false);

/// What a completion answers: the text behind the last `</think>`, and in it the last `<answer>…</answer>` if there is
/// one. "" while the thinking never ends (`think_open`: the prompt began it).
std::string_view shown_answer(std::string_view text, bool think_open = false);

/// Of a problem of live_code_bench, human_eval or codeforces: its tests, public and hidden ones; and `program` with
/// what the published evaluation puts before it (imports, the lines that were to be completed).
CodeTests code_tests(const BenchmarkProblem& problem);
std::string whole_program(const BenchmarkProblem& problem, const std::string& program);

// ---- Scoring --------------------------------------------------------------------------------------------------------

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
  bool last_box = false;  ///< of mathematics, as AnswerOptions::last_box
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

/// Scores completions of some of the problems. Figures: pass@1; where every problem has K > 1 samples cons@K, and the
/// unbiased pass@k for k = 2, 4, … and K; and what the row adds: f1, em (drop), loose (if_eval), not_attempted, f_score
/// (simple_qa, c_simple_qa), lc_win_rate, win_rate (alpaca_eval), score (arena_hard), rating, percentile (codeforces).
/// Throws Error for a completion of no problem, two of the same sample, a missing grader, or a missing file beside.
BenchmarkScore score_completions(const BenchmarkData& data, const std::vector<Answered>& completions,
                                 const Graders& graders = {});

/// Figures from verdicts that came about elsewhere; `source.file` has them:
///   swe_verified    the summary that SWE-bench's run_evaluation writes (`total_instances`, `resolved_ids`); or a line
///                   for each instance (`instance_id`, `resolved`)
///   aider_polyglot  the folder of a run of Aider's benchmark, with an .aider.results.json for each exercise
///                   (`tests_outcomes`, of which the second try counts); or these as lines
///   codeforces      the site's verdicts: a line for each attempt (`problem_id`, `verdict`, in the order of the
///   attempts
///                   or with `sample`) or for each problem (`verdicts`); "OK" and "AC" passed. With `beside`
/// Throws Error as read_benchmark does.
BenchmarkScore import_report(const Benchmark& benchmark, const BenchmarkSource& source);

/// DROP's two figures, 0 to 100, as its published evaluation gives them: spans normalised (case, articles, punctuation,
/// the form of numbers), aligned one to one so that F1 of the bags of words is highest, numbers of the reference having
/// to be met; rounded to two places.
struct DropScore {
  double exact = 0, f1 = 0;
};
DropScore drop_score(const std::vector<std::string>& predicted, const std::vector<std::string>& reference);

// ---- The suite ------------------------------------------------------------------------------------------------------

struct SuiteRow {
  std::string name, figure, file, verdicts, url, prompt, judge, since, before;
  std::vector<std::string> beside;
  int samples = 1;
  std::map<std::string, double> cited;

  template <class V>
  void visit(V& v) {
    v("name", name, "the benchmark");
    v("figure", figure, "its figure in the table; empty: the usual one");
    v("file", file, "its file, or folder of files; empty: data/NAME with .jsonl, .json, .csv, .tsv, or the folder");
    v("beside", beside, "further files that it needs");
    v("verdicts", verdicts, "codeforces: the site's verdicts; where that file is there, nothing is sampled");
    v("url", url, "where its owner publishes it");
    v("prompt", prompt, "how to ask, in place of the built-in words");
    v("judge", judge, "what to ask the judge, in place of the built-in words");
    v("since", since, "livecodebench: first contest date");
    v("before", before, "livecodebench: first contest date no longer taken");
    v("samples", samples, "completions of each problem", kSamples);
    v("cited", cited, "published figures by model, as the source prints them", any_finite());
  }
};

struct SuiteConfig {
  double temperature = 0.6, top_p = 0.95;
  std::int64_t max_new_tokens = 32768;
  double cache_gigabytes = 1;
  std::uint64_t seed = 0;
  CodeConfig code;
  std::string source;
  std::vector<std::string> columns;
  std::vector<SuiteRow> rows;

  template <class V>
  void visit(V& v) {
    v("temperature", temperature, "of the samples", kTemperature);
    v("top_p", top_p, "nucleus of the samples", kTopP);
    v("max_new_tokens", max_new_tokens, "longest completion", kNewTokens);
    v("cache_gigabytes", cache_gigabytes, "limit of the KV cache; one prompt and its completion have to fit",
      above(0).at_most(1e6));
    v("seed", seed, "of samples, choices and examples");
    v("code", code, "what programs run in");
    v("source", source, "where the cited figures are from");
    v("columns", columns, "models whose cited figures the table shows");
    v("rows", rows, "the table's rows");
  }
  /// Throws Error for no row, one of no known benchmark, fewer than one sample, or a cited model that is no column; and
  /// for limits that are not positive.
  void validate() const;
};

/// `file`, or where there is none of that name what a file of the same name is with another ending: .jsonl, .json,
/// .csv, .tsv, each also with .gz, or a folder with none. `file` itself when nothing is there.
std::filesystem::path find_data(const std::filesystem::path& file);
/// Where a row's data is read from: of its files those that are there, and the first even if not.
BenchmarkSource source_of(const SuiteConfig& suite, const SuiteRow& row);
/// Whether a row's verdicts are there to be imported. source_of then names them as its file.
bool has_report(const SuiteRow& row);
/// The files of a row that are not there, and whether it can be done without them.
struct MissingFiles {
  std::vector<std::filesystem::path> files;
  bool needed = false;
};
MissingFiles missing_files(const SuiteRow& row);

/// The table in Markdown: a row for each of the suite, `model`'s figure with its interval (from `results`, by
/// benchmark) beside the cited ones; below it what is cited from where, and which files are missing and where to get
/// them.
std::string results_table(const SuiteConfig& suite, std::string_view model,
                          const std::map<std::string, BenchmarkScore>& results);

}  // namespace grpo
