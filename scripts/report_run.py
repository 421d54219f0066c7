"""What report.py shows: a run's stages, figures and traces as they are read, and text as it is printed."""
import math
import re
import sys
from html import escape

import plot_metrics as plot
from plot_metrics import is_number

POINTS = 300  # of one curve; more are averaged
TEXT = 6000   # characters of a trace that are shown at most


def fail(where, message):
    sys.exit(f"error: [report] {where}: {message}")


# --- reading ----------------------------------------------------------------------------------------------------------


def load_json(file):
    return plot.load_json(file, "report")


class Stage:
    def __init__(self, index, folder, entry):
        self.index, self.folder = index, folder
        self.name, self.type = entry["name"], str(entry.get("type") or "")
        self.source, self.state = str(entry.get("from") or ""), str(entry.get("state") or "")
        self.color = f"var(--s{index})"
        self.rows = []
        if (folder / "metrics.jsonl").exists():
            for number, row in plot.read_jsonl(folder / "metrics.jsonl", "report"):
                if not is_number(row.get("step")):
                    fail(f"{folder / 'metrics.jsonl'}:{number}", 'expected a number "step"')
                self.rows.append(row)
        self.is_rl = any("reward" in row for row in self.rows)
        self.seconds = entry.get("seconds")
        if not is_number(self.seconds):
            timed = [v for row in self.rows for key, v in row.items() if key.startswith("seconds/") and is_number(v)]
            self.seconds = sum(timed) if timed else None

    def series(self, key):
        """(step, value), averaged down to a bounded number of points."""
        points = [(row["step"], row[key]) for row in self.rows if is_number(row.get(key))]
        size = -(-len(points) // POINTS)
        bins = [points[i : i + size] for i in range(0, len(points), size or 1)]
        return [(sum(x for x, _ in b) / len(b), sum(y for _, y in b) / len(b)) for b in bins]


class Run:
    def __init__(self, folder):
        self.folder, self.name = folder, folder.resolve().name
        if not folder.is_dir():
            fail(folder, f"expected the folder of a run, got {'a file' if folder.exists() else 'none'}; check the path")
        self.config = load_json(folder / "config.json")
        self.stages = [Stage(i, path, entry) for i, (path, entry) in enumerate(self.find_stages())]
        self.table = self.find_table()

    def find_stages(self):
        stages = list(plot.find_stages(self.folder, "report"))
        if not stages and (self.folder / "metrics.jsonl").exists():
            stages = [(self.folder, {"name": self.name, "type": "grpo"})]
            base = self.folder / "base" / "metrics.jsonl"
            if base.exists() and base.stat().st_size > 0:
                stages.insert(0, (self.folder / "base", {"name": "base", "type": "pretrain"}))
        if not stages:
            fail(self.folder, "expected stages.json or metrics.jsonl; is this the folder of a run, and has it begun?")
        return stages

    def find_table(self):
        """{column: {figure: value}}: table.json, or what single evaluations left."""
        table, file = load_json(self.folder / "table.json"), self.folder / "table.json"
        if not table:
            table = {s.name: load_json(s.folder / "evaluation.json") for s in self.stages}
            file = self.folder / "summary.json"
            summary = load_json(file)
            table.update({name: summary[name] for name in ("before", "after") if isinstance(summary.get(name), dict)})
        for name, figures in table.items():
            if not isinstance(figures, (dict, type(None))):
                fail(file, f'expected "{name}" to be an object of figures')
        order = {stage.name: stage.index for stage in self.stages}
        names = sorted((name for name in table if table[name]), key=lambda name: order.get(name, len(order)))
        return {name: table[name] for name in names}

    def facts(self):
        """What kind of run this is, in the words that it began its log with."""
        try:
            with open(self.folder / "log.txt", encoding="utf-8", errors="replace") as log:
                for line, _ in zip(log, range(100)):
                    if "  grpo.cpp " in line:
                        return line.split("  ", 1)[1].strip()
        except OSError:
            pass
        return " · ".join(f"{key} {self.config[key]}" for key in ("device", "seed") if key in self.config)


class Samples:
    """The traces of one stage that the page shows: few enough, and spread over its steps, kinds and languages. Of all
    that are recorded, the lengths: (step, tokens, is it right)."""

    def __init__(self, stage, budget, rechecks):
        self.stage, self.blocks, self.rechecks, self.recorded, self.lengths = stage, [], [], 0, []
        file = stage.folder / "samples.jsonl"
        if not file.exists():
            return
        steps, candidates = {}, []
        for number, row in plot.read_jsonl(file, "report"):
            if not is_number(row.get("step")):
                fail(f"{file}:{number}", 'expected a number "step"')
            self.recorded += 1
            right = is_right(row)
            sort = str((row.get("kind"), row.get("language")))
            steps.setdefault(row["step"], ([], []))[not right].append((number, sort))
            if is_number(row.get("tokens")) and is_number(score(row, "accuracy")):
                self.lengths.append((row["step"], row["tokens"], right))
            if right and row.get("reflects") is True and rechecks_before_answer(row):
                candidates.append((row["step"], number))
        if not steps:
            return
        order = sorted(steps)
        spacing, last = (order[-1] - order[0]) / (2 * rechecks + 2), -math.inf
        marked = []
        for step, number in sorted(candidates):  # the first ones, of one step each, and later ones at some distance
            distance = spacing if 2 * len(marked) >= rechecks else 0
            if len(marked) < rechecks and step >= last + distance and step != last:
                marked.append(number)
                last = step
        per_step = max(4, budget // len(order))
        count = min(len(order), max(1, budget // per_step))
        picked = sorted({order[round(i * (len(order) - 1) / max(1, count - 1))] for i in range(count)})
        shown, wanted = {}, {}
        for step in picked:
            right, wrong = steps[step]
            rights = min(len(right), max(per_step // 2, per_step - len(wrong)))  # half, or more if the others are few
            for side, limit in ((right, rights), (wrong, min(len(wrong), per_step - rights))):
                for _ in range(limit):  # the sort that was shown least comes first
                    number, sort = min(side, key=lambda entry: (shown.get(entry[1], 0), entry[0]))
                    side.remove((number, sort))
                    shown[sort] = shown.get(sort, 0) + 1
                    wanted[number] = step
        rows = {n: row for n, row in plot.read_jsonl(file, "report") if n in wanted or n in marked}
        self.rechecks = [rows[n] for n in marked if n in rows]
        for step in picked:
            numbers = sorted(n for n, at in wanted.items() if at == step and n in rows)
            self.blocks.append((step, [rows[n] for n in numbers]))

    def __len__(self):
        return sum(len(rows) for _, rows in self.blocks)


def score(row, name):
    scores = row.get("scores")
    return scores.get(name) if isinstance(scores, dict) else None


def is_right(row):
    """As the notebook sorts them: by accuracy where that is defined, else by reward."""
    accuracy = score(row, "accuracy")
    if is_number(accuracy):
        return accuracy > 0.5
    return is_number(row.get("reward")) and row["reward"] > 0


def rechecks_before_answer(row):
    """Whether the first sign of re-checking comes before the answer."""
    text, sign = str(row.get("text") or ""), REFLECTION.search(str(row.get("text") or ""))
    answer = "<answer>" if "<answer>" in text else str(row.get("answer") or "")
    return sign is not None and sign.start() < text.rfind(answer)


# --- text -------------------------------------------------------------------------------------------------------------


def printable(content):
    """Control characters and half surrogates, which have no place in a page, become visible."""
    return re.sub("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", "\ufffd", str(content))


def html(content):
    return escape(printable(content))


def figure(value, digits=3):
    if not is_number(value):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if 0 < abs(value) < 10.0**-digits:
        return f"{value:.0e}"
    return f"{value:.{digits}f}" if abs(value) < 10 else f"{value:,.1f}"


def duration(seconds):
    if not is_number(seconds):
        return "–"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def clipped(text, limit):
    """Beginning and end of what is too long."""
    if len(text) <= limit:
        return text
    tail = limit // 3
    return f"{text[: limit - tail]}\n[… {len(text) - limit:,} characters left out …]\n{text[-tail:]}"


HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]+(?:[ ,.·]+[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]+)*")
# The words that src/rewards/reflection.cpp looks for.
REFLECTION = re.compile(
    r"((?<![a-z0-9_])(?:wait|hmmm?|re-?check|double(?:-|\s+)check|check\s+again|let\s+me\s+(?:check|verify)|"
    r"on\s+second\s+thought)(?![a-z0-9_])|(?<![\uac00-\ud7a3])(?:잠깐|다시|재확인)|等等|等一下|检查|檢查|再想|待って|もう一度)",
    re.IGNORECASE)


def words(text, language):
    """HTML in which re-checking is marked, and Korean too: as foreign where another language was wanted."""
    foreign = "" if language in ("ko", "") else ' class="foreign"'
    pieces = [HANGUL.sub(lambda m: f'<span lang="ko"{foreign}>{m[0]}</span>', html(piece))
              for piece in re.split(REFLECTION, text)]
    return "".join(f"<mark>{piece}</mark>" if i % 2 else piece for i, piece in enumerate(pieces))


def trace_text(text, language):
    """A completion, its reasoning and its answer told apart."""
    pieces = re.split(r"(</?(?:think|answer)>)", clipped(text, TEXT))
    first_tag = pieces[1] if len(pieces) > 1 else ""
    part, out = "think" if first_tag == "</think>" else "", []  # the prompt may have opened it
    for i, piece in enumerate(pieces):
        if i % 2:
            out.append(f'<span class="tag">{html(piece)}</span>')
            part = "" if piece[1] == "/" else piece[1:-1]
        elif piece:
            out.append(f'<span class="{part or "loose"}">{words(piece, language)}</span>')
    return "".join(out) or '<span class="tag">(empty)</span>'
