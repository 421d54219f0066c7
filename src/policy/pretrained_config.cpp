#include "policy/pretrained_config.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>
#include <utility>
#include <vector>

#include "base/files/model_file.h"
#include "base/plain_words.h"
#include "grpo/error.h"
#include "grpo/pretrained.h"

namespace grpo {
namespace fs = std::filesystem;
using Json = nlohmann::json;

Json object_in(const fs::path& file) {
  if (auto json = read_model_object("pretrained", file)) return *std::move(json);
  throw Error("pretrained", file.string(), ": expected a file, got none");
}

std::string shown(const Json& value) {
  return cut(value.dump(-1, ' ', false, Json::error_handler_t::replace), 200);
}

namespace {

/// Fields that no family's forward reads. A name that ends with * stands for all that begin so.
constexpr std::string_view kInert[] = {
    // What the model is called, and who wrote the folder, with what.
    "architectures", "model_type", "auto_map", "transformers_version", "transformers.js_config", "unsloth_*", "_*",
    "name_or_path", "custom_pipelines", "is_llama_config",
    // How weights are held and attention is computed elsewhere. Whether the weights are quantised their tensors say.
    "torch_dtype", "dtype", "use_bfloat16", "quantization_config", "quantization", "compression_config", "use_cache",
    "cache_implementation", "attn_implementation", "use_flash_attn*", "use_flashattn", "flash_attn*",
    "gradient_checkpointing", "pretraining_tp", "ep_size", "chunk_size_feed_forward",
    // What a call gives back.
    "output_attentions", "output_hidden_states", "output_router_logits", "return_dict", "use_return_dict",
    "torchscript", "tie_last_hidden_states",
    // Training: dropout and the weights of losses. Here nothing is dropped, and losses are the trainer's.
    "attention_dropout", "hidden_dropout", "residual_dropout", "resid_dropout", "embedding_dropout", "embed_dropout",
    "ffn_dropout", "mlp_dropout", "dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop", "classifier_dropout",
    "router_aux_loss_coef", "router_z_loss_coef", "aux_loss_alpha", "aux_loss_coef", "seq_aux", "z_loss*",
    "initializer_factor", "neftune_noise_alpha", "use_liger_kernel",
    // Lengths of training, which no forward knows; its positions are max_position_embeddings.
    "model_max_length", "max_sequence_length", "max_seq_len", "max_seq_length", "seq_length", "seq_len",
    "train_seq_length",
    // The tokenizer's.
    "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "cls_token_id", "mask_token_id",
    "decoder_start_token_id", "bos_token", "eos_token", "pad_token", "unk_token", "tokenizer_class", "padding_side",
    "prefix", "image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id", "vision_token_id",
    // How to draw from it; here a rollout's configuration says that.
    "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "max_length", "min_length", "max_new_tokens",
    "num_beams", "num_beam_groups", "diversity_penalty", "repetition_penalty", "length_penalty", "early_stopping",
    "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "num_return_sequences", "bad_words_ids", "suppress_tokens",
    "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values",
    "exponential_decay_length_penalty", "output_scores", "return_dict_in_generate",
    // Other tasks than the next token.
    "problem_type", "task_specific_params", "finetuning_task", "id2label", "label2id", "num_labels"};

bool is_inert(std::string_view field) {
  return std::any_of(std::begin(kInert), std::end(kInert), [&](std::string_view known) {
    return known.ends_with('*') ? field.starts_with(known.substr(0, known.size() - 1)) : field == known;
  });
}

/// Values that say that something is not there.
bool is_off(const Json& value) {
  return value.is_null() || value == false || (value.is_number() && value == 0) ||
         ((value.is_string() || value.is_structured()) && (value.empty() || value == ""));
}

}  // namespace

void Fields::refuse_others() const {
  for (const auto& [key, value] : json_.items())
    if (!known_.contains(key) && !is_inert(key) && !is_off(value))
      throw Error("pretrained", where_, ": field \"", cut(key, 200), "\" = ", shown(value), " is not supported");
}

namespace {

void read_rope_scaling(Fields rope, int original_max_positions, PolicyConfig& config) {
  RopeScaling& scaling = config.rope_scaling;
  const auto type =
      rope.has("rope_type") ? rope.get<std::string>("rope_type") : rope.get<std::string>("type", "default");
  rope.ignore({"type"});
  rope.expect("partial_rotary_factor", 1.0);
  config.rope_theta = rope.get<double>("rope_theta", config.rope_theta);
  // As in the reference, the context of pretraining is the model's own where it is not said, and one beside the object
  // counts before one in it.
  const auto original = [&] {
    const int said = rope.get<int>("original_max_position_embeddings", config.max_positions);
    return original_max_positions > 0 ? original_max_positions : said;
  };
  if (type == "linear") {
    scaling.type = RopeType::linear;
    scaling.factor = rope.get<double>("factor");
  } else if (type == "llama3") {
    scaling.type = RopeType::llama3;
    scaling.factor = rope.get<double>("factor");
    scaling.low_freq_factor = rope.get<double>("low_freq_factor");
    scaling.high_freq_factor = rope.get<double>("high_freq_factor");
    scaling.original_max_positions = original();
  } else if (type == "yarn") {
    scaling.type = RopeType::yarn;
    scaling.original_max_positions = original();
    scaling.factor = rope.get<double>(
        "factor", static_cast<double>(config.max_positions) / std::max(1, scaling.original_max_positions));
    scaling.beta_fast = rope.get<double>("beta_fast", 32.0);
    scaling.beta_slow = rope.get<double>("beta_slow", 1.0);
    scaling.truncate = rope.get<bool>("truncate", true);
    const auto magnitude = [&](double weight) {
      return scaling.factor <= 1 ? 1.0 : 0.1 * weight * std::log(scaling.factor) + 1.0;
    };
    const double mscale = rope.get<double>("mscale", 0.0), all_dim = rope.get<double>("mscale_all_dim", 0.0);
    if (config.attention == Attention::mla && all_dim != 0)  // in queries and in keys
      scaling.score_factor = magnitude(all_dim) * magnitude(all_dim);
    scaling.attention_factor = rope.get<double>(
        "attention_factor", mscale != 0 && all_dim != 0 ? magnitude(mscale) / magnitude(all_dim) : magnitude(1.0));
  } else if (type != "default") {
    throw Error("pretrained", rope.where(), ": expected rope_type default, linear, llama3 or yarn, got \"", type, '"');
  }
  rope.ignore({"original_max_position_embeddings"});  // what other kinds do not read
  rope.refuse_others();
}

// What all families have.
void read_decoder(Fields& fields, PolicyConfig& config) {
  config.vocab_size = fields.get<int>("vocab_size");
  config.hidden_size = fields.get<int>("hidden_size");
  config.layers = fields.get<int>("num_hidden_layers");
  config.heads = fields.get<int>("num_attention_heads");
  config.kv_heads = fields.get<int>("num_key_value_heads", config.heads);
  config.head_dim = fields.get<int>("head_dim", 0);
  config.intermediate_size = fields.get<int>("intermediate_size");
  config.max_positions = fields.get<int>("max_position_embeddings");
  config.norm_epsilon = fields.get<double>("rms_norm_eps", 1e-6);
  config.init_std = fields.get<double>("initializer_range", 0.02);
  fields.expect("hidden_act", "silu"), fields.expect("partial_rotary_factor", 1.0);
  config.rope_theta = fields.get<double>("rope_theta", config.rope_theta);
  const int original = fields.get<int>("original_max_position_embeddings", 0);
  // Where both are there, the reference takes the older one.
  const char* rope = is_off(fields.raw("rope_scaling")) ? "rope_parameters" : "rope_scaling";
  if (fields.has(rope)) read_rope_scaling(fields.inside(rope), original, config);
  fields.ignore({"rope_scaling", "rope_parameters"});
  for (const Json& type : fields.list("layer_types"))
    if (type != "full_attention")
      throw Error("pretrained", fields.where(), ": \"layer_types\": only \"full_attention\" is supported, got ",
                  shown(type));
}

// A window that never closes changes nothing.
void expect_no_window(Fields& fields, const PolicyConfig& config) {
  if (fields.get<int>("sliding_window", config.max_positions) < config.max_positions)
    fields.expect("sliding_window", nullptr);
}

void read_full_attention(Fields& fields, const PolicyConfig& config, bool window_in_all_layers = false) {
  // Layers from max_window_layers on have windows, if any have.
  const int first = fields.get<int>("max_window_layers", 28);
  if (fields.get<bool>("use_sliding_window", false) && (window_in_all_layers || first < config.layers))
    expect_no_window(fields, config);
  fields.ignore({"sliding_window"});  // of no use without
}

void read_llama(Fields& fields, PolicyConfig& config) {
  config.tied_embeddings = fields.get<bool>("tie_word_embeddings", false);
  fields.expect("attention_bias", false), fields.expect("mlp_bias", false), fields.expect("rope_interleaved", false);
  fields.expect("activation", "swiglu");
}

void read_qwen2(Fields& fields, PolicyConfig& config) {
  config.tied_embeddings = fields.get<bool>("tie_word_embeddings", false);
  config.attention_bias = true;
  fields.expect("qkv_bias", true), fields.expect("use_mrope", false);
  fields.ignore({"attention_bias"});  // it has them whatever this says
  read_full_attention(fields, config);
}

void read_qwen3(Fields& fields, PolicyConfig& config) {
  config.tied_embeddings = fields.get<bool>("tie_word_embeddings", false);
  config.qk_norm = QkNorm::head;
  config.head_dim = fields.get<int>("head_dim", 128);
  fields.expect("attention_bias", false), fields.expect("use_qk_norm", true);
}

void read_qwen3_dense(Fields& fields, PolicyConfig& config) {
  read_qwen3(fields, config);
  read_full_attention(fields, config);
}

void read_router(Fields& fields, PolicyConfig& config, int experts) {
  config.moe.experts = experts;
  config.moe.experts_per_token = fields.get<int>("num_experts_per_tok");
  config.moe.shared_experts = 0;
  config.moe.scoring = Scoring::softmax;
}

void read_qwen3_moe(Fields& fields, PolicyConfig& config) {
  read_qwen3(fields, config);
  read_full_attention(fields, config, true);
  read_router(fields, config,
              fields.has("num_experts") ? fields.get<int>("num_experts") : fields.get<int>("num_local_experts"));
  config.moe.intermediate_size = fields.get<int>("moe_intermediate_size");
  config.moe.normalize = fields.get<bool>("norm_topk_prob", false);
  // Experts in every so manieth layer, but not in those listed.
  const int step = fields.get<int>("decoder_sparse_step", 1);
  if (step < 1) throw Error("pretrained", fields.where(), ": \"decoder_sparse_step\": expected 1 or more, got ", step);
  constexpr int kMostLayers = 4096;  // that are counted out one by one
  std::set<int> dense;
  for (const Json& layer : fields.list("mlp_only_layers"))
    if (!layer.is_number_integer() || layer < 0)
      throw Error("pretrained", fields.where(), ": \"mlp_only_layers\": expected numbers of layers, got ",
                  shown(layer));
    else if (layer < config.layers)
      dense.insert(layer.get<int>());
  for (int layer = 0; step > 1 && layer < std::min(config.layers, kMostLayers); ++layer)
    if ((layer + 1) % step != 0) dense.insert(layer);
  if (!dense.empty() && config.layers > kMostLayers)
    throw Error("pretrained", fields.where(), ": \"num_hidden_layers\": expected at most ", kMostLayers,
                " layers where some have no experts, got ", config.layers);
  config.moe.dense.assign(dense.begin(), dense.end());
}

void read_mixtral(Fields& fields, PolicyConfig& config) {
  config.tied_embeddings = fields.get<bool>("tie_word_embeddings", false);
  read_router(fields, config, fields.get<int>("num_local_experts"));
  config.moe.intermediate_size = config.intermediate_size;
  config.norm_epsilon = fields.get<double>("rms_norm_eps", 1e-5);
  expect_no_window(fields, config);
  fields.ignore({"router_jitter_noise"});  // of training
}

void read_olmoe(Fields& fields, PolicyConfig& config) {
  config.tied_embeddings = fields.get<bool>("tie_word_embeddings", false);
  config.norm_epsilon = fields.get<double>("rms_norm_eps", 1e-5);
  config.qk_norm = QkNorm::projection;
  read_router(fields, config, fields.get<int>("num_experts"));
  config.moe.intermediate_size = config.intermediate_size;
  config.moe.normalize = fields.get<bool>("norm_topk_prob", false);
  fields.expect("attention_bias", false), fields.expect("clip_qkv", nullptr);
}

// What DeepSeek-V2 and V3 share.
void read_deepseek(Fields& fields, PolicyConfig& config) {
  config.tied_embeddings = fields.get<bool>("tie_word_embeddings", false);
  config.mla.q_lora_rank = fields.get<int>("q_lora_rank", 0);
  config.mla.kv_lora_rank = fields.get<int>("kv_lora_rank");
  config.mla.qk_nope_head_dim = fields.get<int>("qk_nope_head_dim");
  config.mla.qk_rope_head_dim = fields.get<int>("qk_rope_head_dim");
  config.mla.v_head_dim = fields.get<int>("v_head_dim");
  config.head_dim = 0;
  fields.ignore({"head_dim", "qk_head_dim"});  // the rotary part's width, and the sum
  read_router(fields, config, fields.get<int>("n_routed_experts"));
  config.moe.shared_experts = fields.get<int>("n_shared_experts", 0);
  config.moe.intermediate_size = fields.get<int>("moe_intermediate_size");
  config.moe.dense_layers = fields.get<int>("first_k_dense_replace", 0);
  config.moe.scaling = fields.get<double>("routed_scaling_factor", 1.0);
  config.moe.groups = fields.get<int>("n_group", 1);
  config.moe.groups_per_token = fields.get<int>("topk_group", 1);
  fields.expect("attention_bias", false), fields.expect("mlp_bias", false), fields.expect("moe_layer_freq", 1);
  for (const char* key : kFurtherLayers) fields.get<int>(key, 0);  // these layers' tensors are passed over
}

void read_deepseek_v2(Fields& fields, PolicyConfig& config) {
  read_deepseek(fields, config);
  config.rope_interleaved = true;
  config.moe.group_best = 1;
  config.moe.normalize = false;
  fields.expect("norm_topk_prob", false), fields.expect("scoring_func", "softmax");
  const auto method = fields.get<std::string>("topk_method", "greedy");
  if (method == "greedy") {
    config.moe.groups = config.moe.groups_per_token = 1;
  } else if (method != "group_limited_greedy") {
    throw Error("pretrained", fields.where(), ": \"topk_method\": expected greedy or group_limited_greedy, got \"",
                method, '"');
  }
}

void read_deepseek_v3(Fields& fields, PolicyConfig& config) {
  read_deepseek(fields, config);
  config.rope_interleaved = fields.get<bool>("rope_interleave", true);
  config.moe.scoring = Scoring::sigmoid;
  config.moe.scaling = fields.get<double>("routed_scaling_factor", 2.5);
  config.moe.normalize = fields.get<bool>("norm_topk_prob", true);
  fields.expect("scoring_func", "sigmoid"), fields.expect("topk_method", "noaux_tc");
}

constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", "llama", read_llama, "mlp", "gate_proj", "up_proj", "down_proj"},
    {"Qwen2ForCausalLM", "qwen2", read_qwen2, "mlp", "gate_proj", "up_proj", "down_proj"},
    {"Qwen3ForCausalLM", "qwen3", read_qwen3_dense, "mlp", "gate_proj", "up_proj", "down_proj"},
    {"Qwen3MoeForCausalLM", "qwen3_moe", read_qwen3_moe, "mlp", "gate_proj", "up_proj", "down_proj"},
    {"MixtralForCausalLM", "mixtral", read_mixtral, "block_sparse_moe", "w1", "w3", "w2", Attention::gqa, false,
     1e6},
    {"OlmoeForCausalLM", "olmoe", read_olmoe, "mlp", "gate_proj", "up_proj", "down_proj"},
    {"DeepseekV2ForCausalLM", "deepseek_v2", read_deepseek_v2, "mlp", "gate_proj", "up_proj", "down_proj",
     Attention::mla},
    {"DeepseekV3ForCausalLM", "deepseek_v3", read_deepseek_v3, "mlp", "gate_proj", "up_proj", "down_proj",
     Attention::mla, true},
};

}  // namespace

const Family& family_of(const Json& json, std::string_view where) {
  std::string names;
  for (const Family& family : kFamilies) names += std::string(names.empty() ? "" : ", ") + family.architecture;
  const Json architectures = json.value("architectures", Json::array());
  const std::string type = json.contains("model_type") ? shown(json.at("model_type")) : "none";
  for (const Family& family : kFamilies)
    if (architectures.is_array() && !architectures.empty() ? architectures[0] == family.architecture
                                                           : json.value("model_type", Json()) == family.model_type)
      return family;
  throw Error("pretrained", where, ": architecture ",
              architectures.is_array() && !architectures.empty() ? shown(architectures[0]) : type,
              " is not supported; supported are ", names);
}

PolicyConfig config_of(const Json& json, const std::string& where) {
  const Family& family = family_of(json, where);
  PolicyConfig config;
  Fields fields(json, where);
  config.attention = family.attention;
  config.rope_theta = family.rope_theta;
  read_decoder(fields, config);
  family.read(fields, config);
  fields.refuse_others();
  try {
    validate(config, "policy");
  } catch (const Error& error) {
    throw Error("pretrained", where, ": ", error.what());
  }
  return config;
}

}  // namespace grpo
