#!/usr/bin/env bash
# Set-up and every test. Further arguments go to ctest:  scripts/test.sh -R reward
#   --sanitize   instead runs the rooms that are free of torch under AddressSanitizer + UBSan and under ThreadSanitizer
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
if [ "${1:-}" = --sanitize ]; then
  shift
  # Sanitizers reserve fixed addresses; a kernel that randomises widely puts others there ("unexpected memory mapping").
  # The build too runs under setarch, since ctest's list comes from running the test programs.
  fixed=(setarch "$(uname -m)" --addr-no-randomize)
  "${fixed[@]}" true 2>/dev/null || fixed=()
  # Each file by itself here: it must include what it uses.
  for sanitizer in address,undefined thread; do
    folder=build-${sanitizer%%,*}
    BUILD=$folder "${fixed[@]}" scripts/setup.sh -DGRPO_TORCH=OFF -DGRPO_CUDA=OFF -DGRPO_UNITY=OFF \
      -DGRPO_SANITIZE=$sanitizer
    "${fixed[@]}" .venv/bin/ctest --test-dir "$folder" --parallel "$(nproc)" --output-on-failure --no-tests=error "$@"
  done
  exit
fi
rooms=(kernels $(ls src))
BUILD=build TARGETS="${rooms[*]/#/grpo_}" scripts/setup.sh  # the rooms by themselves: none needs a test or a program
BUILD=build TARGETS=all scripts/setup.sh
exec .venv/bin/ctest --test-dir build --parallel "$(($(nproc) + 1))" --output-on-failure --no-tests=error "$@"
