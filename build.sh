#!/usr/bin/env bash
# Sets everything up in .venv and runs one verb. Idempotent; quick when nothing has changed.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VENV=$ROOT/.venv
CPU_DISK_MIB=3000
CUDA_DISK_MIB=12000
PIP_TOOLS=pip-tools==7.6.2 # writes the lock
# The newest whose perf_analyzer runs with the C library of Debian 12, and the library of CUDA that it asks for.
PERF_ANALYZER_WHEELS=(tritonclient==2.51.0 nvidia-cuda-runtime-cu12==12.9.79)

usage() {
  cat <<'USAGE'
usage: ./build.sh VERB [options]

  demo [--out DIR]     install, start a Triton server, make images through it, stop it
  serve [--http-port P] [--grpc-port Q] [--metrics-port R] [--openai-port S] [--model FOLDER_OR_HUB_ID]
        [--lora-modules NAME=PATH_OR_HUB_ID ...] [--lora-folder DIR]
        [--controlnets TYPE=PATH_OR_HUB_ID ...]
                       install and run a Triton server, OpenAI's images API and a web page on loopback until Ctrl-C
  bench [options]      measure, as perf/README.md says
  perf_analyzer        install NVIDIA's load generator in .perf_analyzer
  image --base IMAGE | --stand-in [--tag TAG] [--torch REQUIREMENT]
                       build the container image with docker, podman or buildah (deploy/Dockerfile)
  test [pytest args]   install and run the tests
  check                install and run ruff, mypy, the layers' check and the documentation's
  lock                 write requirements.lock anew from pyproject.toml
USAGE
}

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() {
  printf 'build.sh: %s\n' "$*" >&2
  exit 1
}

# Installs Debian packages where we may, else says what to install.
need_packages() {
  command -v apt-get >/dev/null || fail "missing: $*. Install what your system calls these packages."
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || fail "missing: $*. Run: sudo apt-get install $*"
    as_root=(sudo -n)
  fi
  say "Installing system packages: $*"
  "${as_root[@]}" apt-get update -q=2 >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q=2 --no-install-recommends "$@" >&2 ||
    fail "apt-get could not install: $*"
}

check_python() {
  PYTHON=${PYTHON:-python3}
  command -v "$PYTHON" >/dev/null || need_packages python3
  local version
  version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  case $version in
    3.11 | 3.12) ;;
    *) fail "Python $version does not fit; 3.11 and 3.12 do. Point PYTHON at one: PYTHON=python3.11 ./build.sh …" ;;
  esac
  local missing=()
  "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || missing+=("python$version-venv")
  # Triton's python backend embeds Python, so it needs the shared library.
  has_shared_python || missing+=("libpython$version")
  command -v curl >/dev/null || missing+=(curl)
  [ ${#missing[@]} = 0 ] || need_packages "${missing[@]}"
  has_shared_python || fail "$("$PYTHON" -c 'import sys; print(sys.executable)') has no shared libpython$version; use one that has"
}

has_shared_python() {
  "$PYTHON" - 2>/dev/null <<'PY'
import ctypes, os, sysconfig
name = sysconfig.get_config_var("INSTSONAME")
folder = sysconfig.get_config_var("LIBDIR")
ctypes.CDLL(os.path.join(folder, name) if os.path.exists(os.path.join(folder, name)) else name)
PY
}

# For the tests of the web page; where it cannot be installed, they are skipped.
need_browser() {
  command -v chromium >/dev/null && command -v chromedriver >/dev/null && return
  (need_packages chromium chromium-driver fonts-dejavu-core) || say "Without Chromium the web page's tests are skipped."
}

# For the test of several servers behind a load balancer; where it cannot be installed, it is skipped.
need_nginx() {
  { command -v nginx || [ -x /usr/sbin/nginx ]; } >/dev/null && return
  (need_packages nginx-light) || say "Without nginx the load balancer's test is skipped."
}

has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; }

install_torch() {
  local version
  version=$(sed -n 's/^ *"torch==\([^"]*\)".*/\1/p' "$ROOT/pyproject.toml")
  if has_gpu; then
    say "Installing PyTorch $version with CUDA"
    pip_install "torch==$version"
  elif no_cpu_build "$version"; then
    say "No CPU build of PyTorch in your package index: taking the default one, with several GB of CUDA packages."
    say "To avoid that, set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels."
    need_disk "$CUDA_DISK_MIB"
    pip_install "torch==$version"
  else
    say "Installing PyTorch $version for the CPU"
    pip_install "torch==$version+cpu"
  fi
}

# Whether the index has none; any other trouble (network, disk) is left for the installation to report.
no_cpu_build() {
  "$VENV/bin/python" -m pip --disable-pip-version-check install -q --dry-run --no-deps "torch==$1+cpu" 2>&1 |
    grep -q 'No matching distribution'
}

need_disk() {
  local free_mib
  free_mib=$(($(df -Pk "$ROOT" | awk 'NR == 2 { print $4 }') / 1024))
  [ "$free_mib" -ge "$1" ] || fail "$free_mib MiB free on the disk; $1 MiB are needed"
}

pip_install() {
  local quiet=(-q)
  [ -t 2 ] && quiet=() # progress bars on a terminal
  "$VENV/bin/python" -m pip --disable-pip-version-check install "${quiet[@]}" "$@" >&2
}

setup() {
  check_python
  local stamp
  stamp=$({
    cat "$ROOT/requirements.lock" "$ROOT/pyproject.toml" "$ROOT/client/pyproject.toml" "$ROOT/build.sh"
    "$PYTHON" -VV
    has_gpu && echo gpu
    echo "$ROOT"
  } | sha256sum)
  if [ "$stamp" != "$(cat "$VENV/.installed" 2>/dev/null)" ]; then
    if has_gpu; then need_disk "$CUDA_DISK_MIB"; else need_disk "$CPU_DISK_MIB"; fi
    say "Making the Python environment .venv ($("$PYTHON" -V))"
    rm -f "$VENV/.installed"
    "$PYTHON" -m venv "$VENV"
    install_torch
    say "Installing the Python packages of requirements.lock"
    pip_install -r "$ROOT/requirements.lock"
    pip_install --no-deps -e "$ROOT" -e "$ROOT/client"
    echo "$stamp" >"$VENV/.installed"
  fi
}

# NVIDIA's load generator, beside .venv: that has a newer tritonclient. The server's wheel has the libb64 that it needs.
need_perf_analyzer() {
  local folder=$ROOT/.perf_analyzer
  [ "${PERF_ANALYZER_WHEELS[*]}" != "$(cat "$folder/.installed" 2>/dev/null)" ] || return 0
  say "Installing perf_analyzer in .perf_analyzer"
  rm -rf "$folder"
  pip_install --no-deps --target "$folder" "${PERF_ANALYZER_WHEELS[@]}" || return 1
  mkdir -p "$folder/lib" &&
    cp "$VENV"/lib/python3*/site-packages/nvidia_pytriton.libs/libb64-*.so.0d "$folder/lib/libb64.so.0d" || return 1
  cat >"$folder/perf_analyzer" <<'SH'
#!/bin/sh
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
LD_LIBRARY_PATH=$here/nvidia/cuda_runtime/lib:$here/lib exec "$here/bin/perf_analyzer" "$@"
SH
  chmod +x "$folder/perf_analyzer" && echo "${PERF_ANALYZER_WHEELS[*]}" >"$folder/.installed"
}

need_image_tools() {
  local missing=() tool
  for tool in buildah podman runc debootstrap; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  [ ${#missing[@]} = 0 ] || need_packages "${missing[@]}"
}

check() {
  cd "$ROOT"
  "$VENV/bin/ruff" check .
  "$VENV/bin/ruff" format --check .
  # Triton wants each model's file to be called model.py; mypy takes a module's name once in a run.
  local models=$VENV/models file
  rm -rf "$models" && mkdir "$models"
  for file in model_repository/*/1/model.py perf/baselines/*/*/1/model.py; do
    ln -s "$ROOT/$file" "$models/$(basename "${file%/1/model.py}").py"
  done
  "$VENV/bin/mypy" --exclude "/1/" imagegen client checkpoint docs perf tests "$models"
  "$VENV/bin/lint-imports"
  NO_MKDOCS_2_WARNING=1 "$VENV/bin/mkdocs" build --strict --quiet
}

verb=${1:-}
[ $# = 0 ] || shift
case $verb in
  demo | serve)
    setup
    exec "$VENV/bin/imagegen" "$verb" "$@"
    ;;
  bench)
    setup
    cd "$ROOT"
    exec "$VENV/bin/python" -m perf "$@"
    ;;
  perf_analyzer)
    setup
    need_perf_analyzer || fail "perf_analyzer could not be installed"
    ;;
  image)
    if [[ " $* " == *" --stand-in "* ]]; then # makes its base from the server in .venv
      setup
      need_image_tools
    fi
    exec "$ROOT/deploy/build_image.sh" "$@"
    ;;
  test)
    setup
    need_browser
    need_nginx
    need_perf_analyzer || say "Without perf_analyzer its test is skipped."
    cd "$ROOT"
    # Two at a time: servers take a while to start. A file's tests stay together, for they share servers.
    exec "$VENV/bin/python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
    ;;
  check)
    setup
    check
    ;;
  lock)
    setup
    pip_install "$PIP_TOOLS"
    # The client, of which this release is on no index, and what its own pins allow.
    wheels=$(mktemp -d)
    trap 'rm -rf "$wheels"' EXIT
    "$VENV/bin/python" -m pip --disable-pip-version-check wheel -q --no-deps --wheel-dir "$wheels" "$ROOT/client"
    "$VENV/bin/python" -m piptools compile -q --extra dev --strip-extras --no-emit-index-url --no-emit-find-links \
      --no-emit-trusted-host --unsafe-package torch --unsafe-package setuptools --no-header --annotation-style=line \
      --find-links "$wheels" -o "$ROOT/requirements.lock" "$ROOT/pyproject.toml"
    # Both distributions of this repository are installed from it. The extras name the project itself with its folder.
    lock=$(sed '/^imagegen-/d' "$ROOT/requirements.lock")
    printf '%s\n' "${lock//"$ROOT/"/}" >"$ROOT/requirements.lock"
    ;;
  *)
    usage >&2
    [ "$verb" = help ] || exit 2
    ;;
esac
