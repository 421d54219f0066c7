// Model folders as Hugging Face's tools read and write them: config.json and safetensors, in and out. What the policy
// computes from them equals transformers' (tests/policy/test_pretrained.cpp).
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "grpo/policy.h"

namespace grpo {

/// What `folder`/config.json describes, in fp32. Families: Llama 2 and 3 (and SmolLM2), Qwen2, Qwen3, Qwen3-MoE,
/// Mixtral, OLMoE, DeepSeek-V2 and V3 (without the layers that predict further tokens). Throws Error that names an
/// architecture or a field that is not supported: nothing is guessed. Passed over are fields that no forward reads (of
/// generation, training, quantising, the tokenizer; notes of the program that wrote them), and those nobody knows whose
/// value says that they are off: null, false, 0, "", [] or {}. Where the folder's weights hold an output projection
/// that differs from the embedding, it counts, whatever config.json says of tying them.
PolicyConfig pretrained_config(const std::filesystem::path& folder);

/// What a user of `folder` should be told: that its config.json ties an output projection which its weights do not.
std::optional<std::string> pretrained_warning(const std::filesystem::path& folder);

/// The policy in `folder`: model.safetensors, or the shards that model.safetensors.index.json names. `config` is
/// pretrained_config's, where dtype, max_positions, moe.auxiliary_loss and adapter may have been changed: an adapter is
/// that in adapter.from, or a fresh one of this `seed`. Files hold any dtype; they are read tensor by tensor, so that
/// memory holds the weights once. The files may be hostile: all is checked against their headers before anything of the
/// policy's size is allocated. A name in the index never leaves the folder; links, of which Hugging Face's cache
/// consists, are followed, but only to regular files. Throws Error that lists the tensors that are missing, not known,
/// or of another shape.
Policy load_pretrained(const std::filesystem::path& folder, const PolicyConfig& config, at::Device device = at::kCPU,
                       uint64_t seed = 0);
Policy load_pretrained(const std::filesystem::path& folder);

/// Writes `policy` into `folder`, which is made, in the form of `like`, the folder that it came from: config.json with
/// `dtype` (fp32, fp16 or bf16; nothing: the policy's), weights in shards of at most `shard_bytes`, and copies of the
/// tokenizer's files, the chat template and generation_config.json. Weights with an adapter are written as the sum that
/// both come to, so that who reads them needs no adapter. Throws Error where the policy is not of that form,
/// or where such a file is a link that leads out of `like` (to elsewhere than the blobs of the same cache): what it
/// leads to would be copied.
void save_pretrained(const Policy& policy, const std::filesystem::path& folder, const std::filesystem::path& like,
                     std::optional<at::ScalarType> dtype = {}, int64_t shard_bytes = 5'000'000'000);

/// What the adapter in `folder` is, in the form of PEFT (Hugging Face's library for adapters): adapter_config.json and
/// adapter_model.safetensors, which say rank and alpha, and by their tensors' names the targets; `from` is the folder.
/// PolicyConfig::adapter takes it. Throws Error for what is not supported: another method than LoRA, or one of its
/// variants, and ranks or factors that differ by module.
AdapterConfig pretrained_adapter(const std::filesystem::path& folder);

/// Writes the policy's adapter into `folder`, which is made, in that form: a tensor for each projection of the model
/// folder `like`, the form of the policy; experts apart, each by its number. `base` is what the file says that it lies
/// on. Throws Error where there is no adapter.
void save_adapter(const Policy& policy, const std::filesystem::path& folder, const std::filesystem::path& like,
                  const std::string& base = "");

/// Copies what lies beside the weights of the model folder `from` (tokenizer, chat template, generation_config.json)
/// into the folder `to`.
void copy_tokenizer_files(const std::filesystem::path& from, const std::filesystem::path& to);

/// Its config.json too.
void copy_all_but_weights(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace grpo
