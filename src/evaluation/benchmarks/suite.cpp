// The table.
#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "evaluation/benchmarks/rules.h"
#include "grpo/error.h"

namespace grpo {
namespace {

const std::string& figure_of(const SuiteRow& row, std::string& storage) {
  if (row.figure.empty()) storage = find_benchmark(row.name).figure;
  return row.figure.empty() ? storage : row.figure;
}

/// As the table prints it: ratings as they are, everything else in percent.
std::string printed(double value, bool rating) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(rating ? 0 : 1) << (rating ? value : 100 * value);
  return out.str();
}

std::string cell(const SuiteRow& row, const std::map<std::string, BenchmarkScore>& results) {
  const auto found = results.find(row.name);
  if (found == results.end()) return "-";
  const BenchmarkScore& scoring = found->second;
  std::string storage;
  const std::string& name = figure_of(row, storage);
  const auto figure = scoring.figures.find(name);
  std::string text = "-";
  if (figure != scoring.figures.end() && !std::isnan(figure->second.value)) {
    const bool rating = name == "rating";
    text = printed(figure->second.value, rating);
    if (const Interval& range = figure->second.interval; !std::isnan(range.low))
      text += " (" + printed(range.low, rating) + " to " + printed(range.high, rating) + ")";
    if (scoring.answered < scoring.problems)
      text += ", " + std::to_string(scoring.answered) + " of " + std::to_string(scoring.problems) + " problems";
  }
  if (scoring.unreadable > 0)
    text += ", " + std::to_string(scoring.unreadable) + " of " + std::to_string(scoring.completions) + " unreadable";
  return text;
}

std::string title_of(const SuiteRow& row) {
  const Benchmark& benchmark = find_benchmark(row.name);
  const std::string title(benchmark.title);
  if (row.figure.empty() || row.figure == benchmark.figure) return title;
  return title.substr(0, title.rfind(" (")) + " (" + row.figure + ")";
}

}  // namespace

void SuiteConfig::validate() const {
  if (rows.empty()) throw Error("benchmark", "rows: expected at least one benchmark, got none");
  for (const SuiteRow& row : rows) {
    find_benchmark(row.name);
    for (const auto& [model, value] : row.cited)
      if (std::find(columns.begin(), columns.end(), model) == columns.end())
        throw Error("benchmark", row.name, ": expected figures of the columns' models, got one of \"", model, '"');
  }
}

std::filesystem::path find_data(const std::filesystem::path& file) {
  namespace fs = std::filesystem;
  if (fs::exists(file)) return file;
  fs::path stem = file;
  if (stem.extension() == ".gz") stem.replace_extension();
  stem.replace_extension();
  for (const char* packed : {"", ".gz"})
    for (const char* form : {".jsonl", ".json", ".csv", ".tsv"})
      if (const fs::path each = stem.string() + form + packed; fs::exists(each)) return each;
  return fs::is_directory(stem) ? stem : file;
}

bool has_report(const SuiteRow& row) {
  return !row.verdicts.empty() && std::filesystem::exists(find_data(row.verdicts));
}

namespace {

/// The row's files whether they are there or not, the first being the one that is read or imported.
std::vector<std::filesystem::path> files_of(const SuiteRow& row) {
  std::vector<std::filesystem::path> files{find_data(has_report(row)    ? row.verdicts
                                                     : row.file.empty() ? "data/" + row.name + ".jsonl"
                                                                        : row.file)};
  for (const auto& each : row.beside) files.push_back(find_data(each));
  return files;
}

}  // namespace

BenchmarkSource source_of(const SuiteConfig& suite, const SuiteRow& row) {
  BenchmarkSource source;
  const auto files = files_of(row);
  source.file = files[0];
  for (auto each = files.begin() + 1; each != files.end() && std::filesystem::exists(*each); ++each)
    source.beside.push_back(*each);
  source.prompt = row.prompt, source.judge = row.judge, source.since = row.since, source.before = row.before;
  source.seed = suite.seed;
  return source;
}

MissingFiles missing_files(const SuiteRow& row) {
  MissingFiles missing;
  const auto files = files_of(row);
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (std::filesystem::exists(files[i])) continue;
    missing.files.push_back(files[i]);
    missing.needed = missing.needed || i <= find_benchmark(row.name).rules->needs_beside;
  }
  return missing;
}

std::string results_table(const SuiteConfig& suite, std::string_view model,
                          const std::map<std::string, BenchmarkScore>& results) {
  std::ostringstream out;
  out << "| Benchmark | " << model << " |";
  for (const std::string& column : suite.columns) out << ' ' << column << " |";
  out << "\n| --- | ---: |";
  for (std::size_t i = 0; i < suite.columns.size(); ++i) out << " ---: |";
  out << '\n' << std::fixed;
  for (const SuiteRow& row : suite.rows) {
    out << "| " << title_of(row) << " | " << cell(row, results) << " |";
    std::string storage;
    const bool rating = figure_of(row, storage) == "rating";
    for (const std::string& column : suite.columns) {
      const auto cited = row.cited.find(column);
      out << ' ';
      if (cited == row.cited.end())
        out << '-';
      else
        out << std::setprecision(rating ? 0 : 1) << cited->second;
      out << " |";
    }
    out << '\n';
  }
  out << "\n" << model << ": measured here, with 95 % intervals.";
  if (!suite.source.empty()) out << " The other columns are cited from " << suite.source << ", not measured.";
  out << '\n';
  bool first = true;
  std::string last;
  for (const SuiteRow& row : suite.rows) {
    const auto [missing, needed] = missing_files(row);
    if (missing.empty() || row.name == last) continue;
    last = row.name;
    if (first) out << "\nMissing files:\n";
    first = false;
    out << "- " << row.name << ":";
    for (std::size_t i = 0; i < missing.size(); ++i) out << (i ? ", " : " ") << missing[i].string();
    if (!row.verdicts.empty() && !has_report(row)) out << " (in place of the first: " << row.verdicts << ")";
    if (!needed) out << " (done without)";
    if (!row.url.empty()) out << "; from " << row.url;
    out << '\n';
  }
  return out.str();
}

}  // namespace grpo
