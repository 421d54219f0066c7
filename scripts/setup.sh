#!/usr/bin/env bash
# Brings a plain Debian 12 or Ubuntu 24.04 machine to a built tree: missing apt packages, a virtual environment with the
# pinned LibTorch, CMake and ninja, configure, build. Run again, it finds everything done and costs seconds.
#   scripts/setup.sh [-DGRPO_…=… …]     BUILD=folder (default build), JOBS=n
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/pins.sh
say() { printf '\033[1m%s\033[0m\n' "setup: $*" >&2; }

missing=()
for package in "${APT_PACKAGES[@]}"; do
  case "$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)" in
    *"install ok installed"*) ;;
    *)
      # A compiler or an interpreter that did not come from apt serves as well.
      case "$package" in
        g++ | git | python3) command -v "$package" >/dev/null && continue ;;
        python3-venv) python3 -c 'import venv, ensurepip' 2>/dev/null && continue ;;
      esac
      missing+=("$package") ;;
  esac
done
if ((${#missing[@]})); then
  say "installing with apt: ${missing[*]}"
  sudo=()
  if [ "$(id -u)" != 0 ]; then sudo=(sudo); fi
  "${sudo[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

stamp="torch $TORCH_VERSION cmake $CMAKE_VERSION ninja $NINJA_VERSION"
if [ "$(cat .venv/grpo-pins 2>/dev/null)" != "$stamp" ]; then
  say "installing into .venv: $stamp (a few minutes: the wheel of PyTorch is large)"
  [ -x .venv/bin/python ] || python3 -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    "torch==$TORCH_VERSION" "cmake==$CMAKE_VERSION" "ninja==$NINJA_VERSION"
  echo "$stamp" >.venv/grpo-pins
fi

build=${BUILD:-build}
# The CUDA parts need the toolkit of the wheel's major version; otherwise, or without one, the CPU build.
cuda=OFF
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)
if [ -n "$nvcc" ]; then
  have=$("$nvcc" --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
  want=$(.venv/bin/python -c 'from importlib.metadata import version as v; print(v("nvidia-cuda-runtime").split(".")[0])' 2>/dev/null || echo none)
  if [ "$have" = "$want" ]; then cuda=ON; else say "CUDA toolkit $have found, but LibTorch was built for CUDA $want: building for the CPU"; fi
fi
arguments=(-G Ninja "-DCMAKE_MAKE_PROGRAM=$PWD/.venv/bin/ninja" "-DGRPO_CUDA=$cuda")
if [ "$cuda" = ON ]; then
  if nvidia-smi -L >/dev/null 2>&1; then architecture=native; else architecture=90; fi
  arguments+=("-DCMAKE_CUDA_COMPILER=$nvcc" "-DCMAKE_CUDA_ARCHITECTURES=$architecture")
fi
if command -v ccache >/dev/null; then
  arguments+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_CUDA_COMPILER_LAUNCHER=ccache)
  export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
fi
arguments+=("$@")
configured="$(printf '%s\n' "${arguments[@]}")"
if [ ! -f "$build/build.ninja" ] || [ "$(cat "$build/grpo-arguments" 2>/dev/null)" != "$configured" ]; then
  say "configuring $build (CUDA $cuda)"
  .venv/bin/cmake -S . -B "$build" "${arguments[@]}" >"/tmp/grpo-configure.$$" || { cat "/tmp/grpo-configure.$$"; exit 1; }
  rm -f "/tmp/grpo-configure.$$"
  printf '%s' "$configured" >"$build/grpo-arguments"
fi
.venv/bin/cmake --build "$build" --parallel "${JOBS:-$(nproc)}"
