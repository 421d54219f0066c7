// The values that a chat template computes with. They behave as Python's do: that is what the templates were written
// against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "grpo/error.h"

namespace grpo::jinja {

// What one rendering may take. A template comes with a model, from anywhere; it must not be able to hang or to fill the
// machine.
inline constexpr std::size_t kMaxText = std::size_t{64} << 20;     // bytes of one string, the output included
inline constexpr std::size_t kMaxMemory = std::size_t{256} << 20;  // bytes of all that is alive at once
inline constexpr std::size_t kMaxSteps = 10'000'000;               // expressions, list items, 64 bytes of text
inline constexpr std::size_t kMaxDepth = 100;                      // lists in lists
inline constexpr std::size_t kMaxRange = 100'000;                  // items of a range; the number is Jinja's

enum class Kind {
  undefined,
  none,
  boolean,
  integer,
  real,
  text,
  list,
  tuple,
  range,
  view,  // what dict.keys(), dict.values() and dict.items() return
  dict,
  space,     // namespace(…), the one thing that a template may change
  iterator,  // what map, select and their kind return: it can be read once
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
  Value() = default;  // undefined, without a name
  static Value none() { return Value(Kind::none); }
  static Value boolean(bool flag) {
    Value value(Kind::boolean);
    value.integer_ = flag;
    return value;
  }
  static Value integer(std::int64_t number) {
    Value value(Kind::integer);
    value.integer_ = number;
    return value;
  }
  static Value real(double number) {
    Value value(Kind::real);
    value.real_ = number;
    return value;
  }
  Value(Kind kind, std::shared_ptr<Object> object) : kind_(kind), object_(std::move(object)) {}

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return kind_ == Kind::undefined; }
  bool is_integral() const { return kind_ == Kind::integer || kind_ == Kind::boolean; }
  bool is_number() const { return is_integral() || kind_ == Kind::real; }
  bool is_sequence() const { return kind_ >= Kind::list && kind_ <= Kind::view; }
  std::int64_t as_integer() const { return integer_; }
  double as_real() const { return kind_ == Kind::real ? real_ : static_cast<double>(integer_); }
  const std::string& text() const;
  /// The object, which the caller knows to be a T.
  template <class T>
  T& as() const {
    return static_cast<T&>(*object_);
  }
  const std::shared_ptr<Object>& object() const { return object_; }
  std::size_t depth() const { return object_ ? object_->depth : 0; }

 private:
  explicit Value(Kind kind) : kind_(kind) {}

  Kind kind_ = Kind::undefined;
  union {
    std::int64_t integer_ = 0;  // of booleans, too
    double real_;
  };
  std::shared_ptr<Object> object_;
};

struct Text : Object {
  explicit Text(std::string content) : content(std::move(content)) {}
  std::string content;
};

inline const std::string& Value::text() const { return as<Text>().content; }

/// Why a value is undefined; the message of the error that its use will be.
struct Absence : Object {
  explicit Absence(std::string message) : message(std::move(message)) {}
  std::string message;
};

/// list, tuple, range and view.
struct Sequence : Object {
  explicit Sequence(std::vector<Value> items) : items(std::move(items)) {}
  std::vector<Value> items;
  std::string name;                            // of a view: dict_keys, …
  std::int64_t start = 0, stop = 0, step = 1;  // of a range
};

struct Dict : Object {
  using Entries = std::vector<std::pair<Value, Value>>;
  Entries entries;  // keys differ; the order is that of insertion

  const Value* find(Runtime& runtime, const Value& key) const;
  void set(Runtime& runtime, Value key, Value value);

 private:
  std::size_t locate(Runtime& runtime, const Value& key) const;  // entries.size() when it is not there

  std::unordered_multimap<std::size_t, std::size_t> places_;  // hash → place, kept once there are more than a few
};

struct Space : Object {
  std::vector<std::pair<std::string, Value>> attributes;
};

struct Iterator : Object {
  explicit Iterator(std::vector<Value> own) : own(std::move(own)), items(&this->own) {}
  explicit Iterator(std::shared_ptr<Object> of, const std::vector<Value>& items) : keep(std::move(of)), items(&items) {}
  std::optional<Value> next();

  std::vector<Value> own;
  std::shared_ptr<Object> keep;
  const std::vector<Value>* items;
  std::size_t at = 0;
};

/// The variable `loop`.
struct Loop : Object {
  /// The next item, without taking it.
  const std::optional<Value>& peek();
  bool advance();
  std::int64_t length();

  std::shared_ptr<Iterator> source;
  std::function<bool(const Value&)> wanted;  // the condition of `for … if`, asked as late as Python would
  std::optional<Value> after, current, before;
  std::optional<Value> last_changed;
  std::int64_t index0 = -1;
  std::int64_t known_length = -1;
  std::int64_t depth0 = 0;
  bool ended = false;
};

struct Macro;   // jinja_syntax.h
struct Scope;   // jinja.cpp
struct Method;  // jinja_builtins.h

/// A macro, or a built-in function or method.
struct Callable : Object {
  const Macro* macro = nullptr;
  Scope* scope = nullptr;          // of the macro's definition; the renderer keeps it
  const Method* method = nullptr;  // a global when `self` is undefined
  Value self;
};

/// One rendering's books: what it may still take, where it is, and how it fails.
class Runtime {
 public:
  Runtime(std::string where) : where_(std::move(where)) {}
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  /// Throws Error with the template's name and the line that is being evaluated.
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw Error("chat template", where_, ":", line, ": ", parts...);
  }

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

  Value text(std::string content);
  Value undefined(std::string message);
  Value sequence(Kind kind, std::vector<Value> items, std::string name = {});
  Value list(std::vector<Value> items) { return sequence(Kind::list, std::move(items)); }
  Value tuple(std::vector<Value> items) { return sequence(Kind::tuple, std::move(items)); }
  Value range(std::int64_t start, std::int64_t stop, std::int64_t step);
  Value iterator(std::vector<Value> items);
  Value dict(std::shared_ptr<Dict> made);
  Value space();
  Value from_json(const nlohmann::ordered_json& json);
  /// The member `name` of `object`; throws Error when that is none.
  std::optional<Value> from_json(const nlohmann::ordered_json& object, const std::string& name);
  /// Counts the object's bytes from here on and checks its depth.
  template <class T>
  std::shared_ptr<T> own(std::shared_ptr<T> object, std::size_t bytes, std::size_t depth_inside = 0) {
    adopt(*object, bytes, depth_inside);
    return object;
  }

  int line = 1;

 private:
  friend struct Object;
  void adopt(Object& object, std::size_t bytes, std::size_t depth_inside);
  [[noreturn]] void too_long() const;
  [[noreturn]] void too_large() const;

  std::string where_;
  std::size_t steps_ = 0;
  std::size_t live_ = 0;
  std::size_t json_depth_ = 0;
  // Namespaces can hold each other in circles, so they stay until the end.
  std::vector<std::unique_ptr<Space>> spaces_;
};

/// Text that grows under the Runtime's limits.
class Builder {
 public:
  explicit Builder(Runtime& runtime) : runtime_(runtime) {}
  ~Builder() { runtime_.give_back(counted_); }
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  Builder& operator+=(std::string_view piece);
  Builder& operator+=(char c) { return *this += std::string_view(&c, 1); }
  void repeat(std::string_view piece, std::int64_t times);
  const std::string& str() const { return text_; }
  std::string take();

 private:
  Runtime& runtime_;
  std::string text_;
  std::size_t counted_ = 0;
};

// ---- Python's behaviour ----

/// What Python calls the type of `value`, for errors.
std::string type_name(const Value& value);

bool truthy(const Value& value);
bool equal(Runtime& runtime, const Value& a, const Value& b);
/// -1, 0, 1; throws Error where Python has no order; nothing for a NaN.
std::optional<int> compare(Runtime& runtime, const Value& a, const Value& b);
/// Throws Error for what cannot be a key.
std::size_t hash(Runtime& runtime, const Value& value);
bool contains(Runtime& runtime, const Value& container, const Value& item);

std::string str(Runtime& runtime, const Value& value);
std::string repr(Runtime& runtime, const Value& value);
std::string number_text(double number);

struct JsonStyle {
  std::string item = ", ", key = ": ";
  std::optional<std::string> indent;  // of one level
  bool ascii = false, sorted = false;
};
std::string json_text(Runtime& runtime, const Value& value, const JsonStyle& style);

/// The items that a loop over `value` would see; an iterator is used up. Throws Error for what is not iterable.
std::vector<Value> items_of(Runtime& runtime, const Value& value);
std::shared_ptr<Iterator> iterate(Runtime& runtime, const Value& value);
/// Nothing for what has no length.
std::optional<std::int64_t> length_of(const Value& value);

/// The characters of `text`, as Python counts them; a byte that is no UTF-8 is one, too.
std::vector<std::string_view> characters(std::string_view text);
std::size_t character_count(std::string_view text);
/// Where `needle` begins in `text` at or after `from`, or npos; in linear time.
std::size_t find_text(std::string_view text, std::string_view needle, std::size_t from = 0);
std::size_t find_last_text(std::string_view text, std::string_view needle);
bool is_python_space(char32_t c);
std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);

}  // namespace grpo::jinja
