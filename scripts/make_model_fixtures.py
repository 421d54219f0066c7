"""Makes tests/fixtures/models: small random models of each family, written by transformers, with the logits of two texts
and the gradient of their mean log-probability.  Needs transformers 5 and torch (scripts/setup_peer.sh):
    .peer-venv/bin/python scripts/make_model_fixtures.py [NAME …]      by default all
"""
import json
import os
import shutil
import sys

import torch
import transformers
from safetensors.torch import save_file

OUT = os.path.join(os.path.dirname(__file__), "..", "tests", "fixtures", "models")
SMALL = dict(
    vocab_size=48,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=640,
    initializer_range=0.3,
    bos_token_id=1,
    eos_token_id=2,
)
LLAMA3 = dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=64)
MOE = dict(num_experts_per_tok=2, router_aux_loss_coef=0.0)
MLA = dict(num_key_value_heads=4, kv_lora_rank=10, qk_nope_head_dim=6, qk_rope_head_dim=4, v_head_dim=5,
           moe_intermediate_size=8, num_experts_per_tok=2, num_hidden_layers=3, first_k_dense_replace=1)
MLA_YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=8.0, original_max_position_embeddings=16, beta_fast=32,
                beta_slow=1, mscale=1.0, mscale_all_dim=1.0)
MODELS = {
    "llama2": ("Llama", dict(num_key_value_heads=4)),
    "llama3": ("Llama", dict(rope_parameters=LLAMA3)),
    "llama_linear": ("Llama", dict(rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0))),
    "smollm2": ("Llama", dict(tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=100000.0),
                              num_attention_heads=3, num_key_value_heads=1, hidden_size=24)),
    "qwen2": ("Qwen2", dict(tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=1e6))),
    "qwen2_yarn": ("Qwen2", dict(rope_parameters=YARN)),
    "qwen3": ("Qwen3", dict(head_dim=8, tie_word_embeddings=True)),
    "qwen3_moe": ("Qwen3Moe", dict(head_dim=8, num_experts=5, moe_intermediate_size=8, norm_topk_prob=True, **MOE)),
    "qwen3_moe_plain": ("Qwen3Moe", dict(head_dim=8, num_experts=4, moe_intermediate_size=8, norm_topk_prob=False, **MOE)),
    "mixtral": ("Mixtral", dict(num_local_experts=4, intermediate_size=8, **MOE)),
    "olmoe": ("Olmoe", dict(num_experts=5, intermediate_size=8, **MOE)),
    "deepseek_v2_lite": ("DeepseekV2", dict(q_lora_rank=None, n_routed_experts=5, n_shared_experts=2, **{**MLA,
                         "rope_parameters": {**MLA_YARN, "mscale": 0.707, "mscale_all_dim": 0.707}})),
    "deepseek_v2": ("DeepseekV2", dict(q_lora_rank=12, n_routed_experts=8, n_shared_experts=1, n_group=4, topk_group=2,
                                       topk_method="group_limited_greedy", routed_scaling_factor=4.0, **MLA)),
    "deepseek_v3": ("DeepseekV3", dict(q_lora_rank=12, n_routed_experts=8, n_shared_experts=1, n_group=4, topk_group=2,
                                       rope_parameters=MLA_YARN, **MLA)),
    "deepseek_v3_plain": ("DeepseekV3", dict(q_lora_rank=None, n_routed_experts=4, n_shared_experts=1, n_group=1,
                                             topk_group=1, norm_topk_prob=False, rope_interleave=False,
                                             routed_scaling_factor=1.0, **MLA)),
    # Further ones come last: a model's seed is its place here.
    "qwen3_moe_every_other": ("Qwen3Moe", dict(head_dim=8, num_experts=4, moe_intermediate_size=8, decoder_sparse_step=2,
                                               norm_topk_prob=True, **{**MOE, "num_hidden_layers": 4})),
    "qwen3_moe_dense_layers": ("Qwen3Moe", dict(head_dim=8, num_experts=4, moe_intermediate_size=8, mlp_only_layers=[1, 3],
                                                norm_topk_prob=True, **{**MOE, "num_hidden_layers": 4})),
    "qwen2_yarn_plain": ("Qwen2", dict(rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0))),
    # Its config.json ties the embedding, its weights do not: a model is what transformers loads from the folder.
    "llama_head": ("Llama", dict()),
}
UNTIED = ("llama_head",)


def main():
    wanted = sys.argv[1:] or MODELS
    for index, (name, (family, settings)) in enumerate(MODELS.items()):
        if name not in wanted:
            continue
        shutil.rmtree(os.path.join(OUT, name), ignore_errors=True)
        torch.manual_seed(index)
        config = getattr(transformers, family + "Config")(**{**SMALL, **settings})
        config._attn_implementation = "eager"
        model = getattr(transformers, family + "ForCausalLM")(config).eval()
        with torch.no_grad():
            for key, value in model.named_parameters():  # no norm weight of 1 and no bias of 0
                if "norm" in key or key.endswith("bias"):
                    value.add_(0.3 * torch.randn_like(value))
            for key, value in model.named_buffers():  # DeepSeek-V3's selection biases
                if key.endswith("e_score_correction_bias"):
                    value.add_(0.1 * torch.randn_like(value))
        folder = os.path.join(OUT, name)
        model.save_pretrained(folder)
        if name in UNTIED:
            file = os.path.join(folder, "config.json")
            with open(file) as source:
                said = json.load(source)
            with open(file, "w") as out:
                json.dump({**said, "tie_word_embeddings": True}, out, indent=2)
            model = type(model).from_pretrained(folder, attn_implementation="eager").eval()
        tokens = torch.randint(3, config.vocab_size, (2, 41))
        logits = model(input_ids=tokens).logits
        logprobs = torch.log_softmax(logits[:, :-1], -1).gather(-1, tokens[:, 1:, None])
        logprobs.mean().backward()
        # As in the file: transformers keeps experts fused in memory, and writes them apart.
        state = {key: value.grad for key, value in model.named_parameters()}
        grads = os.path.join(folder, "grads")
        with torch.no_grad():
            for key, value in model.named_parameters():
                value.copy_(state[key])
        model.save_pretrained(grads)
        os.replace(os.path.join(grads, "model.safetensors"), os.path.join(folder, "gradients.safetensors"))
        shutil.rmtree(grads)
        expected = {"tokens": tokens.to(torch.int32), "logits": logits.detach()}
        save_file(expected, os.path.join(folder, "expected.safetensors"))
        size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
        print(f"{name}: {size / 1000:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
