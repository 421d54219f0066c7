// The tensors of model folders and of adapters' folders, and what of a policy they are.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "grpo/policy.h"
#include "grpo/safetensors.h"
#include "policy/pretrained_config.h"

namespace grpo {

/// A tensor of the folder, and the part of the policy's that it is, with what an adapter adds to it.
struct Slot {
  std::string name;
  Tensor part;
  Tensor a = {}, b = {};  ///< undefined: nothing
  double scale = 0;

  Tensor value() const { return a.defined() ? merged(part, a, b, scale) : part; }
};

/// All of a model folder. Throws Error, naming `where`, for a policy that the family cannot say.
std::vector<Slot> slots_of(const Policy& policy, const Family& family, const std::string& where);

/// Where a slot's tensor lies.
struct Source {
  const SafetensorsFile* file = nullptr;
  const SafetensorsFile::Entry* entry = nullptr;
};

/// A source for each slot. Throws Error that lists all tensors which are missing, of another shape, or surplus and
/// not `passed_over`; `json` is the file `described_in`, which says whether they are quantised.
std::vector<Source> sources_of(const std::vector<Slot>& slots, const std::vector<SafetensorsFile>& files,
                               const std::function<bool(const std::string& name)>& passed_over,
                               const nlohmann::json& json, const std::string& where, const char* described_in);

/// Reads the adapter in `folder` (PEFT's form) into a policy of the form of the model folder `like`. Throws Error as
/// sources_of does, and where adapter_config.json says another rank or factor than the policy has.
void load_adapter(const Policy& policy, const std::filesystem::path& folder, const std::filesystem::path& like);

}  // namespace grpo
