// Countdown: reach a target from given numbers, each used once. The expression is parsed here, by a parser that knows
// nothing else, and evaluated exactly.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "answers/reading.h"
#include "grpo/reward.h"
#include "text/utf8.h"

namespace grpo {
namespace {

constexpr std::size_t kMaxExpressionBytes = 4096;  // of an expression
constexpr std::size_t kMaxDigits = 18;   // of a given number, so that it fits 64 bits

struct Problem {
  mpq_class target;
  std::vector<std::uint64_t> numbers;  // ascending
};

/// The run of digits at the start of `text` as a number; nothing for none and for more than kMaxDigits.
std::optional<std::uint64_t> read_natural(std::string_view text, std::size_t& size) {
  std::uint64_t value = 0;
  for (size = 0; size < text.size() && text[size] >= '0' && text[size] <= '9'; ++size) {
    if (size == kMaxDigits) return {};
    value = value * 10 + static_cast<std::uint64_t>(text[size] - '0');
  }
  if (size == 0) return {};
  return value;
}

std::string_view next_word(std::string_view& text) {
  text = trim(text);
  const std::string_view word = text.substr(0, std::min(text.find_first_of(" \t\r\n"), text.size()));
  text.remove_prefix(word.size());
  return word;
}

Problem read_problem(std::string_view reference) {
  const auto refuse = [&] {
    return Error("reward", "expected a countdown reference such as \"24 from 3 5 7 2\", got \"",
                 reference.substr(0, 100), "\"; mend the task's answer");
  };
  std::string_view rest = reference;
  const auto target = read_number(next_word(rest));
  if (!target || next_word(rest) != "from") throw refuse();
  Problem problem{*target, {}};
  for (std::string_view word = next_word(rest); !word.empty(); word = next_word(rest)) {
    std::size_t size = 0;
    const auto number = read_natural(word, size);
    if (!number || size != word.size()) throw refuse();
    problem.numbers.push_back(*number);
  }
  if (problem.numbers.empty()) throw refuse();
  std::sort(problem.numbers.begin(), problem.numbers.end());
  return problem;
}

/// A number, or one of + - * / ( ), or '\0' for anything else.
struct Token {
  char symbol = '\0';  // '0' for a number
  std::uint64_t number = 0;
};

Token next_token(std::string_view text, std::size_t& at) {
  constexpr struct {
    std::string_view written;
    char symbol;
  } kSymbols[] = {
      {"+", '+'},      {"-", '-'},       {"\u2212", '-'},  {"*", '*'},        {"\u00D7", '*'}, {"\u00B7", '*'},
      {"\u22C5", '*'}, {"\\times", '*'}, {"\\cdot", '*'},  {"/", '/'},        {"\u00F7", '/'}, {"\\div", '/'},
      {"(", '('},      {")", ')'},       {"\\left(", '('}, {"\\right)", ')'},
  };
  const std::string_view rest = text.substr(at);
  for (const auto& [written, symbol] : kSymbols) {
    if (!rest.starts_with(written)) continue;
    at += written.size();
    return {symbol, 0};
  }
  std::size_t size = 0;
  const auto number = read_natural(rest, size);
  if (!number) return {};
  at += size;
  return {'0', *number};
}

/// The expression in reverse Polish order, or nothing when it is not one. Dijkstra's shunting yard: no recursion, so
/// nesting costs only memory.
std::optional<std::vector<Token>> parse(std::string_view text) {
  const auto precedence = [](char symbol) { return symbol == '*' || symbol == '/' ? 2 : symbol == '(' ? 0 : 1; };
  std::vector<Token> output;
  std::vector<char> waiting;
  const auto move_while = [&](auto condition) {
    for (; !waiting.empty() && condition(waiting.back()); waiting.pop_back()) output.push_back({waiting.back(), 0});
  };
  bool operand_next = true;
  for (std::size_t at = skip_white_space(text); at < text.size(); at = skip_white_space(text, at)) {
    const Token token = next_token(text, at);
    if (token.symbol == '\0' || operand_next != (token.symbol == '0' || token.symbol == '(')) return {};
    if (token.symbol == '0') {
      output.push_back(token);
      operand_next = false;
    } else if (token.symbol == '(') {
      waiting.push_back('(');
    } else if (token.symbol == ')') {
      move_while([](char symbol) { return symbol != '('; });
      if (waiting.empty()) return {};
      waiting.pop_back();
    } else {
      move_while([&](char symbol) { return precedence(symbol) >= precedence(token.symbol); });
      waiting.push_back(token.symbol);
      operand_next = true;
    }
  }
  if (operand_next || std::find(waiting.begin(), waiting.end(), '(') != waiting.end()) return {};
  move_while([](char) { return true; });
  return output;
}

/// The value of a well-formed expression, or nothing where it divides by zero.
std::optional<mpq_class> evaluate(const std::vector<Token>& expression) {
  std::vector<mpq_class> stack;
  for (const Token& token : expression) {
    if (token.symbol == '0') {
      stack.emplace_back(static_cast<unsigned long>(token.number));
      continue;
    }
    const mpq_class right = std::move(stack.back());
    stack.pop_back();
    mpq_class& left = stack.back();
    if (token.symbol == '/' && right == 0) return {};
    switch (token.symbol) {
      case '+':
        left += right;
        break;
      case '-':
        left -= right;
        break;
      case '*':
        left *= right;
        break;
      default:
        left /= right;
    }
  }
  return stack.back();
}

}  // namespace

bool check_countdown(std::string_view expression, std::string_view reference) {
  const Problem problem = read_problem(reference);
  std::string_view text = unwrap_answer(expression);
  if (text.size() > kMaxExpressionBytes) return false;
  if (const std::size_t equals = text.find('='); equals != text.npos) {
    if (read_number(trim(text.substr(equals + 1))) != problem.target) return false;
    text = text.substr(0, equals);
  }
  const auto parsed = parse(text);
  if (!parsed) return false;
  std::vector<std::uint64_t> used;
  for (const Token& token : *parsed)
    if (token.symbol == '0') used.push_back(token.number);
  std::sort(used.begin(), used.end());
  return used == problem.numbers && evaluate(*parsed) == problem.target;
}

}  // namespace grpo
