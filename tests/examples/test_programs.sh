#!/usr/bin/env bash
# What every program answers, whatever it is for: --help, and an option that there is none of. (--version comes from the
# same place: test_config.)
#   test_programs.sh PROGRAM…
set -euo pipefail
failures=0
fail() { printf '%s: %s\n' "$(basename "$program")" "$1" && failures=$((failures + 1)); }
for program in "$@"; do
  [[ "$("$program" --help)" == options:* ]] || fail "--help does not begin with the options"
  if said=$("$program" --verson 2>&1); then fail "--verson is taken"; fi
  [[ "$said" == *'unknown key "verson"; did you mean "version"?'* ]] || fail "--verson: $said"
done
[ "$failures" = 0 ]
