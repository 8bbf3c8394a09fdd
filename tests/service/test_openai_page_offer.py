"""The web page offers what the model does, and says what is missing; in headless Chromium, without a Triton server."""

from __future__ import annotations

import base64
import io
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from imagegen.openai.page import page_response
from tests.page_screenshot import browser

pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no Chromium; ./build.sh test installs it"
)
PNG = io.BytesIO()
Image.new("RGB", (16, 16)).save(PNG, "PNG")
COMPLETED = {
    "type": "image_generation.completed",
    "b64_json": base64.b64encode(PNG.getvalue()).decode(),
    "seed": 7,
    "size": "16x16",
    "output_format": "png",
    "metadata": {"num_inference_steps": 2, "loras": [{"name": "dusk", "scale": 0.5}, {"name": "outline", "scale": 1}]},
}
ALL = ("negative_prompt", "guidance_scale", "strength")
OPTIONAL = (
    *("drop", "brush-field", "strength-field", "guidance-field", "negative-field", "previews-field", "needs"),
    "loras-field",
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    with browser() as driver:
        yield driver


@contextmanager
def frontend(capabilities: dict[str, Any] | None, bodies: list[bytes] | None = None) -> Iterator[str]:
    """A frontend that is ready, and completes every request whose body it has put among `bodies`; its URL."""
    page = page_response()
    headers = {name: page.headers[name] for name in ("content-security-policy", "content-type")}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            models = {"data": [{"id": "toy", "capabilities": capabilities}]}
            body = bytes(page.body) if self.path == "/" else json.dumps(models).encode()
            self.send_response(200)
            for name, value in headers.items() if self.path == "/" else ():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert bodies is not None
            bodies.append(body)
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.write(b"data: " + json.dumps(COMPLETED).encode() + b"\n\n")

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def capabilities(
    previews: bool = True, upscaling: int = 1, loras: tuple[str, ...] = (), **tasks: tuple[str, ...]
) -> dict[str, Any]:
    named = {name.replace("_to_", "-to-"): takes for name, takes in tasks.items()}
    return {"tasks": named, "previews": previews, "upscaling": upscaling, "takes_loras": bool(loras), "loras": loras}


def shown(page: WebDriver) -> set[str]:
    """The optional parts that are offered, also in the closed part of the form."""
    return {name for name in OPTIONAL if not page.execute_script("return arguments[0].hidden", part(page, name))}


def part(page: WebDriver, name: str) -> Any:
    return page.find_element(By.ID, name)


def open_page(page: WebDriver, url: str) -> None:
    page.get(url)
    known = "return capabilities !== null || document.getElementById('ready').textContent === 'ready'"
    WebDriverWait(page, 30, poll_frequency=0.05).until(lambda _: page.execute_script(known))
    page.execute_async_script("const [done] = arguments; ask_what_it_does().then(done);")


@pytest.mark.parametrize(
    ("described", "without_image", "with_image", "needs"),
    [
        (None, {"drop", *OPTIONAL[3:6], "brush-field"}, set(OPTIONAL[:6]), ""),
        (
            capabilities(text_to_image=("guidance_scale",), previews=False),
            {"guidance-field"},
            None,
            "",
        ),
        (
            capabilities(inpainting=ALL),
            {"drop", "brush-field", "guidance-field", "negative-field", "previews-field", "needs"},
            {"drop", "brush-field", "guidance-field", "negative-field", "previews-field", "strength-field", "needs"},
            "This model starts from an image: choose one and paint over what is to be repainted.",
        ),
        (
            capabilities(image_to_image=("negative_prompt", "guidance_scale"), upscaling=4),
            {"drop", "guidance-field", "negative-field", "previews-field", "needs"},
            {"drop", "guidance-field", "negative-field", "previews-field", "needs"},
            "This model starts from an image: choose one. Images become 4 times larger.",
        ),
        (capabilities(text_to_image=(), loras=("dusk",)), {"previews-field", "loras-field"}, None, ""),
    ],
    ids=["unknown", "text alone", "inpaints alone", "upscales", "has adapters"],
)
def test_the_page_offers_what_the_model_does(
    chromium: Chrome,
    tmp_path: Path,
    described: dict[str, Any] | None,
    without_image: set[str],
    with_image: set[str] | None,
    needs: str,
) -> None:
    with frontend(described) as url:
        open_page(chromium, url)
        assert shown(chromium) == without_image
        assert part(chromium, "needs").text == needs
        if with_image is None:
            return
        file = tmp_path / "image.png"
        buffer = io.BytesIO()
        Image.new("RGB", (16, 16)).save(buffer, "PNG")
        file.write_bytes(buffer.getvalue())
        part(chromium, "file").send_keys(str(file))
        WebDriverWait(chromium, 30).until(lambda _: part(chromium, "paint").is_displayed())
        assert shown(chromium) == with_image


def test_what_the_model_cannot_begin_with_is_not_sent(chromium: Chrome, tmp_path: Path) -> None:
    with frontend(capabilities(inpainting=ALL)) as url:
        open_page(chromium, url)
        part(chromium, "prompt").send_keys("a red cat")
        part(chromium, "generate").click()
        assert "starts from an image" in part(chromium, "problem").text
        file = tmp_path / "image.png"
        Image.new("RGB", (16, 16)).save(file)
        part(chromium, "file").send_keys(str(file))
        WebDriverWait(chromium, 30).until(lambda _: part(chromium, "paint").is_displayed())
        part(chromium, "generate").click()
        assert part(chromium, "problem").text == (
            "This model repaints parts of an image: paint over what is to be repainted."
        )
        assert chromium.find_elements(By.CSS_SELECTOR, ".card") == []


def row(page: WebDriver, name: str, kind: str) -> Any:
    """The check box or the scale of an adapter."""
    return page.find_element(By.CSS_SELECTOR, f".lora[data-name='{name}'] [type={kind}]")


def test_adapters_are_chosen_with_a_scale_each_and_an_image_says_which_it_has(chromium: Chrome, tmp_path: Path) -> None:
    bodies: list[bytes] = []
    described = capabilities(
        text_to_image=(), image_to_image=("strength",), loras=("dusk", "outline", "<b>org/sketch</b>")
    )
    with frontend(described, bodies) as url:
        open_page(chromium, url)
        names = [label.text for label in chromium.find_elements(By.CSS_SELECTOR, ".lora span")]
        assert names == ["dusk", "outline", "<b>org/sketch</b>"]
        assert not row(chromium, "dusk", "number").is_displayed()
        part(chromium, "prompt").send_keys("a red cat")
        for name in ("dusk", "outline"):
            row(chromium, name, "checkbox").click()
        scale = row(chromium, "dusk", "number")
        scale.clear()
        part(chromium, "generate").click()
        assert bodies == []  # a scale is missing
        scale.send_keys("0.5")
        part(chromium, "generate").click()
        card = WebDriverWait(chromium, 30).until(
            lambda page: page.find_element(By.CSS_SELECTOR, ".card[aria-busy=false]")
        )
        assert card.find_element(By.CLASS_NAME, "details").text == "seed 7 · 16x16 · 2 steps · dusk 0.5 · outline 1"
        chosen = [{"name": "dusk", "scale": 0.5}, {"name": "outline", "scale": 1}]
        assert json.loads(bodies[0])["lora"] == chosen
        (tmp_path / "image.png").write_bytes(PNG.getvalue())
        part(chromium, "file").send_keys(str(tmp_path / "image.png"))
        WebDriverWait(chromium, 30).until(lambda _: part(chromium, "paint").is_displayed())
        part(chromium, "generate").click()
        WebDriverWait(chromium, 30).until(lambda _: len(bodies) == 2)
        sent = bodies[1].partition(b'name="lora"\r\n\r\n')[2].partition(b"\r\n")[0]
        assert json.loads(sent) == chosen


def test_an_adapter_that_comes_later_leaves_the_chosen_ones_as_they_are(chromium: Chrome) -> None:
    described = capabilities(text_to_image=(), loras=("outline",))
    bodies: list[bytes] = []
    with frontend(described, bodies) as url:
        open_page(chromium, url)
        row(chromium, "outline", "checkbox").click()
        described["loras"] = ("dusk", "outline")
        chromium.execute_async_script("const [done] = arguments; ask_what_it_does().then(done);")
        assert [row(chromium, name, "checkbox").is_selected() for name in ("dusk", "outline")] == [False, True]
        described["takes_loras"] = False
        chromium.execute_async_script("const [done] = arguments; ask_what_it_does().then(done);")
        assert "loras-field" not in shown(chromium)
        part(chromium, "prompt").send_keys("a red cat")
        part(chromium, "generate").click()
        WebDriverWait(chromium, 30).until(lambda _: bodies)
        assert "lora" not in json.loads(bodies[0])
