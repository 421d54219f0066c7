// What the tests of benchmarks share: small data files and the answers to them.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "files.h"
#include "grpo/benchmarks.h"

namespace grpo {

/// A folder of small data files.
class Benchmarks : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::vector<nlohmann::json>& lines) {
    std::ofstream file(folder_.path() / name);
    for (const nlohmann::json& line : lines) file << line.dump() << '\n';
    return folder_.path() / name;
  }
  BenchmarkData data(const std::string& name, const std::vector<nlohmann::json>& lines, BenchmarkSource source = {}) {
    source.file = write(name + ".jsonl", lines);
    return read_benchmark(find_benchmark(name), source);
  }
  /// What one answer to the first problem is marked.
  static Mark mark(const BenchmarkData& data, const std::string& text, const Graders& graders = {},
                   const std::vector<std::string>& verdicts = {}) {
    return score_completions(data, {{data.problems.at(0).task.id, 0, text, false, verdicts}}, graders).marks.at(0);
  }
  static double right(const BenchmarkData& data, const std::string& text, const Graders& graders = {}) {
    return mark(data, text, graders).values.at("right");
  }
  Folder folder_;
};

inline nlohmann::json object(std::initializer_list<std::pair<const char*, nlohmann::json>> members) {
  nlohmann::json result = nlohmann::json::object();
  for (const auto& [key, value] : members) result[key] = value;
  return result;
}

inline nlohmann::json texts(std::initializer_list<const char*> each) {
  nlohmann::json list = nlohmann::json::array();
  for (const char* text : each) list.push_back(text);
  return list;
}

inline Answered judged(const std::string& id, std::vector<std::string> verdicts) {
  return {id, 0, "model", false, std::move(verdicts)};
}

}  // namespace grpo
