// What the tests of the corpus share: documents read back from their text.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <regex>
#include <string>
#include <vector>

#include "grpo/corpus.h"
#include "grpo/language.h"
#include "problem_reading.h"

namespace grpo {

inline bool has_any(const std::string& text, std::initializer_list<const char*> words) {
  return std::any_of(words.begin(), words.end(), [&](const char* w) { return text.find(w) != std::string::npos; });
}
inline bool has_hangul(const std::string& text) { return has_any(text, {"그래서", "올림", "빌림", "잠깐"}); }
inline bool has_english(const std::string& text) { return has_any(text, {"So ", "write", "borrow", "Wait"}); }
inline bool has_recheck(const std::string& text) { return has_any(text, {"Wait, ", "잠깐, "}); }

struct Reading {
  std::string problem, answer, right;  // "47+85", the answer that the reasoning ends in, the right one
  std::vector<bool> equations;         // true where the two sides agree
};
inline Reading read(const Document& document) {
  static const std::regex problem(R"((\d+) ?([-+*]) ?(\d+))"), answer(R"((So|그래서) (\d+)\.)");
  static const std::regex equation(R"(([-+*0-9]+)=(\d+))");
  Reading reading;
  std::smatch match;
  if (std::regex_search(document.prompt, match, problem))
    reading.problem = match[1].str() + match[2].str() + match[3].str();
  reading.right = std::to_string(static_cast<std::int64_t>(Reader(reading.problem).value()));
  if (std::regex_search(document.completion, match, answer)) reading.answer = match[2];
  const std::string& text = document.completion;
  for (std::sregex_iterator it(text.begin(), text.end(), equation), end; it != end; ++it)
    reading.equations.push_back(Reader((*it)[1]).value() == std::stod((*it)[2]));
  return reading;
}

inline TasksConfig bilingual() {
  TasksConfig tasks;
  tasks.languages = {"en", "ko"};
  return tasks;
}

inline bool is_korean(const std::string& text) { return count_language(text, "ko").target > 0; }

}  // namespace grpo
