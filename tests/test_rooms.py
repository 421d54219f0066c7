#!/usr/bin/env python3
"""The rooms of the library: an include of a higher room does not compile, one of a lower room does; and what lies where.

    tests/test_rooms.py BUILD [arguments of unittest]
"""

import json
import re
import shlex
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = Path(sys.argv.pop(1)).resolve()
MOST_FILES, MOST_LINES, MOST_LINES_OF_A_FUNCTION = 25, 600, 80

# Lowest first, each with what it may include: what it names, and what these may.
SEES = {
    "base": [], "text": ["base"], "log": ["text"], "tokenizer": ["text"], "answers": ["text"], "rewards": ["answers"],
    "tasks": ["tokenizer", "rewards"], "evaluation": ["rewards"], "schedule": ["base"], "kernels": ["base"],
    "policy": ["kernels"], "rollout": ["tokenizer", "schedule", "policy"], "objective": ["base"],
    "training": ["policy", "objective"], "recipe": ["log", "tasks", "evaluation", "rollout", "training"],
}


def folder_of(room):
    return ROOT / room if room == "kernels" else ROOT / "src" / room


def seen_by(room):
    return {room}.union(*(seen_by(lower) for lower in SEES[room]))


def inside_of(room):
    """A header inside the room, as it is included."""
    for file in sorted(folder_of(room).rglob("*.h")):
        return file.relative_to(folder_of(room).parent).as_posix()
    return None


def public_of(room):
    return sorted(file.name for file in (BUILD / "rooms" / room / "public" / "grpo").iterdir())


# What has no say in where a function's braces are: comments, literals, directives.
NOT_CODE = re.compile("|".join([
    r"//[^\n]*", r"/\*.*?\*/", r'R"([^(\s]*)\(.*?\)\1"', r'"(?:\\.|[^"\\\n])*"', r"(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'",
    r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*"]), re.S | re.M)
SOME_FUNCTIONS = """namespace grpo {
// {
const Entry kTable[] = {{"a{", f(1)}, {'}', 2}};
int f(char c) {
  if (c == '{') return 1'000;
  const auto g = [&] { return R"({)"; };
  return 0;
}
struct C {
  template <class T>
  T g(const T& t) const { return {t}; }
};
}
"""


def functions(text):
    """(first line, lines, head) of each function, by its braces: those within it are its own."""
    text = NOT_CODE.sub(lambda part: "\n" * part[0].count("\n"), text)
    line, first, head, around = 1, 1, "", []
    for sign in text:
        if sign == "{":
            if around and around[-1][0] != "scope":
                kind = "inner"
            elif re.match(r"(template <.*> )?(namespace|extern|class|struct|union|enum)\b", " ".join(head.split())):
                kind = "scope"
            else:
                kind = "function" if "(" in head else "table"
            around.append((kind, first, head))
            head = ""
        elif sign == "}":
            kind, start, name = around.pop()
            if kind == "function":
                yield start, line - start + 1, " ".join(name.split())
            head = ""
        elif sign == ";":
            head = ""
        else:
            if not head.strip():
                first = line
            head += sign
        line += sign == "\n"
    assert not around, around


def commands():
    """How a source of each room is compiled, but for the source."""
    found = {}
    for entry in json.loads((BUILD / "compile_commands.json").read_text(encoding="utf-8")):
        room = re.search(r"/CMakeFiles/grpo_(\w+)\.dir/.*\.c(?:pp|xx)\.o$", entry["output"])
        if room and room[1] in SEES:
            words = shlex.split(entry["command"])
            words = words[:words.index("-o")]
            if "-include" in words:  # the precompiled header has nothing of ours
                at = words.index("-include")
                del words[at:at + 2]
            found.setdefault(room[1], words)
    return found


class Rooms(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.commands = commands()
        assert set(cls.commands) == set(SEES), sorted(cls.commands)

    def compile(self, room, text):
        """What the compiler says of a source in a room; nothing when it takes it."""
        with tempfile.NamedTemporaryFile("w", suffix=".cpp", dir=BUILD / "rooms") as file:
            file.write(text)
            file.flush()
            done = subprocess.run(self.commands[room] + ["-fsyntax-only", file.name], cwd=BUILD, capture_output=True,
                                  text=True)
        return done.stderr or "failed" if done.returncode else ""

    def test_a_room_sees_its_own_headers_and_those_below_and_no_others(self):
        for room in SEES:
            lines = []
            for other in SEES:
                headers = [f"grpo/{name}" for name in public_of(other)] + [inside_of(other)]
                allowed = other in seen_by(room)
                for header in filter(None, headers):
                    lines += [f'#if {"!" if allowed else ""}__has_include("{header}")',
                              f'#error {"must see" if allowed else "must not see"} {header}', "#endif"]
            with self.subTest(room=room):
                self.assertEqual(self.compile(room, "\n".join(lines) + "\n"), "")

    def test_a_wrong_include_does_not_compile_and_a_right_one_does(self):
        self.assertEqual(self.compile("answers", '#include "text/utf8.h"\n#include "grpo/config.h"\n'), "")
        self.assertIn("policy/safetensors_digest.h", self.compile("answers", '#include "policy/safetensors_digest.h"\n'))
        self.assertIn("grpo/policy.h", self.compile("answers", "#include <grpo/policy.h>\n"))
        self.assertIn("ATen/ATen.h", self.compile("schedule", "#include <ATen/ATen.h>\n"))
        self.assertIn("rewards/built_in.h", self.compile("rollout", '#include "rewards/built_in.h"\n'))
        self.assertIn("grpo/reward.h", self.compile("training", '#include "grpo/reward.h"\n'))

    def test_what_a_program_does_not_see_it_does_not_link(self):
        for program in ("test_scheduler", "test_bpe"):
            needs = subprocess.run(["readelf", "-d", BUILD / "bin" / program], capture_output=True, text=True, check=True)
            self.assertIn("libstdc++", needs.stdout)
            self.assertNotRegex(needs.stdout, "libgmp|libmpfr|libseccomp|libtorch|libc10|libspdlog")

    def test_no_include_goes_round_the_rooms(self):
        for room in SEES:
            for file in folder_of(room).rglob("*"):
                if file.suffix in (".h", ".cpp", ".cu"):
                    for name in re.findall(r'^#include "([^"]+)"', file.read_text(encoding="utf-8"), re.M):
                        self.assertNotIn("..", name, file)
                        self.assertIn(name.split("/")[0], {"grpo", *SEES}, file)

    def test_every_public_header_is_of_one_room_and_in_grpo_h(self):
        headers = sorted(file.name for file in (ROOT / "include" / "grpo").glob("*.h") if file.name != "grpo.h")
        self.assertEqual(sorted(sum((public_of(room) for room in SEES), [])), headers)
        text = (ROOT / "include" / "grpo" / "grpo.h").read_text(encoding="utf-8")
        self.assertEqual(re.findall(r'^#include "grpo/([^"]+)"$', text, re.M), headers)

    def test_no_two_headers_have_one_name(self):
        public = {file.name for file in (ROOT / "include" / "grpo").glob("*.h")}
        for room in SEES:
            for file in folder_of(room).glob("*.h"):  # (a folder within a room says more)
                self.assertNotIn(file.name, public, file)

    def test_folders_and_files_are_small_enough_to_read(self):
        for top in ("src", "kernels"):
            for folder in [ROOT / top, *(each for each in (ROOT / top).rglob("*") if each.is_dir())]:
                files = [file for file in folder.iterdir() if file.is_file()]
                self.assertLessEqual(len(files), MOST_FILES, folder)
        for top in ("src", "kernels", "include", "examples", "tests"):
            for file in (ROOT / top).rglob("*"):
                if file.suffix in (".h", ".cpp", ".cu", ".py") and file.parent.name != "tables":
                    with self.subTest(file=file):
                        self.assertLessEqual(file.read_text(encoding="utf-8").count("\n"), MOST_LINES)

    def test_functions_are_short_enough_to_read(self):
        self.assertEqual(list(functions(SOME_FUNCTIONS)),
                         [(4, 5, "int f(char c)"), (10, 2, "template <class T> T g(const T& t) const")])
        for top in ("src", "kernels", "examples", "tests"):
            for file in (ROOT / top).rglob("*"):
                if file.suffix in (".h", ".cpp", ".cu") and file.parent.name != "tables":
                    for first, lines, head in functions(file.read_text(encoding="utf-8")):
                        with self.subTest(place=f"{file}:{first}", function=head[:80]):
                            self.assertLessEqual(lines, MOST_LINES_OF_A_FUNCTION)


if __name__ == "__main__":
    unittest.main()
