// Templates with places such as {prompt}.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace grpo {

/// `text` with each place, braces included, replaced by its value. What is filled in is not searched again, so that a
/// prompt or an answer that contains a place stays as it is.
std::string fill(std::string_view text, std::initializer_list<std::pair<std::string_view, std::string_view>> places);

}  // namespace grpo
