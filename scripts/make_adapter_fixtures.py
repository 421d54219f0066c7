"""Makes tests/fixtures/adapters: small random adapters on models of tests/fixtures/models, in PEFT's form, with the
logits that PEFT has for two texts.  Needs transformers 5, PEFT and torch (scripts/setup_peer.sh):
    .peer-venv/bin/python scripts/make_adapter_fixtures.py [NAME …]       by default all
    .peer-venv/bin/python scripts/make_adapter_fixtures.py --check MODEL RUN
The second reads what a run on the folder MODEL wrote: PEFT's logits of MODEL with RUN/adapter must be RUN/model's.
"""
import json
import os
import shutil
import sys
import tempfile

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

FIXTURES = os.path.join(os.path.dirname(__file__), "..", "tests", "fixtures")
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
FEED_FORWARD = ["gate_proj", "up_proj", "down_proj"]
LATENT = ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]
# model, r, lora_alpha, target_modules; "experts": those of each expert apart, as PEFT has them with transformers 4
ADAPTERS = {
    "qwen2": ("qwen2", 3, 5, ATTENTION + FEED_FORWARD),
    "llama3_some": ("llama3", 4, 8, ["q_proj", "v_proj", "up_proj"]),
    "deepseek_v3": ("deepseek_v3", 2, 3, LATENT),
    "deepseek_v2_lite": ("deepseek_v2_lite", 3, 4, ["q_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]),
    "qwen3_moe_experts": ("qwen3_moe", 2, 3, ATTENTION + FEED_FORWARD),
    "olmoe_experts": ("olmoe", 2, 4, FEED_FORWARD),
    "mixtral_experts": ("mixtral", 2, 1, ["q_proj", "w1", "w2", "w3"]),
}


def load(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def with_adapter(model, folder):
    return peft.PeftModel.from_pretrained(load(model), folder).eval()


def logits_of(model, tokens):
    with torch.no_grad():
        return model(input_ids=tokens).logits


def merged_logits(base, weights, tensors, scale, tokens):
    """Without PEFT: a check of how it takes the experts of earlier folders."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(os.path.join(base, "config.json"), folder)
        merged = dict(weights)
        for key in weights:
            stem = "base_model.model." + key.removesuffix(".weight")
            if stem + ".lora_A.weight" in tensors:
                merged[key] = weights[key] + scale * tensors[stem + ".lora_B.weight"] @ tensors[stem + ".lora_A.weight"]
        save_file(merged, os.path.join(folder, "model.safetensors"), {"format": "pt"})
        return logits_of(load(folder), tokens)


def write(name, model, r, alpha, modules):
    """The adapter as PEFT writes one: a tensor pair for each projection that the model's file has."""
    folder = os.path.join(FIXTURES, "adapters", name)
    shutil.rmtree(folder, ignore_errors=True)
    base = os.path.join(FIXTURES, "models", model)
    weights = load_file(os.path.join(base, "model.safetensors"))
    experts = any(".experts." in key for key in weights)
    config = peft.LoraConfig(r=r, lora_alpha=alpha, target_modules=modules, task_type="CAUSAL_LM", inference_mode=True,
                             base_model_name_or_path=model)
    config.save_pretrained(folder)
    file = os.path.join(folder, "adapter_config.json")
    with open(file) as source:
        said = json.load(source)
    with open(file, "w") as out:  # sets have no order of their own
        json.dump({**said, "target_modules": modules}, out, indent=2)
    tensors = {}
    for key, weight in sorted(weights.items()):
        module = key.removesuffix(".weight")
        if module.rsplit(".", 1)[-1] in modules:
            out, width = weight.shape
            tensors[f"base_model.model.{module}.lora_A.weight"] = torch.randn(r, width) / width**0.5
            tensors[f"base_model.model.{module}.lora_B.weight"] = 0.5 * torch.randn(out, r) / r**0.5
    save_file(tensors, os.path.join(folder, "adapter_model.safetensors"), {"format": "pt"})
    tokens = torch.randint(3, 48, (2, 41))
    logits = logits_of(with_adapter(base, folder), tokens)
    moved = (logits - logits_of(load(base), tokens)).abs().max()
    assert moved > 0.1, f"{name}: the adapter changes nothing"
    apart = (logits - merged_logits(base, weights, tensors, alpha / r, tokens)).abs().max()
    assert apart < 1e-4, f"{name}: {apart} from the sum of both"
    if not experts:  # what PEFT writes itself has the same names and values
        again = os.path.join(folder, "again")
        with_adapter(base, folder).save_pretrained(again)
        theirs = load_file(os.path.join(again, "adapter_model.safetensors"))
        assert theirs.keys() == tensors.keys() and all(torch.equal(theirs[key], tensors[key]) for key in tensors), name
        shutil.rmtree(again)
    save_file({"tokens": tokens.to(torch.int32), "logits": logits}, os.path.join(folder, "expected.safetensors"))
    for file in os.listdir(folder):
        os.chmod(os.path.join(folder, file), 0o644)
    size = sum(os.path.getsize(os.path.join(folder, file)) for file in os.listdir(folder))
    print(f"{name}: {size / 1000:.0f} kB, logits moved by up to {moved:.2f}", file=sys.stderr)


def check(model, run):
    vocabulary = json.load(open(os.path.join(model, "config.json")))["vocab_size"]
    tokens = torch.randint(0, vocabulary, (4, 64))
    both = [logits_of(with_adapter(model, os.path.join(run, "adapter")), tokens),
            logits_of(load(os.path.join(run, "model")), tokens)]
    moved, apart = (both[0] - logits_of(load(model), tokens)).abs().max(), (both[0] - both[1]).abs().max()
    print(f"adapter and merged model: {apart:.2g} apart; both {moved:.2g} from {model}")
    return 0 if apart < 1e-4 and moved > apart else 1


def main():
    if sys.argv[1:2] == ["--check"]:
        return check(*sys.argv[2:])
    for number, (name, settings) in enumerate(ADAPTERS.items()):
        torch.manual_seed(number)
        if not sys.argv[1:] or name in sys.argv[1:]:
            write(name, *settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
