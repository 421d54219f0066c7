#!/usr/bin/env bash
# Makes .peer-venv: TRL, transformers and PEFT for fixtures and for the speed comparison. Nothing that trains needs it.
# Torch is taken from the project's own .venv, so that both sides run on the same build of it.
set -euo pipefail
cd "$(dirname "$0")/.."

source scripts/pins.sh
made_of="trl==$TRL_VERSION transformers==$TRANSFORMERS_VERSION"
made_of+=" accelerate==${ACCELERATE_VERSION:-1.15.0} datasets==${DATASETS_VERSION:-5.2.0} peft==$PEFT_VERSION"
if [[ -f .peer-venv/made_of && "$(<.peer-venv/made_of)" == "$made_of" ]]; then exit 0; fi

# Python's torch loads the CUDA libraries, with a GPU or without.
if ! .venv/bin/python -c "import torch" 2>/dev/null; then GPU=1 TARGETS=grpo_base scripts/setup.sh; fi

echo "setup_peer.sh: making .peer-venv with $made_of"
rm -rf .peer-venv
.venv/bin/python -m venv .peer-venv
own=$(.venv/bin/python -c "import sysconfig; print(sysconfig.get_paths()['purelib'])")
peer=$(.peer-venv/bin/python -c "import sysconfig; print(sysconfig.get_paths()['purelib'])")
echo "$own" > "$peer/torch_of_venv.pth"
# shellcheck disable=SC2086
.peer-venv/bin/pip install --quiet --disable-pip-version-check $made_of
.peer-venv/bin/python -c "import torch, trl; from trl import GRPOTrainer"
echo "$made_of" > .peer-venv/made_of
