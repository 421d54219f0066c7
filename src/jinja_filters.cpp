// The filters of Jinja, and tojson as transformers has it.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "jinja_builtins.h"
#include "jinja_text.h"
#include "letter_case.h"
#include "utf8.h"

namespace grpo::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// An item's attribute by a path such as "function.name" or "0.1"; the item itself without one.
Value follow(Runtime& runtime, Value item, const Value& path) {
  if (path.is(Kind::none)) return item;
  if (!path.is(Kind::text)) return item_of(runtime, item, path);
  for (const std::string_view part : split(path.text(), ".")) {
    std::int64_t index = 0;
    const bool number = !part.empty() && std::all_of(part.begin(), part.end(), is_digit) &&
                        std::from_chars(part.data(), part.data() + part.size(), index).ec == std::errc();
    item = item_of(runtime, item, number ? Value::integer(index) : runtime.text(part));
  }
  return item;
}

Value without_case(Runtime& runtime, const Value& value) {
  return value.is(Kind::text) ? runtime.text(to_lower(value.text())) : value;
}

// ---- Of texts ----

template <std::string (*change)(std::string_view)>
Value changed(Runtime& runtime, const Value& value, const Bound&) {
  return runtime.text(change(str(runtime, value)));
}

Value indent_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  const std::string text = text_argument(runtime, value, "the value of indent") + "\n";
  Builder margin(runtime), out(runtime);
  if (arguments.has(0) && arguments[0].is(Kind::text))
    margin += arguments[0].text();
  else
    margin.repeat(" ", arguments.has(0) ? integer_argument(runtime, arguments[0], "the width of indent") : 4);
  if (arguments.flag(1)) out += margin.str();
  runtime.check_room(text.size() * sizeof(std::string_view));
  bool first = true;
  for (const std::string_view line : split_lines(text)) {
    if (!std::exchange(first, false)) {
      out += '\n';
      if (arguments.flag(2) || !line.empty()) out += margin.str();
    }
    out += line;
  }
  return out.value();
}

Value trim_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  return stripped(runtime, str(runtime, value), arguments, true, true);
}

Value replace_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  return replaced(runtime, str(runtime, value), arguments);
}

Value string_filter(Runtime& runtime, const Value& value, const Bound&) {
  return value.is(Kind::text) ? value : runtime.text(str(runtime, value));
}

Value tojson_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  JsonStyle style;
  style.sorted = arguments.flag(3);
  if (arguments.flag(0)) runtime.fail("tojson: expected ensure_ascii to be false, got true");
  if (arguments.says(1)) {
    Builder margin(runtime);
    if (arguments[1].is(Kind::text))
      margin += arguments[1].text();
    else
      margin.repeat(" ", integer_argument(runtime, arguments[1], "the indent of tojson"));
    style.indent = margin.str();
    style.item = ",";
  }
  if (arguments.says(2)) {
    const std::vector<Value> separators = items_of(runtime, arguments[2]);
    if (separators.size() != 2) runtime.fail("tojson: expected two separators, got ", separators.size());
    style.item = text_argument(runtime, separators[0], "a separator");
    style.key = text_argument(runtime, separators[1], "a separator");
  }
  return json_text(runtime, value, style);
}

// ---- Of numbers ----

Value abs_filter(Runtime& runtime, const Value& value, const Bound&) {
  if (value.is(Kind::real)) return Value::real(std::fabs(value.as_real()));
  const std::int64_t number = integer_argument(runtime, value, "the number of abs");
  if (number == std::numeric_limits<std::int64_t>::min()) runtime.fail("abs: expected a result within 64 bits");
  return Value::integer(std::abs(number));
}

Value int_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  runtime.need(value);
  if (value.is_integral()) return Value::integer(value.as_integer());
  if (value.is(Kind::real) && std::fabs(value.as_real()) < 0x1p63)
    return Value::integer(static_cast<std::int64_t>(value.as_real()));
  if (value.is(Kind::text)) {
    const std::string_view text = strip(value.text());
    std::int64_t number = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc() && stop == text.data() + text.size()) return Value::integer(number);
    if (std::any_of(text.begin(), text.end(), is_digit))
      runtime.fail("int: expected a whole number within 64 bits or no number at all, got ", text.substr(0, 40));
  }
  return arguments.has(0) ? arguments[0] : Value::integer(0);
}

Value round_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  const std::int64_t digits = arguments.has(0) ? integer_argument(runtime, arguments[0], "the precision of round") : 0;
  runtime.need(value);
  if (!value.is_number()) runtime.fail("round: expected a number, got ", type_name(value));
  if (digits < 0 || digits > 300) runtime.fail("round: expected a precision from 0 to 300, got ", digits);
  if (value.is_integral() || !std::isfinite(value.as_real())) return value;
  // The C library rounds the number's exact value, ties to even, as Python does.
  std::array<char, 700> buffer;
  std::snprintf(buffer.data(), buffer.size(), "%.*f", static_cast<int>(digits), value.as_real());
  return Value::real(std::strtod(buffer.data(), nullptr));
}

// ---- Of anything ----

Value default_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  if (!value.is_undefined() && (!arguments.flag(1) || truthy(value))) return value;
  return arguments.has(0) ? arguments[0] : runtime.text("");
}

Value length_filter(Runtime& runtime, const Value& value, const Bound&) {
  std::size_t length = 0;
  if (value.is(Kind::text))
    length = character_count(value.text());
  else if (value.is(Kind::dict))
    length = value.as<Dict>().entries.size();
  else if (value.is_sequence() && !value.is(Kind::iterator))
    length = value.items().size();
  else if (!value.is_undefined())
    runtime.fail("length: expected something with a length, got ", type_name(value));
  return Value::integer(static_cast<std::int64_t>(length));
}

// ---- Of lists ----

Value items_filter(Runtime& runtime, const Value& value, const Bound&) {
  std::vector<Value> items;
  if (value.is(Kind::dict))
    for (const auto& [key, item] : value.as<Dict>().entries)
      items.push_back(runtime.sequence(Kind::tuple, {key, item}));
  else if (!value.is_undefined())
    runtime.fail("items: expected a dict, got ", type_name(value));
  return runtime.sequence(Kind::iterator, std::move(items));
}

Value first_filter(Runtime& runtime, const Value& value, const Bound&) {
  if (value.is(Kind::text)) return item_of(runtime, value, Value::integer(0));
  const std::vector<Value> items = items_of(runtime, value);
  return items.empty() ? runtime.undefined("the first item of nothing") : items.front();
}

Value last_filter(Runtime& runtime, const Value& value, const Bound&) {
  if (value.is(Kind::iterator)) runtime.fail("last: expected a list, got an iterator; pass it through list");
  if (value.is(Kind::text)) return item_of(runtime, value, Value::integer(-1));
  const std::vector<Value> items = items_of(runtime, value);
  return items.empty() ? runtime.undefined("the last item of nothing") : items.back();
}

Value list_filter(Runtime& runtime, const Value& value, const Bound&) {
  return runtime.sequence(Kind::list, items_of(runtime, value));
}

Value join_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  std::vector<Value> items = items_of(runtime, value);
  if (arguments.has(1))
    for (Value& item : items) item = follow(runtime, item, arguments[1]);
  return joined(runtime, arguments.has(0) ? str(runtime, arguments[0]) : "", items);
}

Value reverse_filter(Runtime& runtime, const Value& value, const Bound&) {
  std::vector<Value> items = items_of(runtime, value);
  std::reverse(items.begin(), items.end());
  if (value.is(Kind::text)) return joined(runtime, "", items);
  return runtime.sequence(Kind::iterator, std::move(items));
}

// By keys without their case; each of the pairs is a key and its item.
Value sorted(Runtime& runtime, std::vector<std::pair<Value, Value>> keyed, bool reverse) {
  for (auto& [key, _] : keyed) key = without_case(runtime, key);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return holds(runtime, Comparison::less, reverse ? b.first : a.first, reverse ? a.first : b.first);
  });
  std::vector<Value> items;
  for (auto& [key, item] : keyed) items.push_back(std::move(item));
  return runtime.sequence(Kind::list, std::move(items));
}

Value sort_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  if (arguments.flag(1)) runtime.fail("sort: expected case_sensitive to be false, got true");
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : items_of(runtime, value))
    keyed.emplace_back(arguments.has(2) ? follow(runtime, item, arguments[2]) : item, item);
  return sorted(runtime, std::move(keyed), arguments.flag(0));
}

Value dictsort_filter(Runtime& runtime, const Value& value, const Bound&) {
  if (!value.is(Kind::dict)) runtime.fail("dictsort: expected a dict, got ", type_name(value));
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, item] : value.as<Dict>().entries)
    keyed.emplace_back(key, runtime.sequence(Kind::tuple, {key, item}));
  return sorted(runtime, std::move(keyed), false);
}

Value unique_filter(Runtime& runtime, const Value& value, const Bound&) {
  std::vector<Value> keys, kept;
  for (const Value& item : items_of(runtime, value)) {
    Value key = without_case(runtime, item);
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& each) { return equal(runtime, each, key); })) continue;
    keys.push_back(std::move(key));
    kept.push_back(item);
  }
  return runtime.sequence(Kind::iterator, std::move(kept));
}

// Of map and select, for which none and every other false value is an empty list.
std::vector<Value> some_items_of(Runtime& runtime, const Value& value) {
  return truthy(value) ? items_of(runtime, value) : std::vector<Value>();
}

// The filter or test that the first of `arguments` names, which it takes away.
const Builtin& take_named(Runtime& runtime, Role role, Arguments& arguments) {
  const std::string name = text_argument(runtime, arguments.positional.front(), "the name of a filter or test");
  const Builtin* found = find_builtin(role, name);
  if (!found) runtime.fail(unknown_builtin(role, name));
  arguments.positional.erase(arguments.positional.begin());
  return *found;
}

Value map_filter(Runtime& runtime, const Value& value, const Bound& bound) {
  Arguments given = bound.raw();
  std::vector<Value> items = some_items_of(runtime, value);
  if (given.positional.empty()) {
    const Bound named(runtime, "map", "attribute | default", given);
    for (Value& item : items) {
      item = follow(runtime, item, named[0]);
      if (item.is_undefined() && named.says(1)) item = named[1];
    }
  } else {
    const Builtin& filter = take_named(runtime, Role::filter, given);
    for (Value& item : items) item = filter(runtime, item, given);
  }
  return runtime.sequence(Kind::iterator, std::move(items));
}

template <bool of_attribute, bool wanted>
Value selection(Runtime& runtime, const Value& value, const Bound& bound) {
  Arguments given = bound.raw();
  Value path = Value::none();
  if (of_attribute) {
    if (given.positional.empty()) runtime.fail("expected the name of an attribute to select by, got none");
    path = given.positional.front();
    given.positional.erase(given.positional.begin());
  }
  const Builtin* test = given.positional.empty() ? nullptr : &take_named(runtime, Role::test, given);
  std::vector<Value> chosen;
  for (Value& item : some_items_of(runtime, value)) {
    const Value subject = follow(runtime, item, path);
    if (truthy(test ? (*test)(runtime, subject, given) : subject) == wanted) chosen.push_back(std::move(item));
  }
  return runtime.sequence(Kind::iterator, std::move(chosen));
}

constexpr Builtin kFilters[] = {
    {"abs", "", abs_filter},
    {"capitalize", "", changed<to_capitalized>},
    {"count", "", length_filter},
    {"d", "| default_value boolean", default_filter},
    {"default", "| default_value boolean", default_filter},
    {"dictsort", "", dictsort_filter},
    {"first", "", first_filter},
    {"indent", "| width first blank", indent_filter},
    {"int", "| default", int_filter},
    {"items", "", items_filter},
    {"join", "| d attribute", join_filter},
    {"last", "", last_filter},
    {"length", "", length_filter},
    {"list", "", list_filter},
    {"lower", "", changed<to_lower>},
    {"map", "*", map_filter},
    {"reject", "*", selection<false, false>},
    {"rejectattr", "*", selection<true, false>},
    {"replace", "old new | count", replace_filter},
    {"reverse", "", reverse_filter},
    {"round", "| precision", round_filter},
    {"safe", "", string_filter},  // nothing here is escaped, so that nothing needs to be exempt
    {"select", "*", selection<false, true>},
    {"selectattr", "*", selection<true, true>},
    {"sort", "| reverse case_sensitive attribute", sort_filter},
    {"string", "", string_filter},
    {"title", "", changed<title_words>},
    {"tojson", "| ensure_ascii indent separators sort_keys", tojson_filter},
    {"trim", "| chars", trim_filter},
    {"unique", "", unique_filter},
    {"upper", "", changed<to_upper>},
};

}  // namespace

std::span<const Builtin> filters() { return kFilters; }

}  // namespace grpo::jinja
