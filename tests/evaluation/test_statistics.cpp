#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "base/draws.h"
#include "error_of.h"
#include "grpo/statistics.h"

namespace grpo {
namespace {

const nlohmann::json& fixtures() {
  static const auto json = nlohmann::json::parse(std::ifstream(GRPO_FIXTURES "/statistics.json"));
  return json;
}

bool equal(const std::string& a, const std::string& b) { return a == b; }
bool never(const std::string&, const std::string&) { return false; }

TEST(Statistics, intervals_equal_those_of_statsmodels) {
  for (const auto& each : fixtures()["intervals"]) {
    const Interval exact = clopper_pearson(each["right"], each["trials"], each["confidence"]);
    const Interval score = wilson(each["right"], each["trials"], each["confidence"]);
    EXPECT_NEAR(exact.low, each["exact"][0].get<double>(), 1e-10) << each;
    EXPECT_NEAR(exact.high, each["exact"][1].get<double>(), 1e-10) << each;
    EXPECT_NEAR(score.low, each["wilson"][0].get<double>(), 1e-10) << each;
    EXPECT_NEAR(score.high, each["wilson"][1].get<double>(), 1e-10) << each;
  }
  EXPECT_NE(error_of([] { clopper_pearson(3, 2); }), "(no error)");
  EXPECT_NE(error_of([] { wilson(0, 0); }), "(no error)");
}

TEST(Statistics, exact_intervals_cover_whatever_the_rate) {
  for (const double rate : {0.02, 0.3, 0.5, 0.9}) {
    constexpr int kTrials = 40;
    double covered = 0, chance = std::pow(1 - rate, kTrials);
    for (int right = 0; right <= kTrials; ++right) {
      const Interval interval = clopper_pearson(right, kTrials);
      if (interval.low <= rate && rate <= interval.high) covered += chance;
      chance *= rate / (1 - rate) * (kTrials - right) / (right + 1);
    }
    EXPECT_GE(covered, 0.95) << rate;
    EXPECT_LT(covered, 0.9999) << rate;
  }
}

TEST(Statistics, pass_at_k_counts_subsets) {
  for (int n = 1; n <= 7; ++n)
    for (int right = 0; right <= n; ++right)
      for (int k = 1; k <= n; ++k) {
        double passed = 0, subsets = 0;
        for (unsigned set = 0; set < 1u << n; ++set) {
          if (std::popcount(set) != k) continue;
          subsets += 1;
          passed += (set & ((1u << right) - 1)) != 0;
        }
        EXPECT_NEAR(pass_at_k(n, right, k), passed / subsets, 1e-12) << n << ' ' << right << ' ' << k;
      }
}

TEST(Statistics, bootstrap_is_seeded_and_as_wide_as_the_spread) {
  std::vector<double> values;
  Draws draws{1};
  for (int i = 0; i < 400; ++i) values.push_back(draws.uniform() < 0.3 ? 1 : 0);
  const Estimate trials = mean_over_problems(values);
  EXPECT_EQ(trials.interval.low, clopper_pearson(std::llround(400 * trials.value), 400).low) << "exact for 0 and 1";
  EXPECT_GT(mean_over_problems(std::vector<double>(10, 0.0)).interval.high, 0.25);
  values.push_back(0.5);
  const Estimate first = mean_over_problems(values, 5), again = mean_over_problems(values, 5);
  EXPECT_EQ(first.interval.low, again.interval.low);
  EXPECT_NE(first.interval.low, mean_over_problems(values, 6).interval.low);
  const double error = std::sqrt(first.value * (1 - first.value) / 400);
  EXPECT_NEAR(first.interval.high - first.interval.low, 2 * 1.96 * error, 0.15 * 2 * 1.96 * error);
  EXPECT_TRUE(first.interval.low < first.value && first.value < first.interval.high);
  EXPECT_TRUE(std::isnan(mean_over_problems({}).value));
  const std::vector<double> same(10, 0.25);
  EXPECT_EQ(mean_over_problems(same).interval.high, 0.25) << "nothing varies";
}

TEST(Consensus, takes_the_most_frequent_class) {
  const std::vector<std::string> answers{"7", "8", "7.0", "9", "8", "7"};
  const std::vector<double> scores{1, 0, 1, 0, 0, 1};
  const auto number = [](const std::string& a, const std::string& b) { return std::stod(a) == std::stod(b); };
  EXPECT_EQ(consensus(answers, scores, number), 1) << "7 and 7.0 together";
  EXPECT_EQ(consensus(answers, scores, equal), 0.5) << "two classes of two votes each";
  EXPECT_EQ(consensus(answers, scores, never), 0.5);
}

TEST(Consensus, shares_ties_and_ignores_order_and_silence) {
  std::vector<std::pair<std::string, double>> votes{{"a", 1}, {"b", 0}, {"a", 1}, {"b", 0}, {"c", 0}, {"", 0}, {"", 0}};
  const auto outcome = [&] {
    std::vector<std::string> answers;
    std::vector<double> scores;
    for (const auto& [answer, score] : votes) answers.push_back(answer), scores.push_back(score);
    return consensus(answers, scores, equal);
  };
  std::sort(votes.begin(), votes.end());
  do {
    ASSERT_EQ(outcome(), 0.5);
  } while (std::next_permutation(votes.begin(), votes.end()));
  votes = {{"", 0}, {"", 0}};
  EXPECT_EQ(outcome(), 0) << "silence is no majority";
}

std::vector<Battle> battles_of(const nlohmann::json& json) {
  std::vector<Battle> battles;
  for (const auto& each : json) battles.push_back({each["a"], each["b"], each["score"], each["weight"]});
  return battles;
}

TEST(BradleyTerry, equals_logistic_regression) {
  for (const auto& each : fixtures()["bradley_terry"]) {
    const auto ratings = bradley_terry(each["players"], battles_of(each["battles"]));
    for (std::size_t i = 0; i < ratings.size(); ++i) EXPECT_NEAR(ratings[i], each["ratings"][i].get<double>(), 1e-6);
  }
}

TEST(BradleyTerry, of_two_players_is_the_odds) {
  const std::vector<Battle> battles{{0, 1, 1, 3}, {1, 0, 1, 1}, {0, 1, 0.5, 2}};
  const auto ratings = bradley_terry(2, battles);
  EXPECT_NEAR(expected_score(ratings[1] - ratings[0]), 2.0 / 6, 1e-12);
  EXPECT_EQ(ratings[0], 0) << "the anchor";
  EXPECT_NEAR(expected_score(400), 10.0 / 11, 1e-15);
}

TEST(BradleyTerry, meets_its_own_expectations_and_survives_what_has_no_maximum) {
  const auto battles = battles_of(fixtures()["bradley_terry"][2]["battles"]);
  const auto ratings = bradley_terry(6, battles, 4);
  EXPECT_EQ(ratings[4], 0);
  for (std::size_t player = 0; player < 6; ++player) {
    double won = 0, expected = 0;
    for (const Battle& each : battles) {
      if (each.a != player && each.b != player) continue;
      won += each.weight * (each.a == player ? each.score : 1 - each.score);
      expected += each.weight * expected_score(ratings[player] - ratings[each.a == player ? each.b : each.a]);
    }
    EXPECT_NEAR(won, expected, 1e-7) << "the likelihood's gradient is zero";
  }
  const std::vector<Battle> lost{{0, 1, 1, 1}, {0, 1, 1, 1}};
  const double rating = bradley_terry(2, lost)[1];
  EXPECT_TRUE(std::isfinite(rating) && rating < -3000) << rating;
  EXPECT_TRUE(std::isfinite(bradley_terry(4, lost)[3])) << "no battle at all";
  EXPECT_NE(error_of([&] { bradley_terry(1, lost); }), "(no error)");
}

struct Controlled {
  std::vector<LengthComparison> comparisons;
  std::vector<GamedComparison> gamed;
};
Controlled controlled_of(const nlohmann::json& json) {
  Controlled data;
  for (std::size_t i = 0; i < json["preference"].size(); ++i) {
    LengthComparison each{json["preference"][i], json["model"][i], json["baseline"][i]};
    if (!json["difficulty"].empty()) each.difficulty = json["difficulty"][i];
    data.comparisons.push_back(each);
  }
  for (const auto& each : json["gamed"]) data.gamed.push_back({each[0], each[1], each[2]});
  return data;
}

TEST(LengthControlled, equals_alpaca_eval) {
  for (const auto& each : fixtures()["length_controlled"]) {
    const auto [comparisons, gamed] = controlled_of(each);
    const LengthControlled found = length_controlled(comparisons, gamed);
    SCOPED_TRACE(each["name"].get<std::string>());
    EXPECT_NEAR(found.c, each["c"].get<double>(), 1e-9 * found.c);
    EXPECT_NEAR(100 * found.win_rate, each["lc_win_rate"].get<double>(), 1e-4);
    EXPECT_NEAR(100 * found.standard_error, each["lc_error"].get<double>(), 1e-4);
    EXPECT_NEAR(100 * found.raw_win_rate, each["win_rate"].get<double>(), 1e-9);
    EXPECT_NEAR(found.length, each["coefficients"][0].get<double>(), 1e-5);
    EXPECT_NEAR(found.baseline, each["coefficients"].back().get<double>(), 1e-5);
  }
}

TEST(LengthControlled, takes_length_out) {
  // The longer answer always wins: without the length nothing is left.
  std::vector<LengthComparison> comparisons;
  for (int i = 0; i < 100; ++i) comparisons.push_back({i % 4 ? 0.9 : 0.1, i % 4 ? 1500.0 : 500.0, 1000});
  const LengthControlled found = length_controlled(comparisons);
  EXPECT_NEAR(found.raw_win_rate, 0.7, 1e-12);
  EXPECT_LT(std::abs(found.win_rate - 0.5), 0.1) << found.win_rate;
  comparisons.resize(4);
  EXPECT_NE(error_of([&] { length_controlled(comparisons); }), "(no error)");
}

TEST(Contest, rating_is_where_the_expected_rank_is_the_actual_one) {
  std::vector<double> ratings;
  Draws draws{3};
  for (int i = 0; i < 300; ++i) ratings.push_back(500 + static_cast<double>(draws.below(2500)));
  int last = 1 << 30;
  for (const int rank : {1, 2, 5, 50, 150, 299, 301}) {
    const int rating = contest_rating(rank, ratings);
    const auto expected = [&](int r) {
      double sum = 1;
      for (const double each : ratings) sum += 1 / (1 + std::pow(10, (r - each) / 400));
      return sum;
    };
    if (const double cap = *std::max_element(ratings.begin(), ratings.end()) + 99; rank == 1 || rating == cap) {
      EXPECT_EQ(rating, cap) << "nobody is expected to be that good";
    } else if (rating > 0) {
      EXPECT_GE(expected(rating), rank);
      EXPECT_LT(expected(rating + 1), rank);
    }
    EXPECT_LE(rating, last);
    last = rating;
  }
  EXPECT_EQ(contest_rating(301.5, ratings), 0) << "nobody can be expected below the last place";
  EXPECT_EQ(percentile(1500, std::vector<double>{1000, 1500, 1600, 2000}), 25);
  EXPECT_NE(error_of([] { contest_rating(1, {}); }), "(no error)");
}

TEST(Statistics, refuse_sizes_that_do_not_fit_and_read_nothing_beyond) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinite = std::numeric_limits<double>::infinity();
  const std::vector<std::string> answers = {"1", "2"};
  const std::vector<double> scores = {1}, none;
  const auto zero = [](std::span<const std::size_t>) { return 0.0; };
  const std::vector<LengthComparison> five(5, {.preference = 1}), odd(5, {.preference = 1, .model_length = infinite});
  const std::vector<std::pair<const char*, std::function<void()>>> refused = {
      {"k of 0", [] { pass_at_k(3, 1, 0); }},
      {"k beyond the samples", [] { pass_at_k(3, 1, 4); }},
      {"more right than samples", [] { pass_at_k(3, 4, 1); }},
      {"fewer than none right", [] { pass_at_k(3, -1, 1); }},
      {"no samples", [] { pass_at_k(0, 0, 0); }},
      {"fewer scores than answers", [&] { consensus(answers, scores, equal); }},
      {"more scores than answers", [&] { consensus({}, scores, equal); }},
      {"no trials", [] { clopper_pearson(0, 0); }},
      {"a confidence of 1", [] { wilson(1, 2, 1); }},
      {"a confidence that is none", [&] { wilson(1, 2, nan); }},
      {"a confidence beyond 1", [&] { bootstrap(3, zero, 0, 10, 2); }},
      {"no rounds", [&] { bootstrap(3, zero, 0, 0); }},
      {"no players", [] { bradley_terry(0, {}); }},
      {"a player that is not there", [] { bradley_terry(2, std::vector<Battle>{{0, 2, 1, 1}}); }},
      {"a score that is none", [&] { bradley_terry(2, std::vector<Battle>{{0, 1, nan, 1}}); }},
      {"a weight below 0", [] { bradley_terry(2, std::vector<Battle>{{0, 1, 1, -1}}); }},
      {"no comparisons", [] { length_controlled({}); }},
      {"a length without end", [&] { length_controlled(odd); }},
      {"difficulties that are missing",
       [&] { length_controlled(five, std::vector<GamedComparison>{{1, 0, 0}}); }},
      {"no ratings", [&] { contest_rating(1, none); }},
      {"a rating that is none", [&] { contest_rating(1, std::vector<double>{nan}); }},
      {"a rating without end", [&] { contest_rating(1, std::vector<double>{1e300}); }},
      {"a rank that is none", [&] { contest_rating(nan, std::vector<double>{1500}); }},
      {"no distribution", [&] { percentile(1, none); }},
  };
  for (const auto& [what, call] : refused) EXPECT_EQ(error_of(call).find("[statistics] expected"), 0u) << what;
  EXPECT_EQ(consensus({}, {}, equal), 0);
  EXPECT_TRUE(std::isnan(mean_over_problems({}).value));
  EXPECT_TRUE(std::isnan(bootstrap(0, zero).low));
  EXPECT_EQ(bradley_terry(1, {}), std::vector<double>{0});
}

}  // namespace
}  // namespace grpo
