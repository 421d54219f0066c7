#!/usr/bin/env python3
"""scripts/report.py: a small run of every kind of stage, the page made of it, and, where there is a Chromium, the page
in a browser."""
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from html.parser import HTMLParser
from pathlib import Path

REPORT = Path(__file__).resolve().parent.parent / "scripts" / "report.py"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOSTILE = ('</pre></script><b id="injected">x</b><script>document.title = "owned"</script><img src=x onerror=alert(1)>'
           "\x00\u202e&lt;")

STAGES = [  # name, type, from, state, seconds
    ("base", "pretrain", "", "done", 95.0),
    ("zero", "grpo", "base", "done", 130.4),
    ("cold_start", "sft", "base", "done", 21.0),
    ("reason", "grpo", "cold_start", "done", 141.0),
    ("select", "rejection_sample", "reason", "done", 33.0),
    ("all_round", "sft", "base", "running", 12.0),
    ("align", "grpo", "all_round", "waiting", None),
]
DROPPED = {"wrong": 1210, "malformed": 77, "mixed": 301, "repetitive": 5, "overlong": 12, "truncated": 31,
           "duplicate": 404}


def trace(step, kind, language, right, text=None, **more):
    a, b = step % 50 + 10, (step * 7) % 40 + 10
    answer = a + b if right else a + b + 1
    if text is None:
        check = {"en": "Wait, let me check. ", "ko": "잠깐, 다시 확인하자. "}[language] if more.get("reflects") else ""
        thought = {"en": f"{a}+{b}: add the ones, 그래서", "ko": "일의 자리를 더하면"}[language]
        text = f"<think>{thought} {answer}. {check}</think><answer>{answer}</answer>"
    return {"step": step, "task": f"{kind}:{a}+{b}", "sample": 0, "prompt": f"What is {a}+{b}?",
            "reference": str(a + b), "kind": kind, "language": language, "text": text, "answer": str(answer),
            "tokens": len(text) // 2, "finish": "stop", "reflects": False,
            "scores": {"accuracy": float(right), "format": 1.0, "language_consistency": None},
            "reward": 1.3 if right else 0.3, "advantage": 0.9 if right else -0.9, **more}


def write_lines(file, rows, tail=""):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + tail, encoding="utf-8")


def build(folder, steps=60):
    """A run as the r1 recipe leaves it, half-way through; returns every trace in it."""
    draw = random.Random(1)
    traces = []
    table = {}
    for index, (name, kind, _, state, _) in enumerate(STAGES):
        if state == "waiting":
            continue
        if kind == "grpo":
            rows = []
            for step in range(1, steps + 1):
                share = 1 / (1 + math.exp(-(step / steps * 6 - 2)))
                noise = lambda: draw.gauss(0, 0.03)
                rows.append({"step": step, "reward": 1.3 * share + noise(), "accuracy": min(1, max(0, share + noise())),
                             "format": min(1, 0.6 + 0.4 * share), "language_consistency": 0.7 + noise(),
                             "mixed_traces": 0.06, "completion_length": 30 + 40 * share * index + 3 * noise(),
                             "reflection_rate": 0.1 + 0.3 * share, "entropy": 0.3 - 0.2 * share, "loss": 1e-9 * noise(),
                             "kl": None if name == "zero" else 0.02 * share, "grad_norm": None, "learning_rate": 1e-4,
                             "seconds/rollout": 0.2, "seconds/train": 0.2})
            notebook = [trace(step, ("arithmetic", "countdown")[i % 2], ("en", "ko")[step % 3 == 0], i % 2 == step % 2,
                              reflects=(i == 3 and step > 10)) for step in range(1, steps + 1) for i in range(4)]
            write_lines(folder / name / "metrics.jsonl", rows, '{"step": 61, "rewa')
            write_lines(folder / name / "samples.jsonl", notebook, '{"step": 61, "text": "잘')
            traces += notebook
        elif kind in ("pretrain", "sft"):
            write_lines(folder / name / "metrics.jsonl",
                        [{"step": i, "loss": 3 * math.exp(-i / 90) + 0.4 + draw.gauss(0, 0.05), "grad_norm": 1.0,
                          "learning_rate": 1e-3} for i in range(1, 401 if kind == "pretrain" else 151)])
        else:
            (folder / name).mkdir()
            (folder / name / "report.json").write_text(json.dumps({"sampled": 4000, "kept": 1960, "dropped": DROPPED}))
        if kind != "rejection_sample":
            table[name] = {"pass@1": 0.3 + 0.1007 * index, "cons@k": 0.4 + 0.1003 * index,
                           "format": 0.6011 + 0.06 * index, "language_consistency": 0.7 + 0.0301 * (index % 4),
                           "mixed_traces": 0.0617 / (index + 1), "completion_length": 30.52 + 11.11 * index,
                           "reflection_rate": 0.1457, "judge": None if index < 2 else 0.5123}
    first = folder / "zero" / "samples.jsonl"
    strange = [trace(1, "arithmetic", "en", False, HOSTILE, prompt=HOSTILE, reference=HOSTILE),
               trace(1, '"><b id="injected">', "en", True,
                     "<think>" + "길다 long " * 2000 + "</think><answer>7</answer>"),
               trace(1, "arithmetic", "en", False, "\u2028line\u2029 separators\x85 are no line ends", finish="length")]
    write_lines(first, strange + traces[: steps * 4], '{"step": 61, "text": "잘')
    raw = first.read_bytes()
    first.write_bytes(raw[:-1])  # killed in the middle of a character
    stages = [dict(zip(("name", "type", "from", "state", "seconds"), stage)) for stage in STAGES]
    (folder / "stages.json").write_text(json.dumps(stages))
    (folder / "table.json").write_text(json.dumps(table))
    (folder / "config.json").write_text(json.dumps({"seed": 11, "device": "cpu", "note": HOSTILE}))
    (folder / "selection.json").write_text(json.dumps({"all": {"pass@1": 0.8125, "format": 0.99},
                                                       "best": {"pass@1": 0.8375, "format": 0.99}}))
    (folder / "judge.json").write_text(json.dumps({"agreement": 0.9062, "position_bias": 0.0317, "unreadable": 0,
                                                   "drift": {"zero": 0.0123}}))
    (folder / "log.txt").write_text("2026-01-02 03:04:05  grpo.cpp r1 · policy 0.6M · cpu float32 · runs/r1\n")
    return strange + traces, table


class Page(HTMLParser):
    """What a browser would see: text by element, and whether everything that was opened is closed."""

    VOID = {"meta", "link", "input", "br", "img"}

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.tags, self.articles, self.cells, self.attributes = [], [], [], [], [], []
        self.feed(source)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.attributes += attrs
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "article":
            self.articles.append("")
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]} at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data):
        if "article" in self.open:
            self.articles[-1] += data
        if self.open and ("td" in self.open or "th" in self.open):
            self.cells[-1] += data


class ReportTest(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # a browser may still be at it
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name) / "r1"
        self.folder.mkdir()

    def report(self, *arguments, folder=None):
        command = [sys.executable, REPORT, folder or self.folder, *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    def page(self, **options):
        done = self.report(**options)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.source = ((options.get("folder") or self.folder) / "report.html").read_text(encoding="utf-8")
        return Page(self.source)

    def error(self, *arguments):
        done = self.report(*arguments)
        self.assertNotEqual(done.returncode, 0)
        self.assertNotIn("Traceback", done.stderr)
        return done.stderr.strip()

    def test_shows_every_stage_figure_curve_and_trace(self):
        traces, table = build(self.folder, steps=8)
        page = self.page()
        self.assertEqual(page.ids, ["stages", "figures", "curves", "growth", "rejection", "selection", "judge",
                                    "traces", "filters", "count", "blocks", "more"])
        for name, kind, *_ in STAGES:
            self.assertIn(f"<b>{name}</b><span>{kind.replace('_', ' ')}</span>", self.source)
        self.assertIn("still going on: all_round", self.source)
        self.assertIn("policy 0.6M · cpu float32 · runs/r1", self.source)
        for figures in table.values():
            for value in figures.values():
                shown = "–" if value is None else f"{value:.3f}" if value < 10 else f"{value:,.1f}"
                self.assertIn(shown, page.cells)
        for reason, count in {"kept": 1960, **DROPPED}.items():
            self.assertIn(reason, page.cells)
            self.assertIn(f"{count:,}", page.cells)
        for cell in ("0.906", "drift · zero", "0.838"):  # judge.json, selection.json
            self.assertIn(cell, page.cells)
        for title in ("reward", "accuracy", "mixed traces (dashed)", "KL to", "loss, imitation", "loss, RL", "entropy"):
            self.assertRegex(self.source, f"<text[^>]*>[^<]*{title.replace('(', '.').replace(')', '.')}")
        browsed = "\n".join(page.articles)
        for row in traces:
            if len(row["text"]) < 6000:
                self.assertIn(row["text"].replace("\x00", "\ufffd"), browsed)
                self.assertIn(row["prompt"].replace("\x00", "\ufffd"), browsed)
        self.assertIn(f"all {len(traces)} recorded", self.source)
        self.assertRegex(browsed, r"길다 long[\s\S]*characters left out[\s\S]*7</answer>")
        self.assertIn("cut off at the limit", browsed)
        self.assertIn('<span lang="ko" class="foreign">', self.source)

    def test_hostile_text_stays_text_and_nothing_comes_from_outside(self):
        build(self.folder, steps=3)
        page = self.page()
        self.assertEqual(page.tags.count("script"), 1)
        self.assertNotIn("injected", page.ids)
        self.assertNotIn("img", page.tags)
        self.assertFalse({"src", "onerror", "onclick", "onload"} & set(page.attributes))
        self.assertNotRegex(self.source, r"https?://|url\(|@import|\x00")
        self.assertIn("&lt;/pre&gt;&lt;/script&gt;&lt;b id=", self.source)

    def test_marks_the_first_right_traces_that_check_themselves(self):
        build(self.folder)
        self.page()
        growth = self.source.split('<section id="growth">')[1].split("</section>")[0]
        first = growth.split('<ol class="quotes">')[1]
        self.assertIn("zero · step 11 ", first)
        self.assertIn("<mark>Wait</mark>, <mark>let me check</mark>", first)
        self.assertEqual(first.count("<li>"), growth.split('<ol class="quotes">')[0].count("<circle"))
        self.assertNotIn("✗", first)

    def test_a_long_run_makes_a_bounded_page(self):
        folder = self.folder / "long"
        write_lines(folder / "metrics.jsonl", ({"step": i, "reward": i / 2000, "accuracy": 0.5} for i in range(2000)))
        write_lines(folder / "samples.jsonl",
                    (trace(i // 4, "arithmetic", "en" if i % 97 else "ko", i % 2, "가" * 9000) for i in range(2000)))
        page = self.page(folder=folder)
        self.assertEqual(len(page.articles), 400)
        self.assertIn("400 of the 2,000 recorded", self.source)
        self.assertLess(len(self.source.encode()), 12e6)
        self.assertRegex(self.source, r'data-language="ko"')
        self.assertRegex(self.source, "<h3>.*step 0</h3>")
        self.assertRegex(self.source, "<h3>.*step 499</h3>")

    def test_parts_that_are_missing_are_left_out(self):
        zero = self.folder / "zero"  # a plain run of r1_zero that has only begun
        write_lines(zero / "metrics.jsonl", [{"step": 1, "reward": 0.5, "seconds/train": 1.0}])
        self.assertEqual(self.page(folder=zero).ids, ["stages", "curves"])
        (zero / "summary.json").write_text('{"before": {"pass@1": 0.17, "pass@1_ci95": 0.014}, '
                                           '"after": {"pass@1": null}}')
        write_lines(zero / "samples.jsonl", [{"step": 1}])
        page = self.page(folder=zero)
        self.assertEqual(page.ids[:3], ["stages", "figures", "curves"])
        self.assertIn("0.170 ±0.014", page.cells)
        self.assertEqual(len(page.articles), 1)
        write_lines(self.folder / "base" / "metrics.jsonl", [{"step": 1, "loss": 2.0}])  # stages without a list of them
        self.page()
        self.assertIn("<b>base</b>", self.source)
        self.assertIn("<b>zero</b>", self.source)
        (self.folder / "stages.json").write_text('[{"name": "later", "state": "waiting"}]')
        self.assertEqual(self.page().ids, ["stages"])

    def test_pages_and_curves_go_to_standard_output_when_asked(self):
        build(self.folder, steps=3)
        plot = Path(REPORT).parent / "plot_metrics.py"
        for program, run, begin in [(REPORT, self.folder, "<!doctype html>"), (plot, self.folder / "zero", "<svg")]:
            done = subprocess.run([sys.executable, program, run, "--out", "-"], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertTrue(done.stdout.lower().startswith(begin), done.stdout[:80])
            closed = subprocess.run(["sh", "-c", '"$0" "$1" "$2" --out - | true', sys.executable, program, run],
                                    capture_output=True, text=True)
            self.assertEqual(closed.stderr, "")
            self.assertFalse((self.folder / "report.html").exists())
        nowhere = subprocess.run([sys.executable, plot, self.folder / "zero", "--out", "/none/x.svg"],
                                 capture_output=True, text=True)
        self.assertEqual(nowhere.stderr, "error: [plot] /none/x.svg: No such file or directory\n")

    def test_errors_name_the_file_and_the_line(self):
        self.assertEqual(self.error(), f"error: [report] {self.folder}: expected stages.json or metrics.jsonl; is this "
                                       "the folder of a run, and has it begun?")
        (self.folder / "metrics.jsonl").write_text('{"step": 1, "reward": 1}\n{"step": \n{"step": 3}\n')
        self.assertEqual(self.error(), f"error: [report] {self.folder}/metrics.jsonl:2: expected a JSON object")
        (self.folder / "metrics.jsonl").write_text('{"step": 1, "reward": 1}\n{"reward": 1}\n')
        self.assertEqual(self.error(), f'error: [report] {self.folder}/metrics.jsonl:2: expected a number "step"')
        (self.folder / "metrics.jsonl").write_text('{"step": 1, "reward": 1}\n')
        self.assertIn("/none/x.html: No such file", self.error("--out", str(self.folder / "none" / "x.html")))
        (self.folder / "table.json").write_text('{"zero":\n 5')
        self.assertRegex(self.error(), r"\[report\] .*table.json:2: expected JSON: ")
        (self.folder / "table.json").write_text('{"zero": 5}')
        self.assertRegex(self.error(), r'\[report\] .*table.json: expected "zero" to be an object')
        (self.folder / "stages.json").write_text('[{"name": "../elsewhere"}]')
        self.assertRegex(self.error(), r"\[report\] .*stages.json: expected stage 1 ")
        self.assertIn("expected the folder of a run", self.report(folder=self.folder / "none").stderr)

    def test_runs_in_a_browser(self):
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if not browser:
            print("not run in a browser: none of", ", ".join(BROWSERS), "is there")
            return
        build(self.folder, steps=20)
        self.page()
        for part, expected in (("", "showing 51 of 163"), ("#stage=zero&verdict=wrong&search=ADD", "showing 24 of 28"),
                               ("#language=ko&kind=countdown", "showing 24 of 24"),
                               ("#search=injected", "showing 1 of 1")):
            done = subprocess.run(
                [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--no-first-run", f"--user-data-dir={self.folder}/profile", "--enable-logging=stderr", "--dump-dom",
                 f"{(self.folder / 'report.html').as_uri()}{part}"],
                capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": str(self.folder)})
            self.assertEqual([line for line in done.stderr.splitlines() if "CONSOLE" in line], [])
            self.assertEqual(re.findall('<output id="count">([^<]*)</output>', done.stdout), [expected])
            self.assertIn("<title>r1 · grpo.cpp</title>", done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
