#!/usr/bin/env python3
"""Writes src/text/tables/letter_case.*: the letters beyond ASCII whose case changes, as runs, from Python's own tables.

    python3 scripts/make_letter_case.py
"""
import pathlib

LETTERS = [chr(c) for c in range(0x80, 0x110000) if not 0xD800 <= c < 0xE000]


def runs(change):
    """Letters at equal distances that all move by the same number: (first, last, distance, move)."""
    result = []
    for letter in LETTERS:
        other = change(letter)
        if len(other) != 1 or other == letter:
            continue
        c, move = ord(letter), ord(other) - ord(letter)
        if result:
            first, last, distance, previous = result[-1]
            if previous == move and c - last <= 2 and (first == last or c - last == distance):
                result[-1] = (first, c, c - last, move)
                continue
        result.append((c, c, 1, move))
    return result


def table(name, rows):
    lines, line = [], "   "
    for row in rows:
        entry = " {%s}," % ", ".join(row)
        if len(line) + len(entry) > 118:
            lines.append(line)
            line = "   "
        line += entry
    return [f"const {name}[{len(rows)}] = {{", *lines, line, "};", ""]


def run_rows(change):
    return [(f"0x{a:X}", f"0x{b:X}", str(d), str(m)) for a, b, d, m in runs(change)]


def quoted(text):
    return '"' + "".join(f"\\u{ord(c):04X}" if ord(c) >= 0x80 else c for c in text) + '"'


expanding = [(f"0x{ord(c):X}", quoted(c.upper())) for c in LETTERS if len(c.upper()) > 1]
lower, upper = run_rows(str.lower), run_rows(str.upper)
intro = "// Written by scripts/make_letter_case.py: the letters beyond ASCII whose case changes.\n// clang-format off"
header = "\n".join([
    intro, "#pragma once", "",
    "#include <string_view>", "", "namespace grpo {", "",
    "/// Letters from `first` to `last`, `distance` apart, whose counterpart is `move` further.",
    "struct LetterRun {", "  char32_t first, last;", "  int distance, move;", "};", "",
    "/// A letter whose capital form is several characters.",
    "struct ExpandingLetter {", "  char32_t letter;", "  std::string_view capital;", "};", "",
    f"extern const LetterRun kToLower[{len(lower)}], kToUpper[{len(upper)}];",
    f"extern const ExpandingLetter kExpanding[{len(expanding)}];", "", "}  // namespace grpo", ""])
text = "\n".join([
    intro, '#include "text/tables/letter_case.h"', "", "namespace grpo {", "",
    *table("LetterRun kToLower", lower), *table("LetterRun kToUpper", upper),
    *table("ExpandingLetter kExpanding", expanding), "}  // namespace grpo", ""])
path = pathlib.Path(__file__).parents[1] / "src" / "text" / "tables" / "letter_case.cpp"
path.write_text(text)
path.with_suffix(".h").write_text(header)
