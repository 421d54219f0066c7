#include "grpo/instructions.h"

#include <algorithm>
#include <limits>
#include <sstream>

#include "base/files/input_file.h"
#include "grpo/error.h"
#include "grpo/json.h"
#include "rewards/instruction_checks.h"
#include "text/code_points.h"
#include "text/utf8.h"

namespace grpo {
namespace {

constexpr std::size_t kMostInstructions = 100;

nlohmann::json parse_object(std::string_view text, std::string_view where) {
  JsonFault fault;
  auto json = read_json<nlohmann::json>(text, LongNumbers::round, &fault);
  if (json.is_discarded()) throw Error("instructions", where, ": expected JSON, got ", fault.problem);
  if (!json.is_object()) throw Error("instructions", where, ": expected an object, got ", json.type_name());
  return json;
}

const nlohmann::json& list_in(const nlohmann::json& object, const char* key, std::string_view where) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array())
    throw Error("instructions", where, ": expected a list \"", key, "\", got ",
                found == object.end() ? "nothing" : found->type_name());
  return *found;
}

/// Where `text` keeps its lines when the first, the last or both of them are dropped; stripped, as the benchmark does.
std::string_view without_lines(std::string_view text, bool first, bool last) {
  if (first) {
    const std::size_t end = text.find('\n');
    text = end == text.npos ? std::string_view() : text.substr(end + 1);
    if (last && end == text.npos) return {};
  }
  if (last) {
    const std::size_t end = text.rfind('\n');
    text = end == text.npos ? std::string_view() : text.substr(0, end);
  }
  return strip_space(text);
}

bool holds_text(std::string_view text) { return !strip_space(text).empty(); }

}  // namespace

// ---- The instructions of a prompt -----------------------------------------------------------------------------------

struct Instructions::Checks {
  std::vector<std::string> ids;
  std::vector<InstructionCheck> checks;
};

Instructions::Instructions(std::string_view json, std::string_view where) {
  const nlohmann::json object = parse_object(json, where);
  const nlohmann::json& ids = list_in(object, "instruction_id_list", where);
  const nlohmann::json& arguments = list_in(object, "kwargs", where);
  if (ids.empty() || ids.size() != arguments.size() || ids.size() > kMostInstructions)
    throw Error("instructions", where, ": expected 1 to ", kMostInstructions, " instructions with as many kwargs, got ",
                ids.size(), " and ", arguments.size());
  auto checks = std::make_shared<Checks>();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::string place = std::string(where) + ".kwargs." + std::to_string(i);
    if (!ids[i].is_string())
      throw Error("instructions", where, ": expected names in instruction_id_list, got ", ids[i].type_name());
    checks->ids.push_back(ids[i].get<std::string>());
    checks->checks.push_back(make_instruction_check(checks->ids.back(), arguments[i], place));
  }
  checks_ = std::move(checks);
}

const std::vector<std::string>& Instructions::ids() const { return checks_->ids; }

InstructionVerdicts Instructions::check(std::string_view response, IdentifyLanguage identify) const {
  std::string storage;
  const std::string_view text = valid_utf8(response, storage);

  // The loose readings, those aside that read as an earlier one does.
  std::vector<std::string> readings;
  const auto add = [&](std::string reading) {
    if (holds_text(reading) && std::find(readings.begin(), readings.end(), reading) == readings.end())
      readings.push_back(std::move(reading));
  };
  const bool any_text = holds_text(text);
  add(std::string(text));
  add(std::string(without_lines(text, true, false)));
  add(std::string(without_lines(text, false, true)));
  add(std::string(without_lines(text, true, true)));
  for (std::size_t i = 0, whole = readings.size(); i < whole; ++i) {
    std::string bare = readings[i];
    std::erase(bare, '*');
    add(std::move(bare));
  }
  std::vector<ResponseText> texts;
  for (const std::string& reading : readings) texts.emplace_back(reading, identify);

  InstructionVerdicts verdicts;
  for (const InstructionCheck& check : checks_->checks) {
    verdicts.strict.push_back(any_text && check(texts.front()));
    verdicts.loose.push_back(verdicts.strict.back() ||
                             (any_text && std::any_of(texts.begin() + 1, texts.end(), check)));
  }
  return verdicts;
}

bool Instructions::followed(std::string_view response, IdentifyLanguage identify) const {
  std::string storage;
  const std::string_view text = valid_utf8(response, storage);
  const ResponseText reading(text, identify);
  return holds_text(text) && std::all_of(checks_->checks.begin(), checks_->checks.end(),
                                         [&](const InstructionCheck& check) { return check(reading); });
}

// ---- The benchmark --------------------------------------------------------------------------------------------------

bool InstructionVerdicts::all_strict() const { return std::find(strict.begin(), strict.end(), false) == strict.end(); }
bool InstructionVerdicts::all_loose() const { return std::find(loose.begin(), loose.end(), false) == loose.end(); }

std::vector<InstructionPrompt> read_instruction_prompts(const std::string& path) {
  std::istringstream file(read_input("instructions", path));
  std::vector<InstructionPrompt> prompts;
  std::size_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (!holds_text(line)) continue;
    const std::string where = path + ":" + std::to_string(number);
    const nlohmann::json object = parse_object(line, where);
    const auto prompt = object.find("prompt"), key = object.find("key");
    if (prompt == object.end() || !prompt->is_string())
      throw Error("instructions", where, ": expected a string \"prompt\", got ",
                  prompt == object.end() ? "nothing" : prompt->type_name());
    const std::string name = key == object.end() ? std::to_string(number)
                             : key->is_string()  ? key->get<std::string>()
                                                 : key->dump();
    prompts.push_back({name, prompt->get<std::string>(), Instructions(line, where)});
  }
  return prompts;
}

double InstructionAccuracy::Share::value() const {
  return of == 0 ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(followed) / static_cast<double>(of);
}

void InstructionAccuracy::add(const Instructions& instructions, const InstructionVerdicts& verdicts) {
  const auto count = [](Share& share, bool followed) {
    share.followed += followed;
    ++share.of;
  };
  if (verdicts.strict.size() != instructions.ids().size() || verdicts.loose.size() != verdicts.strict.size())
    throw Error("instructions", "expected ", instructions.ids().size(), " verdicts of each reading, got ",
                verdicts.strict.size(), " and ", verdicts.loose.size());
  count(prompt_strict, verdicts.all_strict());
  count(prompt_loose, verdicts.all_loose());
  for (std::size_t i = 0; i < verdicts.strict.size(); ++i) {
    count(instruction_strict, verdicts.strict[i]);
    count(instruction_loose, verdicts.loose[i]);
    count(strict_by_type[instructions.ids()[i]], verdicts.strict[i]);
  }
}

}  // namespace grpo
