#!/usr/bin/env bash
# Set-up and the main job. Without a name it is R1-Zero: a base model made from scratch, then reinforcement learning on
# it; `search` is the same on problems where longer answers pay; `r1` is the whole recipe; `smollm2` is R1-Zero on a
# pretrained model, which is fetched. Further arguments go to the driver:
#   scripts/train.sh --set seed=2 --out runs/second
#   scripts/train.sh r1 --resume
#   scripts/train.sh smollm2 --set steps=50
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
job=r1_zero
case "${1:-}" in
  r1 | r1_zero | search | smollm2) job=$1; shift ;;
  -* | "") ;;
  *) printf 'error: [train] expected r1, r1_zero, search, smollm2 or an option, got "%s"\n' "$1" >&2; exit 1 ;;
esac
case "$job" in
  r1) driver=r1 file=configs/r1_tiny.json out=runs/r1 ;;
  r1_zero) driver=r1_zero file=configs/r1_zero_tiny.json out=runs/zero ;;
  search) driver=r1_zero file=configs/r1_zero_search.json out=runs/search ;;
  smollm2) driver=r1_zero file=configs/smollm2_sums.json out=runs/smollm2 ;;
esac
# A run that goes on knows its own configuration.
resumes=
given_out=
previous=
for word in "$@"; do
  case "$word" in
    --resume | --resume=true | --resume[-_]from*) resumes=yes ;;
    --out=*) out=${word#--out=} given_out=yes ;;
  esac
  [ "$previous" = --out ] && out=$word given_out=yes
  previous=$word
done
config=(--config "$file")
if [ -n "$resumes" ] && [ -e "$out/config.json" ]; then
  config=()
  [ -n "$given_out" ] || config=(--out "$out")
  job=resumed
fi
BUILD=build TARGETS=examples/all scripts/setup.sh  # the tools as well
# The model folder of the config; one that its user names is there already.
if [ "$job" = smollm2 ] && [[ " $* " != *policy.from* ]]; then scripts/fetch_smollm2.sh; fi
exec "build/bin/$driver" "${config[@]}" "$@"
