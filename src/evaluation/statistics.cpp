// Rates, their intervals, and votes. Pairs and contests are in statistics_pairs.cpp.
#include "grpo/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/draws.h"
#include "grpo/error.h"

namespace grpo {
namespace {

constexpr std::uint64_t kBootstrap = 0xB007;  // purpose of draws

/// Where a function that grows from below to above `target` on [low, high] passes it.
template <class F>
double bisect(double low, double high, double target, const F& f) {
  for (int i = 0; i < 200; ++i) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    (f(middle) < target ? low : high) = middle;
  }
  return low + (high - low) / 2;
}

/// The regularised incomplete beta function I_x(a, b) by its continued fraction (Abramowitz and Stegun 26.5.8, in
/// Lentz's order of evaluation).
double incomplete_beta(double x, double a, double b) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incomplete_beta(1 - x, b, a);  // where the fraction converges fast
  constexpr double kTiny = 1e-300;
  double c = 1, d = 1 - (a + b) * x / (a + 1);
  d = 1 / (std::abs(d) < kTiny ? kTiny : d);
  double fraction = d;
  for (int m = 1; m < 100'000; ++m) {
    double change = 1;
    for (const double term : {m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
                              -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))}) {
      d = 1 + term * d;
      d = 1 / (std::abs(d) < kTiny ? kTiny : d);
      c = 1 + term / c;
      if (std::abs(c) < kTiny) c = kTiny;
      change = c * d;
      fraction *= change;
    }
    if (std::abs(change - 1) < 1e-16) break;
  }
  const double front =
      std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x) - std::log(a);
  return std::exp(front) * fraction;
}

double beta_quantile(double share, double a, double b) {
  return bisect(0, 1, share, [&](double x) { return incomplete_beta(x, a, b); });
}

double normal_quantile(double share) {
  return bisect(-40, 40, share, [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); });
}

void check_confidence(double confidence) {
  if (!(confidence > 0 && confidence < 1))
    throw Error("statistics", "expected a confidence between 0 and 1, got ", confidence);
}

void check_rate(std::int64_t right, std::int64_t trials, double confidence) {
  if (trials < 1 || right < 0 || right > trials)
    throw Error("statistics", "expected 0 <= right <= trials and at least one trial, got ", right, " of ", trials);
  check_confidence(confidence);
}

/// Interpolated between the two nearest of `sorted`, which is not empty.
double quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

double pass_at_k(std::int64_t samples, std::int64_t right, std::int64_t k) {
  if (right < 0 || right > samples || k < 1 || k > samples)
    throw Error("statistics", "expected 0 <= right <= samples and 1 <= k <= samples, got k = ", k, " and ", right,
                " right of ", samples);
  // 1 − C(samples − right, k) / C(samples, k), as a product of factors that stay within [0, 1].
  double none = 1;
  for (std::int64_t i = samples - right + 1; i <= samples; ++i)
    none *= std::max(0.0, 1.0 - static_cast<double>(k) / static_cast<double>(i));
  return 1 - none;
}

Interval clopper_pearson(std::int64_t right, std::int64_t trials, double confidence) {
  check_rate(right, trials, confidence);
  const double tail = (1 - confidence) / 2;
  const auto x = static_cast<double>(right), n = static_cast<double>(trials);
  return {right == 0 ? 0.0 : beta_quantile(tail, x, n - x + 1),
          right == trials ? 1.0 : beta_quantile(1 - tail, x + 1, n - x)};
}

Interval wilson(std::int64_t right, std::int64_t trials, double confidence) {
  check_rate(right, trials, confidence);
  const double z = normal_quantile((1 + confidence) / 2);
  const auto n = static_cast<double>(trials);
  const double p = static_cast<double>(right) / n;
  const double centre = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z / (1 + z * z / n) * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  return {right == 0 ? 0.0 : centre - half, right == trials ? 1.0 : centre + half};
}

Interval bootstrap(std::size_t clusters, const std::function<double(std::span<const std::size_t>)>& statistic,
                   std::uint64_t seed, int rounds, double confidence) {
  check_confidence(confidence);
  if (rounds < 1) throw Error("statistics", "expected at least one round, got ", rounds);
  if (clusters < 2) return {};
  std::vector<double> values;
  std::vector<std::size_t> drawn(clusters);
  for (int round = 0; round < rounds; ++round) {
    Draws draws{kBootstrap, seed, static_cast<std::uint64_t>(round)};
    for (std::size_t& each : drawn) each = draws.below(clusters);
    if (const double value = statistic(drawn); !std::isnan(value)) values.push_back(value);
  }
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  return {quantile(values, (1 - confidence) / 2), quantile(values, (1 + confidence) / 2)};
}

Estimate mean_over_problems(std::span<const double> values, std::uint64_t seed) {
  if (values.empty()) return {};
  const auto count = static_cast<double>(values.size());
  const auto mean_of = [&](std::span<const std::size_t> drawn) {
    double sum = 0;
    for (const std::size_t each : drawn) sum += values[each];
    return sum / count;
  };
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  const bool trials = std::all_of(values.begin(), values.end(), [](double each) { return each == 0 || each == 1; });
  return {sum / count, trials ? clopper_pearson(std::llround(sum), static_cast<std::int64_t>(values.size()))
                              : bootstrap(values.size(), mean_of, seed)};
}

double consensus(std::span<const std::string> answers, std::span<const double> scores,
                 const std::function<bool(const std::string&, const std::string&)>& same) {
  if (answers.size() != scores.size())
    throw Error("statistics", "expected a score for each of ", answers.size(), " answers, got ", scores.size());
  struct Class {
    const std::string* answer;
    double votes = 0, score = 0;
  };
  std::vector<Class> classes;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (answers[i].empty()) continue;
    auto found = std::find_if(classes.begin(), classes.end(), [&](const Class& each) {
      return *each.answer == answers[i] || same(*each.answer, answers[i]);
    });
    if (found == classes.end()) found = classes.insert(found, Class{&answers[i]});
    found->votes += 1;
    found->score += scores[i];
  }
  double most = 0, sum = 0, tied = 0;
  for (const Class& each : classes) most = std::max(most, each.votes);
  for (const Class& each : classes)
    if (each.votes == most) sum += each.score / each.votes, tied += 1;
  return tied > 0 ? sum / tied : 0;
}

}  // namespace grpo
