// The values of functions and sums, and of what has no value of its own.
#include <cstring>

#include "answers/math/value.h"

namespace grpo::math {
namespace {

constexpr unsigned long kMaxFactorial = 3000;  // its argument
constexpr long kMaxTerms = 10'000;             // of a sum or product

mpz_class floor_of(const mpq_class& value) {
  mpz_class result;
  mpz_fdiv_q(result.get_mpz_t(), value.get_num_mpz_t(), value.get_den_mpz_t());
  return result;
}

}  // namespace

std::optional<Value> Evaluator::integer_function(Function function, const mpq_class& a) {
  if (!is_whole(a) || a < 0) return {};
  if (a > kMaxFactorial) {
    budget_.left = -1;
    return {};
  }
  const unsigned long n = a.get_num().get_ui();
  pay(static_cast<std::int64_t>(n) * 4);
  mpz_class result;
  if (function == Function::factorial)
    mpz_fac_ui(result.get_mpz_t(), n);
  else
    mpz_2fac_ui(result.get_mpz_t(), n);
  return Value(mpq_class(result));
}

std::optional<Value> Evaluator::of_two_integers(Function function, const mpq_class& a, const mpq_class& b) {
  if (function == Function::minimum || function == Function::maximum)
    return Value((a < b) == (function == Function::minimum) ? a : b);
  if (!is_whole(a) || !is_whole(b)) return {};
  mpz_class result;
  pay_for_bits(bits(a) + bits(b));
  if (function == Function::gcd) {
    result = gcd(a.get_num(), b.get_num());
  } else if (function == Function::lcm) {
    result = lcm(a.get_num(), b.get_num());
  } else if (function == Function::binomial) {
    if (b < 0 || a < 0) return {};
    if (a > 1'000'000 || b > kMaxFactorial) {
      budget_.left = -1;
      return {};
    }
    pay(static_cast<std::int64_t>(b.get_num().get_ui()) * 8);
    mpz_bin_ui(result.get_mpz_t(), a.get_num_mpz_t(), b.get_num().get_ui());
    if (bits(result) > kMaxBits) budget_.left = -1;
  } else {
    return {};
  }
  return Value(mpq_class(result));
}

std::optional<Value> Evaluator::compute_function(const Node& node) {
  const Result a = (*this)(node.children[0]);
  if (!a) return {};
  std::optional<Result> second;
  if (node.children.size() > 1) {
    second = (*this)(node.children[1]);
    if (!*second) return {};
  }
  const Function function = node.function;
  switch (function) {
    case Function::root: {
      if (!second) return take_root(*a, 2);
      const Value& order = **second;
      if (!order.is_exact() || !is_whole(order.exact()) || order.exact() < 2 || order.exact() > 1000)
        return order.is_exact() && order.exact() == 0 ? Result() : raise(*a, *divide(Value(mpq_class(1)), order));
      return take_root(*a, order.exact().get_num().get_ui());
    }
    case Function::ln:
      return second ? Result() : log_of(*a);
    case Function::log: {
      const Result log = log_of(*a);
      if (!log) return {};
      // Without a base it is read in none: then only laws that hold in every base count.
      const Result base = second ? log_of(**second) : Value(fraction_from(mix_text(point_.seed, "base of log")));
      if (!base || (base->is_exact() && base->exact() == 0)) return {};
      return divide(*log, *base);
    }
    case Function::absolute: {
      if (a->is_exact()) return Value(mpq_class(abs(a->exact())));
      pay_for_bounds(4);
      auto size = absolute(a->bounds());
      return size ? finite(Complex(std::move(*size))) : Result();
    }
    case Function::floor:
    case Function::ceiling: {
      const bool up = function == Function::ceiling;
      const auto whole = [&](const mpq_class& x) { return up ? mpz_class(-floor_of(-x)) : floor_of(x); };
      if (a->is_exact()) return Value(mpq_class(whole(a->exact())));
      if (!a->bounds().is_real || mpfr_get_exp(a->bounds().real.high()) > 4096) return {};
      mpq_class low, high;
      mpfr_get_q(low.get_mpq_t(), a->bounds().real.low());
      mpfr_get_q(high.get_mpq_t(), a->bounds().real.high());
      const mpz_class result = whole(low);
      return result == whole(high) ? Result(Value(mpq_class(result))) : Result();
    }
    case Function::factorial:
    case Function::double_factorial:
      return a->is_exact() ? integer_function(function, a->exact()) : Result();
    case Function::binomial:
    case Function::gcd:
    case Function::lcm:
    case Function::minimum:
    case Function::maximum: {
      Result result = a;
      for (std::size_t i = 1; result && i < node.children.size(); ++i) {
        const Result next = i == 1 ? *second : (*this)(node.children[i]);
        if (!next || !result->is_exact() || !next->is_exact()) return {};
        result = of_two_integers(function, result->exact(), next->exact());
      }
      return result;
    }
    case Function::real_part:
      return a->is_exact() ? *a : Value(Complex(a->bounds().real));
    case Function::imaginary_part:
      return a->is_exact() ? Value(mpq_class(0)) : Value(Complex(a->bounds().imaginary));
    default:
      return second ? Result() : transcendental(function, *a);
  }
}

std::optional<Value> Evaluator::transcendental(Function function, const Value& of) {
  if (function == Function::exp) return exponential(of);
  const Complex z = bounds_of(of);
  if (!z.is_real) return {};
  const Interval& x = z.real;
  if (x.size() > kMaxAngle) {
    budget_.left = -1;
    return {};
  }
  const bool inverse = function >= Function::arcsin && function <= Function::arctan;
  pay_for_bounds(inverse ? 64 : 32, x.size());
  if (budget_.spent()) return {};
  const auto over = [&](const Interval& a, const Interval& b) -> Result {
    auto quotient = math::divide(a, b);
    return quotient ? finite(Complex(std::move(*quotient))) : Result();
  };
  const Interval one(mpq_class(1), precision_);
  const auto within_one = [&] { return mpfr_cmp_si(x.low(), -1) >= 0 && mpfr_cmp_si(x.high(), 1) <= 0; };
  const auto sine = [&] { return x.gentle(mpfr_sin); };
  const auto cosine = [&] { return x.gentle(mpfr_cos); };
  switch (function) {
    case Function::sin:
      return finite(Complex(sine()));
    case Function::cos:
      return finite(Complex(cosine()));
    case Function::tan:
      return over(sine(), cosine());
    case Function::cot:
      return over(cosine(), sine());
    case Function::sec:
      return over(one, cosine());
    case Function::csc:
      return over(one, sine());
    case Function::arcsin:
      return within_one() ? finite(Complex(x.rising(mpfr_asin))) : Result();
    case Function::arccos: {
      if (!within_one()) return {};
      return finite(Complex(*math::divide(Interval::pi(precision_), one + one) - x.rising(mpfr_asin)));
    }
    case Function::arctan:
      return finite(Complex(x.rising(mpfr_atan)));
    case Function::sinh:
      return finite(Complex(x.rising(mpfr_sinh)));
    case Function::tanh:
      return finite(Complex(x.rising(mpfr_tanh)));
    case Function::cosh: {
      const Interval up = x.rising(mpfr_exp), down = (-x).rising(mpfr_exp);
      return over(up + down, one + one);
    }
    default:
      return {};
  }
}

// ---- What has no value of its own ----

std::optional<Value> Evaluator::opaque(std::uint64_t key, std::span<const NodeId> arguments, std::size_t first) {
  for (std::size_t i = first; i < arguments.size(); ++i) {
    if (tree_[arguments[i]].kind == Kind::infinity) {
      key = mix_text(key, "infinity");
      continue;
    }
    const Result value = (*this)(arguments[i]);
    if (!value) return {};
    if (value->is_exact()) {
      pay_for_bits(bits(value->exact()) * 16);
      key = mix_text(key, value->exact().get_str(62));
      continue;
    }
    for (const Interval* part : {&value->bounds().real, &value->bounds().imaginary}) {
      const double rounded = part->contains_zero() ? 0.0 : mpfr_get_d(part->low(), MPFR_RNDN);
      std::uint64_t image = 0;
      std::memcpy(&image, &rounded, sizeof image);
      key = mix(key ^ image);
    }
  }
  return Value(fraction_from(mix(key)));
}

std::optional<Value> Evaluator::compute_fold(const Node& node) {
  const std::string& index = tree_[node.children[0]].name;
  const NodeId body = node.children[3];
  const bool product = node.function == Function::product;
  const bool endless = tree_[node.children[2]].kind == Kind::infinity;
  const Result from = (*this)(node.children[1]), to = endless ? from : (*this)(node.children[2]);
  if (!from || !to) return {};
  const bool counts =
      !endless && from->is_exact() && to->is_exact() && is_whole(from->exact()) && is_whole(to->exact());
  if (!counts) {  // a value that follows from bounds and body
    bound_.emplace_back(index, fraction_from(mix_text(point_.seed, "index")));
    Result result = opaque(mix(point_.seed + (product ? 1 : 2)), node.children, 1);
    bound_.pop_back();
    return result;
  }
  if (to->exact() - from->exact() >= kMaxTerms) {
    budget_.left = -1;
    return {};
  }
  Result total = Value(mpq_class(product ? 1 : 0));
  bound_.emplace_back(index, from->exact());
  for (; total && bound_.back().second <= to->exact(); bound_.back().second += 1) {
    const Result next = (*this)(body);
    total = !next ? Result() : product ? multiply(*total, *next) : add(*total, *next);
  }
  bound_.pop_back();
  return total;
}

}  // namespace grpo::math
