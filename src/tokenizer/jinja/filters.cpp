// The filters of Jinja, and tojson as transformers has it.
#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>

#include "text/ascii.h"
#include "text/letter_case.h"
#include "text/python_text.h"
#include "text/utf8.h"
#include "tokenizer/jinja/builtins.h"

namespace grpo::jinja {
using namespace python;
namespace {

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

// Of a text as Python's int and float read one: white space around it, underscores between digits.
std::string digits_of(std::string_view text) {
  const std::string_view inner = strip(text);
  std::string result;
  for (std::size_t i = 0; i < inner.size(); ++i) {
    const bool between = i > 0 && i + 1 < inner.size() && std::isalnum(static_cast<unsigned char>(inner[i - 1])) &&
                         std::isalnum(static_cast<unsigned char>(inner[i + 1]));
    if (inner[i] != '_' || !between) result += inner[i];
  }
  return result;
}

std::optional<double> real_of(std::string_view text) {
  std::string digits = digits_of(text);
  std::string_view rest = digits;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  double number = 0;
  if (rest.empty() || rest.front() == '-' || rest.find_first_of("(xX") != std::string_view::npos) return std::nullopt;
  const auto [stop, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  if (stop != rest.data() + rest.size() || error == std::errc::invalid_argument) return std::nullopt;
  if (error == std::errc::result_out_of_range) number = std::strtod(std::string(rest).c_str(), nullptr);
  return negative ? -number : number;
}

// ---- Of texts ----

template <std::string (*change)(std::string_view)>
Value changed_filter(Runtime& runtime, const Value& value, const Bound&) {
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

Value safe_filter(Runtime& runtime, const Value& value, const Bound&) {
  Value made = runtime.text(str(runtime, value));
  made.as<Text>().safe = true;
  return made;
}

Value tojson_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  JsonStyle style;
  style.sorted = arguments.flag(3);
  style.ascii = arguments.flag(0);
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
  const std::int64_t base = arguments.has(1) ? integer_argument(runtime, arguments[1], "the base of int") : 10;
  if (base < 2 || base > 36) runtime.fail("int: expected a base from 2 to 36, got ", base);
  std::optional<double> real;
  if (value.is(Kind::real)) real = value.as_real();
  if (value.is(Kind::text)) {
    const std::string text = digits_of(value.text());
    std::string_view digits = text;
    const bool negative = digits.starts_with('-');
    if (negative || digits.starts_with('+')) digits.remove_prefix(1);
    const char prefix = base == 2 ? 'b' : base == 8 ? 'o' : base == 16 ? 'x' : '\0';
    if (prefix && digits.size() > 2 && digits[0] == '0' && (digits[1] | 0x20) == prefix) digits.remove_prefix(2);
    std::int64_t number = 0;
    const bool signed_twice = digits.starts_with('-');
    const auto [stop, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), number, static_cast<int>(base));
    if (!signed_twice && stop == digits.data() + digits.size() && error == std::errc())
      return Value::integer(negative ? -number : number);
    if (error == std::errc::result_out_of_range)
      runtime.fail("int: expected a whole number within 64 bits, got ", text.substr(0, 40));
    real = real_of(value.text());  // "42.23" is 42
    if (real && !std::isfinite(*real)) real.reset();
  }
  if (!real || std::isnan(*real)) return arguments.has(0) ? arguments[0] : Value::integer(0);
  if (std::fabs(*real) >= 0x1p63) runtime.fail("int: expected a whole number within 64 bits, got a larger one");
  return Value::integer(static_cast<std::int64_t>(*real));
}

Value float_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  runtime.need(value);
  if (value.is_number()) return Value::real(value.as_real());
  if (value.is(Kind::text))
    if (const auto number = real_of(value.text())) return Value::real(*number);
  return arguments.has(0) ? arguments[0] : Value::real(0.0);
}

Value round_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  const std::int64_t digits = arguments.has(0) ? integer_argument(runtime, arguments[0], "the precision of round") : 0;
  runtime.need(value);
  if (!value.is_number()) runtime.fail("round: expected a number, got ", type_name(value));
  if (digits < 0 || digits > 300) runtime.fail("round: expected a precision from 0 to 300, got ", digits);
  const std::string method = arguments.has(1) ? text_argument(runtime, arguments[1], "the method of round") : "common";
  if (method == "ceil" || method == "floor") {
    if (!std::isfinite(value.as_real())) runtime.fail("round: expected a finite number, got another");
    const double power = std::pow(10.0, static_cast<double>(digits)), scaled = value.as_real() * power;
    return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / power);
  }
  if (method != "common") runtime.fail("round: expected the method common, ceil or floor, got ", method.substr(0, 40));
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

// Items beside the keys that they are sorted or compared by.
using Keyed = std::vector<std::pair<Value, Value>>;

// By an attribute, or by several with commas between them; `cased` tells A from a.
Keyed keyed(Runtime& runtime, const Value& value, const Value& attribute, bool cased, bool several = false) {
  std::vector<Value> paths = {attribute};
  if (several && attribute.is(Kind::text) && attribute.text().find(',') != std::string::npos) {
    paths.clear();
    for (const std::string_view path : split(attribute.text(), ",")) paths.push_back(runtime.text(path));
  }
  Keyed result;
  for (Value& item : items_of(runtime, value)) {
    std::vector<Value> keys;
    for (const Value& path : paths) {
      const Value key = follow(runtime, item, path);
      keys.push_back(cased ? key : without_case(runtime, key));
    }
    Value key = keys.size() == 1 ? keys[0] : runtime.sequence(Kind::list, std::move(keys));
    result.emplace_back(std::move(key), std::move(item));
  }
  return result;
}

Value or_none(const Bound& arguments, std::size_t parameter) {
  return arguments.has(parameter) ? arguments[parameter] : Value::none();
}

void sort_by_keys(Runtime& runtime, Keyed& keyed, bool reverse) {
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return holds(runtime, Comparison::less, reverse ? b.first : a.first, reverse ? a.first : b.first);
  });
}

Value items_in_order(Runtime& runtime, Keyed keyed, bool reverse) {
  sort_by_keys(runtime, keyed, reverse);
  std::vector<Value> items;
  for (auto& [key, item] : keyed) items.push_back(std::move(item));
  return runtime.sequence(Kind::list, std::move(items));
}

Value sort_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  return items_in_order(runtime, keyed(runtime, value, or_none(arguments, 2), arguments.flag(1), true),
                        arguments.flag(0));
}

Value dictsort_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  if (!value.is(Kind::dict)) runtime.fail("dictsort: expected a dict, got ", type_name(value));
  const std::string by = arguments.has(1) ? text_argument(runtime, arguments[1], "what dictsort sorts by") : "key";
  if (by != "key" && by != "value") runtime.fail("dictsort: expected to sort by key or value, got ", by.substr(0, 40));
  Keyed keyed;
  for (const auto& [key, item] : value.as<Dict>().entries) {
    const Value& each = by == "key" ? key : item;
    keyed.emplace_back(arguments.flag(0) ? each : without_case(runtime, each),
                       runtime.sequence(Kind::tuple, {key, item}));
  }
  return items_in_order(runtime, std::move(keyed), arguments.flag(2));
}

Value unique_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  std::vector<Value> keys, kept;
  for (auto& [key, item] : keyed(runtime, value, or_none(arguments, 1), arguments.flag(0))) {
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& each) { return equal(runtime, each, key); })) continue;
    keys.push_back(std::move(key));
    kept.push_back(std::move(item));
  }
  return runtime.sequence(Kind::iterator, std::move(kept));
}

// The first of the least, or of the greatest.
template <Comparison better>
Value extreme_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  const Keyed all = keyed(runtime, value, or_none(arguments, 1), arguments.flag(0));
  if (all.empty()) return runtime.undefined("the least or greatest item of nothing");
  std::size_t best = 0;
  for (std::size_t i = 1; i < all.size(); ++i)
    if (holds(runtime, better, all[i].first, all[best].first)) best = i;
  return all[best].second;
}

Value groupby_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  Keyed all;
  for (Value& item : items_of(runtime, value)) {
    Value key = follow(runtime, item, arguments[0]);
    if (key.is_undefined() && arguments.says(1)) key = arguments[1];
    all.emplace_back(arguments.flag(2) ? key : without_case(runtime, key), std::move(item));
  }
  sort_by_keys(runtime, all, false);
  std::vector<Value> groups;
  for (std::size_t begin = 0, end = 0; begin < all.size(); begin = end) {
    std::vector<Value> members;
    for (; end < all.size() && equal(runtime, all[end].first, all[begin].first); ++end)
      members.push_back(all[end].second);
    if (end == begin) runtime.fail("groupby: expected keys that equal themselves, got another");
    Value name = follow(runtime, members.front(), arguments[0]);  // with its case
    if (name.is_undefined() && arguments.says(1)) name = arguments[1];
    Value group = runtime.sequence(Kind::tuple, {std::move(name), runtime.sequence(Kind::list, std::move(members))});
    group.as<Sequence>().group = true;
    groups.push_back(std::move(group));
  }
  return runtime.sequence(Kind::list, std::move(groups));
}

std::size_t count_argument(Runtime& runtime, const Value& value, std::string_view what) {
  constexpr std::int64_t kMost = 100'000;
  const std::int64_t count = integer_argument(runtime, value, what);
  if (count < 1 || count > kMost) runtime.fail("expected ", what, " from 1 to ", kMost, ", got ", count);
  return static_cast<std::size_t>(count);
}

Value batch_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  const std::size_t count = count_argument(runtime, arguments[0], "the items of a batch");
  const std::vector<Value> items = items_of(runtime, value);
  std::vector<Value> batches;
  for (std::size_t begin = 0; begin < items.size(); begin += count) {
    const auto end = static_cast<std::ptrdiff_t>(std::min(begin + count, items.size()));
    std::vector<Value> batch(items.begin() + static_cast<std::ptrdiff_t>(begin), items.begin() + end);
    if (arguments.says(1)) batch.resize(count, arguments[1]);
    batches.push_back(runtime.sequence(Kind::list, std::move(batch)));
  }
  return runtime.sequence(Kind::iterator, std::move(batches));
}

Value slice_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  const std::size_t count = count_argument(runtime, arguments[0], "the number of slices");
  const std::vector<Value> items = items_of(runtime, value);
  std::vector<Value> slices;
  auto at = items.begin();
  for (std::size_t i = 0; i < count; ++i) {
    const bool longer = i < items.size() % count;
    const auto end = at + static_cast<std::ptrdiff_t>(items.size() / count + longer);
    std::vector<Value> slice(at, end);
    if (arguments.says(1) && !longer) slice.push_back(arguments[1]);
    slices.push_back(runtime.sequence(Kind::list, std::move(slice)));
    at = end;
  }
  return runtime.sequence(Kind::iterator, std::move(slices));
}

Value sum_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  Value sum = arguments.has(1) ? arguments[1] : Value::integer(0);
  for (const Value& item : items_of(runtime, value)) {
    const Value each = follow(runtime, item, or_none(arguments, 0));
    runtime.need(each);
    if (!each.is_number() || !sum.is_number()) runtime.fail("sum: expected numbers, got ", type_name(each));
    std::int64_t whole = 0;
    if (!each.is_integral() || !sum.is_integral())
      sum = Value::real(sum.as_real() + each.as_real());
    else if (__builtin_add_overflow(sum.as_integer(), each.as_integer(), &whole))
      runtime.fail("sum: expected a result within 64 bits, got a larger one");
    else
      sum = Value::integer(whole);
  }
  return sum;
}

Value format_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  if (!arguments.raw().named.empty()) runtime.fail("format: expected values without names, got one with a name");
  const Value values = runtime.sequence(Kind::tuple, arguments.raw().positional);
  return runtime.text(percent_format(runtime, str(runtime, value), values).text());
}

Value truncate_filter(Runtime& runtime, const Value& value, const Bound& arguments) {
  const std::string text = text_argument(runtime, value, "the value of truncate");
  const std::int64_t length =
      arguments.has(0) ? integer_argument(runtime, arguments[0], "the length of truncate") : 255;
  const std::string end = arguments.has(2) ? text_argument(runtime, arguments[2], "the end of truncate") : "...";
  const std::int64_t leeway = arguments.says(3) ? integer_argument(runtime, arguments[3], "the leeway of truncate") : 5;
  const std::int64_t kept = length - static_cast<std::int64_t>(character_count(end));
  if (kept < 0 || leeway < 0) runtime.fail("truncate: expected a length with room for its end, got ", length);
  const auto size = static_cast<std::int64_t>(character_count(text));
  if (size <= length || size - length <= leeway) return value;
  const Value cut = slice_of(runtime, value, Value::none(), Value::integer(kept), Value::none());
  std::string_view head = cut.text();
  if (!arguments.flag(1)) head = head.substr(0, std::min(head.rfind(' '), head.size()));
  return runtime.text(std::string(head) + end);
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
    {"batch", "linecount | fill_with", batch_filter},
    {"capitalize", "", changed_filter<to_capitalized>},
    {"count", "", length_filter},
    {"d", "| default_value boolean", default_filter},
    {"default", "| default_value boolean", default_filter},
    {"dictsort", "| case_sensitive by reverse", dictsort_filter},
    {"first", "", first_filter},
    {"float", "| default", float_filter},
    {"format", "*", format_filter},
    {"groupby", "attribute | default case_sensitive", groupby_filter},
    {"indent", "| width first blank", indent_filter},
    {"int", "| default base", int_filter},
    {"items", "", items_filter},
    {"join", "| d attribute", join_filter},
    {"last", "", last_filter},
    {"length", "", length_filter},
    {"list", "", list_filter},
    {"lower", "", changed_filter<to_lower>},
    {"map", "*", map_filter},
    {"max", "| case_sensitive attribute", extreme_filter<Comparison::greater>},
    {"min", "| case_sensitive attribute", extreme_filter<Comparison::less>},
    {"reject", "*", selection<false, false>},
    {"rejectattr", "*", selection<true, false>},
    {"replace", "old new | count", replace_filter},
    {"reverse", "", reverse_filter},
    {"round", "| precision method", round_filter},
    {"safe", "", safe_filter},
    {"select", "*", selection<false, true>},
    {"selectattr", "*", selection<true, true>},
    {"slice", "slices | fill_with", slice_filter},
    {"sort", "| reverse case_sensitive attribute", sort_filter},
    {"string", "", string_filter},
    {"sum", "| attribute start", sum_filter},
    {"title", "", changed_filter<title_words>},
    {"tojson", "| ensure_ascii indent separators sort_keys", tojson_filter},
    {"trim", "| chars", trim_filter},
    {"truncate", "| length killwords end leeway", truncate_filter},
    {"unique", "| case_sensitive attribute", unique_filter},
    {"upper", "", changed_filter<to_upper>},
};

}  // namespace

std::span<const Builtin> filters() { return kFilters; }

}  // namespace grpo::jinja
