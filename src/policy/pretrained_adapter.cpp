// Adapters as PEFT reads and writes them: adapter_config.json and adapter_model.safetensors, whose tensors are named
// after the projections of the model folder: base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>
#include <system_error>

#include "base/files/durable_file.h"
#include "base/plain_words.h"
#include "grpo/error.h"
#include "grpo/pretrained.h"
#include "policy/pretrained_tensors.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kAdapterConfig = "adapter_config.json";
constexpr const char* kAdapterWeights = "adapter_model.safetensors";
constexpr std::string_view kPrefix = "base_model.model.", kA = ".lora_A.weight", kB = ".lora_B.weight";
constexpr std::string_view kWeight = ".weight";

SafetensorsFile weights_in(const fs::path& folder) {
  std::error_code ignored;
  if (fs::symlink_status(folder / kAdapterWeights, ignored).type() == fs::file_type::not_found)
    throw Error("pretrained", folder.string(), ": expected ", kAdapterWeights, " beside ", kAdapterConfig,
                ", got none");
  return SafetensorsFile(folder / kAdapterWeights);
}

std::string leaf_of(std::string_view module) { return std::string(module.substr(module.rfind('.') + 1)); }

// "model.layers.3.mlp.down_proj.weight" without ".weight".
std::string module_of(const Slot& slot) { return slot.name.substr(0, slot.name.size() - kWeight.size()); }

// The parts of a policy that a folder of its adapter has.
std::vector<Slot> adapter_slots(const Policy& policy, const fs::path& like, const std::string& where) {
  const Family& family = family_of(object_in(like / kConfig), (like / kConfig).string());
  std::vector<Slot> slots;
  for (const Slot& each : slots_of(policy, family, where)) {
    if (!each.a.defined()) continue;
    for (const auto& [end, factor] : {std::pair(kA, each.a), std::pair(kB, each.b)})
      slots.push_back({std::string(kPrefix).append(module_of(each)).append(end), factor});
  }
  return slots;
}

// The modules to adapt: by their last names where these mean no others in the model ("q_proj"), else with what
// stands in front of them in a layer ("mlp.shared_experts.up_proj").
std::set<std::string> target_modules(const Policy& policy, const fs::path& like) {
  const Family& family = family_of(object_in(like / kConfig), (like / kConfig).string());
  std::set<std::string> adapted, others, paths;
  for (const Slot& each : slots_of(policy, family, like.string())) {
    if (each.part.dim() != 2 || !each.name.ends_with(kWeight)) continue;
    const std::string module = module_of(each);
    (each.a.defined() ? adapted : others).insert(leaf_of(module));
    if (!each.a.defined()) continue;
    const std::size_t number = module.find("layers.") + 7;
    paths.insert(module.substr(module.find('.', number) + 1));
  }
  const auto is_ambiguous = [&](const std::string& leaf) { return others.contains(leaf); };
  return std::any_of(adapted.begin(), adapted.end(), is_ambiguous) ? paths : adapted;
}

}  // namespace

AdapterConfig pretrained_adapter(const fs::path& folder) {
  const Json json = object_in(folder / kAdapterConfig);
  Fields fields(json, (folder / kAdapterConfig).string());
  AdapterConfig config;
  config.from = folder.string();
  config.rank = fields.get<int>("r");
  if (config.rank == 0) throw Error("pretrained", fields.where(), ": \"r\": expected a rank above 0, got 0");
  config.alpha = fields.get<double>("lora_alpha");
  fields.expect("peft_type", "LORA"), fields.expect("bias", "none"), fields.expect("task_type", "CAUSAL_LM");
  const Json start = fields.raw("init_lora_weights");
  if (!start.is_null() && !start.is_boolean() && start != "gaussian")
    throw Error("pretrained", fields.where(), ": \"init_lora_weights\": only true, false and \"gaussian\" are ",
                "supported, as others may change the weights under the adapter, too; got ", shown(start));
  // What says which modules there are (the tensors do), how it was trained, and by what.
  fields.ignore({"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "lora_dropout",
                 "base_model_name_or_path", "revision", "peft_version", "inference_mode", "auto_mapping",
                 "megatron_core", "qalora_group_size"});
  fields.refuse_others();
  config.targets.clear();
  const SafetensorsFile file = weights_in(folder);
  std::set<std::string> targets;
  for (const auto& entry : file.entries()) {
    if (!entry.name.ends_with(kA)) continue;
    if (entry.shape.size() != 2 || entry.shape[0] != config.rank)
      throw Error("pretrained", file.path().string(), ": ", cut(entry.name, 200), ": expected shape [",
                  config.rank, ", in], as \"r\" in ", kAdapterConfig, " says, got ", at::IntArrayRef(entry.shape));
    const std::string module = entry.name.substr(0, entry.name.size() - kA.size());
    targets.insert(module.find(".experts.") != std::string::npos ? "experts" : leaf_of(module));
  }
  config.targets.assign(targets.begin(), targets.end());
  try {
    validate(config, "adapter");
  } catch (const Error& error) {
    throw Error("pretrained", folder.string(), ": ", reason_of(error));
  }
  return config;
}

void load_adapter(const Policy& policy, const fs::path& folder, const fs::path& like) {
  const AdapterConfig theirs = pretrained_adapter(folder), &ours = policy.config().adapter;
  if (theirs.rank != ours.rank || theirs.alpha != ours.alpha)
    throw Error("pretrained", folder.string(), ": expected an adapter of rank ", ours.rank, " and alpha ", ours.alpha,
                ", got one of rank ", theirs.rank, " and alpha ", theirs.alpha);
  const std::string where = folder.string();
  const std::vector<SafetensorsFile> files{weights_in(folder)};
  const std::vector<Slot> slots = adapter_slots(policy, like, where);
  const auto sources = sources_of(slots, files, [](const std::string&) { return false; },
                                  object_in(folder / kAdapterConfig), where, kAdapterConfig);
  for (std::size_t i = 0; i < slots.size(); ++i) sources[i].file->read(*sources[i].entry, slots[i].part);
}

void save_adapter(const Policy& policy, const fs::path& folder, const fs::path& like, const std::string& base) {
  const AdapterConfig& config = policy.config().adapter;
  if (policy.adapters().empty())
    throw Error("pretrained", folder.string(), ": expected a policy with an adapter to write, got one without");
  NamedTensors tensors;
  for (const Slot& each : adapter_slots(policy, like, folder.string())) tensors.emplace_back(each.name, each.part);
  const bool is_whole = std::nearbyint(config.alpha) == config.alpha && config.alpha < 1e9;
  const nlohmann::ordered_json json{
      {"peft_type", "LORA"},
      {"task_type", "CAUSAL_LM"},
      {"base_model_name_or_path", base.empty() ? Json() : Json(base)},
      {"r", config.rank},
      {"lora_alpha", is_whole ? Json(static_cast<int64_t>(config.alpha)) : Json(config.alpha)},
      {"lora_dropout", 0.0},
      {"target_modules", target_modules(policy, like)},
      {"bias", "none"},
      {"fan_in_fan_out", false},
      {"init_lora_weights", true},
      {"inference_mode", true}};
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure) throw Error("pretrained", folder.string(), ": expected a folder that can be made, ", failure.message());
  const fs::path unfinished = folder / (std::string(".tmp-") + kAdapterWeights);
  save_safetensors(unfinished, tensors, {{"format", "pt"}});
  rename_durably("pretrained", unfinished, folder / kAdapterWeights);
  write_file("pretrained", folder / kAdapterConfig, json.dump(2) + "\n");
}

}  // namespace grpo
