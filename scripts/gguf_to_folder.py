#!/usr/bin/env python3
"""Writes a GGUF file of a Llama model as a model folder of Hugging Face's form: weights, tokenizer, chat template.

    python3 scripts/gguf_to_folder.py FILE.gguf FOLDER [float32 | bfloat16]

Needs numpy only. Knows what SmolLM2's file holds (scripts/fetch_smollm2.sh): Llama with a byte-level vocabulary; F32,
Q8_0 and Q4_1. The weights are those that transformers reads from the same file, bit for bit; the token ids are the
model's own, whose vocabulary splits digits (transformers overlooks that in such a file).
"""
import json
import pathlib
import re
import struct
import sys

import numpy as np

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, ARRAY = 8, 9
# What a vocabulary of that kind does to a text before its pieces are looked up.
SPELL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
SPLITTERS = {"smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, SPELL]}}
CONTROL, OWN = 3, 4  # kinds of tokens: special ones, and those that somebody has added


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def scalar(self, form):
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def text(self):
        size = self.scalar("Q")
        self.at += size
        return bytes(self.data[self.at - size : self.at]).decode()

    def value(self, kind):
        if kind == TEXT:
            return self.text()
        if kind == ARRAY:
            kind, count = self.scalar("I"), self.scalar("Q")
            return [self.value(kind) for _ in range(count)]
        return self.scalar(SCALARS[kind])


def dequantized(data, kind, shape):
    """fp32. Blocks of 32 numbers share a scale, those of Q4_1 an offset too."""
    count = int(np.prod(shape))
    if kind == 0:
        values = np.frombuffer(data, "<f4", count)
    elif kind == 3:
        blocks = np.frombuffer(data, np.dtype([("scale", "<f2"), ("least", "<f2"), ("two", "u1", 16)]), count // 32)
        steps = np.concatenate([blocks["two"] & 15, blocks["two"] >> 4], axis=1).astype(np.float32)
        values = blocks["scale"].astype(np.float32)[:, None] * steps + blocks["least"].astype(np.float32)[:, None]
    elif kind == 8:
        blocks = np.frombuffer(data, np.dtype([("scale", "<f2"), ("steps", "i1", 32)]), count // 32)
        values = blocks["scale"].astype(np.float32)[:, None] * blocks["steps"].astype(np.float32)
    else:
        sys.exit(f"expected tensors of kind F32, Q4_1 or Q8_0, got kind {kind}")
    return values.reshape(shape)


def read_gguf(file):
    """Its fields, and its tensors by name."""
    reader = Reader(np.memmap(file, mode="r"))
    if bytes(reader.data[:4]) != b"GGUF":
        sys.exit(f"{file}: expected a GGUF file")
    reader.at = 4
    if (version := reader.scalar("I")) != 3:
        sys.exit(f"{file}: expected GGUF 3, got {version}")
    tensors, fields = reader.scalar("Q"), reader.scalar("Q")
    known = {}
    for _ in range(fields):
        key = reader.text()
        known[key] = reader.value(reader.scalar("I"))
    places = []
    for _ in range(tensors):
        name = reader.text()
        shape = [reader.scalar("Q") for _ in range(reader.scalar("I"))][::-1]
        places.append((name, shape, reader.scalar("I"), reader.scalar("Q")))
    step = known.get("general.alignment", 32)
    begin = -(-reader.at // step) * step
    return known, {name: dequantized(reader.data[begin + at :], kind, shape) for name, shape, kind, at in places}


def halves(weight, heads):
    """GGUF turns neighbouring rows of a head together; Hugging Face's form its two halves."""
    return weight.reshape(heads, weight.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def named(fields, tensors):
    """The weights under Hugging Face's names."""
    outer = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    inner = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
             "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    heads = {"attn_q": fields["llama.attention.head_count"], "attn_k": fields["llama.attention.head_count_kv"]}
    result = {}
    for name, weight in tensors.items():
        found = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.weight", name)
        layer, role = found.groups() if found else (None, None)
        own = (inner if layer else outer).get(role)
        if own is None:
            sys.exit(f"{name}: expected tensors of Llama's only, as token_embd.weight or blk.0.attn_q.weight")
        if role in heads:
            weight = halves(weight, heads[role])
        result[(f"model.layers.{layer}.{own}" if layer else own) + ".weight"] = weight
    return result


def save_safetensors(file, tensors, dtype):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    size = {"float32": 4, "bfloat16": 2}[dtype]
    for name, tensor in sorted(tensors.items()):
        end = at + tensor.size * size
        header[name] = {"dtype": {"float32": "F32", "bfloat16": "BF16"}[dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(file, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, tensor in sorted(tensors.items()):
            tensor = np.ascontiguousarray(tensor, "<f4")
            if dtype == "bfloat16":  # to the nearest, ties to even
                bits = tensor.view("<u4")
                tensor = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2")
            out.write(tensor.tobytes())


def tokenizer_of(fields):
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    splitter = fields["tokenizer.ggml.pre"]
    if fields["tokenizer.ggml.model"] != "gpt2" or splitter not in SPLITTERS:
        sys.exit(f"expected a byte-level vocabulary that splits as {', '.join(SPLITTERS)} does, got {splitter}")
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [{"id": i, "content": tokens[i], **flags, "special": kind == CONTROL}
             for i, kind in enumerate(kinds) if kind in (CONTROL, OWN)]
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "vocab": {token: i for i, token in enumerate(tokens)},
             "merges": [merge.split(" ") for merge in fields["tokenizer.ggml.merges"]]}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": SPLITTERS[splitter], "post_processor": None, "decoder": SPELL, "model": model}


def main():
    file, folder, dtype = sys.argv[1], pathlib.Path(sys.argv[2]), (sys.argv[3:] or ["float32"])[0]
    fields, tensors = read_gguf(file)
    if fields["general.architecture"] != "llama":
        sys.exit(f"expected a Llama model, got {fields['general.architecture']}")
    of = lambda key: fields["llama." + key]
    weights = named(fields, tensors)
    tokens = fields["tokenizer.ggml.tokens"]
    name_of = lambda role: tokens[fields[f"tokenizer.ggml.{role}_token_id"]]
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "torch_dtype": dtype,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"], "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "hidden_size": of("embedding_length"), "intermediate_size": of("feed_forward_length"),
        "max_position_embeddings": of("context_length"), "num_attention_heads": of("attention.head_count"),
        "num_hidden_layers": of("block_count"), "num_key_value_heads": of("attention.head_count_kv"),
        "rms_norm_eps": of("attention.layer_norm_rms_epsilon"), "rope_theta": of("rope.freq_base"),
        "tie_word_embeddings": "lm_head.weight" not in weights, "vocab_size": len(tokens),
    }
    # A turn ends with the file's own end, a text with <|endoftext|>.
    ends = [fields["tokenizer.ggml.eos_token_id"], tokens.index("<|endoftext|>")]
    generation = {"bos_token_id": config["bos_token_id"], "eos_token_id": ends, "pad_token_id": ends[0]}
    special = {f"{name}_token": name_of(role) for name, role in
               {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}.items()}
    folder.mkdir(parents=True)
    save_safetensors(folder / "model.safetensors", weights, dtype)
    write = lambda name, text: (folder / name).write_text(text, encoding="utf-8")
    write("config.json", json.dumps(config, indent=2) + "\n")
    write("generation_config.json", json.dumps(generation, indent=2) + "\n")
    write("tokenizer.json", json.dumps(tokenizer_of(fields), ensure_ascii=False, separators=(",", ":")))
    write("tokenizer_config.json", json.dumps({**special, "model_max_length": of("context_length")}, indent=2) + "\n")
    write("chat_template.jinja", fields["tokenizer.chat_template"])


if __name__ == "__main__":
    main()
