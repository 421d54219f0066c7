#!/usr/bin/env python3
"""scripts/report.py and scripts/plot_metrics.py: a small run of every kind of stage, the page and the plot made of it,
and, where there is a Chromium, the page in a browser."""
import importlib
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

ROOT = Path(__file__).resolve().parents[2]
REPORT, PLOT = ROOT / "scripts" / "report.py", ROOT / "scripts" / "plot_metrics.py"
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

    VOID = {"meta", "link", "input", "br", "wbr", "img"}

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


def linear(shade):
    for i in (1, 3, 5):
        value = int(shade[i : i + 2], 16) / 255
        yield value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def contrast(one, other):
    """WCAG's."""
    dark, light = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05 for r, g, b in map(linear, (one, other)))
    return light / dark


def difference(one, other):
    """CIE76: the distance in L*a*b*; 2.3 can just be told apart side by side."""
    def lab(shade):
        r, g, b = linear(shade)
        x, y, z = ((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505, 0.2126 * r + 0.7152 * g + 0.0722 * b,
                   (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089)
        x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
        return 116 * y - 16, 500 * (x - y), 200 * (y - z)
    return math.dist(lab(one), lab(other))


def width_of(table):
    """What a table needs at least, in pixels, letters being 0.55 em wide: words are not broken, cells not wrapped."""
    rows = [re.findall(r"<t[hd]([^>]*)>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]
    padding = 16 if "dense" in table else 28
    columns = zip(*([cell for _, cell in row] for row in rows))

    def needed(cell):
        lines = re.split("<wbr>|<small>|(?<=[a-z]) (?=[a-z(])" if padding == 16 else "<wbr>",
                         re.sub("<(?!wbr|small)[^>]*>", "", cell))
        return 0.55 * 15 * max(map(len, lines)) + 15 * cell.count("swatch") + padding
    return sum(max(map(needed, column)) for column in columns)


def check_panel(test, panel, names):
    """Every stage that has a curve is named, within the picture and apart from the others; ticks are round."""
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', panel).groups())
    curves = set(re.findall(r'stroke="var\(--s(\d+)\)"', panel))
    named = {}
    for turn, x, y, shade, anchor, name in re.findall(
            r'(?:<g transform="rotate\((-?\d+) [^>]*>)?<text x="([\d.-]+)" y="([\d.-]+)" font-size="11" '
            r'fill="var\(--s(\d+)\)" font-weight="600" text-anchor="(\w+)">([^<]*)<', panel):
        named[shade] = name
        length, x, y, turn = 0.58 * 11 * len(name), float(x), float(y), -math.radians(float(turn or 0))
        begin = x - {"end": 1, "middle": 0.5}[anchor] * length * math.cos(turn)
        test.assertGreaterEqual(begin, 0, name)
        test.assertLessEqual(begin + length * math.cos(turn), width, name)
        test.assertLessEqual(y + length * math.sin(turn), height, name)
    test.assertEqual(named, {shade: names[int(shade)] for shade in curves}, panel[:200])
    xs = sorted(float(x) for x in re.findall(r'rotate\(-\d+ ([\d.]+) ', panel))
    test.assertFalse([x for x, after in zip(xs, xs[1:]) if after - x < 11])
    ticks = re.findall(r'<text [^>]*fill="var\(--faint\)"[^>]*text-anchor="(end|middle)">(-?[\d.]+)</text>', panel)
    test.assertEqual({anchor for anchor, _ in ticks}, {"end", "middle"})
    for anchor, tick in ticks:
        test.assertRegex(tick, r"^-?\d+(\.\d{1,2})?$" if anchor == "end" else r"^\d+$")


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
        self.assertEqual(page.ids, ["stages", "figures", "curves", "growth", "rechecks", "lengths", "rejection",
                                    "selection", "judge", "traces", "filters", "count", "blocks", "more"])
        for name, kind, *_ in STAGES:
            self.assertIn(f"<b>{name}</b><span>{kind.replace('_', ' ')}</span>", self.source)
        self.assertIn("still going on: all_round", self.source)
        self.assertIn("<h2>After each stage</h2>", self.source)
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

    def section(self, name):
        return self.source.split(f'<section id="{name}">')[1].split("</section>")[0]

    def test_marks_the_first_right_traces_that_check_themselves(self):
        build(self.folder)
        late = trace(2, "arithmetic", "en", True, "<think>1+1=2</think><answer>2</answer> Wait, what?", reflects=True)
        wrong = trace(2, "arithmetic", "en", False, reflects=True)
        samples = self.folder / "zero" / "samples.jsonl"
        samples.write_bytes(f"{json.dumps(late)}\n{json.dumps(wrong)}\n".encode() + samples.read_bytes())
        self.page()
        growth, quoted = self.section("growth"), self.section("rechecks")
        self.assertIn("zero · step 11 ", quoted)
        self.assertNotIn("zero · step 2 ", quoted)  # behind the answer; before a wrong one
        self.assertIn("<mark>Wait</mark>, <mark>let me check</mark>", quoted)
        self.assertEqual(quoted.count("<li>"), growth.count("<circle"))
        self.assertNotIn("✗", quoted)
        for title in ("mean completion length", "reflection rate", "accuracy"):
            self.assertRegex(growth, f"<text[^>]*>{title}")

    def test_the_first_re_checks_are_those_of_the_first_steps(self):
        write_lines(self.folder / "metrics.jsonl",
                    ({"step": i, "reward": 1, "accuracy": 0.5, "completion_length": 30 + i} for i in range(1, 101)))
        write_lines(self.folder / "samples.jsonl", (trace(i // 2 + 1, "arithmetic", "en", True, reflects=i % 2 > 0)
                                                    for i in range(200)))
        self.page()
        steps = [int(step) for step in re.findall(r"· step (\d+) ·", self.section("rechecks"))]
        self.assertEqual(steps[:3], [1, 2, 3])
        self.assertEqual(len(steps), 6)
        self.assertGreater(steps[-1], 20)
        ys = re.findall(r'<circle cx="([\d.]+)" cy="([\d.-]+)" r="9"', self.section("growth"))
        boxes = [(float(x), float(y)) for x, y in ys]
        self.assertEqual(len(boxes), 6)
        for i, (x, y) in enumerate(boxes):
            self.assertTrue(36 + 9 <= y <= 280 - 42 - 9, y)
            self.assertFalse([b for b in boxes[:i] if abs(b[0] - x) < 18 and abs(b[1] - y) < 18])

    def test_signs_of_re_checking_are_those_of_the_library(self):
        source = (ROOT / "src" / "rewards" / "reflection.cpp").read_text(encoding="utf-8")
        lists = re.findall(r"constexpr std::array<std::string_view, (\d+)> k\w+\{([^;]*)\};", source)
        words = [word for _, each in lists for word in re.findall('"([^"]*)"', each)]
        self.assertEqual(len(words), sum(int(count) for count, _ in lists))
        sys.path.insert(0, str(REPORT.parent))
        report_run = importlib.import_module("report_run")
        for word in words:
            for text in (word, word.upper(), word.replace(" ", "\n "), f"7. {word}, 8"):
                self.assertTrue(report_run.REFLECTION.search(text), text)
        for text in ("awaiting", "waiter", "hm", "check", "알다시피"):
            self.assertFalse(report_run.REFLECTION.search(text), text)

    # 100 of each step are right up to a length of 40 tokens and wrong above it, the share of right ones being 0.75; the
    # notebook has as many wrong ones as right ones, and every length as often as the other.
    def test_length_against_correctness_is_that_of_all_completions(self):
        write_lines(self.folder / "metrics.jsonl",
                    ({"step": i, "reward": 1, "accuracy": 0.75 if i > 20 else 0} for i in range(1, 61)))
        rows = [trace(step, "arithmetic", "en", tokens <= 40, tokens=tokens)
                for step in range(1, 61) for tokens in (10, 20, 30, 40, 50, 60, 70, 80)]
        write_lines(self.folder / "samples.jsonl", rows)
        self.page()
        cells = Page(self.section("lengths")).cells
        # Right ones stand for 3/16 of the step each, wrong ones for 1/16.
        self.assertEqual(cells[-7:], [self.folder.name, "51–60", "80", "1.000 10–20", "1.000 20–30", "1.000 30–40",
                                      "0.000 50–80"])
        rows = [{**row, "tokens": 30 if row["tokens"] <= 40 else 40} for row in rows]
        write_lines(self.folder / "samples.jsonl", [{**row, "tokens": 30} for row in rows])
        self.page()  # of one length: every quarter is like the whole
        self.assertEqual(Page(self.section("lengths")).cells[-4:], ["0.750 30–30"] * 4)
        write_lines(self.folder / "samples.jsonl", [row for row in rows if row["reward"] < 1])
        self.assertNotIn("lengths", self.page().ids)  # nothing stands for the right ones

    def test_a_recipe_of_many_stages_has_as_many_colours_and_names(self):
        names = ["base", "r1_zero", "cold_start", "reasoning_rl", "rejection", "general_data", "rejection_sft", "r1",
                 "student", "distilled_student", "rl_student", "selection_best", "selection_all",
                 *(f"ablation_number_{i}" for i in range(12))]
        for name in names:
            write_lines(self.folder / name / "metrics.jsonl",
                        [{"step": i, "reward": 0.5, "accuracy": 0.1 * i, "completion_length": 30, "loss": 0.3333}
                         for i in range(1, 4 if len(name) < 12 else 301)])
        figures = {"pass@1": 0.9876, "pass@1_ci95": 0.0123, "completion_length": 123.4, "judge": 0.5}
        for count in (4, 13, len(names)):
            (self.folder / "stages.json").write_text(json.dumps([{"name": name} for name in names[:count]]))
            (self.folder / "table.json").write_text(json.dumps({name: figures for name in names[:count]}))
            self.page()
            light, dark = re.findall(r"((?:--s\d+: #\w{6}; ?)+)", self.source)[:2]
            for sheet, page in ((light, "#ffffff"), (dark, "#14171c")):
                shades = re.findall(r"#\w{6}", sheet)
                self.assertEqual(len(set(shades)), count)
                for i, shade in enumerate(shades):
                    self.assertGreater(contrast(shade, page), 3, shade)
                    self.assertGreater(min([difference(shade, other) for other in shades[:i]], default=99), 9, shades)
            for panel in re.findall(r"<svg viewBox.*?</svg>", self.source):
                check_panel(self, panel, names[:count])
            self.assertGreater(len(re.findall(r"<svg viewBox", self.source)), 5)
            tables = re.findall(r"<table class=\"figures.*?</table>", self.section("figures"))
            self.assertEqual(len(tables) > 1, count > 4)
            for table in tables:
                self.assertLess(width_of(table), 1112, f"{count} stages")
            self.assertEqual(self.section("figures").count("0.988"), count)

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

    def test_a_plain_run_shows_the_making_of_its_base(self):
        write_lines(self.folder / "metrics.jsonl", [{"step": i, "reward": 0.5, "loss": 0.0} for i in range(1, 4)])
        write_lines(self.folder / "base" / "metrics.jsonl", [{"step": i, "loss": 3 / i, "seconds/train": 2.0}
                                                             for i in range(1, 31)])
        (self.folder / "summary.json").write_text('{"before": {"pass@1": 0.25}, "after": {"pass@1": 0.75}}')
        self.page()
        stages = self.section("stages")
        self.assertIn("<h2>Before and after</h2>", self.source)
        self.assertRegex(stages, "<b>base</b><span>pretrain</span>.*30 steps · 1:00.*<b>r1</b>")
        self.assertRegex(self.section("curves"), "loss, imitation.*base</text>")

    def test_parts_that_are_missing_are_left_out(self):
        zero = self.folder / "zero"  # a plain run of r1_zero that has only begun
        write_lines(zero / "metrics.jsonl", [{"step": 1, "reward": 0.5, "seconds/train": 1.0}])
        self.assertEqual(self.page(folder=zero).ids, ["stages", "curves"])
        (zero / "summary.json").write_text('{"before": {"pass@1": 0.17, "pass@1_ci95": 0.014}, '
                                           '"after": {"pass@1": null}}')
        write_lines(zero / "samples.jsonl", [{"step": 1}])
        page = self.page(folder=zero)
        self.assertEqual(page.ids[:4], ["stages", "figures", "curves", "rechecks"])
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
        for program, run, begin in [(REPORT, self.folder, "<!doctype html>"), (PLOT, self.folder / "zero", "<svg")]:
            done = subprocess.run([sys.executable, program, run, "--out", "-"], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertTrue(done.stdout.lower().startswith(begin), done.stdout[:80])
            closed = subprocess.run(["sh", "-c", '"$0" "$1" "$2" --out - | true', sys.executable, program, run],
                                    capture_output=True, text=True)
            self.assertEqual(closed.stderr, "")
            self.assertFalse((self.folder / "report.html").exists())
        nowhere = subprocess.run([sys.executable, PLOT, self.folder / "zero", "--out", "/none/x.svg"],
                                 capture_output=True, text=True)
        self.assertEqual(nowhere.stderr, "error: [plot] /none/x.svg: No such file or directory\n")

    def test_errors_name_the_file_and_the_line(self):
        self.assertEqual(self.error(), f"error: [report] {self.folder}: expected stages.json or metrics.jsonl; is this "
                                       "the folder of a run, and has it begun?")
        (self.folder / "metrics.jsonl").write_text('{"step": 1, "reward": 1}\n{"step": \n{"step": 3}\n')
        self.assertEqual(self.error(), f"error: [report] {self.folder}/metrics.jsonl:2: expected a JSON object")
        for step in ("true", '"1"', "null", "1e999", "1" + 400 * "0", "NaN"):
            (self.folder / "metrics.jsonl").write_text('{"step": 1, "reward": 1}\n{"step": %s, "reward": 1}\n' % step)
            self.assertEqual(self.error(), f'error: [report] {self.folder}/metrics.jsonl:2: expected a number "step"')
        (self.folder / "metrics.jsonl").write_text('{"step": 1, "reward": 1}\n')
        self.assertIn("/none/x.html: No such file", self.error("--out", str(self.folder / "none" / "x.html")))
        (self.folder / "table.json").write_text('{"zero":\n 5')
        self.assertRegex(self.error(), r"\[report\] .*table.json:2: expected JSON: ")
        (self.folder / "table.json").write_text('{"zero": 5}')
        self.assertRegex(self.error(), r'\[report\] .*table.json: expected "zero" to be an object')
        for name in ("../elsewhere", "..", ".", ""):
            (self.folder / "stages.json").write_text(json.dumps([{"name": name}]))
            self.assertRegex(self.error(), r"\[report\] .*stages.json: expected stage 1 ", name)
        (self.folder / "stages.json").write_text("[" * 100000)
        self.assertRegex(self.error(), r"\[report\] .*stages.json:1: expected JSON: ")
        self.assertIn("expected the folder of a run, got none", self.report(folder=self.folder / "none").stderr)
        self.assertIn("expected the folder of a run, got a file", self.report(folder=REPORT).stderr)

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


class PlotTest(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)

    def plot(self, *arguments):
        out = self.folder / "curves.svg"
        done = subprocess.run([sys.executable, PLOT, *arguments, "--out", out], capture_output=True, text=True)
        self.assertNotIn("Traceback", done.stderr)
        return out.read_text(encoding="utf-8") if done.returncode == 0 else done.stderr.strip()

    def legend(self, svg):
        return re.findall(r'<line [^>]* stroke="(#\w{6})" stroke-width="3"[^>]*>\n<text [^>]*>([^<]*)</text>', svg)

    def test_a_recipe_stands_for_its_stages(self):
        recipe = self.folder / "r1"
        recipe.mkdir()
        build(recipe, steps=9)
        (recipe / "zero" / "evaluation.json").write_text('{"pass@1": 0.5, "format": 0.75}')
        svg = self.plot(recipe)
        self.assertEqual([name for _, name in self.legend(svg)],
                         ["base", "zero · held-out pass@1 0.50, format 0.75", "cold_start", "reason", "all_round"])
        self.assertEqual(len({shade for shade, _ in self.legend(svg)}), 5)
        titles = re.findall(r'<text [^>]*font-size="13"[^>]*>([^<]*)<', svg)
        self.assertEqual(titles, ["reward", "accuracy", "format", "completion length (tokens)", "reflection rate",
                                  "entropy (nats per token)", "loss, imitation (nats per token)"])
        steps = re.findall(r'text-anchor="middle">([^<]*)<', svg)
        self.assertIn("400", steps)  # imitation; RL has 9 steps, and panels of its own length
        self.assertIn("8", steps)
        both = self.plot(recipe, recipe / "zero")
        self.assertEqual([name.split(" ")[0] for _, name in self.legend(both)],
                         ["r1/base", "r1/zero", "r1/cold_start", "r1/reason", "r1/all_round", "zero"])

    def test_plain_runs_with_what_they_measured(self):
        paths = []
        for number in range(11):
            paths.append(self.folder / f"seed{number}")
            write_lines(paths[-1] / "metrics.jsonl", [{"step": i, "reward": i / 3, "loss": 0.1} for i in range(1, 4)])
        (paths[0] / "summary.json").write_text(
            '{"before": {"pass@1": 0.25}, "after": {"pass@1": 0.875, "format": null}}')
        svg = self.plot(*paths)
        shades, names = zip(*self.legend(svg))
        self.assertEqual(names[:2], ("seed0 · held-out pass@1 0.25 → 0.88", "seed1"))
        self.assertEqual(len(set(shades)), 11)
        self.assertEqual(re.findall(r'text-anchor="middle">([^<]*)<', svg), ["1", "2", "3"])
        self.assertNotIn("loss", svg)

    def test_ticks_are_round_and_steps_whole(self):
        for low, high, ticks in ((0, 0, "0.00 0.25 0.50 0.75 1.00"), (1 / 3, 1 / 3, "0.0 0.2 0.4 0.6 0.8"),
                                 (1 / 3, 2 / 3, "0.3 0.4 0.5 0.6 0.7"), (-7, -7, "-15 -10 -5 0")):
            write_lines(self.folder / "metrics.jsonl", [{"step": 1, "reward": low}, {"step": 2, "reward": high}])
            self.assertEqual(re.findall(r'text-anchor="end">([^<s]*)<', self.plot(self.folder)), ticks.split())
        for last, ticks in ((2, "1 2"), (7, "2 4 6"), (13, "5 10"), (300, "100 200 300")):
            write_lines(self.folder / "metrics.jsonl", [{"step": i, "reward": i} for i in range(1, last + 1)])
            self.assertEqual(re.findall(r'text-anchor="middle">([^<]*)<', self.plot(self.folder)), ticks.split())

    def test_errors_name_the_file(self):
        write_lines(self.folder / "metrics.jsonl", [])
        self.assertRegex(self.plot(self.folder), r"^error: \[plot\] .*: expected lines with step and reward or loss, got")
        self.assertRegex(self.plot(self.folder / "none"), r"^error: \[plot\] .*none: No such file")
        (self.folder / "stages.json").write_text("{}")
        self.assertRegex(self.plot(self.folder), r"^error: \[plot\] .*stages.json: expected an array")
        self.assertRegex(self.plot(self.folder, "--smooth", "0"), r"^error: \[plot\] --smooth: expected at least 1, got 0")

    def test_what_is_no_figure_is_left_out(self):
        rows = [{"step": 1, "reward": 0.5}, {"step": 2, "reward": True}, {"step": 3, "reward": 10**400}]
        write_lines(self.folder / "metrics.jsonl", [*rows, {"step": None, "reward": 1}, {"step": "4", "reward": 1}])
        (self.folder / "summary.json").write_text('{"before": [0.25], "after": {"pass@1": true, "format": 0.5}}')
        svg = self.plot(self.folder)
        self.assertEqual([name for _, name in self.legend(svg)], [f"{self.folder.name} · held-out format 0.50"])
        self.assertEqual(svg.count("<polyline"), 0)
        self.assertEqual(svg.count("<circle"), 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
