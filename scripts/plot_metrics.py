#!/usr/bin/env python3
"""Draws the learning curves of one or more runs as an SVG, with nothing but the standard library.

    scripts/plot_metrics.py runs/zero --out curves.svg
    scripts/plot_metrics.py runs/a runs/b runs/c --smooth 9 --title "three seeds"
    scripts/plot_metrics.py runs/r1 --out r1.svg

A run is a folder with metrics.jsonl (and summary.json, whose held-out numbers appear below the title) or such a file.
The folder of a recipe stands for its stages, one curve each.
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
    ("loss", "loss, imitation (nats per token)", False),  # of RL it is another quantity, and says little
]
Paint = namedtuple("Paint", "ink faint grid")  # of text, of what stands beside the curves, and behind them
PAINT = Paint("#1f2933", "#6b7785", "#e4e8ed")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"

PANEL_WIDTH, PANEL_HEIGHT = 280, 168  # of the plotted area, in pixels
LEFT, RIGHT, ABOVE, BELOW = 52, 18, 34, 40  # around it
HEAD = 74


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300  # so is no NaN


def read_jsonl(file, where):
    """(line number, object) of every line; errors begin with [where]."""
    try:
        with open(file, "rb") as lines:  # as bytes: only there is nothing but \n the end of a line
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line.decode("utf-8", "replace"))
                except (ValueError, RecursionError):
                    if not line.endswith(b"\n"):
                        return  # the half line of a run that was killed, or is at it right now
                    row = None
                if not isinstance(row, dict):
                    sys.exit(f"error: [{where}] {file}:{number}: expected a JSON object")
                yield number, row
    except OSError as error:
        sys.exit(f"error: [{where}] {file}: {error.strerror}")


def load_json(file, where, kind=dict):
    """The content of a JSON file; an empty `kind` when there is no such file; errors begin with [where]."""
    try:
        content = json.loads(file.read_bytes().decode("utf-8", "replace"))
    except FileNotFoundError:
        return kind()
    except OSError as error:
        sys.exit(f"error: [{where}] {file}: {error.strerror}")
    except (ValueError, RecursionError) as error:
        line, what = getattr(error, "lineno", 1), getattr(error, "msg", error)
        sys.exit(f"error: [{where}] {file}:{line}: expected JSON: {what}")
    if not isinstance(content, kind):
        sys.exit(f"error: [{where}] {file}: expected {'an object' if kind is dict else 'an array'}")
    return content


def find_stages(folder, where):
    """(folder, {"name": …, "type": …}) of each stage of a recipe, in its order; nothing for what is none."""
    file = folder / "stages.json"
    listed = load_json(file, where, list)
    for number, entry in enumerate(listed, 1):
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or name in ("", "..") or Path(name).name != name:
            sys.exit(f"error: [{where}] {file}: expected stage {number} to be an object with a \"name\" that is a "
                     "folder's")
        yield folder / name, entry
    if not listed and not (folder / "metrics.jsonl").exists():
        for path in sorted(path.parent for path in folder.glob("*/metrics.jsonl")):
            yield path, {"name": path.name}


class Run:
    def __init__(self, path, name=""):
        file = path / "metrics.jsonl" if path.is_dir() else path
        self.name = name or (file.parent if file.name == "metrics.jsonl" else file).resolve().name
        self.rows = [row for _, row in read_jsonl(file, "plot") if is_number(row.get("step"))]
        self.is_rl = any("reward" in row for row in self.rows)
        self.rows = [row for row in self.rows if ("reward" if self.is_rl else "loss") in row]
        self.summary = load_json(file.parent / "summary.json", "plot")
        if not self.summary:  # of a recipe's stage
            self.summary = {"after": load_json(file.parent / "evaluation.json", "plot")}

    def series(self, key):
        if key == "loss" and self.is_rl:
            return []
        points = ((row["step"], row.get(key)) for row in self.rows)
        return [(x, y) for x, y in points if is_number(y)]


def find_runs(path, prefix):
    """The run at `path`, or the stages of a recipe that have begun, with its name in front of theirs if `prefix`."""
    path = Path(path)
    stages = [(folder, entry["name"]) for folder, entry in find_stages(path, "plot")] if path.is_dir() else []
    if not stages:
        return [Run(path)]
    front = path.resolve().name + "/" if prefix else ""
    return [Run(folder, front + name) for folder, name in stages if (folder / "metrics.jsonl").exists()]


def oklch(lightness, chroma, hue):
    """#rrggbb of a colour of OKLCH (CSS Color 4), with as much of its chroma as a screen has."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    l, m, s = ((lightness + x * a + y * b) ** 3 for x, y in
               ((0.3963377774, 0.2158037573), (-0.1055613458, -0.0638541728), (-0.0894841775, -1.2914855480)))
    rgb = (4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
           -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
           -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s)
    if min(rgb) < -1e-4 or max(rgb) > 1 + 1e-4:
        return oklch(lightness, chroma - 0.005, hue)
    gamma = (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055 for v in (min(max(v, 0), 1) for v in rgb))
    return "#" + "".join(f"{round(255 * v):02x}" for v in gamma)


def colors(count, lightness=(0.5, 0.62)):
    """`count` different colours: evenly around the circle of hues, darker and lighter in turn; neighbours in the list
    are far apart on it."""
    stride = min((k for k in range(1, count + 1) if math.gcd(k, count) == 1), key=lambda k: abs(k - 0.382 * count))
    return [oklch(lightness[place % 2], 0.17, 262 + 360 * place / count)
            for place in (i * stride % count for i in range(count))]


def smoothed(points, window):
    """Centred moving average; the window shrinks at the ends, so that it leans to neither side."""
    out = []
    for i, (x, _) in enumerate(points):
        reach = min(window // 2, i, len(points) - 1 - i)
        part = [y for _, y in points[i - reach : i + reach + 1]]
        out.append((x, sum(part) / len(part)))
    return out


def ticks(low, high, count, whole=False):
    """About `count` round numbers that span [low, high]; `whole` ones where nothing lies between two."""
    rough = (high - low) / count
    if whole:
        rough = max(rough, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    steps = (power * m for m in (1, 2, 2.5, 5, 10))
    step = next(s for s in steps if s >= rough * 0.999 and not (whole and s % 1))
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
        if high - low < 1e-9:  # in the middle between zero and twice itself
            low, high = sorted((0.0, 2 * low if abs(low) > 1e-9 else 1.0))
        self.y_ticks = ticks(low, high, 4)
        self.x_ticks = [t for t in ticks(*x_range, 5, whole=True) if x_range[0] <= t <= x_range[1]]
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
        if len(points) == 1:
            (x, y), = points
            return f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="2.5" fill="{color}"/>'
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return (f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}" '
                f'stroke-opacity="{opacity}" stroke-linejoin="round" stroke-linecap="round"/>')


def text(x, y, content, color=PAINT.ink, size=11, weight=400, anchor="start"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}" font-weight="{weight}" '
            f'text-anchor="{anchor}">{escape(content)}</text>')


def held_out(run):
    """`pass@1 0.17 → 0.94, format 0.35 → 1.00`, or what there is of it."""
    def said(when, key):
        figures = run.summary.get(when)
        return f"{figures[key]:.2f}" if isinstance(figures, dict) and is_number(figures.get(key)) else ""

    pairs = [(key, said("before", key), said("after", key)) for key in ("pass@1", "format")]
    return ", ".join(f"{key} {old} → {new}" if old else f"{key} {new}" for key, old, new in pairs if new)


def draw(runs, title, window):
    panels = [p for p in PANELS if any(run.series(p[0]) for run in runs)]
    columns = min(3, len(panels))
    cell_width, cell_height = LEFT + PANEL_WIDTH + RIGHT, ABOVE + PANEL_HEIGHT + BELOW
    width = columns * cell_width + 12
    height = HEAD + -(-len(panels) // columns) * cell_height + 8
    shades = colors(len(runs))

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
        out.append(f'<line x1="{x}" y1="{y - 4}" x2="{x + 18}" y2="{y - 4}" stroke="{shades[index]}" stroke-width="3" '
                   f'stroke-linecap="round"/>')
        out.append(text(x + 26, y, entry, size=12))
        x += advance
    lift = y - 56.0  # further legend lines push the panels down
    for index, (key, name, is_share) in enumerate(panels):
        row, column = divmod(index, columns)
        steps, values = zip(*(point for run in runs for point in run.series(key)))
        x_range = (min(steps), max(max(steps), min(steps) + 1))
        panel = Panel(LEFT + column * cell_width, HEAD + lift + ABOVE + row * cell_height, x_range, values, is_share)
        out.extend(panel.axes(name))
        for number, run in enumerate(runs):
            if points := run.series(key):
                out.append(panel.curve(points, shades[number], 1, 0.28))
                out.append(panel.curve(smoothed(points, window), shades[number], 2, 1))
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
    if arguments.smooth < 1:
        sys.exit(f"error: [plot] --smooth: expected at least 1, got {arguments.smooth}")
    if arguments.out != "-" and not arguments.out.endswith(".svg"):
        sys.exit(f"error: [plot] --out: expected a name that ends in .svg, got {arguments.out}")
    runs = []
    for path in arguments.runs:
        found = find_runs(path, prefix=len(arguments.runs) > 1)
        found = [run for run in found if any(run.series(key) for key, *_ in PANELS)]
        if not found:
            sys.exit(f"error: [plot] {path}: expected lines with step and reward or loss, got none; has the run begun?")
        runs += found
    curves = draw(runs, arguments.title, arguments.smooth).encode("utf-8")
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
