"""The web page and its content security policy."""

from __future__ import annotations

import re

from imagegen.openai.page import page_response


def test_the_policy_lets_only_the_pages_own_script_run() -> None:
    response = page_response()
    policy = response.headers["content-security-policy"]
    html = bytes(response.body).decode()
    assert re.search(r"script-src 'sha256-[^']+';", policy)
    assert not re.search(r'\son\w+="|\sstyle="', html)  # neither would run
    assert html.count("<script") == html.count("<style") == 1


def test_every_id_that_the_script_uses_is_in_the_page() -> None:
    html = bytes(page_response().body).decode()
    used = set(re.findall(r'\$\("([^"]+)"\)', html))
    assert len(used) > 20
    assert used <= set(re.findall(r'\bid="([^"]+)"', html))
