#!/usr/bin/env bash
# Set-up and the main job: a base model made from scratch, then R1-Zero on it. Further arguments go to the driver:
#   scripts/train.sh --set seed=2 --out runs/second
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
BUILD=build TARGETS="r1_zero evaluate" scripts/setup.sh
exec build/bin/r1_zero --config configs/r1_zero_tiny.json "$@"
