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
# A run that goes on knows its own configuration.
out=runs/zero resumes=
[ "$recipe" = r1 ] && out=runs/r1
previous=
for word in "$@"; do
  case "$word" in
    --resume | --resume=true | --resume[-_]from*) resumes=yes ;;
    --out=*) out=${word#--out=} ;;
  esac
  [ "$previous" = --out ] && out=$word
  previous=$word
done
config=(--config "configs/${recipe}_tiny.json")
if [ -n "$resumes" ] && [ -e "$out/config.json" ]; then config=(); fi
BUILD=build TARGETS="$recipe evaluate" scripts/setup.sh
exec "build/bin/$recipe" "${config[@]}" "$@"
