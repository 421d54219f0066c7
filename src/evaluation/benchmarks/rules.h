// What the rows of the table consist of.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_reader.h"
#include "grpo/benchmarks.h"

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

/// The records of a report, and of the files beside it.
struct Report {
  std::string_view benchmark;
  std::string where;
  struct Line {
    std::string where;
    nlohmann::json value;
  };
  std::vector<Line> lines;
  std::vector<std::vector<nlohmann::json>> beside;
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
  /// Reads a report of another harness, and its files beside. Null for the others.
  void (*import)(const Report& report, BenchmarkScore& scoring) = nullptr;
  enum class Judging { none, alone, once, both_orders } judging = Judging::none;
  /// The lines of a record that holds many; none where it is a line itself. Null where each record is a line.
  std::vector<nlohmann::json> (*unfold)(const nlohmann::json& published) = nullptr;
  std::span<const std::string_view> columns = {};  ///< of tables that have no line of names; see read_records
  std::size_t needs_beside = 0;  ///< the files beside without which nothing can be asked or scored
};

/// Whether an answer has nothing to judge: it fools models that judge, so it is never shown to one. An answer that is
/// as short as the reference is none of these.
bool is_silent(const BenchmarkProblem& problem, std::string_view shown);

/// Whether the model's answer is shown to the judge as A, where it is asked only once.
bool model_is_first(const BenchmarkProblem& problem);

/// A field that is a text or an integer.
std::string text_or_number(const JsonReader& line, std::string_view key);
/// The first of these spellings that the line has; the first of all where it has none.
std::string_view spelled(const JsonReader& line, std::initializer_list<std::string_view> spellings);
/// Takes the problem's id from there, if it is there.
void set_id(const JsonReader& line, std::string_view key, Reading& reading);

bool read_live_code_bench(const JsonReader&, Reading&);
bool read_human_eval(const JsonReader&, Reading&);
bool read_codeforces(const JsonReader&, Reading&);
void score_code(const Scored&, Mark&);
/// "2024A", out of a problem_id or a contest and an index.
std::string contest_problem(const JsonReader& line);

bool read_drop(const JsonReader&, Reading&);
void score_drop(const Scored&, Mark&);
std::vector<nlohmann::json> unfold_drop(const nlohmann::json&);

void summarize_simple_qa(const BenchmarkData&, const std::vector<Answered>&, BenchmarkScore&);
void summarize_alpaca(const BenchmarkData&, const std::vector<Answered>&, BenchmarkScore&);
void summarize_arena(const BenchmarkData&, const std::vector<Answered>&, BenchmarkScore&);
void summarize_codeforces(const BenchmarkData&, const std::vector<Answered>&, BenchmarkScore&);
void import_codeforces(const Report&, BenchmarkScore&);
void import_swe(const Report&, BenchmarkScore&);
void import_aider(const Report&, BenchmarkScore&);

}  // namespace grpo
