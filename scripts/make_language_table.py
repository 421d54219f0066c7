#!/usr/bin/env python3
"""Writes src/text/tables/languages.*: how likely a letter is after the letters before it, by language.

The counts are those that the package lingua-language-detector 1.3.5 (Peter M. Stahl, Apache-2.0) keeps of runs of one
to five letters in news text of many languages. It counts inside words only, but what goes missing between the runs of
n and of n + 1 letters stood at a word's edge, so the counts with edges come back by subtraction. From them comes a
model of the order 4 for each language; the table holds the contexts that tell languages apart.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install brotli numpy
    /tmp/peers/bin/pip download --no-deps -d /tmp/peers lingua-language-detector==1.3.5
    /tmp/peers/bin/python scripts/make_language_table.py /tmp/peers/lingua_language_detector-1.3.5-py3-none-any.whl
"""

import collections
import json
import math
import pathlib
import sys
import unicodedata
import zipfile

import brotli
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODELS = "lingua/language-models"
FILES = {"no": "nb"}  # a language whose file has another name
SCRIPTS = {
    "latin": ("af ca cs cy da de en es et eu fi fr ga hr hu id is it lt lv nl no pl pt ro sk sl sq sv sw tl tr vi", 9000,
              [(0x61, 0x7A), (0xDF, 0x24F), (0x1E00, 0x1EFF)]),
    "cyrillic": ("be bg kk mk mn ru sr uk", 3000, [(0x430, 0x52F)]),
    "arabic": ("ar fa ur", 1500, [(0x620, 0x63F), (0x641, 0x64A), (0x66E, 0x66F), (0x671, 0x6D3), (0x6D5, 0x6D5)]),
    "devanagari": ("hi mr", 1000, [(0x900, 0x97F)]),
}
EDGE = "_"
STEP = 0.25      # nats
LEVELS = 33      # of a score
FIRST = "]"      # the character of the lowest; those from it on need no escape in a C++ string
SMOOTHING = 8.0  # observations that the shorter context is worth


def letter_counts(wheel, language, ranges):
    """How often runs of 1 to 5 letters occur inside words."""
    allowed = lambda gram: all(any(a <= ord(c) <= b for a, b in ranges) for c in gram)
    names = ["unigrams", "bigrams", "trigrams", "quadrigrams", "fivegrams"]
    counts, previous = [], None
    for n, name in enumerate(names, 1):
        path = f"{MODELS}/{FILES.get(language, language)}/{name}.json.br"
        shares = json.loads(brotli.decompress(wheel.read(path)))["ngrams"]
        found = {}
        total = math.lcm(*(int(share.split("/")[1]) for share in shares)) if n == 1 else 0  # fractions are reduced
        for share, grams in shares.items():
            above, below = map(int, share.split("/"))
            for gram in grams.split():
                if len(gram) == n:
                    whole = total if n == 1 else previous.get(gram[:-1], 0)
                    found[gram] = round(above / below * whole)
        counts.append(found)
        previous = found
    return [{g: c for g, c in found.items() if allowed(g)} for found in counts]


def with_edges(counts):
    """The same for runs of up to 4 symbols, a symbol being a letter or the edge of a word."""
    def marginal(table, part):
        result = collections.Counter()
        for gram, count in table.items():
            result[part(gram)] += count
        return result

    result = collections.Counter()
    for n in range(1, 5):
        whole, longer = counts[n - 1], counts[n]
        after = marginal(longer, lambda g: g[1:])   # occurrences that a letter stands before
        before = marginal(longer, lambda g: g[:-1])  # … and behind
        both = marginal(counts[n + 1], lambda g: g[1:-1]) if n < 4 else {}
        for gram, count in whole.items():
            result[gram] += count
            if n < 4:
                result[EDGE + gram] += max(0, count - after[gram])
                result[gram + EDGE] += max(0, count - before[gram])
            if n < 3:
                result[EDGE + gram + EDGE] += max(0, count - after[gram] - before[gram] + both[gram])
    return {g: c for g, c in result.items() if c > 0}


def contexts_of(table):
    """How often each context is followed by something."""
    result = collections.Counter()
    for gram, count in table.items():
        result[gram[:-1]] += count
    return result


class Model:
    def __init__(self, counts, letters):
        self.table = with_edges(counts)
        self.contexts = contexts_of(self.table)
        self.letters = letters
        self.total = sum(c for g, c in self.table.items() if len(g) == 1)
        self.known = {}

    def probability(self, gram):
        """Of the last symbol after those before it."""
        if gram not in self.known:
            shorter = self.probability(gram[1:]) if len(gram) > 1 else 1 / self.letters
            whole = self.contexts[gram[:-1]] if len(gram) > 1 else self.total
            self.known[gram] = (self.table.get(gram, 0) + SMOOTHING * shorter) / (whole + SMOOTHING)
        return self.known[gram]


def centred(models, gram):
    row = np.array([math.log(m.probability(gram)) for m in models])
    return np.maximum(row, row.max() - (LEVELS - 1) * STEP)


def rows_of(models, limit):
    """Those grams of 2 to 4 symbols whose scores differ most from what their endings say, weighted by frequency."""
    share = collections.Counter()
    for m in models:
        edges = sum(c for g, c in m.table.items() if len(g) == 2 and g[0] == EDGE) + m.total
        for gram, count in m.table.items():
            if len(gram) > 1:
                share[gram] += count / edges / len(models)
    rows, gains = {}, {}
    for gram, often in share.items():
        if often < 5e-6 and len(gram) > 2:
            continue
        rows[gram] = centred(models, gram)
        ending = gram[1:]
        base = centred(models, ending) if len(ending) > 1 else np.zeros(len(models))
        change = rows[gram] - base
        gains[gram] = often * np.abs(change - change.mean()).mean()
    best = sorted(gains, key=gains.get, reverse=True)
    chosen = set()
    for gram in best:
        if len(chosen) >= limit:
            break
        chosen.add(gram)
    return {g: rows[g] for g in sorted(chosen)}


def quantised(row):
    """0 for the least likely language, in steps."""
    return [round(v) for v in (row - row.min()) / STEP]


def trained(wheel_path):
    for script, (languages, limit, ranges) in SCRIPTS.items():
        with zipfile.ZipFile(wheel_path) as wheel:
            counts = [letter_counts(wheel, language, ranges) for language in languages.split()]
        letters = len({g for c in counts for g in c[0]})
        models = [Model(c, letters) for c in counts]
        yield script, languages.split(), models, limit


def main():
    intro = [
        "// How likely a letter is after the letters before it, by language.",
        "// Generated by scripts/make_language_table.py from the letter counts of lingua-language-detector 1.3.5 (Peter M. Stahl,",
        "// Apache-2.0); do not edit.",
        "// clang-format off",
    ]
    header = [
        *intro, "#pragma once", "", "#include <string_view>", "", '#include "text/tables/characters.h"', "",
        "namespace grpo {", "",
        "/// Languages that share a script. `rows` holds, one a line, 2 to 4 symbols of a word in small letters (_ is its",
        "/// edge), a space, and for each of `languages` how likely the last symbol is after the others: a character from",
        f"/// '{FIRST}' on, in steps of {STEP} nats above the least likely language.",
        "struct LanguageRows {", "  Script script;", "  std::string_view languages;  // ISO 639-1, a space between",
        "  std::string_view rows;", "};", "", f"extern const LanguageRows kLanguageRows[{len(SCRIPTS)}];", "",
        "}  // namespace grpo", "",
    ]
    out = [*intro, '#include "text/tables/languages.h"', "", "namespace grpo {", ""]
    tables = []
    for script, languages, models, limit in trained(sys.argv[1]):
        rows = rows_of(models, limit)
        name = f"k{script.capitalize()}Rows"
        out.append(f"static constexpr char {name}[] =")
        for gram, row in rows.items():
            scores = "".join(chr(ord(FIRST) + v) for v in quantised(row))
            out.append(f'    "{gram} {scores}\\n"')
        out[-1] += ";"
        out.append("")
        tables.append(f'    {{Script::{script}, "{" ".join(languages)}", {{{name}, sizeof {name} - 1}}}},')
        print(script, len(languages), "languages,", len(rows), "rows")
    out += [f"const LanguageRows kLanguageRows[{len(tables)}] = {{", *tables, "};", "", "}  // namespace grpo", ""]
    path = ROOT / "src/text/tables/languages.cpp"
    path.write_text("\n".join(out), encoding="utf-8")
    path.with_suffix(".h").write_text("\n".join(header), encoding="utf-8")
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
