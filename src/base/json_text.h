// Whether text is JSON, for model text: nothing is built, nothing recurses.
#pragma once

#include <string_view>

namespace grpo {

/// What Python's json.loads accepts: RFC 8259, numbers of any size (integers of up to 4,300 digits), and NaN, Infinity
/// and -Infinity. Linear; memory grows with the nesting.
bool is_json(std::string_view text);

}  // namespace grpo
