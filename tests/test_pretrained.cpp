#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "error_of.h"
#include "files.h"
#include "grpo/pretrained.h"
#include "tiny.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Json = nlohmann::ordered_json;

const fs::path kModels = fs::path(GRPO_FIXTURES) / "models";

std::map<std::string, Tensor> read(const fs::path& file) {
  std::map<std::string, Tensor> all;
  for (const auto& [name, tensor] : load_safetensors(file)) all[name] = tensor;
  return all;
}

Segments segments_of(const Tensor& texts) {  // [texts, length]
  Segments segments;
  const int64_t count = texts.size(0), length = texts.size(1);
  segments.tokens = texts.reshape({-1}).contiguous();
  segments.positions = at::arange(length, at::kInt).repeat({count});
  for (int64_t i = 0; i < count; ++i) {
    segments.starts.push_back(static_cast<int32_t>((i + 1) * length));
    segments.parents.push_back(-1);
  }
  return segments;
}

double largest(const Tensor& difference) { return difference.abs().max().item<double>(); }

class Pretrained : public testing::TestWithParam<const char*> {
 protected:
  fs::path model() const { return kModels / GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Families, Pretrained,
                         testing::Values("llama2", "llama3", "llama_linear", "smollm2", "qwen2", "qwen2_yarn", "qwen3",
                                         "qwen3_moe", "qwen3_moe_plain", "mixtral", "olmoe", "deepseek_v2_lite",
                                         "deepseek_v2", "deepseek_v3", "deepseek_v3_plain"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(Pretrained, has_the_logits_and_the_gradients_of_transformers) {
  const Policy policy = load_pretrained(model());
  const auto expected = read(model() / "expected.safetensors");
  const Tensor &texts = expected.at("tokens"), &logits = expected.at("logits");
  const int64_t count = texts.size(0), length = texts.size(1);
  const Tensor hidden = policy.hidden(segments_of(texts));
  EXPECT_LT(largest(policy.logits(hidden).view_as(logits) - logits), 2e-4);

  const Tensor rows = at::arange(count * length).view({count, length}).narrow(1, 0, length - 1).reshape({-1});
  const Tensor targets = texts.narrow(1, 1, length - 1).reshape({-1}).contiguous();
  policy.token_logprobs(hidden.index_select(0, rows), targets, 1.0).logprobs.mean().backward();
  // The gradients lie in a file as weights do: what reads the one reads the other.
  Folder folder;
  for (const char* file : {"config.json", "gradients.safetensors"})
    fs::copy_file(model() / file, folder / (file[0] == 'g' ? "model.safetensors" : file));
  const Policy gradients = load_pretrained(folder.path());
  const NamedTensors wanted = gradients.state();
  for (const auto& [name, tensor] : policy.parameters()) {
    const auto found =
        std::find_if(wanted.begin(), wanted.end(), [&, &name = name](const auto& each) { return each.first == name; });
    ASSERT_NE(found, wanted.end());
    ASSERT_TRUE(tensor.grad().defined()) << name;
    EXPECT_LT((tensor.grad() - found->second).norm().item<double>(), 1e-3 * found->second.norm().item<double>())
        << name;
  }
}

TEST_P(Pretrained, has_the_same_logits_in_chunked_prefill_and_through_paged_decoding) {
  at::NoGradGuard guard;
  const Policy policy = load_pretrained(model());
  const auto expected = read(model() / "expected.safetensors");
  const Tensor &texts = expected.at("tokens"), &logits = expected.at("logits");
  const auto length = static_cast<int32_t>(texts.size(1));
  const Tensor whole = policy.hidden(segments_of(texts));
  for (const int32_t chunk : {1, 7, 17}) {  // 1: decoding from the first token on
    KvPages pages = policy.make_pages(8, 16);
    for (int32_t done = 0; done < length; done += chunk) {
      const int32_t count = std::min(chunk, length - done);
      KvView view{&pages, {}};
      view.runs.page_size = 16;
      Segments step;
      step.tokens = texts.narrow(1, done, count).reshape({-1}).contiguous();
      step.positions = (at::arange(count, at::kInt) + done).to(at::kInt).repeat({texts.size(0)});
      for (int32_t i = 0; i < texts.size(0); ++i) {
        view.runs.tokens.push_back((i + 1) * count);
        view.runs.first.push_back(done);
        view.runs.prompt_length.push_back(0);
        view.runs.prompt_page_starts.push_back(0);
        for (int32_t page = 0; page < 3; ++page) view.runs.own_pages.push_back(7 - 2 * page - i);
        view.runs.own_page_starts.push_back(3 * (i + 1));
      }
      const Tensor hidden = policy.hidden(step, &view);
      const Tensor theirs = logits.narrow(1, done, count).reshape({-1, logits.size(2)});
      EXPECT_LT(largest(policy.logits(hidden) - theirs), 2e-4) << "chunks of " << chunk << ", token " << done;
      const Tensor same = whole.view({texts.size(0), length, -1}).narrow(1, done, count).reshape({-1, whole.size(1)});
      EXPECT_TRUE(at::equal(hidden, same)) << "chunks of " << chunk << ", token " << done;
    }
  }
}

TEST_P(Pretrained, samples_with_the_log_probabilities_of_its_trainer_bit_for_bit) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    PolicyConfig config = pretrained_config(model());
    config.vocab_size = tiny::tokenizer().vocab_size();
    config.dtype = dtype;
    Policy policy = tiny::policy(config);
    Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
    auto groups = rollout.generate(tiny::tasks(4), {7, Purpose::rollout, 0, 0});
    tiny::reward(groups);
    Trainer trainer(policy, {}, OptimizerConfig{}, 1.0, {70});
    EXPECT_EQ(trainer.update(groups, 0).ratio_deviation, 0.0);
  }
}

TEST_P(Pretrained, saves_what_it_loaded) {
  Folder folder;
  const Policy policy = load_pretrained(model());
  const auto before = read(model() / "model.safetensors");
  // Whole, and in shards.
  for (const int64_t shard_bytes : {int64_t{5'000'000'000}, int64_t{4000}}) {
    const fs::path out = folder / std::to_string(shard_bytes);
    save_pretrained(policy, out, model(), std::nullopt, shard_bytes);
    std::map<std::string, Tensor> after;
    std::set<std::string> files;
    for (const auto& entry : fs::directory_iterator(out))
      if (entry.path().extension() == ".safetensors") {
        files.insert(entry.path().filename().string());
        after.merge(read(entry.path()));
      }
    ASSERT_EQ(after.size(), before.size());
    for (const auto& [name, tensor] : before) EXPECT_TRUE(at::equal(tensor, after.at(name))) << name;
    EXPECT_EQ(files.size() > 1, shard_bytes == 4000);
    EXPECT_EQ(fs::exists(out / "model.safetensors.index.json"), shard_bytes == 4000);
    EXPECT_TRUE(fs::exists(out / "generation_config.json"));
    const Policy again = load_pretrained(out);
    const NamedTensors left = policy.state(), right = again.state();
    for (size_t i = 0; i < left.size(); ++i) EXPECT_TRUE(at::equal(left[i].second, right[i].second)) << left[i].first;
  }
}

TEST(PretrainedFolder, is_read_in_any_floating_dtype_and_written_in_the_policys) {
  Folder folder;
  const auto weights = load_safetensors(kModels / "qwen3/model.safetensors");
  for (const auto dtype : {at::kHalf, at::kBFloat16}) {
    const fs::path place = folder / toString(dtype);
    fs::create_directory(place);
    fs::copy_file(kModels / "qwen3/config.json", place / "config.json");
    NamedTensors narrow;
    for (const auto& [name, tensor] : weights) narrow.emplace_back(name, tensor.to(dtype));
    save_safetensors(place / "model.safetensors", narrow);
    const NamedTensors read = load_pretrained(place).state();
    const Tensor expected = narrow[0].second.to(at::kFloat);
    const auto same = [&](const auto& each) { return each.first == narrow[0].first; };
    EXPECT_TRUE(at::equal(std::find_if(read.begin(), read.end(), same)->second, expected));
  }
  PolicyConfig config = pretrained_config(kModels / "qwen3");
  config.dtype = DType::bfloat16;
  save_pretrained(load_pretrained(kModels / "qwen3", config), folder / "saved", kModels / "qwen3");
  for (const auto& [name, tensor] : load_safetensors(folder / "saved/model.safetensors"))
    EXPECT_EQ(tensor.scalar_type(), at::kBFloat16) << name;
  EXPECT_EQ(Json::parse(read_file(folder / "saved/config.json"))["dtype"], "bfloat16");

  const Policy deepseek = load_pretrained(kModels / "deepseek_v3");
  save_pretrained(deepseek, folder / "half", kModels / "deepseek_v3", at::kHalf);
  EXPECT_EQ(Json::parse(read_file(folder / "half/config.json"))["dtype"], "float16");
  for (const auto& [name, tensor] : load_safetensors(folder / "half/model.safetensors"))
    EXPECT_EQ(tensor.scalar_type(), name.ends_with("e_score_correction_bias") ? at::kFloat : at::kHalf) << name;
  EXPECT_THAT(error_of([&] { save_pretrained(deepseek, folder / "int", kModels / "deepseek_v3", at::kInt); }),
              HasSubstr("expected to write float32, float16 or bfloat16, got Int"));
}

class BrokenFolder : public testing::Test {
 protected:
  BrokenFolder() {
    for (const auto& entry : fs::directory_iterator(kModels / "qwen3"))
      fs::copy(entry.path(), folder_ / entry.path().filename());
    config_ = Json::parse(read_file(folder_ / "config.json"));
  }
  std::string refusal() {
    std::ofstream(folder_ / "config.json") << config_.dump();
    return error_of([&] { load_pretrained(folder_.path()); });
  }
  std::string refusal(const char* key, const Json& value) {
    const Json before = config_;
    config_[key] = value;
    const std::string text = refusal();
    config_ = before;
    return text;
  }
  Folder folder_;
  Json config_;
};

TEST_F(BrokenFolder, is_refused_by_the_name_of_what_is_not_supported) {
  EXPECT_THAT(refusal("architectures", {"GPT2LMHeadModel"}),
              AllOf(HasSubstr("GPT2LMHeadModel"), HasSubstr("Qwen3ForCausalLM")));
  EXPECT_THAT(refusal("hidden_act", "gelu"),
              AllOf(HasSubstr("config.json"), HasSubstr("hidden_act"), HasSubstr("\"gelu\"")));
  EXPECT_THAT(refusal("use_sliding_window", true), HasSubstr("use_sliding_window"));
  EXPECT_THAT(refusal("layer_types", {"full_attention", "sliding_attention"}), HasSubstr("sliding_attention"));
  EXPECT_THAT(refusal("attention_multiplier", 2.0), HasSubstr("field \"attention_multiplier\" = 2.0 is not supported"));
  EXPECT_EQ(refusal("_name_or_path", "whose"), "(no error)") << "a note of the program that wrote it";
  EXPECT_THAT(refusal("rope_parameters", {{"rope_type", "longrope"}}), HasSubstr("longrope"));
  EXPECT_THAT(refusal("rope_parameters", {{"rope_type", "linear"}, {"factor", 2}, {"fast", 1}}),
              HasSubstr("field \"fast\""));
  EXPECT_THAT(refusal("rope_parameters", {{"rope_type", "linear"}}), HasSubstr("expected \"factor\""));
  EXPECT_THAT(refusal("hidden_size", "16"), HasSubstr("hidden_size"));
  EXPECT_THAT(refusal("hidden_size", -16), HasSubstr("hidden_size"));
  EXPECT_THAT(refusal("num_attention_heads", 3), AllOf(HasSubstr("config.json"), HasSubstr("heads")));
  config_.erase("num_hidden_layers");
  EXPECT_THAT(refusal(), HasSubstr("expected \"num_hidden_layers\""));
  std::ofstream(folder_ / "config.json") << "{";
  EXPECT_THAT(error_of([&] { load_pretrained(folder_.path()); }), HasSubstr("config.json:1:2: expected JSON"));
  std::ofstream(folder_ / "config.json") << "{\"a\":" << std::string(100'000, '[') << std::string(100'000, ']') << "}";
  EXPECT_THAT(error_of([&] { load_pretrained(folder_.path()); }), HasSubstr("at most 100 levels deep"));
  EXPECT_THAT(error_of([&] { load_pretrained(folder_ / "nowhere"); }), HasSubstr("nowhere"));
}

TEST_F(BrokenFolder, is_refused_with_a_list_of_all_tensors_that_differ) {
  NamedTensors weights = load_safetensors(folder_ / "model.safetensors");
  std::string gone;
  NamedTensors changed;
  for (const auto& [name, tensor] : weights) {
    if (gone.empty() && name.ends_with("q_norm.weight")) {
      gone = name;
    } else if (name == "model.norm.weight") {
      changed.emplace_back(name, at::zeros({3}));
    } else {
      changed.emplace_back(name, tensor);
    }
  }
  changed.emplace_back("model.surplus", at::zeros({1}));
  changed.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq", at::zeros({4}));  // old files have it
  save_safetensors(folder_ / "model.safetensors", changed);
  EXPECT_THAT(refusal(),
              AllOf(HasSubstr("3 differ"), HasSubstr(gone + ": missing"), HasSubstr("model.surplus: not known"),
                    HasSubstr("model.norm.weight: expected shape [16], got [3]"), Not(HasSubstr("inv_freq"))));
}

TEST_F(BrokenFolder, is_refused_before_anything_of_an_absurd_size_is_allocated) {
  const int most = 1 << 30;
  EXPECT_THAT(refusal("num_hidden_layers", most), HasSubstr("of the 1073741824 layers that its config.json describes"));
  EXPECT_THAT(refusal("num_hidden_layers", 100'000), HasSubstr("of the 100000 layers"));
  for (const char* key : {"vocab_size", "intermediate_size"})
    EXPECT_THAT(refusal(key, most), HasSubstr("expected shape [1073741824, 16], got")) << key;
  EXPECT_THAT(refusal("max_position_embeddings", most), HasSubstr("expected max_positions whose cosines"));
  EXPECT_THAT(refusal("num_hidden_layers", uint64_t{1} << 63), HasSubstr("0 … 2^30"));
  EXPECT_THAT(refusal("num_hidden_layers", int64_t{1} << 32), HasSubstr("0 … 2^30"));
  config_["hidden_size"] = config_["num_attention_heads"] = config_["num_key_value_heads"] = most;
  config_["head_dim"] = 1024;
  EXPECT_THAT(refusal(), HasSubstr("expected sizes in config.json that can be addressed"));
}

TEST_F(BrokenFolder, is_refused_when_a_shard_is_cut_short) {
  save_pretrained(load_pretrained(folder_.path()), folder_ / "shards", folder_.path(), std::nullopt, 4000);
  const fs::path shard = folder_ / "shards/model-00002-of-";
  for (const auto& entry : fs::directory_iterator(folder_ / "shards"))
    if (entry.path().string().starts_with(shard.string())) fs::resize_file(entry.path(), fs::file_size(entry) - 1);
  EXPECT_THAT(error_of([&] { load_pretrained(folder_ / "shards"); }),
              AllOf(HasSubstr("model-00002-of-"), HasSubstr("expected data_offsets that rise within")));
}

TEST_F(BrokenFolder, has_links_that_are_followed_to_files_but_not_copied_from_elsewhere) {
  // As a cache of Hugging Face's has it.
  const fs::path cache = folder_ / "models--a--b", snapshot = cache / "snapshots/1234";
  fs::create_directories(snapshot), fs::create_directory(cache / "blobs");
  for (const char* name : {"config.json", "model.safetensors", "generation_config.json"}) {
    fs::rename(folder_ / name, cache / "blobs" / name);
    fs::create_symlink(fs::path("../../blobs") / name, snapshot / name);
  }
  const Policy policy = load_pretrained(snapshot);
  save_pretrained(policy, folder_ / "saved", snapshot);
  EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(folder_ / "saved/generation_config.json")));

  std::ofstream(folder_ / "secret") << "whose?";
  fs::create_symlink(folder_ / "secret", snapshot / "merges.txt");
  EXPECT_THAT(error_of([&] { save_pretrained(policy, folder_ / "leak", snapshot); }),
              AllOf(HasSubstr("merges.txt"), HasSubstr("a link within the folder")));
  EXPECT_FALSE(fs::exists(folder_ / "leak/merges.txt"));
  fs::remove(snapshot / "model.safetensors");
  for (const char* target : {"/dev/zero", "nowhere", "model.safetensors", "."}) {
    fs::create_symlink(target, snapshot / "model.safetensors");
    EXPECT_THAT(error_of([&] { load_pretrained(snapshot); }), HasSubstr("expected a regular file")) << target;
    fs::remove(snapshot / "model.safetensors");
  }
}

TEST_F(BrokenFolder, is_refused_when_its_index_leads_nowhere_or_out_of_it) {
  const auto with = [&](const Json& index) {
    std::ofstream(folder_ / "model.safetensors.index.json") << index.dump();
    return error_of([&] { load_pretrained(folder_.path()); });
  };
  EXPECT_THAT(with({{"weight_map", {{"a", "../model.safetensors"}}}}),
              HasSubstr("expected the name of a file in the folder"));
  EXPECT_THAT(with({{"weight_map", {{"a", "/etc/passwd"}}}}), HasSubstr("expected the name of a file in the folder"));
  EXPECT_THAT(with({{"weight_map", {{"a", ".."}}}}), HasSubstr("expected the name of a file in the folder"));
  for (const char* name : {"", ".", "parts/model.safetensors", "/dev/zero"})
    EXPECT_THAT(with({{"weight_map", {{"a", name}}}}), HasSubstr("expected the name of a file in the folder")) << name;
  EXPECT_THAT(with({{"weight_map", {{"a", std::string(300, 'a')}}}}), HasSubstr("expected the name of a file"));
  EXPECT_THAT(with({{"weight_map", {{"a", std::string("model.safetensors\0", 18)}}}}), HasSubstr("expected the name"));
  EXPECT_THAT(with({{"weight_map", {{"a", 3}}}}), HasSubstr("expected the name of a file in the folder"));
  EXPECT_THAT(with({{"weight_map", {{"a", "model-2.safetensors"}}}}), HasSubstr("model-2.safetensors"));
  EXPECT_THAT(with({{"weight_map", 1}}), HasSubstr("weight_map"));
  EXPECT_THAT(with(Json::array()), HasSubstr("expected a JSON object"));
  EXPECT_EQ(with({{"weight_map", {{"a", "model.safetensors"}}}}), "(no error)");
}

}  // namespace
}  // namespace grpo
