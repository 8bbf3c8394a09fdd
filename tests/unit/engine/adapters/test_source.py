from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from imagegen.engine.adapters.adapter import AdapterError
from imagegen.engine.adapters.source import locate

USUAL = "pytorch_lora_weights.safetensors"
ROOT = Path(__file__).resolve().parents[4]


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def refused(where: str, folder: Path) -> str:
    with pytest.raises(AdapterError) as error:
        locate(where, folder)
    assert str(folder) not in str(error.value)
    return str(error.value)


def test_a_file_is_itself_by_a_path_from_the_folder_or_from_the_root(tmp_path: Path) -> None:
    made(tmp_path, "sub/style.safetensors")
    for where in ("sub/style.safetensors", "./sub/style.safetensors", str(tmp_path / "sub/style.safetensors")):
        assert locate(where, tmp_path).samefile(tmp_path / "sub/style.safetensors")


def test_of_a_folder_the_usual_name_counts_and_else_the_only_adapter(tmp_path: Path) -> None:
    made(
        tmp_path,
        f"one/{USUAL}",
        "one/other.safetensors",
        "two/style.safetensors",
        "two/README.md",
        "two/x/y.safetensors",
    )
    assert locate("one", tmp_path) == tmp_path / "one" / USUAL
    assert locate(str(tmp_path / "two"), Path("/")) == tmp_path / "two" / "style.safetensors"


def test_several_adapters_in_a_folder_are_listed(tmp_path: Path) -> None:
    made(tmp_path, *(f"many/{number:02}.safetensors" for number in range(25)))
    message = refused("many", tmp_path)
    assert message.startswith("many: ")
    assert "00.safetensors, 01.safetensors" in message
    assert "and 5 more" in message


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    made(tmp_path, "none/style.bin", "none/sub/style.safetensors")
    assert refused("none", tmp_path).startswith("none: ")


@pytest.mark.parametrize("where", ["http://host/a.safetensors", "file:///etc/passwd", "s3://bucket/a", "hf://a/b"])
def test_a_url_is_refused(tmp_path: Path, where: str) -> None:
    assert "URL" in refused(where, tmp_path)


@pytest.mark.parametrize(
    "where", ["", "gone.safetensors", "/gone/style.safetensors", "../a/b", "./a/b", "a/../b", "a/b/c", "a b/c", "a/b.."]
)
def test_what_is_not_there_and_no_hub_id_is_refused(tmp_path: Path, where: str) -> None:
    if where != "a/b..":  # which the hub's own rules refuse
        refused(where or "sub", tmp_path)


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    assert "\0" not in refused("a\0b", tmp_path)
    assert len(refused("a" * 5000, tmp_path)) < 400


_LOCATED = """
import json, sys
from pathlib import Path
from imagegen.engine.adapters.adapter import AdapterError
from imagegen.engine.adapters.source import locate

found = {}
for where in sys.argv[2:]:
    try:
        found[where] = str(locate(where, Path(sys.argv[1])))
    except AdapterError as error:
        found[where] = "refused: " + str(error)
print(json.dumps(found))
"""


def located_offline(folder: Path, cache: Path, *where: str) -> Any:
    """What another process finds, which has the hub's cache and may not ask the hub."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _LOCATED, str(folder), *where],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def cached(cache: Path, repository: str, *names: str) -> Path:
    """A repository as the hub's cache has it: files are links into `blobs`."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    commit = "0" * 39 + "1"
    snapshot = made(folder / "snapshots" / commit, *names)
    made(folder, "refs/main")
    (folder / "refs" / "main").write_text(commit)
    return snapshot


def test_the_hubs_cache_is_enough_when_offline(tmp_path: Path) -> None:
    cache, folder = tmp_path / "cache", tmp_path / "loras"
    style = cached(cache, "org/style", "style.safetensors", "README.md", "deep/other.safetensors")
    usual = cached(cache, "org/usual", USUAL, "other.safetensors")
    cached(cache, "org/many", "a.safetensors", "b.safetensors")
    cached(cache, "org/local", "hub.safetensors")
    made(folder, "org/local/here.safetensors")
    found = located_offline(
        folder,
        cache,
        *("org/style", "org/style/style.safetensors", "org/style/deep/other.safetensors", "org/usual"),
        *("org/many", "org/local", "org/style/gone.safetensors", "org/gone", "org/bad--name"),
    )
    assert found["org/style"] == found["org/style/style.safetensors"] == str(style / "style.safetensors")
    assert found["org/style/deep/other.safetensors"] == str(style / "deep" / "other.safetensors")
    assert found["org/usual"] == str(usual / USUAL)
    assert found["org/local"] == str(folder / "org" / "local" / "here.safetensors")
    assert found["org/many"].startswith("refused: org/many: ")
    assert "a.safetensors, b.safetensors" in found["org/many"]
    for gone in ("org/style/gone.safetensors", "org/gone", "org/bad--name"):
        assert found[gone].startswith(f"refused: {gone}: ")
        assert str(tmp_path) not in found[gone]
