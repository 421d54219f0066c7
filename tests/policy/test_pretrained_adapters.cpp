// Adapters in PEFT's form, against PEFT's own logits (scripts/make_adapter_fixtures.py).
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "error_of.h"
#include "files.h"
#include "grpo/pretrained.h"
#include "policy/read_tensors.h"
#include "tiny.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using Json = nlohmann::ordered_json;

const fs::path kFixtures = GRPO_FIXTURES;

struct Fixture {
  const char *name, *model;
  std::vector<std::string> targets;
};
void PrintTo(const Fixture& fixture, std::ostream* out) { *out << fixture.name; }

class PeftAdapter : public testing::TestWithParam<Fixture> {
 protected:
  PeftAdapter() : model_(kFixtures / "models" / GetParam().model), adapter_(kFixtures / "adapters" / GetParam().name) {
    const auto expected = read_tensors(adapter_ / "expected.safetensors");
    texts_ = expected.at("tokens"), logits_ = expected.at("logits");
  }
  static Policy load(const fs::path& model, const fs::path& adapter, DType dtype = DType::float32) {
    PolicyConfig config = pretrained_config(model);
    config.adapter = pretrained_adapter(adapter);
    config.dtype = dtype;
    return load_pretrained(model, config);
  }
  Tensor logits(const Policy& policy) const {
    at::NoGradGuard guard;
    PassBuilder pass;
    for (int64_t i = 0; i < texts_.size(0); ++i)
      pass.add({texts_.const_data_ptr<int32_t>() + i * texts_.size(1), static_cast<size_t>(texts_.size(1))});
    return policy.logits(policy.hidden(pass.build())).view_as(logits_);
  }
  double difference(const Tensor& logits) const {  // of the largest logit
    return (logits - logits_).abs().max().item<double>() / logits_.abs().max().item<double>();
  }

  fs::path model_, adapter_;
  Tensor texts_, logits_;
};
INSTANTIATE_TEST_SUITE_P(
    Fixtures, PeftAdapter,
    testing::Values(
        Fixture{"qwen2", "qwen2", {"down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"}},
        Fixture{"llama3_some", "llama3", {"q_proj", "up_proj", "v_proj"}},
        Fixture{"deepseek_v3", "deepseek_v3", {"kv_a_proj_with_mqa", "kv_b_proj", "o_proj", "q_a_proj", "q_b_proj"}},
        Fixture{"deepseek_v2_lite", "deepseek_v2_lite", {"kv_a_proj_with_mqa", "kv_b_proj", "o_proj", "q_proj"}},
        Fixture{"qwen3_moe_experts", "qwen3_moe", {"experts", "k_proj", "o_proj", "q_proj", "v_proj"}},
        Fixture{"olmoe_experts", "olmoe", {"experts"}}, Fixture{"mixtral_experts", "mixtral", {"experts", "q_proj"}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_P(PeftAdapter, has_the_logits_of_peft) {
  const Policy policy = load(model_, adapter_);
  EXPECT_EQ(policy.config().adapter.targets, GetParam().targets);
  EXPECT_LT(difference(logits(policy)), 1e-5);
  EXPECT_GT(difference(logits(load_pretrained(model_))), 1e-2) << "which are not those without it";
}

TEST_P(PeftAdapter, is_written_as_it_was_read) {
  const Folder folder;
  const Policy policy = load(model_, adapter_);
  save_adapter(policy, folder / "mine", model_, "a/model");
  const auto ours = read_tensors(folder / "mine/adapter_model.safetensors");
  const auto theirs = read_tensors(adapter_ / "adapter_model.safetensors");
  ASSERT_EQ(ours.size(), theirs.size());
  for (const auto& [name, tensor] : theirs) EXPECT_TRUE(at::equal(ours.at(name), tensor)) << name;
  const Json written = Json::parse(read_file(folder / "mine/adapter_config.json"));
  const Json given = Json::parse(read_file(adapter_ / "adapter_config.json"));
  for (const char* key : {"peft_type", "task_type", "r", "lora_alpha", "bias", "fan_in_fan_out", "lora_dropout"})
    EXPECT_EQ(written[key], given[key]) << key;
  const auto modules = [](const Json& json) { return json["target_modules"].get<std::set<std::string>>(); };
  EXPECT_EQ(modules(written), modules(given));
  EXPECT_EQ(written["base_model_name_or_path"], "a/model");
  const NamedTensors state = policy.state(), again = load(model_, folder / "mine").state();
  ASSERT_EQ(again.size(), state.size());
  for (size_t i = 0; i < state.size(); ++i) EXPECT_TRUE(at::equal(state[i].second, again[i].second)) << state[i].first;
}

TEST_P(PeftAdapter, is_merged_into_the_folder_of_the_model) {
  const Folder folder;
  save_pretrained(load(model_, adapter_), folder / "merged", model_);
  const Policy merged = load_pretrained(folder / "merged");
  EXPECT_TRUE(merged.adapters().empty());
  EXPECT_LT(difference(logits(merged)), 2e-5) << "the sum is rounded once more";
}

TEST_P(PeftAdapter, samples_with_the_log_probabilities_of_its_trainer_bit_for_bit) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    PolicyConfig config = pretrained_config(model_);
    config.vocab_size = tiny::tokenizer().vocab_size();
    config.dtype = dtype;
    config.adapter = pretrained_adapter(adapter_);
    Policy policy = tiny::policy(config);
    Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
    auto groups = rollout.generate(tiny::tasks(4), {7, Purpose::rollout, 0, 0});
    tiny::reward(groups);
    Trainer trainer(policy, {}, OptimizerConfig{}, 1.0, {70});
    const UpdateReport report = trainer.update(groups, 0);
    EXPECT_EQ(report.ratio_deviation, 0.0);
    EXPECT_GT(report.grad_norm, 0.0);
  }
}

// Modules whose last name others have, which have no adapter, are written with what stands in front of it.
TEST(PeftAdapterFolder, tells_shared_experts_from_routed_ones) {
  const fs::path model = kFixtures / "models/deepseek_v3";
  PolicyConfig config = pretrained_config(model);
  config.adapter.rank = 2;
  const auto modules = [&](std::vector<std::string> targets) {
    const Folder folder;
    config.adapter.targets = std::move(targets);
    const Policy policy = load_pretrained(model, config, at::kCPU, 7);
    save_adapter(policy, folder.path(), model);
    EXPECT_TRUE(at::equal(load_pretrained(model, config, at::kCPU, 7).state()[0].second, policy.state()[0].second));
    PolicyConfig again = config;
    again.adapter = pretrained_adapter(folder.path());
    const NamedTensors state = policy.state(), read = load_pretrained(model, again).state();
    EXPECT_EQ(read.size(), state.size());
    for (size_t i = 0; i < state.size(); ++i) EXPECT_TRUE(at::equal(state[i].second, read[i].second));
    const Json json = Json::parse(read_file(folder / "adapter_config.json"));
    EXPECT_EQ(json["base_model_name_or_path"], nullptr);
    return json["target_modules"].get<std::set<std::string>>();
  };
  EXPECT_EQ(modules({"feed_forward", "experts"}), (std::set<std::string>{"gate_proj", "up_proj", "down_proj"}));
  EXPECT_EQ(modules({"down_proj"}), (std::set<std::string>{"mlp.down_proj", "mlp.shared_experts.down_proj"}));
  const auto routed = modules({"experts"});
  EXPECT_EQ(routed.size(), 8u * 3);
  EXPECT_TRUE(routed.contains("mlp.experts.7.up_proj"));
}

class BrokenAdapter : public testing::Test {
 protected:
  BrokenAdapter() {
    for (const char* file : {"adapter_config.json", "adapter_model.safetensors"})
      fs::copy_file(kFixtures / "adapters/llama3_some" / file, folder_ / file);
  }
  void change(const std::string& key, const Json& value) {
    Json json = Json::parse(read_file(kFixtures / "adapters/llama3_some/adapter_config.json"));
    json[key] = value;
    std::ofstream(folder_ / "adapter_config.json") << json.dump();
  }
  std::string refusal(const char* model = "llama3") {
    return error_of([&] {
      PolicyConfig config = pretrained_config(kFixtures / "models" / model);
      config.adapter = pretrained_adapter(folder_.path());
      load_pretrained(kFixtures / "models" / model, config);
    });
  }
  Folder folder_;
};

TEST_F(BrokenAdapter, is_refused_by_the_name_of_what_is_not_supported) {
  EXPECT_EQ(refusal(), "(no error)");
  const std::pair<const char*, Json> unsupported[] = {
      {"peft_type", "LOHA"},        {"use_dora", true},
      {"use_rslora", true},         {"rank_pattern", {{"q_proj", 2}}},
      {"bias", "lora_only"},        {"alpha_pattern", {{"q_proj", 2}}},
      {"task_type", "SEQ_CLS"},     {"modules_to_save", {"lm_head"}},
      {"lora_bias", true},          {"init_lora_weights", "pissa"},
      {"fan_in_fan_out", true},     {"target_parameters", {"experts.gate_up_proj"}},
      {"something_of_2027", "much"}};
  for (const auto& [key, value] : unsupported) {
    change(key, value);
    EXPECT_THAT(refusal(), AllOf(HasSubstr("adapter_config.json"), HasSubstr(std::string(key) + '"'))) << key;
  }
  for (const auto& [key, value] :
       {std::pair<const char*, Json>{"lora_dropout", 0.1}, {"init_lora_weights", "gaussian"}, {"peft_version", "9"}}) {
    change(key, value);
    EXPECT_EQ(refusal(), "(no error)") << key;
  }
}

TEST_F(BrokenAdapter, is_refused_where_its_tensors_are_not_those_of_the_model) {
  change("r", 5);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("lora_A.weight: expected shape [5, in]"), HasSubstr("got [4, 16]")));
  change("r", 0);
  EXPECT_THAT(refusal(), HasSubstr("adapter_config.json: \"r\": expected a rank above 0, got 0"));
  change("r", 4);
  EXPECT_THAT(refusal("qwen3"), HasSubstr("expected the tensors that its adapter_config.json describes, but"));
  NamedTensors tensors = load_safetensors(folder_ / "adapter_model.safetensors");
  const auto write = [&](const NamedTensors& some) { save_safetensors(folder_ / "adapter_model.safetensors", some); };
  write({tensors.begin() + 1, tensors.end()});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("but 1 differs:"), HasSubstr(tensors[0].first + ": missing")));
  tensors.emplace_back("base_model.model.lm_head.lora_A.weight", at::zeros({4, 16}));
  write(tensors);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("[pretrained] " + folder_.path().string() + ": adapter.targets."),
                               HasSubstr("lm_head")));
  fs::remove(folder_ / "adapter_model.safetensors");
  EXPECT_THAT(refusal(), HasSubstr("expected adapter_model.safetensors beside adapter_config.json, got none"));

  PolicyConfig config = pretrained_config(kFixtures / "models/llama3");
  config.adapter = pretrained_adapter(kFixtures / "adapters/llama3_some");
  config.adapter.alpha = 9;
  EXPECT_THAT(error_of([&] { load_pretrained(kFixtures / "models/llama3", config); }),
              HasSubstr("expected an adapter of rank 4 and alpha 9, got one of rank 4 and alpha 8"));
  config.adapter.rank = 0;
  EXPECT_THAT(error_of([&] { load_pretrained(kFixtures / "models/llama3", config); }),
              HasSubstr("adapter.rank: expected that of the adapter in "));
  const fs::path model = kFixtures / "models/llama3";
  EXPECT_THAT(error_of([&] { save_adapter(load_pretrained(model), folder_ / "no", model); }),
              HasSubstr("expected a policy with an adapter to write"));
}

}  // namespace
}  // namespace grpo
