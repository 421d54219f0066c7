#include "grpo/run_config.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <system_error>

#include "base/files/input_file.h"
#include "recipe/saved_config.h"

namespace grpo {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

// What belongs to one start of a program, not to the run.
constexpr std::array<std::string_view, 4> kOfTheStart{"out", "resume", "resume_from", "force_from"};

}  // namespace

bool is_of_the_start(std::string_view key) {
  return std::find(kOfTheStart.begin(), kOfTheStart.end(), key) != kOfTheStart.end();
}

Json saved_config(const fs::path& file) { return Json(parse_json(read_input("run", file), file.string())); }

void RunConfig::validate() const {
  if (out.empty()) throw Error("config", "out: expected a folder, got \"\"");
}

std::vector<std::string> arguments_of_run(const std::vector<std::string>& arguments) {
  std::vector<std::string> kept;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const std::size_t equals = argument.find('=');
    std::string name = argument.substr(0, equals);
    if (name.starts_with("--")) name.erase(0, 2);
    std::replace(name.begin(), name.end(), '-', '_');
    const bool has_next =
        equals == std::string::npos && i + 1 < arguments.size() && !arguments[i + 1].starts_with("--");
    std::string subject = name;
    if (name == "set") {
      const std::string assignment =
          has_next ? arguments[i + 1] : argument.substr(std::min(equals, argument.size() - 1) + 1);
      subject = assignment.substr(0, assignment.find('='));
    }
    for (const char* wanted : {"config", "help", "_h", "out", "resume", "resume_from"})
      if (subject == wanted) {
        kept.push_back(argument);
        if (has_next) kept.push_back(arguments[i + 1]);
      }
    if (has_next) ++i;
  }
  return kept;
}

std::optional<nlohmann::json> config_of_run(const std::string& out) {
  const fs::path file = fs::path(out) / "config.json";
  std::error_code code;
  if (!fs::exists(file, code)) return std::nullopt;
  nlohmann::json config = saved_config(file);
  if (!config.is_object()) throw Error("run", file.string(), ": expected the configuration of a run, got no object");
  for (const std::string_view key : kOfTheStart) config.erase(std::string(key));
  return config;
}

std::string ConfigChange::text() const {
  const auto value = [](const Json& json) {
    if (json.is_structured()) return std::string(json.is_object() ? "{…}" : "[…]");
    return json.is_null() ? std::string("nothing") : json.dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  return key + ": " + value(before) + " → " + value(after);
}

std::vector<ConfigChange> config_changes(const Json& before, const Json& after) {
  std::vector<ConfigChange> changes;
  const std::function<void(const Json&, const Json&, const std::string&, bool)> compare =
      [&](const Json& a, const Json& b, const std::string& key, bool in_list) {
        if (a == b) return;
        const bool both = (a.is_object() && b.is_object()) || (a.is_array() && b.is_array());
        if (!both) {
          changes.push_back({key, a, b, a.is_null() && !in_list});
          return;
        }
        const auto inner = [&](const std::string& name) { return key.empty() ? name : key + "." + name; };
        if (a.is_array()) {
          for (std::size_t i = 0; i < std::max(a.size(), b.size()); ++i)
            compare(i < a.size() ? a[i] : Json(), i < b.size() ? b[i] : Json(), inner(std::to_string(i)), true);
          return;
        }
        for (const auto& [name, value] : b.items())
          compare(a.contains(name) ? a.at(name) : Json(), value, inner(name), false);
        for (const auto& [name, value] : a.items())
          if (!b.contains(name)) compare(value, Json(), inner(name), false);
      };
  compare(before, after, "", false);
  return changes;
}

bool lies_in(const std::string& key, std::initializer_list<std::string_view> knobs) {
  return std::any_of(knobs.begin(), knobs.end(), [&](std::string_view knob) {
    return key.starts_with(knob) && (key.size() == knob.size() || key[knob.size()] == '.');
  });
}

}  // namespace grpo
