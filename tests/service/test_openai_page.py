"""The web page in headless Chromium: prompt, progress, image, an edit with a painted mask, and cancel."""

from __future__ import annotations

import base64
import io
import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.page_screenshot import browser
from tests.service.conftest import OpenAIServer
from tests.service.server_metrics import active, wait_until

pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no Chromium; ./build.sh test installs it"
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    with browser() as driver:
        yield driver


@pytest.fixture
def page(chromium: Chrome, openai_server: OpenAIServer) -> Iterator[WebDriver]:
    chromium.get(openai_server.url)
    yield chromium
    entries = chromium.get_log("browser")  # type: ignore[no-untyped-call]
    problems = [entry for entry in entries if entry["level"] == "SEVERE"]
    assert [problem for problem in problems if "status of 400" not in problem["message"]] == []


def put(page: WebDriver, **values: object) -> None:
    """Type values into fields by their ids."""
    for name, value in values.items():
        field = page.find_element(By.ID, name)
        field.clear()
        field.send_keys(str(value))


def cards(page: WebDriver, state: str = "") -> list[WebElement]:
    return page.find_elements(By.CSS_SELECTOR, f".card{state}")


def wait(page: WebDriver, true: Any, seconds: float = 60) -> Any:
    return WebDriverWait(page, seconds, poll_frequency=0.05).until(lambda _: true())


def pixels(page: WebDriver, card: WebElement) -> np.ndarray[Any, Any]:
    """The image that a card shows, as the browser has it."""
    encoded = page.execute_async_script(
        """
        const [image, done] = arguments;
        image.decode().then(() => {
          const canvas = document.createElement("canvas");
          [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
          canvas.getContext("2d").drawImage(image, 0, 0);
          done(canvas.toDataURL("image/png").split(",")[1]);
        });
        """,
        card.find_element(By.TAG_NAME, "img"),
    )
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")).astype(np.int16)


def test_from_a_prompt_by_way_of_progress_to_an_image(page: WebDriver) -> None:
    put(page, prompt="a red circle", steps=50, seed=7, size="256x256")
    page.find_element(By.ID, "generate").click()
    (card,) = wait(page, lambda: cards(page))
    wait(page, lambda: card.find_elements(By.CSS_SELECTOR, "progress[value]:not([value='0'])"))
    assert page.find_element(By.ID, "cancel").is_enabled()
    assert "of 50" in card.find_element(By.CLASS_NAME, "details").text
    wait(page, lambda: cards(page, "[aria-busy=false]"))
    assert card.get_attribute("data-previews") == "3"
    assert card.get_attribute("data-seed") == "7"
    assert "seed 7" in card.text
    assert pixels(page, card).shape == (256, 256, 3)
    assert not page.find_element(By.ID, "cancel").is_enabled()
    assert page.find_element(By.ID, "status").get_attribute("textContent") == "The image is done"


def test_several_images_are_generated_together_each_with_its_seed(page: WebDriver) -> None:
    put(page, prompt="a red circle", steps=4, seed=7, n=3)
    page.find_element(By.ID, "prompt").send_keys(Keys.CONTROL, Keys.ENTER)
    done = wait(page, lambda: len(found := cards(page, "[aria-busy=false]")) == 3 and found)
    assert [card.get_attribute("data-seed") for card in done] == ["7", "8", "9"]


def test_a_seed_is_chosen_shown_and_can_be_taken_up(page: WebDriver) -> None:
    put(page, prompt="a red circle", steps=2)
    page.find_element(By.ID, "generate").click()
    (first,) = wait(page, lambda: cards(page, "[aria-busy=false]"))
    first.find_element(By.XPATH, ".//button[text()='Use seed']").click()
    assert page.find_element(By.ID, "seed").get_attribute("value") == first.get_attribute("data-seed")
    page.find_element(By.ID, "generate").click()
    second, first = wait(page, lambda: len(found := cards(page, "[aria-busy=false]")) == 2 and found)
    assert np.array_equal(pixels(page, first), pixels(page, second))


def test_an_edit_repaints_what_was_painted(page: WebDriver) -> None:
    put(page, prompt="a red circle", steps=4, seed=1)
    page.find_element(By.ID, "generate").click()
    (first,) = wait(page, lambda: cards(page, "[aria-busy=false]"))
    first.find_element(By.XPATH, ".//button[text()='Edit']").click()
    canvas = page.find_element(By.ID, "paint")
    wait(page, canvas.is_displayed)
    ActionChains(page).move_to_element(canvas).click_and_hold().move_by_offset(30, 0).release().perform()
    put(page, prompt="a cat", steps=8, seed=2)
    page.find_element(By.ID, "generate").click()
    second, first = wait(page, lambda: len(found := cards(page, "[aria-busy=false]")) == 2 and found)
    changed = np.abs(pixels(page, second) - pixels(page, first)).max(axis=2) > 2
    assert changed[60:68, 62:70].mean() > 0.5  # the stroke begins in the middle
    assert not changed[:40].any()
    assert not changed[88:].any()
    page.find_element(By.ID, "remove").click()
    assert not canvas.is_displayed()


def test_a_file_and_a_mask_by_keyboard(page: WebDriver, scene_png: bytes, tmp_path: Path) -> None:
    (tmp_path / "scene.png").write_bytes(scene_png)
    page.find_element(By.ID, "file").send_keys(str(tmp_path / "scene.png"))
    canvas = page.find_element(By.ID, "paint")
    wait(page, canvas.is_displayed)
    canvas.send_keys(*[Keys.ARROW_UP] * 3, Keys.SPACE, Keys.ARROW_RIGHT, Keys.SPACE)
    put(page, prompt="a cat", steps=8)
    page.find_element(By.ID, "prompt").send_keys(Keys.CONTROL, Keys.ENTER)
    (card,) = wait(page, lambda: cards(page, "[aria-busy=false]"))
    before = np.asarray(Image.open(io.BytesIO(scene_png)).convert("RGB")).astype(np.int16)
    changed = np.abs(pixels(page, card) - before).max(axis=2) > 2
    assert 0 < changed.mean() < 0.2
    assert not changed[70:].any()


@pytest.mark.parametrize("how", ["button", "escape"])
def test_cancel_stops_the_request_and_says_so(page: WebDriver, openai_server: OpenAIServer, how: str) -> None:
    put(page, prompt="a red circle", steps=100, size="256x256")
    page.find_element(By.ID, "generate").click()
    wait_until(lambda: active(openai_server.triton) == 1)
    if how == "button":
        page.find_element(By.ID, "cancel").click()
    else:
        page.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
    wait_until(lambda: active(openai_server.triton) == 0)
    wait(page, lambda: not cards(page))
    assert page.find_element(By.ID, "status").get_attribute("textContent") == "Cancelled"
    assert page.find_element(By.ID, "generate").is_enabled()


def test_a_refusal_is_shown(page: WebDriver) -> None:
    put(page, prompt="x", size="7x7")
    page.find_element(By.ID, "generate").click()
    wait(page, lambda: "size" in page.find_element(By.ID, "problem").text)
    assert cards(page) == []


def test_the_page_needs_nothing_from_elsewhere_and_allows_nothing_else(openai_server: OpenAIServer) -> None:
    with urllib.request.urlopen(openai_server.url, timeout=30) as response:
        html, policy = response.read().decode(), response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http://" not in html
    assert "https://" not in html
    with urllib.request.urlopen(f"{openai_server.url}/openapi.json", timeout=30) as response:
        assert "/v1/images/generations" in json.load(response)["paths"]
