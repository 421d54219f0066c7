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
//       v("low", low, "lower clip range of the ratio");
//       v("kind", kind, "which side is clipped wider");
//     }
//     void validate() const;  // optional: throws Error; called after every load
//   };
//
// From that one declaration come JSON loading, dumping, `--set clip.low=0.1`, `--low 0.1` and `--help`. A field is a
// bool, int, int64_t, uint64_t, double, std::string, an enum with EnumNames, another such struct, a std::vector of any
// of these (bool aside), or a std::map<std::string, double>.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "grpo/error.h"

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
  std::function<void()> validate;  // empty when the struct has none
};
struct ListSlot {
  std::function<std::size_t()> size;
  std::function<void(std::size_t)> reset;    // that many default elements
  std::function<Knob(std::size_t)> element;  // valid until the next reset
  std::function<Knob()> blank;               // an element of its own, for --help
};
using MapSlot = std::map<std::string, double>*;

struct Knob {
  std::string name, meaning;
  std::variant<bool*, int*, std::int64_t*, std::uint64_t*, double*, std::string*, MapSlot, EnumSlot, ListSlot,
               StructSlot>
      slot;
  std::shared_ptr<void> owner = nullptr;  // of a blank element
};

struct KnobVisitor {
  std::vector<Knob> knobs;
  template <class T>
  void operator()(std::string_view name, T& field, std::string_view meaning);
};

template <class T>
concept Visitable = requires(T& config, KnobVisitor& visitor) {
  config.visit(visitor);
};

template <class T>
struct IsList : std::false_type {};
template <class T>
struct IsList<std::vector<T>> : std::true_type {};

template <class T>
Knob make_knob(std::string_view name, T& field, std::string_view meaning) {
  Knob knob{std::string(name), std::string(meaning), {}};
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
    StructSlot slot{std::move(visitor.knobs), {}};
    if constexpr (requires { field.validate(); }) slot.validate = [&field] { field.validate(); };
    knob.slot = std::move(slot);
  } else {
    knob.slot = &field;
  }
  return knob;
}

template <class T>
void KnobVisitor::operator()(std::string_view name, T& field, std::string_view meaning) {
  knobs.push_back(make_knob(name, field, meaning));
}

void load(const Knob& root, const nlohmann::json& value, const std::string& where);
void parse(const Knob& root, const std::vector<std::string>& arguments);
void validate(const Knob& root);
std::string help(const Knob& root);
nlohmann::ordered_json dump(const Knob& root);

}  // namespace internal

/// The configuration that a command line asks for: T's defaults, then every `--config FILE` (JSON with comments), then
/// the other arguments from left to right:
///   --set grpo.clip_high=0.28         any key; the value is read as JSON when that gives the right type, else as a
///   string
///   --set rewards.weights.format=0.2  adds or changes one entry of a map;  --set stages.0.steps=3  one list element
///   --steps 100, --steps=100          the same for a key by its own name; a bool may leave its value out
/// A list or a map in a file replaces the default one as a whole. Throws Error for an unknown key (naming the nearest
/// known one), a value of the wrong type or range, a duplicate key, malformed JSON (naming line and column), or what a
/// `validate()` refuses; throws HelpRequested for `--help`.
template <class T>
T parse_config(const std::vector<std::string>& arguments) {
  T config;
  const internal::Knob root = internal::make_knob("", config, "");
  internal::parse(root, arguments);
  internal::validate(root);
  return config;
}

/// parse_config of a program's arguments.
template <class T>
T load_config(int argc, char** argv) {
  return parse_config<T>(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
}

/// Overwrites in `config` what `json` (an object) mentions, and validates the result. `where` names the source in
/// errors, usually a file. Throws Error as parse_config does, and then leaves `config` as it was.
template <class T>
void load_json(T& config, const nlohmann::json& json, const std::string& where) {
  T loaded = config;
  const internal::Knob root = internal::make_knob("", loaded, "");
  internal::load(root, json, where);
  internal::validate(root);
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
