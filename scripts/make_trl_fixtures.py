#!/usr/bin/env python3
"""Writes tests/fixtures/trl_objective.json: what TRL's own trainers make of small random rollouts.

    scripts/setup_peer.sh && .peer-venv/bin/python scripts/make_trl_fixtures.py

A real GRPOTrainer or RLOOTrainer is built for every case. Only what surrounds the objective is replaced: generation, the
reward functions and the model's forward pass return the numbers of a stored rollout. The advantages, the loss, and its
gradient by autograd then come from TRL's code, not from a copy of its formulas.
"""
import json
import os
import pathlib
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch
import transformers
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

assert trl.__version__ == "1.16.0", f"expected trl 1.16.0, got {trl.__version__}; run scripts/setup_peer.sh"
transformers.logging.set_verbosity_error()

PAD, END, WORD = 0, 1, 2
LIMIT = 9  # tokens of a completion at most
GROUP = 4


def tiny_policy():
    words = Tokenizer(models.WordLevel({"<pad>": PAD, "<end>": END, "word": WORD, "<unk>": 3}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")
    config = LlamaConfig(vocab_size=4, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
                         pad_token_id=PAD, eos_token_id=END, bos_token_id=None)
    return LlamaForCausalLM(config), tokenizer


def make_rollout(seed, groups, drift, unscored=()):
    """Ragged log-probabilities: `drift` is how far the policy has moved since it drew the tokens."""
    random = torch.Generator().manual_seed(seed)
    rows = groups * GROUP
    lengths = torch.randint(1, LIMIT + 1, (rows,), generator=random).tolist()
    truncated = [length == LIMIT or i % 5 == 2 for i, length in enumerate(lengths)]
    normal = lambda n: torch.randn(n, generator=random)
    sequences = []
    for i, length in enumerate(lengths):
        old = -normal(length).abs() * 1.5 - 0.05
        current = old + drift * (normal(length) + 0.7 * normal(1))
        sequences.append({
            "length": length,
            "truncated": truncated[i],
            "old": old.tolist(),
            "current": current.tolist(),
            "reference": (old + 0.3 * normal(length)).tolist(),
            "entropy": (normal(length).abs() + 0.1).tolist(),
        })
    # Multiples of 1/8 are exact in TRL's float32 too: a group of equal rewards has no rounding for 1e-4 to blow up.
    rewards = (torch.randint(-8, 17, (rows,), generator=random) / 8).tolist()
    if groups > 2:
        rewards[:GROUP] = [0.75] * GROUP  # nothing to learn here
    for i in unscored:
        rewards[i] = None
    # Two rewards of a sample, or one, or none: for what looks at each of them.
    scores = [[value, float(torch.randint(0, 5, (1,), generator=random)) / 4] for value in rewards]
    for i in range(0, rows, 7):
        scores[i][1] = None
    for i in unscored:
        scores[i] = [None, None]
    return {"group": GROUP, "rewards": rewards, "scores": scores, "sequences": sequences}


def padded(sequences, key):
    width = max(s["length"] for s in sequences)
    return torch.tensor([s[key] + [0.0] * (width - s["length"]) for s in sequences], dtype=torch.float32)


class Stored:
    """Mixed into a trainer: generation, rewards and forward passes come from a stored rollout."""

    def use(self, rollout, reference):
        self.rollout, self.forward_key = rollout, "old"
        self.reference_token = object()
        if reference:  # normally loaded from a hub; the forward below only needs to recognise it
            self.ref_model = self.reference_token

    def _generate(self, prompts):
        ids = [[WORD] * (s["length"] - 1) + [WORD if s["truncated"] else END] for s in self.rollout["sequences"]]
        texts = ["" for _ in ids]
        prompt_ids = [[WORD] for _ in ids]
        if isinstance(self, trl.RLOOTrainer):
            return prompt_ids, ids, texts
        return prompt_ids, ids, None, texts, None, {}, None, None

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        scores = self.rollout["scores"] if len(self.reward_funcs) > 1 else [[r] for r in self.rollout["rewards"]]
        return torch.tensor([[float("nan") if r is None else r for r in row] for row in scores])

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        if model is self.reference_token:
            return padded(self.rollout["sequences"], "reference"), None, None
        if self.forward_key == "old":
            return padded(self.rollout["sequences"], "old"), None, None
        rows = slice(self.first_row, self.first_row + input_ids.size(0))
        return self.logprobs[rows], self.entropies[rows], None


class StoredGRPO(Stored, trl.GRPOTrainer):
    pass


class StoredRLOO(Stored, trl.RLOOTrainer):
    pass


def flat(tensor, sequences):
    return [float(x) for row, s in zip(tensor, sequences) for x in row[: s["length"]]]


def reward(**kwargs):
    return None


def run(rollout, kind, settings, on_policy=False, minibatches=1, accumulation=1, beta=0.0, loss_wanted=True):
    rows = len(rollout["sequences"])
    micro = rows // (minibatches * accumulation)
    common = dict(output_dir=tempfile.mkdtemp(), use_cpu=True, bf16=False, report_to=[], num_generations=GROUP,
                  max_completion_length=LIMIT, per_device_train_batch_size=micro, beta=0.0,
                  gradient_accumulation_steps=accumulation, steps_per_generation=minibatches * accumulation,
                  num_iterations=1 if on_policy else 2, shuffle_dataset=False)
    config = (trl.RLOOConfig if kind == "rloo" else trl.GRPOConfig)(**common, **settings)
    model, tokenizer = tiny_policy()
    trainer = (StoredRLOO if kind == "rloo" else StoredGRPO)(
        model=model, reward_funcs=[reward] * len(settings.get("reward_weights", [1])), args=config, processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": ["word"] * rows}))
    trainer.use(rollout, reference=beta != 0.0)
    trainer.beta = beta
    trainer.current_gradient_accumulation_steps = accumulation
    trainer.model.train()

    batch = trainer._generate_and_score_completions([{"prompt": "word"} for _ in range(rows)])
    expected = {"advantages": batch["advantages"].tolist()}
    if not loss_wanted:
        return expected

    sequences = rollout["sequences"]
    trainer.forward_key = "loss"
    trainer.logprobs = padded(sequences, "old" if on_policy else "current").requires_grad_()
    trainer.entropies = padded(sequences, "entropy").requires_grad_()
    losses = []
    for step in range(minibatches * accumulation):
        trainer.first_row = step * micro
        rows_of_step = slice(trainer.first_row, trainer.first_row + micro)
        part = {key: value if value.dim() == 0 else value[rows_of_step] for key, value in batch.items()}
        loss = trainer.compute_loss(trainer.model, part)
        if kind == "rloo":
            loss = loss / accumulation  # done by the Trainer for it
        loss.backward()
        if step % accumulation == 0:
            losses.append(0.0)
        losses[-1] += loss.item()
    expected["losses"] = losses  # one for each minibatch
    expected["gradient"] = flat(trainer.logprobs.grad, sequences)
    if trainer.entropies.grad is not None:
        expected["entropy_gradient"] = flat(trainer.entropies.grad, sequences)
    return expected


def main():
    rollouts = [make_rollout(1, 2, drift=0.05), make_rollout(2, 4, drift=0.6), make_rollout(3, 3, 0.3, unscored=(5, 8, 9, 10))]
    cases = []

    def case(name, ours, kind="grpo", trl_settings=None, rollouts_used=(0, 1), **options):
        for index in rollouts_used:
            expected = run(rollouts[index], kind, trl_settings or {}, beta=ours.get("kl_coefficient", 0.0), **options)
            cases.append({"name": name, "rollout": index, "config": ours, "on_policy": options.get("on_policy", False),
                          "minibatches": options.get("minibatches", 1), "expected": expected})

    none = {"scale_rewards": "none"}
    losses = {
        "grpo": ({"loss": "grpo"}, {"loss_type": "grpo"}),
        "dr_grpo": ({"loss": "dr_grpo", "length_constant": LIMIT}, {"loss_type": "dr_grpo", **none}),
        "dapo": ({"loss": "dapo", "clip_high": 0.28}, {"loss_type": "dapo", "epsilon_high": 0.28}),
        "bnpo": ({"loss": "bnpo"}, {"loss_type": "bnpo"}),
        "gspo": ({"loss": "gspo", "clip_low": 3e-2, "clip_high": 4e-2},
                 {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-2, "epsilon_high": 4e-2}),
        "cispo": ({"loss": "cispo", "cispo_max_weight": 1.25}, {"loss_type": "cispo", "epsilon_high": 1.25}),
        "luspo": ({"loss": "luspo", "clip_low": 3e-2, "clip_high": 4e-2},
                  {"loss_type": "luspo", "importance_sampling_level": "sequence", "epsilon": 3e-2,
                   "epsilon_high": 4e-2}),
        "sapo": ({"loss": "sapo"}, {"loss_type": "sapo"}),
        "vespo": ({"loss": "vespo"}, {"loss_type": "vespo"}),
    }
    k3 = {"kl": "k3_in_loss", "kl_coefficient": 0.04}
    for name, (ours, theirs) in losses.items():
        case(name, ours, trl_settings=theirs)
        case(name + ", on policy", ours, trl_settings=theirs, on_policy=True, rollouts_used=(1,))
        case(name + ", k3", {**ours, **k3}, trl_settings={**theirs, "use_bias_correction_kl": False}, rollouts_used=(1,))
        case(name + ", k3 weighted", {**ours, **k3, "kl_ratio_weighted": True}, trl_settings=theirs, rollouts_used=(1,))
        case(name + ", truncated masked", {**ours, "mask_truncated": True},
             trl_settings={**theirs, "mask_truncated_completions": True}, rollouts_used=(1,))
        if name != "bnpo":  # TRL's bnpo depends on how a batch is split
            case(name + ", accumulated", ours, trl_settings=theirs, accumulation=4, rollouts_used=(1,))
        case(name + ", two minibatches", ours, trl_settings=theirs, minibatches=2, rollouts_used=(1,))
    case("entropy bonus", {"loss": "dapo", "entropy_coefficient": 0.05}, trl_settings={"entropy_coef": 0.05})
    case("clip higher", {"clip_low": 0.1, "clip_high": 0.5},
         trl_settings={"loss_type": "grpo", "epsilon": 0.1, "epsilon_high": 0.5})

    case("clip on two sides", {"max_ratio": 1.3}, trl_settings={"loss_type": "grpo", "delta": 1.3})
    case("clip sequences on two sides", {"loss": "gspo", "clip_low": 3e-2, "clip_high": 4e-2, "max_ratio": 1.05},
         trl_settings={**losses["gspo"][1], "delta": 1.05}, rollouts_used=(1,))
    case("sapo, temperatures", {"loss": "sapo", "sapo_temperature_positive": 2.5, "sapo_temperature_negative": 0.7},
         trl_settings={"loss_type": "sapo", "sapo_temperature_pos": 2.5, "sapo_temperature_neg": 0.7},
         rollouts_used=(1,))
    case("vespo, shapes", {"loss": "vespo", "vespo_k_positive": 0.5, "vespo_lambda_positive": 1.5,
                           "vespo_k_negative": 1.25, "vespo_lambda_negative": 0.75},
         trl_settings={"loss_type": "vespo", "vespo_k_pos": 0.5, "vespo_lambda_pos": 1.5, "vespo_k_neg": 1.25,
                       "vespo_lambda_neg": 0.75}, rollouts_used=(1,))
    sequence = {"importance_sampling_level": "sequence"}
    for name in ("dapo", "bnpo", "dr_grpo", "cispo", "sapo"):
        ours, theirs = losses[name]
        case(name + ", sequences", {**ours, "ratio_level": "sequence"}, trl_settings={**theirs, **sequence},
             rollouts_used=(1,))
    case("luspo, tokens", {"loss": "luspo", "ratio_level": "token"}, trl_settings={"loss_type": "luspo"},
         rollouts_used=(1,))
    for name in ("grpo", "gspo", "cispo", "vespo"):
        ours, theirs = losses[name]
        case(name + ", off-policy masked", {**ours, "off_policy_threshold": 0.1},
             trl_settings={**theirs, "off_policy_mask_threshold": 0.1})
        case(name + ", off-policy masked, k3 weighted",
             {**ours, **k3, "off_policy_threshold": 0.1, "kl_ratio_weighted": True},
             trl_settings={**theirs, "off_policy_mask_threshold": 0.1}, rollouts_used=(1,))
    for name, top in (("grpo", 0.2), ("gspo", 0.35), ("dapo", 0.0), ("vespo", 0.6)):
        ours, theirs = losses[name]
        case(name + ", top entropy", {**ours, "top_entropy": top}, trl_settings={**theirs, "top_entropy_quantile": top})
        case(name + ", top entropy and bonus", {**ours, "top_entropy": top, "entropy_coefficient": 0.05},
             trl_settings={**theirs, "top_entropy_quantile": top, "entropy_coef": 0.05}, minibatches=2,
             rollouts_used=(1,))
    case("grpo, top entropy, truncated masked", {"top_entropy": 0.3, "mask_truncated": True},
         trl_settings={"loss_type": "grpo", "top_entropy_quantile": 0.3, "mask_truncated_completions": True},
         rollouts_used=(1,))
    adaptive = {"entropy_coefficient": 0.05, "entropy_coefficient_step": 0.03, "entropy_coefficient_max": 0.07}
    for name, target, top in (("", 0.85, 1.0), (", top entropy", 0.95, 0.9)):
        case("bnpo, adaptive entropy" + name, {"loss": "bnpo", **adaptive, "entropy_target": target, "top_entropy": top},
             trl_settings={"loss_type": "bnpo", "entropy_coef": 0.05, "use_adaptive_entropy": True,
                           "entropy_target": target, "entropy_coef_delta": 0.03, "entropy_coef_max": 0.07,
                           "top_entropy_quantile": top}, minibatches=4, rollouts_used=(1,))

    each = {"multi_objective_aggregation": "normalize_then_sum", "reward_weights": [1.0, 0.5]}
    case("each reward normalized", {"normalize_each_reward": True}, trl_settings={"loss_type": "grpo", **each},
         rollouts_used=(0, 1))
    case("each reward normalized, unscored", {"normalize_each_reward": True},
         trl_settings={"loss_type": "grpo", **each}, loss_wanted=False, rollouts_used=(2,))
    for scale in ("group", "batch", "none"):
        case("scale " + scale, {"scale": scale}, trl_settings={"loss_type": "grpo", "scale_rewards": scale},
             loss_wanted=False, rollouts_used=(0, 1, 2))
    rloo = {"loss": "rloo", "baseline": "rloo"}
    k1 = {"kl": "k1_in_reward", "kl_coefficient": 0.05}
    case("rloo", rloo, kind="rloo")
    case("rloo, on policy", rloo, kind="rloo", on_policy=True, rollouts_used=(1,))
    case("rloo, k1", {**rloo, **k1}, kind="rloo")
    case("rloo, k1, whitened", {**rloo, **k1, "scale": "whiten"}, kind="rloo", trl_settings={"normalize_advantages": True})
    case("rloo, accumulated", rloo, kind="rloo", accumulation=4, rollouts_used=(1,))
    case("rloo, unscored", rloo, kind="rloo", loss_wanted=False, rollouts_used=(2,))
    case("rloo, unscored, whitened", {**rloo, **k1, "scale": "whiten"}, kind="rloo",
         trl_settings={"normalize_advantages": True}, loss_wanted=False, rollouts_used=(2,))

    def shortened(value):  # 9 digits give a float32 back exactly
        if isinstance(value, float):
            return float(f"{value:.9g}")
        if isinstance(value, list):
            return [shortened(x) for x in value]
        return {k: shortened(v) for k, v in value.items()} if isinstance(value, dict) else value

    made_by = {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]}
    lines = lambda items: "[\n" + ",\n".join("  " + json.dumps(shortened(item)) for item in items) + "\n ]"
    path = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "trl_objective.json"
    path.write_text(f'{{"made_by": {json.dumps(made_by)},\n "rollouts": {lines(rollouts)},\n "cases": {lines(cases)}}}\n')
    print(f"{path}: {len(cases)} cases, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
