#!/usr/bin/env python3
"""Writes tests/fixtures/tokenizers: small tokenizers built as each family of models builds its own, and what the
`tokenizers` package makes of some texts and some ids with them.

    .peer-venv/bin/python scripts/make_tokenizer_fixtures.py

The vocabularies are learned from the sentences below; the patterns are facts of the models named beside them.
scripts/check_tokenizers.py compares many more texts than are kept here.
"""

import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/tokenizers"

SENTENCES = """
A farmer counts 48 sheep in the morning and 31 in the evening; how many have wandered off? It's 17, isn't it?
We'll see what they've done, I'm sure you'd agree that she's right: 3.14159 is not 22/7, and 1,000,000 is 10^6.
The quick answer's often wrong. Let x = 2*y + 7; then y = (x - 7) / 2.    Four spaces, and	a tab.
def add(a, b):
    \"\"\"Return the sum.\"\"\"
    return a + b  # nothing else

for (int i = 0; i < n; ++i) { sum += v[i]; }
<think>First, 12 + 35 = 47. Then carry the 1.</think><answer>47</answer>
오늘은 날씨가 좋아서 강가를 따라 걸었습니다. 사과 세 개와 배 두 개를 더하면 모두 다섯 개입니다.
今天天气很好，我们沿着河边散步。三个苹果加两个梨，一共五个。
今日は天気がいいので、川のそばを歩きました。リンゴ三つと梨二つで、全部で五つです。
الطقس جميل اليوم ومشينا على ضفة النهر. ثلاث تفاحات مع حبتين من الكمثرى تساوي خمسة.
आज मौसम अच्छा है और हम नदी के किनारे चले। तीन सेब और दो नाशपाती मिलाकर पाँच होते हैं।
Сегодня хорошая погода, и мы гуляли вдоль реки. Три яблока и две груши — всего пять.
Élève, garçon, naïve, Straße, smörgåsbord, œuvre: d'où viennent-ils? ¿Qué más? ½ of ² is 1.
😀 👨‍👩‍👧‍👦 🇰🇷 ✈️ 👍🏽 … — “quoted” ‘single’ «guillemets»
""".strip().split("\n")

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
DEEPSEEK = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
GPT4O = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
MARK = "\u2581"


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(pattern, behavior, invert)


def byte_level(prefix=False, regex=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def sequence(*parts):
    return pre_tokenizers.Sequence(list(parts))


def special(content, **options):
    return AddedToken(content, special=True, normalized=False, **options)


def marks_to_text(strip=1):
    return decoders.Sequence(
        [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()] + [decoders.Strip(" ", strip, 0)] * (strip > 0)
    )


def learned(vocab_size, pre=None, normalizer=None, decoder=None, model=None, added=(), in_bytes=True, fallback=False, edit=None):
    """A tokenizer of that configuration, learned from the sentences."""
    options = dict(model or {})
    tokenizer = Tokenizer(models.BPE(unk_token=options.get("unk_token")))
    if pre is not None:
        tokenizer.pre_tokenizer = pre
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    base = [t for t in [options.get("unk_token")] if t]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        show_progress=False,
        special_tokens=base,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()) if in_bytes else [],
    )
    tokenizer.train_from_iterator(SENTENCES * 2, trainer)
    if decoder is not None:
        tokenizer.decoder = decoder
    tokenizer.add_tokens(list(added))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    data = json.loads(tokenizer.to_str())
    data["model"].update(options)
    if fallback:  # bytes are pieces of the model, behind the unknown token
        old = data["model"]["vocab"]
        names = base + [f"<0x{b:02X}>" for b in range(256)] + [p for p in sorted(old, key=old.get) if p not in base]
        data["model"]["vocab"] = {p: i for i, p in enumerate(names)}
        for token in data["added_tokens"]:
            token["id"] = data["model"]["vocab"].get(token["content"], token["id"] + 256)
    if edit:
        edit(data)
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def joined_merges(data):
    data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]


def families():
    """name -> the text of its tokenizer.json."""
    small = 480
    chat = [special("<|im_start|>"), special("<|im_end|>")]
    plain = [AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)]
    spaces = [AddedToken(" " * n, normalized=True) for n in range(4, 1, -1)]
    unknown = {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
    bytes_out = decoders.ByteLevel()
    return {
        "gpt2": learned(small, byte_level(regex=True), decoder=bytes_out, added=[special("<|endoftext|>")], edit=joined_merges),
        "roberta": learned(
            small,
            byte_level(prefix=True, regex=True),
            decoder=bytes_out,
            added=[special("<s>"), special("</s>"), special("<mask>", lstrip=True), AddedToken("sum", single_word=True)]
            + [AddedToken("<r>", rstrip=True), AddedToken("<both>", lstrip=True, rstrip=True, normalized=False)]
            + [AddedToken("iloveč"), AddedToken("Straße", normalized=False), AddedToken("Ġx", lstrip=True), AddedToken("é")],
        ),
        "neox": learned(
            small, byte_level(regex=True), normalizers.NFC(), bytes_out, added=[special("<|endoftext|>")] + spaces
        ),
        "llama3": learned(
            small,
            sequence(split(Regex(LLAMA3)), byte_level()),
            decoder=bytes_out,
            model={"ignore_merges": True},
            added=[special("<|begin_of_text|>"), special("<|end_of_text|>"), special("<|eot_id|>")],
        ),
        "qwen": learned(
            small,
            sequence(split(Regex(QWEN2)), byte_level()),
            normalizers.NFC(),
            bytes_out,
            added=[special("<|endoftext|>")] + chat + plain,
        ),
        "deepseek": learned(
            small,
            sequence(
                split(Regex(r"\p{N}{1,3}")), split(Regex(r"[一-龥\u3040-ゟ゠-ヿ]+")), split(Regex(DEEPSEEK)), byte_level()
            ),
            normalizers.Sequence([]),
            bytes_out,
            added=[special("<｜begin▁of▁sentence｜>"), special("<｜end▁of▁sentence｜>"), special("<｜User｜>")] + plain,
        ),
        "gpt4o": learned(small, sequence(split(Regex(GPT4O)), byte_level()), decoder=bytes_out, added=[special("<|end|>")]),
        "smollm": learned(
            small,
            sequence(pre_tokenizers.Digits(individual_digits=True), byte_level(regex=True)),
            decoder=bytes_out,
            added=[special("<|endoftext|>")] + chat,
        ),
        "llama2": learned(
            180,
            None,
            normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)]),
            marks_to_text(),
            unknown,
            [special("<s>"), special("</s>"), AddedToken("<think>")],
            in_bytes=False,
            fallback=True,
        ),
        "mistral": learned(
            180,
            pre_tokenizers.Metaspace(MARK, "first", False),
            None,
            marks_to_text(),
            unknown,
            [special("<s>"), special("</s>"), special("[INST]"), special("[/INST]")],
            in_bytes=False,
            fallback=True,
        ),
        "gemma": learned(
            180,
            split(" ", "merged_with_previous"),
            normalizers.Replace(" ", MARK),
            marks_to_text(0),
            unknown,
            [special("<bos>"), special("<start_of_turn>"), special("<end_of_turn>")],
            in_bytes=False,
            fallback=True,
        ),
        "metaspace": learned(
            220,
            sequence(pre_tokenizers.Metaspace(MARK, "always", True), pre_tokenizers.Digits(individual_digits=False)),
            normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()]),
            decoders.Metaspace(MARK, "always", True),
            {"unk_token": "<unk>", "fuse_unk": False},
            [special("<s>")],
            in_bytes=False,
        ),
        "words": learned(
            220,
            sequence(
                pre_tokenizers.Whitespace(),
                pre_tokenizers.Punctuation("contiguous"),
                split(Regex(r"[aeiou]+"), "merged_with_previous"),
                split(Regex(r"\d"), "merged_with_next"),
                split(Regex(r"[a-z]"), "contiguous", True),
                split("x", "removed"),
            ),
            normalizers.Sequence([normalizers.NFKD(), normalizers.Replace(Regex(r"\p{Mn}+"), "")]),
            None,
            {"unk_token": "<unk>", "fuse_unk": True},
            [AddedToken("river", single_word=True, normalized=True)],
            in_bytes=False,
        ),
        "spaces": learned(
            220,
            sequence(pre_tokenizers.WhitespaceSplit(), split(Regex(r"\p{Lu}"), "removed", False)),
            normalizers.NFD(),
            decoders.Sequence([decoders.Strip("e", 1, 0), decoders.Replace("a", "A"), decoders.Fuse(), decoders.Strip("t", 2, 0)]),
            in_bytes=False,
        ),
    }


# ---- Texts ----

RANGES = {
    "latin": [(0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F)],
    "korean": [(0xAC00, 0xD7A3), (0x1100, 0x11FF)],
    "chinese": [(0x4E00, 0x9FFF), (0x3000, 0x303F), (0xFF00, 0xFFEF)],
    "japanese": [(0x3040, 0x30FF), (0x4E00, 0x5000), (0x31F0, 0x31FF)],
    "arabic": [(0x600, 0x6FF), (0x750, 0x77F), (0xFE70, 0xFEFF)],
    "hindi": [(0x900, 0x97F), (0xA8E0, 0xA8FF)],
    "cyrillic": [(0x400, 0x52F)],
    "marks": [(0x300, 0x36F), (0x61, 0x65), (0x1AB0, 0x1AFF), (0x591, 0x5C7)],
    "symbols": [(0x2000, 0x2BFF)],
    "numbers": [(0x30, 0x39), (0x660, 0x669), (0x2150, 0x218B), (0xB2, 0xB3), (0x2460, 0x249B), (0x104A0, 0x104A9)],
    "ascii": [(0x20, 0x7E)],
    "control": [(0, 0x20), (0x7F, 0xA0)],
    "anything": [(0, 0xD7FF), (0xE000, 0x10FFFF)],
    "letters beyond": [(0x10000, 0x1FFFF), (0xA000, 0xABFF), (0x16A0, 0x1CFF)],
}
ODD = ["\u200d", "\ufe0f", "\u00a0", "\u3000", "\u2028", "\u2029", "\u0085", "\u200b", "\ufeff", "\u1680", "\u180e", "\u017f", "\u212a",
       "ß", "İ", "\u0130", "ﬁ", "Å", "\u0345", "\u0344", MARK, "Ġ", "Ċ", "<0x0A>", "\ufffd", "\0", "\x1a", "\u0e33", "\U00011938",
       "\U00011935\U00011930", "\u09c7\u09be", "\u1112\u1161\u11ab", "e\u0301", "\u0bc6\u0bbe", "\u0ddd", "ſ"]
EMOJI = ["😀", "👨‍👩‍👧‍👦", "🇰🇷", "👍🏽", "✈️", "❤️‍🔥", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "\u200d"]
ENDINGS = ["'s", "'S", "'ſ", "'t", "'T", "'re", "'RE", "'Ve", "'m", "'ll", "'Ll", "'LL", "'d", "'", "’s", "'l", "'K", "'\u212a"]
CODE = ["(", ")", "{", "}", ";", "\n", "    ", "\t", "==", "->", "std::", "if", "for", "return", "//", "/*", '"', "\\n", "0x1F", "_x1",
        "[i]", "<=", "#", "@", "`", "$", "%", "&&", "|", "~", "^"]
NAMES = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<s>", "</s>", "<unk>", "<mask>", "sum", "river", "<r>",
         "<both>", "[INST]", "[/INST]", "<bos>", "<start_of_turn>", "<end_of_turn>", "<|begin_of_text|>", "<|eot_id|>", "<｜User｜>",
         "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<|end|>", "<|", "|>", "<", ">", "<think", "<|im_"]
GAPS = [" ", " ", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", "", "", "    ", "     ", " \t ", "\u00a0", "\u3000"]
KINDS = list(RANGES) + ["english", "code", "gaps", "emoji", "odd", "bytes", "names", "mixture", "endings", "sentences"]


def word(rng, kind):
    first, last = rng.choice(RANGES[kind])
    return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 8)))


def text_of(rng, kind):
    if kind in RANGES:
        return "".join(word(rng, kind) + rng.choice(GAPS) for _ in range(rng.randint(1, 8)))
    if kind == "english":
        words = " ".join(SENTENCES[:3]).split()
        return " ".join(rng.choice(words) for _ in range(rng.randint(1, 15)))
    if kind == "sentences":
        sentence = rng.choice(SENTENCES)
        begin = rng.randint(0, len(sentence))
        return sentence[begin : begin + rng.randint(1, 80)]
    if kind == "code":
        return "".join(rng.choice(CODE) + rng.choice(["", " ", "x", "12"]) for _ in range(rng.randint(1, 15)))
    if kind == "gaps":
        return "".join(rng.choice([" ", "\n", "\r", "\t", " ", "a", "\u00a0", "1"]) * rng.randint(1, 5) for _ in range(rng.randint(0, 8)))
    if kind == "emoji":
        return "".join(rng.choice(EMOJI + [" ", "a"]) for _ in range(rng.randint(1, 10)))
    if kind == "odd":
        return "".join(rng.choice(ODD + [" ", "a", "1"]) for _ in range(rng.randint(1, 10)))
    if kind == "bytes":
        return bytes(rng.choice([rng.randrange(256), rng.randrange(0xC0, 0xF5), rng.randrange(0x80, 0xC0)])
                     for _ in range(rng.randint(1, 30))).decode("utf-8", "replace")
    if kind == "names":
        return "".join(rng.choice(NAMES + GAPS + ["a", "x1", "é", ".", "\u0301"]) for _ in range(rng.randint(1, 10)))
    if kind == "endings":
        return "".join(rng.choice(["it", "IT", "1", "é", " ", "한"]) + rng.choice(ENDINGS) for _ in range(rng.randint(1, 6)))
    return "".join(text_of(rng, rng.choice(KINDS[:-3])) + rng.choice(GAPS) for _ in range(rng.randint(2, 4)))  # mixture


def texts(count, seed):
    rng = random.Random(seed)
    fixed = ["", " ", "  ", "\n", "a", "\u0301", " a", "a ", MARK, MARK + "a", " " + MARK]
    return (fixed + [text_of(rng, KINDS[i % len(KINDS)]) for i in range(count)])[:count]


def id_lists(tokenizer, count, seed):
    rng = random.Random(seed)
    size = tokenizer.get_vocab_size()
    lists = []
    for i in range(count):
        low = 256 if i % 3 == 0 else size  # byte pieces are first where there are some
        lists.append([rng.randrange(min(low + 1, size)) for _ in range(rng.randint(0, 12))])
    return lists


def bytes_of_pieces():
    """The byte that each character of a byte-level vocabulary spells."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


def decoded(tokenizer, ids):
    """What the package makes of `ids`; but where it reads an added token of a byte-level vocabulary as bytes, although the
    model has no such piece, the token's own text."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    added = {i: t.content for i, t in tokenizer.get_added_tokens_decoder().items() if t.content not in vocabulary}
    if not isinstance(tokenizer.decoder, decoders.ByteLevel) or not any(i in added for i in ids):
        return tokenizer.decode(ids, skip_special_tokens=False)
    spelled, text = bytes_of_pieces(), b""
    for i in ids:
        piece = added.get(i) or tokenizer.id_to_token(i) or ""
        as_text = i in added or any(c not in spelled for c in piece)
        text += piece.encode() if as_text else bytes(spelled[c] for c in piece)
    return text.decode("utf-8", "replace")


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    some = [t for t in texts(240, 1) if len(t) < 60]
    (FOLDER / "texts.json").write_text(json.dumps(some, separators=(",", ":")) + "\n", encoding="utf-8")
    for name, data in families().items():
        tokenizer = Tokenizer.from_str(data)
        folder = FOLDER / name
        folder.mkdir(exist_ok=True)
        (folder / "tokenizer.json").write_text(data, encoding="utf-8")
        encoded = [tokenizer.encode(t, add_special_tokens=False).ids for t in some]
        texts_back = [decoded(tokenizer, ids) for ids in encoded]
        differing = [[i, back] for i, (t, back) in enumerate(zip(some, texts_back)) if back != t]
        drawn = [[ids, decoded(tokenizer, ids)] for ids in id_lists(tokenizer, 40, 2)]
        expected = {"ids": encoded, "decoded": differing, "drawn": drawn}
        (folder / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n", encoding="utf-8")
    print(sum(f.stat().st_size for f in FOLDER.rglob("*") if f.is_file()) // 1024, "KiB")


if __name__ == "__main__":
    main()
