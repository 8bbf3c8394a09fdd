"""All images of a request are in a local folder, whole, or nothing is."""

from __future__ import annotations

import errno
import os
import resource
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from imagegen.api.errors import StorageFailed
from imagegen.images.output.object_key import object_keys
from imagegen.images.output.store import ResultStore

IMAGES = [bytes([number]) * 50_000 for number in range(5)]


def keys(count: int = len(IMAGES), user: str = "alice") -> list[str]:
    return object_keys(user, "one", count, "png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "made" / "when needed"


@pytest.fixture
def store(folder: Path) -> Iterator[ResultStore]:
    store = ResultStore(f"file://{folder}", "http://localhost/images/", 60, 30.0)
    yield store
    store.close()


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_images_are_files_that_a_web_server_may_read(store: ResultStore, folder: Path) -> None:
    names = keys()
    assert store.store(IMAGES, names, "image/png") == [f"http://localhost/images/{name}" for name in names]
    assert [(folder / name).read_bytes() for name in names] == IMAGES
    assert sorted(path for path in everything_in(folder) if path.is_file()) == sorted(folder / name for name in names)
    umask = os.umask(0)
    os.umask(umask)
    assert {(folder / name).stat().st_mode & 0o777 for name in names} == {0o666 & ~umask}


def test_a_plain_get_fetches_a_image(folder: Path) -> None:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

    folder.mkdir(parents=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as host:
        thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        store = ResultStore(f"file://{folder}", f"http://127.0.0.1:{host.server_address[1]}", 60, 30.0)
        addresses = store.store(IMAGES, keys(user="../ö %2e%2e #?"), "image/png")
        for address, image in zip(addresses, IMAGES, strict=True):
            with urllib.request.urlopen(address, timeout=30) as response:
                assert response.headers["Content-Type"] == "image/png"
                assert response.read() == image
        store.close()
        host.shutdown()
        thread.join()


def test_a_folder_that_cannot_be_made_fails_and_leaves_nothing(store: ResultStore, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "users").write_text("a file where a folder has to be")
    with pytest.raises(StorageFailed) as failure:
        store.store(IMAGES, keys(), "image/png")
    assert str(folder) not in str(failure.value)
    assert everything_in(folder) == [folder / "users"]


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_a_disk_that_gets_full_in_the_middle_leaves_only_what_was_there(
    store: ResultStore, folder: Path, user: str
) -> None:
    """The system itself refuses to write on: no file of this process may become longer than the small images."""
    kept = keys(1, user="bob")
    store.store(IMAGES[:1], kept, "image/png")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(StorageFailed) as failure:
            store.store([*IMAGES, bytes(500_000)], keys(6, user), "image/png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(failure.value.__cause__, OSError)
    assert failure.value.__cause__.errno == errno.EFBIG
    assert [path for path in everything_in(folder) if path.is_file()] == [folder / kept[0]]
    assert [path.name for path in (folder / "users").iterdir()] == ["bob"]


def test_nobody_ever_sees_half_a_image(store: ResultStore, folder: Path) -> None:
    size, stop = 4_000_000, threading.Event()
    seen: set[int] = set()

    def watch() -> None:
        while not stop.is_set():
            seen.update(path.stat().st_size for path in folder.glob("users/*/generations/*/[!.]*"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(5):
        store.store([bytes(size)] * 4, keys(4), "image/png")
    stop.set()
    watcher.join()
    assert seen <= {size}


def test_many_requests_at_once(store: ResultStore, folder: Path) -> None:
    names = [keys() for _ in range(12)]
    threads = [threading.Thread(target=store.store, args=(IMAGES, some, "image/png")) for some in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(path.is_file() for path in everything_in(folder)) == 12 * len(IMAGES)


def test_memory() -> None:
    store = ResultStore("memory://results", "http://localhost", 60, 30.0)
    (name,) = keys(1)
    store.store(IMAGES[:1], [name], "image/png")
    assert fsspec.filesystem("memory").cat_file(f"/results/{name}") == IMAGES[0]
    store.close()


def test_a_store_without_its_package_says_which_one_is_missing() -> None:
    with pytest.raises(ImportError, match="gcsfs"):
        ResultStore("gs://bucket", None, 60, 30.0)
