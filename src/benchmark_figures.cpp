// Figures that are no plain means, and reports of other harnesses.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

#include "benchmark_rules.h"
#include "benchmark_text.h"
#include "utf8.h"

namespace grpo {
namespace {

[[noreturn]] void lacks_files(const BenchmarkData& data, std::string_view what) {
  throw Error("benchmark", data.benchmark->name, ": expected ", what, " beside, got none");
}

std::size_t characters(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); ++count) at += decode_utf8(text, at).size;
  return count;
}

double number(const JsonReader& line, std::string_view key) {
  const nlohmann::json& value = line.required(key);
  if (!value.is_number()) line.refuse(key, "a number");
  return value.get<double>();
}

const nlohmann::json& list(const JsonReader& line, std::string_view key) {
  if (!line.required(key).is_array()) line.refuse(key, "a list");
  return line.required(key);
}

/// One rate over `total` problems, each of one trial.
void add_rate(std::int64_t right, std::int64_t total, BenchmarkScore& scoring) {
  scoring.problems = scoring.answered = scoring.completions = static_cast<std::size_t>(total);
  scoring.figures["pass@1"] = {static_cast<double>(right) / static_cast<double>(total), clopper_pearson(right, total)};
}

/// What the attempts at a contest's problems are worth: for a problem with points these less 50 for each attempt before
/// the first that passed; else one point, and 10 minutes of penalty for each. Then the place among the participants,
/// and the rating that would be expected there.
int rating_in(const JsonReader& contest, const std::map<std::string, std::size_t>& failures) {
  const JsonReader standings(contest.required("standings"), contest.where() + ".standings", "benchmark");
  double points = 0, penalty = 0;
  for (const auto& each : list(standings, "problems")) {
    const JsonReader problem(each, standings.where() + ".problems", "benchmark");
    const auto solved = failures.find(problem.required("contestId").dump() + problem.string("index"));
    if (solved == failures.end()) continue;
    const auto failed = static_cast<double>(solved->second);
    if (problem.optional("points").is_null())
      points += 1, penalty += 10 * failed;
    else
      points += std::max(0.0, number(problem, "points") - 50 * failed);
  }
  std::size_t rank = 1;
  for (const auto& each : list(standings, "rows")) {
    const JsonReader row(each, standings.where() + ".rows", "benchmark");
    const double theirs = number(row, "points");
    rank += theirs > points || (theirs == points && number(row, "penalty") <= penalty);
  }
  std::vector<double> ratings;
  for (const auto& each : list(contest, "ratingChanges"))
    ratings.push_back(number(JsonReader(each, contest.where() + ".ratingChanges", "benchmark"), "oldRating"));
  if (ratings.empty()) contest.refuse("ratingChanges", "the participants' changes of rating");
  return contest_rating(static_cast<double>(rank), ratings);
}

}  // namespace

void summarize_simple_qa(const BenchmarkData&, const std::vector<Answered>&, BenchmarkScore& scoring) {
  const double right = scoring.figures.at("pass@1").value, attempted = 1 - scoring.figures.at("not_attempted").value;
  const double given = attempted > 0 ? right / attempted : 0;
  scoring.figures["correct_given_attempted"] = {given, {}};
  scoring.figures["f_score"] = {given + right > 0 ? 2 * given * right / (given + right) : 0, {}};
}

void summarize_alpaca(const BenchmarkData& data, const std::vector<Answered>& completions, BenchmarkScore& scoring) {
  std::vector<GamedComparison> gamed;
  std::map<std::string, double> difficulty;  // by the place of the instruction in the published file
  if (!data.beside.empty())
    for (const auto& each : data.beside[0]) {
      const JsonReader line(each, "alpaca_eval's file beside", "benchmark");
      gamed.push_back(
          {number(line, "preference"), number(line, "std_delta_len"), number(line, "instruction_difficulty")});
      difficulty[line.required("index").dump()] = gamed.back().difficulty;
    }
  std::map<std::string_view, const BenchmarkProblem*> problems;
  for (const BenchmarkProblem& each : data.problems) problems[each.task.id] = &each;
  std::vector<LengthComparison> comparisons;
  std::size_t verdicts = 0;
  for (std::size_t i = 0; i < completions.size(); ++i) {
    const BenchmarkProblem& problem = *problems.at(completions[i].id);
    LengthComparison each;
    if (const auto found = scoring.marks[i].values.find("preference"); found != scoring.marks[i].values.end())
      each.preference = found->second, ++verdicts;
    each.model_length = static_cast<double>(characters(shown_answer(completions[i].text)));
    each.baseline_length = static_cast<double>(characters(problem.task.answer));
    if (const auto found = difficulty.find(problem.task.id); found != difficulty.end()) each.difficulty = found->second;
    comparisons.push_back(each);
  }
  if (scoring.figures.contains("preference")) {
    scoring.figures["win_rate"] = scoring.figures.at("preference");
    scoring.figures.erase("preference");
  }
  if (verdicts < 5) return;  // too few for the model of lengths
  const LengthControlled fit = length_controlled(comparisons, gamed);
  scoring.figures["lc_win_rate"] = {
      fit.win_rate, {fit.win_rate - 1.96 * fit.standard_error, fit.win_rate + 1.96 * fit.standard_error}};
}

void summarize_arena(const BenchmarkData&, const std::vector<Answered>&, BenchmarkScore& scoring) {
  // Between two players the likeliest ratings are those whose odds are won : lost.
  const auto rate = [&](std::span<const std::size_t> places) {
    double won = 0, lost = 0;
    for (const std::size_t place : places) {
      won += scoring.marks[place].values.at("won");
      lost += scoring.marks[place].values.at("lost");
    }
    return won / (won + lost);
  };
  std::vector<std::size_t> all(scoring.marks.size());
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
  scoring.figures["score"] = {rate(all), bootstrap(all.size(), rate)};
  scoring.figures.erase("won");
  scoring.figures.erase("lost");
}

void summarize_codeforces(const BenchmarkData& data, const std::vector<Answered>& completions,
                          BenchmarkScore& scoring) {
  if (data.beside.empty()) lacks_files(data, "a file of contests (`standings`, `ratingChanges`)");
  std::map<std::string, std::map<std::size_t, bool>> attempts;  // by problem: whether the n-th passed
  for (std::size_t i = 0; i < completions.size(); ++i)
    attempts[completions[i].id][completions[i].sample] = scoring.marks[i].values.at("right") > 0;
  std::map<std::string, std::size_t>
      failures;  // of the problems that were solved: attempts before the first that passed
  std::set<std::string> tried;
  for (const auto& [id, passed] : attempts) {
    tried.insert(id.substr(0, id.find_first_not_of("0123456789")));
    std::size_t failed = 0;
    auto each = passed.begin();
    for (; each != passed.end() && !each->second; ++each) ++failed;
    if (each != passed.end()) failures[id] = failed;
  }
  std::vector<double> ratings;
  for (const auto& each : data.beside[0]) {
    const JsonReader line(each, "codeforces' file of contests", "benchmark");
    const JsonReader standings(line.required("standings"), line.where() + ".standings", "benchmark");
    const JsonReader contest(standings.required("contest"), standings.where() + ".contest", "benchmark");
    if (tried.erase(contest.required("id").dump())) ratings.push_back(rating_in(line, failures));
  }
  if (!tried.empty())
    throw Error("benchmark", data.benchmark->name, ": expected the standings of contest ", *tried.begin(),
                " in the file beside, got none");
  scoring.figures["rating"] = mean_over_problems(ratings);
  if (data.beside.size() < 2) return;
  std::vector<double> players;
  for (const auto& line : data.beside[1])  // a list on one line, or a rating on each
    for (const auto& each : line.is_array() ? line : nlohmann::json::array({line})) {
      if (!each.is_number())
        throw Error("benchmark", data.benchmark->name, ": expected ratings of players in the file beside, got ",
                    each.type_name());
      players.push_back(each.get<double>());
    }
  const Estimate& rating = scoring.figures["rating"];
  const auto share = [&](double of) { return percentile(of, players) / 100; };
  scoring.figures["percentile"] = {share(rating.value), {share(rating.interval.low), share(rating.interval.high)}};
}

void import_swe(const std::vector<nlohmann::json>& lines, const std::string& where, BenchmarkScore& scoring) {
  if (lines.size() != 1) throw Error("benchmark", where, ": expected one report on one line, got ", lines.size());
  const JsonReader report(lines[0], where, "benchmark");
  const std::int64_t total = report.count("total_instances", 1 << 30);
  std::set<std::string> resolved;
  for (const auto& each : list(report, "resolved_ids")) {
    if (!each.is_string()) report.refuse("resolved_ids", "a list of ids");
    resolved.insert(each.get<std::string>());
  }
  const auto right = static_cast<std::int64_t>(resolved.size());
  if (right > total || total == 0) report.refuse("total_instances", "at least one, and as many as were resolved");
  add_rate(right, total, scoring);
}

void import_aider(const std::vector<nlohmann::json>& lines, const std::string& where, BenchmarkScore& scoring) {
  constexpr std::size_t kTries = 2;
  std::int64_t right = 0;
  for (const auto& each : lines) {
    const JsonReader line(each, where, "benchmark");
    const nlohmann::json& outcomes = list(line, "tests_outcomes");
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      if (!outcomes[i].is_boolean()) line.refuse("tests_outcomes", "a list of true and false");
      if (i < kTries && outcomes[i].get<bool>()) {
        ++right;
        break;
      }
    }
  }
  if (lines.empty()) throw Error("benchmark", where, ": expected at least one exercise, got none");
  add_rate(right, static_cast<std::int64_t>(lines.size()), scoring);
}

}  // namespace grpo
