#include "answers/math/value.h"

#include <algorithm>
#include <cstdlib>

namespace grpo::math {
namespace {

constexpr long kMaxExponent = 1L << 20;  // of a bound

}  // namespace

std::uint64_t mix(std::uint64_t x) {  // the finaliser of SplitMix64
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}
std::uint64_t mix_text(std::uint64_t seed, std::string_view text) {
  for (const char c : text) seed = mix(seed ^ static_cast<unsigned char>(c));
  return mix(seed);
}

std::size_t bits(const mpz_class& value) { return value == 0 ? 0 : mpz_sizeinbase(value.get_mpz_t(), 2); }
std::size_t bits(const mpq_class& value) { return bits(value.get_num()) + bits(value.get_den()); }
mpq_class fraction_from(std::uint64_t random) {  // in (0, 3)
  constexpr unsigned long kDenominator = 274'877'906'951;
  mpq_class value(mpz_class(static_cast<unsigned long>(1 + random % (3 * kDenominator - 1))), mpz_class(kDenominator));
  value.canonicalize();
  return value;
}

mpq_class Point::of(std::string_view name) const {
  const std::uint64_t random = mix_text(seed, name);
  if (kind == 2) return mpq_class(static_cast<unsigned long>(1 + random % 29));
  mpq_class value = fraction_from(random);
  static const mpq_class kFactors[] = {-1, 40, -40, 4000, -4000, mpq_class(1, 8), mpq_class(-1, 8)};
  if (kind >= 3) return value * kFactors[kind - 3];
  return kind == 1 && (random >> 63) ? mpq_class(-value) : value;
}

void Evaluator::note_size(const Value& value) {
  const auto note = [&](long size) {
    largest_ = std::max(largest_, size);
    smallest_ = std::min(smallest_, size);
  };
  if (value.is_exact()) {
    if (value.exact() != 0)
      note(static_cast<long>(bits(value.exact().get_num())) - static_cast<long>(bits(value.exact().get_den())));
    return;
  }
  for (const Interval* part : {&value.bounds().real, &value.bounds().imaginary})
    if (!part->contains_zero()) note(mpfr_get_exp(part->high()));
}

std::optional<Value> Evaluator::finite(Complex value) {
  if (!value.is_finite()) return {};
  for (const Interval* part : {&value.real, &value.imaginary})
    for (mpfr_srcptr end : {part->low(), part->high()})
      if (!mpfr_zero_p(end) && std::abs(mpfr_get_exp(end)) > kMaxExponent) {
        budget_.left = -1;
        return {};
      }
  return Value(std::move(value));
}

std::optional<Value> Evaluator::operator()(NodeId id) {
  pay(20);
  if (budget_.spent()) return {};
  Result result = compute(tree_[id]);
  if (result) note_size(*result);
  return result;
}

std::optional<Value> Evaluator::add(const Value& a, const Value& b) {
  if (a.is_exact() && b.is_exact()) {
    const std::size_t size = bits(a.exact()) + bits(b.exact());
    pay_for_bits(size);
    if (size > kMaxBits) budget_.left = -1;
    if (budget_.spent()) return {};
    return Result(std::in_place, a.exact() + b.exact());
  }
  pay_for_bounds(1);
  return finite(bounds_of(a) + bounds_of(b));
}

std::optional<Value> Evaluator::multiply(const Value& a, const Value& b) {
  if (a.is_exact() && b.is_exact()) {
    const std::size_t size = bits(a.exact()) + bits(b.exact());
    pay_for_bits(size * 2);
    if (size > kMaxBits) budget_.left = -1;
    if (budget_.spent()) return {};
    return Result(std::in_place, a.exact() * b.exact());
  }
  if ((a.is_exact() && a.exact() == 0) || (b.is_exact() && b.exact() == 0)) return Value(mpq_class(0));
  const Complex x = bounds_of(a), y = bounds_of(b);
  pay_for_bounds(x.is_real && y.is_real ? 2 : 10);
  return finite(x * y);
}

std::optional<Value> Evaluator::divide(const Value& a, const Value& b) {
  if (b.is_exact()) {
    if (b.exact() == 0) return {};
    return multiply(a, Value(mpq_class(1 / b.exact())));
  }
  pay_for_bounds(4);
  auto quotient = math::divide(bounds_of(a), b.bounds());
  return quotient ? finite(std::move(*quotient)) : Result();
}

std::optional<Value> Evaluator::compute(const Node& node) {
  const auto child = [&](std::size_t i) { return (*this)(node.children[i]); };
  switch (node.kind) {
    case Kind::number:
      return Result(std::in_place, *node.value);
    case Kind::symbol: {
      for (auto each = bound_.rbegin(); each != bound_.rend(); ++each)
        if (each->first == node.name) return Result(std::in_place, each->second);
      return Value(point_.of(node.name));
    }
    case Kind::pi:
      pay_for_bounds(2);
      return Value(Complex(Interval::pi(precision_)));
    case Kind::e:
      pay_for_bounds(14);
      return Value(Complex(Interval(mpq_class(1), precision_).rising(mpfr_exp)));
    case Kind::i:
      return Value(Complex(Interval(precision_), Interval(mpq_class(1), precision_)));
    case Kind::sum: {
      Result total = child(0);
      for (std::size_t i = 1; total && i < node.children.size(); ++i) {
        const Result next = child(i);
        total = next ? add(*total, *next) : Result();
      }
      return total;
    }
    case Kind::negate: {
      const Result of = child(0);
      return of ? multiply(*of, Value(mpq_class(-1))) : Result();
    }
    case Kind::plus_minus:
    case Kind::minus_plus: {
      const Result last = child(node.children.size() - 1);
      if (!last) return {};
      const int sign = node.kind == Kind::plus_minus ? sign_ : -sign_;
      const Result turned = multiply(*last, Value(mpq_class(sign)));
      if (node.children.size() == 1 || !turned) return turned;
      const Result first = child(0);
      return first ? add(*first, *turned) : Result();
    }
    case Kind::product:
    case Kind::quotient: {
      const Result a = child(0);
      const Result b = a ? child(1) : Result();
      if (!b) return {};
      return node.kind == Kind::product ? multiply(*a, *b) : divide(*a, *b);
    }
    case Kind::power:
      return compute_power(node);
    case Kind::percent: {
      const Result of = child(0);
      return of ? multiply(*of, Value(mpq_class(1, 100))) : Result();
    }
    case Kind::degree: {
      const Result of = child(0);
      const Result part = of ? multiply(*of, Value(mpq_class(1, 180))) : Result();
      return part ? multiply(*part, Value(Complex(Interval::pi(precision_)))) : Result();
    }
    case Kind::function:
      return compute_function(node);
    case Kind::call:
      return opaque(mix_text(point_.seed, node.name), node.children);
    case Kind::fold:
      return compute_fold(node);
    default:
      return {};
  }
}

// ---- Powers, roots, logarithms ----

std::optional<Value> Evaluator::compute_power(const Node& node) {
  const Result exponent = (*this)(node.children[1]);
  if (!exponent) return {};
  if (tree_[node.children[0]].kind == Kind::e && !(exponent->is_exact() && is_whole(exponent->exact()))) {
    return exponential(*exponent);
  }
  const Result base = (*this)(node.children[0]);
  return base ? raise(*base, *exponent) : Result();
}

std::optional<Value> Evaluator::whole_power(const Value& base, const mpz_class& exponent) {
  const mpz_class size = abs(exponent);
  if (base.is_exact()) {
    if (base.exact() == 0) return exponent > 0 ? Result(Value(mpq_class(0))) : Result();
    if (base.exact() == 1) return Value(mpq_class(1));
    if (base.exact() == -1) return Value(mpq_class(mpz_odd_p(exponent.get_mpz_t()) ? -1 : 1));
    if (!size.fits_ulong_p() || bits(base.exact()) * mpq_class(size) > kMaxBits) {
      budget_.left = -1;
      return {};
    }
    pay_for_bits(bits(base.exact()) * size.get_ui() * 4);
    mpq_class result;
    mpz_pow_ui(result.get_num_mpz_t(), base.exact().get_num_mpz_t(), size.get_ui());
    mpz_pow_ui(result.get_den_mpz_t(), base.exact().get_den_mpz_t(), size.get_ui());
    return Value(exponent < 0 ? mpq_class(1 / result) : result);
  }
  if (size > 1'000'000) {
    budget_.left = -1;
    return {};
  }
  Result result = Value(mpq_class(1)), square = base;
  for (unsigned long n = size.get_ui(); n > 0 && result; n >>= 1) {
    if (n & 1) result = multiply(*result, *square);
    if (n > 1) square = multiply(*square, *square);
    if (!square) return {};
  }
  return result && exponent < 0 ? divide(Value(mpq_class(1)), *result) : result;
}

std::optional<Value> Evaluator::raise(const Value& base, const Value& exponent) {
  if (exponent.is_exact()) {
    const mpq_class& e = exponent.exact();
    if (is_whole(e)) return whole_power(base, e.get_num());
    if (base.is_exact() && base.exact() == 0) return e > 0 ? Result(Value(mpq_class(0))) : Result();
    if (base.is_exact() && base.exact() > 0 && e.get_den() <= 64) {
      const Result root = take_root(base, e.get_den().get_ui());
      if (!root || root->is_exact()) return root ? whole_power(*root, e.get_num()) : Result();
    }
  }
  const Result log = log_of(base);
  const Result product = log ? multiply(exponent, *log) : Result();
  if (!product) return {};
  return exponential(*product);
}

std::optional<Value> Evaluator::exponential(const Value& of) {
  const Complex bounds = bounds_of(of);
  pay_for_bounds(bounds.is_real ? 120 : 300);
  // The angle of e^{ix}, and its bits have all to be known.
  if (!bounds.is_real && bounds.imaginary.size() > kMaxAngle) {
    budget_.left = -1;
    return {};
  }
  pay_for_bounds(16);
  if (!bounds.is_real) pay_for_bounds(32, bounds.imaginary.size());
  if (budget_.spent()) return {};
  return finite(exp(bounds));
}

std::optional<Value> Evaluator::log_of(const Value& of) {
  if (of.is_exact() && of.exact() == 1) return Value(mpq_class(0));
  const Complex bounds = bounds_of(of);
  pay_for_bounds(bounds.is_real ? 20 : 90);
  if (budget_.spent()) return {};
  if (bounds.is_real && bounds.real.is_negative() && reals_only_) return {};
  auto result = log(bounds);
  return result ? finite(std::move(*result)) : Result();
}

std::optional<Value> Evaluator::take_root(const Value& of, unsigned long order) {
  pay_for_bounds(4);
  if (of.is_exact()) {
    if (of.exact() < 0 && order % 2 == 1) {
      const Result root = take_root(Value(mpq_class(-of.exact())), order);
      return root ? multiply(*root, Value(mpq_class(-1))) : Result();
    }
    if (of.exact() >= 0) {
      pay_for_bits(bits(of.exact()) * 4);
      mpq_class root;
      if (mpz_root(root.get_num_mpz_t(), of.exact().get_num_mpz_t(), order) &&
          mpz_root(root.get_den_mpz_t(), of.exact().get_den_mpz_t(), order))
        return Value(std::move(root));
    }
  }
  const Complex bounds = bounds_of(of);
  const auto positive_root = [&](const Interval& x) {
    Interval result(precision_);
    mpfr_rootn_ui(result.low(), x.low(), order, MPFR_RNDD);
    mpfr_rootn_ui(result.high(), x.high(), order, MPFR_RNDU);
    return result;
  };
  if (bounds.is_real) {
    if (mpfr_sgn(bounds.real.low()) >= 0) return finite(Complex(positive_root(bounds.real)));
    if (bounds.real.is_negative()) {
      const Interval root = positive_root(-bounds.real);
      if (order % 2 == 1) return finite(Complex(-root));
      if (reals_only_) return {};
      if (order == 2) return finite(Complex(Interval::zero(precision_), root));
    }
  }
  const Result log = log_of(of);
  const Result part = log ? divide(*log, Value(mpq_class(order))) : Result();
  return part ? exponential(*part) : Result();
}

}  // namespace grpo::math
