"""Reads what `kubectl kustomize` would make of a folder, for the few features that deploy/kubernetes uses; any other
one is an error. A test compares the two where kubectl is installed.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]


def render(folder: Path) -> list[Manifest]:
    """The manifests of a folder with a `kustomization.yaml`."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = set(kustomization) - {"apiVersion", "kind", "resources", "patches", "images"}
    assert not unknown, f"{folder}: {unknown}"
    manifests: list[Manifest] = []
    for resource in kustomization["resources"]:
        path = folder / resource
        manifests += render(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for patch in kustomization.get("patches", []):
        kind, name = patch["target"]["kind"], patch["target"]["name"]
        (target,) = (m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name))
        for operation in yaml.safe_load((folder / patch["path"]).read_text()):
            _apply(target, operation)
    for image in kustomization.get("images", []):
        for manifest in manifests:
            _tag(manifest, image["name"], image["newTag"])
    return manifests


def _apply(target: Manifest, operation: dict[str, Any]) -> None:
    """One operation of a JSON patch (RFC 6902)."""
    *parents, last = operation["path"].removeprefix("/").split("/")
    place: Any = target
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place[key]
    value = copy.deepcopy(operation["value"])
    if operation["op"] == "add" and isinstance(place, list):
        assert last == "-"
        place.append(value)
    elif operation["op"] == "add":
        place[last] = value
    else:
        assert operation["op"] == "replace", operation
        assert last in place, operation
        place[last] = value


def _tag(node: Any, name: str, tag: str) -> None:
    """Give every container of the image this tag."""
    if isinstance(node, list):
        for item in node:
            _tag(item, name, tag)
    elif isinstance(node, dict):
        for containers in (node.get("containers"), node.get("initContainers")):
            for container in containers or []:
                if container["image"] == name:
                    container["image"] = f"{name}:{tag}"
        for value in node.values():
            _tag(value, name, tag)
