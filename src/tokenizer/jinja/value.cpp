#include "tokenizer/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "text/python_text.h"

namespace grpo::jinja {
using namespace python;

// ---- Objects ----

Object::~Object() {
  if (owner) owner->give_back(bytes);
}

Value* Dict::find(Runtime& runtime, const Value& key) {
  runtime.step(1 + entries.size() / 16);
  if (key.is(Kind::list) || key.is(Kind::dict))
    runtime.fail("expected a key of a dict, got a ", type_name(key), ", which cannot be one");
  for (auto& [each, value] : entries)
    if (key.is(Kind::text) ? each.is(Kind::text) && each.text() == key.text() : equal(runtime, each, key))
      return &value;
  return nullptr;
}

void Dict::set(Runtime& runtime, Value key, Value value) {
  if (Value* found = find(runtime, key))
    *found = std::move(value);
  else
    entries.emplace_back(std::move(key), std::move(value));
}

bool Loop::has(std::size_t place) {
  while (kept <= place && unasked < items.size()) {
    Value item = std::move(items[unasked++]);
    if (!wanted || wanted(item)) items[kept++] = std::move(item);
  }
  return place < kept;
}

// ---- The books ----

Runtime::~Runtime() {
  for (const auto& space : spaces_) space->attributes.clear();
}

void Runtime::need(const Value& value) const {
  if (!value.is_undefined()) return;
  if (value.object()) fail("expected a value, got an undefined one: ", value.text());
  fail("expected a value, got an undefined one");
}

void Runtime::too_long() const {
  fail("expected a template that ends within ", kMaxSteps, " steps, got one that goes on; it may loop without need");
}

void Runtime::too_large() const {
  fail("expected a template that needs at most ", kMaxMemory >> 20, " MiB, got one that asks for more");
}

void Runtime::adopt(Object& object, std::size_t bytes, std::size_t depth_inside) {
  if (depth_inside >= kMaxDepth)
    fail("expected values nested at most ", kMaxDepth, " deep, got a deeper one; nest less in messages and tools");
  bytes += 64;  // about what the object itself takes
  step(1 + bytes / 64);
  take(bytes);
  object.owner = this;
  object.bytes = bytes;
  object.depth = depth_inside + 1;
}

Value Runtime::text(std::string_view content) {
  if (content.size() > kMaxText)
    fail("expected texts of at most ", kMaxText >> 20, " MiB, got one of ", content.size(), " bytes");
  return {Kind::text, own(std::make_shared<Text>(std::string(content)), content.size())};
}

Value Runtime::undefined(std::string message) {
  const std::size_t bytes = message.size();
  return {Kind::undefined, own(std::make_shared<Text>(std::move(message)), bytes)};
}

Value Runtime::sequence(Kind kind, std::vector<Value> items) {
  std::size_t depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  const std::size_t bytes = items.size() * sizeof(Value);
  return {kind, own(std::make_shared<Sequence>(std::move(items)), bytes, depth)};
}

Value Runtime::range(std::int64_t start, std::int64_t stop, std::int64_t step) {
  if (step == 0) fail("range: expected a step that is not 0, got 0");
  std::vector<Value> items;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (items.size() == kMaxRange) fail("range: expected at most ", kMaxRange, " items, got more");
    items.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return sequence(Kind::view, std::move(items));
}

Value Runtime::dict(std::shared_ptr<Dict> made) {
  std::size_t depth = 0;
  for (const auto& [key, value] : made->entries) depth = std::max({depth, key.depth(), value.depth()});
  const std::size_t bytes = made->entries.size() * 2 * sizeof(Value);
  return {Kind::dict, own(std::move(made), bytes, depth)};
}

Value Runtime::space() {
  spaces_.push_back(std::make_unique<Space>());
  adopt(*spaces_.back(), 256, 0);
  return {Kind::space, std::shared_ptr<Object>(std::shared_ptr<void>(), spaces_.back().get())};
}

Value Runtime::from_json(const nlohmann::ordered_json& json, std::size_t depth) {
  if (depth > kMaxDepth)
    fail("expected values nested at most ", kMaxDepth, " deep, got a deeper one; nest less in messages and tools");
  if (json.is_null()) return Value::none();
  if (json.is_boolean()) return Value::boolean(json.get<bool>());
  if (json.is_number_unsigned() && json.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max())
    fail("expected whole numbers below 2^63, got ", json.get<std::uint64_t>());
  if (json.is_number_integer()) return Value::integer(json.get<std::int64_t>());
  if (json.is_number()) return Value::real(json.get<double>());
  if (json.is_string()) return text(json.get_ref<const std::string&>());
  if (json.is_array()) {
    std::vector<Value> items;
    for (const auto& item : json) items.push_back(from_json(item, depth + 1));
    return sequence(Kind::list, std::move(items));
  }
  if (!json.is_object()) fail("expected JSON, got a value of type ", json.type_name());
  auto made = std::make_shared<Dict>();
  for (const auto& [key, value] : json.items()) made->entries.emplace_back(text(key), from_json(value, depth + 1));
  return dict(std::move(made));
}

Builder& Builder::operator+=(std::string_view piece) {
  if (piece.size() > kMaxText - text_.size())
    runtime_.fail("expected texts of at most ", kMaxText >> 20, " MiB, got a longer one");
  runtime_.step(piece.size() / 64);
  runtime_.take(piece.size());
  text_ += piece;
  return *this;
}

void Builder::repeat(std::string_view piece, std::int64_t times) {
  if (times <= 0 || piece.empty()) return;
  if (static_cast<std::uint64_t>(times) > kMaxText / piece.size())
    runtime_.fail("expected texts of at most ", kMaxText >> 20, " MiB, got ", piece.size(), " bytes ", times, " times");
  for (std::int64_t i = 0; i < times; ++i) *this += piece;
}

// ---- Python's behaviour ----

std::string_view type_name(const Value& value) {
  static constexpr std::string_view kNames[] = {"Undefined", "None",      "bool",  "int",     "float",
                                                "str",       "list",      "tuple", "view",    "iterator",
                                                "dict",      "namespace", "loop",  "function"};
  return kNames[static_cast<int>(value.kind())];
}

bool truthy(const Value& value) {
  if (value.is_undefined() || value.is(Kind::none)) return false;
  if (value.is_number()) return value.as_real() != 0;
  if (value.is(Kind::text)) return !value.text().empty();
  if (value.is(Kind::dict)) return !value.as<Dict>().entries.empty();
  return !value.is_sequence() || value.is(Kind::iterator) || !value.items().empty();
}

namespace {

// -1, 0 or 1; nothing for a NaN. A long double holds every double and every 64-bit integer, so that neither is rounded.
std::optional<int> order_of_numbers(const Value& a, const Value& b) {
  static_assert(std::numeric_limits<long double>::digits >= 64);
  const auto exact = [](const Value& value) {
    return value.is_integral() ? static_cast<long double>(value.as_integer()) : value.as_real();
  };
  const long double x = exact(a), y = exact(b);
  if (std::isnan(x) || std::isnan(y)) return std::nullopt;
  return x < y ? -1 : x > y ? 1 : 0;
}

std::optional<int> order_of(Runtime& runtime, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return order_of_numbers(a, b);
  if (a.is(Kind::text) && b.is(Kind::text)) {
    runtime.step(1 + std::min(a.text().size(), b.text().size()) / 64);
    const int order = a.text().compare(b.text());
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  if (a.kind() == b.kind() && (a.is(Kind::list) || a.is(Kind::tuple))) {  // by the first items that differ
    for (std::size_t i = 0; i < a.items().size() && i < b.items().size(); ++i)
      if (!equal(runtime, a.items()[i], b.items()[i])) return order_of(runtime, a.items()[i], b.items()[i]);
    return a.items().size() < b.items().size() ? -1 : a.items().size() > b.items().size() ? 1 : 0;
  }
  runtime.need(a);
  runtime.need(b);
  runtime.fail("expected two numbers, strs, lists or tuples to compare, got ", type_name(a), " and ", type_name(b));
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
  if (container.is(Kind::dict)) return container.as<Dict>().find(runtime, item) != nullptr;
  if (container.is(Kind::text)) {
    if (!item.is(Kind::text)) runtime.fail("expected a str to look for in a str, got ", type_name(item));
    runtime.read(container);
    return find_text(container.text(), item.text()) != std::string::npos;
  }
  for (const Value& each : items_of(runtime, container))
    if (equal(runtime, each, item)) return true;
  return false;
}

}  // namespace

bool equal(Runtime& runtime, const Value& a, const Value& b) {
  runtime.step();
  if (a.is_number() && b.is_number()) return order_of_numbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::undefined:
    case Kind::none:
      return true;
    case Kind::text:
      if (a.text().size() != b.text().size()) return false;
      runtime.step(a.text().size() / 64);
      return a.text() == b.text();
    case Kind::list:
    case Kind::tuple:
      return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                        [&](const Value& left, const Value& right) { return equal(runtime, left, right); });
    case Kind::dict: {
      auto &left = a.as<Dict>(), &right = b.as<Dict>();
      return left.entries.size() == right.entries.size() &&
             std::all_of(left.entries.begin(), left.entries.end(), [&](const auto& entry) {
               const Value* other = right.find(runtime, entry.first);
               return other && equal(runtime, entry.second, *other);
             });
    }
    default:
      return a.object() == b.object();
  }
}

bool holds(Runtime& runtime, Comparison comparison, const Value& a, const Value& b) {
  runtime.step();
  if (comparison <= Comparison::not_equal) return equal(runtime, a, b) == (comparison == Comparison::equal);
  if (comparison >= Comparison::in) return contains(runtime, b, a) == (comparison == Comparison::in);
  const auto order = order_of(runtime, a, b);
  if (!order) return false;
  if (comparison == Comparison::less) return *order < 0;
  if (comparison == Comparison::less_equal) return *order <= 0;
  return comparison == Comparison::greater ? *order > 0 : *order >= 0;
}

std::vector<Value> items_of(Runtime& runtime, const Value& value) {
  std::vector<Value> items;
  if (value.is_sequence()) {
    auto& sequence = value.as<Sequence>();
    if (sequence.spent)
      runtime.fail(
          "expected an iterator that nobody has gone through yet, got one that is used up; pass it through "
          "list to go through it twice");
    sequence.spent = value.is(Kind::iterator);
    items = sequence.items;
  } else if (value.is(Kind::text)) {
    runtime.check_room(value.text().size() * sizeof(std::string_view));
    for (const std::string_view each : characters(value.text())) items.push_back(runtime.text(each));
  } else if (value.is(Kind::dict)) {
    for (const auto& [key, _] : value.as<Dict>().entries) items.push_back(key);
  } else if (!value.is_undefined()) {
    runtime.fail("expected something to go through item by item, got ", type_name(value));
  }
  runtime.step(items.size());
  return items;
}

}  // namespace grpo::jinja
