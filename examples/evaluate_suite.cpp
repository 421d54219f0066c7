#include "evaluate_suite.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "grpo/code.h"
#include "grpo/instructions.h"
#include "grpo/language.h"
#include "grpo/metrics.h"

namespace {

namespace fs = std::filesystem;
using grpo::Answered;
using grpo::BenchmarkData;

grpo::SuiteConfig read_suite(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw grpo::Error("suite", file, ": expected a suite, such as configs/eval_r1.json, got no such file");
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  grpo::SuiteConfig suite;
  grpo::load_json(suite, grpo::parse_json(text, file), file);
  return suite;
}

void save(const std::string& benchmark, const std::vector<Answered>& answers, const fs::path& file) {
  const fs::path part = file.string() + ".part";
  {
    grpo::JsonlWriter out(part);
    for (const Answered& each : answers) out.write(grpo::to_json(benchmark, each));
    out.sync();
  }
  fs::rename(part, file);
}

// Answers texts, as many as the settings say to each; keyed by (seed, evaluation, 0, place in the list), so that
// stopping and going on changes no draw.
class Sampler {
 public:
  Sampler(const grpo::Model& model, const grpo::ChatTemplate& chat, grpo::RolloutConfig settings, uint64_t seed)
      : model_(model), chat_(chat), settings_(settings), seed_(seed) {}

  /// `limit`: most new tokens, fewer where the model's positions end.
  void run(const std::string& what, const std::vector<grpo::Task>& tasks, int64_t limit,
           const std::function<void(const std::vector<grpo::Group>&)>& keep) {
    size_t longest = 0;
    std::vector<std::vector<int32_t>> prompts;
    for (const grpo::Task& task : tasks) {
      prompts.push_back(model_.tokenizer.encode(chat_.render(task)));
      longest = std::max(longest, prompts.back().size());
    }
    const int64_t room = model_.policy.config().max_positions - static_cast<int64_t>(longest);
    if (room < 1)
      throw grpo::Error("suite", what, ": a prompt of ", longest, " tokens leaves no room in the model's ",
                        model_.policy.config().max_positions, " positions; see --max-positions");
    settings_.max_new_tokens = static_cast<int>(std::min(limit, room));
    grpo::Rollout rollout(model_.policy, model_.tokenizer, chat_, settings_);
    constexpr size_t kAtOnce = 64;
    for (size_t begin = 0; begin < tasks.size(); begin += kAtOnce) {
      const auto from = static_cast<ptrdiff_t>(begin),
                 to = static_cast<ptrdiff_t>(std::min(tasks.size(), begin + kAtOnce));
      keep(rollout.generate({tasks.begin() + from, tasks.begin() + to}, {prompts.begin() + from, prompts.begin() + to},
                            {seed_, grpo::Purpose::evaluation, 0, static_cast<uint32_t>(begin)}));
      std::cerr << '\r' << what << ' ' << to << '/' << tasks.size() << std::flush;
    }
    std::cerr << '\n';
  }

 private:
  const grpo::Model& model_;
  grpo::ChatTemplate chat_;
  grpo::RolloutConfig settings_;
  uint64_t seed_;
};

// What the file holds already, where that is all; else everything is drawn anew.
std::vector<Answered> answers_of(const BenchmarkData& data, int samples, const fs::path& file) {
  const std::string name(data.benchmark->name);
  if (!fs::exists(file)) return {};
  std::vector<Answered> found = grpo::read_answered(name, file);
  return found.size() == data.problems.size() * static_cast<size_t>(samples) ? found : std::vector<Answered>();
}

// The tests of a problem as read_code_tests takes them: HumanEval's line as it is, else the cases it publishes.
std::string tests_of(const nlohmann::json& line) {
  if (line.contains("entry_point")) return line.dump();
  auto cases = nlohmann::json::array();
  for (const char* key : {"public_test_cases", "private_test_cases", "official_tests", "examples"}) {
    if (!line.contains(key)) continue;
    const auto& value = line[key];
    const auto list = value.is_string() ? nlohmann::json::parse(value.get<std::string>(), nullptr, false) : value;
    if (list.is_array())
      for (const auto& each : list)
        cases.push_back({{"input", each.value("input", "")}, {"output", each.value("output", "")}});
  }
  return cases.dump();
}

grpo::Graders make_graders(bool think_open, const grpo::RewardsConfig& rewards) {
  grpo::Graders graders;
  graders.think_open = think_open;
  graders.same_answer = [options = rewards.answers](std::string_view answer, std::string_view reference) {
    return grpo::check_answer(answer, reference, options) == grpo::Verdict::correct;
  };
  graders.follows_instructions = [](const grpo::BenchmarkProblem& problem, std::string_view response) {
    const auto verdicts =
        grpo::Instructions(problem.line.dump(), problem.task.id).check(response, [](std::string_view text) {
          return grpo::identify_language(text);
        });
    return grpo::InstructionsFollowed{verdicts.all_strict(), verdicts.all_loose()};
  };
  graders.passes_tests = [checker = std::shared_ptr<grpo::CodeChecker>(), code = rewards.code](
                             const grpo::BenchmarkProblem& problem, const std::string& program) mutable {
    if (!checker) checker = std::make_shared<grpo::CodeChecker>(code);  // refuses where there is no sandbox
    const std::string whole = problem.line.contains("entry_point") &&
                                      program.find("def " + problem.line.value("entry_point", "")) == program.npos
                                  ? problem.line.value("prompt", "") + program
                                  : program;
    const grpo::CodeVerdict verdict = checker->check(whole, grpo::read_code_tests(tests_of(problem.line)));
    if (verdict.outcome == grpo::Outcome::infrastructure)
      throw grpo::Error("suite", problem.task.id, ": the sandbox failed: ", verdict.detail);
    return verdict.total > 0 && verdict.passed == verdict.total;
  };
  return graders;
}

}  // namespace

int evaluate_suite(const SuiteRun& run) {
  const grpo::SuiteConfig suite = read_suite(run.suite);
  fs::create_directories(run.out);
  const grpo::Graders graders = make_graders(run.model.rewards.think_open, run.model.rewards);
  std::map<std::string, grpo::BenchmarkScore> results;
  nlohmann::ordered_json figures;
  std::set<std::string> seen;
  for (const grpo::SuiteRow& row : suite.rows) {
    if (!seen.insert(row.name).second || !grpo::missing_files(suite, row).empty()) continue;
    const grpo::Benchmark& benchmark = grpo::find_benchmark(row.name);
    const grpo::BenchmarkSource source = grpo::source_of(suite, row);
    if (benchmark.imported()) {
      results[row.name] = grpo::import_report(benchmark, source.file);
    } else {
      const BenchmarkData data = grpo::read_benchmark(benchmark, source);
      const fs::path file = fs::path(run.out) / (row.name + ".jsonl");
      std::vector<Answered> answers = answers_of(data, row.samples, file);
      if (answers.empty()) {
        std::vector<grpo::Task> tasks;
        for (const auto& problem : data.problems) tasks.push_back(problem.task);
        grpo::RolloutConfig settings = run.model.rollout;
        settings.samples = row.samples;
        settings.sampling = {suite.temperature, 0, suite.top_p, 0};
        Sampler(run.model, run.chat, settings, suite.seed)
            .run(row.name, tasks, run.max_new_tokens > 0 ? run.max_new_tokens : suite.max_new_tokens,
                 [&](const std::vector<grpo::Group>& groups) {
                   for (const grpo::Group& group : groups)
                     for (size_t i = 0; i < group.completions.size(); ++i)
                       answers.push_back({group.task.id,
                                          i,
                                          group.completions[i].text,
                                          group.completions[i].finish == grpo::Finish::length,
                                          {}});
                 });
        save(row.name, answers, file);
      }
      std::map<std::string, const grpo::BenchmarkProblem*> problems;
      for (const auto& problem : data.problems) problems[problem.task.id] = &problem;
      std::vector<grpo::Task> questions;
      std::vector<Answered*> asked;
      for (Answered& each : answers) {
        if (!problems.contains(each.id))
          throw grpo::Error("suite", file.string(), ": has an answer to \"", each.id, "\", which ",
                            source.file.string(), " does not ask; remove it to sample anew");
        const auto prompts = grpo::judge_prompts(data, *problems[each.id], each.text, graders.think_open);
        if (each.verdicts.size() == prompts.size()) continue;
        each.verdicts.clear();
        for (const std::string& prompt : prompts) {
          questions.push_back({each.id, prompt, "", "", ""});
          asked.push_back(&each);
        }
      }
      if (!questions.empty()) {
        if (!run.judge) {
          std::cerr << row.name << ": its answers are in " << file.string() << "; --judge FOLDER scores them\n";
          continue;
        }
        grpo::RolloutConfig settings = run.judge->rollout;
        settings.samples = 1;
        settings.sampling = {0, 0, 1, 0};
        size_t next = 0;
        Sampler(*run.judge, run.judge_chat, settings, suite.seed)
            .run(row.name + " judged", questions, settings.max_new_tokens, [&](const std::vector<grpo::Group>& groups) {
              for (const grpo::Group& group : groups) asked[next++]->verdicts.push_back(group.completions[0].text);
            });
        save(row.name, answers, file);
      }
      results[row.name] = grpo::score_completions(data, answers, graders);
    }
    const grpo::BenchmarkScore& scoring = results[row.name];
    auto& out = figures[row.name];
    for (const auto& [name, estimate] : scoring.figures)
      out[name] = {{"value", estimate.value}, {"ci95", {estimate.interval.low, estimate.interval.high}}};
    out["problems"] = scoring.problems, out["completions"] = scoring.completions, out["cut"] = scoring.cut,
    out["unreadable"] = scoring.unreadable;
  }
  const std::string table = grpo::results_table(suite, run.name, results);
  std::ofstream(fs::path(run.out) / "table.md") << table;
  std::ofstream(fs::path(run.out) / "figures.json") << figures.dump(2) << '\n';
  std::cout << table;
  return 0;
}
