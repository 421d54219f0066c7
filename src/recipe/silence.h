// What is said of steps that teach nothing.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpo/answer.h"
#include "grpo/checkpoint.h"
#include "grpo/reward.h"
#include "grpo/run.h"

namespace grpo {

/// Steps in a row without a group whose rewards differ, and what their completions are like.
struct Run::Silence {
  int64_t steps = 0;
  int64_t completions = 0, formed = 0, readable = 0, judged = 0, right = 0;
  double lowest = std::numeric_limits<double>::infinity(), highest = -lowest;
  bool is_told = false;

  static constexpr std::pair<const char*, int64_t Silence::*> kCounts[] = {
      {"steps", &Silence::steps},       {"completions", &Silence::completions}, {"formed", &Silence::formed},
      {"readable", &Silence::readable}, {"judged", &Silence::judged},           {"right", &Silence::right}};

  void add(const std::vector<Group>& groups, const RewardsConfig& rewards) {
    ++steps;
    for (const Group& group : groups)
      for (size_t i = 0; i < group.completions.size(); ++i) {
        const Completion& completion = group.completions[i];
        ++completions;
        formed += !completion.answer.empty();
        readable += !completion.answer.empty() ||
                    !final_answer(completion.text, {.think_open = rewards.think_open}).empty();
        const auto accuracy = group.scores[i].find("accuracy");
        if (accuracy != group.scores[i].end() && accuracy->second.defined())
          ++judged, right += accuracy->second.value() > 0.5;
        if (const double reward = group.rewards[i]; std::isfinite(reward))
          lowest = std::min(lowest, reward), highest = std::max(highest, reward);
      }
  }

  double share(int64_t count, int64_t of) const {
    return of > 0 ? static_cast<double>(count) / static_cast<double>(of) : 0;
  }

  std::string figures() const {
    char text[200], range[80] = "no rewards";
    if (lowest <= highest) std::snprintf(range, sizeof range, "rewards from %.3f to %.3f", lowest, highest);
    std::snprintf(text, sizeof text, "with the form %.3f, with an answer that can be read %.3f, right %.3f, %s",
                  share(formed, completions), share(readable, completions), share(right, judged), range);
    return text;
  }

  std::string text() const {
    return "nothing was learned in the last " + std::to_string(steps) + " steps: in no group did two rewards differ (" +
           figures() + ")";
  }

  std::string advice(const RewardsConfig& rewards) const {
    std::string text;
    const auto add = [&](std::string_view part) { text.append(text.empty() ? "" : "; ").append(part); };
    if (share(formed, completions) < 0.5)
      add(std::string("few have the form: ask for it (chat.system, chat.open_think), reward it "
                      "(rewards.weights.format)") +
          (rewards.accuracy_needs_format ? ", let answers count outside it (rewards.accuracy_needs_format=false)" : ""));
    if (share(readable, completions) < 0.5) add("few come to an answer: raise rollout.max_new_tokens");
    if (share(right, judged) < 0.9)
      add("few are right, or always the same: easier tasks, more rollout.samples, a higher "
          "rollout.sampling.temperature, a reward that is earned sooner");
    else
      add("nearly all are right: harder tasks");
    return text;
  }

  nlohmann::ordered_json json() const {
    nlohmann::ordered_json all{{"told", is_told}};
    if (lowest <= highest) all["lowest"] = lowest, all["highest"] = highest;
    for (const auto& [name, member] : kCounts) all[name] = this->*member;
    return all;
  }
  static Silence of(const SavedState& saved) {
    Silence silence;
    silence.is_told = saved.flag("told");
    for (const auto& [name, member] : kCounts) silence.*member = saved.count(name);
    if (saved.contains("lowest")) silence.lowest = saved.number("lowest"), silence.highest = saved.number("highest");
    return silence;
  }
};

}  // namespace grpo
