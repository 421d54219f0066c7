#!/usr/bin/env python3
"""Compares `generate` and `logprobs` with transformers on SmolLM2 (scripts/fetch_smollm2.sh): greedy completions token by
token, and the log-probabilities of their tokens, in fp32. Where the two best tokens lie within 1e-4 of each other, either
one is right, and the comparison of that text ends there. Exits with 1 on any other difference.

    .peer-venv/bin/python scripts/check_smollm2.py [models/smollm2-135m-instruct] [--bin build/bin] [--tokens 64]
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TIE = 1e-4
PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village,",
    "def fibonacci(n):\n",
    "Water boils at",
    "Q: What is 17 + 25?\nA:",
    "The three primary colours are",
    "대한민국의 수도는",
    "Photosynthesis is the process by which",
    "import numpy as np\n\nx = np.",
    "Dear Sir or Madam,\n",
]
QUESTIONS = [
    "What is the capital of Italy?",
    "Write a haiku about rain.",
    "Explain gravity to a child.",
    "What is 12 times 12?",
    "Name five animals that live in the sea.",
    "How do I boil an egg?",
    "Translate 'good morning' into French.",
    "Who wrote Hamlet?",
    "Give me a list of three fruits.",
    "Write a Python function that adds two numbers.",
]


def tool(program, folder, model, lines, *options):
    source, result = pathlib.Path(folder, "in.jsonl"), pathlib.Path(folder, "out.jsonl")
    source.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    command = [str(program), "--model", str(model), "--in", str(source), "--out", str(result), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{program.name}: {done.stderr}")
    return [json.loads(line) for line in result.read_text(encoding="utf-8").splitlines()], done.stderr.strip().split("\n")[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="models/smollm2-135m-instruct")
    parser.add_argument("--bin", default="build/bin", type=pathlib.Path)
    parser.add_argument("--tokens", default=64, type=int)
    parser.add_argument("--threads", default=2, type=int)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    wrong = ties = compared = 0

    with tempfile.TemporaryDirectory() as folder:
        greedy = ("--temperature", "0", "--max-new-tokens", str(options.tokens))
        ours, rate = tool(options.bin / "generate", folder, options.model, [{"prompt": p} for p in PROMPTS], *greedy)
        chats, chat_rate = tool(options.bin / "generate", folder, options.model, [{"prompt": p} for p in QUESTIONS], "--chat",
                                *greedy)
        prompts = [tokenizer(p, add_special_tokens=False).input_ids for p in PROMPTS]
        for question in QUESTIONS:
            turn = [{"role": "user", "content": question}]
            text = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
            prompts.append(tokenizer(text, add_special_tokens=False).input_ids)

        print(f"generate: {rate}; chat: {chat_rate}", flush=True)
        begin, drawn, pairs = time.perf_counter(), 0, []
        for prompt, line in zip(prompts, ours + chats):
            ids = line["completions"][0]["ids"]
            with torch.no_grad():
                whole = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                                       do_sample=False, max_new_tokens=options.tokens, return_dict_in_generate=True,
                                       output_logits=True)
            theirs = whole.sequences[0, len(prompt):].tolist()
            drawn += len(theirs)
            pairs.append({"prompt_ids": prompt, "completion_ids": theirs})
            if ids == theirs:
                compared += len(ids)
                continue
            place = next((i for i, (a, b) in enumerate(zip(ids, theirs)) if a != b), min(len(ids), len(theirs)))
            compared += place
            best = whole.logits[place][0].topk(2).values if place < len(theirs) else None
            if best is not None and (best[0] - best[1]).item() < TIE:
                ties += 1
                continue
            wrong += 1
            print(f"{line['prompt']!r}: token {place}: {ids[place:place + 5]}, transformers {theirs[place:place + 5]}")
        seconds = time.perf_counter() - begin
        print(f"{len(pairs)} completions, {compared} tokens are equal, {ties} end in a tie, {wrong} differ; "
              f"transformers: {drawn / seconds:.1f} tokens/s, one at a time", flush=True)

        scored, rate = tool(options.bin / "logprobs", folder, options.model, pairs)
        largest = 0.0
        for pair, line in zip(pairs, scored):
            both = pair["prompt_ids"] + pair["completion_ids"]
            with torch.no_grad():
                logits = model(torch.tensor([both])).logits[0, len(pair["prompt_ids"]) - 1 : -1]
            expected = torch.log_softmax(logits, -1).gather(-1, torch.tensor(pair["completion_ids"])[:, None])[:, 0]
            largest = max(largest, (expected - torch.tensor(line["logprobs"])).abs().max().item())
        print(f"logprobs: {rate}; largest difference {largest:.1e}")
        wrong += largest > 1e-3
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
