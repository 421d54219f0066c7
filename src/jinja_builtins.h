// What a chat template can call: the filters, tests, methods and functions of Jinja, Python and transformers.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja_value.h"

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
  const Value& operator[](std::size_t parameter) const { return *values_[parameter]; }
  const Arguments& raw() const { return arguments_; }

 private:
  std::vector<const Value*> values_;
  const Arguments& arguments_;
};

struct Filter {
  std::string_view name, parameters;
  Value (*apply)(Runtime&, const Value&, const Bound&);
};

struct Test {
  std::string_view name, parameters;
  bool (*apply)(Runtime&, const Value&, const Bound&);
};

/// A method of a type, or a global function.
struct Method {
  std::string_view name, parameters;
  Value (*apply)(Runtime&, const Value&, const Bound&);
};

const Filter* find_filter(std::string_view name);
const Test* find_test(std::string_view name);
std::vector<std::string> filter_names();
std::vector<std::string> test_names();

/// The function `name` of every template: range, dict, namespace, raise_exception, strftime_now. None when unknown.
const Method* find_global(std::string_view name);
/// True for what Jinja has and we have not.
bool is_missing_global(std::string_view name);
/// True for a method that Python has and that we know on no type.
bool is_missing_method(std::string_view name);

/// `object.name`: a method first, then an item; undefined when there is neither. Throws Error for what Python has and
/// we have not.
Value attribute_of(Runtime& runtime, const Value& object, std::string_view name);
/// `object[key]`: an item first, then a method.
Value item_of(Runtime& runtime, const Value& object, const Value& key);
Value slice_of(Runtime& runtime, const Value& object, const Value& start, const Value& stop, const Value& step);

/// `format % values` of a str.
Value percent_format(Runtime& runtime, std::string_view format, const Value& values);

}  // namespace grpo::jinja
