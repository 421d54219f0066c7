#include "evaluate_suite.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "grpo/code.h"
#include "grpo/instructions.h"
#include "grpo/json.h"
#include "grpo/language.h"
#include "grpo/sandbox.h"
#include "lines.h"
#include "suite_completions.h"

namespace {

namespace fs = std::filesystem;
using grpo::Answered;
using grpo::BenchmarkData;

grpo::SuiteConfig read_suite(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (fs::is_directory(file)) throw grpo::Error("suite", file, ": expected a suite, got a folder; check the path");
  if (!in) throw grpo::Error("suite", file, ": expected a suite, such as configs/eval_r1.json, got no such file");
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  grpo::SuiteConfig suite;
  grpo::load_json(suite, grpo::parse_json(text, file), file);
  return suite;
}

using Clock = std::chrono::steady_clock;

fs::path completions_file(const SuiteRun& run, const grpo::SuiteRow& row) {
  return fs::path(run.out) / (row.name + ".jsonl");
}

// ---- Judging and scoring --------------------------------------------------------------------------------------------

// Asks the judge what it has not said yet of the first `samples`; false where there is none to ask.
bool judge(const SuiteRun& run, const grpo::SuiteConfig& suite, const BenchmarkData& data, size_t samples,
           const fs::path& file, std::vector<Answered>& answers) {
  const std::string name(data.benchmark->name);
  std::map<std::string_view, const grpo::BenchmarkProblem*> problems;
  for (const auto& problem : data.problems) problems[problem.task.id] = &problem;
  std::vector<Question> questions;
  std::vector<std::pair<Answered*, size_t>> asked;  // of each question, which of the answer's verdicts
  const std::string judge_id = run.judge ? grpo::fingerprint(run.judge->policy) : "";
  size_t outdated = 0;
  for (Answered& each : answers) {
    if (each.sample >= samples) continue;
    const auto prompts = grpo::judge_prompts(data, *problems[each.id], each.text, run.model.rewards.think_open);
    std::string whole;
    for (const std::string& prompt : prompts) whole += prompt + '\0';
    // Verdicts on another question, or of another judge, are none on this one.
    const std::string question = grpo::fingerprint(whole) + ' ';
    if (!prompts.empty() && !each.judged.empty() && !each.verdicts.empty() &&
        (run.judge ? each.judged != question + judge_id : !each.judged.starts_with(question)))
      each.verdicts.clear(), ++outdated;
    if (each.verdicts.size() == prompts.size() &&
        std::find(each.verdicts.begin(), each.verdicts.end(), "") == each.verdicts.end())
      continue;
    each.verdicts.resize(prompts.size());
    each.judged = question + judge_id;
    for (size_t i = 0; i < prompts.size(); ++i) {
      questions.push_back({{each.id, prompts[i], "", "", ""}, static_cast<uint32_t>(questions.size())});
      asked.emplace_back(&each, i);
    }
  }
  if (questions.empty()) return true;
  if (outdated > 0)
    std::cerr << name << ": " << outdated << " verdicts in " << file.string()
              << " are another judge's, or on another question; they are asked for again\n";
  if (!run.judge) {
    std::cerr << name << ": its answers are in " << file.string() << "; --judge FOLDER scores them\n";
    return false;
  }
  grpo::RolloutConfig settings = run.judge->rollout;
  settings.samples = 1;
  settings.cache_gigabytes = suite.cache_gigabytes;
  settings.sampling = {0, 0, 1, 0};
  auto saved = Clock::now();
  try {
    answer(name + " judged", *run.judge, run.judge_chat, settings, suite.seed, settings.max_new_tokens, questions,
           run.stop, [&](const grpo::Group& group) {
             auto& [answered, which] = asked[group.index];
             // (What says nothing is unreadable, and asked no second time.)
             const std::string& said = group.completions[0].text;
             answered->verdicts[which] = said.empty() ? " " : said;
             if (Clock::now() - saved < std::chrono::minutes(1)) return;
             save(name, answers, file);
             saved = Clock::now();
           });
  } catch (const grpo::Interrupted&) {
    save(name, answers, file);
    throw;
  }
  save(name, answers, file);
  return true;
}

// Runs the programs in the answers, on all cores at once, and has `graders` know which pass. Throws where there is no
// sandbox, or it fails twice.
void run_programs(const BenchmarkData& data, const std::vector<Answered>& answers, grpo::CodeConfig code,
                  const grpo::StopSignal& stop, grpo::Graders& graders) {
  using Programs = std::map<std::string, bool>;
  const auto found = std::make_shared<std::map<std::string, Programs>>();  // by problem: whether it passes
  graders.passes_tests = [found](const grpo::BenchmarkProblem& problem, const std::string& program) {
    return (*found)[problem.task.id].emplace(program, false).first->second;
  };
  grpo::score_completions(data, answers, graders);  // all fail; but now it is known which there are
  size_t total = 0;
  for (const auto& [id, programs] : *found) total += programs.size();
  if (total == 0) return;

  const grpo::CodeChecker one(code);
  // The limits are of one test. The calls of a function share theirs, so that they get some more.
  code.limits.cpu_seconds *= 5, code.limits.wall_seconds *= 5;
  const grpo::CodeChecker calls(code);
  Progress progress(std::string(data.benchmark->name) + " programs", total);
  std::mutex mutex;
  std::exception_ptr failure;
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < data.problems.size(); i = next++) try {
        const grpo::BenchmarkProblem& problem = data.problems[i];
        const auto programs = found->find(problem.task.id);
        if (programs == found->end()) continue;
        const grpo::CodeTests tests = grpo::code_tests(problem);
        const grpo::CodeChecker& checker = tests.calls.empty() ? one : calls;
        for (auto& [program, passes] : programs->second) {
          stop.check();
          const std::string whole = grpo::whole_program(problem, program);
          grpo::CodeVerdict verdict = checker.check(whole, tests);
          if (verdict.outcome == grpo::Outcome::infrastructure) verdict = checker.check(whole, tests);
          stop.check();  // Ctrl-C ends sandboxes, too
          if (verdict.outcome == grpo::Outcome::infrastructure)
            throw grpo::Error("suite", problem.task.id, ": the sandbox failed: ", verdict.detail);
          passes = verdict.total > 0 && verdict.passed == verdict.total;
          const std::lock_guard lock(mutex);
          progress.advance();
        }
      } catch (...) {
        const std::lock_guard lock(mutex);
        failure = std::current_exception();
        next = data.problems.size();
      }
  };
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) threads.emplace_back(work);
  }
  if (failure) std::rethrow_exception(failure);
}

grpo::Graders make_graders(const grpo::RewardsConfig& rewards) {
  grpo::Graders graders;
  graders.think_open = rewards.think_open, graders.last_box = rewards.answers.last_box;
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
  return graders;
}

// ---- The whole ------------------------------------------------------------------------------------------------------

void write_file(const fs::path& file, const std::string& text) {
  LineWriter out(file.string(), {});
  out.write_lines(text);
  out.finish();
}

// A folder has the completions of one model, asked in one way.
void check_settings(const SuiteRun& run, const grpo::SuiteConfig& suite) {
  const fs::path file = fs::path(run.out) / "settings.json";
  nlohmann::ordered_json settings{{"model", fs::weakly_canonical(run.name).string()},
                                  {"chat", run.chat.text},
                                  {"system", run.chat.system},
                                  {"open_think", run.chat.open_think},
                                  {"temperature", suite.temperature},
                                  {"top_p", suite.top_p},
                                  {"max_new_tokens", suite.max_new_tokens},
                                  {"seed", suite.seed},
                                  {"weights", grpo::fingerprint(run.model.policy)}};
  if (std::ifstream in(file, std::ios::binary); in) {
    const auto before = grpo::read_json<nlohmann::ordered_json>(std::string(std::istreambuf_iterator<char>(in), {}));
    nlohmann::ordered_json there{{"system", ""},
                                 {"open_think", false},
                                 {"weights", settings["weights"]}};  // where an earlier program wrote none
    if (before.is_object()) there.update(before);
    for (const auto& [key, value] : settings.items())
      if (!before.is_object() || there.value(key, nlohmann::ordered_json()) != value)
        throw grpo::Error("suite", file.string(), ": expected \"", key, "\" to be ", value.dump(), ", got ",
                          before.is_object() ? there.value(key, nlohmann::ordered_json()).dump() : "no JSON",
                          ": the completions there were sampled in another way; take another --out, or remove that "
                          "file to score them as they are");
  } else {
    write_file(file, settings.dump(2) + '\n');
  }
}

int evaluate_rows(const SuiteRun& run) {
  grpo::SuiteConfig suite = read_suite(run.suite);
  if (run.max_new_tokens > 0) suite.max_new_tokens = run.max_new_tokens;
  std::vector<grpo::SuiteRow> rows;  // those whose files are there, each benchmark once
  for (const grpo::SuiteRow& row : suite.rows) {
    const auto same = [&](const grpo::SuiteRow& other) { return other.name == row.name; };
    if (!grpo::missing_files(row).needed && std::none_of(rows.begin(), rows.end(), same)) rows.push_back(row);
  }
  // All files are tried before anything is sampled: a line that is wrong is told of now, not after hours.
  const auto imported = [](const grpo::SuiteRow& row) {
    return grpo::find_benchmark(row.name).imported() || grpo::has_report(row);
  };
  for (const grpo::SuiteRow& row : rows) {
    const grpo::Benchmark& benchmark = grpo::find_benchmark(row.name);
    const grpo::BenchmarkSource source = grpo::source_of(suite, row);
    if (imported(row))
      grpo::import_report(benchmark, source);
    else
      grpo::read_benchmark(benchmark, source);
    std::error_code none;
    if (fs::equivalent(completions_file(run, row), source.file, none))
      throw grpo::Error("suite", source.file.string(), ": expected --out to be another folder than that of the data");
  }
  std::error_code failure;
  fs::create_directories(run.out, failure);
  if (failure) throw grpo::Error("suite", "out: cannot make the folder ", run.out, ": ", failure.message());
  check_settings(run, suite);

  grpo::Graders graders = make_graders(run.model.rewards);
  std::map<std::string, grpo::BenchmarkScore> results;
  auto figures = nlohmann::ordered_json::object();
  for (const grpo::SuiteRow& row : rows) {
    const grpo::Benchmark& benchmark = grpo::find_benchmark(row.name);
    const grpo::BenchmarkSource source = grpo::source_of(suite, row);
    if (imported(row)) {
      results[row.name] = grpo::import_report(benchmark, source);
    } else {
      const BenchmarkData data = grpo::read_benchmark(benchmark, source);
      const fs::path file = completions_file(run, row);
      std::vector<Answered> answers = complete(run, suite, row, data, file);
      const auto samples = static_cast<size_t>(row.samples);
      if (!judge(run, suite, data, samples, file, answers)) continue;
      // (A file from a run with more samples keeps them.)
      std::erase_if(answers, [&](const Answered& each) { return each.sample >= samples; });
      if (benchmark.runs_programs()) {
        if (const std::string why = grpo::Sandbox::why_unavailable(suite.code.sandbox); !why.empty()) {
          std::cerr << row.name << ": its answers are in " << file.string() << "; their programs were not run: " << why
                    << '\n';
          continue;
        }
        run_programs(data, answers, suite.code, run.stop, graders);
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
  write_file(fs::path(run.out) / "table.md", table);
  write_file(fs::path(run.out) / "figures.json", figures.dump(2) + '\n');
  write_file("-", table);
  return 0;
}

}  // namespace

int evaluate_suite(const SuiteRun& run) try {
  return evaluate_rows(run);
} catch (const grpo::Interrupted&) {
  std::cerr << "stopped; the same command goes on from what is in " << run.out << std::endl;
  return run.stop.exit_status();
}
