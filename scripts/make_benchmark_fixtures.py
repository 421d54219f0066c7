#!/usr/bin/env python3
"""Writes tests/fixtures/benchmarks.json: what the benchmarks' published evaluations make of odd answers.

    python3 scripts/make_benchmark_fixtures.py DROP_EVAL MMLU_PRO CODE_ELO

The arguments are files of public repositories: drop_eval.py of openai/simple-evals (ee3b031), evaluate_from_api.py of
TIGER-AI-Lab/MMLU-Pro (f418b11), calc_rating.py of QwenLM/CodeElo (0bffc84). Only the functions that are asked are run;
needs numpy and scipy.
"""
import ast
import json
import pathlib
import random
import re
import string
import sys
import typing

import numpy as np
from scipy.optimize import linear_sum_assignment

random.seed(11)


def functions(path, *names, **globals_):
    """The functions of a file (its constants, too) without what it imports."""
    tree = ast.parse(pathlib.Path(path).read_text())
    keep = [node for node in tree.body
            if isinstance(node, ast.FunctionDef) or isinstance(node, ast.Assign)]
    for name, value in {**vars(typing), "re": re, "string": string, "np": np, "json": json,
                        "linear_sum_assignment": linear_sum_assignment}.items():
        globals_.setdefault(name, value)
    for node in keep:
        try:
            exec(compile(ast.Module([node], []), str(path), "exec"), globals_)
        except NameError:
            pass  # a constant of what was not imported
    return [globals_[name] for name in names]


drop_metrics, = functions(sys.argv[1], "get_drop_metrics")
extract_answer, = functions(sys.argv[2], "extract_answer", print=lambda *_: None)

ODD = ["", "the", "a an the", "5", "5.0", "05", "five", "$5", "5%", "1,000", "1000", "1_000", "1e3", "1e-5", "-7", "+7",
       ".5", "5.", "1e400", "-1e400", "1e-400", "0.0001", "0.00001", "12345678901234567890", "123456789012345680000",
       "1e16", "9999999999999998", "0.1", "1/2", "3-4", "٣", "１２", "½", "²", "nan", "inf", "Infinity", "-inf", "12\u00a0",
       "1__0", "_1", "1_", "5 yards", "5yards", "the 5-yard line", "5\napples", "5\tapples", "Straße", "STRASSE",
       "İstanbul", "Σίσυφος", "naïve café", "“the” cat", "the-cat", "O'Neill", "o neill", "A.B.C.", "a b c", "U.S.A",
       "20 May 1999", "May 20, 1999", "1999", "Tom and Jerry", "jerry and tom", "tom tom", "北京", "北京 上海", "e5",
       "0x10", "1e", "e", "--", "a-b-the-c", "another", "Theresa", "an_a", "x\u200bthe\u200by", "the\u2028end", "١٫٥",
       "𝟙𝟚", "10.50", "10.5", "1,5", "1.5.2", "- 5", "−5", "–5", "1e+2", "1E2", "100", "3rd", "the\u0301", "a\u00adb"]
WORDS = ["5", "5.0", "10", "the", "yards", "Tom", "tom", "Jerry", "-", "$5", "and", "1,000", "touchdown", "a"]


def phrase():
    return " ".join(random.choice(WORDS) for _ in range(random.randint(0, 4)))


pairs = [(a, b) for a in ODD for b in random.sample(ODD, 6) + [a]]
pairs += [(phrase(), phrase()) for _ in range(300)]
spans = [([phrase() for _ in range(random.randint(1, 4))], [phrase() for _ in range(random.randint(1, 4))])
         for _ in range(200)]
drop = [{"predicted": predicted, "reference": reference,
         "score": [float(each) for each in drop_metrics(predicted, reference)]}
        for predicted, reference in [([a], [b]) for a, b in pairs] + spans]

TEXTS = ["the answer is (C)", "The answer is C.", "the answer is  C", "answer is (K)", "answer is (c)", "answer is Apple",
         "**The answer is (B)**", "the **answer** is (D)", "answer is ((A)", "Answer: B", "answer:B", "answer:\n\nE",
         "Answer: B Answer: C\nAnswer: D", "no\nanswer: K answer: F\nAnswer: A", "ANSWER: B", "Answers: B", "nswer: B",
         "B", "(B) or (C)", "I think B. No, wait.", "A cat", "BAD", "é B é", "ÉB", "B_", "_B", "B2", "中B中", "中 B 中",
         "", "none", "answer is", "answer is (", "Answer:", "Answer: ", "the answer is (A) ... the answer is (B)",
         "first B\nthen\nC", "J", "K", "final: \\boxed{G}", "$H$", "A\u0301", "I am sure", "answer is I", "answer:\u00a0D",
         "Answer:\u200bC", "answer: **A**", "x answer:B\nanswer is [C]"]
PIECES = ["answer is ", "Answer: ", "answer:", "(", ")", "A", "B", "J", "K", " ", "\n", "**", "é", "x", "."]
TEXTS += ["".join(random.choice(PIECES) for _ in range(random.randint(1, 10))) for _ in range(400)]
choices = [{"text": text, "choice": extract_answer(text.replace("**", "")) or ""} for text in TEXTS]


def contest(index):
    """The rating of the published code, whose two requests are answered from here."""
    n = 250
    ratings = [random.randint(300, 3200) for _ in range(n)]
    problems = [{"contestId": 7, "index": letter, **({"points": 500.0 * (i + 1)} if index % 2 else {})}
                for i, letter in enumerate("ABCDE")]
    rows = []
    for rating in sorted(ratings, reverse=True):
        solved = min(5, max(0, round(rating / 600 + random.gauss(-1, 0.7))))
        points = sum(problem.get("points", 1.0) for problem in problems[:solved])
        points -= random.randint(0, 9) * 10 if "points" in problems[0] and solved else 0
        rows.append({"points": points, "penalty": 0 if index % 2 else random.randint(0, 300)})
    rows.sort(key=lambda row: (-row["points"], row["penalty"]))
    handles = [f"h{i}" for i in range(n)]
    standings = {"contest": {"id": 7, "name": "Round"}, "problems": problems,
                 "rows": [{**row, "party": {"members": [{"handle": handle}]}} for row, handle in zip(rows, handles)]}
    changes = [{"handle": handle, "oldRating": rating} for handle, rating in zip(handles, ratings)]

    class Requests:
        def get(self, url):
            answer = {"result": changes if "ratingChanges" in url else standings}
            return type("Response", (), {"json": lambda self: answer})()

    calc, = functions(sys.argv[3], "calc_elo_rating", print=lambda *_: None, requests=Requests())
    attempts = {f"7{letter}": [random.choice(["WA", "WA", "AC"]) for _ in range(3)] for letter in "ABCDE"[:index % 6]}
    return {"standings": {**standings, "rows": rows}, "ratingChanges": [{"oldRating": rating} for rating in ratings],
            "attempts": attempts, "rating": calc(7, attempts)}


path = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/benchmarks.json"
fixtures = {"drop": drop, "mmlu_pro": choices, "contests": [contest(i) for i in range(6)]}
path.write_text(json.dumps(fixtures, separators=(",", ":"), ensure_ascii=True) + "\n")
print(len(drop), len(choices), [each["rating"] for each in fixtures["contests"]])
