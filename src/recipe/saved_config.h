// The config.json of a run.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

namespace grpo {

/// The configuration that a file holds. Throws Error that names it.
nlohmann::ordered_json saved_config(const std::filesystem::path& file);

/// Whether the knob belongs to one start of a program, not to the run.
bool is_of_the_start(std::string_view key);

}  // namespace grpo
