#!/usr/bin/env python3
"""Makes one HTML page of a run: its stages, figures, curves and reasoning traces. Standard library only.

    scripts/report.py runs/r1                      # writes runs/r1/report.html
    scripts/report.py runs/zero --out zero.html

The page needs nothing beside it, neither files nor a network, and is made as well of a run that is still going on. A
folder with stages.json is a recipe of several stages, each with a folder of its own; one with metrics.jsonl is a run of
one stage, before which base/ may have the making of its base model. What is not there is left out.
"""
import argparse
import base64
import hashlib
import json
import math
import re
import signal
import sys
import time
from pathlib import Path

import plot_metrics as plot
from plot_metrics import is_number
from report_page import SCRIPT, STYLE
from report_run import (
    clipped, duration, fail, figure, html, is_right, load_json, printable, Run, Samples, score, trace_text,
    words)

# key in table.json, name, which way is better, what it says
FIGURES = [
    ("pass@1", "pass@1", 1, "share of right answers among all samples"),
    ("cons@k", "cons@k", 1, "share of problems whose most frequent answer is right"),
    ("format", "format", 1, "share of answers in the form that was asked for"),
    ("language_consistency", "language consistency", 1, "share of the words in the language that was asked for"),
    ("mixed_traces", "mixed traces", -1, "share of traces in more than one language"),
    ("judge", "judge", 1, "score by the judge"),
    ("completion_length", "completion length (tokens)", 0, "mean"),
    ("reflection_rate", "reflection rate", 0, "share of traces that re-check themselves"),
    ("truncated", "truncated", -1, "share of traces cut off at the limit"),
]
# keys in metrics.jsonl (a second one is dashed), title, are they shares between 0 and 1
CURVES = [
    (("reward",), "reward", False),
    (("accuracy",), "accuracy", True),
    (("format",), "format", True),
    (("language_consistency", "mixed_traces"), "consistency, mixed traces (dashed)", True),
    (("completion_length",), "completion length (tokens)", False),
    (("reflection_rate",), "reflection rate", True),
    (("entropy",), "entropy (nats/token)", False),
    (("kl",), "KL to reference (nats/token)", False),
    (("loss",), "loss", False),
]
PAINT = plot.Paint("var(--ink)", "var(--faint)", "var(--grid)")
TRACES = 400          # shown at most
PROMPT = 1500         # characters of a prompt that are shown at most
SMOOTH = 7
SLANT = 60            # degrees, of stage names that are wider than their stages
NAME_PITCH = 15       # pixels that a slanted name needs
WIDTH = 1100          # of the page's content, in pixels


# --- curves -----------------------------------------------------------------------------------------------------------


class Track:
    """Stages laid end to end along an axis of `pixels`; short ones get more than their share, enough for a name."""

    def __init__(self, stages, pixels):
        steps = {s: [row["step"] for row in s.rows] for s in stages}
        lengths = {s: max(1, max(v) - min(v)) for s, v in steps.items()}
        floor, share = 0.6 * sum(lengths.values()) / len(stages), min(NAME_PITCH / pixels, 0.9 / len(stages))
        for _ in range(100):  # the floor widens the whole, of which it is a share
            floor = max(floor, share * sum(max(length, floor) for length in lengths.values()))
        self.spans, self.length = {}, 0.0
        for stage, values in steps.items():
            width = max(lengths[stage], floor)
            self.spans[stage] = (self.length, width, min(values), min(values) + lengths[stage])
            self.length += width
        names = {stage: text_width(stage.name) for stage in stages}
        self.longest = max(names.values())
        self.is_slanted = any(names[stage] > pixels * span[1] / self.length for stage, span in self.spans.items())

    def place(self, stage, step):
        start, width, first, last = self.spans[stage]
        return start + width * (step - first) / (last - first)


def text_width(content, size=11):
    """What `content` takes at most in a bold sans-serif, in pixels."""
    return sum(1.0 if ord(c) > 0x1100 else 0.62 for c in content) * size


class StagePanel(plot.Panel):
    """Axes over a track: the steps of each stage are counted from its own beginning."""

    def __init__(self, track, left, top, y_values, is_share, size):
        super().__init__(left, top, (0.0, track.length), y_values, is_share, size, PAINT)
        self.track = track

    def x_axis(self):
        bottom, taken = self.top + self.height, -math.inf
        for stage, (start, width, first, last) in self.track.spans.items():
            left, right = self.x(start), self.x(start + width)
            if start > 0:
                yield (f'<line x1="{left:.1f}" y1="{self.top}" x2="{left:.1f}" y2="{bottom}" stroke="{PAINT.faint}" '
                       f'stroke-dasharray="2 3"/>')
            ticks = plot.ticks(first, last, max(2, int((right - left) / 50)), whole=True)
            spacing = ticks[1] - ticks[0] if len(ticks) > 1 else 1
            for tick in ticks:
                name, x = plot.label(tick, spacing), self.x(self.track.place(stage, tick))
                half = 3.2 * len(name)
                if first <= tick <= last and tick > 0 and x - half > max(taken + 6, left):
                    yield plot.text(x, bottom + 16, name, PAINT.faint, anchor="middle")
                    taken = x + half
            middle, name = (left + right) / 2, printable(stage.name)
            if self.track.is_slanted:
                named = plot.text(middle, bottom + 28, name, stage.color, weight=600, anchor="end")
                yield f'<g transform="rotate({-SLANT} {middle:.1f} {bottom + 28})">{named}</g>'
            else:
                yield plot.text(middle, bottom + 32, name, stage.color, weight=600, anchor="middle")


def curves_panel(stages, keys, title, is_share, size, extra=None):
    """An SVG of `keys` over the stages that have them, or nothing."""
    stages = [s for s in stages if any(s.series(key) for key in keys)]
    if not stages:
        return ""
    width, height = size
    left, top, right, below = 52, 36, 14, 42
    if NAME_PITCH * len(stages) > width - left - right:
        width = WIDTH
    track = Track(stages, width - left - right)
    if track.is_slanted:  # the names reach to the left and below
        turn = math.radians(SLANT)
        left = max(left, round(track.longest * math.cos(turn)))
        below = 34 + round(track.longest * math.sin(turn))
        height += below - 42
    values = [y for s in stages for key in keys for _, y in s.series(key)]
    panel = StagePanel(track, left, top, values, is_share, (width - left - right, height - top - below))
    out = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html(title)}">', *panel.axes(title)]
    ends = []
    for number, key in enumerate(keys):
        for stage in stages:
            points = [(track.place(stage, x), y) for x, y in stage.series(key)]
            if not points:
                continue
            bold = plot.smoothed(points, SMOOTH)
            dash = ' stroke-dasharray="5 3"' if number else ""
            if not number:
                out.append(panel.curve(points, stage.color, 1, 0.28))
                ends += [bold[0][1], bold[-1][1]]
            out.append(f"<g{dash}>{panel.curve(bold, stage.color, 2 if not number else 1.5, 1)}</g>")
    if len(keys) == 1 and ends:
        summary = f"{figure(ends[0])} → {figure(ends[-1])}"
        out.append(plot.text(width - right, top - 12, summary, PAINT.faint, anchor="end"))
    if extra:
        out += extra(panel)
    return "".join(out) + "</svg>"


def curves_section(run):
    panels = []
    for keys, title, is_share in CURVES:
        if keys == ("loss",):  # of imitation and of RL: not the same quantity
            kinds = [([s for s in run.stages if not s.is_rl], "loss, imitation (nats/token)"),
                     ([s for s in run.stages if s.is_rl], "loss, RL")]
        else:
            kinds = [(run.stages, title)]
        panels += [curves_panel(stages, keys, name, is_share, (360, 236)) for stages, name in kinds]
    wide = f'viewBox="0 0 {WIDTH} '
    panels = [f'<figure{" class=wide" * (wide in panel)}>{panel}</figure>' for panel in panels if panel]
    if not panels:
        return ""
    return section("curves", "Curves", f'<div class="panels">{"".join(panels)}</div>',
                   "Stages lie end to end, each with the steps counted from its own beginning. Thin: each step; bold: "
                   "a moving average, whose ends are the figures on the right.")


def growth_section(run, samples):
    """Length, re-checking and accuracy, one below the other; `samples` are the traces that are marked."""
    marked = [(part.stage, row) for part in samples for row in part.rechecks]

    def markers(panel):
        placed = []
        for number, (stage, row) in enumerate(marked, 1):
            if stage not in panel.track.spans:
                continue
            bold = plot.smoothed(stage.series("completion_length"), SMOOTH)
            nearest = min(bold, key=lambda point: abs(point[0] - row["step"]))
            x, foot = panel.x(panel.track.place(stage, row["step"])), panel.y(nearest[1])
            x = min(max(x, panel.left), panel.left + panel.width)
            places = [y for rise in range(20, panel.height, 20) for y in (foot - rise, foot + rise)
                      if panel.top + 9 <= y <= panel.top + panel.height - 9]
            free = [y for y in places if not any(abs(x - a) < 20 and abs(y - b) < 20 for a, b in placed)]
            y = (free or places)[0]
            placed.append((x, y))
            yield (f'<path d="M{x:.1f} {foot:.1f}V{y:.1f}" stroke="{PAINT.ink}"/>'
                   f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" fill="var(--page)" stroke="{PAINT.ink}"/>')
            yield plot.text(x, y + 4, str(number), PAINT.ink, weight=600, anchor="middle")

    panels = [curves_panel(run.stages, ("completion_length",), "mean completion length (tokens)", False, (WIDTH, 280),
                           markers),
              curves_panel(run.stages, ("reflection_rate",), "reflection rate", False, (WIDTH, 190)),
              curves_panel(run.stages, ("accuracy",), "accuracy", True, (WIDTH, 190))]
    if not panels[0]:
        return ""
    return section("growth", "Growth of the answers", "".join(f"<figure>{panel}</figure>" for panel in panels if panel),
                   "Numbered: the re-checks that paid, quoted below." if marked else "")


def rechecks_section(samples):
    title, marked = "Re-checks that paid", [(part.stage, row) for part in samples for row in part.rechecks]
    if not any(part.recorded for part in samples):
        return ""
    if not marked:
        return section("rechecks", title, "", "No recorded trace re-checks itself and then answers right.")
    quotes = "".join(f'<li><h3>{swatch(stage)}{html(stage.name)} · step {html(row["step"])} · '
                     f'{html(row.get("tokens", "–"))} tokens</h3>{trace(row)}</li>' for stage, row in marked)
    return section("rechecks", title, f'<ol class="quotes">{quotes}</ol>',
                   "Of each stage the first recorded traces in which a sign of re-checking comes before a right "
                   "answer, and later ones at some distance.")


def quarters(lengths):
    """Of [(tokens, is it right, weight)] the quarters by length: (shortest, longest, share of right ones) of each.
    Those of one length that lie in two quarters count in both in proportion."""
    masses = {}
    for tokens, right, weight in sorted(lengths):
        mass = masses.setdefault(tokens, [0.0, 0.0])
        mass[0] += weight
        mass[1] += weight * right
    whole, out = sum(mass for mass, _ in masses.values()), []
    for quarter in range(4):
        low, high, at, right, within = quarter * whole / 4, (quarter + 1) * whole / 4, 0.0, 0.0, []
        for tokens, (mass, rights) in masses.items():
            overlap = min(at + mass, high) - max(at, low)
            if overlap > 1e-9 * whole:
                right += rights * overlap / mass
                within.append(tokens)
            at += mass
        out.append((within[0], within[-1], right / (whole / 4)))
    return out


def lengths_section(samples):
    rows = []
    for part in samples:
        accuracy = {row["step"]: row["accuracy"] for row in part.stage.rows if is_number(row.get("accuracy"))}
        last = max(accuracy, default=0)
        since = last - max(9, len(accuracy) // 10 - 1)
        final = [each for each in part.lengths if since <= each[0] <= last and each[0] in accuracy]
        # The notebook has right and wrong ones in equal shares: each stands for its part of those of its step.
        counts = {}
        for step, _, right in final:
            counts[step, right] = counts.get((step, right), 0) + 1
        share = lambda step, right: accuracy[step] if right else 1 - accuracy[step]
        whole = {step for step in accuracy if all((step, side) in counts or share(step, side) <= 0 for side in (0, 1))}
        weighed = [(tokens, right, share(step, right) / counts[step, right]) for step, tokens, right in final
                   if step in whole and share(step, right) > 0]
        if len(weighed) < 8:
            continue
        cells = "".join(f'<td>{figure(right)}<small> {figure(low)}–{figure(high)}</small></td>'
                        for low, high, right in quarters(weighed))
        steps = [step for step, *_ in final]
        rows.append(f'<tr><th scope="row">{swatch(part.stage)}{html(part.stage.name)}</th>'
                    f'<td>{min(steps)}–{max(steps)}</td><td>{len(weighed):,}</td>{cells}</tr>')
    if not rows:
        return ""
    names = ("steps", "traces", "shortest quarter", "second", "third", "longest quarter")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return section("lengths", "Length and correctness",
                   f'<div class="scroll"><table class="figures"><thead><tr><td></td>{head}</tr></thead>'
                   f'<tbody>{"".join(rows)}</tbody></table></div>',
                   "The share of right answers in each quarter of the completions by length, and the tokens of these, "
                   "over the last steps of each stage: an estimate from the recorded traces, in which each right or wrong "
                   "one stands for its part of those that the step had.")


# --- the other sections -----------------------------------------------------------------------------------------------


def section(name, title, body, note=""):
    note = f'<p class="note">{note}</p>' if note else ""
    return f'<section id="{name}"><h2>{title}</h2>{note}{body}</section>'


def swatch(stage):
    return f'<i class="swatch" style="background:{stage.color}"></i>' if stage else ""


def stages_section(run):
    items = []
    for i, stage in enumerate(run.stages):
        before = run.stages[i - 1].name if i else ""
        origin = ""  # said only where it is not the stage before
        if stage.source and stage.source != before:
            origin = f'<span class="from">from {html(stage.source)}</span>'
        steps = f"{len(stage.rows):,} steps" if stage.rows else ""
        state = stage.state if stage.state not in ("", "done") else ""
        took = duration(stage.seconds) if is_number(stage.seconds) and stage.state != "waiting" else ""
        facts = " · ".join(filter(None, [steps, took, state]))
        items.append(f'<li class="{"waiting" if state == "waiting" else "stage"}" style="border-color:{stage.color}">'
                     f'<b>{html(stage.name)}</b><span>{html(stage.type.replace("_", " "))}</span>{origin}'
                     f'<span class="faint">{html(facts)}</span></li>')
    total = sum(s.seconds for s in run.stages if is_number(s.seconds))
    bars, at = [], 0.0
    for stage in run.stages:
        if total > 0 and is_number(stage.seconds):
            share = 100 * stage.seconds / total
            bars.append(f'<rect x="{at:.2f}%" width="{max(share - 0.15, 0):.2f}%" height="8" fill="{stage.color}">'
                        f'<title>{html(stage.name)}: {duration(stage.seconds)}</title></rect>')
            at += share
    clock = f'<svg class="clock" height="8" aria-hidden="true">{"".join(bars)}</svg>' if len(bars) > 1 else ""
    return section("stages", "Stages", f'<ol class="pipeline">{"".join(items)}</ol>{clock}',
                   "The bar shows how the time was spent." if clock else "")


def figures_table(columns, stages=()):
    """Tables of {column: {figure: value}}, as many below one another as the page's width asks for; the best of a row is
    bold where one way is better."""
    by_name = {stage.name: stage for stage in stages}
    known = [f for f in FIGURES if any(is_number(c.get(f[0])) for c in columns.values())]
    names = {f[0] for f in FIGURES} | {"problems", "samples"}
    others = dict.fromkeys(key for c in columns.values() for key, value in c.items()
                           if key not in names and not key.endswith("_ci95") and is_number(value))
    heads = {name: f'<th scope="col">{swatch(by_name.get(name))}{html(name).replace("_", "_<wbr>")}</th>'
             for name in columns}
    widths = {name: 16 + text_width(max(name.split("_"), key=len) + "_", 15) + (15 if name in by_name else 0)
              for name in columns}
    rows = []
    for key, name, better, meaning in known + [(key, key.replace("_", " "), 0, "") for key in others]:
        numbers = [c[key] for c in columns.values() if is_number(c.get(key))]
        best = figure(max(numbers, key=lambda v: v * better)) if better and len(set(map(figure, numbers))) > 1 else None
        cells, best_mark = {}, ' class="best"'
        for column, figures in columns.items():
            text, interval = figure(figures.get(key)), figures.get(key + "_ci95")
            spread = f"<small> ±{figure(interval)}</small>" if is_number(interval) else ""
            cells[column] = f'<td{best_mark if text == best else ""}>{text}{spread}</td>'
            widths[column] = max(widths[column], 16 + text_width(text, 15))
        rows.append((f'<th scope="row" title="{html(meaning)}">{html(name)}</th>', cells))
    room = WIDTH - 140
    for count in range(1, len(columns) + 1):
        parts = [list(columns)[i * len(columns) // count : (i + 1) * len(columns) // count] for i in range(count)]
        if all(sum(map(widths.get, part)) <= room for part in parts):
            break
    return "".join(
        f'<div class="scroll"><table class="figures{" dense" * (len(part) > 4)}"><thead><tr><td></td>'
        f'{"".join(map(heads.get, part))}</tr></thead><tbody>'
        + "".join(f'<tr>{row}{"".join(map(cells.get, part))}</tr>' for row, cells in rows) + "</tbody></table></div>"
        for part in parts)


def table_section(run):
    if not run.table:
        return ""
    sizes = {(c.get("problems"), c.get("samples")) for c in run.table.values()} - {(None, None)}
    note = "On held-out problems"
    if len(sizes) == 1 and all(map(is_number, next(iter(sizes)))):
        note += ": {:,} of them, {:,} samples each".format(*next(iter(sizes)))
    return section("figures", "Before and after" if {*run.table} <= {"before", "after"} else "After each stage",
                   figures_table(run.table, run.stages), note + ". Bold: the best.")


def compared_section(run):
    selection = load_json(run.folder / "selection.json")
    columns = {name: figures for name, figures in selection.items() if isinstance(figures, dict)}
    if not columns:
        return ""
    return section("selection", "Selection compared", figures_table(columns),
                   "The same stage, trained on each selection.")


def judge_section(run):
    def flat(value, name=""):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from flat(inner, f"{name} · {key}" if name else key)
        elif not isinstance(value, list):
            yield name.replace("_", " "), figure(value) if is_number(value) else "–" if value is None else str(value)

    rows = "".join(f'<tr><th scope="row">{html(name)}</th><td>{html(value)}</td></tr>'
                   for name, value in flat(load_json(run.folder / "judge.json")))
    return section("judge", "The judge", f'<table class="figures"><tbody>{rows}</tbody></table>') if rows else ""


def rejection_section(run):
    parts = []
    for stage in run.stages:
        report = load_json(stage.folder / "report.json")
        dropped = report.get("dropped")
        if not is_number(report.get("sampled")) or not isinstance(dropped, dict):
            continue
        sampled = report["sampled"]
        bars = [("kept", report.get("kept"), "var(--good)")]
        reasons = [(key.replace("_", " "), count) for key, count in dropped.items() if is_number(count)]
        bars += [(*reason, "var(--bad)") for reason in sorted(reasons, key=lambda reason: -reason[1])]
        rows = []
        for name, count, color in bars:
            if is_number(count):
                share = 100 * count / sampled if sampled > 0 else 0.0
                rows.append(f'<tr><th scope="row">{html(name)}</th><td class="bar"><svg height="12" aria-hidden="true">'
                            f'<rect width="{min(share, 100):.2f}%" height="12" rx="2" fill="{color}"/></svg></td>'
                            f'<td>{count:,}</td><td>{share:.1f} %</td></tr>')
        parts.append(f'<h3>{swatch(stage)}{html(stage.name)}: {sampled:,} sampled</h3>'
                     f'<table class="figures bars"><tbody>{"".join(rows)}</tbody></table>')
    return section("rejection", "Rejection sampling", "".join(parts)) if parts else ""


def trace(row, attributes=""):
    right, language = is_right(row), str(row.get("language") or "")
    scores = row.get("scores") if isinstance(row.get("scores"), dict) else {}
    facts = [f"reward {figure(row.get('reward'), 2)}"]
    if is_number(row.get("advantage")):
        facts.append(f"advantage {row['advantage']:+.2f}")
    facts += [f"{name.replace('_', ' ')} {figure(value, 2)}" for name, value in scores.items()]
    facts += [f"{row.get('tokens', '–')} tokens"] + ["cut off at the limit"] * (row.get("finish") == "length")
    facts += ["re-checks itself"] * (row.get("reflects") is True)
    reference = row.get("reference")
    expected = f' <span class="faint">expected {html(reference)}</span>' if reference not in (None, "") else ""
    verdict = "right" if right else "wrong"
    return (f'<article class="trace {verdict}"{attributes}><header>'
            f'<b class="verdict">{"✓" if right else "✗"} {verdict}</b> '
            f'<span class="prompt">{html(clipped(str(row.get("prompt") or ""), PROMPT))}</span>{expected}</header>'
            f'<pre>{trace_text(str(row.get("text") or ""), language)}</pre>'
            f'<footer>{html(" · ".join(facts))}</footer></article>')


def traces_section(samples):
    blocks, kinds, languages = [], set(), set()
    for part in samples:
        for step, rows in part.blocks:
            sides = {True: [], False: []}
            for row in rows:
                kind, language = str(row.get("kind") or ""), str(row.get("language") or "")
                kinds.add(kind), languages.add(language)
                attributes = f' data-kind="{html(kind)}" data-language="{html(language)}"'
                sides[is_right(row)].append(trace(row, attributes))
            none = '<p class="note">none recorded</p>'
            blocks.append(f'<div class="block" data-stage="{html(part.stage.name)}"><h3>{swatch(part.stage)}'
                          f'{html(part.stage.name)} · step {html(step)}</h3><div class="pair">'
                          f'<div class="side">{"".join(sides[True]) or none}</div>'
                          f'<div class="side">{"".join(sides[False]) or none}</div></div></div>')
    if not blocks:
        return ""

    def select(name, values):
        options = "".join(f'<option value="{html(v)}">{html(v or "(none)")}</option>' for v in values)
        return f'<label>{name} <select name="{name}"><option value="*">all</option>{options}</select></label>'

    shown, recorded = sum(map(len, samples)), sum(part.recorded for part in samples)
    filters = (f'<form id="filters" hidden>{select("stage", [p.stage.name for p in samples if p.blocks])}'
               f'{select("kind", sorted(kinds))}{select("language", sorted(languages))}'
               f'{select("verdict", ["right", "wrong"])}<label class="grow">search <input name="search" type="search" '
               f'placeholder="in prompts and answers"></label><output id="count"></output></form>')
    body = f'{filters}<div id="blocks">{"".join(blocks)}</div><button id="more" type="button" hidden>show more</button>'
    which = f"all {recorded:,} recorded" if shown == recorded else f"{shown:,} of the {recorded:,} recorded"
    return section("traces", "Traces", body,
                   f"This page holds {which} traces, spread over steps, kinds and languages; samples.jsonl has them "
                   'all. Right ones are on the left, wrong ones on the right. <span class="think">Reasoning</span>, '
                   '<span class="answer">answer</span>, <mark>re-checking</mark>, <span class="foreign">words in a '
                   "language that was not asked for</span>.")


# --- the page ---------------------------------------------------------------------------------------------------------

def stage_colors(count):
    """The style sheet's --s0, --s1, …: as many colours as stages, on a light page and on a dark one."""
    sheet = lambda tones: " ".join(f"--s{i}: {color};" for i, color in enumerate(plot.colors(count, tones)))
    return (f":root {{ {sheet((0.5, 0.62))} }}\n"
            f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {sheet((0.7, 0.82))} }} }}\n")


def make_page(run):
    recorded = [stage for stage in run.stages if (stage.folder / "samples.jsonl").exists()]
    share = len(recorded) or 1
    samples = [Samples(stage, TRACES // share, max(2, 6 // share)) for stage in recorded]
    sections = [stages_section(run), table_section(run), curves_section(run), growth_section(run, samples),
                rechecks_section(samples), lengths_section(samples), rejection_section(run), compared_section(run),
                judge_section(run), traces_section(samples)]
    body = "".join(sections)
    headings = re.findall(r'<section id="(\w+)"><h2>(.*?)</h2>', body)
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title in headings)
    unfinished = [s for s in run.stages if s.state in ("running", "waiting")]
    total = sum(s.seconds for s in run.stages if is_number(s.seconds))
    facts = [run.facts()]
    if len(run.stages) > 1:
        facts.append(f"{len(run.stages)} stages")
    if total:
        facts.append(f"{duration(total)} {'so far' if unfinished else 'in all'}")
    if unfinished:
        facts.append(f"still going on: {unfinished[0].name}")
    config = ""
    if run.config:
        dump = json.dumps(run.config, indent=2, ensure_ascii=False)
        config = f'<details><summary>Configuration</summary><pre>{html(clipped(dump, 40000))}</pre></details>'
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{html(run.name)} · grpo.cpp</title>
<style>{stage_colors(len(run.stages))}{STYLE}</style>
</head>
<body>
<h1>{html(run.name)}</h1>
<p class="facts">{html(" · ".join(filter(None, facts)))}</p>
<nav>{links}</nav>
<main>{body}</main>
<footer>{config}<p>Made by scripts/report.py from {html(run.folder)}, {time.strftime("%Y-%m-%d %H:%M")}.</p></footer>
<script>{SCRIPT}</script>
</body>
</html>
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--out", type=Path, metavar="FILE", help="page to write, or - (default: RUN/report.html)")
    arguments = parser.parse_args()
    out = arguments.out or arguments.run / "report.html"
    page = make_page(Run(arguments.run)).encode("utf-8")
    if str(out) == "-":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader that has seen enough is no error
        sys.stdout.buffer.write(page)
        return
    try:
        out.write_bytes(page)
    except OSError as error:
        fail(out, error.strerror)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
