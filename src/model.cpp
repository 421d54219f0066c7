#include "grpo/model.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "grpo/checkpoint.h"
#include "grpo/error.h"
#include "grpo/messages.h"
#include "grpo/pretrained.h"
#include "grpo/run.h"

namespace grpo {
namespace fs = std::filesystem;

// ---- What a run keeps -----------------------------------------------------------------------------------------------

void RunFiles::remove() const {
  fs::remove_all(pretrained());
  fs::remove(vocabulary());
}

void RunFiles::learn_tokenizer(const std::vector<std::string>& documents, const TokenizerConfig& config) const {
  remove();
  Tokenizer::train(documents, config, vocabulary());
}

std::optional<std::string> RunFiles::take_from(const fs::path& model_folder) const {
  pretrained_config(model_folder);  // refuses what is no such folder
  if (fs::exists(pretrained()) && fs::equivalent(model_folder, pretrained())) return std::nullopt;
  const fs::path unfinished = folder_ / ".tmp-pretrained";
  fs::remove_all(unfinished);
  fs::create_directories(unfinished);
  copy_all_but_weights(model_folder, unfinished);
  Tokenizer::load(unfinished).eos();  // without one nothing would ever end
  remove();
  fs::rename(unfinished, pretrained());
  return pretrained_warning(model_folder);
}

void RunFiles::copy_to(const fs::path& run) const {
  const RunFiles there(run);
  if (fs::exists(pretrained())) return (void)there.take_from(pretrained());
  fs::copy_file(vocabulary(), there.vocabulary(), fs::copy_options::overwrite_existing);
}

bool RunFiles::has_tokenizer() const { return fs::exists(pretrained()) || fs::exists(vocabulary()); }

Tokenizer RunFiles::tokenizer() const {
  return Tokenizer::load(fs::exists(pretrained()) ? pretrained() : vocabulary());
}

ChatTemplate RunFiles::chat(const ChatTemplate& chat) const {
  if (!chat.text.empty()) return chat;
  if (!fs::exists(pretrained()))
    throw Error("model", "chat.text: expected a text with {prompt}, got \"\"; only a policy that comes from a model ",
                "folder (policy.from) can have a chat template of its own");
  return {"", std::make_shared<MessageTemplate>(MessageTemplate::load(pretrained()))};
}

PolicyConfig RunFiles::policy_config(const PolicyConfig& config) const {
  PolicyConfig complete = config;
  if (!config.from.empty()) {
    complete = pretrained_config(pretrained());
    complete.dtype = config.dtype;
    complete.max_positions = std::min(complete.max_positions, config.max_positions);
    complete.moe.auxiliary_loss = config.moe.auxiliary_loss;
  } else if (config.vocab_size == 0) {
    complete.vocab_size = tokenizer().vocab_size();
  }
  return complete;
}

Policy RunFiles::first_policy(const PolicyConfig& config, uint64_t seed, at::Device device) const {
  const PolicyConfig complete = policy_config(config);
  return config.from.empty() ? Policy(complete, seed, device) : load_pretrained(config.from, complete, device);
}

void RunFiles::save_model(const Policy& policy) const {
  if (fs::exists(pretrained())) save_pretrained(policy, folder_ / "model", pretrained());
}

// ---- Opening --------------------------------------------------------------------------------------------------------

namespace {

std::optional<DType> dtype_of(const std::string& name) {
  if (name.empty()) return std::nullopt;
  for (const auto& [value, spelling] : EnumNames<DType>::values)
    if (spelling == name) return value;
  throw Error("config", "dtype: expected float32 or bfloat16, got \"", name, '"');
}

nlohmann::json read_config(const fs::path& file) {
  std::ifstream stream(file);
  return parse_json(std::string(std::istreambuf_iterator<char>(stream), {}), file.string());
}

}  // namespace

void ModelConfig::validate() const {
  if (model.empty()) throw Error("config", "expected --model FOLDER, got none (see --help)");
  dtype_of(dtype);
  if (max_positions < 0) throw Error("config", "max_positions: expected 0 or more, got ", max_positions);
}

Model open_model(const ModelConfig& config) {
  config.validate();
  const at::Device device = open_device(config.device);
  fs::path folder = fs::absolute(config.model).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();  // "runs/zero/" is "runs/zero"
  std::optional<fs::path> checkpoint;
  if (fs::exists(folder / "manifest.json")) checkpoint = folder, folder = folder.parent_path().parent_path();
  const fs::path file = folder / "config.json";
  if (!fs::exists(file))
    throw Error("model", config.model, ": expected a run's folder, a recipe's stage, a checkpoint in one, or a model ",
                "folder of Hugging Face's form; found no config.json");
  const nlohmann::json saved = read_config(file);
  const auto adjust = [&](PolicyConfig& policy) {
    policy.dtype = dtype_of(config.dtype).value_or(policy.dtype);
    if (config.max_positions > 0) policy.max_positions = std::min(policy.max_positions, config.max_positions);
  };

  if (saved.contains("policy")) {
    if (!checkpoint) checkpoint = newest_checkpoint(folder);
    if (!checkpoint)
      throw Error("model", "expected a checkpoint in ", config.model, ", found none; has the run saved one yet?");
    const RunFiles files(folder);
    PolicyConfig policy_config;
    ChatTemplate chat;
    RewardsConfig rewards;
    RolloutConfig rollout;
    const auto load = [&](auto& into, const char* key) {
      if (saved.contains(key)) load_json(into, saved.at(key), file.string() + ": " + key);
    };
    load(policy_config, "policy"), load(chat, "chat"), load(rewards, "rewards"), load(rollout, "rollout");
    policy_config = files.policy_config(policy_config);
    adjust(policy_config);
    chat = files.chat(chat);
    rewards.think_open = chat.opens_think();
    Policy policy = Policy::uninitialized(policy_config, device);
    policy.load_state(read_checkpoint(*checkpoint).policy);
    return {std::move(policy), files.tokenizer(), chat, rewards, rollout, ""};
  }
  if (saved.contains("stages"))
    throw Error("model", config.model, ": expected a model, got a recipe's folder; name a stage in it, such as ",
                (fs::path(config.model) / saved.at("stages").at(0).value("name", "STAGE")).string());
  PolicyConfig policy_config = pretrained_config(folder);
  adjust(policy_config);
  RewardsConfig rewards;
  rewards.accuracy_needs_format = false;
  RolloutConfig rollout;
  rollout.max_new_tokens = 512;
  return {
      load_pretrained(folder, policy_config, device), Tokenizer::load(folder), {"{prompt}"}, rewards, rollout, folder,
      pretrained_warning(folder).value_or("")};
}

ChatTemplate Model::own_chat() const {
  if (pretrained.empty()) return chat;
  return {"", std::make_shared<MessageTemplate>(MessageTemplate::load(pretrained))};
}

}  // namespace grpo
