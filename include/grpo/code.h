// Rewards for programs: what a completion's code does when it runs, told by those who do not run it. The expected
// results of a test never enter the sandbox that the program is in; nothing that the program prints, returns or exits
// with is a verdict.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grpo/sandbox.h"
#include "grpo/task.h"

namespace grpo {

/// The tests of one task, read from Task::answer.
struct CodeTests {
  struct Case {
    std::string input, output;
  };
  Language language = Language::python;
  std::vector<Case> cases;   ///< whole programs: standard input and output; empty for functions
  std::string entry_point;   ///< functions, in Python: the name that is called
  std::string setup, check;  ///< functions: code that the check needs, and code that defines check(candidate)
  std::string calls;         ///< functions, in place of a check: JSON [[[argument, …], result], …]
};

/// Reads a JSON object or list, with an optional "language" ("python", "cpp") in an object:
///   {"inputs": ["1 2\n", …], "outputs": ["3\n", …]}      whole programs (as in APPS and TACO)
///   [{"input": "1 2\n", "output": "3\n"}, …]              the same (as in LiveCodeBench and Codeforces), also in an
///                                                         object under "tests"
///   {"fn_name": "add", "inputs": [[1, 2], …], "outputs": [3, …]}
///       a function: the arguments of each call, and its result
///   {"entry_point": "add", "test": "def check(candidate): …", "prompt": "…"}
///       a function (as in HumanEval, arXiv:2107.03374); the prompt, which may end in the function's head or docstring,
///       may define what the function and the test use besides, and the test may call the function by its name
/// Throws Error for anything else, and for functions in another language than Python.
CodeTests read_code_tests(std::string_view json);

/// The program in a completion. Of the text after the last `</think>` (all of it where there is none), the body of the
/// last `<answer>…</answer>` (all of it where there is none); there the last closed fenced block (three or more ` or ~
/// at the start of a line, closed by as many of them alone on one) whose language is this one or not named. "" when
/// there is none.
std::string_view find_code(std::string_view text, Language language);

/// The program that a completion of `prompt`, Python that ends in the head or docstring of the function `name`, makes
/// of it: behind the prompt stands the function's body, indented or not, or the whole function once more. `source`
/// itself where there is no prompt, or `source` must come first (it imports from `__future__`).
std::string completed_program(const std::string& prompt, std::string_view name, const std::string& source);

/// Whether a program printed what was expected: the same tokens in the same order, where tokens are what white space
/// (space, tab, line ends, vertical tab, form feed) parts; its amount and kind do not matter. With a positive
/// `tolerance`, two decimal numbers also agree within tolerance · max(1, |expected|). `printed` that is empty agrees
/// only with an empty expectation.
bool outputs_match(std::string_view printed, std::string_view expected, double tolerance = 0);

struct CodeConfig {
  SandboxConfig sandbox;
  Limits limits;
  double tolerance = 0;
  bool partial = false;

  template <class V>
  void visit(V& v) {
    v("sandbox", sandbox, "what programs run in");
    v("limits", limits, "of each test, or of all calls of a function");
    v("tolerance", tolerance, "by how much numbers in a program's output may be off, relative above 1; 0: not at all",
      at_least(0));
    v("partial", partial, "the share of passed tests is the score, and all of them run; else 1 for all, 0 for fewer");
  }
};

struct CodeVerdict {
  Outcome outcome = Outcome::ok;  ///< of the first test that failed
  std::int64_t passed = 0, total = 0;
  std::int64_t failed = 0;  ///< the first test that failed, from 1 on; 0: none, or none of its own (no build, a check)
  std::string detail;       ///< why, for people: what the program or the check said

  /// "test 2 of 3: wrong_output: printed 5, expected 4"; "" for a program that passed.
  std::string reason() const;
};

/// Checks programs. Members may be called from any number of threads at once.
///
/// A function is not called by its check: it runs in a sandbox of its own and answers calls, and the check, in another
/// sandbox, holds a stand-in that sends arguments and gets results as plain data. So an `os._exit`, an `==` that is
/// always true, a patched interpreter or a printed verdict stay on their own side of a pipe. What can cross are None,
/// bool, int, float, complex, str, bytes, list, tuple, set, frozenset and dict of these (what derives from them arrives
/// as the plain kind), and exceptions as the built-in class of that name, else as RuntimeError. What cannot: generators
/// and other objects, functions as arguments, what a call does to its arguments, and the identity of values.
class CodeChecker {
 public:
  /// Throws Error when no sandbox can be set up; see Sandbox.
  explicit CodeChecker(CodeConfig config = {});

  /// Runs `source` against the tests, up to the first that fails (all of them with `partial`). Never throws because of
  /// `source`; throws Error when a test's own code fails before it has called anything.
  CodeVerdict check(std::string_view source, const CodeTests& tests) const;

  /// What becomes of a completion's code, tried again where the sandbox failed. Nothing for a task without an answer or
  /// of another kind than "code". Without code no test is passed. Throws Error for an answer that read_code_tests
  /// refuses.
  std::optional<CodeVerdict> verdict(const Task& task, const Completion& completion) const;

  /// Its score: 1 or 0, or the share of passed tests; undefined where there is no verdict, and when the sandbox failed
  /// twice in a row. Throws Error as `verdict` does.
  Score score(const Task& task, const Completion& completion) const;
  Score score(const std::optional<CodeVerdict>& verdict) const;

 private:
  CodeVerdict check_cases(const Program& program, const CodeTests& tests) const;
  CodeVerdict check_function(std::string_view source, const CodeTests& tests) const;

  CodeConfig config_;
  Sandbox sandbox_;
};

/// The reward `code`: CodeChecker::score. Throws Error when no sandbox can be set up.
std::function<Score(const Task&, const Completion&)> code_reward(const CodeConfig& config = {});

}  // namespace grpo
