#include "task_completions.h"

#include <algorithm>
#include <fstream>
#include <iostream>
#include <set>

#include "grpo/benchmarks.h"
#include "grpo/json.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

const char* name_of(grpo::Finish finish) { return finish == grpo::Finish::stop ? "stop" : "length"; }

/// The completion in a line; nothing where it has none of ours.
std::optional<grpo::Completion> completion_of(const Json& line) {
  const auto is_of = [&](const char* key, auto type) { return line.contains(key) && (line[key].*type)(); };
  if (!is_of("sample", &Json::is_number_unsigned) || !is_of("text", &Json::is_string) ||
      !is_of("ids", &Json::is_array) || !is_of("finish_reason", &Json::is_string))
    return {};
  grpo::Completion completion;
  completion.text = line["text"].get<std::string>();
  for (const Json& id : line["ids"]) {
    if (!id.is_number_integer()) return {};
    completion.tokens.push_back(id.get<int32_t>());
  }
  completion.finish = line["finish_reason"] == "stop" ? grpo::Finish::stop : grpo::Finish::length;
  return completion;
}

}  // namespace

TaskCompletions::TaskCompletions(const fs::path& file, const std::vector<std::string>& prompts,
                                 const std::string& settings, std::size_t samples)
    : samples_(samples), settings_(grpo::fingerprint(settings)) {
  for (std::size_t place = 0; place < prompts.size(); ++place)
    asked_.push_back(grpo::fingerprint(std::to_string(place) + ' ' + prompts[place]) + ' ' + settings_);
  if (file.empty()) return;
  part_ = file.string() + ".part";
  std::string there;
  for (const fs::path& each : {file, part_})
    if (fs::exists(each)) {
      read(each, each == part_);
      there += (there.empty() ? "" : " and ") + each.string();
    }
  const std::size_t found = answered();
  const std::set<std::string> now(asked_.begin(), asked_.end());
  const auto others =
      std::count_if(known_.begin(), known_.end(), [&](const auto& each) { return !now.contains(each.first); });
  if (found == asked_.size() && found > 0)
    std::cerr << "all tasks are answered in " << there << ", and are scored again\n";
  else if (found > 0)
    std::cerr << "goes on with " << asked_.size() - found << " of " << asked_.size() << " tasks from "
              << there << '\n';
  if (others > 0)
    std::cerr << "tasks that were answered in " << there << " in other words or in another place: " << others
              << "; what is asked now is asked anew\n";
}

void TaskCompletions::read(const fs::path& file, bool is_part) {
  std::ifstream in(file, std::ios::binary);
  // (The last line of a file that a stop cut short has no end.)
  for (std::string text; std::getline(in, text) && !in.eof();) {
    if (is_part) bytes_ += text.size() + 1;
    const Json line = grpo::read_json<Json>(text);
    if (!line.is_object() || !line.contains("asked") || !line["asked"].is_string()) continue;
    const auto asked = line["asked"].get<std::string>();
    if (!asked.ends_with(' ' + settings_)) {
      if (!is_part) continue;
      throw grpo::Error("evaluate", file.string(),
                        ": expected completions of this model with these settings (temperature, top_p, max_new_tokens, "
                        "seed), got others'; take another --out, or remove that file to begin anew");
    }
    if (auto completion = completion_of(line))
      known_[asked][line["sample"].get<std::size_t>()] = std::move(*completion);
  }
}

std::size_t TaskCompletions::answered() const {
  return static_cast<std::size_t>(std::count_if(asked_.begin(), asked_.end(), [&](const std::string& asked) {
    const auto found = known_.find(asked);
    return found != known_.end() && found->second.size() >= samples_;
  }));
}

bool TaskCompletions::find(grpo::Group& group) const {
  const auto found = known_.find(asked_.at(group.index));
  if (found == known_.end()) return false;
  std::vector<grpo::Completion> completions;
  for (const auto& [sample, completion] : found->second)
    if (sample == completions.size() && sample < samples_) completions.push_back(completion);
  if (completions.size() < samples_) return false;
  group.completions = std::move(completions);
  return true;
}

void TaskCompletions::add(const grpo::Group& group) {
  if (part_.empty()) return;
  if (!out_) out_.emplace(part_, bytes_ > 0 ? std::optional(bytes_) : std::nullopt);
  for (std::size_t i = 0; i < group.completions.size(); ++i) out_->write(line(group, i));
}

void TaskCompletions::remove_part() {
  out_.reset();
  bytes_ = 0;
  std::error_code none;
  fs::remove(part_, none);
}

Json TaskCompletions::line(const grpo::Group& group, std::size_t sample, const Json& more) const {
  const grpo::Completion& completion = group.completions[sample];
  Json line{{"task", group.task.id},
            {"sample", sample},
            {"prompt", group.task.prompt},
            {"reference", group.task.answer},
            {"text", completion.text}};
  line.update(more);
  line["ids"] = completion.tokens;
  line["finish_reason"] = name_of(completion.finish);
  line["asked"] = asked_.at(group.index);
  return line;
}
