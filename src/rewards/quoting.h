// Text that nobody vouches for, inside a question to a judge.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace grpo {

/// `question` with each place such as {answer} filled in so that what is filled in cannot speak for anybody else: see
/// rating_prompt in verdict.h for the rule. Linear.
std::string fill_quoted(std::string_view question,
                        std::initializer_list<std::pair<std::string_view, std::string_view>> places);

}  // namespace grpo
