"""`python -m tests.page_screenshot [URL]`: generates images through the web page and takes a screenshot of it.

Starts a server of its own unless the address of a running frontend is given. Needs Chromium and its driver.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from imagegen.launch.child_process import ServerError
from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY

SCREENSHOT = Path(__file__).resolve().parents[1] / "docs" / "page.png"
_PROMPT = "a large red heart in the center on a blue background"
_WIDTH_PX, _HEIGHT_PX = 1280, 980
_IMAGES = 6
_WAIT_S = 300


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Headless Chromium, as Debian packages it."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for option in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "hide-scrollbars"):
        options.add_argument(f"--{option}")
    options.add_argument(f"--window-size={_WIDTH_PX},{_HEIGHT_PX}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def main() -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.page_screenshot", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("url", nargs="?", help="of a running frontend; default: one of its own")
    parser.add_argument("--out", type=Path, default=SCREENSHOT, help="default: docs/page.png")
    parser.add_argument("--prompt", default=_PROMPT)
    arguments = parser.parse_args()
    try:
        with ExitStack() as stack:
            url = arguments.url
            if url is None:
                server = stack.enter_context(EmbeddedServer(MODEL_REPOSITORY))
                url = stack.enter_context(EmbeddedFrontend(server.grpc_url)).url
            take_screenshot(url, arguments.prompt, arguments.out)
    except ServerError as error:
        print(f"page_screenshot: {error}", file=sys.stderr)
        return 1
    print(arguments.out)
    return 0


def take_screenshot(url: str, prompt: str, path: Path) -> None:
    """Generate images through the page at `url` and write a PNG of the page to `path`."""
    with browser() as page:
        page.get(url)
        page.find_element(By.ID, "prompt").send_keys(prompt)
        for name, text in (("n", str(_IMAGES)), ("seed", "7")):
            field = page.find_element(By.ID, name)
            field.clear()
            field.send_keys(text)
        page.find_element(By.ID, "generate").click()
        done = ".card[aria-busy=false]"
        WebDriverWait(page, _WAIT_S).until(lambda _: len(page.find_elements(By.CSS_SELECTOR, done)) == _IMAGES)
        path.write_bytes(page.get_screenshot_as_png())


if __name__ == "__main__":
    sys.exit(main())
