"""A real server with default settings fetches from public addresses alone, in a network whose names and peers lie."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from PIL import Image
from tritonclient.utils import InferenceServerException

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY
from tests.image_server import ImageServer, image_server

PUBLIC, PUBLIC_HOST, FORBIDDEN_HOST = "93.184.216.34", "127.0.0.2", "127.0.0.1"
Fetch = Callable[[str], str]


@pytest.fixture(scope="module")
def fetch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fetch]:
    """`fetch(url)`: "pixels" or the message of the refusal."""
    with (
        EmbeddedServer(_repository_in_a_lying_network(tmp_path_factory.mktemp("repository"))) as running,
        triton_grpc.InferenceServerClient(running.grpc_url) as client,
    ):
        yield lambda url: _fetch(client, url)


def _repository_in_a_lying_network(folder: Path) -> Path:
    """`image_preprocess` alone, as it is, but for what it imports first."""
    model = MODEL_REPOSITORY / "image_preprocess"
    version = folder / model.name / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").symlink_to(model / "config.pbtxt")
    (version / "real_model.py").symlink_to(model / "1" / "model.py")
    (version / "lying_network.py").symlink_to(Path(__file__).parent / "lying_network.py")
    (version / "model.py").write_text("import lying_network\nfrom real_model import TritonPythonModel\n")
    return folder


def _fetch(client: triton_grpc.InferenceServerClient, url: str) -> str:
    inputs = []
    for name, text in (("prompt", "x"), ("image", url)):
        tensor = triton_grpc.InferInput(name, [1], "BYTES")
        tensor.set_data_from_numpy(np.array([text.encode()], dtype=np.object_))
        inputs.append(tensor)
    try:
        client.infer("image_preprocess", inputs, client_timeout=60)
    except InferenceServerException as refused:
        return str(refused.message()).removeprefix("image_rejected: image[0]: ")
    return "pixels"


@pytest.fixture
def forbidden() -> Iterator[socket.socket]:
    """Listens on 127.0.0.1 and never responds; the test says whether a connection may come."""
    with socket.create_server((FORBIDDEN_HOST, 0)) as listener:
        listener.settimeout(0)
        yield listener


@pytest.fixture
def public(forbidden: socket.socket) -> Iterator[ImageServer]:
    """What 93.184.216.34 leads to, on the same port; serves /a.png."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    with image_server(PUBLIC_HOST, forbidden.getsockname()[1]) as running:
        running.url = f"http://{PUBLIC}:{running.port}"
        running.serve("/a.png", file.getvalue(), Connection="close", Cache_Control="no-store")
        yield running


def no_connection(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return True
    return False


def test_a_public_address_is_fetched_from(fetch: Fetch, public: ImageServer, forbidden: socket.socket) -> None:
    assert fetch(public.url + "/a.png") == "pixels"
    assert no_connection(forbidden)


def test_a_name_that_changes_its_address_between_check_and_use(
    fetch: Fetch, public: ImageServer, forbidden: socket.socket
) -> None:
    """The checked address is the one connected to; the next fetch resolves again, and is refused."""
    url = f"http://rebinds.test:{public.port}/a.png"
    assert fetch(url) == "pixels"
    assert public.count("/a.png") == 1
    assert fetch(url).startswith("url_not_allowed: ")
    assert no_connection(forbidden)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_peer_at_another_address_than_the_checked_one_gets_no_byte(
    fetch: Fetch, forbidden: socket.socket, scheme: str
) -> None:
    assert fetch(f"{scheme}://moves.test:{forbidden.getsockname()[1]}/a.png").startswith("url_not_allowed: ")
    forbidden.settimeout(10)
    connection, _ = forbidden.accept()
    with connection:
        connection.settimeout(10)
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}/", "http://2130706433:{port}/", "//[::1]:{port}/", "file:///"]
)
def test_a_redirect_to_a_forbidden_address(
    fetch: Fetch, public: ImageServer, forbidden: socket.socket, target: str
) -> None:
    url = public.redirect("/away", target.replace("{port}", str(public.port)))
    assert fetch(url).startswith("url_not_allowed: ")
    assert public.count("/away") == 1
    assert no_connection(forbidden)


def test_one_text_for_every_address_that_is_forbidden(fetch: Fetch, forbidden: socket.socket) -> None:
    port = forbidden.getsockname()[1]
    urls = [
        f"http://127.0.0.1:{port}/",
        "http://127.0.0.1:1/",
        f"http://0x7f.1:{port}/",
        f"http://localhost:{port}/",
        f"http://[::ffff:127.0.0.1]:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
    ]
    assert len({fetch(url) for url in urls}) == 1
    assert no_connection(forbidden)
