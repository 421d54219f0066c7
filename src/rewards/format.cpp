// The strict reader of the reasoning form.
#include <optional>

#include "grpo/reward.h"
#include "text/utf8.h"

namespace grpo {
namespace {

constexpr std::string_view kThink = "<think>", kThinkEnd = "</think>", kAnswer = "<answer>", kAnswerEnd = "</answer>";

/// Moves `at` past white space and `tag`; false when something else stands there.
bool take(std::string_view text, std::size_t& at, std::string_view tag) {
  at = skip_white_space(text, at);
  if (!text.substr(at).starts_with(tag)) return false;
  at += tag.size();
  return true;
}

/// The text from `at` to `close`, and `at` behind that; nothing when it is blank, not closed, or holds another tag.
std::optional<std::string_view> take_body(std::string_view text, std::size_t& at, std::string_view close) {
  const std::size_t end = text.find(close, at);
  if (end == text.npos) return {};
  const std::string_view body = text.substr(at, end - at);
  for (const std::string_view tag : {kThink, kThinkEnd, kAnswer, kAnswerEnd})
    if (body.find(tag) != body.npos) return {};
  if (skip_white_space(body) == body.size()) return {};
  at = end + close.size();
  return body;
}

}  // namespace

FormatReading read_format(std::string_view text, bool think_open) {
  std::size_t at = 0;
  if (!think_open && !take(text, at, kThink)) return {};
  const auto reasoning = take_body(text, at, kThinkEnd);
  if (!reasoning || !take(text, at, kAnswer)) return {};
  const auto answer = take_body(text, at, kAnswerEnd);
  if (!answer || skip_white_space(text, at) != text.size()) return {};
  return {true, *reasoning, *answer};
}

}  // namespace grpo
