// What a chat template can call: those filters, tests, methods and functions of Jinja, Python and transformers that
// chat templates use.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/jinja/value.h"

namespace grpo::jinja {

/// The arguments of a call as they stand in the template.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// Arguments after they have found their parameters.
class Bound {
 public:
  /// `parameters` are names with blanks between them, those behind a '|' are optional; "*" takes anything as it comes.
  /// Throws Error when an argument is missing, unknown or given twice.
  Bound(Runtime& runtime, std::string_view callee, std::string_view parameters, const Arguments& arguments);

  bool has(std::size_t parameter) const { return parameter < values_.size() && values_[parameter]; }
  /// Given and not none.
  bool says(std::size_t parameter) const { return has(parameter) && !values_[parameter]->is(Kind::none); }
  bool flag(std::size_t parameter) const { return has(parameter) && truthy(*values_[parameter]); }
  const Value& operator[](std::size_t parameter) const { return *values_[parameter]; }
  const Arguments& raw() const { return arguments_; }

 private:
  std::vector<const Value*> values_;
  const Arguments& arguments_;
};

/// A filter or test of a value, a method of one, or a function, which has none.
struct Builtin {
  std::string_view name, parameters;
  Value (*apply)(Runtime&, const Value&, const Bound&);

  Value operator()(Runtime& runtime, const Value& value, const Arguments& arguments) const {
    runtime.read(value);
    return apply(runtime, value, Bound(runtime, name, parameters, arguments));
  }
};

enum class Role { filter, test, method, function };

/// None when there is no such thing. Of methods the first of any type.
const Builtin* find_builtin(Role role, std::string_view name);
/// Whether lists or dicts have a method of this name that would change them, which the sandbox forbids: only calling it
/// is an error.
bool is_mutator(std::string_view name);
/// What an error says of a name that is none.
std::string unknown_builtin(Role role, std::string_view name);

/// `object.name`: a method first, then an item; undefined when there is neither.
Value attribute_of(Runtime& runtime, const Value& object, std::string_view name);
/// `object[key]`: an item first, then a method.
Value item_of(Runtime& runtime, const Value& object, const Value& key);
Value slice_of(Runtime& runtime, const Value& object, const Value& start, const Value& stop, const Value& step);

// ---- Of the files that hold the tables ----

std::span<const Builtin> filters();
std::span<const Builtin> tests();
std::span<const Builtin> functions();
std::span<const Builtin> methods(Kind kind);

const std::string& text_argument(Runtime& runtime, const Value& value, std::string_view what);
std::int64_t integer_argument(Runtime& runtime, const Value& value, std::string_view what);

// What str has both as a filter and as a method.
Value replaced(Runtime& runtime, std::string_view text, const Bound& arguments);
Value stripped(Runtime& runtime, std::string_view text, const Bound& arguments, bool left, bool right);
/// All of `items` as texts with `separator` between them.
Value joined(Runtime& runtime, std::string_view separator, const std::vector<Value>& items);

}  // namespace grpo::jinja
