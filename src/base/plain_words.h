// Words for errors: what exceptions of other libraries say, without what only their makers need, and long texts.
#pragma once

#include <cstddef>
#include <exception>
#include <string>

namespace grpo {

/// what(); of a file system's error the paths and the reason ("runs/x: Not a directory"), of torch's without the stack
/// trace behind it, of a lack of memory a sentence.
std::string plain_words(const std::exception& error);

/// `text`, or where it has more bytes than `limit` the characters that these hold, and "…".
std::string cut(std::string text, std::size_t limit);

}  // namespace grpo
