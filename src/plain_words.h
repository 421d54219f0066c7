// What exceptions of other libraries say, without what only their makers need.
#pragma once

#include <exception>
#include <string>

namespace grpo {

/// what(); of a file system's error the paths and the reason ("runs/x: Not a directory"), of torch's without the stack
/// trace behind it, of a lack of memory a sentence.
std::string plain_words(const std::exception& error);

/// The same of an Error without its room, "[task] ", for messages that it becomes a part of.
std::string reason_of(const std::exception& error);

}  // namespace grpo
