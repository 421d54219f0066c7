#include "grpo/screen.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <unordered_map>

#include "grpo/reward.h"
#include "text/utf8.h"

namespace grpo {
namespace {

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> words;
  for (std::size_t at = skip_white_space(text); at < text.size(); at = skip_white_space(text, at)) {
    const std::size_t begin = at;
    while (at < text.size() && skip_white_space(text, at) == at) at += decode_utf8(text, at).size;
    words.push_back(text.substr(begin, at - begin));
  }
  return words;
}

std::string normalized(std::string_view text) {
  std::string out;
  for (const std::string_view word : split(text)) (out += word) += ' ';
  return out;
}

std::optional<double> score_of(const Scores& scores, const char* name) {
  const auto found = scores.find(name);
  return found != scores.end() && found->second.defined() ? std::optional<double>(found->second.value()) : std::nullopt;
}

// The first rule that a completion breaks on its own, or `kept`.
Dropped judge_alone(const Group& group, std::size_t sample, const ScreenConfig& config) {
  const Completion& completion = group.completions[sample];
  const Scores& scores = group.scores[sample];
  if (completion.finish == Finish::length) return Dropped::truncated;
  if (score_of(scores, "format") != 1.0) return Dropped::malformed;
  if (config.max_tokens > 0 && completion.tokens.size() > static_cast<std::size_t>(config.max_tokens))
    return Dropped::overlong;
  if (!group.task.answer.empty() && score_of(scores, "accuracy").value_or(0) < 1) return Dropped::wrong;
  if (!group.task.language.empty() && config.min_language_consistency > 0 &&
      score_of(scores, "language_consistency").value_or(0) < config.min_language_consistency)
    return Dropped::mixed;
  if (most_repeated(completion.text, static_cast<std::size_t>(config.repetition_words)) >
      static_cast<std::size_t>(config.max_repetitions))
    return Dropped::repetitive;
  if (group.task.answer.empty() && score_of(scores, "helpful").value_or(0) < config.min_helpful)
    return Dropped::unconvincing;
  if (score_of(scores, "harmless").value_or(1) < config.min_harmless) return Dropped::unconvincing;
  return Dropped::kept;
}

}  // namespace

std::size_t most_repeated(std::string_view text, std::size_t words) {
  if (words == 0) throw Error("screen", "expected sequences of at least one word, got 0");
  const std::string even = normalized(text);  // so that a sequence is one view of it, whatever white space was between
  const std::vector<std::string_view> all = split(even);
  std::unordered_map<std::string_view, std::size_t> seen;
  std::size_t most = 0;
  for (std::size_t i = 0; i + words <= all.size(); ++i) {
    const char* begin = all[i].data();
    const char* end = all[i + words - 1].data() + all[i + words - 1].size();
    most = std::max(most, ++seen[std::string_view(begin, static_cast<std::size_t>(end - begin))]);
  }
  return most;
}

std::vector<Dropped> screen(const Group& group, const ScreenConfig& config) {
  validate(config, "screen");
  if (const std::size_t size = group.completions.size(); group.scores.size() != size || group.rewards.size() != size)
    throw Error("screen", "expected scores and a reward for each of ", size, " completions, got ", group.scores.size(),
                " and ", group.rewards.size());
  std::vector<Dropped> verdicts;
  std::vector<std::size_t> good;
  std::set<std::string> texts;
  for (std::size_t i = 0; i < group.completions.size(); ++i) {
    Dropped verdict = judge_alone(group, i, config);
    if (verdict == Dropped::kept && !texts.insert(normalized(group.completions[i].text)).second)
      verdict = Dropped::duplicate;
    if (verdict == Dropped::kept) good.push_back(i);
    verdicts.push_back(verdict);
  }
  const auto reward = [&](std::size_t i) {
    return std::isnan(group.rewards[i]) ? -std::numeric_limits<double>::infinity() : group.rewards[i];
  };
  std::stable_sort(good.begin(), good.end(), [&](std::size_t a, std::size_t b) { return reward(a) > reward(b); });
  for (std::size_t i = static_cast<std::size_t>(config.best); i < good.size(); ++i)
    verdicts[good[i]] = Dropped::surplus;
  return verdicts;
}

}  // namespace grpo
