// What the tests of tasks and corpus share: reading problems and expressions back from text, by code of their own.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "error_of.h"
#include "grpo/error.h"
#include "grpo/task.h"

namespace grpo {

inline std::vector<std::string> ids_of(const std::vector<Task>& tasks) {
  std::vector<std::string> ids;
  for (const Task& task : tasks) ids.push_back(task.id);
  return ids;
}
inline std::set<std::string> id_set(const std::vector<Task>& tasks) {
  const auto ids = ids_of(tasks);
  return {ids.begin(), ids.end()};
}

/// "47+85" of a prompt in any wording, its operands in canonical order.
inline std::string canonical_of(const std::string& prompt) {
  std::smatch match;
  static const std::regex problem(R"((\d+) ?([-+*]) ?(\d+))");
  if (!std::regex_search(prompt, match, problem)) return "none in " + prompt;
  std::int64_t left = std::stoll(match[1]), right = std::stoll(match[3]);
  if (match[2] != "-" && left > right) std::swap(left, right);
  return std::to_string(left) + match[2].str() + std::to_string(right);
}

/// Evaluates an expression of + - * / and parentheses, and collects its numbers.
class Reader {
 public:
  explicit Reader(std::string text) : text_(std::move(text)) {}
  double value() {
    const double result = sum();
    EXPECT_EQ(at_, text_.size()) << text_;
    return result;
  }
  std::multiset<std::int64_t> numbers;

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  double sum() {
    double result = product();
    while (peek() == '+' || peek() == '-') result = text_[at_++] == '+' ? result + product() : result - product();
    return result;
  }
  double product() {
    double result = atom();
    while (peek() == '*' || peek() == '/') result = text_[at_++] == '*' ? result * atom() : result / atom();
    return result;
  }
  double atom() {
    if (peek() == '(') {
      ++at_;
      const double result = sum();
      EXPECT_EQ(peek(), ')') << text_;
      ++at_;
      return result;
    }
    std::size_t used = 0;
    const std::int64_t number = std::stoll(text_.substr(at_), &used);
    at_ += used;
    numbers.insert(number);
    return static_cast<double>(number);
  }
  std::string text_;
  std::size_t at_ = 0;
};

}  // namespace grpo
