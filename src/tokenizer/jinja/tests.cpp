// The tests of Jinja: what stands behind `is`, and what select and its kind ask.
#include "tokenizer/jinja/builtins.h"

namespace grpo::jinja {
namespace {

template <Kind... kinds>
Value is_of(Runtime&, const Value& value, const Bound&) {
  return Value::boolean((value.is(kinds) || ...));
}

template <bool wanted>
Value is_boolean(Runtime&, const Value& value, const Bound&) {
  return Value::boolean(value.is(Kind::boolean) && (value.as_integer() != 0) == wanted);
}

template <Comparison comparison>
Value compares(Runtime& runtime, const Value& value, const Bound& arguments) {
  return Value::boolean(holds(runtime, comparison, value, arguments[0]));
}

template <std::int64_t rest>
Value leaves(Runtime& runtime, const Value& value, const Bound&) {
  return Value::boolean(std::abs(integer_argument(runtime, value, "the number of odd or even") % 2) == rest);
}

constexpr Builtin kTests[] = {
    {"!=", "other", compares<Comparison::not_equal>},
    {"<", "other", compares<Comparison::less>},
    {"<=", "other", compares<Comparison::less_equal>},
    {"==", "other", compares<Comparison::equal>},
    {">", "other", compares<Comparison::greater>},
    {">=", "other", compares<Comparison::greater_equal>},
    {"boolean", "", is_of<Kind::boolean>},
    {"callable", "", is_of<Kind::callable, Kind::undefined>},
    {"defined", "", [](Runtime&, const Value& value, const Bound&) { return Value::boolean(!value.is_undefined()); }},
    {"divisibleby", "num",
     [](Runtime& runtime, const Value& value, const Bound& arguments) {
       const std::int64_t number = integer_argument(runtime, value, "the number of divisibleby");
       const std::int64_t divisor = integer_argument(runtime, arguments[0], "the divisor of divisibleby");
       if (divisor == 0) runtime.fail("divisibleby: expected a divisor that is not 0, got 0");
       return Value::boolean(divisor == -1 || number % divisor == 0);
     }},
    {"eq", "other", compares<Comparison::equal>},
    {"equalto", "other", compares<Comparison::equal>},
    {"even", "", leaves<0>},
    {"false", "", is_boolean<false>},
    {"float", "", is_of<Kind::real>},
    {"ge", "other", compares<Comparison::greater_equal>},
    {"greaterthan", "other", compares<Comparison::greater>},
    {"gt", "other", compares<Comparison::greater>},
    {"in", "seq", compares<Comparison::in>},
    {"integer", "", is_of<Kind::integer>},
    {"iterable", "",
     is_of<Kind::undefined, Kind::text, Kind::dict, Kind::list, Kind::tuple, Kind::view, Kind::iterator, Kind::loop>},
    {"le", "other", compares<Comparison::less_equal>},
    {"lessthan", "other", compares<Comparison::less>},
    {"lt", "other", compares<Comparison::less>},
    {"mapping", "", is_of<Kind::dict>},
    {"ne", "other", compares<Comparison::not_equal>},
    {"none", "", is_of<Kind::none>},
    {"number", "", is_of<Kind::boolean, Kind::integer, Kind::real>},
    {"odd", "", leaves<1>},
    {"sequence", "", is_of<Kind::undefined, Kind::text, Kind::dict, Kind::list, Kind::tuple>},
    {"string", "", is_of<Kind::text>},
    {"true", "", is_boolean<true>},
    {"undefined", "", is_of<Kind::undefined>},
};

}  // namespace

std::span<const Builtin> tests() { return kTests; }

}  // namespace grpo::jinja
