// The values that a chat template computes with. They behave as Python's do: that is what the templates were written
// against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpo/error.h"

namespace grpo::jinja {

// What one rendering may take. A template comes with a model, from anywhere; it must not be able to hang or to fill the
// machine.
inline constexpr std::size_t kMaxText = std::size_t{16} << 20;    // bytes of one string, the output included
inline constexpr std::size_t kMaxMemory = std::size_t{64} << 20;  // bytes of all that is alive at once
inline constexpr std::size_t kMaxSteps = 3'000'000;               // expressions, list items, 64 bytes of text
inline constexpr std::size_t kMaxDepth = 100;                     // lists in lists
inline constexpr std::uint64_t kMaxRange = 100'000;               // items of a range; the number is Jinja's

enum class Kind {
  undefined,
  none,
  boolean,
  integer,
  real,
  text,
  list,
  tuple,
  view,      // of range(…) and a dict's keys(), values() and items(): to go through, any number of times
  iterator,  // of map, select and their kind: to go through once
  dict,
  space,  // namespace(…), the one thing that a template may change
  loop,
  callable,
};

class Runtime;

/// Anything on the heap; the Runtime counts its bytes for as long as it lives.
struct Object {
  Object() = default;
  virtual ~Object();
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  Runtime* owner = nullptr;  // none for a template's constants
  std::size_t bytes = 0;
  std::size_t depth = 1;  // 1 + the deepest thing inside
};

class Value {
 public:
  Value() = default;  // undefined
  Value(Kind kind, std::shared_ptr<Object> object) : kind_(kind), object_(std::move(object)) {}
  static Value none() { return Value(Kind::none); }
  static Value boolean(bool flag) { return Value(Kind::boolean, std::int64_t{flag}); }
  static Value integer(std::int64_t number) { return Value(Kind::integer, number); }
  static Value real(double number) {
    Value value(Kind::real);
    value.real_ = number;
    return value;
  }

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return kind_ == Kind::undefined; }
  bool is_integral() const { return kind_ == Kind::integer || kind_ == Kind::boolean; }
  bool is_number() const { return is_integral() || kind_ == Kind::real; }
  bool is_sequence() const { return kind_ >= Kind::list && kind_ <= Kind::iterator; }
  std::int64_t as_integer() const { return integer_; }
  double as_real() const { return kind_ == Kind::real ? real_ : static_cast<double>(integer_); }
  const std::string& text() const;
  const std::vector<Value>& items() const;  // of what is a sequence
  /// The object, which the caller knows to be a T.
  template <class T>
  T& as() const {
    return static_cast<T&>(*object_);
  }
  const std::shared_ptr<Object>& object() const { return object_; }
  std::size_t depth() const { return object_ ? object_->depth : 0; }

 private:
  explicit Value(Kind kind, std::int64_t integer = 0) : kind_(kind), integer_(integer) {}

  Kind kind_ = Kind::undefined;
  union {
    std::int64_t integer_ = 0;  // of booleans, too
    double real_;
  };
  std::shared_ptr<Object> object_;
};

/// A text; of an undefined value, the message of the error that its use will be.
struct Text : Object {
  explicit Text(std::string content) : content(std::move(content)) {}
  std::string content;
  bool safe = false;  // of the filter safe: what + joins to it is escaped for HTML
};

struct Sequence : Object {
  explicit Sequence(std::vector<Value> items) : items(std::move(items)) {}
  std::vector<Value> items;
  bool spent = false;  // an iterator that somebody has gone through
  bool group = false;  // of groupby: a tuple whose items are also called grouper and list
};

inline const std::string& Value::text() const { return as<Text>().content; }
inline const std::vector<Value>& Value::items() const { return as<Sequence>().items; }

struct Dict : Object {
  Value* find(Runtime& runtime, const Value& key);
  void set(Runtime& runtime, Value key, Value value);

  std::vector<std::pair<Value, Value>> entries;  // keys differ; the order is that of insertion
};

struct Space : Object {
  std::vector<std::pair<std::string, Value>> attributes;
};

/// The variable `loop`.
struct Loop : Object {
  /// Whether there is an item at `place` among those that meet the condition, which is asked as late as Jinja asks it.
  bool has(std::size_t place);

  std::vector<Value> items;  // the first `kept` meet the condition; those from `unasked` on have not been asked
  std::size_t kept = 0, unasked = 0;
  std::function<bool(const Value&)> wanted;
  std::size_t index0 = 0;
};

struct Statement;  // syntax.h
struct Scope;      // jinja.cpp
struct Builtin;    // builtins.h

/// A macro, or a built-in function or method.
struct Callable : Object {
  const Statement* macro = nullptr;
  std::weak_ptr<Scope> scope;  // of the macro's definition
  const Builtin* builtin = nullptr;
  Value self;  // whose method it is
};

/// One rendering's books: what it may still take, where it is, and how it fails.
class Runtime {
 public:
  explicit Runtime(std::string where) : where_(std::move(where)) {}
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  /// Throws Error with the template's name and the line that is being evaluated.
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw Error("chat template", where_, ":", line, ": ", parts...);
  }
  /// Throws Error when `value` is undefined, with the reason.
  void need(const Value& value) const;

  void step(std::size_t count = 1) {
    if (count > kMaxSteps - steps_) too_long();
    steps_ += count;
  }
  /// The steps of going through a text character by character.
  void read(const Value& value) {
    if (value.is(Kind::text)) step(value.text().size() / 16);
  }
  /// Room for `count` bytes more; throws Error when there is none.
  void take(std::size_t count) {
    if (count > kMaxMemory - live_) too_large();
    live_ += count;
  }
  void give_back(std::size_t count) { live_ -= count; }
  void check_room(std::size_t count) {
    take(count);
    give_back(count);
  }

  Value text(std::string_view content);
  Value undefined(std::string message);
  Value sequence(Kind kind, std::vector<Value> items);
  Value range(std::int64_t start, std::int64_t stop, std::int64_t step);
  Value dict(std::shared_ptr<Dict> made);
  Value space();
  Value from_json(const nlohmann::ordered_json& json, std::size_t depth = 0);
  /// Counts the object's bytes from here on and checks its depth.
  template <class T>
  std::shared_ptr<T> own(std::shared_ptr<T> object, std::size_t bytes, std::size_t depth_inside = 0) {
    adopt(*object, bytes, depth_inside);
    return object;
  }

  int line = 1;

 private:
  void adopt(Object& object, std::size_t bytes, std::size_t depth_inside);
  [[noreturn]] void too_long() const;
  [[noreturn]] void too_large() const;

  std::string where_;
  std::size_t steps_ = 0;
  std::size_t live_ = 0;
  // Namespaces can hold each other in circles, so they stay until the end.
  std::vector<std::unique_ptr<Space>> spaces_;
};

/// Text that grows under the Runtime's limits.
class Builder {
 public:
  explicit Builder(Runtime& runtime) : runtime_(runtime) {}
  ~Builder() { runtime_.give_back(text_.size()); }
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  Builder& operator+=(std::string_view piece);
  Builder& operator+=(char c) { return *this += std::string_view(&c, 1); }
  void repeat(std::string_view piece, std::int64_t times);
  const std::string& str() const { return text_; }
  Value value() const { return runtime_.text(text_); }

 private:
  Runtime& runtime_;
  std::string text_;
};

// ---- Python's behaviour ----

/// What Python calls the type of `value`, for errors.
std::string_view type_name(const Value& value);

bool truthy(const Value& value);

bool equal(Runtime& runtime, const Value& a, const Value& b);

enum class Comparison { equal, not_equal, less, less_equal, greater, greater_equal, in, not_in };
/// Throws Error where Python has no order.
bool holds(Runtime& runtime, Comparison comparison, const Value& a, const Value& b);

/// The items that a loop over `value` would see; an iterator is used up. Throws Error for what is not iterable.
std::vector<Value> items_of(Runtime& runtime, const Value& value);

// ---- print.cpp ----

/// As Python's str and repr. Throws Error for what has no text that means anything, such as a function.
std::string str(Runtime& runtime, const Value& value);
std::string repr(Runtime& runtime, const Value& value);

struct JsonStyle {
  std::string item = ", ", key = ": ";
  std::optional<std::string> indent;  // of one level
  bool sorted = false, ascii = false;
};
Value json_text(Runtime& runtime, const Value& value, const JsonStyle& style);

/// `format % values`.
Value percent_format(Runtime& runtime, std::string_view format, const Value& values);

}  // namespace grpo::jinja
