// Reading a file as a whole.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace grpo {

/// All bytes of a file, or of a pipe that somebody writes to (as a shell's <(…)); "-" is standard input, whatever that
/// is. Throws Error of `room` that names it for what is not there or cannot be read, a folder, a device, which might
/// never end, and a pipe without a writer.
std::string read_input(std::string_view room, const std::filesystem::path& file);

/// Whether there is a file or folder of that name, as far as can be told.
bool is_there(const std::filesystem::path& place);

}  // namespace grpo
