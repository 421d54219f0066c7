// Every knob is declared once. A config is a plain struct of fields with defaults and one `visit`:
//
//   enum class Clip { symmetric, higher };
//   template <> struct EnumNames<Clip> {
//     static constexpr std::array<std::pair<Clip, std::string_view>, 2> values{
//         {{Clip::symmetric, "symmetric"}, {Clip::higher, "higher"}}};
//   };
//   struct ClipConfig {
//     double low = 0.2;
//     Clip kind = Clip::symmetric;
//     template <class V> void visit(V& v) {
//       v("low", low, "lower clip range of the ratio", at_least(0).at_most(1));
//       v("kind", kind, "which side is clipped wider");
//     }
//     void validate() const;  // optional: throws Error for what no single range can say, as of two fields. It names
//                             // keys as they are in this struct ("low: expected …"); those around it come in front
//   };
//
// From that one declaration come JSON loading, dumping, `--set clip.low=0.1`, `--low 0.1`, `--help`, and the checks of
// grpo::validate. A field is a bool, int, int64_t, uint64_t, double, std::string, an enum with EnumNames, another such
// struct, a std::vector of any of these (bool aside), or a std::map<std::string, double>. Numbers are declared with
// their Range (range.h; a uint64_t, which is a seed, has none), strings may be with all that they may be:
// v("language", language, "of the prompts", {"en", "ko"}).
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "grpo/error.h"
#include "grpo/range.h"

namespace grpo {

/// The spelling of an enum's values in JSON, on the command line and in --help: specialise it with a constexpr
/// std::array `values` of {value, name}.
template <class E>
struct EnumNames;

/// The name that EnumNames gives `value`; throws Error when it gives none.
template <class E>
std::string_view enum_name(E value) {
  for (const auto& [each, name] : EnumNames<E>::values)
    if (each == value) return name;
  throw Error("config", "expected a named enum value, got the number ", static_cast<long long>(value));
}

/// The keys that a configuration's sources mention ("optimizer.learning_rate"): all others have their defaults.
using GivenKeys = std::set<std::string>;

/// Thrown by load_config and parse_config on `--help`; what() is the text. `report` prints it to standard output and
/// returns 0.
class HelpRequested : public std::exception {
 public:
  explicit HelpRequested(std::string text) : text_(std::move(text)) {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

// The type-erased form of a config: a tree of knobs that point into the struct. All the work happens on it, in
// config.cpp.
namespace internal {

struct Knob;

struct EnumSlot {
  std::vector<std::string_view> names;
  std::function<std::size_t()> get;      // index into names
  std::function<void(std::size_t)> set;  // index into names
};
struct StructSlot {
  std::vector<Knob> members;
};
struct ListSlot {
  std::function<std::size_t()> size;
  std::function<void(std::size_t)> reset;    // that many default elements
  std::function<Knob(std::size_t)> element;  // valid until the next reset
  std::function<Knob()> blank;               // an element of its own, for --help
};
using MapSlot = std::map<std::string, double>*;

struct Knob {
  std::string name, meaning, allowed;  // allowed: of a number or a string, for --help; "" when it may be any
  std::variant<bool*, int*, std::int64_t*, std::uint64_t*, double*, std::string*, MapSlot, EnumSlot, ListSlot,
               StructSlot>
      slot;
  std::shared_ptr<void> owner = nullptr;  // of a blank element
};

using Choices = std::initializer_list<std::string_view>;
std::string allowed_by(const Choices& choices);  // "one of "a", "b""
std::string number_text(double number);          // the shortest that reads back, whole numbers without exponent

struct KnobVisitor {
  std::vector<Knob> knobs;
  template <class T>
  void operator()(std::string_view name, T& field, std::string_view meaning);
  template <class T>
  void operator()(std::string_view name, T& field, std::string_view meaning, const Range& range);
  template <class T>
  void operator()(std::string_view name, T& field, std::string_view meaning, Choices choices);
};

template <class T>
concept Visitable = requires(T& config, KnobVisitor& visitor) {
  config.visit(visitor);
};

template <class T>
struct IsList : std::false_type {};
template <class T>
struct IsList<std::vector<T>> : std::true_type {};

/// Whether a field holds numbers, which are declared with their range.
template <class T>
constexpr bool is_numeric() {
  if constexpr (IsList<T>::value) return is_numeric<typename T::value_type>();
  return std::is_same_v<T, int> || std::is_same_v<T, std::int64_t> || std::is_same_v<T, double> ||
         std::is_same_v<T, std::map<std::string, double>>;
}
template <class T>
constexpr bool is_text() {
  return std::is_same_v<T, std::string> || std::is_same_v<T, std::vector<std::string>>;
}

template <class T>
Knob make_knob(std::string_view name, T& field, std::string_view meaning) {
  Knob knob{std::string(name), std::string(meaning), "", {}};
  if constexpr (std::is_enum_v<T>) {
    EnumSlot slot;
    for (const auto& [value, spelling] : EnumNames<T>::values) slot.names.push_back(spelling);
    slot.get = [&field] {
      std::size_t index = 0;
      for (const std::string_view wanted = enum_name(field); EnumNames<T>::values[index].second != wanted;) ++index;
      return index;
    };
    slot.set = [&field](std::size_t index) { field = EnumNames<T>::values[index].first; };
    knob.slot = std::move(slot);
  } else if constexpr (IsList<T>::value) {
    using Element = typename T::value_type;
    static_assert(!std::is_same_v<Element, bool>, "a std::vector<bool> has no addressable elements");
    ListSlot slot;
    slot.size = [&field] { return field.size(); };
    slot.reset = [&field](std::size_t size) { field.assign(size, Element()); };
    slot.element = [&field](std::size_t index) { return make_knob(std::to_string(index), field[index], ""); };
    slot.blank = [] {
      auto element = std::make_shared<Element>();
      Knob blank = make_knob("N", *element, "");
      blank.owner = std::move(element);
      return blank;
    };
    knob.slot = std::move(slot);
  } else if constexpr (Visitable<T>) {
    KnobVisitor visitor;
    field.visit(visitor);
    knob.slot = StructSlot{std::move(visitor.knobs)};
  } else {
    knob.slot = &field;
  }
  return knob;
}

template <class T>
void KnobVisitor::operator()(std::string_view name, T& field, std::string_view meaning) {
  static_assert(!is_numeric<T>(), "a number is declared with its range: v(name, field, meaning, at_least(1))");
  knobs.push_back(make_knob(name, field, meaning));
}
template <class T>
void KnobVisitor::operator()(std::string_view name, T& field, std::string_view meaning, const Range& range) {
  static_assert(is_numeric<T>());
  knobs.push_back(make_knob(name, field, meaning));
  knobs.back().allowed = range.text();
}
template <class T>
void KnobVisitor::operator()(std::string_view name, T& field, std::string_view meaning, Choices choices) {
  static_assert(is_text<T>());
  knobs.push_back(make_knob(name, field, meaning));
  knobs.back().allowed = allowed_by(choices);
}

/// Checks every field against its declaration, and then the struct as a whole. It builds nothing and only reads, so
/// that a check costs what its comparisons do.
class Checker {
 public:
  /// `prefix` goes in front of every key: "FILE: " or "rollout.".
  explicit Checker(std::string prefix) : key_(std::move(prefix)) {}

  template <class T>
  void check(const T& config) {
    const_cast<T&>(config).visit(*this);  // which nothing is written to: `visit` is for loading, too
    if constexpr (requires { config.validate(); }) try {
        config.validate();
      } catch (const Error& error) {
        refuse(error);
      }
  }

  template <class T>
  void operator()(std::string_view name, const T& field, std::string_view) {
    if constexpr (std::is_enum_v<T>) {
      for (const auto& [value, spelling] : EnumNames<T>::values)
        if (value == field) return;
      refuse(name, "a named value", std::to_string(static_cast<long long>(field)));
    } else if constexpr (IsList<T>::value) {
      using Element = typename T::value_type;
      if constexpr (Visitable<Element> || std::is_enum_v<Element>)
        within(name, [&] {
          for (std::size_t i = 0; i < field.size(); ++i) (*this)(std::to_string(i), field[i], "");
        });
    } else if constexpr (Visitable<T>) {
      within(name, [&] { check(field); });
    }
  }
  template <class T>
  void operator()(std::string_view name, const T& field, std::string_view meaning, const Range& range) {
    if constexpr (IsList<T>::value) {
      within(name, [&] {
        for (std::size_t i = 0; i < field.size(); ++i) (*this)(std::to_string(i), field[i], meaning, range);
      });
    } else if constexpr (std::is_same_v<T, std::map<std::string, double>>) {
      within(name, [&] {
        for (const auto& [each, value] : field) (*this)(each, value, meaning, range);
      });
    } else if (!range.contains(static_cast<double>(field))) {
      if constexpr (std::is_integral_v<T>) refuse(name, range.text(), std::to_string(field));
      refuse(name, range.text(), number_text(static_cast<double>(field)));
    }
  }
  template <class T>
  void operator()(std::string_view name, const T& field, std::string_view meaning, Choices choices) {
    if constexpr (IsList<T>::value) {
      within(name, [&] {
        for (std::size_t i = 0; i < field.size(); ++i) (*this)(std::to_string(i), field[i], meaning, choices);
      });
    } else {
      for (const std::string_view choice : choices)
        if (choice == field) return;
      refuse(name, allowed_by(choices), '"' + field + '"');
    }
  }

 private:
  template <class F>
  void within(std::string_view name, const F& f) {
    const std::size_t size = key_.size();
    key_.append(name).append(".");
    f();
    key_.resize(size);
  }
  [[noreturn]] void refuse(std::string_view name, const std::string& expected, const std::string& got) const;
  [[noreturn]] void refuse(const Error& error) const;  // of a validate(), with the whole key

  std::string key_;
};

void load(const Knob& root, const nlohmann::json& value, const std::string& where);
using FileTexts = std::map<std::string, std::string>;  // by path
/// `read_before` (optional) has the files that were read already, and takes up the others: a pipe can be read once.
/// `given` (optional) takes up the keys that are mentioned.
void parse(const Knob& root, const std::vector<std::string>& arguments, FileTexts* read_before = nullptr,
           GivenKeys* given = nullptr);
std::string help(const Knob& root);
nlohmann::ordered_json dump(const Knob& root);

}  // namespace internal

/// Throws Error, naming the key behind `name` (if any), for a number that is out of its range or not finite and a
/// string or enum that is none of its choices, in `config` and the structs in it, and for what a `validate()` of these
/// refuses. Loading does it, and so do the constructors that take a config: it may have been filled in code.
template <class T>
void validate(const T& config, std::string_view name) {
  internal::Checker(name.empty() ? "" : std::string(name) + ".").check(config);
}

/// The configuration that a command line asks for: T's defaults, then every `--config FILE` (JSON with comments), then
/// the other arguments from left to right:
///   --set grpo.clip_high=0.28         any key; the value is read as JSON when that gives the right type, else as a
///   string
///   --set rewards.weights.format=0.2  adds or changes one entry of a map;  --set stages.0.steps=3  one list element
///   --steps 100, --steps=100          the same for a key by its own name; a bool may leave its value out
/// A list or a map in a file replaces the default one as a whole. Throws Error for an unknown key (naming the nearest
/// known one), a value of the wrong type or range, a duplicate key, malformed JSON (naming line and column), or what a
/// `validate()` refuses; throws HelpRequested for `--help`. `given` (optional) takes up the keys that are mentioned.
template <class T>
T parse_config(const std::vector<std::string>& arguments, GivenKeys* given = nullptr) {
  T config;
  internal::parse(internal::make_knob("", config, ""), arguments, nullptr, given);
  internal::Checker("").check(config);
  return config;
}

/// parse_config of a program's arguments.
template <class T>
T load_config(int argc, char** argv, GivenKeys* given = nullptr) {
  return parse_config<T>(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc), given);
}

/// Overwrites in `config` what `json` (an object) mentions, and validates the result. `where` names the source in
/// errors, usually a file. Throws Error as parse_config does, and then leaves `config` as it was.
template <class T>
void load_json(T& config, const nlohmann::json& json, const std::string& where) {
  T loaded = config;
  internal::load(internal::make_knob("", loaded, ""), json, where);
  internal::Checker(where + ": ").check(loaded);
  config = std::move(loaded);
}

/// The JSON object in a text with // and /* */ comments. Throws Error naming `where`, line and column; `where` names
/// the source, usually a file.
nlohmann::json parse_json(std::string_view text, const std::string& where);

/// Every key of `config` with its value, in the order of declaration, as nlohmann::ordered_json; load_json gives it
/// back exactly. The caller includes <nlohmann/json.hpp>.
template <class T>
auto dump_config(const T& config) {
  T copy = config;
  return internal::dump(internal::make_knob("", copy, ""));
}

}  // namespace grpo
