// What the rows of the table consist of.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "grpo/benchmarks.h"
#include "json_reader.h"

namespace grpo {

/// A line as it is read: what fills the places of the prompt.
struct Reading {
  BenchmarkProblem problem;
  std::string question, choices, letters, subject, examples;
  std::uint64_t seed = 0;
  const BenchmarkSource* source = nullptr;
  const std::vector<std::vector<nlohmann::json>>* beside = nullptr;
};

/// A completion that is being scored.
struct Scored {
  const BenchmarkProblem& problem;
  const Answered& answered;
  std::string_view shown;  ///< its final answer
  const Graders& graders;
};

struct BenchmarkRules {
  /// Fills the reading from a line; false leaves the line out. Null for imported rows.
  bool (*read)(const JsonReader& line, Reading& reading) = nullptr;
  /// Marks a completion. Null for imported rows.
  void (*score)(const Scored& scored, Mark& mark) = nullptr;
  /// Whether two answers have the same vote; null: when they are the same text.
  bool (*same)(const Graders& graders, const std::string& a, const std::string& b) = nullptr;
  /// Adds figures of the row's own to those that are means over marks; may be null.
  void (*summarize)(const BenchmarkData& data, const std::vector<Answered>& completions,
                    BenchmarkScore& scoring) = nullptr;
  /// Reads a report. Null for the others.
  void (*import)(const std::vector<nlohmann::json>& lines, const std::string& where, BenchmarkScore& scoring) = nullptr;
  enum class Judging { none, alone, once, both_orders } judging = Judging::none;
};

/// Whether an answer has nothing to judge: it fools models that judge, so it is never shown to one. An answer that is
/// as short as the reference is none of these.
bool is_silent(const BenchmarkProblem& problem, std::string_view shown);

/// Whether the model's answer is shown to the judge as A, where it is asked only once.
bool model_is_first(const BenchmarkProblem& problem);

void summarize_simple_qa(const BenchmarkData&, const std::vector<Answered>&, BenchmarkScore&);
void summarize_alpaca(const BenchmarkData&, const std::vector<Answered>&, BenchmarkScore&);
void summarize_arena(const BenchmarkData&, const std::vector<Answered>&, BenchmarkScore&);
void summarize_codeforces(const BenchmarkData&, const std::vector<Answered>&, BenchmarkScore&);
void import_swe(const std::vector<nlohmann::json>&, const std::string&, BenchmarkScore&);
void import_aider(const std::vector<nlohmann::json>&, const std::string&, BenchmarkScore&);

}  // namespace grpo
