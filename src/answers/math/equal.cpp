#include "answers/math/equal.h"

#include <algorithm>
#include <iterator>
#include <optional>

namespace grpo::math {
namespace {

constexpr mpfr_prec_t kFirstPrecision = 640, kLeastPrecision = 448, kMostPrecision = 16384;
constexpr long kAgreement = -380;  // bits that overlapping bounds must be narrower than, relative to max(1, size)
constexpr int kAttempts = 24, kNeeded = 4;  // sample points
constexpr int kPieceKinds[] = {3, 4, 5, 6, 7, 2, 2, 2, 2, 2, 2, 2, 2};
constexpr int kPieces = static_cast<int>(std::size(kPieceKinds));
constexpr std::int64_t kPieceBudget = 20'000;
constexpr int kMinDigits = 6;  // of a decimal that may stand for what it rounds

/// Fractions first; natural numbers for what only they have, such as n!, and small fractions for √(1-x²). Behind
/// kAttempts come points for what is made of pieces.
Point sample(std::uint64_t seed, int attempt) {
  constexpr int kKinds[] = {0, 1, 0, 1, 1, 2, 8, 2, 9, 2, 8, 2, 9};
  const int kind = attempt >= kAttempts                            ? kPieceKinds[attempt - kAttempts]
                   : attempt < static_cast<int>(std::size(kKinds)) ? kKinds[attempt]
                                                                   : 2;
  return {seed * 0x9E3779B97F4A7C15 + static_cast<std::uint64_t>(attempt) * 0xD1B54A32D192ED03, kind};
}

}  // namespace

bool Comparison::has(NodeId id, Kind kind) const {
  std::vector<NodeId> open{id};
  while (!open.empty()) {
    const Node& node = tree_[open.back()];
    open.pop_back();
    if (node.kind == kind) return true;
    open.insert(open.end(), node.children.begin(), node.children.end());
  }
  return false;
}

bool Comparison::has_symbol(NodeId id, std::string_view name) const {
  std::vector<NodeId> open{id};
  while (!open.empty()) {
    const Node& node = tree_[open.back()];
    open.pop_back();
    if (node.kind == Kind::symbol && node.name == name) return true;
    open.insert(open.end(), node.children.begin(), node.children.end());
  }
  return false;
}

bool Comparison::has_symbols(NodeId id) const {
  return has(id, Kind::symbol) || has(id, Kind::call) || has(id, Kind::fold);
}

bool Comparison::has_no_value(NodeId id) const {
  std::vector<NodeId> open{id};
  while (!open.empty()) {
    const Node& node = tree_[open.back()];
    open.pop_back();
    if ((node.kind >= Kind::quantity && node.kind != Kind::fold) || node.kind == Kind::ratio) return true;
    open.insert(open.end(), node.children.begin(), node.children.end());
  }
  return false;
}

bool Comparison::has_pieces(NodeId id) const {
  std::vector<NodeId> open{id};
  while (!open.empty()) {
    const Node& node = tree_[open.back()];
    open.pop_back();
    switch (node.function) {
      case Function::absolute:
      case Function::floor:
      case Function::ceiling:
      case Function::minimum:
      case Function::maximum:
      case Function::binomial:
      case Function::gcd:
      case Function::lcm:
        return true;
      case Function::root:  // √((x-5)²) is |x-5|; √x is not
        if (has_symbols(node.children[0]) && tree_[node.children[0]].kind != Kind::symbol) return true;
        [[fallthrough]];
      default:
        open.insert(open.end(), node.children.begin(), node.children.end());
    }
  }
  return false;
}

bool Comparison::same_on_all_pieces(Scalar a, Scalar b, bool complex_allowed) {
  if (!has_pieces(a.node) && !has_pieces(b.node)) return true;
  for (int attempt = kAttempts; attempt < kAttempts + kPieces && options_.budget > 2 * kPieceBudget; ++attempt) {
    // What is too dear at one of these points need not be known there.
    const std::int64_t rest = options_.budget - std::min(options_.budget, kPieceBudget);
    options_.budget -= rest;
    const Outcome outcome = compare_at(a, b, sample(options_.seed, attempt), complex_allowed);
    options_.budget = rest + std::max<std::int64_t>(0, options_.budget);
    over_budget_ = false;
    if (outcome == Outcome::different) return false;
  }
  return true;
}

Comparison::Outcome Comparison::compare_at(Scalar a, Scalar b, const Point& point, bool complex_allowed) {
  mpfr_prec_t precision = kFirstPrecision;
  for (int round = 0; round < 2; ++round) {
    Budget budget{options_.budget};
    Evaluator first(tree_, point, a.sign, precision, budget, !complex_allowed);
    Evaluator second(tree_, point, b.sign, precision, budget, !complex_allowed);
    const auto x = first(a.node);
    const auto y = x ? second(b.node) : std::optional<Value>();
    options_.budget = budget.left;
    if (budget.spent()) over_budget_ = true;
    if (!x || !y || over_budget_) return Outcome::unclear;
    if (x->is_exact() && y->is_exact()) return x->exact() == y->exact() ? Outcome::same : Outcome::different;
    const Complex p = x->to_bounds(precision), q = y->to_bounds(precision);
    if (p.apart(q)) return Outcome::different;
    // A difference may hide below the smallest number that came up, raised to a power.
    const mpfr_prec_t needed = kLeastPrecision + 8 * std::max(first.spread(), second.spread());
    if (round == 1 || needed <= precision)
      return p.narrow(kAgreement) && q.narrow(kAgreement) ? Outcome::same : Outcome::unclear;
    precision = needed;
    if (precision > kMostPrecision) {
      over_budget_ = true;
      return Outcome::unclear;
    }
  }
  return Outcome::unclear;
}

Truth Comparison::same(Scalar a, Scalar b) {
  const auto answer = [&](bool is_same) {
    return over_budget_ ? Truth::over_budget : is_same ? Truth::yes : Truth::no;
  };
  const bool constant = !has_symbols(a.node) && !has_symbols(b.node);
  // (The reference first: where it has no value, the budget is still there to find that out.)
  if (constant) return answer(compare_at(b, a, sample(options_.seed, 0), true) == Outcome::same);
  const bool imaginary = has(a.node, Kind::i) || has(b.node, Kind::i);
  for (const bool complex_allowed : {imaginary, true}) {
    int agreed = 0;
    for (int attempt = 0; attempt < kAttempts && agreed < kNeeded && !over_budget_; ++attempt) {
      const Outcome outcome = compare_at(a, b, sample(options_.seed, attempt), complex_allowed);
      if (outcome == Outcome::different) return answer(false);
      agreed += outcome == Outcome::same;
    }
    if (agreed > 0 || over_budget_ || imaginary)
      return answer(agreed >= kNeeded && same_on_all_pieces(a, b, complex_allowed));
  }
  return answer(false);
}

Truth Comparison::proportional(NodeId a, NodeId b, bool positive) {
  std::optional<Value> factor;
  int agreed = 0;
  const int last = has_pieces(a) || has_pieces(b) ? kAttempts + kPieces : kAttempts;
  for (int attempt = 0; attempt < last; ++attempt) {
    const bool decided = agreed >= kNeeded, piece = attempt >= kAttempts;
    if (decided != piece) continue;
    if (piece && options_.budget <= 2 * kPieceBudget) break;
    const Point point = sample(options_.seed, attempt);
    const std::int64_t allowed = piece ? std::min(options_.budget, kPieceBudget) : options_.budget;
    Budget budget{allowed};
    constexpr mpfr_prec_t kPrecision = 640;
    Evaluator evaluate(tree_, point, 1, kPrecision, budget, true);
    const auto x = evaluate(a);
    const auto y = x ? evaluate(b) : std::optional<Value>();
    options_.budget -= allowed - budget.left;
    if (budget.spent()) {
      if (piece && options_.budget > 0) continue;  // what is too dear there need not be known
      over_budget_ = true;
      return Truth::over_budget;
    }
    if (!x || !y || evaluate.spread() > 160) continue;
    std::optional<Value> here;
    if (x->is_exact() && y->is_exact()) {
      if (x->exact() == 0 || y->exact() == 0) {
        if (x->exact() != y->exact()) return Truth::no;
        continue;
      }
      here = Value(mpq_class(x->exact() / y->exact()));
    } else if (auto quotient = divide(x->to_bounds(kPrecision), y->to_bounds(kPrecision))) {
      here = Value(std::move(*quotient));
    } else {
      continue;
    }
    const Complex bounds = here->to_bounds(kPrecision);
    if (!bounds.is_real || bounds.real.contains_zero() || !bounds.narrow(kAgreement)) return Truth::no;
    if (positive && !bounds.real.is_positive()) return Truth::no;
    if (factor && (factor->is_exact() && here->is_exact() ? factor->exact() != here->exact()
                                                          : factor->to_bounds(kPrecision).apart(bounds)))
      return Truth::no;
    factor = here;
    ++agreed;
  }
  return agreed >= kNeeded ? Truth::yes : Truth::no;
}

bool Comparison::rounds_to(NodeId decimal, Scalar exact) {
  const bool negative = tree_[decimal].kind == Kind::negate;
  const Node& node = tree_[negative ? tree_[decimal].children[0] : decimal];
  if (node.kind != Kind::number || node.digits < kMinDigits || has_symbols(exact.node)) return false;
  mpz_class unit;
  mpz_ui_pow_ui(unit.get_mpz_t(), 10, static_cast<unsigned long>(node.digits));
  const mpq_class shown = *node.value * unit;  // whole: its digits
  if (shown.get_num().get_str().size() < kMinDigits) return false;

  Budget budget{options_.budget};
  Evaluator evaluate(tree_, Point(), exact.sign, 512 + 4 * node.digits, budget);
  const auto value = evaluate(exact.node);
  options_.budget = budget.left;
  if (!value) return false;
  const Complex bounds = value->to_bounds(512 + 4 * node.digits);
  if (!bounds.is_real) return false;
  mpq_class low, high;  // of the other side, in units of the last digit shown, less what is shown
  mpfr_get_q(low.get_mpq_t(), bounds.real.low());
  mpfr_get_q(high.get_mpq_t(), bounds.real.high());
  if (negative) {
    low = -low, high = -high;
    std::swap(low, high);
  }
  low = low * unit - shown;
  high = high * unit - shown;
  const mpq_class half(1, 2);
  return (low >= -half && high <= half) || (low >= 0 && high < 1);
}

bool Comparison::within_tolerance(Scalar answer, Scalar reference) {
  if (options_.tolerance <= 0 || has_symbols(answer.node) || has_symbols(reference.node)) return false;
  Budget budget{options_.budget};
  Evaluator first(tree_, Point(), answer.sign, 256, budget), second(tree_, Point(), reference.sign, 256, budget);
  const auto y = second(reference.node);
  const auto x = y ? first(answer.node) : std::optional<Value>();
  options_.budget = budget.left;
  if (!x || !y) return false;
  const Complex difference = x->to_bounds(256) + -y->to_bounds(256);
  const auto distance = absolute(difference), size = absolute(y->to_bounds(256));
  if (!distance || !size) return false;
  const double scale = std::max(1.0, mpfr_get_d(size->low(), MPFR_RNDD));
  return mpfr_cmp_d(distance->high(), options_.tolerance * scale) <= 0;
}

bool Comparison::rounds_alike(Scalar answer, Scalar reference) {
  if (options_.precision < 0 || has_symbols(answer.node) || has_symbols(reference.node)) return false;
  mpz_class unit;
  mpz_ui_pow_ui(unit.get_mpz_t(), 10, static_cast<unsigned long>(options_.precision));
  const mpfr_prec_t precision = 512 + 4 * options_.precision;
  /// Bounds in units of the last place; nothing for what is not real.
  const auto bounds_of = [&](Scalar scalar) -> std::optional<std::pair<mpq_class, mpq_class>> {
    Budget budget{options_.budget};
    const auto value = Evaluator(tree_, Point(), scalar.sign, precision, budget)(scalar.node);
    options_.budget = budget.left;
    if (!value) return {};
    if (value->is_exact()) return std::pair(mpq_class(value->exact() * unit), mpq_class(value->exact() * unit));
    const Complex bounds = value->to_bounds(precision);
    if (!bounds.is_real) return {};
    mpq_class low, high;
    mpfr_get_q(low.get_mpq_t(), bounds.real.low());
    mpfr_get_q(high.get_mpq_t(), bounds.real.high());
    return std::pair(mpq_class(low * unit), mpq_class(high * unit));
  };
  const auto wanted = bounds_of(reference);
  const auto given = wanted ? bounds_of(answer) : std::nullopt;
  if (!given) return false;
  // What lies half-way may be rounded either way.
  const mpq_class half(1, 2);
  const auto at_least = [&](const mpq_class& x) {  // the lowest whole number that x may be rounded to
    mpz_class whole;
    const mpq_class from = x - half;
    mpz_cdiv_q(whole.get_mpz_t(), from.get_num_mpz_t(), from.get_den_mpz_t());
    return whole;
  };
  const auto at_most = [&](const mpq_class& x) {
    mpz_class whole;
    const mpq_class to = x + half;
    mpz_fdiv_q(whole.get_mpz_t(), to.get_num_mpz_t(), to.get_den_mpz_t());
    return whole;
  };
  // All that the answer may be must be rounded to what all that the reference may be is rounded to.
  const mpz_class low = at_least(wanted->second), high = at_most(wanted->first);
  return low <= high && given->first >= low - half && given->second <= high + half;
}

int Comparison::sign_of(Scalar a) {
  if (has_symbols(a.node)) return 0;
  Budget budget{options_.budget};
  Evaluator evaluate(tree_, Point(), a.sign, 256, budget);
  const auto value = evaluate(a.node);
  options_.budget = budget.left;
  if (!value) return 0;
  const Complex bounds = value->to_bounds(256);
  return !bounds.is_real ? 0 : bounds.real.is_positive() ? 1 : bounds.real.is_negative() ? -1 : 0;
}

bool Comparison::is_defined(Scalar a) {
  if (has_symbols(a.node) || has(a.node, Kind::infinity) || has_no_value(a.node)) return true;
  Budget budget{options_.budget};
  Evaluator evaluate(tree_, Point(), a.sign, kLeastPrecision, budget);
  const bool defined = evaluate(a.node).has_value();
  options_.budget = budget.left;
  over_budget_ |= budget.spent();
  return defined;
}

}  // namespace grpo::math
