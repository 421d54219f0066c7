// Comparisons in pairs and contests.
#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <numeric>

#include "grpo/error.h"
#include "grpo/statistics.h"

namespace grpo {
namespace {

constexpr double kEloPerLogit = 400 / 2.302585092994045684;
constexpr double kRatingLimit = 10'000;

double logistic(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }

/// log(1 + e^x) without overflow.
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

/// Solves a·x = b in place for a symmetric positive definite a, [n, n] by rows: Cholesky. A pivot that rounding has
/// left without weight gives 0 for its unknown.
std::vector<double> solve(std::vector<double> a, std::vector<double> b) {
  const std::size_t n = b.size();
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = a[i * n + j];
      for (std::size_t k = 0; k < j; ++k) sum -= a[i * n + k] * a[j * n + k];
      if (i == j)
        a[i * n + i] = sum > 1e-13 ? std::sqrt(sum) : 0;
      else
        a[i * n + j] = a[j * n + j] > 0 ? sum / a[j * n + j] : 0;
    }
    for (std::size_t k = 0; k < i; ++k) b[i] -= a[i * n + k] * b[k];
    b[i] = a[i * n + i] > 0 ? b[i] / a[i * n + i] : 0;
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t k = i + 1; k < n; ++k) b[i] -= a[k * n + i] * b[k];
    b[i] = a[i * n + i] > 0 ? b[i] / a[i * n + i] : 0;
  }
  return b;
}

// ---- The penalised logistic model of the length-controlled win rate ----

constexpr std::size_t kFeatures = 3;  // length, difficulty, baseline
using Features = std::array<double, kFeatures>;

struct Observation {
  Features x;
  double label, weight;  // label: the chance of the positive class
};

double dot(const Features& a, const Features& b) { return std::inner_product(a.begin(), a.end(), b.begin(), 0.0); }

/// The w that makes Σ|w| + c Σ weight · (log(1 + e^(w·x)) - label · w·x) least: Newton's quadratic model of the smooth
/// part, its penalised minimum by coordinate descent, and a line search between (proximal Newton).
Features fit_l1(const std::vector<Observation>& data, double c) {
  const auto objective = [&](const Features& w) {
    double sum = 0;
    for (const Observation& each : data) {
      const double z = dot(w, each.x);
      sum += each.weight * (softplus(z) - each.label * z);
    }
    return c * sum + std::abs(w[0]) + std::abs(w[1]) + std::abs(w[2]);
  };
  Features w{};
  double value = objective(w);
  for (int iteration = 0; iteration < 100; ++iteration) {
    Features gradient{};
    std::array<Features, kFeatures> hessian{};
    for (const Observation& each : data) {
      const double p = logistic(dot(w, each.x));
      for (std::size_t i = 0; i < kFeatures; ++i) {
        gradient[i] += c * each.weight * (p - each.label) * each.x[i];
        for (std::size_t j = 0; j < kFeatures; ++j)
          hessian[i][j] += c * each.weight * p * (1 - p) * each.x[i] * each.x[j];
      }
    }
    Features next = w;
    for (int sweep = 0; sweep < 1000; ++sweep) {
      double largest = 0;
      for (std::size_t i = 0; i < kFeatures; ++i) {
        if (hessian[i][i] <= 0) continue;  // a feature that is absent
        double slope = gradient[i];
        for (std::size_t j = 0; j < kFeatures; ++j) slope += hessian[i][j] * (next[j] - w[j]);
        const double free = next[i] - slope / hessian[i][i], threshold = 1 / hessian[i][i];
        const double moved = free > threshold ? free - threshold : free < -threshold ? free + threshold : 0;
        largest = std::max(largest, std::abs(moved - next[i]));
        next[i] = moved;
      }
      if (largest < 1e-13) break;
    }
    double step = 1, change = 0;
    for (; step > 1e-10; step /= 2) {
      Features tried;
      for (std::size_t i = 0; i < kFeatures; ++i) tried[i] = w[i] + step * (next[i] - w[i]);
      if (const double found = objective(tried); found < value) {
        for (std::size_t i = 0; i < kFeatures; ++i) change = std::max(change, std::abs(tried[i] - w[i]));
        w = tried, value = found;
        break;
      }
    }
    if (change < 1e-11) break;
  }
  return w;
}

double log_loss(const std::vector<Observation>& data, const Features& w) {
  double sum = 0;
  for (const Observation& each : data) {
    const double p = std::clamp(logistic(dot(w, each.x)), 1e-15, 1 - 1e-15);
    sum -= each.weight * (each.label * std::log(p) + (1 - each.label) * std::log1p(-p));
  }
  return sum / static_cast<double>(data.size());
}

/// Ten strengths, evenly spaced on a logarithmic scale; the first of the best.
double choose_c(const std::vector<Observation>& data) {
  constexpr std::size_t kFolds = 5;
  double best = 0, least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 10; ++i) {
    const double c = std::pow(10.0, -4 + 8.0 * i / 9);
    double loss = 0;
    for (std::size_t fold = 0; fold < kFolds; ++fold) {
      std::vector<Observation> kept, left_out;
      for (std::size_t j = 0; j < data.size(); ++j)
        ((data.size() - 1 - j) % kFolds == fold ? left_out : kept).push_back(data[j]);
      loss += log_loss(left_out, fit_l1(kept, c));
    }
    if (loss < least) least = loss, best = c;
  }
  return best;
}

void check_finite(std::initializer_list<double> numbers) {
  for (const double each : numbers)
    if (!std::isfinite(each)) throw Error("statistics", "expected finite numbers, got ", each);
}

/// With n - 1 in the denominator.
double standard_deviation(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / (n - 1));
}

}  // namespace

std::vector<double> bradley_terry(std::size_t players, std::span<const Battle> battles, std::size_t anchor) {
  if (anchor >= players) throw Error("statistics", "expected an anchor below ", players, ", got ", anchor);
  double total = 0;
  for (const Battle& each : battles) {
    if (each.a >= players || each.b >= players || each.a == each.b)
      throw Error("statistics", "expected two of ", players, " players in a battle, got ", each.a, " and ", each.b);
    if (!(each.score >= 0 && each.score <= 1) || !(each.weight >= 0) || !std::isfinite(each.weight))
      throw Error("statistics", "expected a score from 0 to 1 and a weight of 0 or more, got ", each.score, " and ",
                  each.weight);
    total += each.weight;
  }
  // Newton's method; the anchor keeps its rating, so that its row and column are those of an identity.
  std::vector<double> logit(players, 0.0);
  for (int iteration = 0; iteration < 500; ++iteration) {
    std::vector<double> gradient(players, 0.0), hessian(players * players, 0.0);
    for (const Battle& each : battles) {
      const double p = logistic(logit[each.a] - logit[each.b]), weight = each.weight * p * (1 - p);
      gradient[each.a] += each.weight * (each.score - p);
      gradient[each.b] -= each.weight * (each.score - p);
      hessian[each.a * players + each.a] += weight, hessian[each.b * players + each.b] += weight;
      hessian[each.a * players + each.b] -= weight, hessian[each.b * players + each.a] -= weight;
    }
    for (std::size_t i = 0; i < players; ++i) hessian[i * players + anchor] = hessian[anchor * players + i] = 0;
    hessian[anchor * players + anchor] = 1, gradient[anchor] = 0;
    double largest = 0;
    const std::vector<double> step = solve(std::move(hessian), gradient);
    for (const double each : step) largest = std::max(largest, std::abs(each));
    const double shrink = largest > 1 ? 1 / largest : 1;  // far from the maximum a full step overshoots
    for (std::size_t i = 0; i < players; ++i)
      logit[i] = std::clamp(logit[i] + shrink * step[i], -kRatingLimit / kEloPerLogit, kRatingLimit / kEloPerLogit);
    double slope = 0;
    for (const double each : gradient) slope = std::max(slope, std::abs(each));
    if (largest < 1e-12 || slope < 1e-14 * total) break;
  }
  for (double& each : logit) each *= kEloPerLogit;
  return logit;
}

double expected_score(double difference) { return logistic(difference / kEloPerLogit); }

LengthControlled length_controlled(std::span<const LengthComparison> comparisons,
                                   std::span<const GamedComparison> gamed) {
  std::vector<double> differences;
  std::size_t difficulties = 0, verdicts = 0;
  for (const LengthComparison& each : comparisons) {
    differences.push_back(each.baseline_length - each.model_length);
    difficulties += !std::isnan(each.difficulty);
    verdicts += !std::isnan(each.preference);
    check_finite({differences.back(), std::isnan(each.difficulty) ? 0 : each.difficulty,
                  std::isnan(each.preference) ? 0 : each.preference});
  }
  for (const GamedComparison& each : gamed) check_finite({each.preference, each.length_difference, each.difficulty});
  if (verdicts < 5) throw Error("statistics", "expected at least 5 comparisons with a verdict, got ", verdicts);
  if (difficulties != 0 && difficulties != comparisons.size())
    throw Error("statistics", "expected the difficulty of all ", comparisons.size(), " instructions or of none, got ",
                difficulties);
  if (difficulties == 0 && !gamed.empty())
    throw Error("statistics", "expected difficulties beside the regularising comparisons, got none");

  std::vector<Observation> data;
  for (const GamedComparison& each : gamed)
    data.push_back({{std::tanh(each.length_difference), each.difficulty, 0}, each.preference, 0.2 / 2});
  LengthControlled result;
  const double deviation = standard_deviation(differences);
  for (std::size_t i = 0; i < comparisons.size(); ++i) {
    const LengthComparison& each = comparisons[i];
    if (std::isnan(each.preference)) continue;
    const double length = deviation > 0 ? std::tanh(differences[i] / deviation) : 0;
    data.push_back({{length, difficulties ? each.difficulty : 0, 1}, each.preference, 1});
    result.raw_win_rate += each.preference / static_cast<double>(verdicts);
  }
  result.c = choose_c(data);
  const Features w = fit_l1(data, result.c);
  result.length = w[0], result.difficulty = w[1], result.baseline = w[2];

  std::vector<double> predictions;
  for (const LengthComparison& each : comparisons)
    predictions.push_back(logistic(w[2] + (difficulties ? w[1] * each.difficulty : 0)));
  const auto n = static_cast<double>(predictions.size());
  result.win_rate = std::accumulate(predictions.begin(), predictions.end(), 0.0) / n;
  result.standard_error = standard_deviation(predictions) / std::sqrt(n);
  return result;
}

int contest_rating(double rank, std::span<const double> ratings) {
  if (ratings.empty()) throw Error("statistics", "expected the ratings of a contest's participants, got none");
  check_finite({rank});
  constexpr double kHighest = 1e6;
  for (const double each : ratings)
    if (!(std::abs(each) <= kHighest)) throw Error("statistics", "expected ratings up to ", kHighest, ", got ", each);
  const auto expected_rank = [&](int rating) {
    double sum = 1;
    for (const double each : ratings) sum += expected_score(each - rating);
    return sum;
  };
  int low = 0, high = static_cast<int>(*std::max_element(ratings.begin(), ratings.end())) + 100;
  while (high - low > 1) {
    const int middle = low + (high - low) / 2;
    (expected_rank(middle) < rank ? high : low) = middle;
  }
  return low;
}

double percentile(double rating, std::span<const double> distribution) {
  if (distribution.empty()) throw Error("statistics", "expected a distribution of ratings, got an empty one");
  const auto below = std::count_if(distribution.begin(), distribution.end(), [&](double x) { return x < rating; });
  return 100 * static_cast<double>(below) / static_cast<double>(distribution.size());
}

}  // namespace grpo
