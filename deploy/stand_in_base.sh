#!/usr/bin/env bash
# Makes a base image from Debian's packages and the PyPI server, laid out as NVIDIA's official Triton image: the
# Dockerfile can be built and its container run where no registry is reachable. For tests only: release 24.10.
#
# usage: deploy/stand_in_base.sh IMAGE PYTHON     (as root, with buildah and debootstrap; Debian's release is the host's)
# PYTHON: one with pip and the package nvidia-pytriton, whose binaries go into the image.
set -euo pipefail

image=$1
python=$2
version=$(apt-cache policy python3 | sed -n 's/ *Candidate: \([0-9]*\.[0-9]*\).*/\1/p')
wheel=$("$python" -c 'import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec("pytriton").origin).parent)')

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
root=$folder/root

# shellcheck source=/dev/null
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
debootstrap --variant=minbase --include="python3,python3-pip,libpython$version,ca-certificates" "$release" "$root" >&2
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*

server=$root/opt/tritonserver
install -d "$server/bin" "$server/backends/python" "$server/lib" "$root/opt/nvidia"
cp "$wheel"/tritonserver/bin/tritonserver "$server/bin/"
cp -r "$wheel"/tritonserver/caches "$server/"
cp "$wheel"/tritonserver/backends/python/*.{so,py} "$server/backends/python/"
install -m 755 "$wheel/tritonserver/python_backend_stubs/$version/triton_python_backend_stub" "$server/backends/python/"
cp "$wheel"/../nvidia_pytriton.libs/* "$server/lib/"
printf '#!/bin/sh\nexec "$@"\n' >"$root/opt/nvidia/nvidia_entrypoint.sh"
chmod 755 "$root/opt/nvidia/nvidia_entrypoint.sh"
chroot "$root" useradd -u 1000 -m triton-server

container=$(buildah from scratch)
buildah add -q "$container" "$root" / >/dev/null
buildah config \
  --env PATH=/opt/tritonserver/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  --env LD_LIBRARY_PATH=/opt/tritonserver/lib \
  --entrypoint '["/opt/nvidia/nvidia_entrypoint.sh"]' "$container"
buildah commit -q --rm "$container" "$image" >&2
