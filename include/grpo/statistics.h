// What evaluations conclude from verdicts: rates with their uncertainty, votes, comparisons in pairs, ratings.
//
// Everything here is a pure function of its arguments; what draws does so from a seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace grpo {

struct Interval {
  double low = std::numeric_limits<double>::quiet_NaN(), high = std::numeric_limits<double>::quiet_NaN();
};

struct Estimate {
  double value = std::numeric_limits<double>::quiet_NaN();
  Interval interval;  ///< 95 % unless said otherwise; NaN where there is none
};

// ---- Rates ----------------------------------------------------------------------------------------------------------

/// The chance that at least one of `k` samples is right, drawn without replacement from `samples` of which `right` are:
/// the unbiased estimate of Chen et al. (arXiv:2107.03374), section 2.1. Throws Error unless 0 <= right <= samples and
/// 1 <= k <= samples.
double pass_at_k(std::int64_t samples, std::int64_t right, std::int64_t k);

/// The interval of a rate whose coverage is at least `confidence` whatever the rate (Clopper and Pearson, Biometrika
/// 26, 1934); and Wilson's score interval (JASA 22, 1927), which is shorter and covers `confidence` on average. Both
/// are for independent trials. Throw Error unless 0 <= right <= trials, trials > 0 and 0 < confidence < 1.
Interval clopper_pearson(std::int64_t right, std::int64_t trials, double confidence = 0.95);
Interval wilson(std::int64_t right, std::int64_t trials, double confidence = 0.95);

/// The percentile bootstrap (Efron, 1979): `statistic` of `rounds` samples with replacement of the clusters 0 …
/// clusters-1, each passed as a list of indices; the quantiles are interpolated, NaNs left out. Samples of one problem
/// are not independent of one another, so problems are the clusters; of a single one there is no interval. A pure
/// function of the arguments. Throws Error unless rounds > 0 and 0 < confidence < 1.
Interval bootstrap(std::size_t clusters, const std::function<double(std::span<const std::size_t>)>& statistic,
                   std::uint64_t seed = 0, int rounds = 1000, double confidence = 0.95);

/// The mean of one value a problem (of pass@1: its share of right samples), and its interval: Clopper and Pearson's
/// where all values are 0 or 1, so that none right of ten is not "0 to 0", else the bootstrap's.
Estimate mean_over_problems(std::span<const double> values, std::uint64_t seed = 0);

// ---- Votes ----------------------------------------------------------------------------------------------------------

/// cons@k of one problem: the score of the most frequent answer among its k samples. `same` says whether two answers
/// are equivalent; an answer joins the first class whose first member it equals, so that it need not be transitive.
/// Empty answers have no vote. Where several classes have the most votes the result is their mean, what drawing one of
/// them would give on average; the order of the samples then changes nothing. Within a class it is the mean of the
/// members' scores. 0 when nobody votes. Throws Error unless there is a score for each answer. Majority voting is of
/// Wang et al. (arXiv:2203.11171).
double consensus(std::span<const std::string> answers, std::span<const double> scores,
                 const std::function<bool(const std::string&, const std::string&)>& same);

// ---- Comparisons in pairs -------------------------------------------------------------------------------------------

/// One comparison: `score` is 1 when `a` won, 0 when `b` did, 0.5 for a tie.
struct Battle {
  std::size_t a = 0, b = 0;
  double score = 0.5, weight = 1;
};

/// The ratings, on Elo's scale (400 · log10 of the odds) and with `anchor` at 0, under which the battles are most
/// likely: Bradley and Terry's model (Biometrika 39, 1952), without a prior. Where a player has only won or only lost
/// the likelihood has no maximum; its rating then stops where the odds are beyond about 10^12. Players without any
/// chain of battles to the anchor float: only their differences mean something. Throws Error for a player out of range
/// or one against itself, a score that is not from 0 to 1, and a weight that is below 0 or not finite.
std::vector<double> bradley_terry(std::size_t players, std::span<const Battle> battles, std::size_t anchor = 0);

/// The chance that a player wins whose rating is higher by `difference`: 1 / (1 + 10^(-difference / 400)).
double expected_score(double difference);

/// One answer against the baseline's.
struct LengthComparison {
  double preference = std::numeric_limits<double>::quiet_NaN();  ///< 1: the model won; NaN: no verdict
  double model_length = 0, baseline_length = 0;                  ///< characters
  double difficulty = std::numeric_limits<double>::quiet_NaN();  ///< of the instruction; NaN: unknown
};

/// One comparison of the baseline with a variant of itself that was told to be shorter or longer; see below.
struct GamedComparison {
  double preference = 0;
  double length_difference = 0;  ///< (baseline - variant), in standard deviations
  double difficulty = 0;
};

struct LengthControlled {
  double win_rate = 0, standard_error = 0;  ///< 0 to 1
  double raw_win_rate = 0;
  double length = 0, difficulty = 0, baseline = 0;  ///< the coefficients; the last is the model's own
  double c = 0;                                     ///< the inverse strength of the penalty that was chosen
};

/// AlpacaEval 2's length-controlled win rate (Dubois et al., arXiv:2404.04475): a logistic model of the preference from
/// tanh((baseline_length - model_length) / their standard deviation), the instruction's difficulty and a constant; the
/// rate is the mean of its predictions at no difference of length. Fitted with an L1 penalty whose strength is chosen
/// by 5-fold cross-validation, as the published `length_controlled_v1` is when `gamed` has its 1,610 regularising
/// comparisons (of weight 0.1 each). Without them it is the published `length_controlled_noreg`, and without
/// difficulties `length_controlled_minimal`. Folds are taken round robin from the last comparison on. Throws Error for
/// fewer than 5 comparisons with a verdict, difficulties for only some, or other numbers that are not finite.
LengthControlled length_controlled(std::span<const LengthComparison> comparisons,
                                   std::span<const GamedComparison> gamed = {});

// ---- Contests -------------------------------------------------------------------------------------------------------

/// The rating of a player who would be expected at place `rank` (1 is the first) among others of these ratings: the
/// greatest whole number R from 0 to 100 above their highest, exclusive, with 1 + Σ 1 / (1 + 10^((R - r) / 400)) >=
/// rank, as CodeElo (arXiv:2501.01257, section 3.3) computes it; 0 when there is none. Throws Error for no ratings, and
/// for numbers that are not finite or ratings beyond a million.
int contest_rating(double rank, std::span<const double> ratings);

/// The share of `distribution` below `rating`, 0 to 100. Throws Error when it is empty.
double percentile(double rating, std::span<const double> distribution);

}  // namespace grpo
