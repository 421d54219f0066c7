#include "recipe/stage_config.h"

#include <algorithm>

namespace grpo {
namespace fs = std::filesystem;

bool gives_policy(StageType type) { return type != StageType::rejection_sample; }

bool has_teacher_file(const StageConfig& stage) { return stage.teacher.ends_with(".jsonl"); }

bool samples(const StageConfig& stage) {
  return stage.type == StageType::rejection_sample || (stage.type == StageType::distill && !has_teacher_file(stage));
}

const std::string& asked_in(const StageConfig& stage) {
  return stage.type == StageType::distill ? stage.teacher : stage.from;
}

const StageConfig& find(const RecipeConfig& config, const std::string& name) {
  return *std::find_if(config.stages.begin(), config.stages.end(),
                       [&](const StageConfig& stage) { return stage.name == name; });
}

PolicyConfig policy_config(const RecipeConfig& config, const StageConfig& stage) {
  if (stage.from.empty()) return stage.policy;
  PolicyConfig policy = policy_config(config, find(config, stage.from));
  if (stage.policy.adapter.rank > 0) policy.adapter = stage.policy.adapter;
  return policy;
}

std::string adapter_base(const RecipeConfig& config, const StageConfig& stage) {
  if (stage.from.empty()) return stage.policy.from;
  if (stage.policy.adapter.rank > 0) return (fs::path(config.out) / stage.from / "model").string();
  return adapter_base(config, find(config, stage.from));
}

bool measures(const RecipeConfig& config, const StageConfig& stage) {
  return gives_policy(stage.type) &&
         (stage.evaluate || std::count(config.selection.begin(), config.selection.end(), stage.name));
}

std::vector<fs::path> files_of(const StageConfig& stage) {
  std::vector<fs::path> files;
  if (stage.type == StageType::sft)
    for (const DataConfig& data : stage.data)
      if (!data.file.empty()) files.push_back(data.file);
  if (stage.type == StageType::distill && has_teacher_file(stage)) files.push_back(stage.teacher);
  return files;
}

std::vector<Demonstration> read_for(const StageConfig& stage, const fs::path& file, LeftOut& left_out) {
  return read_demonstrations(file, stage.sft.on_bad, &left_out);
}

}  // namespace grpo
