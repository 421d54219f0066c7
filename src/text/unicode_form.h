// Unicode's normal forms, as the `tokenizers` package knows them.
#pragma once

#include <string>
#include <string_view>

namespace grpo {

enum class UnicodeForm { nfc, nfd, nfkc, nfkd };

/// `text` (valid UTF-8) in that form, in linear time but for the sorting of long runs of combining marks.
std::string normalize(UnicodeForm form, std::string_view text);

}  // namespace grpo
