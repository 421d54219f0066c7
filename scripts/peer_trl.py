#!/usr/bin/env python3
"""Times a GRPO step of TRL (GRPOTrainer, fp32, Hugging Face generate) on the workload of bench_step, or of r1_zero
on a model folder.

    scripts/setup_peer.sh && .peer-venv/bin/python scripts/peer_trl.py --ours build/bin/bench_step
    scripts/fetch_smollm2.sh && .peer-venv/bin/python scripts/peer_trl.py --model models/smollm2-135m-instruct \\
        --ours build/bin/r1_zero

The peer runs with several micro-batches, each in a process of its own, and the fastest counts. With --ours, that one and
ours (fp32 and bf16) then take turns, so that a noisy machine is unfair to nobody. With --model a step has 4 prompts with 4
completions of 64 tokens; both sides read the same questions through the model's chat template. Progress goes to standard
error, the result to standard output as JSON.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

PROMPTS, COMPLETIONS, PROMPT_TOKENS, COMPLETION_TOKENS = 16, 8, 32, 64
VOCABULARY, HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS = 512, 256, 688, 4, 4, 2
MICRO_BATCHES = (16, 32, 128)
MODEL_PROMPTS, MODEL_COMPLETIONS, MODEL_MICRO_BATCHES = 4, 4, (4, 8, 16)  # with --model


def peak_rss_bytes():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def questions(count):
    return [f"A farmer has {17 + i} sheep and buys {3 * i + 5} more, then sells {i + 2} of them at the market in town. "
            "How many sheep does the farmer have now? Explain each step." for i in range(count)]


def run_peer(model, micro_batch, warm_up, steps):
    """One run of TRL in this process: the seconds between the ends of its optimizer steps."""
    import datasets
    import tokenizers
    import torch
    import transformers
    import trl

    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    torch.manual_seed(0)
    prompts, completions = (MODEL_PROMPTS, MODEL_COMPLETIONS) if model else (PROMPTS, COMPLETIONS)
    if model:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, padding_side="left")
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        policy = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="sdpa")
        tasks = [[{"role": "user", "content": text}] for text in questions(prompts * (warm_up + steps))]
    else:
        tokenizer, policy, tasks = fresh_model(prompts * (warm_up + steps))
    tasks = datasets.Dataset.from_dict({"prompt": tasks})

    def reward(completion_ids, **_):
        for ids in completion_ids:
            assert len(ids) == COMPLETION_TOKENS, f"expected {COMPLETION_TOKENS} tokens, got {len(ids)}"
        return [float(ids[0] % 2) for ids in completion_ids]

    ends = []

    class Clock(transformers.TrainerCallback):
        def on_train_begin(self, *args, **kwargs):
            ends.append(time.perf_counter())

        def on_step_end(self, *args, **kwargs):
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        config = trl.GRPOConfig(
            output_dir=folder, use_cpu=True, bf16=False, report_to=[], save_strategy="no", logging_strategy="no",
            disable_tqdm=True, gradient_checkpointing=False, max_steps=warm_up + steps, num_generations=completions,
            max_completion_length=COMPLETION_TOKENS, per_device_train_batch_size=micro_batch,
            gradient_accumulation_steps=prompts * completions // micro_batch, beta=0.0, loss_type="grpo",
            generation_kwargs={"suppress_tokens": [tokenizer.eos_token_id]})
        trainer = trl.GRPOTrainer(model=policy, reward_funcs=reward, args=config, train_dataset=tasks,
                                  processing_class=tokenizer, callbacks=[Clock()])
        trainer.train()
    seconds = [end - start for start, end in zip(ends, ends[1:])][warm_up:]
    assert len(seconds) == steps
    return {"micro_batch": micro_batch, "seconds_per_step": statistics.median(seconds), "peak_rss_bytes": peak_rss_bytes(),
            "steps": seconds}


def fresh_model(tasks):
    """The tokenizer, model and prompts of bench_step's workload."""
    import tokenizers
    import torch
    import transformers

    words = {"<pad>": 0, "<end>": 1, "<unk>": 2, **{f"w{i}": i for i in range(3, VOCABULARY)}}
    word_level = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    word_level.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=word_level, pad_token="<pad>", eos_token="<end>", unk_token="<unk>", padding_side="left")
    policy = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=INTERMEDIATE, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, max_position_embeddings=PROMPT_TOKENS + COMPLETION_TOKENS,
        pad_token_id=0, eos_token_id=1, bos_token_id=None, attn_implementation="sdpa")).float()

    random = torch.Generator().manual_seed(1)
    draws = torch.randint(3, VOCABULARY, (tasks, PROMPT_TOKENS), generator=random).tolist()
    return tokenizer, policy, [" ".join(f"w{i}" for i in row) for row in draws]


def run_r1_zero(program, model, dtype, warm_up, steps, threads):
    """Our driver on a model folder: the seconds of its steps as metrics.jsonl has them, and its peak of memory."""
    with tempfile.TemporaryDirectory() as folder:
        tasks = os.path.join(folder, "tasks.jsonl")
        with open(tasks, "w") as file:
            for text in questions(2 * MODEL_PROMPTS * (warm_up + steps)):  # some are held out
                file.write(json.dumps({"prompt": text, "answer": "7"}) + "\n")
        out = os.path.join(folder, "run")
        # The entropy counts next to nothing, but for it groups whose rewards are all equal would cost no training.
        settings = {"policy.from": model, "policy.dtype": dtype, "chat.text": "", "chat.system": "", "chat.open_think": "false",
                    "objective.entropy_coefficient": 1e-9, "tasks.file": tasks, "steps": warm_up + steps,
                    "prompts_per_step": MODEL_PROMPTS, "rollout.samples": MODEL_COMPLETIONS,
                    "rollout.max_new_tokens": COMPLETION_TOKENS, "rollout.ignore_eos": "true", "evaluate.problems": 0,
                    "optimizer.warmup_steps": 0, "out": out}
        command = [program] + [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, stdout=subprocess.DEVNULL) as run:
            _, status, usage = os.wait4(run.pid, 0)
            run.returncode = os.waitstatus_to_exitcode(status)
        if run.returncode != 0:
            sys.exit(f"peer_trl.py: {' '.join(command)} failed with status {run.returncode}")
        with open(os.path.join(out, "metrics.jsonl")) as file:
            lines = [json.loads(line) for line in file][warm_up:]
    seconds = [sum(line[f"seconds/{part}"] for part in ("rollout", "reward", "train")) for line in lines]
    return {"seconds_per_step": statistics.median(seconds), "peak_rss_bytes": usage.ru_maxrss * 1024, "steps": seconds}


def last_json(command, threads):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(threads),
                   "MKL_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"peer_trl.py: {' '.join(command)} failed with status {done.returncode}")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        sys.exit(f"peer_trl.py: expected a line of JSON from {' '.join(command)}, got none")
    return json.loads(lines[-1])


def tell(name, result):
    print(f"{name:18} {result['seconds_per_step']:7.3f} s/step  {result['peak_rss_bytes'] / 2**30:5.2f} GiB",
          file=sys.stderr, flush=True)


def summary(runs):
    return {"seconds_per_step": statistics.median(run["seconds_per_step"] for run in runs),
            "peak_rss_bytes": max(run["peak_rss_bytes"] for run in runs)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", metavar="PROGRAM", help="bench_step, or with --model r1_zero, run in turns with the peer")
    parser.add_argument("--model", help="a model folder in place of bench_step's fresh model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warm-up", type=int, default=1, help="steps of each run that do not count")
    parser.add_argument("--steps", type=int, default=4, help="steps of each run that count")
    parser.add_argument("--rounds", type=int, default=3, help="turns of peer and ours")
    parser.add_argument("--micro-batch", type=int, help="try only this one")
    parser.add_argument("--one-run", action="store_true", help=argparse.SUPPRESS)  # the child process
    args = parser.parse_args()

    if args.one_run:
        print(json.dumps(run_peer(args.model, args.micro_batch, args.warm_up, args.steps)))
        return

    def peer(micro_batch):
        result = last_json([sys.executable, __file__, "--one-run", "--micro-batch", str(micro_batch), "--warm-up",
                            str(args.warm_up), "--steps", str(args.steps)] +
                           (["--model", args.model] if args.model else []), args.threads)
        tell(f"trl micro {micro_batch}", result)
        return result

    def ours(dtype):
        if args.model:
            result = run_r1_zero(args.ours, args.model, dtype, args.warm_up, args.steps, args.threads)
        else:
            result = last_json([args.ours, "--dtype", dtype], args.threads)
        tell(f"ours {dtype}", result)
        return result

    sizes = MODEL_MICRO_BATCHES if args.model else MICRO_BATCHES
    tried = [peer(size) for size in ((args.micro_batch,) if args.micro_batch else sizes)]
    best = min(tried, key=lambda run: run["seconds_per_step"])
    result = {"threads": args.threads, "trl": {"micro_batch": best["micro_batch"], **summary([best])},
              "trl_by_micro_batch": {run["micro_batch"]: summary([run]) for run in tried}}
    if args.ours:
        runs = {"trl": [], "float32": [], "bfloat16": []}
        for _ in range(args.rounds):
            runs["trl"].append(peer(best["micro_batch"]))
            for dtype in ("float32", "bfloat16"):
                runs[dtype].append(ours(dtype))
        result["trl"].update(summary(runs["trl"]))
        for dtype in ("float32", "bfloat16"):
            mine = summary(runs[dtype])
            result[dtype] = {**mine,
                             "time_ratio": mine["seconds_per_step"] / result["trl"]["seconds_per_step"],
                             "memory_ratio": mine["peak_rss_bytes"] / result["trl"]["peak_rss_bytes"]}
            print(f"ours {dtype} / trl: time {result[dtype]['time_ratio']:.3f}, memory {result[dtype]['memory_ratio']:.3f}",
                  file=sys.stderr)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
