// Reading a benchmark's files, and the figures that are means.
#include "grpo/benchmarks.h"

#include <algorithm>
#include <set>
#include <sstream>
#include <unordered_map>

#include "base/files/input_file.h"
#include "base/files/xxhash64.h"
#include "evaluation/benchmarks/file.h"
#include "evaluation/benchmarks/rules.h"
#include "evaluation/benchmarks/text.h"
#include "grpo/json.h"
#include "grpo/verdict.h"
#include "rewards/quoting.h"
#include "text/fill.h"

namespace grpo {
namespace {

std::string completion_name(const Answered& each) { return each.id + ", sample " + std::to_string(each.sample); }

/// The places of each problem's completions.
using ByProblem = std::vector<std::vector<std::size_t>>;

ByProblem group(const BenchmarkData& data, const std::vector<Answered>& completions) {
  std::unordered_map<std::string_view, std::size_t> index;
  for (std::size_t i = 0; i < data.problems.size(); ++i) index.emplace(data.problems[i].task.id, i);
  ByProblem groups(data.problems.size());
  std::set<std::pair<std::size_t, std::size_t>> seen;
  for (std::size_t i = 0; i < completions.size(); ++i) {
    const auto found = index.find(completions[i].id);
    if (found == index.end())
      throw Error("benchmark", data.benchmark->name, ": expected a completion of one of its problems, got ",
                  completion_name(completions[i]));
    if (!seen.emplace(found->second, completions[i].sample).second)
      throw Error("benchmark", data.benchmark->name, ": expected one completion of each sample, got two of ",
                  completion_name(completions[i]));
    groups[found->second].push_back(i);
  }
  std::erase_if(groups, [](const auto& each) { return each.empty(); });
  return groups;
}

/// The mean over problems of each mark's mean over samples.
void add_means(const ByProblem& groups, BenchmarkScore& scoring) {
  std::map<std::string, std::vector<double>> means;
  for (const auto& places : groups) {
    std::map<std::string, double> sums;
    for (const std::size_t place : places)
      for (const auto& [name, value] : scoring.marks[place].values) sums[name] += value;
    for (const auto& [name, sum] : sums) means[name].push_back(sum / static_cast<double>(places.size()));
  }
  for (const auto& [name, values] : means)
    scoring.figures[name == "right" ? "pass@1" : name] = mean_over_problems(values);
}

/// cons@K, and pass@k for k = 2, 4, … and K, where every problem has the same K > 1 samples.
void add_votes(const BenchmarkData& data, const Graders& graders, const ByProblem& groups, BenchmarkScore& scoring) {
  const std::size_t k = groups.empty() ? 0 : groups[0].size();
  const bool alike = std::all_of(groups.begin(), groups.end(), [&](const auto& each) { return each.size() == k; });
  if (k < 2 || !alike || !scoring.figures.contains("pass@1")) return;
  const auto same = [&](const std::string& a, const std::string& b) {
    return a == b || (data.benchmark->rules->same && data.benchmark->rules->same(graders, a, b));
  };
  std::vector<std::int64_t> right;  // of the samples of each problem
  std::vector<double> voted;
  bool votes = data.benchmark->rules->same != nullptr;  // the row has answers that can be equal, even if none was given
  for (const auto& places : groups) {
    std::vector<std::string> answers;
    std::vector<double> scores;
    for (const std::size_t place : places) {
      answers.push_back(scoring.marks[place].answer);
      scores.push_back(scoring.marks[place].values.at("right"));
      votes = votes || !answers.back().empty();
    }
    right.push_back(std::count_if(scores.begin(), scores.end(), [](double score) { return score > 0.5; }));
    voted.push_back(consensus(answers, scores, same));
  }
  for (std::size_t of = 2;; of = std::min(2 * of, k)) {
    std::vector<double> passed;
    for (const std::int64_t each : right)
      passed.push_back(pass_at_k(static_cast<std::int64_t>(k), each, static_cast<std::int64_t>(of)));
    scoring.figures["pass@" + std::to_string(of)] = mean_over_problems(passed);
    if (of >= k) break;
  }
  if (votes) scoring.figures["cons@" + std::to_string(k)] = mean_over_problems(voted);
}

}  // namespace

BenchmarkData read_benchmark(const Benchmark& benchmark, const BenchmarkSource& source) {
  if (benchmark.imported())
    throw Error("benchmark", benchmark.name, ": expected a benchmark that asks, got one whose report is imported");
  const BenchmarkRules& rules = *benchmark.rules;
  // Takes each line of a file, those within its records included, with its place.
  const auto read_lines = [&](const std::filesystem::path& file, const OnRecord& take) {
    read_records(file, [&](nlohmann::json& record, const std::string& where) {
      auto lines = rules.unfold ? rules.unfold(record) : std::vector<nlohmann::json>();
      for (std::size_t i = 0; i < lines.size(); ++i) take(lines[i], where + "[" + std::to_string(i) + "]");
      if (lines.empty()) take(record, where);
    }, rules.columns);
  };
  BenchmarkData data{&benchmark, source.judge.empty() ? std::string(benchmark.judge) : source.judge, {}, {}};
  for (const auto& file : source.beside)
    read_lines(file, [lines = &data.beside.emplace_back()](nlohmann::json& line, const std::string&) {
      lines->push_back(std::move(line));
    });
  const std::string_view prompt = source.prompt.empty() ? benchmark.prompt : std::string_view(source.prompt);
  std::set<std::string> ids;
  std::size_t number = 0;
  read_lines(source.file, [&](nlohmann::json& value, const std::string& where) {
    Reading reading;
    reading.seed = source.seed, reading.source = &source, reading.beside = &data.beside;
    Task& task = reading.problem.task;
    task.id = std::to_string(number++), task.kind = benchmark.name, task.language = "en";
    const JsonReader line(value, where, "benchmark");
    if (!rules.read(line, reading)) return;
    if (!ids.insert(task.id).second)
      throw Error("benchmark", where, ": expected problems with ids of their own, got ", task.id, " again");
    task.prompt = fill(prompt, {{"{question}", reading.question},
                                {"{choices}", reading.choices},
                                {"{letters}", reading.letters},
                                {"{subject}", reading.subject},
                                {"{examples}", reading.examples}});
    reading.problem.question = std::move(reading.question);
    reading.problem.line = std::move(value);
    data.problems.push_back(std::move(reading.problem));
  });
  if (data.problems.empty())
    throw Error("benchmark", source.file.string(), ": expected at least one problem, got none");
  return data;
}

std::string fingerprint(std::string_view text) {
  XxHash64 hash;
  hash.update(text.data(), text.size());
  return hash.hex();
}

nlohmann::ordered_json to_json(std::string_view benchmark, const Answered& answered) {
  nlohmann::ordered_json line{{"benchmark", benchmark}, {"id", answered.id},   {"sample", answered.sample},
                              {"text", answered.text},  {"cut", answered.cut}, {"verdicts", answered.verdicts}};
  if (!answered.asked.empty()) line["asked"] = answered.asked;
  if (!answered.judged.empty()) line["judged"] = answered.judged;
  return line;
}

SavedAnswers read_answered(std::string_view benchmark, const std::filesystem::path& path) {
  std::istringstream file(read_input("benchmark", path));
  SavedAnswers saved;
  std::string text;
  for (std::size_t number = 1; std::getline(file, text); ++number) {
    const std::string where = path.string() + ":" + std::to_string(number);
    // A line without its end, that is no whole object, is one that a run was writing when it was stopped.
    const bool ended = !file.eof();
    const nlohmann::json value = read_json<nlohmann::json>(text);
    saved.torn = !ended && value.is_discarded() && text.find_first_not_of(" \t\r") != text.npos;
    if (saved.torn) break;
    saved.bytes += text.size() + ended;
    saved.ended = ended;
    if (text.find_first_not_of(" \t\r") == text.npos) continue;
    if (value.is_discarded())
      throw Error("benchmark", where, ": expected a completion as JSON, got ", text.substr(0, 80),
                  "; mend the line, or remove it to have it sampled again");
    const JsonReader line(value, where, "benchmark");
    if (line.string("benchmark") != benchmark) continue;
    Answered each{line.string("id"),
                  static_cast<std::size_t>(line.count("sample", 1 << 30)),
                  line.string("text"),
                  line.boolean("cut", false),
                  {},
                  line.object().contains("asked") ? line.string("asked") : "",
                  line.object().contains("judged") ? line.string("judged") : ""};
    for (const auto& verdict : line.optional("verdicts")) {
      if (!verdict.is_string()) line.refuse("verdicts", "a list of texts");
      each.verdicts.push_back(verdict.get<std::string>());
    }
    saved.answers.push_back(std::move(each));
  }
  return saved;
}

bool is_silent(const BenchmarkProblem& problem, std::string_view shown) {
  return shown.empty() || (says_nothing(shown, {}) && !says_nothing(problem.task.answer, {}));
}

std::vector<std::string> judge_prompts(const BenchmarkData& data, const BenchmarkProblem& problem,
                                       std::string_view text, bool think_open) {
  using Judging = BenchmarkRules::Judging;
  const Judging judging = data.benchmark->rules->judging;
  const std::string_view shown = shown_answer(text, think_open), rival = problem.task.answer;
  if (judging == Judging::none || is_silent(problem, shown)) return {};
  const auto ask = [&](std::string_view a, std::string_view b) {
    return fill_quoted(data.judge, {{"{question}", problem.question},
                                    {"{reference}", problem.task.answer},
                                    {"{answer}", shown},
                                    {"{a}", a},
                                    {"{b}", b}});
  };
  if (judging == Judging::both_orders) return {ask(rival, shown), ask(shown, rival)};
  return {model_is_first(problem) ? ask(shown, rival) : ask(rival, shown)};
}

BenchmarkScore score_completions(const BenchmarkData& data, const std::vector<Answered>& completions,
                                 const Graders& graders) {
  const BenchmarkRules& rules = *data.benchmark->rules;
  const ByProblem groups = group(data, completions);
  std::unordered_map<std::string_view, const BenchmarkProblem*> problems;
  for (const BenchmarkProblem& each : data.problems) problems.emplace(each.task.id, &each);
  BenchmarkScore scoring;
  scoring.problems = data.problems.size(), scoring.answered = groups.size(), scoring.completions = completions.size();
  for (const Answered& each : completions) {
    Mark mark;
    rules.score({*problems.at(each.id), each, shown_answer(each.text, graders.think_open), graders}, mark);
    scoring.cut += each.cut;
    scoring.unreadable += mark.unreadable;
    scoring.marks.push_back(std::move(mark));
  }
  add_means(groups, scoring);
  add_votes(data, graders, groups, scoring);
  if (rules.summarize && !completions.empty()) rules.summarize(data, completions, scoring);
  return scoring;
}

BenchmarkScore import_report(const Benchmark& benchmark, const BenchmarkSource& source) {
  if (!benchmark.rules->import)
    throw Error("benchmark", benchmark.name,
                ": expected swe_verified, aider_polyglot or codeforces, whose reports are imported");
  Report report{benchmark.name, source.file.string(), {}, {}};
  // Aider's results lie in the folders of its exercises, beside files of JSON that are none.
  constexpr std::string_view kAider = ".aider.results.json";
  std::vector<std::filesystem::path> files;
  if (std::filesystem::is_directory(source.file))
    for (const auto& each : std::filesystem::recursive_directory_iterator(source.file))
      if (each.path().filename() == kAider) files.push_back(each.path());
  std::sort(files.begin(), files.end());
  if (files.empty()) files = {source.file};
  for (const auto& file : files)
    read_records(file, [&](nlohmann::json& line, const std::string& where) {
      report.lines.push_back({where, std::move(line)});
    });
  for (const auto& file : source.beside) report.beside.push_back(read_records(file));
  BenchmarkScore scoring;
  benchmark.rules->import(report, scoring);
  return scoring;
}

}  // namespace grpo
