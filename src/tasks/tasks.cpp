#include "grpo/tasks.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <system_error>
#include <unordered_set>

#include "base/files/input_file.h"
#include "base/nearest.h"
#include "grpo/json.h"
#include "grpo/language.h"
#include "tasks/generators.h"

namespace grpo {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kOrder = 1, kWording = 2;  // purposes of draws

std::string describe(const Json& value) {
  if (value.is_array()) return "an array";
  if (value.is_object()) return "an object";
  return std::string(value.is_null() ? "" : "a ") + value.type_name();
}

/// Reads one line of a JSONL file.
class Line {
 public:
  Line(std::string where, const std::string& text) : where_(std::move(where)) {
    JsonFault fault;
    json_ = read_json<Json>(text, LongNumbers::as_text, &fault);
    if (json_.is_discarded()) refuse("a JSON object", fault.problem);
    if (!json_.is_object()) refuse("an object with \"prompt\"", describe(json_));
  }

  const std::string& where() const { return where_; }

  /// A key that is nobody's and nearly `known`, which the line lacks; "" where there is none.
  std::string slip_of(std::string_view known) const {
    if (json_.contains(known)) return "";
    for (const auto& [key, value] : json_.items())
      if (is_slip_of(key, known)) return key;
    return "";
  }

  Task task(std::string default_id) const { return task(std::move(default_id), conversation()); }

  Demonstration demonstration(std::string default_id) const {
    std::vector<Message> turns = conversation();
    std::string completion;
    if (json_.contains("completion") || turns.back().role != "assistant") {
      completion = this->completion();
    } else {
      completion = std::move(turns.back().content);
      turns.pop_back();
    }
    if (completion.empty()) refuse("a \"completion\" to learn", "an empty one");
    return {task(std::move(default_id), std::move(turns)), std::move(completion)};
  }

 private:
  Task task(std::string default_id, std::vector<Message> turns) const {
    Task task;
    const auto asked =
        std::find_if(turns.rbegin(), turns.rend(), [](const Message& each) { return each.role == "user"; });
    if (asked == turns.rend() || turns.back().role == "assistant")
      refuse("a conversation that ends with what is to be answered",
             asked == turns.rend() ? "one in which no user asks" : "one that ends with the assistant's turn");
    task.prompt = asked->content;
    if (task.prompt.empty()) refuse("a \"prompt\" that asks something", "an empty one");
    if (turns.size() > 1) task.messages = std::move(turns);
    task.id = text("id", std::move(default_id), /*number_too=*/true);
    task.answer = text("answer", "", /*number_too=*/true);
    task.kind = text("kind", "", /*number_too=*/false);
    task.language = text("language", "en", /*number_too=*/false);
    if (!task.language.empty() && !knows_language(task.language))
      refuse("one of " + known_languages() + " as \"language\"", '"' + task.language + '"');
    task.where = where_;
    return task;
  }

  /// What is asked, turn by turn: of a text the user's one.
  std::vector<Message> conversation() const {
    const bool has_prompt = json_.contains("prompt") && !json_["prompt"].is_null();
    const char* const key = has_prompt || !json_.contains("messages") ? "prompt" : "messages";
    if (!json_.contains(key)) refuse_without("prompt");
    if (json_[key].is_string()) return {{"user", json_[key].get<std::string>()}};
    return turns(key);
  }

  std::string completion() const {
    if (!json_.contains("completion")) refuse_without("completion");
    if (json_["completion"].is_string()) return json_["completion"].get<std::string>();
    std::vector<Message> all = turns("completion");
    if (all.size() != 1 || all[0].role != "assistant")
      refuse("the assistant's one turn as \"completion\"", "another conversation");
    return std::move(all[0].content);
  }

  std::vector<Message> turns(const std::string& key) const {
    const std::string expected = "a string as \"" + key + "\", or a list of {\"role\", \"content\"}";
    const Json& list = json_[key];
    if (!list.is_array()) refuse(expected, describe(list));
    if (list.empty()) refuse(expected, "an empty list");
    std::vector<Message> all;
    for (const Json& each : list) {
      for (const char* part : {"role", "content"})
        if (!each.is_object() || !each.contains(part) || !each[part].is_string())
          refuse(expected, each.is_object() ? "one whose \"" + std::string(part) + "\" is no string"
                                            : "a list with " + describe(each));
      all.push_back({each["role"].get<std::string>(), each["content"].get<std::string>()});
    }
    return all;
  }

  std::string text(const std::string& key, std::string otherwise, bool number_too) const {
    const auto found = json_.find(key);
    if (found == json_.end() || found->is_null()) return otherwise;
    if (found->is_string()) return found->get<std::string>();
    const std::string expected = "a string" + std::string(number_too ? " or a number" : "") + " as \"" + key + "\"";
    if (!number_too || !found->is_number()) refuse(expected, describe(*found));
    return found->dump();
  }

  [[noreturn]] void refuse_without(const std::string& key) const {
    const std::string slip = slip_of(key);
    refuse("an object with \"" + key + '"', slip.empty() ? "one without" : "one with \"" + slip + "\" instead");
  }
  [[noreturn]] void refuse(const std::string& expected, const std::string& got) const {
    throw Error("task", where_, ": expected ", expected, ", got ", got);
  }

  std::string where_;
  Json json_;
};

}  // namespace

namespace {

// Keys that a slip of the pen leaves a task without, and nothing else would tell of. (An "id" goes unmissed.)
constexpr std::array<std::string_view, 3> kOptionalKeys{"answer", "kind", "language"};

// Calls `take` with every line of a JSONL file and the id that a task without one gets. What it refuses is an error, or
// left out.
template <class Take>
void read_lines(const std::filesystem::path& path, const std::string& what, BadTasks on_bad, LeftOut* wanted,
                Take take) {
  struct Slip {
    std::string where;
    std::string_view meant;
    std::size_t count = 0;
  };
  std::map<std::string, Slip> slips;
  LeftOut unwanted;
  LeftOut& left_out = wanted ? *wanted : unwanted;
  std::istringstream file(read_input("task", path));
  std::string text;
  std::size_t count = 0;
  for (std::size_t number = 1; std::getline(file, text); ++number) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    ++left_out.of;
    try {
      const Line line(path.string() + ":" + std::to_string(number), text);
      take(line, path.stem().string() + ":" + std::to_string(number));
      ++count;
      for (const std::string_view key : kOptionalKeys) {
        const std::string slip = line.slip_of(key);
        if (!slip.empty()) ++slips.try_emplace(slip, Slip{line.where(), key}).first->second.count;
      }
    } catch (const Error& error) {
      if (on_bad == BadTasks::refuse) throw;
      left_out.add(error);
    }
  }
  if (count == 0 && left_out.count > 0)
    throw Error("task", "expected at least one ", what, ", got none; ", left_out.text("lines"));
  if (count == 0) throw Error("task", path.string(), ": expected at least one ", what, ", got none");
  for (const auto& [key, slip] : slips)
    left_out.remarks.push_back(slip.where + ": unknown key \"" + key + "\" in " + std::to_string(slip.count) +
                               (slip.count == 1 ? " line" : " lines") + "; did you mean \"" + std::string(slip.meant) +
                               "\"?");
}

}  // namespace

void LeftOut::add(std::string_view why) {
  constexpr std::size_t kNamed = 3;
  if (first.size() < kNamed) first.emplace_back(why);
  ++count;
}

void LeftOut::add(const Error& error) { add(std::string_view(reason_of(error))); }

void LeftOut::add(const LeftOut& other) {
  of += other.of;
  for (const std::string& why : other.first) add(why);
  count += other.count - other.first.size();
  for (const std::string& remark : other.remarks)
    if (std::find(remarks.begin(), remarks.end(), remark) == remarks.end()) remarks.push_back(remark);
}

std::string LeftOut::text(std::string_view what) const {
  std::string all = std::to_string(count) + " of " + std::to_string(of) + ' ' + std::string(what) + " are left out";
  for (const std::string& why : first) all += (&why == first.data() ? ": " : "; ") + why;
  return all + (count > first.size() ? "; …" : "");
}

void leave_out(std::vector<Task>& tasks, const TaskCheck& check, BadTasks on_bad, LeftOut& left_out) {
  if (!check) return;
  std::erase_if(tasks, [&](const Task& task) {
    const std::string why = check(task);
    if (why.empty()) return false;
    if (on_bad == BadTasks::refuse)
      throw Error("task", task.name(), ": ", why, "; or leave such tasks out with on_bad = drop");
    left_out.add(task.name() + ": " + why);
    return true;
  });
}

std::vector<Task> read_tasks(const std::filesystem::path& path, BadTasks on_bad, LeftOut* left_out) {
  std::vector<Task> tasks;
  read_lines(path, "task", on_bad, left_out,
             [&](const Line& line, std::string id) { tasks.push_back(line.task(std::move(id))); });
  return tasks;
}

std::vector<Demonstration> read_demonstrations(const std::filesystem::path& path, BadTasks on_bad, LeftOut* left_out) {
  std::vector<Demonstration> all;
  read_lines(path, "demonstration", on_bad, left_out,
             [&](const Line& line, std::string id) { all.push_back(line.demonstration(std::move(id))); });
  return all;
}

// ---- Configs ----

void ArithmeticConfig::validate() const {
  if (operators.empty() || operators.find_first_not_of("+-*") != std::string::npos ||
      std::unordered_set<char>(operators.begin(), operators.end()).size() != operators.size())
    throw Error("task", "operators: expected some of + - *, each at most once, got \"", operators, '"');
}

void CountdownConfig::validate() const {
  if (max_numbers < min_numbers)
    throw Error("task", "min_numbers: expected at most max_numbers, got ", min_numbers, " and ", max_numbers);
  if (max_target < min_target)
    throw Error("task", "min_target: expected at most max_target, got ", min_target, " and ", max_target);
  const bool known = operators.find_first_not_of("+-*/") == operators.npos;
  if (!known || operators.find('+') == operators.npos ||
      std::unordered_set<char>(operators.begin(), operators.end()).size() != operators.size())
    throw Error("task", "operators: expected some of + - * /, each at most once, and + among them, got \"", operators,
                '"');
}

void TasksConfig::validate() const {
  if (file.empty() && !heldout_file.empty())
    throw Error("task", "file: expected one beside heldout_file, got none; name the file of training tasks");
  for (const auto& [key, name] : {std::pair{"file", &file}, std::pair{"heldout_file", &heldout_file}})
    if (*name == "-") throw Error("task", key, ": expected a file that a resumed run can read again, got standard input");
  if (languages.empty()) throw Error("task", "languages: expected at least one of en and ko, got none");
  std::error_code none;
  if (!heldout_file.empty() && std::filesystem::equivalent(file, heldout_file, none))
    throw Error("task", "heldout_file: expected another file than the one of training tasks, got ", heldout_file,
                " for both; without a heldout_file a share of the tasks is held out");
}

TasksConfig TasksConfig::seeded(std::uint64_t run_seed) const {
  TasksConfig config = *this;
  if (seed == 0) config.seed = run_seed;
  return config;
}

// ---- TaskStream ----

namespace {

/// All that a task asks, by which it is held out: of a conversation every turn.
std::string text_asked(const Task& task) {
  if (task.messages.empty()) return task.prompt;
  std::string text;
  for (const Message& each : task.messages) text += each.role + '\n' + each.content + '\n';
  return text;
}

}  // namespace

struct TaskStream::Source {
  Source(const TasksConfig& config, Split split, const TaskCheck& check)
      : split(split), seed(config.seed), check(check) {
    validate(config, "tasks");
    if (config.file.empty()) {
      problems.emplace(config);
    } else {
      tasks = tasks_of_split(config);
      leave_out(tasks, check, config.on_bad, left_out);
    }
    bool found = false;
    const bool possible = split == Split::train || config.heldout_share > 0 || !problems;
    for (std::uint64_t index = 0; possible && !found && index < size(); ++index) found = contains(index);
    if (!found) {
      const std::string from = config.file.empty() ? "the generator" : config.file;
      throw Error("task", from, ": expected at least one ", split == Split::train ? "training" : "held-out",
                  " task, got none; ",
                  left_out.count > 0 ? left_out.text()
                                     : "change tasks.heldout_share (" + internal::number_text(config.heldout_share) +
                                           ")" + (split == Split::train ? "" : ", name a tasks.heldout_file,") +
                                           " or give more tasks");
    }
  }

  std::vector<Task> tasks_of_split(const TasksConfig& config) {
    if (!config.heldout_file.empty()) {
      LeftOut other;  // the other split's own stream counts these
      std::vector<Task> heldout =
          read_tasks(config.heldout_file, config.on_bad, split == Split::heldout ? &left_out : &other);
      if (split == Split::heldout) return heldout;
      std::unordered_set<std::string> asked;
      for (const Task& task : heldout) asked.insert(text_asked(task));
      std::vector<Task> train = read_tasks(config.file, config.on_bad, &left_out);
      leave_out(
          train,
          [&](const Task& task) {
            return asked.contains(text_asked(task)) ? "it is a held-out one, too, by " + config.heldout_file : "";
          },
          BadTasks::drop, left_out);
      return train;
    }
    std::vector<Task> all = read_tasks(config.file, config.on_bad, &left_out);
    std::erase_if(all, [&](const Task& task) {
      return is_held_out(text_asked(task), config.heldout_share) != (split == Split::heldout);
    });
    return all;
  }

  std::uint64_t size() const {
    return problems ? problems->size() : tasks.size();
  }  // tasks of the other split included
  bool contains(std::uint64_t index) const { return !problems || problems->contains(index, split); }

  Task task(std::uint64_t index, std::uint64_t epoch) const {
    if (!problems) return tasks[index];
    Draws draws{kWording, seed, epoch, index};
    const Problem problem = problems->canonical(index);
    Task task = problems->task(ProblemSet::reordered(problem, draws), draws);
    task.id = task.kind + ":" + text_of(problem);
    return task;
  }

  Split split;
  std::uint64_t seed;
  TaskCheck check;
  std::optional<ProblemSet> problems;  // or else:
  std::vector<Task> tasks;
  LeftOut left_out;
};

TaskStream::TaskStream(const TasksConfig& config, Split split, const TaskCheck& check)
    : source_(std::make_unique<Source>(config, split, check)) {
  if (check && config.file.empty()) {  // a generator whose tasks do not fit says so before any work
    take(1);
    seek(0);
  }
}
TaskStream::~TaskStream() = default;
TaskStream::TaskStream(TaskStream&&) noexcept = default;
TaskStream& TaskStream::operator=(TaskStream&&) noexcept = default;

std::vector<Task> TaskStream::take(std::size_t count) {
  return take_before(std::numeric_limits<std::uint64_t>::max(), count);
}

std::vector<Task> TaskStream::take_before(std::uint64_t end, std::size_t count) {
  constexpr std::size_t kMostRefused = 10'000;  // in a row: hardly any will fit
  std::vector<Task> tasks;
  for (std::size_t refused = 0; tasks.size() < count && cursor_ < end;) {
    const std::uint64_t epoch = cursor_ / source_->size(), place = cursor_ % source_->size();
    const std::uint64_t index = permuted(place, source_->size(), Draws{kOrder, source_->seed, epoch}.next());
    ++cursor_;
    if (!source_->contains(index)) continue;
    tasks.push_back(source_->task(index, epoch));
    if (!source_->problems || !source_->check) continue;
    const std::string why = source_->check(tasks.back());
    refused = why.empty() ? 0 : refused + 1;
    if (refused == kMostRefused)
      throw Error("task", "expected generated tasks that fit, got ", refused, " in a row that do not: \"",
                  tasks.back().prompt, "\": ", why);
    if (!why.empty()) tasks.pop_back();
  }
  return tasks;
}

std::vector<Task> TaskStream::preview() const {
  if (!source_->problems) return source_->tasks;
  constexpr std::uint64_t kLookedAt = 64;
  std::vector<Task> tasks;
  for (std::uint64_t place = 0; place < source_->size() && tasks.size() < kLookedAt; ++place) {
    const std::uint64_t index = permuted(place, source_->size(), Draws{kOrder, source_->seed, 0}.next());
    if (source_->contains(index)) tasks.push_back(source_->task(index, 0));
  }
  return tasks;
}

const LeftOut& TaskStream::left_out() const { return source_->left_out; }

std::size_t TaskStream::size() const {
  std::size_t members = 0;
  for (std::uint64_t index = 0; index < source_->size(); ++index) members += source_->contains(index);
  return members;
}

std::vector<Task> heldout_tasks(const TasksConfig& config, std::size_t count, const TaskCheck& check,
                                LeftOut* left_out) {
  if (count == 0) return {};
  TasksConfig fixed = config;
  fixed.seed = 0;
  TaskStream stream(fixed, Split::heldout, check);
  if (left_out) left_out->add(stream.left_out());
  return stream.take_before(stream.source_->size(), count);  // the first epoch
}

}  // namespace grpo
