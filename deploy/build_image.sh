#!/usr/bin/env bash
# `./build.sh image`: builds deploy/Dockerfile with docker, podman or buildah, whichever works here.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$ROOT/imagegen/__init__.py")
torch=$(sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' "$ROOT/pyproject.toml")
tag=imagegen-triton:$version
base=
stand_in=

usage() {
  cat <<'USAGE'
usage: ./build.sh image --base IMAGE [--tag TAG] [--torch REQUIREMENT]
       ./build.sh image --stand-in [--tag TAG]

  --tag      name of the image; default imagegen-triton:VERSION
  --base     NVIDIA's image, with the registry that its catalogue (NGC) or your mirror has it in:
             …/nvidia/tritonserver:26.09-py3, or another with Triton and its python backend
  --torch    default: the one of pyproject.toml, which from PyPI is the CUDA build; torch==VERSION+cpu for the CPU's
  --stand-in base and packages without any registry of images: from Debian and PyPI, then a smoke test of the container.
             Root on Debian with buildah and podman; the result is for tests only

pip's variables PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS and PIP_NO_INDEX are passed on.
USAGE
}

while [ $# -gt 0 ]; do
  case $1 in
    --tag) tag=$2 && shift 2 ;;
    --base) base=$2 && shift 2 ;;
    --torch) torch=$2 && shift 2 ;;
    --stand-in) stand_in=yes && shift ;;
    *) usage >&2 && exit 2 ;;
  esac
done

# The wheels, built by a pip of its own: pip alone is needed, and no installed project.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
rm -f "$ROOT/dist/"imagegen_{client,triton}-"$version"-py3-none-any.whl
"$work/venv/bin/python" -m pip --disable-pip-version-check wheel -q --no-deps --wheel-dir "$ROOT/dist" \
  "$ROOT/client" "$ROOT" >&2

# Arguments that every engine takes. The commit's time, so that a commit always gives the same labels.
arguments=(
  --file "$ROOT/deploy/Dockerfile" --tag "$tag" --build-arg "TORCH=$torch" --build-arg "VERSION=$version"
  --build-arg "REVISION=$(git -C "$ROOT" describe --always --dirty --abbrev=40 2>/dev/null || echo unknown)"
  --build-arg "CREATED=$(git -C "$ROOT" log -1 --format=%cI 2>/dev/null || date -u +%Y-%m-%dT%H:%M:%SZ)"
)

if [ -n "$stand_in" ]; then
  python=$ROOT/.venv/bin/python
  base=localhost/imagegen-stand-in-base:24.10
  buildah inspect "$base" >/dev/null 2>&1 || "$ROOT/deploy/stand_in_base.sh" "$base" "$python"
  # Packages come from a folder, so that the build itself needs no network.
  wheels=$work/wheels
  mkdir "$wheels"
  "$python" -m pip --disable-pip-version-check download -q --dest "$wheels" --only-binary=:all: \
    -c "$ROOT/requirements.lock" "${torch%+cpu}+cpu" "$ROOT/dist/imagegen_client-$version-py3-none-any.whl" \
    "$ROOT/dist/imagegen_triton-$version-py3-none-any.whl[s3,openai]" >&2
  # Without the cache: every line is to run.
  buildah build --format docker --isolation chroot --layers --no-cache "${arguments[@]}" --build-arg "BASE=$base" \
    --build-arg "TORCH=${torch%+cpu}+cpu" --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels \
    --volume "$wheels:/wheels:ro" "$ROOT"
  # What works inside of a sandbox too: no systemd, no higher limits than our own.
  limit=$(ulimit -n)
  cat >"$work/containers.conf" <<CONF
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
[containers]
default_ulimits = ["nofile=$limit:$limit", "nproc=$limit:$limit"]
CONF
  CONTAINERS_CONF=$work/containers.conf "$python" -m tests.container.smoke_test --engine podman "$tag"
  exit
fi

if [ -z "$base" ]; then
  echo "image: say with --base where NVIDIA's Triton image is" >&2
  usage >&2
  exit 2
fi
arguments+=(--build-arg "BASE=$base")
for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_NO_INDEX; do
  [ -z "${!name:-}" ] || arguments+=(--build-arg "$name=${!name}")
done
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
  DOCKER_BUILDKIT=1 docker build "${arguments[@]}" "$ROOT"
elif command -v podman >/dev/null; then
  podman build --format docker --layers "${arguments[@]}" "$ROOT" # the other format knows no health check
elif command -v buildah >/dev/null; then
  buildah build --format docker --layers "${arguments[@]}" "$ROOT"
else
  echo "image: docker (with its daemon running), podman or buildah is needed" >&2
  exit 1
fi
