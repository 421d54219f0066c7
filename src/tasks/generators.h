// The problems behind generated tasks and the pretraining corpus, and the integer hashing that makes both pure
// functions of an index on every platform (the distributions of <random> differ between standard libraries).
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "general.h"
#include "grpo/tasks.h"

namespace grpo {

/// A short sequence of draws that depends on `key` alone (SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
class Draws {
 public:
  explicit Draws(std::initializer_list<std::uint64_t> key);
  std::uint64_t next();
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }       // the bias, bound / 2^64, is nothing here
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)
  bool with_probability(double p) { return uniform() < p; }
  template <class T>
  const T& one_of(const std::vector<T>& items) {
    return items[below(items.size())];
  }
  template <class T>
  void shuffle(std::vector<T>& items) {
    for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

 private:
  std::uint64_t state_;
};

/// The place of `position` in a pseudo-random permutation of [0, size) that depends on `key`.
std::uint64_t permuted(std::uint64_t position, std::uint64_t size, std::uint64_t key);

/// Whether the problem or prompt `canonical` belongs to the held-out split; nothing else decides.
/// FNV-1a.
std::uint64_t hash_of(std::string_view text);

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
