#include "policy/pretrained_tensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "base/plain_words.h"
#include "grpo/error.h"

namespace grpo {

using Json = nlohmann::json;

// Our projections are fused, theirs lie side by side: each of theirs is a run of rows of ours.
std::vector<Slot> slots_of(const Policy& policy, const Family& family, const std::string& where) {
  const HeadLayout layout = policy.config().layout();
  std::vector<Slot> slots;
  const auto renamed = [](const std::string& name, const std::string& end, const std::string& other) {
    return name.substr(0, name.size() - end.size()) + other;
  };
  const Adapter* adapter = nullptr;  // beside the weight in hand
  const auto add = [&](const std::string& name, const Tensor& part, std::size_t number = 0, int64_t expert = -1) {
    Slot& slot = slots.emplace_back(name, part);
    if (!adapter) return;
    const auto [a, b] = adapter->factors(number);
    if (!a.defined()) return;
    slot.a = a.detach(), slot.b = b.detach(), slot.scale = adapter->scale;
    if (expert >= 0) slot.a = slot.a[expert], slot.b = slot.b[expert];
  };
  const auto add_pair = [&](const std::string& folder, const Tensor& gate_up, const char* gate, const char* up,
                            int64_t expert = -1) {
    const int64_t width = gate_up.size(0) / 2;
    add(folder + gate + ".weight", gate_up.narrow(0, 0, width), 0, expert);
    add(folder + up + ".weight", gate_up.narrow(0, width, width), 1, expert);
  };
  for (const auto& [name, tensor] : policy.weights()) {
    const auto found = policy.adapters().find(name);
    adapter = found == policy.adapters().end() ? nullptr : &found->second;
    if (name.ends_with(".qkv_proj.weight") || name.ends_with(".qkv_proj.bias")) {
      const std::string kind = name.ends_with("weight") ? "weight" : "bias";
      const int64_t q = layout.heads * layout.head_dim, kv = layout.kv_heads * layout.head_dim;
      const std::string end = "qkv_proj." + kind;
      add(renamed(name, end, "q_proj." + kind), tensor.narrow(0, 0, q), 0);
      add(renamed(name, end, "k_proj." + kind), tensor.narrow(0, q, kv), 1);
      add(renamed(name, end, "v_proj." + kind), tensor.narrow(0, q + kv, kv), 2);
    } else if (name.ends_with("experts.gate_up_proj") || name.ends_with("experts.down_proj")) {
      const bool down = name.ends_with("down_proj");
      const std::string end = std::string("mlp.experts.") + (down ? "down_proj" : "gate_up_proj");
      for (int64_t e = 0; e < tensor.size(0); ++e) {
        const std::string folder =
            renamed(name, end, std::string(family.experts) + ".experts." + std::to_string(e) + ".");
        if (down) {
          add(folder + family.down + ".weight", tensor[e], 0, e);
        } else {
          add_pair(folder, tensor[e], family.gate, family.up, e);
        }
      }
    } else if (name.ends_with(".mlp.gate.weight")) {
      add(renamed(name, "mlp.gate.weight", std::string(family.experts) + ".gate.weight"), tensor);
    } else if (name.ends_with(".gate_up_proj.weight")) {
      add_pair(renamed(name, "gate_up_proj.weight", ""), tensor, "gate_proj", "up_proj");
    } else if (name.ends_with(".e_score_correction_bias") && !family.selection_bias) {
      // Most families have none: they choose by the scores alone.
      if (!tensor.is_meta() && tensor.abs().max().item<float>() != 0)
        throw Error("pretrained", where, ": expected selection biases of 0, which is all that ", family.architecture,
                    " can say; train with trainer.bias_update_rate = 0");
    } else {
      add(name, tensor);
    }
  }
  return slots;
}

std::vector<Source> sources_of(const std::vector<Slot>& slots, const std::vector<SafetensorsFile>& files,
                               const std::function<bool(const std::string& name)>& passed_over, const Json& json,
                               const std::string& where, const char* described_in) {
  std::map<std::string, size_t> open;
  for (size_t i = 0; i < slots.size(); ++i) open.emplace(slots[i].name, i);
  std::vector<Source> found(slots.size());
  std::vector<std::string> wrong;
  std::set<std::string> seen;
  for (const SafetensorsFile& file : files) {
    for (const auto& entry : file.entries()) {
      const auto slot = open.find(entry.name);
      if (!seen.insert(entry.name).second) {
        wrong.push_back(entry.name + ": in two files");
      } else if (slot == open.end()) {
        if (!passed_over(entry.name)) wrong.push_back(entry.name + ": not known");
      } else if (const auto expected = slots[slot->second].part.sizes(); expected != at::IntArrayRef(entry.shape)) {
        std::ostringstream text;
        text << entry.name << ": expected shape " << expected << ", got " << at::IntArrayRef(entry.shape);
        wrong.push_back(text.str());
      } else if (!at::isFloatingType(entry.dtype)) {
        wrong.push_back(entry.name + ": expected floating point numbers, got " + toString(entry.dtype));
      } else {
        found[slot->second] = {&file, &entry};
      }
    }
  }
  for (const Slot& slot : slots)
    if (!seen.contains(slot.name)) wrong.push_back(slot.name + ": missing");
  if (!wrong.empty()) {
    constexpr size_t kShown = 100;
    std::string list;
    for (size_t i = 0; i < std::min(wrong.size(), kShown); ++i) list += "\n  " + cut(wrong[i], 1000);
    if (wrong.size() > kShown) list += "\n  and " + std::to_string(wrong.size() - kShown) + " more";
    for (const char* key : {"quantization_config", "quantization", "compression_config"})
      if (const Json how = json.value(key, Json()); !how.empty())
        throw Error("pretrained", where, ": expected weights that are not quantised, got ", wrong.size(),
                    " tensors of another kind and \"", key, "\" = ", shown(how),
                    " in ", described_in, "; take the model as it was before that", list);
    throw Error("pretrained", where, ": expected the tensors that its ", described_in, " describes, but ", wrong.size(),
                wrong.size() == 1 ? " differs:" : " differ:", list);
  }
  return found;
}

}  // namespace grpo
