#!/usr/bin/env bash
# Brings a plain Debian 12 or Ubuntu 24.04 machine to a built tree: missing apt packages, a virtual environment with the
# pinned LibTorch, CMake, ninja and TensorBoard, configure, build. Run again, it finds everything done and costs seconds.
#   scripts/setup.sh [-DGRPO_…=… …]
# From the environment: BUILD (folder, default build), TARGETS (default all), JOBS, CC, CXX, PYTHON (default python3);
# GPU=1 installs what LibTorch needs on a GPU, 3.5 GB, where set-up sees none (GPU=0: leaves it out where it sees one).
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
source scripts/pins.sh
say() { if [ -t 2 ]; then printf '\033[1msetup: %s\033[0m\n' "$*" >&2; else printf 'setup: %s\n' "$*" >&2; fi; }
fail() { printf 'error: [setup] %s\n' "$*" >&2; exit 1; }

# One set-up of this checkout at a time.
exec 9<.
if ! flock --nonblock 9; then
  say "waiting for another set-up of this folder to end"
  flock 9
fi

# --- apt ---
python=${PYTHON:-python3}
cxx=${CXX:-g++}
missing=()
for package in "${APT_PACKAGES[@]}"; do
  case "$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)" in
    *"install ok installed"*) ;;
    *)
      # A compiler or an interpreter that did not come from apt serves as well.
      case "$package" in
        g++) command -v "${cxx%% *}" >/dev/null && continue ;;
        python3) command -v "$python" >/dev/null && continue ;;
        python3-venv) "$python" -c 'import venv, ensurepip' 2>/dev/null && continue ;;
      esac
      missing+=("$package") ;;
  esac
done
if ((${#missing[@]})); then
  command -v apt-get >/dev/null ||
    fail "expected Debian or Ubuntu, found no apt-get; these packages are missing: ${missing[*]}"
  sudo=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null ||
      fail "these packages are missing, and there is no sudo to install them; as root: apt-get install ${missing[*]}"
    sudo=(sudo)
  fi
  say "installing with apt: ${missing[*]}"
  apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  if ! { "${apt[@]}" update && "${apt[@]}" install --yes --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    cat "$log" >&2
    fail "apt could not install ${missing[*]} (its words are above); is there a network?"
  fi
fi
command -v "${cxx%% *}" >/dev/null || fail "CXX: expected a C++ compiler, \"$cxx\" is not there"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  fail "expected Python 3.10 or later, got $("$python" --version 2>&1); name another one with PYTHON=…"

# --- the virtual environment ---
gpu=${GPU:-0}
if [ -z "${GPU:-}" ] && nvidia-smi -L >/dev/null 2>&1; then gpu=1; fi
case "$gpu" in 0 | 1) ;; *) fail "GPU: expected 0 or 1, got \"$gpu\"" ;; esac
stamp="torch $TORCH_VERSION cmake $CMAKE_VERSION ninja $NINJA_VERSION tensorboard $TENSORBOARD_VERSION"
had=$(cat .venv/grpo-pins 2>/dev/null || true)
if [ "$had" = "$stamp gpu" ]; then gpu=1; fi  # what is there may stay
if [ "$gpu" = 1 ]; then stamp+=" gpu"; fi
if [ "$had" != "$stamp" ] || ! .venv/bin/cmake --version >/dev/null 2>&1; then
  # One whose making was interrupted, or that a move of the checkout or of Python has broken, is made anew.
  if [ -e .venv ] && { [ -e .venv/grpo-unfinished ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1 ||
                       ! grep -qF "$PWD/.venv/" .venv/bin/pip; }; then
    say "removing .venv: it is half-made, or was made elsewhere"
    rm -rf .venv
  fi
  free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1e6) }')
  needed=$((gpu ? 9 : 5))
  if [ -e .venv ]; then needed=$((gpu ? 5 : 0)); fi
  if ((free < needed)); then
    fail "expected $needed GB of free disk for LibTorch and the build, found $free GB"
  fi
  say "installing into .venv: $stamp (a minute or two: the wheels of PyTorch are large)"
  mkdir -p .venv
  touch .venv/grpo-unfinished
  rm -f .venv/grpo-pins
  mkdir -p .venv/tmp  # wheels are unpacked here: /tmp may be small
  install=(--no-compile --disable-pip-version-check)
  if [ ! -t 2 ]; then install+=(--quiet); fi
  [ -x .venv/bin/pip ] || "$python" -m venv .venv
  pip_install() {
    PIP_USER=0 TMPDIR="$PWD/.venv/tmp" .venv/bin/python -m pip install "${install[@]}" "$@" >&2 ||
      fail "pip could not install $* (its words are above); is there a network?"
  }
  pip_install "cmake==$CMAKE_VERSION" "ninja==$NINJA_VERSION" "tensorboard==$TENSORBOARD_VERSION"
  if [ "$gpu" = 1 ]; then
    pip_install "torch==$TORCH_VERSION"
  else
    # Of what the wheel asks for, its CPU part loads the CUDA runtime and its profiler, and nothing else.
    pip_install --no-deps "torch==$TORCH_VERSION"
    toolkit=$(.venv/bin/python -c 'import importlib.metadata as m
print(next((r.partition(";")[0].partition("==")[2].strip() for r in m.requires("torch") if r.startswith("cuda-toolkit")), ""))')
    if [ -n "$toolkit" ]; then pip_install --no-warn-conflicts "cuda-toolkit[cudart,cupti]==$toolkit"; fi
  fi
  echo "$stamp" >.venv/grpo-pins
  rm -rf .venv/grpo-unfinished .venv/tmp
fi

# --- configure ---
build=${BUILD:-build}
mkdir -p "$build"
# The CUDA parts need the toolkit of the wheel's major version; otherwise, or without one, the CPU build.
cuda=OFF
why="no CUDA toolkit found"
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)
if [ -n "$nvcc" ]; then
  have=$("$nvcc" --version 2>/dev/null | sed -n 's/.*release \([0-9]*\)\..*/\1/p' || true)
  want=$(.venv/bin/python -c 'from importlib.metadata import version as v; print(v("nvidia-cuda-runtime").split(".")[0])' 2>/dev/null || echo none)
  if [ "$have" = "$want" ]; then cuda=ON; else why="CUDA toolkit ${have:-unknown} found, but LibTorch was built for CUDA $want"; fi
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
configured=$(printf '%s\n' "$PWD" "$stamp" "CXX=${CXX:-} CC=${CC:-}" "${arguments[@]}")
if [ ! -f "$build/build.ninja" ] || [ "$(cat "$build/grpo-arguments" 2>/dev/null)" != "$configured" ]; then
  if [ "$cuda" = ON ]; then say "configuring $build with CUDA"; else say "configuring $build for the CPU: $why"; fi
  fresh=()
  if [ -f "$build/CMakeCache.txt" ]; then fresh=(--fresh); fi
  rm -f "$build/grpo-arguments"
  .venv/bin/cmake "${fresh[@]}" -S . -B "$build" "${arguments[@]}" >"$build/configure.log" 2>&1 ||
    { cat "$build/configure.log" >&2; fail "CMake could not configure $build (its words are above)"; }
  printf '%s\n' "$configured" >"$build/grpo-arguments"
fi

# --- build: a compiler that reads LibTorch's headers takes up to 2 GB ---
memory=$(awk '/^MemAvailable/ { print int($2 / 2e6) }' /proc/meminfo)
cores=$(nproc)
jobs=${JOBS:-$((memory < 1 ? 1 : memory < cores ? memory : cores))}
read -ra targets <<<"${TARGETS:-all}"
.venv/bin/cmake --build "$build" --parallel "$jobs" --target "${targets[@]}"
