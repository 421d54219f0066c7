#!/usr/bin/env python3
"""Pastes the commands of README.md, blocks and inline ones, in their order into a copy of the checkout, and looks for
the files that it names.

    test_readme.py BUILD WORK      WORK is made for it and goes away

Jobs are cut short: in that copy build/bin/r1_zero and others add lengths to what they are given. The machine is set up
already: scripts/setup.sh does nothing there, and in place of the model that scripts/fetch_smollm2.sh downloads stands a
random one of few weights with such a tokenizer and template (set-up is what starts this test; fetching has tests of its
own). A command that cannot be run is listed in NOT_RUN, with the reason.
"""
import array
import json
import math
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
LIMIT = 240  # seconds for one command

PEERS = "compares with Python packages that set-up does not install"
MINUTES = "takes minutes"
OTHERS = "a test of its own runs it, for a shorter time"
PLACEHOLDER = "has placeholders, or is a beginning"
NOT_RUN = {  # command, as README has it: why not
    "scripts/test.sh": "runs this test",
    "scripts/test.sh --sanitize": "a build of its own, and a job of its own in CI",
    "scripts/train.sh --set seed=N --out runs/N": PLACEHOLDER,
    "scripts/train.sh search --set seed=N": PLACEHOLDER,
    "build/bin/r1_zero --resume --out RUN": PLACEHOLDER,
    "build/bin/evaluate --model RUN": PLACEHOLDER,
    "build/bin/evaluate --model runs/mine": PLACEHOLDER,
    "build/bin/generate --model runs/smollm2/model --chat": MINUTES,
    ".venv/bin/tensorboard --logdir runs": "serves until it is stopped",
    ".peer-venv/bin/python scripts/peer_trl.py --model $M --ours build/bin/r1_zero --micro-batch 8 --steps 1 --rounds 1":
        PEERS,
    "scripts/setup_peer.sh": "installs those packages",
    "scripts/make_adapter_fixtures.py": PEERS,
    "scripts/make_model_fixtures.py": PEERS,
    "scripts/make_trl_fixtures.py": PEERS,
    "scripts/check_smollm2.py": PEERS,
    "scripts/check_tokenizers.py build/bin/tokenize": PEERS,
    "build/bin/fuzz_model_files --seconds 300": OTHERS,
    "build/bin/fuzz_inputs --seconds 300": OTHERS,
    "build/bin/fuzz_answers --seconds 600": OTHERS,
    "GRPO_METAMORPHIC_PAIRS=120000 build/bin/test_answer_metamorphic": OTHERS,
    "GRPO_KILLS=40 GRPO_KILL_SEED=7 build/bin/test_driver": OTHERS,
    "build/bin/bench_ops --filter latent": MINUTES,
    "build/bin/bench_step": MINUTES,
    "build/bin/bench_rewards": MINUTES,
    "build/bin/human_eval --problems HumanEval.jsonl": "its owners publish the file",
}
NO_SANDBOX = "expected bubblewrap to set up a sandbox"  # what is said where containers forbid it
# What programs add to their arguments here.
CUT = {
    "r1_zero": {"steps": 2, "prompts_per_step": 2, "rollout.samples": 2, "rollout.max_new_tokens": 8,
                "pretrain.steps": 3, "pretrain.documents_per_step": 4, "evaluate.problems": 4, "evaluate.samples": 2},
    "evaluate": {"max_new_tokens": 8},
    "generate": {"max_new_tokens": 8},
}
CUT_RESUMED = {"r1_zero": {"steps": 3}, "r1": {}}


def cut_recipe(config):
    """Every stage of the recipe in `config`, on a policy so small that it learns the form from a few demonstrations."""
    stages = json.loads(re.sub(r"^\s*//.*$", "", (ROOT / config).read_text(encoding="utf-8"), flags=re.M))["stages"]
    cut = {"evaluation.problems": 4, "evaluation.samples": 2, "evaluation.general_problems": 2, "evaluation.pairs": 2,
           "evaluation.general_samples": 1, "evaluation.max_new_tokens": 12, "judging.votes": 1,
           "judging.max_new_tokens": 8, "judging.max_unreadable": 1.0}
    general = json.dumps([{"tasks": {"generator": "general"}}])
    for number, stage in enumerate(stages):
        kind = stage.get("type", "grpo")
        each = {"pretrain": {"pretrain.steps": 3, "pretrain.documents_per_step": 2},
                "grpo": {"grpo.steps": 2, "grpo.prompts_per_step": 2, "grpo.rollout.samples": 2,
                         "grpo.rollout.max_new_tokens": 12},
                "sft": {}, "rejection_sample": {}, "distill": {}}[kind]
        if kind == "pretrain":
            each |= {"policy.hidden_size": 32, "policy.layers": 1, "policy.heads": 2, "policy.kv_heads": 1}
        if kind in ("sft", "distill"):
            each |= {"sft.epochs": 80, "sft.documents_per_step": 4, "sft.optimizer.learning_rate": 5e-3}
        if kind == "sft" and any("topic" in source for source in stage["data"]):
            each |= {"data": json.dumps([{"file": "demos.jsonl"}])}
        if kind in ("rejection_sample", "distill"):
            each |= {"rejection.count": 16, "rejection.tasks": general, "rejection.rollout.samples": 4,
                     "rejection.rollout.max_new_tokens": 12, "rejection.screen.min_helpful": 0,
                     "rejection.screen.min_language_consistency": 0}
        cut |= {f"stages.{number}.{key}": value for key, value in each.items()}
    return cut


TEMPLATE = """{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def stand_in(folder):
    """A model folder in SmolLM2's form."""
    fixtures = ROOT / "tests" / "fixtures"
    folder.mkdir(parents=True)
    shutil.copy(fixtures / "tokenizers" / "smollm" / "tokenizer.json", folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    tokens = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    vocabulary, end = len(tokenizer["model"]["vocab"]) + len(tokens), tokens["<|im_end|>"]
    config = json.loads((fixtures / "models" / "smollm2" / "config.json").read_text("utf-8"))
    config |= {"vocab_size": vocabulary, "bos_token_id": tokens["<|im_start|>"], "eos_token_id": end}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": end}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": [vocabulary, hidden], "model.norm.weight": [hidden]}
    for layer in range(config["num_hidden_layers"]):
        each = {"input_layernorm": [hidden], "post_attention_layernorm": [hidden],
                "self_attn.q_proj": [queries, hidden], "self_attn.o_proj": [hidden, queries],
                "self_attn.k_proj": [keys, hidden], "self_attn.v_proj": [keys, hidden],
                "mlp.gate_proj": [inner, hidden], "mlp.up_proj": [inner, hidden], "mlp.down_proj": [hidden, inner]}
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in each.items()}
    draw, header, data = random.Random(1), {}, b""
    for name, shape in shapes.items():
        values = array.array("f", (draw.gauss(1 if len(shape) == 1 else 0, 0.1) for _ in range(math.prod(shape))))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * len(values)]}
        data += values.tobytes()
    front = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(front).to_bytes(8, "little") + front + data)


PROGRAM = re.compile(r"([A-Z_]+=\S+ )*(scripts/\w+\.(sh|py)|(build|\.venv|\.peer-venv)/bin/\w+)( |$)")
DRIVER = re.compile(r"(r1_zero|r1|evaluate|generate|logprobs|score|tokenize) --")


def commands():
    """Every command of README, in its order: the lines of shell blocks, and inline code that begins with a program."""
    fence, paragraph = None, ""
    for line in [*re.sub(r"\\\n\s*", " ", TEXT).splitlines(), ""]:  # a command may go on behind a \
        if line.startswith("```"):
            fence = line[3:] if fence is None else None
        elif fence == "sh":
            if command := re.sub(r"\s*(\s|^)#.*", "", line).strip():
                yield command
        elif fence is None:
            paragraph += line + " "
            if line.strip() and not line.startswith("|"):
                continue  # inline code may be broken over lines
            for code in re.findall(r"`([^`]+)`", paragraph):
                code = re.sub(r"\s+", " ", code.replace("\\|", "|"))  # as a table writes |
                if DRIVER.match(code):
                    code = f"build/bin/{code}"
                if PROGRAM.match(code):
                    yield code
            paragraph = ""


def driver(program, cut, resumed):
    """A script that runs `program` with what it is given and lengths of its own."""
    words = lambda lengths: " ".join(shlex.quote(f"--set={key}={value}") for key, value in lengths.items())
    return (f'#!/bin/sh\ncase " $* " in\n  *" --help "*) exec {program} "$@" ;;\n'
            f'  *" --resume "*) exec {program} "$@" {words(resumed)} ;;\nesac\nexec {program} "$@" {words(cut)}\n')


class Readme(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.build, cls.work = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
        shutil.rmtree(cls.work, ignore_errors=True)
        cls.work.mkdir(parents=True)
        for name in ("scripts", "configs", "examples"):
            shutil.copytree(ROOT / name, cls.work / name)
        (cls.work / ".venv").symlink_to(ROOT / ".venv")
        stand_in(cls.work / "random")
        config = cls.work / "configs" / "smollm2_sums.json"  # its vocabulary is small, so that prompts are longer
        config.write_text(re.sub(r'"max_positions": \d+', '"max_positions": 600', config.read_text("utf-8")), "utf-8")
        (cls.work / "scripts" / "setup.sh").write_text("#!/bin/sh\n")
        (cls.work / "scripts" / "fetch_smollm2.sh").write_text(
            "#!/bin/sh\nmkdir -p models\ncp -rT random models/smollm2-135m-instruct\n")
        (cls.work / "build" / "bin").mkdir(parents=True)
        for path in cls.build.iterdir():
            if path.name not in ("bin", "Testing", "install_manifest.txt"):
                (cls.work / "build" / path.name).symlink_to(path)
        for path in (cls.build / "bin").iterdir():
            (cls.work / "build" / "bin" / path.name).symlink_to(path)
        for name, cut in {**CUT, "r1": cut_recipe("configs/r1_tiny.json")}.items():
            path = cls.work / "build" / "bin" / name
            path.unlink()
            path.write_text(driver(cls.build / "bin" / name, cut, CUT_RESUMED.get(name, cut)))
            path.chmod(0o755)
        demos = [{"prompt": f"{i}+1", "completion": "<think>a</think><answer>7</answer>"} for i in range(12)]
        (cls.work / "demos.jsonl").write_text("".join(json.dumps(demo) + "\n" for demo in demos))
        home = cls.work / "home"
        home.mkdir()
        cls.environment = {**os.environ, "HOME": str(home)}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.work, ignore_errors=True)

    def paste(self, command):
        terminal, theirs = os.openpty()  # somebody asks something, and ends the conversation
        os.write(terminal, b"What is 12+30?\n\x04")
        try:
            return subprocess.run(["bash", "-c", f"set -eu\n{command}"], cwd=self.work, env=self.environment,
                                  stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  timeout=LIMIT)
        finally:
            os.close(terminal)
            os.close(theirs)

    def test_commands_work(self):
        variables, seen = "", set()
        for command in commands():
            if command in seen or command in NOT_RUN:
                seen.add(command)
                continue
            seen.add(command)
            with self.subTest(command):
                if re.fullmatch(r"[A-Z]+=\S+", command):
                    variables += command + "\n"
                    continue
                if tests := re.fullmatch("scripts/test.sh -R (.*)", command):
                    # They run anyway; that there are any of that name is what can be wrong.
                    listed = self.paste(f".venv/bin/ctest --test-dir build -N -R {tests[1]}").stdout
                    self.assertRegex(listed, r"Total Tests: [1-9]")
                    continue
                begin = time.monotonic()
                done = self.paste(variables + command)
                print(f"{time.monotonic() - begin:6.1f} s  {command}", flush=True)
                if NO_SANDBOX in done.stdout:
                    print(f"left out, without a sandbox: {command}", flush=True)
                    continue
                self.assertEqual(done.returncode, 0, done.stdout[-3000:])
                if "examples/data" in command:
                    self.assertNotIn("left out", done.stdout)
        self.assertFalse(set(NOT_RUN) - seen, "NOT_RUN has what README has not")

    def test_demonstrations_are_learned(self):
        small = {"hidden_size": 16, "layers": 1, "heads": 2, "kv_heads": 1, "max_positions": 600}
        recipe = {"evaluation": {"problems": 2, "general_problems": 0, "samples": 1, "max_new_tokens": 8}, "stages": [
            {"name": "base", "type": "pretrain", "evaluate": False, "policy": small,
             "pretrain": {"steps": 1, "documents_per_step": 2}},
            {"name": "taught", "type": "sft", "from": "base", "sft": {"epochs": 1},
             "data": [{"file": "examples/data/demonstrations.jsonl"}]}]}
        (self.work / "recipe.json").write_text(json.dumps(recipe))
        done = self.paste(f"{self.build}/bin/r1 --config recipe.json --out runs/taught")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("1 of 8 demonstrations", done.stdout)  # a conversation, which needs a chat template

    def test_files_are_there(self):
        names = re.findall(r"(?<![\w./-])(?:scripts|configs|examples|src|include|kernels|tests)/[\w./*-]*", TEXT)
        names += re.findall(r"\]\(([\w./-]+)\)", TEXT)
        self.assertGreater(len(names), 60)
        for name in names:
            self.assertTrue(list(ROOT.glob(name.rstrip("."))), name)
        for program in re.findall(r"build/bin/(\w+)", TEXT):
            self.assertTrue((self.build / "bin" / program).exists(), program)

    def test_examples_are_those_of_the_files(self):
        file = ROOT / "examples" / "data" / "tasks.jsonl"
        tasks = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        shown = [json.loads(line) for block in re.findall(r"^```json\n(.*?)^```", TEXT, flags=re.M | re.S)
                 for line in block.splitlines()]
        self.assertGreater(len(shown), 0)
        for task in shown:
            self.assertIn(task, tasks)
        reward = (ROOT / "examples" / "custom_reward.cpp").read_text("utf-8")
        block = re.search(r"^```cpp\n(grpo::register_reward.*?)^```", TEXT, flags=re.M | re.S)[1]
        for line in filter(None, map(str.strip, block.splitlines())):
            self.assertIn(re.sub(r"\s*//.*", "", line), reward)
        for file in (ROOT / "examples" / "data").iterdir():
            self.assertTrue(f"examples/data/{file.name}" in TEXT, f"README names no {file.name}")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
