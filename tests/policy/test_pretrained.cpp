#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

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
using testing::Not;
using Json = nlohmann::ordered_json;

const fs::path kModels = fs::path(GRPO_FIXTURES) / "models";

std::span<const int32_t> row_of(const Tensor& texts, int64_t i) {
  return {texts.const_data_ptr<int32_t>() + i * texts.size(1), static_cast<size_t>(texts.size(1))};
}

Pass pass_of(const Tensor& texts) {  // [texts, length]
  PassBuilder builder;
  for (int64_t i = 0; i < texts.size(0); ++i) builder.add(row_of(texts, i));
  return builder.build();
}

double largest(const Tensor& difference) { return difference.abs().max().item<double>(); }

class Pretrained : public testing::TestWithParam<const char*> {
 protected:
  fs::path model() const { return kModels / GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Families, Pretrained,
                         testing::Values("llama2", "llama3", "llama_linear", "smollm2", "qwen2", "qwen2_yarn", "qwen3",
                                         "qwen3_moe", "qwen3_moe_plain", "mixtral", "olmoe", "deepseek_v2_lite",
                                         "deepseek_v2", "deepseek_v3", "deepseek_v3_plain", "qwen3_moe_every_other",
                                         "qwen3_moe_dense_layers", "qwen2_yarn_plain", "llama_head"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(Pretrained, has_the_logits_and_the_gradients_of_transformers) {
  const Policy policy = load_pretrained(model());
  const auto expected = read_tensors(model() / "expected.safetensors");
  const Tensor &texts = expected.at("tokens"), &logits = expected.at("logits");
  const int64_t count = texts.size(0), length = texts.size(1);
  const Tensor hidden = policy.hidden(pass_of(texts));
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
  const auto expected = read_tensors(model() / "expected.safetensors");
  const Tensor &texts = expected.at("tokens"), &logits = expected.at("logits");
  const auto length = static_cast<int32_t>(texts.size(1));
  const Tensor whole = policy.hidden(pass_of(texts));
  for (const int32_t chunk : {1, 7, 17}) {  // 1: decoding from the first token on
    KvPages pages = policy.make_pages(8, 16);
    const int64_t count_of_texts = texts.size(0);
    PageTable table{16, at::zeros({count_of_texts, 3}, at::kInt), at::zeros({count_of_texts}, at::kInt),
                    at::full({count_of_texts}, -1, at::kInt)};
    for (int64_t i = 0; i < count_of_texts; ++i)
      for (int64_t page = 0; page < 3; ++page) table.pages[i][page] = 7 - 2 * page - i;
    for (int32_t done = 0; done < length; done += chunk) {
      const int32_t count = std::min(chunk, length - done);
      PassBuilder step;
      for (int32_t i = 0; i < texts.size(0); ++i) step.add_to_slot(row_of(texts, i).subspan(done, count), done, i);
      table.lengths.fill_(done);
      const KvView view{&pages, &table};
      const Tensor hidden = policy.hidden(step.build(), &view);
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
  const auto before = read_tensors(model() / "model.safetensors");
  // Whole, and in shards.
  for (const int64_t shard_bytes : {int64_t{5'000'000'000}, int64_t{4000}}) {
    const fs::path out = folder / std::to_string(shard_bytes);
    save_pretrained(policy, out, model(), std::nullopt, shard_bytes);
    std::map<std::string, Tensor> after;
    std::set<std::string> files;
    for (const auto& entry : fs::directory_iterator(out))
      if (entry.path().extension() == ".safetensors") {
        files.insert(entry.path().filename().string());
        after.merge(read_tensors(entry.path()));
      }
    ASSERT_EQ(after.size(), before.size());
    for (const auto& [name, tensor] : before) EXPECT_TRUE(at::equal(tensor, after.at(name))) << name;
    EXPECT_EQ(files.size() > 1, shard_bytes == 4000);
    EXPECT_EQ(fs::exists(out / "model.safetensors.index.json"), shard_bytes == 4000);
    EXPECT_TRUE(fs::exists(out / "generation_config.json"));
    EXPECT_EQ(pretrained_warning(out), std::nullopt);
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

// ---- config.json as public models have it: the fields, and values as their families have them ----

struct PublicConfig {
  const char* name;
  const char* fields;
};

const PublicConfig kPublicConfigs[] = {
    {"Qwen2.5-0.5B, and 1.5B", R"({"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0,
      "bos_token_id": 151643, "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 896,
      "initializer_range": 0.02, "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 24,
      "model_type": "qwen2", "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2,
      "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true,
      "torch_dtype": "bfloat16", "transformers_version": "4.40.1", "use_cache": true, "use_mrope": false,
      "use_sliding_window": false, "vocab_size": 151936})"},
    {"the same, written by transformers 5 after a fine-tuning", R"({"architectures": ["Qwen2ForCausalLM"],
      "attention_dropout": 0.0, "bos_token_id": null, "dtype": "bfloat16", "eos_token_id": 151645, "hidden_act": "silu",
      "hidden_size": 896, "initializer_range": 0.02, "intermediate_size": 4864,
      "layer_types": ["full_attention", "full_attention"], "max_position_embeddings": 32768, "max_window_layers": 24,
      "model_type": "qwen2", "num_attention_heads": 14, "num_hidden_layers": 2, "num_key_value_heads": 2,
      "pad_token_id": 151643, "rms_norm_eps": 1e-06, "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
      "sliding_window": null, "tie_word_embeddings": true, "transformers_version": "5.17.0", "use_cache": false,
      "use_mrope": false, "use_sliding_window": false, "vocab_size": 151936})"},
    {"DeepSeek-R1-Distill-Qwen-1.5B", R"({"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0,
      "bos_token_id": 151646, "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 1536,
      "initializer_range": 0.02, "intermediate_size": 8960, "max_position_embeddings": 131072, "max_window_layers": 21,
      "model_type": "qwen2", "num_attention_heads": 12, "num_hidden_layers": 28, "num_key_value_heads": 2,
      "rms_norm_eps": 1e-06, "rope_theta": 10000, "sliding_window": 4096, "tie_word_embeddings": false,
      "torch_dtype": "bfloat16", "transformers_version": "4.44.0", "use_cache": true, "use_mrope": false,
      "use_sliding_window": false, "vocab_size": 151936})"},
    {"Llama-3.2-1B-Instruct", R"({"_name_or_path": "x", "_commit_hash": "4e20", "_attn_implementation_autoset": true,
      "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 128000,
      "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048,
      "initializer_range": 0.02, "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": false,
      "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8,
      "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0,
      "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}, "rope_theta": 500000.0,
      "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.45.0.dev0", "use_cache": true,
      "vocab_size": 128256})"},
    {"a Llama of Unsloth's", R"({"_name_or_path": "x", "architectures": ["LlamaForCausalLM"], "attention_bias": false,
      "attention_dropout": 0.0, "bos_token_id": 128000, "eos_token_id": 128009, "head_dim": 128, "hidden_act": "silu",
      "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 8192,
      "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32,
      "num_key_value_heads": 8, "pad_token_id": 128255, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
      "rope_scaling": null, "rope_theta": 500000.0, "tie_word_embeddings": false, "torch_dtype": "float16",
      "transformers_version": "4.46.3", "unsloth_fixed": true, "unsloth_version": "2024.11.9", "use_cache": true,
      "vocab_size": 128256})"},
    {"SmolLM2-135M", R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
      "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666,
      "intermediate_size": 1536, "is_llama_config": true, "max_position_embeddings": 8192, "model_type": "llama",
      "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "pretraining_tp": 1,
      "rms_norm_eps": 1e-05, "rope_interleaved": false, "rope_scaling": null, "rope_theta": 100000,
      "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.40.1",
      "transformers.js_config": {"dtype": "q4", "kv_cache_dtype": {"fp16": "float16"}}, "use_cache": true,
      "vocab_size": 49152})"},
    {"a Llama 2 of 2023, merged with an adapter that was trained on 4 bits", R"({"_name_or_path": "x",
      "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "do_sample": true, "eos_token_id": 2, "hidden_act":
      "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008, "max_length": 4096,
      "max_position_embeddings": 4096, "max_sequence_length": 4096, "model_type": "llama", "num_attention_heads": 32,
      "num_hidden_layers": 32, "num_key_value_heads": 32, "pad_token_id": 0, "pretraining_tp": 1, "quantization_config":
      {"bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_type": "nf4", "load_in_4bit": true, "quant_method":
      "bitsandbytes"}, "rms_norm_eps": 1e-05, "rope_scaling": null, "temperature": 0.9, "tie_word_embeddings": false,
      "top_p": 0.6, "torch_dtype": "float16", "transformers_version": "4.31.0.dev0", "use_cache": false,
      "vocab_size": 32000})"},
    {"a Llama with what older programs write", R"({"activation": "swiglu", "architectures": ["LlamaForCausalLM"],
      "add_cross_attention": false, "bad_words_ids": null, "bos_token_id": 1, "chunk_size_feed_forward": 0,
      "classifier_dropout": null, "diversity_penalty": 0.0, "early_stopping": false, "embd_pdrop": 0.0, "eos_token_id": 2,
      "finetuning_task": null, "hidden_act": "silu", "hidden_dropout": 0.1, "hidden_size": 4096,
      "id2label": {"0": "LABEL_0"}, "intermediate_size": 11008, "is_decoder": false, "is_encoder_decoder": false,
      "label2id": {"LABEL_0": 0}, "log_scale": false, "max_position_embeddings": 4096, "model_type": "llama",
      "num_attention_heads": 32, "num_hidden_layers": 32, "pruned_heads": {}, "rms_norm_eps": 1e-06,
      "rope_scaling": {"type": "linear", "factor": 2.0}, "task_specific_params": {"x": {"top_k": 3}},
      "tf_legacy_loss": false, "tie_encoder_decoder": false, "tokenizer_class": "LlamaTokenizer", "top_k": 50,
      "torchscript": false, "typical_p": 1.0, "use_bfloat16": false, "use_flashattn": true, "vocab_size": 32000})"},
    {"Qwen3-0.6B", R"({"architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
      "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024,
      "initializer_range": 0.02, "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28,
      "model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8,
      "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null,
      "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": true,
      "use_sliding_window": false, "vocab_size": 151936})"},
    {"Qwen3-30B-A3B of 2507", R"({"architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false,
      "attention_dropout": 0.0, "decoder_sparse_step": 1, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
      "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 5472, "max_position_embeddings": 262144,
      "max_window_layers": 28, "mlp_only_layers": [], "model_type": "qwen3_moe", "moe_intermediate_size": 768,
      "norm_topk_prob": true, "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8,
      "num_hidden_layers": 48, "num_key_value_heads": 4, "output_router_logits": false, "qkv_bias": false,
      "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 10000000, "router_aux_loss_coef": 0.0,
      "shared_expert_intermediate_size": 0, "sliding_window": null, "tie_word_embeddings": false, "torch_dtype":
      "bfloat16", "transformers_version": "4.52.3", "use_cache": true, "use_qk_norm": true, "use_sliding_window": false,
      "vocab_size": 151936})"},
    {"Mixtral-8x7B-Instruct", R"({"architectures": ["MixtralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1,
      "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
      "max_position_embeddings": 32768, "model_type": "mixtral", "num_attention_heads": 32, "num_experts_per_tok": 2,
      "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8, "output_router_logits": false,
      "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.02, "router_jitter_noise": 0.01,
      "sliding_window": null, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version":
      "4.42.0.dev0", "use_cache": true, "vocab_size": 32000})"},
    {"OLMoE-1B-7B", R"({"architectures": ["OlmoeForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
      "clip_qkv": null, "eos_token_id": 50279, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
      "intermediate_size": 1024, "max_position_embeddings": 4096, "model_type": "olmoe", "norm_topk_prob": false,
      "num_attention_heads": 16, "num_experts": 64, "num_experts_per_tok": 8, "num_hidden_layers": 16,
      "num_key_value_heads": 16, "output_router_logits": false, "pad_token_id": 1, "rms_norm_eps": 1e-05,
      "rope_scaling": null, "rope_theta": 10000.0, "router_aux_loss_coef": 0.01, "tie_word_embeddings": false,
      "torch_dtype": "bfloat16", "transformers_version": "4.43.0.dev0", "use_cache": true, "vocab_size": 50304})"},
    {"DeepSeek-V2-Lite", R"({"architectures": ["DeepseekV2ForCausalLM"], "attention_bias": false,
      "attention_dropout": 0.0, "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV2Config"},
      "aux_loss_alpha": 0.001, "bos_token_id": 100000, "eos_token_id": 100001, "ep_size": 1, "first_k_dense_replace": 1,
      "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 10944,
      "kv_lora_rank": 512, "max_position_embeddings": 163840, "model_type": "deepseek_v2", "moe_intermediate_size": 1408,
      "moe_layer_freq": 1, "n_group": 1, "n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": false,
      "num_attention_heads": 16, "num_experts_per_tok": 6, "num_hidden_layers": 27, "num_key_value_heads": 16,
      "pretraining_tp": 1, "q_lora_rank": null, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06,
      "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707,
      "original_max_position_embeddings": 4096, "type": "yarn"}, "rope_theta": 10000, "routed_scaling_factor": 1.0,
      "scoring_func": "softmax", "seq_aux": true, "tie_word_embeddings": false, "topk_group": 1, "topk_method": "greedy",
      "torch_dtype": "bfloat16", "transformers_version": "4.33.1", "use_cache": true, "v_head_dim": 128,
      "vocab_size": 102400})"},
    {"DeepSeek-V3 and R1", R"({"architectures": ["DeepseekV3ForCausalLM"], "attention_bias": false,
      "attention_dropout": 0.0, "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"}, "bos_token_id": 0,
      "eos_token_id": 1, "ep_size": 1, "first_k_dense_replace": 3, "hidden_act": "silu", "hidden_size": 7168,
      "initializer_range": 0.02, "intermediate_size": 18432, "kv_lora_rank": 512, "max_position_embeddings": 163840,
      "model_type": "deepseek_v3", "moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_group": 8,
      "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 128,
      "num_experts_per_tok": 8, "num_hidden_layers": 61, "num_key_value_heads": 128, "num_nextn_predict_layers": 1,
      "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "quantization_config": {"activation_scheme":
      "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}, "rms_norm_eps": 1e-06,
      "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
      "original_max_position_embeddings": 4096, "type": "yarn"}, "rope_theta": 10000, "routed_scaling_factor": 2.5,
      "scoring_func": "sigmoid", "tie_word_embeddings": false, "topk_group": 4, "topk_method": "noaux_tc",
      "torch_dtype": "bfloat16", "transformers_version": "4.46.3", "use_cache": true, "v_head_dim": 128,
      "vocab_size": 129280})"},
};

PolicyConfig config_of(const Json& fields) {
  const Folder folder;
  std::ofstream(folder / "config.json") << fields.dump();
  return pretrained_config(folder.path());
}

Json public_config(const std::string& start) {
  for (const auto& [name, fields] : kPublicConfigs)
    if (std::string(name).starts_with(start)) return Json::parse(fields);
  return {};
}

TEST(PublicConfig, is_read_whatever_it_carries_that_no_forward_reads) {
  for (const auto& [name, fields] : kPublicConfigs) {
    Json json = Json::parse(fields);
    EXPECT_EQ(error_of([&] { config_of(json); }), "(no error)") << name;
    const Json plain = dump_config(config_of(json));
    // Neither notes nor what is off change anything, in any family.
    json.update({{"_mine", {1, 2}},
                 {"unsloth_optimized", "x"},
                 {"novelty", false},
                 {"novel_list", Json::array()},
                 {"novel_name", ""},
                 {"novel_scale", 0.0},
                 {"novel_object", Json::object()},
                 {"novel_thing", nullptr}});
    EXPECT_EQ(Json(dump_config(config_of(json))), plain) << name;
    for (const Json& on : Json::array({true, 1, "x", 0.5, {{"a", 1}}, {3}})) {
      json["novelty"] = on;
      EXPECT_THAT(error_of([&] { config_of(json); }), HasSubstr("field \"novelty\" = ")) << name << on;
    }
  }
}

TEST(PublicConfig, is_refused_by_the_name_of_a_field_that_changes_the_forward) {
  struct Change {
    const char *name, *field;
    Json value;
    const char* says = nullptr;  // the field
  };
  for (const auto& [name, field, value, says] : std::vector<Change>{
           {"Qwen2.5", "use_mrope", true},
           {"Qwen2.5", "qkv_bias", false},
           {"Qwen2.5", "partial_rotary_factor", 0.5},
           {"Qwen2.5", "rope_scaling", {{"type", "dynamic"}, {"factor", 2}}, "dynamic"},
           {"Llama-3.2", "attention_bias", true},
           {"Llama-3.2", "mlp_bias", true},
           {"Llama-3.2", "hidden_act", "gelu"},
           {"Llama-3.2", "sliding_window", 4096},
           {"Llama-3.2", "per_layer_config", {{"3", {{"hidden_act", "gelu"}}}}},
           {"Llama-3.2", "layer_types", {"full_attention", "sliding_attention"}},
           {"Llama-3.2", "residual_multiplier", 0.22},
           {"SmolLM2", "rope_interleaved", true},
           {"Qwen3-0.6B", "attention_bias", true},
           {"Qwen3-0.6B", "use_qk_norm", false},
           {"Qwen3-0.6B", "layer_types", "full_attention"},
           {"Qwen3-30B", "shared_expert_intermediate_size", 1024},
           {"Qwen3-30B", "decoder_sparse_step", 0},
           {"Qwen3-30B", "mlp_only_layers", {"first"}},
           {"Qwen3-30B", "mlp_only_layers", {-1}},
           {"Mixtral", "sliding_window", 4096},
           {"OLMoE", "clip_qkv", 8.0},
           {"DeepSeek-V2", "moe_layer_freq", 2},
           {"DeepSeek-V2", "topk_method", "noaux_tc"},
           {"DeepSeek-V3", "scoring_func", "softmax"},
       }) {
    Json json = public_config(name);
    json[field] = value;
    EXPECT_THAT(error_of([&] { config_of(json); }), AllOf(HasSubstr("config.json"), HasSubstr(says ? says : field)))
        << name;
  }
  Json windowed = public_config("DeepSeek-R1-Distill-Qwen");  // of layers that have windows from the 22nd on
  windowed["use_sliding_window"] = true;
  EXPECT_THAT(error_of([&] { config_of(windowed); }), HasSubstr("\"sliding_window\""));
  for (const auto& [field, value] : std::map<const char*, int>{{"max_window_layers", 28}, {"sliding_window", 131072}}) {
    Json open = windowed;
    open[field] = value;
    EXPECT_EQ(error_of([&] { config_of(open); }), "(no error)") << field;
  }
}

TEST(PublicConfig, has_the_context_of_pretraining_where_yarn_and_llama3_do_not_say_it) {
  for (const char* type : {"yarn", "llama3"}) {
    Json json = public_config("Qwen3-0.6B");
    json["rope_scaling"] = {{"rope_type", type}, {"factor", 4.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}};
    if (std::string(type) == "yarn")
      json["rope_scaling"].erase("low_freq_factor"), json["rope_scaling"].erase("high_freq_factor");
    EXPECT_EQ(config_of(json).rope_scaling.original_max_positions, 40960) << "the model's own";
    json["rope_scaling"]["original_max_position_embeddings"] = 8192;
    EXPECT_EQ(config_of(json).rope_scaling.original_max_positions, 8192);
    json["original_max_position_embeddings"] = 4096;
    EXPECT_EQ(config_of(json).rope_scaling.original_max_positions, 4096) << "beside the object, as Phi-3 has it";
  }
  // As the reference has it in a fixture, which says what it took.
  Json json = Json::parse(read_file(kModels / "qwen2_yarn_plain/config.json"));
  const Json said = dump_config(config_of(json));
  json["rope_parameters"].erase("original_max_position_embeddings");
  EXPECT_EQ(Json(dump_config(config_of(json))), said);
}

TEST(PublicConfig, names_the_layers_of_qwen3_moe_that_have_no_experts) {
  Json json = public_config("Qwen3-30B");
  json["num_hidden_layers"] = 6, json["mlp_only_layers"] = {3, 40, 0};
  EXPECT_EQ(config_of(json).moe.dense, (std::vector{0, 3}));
  json["decoder_sparse_step"] = 3;
  EXPECT_EQ(config_of(json).moe.dense, (std::vector{0, 1, 3, 4}));
  Json absurd = json;
  absurd["num_hidden_layers"] = 1 << 30;
  EXPECT_THAT(error_of([&] { config_of(absurd); }), HasSubstr("\"num_hidden_layers\": expected at most 4096"));
  EXPECT_TRUE(config_of(json).is_moe(2) && config_of(json).is_moe(5) && !config_of(json).is_moe(3));
}

TEST(PretrainedFolder, has_the_head_that_its_weights_have_though_its_config_ties_it) {
  const fs::path model = kModels / "llama_head";  // compared with transformers above
  EXPECT_THAT(*pretrained_warning(model),
              AllOf(HasSubstr("config.json"), HasSubstr("lm_head.weight"), HasSubstr("it is what counts")));
  EXPECT_FALSE(pretrained_config(model).tied_embeddings);
  Folder folder;
  copy_all_but_weights(model, folder.path());  // where no weights say it any more
  EXPECT_EQ(dump_config(pretrained_config(folder.path())), dump_config(pretrained_config(model)));

  // A copy of the embedding is no head of its own.
  NamedTensors weights = load_safetensors(kModels / "qwen3/model.safetensors");
  const auto embedding = std::find_if(weights.begin(), weights.end(),
                                      [](const auto& each) { return each.first == "model.embed_tokens.weight"; });
  weights.emplace_back("lm_head.weight", embedding->second.clone());
  fs::copy_file(kModels / "qwen3/config.json", folder / "config.json", fs::copy_options::overwrite_existing);
  save_safetensors(folder / "model.safetensors", weights);
  EXPECT_EQ(pretrained_warning(folder.path()), std::nullopt);
  EXPECT_TRUE(load_pretrained(folder.path()).config().tied_embeddings);
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
  EXPECT_EQ(refusal("use_sliding_window", true), "(no error)") << "from a layer on that it does not have";
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

TEST_F(BrokenFolder, is_refused_as_quantised_where_its_tensors_are) {
  NamedTensors weights = load_safetensors(folder_ / "model.safetensors");
  for (auto& [name, tensor] : weights)
    if (name.ends_with("down_proj.weight")) name.replace(name.size() - 6, 6, "qweight"), tensor = tensor.to(at::kInt);
  save_safetensors(folder_ / "model.safetensors", weights);
  EXPECT_THAT(refusal(), HasSubstr("expected the tensors that its config.json describes"));
  config_["quantization_config"] = {{"quant_method", "awq"}, {"bits", 4}};
  EXPECT_THAT(refusal(), AllOf(HasSubstr("expected weights that are not quantised"), HasSubstr("awq"),
                               HasSubstr("down_proj.qweight: not known")));
}

TEST_F(BrokenFolder, is_refused_before_anything_of_an_absurd_size_is_allocated) {
  const int most = 1 << 30;
  EXPECT_THAT(refusal("num_hidden_layers", most), HasSubstr("policy.layers: expected 1 <= x <= 4096"));
  EXPECT_THAT(refusal("num_hidden_layers", 4'000), HasSubstr("of the 4000 layers"));
  for (const char* key : {"vocab_size", "intermediate_size"})
    EXPECT_THAT(refusal(key, 1 << 24), HasSubstr("expected shape [16777216, 16], got")) << key;
  EXPECT_THAT(refusal("max_position_embeddings", most), HasSubstr("policy.max_positions: expected 1 <= x"));
  EXPECT_THAT(refusal("num_hidden_layers", uint64_t{1} << 63), HasSubstr("0 … 2^30"));
  EXPECT_THAT(refusal("num_hidden_layers", int64_t{1} << 32), HasSubstr("0 … 2^30"));
  config_["hidden_size"] = config_["num_attention_heads"] = config_["num_key_value_heads"] = most;
  config_["head_dim"] = 1024;
  EXPECT_THAT(refusal(), HasSubstr("policy.hidden_size: expected 1 <= x"));
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
