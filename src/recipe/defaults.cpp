#include "grpo/defaults.h"

#include <cstdint>
#include <nlohmann/json.hpp>

#include "base/files/model_file.h"
#include "grpo/error.h"
#include "grpo/messages.h"
#include "grpo/pretrained.h"
#include "grpo/safetensors.h"

namespace grpo {
namespace fs = std::filesystem;

namespace {

constexpr double kSmall = 1e9;  // parameters

double parameters_in(const fs::path& folder) {
  double count = 0;
  std::error_code code;
  for (const auto& each : fs::directory_iterator(folder, code)) {
    if (each.path().extension() != ".safetensors") continue;
    const SafetensorsFile file(each.path());
    for (const auto& entry : file.entries()) {
      double size = 1;
      for (const int64_t length : entry.shape) size *= static_cast<double>(length);
      count += size;
    }
  }
  return count;
}

bool has_chat_template(const fs::path& folder) {
  std::error_code code;
  if (fs::exists(folder / "chat_template.jinja", code)) return true;
  const fs::path file = folder / "tokenizer_config.json";
  const auto text = read_model_file("defaults", file);
  if (!text) return false;
  const nlohmann::json config = parse_model_json(*text, file.string());
  return config.is_object() && config.contains("chat_template") && !config["chat_template"].is_null();
}

}  // namespace

PretrainedDefaults::PretrainedDefaults(const fs::path& model_folder, const GivenKeys& given) try
    : folder_(model_folder), given_(given) {
  std::error_code none;
  if (!fs::is_directory(folder_, none))
    throw Error("pretrained", folder_.string(), ": expected a model folder, got ",
                fs::exists(folder_, none) ? "a file" : "no such folder", "; check the path");
  pretrained_config(folder_);  // refuses what is no such folder
  is_small_ = parameters_in(folder_) < kSmall;
} catch (const Error& error) {
  throw Error("config", "policy.from: ", reason_of(error));
}

void PretrainedDefaults::note(const std::string& key, const std::string& value, const std::string& why) {
  notes_.push_back(key + " " + value + ": " + why + "; --set " + key + "=…");
}

void PretrainedDefaults::choose(ChatTemplate& chat) {
  if (!is_free("chat.text") && !chat.text.empty()) return;  // the user says how it is asked
  const bool has_template = has_chat_template(folder_);
  if (is_free("chat.text")) {
    const bool has_system = !chat.system.empty();
    chat.text = has_template ? "" : has_system ? "{system}\nUser: {prompt}\nAssistant: " : std::string(kFormText);
    note("chat.text", nlohmann::json(chat.text).dump(),
         has_template ? "the chat template of " + folder_.string() : "the default for a model without a chat template");
  }
  if (chat.text.empty()) MessageTemplate::load(folder_);  // refuses one that cannot be read, before any work
  if (is_free("chat.system") && chat.text.empty()) {
    chat.system = kFormSystem;
    note("chat.system", nlohmann::json(chat.system).dump(), "the default for a chat model, which has not met the form");
  }
  if (is_free("chat.open_think")) {
    chat.open_think = true;
    note("chat.open_think", "true", "the default for a pretrained model: it need not find <think> by itself");
  }
}

void PretrainedDefaults::choose(const std::string& prefix, AdapterConfig& adapter) try {
  if (adapter.from.empty()) return;
  const AdapterConfig theirs = pretrained_adapter(adapter.from);
  const auto take = [&](const char* name, auto& own, const auto& value) {
    const std::string key = prefix + "adapter." + name;
    if (!is_free(key) && own != value)
      throw Error("adapter", "expected ", name, " ", nlohmann::json(value).dump(), " as in that folder, got ",
                  nlohmann::json(own).dump(), "; leave ", key, " out");
    own = value;
    notes_.push_back(key + " " + nlohmann::json(value).dump() + ": that of the adapter in " + adapter.from);
  };
  take("rank", adapter.rank, theirs.rank);
  take("alpha", adapter.alpha, theirs.alpha);
  take("targets", adapter.targets, theirs.targets);
} catch (const Error& error) {
  throw Error("config", prefix, "adapter.from: ", reason_of(error));
}

void PretrainedDefaults::choose_rl(const std::string& prefix, const AdapterConfig& adapter, OptimizerConfig& optimizer,
                                   const ObjectiveConfig& objective, RewardsConfig& rewards) {
  if (const std::string key = prefix + "optimizer.learning_rate"; is_free(key)) {
    const bool adapts = adapter.rank > 0;
    optimizer.learning_rate = is_small_ ? (adapts ? 1e-4 : 1e-5) : (adapts ? 1e-5 : 1e-6);
    note(key, internal::number_text(optimizer.learning_rate),
         std::string("the default for ") + (adapts ? "an adapter of " : "") + "a pretrained model " +
             (is_small_ ? "below" : "of") + " a billion parameters" + (is_small_ ? "" : " or more"));
  }
  if (const std::string key = prefix + "optimizer.warmup_steps"; is_free(key)) {
    optimizer.warmup_steps = 10;
    note(key, "10", "the default for a pretrained model");
  }
  if (const std::string key = prefix + "objective.kl"; is_free(key))
    note(key, std::string(enum_name(objective.kl)),
         adapter.rank > 0 ? "the default: a reference would cost a forward pass more"
                          : "the default: a reference would cost the weights once more");
  if (const std::string key = prefix + "rewards.accuracy_needs_format"; is_free(key)) {
    rewards.accuracy_needs_format = false;
    note(key, "false", "the default for a pretrained model: right answers count before it knows the form");
  }
}

void PretrainedDefaults::choose_supervised(const std::string& prefix, const AdapterConfig& adapter,
                                           OptimizerConfig& optimizer) {
  const std::string key = prefix + "optimizer.learning_rate";
  if (!is_free(key)) return;
  optimizer.learning_rate = adapter.rank > 0 ? 2e-4 : 2e-5;
  note(key, internal::number_text(optimizer.learning_rate),
       adapter.rank > 0 ? "the default for an adapter of a pretrained model" : "the default for a pretrained model");
}

}  // namespace grpo
