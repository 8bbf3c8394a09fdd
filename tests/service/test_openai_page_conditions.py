"""References and control images on the web page, by what /v1/models says; in headless Chromium, without Triton."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.page_screenshot import browser
from tests.service import test_openai_page_offer as offer
from tests.service.test_openai_page_offer import open_page, part

pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no Chromium; ./build.sh test installs it"
)
CANNY = {
    "control_types": ["canny", "depth"],
    "max_controls": 2,
    "has_control_end": True,
    "control_preprocessors": ["canny"],
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    with browser() as driver:
        yield driver


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Four images of different colours."""
    paths = [str(tmp_path / f"{index}.png") for index in range(4)]
    for index, path in enumerate(paths):
        Image.new("RGB", (16 + index, 16), (60 * index, 90, 200)).save(path)
    return paths


def described(
    max_references: int = 0, controls: dict[str, Any] | None = None, **tasks: tuple[str, ...]
) -> dict[str, Any]:
    capabilities = offer.capabilities()
    capabilities["tasks"] = {name.replace("_to_", "-to-"): takes for name, takes in tasks.items()}
    return capabilities | {"max_references": max_references} | (controls or {"control_types": []})


def choose(page: Chrome, name: str, *paths: str) -> None:
    part(page, name).send_keys("\n".join(paths))


def thumbnails(page: Chrome, name: str = "references", count: int | None = None) -> list[Any]:
    """Those of the references or of the controls, once there are so many."""

    def shown() -> list[Any]:
        return page.find_elements(By.CSS_SELECTOR, f"#{name} .thumb img")

    if count is not None:
        WebDriverWait(page, 30, poll_frequency=0.05).until(lambda _: len(shown()) == count)
    return shown()


def generate(page: Chrome, bodies: list[bytes]) -> bytes:
    """The body of the request."""
    sent = len(bodies)
    part(page, "prompt").clear()
    part(page, "prompt").send_keys("the cat wears the hat")
    part(page, "generate").click()
    WebDriverWait(page, 30, poll_frequency=0.05).until(
        lambda _: len(bodies) > sent and page.find_elements(By.CSS_SELECTOR, ".card[aria-busy=false]")
    )
    return bodies[-1]


def names(form: bytes) -> list[str]:
    return [name.decode() for name in re.findall(rb'form-data; name="([^"]+)"', form)]


def values(form: bytes, name: str) -> list[str]:
    return [text.decode() for text in re.findall(rb'name="%s"\r\n\r\n([^\r]*)' % re.escape(name.encode()), form)]


def test_an_edit_model_takes_several_images_up_to_its_limit_and_any_can_go_again(
    chromium: Chrome, files: list[str]
) -> None:
    bodies: list[bytes] = []
    with offer.frontend(described(3, editing=("guidance_scale",)), bodies) as url:
        open_page(chromium, url)
        assert part(chromium, "needs").text == "This model edits images: choose one, or up to 3."
        part(chromium, "prompt").send_keys("x")
        part(chromium, "generate").click()
        assert part(chromium, "problem").text == "This model edits images: choose one, or up to 3."
        choose(chromium, "file", *files)
        thumbnails(chromium, count=3)
        assert part(chromium, "problem").text == "This model takes 3 images at most: remove one first."
        assert not part(chromium, "pick-area").is_displayed()
        for hidden in ("paint", "tools", "hint", "strength-field", "negative-field", "controls-field", "needs"):
            assert not part(chromium, hidden).is_displayed()
        chromium.find_element(By.CSS_SELECTOR, "#references .thumb:first-child button").click()
        thumbnails(chromium, count=2)
        form = generate(chromium, bodies)
        assert names(form).count("image[]") == 2
        assert not {"mask", "strength", "control_image[]"} & set(names(form))
        chromium.find_element(By.XPATH, "//button[text()='Edit']").click()  # the result is one more
        thumbnails(chromium, count=3)


def test_a_model_of_one_reference_has_room_for_one(chromium: Chrome, files: list[str]) -> None:
    bodies: list[bytes] = []
    with offer.frontend(described(1, text_to_image=(), editing=()), bodies) as url:
        open_page(chromium, url)
        assert not part(chromium, "needs").is_displayed()
        assert json.loads(generate(chromium, bodies))["prompt"] == "the cat wears the hat"
        choose(chromium, "file", files[0])
        thumbnails(chromium, count=1)
        assert not part(chromium, "pick-area").is_displayed()
        assert names(generate(chromium, bodies)).count("image") == 1


def test_the_only_reference_can_be_painted_on_where_the_model_inpaints(chromium: Chrome, files: list[str]) -> None:
    bodies: list[bytes] = []
    with offer.frontend(described(2, editing=(), inpainting=("strength",)), bodies) as url:
        open_page(chromium, url)
        choose(chromium, "file", files[0])
        WebDriverWait(chromium, 30).until(lambda _: part(chromium, "paint").is_displayed())
        assert "mask" not in names(generate(chromium, bodies))
        part(chromium, "paint").click()
        form = generate(chromium, bodies)
        assert {"image", "mask", "strength"} <= set(names(form))
        choose(chromium, "file", files[1])
        thumbnails(chromium, count=2)
        assert not part(chromium, "paint").is_displayed()
        assert names(generate(chromium, bodies)).count("image[]") == 2


def test_a_chosen_image_becomes_a_reference_when_the_server_turns_out_to_edit(
    chromium: Chrome, files: list[str]
) -> None:
    model = described(0, image_to_image=("strength",))
    with offer.frontend(model, []) as url:
        open_page(chromium, url)
        choose(chromium, "file", files[0])
        WebDriverWait(chromium, 30).until(lambda _: part(chromium, "paint").is_displayed())
        for task, count in (("editing", 1), ("image-to-image", 0)):
            model |= {"tasks": {task: []}, "max_references": 2}
            chromium.execute_async_script("const [done] = arguments; ask_what_it_does().then(done);")
            thumbnails(chromium, count=count)
            assert part(chromium, "paint").is_displayed() == (count == 0)


def test_control_images_are_chosen_with_type_scale_and_end(chromium: Chrome, files: list[str]) -> None:
    bodies: list[bytes] = []
    with offer.frontend(described(controls=CANNY, text_to_image=("control_image",), image_to_image=()), bodies) as url:
        open_page(chromium, url)
        assert part(chromium, "controls-field").is_displayed()
        choose(chromium, "control-file", *files[:3])
        thumbnails(chromium, "controls", 2)
        assert part(chromium, "problem").text == "This model takes 2 control images at most: remove one first."
        assert not part(chromium, "control-pick").is_displayed()
        first, second = chromium.find_elements(By.CSS_SELECTOR, ".control")
        assert part(chromium, "preprocess-field").is_displayed()
        part(chromium, "preprocess").click()
        scale = first.find_element(By.NAME, "scale")
        scale.clear()
        scale.send_keys("0.5")
        Select(second.find_element(By.NAME, "kind")).select_by_visible_text("depth")
        assert not part(chromium, "preprocess-field").is_displayed()  # depth cannot be made here
        body = json.loads(generate(chromium, bodies))
        assert (body["control_type"], body["control_scale"], body["control_end"]) == (
            ["canny", "depth"],
            [0.5, 1],
            [1, 1],
        )
        assert body["return_control"] is True
        assert "control_preprocess" not in body
        first_sent = base64.b64decode(body["control_image"][0].removeprefix("data:image/png;base64,"))
        assert first_sent == Path(files[0]).read_bytes()
        second.find_element(By.CSS_SELECTOR, "button").click()
        thumbnails(chromium, "controls", 1)
        body = json.loads(generate(chromium, bodies))
        assert (body["control_type"], body["control_preprocess"]) == (["canny"], True)
        choose(chromium, "file", files[3])  # image-to-image takes none here
        WebDriverWait(chromium, 30).until(lambda _: part(chromium, "paint").is_displayed())
        assert not part(chromium, "controls-field").is_displayed()
        assert not {name for name in names(generate(chromium, bodies)) if "control" in name}


def drop(page: Chrome, target: str, count: int) -> None:
    """Drop so many images, and a text file, on an element."""
    page.execute_async_script(
        """
        const [target, count, done] = arguments;
        const canvas = Object.assign(document.createElement("canvas"), { width: 8, height: 8 });
        canvas.getContext("2d").fillRect(0, 0, 8, 8);
        canvas.toBlob((blob) => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File(["text"], "a.txt", { type: "text/plain" }));
          const image = () => new File([blob], "a.png", { type: "image/png" });
          for (let index = 0; index < count; index++) dataTransfer.items.add(image());
          const event = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
          document.getElementById(target).dispatchEvent(event);
          done();
        });
        """,
        target,
        count,
    )


def test_images_are_dropped_where_they_belong(chromium: Chrome) -> None:
    with offer.frontend(described(3, CANNY, text_to_image=("control_image",), editing=("control_image",)), []) as url:
        open_page(chromium, url)
        drop(chromium, "prompt", 2)
        thumbnails(chromium, count=2)
        drop(chromium, "controls-field", 2)
        thumbnails(chromium, "controls", 2)
        assert len(thumbnails(chromium)) == 2
    with offer.frontend(described(controls=CANNY, text_to_image=("control_image",)), []) as url:
        open_page(chromium, url)
        drop(chromium, "prompt", 1)  # it takes no other images
        thumbnails(chromium, "controls", 1)


def test_controls_beside_references_and_the_control_image_as_it_was_used(
    chromium: Chrome, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    used = [{"b64_json": base64.b64encode(Path(files[1]).read_bytes()).decode()}]
    monkeypatch.setitem(offer.COMPLETED, "used_control_images", used)
    bodies: list[bytes] = []
    model = described(2, CANNY | {"has_control_end": False}, editing=("control_image",))
    with offer.frontend(model, bodies) as url:
        open_page(chromium, url)
        assert not part(chromium, "controls-field").is_displayed()  # it does nothing without a reference
        choose(chromium, "file", *files[:2])
        thumbnails(chromium, count=2)
        choose(chromium, "control-file", files[2])
        thumbnails(chromium, "controls", 1)
        assert not chromium.find_element(By.NAME, "end").is_displayed()
        form = generate(chromium, bodies)
        assert (names(form).count("image[]"), names(form).count("control_image[]")) == (2, 1)
        assert (values(form, "control_type[]"), values(form, "control_scale[]")) == (["canny"], ["1"])
        assert values(form, "return_control") == ["true"]
        assert "control_end[]" not in names(form)
        image = chromium.find_element(By.CSS_SELECTOR, ".card .used img")
        WebDriverWait(chromium, 30).until(
            lambda page: page.execute_script("return arguments[0].naturalWidth", image) == 17
        )
