#include "tokenizer/jinja/builtins.h"

#include <algorithm>
#include <optional>

#include "base/nearest.h"
#include "text/python_text.h"

namespace grpo::jinja {
using namespace python;

// ---- Arguments ----

Bound::Bound(Runtime& runtime, std::string_view callee, std::string_view parameters, const Arguments& arguments)
    : arguments_(arguments) {
  if (parameters == "*") return;
  std::vector<std::string_view> names = split_words(parameters);
  const auto bar = std::find(names.begin(), names.end(), "|");
  const auto required = static_cast<std::size_t>(bar - names.begin());
  if (bar != names.end()) names.erase(bar);
  if (arguments.positional.size() > names.size())
    runtime.fail(callee, ": expected at most ", names.size(), " arguments, got ", arguments.positional.size());
  values_.resize(names.size(), nullptr);
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto place = static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
    if (place == names.size())
      runtime.fail(callee, ": expected an argument that this library knows, got one named \"", name, "\"");
    if (values_[place]) runtime.fail(callee, ": expected the argument \"", name, "\" once, got it twice");
    values_[place] = &value;
  }
  for (std::size_t i = 0; i < required; ++i)
    if (!values_[i]) runtime.fail(callee, ": expected the argument \"", names[i], "\", got none");
}

const std::string& text_argument(Runtime& runtime, const Value& value, std::string_view what) {
  runtime.need(value);
  if (!value.is(Kind::text)) runtime.fail("expected a str as ", what, ", got ", type_name(value));
  return value.text();
}

std::int64_t integer_argument(Runtime& runtime, const Value& value, std::string_view what) {
  runtime.need(value);
  if (!value.is_integral()) runtime.fail("expected an int as ", what, ", got ", type_name(value));
  return value.as_integer();
}

// ---- Names ----

namespace {

std::vector<std::span<const Builtin>> tables(Role role) {
  switch (role) {
    case Role::filter:
      return {filters()};
    case Role::test:
      return {tests()};
    case Role::function:
      return {functions()};
    case Role::method:
      return {methods(Kind::text), methods(Kind::dict), methods(Kind::list), methods(Kind::loop)};
  }
  return {};
}

bool changes(Kind kind, std::string_view name) {
  static constexpr std::string_view kOfLists[] = {"append", "clear",  "extend",  "insert",
                                                  "pop",    "remove", "reverse", "sort"};
  static constexpr std::string_view kOfDicts[] = {"clear", "pop", "popitem", "setdefault", "update"};
  const auto has = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  return kind == Kind::list ? has(kOfLists) : kind == Kind::dict && has(kOfDicts);
}

const Builtin* find_in(std::span<const Builtin> table, std::string_view name) {
  for (const Builtin& each : table)
    if (each.name == name) return &each;
  return nullptr;
}

}  // namespace

const Builtin* find_builtin(Role role, std::string_view name) {
  for (const auto table : tables(role))
    if (const Builtin* found = find_in(table, name)) return found;
  return nullptr;
}

bool is_mutator(std::string_view name) { return changes(Kind::list, name) || changes(Kind::dict, name); }

std::string unknown_builtin(Role role, std::string_view name) {
  static constexpr std::string_view kRoles[] = {"filter", "test", "method", "function"};
  std::vector<std::string> names;
  for (const auto table : tables(role))
    for (const Builtin& each : table) names.emplace_back(each.name);
  const std::string shown(name.substr(0, 64));
  return "expected a " + std::string(kRoles[static_cast<int>(role)]) + " that this library knows, got \"" + shown +
         "\"; the nearest known is \"" + nearest(shown, names) + "\"";
}

// ---- What an object has ----

namespace {

std::optional<Value> loop_attribute(Runtime& runtime, Loop& loop, std::string_view name) {
  const auto number = [](std::size_t count) { return Value::integer(static_cast<std::int64_t>(count)); };
  const auto length = [&] {
    loop.has(loop.items.size());
    return loop.kept;
  };
  if (name == "index") return number(loop.index0 + 1);
  if (name == "index0") return number(loop.index0);
  if (name == "first") return Value::boolean(loop.index0 == 0);
  if (name == "last") return Value::boolean(!loop.has(loop.index0 + 1));
  if (name == "length") return number(length());
  if (name == "revindex") return number(length() - loop.index0);
  if (name == "revindex0") return number(length() - loop.index0 - 1);
  if (name == "previtem") return loop.index0 > 0 ? loop.items[loop.index0 - 1] : runtime.undefined("no previous item");
  if (name == "nextitem")
    return loop.has(loop.index0 + 1) ? loop.items[loop.index0 + 1] : runtime.undefined("no next item");
  if (name == "depth" || name == "depth0") return number(name == "depth");  // no loop here is recursive
  if (name == "changed") runtime.fail("expected an attribute of loop that this library knows, got \"", name, "\"");
  return std::nullopt;
}

// What is no item: methods, and the attributes of loops and namespaces.
std::optional<Value> own_attribute(Runtime& runtime, const Value& object, std::string_view name) {
  if (object.is(Kind::loop))
    if (auto found = loop_attribute(runtime, object.as<Loop>(), name)) return found;
  if (object.is(Kind::tuple) && object.as<Sequence>().group && (name == "grouper" || name == "list"))
    return object.items()[name == "list"];
  if (changes(object.kind(), name))
    return runtime.undefined("a template may not change a " + std::string(type_name(object)) + ", as " +
                             std::string(name) + " would");
  if (object.is(Kind::space))
    for (const auto& [key, value] : object.as<Space>().attributes)
      if (key == name) return value;
  const Builtin* method = find_in(methods(object.kind()), name);
  if (!method) return std::nullopt;
  auto bound = std::make_shared<Callable>();
  bound->builtin = method;
  bound->self = object;
  return Value(Kind::callable, runtime.own(std::move(bound), sizeof(Callable), object.depth()));
}

std::optional<Value> item_at(Runtime& runtime, const Value& object, const Value& key) {
  if (object.is(Kind::dict)) {
    if (key.is(Kind::list) || key.is(Kind::dict)) return std::nullopt;  // no key
    const Value* found = object.as<Dict>().find(runtime, key);
    return found ? std::optional<Value>(*found) : std::nullopt;
  }
  if (!key.is_integral()) return std::nullopt;
  if (object.is(Kind::view) || object.is(Kind::iterator))
    runtime.fail("expected a list to take an item of, got a ", type_name(object), "; pass it through list");
  const std::int64_t index = key.as_integer();
  const auto place = [&](std::size_t size) { return index < 0 ? index + static_cast<std::int64_t>(size) : index; };
  if (object.is(Kind::list) || object.is(Kind::tuple)) {
    const std::int64_t at = place(object.items().size());
    if (at < 0 || at >= static_cast<std::int64_t>(object.items().size())) return std::nullopt;
    return object.items()[static_cast<std::size_t>(at)];
  }
  if (!object.is(Kind::text)) return std::nullopt;
  const Value at = Value::integer(place(character_count(object.text())));
  if (at.as_integer() < 0) return std::nullopt;
  const Value found = slice_of(runtime, object, at, Value::integer(at.as_integer() + 1), Value::none());
  return found.text().empty() ? std::nullopt : std::optional<Value>(found);
}

Value absent(Runtime& runtime, const Value& object, std::string_view what, std::string_view name) {
  return runtime.undefined("a " + std::string(type_name(object)) + " has no " + std::string(what) + " " +
                           std::string(name.substr(0, 100)));
}

}  // namespace

Value attribute_of(Runtime& runtime, const Value& object, std::string_view name) {
  runtime.need(object);
  if (auto found = own_attribute(runtime, object, name)) return *found;
  if (object.is(Kind::dict))
    if (const Value* found = object.as<Dict>().find(runtime, runtime.text(name))) return *found;
  return absent(runtime, object, "attribute", name);
}

Value item_of(Runtime& runtime, const Value& object, const Value& key) {
  runtime.need(object);
  runtime.read(object);
  if (auto found = item_at(runtime, object, key)) return *found;
  if (!key.is(Kind::text))
    return absent(runtime, object, "item", key.is_number() ? repr(runtime, key) : "of that kind");
  const auto found = own_attribute(runtime, object, key.text());
  return found ? *found : absent(runtime, object, "attribute", key.text());
}

Value slice_of(Runtime& runtime, const Value& object, const Value& start, const Value& stop, const Value& step) {
  runtime.need(object);
  if (!object.is(Kind::text) && !object.is(Kind::list) && !object.is(Kind::tuple))
    runtime.fail("expected a str or a list to take a slice of, got ", type_name(object));
  std::vector<std::string_view> letters;
  if (object.is(Kind::text)) {
    runtime.read(object);
    runtime.check_room(object.text().size() * sizeof(std::string_view));
    letters = characters(object.text());
  }
  const auto length = static_cast<std::int64_t>(object.is(Kind::text) ? letters.size() : object.items().size());
  // No step is further than the end, so that the sums below stay small.
  const std::int64_t stride =
      step.is(Kind::none) ? 1
                          : std::clamp(integer_argument(runtime, step, "the step of a slice"), -length - 1, length + 1);
  if (stride == 0) runtime.fail("expected a slice whose step is not 0, got 0");
  const auto place = [&](const Value& given, std::int64_t otherwise) {
    if (given.is(Kind::none)) return otherwise;
    std::int64_t index = integer_argument(runtime, given, "a bound of a slice");
    if (index < 0) index += length;
    return stride > 0 ? std::clamp<std::int64_t>(index, 0, length) : std::clamp<std::int64_t>(index, -1, length - 1);
  };
  const std::int64_t end = place(stop, stride > 0 ? length : -1);
  std::string text;
  std::vector<Value> items;
  for (std::int64_t i = place(start, stride > 0 ? 0 : length - 1); stride > 0 ? i < end : i > end; i += stride) {
    if (object.is(Kind::text))
      text += letters[static_cast<std::size_t>(i)];
    else
      items.push_back(object.items()[static_cast<std::size_t>(i)]);
  }
  return object.is(Kind::text) ? runtime.text(text) : runtime.sequence(object.kind(), std::move(items));
}

}  // namespace grpo::jinja
