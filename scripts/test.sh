#!/usr/bin/env bash
# Set-up and every test. Further arguments go to ctest:  scripts/test.sh -R reward
#   --sanitize   instead runs the rooms that are free of torch under AddressSanitizer + UBSan and under ThreadSanitizer
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = --sanitize ]; then
  shift
  for sanitizer in address,undefined thread; do
    BUILD=build-${sanitizer%%,*} scripts/setup.sh -DGRPO_TORCH=OFF -DGRPO_SANITIZE=$sanitizer
    .venv/bin/ctest --test-dir "build-${sanitizer%%,*}" --output-on-failure "$@"
  done
  exit
fi
BUILD=build scripts/setup.sh
exec .venv/bin/ctest --test-dir build --output-on-failure --no-tests=error "$@"
