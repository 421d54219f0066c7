#include "grpo/pretrained.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <system_error>
#include <tuple>

#include "base/files/durable_file.h"
#include "base/files/model_file.h"
#include "grpo/error.h"
#include "grpo/safetensors.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr const char* kConfig = "config.json";
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kHead = "lm_head.weight";
constexpr const char* kEmbedding = "model.embed_tokens.weight";

Json object_in(const fs::path& file) {
  if (auto json = read_model_object("pretrained", file)) return *std::move(json);
  throw Error("pretrained", file.string(), ": expected a file, got none");
}

std::string shown(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 200);
}

// ---- config.json ----------------------------------------------------------------------------------------------------

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

/// The fields of a config.json, each of which must be asked for: what nobody knows is refused at the end, unless its
/// value says that it is off.
class Fields {
 public:
  Fields(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  /// The value, or `otherwise` where it is absent or null.
  template <class T>
  T get(const std::string& key, T otherwise) {
    known_.insert(key);
    return has(key) ? as<T>(key) : otherwise;
  }
  template <class T>
  T get(const std::string& key) {
    known_.insert(key);
    if (!has(key)) throw Error("pretrained", where_, ": expected \"", key, "\", got none");
    return as<T>(key);
  }
  bool has(const std::string& key) const { return json_.contains(key) && !json_.at(key).is_null(); }

  /// As it stands; null where it is absent.
  Json raw(const std::string& key) {
    known_.insert(key);
    return has(key) ? json_.at(key) : Json();
  }

  /// A list's items; none where it is absent or null.
  Json list(const std::string& key) {
    const Json value = raw(key);
    if (!value.is_null() && !value.is_array())
      throw Error("pretrained", where_, ": \"", key, "\": expected a list, got ", shown(value));
    return value;
  }

  /// Refuses any value but this one; absent is the same as it.
  void expect(const std::string& key, const Json& value) {
    known_.insert(key);
    if (has(key) && json_.at(key) != value)
      throw Error("pretrained", where_, ": \"", key, "\": only ", shown(value), " is supported, got ",
                  shown(json_.at(key)));
  }
  /// What changes nothing that a policy of this family computes.
  void ignore(std::initializer_list<const char*> keys) { known_.insert(keys.begin(), keys.end()); }
  Fields inside(const std::string& key) {
    known_.insert(key);
    static const Json kNothing = Json::object();
    const Json& value = has(key) ? json_.at(key) : kNothing;
    if (!value.is_object())
      throw Error("pretrained", where_, ": \"", key, "\": expected an object, got ", shown(value));
    return {value, where_ + ": " + key};
  }
  void refuse_others() const {
    for (const auto& [key, value] : json_.items())
      if (!known_.contains(key) && !is_inert(key) && !is_off(value))
        throw Error("pretrained", where_, ": field \"", key.substr(0, 200), "\" = ", shown(value), " is not supported");
  }
  const std::string& where() const { return where_; }

 private:
  template <class T>
  T as(const std::string& key) const {
    const Json& value = json_.at(key);
    const bool fits = std::is_same_v<T, bool>          ? value.is_boolean()
                      : std::is_same_v<T, std::string> ? value.is_string()
                      : std::is_integral_v<T>          ? value.is_number_integer()
                                                       : value.is_number();
    if (!fits) throw Error("pretrained", where_, ": \"", key, "\": got ", shown(value), ", which is not of its type");
    if constexpr (std::is_same_v<T, int>) {
      const auto whole = value.get<int64_t>();
      if (whole < 0 || whole > (1 << 30))
        throw Error("pretrained", where_, ": \"", key, "\": expected 0 … 2^30, got ", shown(value));
    }
    return value.get<T>();
  }

  const Json& json_;
  std::string where_;
  std::set<std::string> known_;
};

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

/// How many layers behind the decoder predict more than one token ahead; the reference has renamed it.
constexpr const char* kFurtherLayers[] = {"num_nextn_predict_layers", "num_mtp_layers"};

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

/// How a family is described in config.json, and where its experts lie under a layer. A new one is a line here.
struct Family {
  const char *architecture, *model_type;
  void (*read)(Fields&, PolicyConfig&);
  const char *experts, *gate, *up, *down;
  Attention attention = Attention::gqa;
  bool selection_bias = false;
  double rope_theta = 1e4;  // where config.json does not say it
};
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

// ---- Tensors --------------------------------------------------------------------------------------------------------

/// A tensor of the folder, and the part of the policy's that it is.
struct Slot {
  std::string name;
  Tensor part;
};

// Our projections are fused, theirs lie side by side: each of theirs is a run of rows of ours.
std::vector<Slot> slots_of(const Policy& policy, const Family& family, const std::string& where) {
  const PolicyConfig& config = policy.config();
  const HeadLayout layout = config.layout();
  std::vector<Slot> slots;
  const auto ends_with = [](const std::string& name, const std::string& end) { return name.ends_with(end); };
  const auto renamed = [](const std::string& name, const std::string& end, const std::string& other) {
    return name.substr(0, name.size() - end.size()) + other;
  };
  const auto feed_forward = [&](const std::string& folder, const Tensor& gate_up, const char* gate, const char* up) {
    const int64_t width = gate_up.size(0) / 2;
    slots.push_back({folder + gate + ".weight", gate_up.narrow(0, 0, width)});
    slots.push_back({folder + up + ".weight", gate_up.narrow(0, width, width)});
  };
  for (const auto& [name, tensor] : policy.state()) {
    if (ends_with(name, ".qkv_proj.weight") || ends_with(name, ".qkv_proj.bias")) {
      const std::string kind = ends_with(name, "weight") ? "weight" : "bias";
      const int64_t q = layout.heads * layout.head_dim, kv = layout.kv_heads * layout.head_dim;
      const std::string end = "qkv_proj." + kind;
      slots.push_back({renamed(name, end, "q_proj." + kind), tensor.narrow(0, 0, q)});
      slots.push_back({renamed(name, end, "k_proj." + kind), tensor.narrow(0, q, kv)});
      slots.push_back({renamed(name, end, "v_proj." + kind), tensor.narrow(0, q + kv, kv)});
    } else if (ends_with(name, "experts.gate_up_proj") || ends_with(name, "experts.down_proj")) {
      const bool down = ends_with(name, "down_proj");
      const std::string end = std::string("mlp.experts.") + (down ? "down_proj" : "gate_up_proj");
      for (int64_t e = 0; e < tensor.size(0); ++e) {
        const std::string folder =
            renamed(name, end, std::string(family.experts) + ".experts." + std::to_string(e) + ".");
        if (down) {
          slots.push_back({folder + family.down + ".weight", tensor[e]});
        } else {
          feed_forward(folder, tensor[e], family.gate, family.up);
        }
      }
    } else if (ends_with(name, ".mlp.gate.weight")) {
      slots.push_back({renamed(name, "mlp.gate.weight", std::string(family.experts) + ".gate.weight"), tensor});
    } else if (ends_with(name, ".gate_up_proj.weight")) {
      feed_forward(renamed(name, "gate_up_proj.weight", ""), tensor, "gate_proj", "up_proj");
    } else if (ends_with(name, ".e_score_correction_bias") && !family.selection_bias) {
      // Most families have none: they choose by the scores alone.
      if (!tensor.is_meta() && tensor.abs().max().item<float>() != 0)
        throw Error("pretrained", where, ": expected selection biases of 0, which is all that ", family.architecture,
                    " can say; train with trainer.bias_update_rate = 0");
    } else {
      slots.push_back({name, tensor});
    }
  }
  return slots;
}

/// Refuses a config.json with more layers or experts than the files have tensors, before they are counted out one by
/// one, and tables of positions that no model needs.
void expect_possible(const PolicyConfig& config, const std::vector<SafetensorsFile>& files, const std::string& where) {
  double tensors = 0;
  for (const SafetensorsFile& file : files) tensors += static_cast<double>(file.entries().size());
  double experts = 0;
  if (config.layers <= tensors)
    for (int layer = 0; layer < config.layers; ++layer) experts += config.is_moe(layer) ? config.moe.experts : 0;
  if (config.layers > tensors || config.moe.experts > tensors || experts > tensors)
    throw Error("pretrained", where, ": expected the tensors of the ", config.layers, " layers",
                config.moe.experts > 0 ? " of " + std::to_string(config.moe.experts) + " experts" : "",
                " that its config.json describes, got files with ", tensors, " tensors");
  const double table = 4.0 * config.max_positions * static_cast<double>(config.layout().rotary_dim());
  if (table > (1 << 30))
    throw Error("pretrained", where, ": expected max_positions whose cosines and sines fit 1 GiB, got ",
                config.max_positions, "; lower it");
}

// The safetensors files of a folder.
std::vector<SafetensorsFile> weight_files(const fs::path& folder) {
  std::error_code ignored;
  const auto is_there = [&](const fs::path& name) {
    return fs::symlink_status(folder / name, ignored).type() != fs::file_type::not_found;
  };
  if (!is_there(kIndex)) {
    if (!is_there(kWeights))
      throw Error("pretrained", folder.string(), ": expected ", kWeights, " or ", kIndex, ", found neither");
    return {SafetensorsFile(folder / kWeights)};
  }
  const std::string where = (folder / kIndex).string();
  const Json index = object_in(folder / kIndex);
  if (!index.contains("weight_map") || !index.at("weight_map").is_object())
    throw Error("pretrained", where, ": expected an object \"weight_map\", got none");
  std::set<std::string> names;
  for (const auto& [tensor, file] : index.at("weight_map").items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    if (name.empty() || name == "." || name == ".." || name.size() > 255 ||
        name.find_first_of(std::string("/\0", 2)) != std::string::npos)
      throw Error("pretrained", where, ": ", tensor.substr(0, 200), ": expected the name of a file in the folder, got ",
                  shown(file));
    names.insert(name);
  }
  std::vector<SafetensorsFile> files;
  for (const std::string& name : names) {
    if (!is_there(name)) throw Error("pretrained", where, ": expected the file \"", name, "\", it is not there");
    files.emplace_back(folder / name);
  }
  return files;
}

// Layers behind the decoder that predict more than one token ahead: not loaded.
bool predicts_further(const std::string& name, const Json& json) {
  constexpr std::string_view kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) return false;
  const int64_t layers = json.at("num_hidden_layers"), layer = std::atoll(name.c_str() + kLayers.size());
  return std::any_of(std::begin(kFurtherLayers), std::end(kFurtherLayers), [&](const char* key) {
    const Json more = json.value(key, Json());
    return more.is_number_integer() && layer >= layers && layer - layers < more.get<int64_t>();
  });
}

/// Where a slot's tensor lies.
struct Source {
  const SafetensorsFile* file = nullptr;
  const SafetensorsFile::Entry* entry = nullptr;
};

// A source for each slot. Throws Error that lists all tensors which are missing, surplus or of another shape.
std::vector<Source> sources_of(const std::vector<Slot>& slots, const std::vector<SafetensorsFile>& files,
                               const Json& json, bool tied, const std::string& where) {
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
        // Computed from the config, or a copy of the embedding.
        if (entry.name.ends_with(".rotary_emb.inv_freq") || predicts_further(entry.name, json) ||
            (tied && entry.name == kHead))
          continue;
        wrong.push_back(entry.name + ": not known");
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
    for (size_t i = 0; i < std::min(wrong.size(), kShown); ++i) list += "\n  " + wrong[i].substr(0, 1000);
    if (wrong.size() > kShown) list += "\n  and " + std::to_string(wrong.size() - kShown) + " more";
    for (const char* key : {"quantization_config", "quantization", "compression_config"})
      if (const Json how = json.value(key, Json()); !how.empty())
        throw Error("pretrained", where, ": expected weights that are not quantised, got ", wrong.size(),
                    " tensors of another kind and \"", key, "\" = ", shown(how),
                    " in config.json; take the model as it was before that", list);
    throw Error("pretrained", where, ": expected the tensors that its config.json describes, but ", wrong.size(),
                wrong.size() == 1 ? " differs:" : " differ:", list);
  }
  return found;
}

// What is copied may be published, so a link to another's file must not be followed: only one within the folder, or
// that of a cache of Hugging Face's, from snapshots/REVISION to blobs.
std::vector<fs::path> files_to_copy(const fs::path& from, const fs::path& to) {
  std::vector<fs::path> files;
  std::error_code failure;
  if (fs::equivalent(from, to, failure)) return files;
  const fs::path home = fs::canonical(from, failure);
  const bool in_cache = home.parent_path().filename() == "snapshots";
  const fs::path blobs = home.parent_path().parent_path() / "blobs";
  for (const char* name :
       {"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json"}) {
    const fs::path file = from / name;
    if (fs::symlink_status(file, failure).type() == fs::file_type::not_found) continue;
    const fs::path place = fs::canonical(file, failure).parent_path();
    if (!fs::is_regular_file(file, failure) || (place != home && !(in_cache && place == blobs)))
      throw Error("pretrained", file.string(), ": expected a file, or a link within the folder or to the blobs of its ",
                  "cache, got neither; it would be copied: put the file itself there");
    files.push_back(file);
  }
  return files;
}

// Whether the weights of the folder, if it has any, hold an output projection that is not the embedding.
bool has_head_of_its_own(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::exists(fs::symlink_status(folder / kIndex, ignored)) &&
      !fs::exists(fs::symlink_status(folder / kWeights, ignored)))
    return false;
  const std::vector<SafetensorsFile> files = weight_files(folder);
  std::map<std::string, Source> found;
  for (const SafetensorsFile& file : files)
    for (const auto& entry : file.entries())
      if (entry.name == kHead || entry.name == kEmbedding) found[entry.name] = {&file, &entry};
  const Source head = found[kHead], embedding = found[kEmbedding];
  if (!head.entry || !embedding.entry || !at::isFloatingType(head.entry->dtype) ||
      !at::isFloatingType(embedding.entry->dtype) || head.entry->shape != embedding.entry->shape)
    return false;  // what is wrong with them is said when they are read
  const bool alike = head.entry->dtype == embedding.entry->dtype &&
                     (head.entry->dtype == at::kBFloat16 || head.entry->dtype == at::kHalf);
  const at::Tensor left = at::empty(head.entry->shape, alike ? head.entry->dtype : at::kFloat);
  const at::Tensor right = at::empty_like(left);
  head.file->read(*head.entry, left), embedding.file->read(*embedding.entry, right);
  return !at::equal(left, right);
}

// The folder's config.json, so that it says of the embedding what its weights say.
OrderedJson description_of(const fs::path& folder) {
  object_in(folder / kConfig);  // refuses what is not safe to parse
  OrderedJson json = OrderedJson::parse(read_model_file("pretrained", folder / kConfig).value());
  if (json.value("tie_word_embeddings", OrderedJson()) == true && has_head_of_its_own(folder))
    json["tie_word_embeddings"] = false;
  return json;
}

}  // namespace

std::optional<std::string> pretrained_warning(const fs::path& folder) {
  const Json json = object_in(folder / kConfig);
  if (json.value("tie_word_embeddings", Json()) != true || pretrained_config(folder).tied_embeddings) return {};
  return (folder / kConfig).string() + " says \"tie_word_embeddings\": true, but the weights hold an " + kHead +
         " that is not the embedding; it is what counts (as in transformers 5; earlier ones left it out). Say false "
         "there, or take the tensor away";
}

PolicyConfig pretrained_config(const fs::path& folder) {
  const fs::path file = folder / kConfig;
  const Json json = object_in(file);
  const Family& family = family_of(json, file.string());
  PolicyConfig config;
  Fields fields(json, file.string());
  config.attention = family.attention;
  config.rope_theta = family.rope_theta;
  read_decoder(fields, config);
  family.read(fields, config);
  fields.refuse_others();
  try {
    validate(config, "policy");
  } catch (const Error& error) {
    throw Error("pretrained", file.string(), ": ", error.what());
  }
  if (config.tied_embeddings && has_head_of_its_own(folder)) config.tied_embeddings = false;
  return config;
}

Policy load_pretrained(const fs::path& folder, const PolicyConfig& config, at::Device device) {
  PolicyConfig expected = pretrained_config(folder);
  expected.dtype = config.dtype, expected.max_positions = config.max_positions;
  expected.moe.auxiliary_loss = config.moe.auxiliary_loss;
  if (dump_config(expected) != dump_config(config))
    throw Error("pretrained", folder.string(), ": expected the policy that its config.json describes, up to dtype, ",
                "max_positions and moe.auxiliary_loss, got ", dump_config(config).dump());
  const std::vector<SafetensorsFile> files = weight_files(folder);
  const std::string where = folder.string();
  const Json json = object_in(folder / kConfig);
  const Family& family = family_of(json, (folder / kConfig).string());
  // Against shapes without memory first: nothing is allocated for a model that is not in the files.
  expect_possible(config, files, where);
  PolicyConfig shapes = config;
  shapes.max_positions = 1;
  std::vector<Source> sources;
  try {
    const Policy outline = Policy::uninitialized(shapes, at::kMeta);
    sources = sources_of(slots_of(outline, family, where), files, json, config.tied_embeddings, where);
  } catch (const c10::Error&) {
    throw Error("pretrained", where, ": expected sizes in config.json that can be addressed, got ",
                dump_config(config).dump());
  }
  Policy policy = Policy::uninitialized(config, device);
  const std::vector<Slot> slots = slots_of(policy, family, where);
  for (size_t i = 0; i < slots.size(); ++i) sources[i].file->read(*sources[i].entry, slots[i].part);
  return policy;
}

Policy load_pretrained(const fs::path& folder) { return load_pretrained(folder, pretrained_config(folder)); }

void save_pretrained(const Policy& policy, const fs::path& folder, const fs::path& like,
                     std::optional<at::ScalarType> wanted, int64_t shard_bytes) {
  const at::ScalarType dtype = wanted.value_or(policy.config().dtype == DType::bfloat16 ? at::kBFloat16 : at::kFloat);
  const char* dtype_name = dtype == at::kFloat      ? "float32"
                           : dtype == at::kHalf     ? "float16"
                           : dtype == at::kBFloat16 ? "bfloat16"
                                                    : nullptr;
  if (!dtype_name)
    throw Error("pretrained", folder.string(), ": expected to write float32, float16 or bfloat16, got ",
                toString(dtype));
  PolicyConfig expected = pretrained_config(like);
  const PolicyConfig& config = policy.config();
  expected.dtype = config.dtype, expected.max_positions = config.max_positions;
  expected.moe.auxiliary_loss = config.moe.auxiliary_loss;
  if (dump_config(expected) != dump_config(config))
    throw Error("pretrained", folder.string(), ": expected a policy of the form of ", like.string(), ", got ",
                dump_config(config).dump());
  OrderedJson json = description_of(like);
  files_to_copy(like, folder);  // refused before anything is written
  const std::vector<Slot> slots =
      slots_of(policy, family_of(object_in(like / kConfig), (like / kConfig).string()), folder.string());
  for (const char* key : kFurtherLayers)
    if (json.contains(key)) json[key] = 0;
  for (const char* key : {"dtype", "torch_dtype"})
    if (json.contains(key) || key == std::string("torch_dtype")) json[key] = dtype_name;

  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure) throw Error("pretrained", folder.string(), ": expected a folder that can be made, ", failure.message());
  // Selection biases move by steps that are too small for two bytes.
  const auto type_of = [&](const Slot& slot) {
    return slot.name.ends_with(".e_score_correction_bias") ? at::kFloat : dtype;
  };
  std::vector<std::vector<const Slot*>> shards(1);
  int64_t total = 0, filled = 0;
  for (const Slot& slot : slots) {
    const int64_t bytes = slot.part.numel() * static_cast<int64_t>(at::elementSize(type_of(slot)));
    if (filled > 0 && filled + bytes > shard_bytes) shards.emplace_back(), filled = 0;
    shards.back().push_back(&slot);
    filled += bytes, total += bytes;
  }
  OrderedJson map = OrderedJson::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    char name[64] = "model.safetensors";
    if (shards.size() > 1) std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
    NamedTensors tensors;  // what is converted is held for one shard at a time
    for (const Slot* slot : shards[i]) tensors.emplace_back(slot->name, slot->part.to(type_of(*slot)));
    const fs::path unfinished = folder / (std::string(".tmp-") + name);
    save_safetensors(unfinished, tensors, {{"format", "pt"}});
    rename_durably("pretrained", unfinished, folder / name);
    for (const Slot* slot : shards[i]) map[slot->name] = name;
  }
  const auto write = [&](const char* name, const OrderedJson& value) {
    write_file("pretrained", folder / name, value.dump(2) + "\n");
  };
  if (shards.size() > 1) write(kIndex, {{"metadata", {{"total_size", total}}}, {"weight_map", map}});
  write(kConfig, json);
  copy_tokenizer_files(like, folder);
}

void copy_all_but_weights(const fs::path& from, const fs::path& to) {
  write_file("pretrained", to / kConfig, description_of(from).dump(2) + "\n");
  copy_tokenizer_files(from, to);
}

void copy_tokenizer_files(const fs::path& from, const fs::path& to) {
  for (const fs::path& file : files_to_copy(from, to)) copy_file("pretrained", file, to / file.filename());
}

}  // namespace grpo
