"""All images of a request are in an S3 store, or none is; against a real S3-compatible server on loopback."""

from __future__ import annotations

import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagegen.api.errors import StorageFailed
from imagegen.images.output.store import ResultStore
from tests.s3_server import CREDENTIALS, FaultyProxy, S3Server

IMAGES = [bytes([number]) * 200_000 for number in range(4)]
KEYS = [f"users/anonymous/generations/one/{number}.png" for number in range(4)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3") / "log")
    yield server
    server.close()


@pytest.fixture
def bucket(server: S3Server) -> str:
    name = f"bucket-{uuid.uuid4().hex}"
    server.new_bucket(name)
    return name


@pytest.fixture
def proxy(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """The way to the server, for every store made in the test."""
    proxy = FaultyProxy(server.port)
    with proxy.running() as url:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture
def new_store(bucket: str) -> Iterator[Callable[..., ResultStore]]:
    made = []

    def new_store(timeout_s: float = 30.0, public_base_url: str | None = None) -> ResultStore:
        made.append(ResultStore(f"s3://{bucket}/results", public_base_url, 60, timeout_s))
        return made[-1]

    yield new_store
    for store in made:
        store.close()


NewStore = Callable[..., ResultStore]


def test_signed_addresses_give_the_images_with_their_content_type(
    server: S3Server, bucket: str, proxy: FaultyProxy, new_store: NewStore
) -> None:
    addresses = new_store().store(IMAGES, KEYS, "image/webp")
    assert server.keys(bucket) == [f"results/{key}" for key in KEYS]
    for address, image in zip(addresses, IMAGES, strict=True):
        assert "ignature=" in address
        with urllib.request.urlopen(address, timeout=30) as response:
            assert response.headers["Content-Type"] == "image/webp"
            assert response.read() == image


def test_public_addresses_are_the_base_and_the_key(proxy: FaultyProxy, new_store: NewStore) -> None:
    store = new_store(public_base_url="https://images.example.org/all/")
    assert store.store(IMAGES, KEYS, "image/png") == [f"https://images.example.org/all/{key}" for key in KEYS]


@pytest.mark.parametrize("fault", ["refuse", "cut", "lose"])
def test_transient_failures_are_tried_again(
    server: S3Server, bucket: str, proxy: FaultyProxy, new_store: NewStore, fault: str
) -> None:
    proxy.fault = lambda method, number: fault if method == "PUT" and number in (1, 3, 4) else None
    new_store().store(IMAGES, KEYS, "image/png")
    assert server.keys(bucket) == [f"results/{key}" for key in KEYS]
    assert proxy.requests == ["PUT"] * 7


@pytest.mark.parametrize("fault", ["refuse", "cut", "lose", "forbid"])
def test_a_server_that_fails_in_the_middle_leaves_nothing_behind(
    server: S3Server, bucket: str, proxy: FaultyProxy, new_store: NewStore, fault: str
) -> None:
    """Also of the image whose response was lost, though it was stored."""
    proxy.fault = lambda method, number: fault if method == "PUT" and number >= 2 else None
    with pytest.raises(StorageFailed, match=r"^storage_failed: the images could not be stored; the server log has"):
        new_store().store(IMAGES, KEYS, "image/png")
    assert server.keys(bucket) == []
    if fault in ("refuse", "forbid"):  # the HTTP library tries those that hang up once more by itself
        assert proxy.requests.count("PUT") == 2 + 2 * (1 if fault == "forbid" else 3)


def test_removing_is_tried_again_too(server: S3Server, bucket: str, proxy: FaultyProxy, new_store: NewStore) -> None:
    def fault(method: str, number: int) -> str | None:
        if method == "PUT":
            return "forbid" if number >= 2 else None
        return "refuse" if number < 3 else None

    proxy.fault = fault
    with pytest.raises(StorageFailed):
        new_store().store(IMAGES, KEYS, "image/png")
    assert server.keys(bucket) == []


def test_a_server_that_hangs_is_not_waited_for_longer_than_allowed(
    server: S3Server, bucket: str, proxy: FaultyProxy, new_store: NewStore
) -> None:
    proxy.fault = lambda method, number: "hang" if method == "PUT" and number >= 2 else None
    with pytest.raises(StorageFailed):
        new_store(timeout_s=1.0).store(IMAGES, KEYS, "image/png")
    assert server.keys(bucket) == []


def test_removing_does_not_wait_for_other_requests_writes(
    server: S3Server, bucket: str, proxy: FaultyProxy, new_store: NewStore
) -> None:
    """A store that hangs holds every thread that writes; the image that is there already has to go all the same."""
    busy, ended = threading.Event(), threading.Event()

    def fault(method: str, number: int) -> str | None:
        if method != "PUT" or number == 0:
            return None
        busy.wait(30)
        return "forbid"

    proxy.fault = fault
    store = new_store(timeout_s=3.0)
    with ThreadPoolExecutor(1) as caller:
        failing = caller.submit(store.store, IMAGES[:2], KEYS[:2], "image/png")
        while len(server.keys(bucket)) < 1:
            time.sleep(0.01)
        for _ in range(32):
            store._pool.submit(ended.wait, 30)
        busy.set()
        with pytest.raises(StorageFailed):
            failing.result()
        left = server.keys(bucket)
        ended.set()
    assert left == []


def test_a_bucket_that_is_not_there(proxy: FaultyProxy) -> None:
    store = ResultStore("s3://no-such-bucket", None, 60, 30.0)
    with pytest.raises(StorageFailed):
        store.store(IMAGES[:1], KEYS[:1], "image/png")
    store.close()


def test_no_server_at_all(bucket: str, new_store: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageFailed):
        new_store().store(IMAGES, KEYS, "image/png")
