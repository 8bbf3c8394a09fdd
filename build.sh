#!/usr/bin/env bash
# Sets everything up in .venv and runs one verb. Idempotent; quick when nothing has changed.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VENV=$ROOT/.venv
CPU_DISK_MIB=3000
CUDA_DISK_MIB=12000
TRITON_WHEEL=nvidia-pytriton==0.7.0 # carries tritonserver 2.51.0; only its binaries are used, so without its dependencies
# The newest whose perf_analyzer runs with the C library of Debian 12, and the library of CUDA that it asks for.
PERF_ANALYZER_WHEELS=(tritonclient==2.51.0 nvidia-cuda-runtime-cu12==12.9.79)

usage() {
  cat <<'USAGE'
usage: ./build.sh VERB [options]

  demo [--out DIR]     install, start a Triton server, make images through it, stop it
  serve [--http-port P] [--grpc-port Q] [--metrics-port R] [--openai-port S] [--model FOLDER_OR_HUB_ID]
                       install and run a Triton server, OpenAI's images API and a web page on loopback until Ctrl-C
  bench [--quick]      run every measurement and write one report with plots into perf/results (25 minutes; 3)
  analyzer [--quick]   install NVIDIA's perf_analyzer too and measure a server with it (perf/README.md)
  image --base IMAGE | --stand-in [--tag TAG] [--torch REQUIREMENT]
                       build the container image with docker, podman or buildah (deploy/Dockerfile)
  test [pytest args]   install and run the tests
  check                install and run ruff and mypy
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
    say "Installing the Triton server ($TRITON_WHEEL)"
    pip_install --no-deps "$TRITON_WHEEL" -e "$ROOT" -e "$ROOT/client"
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

run() { PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH} "$VENV/bin/python" "$@"; }

check() {
  cd "$ROOT"
  run -m ruff check .
  run -m ruff format --check .
  run -m mypy --exclude "/1/" imagegen client/imagegen_client checkpoint deploy perf tests
  local model
  for model in model_repository/{image_preprocess,diffusion,image_postprocess,image_generation_stream,image_generation_cancel} \
    perf/static_batching/static_batching perf/peers/triton_repository/dynamic_batching; do # each has a model.py: one at a time
    run -m mypy "$model/1"
  done
}

verb=${1:-}
[ $# = 0 ] || shift
case $verb in
  demo | serve)
    setup
    export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
    exec "$VENV/bin/python" -m "imagegen.launch.$verb" "$@"
    ;;
  analyzer)
    setup
    need_perf_analyzer || fail "perf_analyzer could not be installed"
    cd "$ROOT"
    run -m perf.analyzer "$@"
    ;;
  bench)
    setup
    need_perf_analyzer || say "Without perf_analyzer its part of the report fails."
    cd "$ROOT"
    run -m perf.bench "$@"
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
    pip_install pip-tools
    "$VENV/bin/python" -m piptools compile -q --extra dev --strip-extras --no-emit-index-url --no-emit-find-links \
      --no-emit-trusted-host --unsafe-package torch --unsafe-package setuptools --no-header --annotation-style=line \
      -o "$ROOT/requirements.lock" "$ROOT/pyproject.toml"
    # The extras name the project itself, which pip-tools then writes down with this machine's folder.
    sed -i "/^imagegen-triton @/d; s#$ROOT/##g" "$ROOT/requirements.lock"
    ;;
  *)
    usage >&2
    [ "$verb" = help ] || exit 2
    ;;
esac
