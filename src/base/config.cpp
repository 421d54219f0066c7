#include "grpo/config.h"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>

#include "base/files/input_file.h"
#include "base/nearest.h"
#include "base/plain_words.h"
#include "grpo/json.h"

namespace grpo {
namespace {

using internal::EnumSlot;
using internal::Knob;
using internal::ListSlot;
using internal::MapSlot;
using internal::StructSlot;
using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr std::string_view kCommandLine = "command line";

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

std::string join_key(const std::string& parent, const std::string& name) {
  return parent.empty() ? name : parent + "." + name;
}

// ---- Keys ----

std::string_view leaf_of(std::string_view key) { return key.substr(key.rfind('.') + 1); }

void collect_keys(const Knob& knob, const std::string& key, std::vector<std::string>& keys) {
  if (!key.empty()) keys.push_back(key);
  if (const auto* object = std::get_if<StructSlot>(&knob.slot)) {
    for (const Knob& member : object->members) collect_keys(member, join_key(key, member.name), keys);
  } else if (const auto* list = std::get_if<ListSlot>(&knob.slot)) {
    for (std::size_t i = 0; i < list->size(); ++i)
      collect_keys(list->element(i), join_key(key, std::to_string(i)), keys);
  } else if (const auto* map = std::get_if<MapSlot>(&knob.slot)) {
    for (const auto& [name, value] : **map) keys.push_back(join_key(key, name));
  }
}

// ---- Loading ----

std::string describe(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  return cut(value.dump(-1, ' ', false, Json::error_handler_t::replace), 60);
}

/// Writes JSON values into knobs; knows the root and the source for the sake of its errors.
class Loader {
 public:
  Loader(const Knob& root, std::string where, GivenKeys* given = nullptr)
      : root_(root), where_(std::move(where)), given_(given) {}

  void load(const Knob& knob, const Json& value, const std::string& key) const {
    if (given_) {
      if (!std::holds_alternative<StructSlot>(knob.slot))  // a list or a map is replaced as a whole
        given_->erase(given_->lower_bound(key + '.'), given_->lower_bound(key + '/'));
      given_->insert(key);
    }
    std::visit(Overloaded{[&](bool* field) {
                            if (!value.is_boolean()) refuse(key, "true or false", value);
                            *field = value.get<bool>();
                          },
                          [&](int* field) { load_integer(field, value, key); },
                          [&](std::int64_t* field) { load_integer(field, value, key); },
                          [&](std::uint64_t* field) { load_integer(field, value, key); },
                          [&](double* field) { *field = number(value, key); },
                          [&](std::string* field) {
                            if (!value.is_string()) refuse(key, "a string", value);
                            *field = value.get<std::string>();
                          },
                          [&](MapSlot map) { load_map(map, value, key); },
                          [&](const EnumSlot& slot) { load_enum(slot, value, key); },
                          [&](const ListSlot& list) {
                            if (!value.is_array()) refuse(key, "a list in [ ]", value);
                            list.reset(value.size());
                            for (std::size_t i = 0; i < value.size(); ++i)
                              load(list.element(i), value[i], join_key(key, std::to_string(i)));
                          },
                          [&](const StructSlot& object) { load_members(object, value, key); }},
               knob.slot);
  }

  /// What a command line writes: JSON where that gives the right type, else a string.
  void load_text(const Knob& knob, const std::string& text, const std::string& key) const {
    JsonFault fault;
    auto value = read_json<Json>(text, LongNumbers::round, &fault);
    const bool wants_string =
        std::holds_alternative<std::string*>(knob.slot) || std::holds_alternative<EnumSlot>(knob.slot);
    if (value.is_discarded() && !fault.malformed && !wants_string)
      throw Error("config", where_, ": \"", cut(key, 80), "\": expected JSON, got ", fault.problem);
    if (value.is_discarded() || (wants_string && !value.is_string())) {
      value = text;
      try {
        (void)value.dump();
      } catch (const Json::exception&) {
        refuse(key, "UTF-8 text", value);
      }
    }
    load(knob, value, key);
  }

  [[noreturn]] void unknown(const std::string& key) const {
    std::vector<std::string> keys;
    collect_keys(root_, "", keys);
    if (where_ == kCommandLine) keys.insert(keys.end(), {"config", "set", "help", "version"});
    const std::string guess = nearest(key, keys);
    // What has next to no letter in common is no help.
    const std::string_view leaf = leaf_of(key), guessed = leaf_of(guess);
    const bool resembles = !guess.empty() && key.size() <= 128 &&
                           (leaf == guessed || is_slip_of(leaf, guessed) ||
                            edit_distance(key, guess) <= std::max(key.size(), guess.size()) / 2);
    throw Error("config", where_, ": unknown key \"", cut(key, 80), '"',
                resembles ? "; did you mean \"" + guess + "\"?" : "; --help lists them all");
  }

 private:
  [[noreturn]] void refuse(const std::string& key, const std::string& expected, const Json& value) const {
    const std::string subject = key.empty() ? "" : "\"" + cut(key, 80) + "\": ";
    throw Error("config", where_, ": ", subject, "expected ", expected, ", got ", describe(value));
  }

  template <class Integer>
  void load_integer(Integer* field, const Json& value, const std::string& key) const {
    using Limits = std::numeric_limits<Integer>;
    const auto fits = [&] {
      if (value.is_number_unsigned()) return value.get<std::uint64_t>() <= static_cast<std::uint64_t>(Limits::max());
      if (!value.is_number_integer()) return false;
      const auto number = value.get<std::int64_t>();  // nlohmann keeps a number of 0 or more as unsigned when it parses
      if (number >= 0) return static_cast<std::uint64_t>(number) <= static_cast<std::uint64_t>(Limits::max());
      return std::is_signed_v<Integer> && number >= static_cast<std::int64_t>(Limits::min());
    };
    if (!fits()) {
      std::ostringstream expected;
      expected << "an integer from " << Limits::min() << " to " << Limits::max();
      refuse(key, expected.str(), value);
    }
    *field = value.get<Integer>();
  }

  double number(const Json& value, const std::string& key) const {
    if (!value.is_number()) refuse(key, "a number", value);
    return value.get<double>();
  }

  void load_map(MapSlot map, const Json& value, const std::string& key) const {
    if (!value.is_object()) refuse(key, "an object of names and numbers", value);
    map->clear();
    for (const auto& [name, entry] : value.items()) (*map)[name] = number(entry, join_key(key, name));
  }

  void load_enum(const EnumSlot& slot, const Json& value, const std::string& key) const {
    const auto found = value.is_string() ? std::find(slot.names.begin(), slot.names.end(), value.get<std::string>())
                                         : slot.names.end();
    if (found == slot.names.end()) {
      std::string expected = "one of";
      for (const std::string_view name : slot.names)
        expected.append(name == slot.names.front() ? " \"" : ", \"").append(name).append("\"");
      refuse(key, expected, value);
    }
    slot.set(static_cast<std::size_t>(found - slot.names.begin()));
  }

  void load_members(const StructSlot& object, const Json& value, const std::string& key) const {
    if (!value.is_object()) refuse(key, "an object of keys and values", value);
    for (const auto& [name, entry] : value.items()) {
      const auto member = std::find_if(object.members.begin(), object.members.end(),
                                       [&, &wanted = name](const Knob& each) { return each.name == wanted; });
      if (member == object.members.end()) unknown(join_key(key, name));
      load(*member, entry, join_key(key, name));
    }
  }

  const Knob& root_;
  std::string where_;
  GivenKeys* given_;
};

/// The knob at a dotted key; an entry of a map is made when it is missing.
std::optional<Knob> find(const Knob& knob, std::string_view key) {
  const std::string_view name = key.substr(0, key.find('.'));
  std::optional<Knob> child;
  if (const auto* object = std::get_if<StructSlot>(&knob.slot)) {
    for (const Knob& member : object->members)
      if (member.name == name) child = member;
  } else if (const auto* list = std::get_if<ListSlot>(&knob.slot)) {
    for (std::size_t i = 0; i < list->size() && !child; ++i)
      if (std::to_string(i) == name) child = list->element(i);
  } else if (const auto* map = std::get_if<MapSlot>(&knob.slot)) {
    if (key.empty()) return std::nullopt;
    return Knob{std::string(key), "", "", &(**map)[std::string(key)]};
  }
  if (!child || name.size() == key.size()) return child;
  return find(*child, key.substr(name.size() + 1));
}

// ---- Help ----

void append_help(const Knob& knob, const std::string& key, std::ostringstream& out) {
  const auto* object = std::get_if<StructSlot>(&knob.slot);
  if (object && !knob.meaning.empty()) out << '\n' << key << ": " << knob.meaning << '\n';
  if (object) {
    for (const Knob& member : object->members) append_help(member, join_key(key, member.name), out);
    return;
  }
  constexpr std::size_t kColumn = 44;
  std::string left = "  " + key;
  if (!knob.owner) {  // an element of a list has no default
    left += " = " + cut(internal::dump(knob).dump(-1, ' ', false, Json::error_handler_t::replace), 60);
  }
  out << left << (left.size() < kColumn ? std::string(kColumn - left.size(), ' ') : "  ") << knob.meaning;
  if (const auto* choice = std::get_if<EnumSlot>(&knob.slot)) {
    out << " [";
    for (const std::string_view name : choice->names) out << (name == choice->names.front() ? "" : ", ") << name;
    out << ']';
  }
  if (!knob.allowed.empty()) out << " [" << knob.allowed << ']';
  out << '\n';
  if (const auto* list = std::get_if<ListSlot>(&knob.slot)) {
    const Knob blank = list->blank();
    if (std::holds_alternative<StructSlot>(blank.slot)) append_help(blank, key + ".N", out);
  }
}

}  // namespace

namespace internal {

void load(const Knob& root, const Json& value, const std::string& where) { Loader(root, where).load(root, value, ""); }

void parse(const Knob& root, const std::vector<std::string>& arguments, FileTexts* read_before, GivenKeys* given) {
  FileTexts own;
  FileTexts& texts = read_before ? *read_before : own;
  if (std::any_of(arguments.begin(), arguments.end(),
                  [](const auto& each) { return each == "--help" || each == "-h"; }))
    throw HelpRequested(help(root));
  if (std::find(arguments.begin(), arguments.end(), "--version") != arguments.end())
    throw HelpRequested(std::string("grpo.cpp ") + program_invocation_short_name + ' ' + GRPO_VERSION + '\n');

  const Loader command_line(root, std::string(kCommandLine), given);
  // Files come first wherever they stand, so that `--set` always has the last word.
  for (const bool reading_files : {true, false}) {
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      const std::string& argument = arguments[i];
      if (!argument.starts_with("--") || argument.size() == 2)
        throw Error("config", kCommandLine, ": expected --name, got \"", cut(argument, 80), "\"; see --help");
      const std::size_t equals = argument.find('=');
      std::string name = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
      std::replace(name.begin(), name.end(), '-', '_');  // --force-from is --force_from
      std::optional<std::string> value;
      if (equals != std::string::npos) value = argument.substr(equals + 1);
      const bool next_is_value = i + 1 < arguments.size() && !arguments[i + 1].starts_with("--");
      const auto take_value = [&] {
        if (value) return *value;
        if (!next_is_value) throw Error("config", kCommandLine, ": expected a value behind --", name, ", got none");
        return arguments[++i];
      };

      if (name == "config") {
        const std::string path = take_value();
        if (reading_files) {
          const auto [text, is_new] = texts.try_emplace(path);
          if (is_new) text->second = read_input("config", path);
          Loader(root, path, given).load(root, parse_json(text->second, path), "");
        }
      } else if (reading_files) {
        if (!value && next_is_value) ++i;  // a value, or a flag's: nothing here begins with "--" but names
      } else if (name == "set") {
        const std::string assignment = take_value();
        const std::size_t split = assignment.find('=');
        if (split == std::string::npos)
          throw Error("config", kCommandLine, ": expected --set key=value, got \"", cut(assignment, 80), '"');
        const std::string key = assignment.substr(0, split);
        const std::optional<Knob> knob = find(root, key);
        if (!knob) command_line.unknown(key);
        command_line.load_text(*knob, assignment.substr(split + 1), key);
      } else {
        const std::optional<Knob> knob = find(root, name);
        if (!knob) command_line.unknown(name);
        const bool flag = std::holds_alternative<bool*>(knob->slot);
        const bool bare =
            flag && !value && !(next_is_value && (arguments[i + 1] == "true" || arguments[i + 1] == "false"));
        command_line.load_text(*knob, bare ? "true" : take_value(), name);
      }
    }
  }
}

std::string allowed_by(const Choices& choices) {
  std::string text = "one of";
  for (const std::string_view choice : choices)
    text.append(choice == *choices.begin() ? " \"" : ", \"").append(choice).append("\"");
  return text;
}

void Checker::refuse(std::string_view name, const std::string& expected, const std::string& got) const {
  throw Error("config", key_, name, ": expected ", expected, ", got ", cut(got, 80));
}

void Checker::refuse(const Error& error) const {
  const std::string_view said = error.what();
  const std::size_t end = said.find("] ");
  const std::string_view room = said.substr(1, end - 1), what = said.substr(end + 2);
  if (!key_.ends_with('.')) throw Error(room, key_, what);  // of the whole, behind the file's name if any
  const std::string_view key = std::string_view(key_).substr(0, key_.size() - 1);
  const std::size_t last = key.find_last_of(". ") + 1;  // 0 where there is none
  // "rollout.stop: …" names itself, "stop: …" is within, "expected …" is of the whole struct.
  if (what.starts_with(std::string_view(key_).substr(last))) throw Error(room, key.substr(0, last), what);
  if (what.starts_with("expected ")) throw Error(room, key, ": ", what);
  throw Error(room, key_, what);
}

std::string help(const Knob& root) {
  std::ostringstream out;
  out << "options: --config FILE (JSON with comments) · --set key=value · --name value · --version · --help\n";
  if (std::get<StructSlot>(root.slot).members.empty()) return out.str();
  out << "A key below can be given as --set key=value or --key value; entries of a map as key.name.\n\n";
  append_help(root, "", out);
  return out.str();
}

OrderedJson dump(const Knob& knob) {
  return std::visit(Overloaded{[](const EnumSlot& slot) { return OrderedJson(slot.names[slot.get()]); },
                               [](const ListSlot& list) {
                                 OrderedJson result = OrderedJson::array();
                                 for (std::size_t i = 0; i < list.size(); ++i) result.push_back(dump(list.element(i)));
                                 return result;
                               },
                               [](const StructSlot& object) {
                                 OrderedJson result = OrderedJson::object();
                                 for (const Knob& member : object.members) result[member.name] = dump(member);
                                 return result;
                               },
                               [](const auto* field) { return OrderedJson(*field); }},
                    knob.slot);
}

}  // namespace internal

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  struct Level {
    std::set<std::string> seen;
    std::string current;
  };
  std::vector<Level> levels;  // the objects that enclose the place being read
  const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (static_cast<std::size_t>(depth) > kMaxJsonDepth)
      throw Error("config", where, ": expected JSON of at most ", kMaxJsonDepth, " levels of brackets, got more");
    if (event == Json::parse_event_t::object_start) {
      levels.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      levels.pop_back();
    } else if (event == Json::parse_event_t::key) {
      levels.back().current = parsed.get<std::string>();
      if (!levels.back().seen.insert(levels.back().current).second) {
        std::string key;
        for (const Level& level : levels) key = join_key(key, level.current);
        throw Error("config", where, ": expected each key once, got \"", cut(key, 80), "\" twice; remove one");
      }
    }
    return true;
  };
  try {
    return Json::parse(text, check, /*allow_exceptions=*/true, /*ignore_comments=*/true);
  } catch (const Json::parse_error& error) {
    const std::string_view before = text.substr(0, error.byte > 0 ? error.byte - 1 : 0);
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const std::size_t column = before.size() - (before.rfind('\n') + 1) + 1;  // npos + 1 is 0
    throw Error("config", where, ':', line, ':', column, ": expected JSON, got ", json_problem(error.what()));
  } catch (const Json::exception& error) {  // "number overflow parsing '1e999'"
    const std::string_view what = error.what();
    throw Error("config", where, ": expected JSON, got a number beyond the range of doubles",
                cut(std::string(what.substr(std::min(what.find(" '"), what.size()))), 80));
  }
}

}  // namespace grpo
