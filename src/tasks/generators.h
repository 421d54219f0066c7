// The problems behind generated tasks and the pretraining corpus.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/draws.h"
#include "grpo/tasks.h"
#include "tasks/general_problem.h"

namespace grpo {

/// Whether the problem or prompt `canonical` belongs to the held-out split; nothing else decides.
bool is_held_out(std::string_view canonical, double heldout_share);

struct ArithmeticProblem {
  std::int64_t left;
  char op;  // '+', '-' or '*'
  std::int64_t right;
  std::int64_t value() const;
  std::string text() const;  // "47+85"
};

struct CountdownProblem {
  std::vector<std::int64_t> numbers;
  std::int64_t target;
  std::string solution;      // one expression that reaches the target
  std::string operators = "+-*/";
  std::string text() const;  // "24 from 3 5 7 2"
};

using Problem = std::variant<ArithmeticProblem, CountdownProblem, GeneralProblem>;

/// An expression that uses some numbers once each, and its value.
struct Expression {
  std::string text;
  std::int64_t value;
  int precedence;  // 0: a number, 1: a product or quotient, 2: a sum or difference
};

/// A random expression over all `numbers` in which every partial result is a positive integer. `operators`: + and some of
/// - * /.
Expression random_expression(const std::vector<std::int64_t>& numbers, std::string_view operators, Draws& draws);

/// All problems of a config, by index.
class ProblemSet {
 public:
  explicit ProblemSet(const TasksConfig& config);
  std::uint64_t size() const;
  Problem canonical(std::uint64_t index) const;
  bool contains(std::uint64_t index, Split split) const;
  /// `problem` with its operands or numbers in a random order that asks the same.
  static Problem reordered(Problem problem, Draws& draws);
  /// The task that asks `problem` as it stands, in random words.
  Task task(const Problem& problem, Draws& draws) const;

 private:
  TasksConfig config_;
  std::vector<CountdownProblem> countdown_;
};

/// "47+85", "24 from 3 5 7 2" or "sentence red fox park"; of a canonical problem, what its split and its id are made
/// from.
std::string text_of(const Problem& problem);

}  // namespace grpo
