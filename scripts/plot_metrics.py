#!/usr/bin/env python3
"""Draws the learning curves of one or more runs as an SVG, with nothing but the standard library.

    scripts/plot_metrics.py runs/zero --out curves.svg
    scripts/plot_metrics.py runs/a runs/b runs/c --smooth 9 --title "three seeds"

A run is a folder with metrics.jsonl (and summary.json, whose held-out numbers appear below the title) or such a file.
"""
import argparse
import json
import math
import signal
import sys
from collections import namedtuple
from html import escape
from pathlib import Path

# key in metrics.jsonl, title, is it a share between 0 and 1
PANELS = [
    ("reward", "reward", False),
    ("accuracy", "accuracy", True),
    ("format", "format", True),
    ("completion_length", "completion length (tokens)", False),
    ("reflection_rate", "reflection rate", True),
    ("entropy", "entropy (nats per token)", False),
]
COLORS = ["#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4b5563"]
Paint = namedtuple("Paint", "ink faint grid")  # of text, of what stands beside the curves, and behind them
PAINT = Paint("#1f2933", "#6b7785", "#e4e8ed")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"

PANEL_WIDTH, PANEL_HEIGHT = 280, 168  # of the plotted area, in pixels
LEFT, RIGHT, ABOVE, BELOW = 52, 18, 34, 40  # around it
HEAD = 74


def read_jsonl(file, where):
    """(line number, object) of every line; errors begin with [where]."""
    try:
        with open(file, "rb") as lines:  # as bytes: only there is nothing but \n the end of a line
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line.decode("utf-8", "replace"))
                except ValueError:
                    if not line.endswith(b"\n"):
                        return  # the half line of a run that was killed, or is at it right now
                    row = None
                if not isinstance(row, dict):
                    sys.exit(f"error: [{where}] {file}:{number}: expected a JSON object")
                yield number, row
    except OSError as error:
        sys.exit(f"error: [{where}] {file}: {error.strerror}")


class Run:
    def __init__(self, path):
        path = Path(path)
        file = path / "metrics.jsonl" if path.is_dir() else path
        self.name = (file.parent if file.name == "metrics.jsonl" else file).name
        self.rows = [row for _, row in read_jsonl(file, "plot") if "step" in row and "reward" in row]
        summary = file.parent / "summary.json"
        self.summary = json.loads(summary.read_text(encoding="utf-8")) if summary.exists() else {}

    def series(self, key):
        points = ((row["step"], row.get(key)) for row in self.rows)
        return [(x, y) for x, y in points if isinstance(y, (int, float)) and math.isfinite(y)]


def smoothed(points, window):
    """Centred moving average; the window shrinks at the ends, so that it leans to neither side."""
    out = []
    for i, (x, _) in enumerate(points):
        reach = min(window // 2, i, len(points) - 1 - i)
        part = [y for _, y in points[i - reach : i + reach + 1]]
        out.append((x, sum(part) / len(part)))
    return out


def ticks(low, high, count):
    """About `count` round numbers that span [low, high]."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def label(value, spacing):
    decimals = max(0, -math.floor(math.log10(spacing) + 1e-9))
    if abs(spacing * 10**decimals - round(spacing * 10**decimals)) > 1e-6:
        decimals += 1  # spacings such as 0.25 or 2.5
    if decimals > 4:
        return f"{value:.1e}" if abs(value) > spacing / 2 else "0"
    return f"{value:.{decimals}f}"


class Panel:
    """One set of axes: `x` and `y` map data to pixels."""

    def __init__(self, left, top, x_range, y_values, is_share, size=(PANEL_WIDTH, PANEL_HEIGHT), paint=PAINT):
        self.left, self.top, self.paint = left, top, paint
        self.width, self.height = size
        low, high = (0.0, 1.0) if is_share else (min(y_values), max(y_values))
        if not is_share and low > 0 and low < 0.5 * high:
            low = 0.0
        if high - low < 1e-9:
            low, high = low - 0.5, high + 0.5
        self.y_ticks = ticks(low, high, 4)
        self.x_ticks = [t for t in ticks(*x_range, 5) if x_range[0] <= t <= x_range[1]]
        self.x_range, self.y_range = x_range, (self.y_ticks[0], self.y_ticks[-1])

    def x(self, value):
        low, high = self.x_range
        return self.left + self.width * (value - low) / (high - low)

    def y(self, value):
        low, high = self.y_range
        return self.top + self.height * (1 - (value - low) / (high - low))

    def axes(self, title):
        yield text(self.left, self.top - 12, title, self.paint.ink, size=13, weight=600)
        yield from self.y_axis()
        yield from self.x_axis()
        yield (f'<path d="M{self.left} {self.top}V{self.top + self.height}H{self.left + self.width}" fill="none" '
               f'stroke="{self.paint.faint}"/>')

    def y_axis(self):
        spacing = self.y_ticks[1] - self.y_ticks[0]
        for tick in self.y_ticks:
            y = self.y(tick)
            yield (f'<line x1="{self.left}" y1="{y:.1f}" x2="{self.left + self.width}" y2="{y:.1f}" '
                   f'stroke="{self.paint.grid}"/>')
            yield text(self.left - 8, y + 4, label(tick, spacing), self.paint.faint, anchor="end")

    def x_axis(self):
        bottom = self.top + self.height
        spacing = self.x_ticks[1] - self.x_ticks[0] if len(self.x_ticks) > 1 else 1
        for tick in self.x_ticks:
            x = self.x(tick)
            yield f'<line x1="{x:.1f}" y1="{self.top}" x2="{x:.1f}" y2="{bottom}" stroke="{self.paint.grid}"/>'
            yield text(x, bottom + 16, label(tick, spacing), self.paint.faint, anchor="middle")
        yield text(self.left + self.width, bottom + 32, "step", self.paint.faint, anchor="end")

    def curve(self, points, color, width, opacity):
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return (f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}" '
                f'stroke-opacity="{opacity}" stroke-linejoin="round" stroke-linecap="round"/>')


def text(x, y, content, color=PAINT.ink, size=11, weight=400, anchor="start"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}" font-weight="{weight}" '
            f'text-anchor="{anchor}">{escape(content)}</text>')


def held_out(run):
    """`pass@1 0.17 → 0.94, format 0.35 → 1.00` from summary.json, or nothing."""
    before, after = run.summary.get("before") or {}, run.summary.get("after") or {}
    shown = [key for key in ("pass@1", "format") if None not in (before.get(key), after.get(key))]
    return ", ".join(f"{key} {before[key]:.2f} → {after[key]:.2f}" for key in shown)


def draw(runs, title, window):
    panels = [p for p in PANELS if any(run.series(p[0]) for run in runs)]
    columns = min(3, len(panels))
    cell_width, cell_height = LEFT + PANEL_WIDTH + RIGHT, ABOVE + PANEL_HEIGHT + BELOW
    width = columns * cell_width + 12
    height = HEAD + -(-len(panels) // columns) * cell_height + 8
    steps = [row["step"] for run in runs for row in run.rows]
    x_range = (min(steps), max(max(steps), min(steps) + 1))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
           f'font-family="{FONT}">',
           f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
           text(20, 32, title, size=18, weight=650)]
    x, y = 20.0, 56.0
    for index, run in enumerate(runs):  # the legend
        after = held_out(run)
        entry = run.name + (f" · held-out {after}" if after else "")
        advance = 40 + 6.6 * len(entry)
        if x > 20 and x + advance > width:
            x, y = 20.0, y + 18
        color = COLORS[index % len(COLORS)]
        out.append(f'<line x1="{x}" y1="{y - 4}" x2="{x + 18}" y2="{y - 4}" stroke="{color}" stroke-width="3" '
                   f'stroke-linecap="round"/>')
        out.append(text(x + 26, y, entry, size=12))
        x += advance
    lift = y - 56.0  # further legend lines push the panels down
    for index, (key, name, is_share) in enumerate(panels):
        row, column = divmod(index, columns)
        values = [y for run in runs for _, y in run.series(key)]
        panel = Panel(LEFT + column * cell_width, HEAD + lift + ABOVE + row * cell_height, x_range, values, is_share)
        out.extend(panel.axes(name))
        for number, run in enumerate(runs):
            points, color = run.series(key), COLORS[number % len(COLORS)]
            if points:
                out.append(panel.curve(points, color, 1, 0.28))
                out.append(panel.curve(smoothed(points, window), color, 2, 1))
    out.append("</svg>\n")
    if lift:
        out[0] = out[0].replace(f'0 0 {width} {height}"', f'0 0 {width} {height + lift:g}"').replace(
            f'height="{height}"', f'height="{height + lift:g}"')
        out[1] = out[1].replace(f'height="{height}"', f'height="{height + lift:g}"')
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="run folders or metrics.jsonl files")
    parser.add_argument("--out", default="curves.svg", help="SVG to write, or - (default: %(default)s)")
    parser.add_argument("--title", default="GRPO: learning to reason from rewards alone")
    parser.add_argument("--smooth", type=int, default=7, metavar="STEPS", help="bold moving average (default: 7)")
    arguments = parser.parse_args()
    if arguments.out != "-" and not arguments.out.endswith(".svg"):
        sys.exit(f"error: [plot] --out: expected a name that ends in .svg, got {arguments.out}")
    runs = [Run(path) for path in arguments.runs]
    for run, path in zip(runs, arguments.runs):
        if not run.rows:
            sys.exit(f"error: [plot] {path}: expected lines with step and reward, got none; has the run begun?")
    curves = draw(runs, arguments.title, max(1, arguments.smooth)).encode("utf-8")
    if arguments.out == "-":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader that has seen enough is no error
        sys.stdout.buffer.write(curves)
        return
    try:
        Path(arguments.out).write_bytes(curves)
    except OSError as error:
        sys.exit(f"error: [plot] {arguments.out}: {error.strerror}")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
