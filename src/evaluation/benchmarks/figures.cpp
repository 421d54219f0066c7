// Figures that are no plain means, and reports of other harnesses.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <set>

#include "evaluation/benchmarks/rules.h"
#include "evaluation/benchmarks/text.h"
#include "text/utf8.h"

namespace grpo {
namespace {

std::size_t characters(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); ++count) at += decode_utf8(text, at).size;
  return count;
}

/// A number, which the field of a table has as its text.
double number(const JsonReader& line, std::string_view key) {
  const nlohmann::json& value = line.required(key);
  if (value.is_number()) return value.get<double>();
  const std::string text = value.is_string() ? value.get<std::string>() : "";
  double read = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), read);
  if (error != std::errc() || end != text.data() + text.size()) line.refuse(key, "a number");
  return read;
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

/// A part of a contest, as the site's API answers: in an object with `status` and `result`, or that result alone.
const nlohmann::json& part_of(const JsonReader& contest, std::string_view key) {
  const nlohmann::json& part = contest.required(key);
  return part.is_object() && part.contains("result") ? part["result"] : part;
}

/// What the attempts at a contest's problems are worth: for a problem with points these less 50 for each attempt before
/// the first that passed; else one point, and 10 minutes of penalty for each. Then the place among the participants,
/// and the rating that would be expected there.
int rating_in(const JsonReader& contest, const std::map<std::string, std::size_t>& failures) {
  const JsonReader standings(part_of(contest, "standings"), contest.where() + ".standings", "benchmark");
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
  const nlohmann::json& changes = part_of(contest, "ratingChanges");
  if (!changes.is_array()) contest.refuse("ratingChanges", "the participants' changes of rating");
  for (const auto& each : changes)
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
      difficulty[std::to_string(std::llround(number(line, "index")))] = gamed.back().difficulty;
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

// ---- Codeforces -----------------------------------------------------------------------------------------------------

namespace {

/// By problem, whether the n-th attempt at it passed.
using Attempts = std::map<std::string, std::map<std::size_t, bool>>;

void rate_contests(std::string_view benchmark, const std::vector<std::vector<nlohmann::json>>& beside,
                   const Attempts& attempts, BenchmarkScore& scoring) {
  if (beside.empty())
    throw Error("benchmark", benchmark,
                ": expected a file of contests (`standings`, `ratingChanges`) beside, got none");
  // Of the problems that were solved: attempts before the first that passed.
  std::map<std::string, std::size_t> failures;
  std::set<std::string> tried;
  for (const auto& [id, passed] : attempts) {
    tried.insert(id.substr(0, id.find_first_not_of("0123456789")));
    std::size_t failed = 0;
    auto each = passed.begin();
    for (; each != passed.end() && !each->second; ++each) ++failed;
    if (each != passed.end()) failures[id] = failed;
  }
  std::vector<double> ratings;
  for (const auto& each : beside[0]) {
    const JsonReader line(each, "codeforces' file of contests", "benchmark");
    const JsonReader standings(part_of(line, "standings"), line.where() + ".standings", "benchmark");
    const JsonReader contest(standings.required("contest"), standings.where() + ".contest", "benchmark");
    if (tried.erase(contest.required("id").dump())) ratings.push_back(rating_in(line, failures));
  }
  if (!tried.empty())
    throw Error("benchmark", benchmark, ": expected the standings of contest ", *tried.begin(),
                " in the file beside, got none");
  scoring.figures["rating"] = mean_over_problems(ratings);
  if (beside.size() < 2) return;
  std::vector<double> players;
  for (const auto& line : beside[1])  // a list on one line, or a rating on each
    for (const auto& each : line.is_array() ? line : nlohmann::json::array({line})) {
      if (!each.is_number())
        throw Error("benchmark", benchmark, ": expected ratings of players in the file beside, got ", each.type_name());
      players.push_back(each.get<double>());
    }
  const Estimate& rating = scoring.figures["rating"];
  const auto share = [&](double of) { return std::isnan(of) ? of : percentile(of, players) / 100; };
  scoring.figures["percentile"] = {share(rating.value), {share(rating.interval.low), share(rating.interval.high)}};
}

}  // namespace

void summarize_codeforces(const BenchmarkData& data, const std::vector<Answered>& completions,
                          BenchmarkScore& scoring) {
  Attempts attempts;
  for (std::size_t i = 0; i < completions.size(); ++i)
    attempts[completions[i].id][completions[i].sample] = scoring.marks[i].values.at("right") > 0;
  rate_contests(data.benchmark->name, data.beside, attempts, scoring);
}

void import_codeforces(const Report& report, BenchmarkScore& scoring) {
  Attempts attempts;
  for (const auto& [where, each] : report.lines) {
    const JsonReader line(each, where, "benchmark");
    std::map<std::size_t, bool>& of_problem = attempts[contest_problem(line)];
    std::size_t sample = of_problem.size();
    if (!line.optional("sample").is_null()) sample = static_cast<std::size_t>(line.count("sample", 1 << 20));
    const auto add = [&](const nlohmann::json& verdict) {
      if (!verdict.is_string() && !verdict.is_boolean()) line.refuse("verdict", "a verdict such as \"OK\"");
      if (!of_problem.emplace(sample++, verdict == true || verdict == "OK" || verdict == "AC").second)
        line.refuse("sample", "one verdict for each sample");
    };
    if (const auto& all = line.optional("verdicts"); all.is_array())
      for (const auto& verdict : all) add(verdict);
    else
      add(line.required("verdict"));
  }
  if (attempts.empty()) throw Error("benchmark", report.where, ": expected at least one verdict, got none");
  std::vector<double> shares;
  for (const auto& [id, samples] : attempts) {
    const auto right = std::count_if(samples.begin(), samples.end(), [](const auto& sample) { return sample.second; });
    shares.push_back(static_cast<double>(right) / static_cast<double>(samples.size()));
    scoring.completions += samples.size();
  }
  scoring.problems = scoring.answered = attempts.size();
  scoring.figures["pass@1"] = mean_over_problems(shares);
  rate_contests(report.benchmark, report.beside, attempts, scoring);
}

// ---- Verdicts on programs that were run elsewhere -------------------------------------------------------------------

void import_swe(const Report& report, BenchmarkScore& scoring) {
  if (report.lines.empty()) throw Error("benchmark", report.where, ": expected a report, got nothing");
  std::int64_t total = 0;
  std::set<std::string> resolved;
  const JsonReader first(report.lines[0].value, report.lines[0].where, "benchmark");
  if (first.optional("instance_id").is_null()) {
    if (report.lines.size() != 1)
      throw Error("benchmark", report.where, ": expected one report, or a verdict (`instance_id`, `resolved`) on each ",
                  "line, got ", report.lines.size(), " reports");
    total = first.count("total_instances", 1 << 30);
    for (const auto& each : list(first, "resolved_ids")) {
      if (!each.is_string()) first.refuse("resolved_ids", "a list of ids");
      resolved.insert(each.get<std::string>());
    }
  } else {
    std::set<std::string> seen;
    for (const auto& [where, each] : report.lines) {
      const JsonReader line(each, where, "benchmark");
      const std::string& id = line.string("instance_id");
      if (!seen.insert(id).second) line.refuse("instance_id", "one verdict for each instance");
      if (line.boolean("resolved")) resolved.insert(id);
    }
    total = static_cast<std::int64_t>(seen.size());
  }
  const auto right = static_cast<std::int64_t>(resolved.size());
  if (right > total || total == 0) first.refuse("total_instances", "at least one, and as many as were resolved");
  add_rate(right, total, scoring);
}

void import_aider(const Report& report, BenchmarkScore& scoring) {
  constexpr std::size_t kTries = 2;
  std::int64_t right = 0;
  for (const auto& [where, each] : report.lines) {
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
  if (report.lines.empty()) throw Error("benchmark", report.where, ": expected at least one exercise, got none");
  add_rate(right, static_cast<std::int64_t>(report.lines.size()), scoring);
}

}  // namespace grpo
