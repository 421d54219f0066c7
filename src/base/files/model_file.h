// The small files of a model folder. Whoever wrote them may have meant harm.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace grpo {

/// More than any of these files has; those with the weights are read elsewhere.
inline constexpr std::uintmax_t kMostModelFileBytes = std::uintmax_t{256} << 20;

/// The bytes of a file, none where there is no such file. Links are followed (a cache of Hugging Face's consists of
/// them), but only to a regular file: a device or a pipe might never end. Throws Error of `room` naming the file.
std::optional<std::string> read_model_file(std::string_view room, const std::filesystem::path& file);

/// JSON that is safe to copy, print and destroy, all of which nlohmann does by recursion: at most 100 levels deep. Keys
/// that come twice, comments, and anything behind the value are refused. Throws Error naming `where` and the place.
nlohmann::json parse_model_json(std::string_view text, const std::string& where);

/// The JSON object that such a file holds; none where there is no such file. Throws Error that names the file.
std::optional<nlohmann::json> read_model_object(std::string_view room, const std::filesystem::path& file);

}  // namespace grpo
