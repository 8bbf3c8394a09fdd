from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from imagegen.engine.adapters.adapter import AdapterError
from imagegen.engine.adapters.source import locate

USUAL = "pytorch_lora_weights.safetensors"


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


class _NotFound(BaseHTTPRequestHandler):
    """A hub without this repository."""

    def do_GET(self) -> None:
        self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def http_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _NotFound) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


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
    "where", ["gone.safetensors", "/gone/style.safetensors", "../a/b", "./a/b", "a/../b", "a/b/c", "a b/c", "~/a"]
)
def test_what_is_not_there_and_no_hub_id_is_refused(tmp_path: Path, where: str) -> None:
    assert "no such file or folder" in refused(where, tmp_path)


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    assert "\0" not in refused("a\0b", tmp_path)
    assert len(refused("a" * 5000, tmp_path)) < 400


def cached(cache: Path, repository: str, *names: str) -> Path:
    """A repository as the hub's cache has it: files are links into `blobs`."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    commit = "0" * 39 + "1"
    snapshot = made(folder / "snapshots" / commit, *names)
    made(folder, "refs/main")
    (folder / "refs" / "main").write_text(commit)
    return snapshot


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, which is all there is of it: as with HF_HUB_OFFLINE and HF_HUB_CACHE, which are read once."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_repository_in_the_cache_is_found_offline(tmp_path: Path, hub_cache: Path) -> None:
    style = cached(hub_cache, "org/style", "style.safetensors", "README.md", "deep/other.safetensors")
    usual = cached(hub_cache, "org/usual", USUAL, "other.safetensors")
    assert locate("org/style", tmp_path) == style / "style.safetensors"
    assert locate("org/style/style.safetensors", tmp_path) == style / "style.safetensors"
    assert locate("org/style/deep/other.safetensors", tmp_path) == style / "deep" / "other.safetensors"
    assert locate("org/usual", tmp_path) == usual / USUAL


def test_what_is_on_disk_comes_before_the_hub(tmp_path: Path, hub_cache: Path) -> None:
    cached(hub_cache, "org/local", "hub.safetensors")
    made(tmp_path, "org/local/here.safetensors")
    assert locate("org/local", tmp_path) == tmp_path / "org" / "local" / "here.safetensors"


def test_several_adapters_in_a_repository_are_listed(tmp_path: Path, hub_cache: Path) -> None:
    cached(hub_cache, "org/many", "a.safetensors", "b.safetensors")
    assert "a.safetensors, b.safetensors" in refused("org/many", tmp_path)


@pytest.mark.parametrize("where", ["org/style/gone.safetensors", "org/gone", "org/bad--name", "org/.."])
def test_what_the_hub_has_not_is_refused(tmp_path: Path, hub_cache: Path, where: str) -> None:
    cached(hub_cache, "org/style", "style.safetensors")
    assert refused(where, tmp_path).startswith(f"{where}: ")


@pytest.mark.parametrize("where", ["org/style", "org/style/style.safetensors"])
def test_what_a_hub_answers_is_a_refusal(
    tmp_path: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    with http_server() as address:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        assert refused(where, tmp_path).startswith(f"{where}: no such file here, and the hub says: ")
