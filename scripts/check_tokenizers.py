#!/usr/bin/env python3
"""Compares examples/tokenize with the `tokenizers` package on many generated texts and on drawn ids, and times both.

    .peer-venv/bin/python scripts/check_tokenizers.py build/bin/tokenize [FOLDER …] [--count 20000] [--seed 3] [--only qwen] [--every]

Without folders: the families of scripts/make_tokenizer_fixtures.py. With them: each one's tokenizer.json.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from tokenizers import Tokenizer

from make_tokenizer_fixtures import SENTENCES, decoded, families, id_lists, texts


def run(program, model, lines, *options):
    with tempfile.TemporaryDirectory() as folder:
        source, result = pathlib.Path(folder, "in.jsonl"), pathlib.Path(folder, "out.jsonl")
        source.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        done = subprocess.run([program, "--model", model, "--in", source, "--out", result, *options], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{model}: {done.stderr}")
        return [json.loads(line) for line in result.read_bytes().split(b"\n") if line], done.stderr


def every_code_point():
    """Each code point between letters, behind a space, before a digit, and twice in a row."""
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    return ["".join(f"x{c}y {c}1{c}{c}e{c}" for c in points[i : i + 50]) for i in range(0, len(points), 50)]


def check(program, name, model, given, seed):
    theirs = Tokenizer.from_file(str(model))
    encoded = [theirs.encode(t, add_special_tokens=False).ids for t in given]
    ours, _ = run(program, model, [{"text": t} for t in given])
    wrong = [(t, a, b["ids"]) for t, a, b in zip(given, encoded, ours) if a != b["ids"]]

    lists = encoded + id_lists(theirs, len(given) // 4, seed + 1)
    expected = [decoded(theirs, ids) for ids in lists]
    back, _ = run(program, model, [{"ids": ids} for ids in lists], "--decode")
    wrong_back = [(ids, a, b["text"]) for ids, a, b in zip(lists, expected, back) if a != b["text"]]

    english = " ".join(SENTENCES[:3]) * 4000
    lines = [english[i : i + 4000] for i in range(0, len(english), 4000)]
    _, note = run(program, model, [{"text": t} for t in lines])
    begin = time.perf_counter()
    for line in lines:
        theirs.encode(line, add_special_tokens=False)
    rate = len(english) / (time.perf_counter() - begin) / 1e6
    print(f"{name:10} {len(given)} texts: {len(wrong)} differ; {len(lists)} id lists: {len(wrong_back)} differ; "
          f"English: {note.split(', ')[-1].strip()}, theirs {rate:.1f} MB/s", flush=True)
    for example in (wrong[:3] + wrong_back[:3]):
        print("   ", *(ascii(part)[:300] for part in example), sep="\n      ")
    return len(wrong) + len(wrong_back)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--every", action="store_true", help="texts that hold every code point, in place of drawn ones")
    options = parser.parse_args()
    given = every_code_point() if options.every else texts(options.count, options.seed)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        models = [(pathlib.Path(f).name, pathlib.Path(f, "tokenizer.json")) for f in options.folders]
        if not models:
            for name, data in families().items():
                if options.only in name:
                    models.append((name, pathlib.Path(folder, name + ".json")))
                    models[-1][1].write_text(data, encoding="utf-8")
        for name, model in models:
            bad += check(options.program, name, model, given, options.seed)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
