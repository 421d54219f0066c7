// What follows from the configuration of a recipe's stage.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "grpo/recipe.h"

namespace grpo {

bool gives_policy(StageType type);
bool has_teacher_file(const StageConfig& stage);

/// What a stage does that samples, of those of others or of its teacher.
bool samples(const StageConfig& stage);

/// Whose policy answers there: a stage's, or that of a folder, which has a '/'.
const std::string& asked_in(const StageConfig& stage);

/// The stage of that name, which there is.
const StageConfig& find(const RecipeConfig& config, const std::string& name);

/// The shape of the policy that the stage begins with.
PolicyConfig policy_config(const RecipeConfig& config, const StageConfig& stage);

/// Where the weights are, for other tools, that the stage's adapter lies on: the model folder, or what the stage wrote
/// that it was begun over.
std::string adapter_base(const RecipeConfig& config, const StageConfig& stage);

/// Whether the recipe measures its policy.
bool measures(const RecipeConfig& config, const StageConfig& stage);

/// Where a stage's demonstrations come from that are there before it begins; and those of one such file.
std::vector<std::filesystem::path> files_of(const StageConfig& stage);
std::vector<Demonstration> read_for(const StageConfig& stage, const std::filesystem::path& file, LeftOut& left_out);

}  // namespace grpo
