// The config.json of model folders, family by family.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "grpo/policy.h"

namespace grpo {

inline constexpr const char* kConfig = "config.json";

/// How many layers behind the decoder predict more than one token ahead; the reference has renamed it.
inline constexpr const char* kFurtherLayers[] = {"num_nextn_predict_layers", "num_mtp_layers"};

/// The object in a file. Throws Error where there is none.
nlohmann::json object_in(const std::filesystem::path& file);

/// The beginning of a value, for errors.
std::string shown(const nlohmann::json& value);

class Fields;

/// How a family is described in config.json, and where its experts lie under a layer. A new one is a line of kFamilies.
struct Family {
  const char *architecture, *model_type;
  void (*read)(Fields&, PolicyConfig&);
  const char *experts, *gate, *up, *down;
  Attention attention = Attention::gqa;
  bool selection_bias = false;
  double rope_theta = 1e4;  // where config.json does not say it
};

/// Throws Error for a family that is not known.
const Family& family_of(const nlohmann::json& json, std::string_view where);

/// The policy that a config.json describes, whose embedding may be tied though the weights say otherwise. Throws Error
/// for what is not known of it, naming `where` and the field.
PolicyConfig config_of(const nlohmann::json& json, const std::string& where);

}  // namespace grpo
