#!/usr/bin/env bash
# What every program answers, whatever it is for: --help, --version, and an option that there is none of.
#   test_programs.sh VERSION PROGRAM…
set -euo pipefail
version=$1
shift
failures=0
fail() { printf '%s: %s\n' "$(basename "$program")" "$1" && failures=$((failures + 1)); }
for program in "$@"; do
  [[ "$("$program" --help)" == options:* ]] || fail "--help does not begin with the options"
  [ "$("$program" --version)" = "grpo.cpp $(basename "$program") $version" ] || fail "--version is another"
  if said=$("$program" --verson 2>&1); then fail "--verson is taken"; fi
  [[ "$said" == *'unknown key "verson"; did you mean "version"?'* ]] || fail "--verson: $said"
done
[ "$failures" = 0 ]
