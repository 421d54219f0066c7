#include "tasks/generators.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_set>
#include <utility>

#include "text/fill.h"

namespace grpo {
namespace {

constexpr std::int64_t kLargestPartial = 1'000'000;  // of a countdown expression

/// Pairs 0 ≤ small ≤ large ≤ max_operand.
std::uint64_t pairs_up_to(std::int64_t max_operand) {
  const auto n = static_cast<std::uint64_t>(max_operand) + 1;
  return n * (n + 1) / 2;
}

/// The index-th pair (small, large), in the order (0,0) (0,1) (1,1) (0,2) …, which does not depend on the largest.
std::pair<std::int64_t, std::int64_t> pair_at(std::uint64_t index) {
  auto large = static_cast<std::uint64_t>((std::sqrt(8.0 * static_cast<double>(index) + 1.0) - 1.0) / 2.0);
  while (large * (large + 1) / 2 > index) --large;  // the square root may round
  while ((large + 1) * (large + 2) / 2 <= index) ++large;
  return {static_cast<std::int64_t>(index - large * (large + 1) / 2), static_cast<std::int64_t>(large)};
}

std::string join(const std::vector<std::int64_t>& numbers, std::string_view separator) {
  std::string text;
  for (const std::int64_t number : numbers) {
    if (!text.empty()) text += separator;
    text += std::to_string(number);
  }
  return text;
}

/// The problem told as a little story, which asks for its value.
std::string story(const ArithmeticProblem& problem, bool korean, Draws& draws) {
  static const std::vector<std::string> kNames = {"Mia", "Tom", "Ana", "Ben", "Eva", "Leo", "Ida", "Max"};
  static const std::vector<std::string> kThings = {"books", "apples", "coins", "stamps", "shells", "cards", "eggs"};
  static const std::vector<std::string> kKoreanThings = {"책", "사과", "동전", "우표", "조개", "카드", "달걀"};
  static const std::map<char, std::vector<std::string>> kEnglish = {
      {'+',
       {"{name} has {a} {things} and gets {b} more. How many {things} does {name} have now?",
        "There are {a} {things} in one box and {b} in another. How many {things} are there in all?",
        "{name} counts {a} {things} in the morning and {b} in the evening. How many is that together?"}},
      {'-',
       {"{name} has {a} {things} and gives {b} away. How many {things} are left?",
        "Of {a} {things} in a shop {b} are sold. How many {things} remain?",
        "{name} wants {a} {things} and has {b}. How many {things} are missing?"}},
      {'*',
       {"{name} fills {a} boxes with {b} {things} each. How many {things} is that?",
        "There are {a} shelves with {b} {things} on each of them. How many {things} are there in all?"}}};
  static const std::map<char, std::vector<std::string>> kKorean = {
      {'+', {"{things} {a}개가 있는데 {b}개를 더 받았다. 모두 몇 개인가?"}},
      {'-', {"{things} {a}개 중에서 {b}개를 주었다. 몇 개가 남았는가?"}},
      {'*', {"상자 {a}개에 {things} {b}개씩 넣었다. 모두 몇 개인가?"}}};
  const std::string& text = draws.one_of((korean ? kKorean : kEnglish).at(problem.op));
  const std::string& name = draws.one_of(kNames);
  return fill(text, {{"{name}", name},
                     {"{things}", draws.one_of(korean ? kKoreanThings : kThings)},
                     {"{a}", std::to_string(problem.left)},
                     {"{b}", std::to_string(problem.right)}});
}

/// Distinct problems, the same for every seed. Each comes from a random expression, so each can be solved.
std::vector<CountdownProblem> make_countdown(const CountdownConfig& config) {
  std::vector<CountdownProblem> problems;
  std::unordered_set<std::string> seen;
  const auto wanted = static_cast<std::size_t>(config.problems);
  const std::uint64_t attempts = 1000 + 100 * static_cast<std::uint64_t>(wanted);
  for (std::uint64_t attempt = 0; attempt < attempts && problems.size() < wanted; ++attempt) {
    Draws draws{0xC0D0, attempt};
    const auto spread = static_cast<std::uint64_t>(config.max_numbers - config.min_numbers + 1);
    std::vector<std::int64_t> numbers(static_cast<std::size_t>(config.min_numbers) + draws.below(spread));
    for (std::int64_t& number : numbers)
      number = 1 + static_cast<std::int64_t>(draws.below(static_cast<std::uint64_t>(config.max_number)));
    Expression solution = random_expression(numbers, config.operators, draws);
    if (solution.value < config.min_target || solution.value > config.max_target) continue;
    std::sort(numbers.begin(), numbers.end());
    CountdownProblem problem{std::move(numbers), solution.value, std::move(solution.text), config.operators};
    if (seen.insert(problem.text()).second) problems.push_back(std::move(problem));
  }
  if (problems.empty())
    throw Error("task", "expected countdown settings that allow a problem, got none in ", attempts,
                " attempts; widen min_target and max_target");
  return problems;
}

}  // namespace

bool is_held_out(std::string_view canonical, double heldout_share) { return uniform_of(canonical) < heldout_share; }

// ---- Problems ----

std::int64_t ArithmeticProblem::value() const {
  return op == '+' ? left + right : op == '-' ? left - right : left * right;
}

std::string ArithmeticProblem::text() const { return std::to_string(left) + op + std::to_string(right); }

std::string CountdownProblem::text() const { return std::to_string(target) + " from " + join(numbers, " "); }

std::string text_of(const Problem& problem) {
  return std::visit([](const auto& each) { return each.text(); }, problem);
}

Expression random_expression(const std::vector<std::int64_t>& numbers, std::string_view operators, Draws& draws) {
  std::vector<Expression> parts;
  for (const std::int64_t number : numbers) parts.push_back({std::to_string(number), number, 0});
  while (parts.size() > 1) {
    draws.shuffle(parts);
    Expression right = parts.back();
    parts.pop_back();
    Expression& left = parts.back();
    std::string possible = "+";  // always positive
    const auto allow = [&](char op, bool positive_integer) {
      if (positive_integer && operators.find(op) != operators.npos) possible += op;
    };
    allow('-', left.value > right.value);
    allow('*', left.value * right.value <= kLargestPartial);
    allow('/', left.value % right.value == 0);
    const char op = possible[draws.below(possible.size())];
    const int precedence = op == '*' || op == '/' ? 1 : 2;
    const bool wrap_left = left.precedence > precedence;
    const bool wrap_right =
        right.precedence > precedence || (right.precedence == precedence && (op == '-' || op == '/'));
    if (wrap_left) left.text = "(" + left.text + ")";
    left.text += op + (wrap_right ? "(" + right.text + ")" : right.text);
    left.value = op == '+'   ? left.value + right.value
                 : op == '-' ? left.value - right.value
                 : op == '*' ? left.value * right.value
                             : left.value / right.value;
    left.precedence = precedence;
  }
  return parts.front();
}

// ---- ProblemSet ----

ProblemSet::ProblemSet(const TasksConfig& config) : config_(config) {
  validate(config_, "tasks");
  if (config_.generator == TaskGenerator::countdown) countdown_ = make_countdown(config_.countdown);
}

std::uint64_t ProblemSet::size() const {
  if (config_.generator == TaskGenerator::general) return kGeneralProblems;
  return config_.generator == TaskGenerator::countdown
             ? countdown_.size()
             : pairs_up_to(config_.arithmetic.max_operand) * config_.arithmetic.operators.size();
}

Problem ProblemSet::canonical(std::uint64_t index) const {
  if (config_.generator == TaskGenerator::countdown) return countdown_[index];
  if (config_.generator == TaskGenerator::general) return general_problem(index);
  const std::string& operators = config_.arithmetic.operators;
  const auto [small, large] = pair_at(index / operators.size());
  const char op = operators[index % operators.size()];
  return op == '-' ? ArithmeticProblem{large, op, small} : ArithmeticProblem{small, op, large};
}

bool ProblemSet::contains(std::uint64_t index, Split split) const {
  return is_held_out(text_of(canonical(index)), config_.heldout_share) == (split == Split::heldout);
}

Problem ProblemSet::reordered(Problem problem, Draws& draws) {
  if (auto* arithmetic = std::get_if<ArithmeticProblem>(&problem)) {
    if (arithmetic->op != '-' && draws.below(2) == 0) std::swap(arithmetic->left, arithmetic->right);
  } else if (auto* countdown = std::get_if<CountdownProblem>(&problem)) {
    draws.shuffle(countdown->numbers);
  }
  return problem;
}

Task ProblemSet::task(const Problem& problem, Draws& draws) const {
  Task task;
  task.language = draws.one_of(config_.languages);
  const bool korean = task.language == "ko";
  if (const auto* arithmetic = std::get_if<ArithmeticProblem>(&problem)) {
    using Wording = std::pair<std::string, std::string>;  // what stands before and behind the problem
    static const std::vector<Wording> kEnglish = {{"", "=?"},        {"", " = ?"},       {"", "="},
                                                  {"", ""},          {"What is ", "?"},  {"How much is ", "?"},
                                                  {"Compute ", "."}, {"Calculate ", ""}, {"Solve ", "."}};
    static const std::vector<Wording> kKorean = {{"", "는?"}, {"", "의 값은?"}, {"", "를 계산하세요."}, {"계산: ", ""}};
    if (config_.arithmetic.story_share > 0 && draws.with_probability(config_.arithmetic.story_share)) {
      task.prompt = story(*arithmetic, korean, draws);
      task.answer = std::to_string(arithmetic->value());
      task.kind = "arithmetic";
      return task;
    }
    const auto& [before, behind] = draws.one_of(korean ? kKorean : kEnglish);
    const std::string space = draws.below(2) == 0 ? " " : "";
    task.prompt = before + std::to_string(arithmetic->left) + space + arithmetic->op + space +
                  std::to_string(arithmetic->right) + behind;
    task.answer = std::to_string(arithmetic->value());
    task.kind = "arithmetic";
  } else if (const auto* general = std::get_if<GeneralProblem>(&problem)) {
    task.prompt = general_prompt(*general, korean);
    task.kind = kind_name(general->kind);
  } else {
    const auto& countdown = std::get<CountdownProblem>(problem);
    const std::string numbers = "[" + join(countdown.numbers, ", ") + "]", target = std::to_string(countdown.target);
    std::string operators;
    for (const char op : countdown.operators) operators += (operators.empty() ? "" : " ") + std::string(1, op);
    task.prompt = korean
                      ? "숫자 " + numbers + "로 " + target + " 만들기. 각 숫자를 " + operators + " 로 한 번씩 쓴다."
                      : "Using the numbers " + numbers + ", make " + target + ". Use each number once with " +
                            operators + ".";
    task.answer = countdown.text();
    task.kind = "countdown";
  }
  return task;
}

}  // namespace grpo
