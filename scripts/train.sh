#!/usr/bin/env bash
# Set-up and the main job. Without a name it is R1-Zero: a base model made from scratch, then reinforcement learning on it;
# `r1` is the whole recipe. Further arguments go to the driver:
#   scripts/train.sh --set seed=2 --out runs/second
#   scripts/train.sh r1 --resume
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
recipe=r1_zero
case "${1:-}" in
  r1 | r1_zero) recipe=$1; shift ;;
  -* | "") ;;
  *) printf 'error: [train] expected r1, r1_zero or an option, got "%s"\n' "$1" >&2; exit 1 ;;
esac
BUILD=build TARGETS="$recipe evaluate" scripts/setup.sh
exec "build/bin/$recipe" --config "configs/${recipe}_tiny.json" "$@"
